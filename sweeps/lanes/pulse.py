"""What a worker and its driver share while the worker works: the number of its last batch, and
whether the worker is to end soon.

Lanes call `beat` after each batch. A worker that hangs ends no epoch and raises no error, so its
pulse is all that tells the driver. So do lanes that are long in `add`, `replay` or `finish`,
because a limit on time ends what stands still there.

A worker in the midst of an epoch reads no command, so an order to end soon reaches its lanes here.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_uint64
from typing import Any

SHARED = c_uint64 * 2
"""Kind of the memory that a worker and its driver share: the number of the last batch, and 1 once
the worker is to end soon.
"""

_shared: Any = SHARED()


def share(shared: Any) -> None:
    """Share this memory with the driver of this process."""
    global _shared
    _shared = shared


def heartbeat() -> None:
    """Count a batch."""
    _shared[0] += 1


@contextmanager
def heartbeats() -> Iterator[None]:
    """Count a batch each second while something goes on that is long and no training, so that no
    limit on time ends it.
    """
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(1.0):
            heartbeat()

    thread = threading.Thread(target=go_on, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def batches() -> int:
    """Return the number of the last batch of this process."""
    return int(_shared[0])


def end_soon(shared: Any = None) -> None:
    """Let the lanes of the worker with this memory, by default of this process, end `advance` and
    `replay` after the part at hand.
    """
    (_shared if shared is None else shared)[1] = 1


def ends_soon() -> bool:
    """Whether the lanes of this process are to train nothing after the part at hand, because their
    driver stops.
    """
    return bool(_shared[1])
