"""`vaeexp sweep` that is stopped in order leaves a checkpoint of each running trial's last epoch,
and ends in the same table.
"""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from optuna.trial import TrialState
from place import NAME, SWEEP, command, compare, environment, make_place, read_facts, run, start
from scene import JOURNAL
from tracking_server import TrackingServer

from sweeps.lanes import run_folder
from sweeps.storage import open_storage
from sweeps.storage.optuna_internals import study_ids
from sweeps.storage.study_record import REPEATS
from vaeexp.run_files import CHECKPOINT

# Three sweeps of seconds each, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def reported_and_saved(folder: Path) -> dict[str, tuple[int, int]]:
    """Folder of each trial that is to be trained further → the epochs that it has reported, and
    those in its checkpoint.
    """
    storage, found = open_storage(None, folder / "mlruns", NAME, must_exist=True), {}
    for name, identity in study_ids(storage).items():
        for trial in storage.get_all_trials(identity, deepcopy=False):
            epochs = len(trial.intermediate_values)
            if trial.state == TrialState.RUNNING and epochs and "results" not in trial.user_attrs:
                run = run_folder(trial.number, repeat=name.endswith(REPEATS))
                content = (folder / "mlruns" / "trials" / NAME / run / CHECKPOINT).read_bytes()
                header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
                found[run] = (epochs, json.loads(header["__metadata__"]["vaeexp"])["epoch"])
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_running_trials_leave_checkpoints_of_their_last_epochs(tmp_path, number):
    rarely = [*SWEEP, "--checkpoint-seconds", "24h"]
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole, stopped = make_place(tmp_path / "whole"), make_place(tmp_path / "stopped")
    assert run(whole, rarely, environment(whole))[0] == 0
    process = start(stopped, rarely, environment(stopped))
    # The first two trials have done an epoch or two of eight, and the pruner ends neither.
    while (
        not (stopped / JOURNAL).exists()
        or (stopped / JOURNAL).read_bytes().count(b'"intermediate_value"') < 3
    ):
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    said, _ = process.communicate()
    assert process.returncode == 128 + number, said
    assert (
        "Stopping: workers end the epoch at hand and write checkpoints, for 20 s at the most."
        in said
    )
    running = reported_and_saved(stopped)
    assert running
    assert all(reported == saved for reported, saved in running.values()), running
    code, said = run(stopped, rarely, environment(stopped))
    assert code == 0
    newest = max(reported for reported, _ in running.values())
    assert re.search(rf"\d trials? continues? at epoch [^.]*{newest}\.", said)
    verdict = compare(read_facts(stopped), read_facts(whole))
    assert verdict.is_clean(), verdict


STUDY = """
question: Is Ctrl-C safe while runs are copied?
data: {dataset: arrays, scale: standard, binarisation: none}
model: {network: mlp, hidden: [8], likelihood: gaussian_learned}
train: {epochs: 1, batch_size: 32}
search: {beta: {values: [0.5, 1.0, 2.0]}}
sampler: grid
pruner: none
budget: {trials: 3}
"""


def test_ctrl_c_while_runs_are_copied_to_a_server_that_hangs_loses_nothing(tmp_path):
    """A real server stops before the first run has reached it, and goes on after the sweep."""
    (tmp_path / "server").mkdir()
    (tmp_path / "mine.yaml").write_text(STUDY)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(120, 6)))
    server = TrackingServer(tmp_path / "server")
    try:
        tracking = ("--tracking", server.wait())
        sweep = command("sweep", "mine.yaml", "--data", "x.npy", "--device", "cpu")
        sweep += ["--workers", "1", "--no-html", *tracking]
        own = psutil.Process(server._process.pid)
        processes = [own, *own.children(recursive=True)]
        driver = subprocess.Popen(
            sweep,
            cwd=tmp_path,
            env=environment(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert driver.stdout is not None
        said = ""
        for line in driver.stdout:
            said += line
            if "complete" in line:
                for process in processes:
                    process.suspend()
            if "Ctrl-C is safe" in line:
                break
        assert "Copying the last runs to MLflow." in said
        copying = psutil.Process(driver.pid).children(recursive=True)
        time.sleep(1)
        os.kill(driver.pid, signal.SIGINT)
        rest, _ = driver.communicate(timeout=60)
        assert driver.returncode == 130, said + rest
        assert re.search(r"lacks \d of 4 runs \(it is slow\)\. The storage keeps all: ", rest)
        assert re.search(r"does `[^`]*vaeexp sync mine --tracking http://[^`]*`\.", rest)
        assert "Continue with: " in rest
        assert "Traceback" not in rest
        assert not psutil.wait_procs(copying, timeout=30)[1], "a process is left"
        for process in processes:
            process.resume()
        bring = command("sync", "mine", *tracking)
        assert (
            "mine: 4 runs in MLflow, 4 brought up to date."
            in run(tmp_path, bring, environment(tmp_path))[1]
        )
        assert "nothing to bring" in run(tmp_path, bring, environment(tmp_path))[1]
    finally:
        server.end()
