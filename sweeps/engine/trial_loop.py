"""The rounds of a study, and how a study that was killed anywhere goes on as if nothing had been.

A round: settle duplicates → fill free lanes → train each lane one epoch → report every objective → decide for every
trial → end those that end. Each step is durable before the next begins:

- A trial is written with all its parameters or not at all (`sweeps.storage.proposals`).
- The round of a trial's first epoch and the epochs it has reported say what it has done; whether an epoch was its last
  is written before the epoch is reported.
- The decisions of a round are one write (`RoundDecisions`). They end the round; all steps after them (finish the lanes,
  write outcome and results, discard checkpoints, tell observers, tell Optuna) can be done a second time without harm.

Observers are told of a round while the next one trains, so that no lane waits for them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import optuna
from optuna.trial import FrozenTrial

from sweeps.engine.events import EventQueue, Observer, Source, next_proposals, snapshot_of
from sweeps.errors import UserError
from sweeps.storage.optuna_internals import batched_writes, storage_of
from sweeps.storage.proposals import Proposal, decide_pruning, write_pruner_state, write_trial
from sweeps.storage.running_trial import (
    RoundDecisions,
    RunningTrial,
    checked,
    decided_outcome,
    first_round,
    is_closing,
    last_progress,
    owned_by_driver,
    reported_in,
    results_of,
    resume_trial,
    round_decisions,
    write_decisions,
)
from sweeps.storage.study_record import study_record, write_study
from sweeps.storage.trial_record import outcome_of
from sweeps.workload.protocol import Failure, Lanes, Outcome, Progress, TrialResult

Clock = Callable[[], float]
"""Seconds since some fixed moment, as `time.time`."""

ERRORS_IN_A_ROW = 10
"""This many trials in a row that fail with an error are a bug, which must not use up the budget."""


class Rounds:
    """One phase of a study. `running` are the trials in lanes, by number; others that have not ended wait outside."""

    def __init__(
        self,
        phase: Literal["search", "repeats"],
        study: optuna.Study,
        lanes: Lanes,
        observers: Sequence[Observer],
        *,
        runs: Path,
        clock: Clock,
        source: Source,
    ) -> None:
        self.phase, self.study, self.lanes, self.source = phase, study, lanes, source
        self.observers, self.runs, self.clock = observers, runs, clock
        self.running: dict[int, RunningTrial] = {}
        self.round = 0
        self.errors = 0
        self.waited = 0.0
        self.events = EventQueue()
        self.elapsed, self.mark = study_record(study).elapsed or 0.0, clock()

    def run(self) -> str:
        """Go on until the source has no more trials and all have ended; returns the source's reason."""
        self._resume()
        while True:
            self._settle()
            reason = self._fill()
            if not self.running:
                self.events.deliver()
                return reason
            self._advance()
            self._end(self._decide())
            self._finish_round()

    # -- taking up what an earlier process left --

    def _resume(self) -> None:
        decisions = round_decisions(self.study)
        if decisions:
            self.round = decisions.round + 1
            write_pruner_state(self.study, decisions.pruner_state)
        unfinished = [trial for trial in self._trials() if owned_by_driver(trial)]
        for stored in unfinished:
            trial, newest = self._resumed(stored).trial, last_progress(stored)
            for observer in self.observers:
                observer.trial_started(trial, resumed=True)
                if newest:  # the process may have died before it could tell it
                    observer.epoch_finished(trial, newest)
        in_lanes = [trial for trial in unfinished if first_round(trial) is not None]
        self._end_late([trial for trial in in_lanes if decided_outcome(trial, decisions)], decisions)
        going_on = [trial for trial in in_lanes if not decided_outcome(trial, decisions)]
        for stored in going_on[: self.lanes.width]:
            self._add(self._resumed(stored))
        for stored in going_on[self.lanes.width :]:  # there are fewer lanes than there were
            self._resumed(stored).place(None)
        self.lanes.replay()

    def _end_late(self, trials: Sequence[FrozenTrial], decisions: RoundDecisions | None) -> None:
        """End trials that are decided and still run in Optuna, as many at a time as there are lanes."""
        ending = [(self._resumed(t), outcome) for t in trials if (outcome := decided_outcome(t, decisions))]
        for start in range(0, len(ending), self.lanes.width):
            batch = ending[start : start + self.lanes.width]
            for trial, _ in batch:
                if trial.left is None:
                    self._add(trial)
            self.lanes.replay()
            self._finish(batch, decisions.round if decisions else 0)

    # -- duplicates and free lanes --

    def _settle(self) -> None:
        """Look again at the trials that wait, for an equal one to end or for a lane."""
        for stored in self._trials():
            if not owned_by_driver(stored) or first_round(stored) is not None:
                continue
            equal = self.source.duplicate_of(stored.params, self._trials()[: stored.number])
            if equal is None and len(self.running) < self.lanes.width:
                trial = self._resumed(stored)
                trial.place(self.round - trial.trial.epoch)
                self._add(trial)
                self.lanes.replay()
            elif equal is not None and equal.state.is_finished():
                self._end_duplicate(self._resumed(stored), equal)

    def _fill(self) -> str:
        """Start new trials in free lanes; returns why there is none for a lane that stays free."""
        reason = ""
        while len(self.running) < self.lanes.width and not reason:
            free = self.lanes.width - len(self.running)
            proposals, equal, reason = next_proposals(self.source, self._trials(), free, self._spent(), self.round)
            if proposals:
                self._start(proposals, equal)
        return reason

    def _start(self, proposals: Sequence[Proposal], equal: FrozenTrial | None) -> None:
        """Begin these trials, written at once; the last of them may be a duplicate, of `equal`."""
        if study_record(self.study).stopped:
            write_study(self.study, stopped=None, finished=False)
        first = len(self._trials())
        with batched_writes(storage_of(self.study)):
            for proposal in proposals:
                if equal is not None and proposal is proposals[-1]:
                    write_trial(self.study, proposal, started=self.clock(), round_=None, duplicate_of=equal.number)
                else:
                    write_trial(self.study, proposal, started=self.clock(), round_=self.round)
        for stored in [stored for stored in self._trials()[first:] if owned_by_driver(stored)]:
            trial = self._resumed(stored)
            for observer in self.observers:
                self.events.add(partial(observer.trial_started, trial.trial, resumed=False), stored.number)
            if first_round(stored) is not None:
                self._add(trial)
            elif equal is not None and equal.state.is_finished():
                self._end_duplicate(trial, equal)

    def _end_duplicate(self, trial: RunningTrial, equal: FrozenTrial) -> None:
        """Give a trial the outcome of an equal one, without training it."""
        outcome = replace(outcome_of(equal), failure=None)
        result = TrialResult(number=trial.trial.number, metrics=results_of(equal))
        with batched_writes(storage_of(self.study)):
            trial.end(outcome, result, self.round, self.clock(), duplicate_of=equal.number)
        self.events.deliver({trial.trial.number})
        for observer in self.observers:
            observer.trial_ended(trial.trial, outcome, result, equal.number)
        trial.tell(outcome, equal.value)

    def _resumed(self, stored: FrozenTrial) -> RunningTrial:
        params = self.source.params(stored)
        return resume_trial(self.study, stored, params, repeat=self.phase == "repeats", runs=self.runs)

    def _add(self, trial: RunningTrial) -> None:
        self.lanes.add(trial.trial)
        self.running[trial.trial.number] = trial

    # -- training and reporting --

    def _advance(self) -> None:
        """Train the lanes that have not done their epoch of this round (after a kill, some have); record each as it comes."""
        behind = [trial.number for trial in self._in_lanes() if not reported_in(trial, self.round)]
        begun, first, left = time.monotonic(), None, len(behind)
        for done in self.lanes.advance(behind) if behind else ():
            self.events.deliver()
            if done:
                first, left = first or time.monotonic(), left - len(done)
                self._report(done)
            else:
                self.source.prepare(self._trials(), self.round, self.waited / 2)
            if left:  # others train meanwhile
                self.events.deliver()
        self.waited = (first or begun) - begun

    def _report(self, done: Sequence[Progress]) -> None:
        reports = [(self.running[progress.number], checked(progress)) for progress in done]
        at = self.clock()
        with batched_writes(storage_of(self.study)):
            recorded = [(trial, p) for trial, p in reports if trial.report(p, self.round, at)]
        for trial, progress in recorded:
            for observer in self.observers:
                self.events.add(partial(observer.epoch_finished, trial.trial, progress), trial.trial.number)

    # -- deciding and ending --

    def _decide(self) -> RoundDecisions:
        """Let the pruner look at the trials that would go on. Durable in one write."""
        going_on = [trial for trial in self._in_lanes() if not trial.state.is_finished() and not is_closing(trial)]
        pruning = decide_pruning(self.study, going_on)
        decisions = RoundDecisions(self.round, tuple(pruning.pruned), pruning.pruner_state)
        self.elapsed, self.mark = self._spent(), self.clock()
        with batched_writes(storage_of(self.study)):
            write_decisions(self.study, decisions, self.elapsed)
        return decisions

    def _end(self, decisions: RoundDecisions) -> None:
        write_pruner_state(self.study, decisions.pruner_state)
        ending = [
            (self.running[t.number], outcome) for t in self._in_lanes() if (outcome := decided_outcome(t, decisions))
        ]
        self._finish(ending, self.round)

    def _finish(self, ending: Sequence[tuple[RunningTrial, Outcome]], round_: int) -> None:
        """Finish the lanes of these trials, then tell everybody how they ended, Optuna last."""
        if not ending:
            return
        results = self._results(ending, round_)
        self.lanes.discard_checkpoints([trial.trial for trial, _ in ending])
        self.events.deliver({trial.trial.number for trial, _ in ending})
        for trial, outcome in ending:
            for observer in self.observers:
                observer.trial_ended(trial.trial, outcome, results[trial.trial.number], None)
        stored = self._trials()
        with batched_writes(storage_of(self.study)):
            for trial, outcome in ending:
                reported = stored[trial.trial.number].intermediate_values
                newest = reported[max(reported)] if reported else None  # what Optuna takes for a pruned trial
                trial.tell(outcome, {"complete": outcome.objective, "pruned": newest}.get(outcome.state))
        for trial, outcome in ending:
            self.running.pop(trial.trial.number, None)
            self._count_errors(outcome.failure)

    def _results(self, ending: Sequence[tuple[RunningTrial, Outcome]], round_: int) -> dict[int, TrialResult]:
        """What the lanes leave behind, by number; durable before the lanes discard how to make it again."""
        here = {trial.trial.number: outcome for trial, outcome in ending if trial.trial.number in self.running}
        # Trials that are not in lanes were finished by a process that died before it could tell.
        left = [trial.left for trial, _ in ending if trial.trial.number not in here]
        results = {result.number: result for result in left if result is not None}
        results |= {result.number: result for result in (self.lanes.finish(here) if here else ())}
        with batched_writes(storage_of(self.study)):
            for number, outcome in here.items():
                self.running[number].end(outcome, results[number], round_, self.clock())
        return results

    def _count_errors(self, failure: Failure | None) -> None:
        # Those of this process only: whoever has mended the bug must be able to go on.
        self.errors = self.errors + 1 if failure and failure.kind == "error" else 0
        if failure and self.errors == ERRORS_IN_A_ROW:
            problem = f"{self.errors} trials in a row failed with an error, the last with: {failure.message}"
            raise UserError(f"study '{self.study.study_name}'", problem)

    # -- keeping count --

    def _finish_round(self) -> None:
        self.round += 1
        self.events.add(partial(self._tell_round, self._trials(), dict(self.running), self.elapsed))

    def _tell_round(self, trials: Sequence[FrozenTrial], running: dict[int, RunningTrial], elapsed: float) -> None:
        snapshot = snapshot_of(self.phase, trials, running, self.source, elapsed)
        for observer in self.observers:
            observer.round_finished(snapshot)

    def _spent(self) -> float:
        return self.elapsed + self.clock() - self.mark

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _in_lanes(self) -> list[FrozenTrial]:
        """The trials in lanes, as the storage has them, by number."""
        return [trial for trial in self._trials() if trial.number in self.running]
