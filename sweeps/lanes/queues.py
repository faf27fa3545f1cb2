"""The commands that the workers of a pool have been sent, and the answers that have come back."""

from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Any

from sweeps.lanes import Failure, Progress, TrialResult, TrialSpec
from sweeps.lanes.awake import awake_seconds
from sweeps.lanes.commands import Command, share_out
from sweeps.lanes.interrupts import uninterrupted
from sweeps.lanes.worker import Lost, Worker, silent

MOST_UNANSWERED = 32
"""Commands in a queue; pipes hold some hundred, and with full ones on either side both ends would
wait for ever.
"""
_LOOK_SECONDS = 1.0  # between two looks at the time of workers that have a limit


class Queues:
    """The queue of each worker, the time it takes, and the answers that the driver has not asked
    for yet.
    """

    def __init__(self, workers: Iterable[Worker], timeout: float | None) -> None:
        """`timeout`: the most seconds for a part of an epoch, and without a batch or an answer in
        another command; None for no limit.
        """
        self._timeout = timeout
        self._of: dict[Worker, list[Command]] = {worker: [] for worker in workers}
        """What each worker has been sent and has not answered, in order; of an `advance`, the
        trials that it has not done.
        """
        self._moved = dict.fromkeys(self._of, 0.0)
        """When a worker began with the first command of its queue, or with a part of an epoch, or
        did its last batch of another command.
        """
        self._batches = dict.fromkeys(self._of, 0)
        self.progress: dict[int, Progress] = {}
        self.results: dict[int, TrialResult] = {}
        """Of trials that have ended."""

    def send(self, worker: Worker, command: Command) -> None:
        """Send a command to a worker."""
        if not self._of[worker]:
            self._note_move(worker)
        self._of[worker].append(command)
        worker.send(command[0], *command[1])

    def share_out(self, name: str, work: Collection[int]) -> None:
        """Send `advance`, `release` or `finish` to each worker that holds some of its trials."""
        for worker, command in share_out(self._of, name, work).items():
            self.send(worker, command)

    def take_away(self, worker: Worker) -> list[Command]:
        """Empty the queue of a worker that is lost, and return what it held."""
        commands, self._of[worker] = self._of[worker], []
        return commands

    def forget_progress(self, numbers: Iterable[int]) -> None:
        """Drop epochs of these trials that nothing will ask for."""
        for number in numbers:
            self.progress.pop(number, None)

    def length(self, worker: Worker) -> int:
        """Return how many commands a worker has not answered."""
        return len(self._of[worker])

    def has(self, *names: str, worker: Worker | None = None) -> bool:
        """Whether a worker, or this one, has one of these commands in its queue."""
        queues = self._of.values() if worker is None else [self._of[worker]]
        return any(name in names for name, _ in chain.from_iterable(queues))

    def numbers(self, wanted: str) -> set[int]:
        """Return the numbers of the trials that workers are to `advance` or to `finish`."""
        return set(self._work_of(wanted))

    def is_discarding(self, trial: TrialSpec) -> bool:
        """Whether a worker is still to discard the checkpoints from which a trial would go on."""
        return trial.epoch > 0 and any(
            each.checkpoint_name == trial.checkpoint_name
            for each in self._work_of("discard_checkpoints")
        )

    def _work_of(self, wanted: str) -> Iterator[Any]:
        """Yield the trials, or their numbers, of all commands of this name."""
        for name, arguments in chain.from_iterable(self._of.values()):
            if name == wanted:
                yield from arguments[0]

    def is_closing_epoch(self) -> bool:
        """Whether a worker has reported all its trials and not yet said that its epoch is over."""
        return any(queue[:1] == [("advance", ([],))] for queue in self._of.values())

    def wait(self) -> tuple[Worker, Lost] | None:
        """Wait for answers and take them in; return a worker that is lost or late, if there is
        one.
        """
        waiting = {worker: queue[0] for worker, queue in self._of.items() if queue}
        seconds = None if self._timeout is None else _LOOK_SECONDS
        ready = next(iter(waiting)).ready(waiting, seconds)
        for worker, command in waiting.items():
            if command[0] != "advance" and worker.batch != self._batches[worker]:
                self._note_move(worker)
            try:
                if worker in ready and worker.poll():
                    self._take(worker)
                else:
                    self._check_time(worker, command[0])
            except Lost as lost:
                return worker, lost  # the others may have answered meanwhile
        return None

    @uninterrupted()
    def _take(self, worker: Worker) -> None:
        """Take in an answer to the first command of a worker's queue, or a part of one."""
        answer = worker.receive()
        name, arguments = self._of[worker][0]
        if name == "advance":
            worker.losses = 0
        if worker.busy:
            done = {progress.number: progress for progress in answer}
            self.progress |= done
            worker.report(answer)
            left = [number for number in arguments[0] if number not in done]
            self._of[worker][0] = (name, (left,))
        else:
            del self._of[worker][0]
        if name == "finish":
            self.results |= {result.number: result for result in answer}
            worker.drop(arguments[0])
        self._note_move(worker)

    def _check_time(self, worker: Worker, name: str) -> None:
        """Raise Lost where a worker has been too long at a part of an epoch, or too long without a
        batch at another command.
        """
        if (
            self._timeout is None
            or name == "discard_checkpoints"
            or awake_seconds() - self._moved[worker] < self._timeout
        ):
            return
        if name != "advance":
            raise silent(self._timeout)
        how = f"not done after {self._timeout:g} seconds"
        failure = Failure(kind="timed_out", message=f"its epoch was {how}")
        raise Lost(failure, f"was stopped: an epoch was {how}")

    def _note_move(self, worker: Worker) -> None:
        self._moved[worker], self._batches[worker] = awake_seconds(), worker.batch
