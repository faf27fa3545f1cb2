"""Many workers, each with its own lanes, that look to the driver like one wider `Lanes`.

Rounds are in step, so a study on many workers repeats as exactly as on one. A worker that dies is
replaced, and its trials go on from their checkpoints; the driver does not notice. Trials whose
worker dies three times in one epoch fail, a trial that crashes alone, and the study goes on. While
a worker has no place to run, the others hold its trials; when it comes, trials move to it before
the next round.

Each worker has a queue of commands, so that it never waits for the driver between two that are sent
together. Where rounds are decided late (`prefetch`), a worker that has done its part of a round
ends trials, begins others and trains the next epoch at once. Its progress is held until asked for.
"""

import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from sweeps.lanes import (
    Failure,
    Lanes,
    Outcome,
    Plan,
    Progress,
    TrialResult,
    TrialSpec,
    WorkerState,
)
from sweeps.lanes.awake import awake_seconds
from sweeps.lanes.commands import (
    Command,
    check_time,
    concerned,
    left_of,
    one_by_one,
    share_out,
)
from sweeps.lanes.interrupts import uninterrupted
from sweeps.lanes.queues import discarding, finishing, training
from sweeps.lanes.stopping import stop_workers
from sweeps.lanes.worker import Lost, Worker
from sweeps.lanes.worker_process import Child
from sweeps.lanes.worker_set import DEATHS, WorkerError, WorkerSet, trials_to_move

_CLOSE_SECONDS = 1.0  # for an orderly end without them
_LOOK_SECONDS = 1.0  # between two looks at the time of workers that have a limit
# Commands; pipes hold some hundred, and with full ones on either side both would wait for ever.
_UNANSWERED = 32

_log = logging.getLogger(__name__)


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
    to blame, or dies in `finish`. Where workers have `patience`, one that fails or is refused while
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
        self._timeout, self._lanes = timeout, lanes
        self._children = [
            worker(f"worker-{index}", factory, of_one) for index, of_one in enumerate(arguments)
        ]
        self._worker_set = WorkerSet(self._children, kind or {})
        self._queues: dict[Worker, list[Command]] = {child: [] for child in self._children}
        """What each worker has been sent and has not answered, in order; of an `advance`, the
        trials that it has not done.
        """
        self._begun = dict.fromkeys(self._children, 0.0)
        """When a worker began with the first command of its queue, or with a part of an epoch, or
        did its last batch of another command.
        """
        self._batches = dict.fromkeys(self._children, 0)
        self._unassigned: list[TrialSpec] = []
        self._left: list[Command] = []
        """Trials of workers that have no place to run, and what these workers had still to do."""
        self._failed: dict[int, Progress] = {}
        self._held: dict[int, Progress] = {}
        """Progress that nobody has asked for yet."""
        self._results: dict[int, TrialResult] = {}
        """Of trials that have ended, until somebody asks for them."""
        self._plan: Plan | None = None
        # Whether a trial that goes on from a checkpoint was placed since the last replay.
        self._behind = False
        self._coming: dict[int, TrialSpec] = {}
        """Trials that workers have begun and nobody has added yet."""
        try:
            self._worker_set.start()
            self._worker_set.joined.clear()
        except BaseException:
            self.close()
            raise

    @property
    def width(self) -> int:
        """Number of trials that fit at once, in all workers; follows a worker that changes its own
        width.
        """
        return sum(child.width for child in self._children) if self._lanes is None else self._lanes

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        return tuple(child.state for child in self._worker_set.up)

    @property
    def kind(self) -> Mapping[str, Any]:
        return self._worker_set.kind

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
        while len(self._queues[child]) >= _UNANSWERED or discarding(self._queues, trial):
            self._poll()
        if not child.up:
            return self._place(trial)
        child.trials[trial.number] = trial
        self._behind = self._behind or trial.epoch > 0
        return self._send(child, ("add", (trial,)))

    def replay(self) -> None:
        if self._behind:  # those that workers have begun have caught up there
            self._behind = False
            for child in [child for child in self._children if child.trials]:
                self._send(child, ("replay", ()))
            self._wait_for("add", "replay")

    def prefetch(self, plan: Plan) -> None:
        self._plan = plan

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        if self._coming:
            raise WorkerError(
                f"trials {sorted(self._coming)} have not begun as planned; give the same command "
                "again"
            )
        self._worker_set.join(0.0)
        plan, self._plan = self._plan, None
        if self._worker_set.joined:
            plan = None  # so that trials can move now, or before the next round
            if not self._held and not self._left and not training(self._queues):
                self._rebalance()
        # Trials move, or a worker was lost after the round before, with nothing left to do for its
        # trials.
        self._drain()
        begun = training(self._queues).union(self._held)
        for child, command in share_out(
            self._children, "advance", [n for n in numbers if n not in begun]
        ).items():
            self._send(child, command)
        yield []
        left, gone, failed = {*numbers}, set[Worker](), list[int]()
        while True:
            if done := [
                self._held[number] for number in numbers if number in left and number in self._held
            ]:
                yield done
                for progress in done:  # not before, because an interrupt may come between
                    del self._held[progress.number]
                    left.remove(progress.number)
            for child in self._worker_set.up:
                done_here = not self._queues[child] and left.union(self._held).isdisjoint(
                    child.trials
                )
                if plan is not None and done_here and child not in gone:
                    gone.add(child)
                    self._go_ahead(child, plan)
            failed += left.intersection(self._failed)
            left.difference_update(failed)
            if not left and not any(
                queue[:1] == [("advance", ([],))] for queue in self._queues.values()
            ):
                break
            if not done:
                self._poll()
        if failed:
            yield [self._failed[number] for number in numbers if number in failed]

    def _go_ahead(self, child: Worker, plan: Plan) -> None:
        """Let a worker that has done its part of a round do what follows."""
        ending, fresh = plan([*child.trials])
        fresh = [trial for trial in fresh[:_UNANSWERED] if not discarding(self._queues, trial)]
        going = [number for number in child.trials if number not in ending] + [
            trial.number for trial in fresh
        ]
        if ending:
            self._send(child, ("finish", (ending,)))
        for trial in fresh:
            self._coming[trial.number] = child.trials[trial.number] = trial
            self._send(child, ("add", (trial,)))
        if any(trial.epoch for trial in fresh):
            self._send(child, ("replay", ()))
        if going:
            self._send(child, ("advance", (going,)))

    def release(self, numbers: Collection[int]) -> None:
        self._wait_for("add", "advance")
        commands = share_out(self._children, "release", numbers)
        for child, command in commands.items():
            child.trials = {
                number: trial for number, trial in child.trials.items() if number not in numbers
            }
            self._send(child, command)
        self._held = {
            number: progress for number, progress in self._held.items() if number not in numbers
        }
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
        for number in ending:
            if number in self._failed:
                self._results[number] = TrialResult(
                    number=number, failure=self._failed.pop(number).failure
                )
        self._drain()  # as in `advance`
        begun = self._results.keys() | finishing(self._queues)
        left = {number: outcome for number, outcome in ending.items() if number not in begun}
        for child, command in share_out(self._children, "finish", left).items():
            self._send(child, command)
        while not self._results.keys() >= ending.keys():
            self._poll()
        self._held = {
            number: progress for number, progress in self._held.items() if number not in ending
        }
        return [self._results.pop(number) for number in ending]

    def discard_checkpoints(self, trials: Sequence[TrialSpec]) -> None:
        # Any worker that sees them can see to it. If all are in the midst of an epoch, it is done
        # after that.
        self._worker_set.wait_for_one()
        child = min(
            self._worker_set.up, key=lambda child: (not child.shares, len(self._queues[child]))
        )
        training = any(name == "advance" for name, _ in self._queues[child])
        self._send(child, ("discard_checkpoints", (trials,)))
        while not training and (self._queues[child] or self._left):
            self._poll()

    def stop(self, seconds: float) -> Iterator[list[Progress] | list[TrialResult]]:
        """See `Lanes.stop`. A worker that hangs leaves no checkpoints: its trials repeat more."""
        yield from ([*self._held.values()], [*self._results.values()])
        yield from stop_workers(self._worker_set.up, self._results, seconds)

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

    def _send(self, child: Worker, command: Command) -> None:
        if not self._queues[child]:
            self._begun[child], self._batches[child] = awake_seconds(), child.batch
        self._queues[child].append(command)
        child.send(command[0], *command[1])

    def _wait_for(self, *names: str) -> None:
        """Wait until no worker has one of these commands in its queue."""
        while self._unassigned or any(
            name in names for queue in self._queues.values() for name, _ in queue
        ):
            self._poll()

    def _poll(self) -> None:
        """Wait for answers and take them in; a worker that is lost is replaced."""
        self._drain()
        waiting = {child: queue[0] for child, queue in self._queues.items() if queue}
        ready = next(iter(waiting)).ready(waiting, None if self._timeout is None else _LOOK_SECONDS)
        for child, command in waiting.items():
            if command[0] != "advance" and child.batch != self._batches[child]:
                self._batches[child], self._begun[child] = child.batch, awake_seconds()
            seconds = awake_seconds() - self._begun[child]
            try:
                if child in ready and child.poll():
                    self._take(child)
                else:
                    check_time(command, seconds, self._timeout)
            except Lost as lost:
                self._on_worker_lost(child, lost)
                break  # the others may have answered meanwhile

    @uninterrupted()
    def _take(self, child: Worker) -> None:
        """Take in an answer to the first command of a worker's queue, or a part of one."""
        answer = child.receive()
        name, arguments = self._queues[child][0]
        if name == "advance":
            child.losses = 0
        if child.busy:
            self._held |= (done := {progress.number: progress for progress in answer})
            child.report(answer)
            self._queues[child][0] = (
                name,
                ([number for number in arguments[0] if number not in done],),
            )
        else:
            del self._queues[child][0]
        if name == "finish":
            self._results |= {result.number: result for result in answer}
            child.trials = {
                number: trial
                for number, trial in child.trials.items()
                if number not in arguments[0]
            }
        self._begun[child], self._batches[child] = awake_seconds(), child.batch

    def _on_worker_lost(self, child: Worker, lost: Lost) -> None:
        """Replace a lost worker, and send what is left of its queue to its successor, or to others
        if it has none.

        The trials of a worker whose lanes raised, that crashed, worked too long on a part of an
        epoch, or stood still in another call, go one by one in its successor, so that the trial to
        blame is found and its neighbours keep their numbers.
        """
        (head, *rest), self._queues[child] = self._queues[child], []
        suspects = concerned(child, head)
        coming = [arguments[0] for name, arguments in rest if name == "add"]
        for trial in coming:  # there may be no room for them yet
            del child.trials[trial.number]
        self._replace(child, suspects, lost)
        if head[0] == "finish":
            self._fail_to_finish(suspects)
        left = left_of(child, head) if head[0] not in ("add", "replay") else None
        alone = lost.one_by_one and head[0] in ("advance", "finish")
        again = one_by_one(left) if left and alone else [left]
        if not child.up:
            self._unassigned += [*child.trials.values(), *coming]
            self._left += [
                each for each in [*again, *rest] if each and each[0] not in ("add", "replay")
            ]
            child.trials = {}
            return
        for each in [*again, *rest]:
            if each and each[0] == "add":
                child.trials[each[1][0].number] = each[1][0]
            if each and (command := left_of(child, each)):
                self._send(child, command)

    def _fail_to_finish(self, numbers: Collection[int]) -> None:
        """Give those of these trials that the pool has failed a result, if they raise or hang.
        Raises WorkerError after a crash.
        """
        for number in numbers:
            if (progress := self._failed.pop(number, None)) and progress.failure:
                if progress.failure.kind not in ("error", "timed_out"):
                    raise WorkerError(f"finishing trial {number}: {progress.failure.message}")
                self._results[number] = TrialResult(number=number, failure=progress.failure)

    def _drain(self) -> None:
        """Place the trials of workers that are away with others, caught up, and have these do what
        was left to do.
        """
        while self._unassigned or self._left:  # again, where a worker is lost meanwhile
            unassigned, left, self._unassigned, self._left = self._unassigned, self._left, [], []
            for trial in unassigned:
                self._place(trial)
            if unassigned:
                for child in self._worker_set.up:
                    self._send(child, ("replay", ()))
            for name, (work,) in left:
                self._worker_set.wait_for_one()
                discard = (
                    {self._worker_set.up[0]: (name, (work,))}
                    if name == "discard_checkpoints"
                    else None
                )
                for child, command in (discard or share_out(self._children, name, work)).items():
                    self._send(child, command)

    def _replace(self, child: Worker, suspects: list[int], lost: Lost) -> None:
        """Put a new process with the same trials, caught up, in place of a lost one.

        A crash is retried twice. A suspect alone that raised or was too slow fails, of several
        suspects none, and the next process catches up with one trial after the other. If the child
        is lost even so, its other trials are the suspects, of one that raised or was too slow those
        it caught up with; without any, the program itself is.
        """
        while True:
            child.kill()
            child.losses += not (lost.of_one_trial or lost.machine)
            again = "" if child.resumes or not child.trials else "; its trials begin again"
            _log.warning("%s", f"{child.name} {_how(lost, suspects)}{again}")
            nobody = lost.failure.kind == "error" and not suspects
            if nobody or (lost.of_one_trial and len(suspects) == 1) or child.losses >= DEATHS:
                if not suspects:
                    raise WorkerError(f"{child.name}: {lost.detail}")
                self._fail(child, suspects, lost.failure)
                suspects = list(child.trials)
            try:
                self._worker_set.restart(child, self._timeout, lost)
                return
            except Lost as problem:
                lost = problem
                if lost.one_by_one and lost.suspects:
                    suspects = list(lost.suspects)

    def _fail(self, child: Worker, numbers: list[int], failure: Failure) -> None:
        how_often = "" if failure.kind in ("error", "timed_out") else f", {child.losses} times"
        for number in numbers:
            epoch = child.trials.pop(number).epoch + 1
            because = Failure(
                kind=failure.kind, message=f"{failure.message} in epoch {epoch}{how_often}"
            )
            self._failed[number] = Progress(
                number=number, epoch=epoch, objective=float("nan"), failure=because
            )
        child.losses = 0


def _how(lost: Lost, suspects: Collection[int]) -> str:
    """Say how a worker was lost; of an error, the traceback stands where the trial to blame is
    known.
    """
    if lost.failure.kind != "error" or len(suspects) < 2:
        return lost.detail
    return (
        f"raised {lost.failure.message}; {len(suspects)} trials go on one by one, to find the one "
        "that raises"
    )
