"""One child process with lanes in it: the parent's handle, and the loop that answers in the child.

The parent writes commands to a pipe, the child answers each with one reply. A child ignores Ctrl-C, which reaches the
whole process group (the parent decides what it means), and never outlives its parent, whatever it is doing.
"""

import contextlib
import dataclasses
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import pickle
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from sweeps.errors import UserError, full_disk
from sweeps.lanes import Failure, Lanes, Progress, Trial

__all__ = ["Child", "Lost"]

_log = logging.getLogger(__name__)


class Lost(Exception):
    """A child that is of no more use: it died, or its lanes raised. `detail` may hold a traceback."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(detail)
        self.failure, self.detail = failure, detail


class Child:
    """The parent's end of one process, and the trials that it holds as far as the driver knows them.

    `process` is None while none is running. `losses` counts deaths since the last epoch that was finished. `idle` is
    False from a command until what it did is known to the driver: an idle child may write checkpoints.
    """

    def __init__(
        self, name: str, factory: Callable[..., Lanes], arguments: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        self.name, self.environment = name, environment
        self.recipe = pickle.dumps((factory, dict(arguments)))
        self.process: multiprocessing.process.BaseProcess | None = None
        self.trials: dict[int, Trial] = {}
        self.width = 0
        self.losses = 0
        self.idle = False

    def start(self) -> None:
        """Start a process; its first reply (`receive`) says that the lanes are built."""
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self.recipe), name=self.name, daemon=True)
        with _environment(self.environment), _interrupts_blocked():
            process.start()
            self.process = process
        theirs.close()
        self._command = "start"

    def send(self, command: str, *given: Any) -> None:
        """Call a method of the lanes; `receive` has the answer."""
        self.idle, self._command = False, command
        with contextlib.suppress(OSError):  # of a dead child; `receive` tells
            self.connection.send((command, given))

    def receive(self) -> Any:
        """The answer, once it is there. Raises Lost, or the child's UserError."""
        wait(self.handles())
        try:
            if not self.connection.poll():
                raise EOFError
            reply: _Reply = self.connection.recv()
        except (EOFError, OSError):
            raise self._death() from None
        if reply.status == "user_error":
            raise UserError(*reply.value)
        if reply.status == "error":
            last_line, text = reply.value
            raise Lost(Failure(kind="error", message=last_line), text)
        self.width = reply.width
        self.idle = self._command != "advance"  # the driver has yet to see that epoch
        return reply.value

    def restore(self) -> None:
        """Start a process that holds the same trials, caught up to what the driver knows."""
        self.start()
        self.receive()
        for trial in self.trials.values():
            self.send("admit", trial)
            self.receive()
        self.send("catch_up")
        self.receive()

    def report(self, done: Mapping[int, Progress]) -> None:
        """The driver is about to see these epochs; from here on they count as reported, but for those that failed."""
        for number in [number for number in self.trials if number in done and not done[number].failure]:
            self.trials[number] = dataclasses.replace(self.trials[number], epoch=done[number].epoch)
        self.idle = True

    def handles(self) -> tuple[Connection, int]:
        """What `multiprocessing.connection.wait` waits for: an answer, or the end of the process."""
        return self.connection, self.process.sentinel

    def end(self, deadline: float) -> None:
        """Wait until it has closed its lanes and ended, at most to `deadline` (of `time.monotonic`)."""
        try:
            if wait(self.handles(), max(0.0, deadline - time.monotonic())):
                self.receive()
                self.process.join(max(0.0, deadline - time.monotonic()))
        except (Lost, UserError) as problem:
            _log.warning("%s did not close in order: %s", self.name, problem)

    def kill(self) -> None:
        """End it at once. Files are written under another name and renamed, so none is left half written."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process, self.idle = None, False

    def _death(self) -> Lost:
        self.process.join()
        code = self.process.exitcode
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        kind = "out_of_memory" if code == -signal.SIGKILL else "crashed"
        return Lost(Failure(kind=kind, message=f"its process was {how}" if code < 0 else f"its process {how}"), how)


class _Reply(NamedTuple):
    status: str
    """`done`, `user_error` (value: place and problem) or `error` (value: last line and whole text of the traceback)."""
    value: Any
    width: int = 0


def _serve(connection: Connection, recipe: bytes) -> None:
    """The child's main function: build the lanes, then answer commands until `close` or the end of the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lanes: Lanes | None = None

    def build() -> None:
        nonlocal lanes
        factory, arguments = pickle.loads(recipe)
        lanes = factory(**arguments)

    connection.send_bytes(_answer(build, lambda: lanes.width))
    while lanes is not None:
        try:
            command, given = connection.recv()
        except EOFError:
            return
        method = getattr(lanes, command)
        connection.send_bytes(_answer(lambda: method(*given), lambda: lanes.width))  # noqa: B023
        if command == "close":
            return


def _answer(work: Callable[[], Any], width: Callable[[], int]) -> bytes:
    try:
        return pickle.dumps(_Reply("done", work(), width()))
    except UserError as error:
        return pickle.dumps(_Reply("user_error", (error.place, error.problem)))
    except Exception as error:
        # No trial is to blame for a full disk: the study stops, and goes on when there is room.
        if isinstance(error, OSError) and (full := full_disk(error)):
            return pickle.dumps(_Reply("user_error", (full.place, full.problem)))
        last_line = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        return pickle.dumps(_Reply("error", (last_line, traceback.format_exc())))


def _end_with_parent() -> None:
    """Exit when the parent is gone, even in the midst of an epoch.

    The sentinel tells at once; the parent's process id is looked at too, since a process that the parent has forked may
    still hold the other end of the sentinel.
    """
    parent = multiprocessing.parent_process()
    while not wait([parent.sentinel], timeout=1.0) and os.getppid() == parent.pid:
        pass
    os._exit(1)


@contextlib.contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Changes that a process started meanwhile inherits."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Hold back Ctrl-C: a child inherits the mask and is safe from it before its first line runs."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    multiprocessing.resource_tracker.ensure_running()  # started by the first spawn instead, it would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
