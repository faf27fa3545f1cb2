"""What is done with freed memory, seen from the page faults that a process takes."""

import ctypes
import os
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from vaeexp.training.device import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()

def step():
    blocks = [torch.ones(2**21) for _ in range(6)]  # 8 MiB each

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(10):
    step()
before = faults()
for _ in range(30):
    step()
print(faults() - before)
"""


# With glibc's thresholds as they are before its own adaptation, which depends on the order of what
# is freed.
FIXED = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}


@pytest.mark.slow
@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallopt"),
    reason="mallopt is glibc's",
)
def test_kept_memory_is_not_faulted_in_again():
    def faults(mode: str) -> int:
        call = [sys.executable, "-c", SCRIPT, mode]
        run = subprocess.run(
            call,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
            env={**os.environ, **FIXED},
        )
        return int(run.stdout)

    assert faults("keep") < faults("default") / 10
