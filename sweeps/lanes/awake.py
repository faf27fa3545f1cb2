"""A clock that stands still while this process does, as in a frozen container or after Ctrl-Z."""

import threading
import time
from functools import cache

TICK = 1.0
"""Seconds between two looks at the time."""
MOST = 5.0
"""The most seconds that count between two looks. The rest is a pause, in which nothing could be
trained.
"""


class AwakeClock:
    """Counts the seconds in which this process ran. It never goes back."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._looked = time.monotonic()
        threading.Thread(target=self._tick, name="clock", daemon=True).start()

    def __call__(self) -> float:
        with self._lock:
            now = time.monotonic()
            self._seconds += min(now - self._looked, MOST)
            self._looked = now
            return self._seconds

    def _tick(self) -> None:
        never = threading.Event()
        while not never.wait(TICK):
            self()


@cache
def _clock() -> AwakeClock:
    return AwakeClock()


def awake_seconds() -> float:
    """Return seconds since some fixed moment of this process, without those in which it was
    paused.
    """
    return _clock()()
