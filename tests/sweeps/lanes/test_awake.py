"""The clock of time limits and budgets stands still while the process is stopped, as in a frozen
container.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
HERE = ROOT / "tests" / "support"
CLOCK = """
import time
from sweeps.lanes import awake
awake.TICK, awake.MOST = 0.02, 0.3
began, real = awake.awake_seconds(), time.monotonic()
print("ready", flush=True)
while time.monotonic() < real + 2.5:
    time.sleep(0.05)
print(awake.awake_seconds() - began, time.monotonic() - real)
"""
BUDGET = """
import time
from pathlib import Path
from sweeps.lanes import awake
awake.TICK, awake.MOST = 0.02, 0.3
from toy_lanes import ToyLanes
from toy_study import in_memory, search, toy_study
rounds = []
def before(event):
    if not rounds:
        print("ready", flush=True)
    if event.startswith("add"):
        rounds.append(event)
        time.sleep(0.05)
study = toy_study(trials=20, seconds=2.4)
reason = search(in_memory(study), study, ToyLanes(width=1, epochs=1, before=before), [], runs=Path('.'))
print(len(rounds), reason)
"""  # noqa: E501
LIMIT = """
import time
from sweeps.lanes import awake
awake.TICK, awake.MOST = 0.02, 0.3
from sweeps.lanes.queues import Queues
class Still:
    batch = 0
worker = Still()
queues = Queues([worker], 1.5)
queues._note_move(worker)
print("ready", flush=True)
time.sleep(0.5)
queues._check_time(worker, "advance")
print("in time")
"""


def paused(program: str, seconds: float) -> str:
    """Stop a program for so long once it says that it is ready; return its last line."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}
    options = {
        "stdout": subprocess.PIPE,
        "text": True,
        "env": environment,
        "start_new_session": True,
    }
    with subprocess.Popen([sys.executable, "-c", program], **options) as process:
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGSTOP)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGCONT)
        return process.stdout.read().strip()


def test_seconds_of_a_stopped_process_do_not_count():
    counted, passed = map(float, paused(CLOCK, 2.0).split())
    assert passed > 2.0
    assert counted < passed - 1.2


@pytest.mark.parametrize(("program", "said"), [(LIMIT, "in time"), (BUDGET, "20 ")])
def test_a_pause_uses_up_no_time_limit_and_no_budget(program, said):
    assert paused(program, 2.2).startswith(said)
