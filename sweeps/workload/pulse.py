"""A worker's pulse: the number of its last batch, in memory that the driver reads while the worker works.

Lanes call `beat` after each batch. A worker that hangs ends no epoch and raises no error, so its pulse is all that tells
the driver. So do lanes that are long in `add`, `replay` or `finish`, because a limit on time ends what stands still there.
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

from sweeps.workload import Stall

TIMES_USUAL = 10
LEAST_SECONDS = 60.0
"""A shorter silence is none: compiling a model of a new shape takes as long."""
_EPOCHS = 20

_count: Any = c_uint64(0)


def count_in(shared: Any) -> None:
    """Count the batches of this process in memory that its driver shares."""
    global _count
    _count = shared


def beat() -> None:
    """Count a batch."""
    _count.value += 1


@contextmanager
def beating() -> Iterator[None]:
    """Count a batch each second while something goes on that is long and no training, so that no limit on time ends it."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(1.0):
            beat()

    thread = threading.Thread(target=go_on, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def batches() -> int:
    """Return the number of the last batch of this process."""
    return int(_count.value)


@dataclass
class _Silence:
    batch: int
    since: float
    """Of `time.monotonic`."""
    since_on_clock: float
    """Of `time.time`."""


class Watch:
    """Watches the pulses of workers that train, and knows how long their epochs usually take."""

    def __init__(self) -> None:
        self._seconds: deque[float] = deque(maxlen=_EPOCHS)
        self._silent: dict[str, _Silence] = {}

    @property
    def patience(self) -> float | None:
        """Seconds without a batch after which a worker stalls; None until an epoch has been done."""
        return max(LEAST_SECONDS, TIMES_USUAL * median(self._seconds)) if self._seconds else None

    def done(self, worker: str, seconds: float) -> None:
        """Hear that a worker has done an epoch of its lanes, or a part of an epoch."""
        self._seconds.append(seconds)
        self._silent.pop(worker, None)

    def rest(self, worker: str) -> None:
        """Hear that a worker has nothing to train."""
        self._silent.pop(worker, None)

    def look(self, worker: str, batch: int, trials: tuple[int, ...]) -> Stall | None:
        """Look at the number of a worker's last batch; return its stall, if it has done no other batch for too long."""
        now, silence = time.monotonic(), self._silent.get(worker)
        if silence is None or silence.batch != batch:
            self._silent[worker] = _Silence(batch, now, time.time())
        elif self.patience is not None and now - silence.since >= self.patience:
            usual = median(self._seconds)
            return Stall(worker=worker, trials=trials, batch=batch, since=silence.since_on_clock, usual=usual)
        return None
