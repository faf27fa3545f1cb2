"""Signals that no finalizer swallows: Python prints and drops each exception of a `__del__`, a
KeyboardInterrupt too.

A SIGTERM that came in a `__del__` would be lost, and the sweep would go on until somebody kills it.
"""

import _thread
import os
import time
from collections.abc import Callable
from traceback import walk_stack
from types import FrameType

_PAUSE = 0.05
"""Seconds until a signal that came in a finalizer comes again."""


def after_finalizers(
    handler: Callable[[int, FrameType | None], None],
) -> Callable[[int, FrameType | None], None]:
    """Return a signal handler that calls `handler` at once, or, where a signal came in a `__del__`,
    after this `__del__` has ended.
    """

    def wait(number: int, frame: FrameType | None) -> None:
        if any(each.f_code.co_name == "__del__" for each, _ in walk_stack(frame)):
            # A thread of `threading` takes locks, which the interrupted code may hold.
            _thread.start_new_thread(_send_again, (number,))
        else:
            handler(number, frame)

    return wait


def _send_again(number: int) -> None:
    time.sleep(_PAUSE)
    os.kill(os.getpid(), number)
