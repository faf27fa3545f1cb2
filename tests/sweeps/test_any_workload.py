"""The example of a workload that is no VAE: as long as it says, and the same when it is killed and continued."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

import sweeps

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "any_workload.py"


def start(place: Path, empty_store: Path) -> subprocess.Popen[bytes]:
    if not place.exists():
        (place / "mlruns").mkdir(parents=True)
        shutil.copy(empty_store, place / "mlruns")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(place / "said", "w", encoding="utf-8") as said:
        outputs = {"stdout": subprocess.DEVNULL, "stderr": said}
        return subprocess.Popen([sys.executable, str(EXAMPLE)], cwd=place, env=environment, **outputs)


def run_to_the_end(place: Path, empty_store: Path) -> None:
    """Run the example, and once more where the example says that MLflow is behind, because a busy machine gives the mirror no time."""
    for _ in range(2):
        status = start(place, empty_store).wait()
        said = (place / "said").read_text(encoding="utf-8")
        assert status == 0, said
        if "the same command brings the rest" not in said:
            break


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """The folder of an undisturbed run."""
    place = tmp_path_factory.mktemp("any") / "whole"
    run_to_the_end(place, empty_store)
    return place


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


def check_mlflow(place: Path) -> None:
    statuses = in_mlflow(place)
    assert statuses.pop("digits") == "FINISHED"
    trials = tables(place)[0].set_index("name")
    assert statuses == trials["state"].map({"complete": "FINISHED", "pruned": "KILLED"}).to_dict()


def test_it_learns_prunes_and_is_in_mlflow(whole: Path) -> None:
    trials, _ = tables(whole)
    assert set(trials["state"]) == {"complete", "pruned"}
    assert trials["result.accuracy"].max() > 0.9
    check_mlflow(whole)


@pytest.mark.slow
def test_it_ends_in_the_same_table_when_it_is_killed_and_continued(
    whole: Path, tmp_path: Path, empty_store: Path
) -> None:
    killed = tmp_path / "killed"
    journal = killed / "mlruns" / "journal" / "digits.log"
    for reports in (30, 90):
        process = start(killed, empty_store)
        while not journal.exists() or journal.read_bytes().count(b'"intermediate_value"') < reports:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert "running" in set(tables(killed)[0]["state"])
    run_to_the_end(killed, empty_store)
    for one, other in zip(tables(whole), tables(killed), strict=True):
        pd.testing.assert_frame_equal(one, other)
    check_mlflow(killed)
