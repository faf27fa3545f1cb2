"""How trials leave their lanes: they end, pause, or take the result of an equal trial.

Each step can be done a second time without harm, because a process may die between any two of them:
finish the lanes, write outcome and results, discard checkpoints, tell observers, tell Optuna.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import methodcaller

from sweeps.engine.events import Source
from sweeps.engine.failures import check_failures, ended_as, failure_cause
from sweeps.engine.notifications import Notifications
from sweeps.lanes import Lanes, Outcome, TrialResult, TrialSpec
from sweeps.state.trial import Trial
from sweeps.storage.running_trial import RunningTrial
from sweeps.storage.store import Store

_log = logging.getLogger(__name__)
EVICTED = (
    "More trials are paused than the study keeps checkpoints for (keep.paused, keep.paused_gb). "
    "The checkpoints of the worst trials are deleted. Such a trial trains its epochs again where "
    "it goes on."
)


@dataclass(eq=False)
class Phase:
    """A phase of a study while it is driven. The fields are those of `Rounds`, and shared with
    it.
    """

    store: Store
    lanes: Lanes
    notifications: Notifications
    source: Source
    running: dict[int, RunningTrial]
    clock: Callable[[], float]


@dataclass(eq=False)
class TrialEnds(Phase):
    """Ends the trials of a phase."""

    max_failures: int

    def __post_init__(self) -> None:
        self.ending: dict[int, tuple[Outcome, int]] = {}
        """Number of a trial that lanes finish → how it ends, and its last round."""
        self.evicted: set[int] = set()
        """Paused trials whose checkpoints this process has discarded."""
        self.resuming: set[int] = set()
        """Paused trials with which workers may have gone on already, because they are promoted in
        the next round.
        """
        # Failures of earlier processes do not count, because their cause may be mended.
        self.ended_before = {trial.number for trial in self.store.trials() if trial.finished}

    def end_duplicate(self, trial: RunningTrial, equal: Trial, round_: int) -> None:
        """Give a trial the outcome of an equal one, without training it."""
        assert equal.outcome is not None
        outcome = replace(equal.outcome, failure=None)
        result = TrialResult(number=trial.trial.number, metrics=equal.results)
        with self.store.batched():
            trial.end(outcome, result, round_, self.clock(), duplicate_of=equal.number)
        self.notifications.deliver()  # of the round before, too, which does not count this trial
        self.notifications.now(
            methodcaller("trial_ended", trial.trial, outcome, result, equal.number)
        )
        trial.tell(outcome, equal.value)

    def finish(self, ending: Sequence[tuple[RunningTrial, Outcome]], round_: int) -> None:
        """Finish the lanes of these trials, then tell observers and Optuna how they ended. Trials
        that pause are not told.
        """
        if not ending:
            return
        results = self._results(ending, round_)
        for trial, _ in ending:
            self.running.pop(trial.trial.number, None)
        ending = [
            (trial, ended_as(outcome, results[trial.trial.number])) for trial, outcome in ending
        ]
        ending = [(trial, outcome) for trial, outcome in ending if outcome.state != "paused"]
        self._discard_checkpoints([trial.trial for trial, _ in ending])
        self._tell_ends(ending, results)
        # No other round can complete a row of failures.
        if any(failure_cause(outcome.failure) for _, outcome in ending):
            check_failures(
                self.store.name, self.store.trials(), self.ended_before, self.max_failures
            )

    def _discard_checkpoints(self, ended: list[TrialSpec]) -> None:
        """Discard the checkpoints of trials that have ended, and of those paused ones that the
        study no longer keeps.
        """
        gone = self.evicted | self.resuming
        evicted = [
            trial
            for trial in self.source.choose_evicted(self.store.trials())
            if trial.number not in gone
        ]
        if evicted and not self.evicted:
            _log.warning("%s", EVICTED)
        self.evicted.update(trial.number for trial in evicted)
        if ended or evicted:
            self.lanes.discard_checkpoints([*ended, *(trial.spec for trial in evicted)])

    def _tell_ends(
        self, ending: Sequence[tuple[RunningTrial, Outcome]], results: Mapping[int, TrialResult]
    ) -> None:
        self.notifications.deliver({trial.trial.number for trial, _ in ending})
        for trial, outcome in ending:
            self.notifications.now(
                methodcaller("trial_ended", trial.trial, outcome, results[trial.trial.number], None)
            )
        counted = [self.store.trial(trial.trial.number).counted for trial, _ in ending]
        with self.store.batched():
            for (trial, outcome), values in zip(ending, counted, strict=True):
                # What Optuna takes for a pruned trial.
                newest = values[max(values)] if values else None
                trial.tell(
                    outcome, {"complete": outcome.objective, "pruned": newest}.get(outcome.state)
                )

    def end_paused(self, round_: int) -> bool:
        """End the trials that are still paused as pruned, with what they had reached; returns
        whether there were any.

        Their checkpoints stay, because a larger budget may revive them.
        """
        paused = [trial for trial in self.store.trials() if trial.paused]
        self._end_as_pruned(paused, round_)
        return bool(paused)

    def end_uncounted(self, round_: int) -> None:
        """End the trials that a new stage found in their course and could not have proposed."""
        trials = [trial for trial in self.store.trials() if trial.unfinished and not trial.paused]
        # One that has left its results has only to be told.
        trials = [t for t in trials if not t.counts and self.store.running(t).left is None]
        for trial in trials:
            _log.warning(
                "%s: ended as pruned after epoch %d, because it began in stage %d and its settings "
                "are not those of the study now.",
                trial.name_in(self.store.name),
                len(trial.objectives),
                trial.stage,
            )
        self._end_as_pruned(trials, round_)
        self._discard_checkpoints([trial.spec for trial in trials])

    def _end_as_pruned(self, trials: Sequence[Trial], round_: int) -> None:
        ending = []
        results = dict[int, TrialResult]()
        for stored in trials:
            trial = self.store.running(stored)
            best = min(stored.counted.values(), default=None)
            outcome = Outcome(state="pruned", epoch=len(stored.objectives), objective=best)
            left = trial.paused_with if stored.paused else TrialResult(number=stored.number)
            results[stored.number] = left
            ending.append((trial, outcome))
        with self.store.batched():
            for trial, outcome in ending:
                trial.end(outcome, results[trial.trial.number], round_, self.clock())
        self._discard_checkpoints([])
        self._tell_ends(ending, results)

    def _results(
        self, ending: Sequence[tuple[RunningTrial, Outcome]], round_: int
    ) -> dict[int, TrialResult]:
        """Collect what the lanes leave behind, by number; durable before the lanes discard how to
        make it again.
        """
        here = {
            trial.trial.number: outcome
            for trial, outcome in ending
            if trial.trial.number in self.running
        }
        # Trials that are not in lanes were finished by a process that died before it could tell.
        left = [trial.left for trial, _ in ending if trial.trial.number not in here]
        results = {result.number: result for result in left if result is not None}
        self.ending = {number: (outcome, round_) for number, outcome in here.items()}
        self.notifications.deliver(here)  # now, because a trial may be tested for long
        finished = self.lanes.finish(here) if here else []
        self.record(finished)
        self.ending = {}
        return results | {result.number: result for result in finished}

    def record(self, results: Iterable[TrialResult]) -> None:
        """Record how those of these trials end that the lanes were asked to finish."""
        with self.store.batched():
            for result in [result for result in results if result.number in self.ending]:
                outcome, round_ = self.ending[result.number]
                trial = self.running[result.number]
                outcome = ended_as(outcome, result)
                if outcome.state == "paused":
                    trial.pause(result, outcome.epoch, round_)
                else:
                    trial.end(outcome, result, round_, self.clock())
