"""Facts of the machine: cores that a process may use, memory, processor."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vaeexp.machine import describe_hardware, usable_cores

ROOT = Path(__file__).parents[2]
CORES = "from vaeexp.machine import usable_cores; print(usable_cores())"


def cores_of_a_child(prelude: str = "", **environment: str) -> int:
    command = [sys.executable, "-c", f"{prelude}\n{CORES}"]
    options = {
        "cwd": ROOT,
        "env": {**os.environ, **environment},
        "capture_output": True,
        "text": True,
        "check": True,
    }
    return int(subprocess.run(command, **options).stdout)


@pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores"
)
def test_a_process_bound_to_one_core_may_use_one():
    bound = f"import os; os.sched_setaffinity(0, {{{min(os.sched_getaffinity(0))}}})"
    assert cores_of_a_child(bound) == 1
    assert cores_of_a_child() == usable_cores() <= len(os.sched_getaffinity(0))


def test_fewer_cores_can_be_asked_for_and_threads_of_a_library_are_another_matter():
    assert cores_of_a_child(LOKY_MAX_CPU_COUNT="1") == 1
    assert cores_of_a_child(OMP_NUM_THREADS="1") == usable_cores()


def test_a_record_has_the_machine_in_plain_values():
    found = describe_hardware()
    assert found["cores"] == usable_cores()
    assert found["processor"]
    with open("/proc/meminfo", encoding="utf-8") as file:
        kibibytes = int(file.readline().split()[1])
    assert found["memory_gib"] == pytest.approx(kibibytes / 2**20, abs=0.1)
