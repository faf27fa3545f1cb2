"""What a worker and its driver share while the worker works: the number of its last batch, and
whether the worker is to end soon.

Lanes call `beat` after each batch. A worker that hangs ends no epoch and raises no error, so its
pulse is all that tells the driver. So do lanes that are long in `add`, `replay` or `finish`,
because a limit on time ends what stands still there.

A worker in the midst of an epoch reads no command, so an order to end soon reaches its lanes here.
"""

import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes import c_uint64
from dataclasses import dataclass
from statistics import median
from typing import Any

from sweeps.lanes import Stall
from sweeps.lanes.awake import awake_seconds

TIMES_USUAL = 10
LEAST_SECONDS = 60.0
"""A shorter silence is none: compiling a model of a new shape takes as long."""
_EPOCHS = 20

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


@dataclass
class _Silence:
    batch: int
    since: float
    """Of `awake_seconds`."""
    since_on_clock: float
    """Of `time.time`."""


class Watch:
    """Watches the pulses of workers that train, and knows how long their epochs usually take."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_EPOCHS)
        self._silent: dict[str, _Silence] = {}

    @property
    def patience(self) -> float | None:
        """Seconds without a batch after which a worker stalls; None until an epoch has been
        done.
        """
        return max(LEAST_SECONDS, TIMES_USUAL * median(self._seconds)) if self._seconds else None

    def done(self, worker: str, seconds: float) -> None:
        """Hear that a worker has done an epoch of its lanes, or a part of an epoch."""
        self._seconds.append(seconds)
        self._silent.pop(worker, None)

    def rest(self, worker: str) -> None:
        """Hear that a worker has nothing to train."""
        self._silent.pop(worker, None)

    def look(self, worker: str, batch: int, trials: tuple[int, ...]) -> Stall | None:
        """Look at the number of a worker's last batch; return its stall, if it has done no other
        batch for too long.
        """
        now, silence = awake_seconds(), self._silent.get(worker)
        if silence is None or silence.batch != batch:
            self._silent[worker] = _Silence(batch, now, time.time())
        elif self.patience is not None and now - silence.since >= self.patience:
            usual = median(self._seconds)
            return Stall(
                worker=worker, trials=trials, batch=batch, since=silence.since_on_clock, usual=usual
            )
        return None
