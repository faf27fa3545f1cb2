"""An ask, and the pruning decisions of a round, each as one durable write.

Optuna's samplers and pruners write to the storage while they think: one parameter at a time, one rung at a time. A
process killed in between leaves half a thought, and thinking it again ends elsewhere: the random stream is shifted, the
rung is counted already. Here they think on a view of the storage that holds their writes back; then the whole thought
is written, or nothing.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState, create_trial

_DRAFT_ID = -1

Notes = dict[str, dict[str, Any]]
"""What a pruner notes about trials: number (as text, for JSON) → attribute → value."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A trial that is thought out and not yet written."""

    number: int
    """The number that it will have."""
    seed: int
    """Its own seed, not that of the sampler."""
    stored: Mapping[str, Any] = field(default_factory=dict)
    """Parameters as Optuna stores them; empty for a trial that no sampler should learn from."""
    distributions: Mapping[str, BaseDistribution] = field(default_factory=dict)
    user_attrs: Mapping[str, Any] = field(default_factory=dict)
    system_attrs: Mapping[str, Any] = field(default_factory=dict)
    """What the sampler notes about the trial (the state of CMA-ES)."""

    @cached_property
    def trial(self) -> FrozenTrial:
        """The RUNNING trial that it will be, but for what is known only when it begins."""
        return _as_trial(self, {})


def propose(
    study: optuna.Study,
    sampler: BaseSampler,
    suggest: Callable[[optuna.Trial], Any],
    *,
    seed: int,
    drafts: Sequence[Draft] = (),
    unseen: Callable[[FrozenTrial], Any] = lambda trial: False,
) -> Draft:
    """Let `sampler` choose the parameters of the study's next trial through `suggest`; writes nothing.

    Args:
        seed: of the trial.
        drafts: trials that come before it and are not written yet; they count as running.
        unseen: which finished trials count as running, too.
    """
    empty = create_trial(state=TrialState.RUNNING)
    empty.number, empty._trial_id = len(study.get_trials(deepcopy=False)) + len(drafts), _DRAFT_ID
    view = _View(study._storage, empty, drafts, unseen)
    suggest(optuna.Trial(_on_view(study, view, sampler), _DRAFT_ID))
    return Draft(
        number=empty.number,
        seed=seed,
        stored=view.draft.params,
        distributions=view.draft.distributions,
        system_attrs=view.notes.get(_DRAFT_ID, {}),
    )


def commit(study: optuna.Study, draft: Draft, user_attrs: Mapping[str, Any]) -> None:
    """Write the draft as a RUNNING trial, in one piece, with these attributes added to its own."""
    study._storage.create_new_trial(study._study_id, _as_trial(draft, user_attrs))


def _as_trial(draft: Draft, user_attrs: Mapping[str, Any]) -> FrozenTrial:
    trial = create_trial(
        state=TrialState.RUNNING,
        params=dict(draft.stored),
        distributions=dict(draft.distributions),
        user_attrs={"seed": draft.seed, **draft.user_attrs, **user_attrs},
        system_attrs=dict(draft.system_attrs),
    )
    trial.number = draft.number
    return trial


@dataclass(frozen=True)
class Verdicts:
    """What a pruner thinks of the trials of a round."""

    pruned: list[int]
    notes: Notes
    """To be written once the verdicts are: successive halving keeps rungs."""


def judge(study: optuna.Study, trials: Iterable[FrozenTrial]) -> Verdicts:
    """Let the study's pruner look at each of these trials in order; writes nothing."""
    view = _View(study._storage)
    on_view = _on_view(study, view)
    pruned, notes = [], {}
    for trial in trials:
        if study.pruner.prune(on_view, view.get_trial(trial._trial_id)):
            pruned.append(trial.number)
        if trial._trial_id in view.notes:
            notes[str(trial.number)] = view.notes[trial._trial_id]
    return Verdicts(pruned, notes)


def write_notes(study: optuna.Study, notes: Notes) -> None:
    """Write the notes of verdicts that stand; a second time changes nothing."""
    storage = study._storage
    for number, content in notes.items():
        trial_id = storage.get_trial_id_from_study_id_trial_number(study._study_id, int(number))
        with suppress(UpdateFinishedTrialError):
            for key, value in content.items():
                storage.set_trial_system_attr(trial_id, key, value)


def _on_view(study: optuna.Study, view: "_View", sampler: BaseSampler | None = None) -> optuna.Study:
    return optuna.Study(study.study_name, view, sampler=sampler or study.sampler, pruner=study.pruner)


class _View:
    """A storage seen through what a sampler or pruner has written about trials, among them perhaps a draft.

    See `propose` for `drafts` and `unseen`.
    """

    def __init__(
        self,
        storage: BaseStorage,
        draft: FrozenTrial | None = None,
        drafts: Sequence[Draft] = (),
        unseen: Callable[[FrozenTrial], Any] = lambda trial: False,
    ) -> None:
        self._storage, self.draft, self._unseen = storage, draft, unseen
        self.notes: dict[int, dict[str, Any]] = {}
        self._known: dict[tuple[TrialState, ...] | None, list[FrozenTrial]] = {}
        self._drafted = [draft.trial for draft in drafts]
        for place, trial in enumerate(self._drafted):
            trial._trial_id = _DRAFT_ID - 1 - place

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("get_"):
            raise AttributeError(f"storage.{name} is called by a sampler or pruner and would not be held back")
        return getattr(self._storage, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._noted(self.draft if trial_id == _DRAFT_ID else self._storage.get_trial(trial_id))

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        drafted = [*self._drafted, *([] if self.draft is None else [self.draft])]
        states = None if states is None else tuple(states)
        trials = [*self._stored(study_id, states), *_in_states(drafted, states)]
        trials = [self._noted(trial) for trial in trials] if self.notes else trials
        return copy.deepcopy(trials) if deepcopy else trials

    def _stored(self, study_id: int, states: tuple[TrialState, ...] | None) -> list[FrozenTrial]:
        """Looked up once: nothing is written while a sampler or pruner thinks, and a pruner asks for each trial of a round."""
        if None not in self._known:
            stored = self._storage.get_all_trials(study_id, deepcopy=False)
            self._known[None] = [
                _as_running(trial) if trial.state.is_finished() and self._unseen(trial) else trial for trial in stored
            ]
        if states not in self._known:
            self._known[states] = _in_states(self._known[None], states)
        return self._known[states]

    def _noted(self, trial: FrozenTrial) -> FrozenTrial:
        if trial._trial_id not in self.notes:
            return trial
        trial = copy.copy(trial)
        trial.system_attrs = {**trial.system_attrs, **self.notes[trial._trial_id]}
        return trial

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.notes.setdefault(trial_id, {})[key] = value

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        if trial_id != _DRAFT_ID:
            raise ValueError("a sampler may give parameters to the trial that is being asked for, to no other")
        # A new object, as a storage would return: the old one is in the hands of the sampler.
        self.draft = copy.copy(self.draft)
        self.draft.params = {**self.draft.params, name: distribution.to_external_repr(value)}
        self.draft.distributions = {**self.draft.distributions, name: distribution}


def _in_states(trials: list[FrozenTrial], states: Any) -> list[FrozenTrial]:
    return trials if states is None else [trial for trial in trials if trial.state in states]


def _as_running(trial: FrozenTrial) -> FrozenTrial:
    trial = copy.copy(trial)
    trial.state, trial.values = TrialState.RUNNING, None
    return trial
