"""Interrupts that wait for a moment at which nothing is lost."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of the block, because a message that is sent or read
    by half is lost.

    A second one does not wait, so that a block that hangs can be ended.
    """
    if threading.current_thread() is not threading.main_thread():  # no other thread is interrupted
        yield
        return
    before = {
        number: handler for number in _SIGNALS if callable(handler := signal.getsignal(number))
    }
    came: list[tuple[int, FrameType | None]] = []

    def wait(number: int, frame: FrameType | None) -> None:
        came.append((number, frame))
        if len(came) > 1:
            before[signal.Signals(number)](number, frame)

    try:
        for number in before:
            signal.signal(number, wait)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if len(came) == 1:
            before[signal.Signals(came[0][0])](*came[0])
