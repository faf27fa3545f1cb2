"""What holds for every process that runs tests, those of the benchmarks, too.

One thread for each process: several at once, on a busy machine, only get into each other's way. No
deadline for the examples that hypothesis draws: how long one takes says how busy the machine is.
And compiled modules are kept, even where the environment forbids it: the tests start hundreds of
processes, and each would compile all its packages for seconds.
"""

import os
import signal
import sys

import pytest
from hypothesis import settings


def prepare_process() -> None:
    """Set what this process and those that it starts need; call it before torch is imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    # A script's job in the background ignores Ctrl-C, and all processes that tests start would
    # inherit that.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile("vaeexp", deadline=None)
    settings.load_profile("vaeexp")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Take back the threads that an earlier command gave PyTorch in this process, because they
    would wait for each other.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
