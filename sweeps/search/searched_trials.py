"""The trials of a search: what the sampler proposes, who is promoted, and when the budget is used up."""

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from sweeps.search.curves.sampler import CurveSampler
from sweeps.search.growing import GrowingSpace
from sweeps.search.promotion import Rungs
from sweeps.search.pruners import PromotionSettings
from sweeps.search.samplers import GRID_DONE, CurvesSettings, exhausted, make_sampler
from sweeps.search.two_objectives import TwoObjectives
from sweeps.seeds import seed_of
from sweeps.storage.proposals import in_storage, learned_trials, propose
from sweeps.storage.rounds import running_before
from sweeps.storage.study_record import study_record, write_study
from sweeps.storage.trial_record import (
    best_trial,
    checkpoint_bytes,
    counted_epochs,
    duplicate_of,
    ended_round,
    first_round,
    left_round,
    newest_of_each,
    owned_by_driver,
    reported_epochs,
    revives,
    went_on_in,
)
from sweeps.study.ranges import Growth
from sweeps.study.start import BestOf

if TYPE_CHECKING:
    from sweeps.study.study import Study
    from sweeps.study.study_model import Budget

KNOWN_IN_A_ROW = 50
"""This many proposals in a row of known configurations end a search, because the sampler has nothing left to find."""


def trial_seed(study_seed: int, number: int) -> int:
    """Return the seed of a trial, 63 bits, from the study's seed and the trial's number, without those that revive another."""
    return seed_of(f"{study_seed}:trial:{number}")


class SearchedTrials:
    """Trials that the study's sampler asks for, while the budget lasts."""

    def __init__(self, optuna_study: optuna.Study, study: "Study", *, late: bool) -> None:
        """`late`: whether the trials of a round are proposed without the results of the round before."""
        self.optuna_study, self.study, self.late = optuna_study, study, late
        self.planned = study.budget.trials
        record = study_record(optuna_study)
        self.two = TwoObjectives(study.objectives.values()) if study.objectives else None
        self.ranks = not study.objectives
        self.rule: Rungs | None = None
        """By which trials pause and go on; None where none pauses."""
        self.ranking: Rungs | None = None
        """The same rule, asked whose checkpoints to keep. It knows more than the other one where rounds are decided late."""
        if isinstance(study.pruner, PromotionSettings):
            rungs, factor = study.pruner.rungs or (), study.pruner.factor
            self.rule, self.ranking = (
                Rungs(rungs, factor, warmup=study.longest_warmup, revives_from=record.revives_from, two=self.two)
                for _ in range(2)
            )
        self.curves: CurveSampler | None = None
        """Proposes configurations where the study's sampler predicts curves."""
        if isinstance(study.sampler, CurvesSettings):
            self.curves = CurveSampler(study.sampler, study.space, study.seed)
        self._with_params: dict[frozenset[tuple[str, Any]], list[int]] = {}
        """Parameters → numbers of the trials that have them, of the first `_looked_up` trials."""
        self._looked_up = 0
        self._known: Sequence[FrozenTrial] | None = None
        self._spent: str | None = None
        """The trials after which the last one was proposed, and why none may train after them."""
        self._counted = self._revivals = 0
        """Trials that `_place` has looked at, and those of them that revive another."""
        self.start = record.start or tuple(point for point in study.start if not isinstance(point, BestOf))
        self.growing = GrowingSpace(study.space, record.grown)
        self.lessons, self.learned = record.learned, (study.space, learned_trials(record.learned, study.space))
        """Trials of another study, and the same as they lie in a space."""

    def propose(
        self, known: Sequence[FrozenTrial], proposals: Sequence[FrozenTrial], elapsed: float, round_: int
    ) -> FrozenTrial | str:
        study, place = self.study, self._place(known) + len(proposals)
        if study.budget.trials is not None and place >= study.budget.trials:
            return f"The budget of {_counted(study.budget.trials, 'trial')} is used up."
        # What follows from them is asked for once, because there may be 10,000 trials and 64 lanes.
        if self._known is not known:
            self._known, self._spent = known, spent(study.budget, known, elapsed, self.two)
        if self._spent:
            return self._spent
        if exhausted(study.sampler, study.space, place):
            return GRID_DONE
        newest_first = itertools.chain(reversed(proposals), reversed(known))
        newest = [*itertools.islice((trial for trial in newest_first if revives(trial) is None), KNOWN_IN_A_ROW)]
        if len(newest) == KNOWN_IN_A_ROW and all(duplicate_of(trial) is not None for trial in newest):
            return f"The sampler proposed only known settings, {KNOWN_IN_A_ROW} times in a row."
        start = self.start[place] if place < len(self.start) else {}
        if not start and self.curves:
            start = self.curves.configuration(known, proposals, round_)
        return self._propose(len(known) + len(proposals), place, proposals, start, round_)

    def beginning(self, number: int, round_: int) -> None:
        """Record the steps that ranges take with this trial."""
        if (steps := self._steps(round_, number)) != self.growing.taken:
            write_study(self.optuna_study, grown=steps)
            self.growing.taken = steps

    def pruned(self, candidates: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> Collection[int] | None:
        if self.two is None:
            return None
        warm = [trial for trial in candidates if len(trial.intermediate_values) > self.study.longest_warmup]
        return self.two.pruned(self.study.pruner.quantile(), warm, trials)

    def pausing(self, candidates: Sequence[FrozenTrial], trials: Sequence[FrozenTrial]) -> Collection[int]:
        return self.rule.pausing(candidates, trials) if self.rule else ()

    def promoted(
        self, trials: Sequence[FrozenTrial], lanes: int, elapsed: float, round_: int, *, last: bool
    ) -> FrozenTrial | None:
        """See `Source`. At the last, the best paused trials go on until as many are complete as the study confirms, one at least.

        Where trials are of different length, short ones are complete early. So paused trials also go on, one after the other, while one of
        them has reached less than the best complete trial.
        """
        if self.rule is None:
            return None
        trials = running_before(trials, round_)
        if not spent(self.study.budget, trials, elapsed, self.two) and (promoted := self.rule.promoted(trials, lanes)):
            return promoted
        if not last:
            return None
        wanted = max(1, self.study.confirm.top if self.study.confirm else 1)
        wanted -= sum(trial.state == TrialState.COMPLETE for trial in trials)
        going = sum(owned_by_driver(trial) and first_round(trial) is not None for trial in trials)
        ranked = self.rule.ranked(trials)
        if going < wanted:
            return next(iter(ranked), None)
        best = best_trial(trials) if self.study.unlike_lengths and self.ranks and not going else None
        if best is None or best.value is None:
            return None
        reached = {trial.number: min(counted_epochs(trial).values(), default=math.inf) for trial in ranked}
        lower = [trial for trial in ranked if reached[trial.number] < best.value]
        return min(lower, key=lambda trial: reached[trial.number], default=None)

    def fallen(self, trials: Sequence[FrozenTrial]) -> Sequence[FrozenTrial]:
        if self.ranking is None:
            return ()
        ranked, keep = self.ranking.ranked(trials), self.study.keep
        sizes = itertools.accumulate(map(checkpoint_bytes, ranked))
        kept = sum(size <= keep.paused_gb * 1e9 for size in sizes)
        return ranked[min(kept, keep.paused) :]

    def _place(self, trials: Sequence[FrozenTrial]) -> int:
        """Return the number of these trials that began anew, which is the number of the next one where none was revived."""
        while self._counted < len(trials) and in_storage(trials[self._counted]):
            self._revivals += revives(trials[self._counted]) is not None
            self._counted += 1
        unwritten = sum(revives(trial) is not None for trial in trials[self._counted :])
        return len(trials) - self._revivals - unwritten

    def _propose(
        self, number: int, place: int, proposals: Sequence[FrozenTrial], start: Mapping[str, Any], round_: int
    ) -> FrozenTrial:
        """Propose the trial of this number and place, after all in the storage and these proposals. `start`: values that it takes.

        With many lanes, what has ended in the round before or later counts as running, and what goes on in this round as paused.
        """
        study, steps = self.study, self._steps(round_, number)
        space = study.space.grown(steps)
        if self.learned[0] != space:
            self.learned = space, learned_trials(self.lessons, space)
        sampler = make_sampler(study.sampler, space, study.seed, place, start)
        return propose(
            self.optuna_study,
            sampler,
            space,
            number=number,
            seed=trial_seed(study.seed, place),
            warmup=lambda trial: study.warmup_of(self.params(trial)),
            proposals=proposals,
            unseen=lambda trial: self.late and left_round(trial) >= round_ - 1,
            later=lambda trial: self.late and went_on_in(trial) >= round_,
            grown={step.parameter for step in steps},
            learned=self.learned[1],
            pairs=self.two.as_sampled if self.two else None,
        )

    def _steps(self, round_: int, number: int) -> tuple[Growth, ...]:
        """Return the steps that ranges have taken for the trials of a round, of which `number` is the first that is asked for."""
        end = round_ - 1 if self.late else round_
        return self.growing.steps(round_, number, end, partial(self.optuna_study.get_trials, deepcopy=False))

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        return self.study.space.decode(trial.params)

    def duplicate_of(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> FrozenTrial | None:
        # A trial that failed says nothing about its setting.
        lasting = (TrialState.COMPLETE, TrialState.PRUNED)
        equal = newest_of_each([*self._equal_to(stored, earlier)])
        return next((trial for trial in equal if trial.state in lasting or owned_by_driver(trial)), None)

    def _equal_to(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> Iterator[FrozenTrial]:
        """Yield the earlier trials with these parameters, by number. Those in the storage are looked up, because there may be 10,000."""
        while self._looked_up < len(earlier) and in_storage(earlier[self._looked_up]):
            params = earlier[self._looked_up].params
            self._with_params.setdefault(frozenset(params.items()), []).append(self._looked_up)
            self._looked_up += 1
        known = self._with_params.get(frozenset(stored.items()), ())
        yield from (earlier[number] for number in known if number < len(earlier))
        yield from (trial for trial in earlier[self._looked_up :] if trial.params == stored)


def spent(
    budget: "Budget", trials: Sequence[FrozenTrial], elapsed: float, two: TwoObjectives | None = None
) -> str | None:
    """Say why no trial may train after these and so many seconds of search, in a sentence; None while one may. Trials are not counted."""
    if budget.seconds is not None and elapsed >= budget.seconds:
        return f"The budget of {budget.seconds:g} seconds is used up."
    if budget.epochs is not None and reported_epochs(trials) >= budget.epochs:
        return f"The budget of {_counted(budget.epochs, 'epoch')} is used up."
    if budget.stale_trials is not None and _stale(trials, two) >= budget.stale_trials:
        return f"The last {_counted(budget.stale_trials, 'finished trial')} brought no better value."
    return None


def _stale(trials: Sequence[FrozenTrial], two: TwoObjectives | None) -> int:
    """Count finished trials since the best value was found, or the front of two objectives moved, in the order in which they ended.

    The rounds give the order, because a clock may jump. A duplicate ends at the beginning of its round.
    """
    finished = [trial for trial in newest_of_each(trials) if trial.state.is_finished()]
    finished.sort(key=lambda t: (ended_round(t), duplicate_of(t) is None, t.number))
    if two is not None:
        return two.ended_since_gain(finished, trials)
    best = best_trial(finished)
    return len(finished) if best is None else len(finished) - 1 - finished.index(best)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
