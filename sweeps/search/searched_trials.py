"""The trials of a search: what the sampler proposes, which are promoted, and when the budget is
used up.
"""

import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sweeps.search.curves.sampler import CurveSampler
from sweeps.search.growing import GrowingSpace
from sweeps.search.promotion import Rungs
from sweeps.search.proposals import Shown, decide_pruning, learned_trials, propose
from sweeps.search.pruners import PromotionSettings, RoundPercentilePruner
from sweeps.search.samplers import GRID_DONE, CurvesSettings, grid_points, make_sampler
from sweeps.search.two_objectives import TwoObjectives
from sweeps.seeds import seed_of
from sweeps.state.decisions import RoundDecisions, running_before
from sweeps.state.state import best_trial, reported_epochs
from sweeps.state.trial import Trial
from sweeps.storage.store import Store
from sweeps.study.ranges import Growth
from sweeps.study.space import frozen
from sweeps.study.start import BestOf

if TYPE_CHECKING:
    from sweeps.study.study import Study
    from sweeps.study.study_model import Budget

KNOWN_IN_A_ROW = 50
"""This many proposals in a row of known configurations end a search, because the sampler has
nothing left to find.
"""


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed of a trial, 63 bits, from the study's seed and the trial's number, without
    those that revive another.
    """
    return seed_of(f"{study_seed}:trial:{number}")


class SearchedTrials:
    """Trials that the study's sampler asks for, while the budget lasts."""

    def __init__(self, store: Store, study: "Study", *, pipelined: bool) -> None:
        """`pipelined`: whether the trials of a round are proposed without the results of the round
        before.
        """
        self.store = store
        self.study = study
        self.pipelined = pipelined
        self.planned = study.budget.trials
        record = store.record
        self.two = TwoObjectives(study.objectives.values()) if study.objectives else None
        self.ranks = not study.objectives
        self.rule = _rungs_of(study, self.two)
        """By which trials pause and go on; None where none pauses."""
        self.ranking = _rungs_of(study, self.two)
        """The same rule, asked whose checkpoints to keep. It knows more than the other one where
        decisions are pipelined.
        """
        self.curves: CurveSampler | None = None
        """Proposes configurations where the study's sampler predicts curves."""
        if isinstance(study.sampler, CurvesSettings):
            self.curves = CurveSampler(study.sampler, study.space, study.seed)
        self._with_params: dict[Any, set[int]] = {}
        """Configuration → numbers under which the trials that have it began."""
        self._looked_at: set[int] = set()
        self._looked_up: Sequence[Trial] = ()
        """Those that `_with_params` holds, and the trials in which they were found last."""
        self._known: Sequence[Trial] | None = None
        self._counting: Sequence[Trial] = ()
        self._spent: str | None = None
        """The trials after which the last one was proposed, those of them that count, and why none
        may train after them.
        """
        self.begun = record.begun
        before = [trial for trial in store.trials() if trial.first < self.begun.trial]
        start = record.start or [point for point in study.start if not isinstance(point, BestOf)]
        self.start = dict(enumerate(self._within(point) for point in start))
        self.start |= enumerate(map(dict, self.begun.start), start=len(before))
        """Place of a trial → what it takes."""
        self.grid: dict[int, dict[str, Any]] | None = None
        """Place of a trial → its configuration in a grid; those that earlier stages visited are
        left out.
        """
        if (points := grid_points(study.sampler, study.space, study.seed)) is not None:
            tried = {_key(trial.params) for trial in before if trial.counts}
            left = [point for point in points if _key(point) not in tried]
            self.grid = dict(enumerate(left, start=len(before)))
        self.growing = GrowingSpace(study.space, record.grown)
        self.lessons = record.learned
        self.learned = (study.space, learned_trials(record.learned, study.space))
        """Trials of another study, and the same as they lie in a space."""

    def propose(
        self, known: Sequence[Trial], proposals: Sequence[Trial], elapsed: float, round_: int
    ) -> Trial | str:
        study = self.study
        place = len(known) + len(proposals)
        if study.budget.trials is not None and place >= study.budget.trials:
            return f"The budget of {_counted(study.budget.trials, 'trial')} is used up."
        # What follows from them is asked for once, because there may be 10,000 trials and 64 lanes.
        if self._known is not known:
            self._known = known
            self._counting = self._counted(known)
            self._spent = spent(study.budget, known, elapsed, self.two)
        if self._spent:
            return self._spent
        if self.grid is not None and place not in self.grid:
            return GRID_DONE
        if self._only_known(known, proposals):
            return f"The sampler proposed only known settings, {KNOWN_IN_A_ROW} times in a row."
        start = self.start.get(place, {})
        if self.grid is not None:
            start = self.grid[place] | start
        if not start and self.curves:
            start = dict(self.curves.configuration(self._counting, proposals, round_))
        number = 1 + max((trial.number for trial in (*known[-1:], *proposals[-1:])), default=-1)
        return self._propose(number, place, proposals, start, round_)

    def _counted(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Return the trials that count; the same object where the study has one stage."""
        return [trial for trial in trials if trial.counts] if self.store.stages else trials

    def _within(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return those values of a first trial that the present stage can draw."""
        space = self.study.space
        return {
            name: value
            for name, value in point.items()
            if name in space.names and space[name].allows(value)
        }

    def note_beginning(self, number: int, round_: int) -> None:
        """Record the steps that ranges take with this trial."""
        if (steps := self._steps(round_, number)) != self.growing.taken:
            self.store.write_grown(steps)
            self.growing.taken = steps

    def choose_pruned(
        self, candidates: Sequence[Trial], trials: Sequence[Trial], round_: int
    ) -> RoundDecisions:
        if self.two is None:
            return decide_pruning(self.store, candidates, round_)
        trials = self._counted(trials)
        rule = self.study.pruner.build()
        if not isinstance(rule, RoundPercentilePruner):
            return RoundDecisions(round_, (), {})
        warm = [trial for trial in candidates if len(trial.objectives) > self.study.longest_warmup]
        return RoundDecisions(round_, tuple(self.two.pruned(rule, warm, trials)), {})

    def choose_pausing(
        self, candidates: Sequence[Trial], trials: Sequence[Trial]
    ) -> Collection[int]:
        return self.rule.pausing(candidates, self._counted(trials)) if self.rule else ()

    def choose_promoted(
        self, trials: Sequence[Trial], elapsed: float, round_: int, *, last: bool
    ) -> Trial | None:
        """See `Source`. At the last, the best paused trials go on until as many are complete as the
        study confirms, one at least.

        Where trials are of different length, short ones are complete early. So paused trials also
        go on, one after the other, while one of them has reached less than the best complete trial.
        """
        if self.rule is None:
            return None
        trials = running_before(trials, round_)
        none = spent(self.study.budget, trials, elapsed, self.two)
        trials = self._counted(trials)
        if not none and (promoted := self.rule.promoted(trials)):
            return promoted
        return self._promoted_last(trials, self.rule.ranked(trials)) if last else None

    def _promoted_last(self, trials: Sequence[Trial], ranked: Sequence[Trial]) -> Trial | None:
        """Return the paused trial that resumes at the end of the search; None where enough trials
        are complete. `ranked`: the paused trials, the best first.
        """
        wanted = max(1, self.study.confirm.top if self.study.confirm else 1)
        wanted -= sum(trial.state == "complete" for trial in trials)
        going = sum(trial.unfinished and trial.lane_round is not None for trial in trials)
        if going < wanted:
            return next(iter(ranked), None)
        if going or not self.study.unlike_lengths or not self.ranks:
            return None
        best = best_trial(trials)
        if best is None or best.value is None:
            return None
        reached = {trial.number: min(trial.counted.values(), default=math.inf) for trial in ranked}
        lower = [trial for trial in ranked if reached[trial.number] < best.value]
        return min(lower, key=lambda trial: reached[trial.number], default=None)

    def choose_evicted(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        if self.ranking is None:
            return ()
        ranked = self.ranking.ranked(self._counted(trials))
        ranked += [trial for trial in trials if trial.paused and not trial.counts]
        keep = self.study.keep
        sizes = itertools.accumulate(trial.assignment.checkpoint_bytes for trial in ranked)
        kept = sum(size <= keep.paused_gb * 1e9 for size in sizes)
        return ranked[min(kept, keep.paused) :]

    def _only_known(self, known: Sequence[Trial], proposals: Sequence[Trial]) -> bool:
        """Whether the last `KNOWN_IN_A_ROW` trials that began all took the result of another
        one.
        """
        newest_first = itertools.chain(reversed(proposals), reversed(known))
        newest = [
            *itertools.islice((trial for trial in newest_first if not trial.before), KNOWN_IN_A_ROW)
        ]
        newest = [trial for trial in newest if trial.number >= self.begun.trial]
        if len(newest) < KNOWN_IN_A_ROW or any(trial.duplicate_of is None for trial in newest):
            return False
        return all(trial.first < newest[-1].first for trial in known if trial.before)

    def _propose(
        self,
        number: int,
        place: int,
        proposals: Sequence[Trial],
        start: Mapping[str, Any],
        round_: int,
    ) -> Trial:
        """Propose the trial of this number and place, after all in the storage and these proposals.
        `start`: values that it takes.

        With many lanes, what has ended in the round before or later counts as running, and what
        goes on in this round as paused.
        """
        study = self.study
        steps = self._steps(round_, number)
        space = study.space.grown(steps)
        if self.learned[0] != space:
            self.learned = space, learned_trials(self.lessons, space)
        sampler = make_sampler(study.sampler, space, study.seed, place, start)
        shown = Shown(
            proposals=proposals,
            unseen=lambda trial: self.pipelined and trial.left_round >= round_ - 1,
            later=lambda trial: self.pipelined and trial.resumed_round >= round_,
            space=space if steps or self.store.stages else None,
            learned=self.learned[1],
            pairs=self.two.as_sampled if self.two else None,
        )
        seed = trial_seed(study.seed, place)
        return propose(
            self.store, sampler, space, shown, number=number, seed=seed, warmup=study.warmup_of
        )

    def _steps(self, round_: int, number: int) -> tuple[Growth, ...]:
        """Return the steps that ranges have taken for the trials of a round, of which `number` is
        the first that is asked for.
        """
        end = round_ - 1 if self.pipelined else round_
        trials = lambda: self._counted(self.store.trials())  # noqa: E731
        return self.growing.steps(round_, number, end, trials)

    def find_equal(
        self, trial: Trial, known: Sequence[Trial], proposals: Sequence[Trial] = ()
    ) -> Trial | None:
        equal = [
            *self._equal_to(trial, known),
            *(other for other in proposals if other.params == trial.params),
        ]
        # A trial that failed says nothing about its setting.
        return next(
            (other for other in equal if other.state in ("complete", "pruned") or other.unfinished),
            None,
        )

    def _equal_to(self, trial: Trial, known: Sequence[Trial]) -> list[Trial]:
        """Return those of the known trials with an earlier number that have the configuration of
        this one, by number, as they stood then.
        """
        # Asked for once, because there may be 10,000 trials and 64 lanes.
        if self._looked_up is not known:
            self._looked_up = known
            for other in self._counted(known):
                if other.first not in self._looked_at:
                    self._looked_at.add(other.first)
                    self._with_params.setdefault(_key(other.params), set()).add(other.first)
        began = self._with_params.get(_key(trial.params))
        if not began or began == {trial.first}:
            return []
        chains = [other.chain for other in known if other.counts and other.first in began]
        stood = [[each for each in chain if each.number < trial.number] for chain in chains]
        return sorted((each[-1] for each in stood if each), key=lambda other: other.number)


def _rungs_of(study: "Study", two: TwoObjectives | None) -> Rungs | None:
    """Return the rule by which the study's trials pause; None where none pauses."""
    if not isinstance(study.pruner, PromotionSettings):
        return None
    return Rungs(
        study.pruner.rungs or (),
        study.pruner.factor,
        warmup=study.longest_warmup,
        two=two,
    )


def _key(params: Mapping[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset((name, frozen(value)) for name, value in params.items())


def spent(
    budget: "Budget", trials: Sequence[Trial], elapsed: float, two: TwoObjectives | None
) -> str | None:
    """Say why no trial may train after these and so many seconds of search, in a sentence; None
    while one may. Trials are not counted.
    """
    if budget.seconds is not None and elapsed >= budget.seconds:
        return f"The budget of {budget.seconds:g} seconds is used up."
    if budget.epochs is not None and reported_epochs(trials) >= budget.epochs:
        return f"The budget of {_counted(budget.epochs, 'epoch')} is used up."
    counting = [trial for trial in trials if trial.counts]
    if budget.stale_trials is not None and _stale(counting, two) >= budget.stale_trials:
        return (
            f"The last {_counted(budget.stale_trials, 'finished trial')} brought no better value."
        )
    return None


def _stale(trials: Sequence[Trial], two: TwoObjectives | None) -> int:
    """Count finished trials since the best value was found, or the front of two objectives moved,
    in the order in which they ended.

    The rounds give the order, because a clock may jump. A duplicate ends at the beginning of its
    round.
    """
    finished = [trial for trial in trials if trial.finished]
    finished.sort(key=lambda t: (t.left_round, t.duplicate_of is None, t.number))
    if two is not None:
        return two.ended_since_gain(finished, trials)
    best = best_trial(finished)
    return len(finished) if best is None else len(finished) - 1 - finished.index(best)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
