"""The rounds of a study, and how a study that was killed anywhere resumes.

A round: settle duplicates → fill free lanes → train each lane one epoch → report every objective →
decide for every trial → end those that end. Each step is durable before the next begins:

- A trial is written with all its parameters or not at all (`Store.begin`).
- The round of a trial's first epoch and the epochs it has reported say what it has done; whether an
  epoch was its last is written before the epoch is reported.
- The decisions of a round are one write (`RoundDecisions`). They end the round; all steps after
  them (finish the lanes, write outcome and results, discard checkpoints, tell observers, tell
  Optuna) can be done a second time without harm.

With many lanes, decisions are pipelined, so that no worker waits for the slowest. A trial pruned at
epoch e still trains epoch e + 1. The trials that begin or resume in a round follow from what was
known before the round before it. Whether a trial pauses follows from what was known before the
round, and from its own epoch. So each worker learns during a round what to do in the next one
(`Lanes.prefetch`). The storage never sees that: rounds are written one after the other.
"""

import itertools
import logging
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import methodcaller

from sweeps.engine.events import Observer, Source, snapshot_of
from sweeps.engine.failures import MAX_FAILURES
from sweeps.engine.notifications import Notifications
from sweeps.engine.prefetch import NextTrials
from sweeps.engine.trial_ends import TrialEnds
from sweeps.engine.trial_starts import TrialStarts
from sweeps.engine.worker_records import WorkerRecords
from sweeps.lanes import Lanes, Outcome, Progress, TrialResult, TrialSpec
from sweeps.lanes.awake import awake_seconds
from sweeps.state.decisions import (
    RoundDecisions,
    left_since,
    outcome_by,
    paused_ended_in,
    undecided,
)
from sweeps.state.trial import Trial
from sweeps.storage.running_trial import RunningTrial, with_divergence
from sweeps.storage.store import Store

Clock = Callable[[], float]
"""Seconds since some fixed moment, as `time.time`."""

_log = logging.getLogger(__name__)
PIPELINED_FROM = 16
"""With this many lanes or more, decisions of a new study are pipelined: they lag one round."""
STOP_SECONDS = 20.0
"""For workers to end the epoch at hand and write checkpoints. Slurm and Kubernetes kill what is
there 30 seconds after SIGTERM.
"""


def is_pipelined(store: Store, lanes: Lanes) -> bool:
    """Whether decisions lag one round with these lanes. The number of lanes from which on they do
    is recorded with a new study.
    """
    if store.record.late_from is None:
        store.write(late_from=PIPELINED_FROM)
    return lanes.width >= (store.record.late_from or PIPELINED_FROM)


@dataclass(eq=False)
class Rounds:
    """One phase of a study. `running` are the trials in lanes, by number; others that have not
    ended wait outside.
    """

    store: Store
    lanes: Lanes
    observers: Sequence[Observer]
    source: Source
    clock: Clock = time.time
    """Gives the times on record. It may jump; nothing is decided by it."""
    timer: Clock = awake_seconds
    """Measures the seconds in which this process ran. It never goes back."""
    max_failures: int = MAX_FAILURES
    stop_seconds: float = STOP_SECONDS

    def __post_init__(self) -> None:
        self.running: dict[int, RunningTrial] = {}
        self.round = 0
        self.trained = 0.0
        self.notifications = Notifications(self.observers)
        self.elapsed, self.mark = self.store.record.elapsed or 0.0, self.timer()
        self.elapsed_before = self.elapsed
        """Seconds spent when the round before this one was over."""
        self.pipelined = is_pipelined(self.store, self.lanes)
        self.to_prune: tuple[int, ...] = ()
        """Trials that the pruner has ended, and that end after this round."""
        self.arrived: Sequence[Progress] = ()
        """Epochs that are done and not yet recorded."""
        self.workers = WorkerRecords(self.store, self.lanes, self.timer)
        phase = (
            self.store,
            self.lanes,
            self.notifications,
            self.source,
            self.running,
            self.clock,
        )
        self.ends = TrialEnds(*phase, self.max_failures)
        self.starts = TrialStarts(*phase, self.spent, self.ends, self.pipelined)

    def run(self) -> str:
        """Go on until the source has no more trials and all have ended; returns the source's
        reason.
        """
        try:
            self._resume()
            while True:
                reason = self.starts.fill(self.round, self.elapsed_before)
                if not self.running:
                    learns = self.pipelined and left_since(self.store.trials(), self.round - 1)
                    if not learns or paused_ended_in(self.store.trials(), self.round):
                        self.notifications.deliver()
                        if self.ends.end_paused(self.round):
                            self._tell_round()
                            continue  # trials that equal them take their results
                    if not learns:
                        self.workers.clear()
                        return reason
                self._advance()
                self._end_round()
        except KeyboardInterrupt:
            self._stop()
            raise

    def _stop(self) -> None:
        """Record what the lanes were at and let them leave checkpoints, so that the next process
        trains no epoch again.
        """
        if self.lanes.workers:
            what = "workers end the epoch at hand and write checkpoints"
            _log.warning(
                "Stopping: %s, for %g s at the most. Ctrl-C again ends at once.",
                what,
                self.stop_seconds,
            )
        ahead: list[Progress] = []
        for done in itertools.chain([self.arrived], self.lanes.stop(self.stop_seconds)):
            here = [
                each for each in done if isinstance(each, Progress) and each.number in self.running
            ]
            self._report([each for each in here if not self._is_ahead(each)])
            ahead += [each for each in here if self._is_ahead(each)]
            self.ends.record(each for each in done if isinstance(each, TrialResult))
        if self.pipelined:
            self.store.write_epochs_ahead(ahead)

    def _is_ahead(self, progress: Progress) -> bool:
        """Whether an epoch is of the next round."""
        trial = self.store.trial(progress.number)
        return (
            self.pipelined
            and trial.reported_in(self.round)
            and progress.epoch > len(trial.objectives)
        )

    def _resume(self) -> None:
        """Take the study up where its last process left it: end the trials whose end was decided,
        and let the others catch up in lanes.
        """
        decisions = self.store.decisions
        if decisions:
            self.round = decisions.round + 1
            self.to_prune = decisions.to_prune
            self.store.write_pruner_notes(decisions)
        self.starts.ahead = self.store.epochs_ahead if self.pipelined else {}
        self.ends.end_uncounted(self.round - 1)
        unfinished = [
            trial for trial in self.store.trials() if trial.unfinished and not trial.paused
        ]
        for trial in unfinished:
            self._tell_resumed(trial)
        in_lanes = [trial for trial in unfinished if trial.lane_round is not None]
        outcomes = [(trial, outcome_by(trial, decisions)) for trial in in_lanes]
        self._end_decided(
            [(self.store.running(trial), outcome) for trial, outcome in outcomes if outcome]
        )
        self._refill([self.store.running(trial) for trial, outcome in outcomes if not outcome])
        if self.pipelined:
            self._discard_again()

    def _refill(self, resuming: Sequence[RunningTrial]) -> None:
        """Put trials back into lanes and let them catch up; those that find no lane, because there
        are fewer than there were, wait.
        """
        for running in resuming[: self.lanes.width]:
            self.starts.add(running)
        for running in resuming[self.lanes.width :]:
            running.leave_lane(self.round - 1)
        self.lanes.replay()
        for number in self.starts.ahead.keys() - self.running.keys():
            del self.starts.ahead[number]

    def _discard_again(self) -> None:
        """Discard the checkpoints of trials that have ended, because the last process may have died
        before its workers had.
        """
        newest = max(0, self.round - 2)
        ended = [trial for trial in self.store.trials() if trial.finished]
        ended = [trial for trial in ended if trial.left_round >= newest and not trial.resumable]
        self.lanes.discard_checkpoints([trial.spec for trial in ended])

    def _tell_resumed(self, trial: Trial) -> None:
        """Tell observers of a trial that resumes, and of its newest epoch, because the process may
        have died before it could tell that.
        """
        self.notifications.now(methodcaller("trial_started", trial.spec, resumed=True))
        for newest in trial.epochs[-1:]:
            progress = Progress(
                number=trial.number,
                epoch=newest.epoch,
                objective=newest.objective,
                metrics=newest.metrics,
            )
            self.notifications.now(methodcaller("epoch_finished", trial.spec, progress))

    def _end_decided(self, ending: Sequence[tuple[RunningTrial, Outcome]]) -> None:
        """End trials that are decided and still run in Optuna, as many at a time as there are
        lanes.
        """
        for start in range(0, len(ending), self.lanes.width):
            batch = ending[start : start + self.lanes.width]
            for trial, _ in batch:
                if trial.left is None:
                    self.starts.add(trial)
            self.lanes.replay()
            self.ends.finish(batch, self.round - 1)

    def _advance(self) -> None:
        """Train the lanes that have not done their epoch of this round (after a kill, some have);
        record each as it comes.
        """
        behind = self._behind()
        ahead = self.starts.ahead
        self._report([ahead.pop(number) for number in behind if number in ahead])
        behind = self._behind()
        self.workers.record()
        self.elapsed_before = self.elapsed
        if self.pipelined and not ahead:
            self.lanes.prefetch(self._plan)
        begun = time.monotonic()
        left = len(behind)
        for done in self.lanes.advance(behind) if behind else ():
            self.arrived = done
            self.notifications.deliver()
            if done:
                left -= len(done)
                self._report(done)
                self.arrived = ()
            elif self.pipelined:
                self._next_round().look_ahead(self.trained / 4)
            if left:  # others train meanwhile
                self.notifications.deliver()
        self.trained = time.monotonic() - begun

    def _behind(self) -> list[int]:
        """Return the numbers of the trials that have not done their epoch of this round."""
        in_lanes = self.starts.in_lanes()
        return [trial.number for trial in in_lanes if not trial.reported_in(self.round)]

    def _plan(self, numbers: Collection[int]) -> tuple[dict[int, Outcome], list[TrialSpec]]:
        """Return which of these trials, all of which have done their epoch of this round, end with
        it, and the trials that begin in their lanes.
        """
        held = [trial for trial in self.starts.in_lanes() if trial.number in numbers]
        sure = RoundDecisions(
            self.round,
            self.to_prune,
            {},
            paused=self._choose_pausing(undecided(held, self.to_prune)),
        )
        ending = {trial.number: outcome for trial in held if (outcome := outcome_by(trial, sure))}
        chosen = [self._next_round().choose() for _ in ending]
        self.ends.resuming = {*self.starts.next.promoted}
        begin = [
            trial
            for trial in chosen
            if not isinstance(trial, str) and trial not in self.starts.next.waiting
        ]
        return ending, [trial.spec for trial in begin]

    def _report(self, done: Sequence[Progress]) -> None:
        reports = [(self.running[progress.number], with_divergence(progress)) for progress in done]
        at = self.clock()
        with self.store.batched():
            recorded = [(trial, p) for trial, p in reports if trial.report(p, self.round, at)]
        for trial, progress in recorded:
            self.notifications.later(
                methodcaller("epoch_finished", trial.trial, progress), trial.trial.number
            )

    def _end_round(self) -> None:
        """Let the pruner look at the trials that would go on, and end those that end. The decisions
        are one write.
        """
        resuming = undecided(self.starts.in_lanes(), self.to_prune)
        decided = self.source.choose_pruned(resuming, self.store.trials(), self.round)
        decisions = decided.ending(self.to_prune, pipelined=self.pipelined)
        resuming = [trial for trial in resuming if trial.number not in decisions.pruned]
        decisions = replace(decisions, paused=self._choose_pausing(resuming))
        self.to_prune = decisions.to_prune
        self.elapsed, self.mark = self.spent(), self.timer()
        with self.store.batched():
            self.store.write_decisions(decisions, self.elapsed)
        self.store.write_pruner_notes(decisions)
        ending = [
            (self.running[t.number], outcome)
            for t in self.starts.in_lanes()
            if (outcome := outcome_by(t, decisions))
        ]
        self.ends.finish(ending, self.round)
        self.round += 1
        self._tell_round()

    def _choose_pausing(self, candidates: Sequence[Trial]) -> tuple[int, ...]:
        """Return the numbers of those candidates, which have done their epoch, that pause.

        Pipelined, that follows from what was known before the round and from their own epochs.
        """
        return tuple(
            self.source.choose_pausing(
                candidates, self._next_round().before if self.pipelined else self.store.trials()
            )
        )

    def _next_round(self) -> NextTrials:
        """Return the choice of trials for the next round, from what was known before this one."""
        self.starts.next.turn_to(self.round + 1, self.elapsed_before)
        return self.starts.next

    def _tell_round(self) -> None:
        stored = self.store.trials()
        running = dict(self.running)
        planned = self.source.planned
        elapsed = self.elapsed
        ranks = self.source.ranks
        # The snapshot is made when the first observer hears of it, because no lane should wait for
        # it.
        snapshot = cache(
            lambda: snapshot_of(self.store.phase, stored, running, planned, elapsed, ranks=ranks)
        )
        self.notifications.later(lambda observer: observer.round_finished(snapshot()))

    def spent(self) -> float:
        """Return the seconds spent in this phase, earlier processes included."""
        return self.elapsed + self.timer() - self.mark
