"""Who pauses at a rung and who goes on: asynchronous successive halving of the promotion type (Li et al. 2020, algorithm 2).

A trial that reaches a rung goes on at once where it is among the best 1/factor of all trials that have reached this rung, and else pauses.
More trials reach a rung as time goes by, so a paused trial may come to be among the best of them: then it is promoted. Nobody is
killed on the word of few competitors.

At the end of the budget paused trials end. Where the study goes on with a larger one, the rule takes them as if they had not: then
they are revived.
"""

from collections.abc import Collection, Sequence

from optuna.trial import FrozenTrial

from sweeps.engine.two_objectives import TwoObjectives
from sweeps.storage.trial_record import is_paused, may_revive, revives


class Rungs:
    """The rungs of a study and the trials that have reached them."""

    def __init__(
        self, epochs: Sequence[int], factor: int, *, revives_from: int = 0, two: TwoObjectives | None = None
    ) -> None:
        """Keep the rungs of a study.

        Args:
            epochs: those of the rungs, ascending.
            factor: one in so many goes on.
            revives_from: number of the first trial that may be revived.
            two: ranks the trials of a study with two objectives.
        """
        self._epochs, self._factor, self._revives_from, self._two = tuple(epochs), factor, revives_from, two
        self._trials: Sequence[FrozenTrial] = ()
        self._reached: dict[int, dict[int, float]] = {epoch: {} for epoch in self._epochs}
        """Epoch of a rung → number of a trial that has reached it → the least objective up to there."""
        self._known: set[int] = set()
        """Trials that have ended: what they have reached changes no more."""
        self._ended_paused: dict[int, FrozenTrial] = {}
        """Trials that ended while they were paused and that no other revives yet, by number."""

    def pausing(self, candidates: Collection[FrozenTrial], trials: Sequence[FrozenTrial]) -> list[int]:
        """Return the numbers of those candidates, which have just done an epoch, that pause now. `trials`: all, by number."""
        self._look_at(trials)
        at_rung = [trial for trial in candidates if len(trial.intermediate_values) in self._epochs]
        best = {epoch: self._best(epoch) for epoch in {len(trial.intermediate_values) for trial in at_rung}}
        return [trial.number for trial in at_rung if trial.number not in best[len(trial.intermediate_values)]]

    def promoted(self, trials: Sequence[FrozenTrial], lanes: int) -> FrozenTrial | None:
        """Return the paused trial that goes on next: of those on the highest rung with any, the best; None where nobody deserves it.

        It may have ended while it was paused: then another trial is to revive it. How many `lanes` are free changes nothing.
        """
        paused = self._waiting(trials)
        for epoch in reversed(self._epochs):
            here = {trial.number for trial in paused if self._rung(trial) == epoch}
            if promoted := [number for number in self._best(epoch) if number in here]:
                return trials[promoted[0]]
        # One that had to leave its lane before the first rung has not been compared yet.
        return next((trial for trial in paused if self._rung(trial) == 0), None)

    def ranked(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that `promoted` chooses from, the best first: those on higher rungs, then those with lower objectives."""
        waiting = self._waiting(trials)
        values = {rung: self._values(rung) for rung in {self._rung(trial) for trial in waiting}}
        return sorted(waiting, key=lambda t: (-self._rung(t), values[self._rung(t)].get(t.number, 0.0)))

    def _waiting(self, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
        """Return the trials that are paused, or were when they ended, by number."""
        self._look_at(trials)
        waiting = {trial.number: trial for trial in trials if is_paused(trial)} | self._ended_paused
        return [waiting[number] for number in sorted(waiting)]

    def _look_at(self, trials: Sequence[FrozenTrial]) -> None:
        self._trials = trials
        for trial in trials:
            if trial.number in self._known:
                continue
            if (revived := revives(trial)) is not None:  # it has the epochs of that one
                self._ended_paused.pop(revived, None)
                for reached in self._reached.values():
                    reached.pop(revived, None)
            reported = trial.intermediate_values
            for epoch, reached in self._reached.items():
                if len(reported) >= epoch and trial.number not in reached:
                    reached[trial.number] = min(value for at, value in reported.items() if at <= epoch)
            if trial.state.is_finished():
                self._known.add(trial.number)
                if may_revive(trial) and trial.number >= self._revives_from:
                    self._ended_paused[trial.number] = trial

    def _best(self, epoch: int) -> list[int]:
        """Return the numbers of the best 1/factor of the trials that have reached a rung, the best first; of equals the earlier.

        With two objectives, those that are not behind the front of the rung are among them, however many they are, because nothing
        says that one of them is worse than another.
        """
        reached = self._values(epoch)
        order = sorted(reached, key=lambda number: (reached[number], number))
        front = 0 if self._two is None else sum(value == 0 for value in reached.values())
        return order[: max(len(order) // self._factor, front)]

    def _values(self, epoch: int) -> dict[int, float]:
        """Return the numbers that rank the trials that have reached a rung, the best first, by number of the trial."""
        return self._reached.get(epoch, {}) if self._two is None else self._two.behind(epoch, self._trials)

    def _rung(self, trial: FrozenTrial) -> int:
        """Return the epoch of the highest rung that a trial has reached; 0 below the first."""
        return max((epoch for epoch in self._epochs if epoch <= len(trial.intermediate_values)), default=0)
