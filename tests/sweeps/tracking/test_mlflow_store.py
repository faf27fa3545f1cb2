"""The store of a runs folder: moved, of another MLflow, damaged."""

import shutil
import sqlite3
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest
import tracked_study as small

from sweeps.tracking.follower import _as_it_stands
from sweeps.tracking.mlflow_runs import StudyRuns
from sweeps.tracking.mlflow_store import prepare

INSTALLED = version("mlflow")


@pytest.fixture
def brought(tmp_path, monkeypatch):
    """A runs folder whose own store has a whole study."""
    runs = tmp_path / "old" / "runs"
    study = small.SmallStudy(runs)
    study.tell_all()
    monkeypatch.chdir(runs)
    stored = study.stored()
    tracked = StudyRuns(None, runs, _as_it_stands(stored, alive=False))
    tracked.bring(stored.study, stored.trials, lambda name: None)
    tracked.store.close()
    assert tracked.store.notices == []
    return runs


def test_it_is_one_file_with_a_write_ahead_log_when_open_and_may_be_moved(brought, tmp_path):
    assert sorted(path.name for path in brought.glob("mlflow.db*")) == [
        "mlflow.db",
        "mlflow.db.lock",
    ]
    with closing(sqlite3.connect(brought / "mlflow.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    experiment = small.client(brought).get_experiment_by_name("small")
    assert experiment.artifact_location == (brought / "artifacts" / "small").as_uri()

    new = tmp_path / "a new place" / "runs"
    new.parent.mkdir()
    shutil.move(brought, new)
    [notice] = prepare(new)
    assert "this folder was moved" in notice
    assert str(tmp_path / "old") in notice
    assert prepare(new) == []
    with closing(sqlite3.connect(new / "mlflow.db")) as connection:
        assert (tmp_path / "old").as_uri() not in "\n".join(connection.iterdump())
    client = small.client(new)
    [run] = client.search_runs([experiment.experiment_id], "tags.`sweeps.trial` = 'small/0'")
    local = client.download_artifacts(run.info.run_id, "trial/settings.json")
    assert Path(local).read_text() == "settings.json"
    model = client.get_model_version_by_alias("small-best", "best")
    assert model.source.startswith((new / "artifacts").as_uri())
