"""One child process with lanes in it: the parent's handle, and the loop that answers in the child.

The parent writes commands to a pipe, the child answers each with a reply, `advance` with one for each part. A child ignores
Ctrl-C, which reaches the whole process group (the parent decides what it means), and never outlives its parent, whatever it
is doing.

Before it builds its lanes, a child says which code it runs (`sweeps.source`): a driver must not record values of other code as its own.

After `preload`, on Linux, children are forks of a process that has done nothing but import what they need (multiprocessing's
fork server): it takes the seconds and the memory of that once. Elsewhere each starts afresh.
"""

import contextlib
import dataclasses
import json
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from ctypes import c_uint64
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.sharedctypes import RawValue
from types import ModuleType
from typing import Any, NamedTuple, cast

from sweeps.errors import UserError, limit_reached, warn_once
from sweeps.memory import go_first, memory_kills
from sweeps.source import check_sources, same_code, source_of, sources
from sweeps.workload import Failure, FailureKind, Lanes, Progress, Trial
from sweeps.workload.pulse import count_in

if sys.platform == "linux":
    from multiprocessing import forkserver


_method = "spawn"
_log = logging.getLogger(__name__)
source_of("sweeps")  # now, because forks of this process run the code that it has imported


def preload(module: str) -> None:
    """Begin to import what children will need, beside what this process does. The first call counts."""
    global _method
    if sys.platform != "linux":
        return
    multiprocessing.set_forkserver_preload(["sweeps.fast_exit", __name__, module])
    # Its socket lies in the temporary folder, whose path may be too long for one.
    with contextlib.suppress(OSError), _start_conditions():
        forkserver.ensure_running()
        _method = "forkserver"


class Lost(Exception):
    """A child that is of no more use: it died, or its lanes raised. `detail` may hold a traceback."""

    def __init__(self, failure: Failure, detail: str) -> None:
        super().__init__(failure, detail)  # what pickle gives to the class again
        self.failure, self.detail = failure, detail

    def __str__(self) -> str:
        return self.detail


class Child:
    """The parent's end of one process, and the trials that it holds as far as the driver knows them.

    `process` is None while none is running. `losses` counts deaths since the last epoch that was finished. `idle` is
    False from a command until what it did is known to the driver: an idle child may write checkpoints.
    """

    def __init__(self, name: str, factory: Callable[..., Lanes], arguments: Mapping[str, Any]) -> None:
        self.name = name
        packages = {"sweeps", factory.__module__.partition(".")[0]} - {"__main__"}
        self.packages = sorted(packages)
        self.recipe = pickle.dumps((self.packages, pickle.dumps((factory, dict(arguments)))))
        self.process: multiprocessing.process.BaseProcess | None = None
        self.trials: dict[int, Trial] = {}
        self.width = 0
        self.losses = 0
        self.idle = self.busy = False

    def start(self) -> None:
        """Start a process; `wait_until_ready` waits for its lanes."""
        context = cast(SpawnContext, multiprocessing.get_context(_method))  # the other kinds have the same methods
        self.connection, theirs = context.Pipe()
        self._memory_kills = memory_kills()
        self._batches = RawValue(c_uint64, 0)
        process = context.Process(
            target=_serve,
            args=(theirs, self.recipe, dict(os.environ), self._batches),
            name=self.name,
            daemon=True,
        )
        # Only what the calling script defines needs that script in the child.
        hidden = contextlib.nullcontext() if b"__main__" in self.recipe else without_main_module()
        with _start_conditions(), hidden:
            process.start()
            self.process = process
        theirs.close()

    def send(self, command: str, *arguments: Any) -> None:
        """Call a method of the lanes; `receive` has the answer."""
        self.idle = False
        with contextlib.suppress(OSError):  # of a dead child; `receive` tells
            self.connection.send((command, arguments))

    def wait_until_ready(self) -> None:
        """Wait until its lanes are built. Raises UserError if it runs other code than this process, Lost as `receive`."""
        try:
            theirs = json.loads(self._read())
        except ValueError:  # an older version says nothing of its code
            theirs = {}
        check_sources(self.name, theirs, self.packages)
        self.receive()

    def receive(self) -> Any:
        """Wait for the answer, or for a part of it: then `busy`. Raises Lost, or the child's UserError."""
        while True:
            reply: _Reply | Lost | UserError | str = pickle.loads(self._read())
            if not isinstance(reply, str):
                break
            warn_once(reply)  # a second child may have the same warning
        if isinstance(reply, Exception):
            raise reply
        self.width, self.busy = reply.width, reply.more
        self.idle = not self.busy  # all parts are reported by now
        return reply.value

    def restore(self) -> None:
        """Start a process that holds the same trials, caught up to what the driver knows."""
        self.start()
        self.wait_until_ready()
        for trial in self.trials.values():
            self.send("add", trial)
            self.receive()
        self.send("replay")
        self.receive()

    def report(self, done: Iterable[Progress]) -> None:
        """Count these epochs as reported, but for those that failed, because the driver has seen them."""
        for progress in done:
            if not progress.failure:
                self.trials[progress.number] = dataclasses.replace(self.trials[progress.number], epoch=progress.epoch)

    @property
    def batch(self) -> int:
        """Number of the last batch of its process."""
        return int(self._batches.value)

    def handles(self) -> tuple[Connection, int]:
        """Return what `multiprocessing.connection.wait` waits for: an answer, or the end of the process."""
        return self.connection, self._started.sentinel

    def end(self, deadline: float) -> None:
        """Wait until it has closed its lanes and ended, at most to `deadline` (of `time.monotonic`)."""
        try:
            if wait(self.handles(), max(0.0, deadline - time.monotonic())):
                self.receive()
                self._started.join(max(0.0, deadline - time.monotonic()))
        except (Lost, UserError) as problem:
            _log.warning("%s did not close in order: %s", self.name, problem)

    def kill(self) -> None:
        """End it at once. Files are written under another name and renamed, so none is left half written."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process, self.idle = None, False

    @property
    def _started(self) -> multiprocessing.process.BaseProcess:
        assert self.process is not None
        return self.process

    def _read(self) -> bytes:
        """Wait for the next message. Raises Lost when the child has died instead."""
        wait(self.handles())
        try:
            if not self.connection.poll():
                raise EOFError
            return self.connection.recv_bytes()
        except (EOFError, OSError):
            raise self._death() from None

    def _death(self) -> Lost:
        self._started.join()
        code = self._started.exitcode
        assert code is not None
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        kind: FailureKind = "out_of_memory" if code == -signal.SIGKILL else "crashed"
        if code == -signal.SIGKILL and memory_kills() > self._memory_kills:
            how += " because the memory of its container ran out"
        return Lost(Failure(kind=kind, message=f"its process was {how}" if code < 0 else f"its process {how}"), how)


class _Reply(NamedTuple):
    """The return value of the lanes. In its place come an error to raise, and before it warnings to log, each a text."""

    value: Any
    width: int
    """Of the lanes, now."""
    more: bool = False
    """Whether another part of the answer will come."""


class _WarningSender(logging.Handler):
    """Sends the warnings of a child to its parent."""

    def __init__(self, send: Callable[[bytes], None]) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            self._send(pickle.dumps(record.getMessage()))


def _serve(connection: Connection, recipe: bytes, environment: Mapping[str, str], batches: Any) -> None:
    """Build the lanes in a child, then answer commands until `close` or the end of the parent.

    `environment` is the parent's of now; a fork has that of the time when its server started. `batches` is shared memory
    for the pulse.
    """
    go_first()
    count_in(batches)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    lanes: Lanes | None = None
    sending = threading.Lock()  # threads of the lanes may warn

    def send(reply: bytes) -> None:
        with sending:
            connection.send_bytes(reply)

    packages, building = pickle.loads(recipe)

    def build() -> None:
        nonlocal lanes
        factory, arguments = pickle.loads(building)
        lanes = factory(**arguments)

    def width() -> int:
        return lanes.width if lanes is not None else 0

    # What lanes raise is an answer. A parent that has left may have left an answer unread, which is a reset, not an end.
    with contextlib.suppress(EOFError, ConnectionError):
        send(json.dumps(sources(packages)).encode())
        logging.getLogger().addHandler(_WarningSender(send))
        send(_answer(build, width))
        while lanes is not None:
            command, values = connection.recv()
            method = partial(_advance, send, lanes) if command == "advance" else getattr(lanes, command)
            send(_answer(partial(method, *values), width))
            if command == "close":
                return


def _advance(send: Callable[[bytes], None], lanes: Lanes, numbers: list[int]) -> None:
    """Hand over the epochs as they are done."""
    for done in lanes.advance(numbers):
        send(pickle.dumps(_Reply(done, lanes.width, more=True)))


def _answer(work: Callable[[], Any], width: Callable[[], int]) -> bytes:
    """Do the work; returns the reply, or the error that the parent is to raise."""
    try:
        return pickle.dumps(_Reply(work(), width()))
    except UserError as error:
        return pickle.dumps(error)
    except Exception as error:
        # No trial is to blame for a full disk or a limit on processes: the study stops, and goes on when there is room.
        if limit := limit_reached(error):
            return pickle.dumps(limit)
        last_line = traceback.format_exception_only(error)[-1].strip().splitlines()[-1]
        return pickle.dumps(Lost(Failure(kind="error", message=last_line), traceback.format_exc()))


def _end_with_parent() -> None:
    """Exit when the parent is gone, even in the midst of an epoch.

    The sentinel tells at once; the parent itself is looked at, too, since a process that the parent has forked may still
    hold the other end of the sentinel.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    assert parent.pid is not None
    signs, parent_id = [parent.sentinel], os.getppid()
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # of a kernel before 5.3
            signs.append(os.pidfd_open(parent.pid))
    while not wait(signs, timeout=1.0) and os.getppid() == parent_id:
        pass
    os._exit(1)


@contextlib.contextmanager
def _start_conditions() -> Iterator[None]:
    """Set what a process that starts meanwhile inherits: its code, one thread for libraries, and Ctrl-C held back.

    Libraries that start their threads when they are imported start none; lanes choose their own number. A child is safe
    from Ctrl-C before its first line runs.
    """
    with same_code(OMP_NUM_THREADS="1"):
        blocking = hasattr(signal, "pthread_sigmask")
        if blocking:
            multiprocessing.resource_tracker.ensure_running()  # started by the first spawn instead, it would lift the mask
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            if blocking:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """Keep processes that start meanwhile from running the calling script again.

    multiprocessing imports the script in each child, so that a script without `if __name__ == "__main__":` would start
    its study once more in the child.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
