"""What Optuna's samplers and pruners are shown of a study, and what they answer; nothing is
written.

They write to the storage one parameter, or one rung, at a time. If the process dies halfway, a
restart samples other values, because the random stream has moved on, or counts a rung twice. So
they work on a view of the trials that keeps their writes. The driver writes a proposed trial, and
the decisions of a round, in one piece each, or not at all.
"""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.search.two_objectives import Pair
from sweeps.state.decisions import RoundDecisions
from sweeps.state.record import LearnedTrial
from sweeps.state.trial import Repeat, Trial
from sweeps.storage.optuna_internals import set_trial_id, storage_of, trial_id
from sweeps.storage.store import PROPOSED_ID, Store
from sweeps.study.space import Space

_LEARNED_ID = -(2**62)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Which trials a sampler is shown, and as what, besides those of the storage."""

    proposals: Sequence[Trial] = ()
    """Trials that come before the proposed one and are not written yet; they count as running."""
    unseen: Callable[[Trial], Any] = lambda trial: False
    """Which finished and paused trials count as running, too."""
    later: Callable[[Trial], Any] = lambda trial: False
    """Which trials resumed so lately that they count as what they were before: paused."""
    space: Space | None = None
    """The space in which all trials are shown, where some began in another one."""
    learned: Sequence[FrozenTrial] = ()
    """Trials of another study (`learned_trials`), which come before all others."""
    pairs: Callable[[Sequence[Trial]], list[Pair | None]] | None = None
    """Gives the two values of each trial, in a study with two objectives."""


NOTHING_ELSE = Shown()


def propose(
    store: Store,
    sampler: BaseSampler,
    space: Space,
    shown: Shown = NOTHING_ELSE,
    *,
    number: int,
    seed: int,
    warmup: Callable[[Mapping[str, Any]], int] = lambda params: 0,
) -> Trial:
    """Let `sampler` choose the parameters of the study's next trial from `space`.

    Returns a proposal: the trial that it will be, but for what is known only when it begins.

    Args:
        number: of the trial, after all in the storage and the proposals.
        seed: of the trial, not of the sampler.
        warmup: how many epochs at the beginning of a trial with these parameters do not count.
    """
    empty = create_trial(state=TrialState.RUNNING, user_attrs={"seed": seed})
    empty.number = number
    set_trial_id(empty, PROPOSED_ID)
    view = _View(store, shown, empty)
    space.suggest(optuna.Trial(view.study(sampler), PROPOSED_ID))
    return _proposal(store, view.get_trial(PROPOSED_ID), warmup)


def learned_trials(lessons: Sequence[LearnedTrial], space: Space) -> list[FrozenTrial]:
    """Return trials of another study as finished trials that lie in this space; the others are left
    out.

    Optuna's samplers put trials in order by their numbers, and hyperband spreads them over its
    brackets by number. No trial of the study may have the number of another, so these have
    fractions, from −1 up to 0.
    """
    fitting = [lesson for lesson in lessons if _lies_in(space, lesson.params)]
    trials = []
    for index, lesson in enumerate(fitting):
        trial = create_trial(
            state=TrialState.COMPLETE if lesson.pruned_after is None else TrialState.PRUNED,
            value=lesson.objective,
            **space.stored(lesson.params),
            intermediate_values={}
            if lesson.pruned_after is None
            else {lesson.pruned_after: lesson.objective},
        )
        trial.number = cast(int, index / len(fitting) - 1)
        set_trial_id(trial, _LEARNED_ID)
        trials.append(trial)
    return trials


def _lies_in(space: Space, params: Mapping[str, Any]) -> bool:
    """Whether a configuration has a value for each parameter that is active in a space, and no
    other.
    """
    known = all(name in space.names and space[name].allows(params[name]) for name in params)
    return known and {*space.active(params)} == {*params}


def proposed_repeat(store: Store, repeat: Repeat, number: int, *, warmup: int) -> Trial:
    """Return the proposal of a repeat. It has no parameters in Optuna's sense, because no sampler
    should learn from it.

    `warmup`: how many epochs at its beginning do not count.
    """
    stored = create_trial(state=TrialState.RUNNING, user_attrs=asdict(repeat))
    stored.number = number
    return _proposal(store, stored, lambda params: warmup)


def _proposal(
    store: Store, stored: FrozenTrial, warmup: Callable[[Mapping[str, Any]], int]
) -> Trial:
    proposal = store.proposed(stored)
    if epochs := warmup(proposal.params):
        stored.user_attrs = {**stored.user_attrs, "warmup": epochs}
        proposal = replace(proposal, warmup=epochs)
    return proposal


def decide_pruning(store: Store, trials: Iterable[Trial], round_: int) -> RoundDecisions:
    """Let the study's pruner look at each of these trials in order, in this round."""
    view = _View(store)
    study, pruner = view.study(), store.study.pruner
    pruned = []
    state = {}
    for trial in trials:
        identity = trial_id(trial.origin)
        if pruner.prune(study, view.with_notes(trial.origin)):
            pruned.append(trial.number)
        if identity in view.notes:
            state[str(trial.number)] = view.notes[identity]
    return RoundDecisions(round_, tuple(pruned), state)


class _View:
    """A storage as a sampler or pruner sees it, with what it writes, and perhaps with a proposed
    trial. Trials that do not count are left out.
    """

    def __init__(
        self,
        store: Store,
        shown: Shown = NOTHING_ELSE,
        proposed: FrozenTrial | None = None,
    ) -> None:
        self._store = store
        self._below = storage_of(store.study)
        self._shown = shown
        self._proposed = proposed
        self.notes: dict[int, dict[str, Any]] = {}
        """Identity of a trial → what was written about it."""
        self._trials_in: dict[tuple[TrialState, ...] | None, list[FrozenTrial]] = {}
        self._earlier: list[FrozenTrial] = [proposal.origin for proposal in shown.proposals]
        for index, trial in enumerate(self._earlier):
            set_trial_id(trial, PROPOSED_ID - 1 - index)

    def study(self, sampler: BaseSampler | None = None) -> optuna.Study:
        """Return an Optuna study on this view."""
        study = self._store.study
        # The view answers every call that samplers and pruners make, and is no subclass: it refuses
        # all others.
        storage = cast(BaseStorage, self)
        return optuna.Study(
            study.study_name, storage, sampler=sampler or study.sampler, pruner=study.pruner
        )

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("get_"):
            raise AttributeError(
                f"storage.{name} is called by a sampler or pruner and would not be buffered"
            )
        return getattr(self._below, name)

    def get_trial(self, trial_id: int) -> FrozenTrial:
        if trial_id == PROPOSED_ID and self._proposed is not None:
            return self.with_notes(self._proposed)
        return self.with_notes(self._below.get_trial(trial_id))

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """Return two directions where trials have `pairs`, because the storage keeps the workload's
        one objective.
        """
        if self._shown.pairs is None:
            return self._below.get_study_directions(study_id)
        return [StudyDirection.MINIMIZE] * 2

    def get_trial_system_attrs(self, trial_id: int) -> dict[str, Any]:
        return self.get_trial(trial_id).system_attrs

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Any = None
    ) -> list[FrozenTrial]:
        proposed = [*self._earlier, *([] if self._proposed is None else [self._proposed])]
        states = None if states is None else tuple(states)
        trials = [*self._known(states), *_in_states(proposed, states)]
        trials = [self.with_notes(trial) for trial in trials] if self.notes else trials
        return copy.deepcopy(trials) if deepcopy else trials

    def _known(self, states: tuple[TrialState, ...] | None) -> list[FrozenTrial]:
        """Read once, because a pruner asks for each trial of a round and nothing is written
        meanwhile.
        """
        if None not in self._trials_in:
            trials = [trial for trial in self._store.trials() if trial.counts]
            trials = self._as_shown(trials)
            known = [self._as_frozen(trial) for trial in trials]
            if self._shown.pairs is not None:
                pairs = self._shown.pairs(trials)
                known = [_with_pair(trial, pair) for trial, pair in zip(known, pairs, strict=True)]
            self._trials_in[None] = [*self._shown.learned, *known]
        if states not in self._trials_in:
            self._trials_in[states] = _in_states(self._trials_in[None], states)
        return self._trials_in[states]

    def _as_shown(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Return the trials; of those that resumed later, how they stood before."""
        if not any(trial.before for trial in trials):  # most studies
            return trials
        shown = [
            trial.before if trial.before and self._shown.later(trial) else trial for trial in trials
        ]
        return sorted(shown, key=lambda trial: trial.number)

    def _as_frozen(self, trial: Trial) -> FrozenTrial:
        """Return a trial as a sampler sees it: a paused one as pruned; one that is `unseen` as
        running.
        """
        stored: FrozenTrial = trial.origin
        waits = not trial.finished and (trial.paused or self._shown.later(trial))
        unseen = (trial.finished or waits) and self._shown.unseen(trial)
        state = TrialState.PRUNED if waits else stored.state
        if unseen:
            state = TrialState.RUNNING
        # Optuna's samplers look at the last epoch of a pruned trial, so it has none where all are
        # of its warm-up.
        bare = state == TrialState.PRUNED and bool(trial.warmup) and not trial.counted
        space = self._shown.space
        if state == stored.state and not bare and space is None:
            return stored
        stored = copy.copy(stored)
        if state != stored.state:
            counted = trial.counted
            stored.values = None if unseen or not counted else [counted[max(counted)]]
            stored.state = state
        if bare:
            stored.intermediate_values = {}
        if space is not None:
            # Optuna's samplers leave a parameter out of their model, and draw it alone, where its
            # distributions differ between trials.
            for name, content in space.stored(trial.params).items():
                setattr(stored, name, content)
        return stored

    def with_notes(self, trial: FrozenTrial) -> FrozenTrial:
        """Return a trial with what was written about it."""
        if trial_id(trial) not in self.notes:
            return trial
        trial = copy.copy(trial)
        trial.system_attrs = {**trial.system_attrs, **self.notes[trial_id(trial)]}
        return trial

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self.notes.setdefault(trial_id, {})[key] = value

    def set_trial_param(
        self, trial_id: int, name: str, value: float, distribution: BaseDistribution
    ) -> None:
        if trial_id != PROPOSED_ID or self._proposed is None:
            raise ValueError(
                "a sampler may give parameters to the trial that is being asked for, to no other"
            )
        # A new object, as a storage would return: the old one is in the hands of the sampler.
        self._proposed = copy.copy(self._proposed)
        self._proposed.params = {
            **self._proposed.params,
            name: distribution.to_external_repr(value),
        }
        self._proposed.distributions = {**self._proposed.distributions, name: distribution}


def _with_pair(trial: FrozenTrial, pair: Pair | None) -> FrozenTrial:
    """Return a trial with its two values; one without them seems to run."""
    if trial.state not in (TrialState.COMPLETE, TrialState.PRUNED):
        return trial
    trial = copy.copy(trial)
    trial.state = TrialState.RUNNING if pair is None else TrialState.COMPLETE
    trial.values = None if pair is None else list(pair)
    return trial


def _in_states(trials: list[FrozenTrial], states: Any) -> list[FrozenTrial]:
    return trials if states is None else [trial for trial in trials if trial.state in states]
