"""Which trials pause at a rung and which go on: asynchronous successive halving of the promotion
type (Li et al. 2020, algorithm 2).

A trial that reaches a rung goes on at once where it is among the best 1/factor of all trials that
have reached this rung, and else pauses. More trials reach a rung as time goes by, so a paused trial
may come to be among the best of them: then it is promoted.

Where decisions are pipelined, a trial that reaches a rung is compared with those that had reached
it before this round, and itself. Promotions follow from what was known before the round before.

At the end of the budget paused trials end. Where the study goes on with a larger one, the rule
takes them as if they had not: then they are revived.
"""

import math
from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from itertools import chain, starmap

from sweeps.search.two_objectives import TwoObjectives
from sweeps.state.trial import Trial


def least_objective(trial: Trial, epoch: int, warmup: int) -> float:
    """Return the least objective that a trial has reported after so many epochs of warm-up, up to
    this epoch; infinite without any.
    """
    counted = (value for at, value in trial.objectives.items() if warmup < at <= epoch)
    return min(counted, default=math.inf)


class Rungs:
    """The rungs of a study and the trials that have reached them."""

    def __init__(
        self,
        epochs: Sequence[int],
        factor: int,
        *,
        warmup: int = 0,
        two: TwoObjectives | None = None,
    ) -> None:
        """Keep the rungs of a study.

        Args:
            epochs: those of the rungs, ascending.
            factor: one in so many goes on.
            warmup: the longest warm-up of a trial of the study; trials are compared by the epochs
                after it.
            two: ranks the trials of a study with two objectives.
        """
        self._epochs = tuple(epochs)
        self._factor = factor
        self._warmup = warmup
        self._two = two
        self._trials: Sequence[Trial] = ()
        self._reached: dict[int, dict[int, float]] = {epoch: {} for epoch in self._epochs}
        """Epoch of a rung → number of a trial that has reached it → the least objective up to
        there.
        """
        self._numbers: dict[int, Trial] = {}
        self._known: set[int] = set()
        """Trials that have ended: what they have reached changes no more."""
        self._ended_paused: dict[int, Trial] = {}
        """Trials that ended while they were paused and that no other revives yet, by number."""
        self._first: dict[int, int] = {}
        """Number of a trial that revives another → number of the first that it goes on as."""

    def pausing(self, candidates: Collection[Trial], trials: Sequence[Trial]) -> list[int]:
        """Return the numbers of those candidates, which have just done an epoch, that pause now.

        `trials`: all, by number. Where they are those that were known before, each candidate is
            compared with these and itself.
        """
        self._look_at(trials)
        at_rung: dict[int, list[Trial]] = {}
        for trial in candidates:
            if len(trial.objectives) in self._epochs:
                at_rung.setdefault(len(trial.objectives), []).append(trial)
        behind = chain.from_iterable(starmap(self._behind, at_rung.items()))
        return sorted(trial.number for trial in behind)

    def _behind(self, epoch: int, candidates: Sequence[Trial]) -> list[Trial]:
        """Return those candidates, which have just reached a rung, that are not among its best
        1/factor.
        """
        known = self._values(epoch)
        order, front = self._order(known)
        behind = []
        for trial in candidates:
            here = known
            sorted_here = order
            in_front = front
            if trial.number not in known and self._two is not None:
                here = self._two.behind(
                    epoch, [trial if t.number == trial.number else t for t in self._trials]
                )
                sorted_here, in_front = self._order(here)
            value = here.get(
                trial.number, None if self._two else least_objective(trial, epoch, self._warmup)
            )
            count = len(here) + (trial.number not in here)
            place = (
                count if value is None else bisect_left(sorted_here, self._key(trial.number, value))
            )
            if place >= max(count // self._factor, in_front):
                behind.append(trial)
        return behind

    def promoted(self, trials: Sequence[Trial]) -> Trial | None:
        """Return the paused trial that goes on next: of those on the highest rung with any, the
        best; None where none is among the best.

        It may have ended while it was paused: then another trial is to revive it.
        """
        paused = self._waiting(trials)
        for epoch in reversed(self._epochs):
            here = {trial.number for trial in paused if self._rung(trial) == epoch}
            if promoted := [number for number in self._best(epoch) if number in here]:
                return self._numbers[promoted[0]]
        # One that had to leave its lane before the first rung has not been compared yet.
        return next((trial for trial in paused if self._rung(trial) == 0), None)

    def ranked(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials that `promoted` chooses from, the best first: those on higher rungs,
        then those with lower objectives.
        """
        waiting = self._waiting(trials)
        values = {rung: self._values(rung) for rung in {self._rung(trial) for trial in waiting}}
        return sorted(
            waiting, key=lambda t: (-self._rung(t), values[self._rung(t)].get(t.number, 0.0))
        )

    def _waiting(self, trials: Sequence[Trial]) -> list[Trial]:
        """Return the trials that are paused, or were when they ended, by number."""
        self._look_at(trials)
        waiting = {trial.number: trial for trial in trials if trial.paused} | self._ended_paused
        return [waiting[number] for number in sorted(waiting)]

    def _look_at(self, trials: Sequence[Trial]) -> None:
        self._trials = trials
        self._numbers = {trial.number: trial for trial in trials}
        for trial in trials:
            if trial.number in self._known:
                continue
            if trial.before:  # it has the epochs of that one
                self._first[trial.number] = trial.first
                for stood in trial.chain[:-1]:
                    self._ended_paused.pop(stood.number, None)
                    for reached in self._reached.values():
                        reached.pop(stood.number, None)
            for epoch, reached in self._reached.items():
                if len(trial.objectives) >= epoch and trial.number not in reached:
                    reached[trial.number] = least_objective(trial, epoch, self._warmup)
            if trial.finished:
                self._known.add(trial.number)
                if trial.resumable:
                    self._ended_paused[trial.number] = trial

    def _best(self, epoch: int) -> list[int]:
        """Return the numbers of the best 1/factor of the trials that have reached a rung, the best
        first; of equals the earlier.

        With two objectives, those that are not behind the front of the rung are among them, however
        many they are, because nothing says that one of them is worse than another.
        """
        reached = self._values(epoch)
        order, front = self._order(reached)
        return [number for _, _, number in order[: max(len(order) // self._factor, front)]]

    def _order(self, reached: Mapping[int, float]) -> tuple[list[tuple[float, int, int]], int]:
        """Return the keys of trials by which they are sorted, the best first, and how many of two
        objectives are on the front.
        """
        order = sorted(self._key(number, value) for number, value in reached.items())
        return order, 0 if self._two is None else sum(value == 0 for value in reached.values())

    def _key(self, number: int, value: float) -> tuple[float, int, int]:
        return value, self._first.get(number, number), number

    def _values(self, epoch: int) -> Mapping[int, float]:
        """Return the numbers that rank the trials that have reached a rung, the best first, by
        number of the trial.
        """
        return (
            self._reached.get(epoch, {})
            if self._two is None
            else self._two.behind(epoch, self._trials)
        )

    def _rung(self, trial: Trial) -> int:
        """Return the epoch of the highest rung that a trial has reached; 0 below the first."""
        return max((epoch for epoch in self._epochs if epoch <= len(trial.objectives)), default=0)
