"""Trials with two objectives: what a sampler sees of them, and how they are ranked at an epoch to
be pruned or promoted.

The storage keeps the workload's own objective of each trial, and all metrics of each epoch. Two
objectives are two of these metrics. A trial stands for the pair of its last epoch, which is the
model that its settings trained; the best epoch would be best by one objective alone.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

import numpy as np

from sweeps.results.front import behind, pareto_front
from sweeps.search.pruners import RoundPercentilePruner
from sweeps.state.trial import Trial

Pair = tuple[float, float]


class TwoObjectives:
    """The pairs that the trials of a study have reported. What it answers follows from the trials
    that it is asked about alone.
    """

    def __init__(self, metrics: Iterable[str]) -> None:
        """`metrics`: the names of both in the metrics of an epoch."""
        self._first, self._second = metrics
        self._known: dict[int, tuple[int, dict[int, Pair]]] = {}
        """Number of a trial → the epochs that it had reported when it was looked at, and its pairs
        by epoch.
        """

    def pairs(self, trial: Trial) -> dict[int, Pair]:
        """Return the pairs of a trial by epoch; epochs without two finite values are left out."""
        count = len(trial.objectives)
        known = self._known.get(trial.number)
        if known is None or known[0] != count:
            read = {
                each.epoch: (
                    each.metrics.get(self._first, math.nan),
                    each.metrics.get(self._second, math.nan),
                )
                for each in trial.epochs
                # Those of a trial as it stood before a round are fewer.
                if each.epoch in trial.objectives
            }
            finite = {epoch: pair for epoch, pair in read.items() if all(map(math.isfinite, pair))}
            known = self._known[trial.number] = count, finite
        return known[1]

    def last(self, trial: Trial, trials: Mapping[int, Trial]) -> Pair | None:
        """Return the pair of a trial at its last epoch, of a duplicate that of the trial that it
        equals; None without one. `trials`: by number.
        """
        equal = trial.duplicate_of
        trial = trial if equal is None else trials.get(equal, trial)
        return self.pairs(trial).get(max(trial.objectives, default=0))

    def as_sampled(self, trials: Sequence[Trial]) -> list[Pair | None]:
        """Return the pair of each complete trial, in their order: all that a sampler for two
        objectives sees; None of the others.

        Pruned and paused trials seem to run to it. Optuna's TPE counts running trials among the bad
        ones. It has no place for a pruned trial, and the pair of an early epoch would seem good: a
        model that has hardly begun has next to no rate.
        """
        by_number = {trial.number: trial for trial in trials}
        return [
            self.last(trial, by_number) if trial.state == "complete" else None for trial in trials
        ]

    def behind(self, epoch: int, trials: Sequence[Trial]) -> dict[int, float]:
        """Return how far each trial is behind the front of all trials at an epoch
        (`sweeps.results.front.behind`), by number.

        Trials that failed, or have no pair at this epoch, are left out.
        """
        reached = {
            trial.number: pair
            for trial in trials
            if trial.state != "failed" and (pair := self.pairs(trial).get(epoch)) is not None
        }
        numbers = behind(np.array(list(reached.values()), dtype=float).reshape(-1, 2))
        return dict(zip(reached, numbers.tolist(), strict=True))

    def pruned(
        self, rule: RoundPercentilePruner, candidates: Sequence[Trial], trials: Sequence[Trial]
    ) -> list[int]:
        """Return the numbers of those candidates, which have just done an epoch, that end by this
        rule.

        A trial ends where it is farther behind the front at its epoch than this percentile of the
        completed trials at the same epoch. One that no other beats in both objectives is not
        behind, so it goes on.
        """
        complete = [trial.number for trial in trials if trial.state == "complete"]
        if len(complete) < max(1, rule.startup_trials):
            return []
        at_epoch: dict[int, list[int]] = {}
        for trial in candidates:
            if trial.objectives and (epoch := max(trial.objectives)) >= rule.warmup_epochs:
                at_epoch.setdefault(epoch, []).append(trial.number)
        pruned = []
        for epoch, numbers in at_epoch.items():
            ranks = self.behind(epoch, trials)
            theirs = [ranks[number] for number in complete if number in ranks]
            limit = float(np.percentile(theirs, rule.percentile)) if theirs else math.inf
            pruned += [number for number in numbers if ranks.get(number, 0.0) > limit]
        return sorted(pruned)

    def ended_since_gain(self, finished: Sequence[Trial], trials: Sequence[Trial]) -> int:
        """Count the finished trials, in the order of their ends, after the last one that came to
        the front of those so far.
        """
        best: np.ndarray = np.empty((0, 2))
        since = 0
        every = chain.from_iterable(trial.chain for trial in trials)
        by_number = {stood.number: stood for stood in every}
        for trial in finished:
            pair = self.last(trial, by_number) if trial.state == "complete" else None
            since += 1
            if pair is not None and not (best <= pair).all(axis=1).any():
                best = np.vstack([best, pair])
                best = best[pareto_front(best)]
                since = 0
        return since
