"""The example of a workload that is no VAE: as long as it says, and the same when it is killed and continued."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

import sweeps

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "any_workload.py"


def start(place: Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, str(EXAMPLE)], cwd=place, env=environment, stdout=subprocess.DEVNULL)


def tables(place: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    results = sweeps.read_results(place / "mlruns", "digits")
    return results.trials.drop(columns=["started", "ended"]), results.epochs


def in_mlflow(place: Path) -> dict[str, str]:
    """Name of each run in MLflow → its status."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place}/mlruns/mlflow.db")
    experiment = client.get_experiment_by_name("digits")
    assert experiment is not None
    return {run.info.run_name: run.info.status for run in client.search_runs([experiment.experiment_id])}


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 60


def test_it_ends_in_the_same_table_when_it_is_killed_and_continued(tmp_path: Path, empty_store: Path) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name / "mlruns").mkdir(parents=True)
        shutil.copy(empty_store, tmp_path / name / "mlruns")
    assert start(tmp_path / "whole").wait() == 0
    journal = tmp_path / "killed" / "mlruns" / "journal" / "digits.log"
    process = start(tmp_path / "killed")
    while not journal.exists() or journal.read_bytes().count(b'"intermediate_value"') < 60:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "running" in set(tables(tmp_path / "killed")[0]["state"])
    assert start(tmp_path / "killed").wait() == 0
    for whole, continued in zip(tables(tmp_path / "whole"), tables(tmp_path / "killed"), strict=True):
        pd.testing.assert_frame_equal(whole, continued)
    statuses = in_mlflow(tmp_path / "killed")
    assert statuses.pop("digits") == "FINISHED"
    trials = tables(tmp_path / "whole")[0].set_index("name")
    assert statuses == trials["state"].map({"complete": "FINISHED", "pruned": "KILLED"}).to_dict()
    assert set(trials["state"]) == {"complete", "pruned"}
    assert trials["result.accuracy"].max() > 0.9
