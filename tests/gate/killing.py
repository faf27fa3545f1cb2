"""Run `vaeexp ARGUMENTS` and end the process with SIGKILL at a write: `python -P killing.py N
ARGUMENTS`, at the N-th sync to disk.
"""

import itertools
import os
import signal
import sys
from typing import Any


def main() -> None:
    ends_at, sync, count = int(sys.argv[1]), os.fsync, itertools.count(1)

    def fsync(file: Any) -> None:
        sync(file)
        if next(count) == ends_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync
    from vaeexp.commands import main as vaeexp

    sys.argv = ["vaeexp", *sys.argv[2:]]
    vaeexp(sys.argv[1:])


if __name__ == "__main__":
    main()
