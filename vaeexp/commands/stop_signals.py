"""Signals that no finalizer swallows: Python prints and drops what a `__del__` raises, a KeyboardInterrupt too.

A SIGTERM that came in a `__del__` would be lost, and the sweep would go on until it is killed.
"""

import _thread
import os
import time
from collections.abc import Callable
from types import FrameType

__all__ = ["after_finalizers"]

_PAUSE = 0.05
"""Seconds until a signal that came in a finalizer comes again."""


def after_finalizers(handler: Callable[[int, FrameType | None], None]) -> Callable[[int, FrameType | None], None]:
    """Return a signal handler that calls `handler`, after the `__del__` in which a signal came."""

    def wait(number: int, frame: FrameType | None) -> None:
        if _in_finalizer(frame):
            # A thread of `threading` takes locks, which the interrupted code may hold.
            _thread.start_new_thread(_send_again, (number,))
        else:
            handler(number, frame)

    return wait


def _in_finalizer(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


def _send_again(number: int) -> None:
    time.sleep(_PAUSE)
    os.kill(os.getpid(), number)
