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

import logging
import math
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Literal

import optuna
from optuna.trial import FrozenTrial

from sweeps.engine.events import Observer, Running, Snapshot, Source, best_trial, newest_objective, reported_epochs
from sweeps.errors import UserError
from sweeps.storage.optuna_internals import batched_writes
from sweeps.storage.proposals import decide_pruning, write_pruner_state, write_trial
from sweeps.storage.study_record import REPEATS, round_decisions, study_record, write_decisions, write_study
from sweeps.storage.trial_record import (
    ENDED,
    RunningTrial,
    checked,
    decided_outcome,
    duplicate_of,
    first_round,
    is_closing,
    last_progress,
    outcome_of,
    owned_by_driver,
    reported_in,
    results_of,
    resume_trial,
)
from sweeps.workload import Failure, Lanes, Outcome, Progress, Stall, TrialResult, run_name
from sweeps.workload.pulse import TIMES_USUAL

Clock = Callable[[], float]
"""Seconds since some fixed moment, as `time.time`."""

_log = logging.getLogger(__name__)
_WORKERS_SECONDS = 10.0
"""Between two records of the workers: a line each, some hundred bytes a worker."""
MAX_FAILURES = 10
"""This many trials in a row that fail of the same cause are a bug, or the machine's fault, which must not use up the budget."""


@dataclass(eq=False)
class Rounds:
    """One phase of a study. `running` are the trials in lanes, by number; others that have not ended wait outside."""

    phase: Literal["search", "repeats"]
    study: optuna.Study
    lanes: Lanes
    observers: Sequence[Observer]
    runs: Path
    source: Source
    clock: Clock = time.time
    """Gives the times on record. It may jump; nothing is decided by it."""
    timer: Clock = time.monotonic
    """Measures the seconds of this process. It never goes back."""
    max_failures: int = MAX_FAILURES

    def __post_init__(self) -> None:
        self.running: dict[int, RunningTrial] = {}
        self.round = 0
        self.waited = 0.0
        self.events: list[tuple[Callable[[], None], int | None]] = []
        """Events that observers still have to get, in order, each with the number of its trial, if the event has a trial."""
        stored = study_record(self.study)
        self.elapsed, self.mark = stored.elapsed or 0.0, self.timer()
        self.stalls: tuple[Stall, ...] = ()
        self.seen = -math.inf
        """When the workers were recorded last, by `timer`."""
        if stored.stalls or stored.workers:  # of a process that was killed
            write_study(self.study, stalls=(), workers=())
        # Failures of earlier processes do not count: whoever has mended their cause must be able to go on.
        self.ended_before = {trial.number for trial in self._trials() if trial.state.is_finished()}

    def run(self) -> str:
        """Go on until the source has no more trials and all have ended; returns the source's reason."""
        self._resume()
        while True:
            self._settle()
            reason = self._fill()
            if not self.running:
                self._deliver()
                if self.lanes.workers:
                    write_study(self.study, workers=())
                return reason
            self._advance()
            self._end_round()

    def _resume(self) -> None:
        decisions = round_decisions(self.study)
        if decisions:
            self.round = decisions.round + 1
            write_pruner_state(self.study, decisions)
        unfinished = [trial for trial in self._trials() if owned_by_driver(trial)]
        for stored in unfinished:
            trial, newest = self._resumed(stored).trial, last_progress(stored)
            for observer in self.observers:
                observer.trial_started(trial, resumed=True)
                if newest:  # the process may have died before it could tell it
                    observer.epoch_finished(trial, newest)
        in_lanes = [
            (trial, decided_outcome(trial, decisions)) for trial in unfinished if first_round(trial) is not None
        ]
        self._end_late([(self._resumed(trial), outcome) for trial, outcome in in_lanes if outcome])
        going_on = [self._resumed(trial) for trial, outcome in in_lanes if not outcome]
        for running in going_on[: self.lanes.width]:
            self._add(running)
        for running in going_on[self.lanes.width :]:  # there are fewer lanes than there were
            running.assign_round(None)
        self.lanes.replay()

    def _end_late(self, ending: Sequence[tuple[RunningTrial, Outcome]]) -> None:
        """End trials that are decided and still run in Optuna, as many at a time as there are lanes."""
        for start in range(0, len(ending), self.lanes.width):
            batch = ending[start : start + self.lanes.width]
            for trial, _ in batch:
                if trial.left is None:
                    self._add(trial)
            self.lanes.replay()
            self._finish(batch, self.round - 1)

    def _settle(self) -> None:
        """Look again at the trials that wait, for an equal one to end or for a lane."""
        for stored in self._trials():
            if not owned_by_driver(stored) or first_round(stored) is not None:
                continue
            equal = self.source.duplicate_of(stored.params, self._trials()[: stored.number])
            if equal is None and len(self.running) < self.lanes.width:
                trial = self._resumed(stored)
                trial.assign_round(self.round - trial.trial.epoch)
                self._add(trial)
                self.lanes.replay()
            elif equal is not None and equal.state.is_finished():
                self._end_duplicate(self._resumed(stored), equal)

    def _fill(self) -> str:
        """Start new trials in free lanes; returns why there is none for a lane that stays free."""
        reason = ""
        while len(self.running) < self.lanes.width and not reason:
            proposals, equal, reason = self._next_proposals()
            if proposals:
                self._start(proposals, equal)
        return reason

    def _next_proposals(self) -> tuple[list[FrozenTrial], FrozenTrial | None, str]:
        """Propose trials that begin together in the free lanes, up to the first duplicate, which needs none.

        Returns the proposals; the trial that the last of them equals, which may itself be a proposal; and why there are
        no more, where the source has no more.
        """
        proposals: list[FrozenTrial] = []
        so_far, elapsed = [*self._trials()], self._spent()
        while len(self.running) + len(proposals) < self.lanes.width:
            proposal = self.source.propose(so_far, proposals, elapsed, self.round)
            if isinstance(proposal, str):
                return proposals, None, proposal
            proposals.append(proposal)
            if equal := self.source.duplicate_of(proposal.params, so_far):
                return proposals, equal, ""
            so_far.append(proposal)
        return proposals, None, ""

    def _start(self, proposals: Sequence[FrozenTrial], equal: FrozenTrial | None) -> None:
        """Begin these trials, written at once; the last of them may be a duplicate, of `equal`."""
        if study_record(self.study).stopped:
            write_study(self.study, stopped=None, finished=False)
        first = len(self._trials())
        with batched_writes(self.study):
            for proposal in proposals:
                waits_for = equal if proposal is proposals[-1] else None
                write_trial(self.study, proposal, started=self.clock(), round_=self.round, waits_for=waits_for)
        for stored in [stored for stored in self._trials()[first:] if owned_by_driver(stored)]:
            trial = self._resumed(stored)
            for observer in self.observers:
                self.events.append((partial(observer.trial_started, trial.trial, resumed=False), stored.number))
            if first_round(stored) is not None:
                self._add(trial)
            elif equal is not None and equal.state.is_finished():
                self._end_duplicate(trial, equal)

    def _end_duplicate(self, trial: RunningTrial, equal: FrozenTrial) -> None:
        """Give a trial the outcome of an equal one, without training it."""
        outcome = replace(outcome_of(equal), failure=None)
        result = TrialResult(number=trial.trial.number, metrics=results_of(equal))
        with batched_writes(self.study):
            trial.end(outcome, result, self.round, self.clock(), duplicate_of=equal.number)
        self._deliver({trial.trial.number})
        for observer in self.observers:
            observer.trial_ended(trial.trial, outcome, result, equal.number)
        trial.tell(outcome, equal.value)

    def _resumed(self, stored: FrozenTrial) -> RunningTrial:
        params = self.source.params(stored)
        return resume_trial(self.study, stored, params, repeat=self.phase == "repeats", runs=self.runs)

    def _add(self, trial: RunningTrial) -> None:
        self.lanes.add(trial.trial)
        self.running[trial.trial.number] = trial

    def _advance(self) -> None:
        """Train the lanes that have not done their epoch of this round (after a kill, some have); record each as it comes."""
        behind = [trial.number for trial in self._in_lanes() if not reported_in(trial, self.round)]
        self._record_workers()
        begun, first, left = time.monotonic(), None, len(behind)
        for done in self.lanes.advance(behind) if behind else ():
            self._deliver()
            if done:
                first, left = first or time.monotonic(), left - len(done)
                self._report(done)
            else:
                self._record_stalls()
                self.source.prepare(self._trials(), self.round, self.waited / 2)
            if left:  # others train meanwhile
                self._deliver()
        self._record_stalls()
        self.waited = (first or begun) - begun

    def _record_stalls(self) -> None:
        """Record which workers do not move, for whoever asks from another terminal; say it once."""
        stalls = self.lanes.stalls
        if stalls != self.stalls:
            for stall in set(stalls).difference(self.stalls):
                _log.warning("%s", self._in_words(stall))
            self.stalls = stalls
            write_study(self.study, stalls=tuple(map(self._in_words, stalls)))

    def _record_workers(self) -> None:
        """Record where the lanes are and how fast, now and then, for whoever asks from another terminal."""
        workers = self.lanes.workers
        if workers and self.timer() >= self.seen + _WORKERS_SECONDS:
            self.seen = self.timer()
            write_study(self.study, workers=[asdict(each) | {"trials": self._names(each.trials)} for each in workers])

    def _names(self, numbers: Sequence[int]) -> list[str]:
        name = self.study.study_name.removesuffix(REPEATS)
        return [run_name(name, number, repeat=self.phase == "repeats") for number in numbers]

    def _in_words(self, stall: Stall) -> str:
        runs = ", ".join(self._names(stall.trials))
        last = datetime.fromtimestamp(stall.since).astimezone().isoformat(" ", "seconds")
        return (
            f"{stall.worker} trains {runs} and has done no batch since {last} (the last was number {stall.batch:,}), "
            f"{TIMES_USUAL} times the usual {stall.usual:.3g} s of an epoch or more; --trial-timeout ends what hangs"
        )

    def _report(self, done: Sequence[Progress]) -> None:
        reports = [(self.running[progress.number], checked(progress)) for progress in done]
        at = self.clock()
        with batched_writes(self.study):
            recorded = [(trial, p) for trial, p in reports if trial.report(p, self.round, at)]
        for trial, progress in recorded:
            for observer in self.observers:
                self.events.append((partial(observer.epoch_finished, trial.trial, progress), trial.trial.number))

    def _end_round(self) -> None:
        """Let the pruner look at the trials that would go on, and end those that end. The decisions are one write."""
        going_on = [trial for trial in self._in_lanes() if not trial.state.is_finished() and not is_closing(trial)]
        decisions = decide_pruning(self.study, going_on, self.round)
        self.elapsed, self.mark = self._spent(), self.timer()
        with batched_writes(self.study):
            write_decisions(self.study, decisions, self.elapsed)
        write_pruner_state(self.study, decisions)
        ending = [
            (self.running[t.number], outcome) for t in self._in_lanes() if (outcome := decided_outcome(t, decisions))
        ]
        self._finish(ending, self.round)
        self.round += 1
        self.events.append((partial(self._tell_round, self._trials(), dict(self.running), self.elapsed), None))

    def _finish(self, ending: Sequence[tuple[RunningTrial, Outcome]], round_: int) -> None:
        """Finish the lanes of these trials, then tell everybody how they ended, Optuna last."""
        if not ending:
            return
        results = self._results(ending, round_)
        ending = [(trial, _ended(outcome, results[trial.trial.number])) for trial, outcome in ending]
        self.lanes.discard_checkpoints([trial.trial for trial, _ in ending])
        self._deliver({trial.trial.number for trial, _ in ending})
        for trial, outcome in ending:
            for observer in self.observers:
                observer.trial_ended(trial.trial, outcome, results[trial.trial.number], None)
        stored = self._trials()
        with batched_writes(self.study):
            for trial, outcome in ending:
                newest = newest_objective(stored[trial.trial.number])  # what Optuna takes for a pruned trial
                trial.tell(outcome, {"complete": outcome.objective, "pruned": newest}.get(outcome.state))
        for trial, _ in ending:
            self.running.pop(trial.trial.number, None)
        if any(_cause(outcome.failure) for _, outcome in ending):  # no other round can complete a row of failures
            self._check_failures()

    def _results(self, ending: Sequence[tuple[RunningTrial, Outcome]], round_: int) -> dict[int, TrialResult]:
        """Collect what the lanes leave behind, by number; durable before the lanes discard how to make it again."""
        here = {trial.trial.number: outcome for trial, outcome in ending if trial.trial.number in self.running}
        # Trials that are not in lanes were finished by a process that died before it could tell.
        left = [trial.left for trial, _ in ending if trial.trial.number not in here]
        results = {result.number: result for result in left if result is not None}
        results |= {result.number: result for result in (self.lanes.finish(here) if here else ())}
        with batched_writes(self.study):
            for number, outcome in here.items():
                self.running[number].end(_ended(outcome, results[number]), results[number], round_, self.clock())
        return results

    def _check_failures(self) -> None:
        """Raise UserError where `max_failures` trials in a row, by number, failed of the same cause in this process."""
        cause, count = None, 0
        for trial in self._trials():
            if trial.number in self.ended_before or duplicate_of(trial) is not None:
                continue
            failure = outcome_of(trial).failure if trial.state.is_finished() else None
            before, cause = cause, _cause(failure)
            count = 0 if cause is None else count + 1 if cause == before else 1
            if failure and count == self.max_failures:
                problem = f"{count} trials in a row failed ({failure.kind}), the last with: {failure.message}"
                hint = "Mend the cause and give the same command again, or allow more with --max-failures."
                raise UserError(f"study '{self.study.study_name}'", f"{problem}\n{hint}")

    def _deliver(self, numbers: Collection[int] | None = None) -> None:
        """Give observers the events that wait for delivery: all, or those of these trials."""
        ready = [event for event, number in self.events if numbers is None or number in numbers]
        self.events = [] if numbers is None else [entry for entry in self.events if entry[1] not in numbers]
        for event in ready:
            event()

    def _tell_round(self, trials: Sequence[FrozenTrial], running: Mapping[int, RunningTrial], elapsed: float) -> None:
        best = best_trial(trials)
        snapshot = Snapshot(
            phase=self.phase,
            running=tuple(
                Running(trial=running[t.number].trial, epoch=len(t.intermediate_values), objective=newest_objective(t))
                for t in trials
                if t.number in running
            ),
            **{name: sum(trial.state == state for trial in trials) for name, state in ENDED.items()},
            planned=self.source.planned,
            best_objective=best.value if best else None,
            best_number=best.number if best else None,
            epochs=reported_epochs(trials),
            elapsed=elapsed,
        )
        for observer in self.observers:
            observer.round_finished(snapshot)

    def _spent(self) -> float:
        return self.elapsed + self.timer() - self.mark

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _in_lanes(self) -> list[FrozenTrial]:
        """Return the trials in lanes, as the storage has them, by number."""
        return [trial for trial in self._trials() if trial.number in self.running]


def _ended(outcome: Outcome, result: TrialResult) -> Outcome:
    """Return how a trial ended: as it was decided, but failed where it could not be finished."""
    if result.failure is None or outcome.state == "failed":
        return outcome
    return replace(outcome, state="failed", failure=result.failure)


def _cause(failure: Failure | None) -> str | None:
    """Return the cause of a failure: its kind and its message without the numbers, which differ from trial to trial.

    None without a failure, and where training diverged, because an honest search of the learning rate meets that.
    """
    if failure is None or failure.kind == "diverged":
        return None
    return f"{failure.kind}: {re.sub(r'[0-9]+', '#', failure.message)}"
