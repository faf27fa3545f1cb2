"""What `doctor` says of the mirror: how many records MLflow lacks, and whether its store is whole."""

import shutil
from pathlib import Path

import pytest
import tracked_study as small

from sweeps.storage.journal import study_lock
from sweeps.tracking import sync
from sweeps.tracking.health import check_mirror


def finding_of(study, tracking=None):
    (finding,) = check_mirror(tracking, study.runs, None, study.stored())
    return finding


def test_the_mirror_is_behind_until_it_is_brought_up(tmp_path, empty_store):
    runs = tmp_path / "runs"
    runs.mkdir()
    study = small.SmallStudy(runs)
    study.tell_all()
    finding = finding_of(study)
    assert (finding.ok, finding.words) == (False, f"MLflow at {runs / 'mlflow.db'} is 14 of 14 records behind")
    shutil.copy(empty_store, runs)
    assert finding_of(study).words == finding.words
    assert finding_of(study).repair() == "brought 5 runs to MLflow"
    finding = finding_of(study)
    assert (finding.ok, finding.words) == (True, f"MLflow at {runs / 'mlflow.db'} has all 14 records")
    assert finding_of(study, f"sqlite:///{runs / 'mlflow.db'}").ok
    study.start(4)
    study.epoch(4, 1)
    study.session("running")
    finding = finding_of(study)
    assert (finding.ok, finding.words) == (False, f"MLflow at {runs / 'mlflow.db'} is 3 of 16 records behind")
    with study_lock(runs, study.name):
        assert finding_of(study).ok

    database = runs / "mlflow.db"
    content = database.read_bytes()
    for damaged in (content[: len(content) // 2], b"garbage" * 1000, content[:4096] + b"\0" * 8192 + content[12288:]):
        database.write_bytes(damaged)
        finding = finding_of(study)
        assert finding.ok is False
        assert finding.words.startswith(f"{database} is damaged (")
        assert "`vaeexp sync small` moves it aside" in finding.remedy


@pytest.mark.slow
def test_a_damaged_store_is_moved_aside_and_built_anew(tmp_path, empty_store):
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(empty_store, runs)
    study = small.SmallStudy(runs)
    study.tell_all()
    sync(study.name, runs=runs)
    # MLflow keeps a file open that this process has read, so the whole store is read where it stays.
    before = small.contents(Path(shutil.copytree(runs, tmp_path / "whole")))
    database = runs / "mlflow.db"
    database.write_bytes(database.read_bytes()[:100_000])
    finding = finding_of(study)
    said = finding.repair()
    assert "it is mlflow.db.damaged now" in said
    assert said.endswith("brought 5 runs to MLflow")
    assert (runs / "mlflow.db.damaged").stat().st_size == 100_000
    assert finding_of(study).ok
    assert small.reduced(small.contents(runs)) == small.reduced(before)


def test_a_server_that_does_not_answer_tells_nothing(tmp_path):
    study = small.SmallStudy(tmp_path / "runs")
    finding = finding_of(study, "http://me:secret@127.0.0.1:1")
    assert finding.ok is None
    assert "cannot be reached" in finding.words
    assert "secret" not in finding.words
