"""The rounds of a study, and how a study that was killed anywhere goes on as if nothing had been.

A round: settle duplicates → fill free lanes → train each lane one epoch → report every value → decide for every trial →
end those that end. Each step is durable before the next begins:

- A trial is written with all its parameters or not at all (`sweeps.storage.proposals`).
- What a trial has done is known from its attribute `round` (that of its admission) and the epochs it has reported;
  whether an epoch was its last is written, as `closing`, before the epoch is reported.
- The decisions of a round are one attribute of the study, `decided`: from there on it is over, and what follows
  (release all that end, `ending` and `result` of each, forget, observers, tell) can be done a second time without harm.

While lanes wait for their next round nothing else is done: observers hear of the last one when the next has begun.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from sweeps.engine.events import News, Observer, Source, next_drafts, snapshot_of
from sweeps.errors import UserError
from sweeps.storage.journal import together
from sweeps.storage.proposals import Draft, commit, judge, write_notes
from sweeps.storage.running_trial import (
    STATES,
    Held,
    checked,
    decided_outcome,
    has_done,
    hold,
    is_ours,
    last_progress,
    outcome_of,
)
from sweeps.workload.protocol import Failure, Lanes, Outcome, Progress, TrialResult

Clock = Callable[[], float]
"""Seconds since some fixed moment, as `time.time`."""

ERRORS_IN_A_ROW = 10
"""So many trials that fail one after the other with an error are a bug, which must not burn the budget."""


class Rounds:
    """One phase of a study. `held` are the trials in lanes; RUNNING trials whose `round` is None wait outside."""

    def __init__(
        self,
        phase: str,
        study: optuna.Study,
        lanes: Lanes,
        observers: Sequence[Observer],
        clock: Clock,
        source: Source,
    ) -> None:
        self.phase, self.study, self.lanes, self.source = phase, study, lanes, source
        self.observers, self.clock = observers, clock
        self.held: dict[int, Held] = {}
        self.round = 0
        self.errors = 0
        self.waited = 0.0
        self.news = News()
        self.elapsed, self.mark = study.user_attrs.get("elapsed", 0.0), clock()

    def run(self) -> str:
        """Go on until the source has no more trials and all have ended; returns the source's reason."""
        self._resume()
        while True:
            self._settle()
            reason = self._fill()
            if not self.held:
                self.news.tell()
                return reason
            self._advance()
            self._end(self._decide())
            self._finish_round()

    # -- taking up what an earlier process left --

    def _resume(self) -> None:
        decided = self.study.user_attrs.get("decided")
        if decided:
            self.round = decided["round"] + 1
            write_notes(self.study, decided["notes"])
        running = [trial for trial in self._trials() if is_ours(trial)]
        for trial in running:
            held, newest = self._hold(trial).trial, last_progress(trial)
            for observer in self.observers:
                observer.trial_started(held, resumed=True)
                if newest:  # the process may have died before it could tell it
                    observer.epoch_finished(held, newest)
        admitted = [trial for trial in running if trial.user_attrs["round"] is not None]
        self._end_late([trial for trial in admitted if decided_outcome(trial, decided)], decided)
        going_on = [trial for trial in admitted if not decided_outcome(trial, decided)]
        for trial in going_on[: self.lanes.width]:
            self._add(self._hold(trial))
        for trial in going_on[self.lanes.width :]:  # there are fewer lanes than there were
            self._hold(trial).write("round", None)
        self.lanes.replay()

    def _end_late(self, trials: Sequence[FrozenTrial], decided: dict[str, Any] | None) -> None:
        """End trials that were decided about and not told, as many at a time as there are lanes."""
        ending = [(self._hold(trial), decided_outcome(trial, decided)) for trial in trials]
        for start in range(0, len(ending), self.lanes.width):
            batch = ending[start : start + self.lanes.width]
            for held, _ in batch:
                if "result" not in held.record.user_attrs:
                    self._add(held)
            self.lanes.replay()
            self._finish(batch, decided["round"] if decided else 0)

    # -- duplicates and free lanes --

    def _settle(self) -> None:
        """Look again at the trials that wait, for an equal one to end or for a lane."""
        for trial in self._trials():
            if not is_ours(trial) or trial.user_attrs["round"] is not None:
                continue
            twin = self.source.twin(trial.params, self._trials()[: trial.number])
            if twin is None and len(self.held) < self.lanes.width:
                held = self._hold(trial)
                held.write("duplicate_of", None)
                held.write("round", self.round - held.trial.epoch)
                self._add(held)
                self.lanes.replay()
            elif twin is not None and twin.state.is_finished():
                self._end_duplicate(self._hold(trial), twin)

    def _fill(self) -> str:
        """Start new trials in free lanes; returns why there is none for a lane that stays free."""
        reason = ""
        while len(self.held) < self.lanes.width and not reason:
            free = self.lanes.width - len(self.held)
            drafts, twin, reason = next_drafts(self.source, self._trials(), free, self._spent(), self.round)
            if drafts:
                self._start(drafts, twin)
        return reason

    def _start(self, drafts: Sequence[Draft], twin: FrozenTrial | None) -> None:
        """Begin these trials, written at once; the last of them may have a twin."""
        if self.study.user_attrs.get("stopped"):
            self.study.set_user_attr("stopped", None)
            self.study.set_user_attr("finished", False)
        first = len(self._trials())
        with together(self.study._storage):
            for draft in drafts:
                where = {"round": self.round}
                if twin is not None and draft is drafts[-1]:
                    where = {"round": None, "duplicate_of": twin.number}
                commit(self.study, draft, {"started": self.clock(), **where})
        for trial in [trial for trial in self._trials()[first:] if is_ours(trial)]:
            held = self._hold(trial)
            for observer in self.observers:
                self.news.add(partial(observer.trial_started, held.trial, resumed=False), trial.number)
            if trial.user_attrs["round"] is not None:
                self._add(held)
            elif twin.state.is_finished():
                self._end_duplicate(held, twin)

    def _end_duplicate(self, held: Held, twin: FrozenTrial) -> None:
        """Give a trial the outcome of an equal one, without training it."""
        outcome = outcome_of(twin)
        result = TrialResult(number=held.trial.number, metrics=twin.user_attrs.get("result") or {})
        with together(self.study._storage):
            held.write("duplicate_of", twin.number)
            held.end(outcome, result, self.round, self.clock())
        self.news.tell({held.trial.number})
        for observer in self.observers:
            observer.trial_ended(held.trial, outcome, result, twin.number)
        held.tell(twin.state, twin.value)

    def _hold(self, trial: FrozenTrial) -> Held:
        """The trial as the workload sees it, with the epochs that it has reported."""
        return hold(self.study, trial, self.source.params(trial), repeat=self.phase == "repeats")

    def _add(self, held: Held) -> None:
        self.lanes.add(held.trial)
        self.held[held.trial.number] = held

    # -- training and reporting --

    def _advance(self) -> None:
        """Train the lanes that have not done their epoch of this round (after a kill, some have); record each as it comes."""
        behind = [trial.number for trial in self._in_lanes() if not has_done(trial, self.round)]
        begun, first, left = time.monotonic(), None, len(behind)
        for done in self.lanes.advance(behind) if behind else ():
            self.news.tell()
            if done:
                first, left = first or time.monotonic(), left - len(done)
                self._report(done)
            else:
                self.source.prepare(self._trials(), self.round, self.waited / 2)
            if left:  # others train meanwhile
                self.news.tell()
        self.waited = (first or begun) - begun

    def _report(self, done: Sequence[Progress]) -> None:
        told = [(self.held[progress.number], checked(progress)) for progress in done]
        with together(self.study._storage):
            recorded = [(held, p) for held, p in told if held.report(p, self.round)]
        for held, progress in recorded:
            for observer in self.observers:
                self.news.add(partial(observer.epoch_finished, held.trial, progress), held.trial.number)

    # -- deciding and ending --

    def _decide(self) -> dict[str, Any]:
        """Let the pruner judge the trials that would go on. Durable in one write."""
        going_on = [t for t in self._in_lanes() if not t.state.is_finished() and "closing" not in t.user_attrs]
        verdicts = judge(self.study, going_on)
        decided = {"round": self.round, "pruned": verdicts.pruned, "notes": verdicts.notes}
        self.elapsed, self.mark = self._spent(), self.clock()
        with together(self.study._storage):
            self.study.set_user_attr("elapsed", self.elapsed)
            self.study.set_user_attr("decided", decided)
        return decided

    def _end(self, decided: dict[str, Any]) -> None:
        write_notes(self.study, decided["notes"])
        ending = [(self.held[t.number], outcome) for t in self._in_lanes() if (outcome := decided_outcome(t, decided))]
        self._finish(ending, self.round)

    def _finish(self, ending: Sequence[tuple[Held, Outcome]], round_: int) -> None:
        """Release the lanes, then tell everybody how their trials ended, Optuna last."""
        if not ending:
            return
        results = self._results(ending, round_)
        self.lanes.discard_checkpoints([held.trial for held, _ in ending])
        self.news.tell({held.trial.number for held, _ in ending})
        for held, outcome in ending:
            for observer in self.observers:
                observer.trial_ended(held.trial, outcome, results[held.trial.number], None)
        trials = self._trials()
        with together(self.study._storage):
            for held, outcome in ending:
                reported = trials[held.trial.number].intermediate_values
                newest = reported[max(reported)] if reported else None  # what Optuna makes the value of a pruned trial
                value = {"complete": outcome.value, "pruned": newest}.get(outcome.state)
                held.tell(STATES[outcome.state], value)
        for held, outcome in ending:
            self.held.pop(held.trial.number, None)
            self._count_errors(outcome.failure)

    def _results(self, ending: Sequence[tuple[Held, Outcome]], round_: int) -> dict[int, TrialResult]:
        """What the lanes leave behind, by number; durable before they forget how to make it again."""
        results, here = {}, {}
        for held, outcome in ending:
            number = held.trial.number
            if number in self.held:
                here[number] = outcome
            else:  # a process that was killed before it could tell has released it
                attrs = held.record.user_attrs
                results[number] = TrialResult(number=number, metrics=attrs["result"], folder=attrs["folder"])
        results |= {result.number: result for result in (self.lanes.finish(here) if here else ())}
        with together(self.study._storage):
            for number, outcome in here.items():
                self.held[number].end(outcome, results[number], round_, self.clock())
        return results

    def _count_errors(self, failure: Failure | None) -> None:
        # Those of this process only: whoever has mended the bug must be able to go on.
        self.errors = self.errors + 1 if failure and failure.kind == "error" else 0
        if self.errors == ERRORS_IN_A_ROW:
            problem = f"{self.errors} trials in a row failed with an error, the last with: {failure.message}"
            raise UserError(f"study '{self.study.study_name}'", problem)

    # -- keeping count --

    def _finish_round(self) -> None:
        self.round += 1
        self.news.add(partial(self._tell_round, self._trials(), dict(self.held), self.elapsed))

    def _tell_round(self, trials: Sequence[FrozenTrial], held: dict[int, Held], elapsed: float) -> None:
        snapshot = snapshot_of(self.phase, trials, held, self.source, elapsed)
        for observer in self.observers:
            observer.round_finished(snapshot)

    def _spent(self) -> float:
        return self.elapsed + self.clock() - self.mark

    def _trials(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False)

    def _in_lanes(self) -> list[FrozenTrial]:
        """The trials in lanes, as the storage has them, by number."""
        return [trial for trial in self._trials() if trial.number in self.held]
