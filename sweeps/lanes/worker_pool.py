"""Many workers, each with its own lanes, that look to the driver like one wider `Lanes`.

Rounds are in step, so a study on many workers repeats as exactly as on one. A worker that dies is
replaced, and its trials go on from their checkpoints; the driver does not notice. Trials whose
worker dies three times in one epoch fail, a trial that crashes alone, and the study goes on. While
a worker has no place to run, the others hold its trials; when it comes, trials move to it before
the next round.

Each worker has a queue of commands, so that it never waits for the driver between two that are sent
together. Where decisions are pipelined (`prefetch`), a worker that has done its part of a round
ends trials, begins others and trains the next epoch at once. Its progress is held until asked for.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from sweeps.lanes import Lanes, Outcome, Plan, Progress, TrialResult, TrialSpec, WorkerState
from sweeps.lanes.commands import Command, concerned, left_of
from sweeps.lanes.queues import MOST_UNANSWERED, Queues
from sweeps.lanes.stopping import stop_workers
from sweeps.lanes.worker import Lost, Worker
from sweeps.lanes.worker_process import Child
from sweeps.lanes.worker_restarts import WorkerError, WorkerSet, trials_to_move

_CLOSE_SECONDS = 1.0  # for an orderly end without them


class WorkerPool:
    """Lanes over `len(arguments)` workers; number i serves `factory(**arguments[i])`.

    `factory` is a function of a module, and everything in `arguments` can be pickled. Libraries
    have one thread each in a worker until its lanes ask for more. Waits until every worker is
    ready; of a kind of worker that has `patience`, until one is ready, and for the others so long.
    Trials move to those that come later. What goes wrong in `add` shows in the next call.

    A trial that the pool fails comes out of `advance` with a failure: `out_of_memory` (SIGKILL
    ended its process three times), `crashed` (it died in another way), `error` (the lanes raised
    while its worker worked on it alone) or `timed_out` (alone in its worker, it did not do its
    epoch in `timeout` seconds, or did nothing for so long in another call). A trial that raises or
    hangs in `finish` has a result with this failure.

    Raises UserError where the lanes do, and when a worker runs other code than this process or is
    of another `kind`; WorkerError when a worker fails while it is built, raises where no trial is
    to blame. Where workers have `patience`, one that fails or is refused while
    it is built stays away with a warning, unless it is the last.
    """

    def __init__(
        self,
        factory: Callable[..., Lanes],
        arguments: Sequence[Mapping[str, Any]],
        *,
        timeout: float | None = None,
        worker: Callable[[str, Callable[..., Lanes], Mapping[str, Any]], Worker] = Child,
        lanes: int | None = None,
        kind: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            timeout: the most seconds that a worker may work on one part of an epoch, and the most
                between two batches (`sweeps.lanes.pulse`) or answers in `add`, `replay` and
                `finish`; None for no limit.
            worker: makes a worker of its name, `factory` and its arguments; a process of this
                machine by default.
            lanes: trials at once, of all workers, even while some are away: then the lanes of a
                worker take more trials than their width, in turn. None: as many as the lanes of all
                workers have.
            kind: `Lanes.kind` of the study's workers; None: that of the first one.
        """
        self._lanes = lanes
        self._children = [
            worker(f"worker-{index}", factory, of_one) for index, of_one in enumerate(arguments)
        ]
        self._worker_set = WorkerSet(self._children, kind or {}, timeout)
        self._queues = Queues(self._children, timeout)
        self._unassigned: list[TrialSpec] = []
        self._left: list[Command] = []
        """Trials of workers that have no place to run, and what these workers had still to do."""
        self._failed: dict[int, Progress] = {}
        self._plan: Plan | None = None
        # Whether a trial that goes on from a checkpoint was placed since the last replay.
        self._behind = False
        self._coming: dict[int, TrialSpec] = {}
        """Trials that workers have begun and the driver has not added yet."""
        try:
            self._worker_set.start()
            self._worker_set.joined.clear()
        except BaseException:
            self.close()
            raise
        self.kind = self._worker_set.kind

    @property
    def width(self) -> int:
        """Number of trials that fit at once, in all workers; follows a worker that changes its own
        width.
        """
        return sum(child.width for child in self._children) if self._lanes is None else self._lanes

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        return tuple(child.state for child in self._worker_set.up)

    def add(self, trial: TrialSpec) -> None:
        """Place a trial in the worker with most free lanes, the first among equals."""
        if (begun := self._coming.pop(trial.number, None)) is not None:
            if begun != trial:
                raise WorkerError(f"{trial.folder_name} is another one than a worker has begun")
            return
        if sum(len(child.trials) for child in self._children) + len(self._unassigned) >= self.width:
            raise ValueError(f"no lane is free for {trial.folder_name}: all {self.width} are taken")
        self._place(trial)

    def _place(self, trial: TrialSpec) -> None:
        self._worker_set.wait_for_one()
        child = max(self._worker_set.up, key=lambda child: child.width - len(child.trials))
        while self._queues.length(child) >= MOST_UNANSWERED or self._queues.is_discarding(trial):
            self._poll()
        if not child.up:
            return self._place(trial)
        child.trials[trial.number] = trial
        self._behind = self._behind or trial.epoch > 0
        return self._queues.send(child, ("add", (trial,)))

    def replay(self) -> None:
        if self._behind:  # those that workers have begun have caught up there
            self._behind = False
            for child in [child for child in self._children if child.trials]:
                self._queues.send(child, ("replay", ()))
            self._wait_for("add", "replay")

    def prefetch(self, plan: Plan) -> None:
        self._plan = plan

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        plan = self._begin_round(numbers)
        yield []
        held = self._queues.progress
        left = {*numbers}
        asked = set[Worker]()
        failed = set[int]()
        while True:
            done = [held[number] for number in numbers if number in left and number in held]
            if done:
                yield done
            for progress in done:  # not before, because an interrupt may come between
                del held[progress.number]
                left.remove(progress.number)
            if plan is not None:
                self._go_ahead(plan, left.union(held), asked)
            failed |= left.intersection(self._failed)
            left -= failed
            if not left and not self._queues.is_closing_epoch():
                break
            if not done:
                self._poll()
        if failed:
            yield [self._failed[number] for number in numbers if number in failed]

    def _begin_round(self, numbers: Collection[int]) -> Plan | None:
        """Tell workers to train their trials for this round, those not yet begun. Return the
        driver's plan for workers that finish early; None where trials are to move to a new worker.
        """
        if self._coming:
            raise WorkerError(
                f"trials {sorted(self._coming)} have not begun as planned; give the same command "
                "again"
            )
        self._worker_set.join(0.0)
        plan = self._plan
        self._plan = None
        held = self._queues.progress
        if self._worker_set.joined:
            plan = None  # so that trials can move now, or before the next round
            if not held and not self._left and not self._queues.numbers("advance"):
                self._rebalance()
        # Trials move, or a worker was lost after the round before, with nothing left to do for its
        # trials.
        self._drain()
        begun = self._queues.numbers("advance").union(held)
        self._queues.share_out("advance", [number for number in numbers if number not in begun])
        return plan

    def _go_ahead(self, plan: Plan, open_trials: Collection[int], asked: set[Worker]) -> None:
        """Let each worker that has done its part of a round, and was not `asked` before, do what
        follows.

        `open_trials`: those whose epoch of the round the caller has not got yet.
        """
        for child in self._worker_set.up:
            done = not self._queues.length(child) and child.trials.keys().isdisjoint(open_trials)
            if not done or child in asked:
                continue
            asked.add(child)
            ending, fresh = plan([*child.trials])
            fresh = [
                trial for trial in fresh[:MOST_UNANSWERED] if not self._queues.is_discarding(trial)
            ]
            going = [number for number in child.trials if number not in ending]
            going += [trial.number for trial in fresh]
            if ending:
                self._queues.send(child, ("finish", (ending,)))
            for trial in fresh:
                self._coming[trial.number] = child.trials[trial.number] = trial
                self._queues.send(child, ("add", (trial,)))
            if any(trial.epoch for trial in fresh):
                self._queues.send(child, ("replay", ()))
            if going:
                self._queues.send(child, ("advance", (going,)))

    def release(self, numbers: Collection[int]) -> None:
        self._wait_for("add", "advance")
        self._queues.share_out("release", numbers)
        for child in self._children:
            child.drop(numbers)
        self._queues.forget_progress(numbers)
        self._wait_for("release")

    def _rebalance(self) -> None:
        """Let trials leave for workers that have come, until all have as many free lanes. They go
        on from a checkpoint of this moment.
        """
        self._worker_set.joined.clear()
        self._wait_for("add")
        moving = trials_to_move(self._worker_set.up)
        self.release([trial.number for trial in moving])
        self._unassigned += moving

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        """Free the lanes of trials that ended. A trial that the pool failed has an empty result."""
        self._give_up(ending)
        self._drain()  # as in `advance`
        results = self._queues.results
        begun = results.keys() | self._queues.numbers("finish")
        left = {number: outcome for number, outcome in ending.items() if number not in begun}
        self._queues.share_out("finish", left)
        while not results.keys() >= ending.keys():
            self._poll()
        self._queues.forget_progress(ending)
        return [results.pop(number) for number in ending]

    def _give_up(self, numbers: Collection[int]) -> None:
        """Give those of these trials that the pool has failed an empty result."""
        for number in self._failed.keys() & set(numbers):
            failure = self._failed.pop(number).failure
            self._queues.results[number] = TrialResult(number=number, failure=failure)

    def discard_checkpoints(self, trials: Sequence[TrialSpec]) -> None:
        # Any worker that sees them can see to it. If all are in the midst of an epoch, it is done
        # after that.
        self._worker_set.wait_for_one()
        child = min(
            self._worker_set.up, key=lambda child: (not child.shares, self._queues.length(child))
        )
        training = self._queues.has("advance", worker=child)
        self._queues.send(child, ("discard_checkpoints", (trials,)))
        while not training and (self._queues.length(child) or self._left):
            self._poll()

    def stop(self, seconds: float) -> Iterator[list[Progress] | list[TrialResult]]:
        """See `Lanes.stop`. A worker that hangs leaves no checkpoints: its trials repeat more."""
        results = self._queues.results
        yield from ([*self._queues.progress.values()], [*results.values()])
        yield from stop_workers(self._worker_set.up, results, seconds)

    def close(self) -> None:
        """End every worker: an idle one closes its lanes, one in the midst of an epoch is
        killed.
        """
        deadline = time.monotonic() + _CLOSE_SECONDS
        idle = [child for child in self._children if child.up and not child.owed]
        try:
            for child in idle:
                child.send("close")
            for child in idle:
                child.end(deadline)
        finally:
            for child in self._children:
                child.kill()

    def _wait_for(self, *names: str) -> None:
        """Wait until no worker has one of these commands in its queue."""
        while self._unassigned or self._queues.has(*names):
            self._poll()

    def _poll(self) -> None:
        """Wait for answers and take them in; a worker that is lost is replaced."""
        self._drain()
        if lost := self._queues.wait():
            self._on_worker_lost(*lost)

    def _on_worker_lost(self, child: Worker, lost: Lost) -> None:
        """Replace a lost worker, and send what is left of its queue to its successor, or to others
        if it has none.

        The trials of a worker whose lanes raised, that crashed, worked too long on a part of an
        epoch, or stood still in another call, go one by one in its successor, so that the trial to
        blame is found and its neighbours keep their numbers.
        """
        head, *rest = self._queues.take_away(child)
        suspects = concerned(child, head)
        coming = [arguments[0] for name, arguments in rest if name == "add"]
        for trial in coming:  # there may be no room for them yet
            del child.trials[trial.number]
        self._failed |= self._worker_set.replace(child, suspects, lost)
        if head[0] == "finish":
            self._give_up(suspects)
        left = []
        if head[0] not in ("add", "replay"):  # its successor has caught up
            left = left_of(child, head, one_by_one=lost.one_by_one)
        if not child.up:
            self._leave_to_others(child, coming, [*left, *rest])
            return
        child.trials |= {trial.number: trial for trial in coming}
        for interrupted in rest:
            left += left_of(child, interrupted)
        for command in left:
            self._queues.send(child, command)

    def _leave_to_others(
        self, child: Worker, coming: Collection[TrialSpec], left: Collection[Command]
    ) -> None:
        """Take the trials from a worker that has no successor, with what was left to do for
        them.
        """
        self._unassigned += [*child.trials.values(), *coming]
        self._left += [command for command in left if command[0] not in ("add", "replay")]
        child.trials = {}

    def _drain(self) -> None:
        """Place the trials of workers that are away with others, caught up, and have these do what
        was left to do.
        """
        while self._unassigned or self._left:  # again, where a worker is lost meanwhile
            unassigned = self._unassigned
            left = self._left
            self._unassigned = []
            self._left = []
            for trial in unassigned:
                self._place(trial)
            if unassigned:
                for child in self._worker_set.up:
                    self._queues.send(child, ("replay", ()))
            for name, (work,) in left:
                self._worker_set.wait_for_one()
                if name == "discard_checkpoints":
                    self._queues.send(self._worker_set.up[0], (name, (work,)))
                else:
                    self._queues.share_out(name, work)
