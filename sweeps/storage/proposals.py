"""A proposed trial, and the pruning decisions of a round, each as one durable write.

Optuna's samplers and pruners write to the storage one parameter, or one rung, at a time. If the process dies halfway, a
restart samples other values, because the random stream has moved on, or counts a rung twice. Here they work on a view
of the storage that buffers their writes; the writes are committed together, or not at all.
"""

import copy
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.storage.optuna_internals import batched_writes, set_trial_id, storage_of, study_id, trial_id
from sweeps.storage.rounds import RoundDecisions
from sweeps.storage.study_record import LearnedTrial
from sweeps.storage.trial_record import Repeat, counted_epochs, is_paused, newest_of_each, revives, warmup_of
from sweeps.study.space import Parameter, Space

_PROPOSED_ID = -1
_LEARNED_ID = -(2**62)
_KEPT = {"warmup", *(field.name for field in fields(Repeat))}
"""What the trial that stands for a failed one has of it; a trial of the search has the seed alone of the fields of a repeat."""


def propose(
    study: optuna.Study,
    sampler: BaseSampler,
    space: Space,
    *,
    number: int,
    seed: int,
    proposals: Sequence[FrozenTrial],
    unseen: Callable[[FrozenTrial], Any],
    warmup: Callable[[FrozenTrial], int] = lambda trial: 0,
    later: Callable[[FrozenTrial], Any] = lambda trial: False,
    grown: Collection[str] = (),
    learned: Sequence[FrozenTrial] = (),
    pairs: Callable[[Sequence[FrozenTrial]], list[FrozenTrial]] | None = None,
) -> FrozenTrial:
    """Let `sampler` choose the parameters of the study's next trial from `space`; writes nothing.

    Returns a proposal: the RUNNING trial that it will be, but for what is known only when it begins.

    Args:
        number: of the trial, after all in the storage and the `proposals`.
        seed: of the trial, not of the sampler.
        proposals: trials that come before it and are not written yet; they count as running.
        unseen: which finished and paused trials count as running, too.
        warmup: how many epochs at the beginning of a trial with these parameters do not count.
        later: which trials went on so lately that they count as what they were before: paused.
        grown: parameters whose range was narrower in earlier trials.
        learned: trials of another study (`learned_trials`), which come before all others.
        pairs: gives the trials of the study two values each, in a study with two objectives.
    """
    empty = create_trial(state=TrialState.RUNNING, user_attrs={"seed": seed})
    empty.number = number
    set_trial_id(empty, _PROPOSED_ID)
    ranges = [space[name] for name in grown]
    view = _View(storage_of(study), empty, proposals, unseen, later, ranges=ranges, learned=learned, pairs=pairs)
    space.suggest(optuna.Trial(_on_view(study, view, sampler), _PROPOSED_ID))
    return _with_warmup(view.get_trial(_PROPOSED_ID), warmup)


def learned_trials(lessons: Sequence[LearnedTrial], space: Space) -> list[FrozenTrial]:
    """Return trials of another study as finished trials that lie in this space; the others are left out.

    Optuna's samplers put trials in order by their numbers, and hyperband spreads them over its brackets by number. No trial of
    the study may have the number of another, so these have fractions, from −1 up to 0.
    """
    fitting = [lesson for lesson in lessons if all(space[name].allows(value) for name, value in lesson.params.items())]
    trials = []
    for index, lesson in enumerate(fitting):
        trial = create_trial(
            state=TrialState.COMPLETE if lesson.pruned_after is None else TrialState.PRUNED,
            value=lesson.objective,
            params={name: space[name].encode(value) for name, value in lesson.params.items()},
            distributions={name: space[name].distribution for name in lesson.params},
            intermediate_values={} if lesson.pruned_after is None else {lesson.pruned_after: lesson.objective},
        )
        trial.number = cast(int, index / len(fitting) - 1)
        set_trial_id(trial, _LEARNED_ID)
        trials.append(trial)
    return trials


def proposed_repeat(repeat: Repeat, number: int, *, warmup: int) -> FrozenTrial:
    """Return the proposal of a repeat. It has no parameters in Optuna's sense, because no sampler should learn from it.

    `warmup`: how many epochs at its beginning do not count.
    """
    trial = create_trial(state=TrialState.RUNNING, user_attrs=asdict(repeat))
    trial.number = number
    return _with_warmup(trial, lambda trial: warmup)


def _with_warmup(proposal: FrozenTrial, warmup: Callable[[FrozenTrial], int]) -> FrozenTrial:
    """Note the warm-up of a proposal, where it has one."""
    if epochs := warmup(proposal):
        proposal.user_attrs = {**proposal.user_attrs, "warmup": epochs}
    return proposal


def in_storage(trial: FrozenTrial) -> bool:
    """Whether a trial has been written; a proposal has not."""
    return trial_id(trial) >= 0


def as_duplicate(proposal: FrozenTrial, equal: FrozenTrial) -> FrozenTrial:
    """Return a copy of a proposal that takes the result of an equal trial."""
    duplicate = copy.copy(proposal)
    duplicate.user_attrs = {**proposal.user_attrs, "duplicate_of": equal.number}
    return duplicate


def write_trial(
    study: optuna.Study, proposal: FrozenTrial, *, started: float, round_: int, waits_for: FrozenTrial | None
) -> None:
    """Write a proposal as a RUNNING trial, in one piece.

    It began at `started` (unix seconds); its first epoch is trained in this round, unless it waits for an equal trial.
    """
    begun = {"round": round_} if waits_for is None else {"round": None, "duplicate_of": waits_for.number}
    trial = copy.copy(proposal)
    trial.user_attrs = {**proposal.user_attrs, "started": started, **begun}
    storage_of(study).create_new_trial(study_id(study), trial)


def write_revival(study: optuna.Study, ended: FrozenTrial, round_: int) -> None:
    """Write a new RUNNING trial that goes on in this round from where a paused one stood when it ended, in one piece."""
    number = len(study.get_trials(deepcopy=False))
    storage_of(study).create_new_trial(study_id(study), proposed_revival(ended, round_, number))


def write_retries(
    study: optuna.Study, started: float, wanted: Callable[[FrozenTrial], bool] = lambda trial: True
) -> int:
    """Write a trial for each one that failed and is wanted, to be trained in its place; return how many there are.

    The new trial has the configuration, the seed and, of a repeat, the purposes of the failed one, whose record stays. It
    waits for a lane like one that has lost its lane.
    """
    failed = [
        trial
        for trial in newest_of_each(study.get_trials(deepcopy=False))
        if trial.state == TrialState.FAIL and "seed" in trial.user_attrs and wanted(trial)
    ]
    for ended in failed:
        kept = {key: value for key, value in ended.user_attrs.items() if key in _KEPT}
        trial = create_trial(
            state=TrialState.RUNNING,
            params=ended.params,
            distributions=ended.distributions,
            user_attrs=kept | {"started": started, "round": None, "revives": ended.number},
        )
        storage_of(study).create_new_trial(study_id(study), trial)
    return len(failed)


def proposed_revival(ended: FrozenTrial, round_: int, number: int) -> FrozenTrial:
    """Return the trial of this number that is to go on in this round from where a paused one stood when it ended.

    It has the seed, the epochs and the pauses of that trial, as if that one were promoted.
    """
    attributes = ended.user_attrs
    *before, newest = attributes["pauses"]
    lasting = ("seed", "started", "round", "paused_with", "warmup")
    kept = {key: value for key, value in attributes.items() if key in lasting or key.startswith("epoch/")}
    trial = create_trial(
        state=TrialState.RUNNING,
        params=ended.params,
        distributions=ended.distributions,
        user_attrs=kept
        | {"pauses": [*before, newest | {"until": round_}]}
        | {"revives": ended.number, "resumes_from": attributes.get("resumes_from", ended.number)},
        intermediate_values=ended.intermediate_values,
    )
    trial.number = number
    set_trial_id(trial, _PROPOSED_ID)
    return trial


def decide_pruning(study: optuna.Study, trials: Iterable[FrozenTrial], round_: int) -> RoundDecisions:
    """Let the study's pruner look at each of these trials in order, in this round; writes nothing."""
    view = _View(storage_of(study))
    on_view = _on_view(study, view)
    pruned, state = [], {}
    for trial in trials:
        if study.pruner.prune(on_view, view.get_trial(trial_id(trial))):
            pruned.append(trial.number)
        if trial_id(trial) in view.states:
            state[str(trial.number)] = view.states[trial_id(trial)]
    return RoundDecisions(round_, tuple(pruned), state)


def write_pruner_state(study: optuna.Study, decisions: RoundDecisions) -> None:
    """Write what the pruner keeps with the trials (the rungs of successive halving); a second time changes nothing."""
    storage = storage_of(study)
    with batched_writes(study):
        for number, content in decisions.pruner_state.items():
            identity = storage.get_trial_id_from_study_id_trial_number(study_id(study), int(number))
            with suppress(UpdateFinishedTrialError):
                for key, value in content.items():
                    storage.set_trial_system_attr(identity, key, value)


def _on_view(study: optuna.Study, view: "_View", sampler: BaseSampler | None = None) -> optuna.Study:
    # The view answers every call that samplers and pruners make, and is no subclass: it refuses all others.
    return optuna.Study(
        study.study_name, cast(BaseStorage, view), sampler=sampler or study.sampler, pruner=study.pruner
    )


class _View:
    """A storage with the buffered writes of a sampler or pruner on top, and perhaps with a proposed trial.

    See `propose` for `proposals`, `unseen`, `later`, `learned` and `pairs`. `ranges`: parameters whose distribution all trials are to have.
    Of a trial and the one that revives it, it shows the newest.
    """

    def __init__(
        self,
        storage: BaseStorage,
        proposed: FrozenTrial | None = None,
        proposals: Sequence[FrozenTrial] = (),
        unseen: Callable[[FrozenTrial], Any] = lambda trial: False,
        later: Callable[[FrozenTrial], Any] = lambda trial: False,
        *,
        ranges: Sequence[Parameter] = (),
        learned: Sequence[FrozenTrial] = (),
        pairs: Callable[[Sequence[FrozenTrial]], list[FrozenTrial]] | None = None,
    ) -> None:
        self._below, self._proposed, self._unseen, self._later = storage, proposed, unseen, later
        self._ranges, self._learned, self._pairs = ranges, learned, pairs
        self.states: dict[int, dict[str, Any]] = {}
        """Identity of a trial → what was written about it."""
        self._trials_in: dict[tuple[TrialState, ...] | None, list[FrozenTrial]] = {}
        self._earlier = proposals
        for index, trial in enumerate(proposals):
            set_trial_id(trial, _PROPOSED_ID - 1 - index)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("get_"):
            raise AttributeError(f"storage.{name} is called by a sampler or pruner and would not be buffered")
        return getattr(self._below, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id == _PROPOSED_ID and self._proposed is not None:
            return self._with_state(self._proposed)
        return self._with_state(self._below.get_trial(trial_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return two directions where trials have `pairs`, because the storage keeps the workload's one objective."""
        return self._below.get_study_directions(study_id) if self._pairs is None else [StudyDirection.MINIMIZE] * 2

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs

    def get_all_trials(self, study_id: int, deepcopy: bool = True, states: Any = None) -> list[FrozenTrial]:
        proposed = [*self._earlier, *([] if self._proposed is None else [self._proposed])]
        states = None if states is None else tuple(states)
        trials = [*self._stored(study_id, states), *_in_states(proposed, states)]
        trials = [self._with_state(trial) for trial in trials] if self.states else trials
        return copy.deepcopy(trials) if deepcopy else trials

    def _stored(self, study_id: int, states: tuple[TrialState, ...] | None) -> list[FrozenTrial]:
        """Read once, because a pruner asks for each trial of a round and nothing is written meanwhile."""
        if None not in self._trials_in:
            stored = self._below.get_all_trials(study_id, deepcopy=False)
            known = [_with_counted_end(self._seen(trial)) for trial in self._newest(stored)]
            known = [_in_ranges(trial, self._ranges) for trial in known] if self._ranges else known
            self._trials_in[None] = [*self._learned, *(known if self._pairs is None else self._pairs(known))]
        if states not in self._trials_in:
            self._trials_in[states] = _in_states(self._trials_in[None], states)
        return self._trials_in[states]

    def _newest(self, stored: list[FrozenTrial]) -> list[FrozenTrial]:
        if all(revives(trial) is None for trial in stored):  # most studies
            return stored
        return newest_of_each([trial for trial in stored if revives(trial) is None or not self._later(trial)])

    def _seen(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a stored trial as a sampler sees it: a paused one as pruned; one that is `unseen` as running."""
        ended = trial.state.is_finished()
        waits = not ended and (is_paused(trial) or self._later(trial))
        unseen = (ended or waits) and self._unseen(trial)
        seen = TrialState.RUNNING if unseen else TrialState.PRUNED if waits else trial.state
        if seen == trial.state:
            return trial
        trial, reported = copy.copy(trial), counted_epochs(trial)
        trial.values = None if unseen or not reported else [reported[max(reported)]]
        trial.state = seen
        return trial

    def _with_state(self, trial: FrozenTrial) -> FrozenTrial:
        if trial_id(trial) not in self.states:
            return trial
        trial = copy.copy(trial)
        trial.system_attrs = {**trial.system_attrs, **self.states[trial_id(trial)]}
        return trial

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.states.setdefault(trial_id, {})[key] = value

    def set_trial_param(self, trial_id: int, name: str, value: float, distribution: BaseDistribution) -> None:
        if trial_id != _PROPOSED_ID or self._proposed is None:
            raise ValueError("a sampler may give parameters to the trial that is being asked for, to no other")
        # A new object, as a storage would return: the old one is in the hands of the sampler.
        self._proposed = copy.copy(self._proposed)
        self._proposed.params = {**self._proposed.params, name: distribution.to_external_repr(value)}
        self._proposed.distributions = {**self._proposed.distributions, name: distribution}


def _with_counted_end(trial: FrozenTrial) -> FrozenTrial:
    """Return a pruned trial without its epochs where all of them are of its warm-up: Optuna's samplers look at the last one."""
    if trial.state != TrialState.PRUNED or not warmup_of(trial) or counted_epochs(trial):
        return trial
    trial = copy.copy(trial)
    trial.intermediate_values = {}
    return trial


def _in_states(trials: list[FrozenTrial], states: Any) -> list[FrozenTrial]:
    return trials if states is None else [trial for trial in trials if trial.state in states]


def _in_ranges(trial: FrozenTrial, ranges: Sequence[Parameter]) -> FrozenTrial:
    """Return a trial with wider distributions of its parameters.

    Optuna's samplers leave a parameter out of their model, and draw it alone, where its distributions differ between trials.
    """
    params = trial.params
    wider = {p.name: p.distribution for p in ranges if p.name in params and p.allows(params[p.name])}
    trial = copy.copy(trial)
    trial.distributions = {**trial.distributions, **wider}
    return trial
