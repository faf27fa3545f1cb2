"""The workers of a pool as they come and go: started, waited for, started again, refused.

A process of this machine starts or fails at once. A worker elsewhere may wait long for a place to
run, so that a study begins with the workers that are there.
"""

import logging
import math
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sweeps.errors import UserError
from sweeps.lanes import Failure, Progress, TrialSpec
from sweeps.lanes.worker import Lost, Worker

DEATHS = 3
"""Deaths of a worker, in one epoch or while it starts, after which it is not its machine that is to
blame.
"""
_ALONE_SECONDS = 1800.0  # to wait for a first worker; an autoscaler brings a machine within minutes
_log = logging.getLogger(__name__)


class WorkerError(RuntimeError):
    """A worker failed where no trial can be blamed; the message has its traceback or how it
    died.
    """


class WorkerSet:
    """Workers, of which some may be absent: started, but not ready."""

    def __init__(
        self, workers: Sequence[Worker], kind: Mapping[str, Any], timeout: float | None
    ) -> None:
        """
        Args:
            kind: of every worker; of an empty one, the first worker's is that of all.
            timeout: the most seconds without an answer and a batch while a worker catches up.
        """
        self._timeout = timeout
        self._workers = workers
        self._absent = list[Worker]()
        self.kind = dict(kind)
        """What decides the numbers of every worker (`Lanes.kind`)."""
        self.joined: set[Worker] = set()
        """Workers that have joined since the pool emptied this."""
        self._due = self._together = -math.inf
        """Times (`time.monotonic`): until when replacements are waited for, and until when workers
        count as lost together.
        """

    @property
    def up(self) -> list[Worker]:
        """The workers that are ready to train."""
        return [worker for worker in self._workers if worker.up]

    def start(self) -> None:
        """Start all and wait for them; of workers with `patience`, for the first, and for the
        others so long. Raises as `join`.
        """
        for worker in self._workers:
            worker.start()
        self._absent = [*self._workers]
        self.wait_for_one()
        patience = self._workers[0].patience
        deadline = time.monotonic() + (patience or 0.0)
        while self._absent and (patience is None or time.monotonic() < deadline):
            self.join(None if patience is None else max(0.0, deadline - time.monotonic()))
        self._tell()

    def replace(self, worker: Worker, suspects: Sequence[int], lost: Lost) -> dict[int, Progress]:
        """Put a new process with the same trials, caught up, in place of a lost one. Return the
        trials that fail, by number.

        A crash is retried twice. A suspect alone that raised or was too slow fails, of several
        suspects none, and the next process catches up with one trial after the other. If the worker
        is lost even so, its other trials are the suspects, of one that raised or was too slow those
        it caught up with. Without suspects the program itself is to blame: raises WorkerError.
        """
        failed: dict[int, Progress] = {}
        while True:
            worker.kill()
            worker.losses += not (lost.of_one_trial or lost.machine)
            again = "" if worker.resumes or not worker.trials else "; its trials begin again"
            _log.warning("%s", f"{worker.name} {_how(lost, suspects)}{again}")
            if (
                worker.losses >= DEATHS
                or (lost.of_one_trial and len(suspects) == 1)
                or (lost.failure.kind == "error" and not suspects)
            ):
                if not suspects:
                    raise WorkerError(f"{worker.name}: {lost.detail}")
                failed |= _fail(worker, suspects, lost.failure)
                suspects = list(worker.trials)
            try:
                self._restart(worker, lost)
            except Lost as problem:
                lost = problem
                if lost.one_by_one and lost.suspects:
                    suspects = lost.suspects
            else:
                return failed

    def _restart(self, worker: Worker, lost: Lost) -> None:
        """Start a lost worker again with the same trials, caught up to what the driver knows
        (`Worker.catch_up`).

        It is not `up` afterwards if it takes longer than its `patience`, or if it is refused. Then
        other workers take its trials. In both cases its former process has ended. Raises Lost.
        """
        worker.start()
        if (seconds := worker.gone_at - time.monotonic()) > 0:
            last = "its trials go on elsewhere once it has surely ended by itself"
            _log.warning("%s", f"{worker.name} cannot be reached; {last}, in {seconds:.0f} seconds")
            time.sleep(seconds)
        if not self._await_replacement(worker, lost):
            self._absent.append(worker)
            self._tell()
            return
        try:
            self._handshake(worker)
        except UserError as error:
            self._remove(worker, error)
            return
        worker.catch_up(self._timeout, one_by_one=lost.one_by_one)

    def _await_replacement(self, worker: Worker, lost: Lost) -> bool:
        """Wait for the replacement of a lost worker: of workers that are lost together, one
        patience for all.

        A machine that is gone leaves no place to its workers, so the pool does not wait for a
        worker whose trials others have room for.
        """
        if worker.patience is None:
            return True
        if lost.machine and sum(max(0, each.width - len(each.trials)) for each in self.up) >= len(
            worker.trials
        ):
            return bool(worker.ready([worker], 0.0))
        if (now := time.monotonic()) > self._together:
            self._due = now + worker.patience
        came = bool(worker.ready([worker], max(0.0, self._due - now)))
        if not came or lost.machine:  # a process that died alone leaves its place to the next
            self._together = self._due + (0.0 if came else worker.patience)
        return came

    def join(self, seconds: float | None) -> None:
        """Wait so many seconds for an absent worker; those that are ready join. None: for as long
        as it takes.

        Raises UserError where the lanes do, and when a worker runs other code or is of another
        kind; WorkerError when it fails while it is built. A worker with `patience` stays away with
        a warning instead, unless it is the last.
        """
        for worker in self._absent[0].ready(self._absent, seconds) if self._absent else ():
            self._absent.remove(worker)
            try:
                self._handshake(worker)
                self.joined.add(worker)
            except UserError as error:
                self._remove(worker, error)
            except Lost as lost:
                worker.losses += not lost.machine
                if (
                    worker.patience is None
                    or lost.failure.kind == "error"
                    or worker.losses >= DEATHS
                ):
                    self._remove(worker, lost)
                else:
                    worker.kill()
                    worker.start()
                    self._absent.append(worker)

    def _handshake(self, worker: Worker) -> None:
        """Wait until a worker is ready. Raises UserError if it is of another kind than the study's
        workers, else as the worker.
        """
        worker.wait_until_ready()
        self.kind = self.kind or worker.kind
        if other := [
            f"{name} {worker.kind.get(name, 'unknown')}, not {self.kind.get(name, 'unknown')}"
            for name in self.kind | worker.kind
            if worker.kind.get(name) != self.kind.get(name)
        ]:
            worker.up = False
            problem = (
                f"it differs from the workers that the study began with ({'; '.join(other)}), so "
                "results would not repeat bit for bit. Use the same options and machines of one "
                "kind, or pass --extend."
            )
            raise UserError(worker.name, problem)

    def wait_for_one(self) -> None:
        """Wait until a worker is there. Raises UserError after half an hour without any,
        WorkerError if none can come.
        """
        begun = time.monotonic()
        while not self.up:
            if not self._absent:
                raise WorkerError("no worker is left")
            if time.monotonic() > begun + _ALONE_SECONDS:
                problem = (
                    f"none has started in {_ALONE_SECONDS / 60:g} minutes "
                    f"({self._absent[0].demand}). Ask for less, or give the same command later."
                )
                raise UserError("workers", problem)
            self.join(self._workers[0].patience)

    def _tell(self) -> None:
        if self._absent:
            _log.warning(
                "waiting for %d of %d workers (%s)",
                *(len(self._absent), len(self._workers), self._absent[0].demand),
            )

    def _remove(self, worker: Worker, problem: UserError | Lost) -> None:
        """Go on without a worker. Raises its problem where all workers are needed, or this one was
        the last.
        """
        worker.kill()
        if worker.patience is not None and (self._absent or self.up):
            _log.warning("the study goes on without %s: %s", worker.name, problem)
        elif isinstance(problem, UserError):
            raise problem
        else:
            raise WorkerError(f"{worker.name} could not start: {problem.detail}") from None


def trials_to_move(workers: Sequence[Worker]) -> list[TrialSpec]:
    """Return the trials that have to move from the fullest to the emptiest workers for all to have
    as many free lanes.

    None where a worker leaves no checkpoint that the others see: the trial would begin again.
    """
    if not all(worker.resumes for worker in workers):
        return []
    held = {worker: len(worker.trials) - worker.width for worker in workers}
    moving: list[TrialSpec] = []
    while True:
        full = max(held, key=held.__getitem__)
        free = min(held, key=held.__getitem__)
        if held[full] - held[free] < 2:
            return moving
        moving.append([trial for trial in full.trials.values() if trial not in moving][-1])
        held[full] -= 1
        held[free] += 1


def _fail(worker: Worker, numbers: Collection[int], failure: Failure) -> dict[int, Progress]:
    """Take these trials from a worker; return the reports by which they fail."""
    how_often = "" if failure.kind in ("error", "timed_out") else f", {worker.losses} times"
    failed = {}
    for number in numbers:
        epoch = worker.trials.pop(number).epoch + 1
        message = f"{failure.message} in epoch {epoch}{how_often}"
        failed[number] = Progress(
            number=number,
            epoch=epoch,
            objective=math.nan,
            failure=Failure(kind=failure.kind, message=message),
        )
    worker.losses = 0
    return failed


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
