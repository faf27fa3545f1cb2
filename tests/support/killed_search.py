"""A search in a process of its own that is killed, and the same search continued here."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import optuna
from toy_lanes import ToyLanes
from toy_study import search, toy_study

from sweeps.storage import hold_study, open_study

SLOW = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from toy_study import search, toy_study
from sweeps.storage import hold_study, open_study
from toy_lanes import ToyLanes
study = toy_study(trials=10, sampler="tpe", sampler_options={{"startup_trials": 3}}, pruner="median")
with hold_study({url!r}, Path({runs!r}), "toy") as storage:
    optuna_study = open_study(storage, study)
    search(optuna_study, study, ToyLanes(width=3, epochs=4, before=lambda event: time.sleep(0.02)), [])
"""  # noqa: E501
PATHS = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]


def killed_process(
    runs: Path, url: str | None, has_begun: Callable[[], bool], by: signal.Signals = signal.SIGKILL
) -> None:
    """Run the search above in a process of its own and kill it once it has begun."""
    code = SLOW.format(paths=PATHS, runs=str(runs), url=url)
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not has_begun():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline, "the process trains nothing"
        time.sleep(0.01)
    os.kill(process.pid, by)
    process.wait()
    process.stderr.close()


def continued(runs: Path, url: str | None) -> optuna.Study:
    """Run the same search to its end in this process; the Optuna study."""
    study = toy_study(
        trials=10, sampler="tpe", sampler_options={"startup_trials": 3}, pruner="median"
    )
    with hold_study(url, runs, "toy") as storage:
        optuna_study = open_study(storage, study)
        search(optuna_study, study, ToyLanes(width=3, epochs=4), [])
    return optuna_study
