"""One worker with lanes in it: the driver's handle, whatever runs the worker, and how the worker
answers commands.

The driver sends commands, the worker answers each with a reply, `advance` with one for each part.
Before it builds its lanes, a worker says which code it runs (`sweeps.source`): a driver must not
record values of other code as its own.
"""

import dataclasses
import json
import logging
import os
import pickle
import time
import traceback
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

from sweeps.errors import UserError, limit_reached, warn_once
from sweeps.lanes import Failure, Lanes, Progress, TrialSpec, WorkerState
from sweeps.lanes.interrupts import uninterrupted
from sweeps.lanes.pulse import ends_soon
from sweeps.source import check_sources, named_sources, sources

_REPORTS = 33
"""Reports of a worker that its speed is measured by."""
_log = logging.getLogger(__name__)
_LONGEST = 500  # letters of an error's message; the traceback has all


class Lost(Exception):
    """A worker that is of no more use: it died, its lanes raised, or it hangs. `detail` may hold a
    traceback.

    `machine`: whether its machine is the cause, so that no trial is to blame. `suspects`: numbers
    of the trials that it worked on while it caught up.
    """

    suspects: tuple[int, ...] = ()

    def __init__(self, failure: Failure, detail: str, *, machine: bool = False) -> None:
        super().__init__(failure, detail)  # what pickle gives to the class again
        self.failure = failure
        self.detail = detail
        self.machine = machine

    def __str__(self) -> str:
        return self.detail

    @property
    def of_one_trial(self) -> bool:
        """Whether one trial is to blame and is found when its worker trains them one by one: it
        raised, or was too slow.
        """
        return self.failure.kind in ("error", "timed_out")

    @property
    def one_by_one(self) -> bool:
        """Whether the trials of the lost worker are trained one by one next. A crash of one trial
        must not fail the others; memory is used up by all together."""
        return self.of_one_trial or (self.failure.kind == "crashed" and not self.machine)


def silent(seconds: float) -> Lost:
    """Return the end of a worker that has done nothing for so many seconds."""
    how = f"no batch and no answer for {seconds:g} seconds"
    return Lost(Failure(kind="timed_out", message=how), f"was stopped: {how}")


class Reply(NamedTuple):
    """The return value of the lanes. In its place come an error to raise, and before it warnings to
    log, each a text.
    """

    value: Any
    width: int
    """Of the lanes, now."""
    more: bool = False
    """Whether another part of the answer will come."""


class Worker(ABC):
    """The driver's end of one worker, and the trials that the worker holds as far as the driver
    knows them.

    `losses` counts deaths since the last epoch that was finished. `owed` counts commands whose
    answer the driver has not yet got in full. `torn`: the driver was interrupted while it sent or
    read a message, which is lost. `up`: its lanes are built, and it has not been lost since.
    """

    patience: float | None = None
    """Seconds that a study waits for a worker to start before it goes on without the worker; None:
    it goes on with all only.
    """
    shares: bool = True
    """Whether the worker sees the folder in which the driver keeps the files of trials."""
    resumes: bool = True
    """Whether its trials go on elsewhere from their newest checkpoints. If not, they begin again
    there, with the same result.
    """
    demand: str = ""
    """For messages: what the worker needs, and what there is."""

    def __init__(
        self, name: str, factory: Callable[..., Lanes], arguments: Mapping[str, Any]
    ) -> None:
        self.name = name
        self.packages = sorted({"sweeps", factory.__module__.partition(".")[0]} - {"__main__"})
        self.recipe = pickle.dumps((self.packages, pickle.dumps((factory, dict(arguments)))))
        self.trials: dict[int, TrialSpec] = {}
        self.kind: dict[str, Any] = {}
        self.node = os.uname().nodename
        self.since = 0.0
        self._reports = deque[tuple[float, int]](maxlen=_REPORTS)
        """(`time.monotonic`, epochs) of each report since it is ready."""
        self.width = 0
        self.losses = self.owed = 0
        self.busy = self.torn = self.up = False
        self.gone_at = 0.0
        """Time (`time.monotonic`) at which its process before this one has surely ended, if that
        one could not be reached.
        """
        self._message: Reply | Exception | None = None

    @classmethod
    @abstractmethod
    def ready(cls, workers: Collection[Self], seconds: float | None) -> set[Self]:
        """Wait for a message or the end of one of these workers, at most so many seconds; return
        the workers that have one.
        """

    @property
    @abstractmethod
    def batch(self) -> int:
        """Number of the last batch of its process."""

    @abstractmethod
    def start(self) -> None:
        """Start it; `wait_until_ready` waits for its lanes."""

    @abstractmethod
    def stop_early(self) -> None:
        """Let it end the command at hand early: `advance` and `replay` after the part that its
        lanes are at.
        """

    @abstractmethod
    def kill(self) -> None:
        """End it at once. Files are written under another name and renamed, so none is left half
        written.
        """

    def end(self, deadline: float) -> None:
        """Wait until it has closed its lanes, at most to `deadline` (of `time.monotonic`)."""
        try:
            if self.ready([self], max(0.0, deadline - time.monotonic())):
                self.receive()
        except (Lost, UserError) as problem:
            _log.warning("%s did not close in order: %s", self.name, problem)

    @abstractmethod
    def _post(self, command: str, arguments: tuple) -> None:
        """Send a command; `receive` tells if the worker is dead."""

    @abstractmethod
    def _read(self) -> bytes:
        """Wait for the next message. Raises Lost when the worker has died instead."""

    @uninterrupted()
    def send(self, command: str, *arguments: Any) -> None:
        """Call a method of the lanes; `receive` has the answer."""
        self.torn = True
        self.owed += 1
        self._post(command, arguments)
        self.torn = False

    def wait_until_ready(self) -> None:
        """Wait until its lanes are built; sets `kind`. Raises UserError if it runs other code than
        this process, Lost as `receive`.
        """
        theirs = json.loads(self._read())
        check_sources(self.name, theirs, self.packages)
        self.owed, self.torn = 1, False  # owed is word that its lanes are built
        self.kind = named_sources(theirs) | self.receive()
        self.up = True
        self.since = time.time()
        self._reports.clear()

    @property
    def state(self) -> WorkerState:
        """Where it is, what it holds and how fast it is."""
        seconds = self._reports[-1][0] - self._reports[0][0] if self._reports else 0.0
        done = sum(count for _, count in [*self._reports][1:])
        return WorkerState(
            name=self.name,
            node=self.node,
            device=", ".join(
                str(self.kind[name]) for name in ("device", "processor") if name in self.kind
            ),
            trials=tuple(sorted(self.trials)),
            epochs_per_second=done / seconds if seconds else None,
            since=self.since,
        )

    def poll(self) -> bool:
        """Log the warnings that have come; tell whether an answer, or a part of one, has come, too.
        Raises Lost for a dead worker.
        """
        while self._message is None and self.ready([self], 0.0):
            with uninterrupted():
                self.torn = True
                message: Reply | Lost | UserError | str = pickle.loads(self._read())
                if not isinstance(message, str):
                    self._message = message
                self.torn = False
            if isinstance(message, str):
                warn_once(message)  # a second worker may have the same warning
        return self._message is not None

    def receive(self, limit: float | None = None) -> Any:
        """Wait for the answer, or for a part of it: then `busy`. Raises Lost, or the worker's
        UserError.

        Args:
            limit: the most seconds without an answer and without a batch; then Lost, `timed_out`.
        """
        while not self.poll():
            batch = self.batch
            if not self.ready([self], limit) and limit is not None and self.batch == batch:
                raise silent(limit)
        reply = self._message
        self._message = None
        if isinstance(reply, Exception):
            self.owed -= 1
            raise reply
        assert reply is not None
        self.width = reply.width
        self.busy = reply.more
        self.owed -= not self.busy
        return reply.value

    def catch_up(self, limit: float | None = None, *, one_by_one: bool = False) -> None:
        """Give a fresh worker the trials that it is to hold, and train them to what the driver
        knows.

        Args:
            limit: as of `receive`.
            one_by_one: train each trial before the next is added, so that `suspects` of Lost is the
                trial that raises or hangs.
        """
        for number, trial in self.trials.items():
            self._ask((number,), limit, "add", trial)
            if one_by_one:
                self._ask((number,), limit, "replay")
        if self.trials and not one_by_one:
            self._ask(tuple(self.trials), limit, "replay")

    def _ask(
        self, suspects: tuple[int, ...], limit: float | None, command: str, *arguments: Any
    ) -> None:
        try:
            self.send(command, *arguments)
            self.receive(limit)
        except Lost as lost:
            lost.suspects = suspects
            raise

    def report(self, done: Iterable[Progress]) -> None:
        """Count these epochs as reported, but for those that failed, because the driver has seen
        them.
        """
        done = list(done)
        if done:
            self._reports.append((time.monotonic(), len(done)))
        for progress in done:
            if not progress.failure:
                self.trials[progress.number] = dataclasses.replace(
                    self.trials[progress.number], epoch=progress.epoch
                )

    def drop(self, numbers: Collection[int]) -> None:
        """Forget these trials: its lanes hold them no more."""
        self.trials = {
            number: trial for number, trial in self.trials.items() if number not in numbers
        }


class WarningSender(logging.Handler):
    """Sends the warnings of a worker to its driver."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(pickle.dumps(record.getMessage()))


def hello(packages: Collection[str]) -> bytes:
    """Return the first message of a worker: the code that it runs."""
    return json.dumps(sources(packages)).encode()


def build(recipe: bytes, **changed: Any) -> tuple[Lanes | None, bytes]:
    """Build the lanes of a worker, with these arguments in place of the recipe's; return them (None
    after an error) and the reply.
    """
    try:
        factory, arguments = pickle.loads(recipe)
        lanes: Lanes = factory(**arguments | changed)
        return lanes, pickle.dumps(Reply(dict(lanes.kind), lanes.width))
    except BaseException as error:
        return None, _problem(error)


def answers(lanes: Lanes, command: str, arguments: tuple) -> Iterator[bytes]:
    """Do what a command says; yield the replies: of `advance` the epochs as they are done, then the
    end, or an error.

    `advance` ends early where this process is to end soon.
    """
    try:
        value = None
        if command == "advance":
            for done in lanes.advance(*arguments):
                yield pickle.dumps(Reply(done, lanes.width, more=True))
                if ends_soon():
                    break
        else:
            value = getattr(lanes, command)(*arguments)
        yield pickle.dumps(Reply(value, lanes.width))
    except GeneratorExit:
        raise
    except BaseException as error:  # the code of a user may leave by `sys.exit`
        yield _problem(error)


def _problem(error: BaseException) -> bytes:
    """Return the message that makes the driver raise an error of the lanes."""
    # No trial is to blame for a full disk or a limit on processes: the study stops, and goes on
    # when there is room.
    if limit := error if isinstance(error, UserError) else limit_reached(error):
        return pickle.dumps(limit)
    message = " ".join(traceback.format_exception_only(error)[-1].split())
    short = message if len(message) <= _LONGEST else f"{message[:_LONGEST]} …"
    return pickle.dumps(Lost(Failure(kind="error", message=short), traceback.format_exc()))
