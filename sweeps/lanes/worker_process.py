"""A worker that is a child process of the driver: the driver's handle, and the loop that answers in
the child.

Commands and answers go through a pipe. A child ignores Ctrl-C, which reaches the whole process
group (the parent decides what it means), and never outlives its parent, whatever it is doing.

After `preload`, on Linux, children are forks of a process that has done nothing but import what
they need (multiprocessing's fork server): it takes the seconds and the memory of that once.
Elsewhere each starts afresh.
"""

import contextlib
import errno
import logging
import multiprocessing
import multiprocessing.resource_tracker
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext
from multiprocessing.sharedctypes import RawValue
from types import ModuleType
from typing import Any, Self, cast

from sweeps.lanes import Failure, FailureKind
from sweeps.lanes.pulse import SHARED, end_soon, share
from sweeps.lanes.worker import Lost, WarningSender, Worker, answers, build, hello
from sweeps.memory import go_first
from sweeps.source import same_code, source_of

if sys.platform == "linux":
    from multiprocessing import forkserver


_method = "spawn"
_log = logging.getLogger(__name__)
source_of("sweeps")  # now, because forks of this process run the code that it has imported


def preload(module: str) -> None:
    """Begin to import what children will need, beside what this process does. The first call
    counts.
    """
    global _method
    if sys.platform != "linux":
        return
    multiprocessing.set_forkserver_preload(["sweeps.fast_exit", __name__, module])
    # Its socket lies in the temporary folder, whose path may be too long for one.
    with contextlib.suppress(OSError), _start_conditions():
        forkserver.ensure_running()
        _method = "forkserver"


class Child(Worker):
    """The parent's end of one process. `process` is None while none is running."""

    process: multiprocessing.process.BaseProcess | None = None

    @classmethod
    def ready(cls, workers: Collection[Self], seconds: float | None) -> set[Self]:
        handles = list[Any]()
        for worker in workers:
            handles += worker.handles()
        signs = set(wait(handles, seconds))
        return {worker for worker in workers if signs.intersection(worker.handles())}

    def start(self) -> None:
        # The other kinds have the same methods.
        context = cast(SpawnContext, multiprocessing.get_context(_method))
        self.connection, theirs = context.Pipe()
        self._shared: Any = RawValue(SHARED)
        process = context.Process(
            target=_serve,
            args=(theirs, self.recipe, dict(os.environ), self._shared),
            name=self.name,
            daemon=True,
        )
        # Only what the calling script defines needs that script in the child.
        hidden = contextlib.nullcontext() if b"__main__" in self.recipe else without_main_module()
        with _start_conditions(), hidden:
            try:
                process.start()
            except EOFError:  # the fork server ends without a word where it cannot fork
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from None
            self.process = process
        theirs.close()

    def _post(self, command: str, arguments: tuple) -> None:
        with contextlib.suppress(OSError):  # of a dead child; `receive` tells
            self.connection.send((command, arguments))

    @property
    def batch(self) -> int:
        return int(self._shared[0])

    def stop_early(self) -> None:
        end_soon(self._shared)

    def handles(self) -> tuple[Connection, int]:
        """Return what `multiprocessing.connection.wait` waits for: an answer, or the end of the
        process.
        """
        return self.connection, self._started.sentinel

    def end(self, deadline: float) -> None:
        super().end(deadline)
        self._started.join(max(0.0, deadline - time.monotonic()))

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.connection.close()
            self.process = None
            self.owed = 0
            self.up = False

    @property
    def _started(self) -> multiprocessing.process.BaseProcess:
        assert self.process is not None
        return self.process

    def _read(self) -> bytes:
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
        how = f"ended with exit status {code}"
        if code < 0:
            how = f"was killed by {signal.Signals(-code).name}"
        kind: FailureKind = "out_of_memory" if code == -signal.SIGKILL else "crashed"
        return Lost(Failure(kind=kind, message=f"its process {how}"), how)


def _serve(
    connection: Connection, recipe: bytes, environment: Mapping[str, str], shared: Any
) -> None:
    """Build the lanes in a child, then answer commands until `close` or the end of the parent.

    `environment` is the parent's of now; a fork has that of the time when its server started.
    `shared` is memory that the parent has, too (`sweeps.lanes.pulse`).
    """
    go_first()
    share(shared)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sending = threading.Lock()  # threads of the lanes may warn

    def send(message: bytes) -> None:
        with sending:
            connection.send_bytes(message)

    def warn(message: bytes) -> None:
        with contextlib.suppress(OSError):  # the parent is gone
            send(message)

    packages, building = pickle.loads(recipe)
    # What lanes raise is an answer. A parent that has left may have left an answer unread, which is
    # a reset, not an end.
    with contextlib.suppress(EOFError, ConnectionError):
        send(hello(packages))
        logging.getLogger().addHandler(WarningSender(warn))
        lanes, built = build(building)
        send(built)
        while lanes is not None:
            command, values = connection.recv()
            for answer in answers(lanes, command, values):
                send(answer)
            if command == "close":
                return


def _end_with_parent() -> None:
    """Exit when the parent is gone, even in the midst of an epoch.

    The sentinel tells at once; the parent itself is looked at, too, since a process that the parent
    has forked may still hold the other end of the sentinel.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent_id = os.getppid()
    while not wait([parent.sentinel], timeout=1.0) and os.getppid() == parent_id:
        pass
    os._exit(1)


@contextlib.contextmanager
def _start_conditions() -> Iterator[None]:
    """Set what a process that starts meanwhile inherits: its code, one thread for libraries, and
    Ctrl-C held back.

    Libraries that start their threads when they are imported start none; lanes choose their own
    number. A child is safe from Ctrl-C before its first line runs.
    """
    with same_code(OMP_NUM_THREADS="1"):
        # Started by the first spawn instead, it would lift the mask.
        multiprocessing.resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_main_module() -> Iterator[None]:
    """Keep processes that start meanwhile from running the calling script again.

    multiprocessing imports the script in each child, so that a script without `if __name__ ==
    "__main__":` would start its study once more in the child.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
