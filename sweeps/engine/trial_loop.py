"""The rounds of a study, and how a study that was killed anywhere goes on as if nothing had been.

A round: settle duplicates → fill free lanes → train each lane one epoch → report every objective →
decide for every trial → end those that end. Each step is durable before the next begins:

- A trial is written with all its parameters or not at all (`Store.begin`).
- The round of a trial's first epoch and the epochs it has reported say what it has done; whether an
  epoch was its last is written before the epoch is reported.
- The decisions of a round are one write (`RoundDecisions`). They end the round; all steps after
  them (finish the lanes, write outcome and results, discard checkpoints, tell observers, tell
  Optuna) can be done a second time without harm.

With many lanes, rounds are decided late: whom the pruner ends for an epoch ends after the next one,
and who begins or goes on in a round is chosen from what was known before the round before it. Who
pauses is decided by what was known before the round, and by its own epoch. So each worker is told
in the midst of a round what to do in the next one (`Lanes.prefetch`), and waits for nobody. The
storage never sees that: rounds are written one after the other.
"""

import itertools
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from operator import methodcaller

from sweeps.engine.events import Observer, Source, snapshot_of
from sweeps.engine.failures import MAX_FAILURES
from sweeps.engine.notifications import Notifications
from sweeps.engine.prefetch import NextTrials, propose_some
from sweeps.engine.trial_ends import TrialEnds
from sweeps.engine.worker_records import WorkerRecords
from sweeps.lanes import Lanes, Outcome, Progress, TrialResult, TrialSpec
from sweeps.lanes.awake import awake_seconds
from sweeps.state.decisions import (
    RoundDecisions,
    all_resumed,
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
"""With this many lanes or more, the rounds of a new study are decided late."""
STOP_SECONDS = 20.0
"""For workers to end the epoch at hand and write checkpoints. Slurm and Kubernetes kill what is
there 30 seconds after SIGTERM.
"""


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
        stored = self.store.record
        self.elapsed, self.mark = stored.elapsed or 0.0, self.timer()
        late_from = stored.late_from
        if late_from is None:
            late_from = PIPELINED_FROM
            self.store.write(late_from=late_from)
        self.pipelined = self.lanes.width >= late_from
        self.to_prune: tuple[int, ...] = ()
        """Trials that the pruner has ended, and that end after this round."""
        self.next, self.elapsed_before = NextTrials(self.source, self.store), self.elapsed
        self.ahead: dict[int, Progress] = {}
        """Number of a trial → its epoch of a round to come, which a process that was stopped had
        trained.
        """
        self.arrived: Sequence[Progress] = ()
        """Epochs that are done and not yet recorded."""
        self.workers = WorkerRecords(self.store, self.lanes, self.timer)
        self.ends = TrialEnds(
            self.store,
            self.lanes,
            self.notifications,
            self.source,
            self.running,
            self.clock,
            self.max_failures,
        )

    def run(self) -> str:
        """Go on until the source has no more trials and all have ended; returns the source's
        reason.
        """
        try:
            self._resume()
            while True:
                self._settle()
                reason = self._fill()
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
        decisions = self.store.decisions
        if decisions:
            self.round, self.to_prune = decisions.round + 1, decisions.to_prune
            self.store.write_pruner_notes(decisions)
        self.ahead = self.store.epochs_ahead if self.pipelined else {}
        unfinished = [
            trial for trial in self.store.trials() if trial.unfinished and not trial.paused
        ]
        for trial in unfinished:
            self.notifications.now(methodcaller("trial_started", trial.spec, resumed=True))
            if newest := trial.newest_progress:  # the process may have died before it could tell it
                self.notifications.now(methodcaller("epoch_finished", trial.spec, newest))
        in_lanes = [trial for trial in unfinished if trial.lane_round is not None]
        outcomes = [(trial, outcome_by(trial, decisions)) for trial in in_lanes]
        self._end_late(
            [(self.store.running(trial), outcome) for trial, outcome in outcomes if outcome]
        )
        resuming = [self.store.running(trial) for trial, outcome in outcomes if not outcome]
        for running in resuming[: self.lanes.width]:
            self._add(running)
        for running in resuming[self.lanes.width :]:  # there are fewer lanes than there were
            running.leave_lane(self.round - 1)
        self.lanes.replay()
        self.ahead = {
            number: progress for number, progress in self.ahead.items() if number in self.running
        }
        if self.pipelined:  # the process may have died before its workers had discarded them
            newly_ended = [
                t
                for t in self.store.trials()
                if t.finished and t.left_round >= max(0, self.round - 2)
            ]
            self.lanes.discard_checkpoints(
                [trial.spec for trial in newly_ended if not trial.resumable]
            )

    def _end_late(self, ending: Sequence[tuple[RunningTrial, Outcome]]) -> None:
        """End trials that are decided and still run in Optuna, as many at a time as there are
        lanes.
        """
        for start in range(0, len(ending), self.lanes.width):
            batch = ending[start : start + self.lanes.width]
            for trial, _ in batch:
                if trial.left is None:
                    self._add(trial)
            self.lanes.replay()
            self.ends.finish(batch, self.round - 1)

    def _settle(self) -> None:
        """Look again at the trials that wait, for an equal one to end or for a lane."""
        for number in [trial.number for trial in self.store.trials() if trial.waits]:
            trial = self.store.trial(number)
            equal = self.source.duplicate_of(trial, self.store.trials())
            if equal is None and len(self.running) < self.lanes.width and not self.pipelined:
                self._give_lane(trial)
            elif equal is not None and equal.finished:
                self.ends.end_duplicate(self.store.running(trial), equal, self.round)

    def _give_lane(self, trial: Trial) -> None:
        """Put a trial that waited into a free lane."""
        running = self.store.running(trial)
        running.assign_round(self.round - running.trial.epoch)
        self._add(running)
        self.lanes.replay()

    def _promote(self, *, last: bool = False) -> None:
        """Let paused trials that deserve it go on in free lanes, as new ones where they have ended
        since.
        """
        before = len(self.running)
        while (free := self.lanes.width - len(self.running)) > 0:
            stored = self.source.promoted(
                self.store.trials(), free, self._spent(), self.round, last=last
            )
            if stored is None:
                break
            self._resume_trial(stored)
        # Workers answer a replay, so a round without promotions asks for none.
        if len(self.running) > before:
            self.lanes.replay()

    def _resume_trial(self, trial: Trial) -> None:
        self.ends.evicted.discard(trial.number)
        self._add(self._revived(trial) if trial.finished else self._resumed(trial))

    def _resumed(self, trial: Trial) -> RunningTrial:
        self.store.running(trial).go_on(self.round)
        return self.store.running(self.store.trial(trial.number))

    def _revived(self, ended: Trial) -> RunningTrial:
        """Begin the trial that goes on from where an ended one stood."""
        self._unstop()
        self.store.revive(ended, self.round)
        running = self.store.running(self.store.trials()[-1])
        self.notifications.later(
            methodcaller("trial_started", running.trial, resumed=False), running.trial.number
        )
        return running

    def _unstop(self) -> None:
        """Record that the study goes on, before a trial begins."""
        if self.store.record.stopped:
            self.store.write(stopped=None, finished=False)

    def _fill(self) -> str:
        """Start trials in free lanes; returns why there is none for a lane that stays free."""
        if self.pipelined:
            return self._fill_pipelined()
        reason = ""
        self._promote()
        while len(self.running) < self.lanes.width and not reason:
            free, so_far = self.lanes.width - len(self.running), self.store.trials()
            proposals, equal, reason = propose_some(
                self.source, so_far, free, self._spent(), self.round
            )
            if proposals:
                self._start(proposals, {proposals[-1].number: equal} if equal else {})
            self._promote()  # as a process would that takes up the round here
        # A process that died among these promotions left some of them.
        if all_resumed(self._in_lanes(), self.round):
            self._promote(last=True)
        return reason

    def _fill_pipelined(self) -> str:
        """Start the trials that were chosen for this round; choose more, in the same way, while
        lanes stay free.
        """
        reason = ""
        self.next.turn_to(self.round, self.store.trials(), self.elapsed_before)
        while self.next.lanes + len(self.running) < self.lanes.width and not reason:
            reason = chosen if isinstance(chosen := self.next.choose(), str) else ""
        for trial in self.next.waiting:
            self._give_lane(self.store.trial(trial.number))
        for number in self.next.promoted:
            self._resume_trial(self.store.trial(number))
        if self.next.promoted:
            self.lanes.replay()
        self.ends.resuming = set()
        if self.next.proposals:
            self._start(self.next.proposals, self.next.equals)
        self.next.written()
        self._settle()
        if (
            reason
            and not left_since(self.store.trials(), self.round - 1)
            and all_resumed(self._in_lanes(), self.round)
        ):
            self._promote(last=True)
        return reason

    def _start(self, proposals: Sequence[Trial], equals: Mapping[int, Trial]) -> None:
        """Begin these trials, written at once. `equals`: number of a duplicate → the trial that it
        equals.
        """
        self._unstop()
        self.source.beginning(proposals[0].number, self.round)
        first = self.store.next_number
        with self.store.batched():
            for proposal in proposals:
                waits_for = equals.get(proposal.number)
                self.store.begin(
                    proposal, started=self.clock(), round_=self.round, waits_for=waits_for
                )
        begun = [
            trial for trial in self.store.trials() if trial.number >= first and trial.unfinished
        ]
        for trial in begun:
            running = self.store.running(trial)
            self.notifications.later(
                methodcaller("trial_started", running.trial, resumed=False), trial.number
            )
            if trial.lane_round is not None:
                self._add(running)
            elif (equal := equals.get(trial.number)) and equal.finished and not self.pipelined:
                self.ends.end_duplicate(running, equal, self.round)

    def _add(self, trial: RunningTrial) -> None:
        ahead = self.ahead.get(trial.trial.number)
        self.lanes.add(replace(trial.trial, epoch=ahead.epoch) if ahead else trial.trial)
        self.running[trial.trial.number] = trial

    def _advance(self) -> None:
        """Train the lanes that have not done their epoch of this round (after a kill, some have);
        record each as it comes.
        """
        behind = [trial.number for trial in self._in_lanes() if not trial.reported_in(self.round)]
        self._report([self.ahead.pop(number) for number in behind if number in self.ahead])
        behind = [trial.number for trial in self._in_lanes() if not trial.reported_in(self.round)]
        self.workers.record()
        self.elapsed_before = self.elapsed
        if self.pipelined and not self.ahead:
            self.lanes.prefetch(self._plan)
        begun, left = time.monotonic(), len(behind)
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

    def _plan(self, numbers: Collection[int]) -> tuple[dict[int, Outcome], list[TrialSpec]]:
        """Say which of these trials, all of which have done their epoch of this round, end with it,
        and who begins in their lanes.
        """
        held = [trial for trial in self._in_lanes() if trial.number in numbers]
        sure = RoundDecisions(
            self.round, self.to_prune, {}, paused=self._pausing(undecided(held, self.to_prune))
        )
        ending = {trial.number: outcome for trial in held if (outcome := outcome_by(trial, sure))}
        chosen = [self._next_round().choose() for _ in ending]
        self.ends.resuming = {*self.next.promoted}
        begin = [
            trial
            for trial in chosen
            if not isinstance(trial, str) and trial not in self.next.waiting
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
        resuming = undecided(self._in_lanes(), self.to_prune)
        decided = self.source.pruned(resuming, self.store.trials(), self.round)
        decisions = decided.ending(self.to_prune, pipelined=self.pipelined)
        resuming = [trial for trial in resuming if trial.number not in decisions.pruned]
        decisions = replace(decisions, paused=self._pausing(resuming))
        self.to_prune = decisions.to_prune
        self.elapsed, self.mark = self._spent(), self.timer()
        with self.store.batched():
            self.store.write_decisions(decisions, self.elapsed)
        self.store.write_pruner_notes(decisions)
        ending = [
            (self.running[t.number], outcome)
            for t in self._in_lanes()
            if (outcome := outcome_by(t, decisions))
        ]
        self.ends.finish(ending, self.round)
        self.round += 1
        self._tell_round()

    def _pausing(self, candidates: Sequence[Trial]) -> tuple[int, ...]:
        """Return who of these, which have done their epoch, pauses; decided late, by what was known
        before the round and by its own epoch.
        """
        return tuple(
            self.source.pausing(
                candidates, self._next_round().before if self.pipelined else self.store.trials()
            )
        )

    def _next_round(self) -> NextTrials:
        """Return who begins in the next round, chosen from what was known before this one."""
        self.next.turn_to(self.round + 1, self.store.trials(), self.elapsed_before)
        return self.next

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

    def _spent(self) -> float:
        return self.elapsed + self.timer() - self.mark

    def _in_lanes(self) -> list[Trial]:
        """Return the trials in lanes, as the storage has them, by number."""
        return [trial for trial in self.store.trials() if trial.number in self.running]
