"""What `doctor` says of the mirror: whether its store is whole, or its server answers."""

import os
import shlex
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import tracked_study as small
from other_user import AS_OTHER_USER, needs_root

from sweeps.errors import UserError
from sweeps.tracking import sync
from sweeps.tracking.checks import check_mirror
from sweeps.tracking.mlflow_store import share_as_folder
from sweeps.tracking.ui import ui_server


def finding_of(study, tracking=None):
    (finding,) = check_mirror(tracking, study.runs, None, study.stored())
    return finding


def test_what_mlflow_lacks_is_no_fault_and_a_damaged_store_is(tmp_path, empty_store):
    runs = tmp_path / "runs"
    runs.mkdir()
    study = small.SmallStudy(runs)
    study.tell_all()
    assert finding_of(study).ok
    shutil.copy(empty_store, runs)
    finding = finding_of(study)
    assert (finding.ok, finding.words) == (True, f"MLflow at {runs / 'mlflow.db'}")
    database = runs / "mlflow.db"
    content = database.read_bytes()
    for damaged in (
        content[: len(content) // 2],
        b"garbage" * 1000,
        content[:4096] + b"\0" * 8192 + content[12288:],
    ):
        database.write_bytes(damaged)
        finding = finding_of(study)
        assert finding.ok is False
        assert finding.words.startswith(f"{database} is damaged (")
        assert "`sweeps.sync` moves it aside" in finding.remedy
    assert finding.repair().endswith("brought 5 runs to MLflow")
    assert finding_of(study).ok


def test_a_server_that_does_not_answer_is_unknown(tmp_path):
    study = small.SmallStudy(tmp_path)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        finding = finding_of(study, f"http://127.0.0.1:{closed.getsockname()[1]}")
    assert finding.ok is None
    assert "`sweeps.sync` brings all" in finding.remedy


def test_the_store_of_a_group_can_be_written_by_its_members(tmp_path):
    """Its folder says who may write; SQLite would let the owner alone."""
    for mode, wanted in ((0o2775, 0o664), (0o755, 0o644), (0o777, 0o666)):
        tmp_path.chmod(mode)
        path = tmp_path / str(mode)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE a (b)")
        share_as_folder(path)
        assert oct(path.stat().st_mode & 0o777) == oct(wanted)


@needs_root
def test_a_store_that_cannot_be_written_is_read(tmp_path, empty_store):
    """As the runs of another user, or on a read-only mount."""
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(empty_store, runs)
    with closing(sqlite3.connect(runs / "mlflow.db")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    before = {path: path.stat().st_mtime_ns for path in runs.iterdir()}
    done = subprocess.run(
        [*AS_OTHER_USER, sys.executable, "-c", READING, runs],
        capture_output=True,
        text=True,
        check=False,
    )
    whole, count, refused, end = done.stdout.split("\n")
    assert (whole, count, end) == ("None", "1", ""), done.stderr
    assert refused.startswith(f"{runs / 'mlflow.db'}: cannot be written")
    assert "--tracking sqlite" in refused
    assert {path: path.stat().st_mtime_ns for path in runs.iterdir()} == before


READING = """
import sys
from pathlib import Path
from sweeps.errors import UserError
from sweeps.tracking.mlflow_store import damage_of, open_to_read
from sweeps.tracking.ui import ui_server
runs = Path(sys.argv[1])
print(damage_of(runs / "mlflow.db"))
with open_to_read(runs / "mlflow.db") as connection:
    print(connection.execute("SELECT count(*) FROM experiments").fetchone()[0])
try:
    with ui_server(None, runs):
        pass
except UserError as error:
    print(error)
"""


@pytest.mark.slow
def test_what_is_gone_from_mlflow_names_the_command_that_brings_it_back(tmp_path, empty_store):
    runs = tmp_path / "my runs"
    study = small.SmallStudy(runs)
    study.tell_all()
    with (
        pytest.raises(UserError, match=r"no mlflow\.db.*`sweeps.sync` builds it"),
        ui_server(None, runs),
    ):
        pass
    shutil.copy(empty_store, runs)
    with closing(sqlite3.connect(runs / "mlflow.db")) as connection, connection:
        columns = (
            "experiment_id, name, artifact_location, lifecycle_stage, creation_time, "
            "last_update_time"
        )
        row = (7, "small", (runs / "artifacts" / "small").as_uri(), "deleted", 1, 1)
        connection.execute(f"INSERT INTO experiments ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
    with pytest.raises(UserError, match="Restore it: ") as refused:
        sync(study.name, runs=runs)
    variable, *command = shlex.split(str(refused.value).partition("Restore it: ")[2].rstrip(".)"))
    environment = dict(os.environ, **dict([variable.split("=", 1)]))
    subprocess.run(
        [sys.executable, "-m", *command], env=environment, check=True, capture_output=True
    )
    assert sync(study.name, runs=runs).runs == 5


READ_ONLY = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"',
    "-",
]
SYNC = (
    "import sys; from pathlib import Path; from sweeps.tracking import sync; sync('small', "
    "runs=Path(sys.argv[1]), tracking=sys.argv[2])"
)


@needs_root
@pytest.mark.parametrize(
    "place", ["another user's", pytest.param("a read-only mount", marks=pytest.mark.slow)]
)
def test_runs_that_cannot_be_written_are_copied_into_a_store_of_ones_own(
    tmp_path, empty_store, place
):
    runs, own = tmp_path / "runs", tmp_path / "own"
    own.mkdir()
    own.chmod(0o777)
    study = small.SmallStudy(runs)
    study.tell_all()
    shutil.copy(empty_store, own)
    (own / "mlflow.db").chmod(0o666)
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*")}
    as_reader = [*AS_OTHER_USER, f"TMPDIR={own}"] if "user" in place else [*READ_ONLY, runs]
    copying = [*as_reader, sys.executable, "-c", SYNC, runs]
    done = subprocess.run(
        [*copying, f"sqlite:///{own}/mlflow.db"], capture_output=True, text=True, check=False
    )
    if "Operation not permitted" in done.stderr:
        pytest.skip("this container mounts nothing")
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(own / "mlflow.db")) as connection:
        (count,) = connection.execute("SELECT count(*) FROM runs").fetchone()
        (kept,) = connection.execute(
            "SELECT artifact_location FROM experiments WHERE name = 'small'"
        ).fetchone()
    assert (count, kept) == (5, (own / "artifacts" / "small").as_uri())
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*")} == before

    done = subprocess.run(
        [*copying[:-2], SYNC.replace("sys.argv[2]", "None"), runs],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "--tracking sqlite:////FOLDER/mlflow.db" in done.stderr.splitlines()[-1]


@pytest.mark.slow
def test_a_damaged_store_is_moved_aside_and_built_anew(tmp_path, empty_store):
    runs = tmp_path / "runs"
    runs.mkdir()
    shutil.copy(empty_store, runs)
    study = small.SmallStudy(runs)
    study.tell_all()
    sync(study.name, runs=runs)
    # MLflow keeps a file open that this process has read, so the whole store is read where it
    # stays.
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
