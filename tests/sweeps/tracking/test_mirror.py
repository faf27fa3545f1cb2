"""The process that follows a study: nothing is lost or doubled, whatever is killed, deleted, away
or slow.
"""

import json
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tracked_study as small
from tracking_server import Gate, TrackingServer, free_port

from sweeps import tracking as module
from sweeps.errors import UserError
from sweeps.files import UNFINISHED
from sweeps.storage.journal import study_lock
from sweeps.tracking import mirroring, sync
from sweeps.tracking.mlflow_runs import StudyRuns
from sweeps.tracking.mlflow_store import _move_damaged_aside, damage_of
from sweeps.tracking.ui import run_pages

HERE = Path(__file__).resolve().parents[2] / "support"
ROOT = HERE.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
    """Work in an empty folder, and see that MLflow leaves nothing in it (`mlflow.db` and `mlruns`
    are its habit).
    """
    folder, before = tmp_path_factory.mktemp("cwd"), Path.cwd()
    os.chdir(folder)
    yield
    os.chdir(before)
    assert list(folder.iterdir()) == []


@pytest.fixture
def runs(empty_store, tmp_path):
    folder = tmp_path / "runs"
    folder.mkdir()
    shutil.copy(empty_store, folder / "mlflow.db")
    return folder


@pytest.fixture(scope="module")
def starting(tmp_path_factory, empty_store):
    """A real tracking server, which takes 10 s to start."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    server = TrackingServer(folder)
    yield server
    server.end(signal.SIGTERM)


@pytest.fixture(scope="module")
def server(starting):
    """The address of a server that answers."""
    return starting.wait()


def wait_until(true):
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def whole(starting, empty_store, tmp_path_factory):
    """A finished study and its store, brought by the process; the server starts meanwhile."""
    runs = tmp_path_factory.mktemp("whole % #1?") / "runs"
    study = small.SmallStudy(runs)
    study.tell_all()
    shutil.copy(empty_store, runs / "mlflow.db")
    state = sync(small.STUDY, runs=runs)
    assert (state.runs, state.brought, state.problem) == (5, 5, None)
    return study


def own_contents(runs):
    """What the store in a runs folder holds; its path may hold anything, so a copy is read."""
    copy = Path.cwd().parent / f"copy-{random.getrandbits(32)}"
    copy.mkdir()
    for file in runs.glob("mlflow.db*"):
        shutil.copy(file, copy)
    return small.contents(copy)


def test_a_path_that_an_address_would_quote(whole):
    assert small.reduced(own_contents(whole.runs)) == small.expected(whole.stored())
    assert sorted(path.name for path in whole.runs.parent.iterdir()) == ["reports", "runs"]
    assert not list(whole.runs.glob("mlflow.db-*"))  # one file


def test_sync_again_has_nothing_to_do(whole):
    """An option may be empty."""
    before = own_contents(whole.runs)
    assert sync(small.STUDY, runs=whole.runs, storage="").brought == 0
    assert own_contents(whole.runs) == before


def test_a_deleted_store_is_built_anew(whole):
    before = own_contents(whole.runs)
    with closing(sqlite3.connect(whole.runs / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE leftover (x)")
        left = (whole.runs / "mlflow.db-wal").read_bytes()
    (whole.runs / "mlflow.db").unlink()
    (whole.runs / "mlflow.db-wal").write_bytes(left)  # as after a kill
    assert sync(small.STUDY, runs=whole.runs).brought == 5
    assert own_contents(whole.runs) == before


def test_what_a_dead_server_missed_reaches_a_live_one(whole, server):
    """Over HTTP, artifacts and the registry included."""
    said = []
    dead = f"http://user:secret@127.0.0.1:{free_port()}"
    start = time.monotonic()
    with mirroring(
        small.STUDY, runs=whole.runs, tracking=dead, say=said.append, sync_command="`give sync`"
    ) as mirror:
        assert time.monotonic() - start < 1
    assert said == [
        f"MLflow at {dead.replace('secret', '***')} lacks 5 of 5 runs (no answer). The storage "
        "keeps all: the same command brings the rest, and so does `give sync`."
    ]
    assert "no answer" in mirror.warning
    with pytest.raises(UserError, match="lacks 5 of 5 runs"):
        sync(small.STUDY, runs=whole.runs, tracking=dead)

    live = server.replace("//", "//user:secret@")
    assert sync(small.STUDY, runs=whole.runs, tracking=live).brought == 5
    found = small.contents(whole.runs, server)
    assert found == own_contents(whole.runs)
    assert "secret" not in json.dumps(found)
    client = small.client(whole.runs, server)
    best = client.get_model_version_by_alias("small-best", "best").run_id
    assert client.get_run(best).data.tags["sweeps.trial"] == "small/0"

    study = whole.stored().study
    pages = run_pages(live, study)
    assert set(pages) == {"study", *(record.name_in(small.STUDY) for record in whole.stored().runs)}
    place, identity = pages["small/0"].removeprefix(f"{server}/#/experiments/").split("/runs/")
    assert place == client.get_experiment_by_name(small.STUDY).experiment_id
    assert client.get_run(identity).data.tags["sweeps.trial"] == "small/0"
    assert run_pages(dead, study) == run_pages(None, study) == run_pages("sqlite:///a", study) == {}


@pytest.mark.slow
def test_the_end_waits_once_for_a_server_that_never_answers(tmp_path, monkeypatch):
    study, said = small.SmallStudy(tmp_path / "runs", name="slow", identity="slow"), []
    study.start(0)
    study.epoch(0, 1)
    monkeypatch.setattr(module, "PATIENCE", 5.0)
    start = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with mirroring("slow", runs=study.runs, tracking=address, say=said.append):
            pass
    assert time.monotonic() - start < 40
    assert len(said) == 1
    assert "lacks 2 of 2 runs" in said[0]


@contextmanager
def _door(status, words):
    """The address of a server that answers every request so, as a proxy that lets nobody in."""

    class Shut(BaseHTTPRequestHandler):
        def log_message(self, *arguments):
            """Write nothing."""

        def do_GET(self):
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(words.encode())

        do_POST = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Shut) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "words", "said"),
    [
        (
            401,
            "You are not authenticated. Please see the documentation.",
            r"\(401, no user or a wrong password; set MLFLOW_TRACKING_USERNAME and "
            r"MLFLOW_TRACKING_PASSWORD\)\.$",
        ),
        (418, "unbreakable " * 90, r"error code 418 .* unbreakable …\)\.$"),
    ],
)
def test_a_server_that_lets_nobody_in_is_told_in_words(runs, status, words, said):
    small.SmallStudy(runs).tell_all()
    with _door(status, words) as address, pytest.raises(UserError, match=said):
        sync("small", runs=runs, tracking=address)


def _ended(study, trials=4):
    """Write trials of two epochs and the end of the session."""
    for number in range(trials):
        study.start(number)
        for step in (1, 2):
            study.epoch(number, step)
        study.end(number, "pruned" if number % 2 else "complete", epochs=2)
    study.session("finished")


def _brought(study, address, arrived=lambda name: None, *, anew=False):
    """Bring a study in this process, again after each failure, `anew` as the next process does; how
    often it failed.
    """
    from mlflow.exceptions import MlflowException

    mlflow, stored = None, study.stored()
    for failures in range(20):
        try:
            mlflow = mlflow or StudyRuns(address, study.runs, stored.study)
            mlflow.bring(stored.study, stored.trials, arrived)
            assert mlflow.pending(stored.study, stored.trials) == []
            return failures
        except MlflowException:
            mlflow = None if anew else mlflow
    raise AssertionError("it never comes to its end")


@pytest.fixture
def gate(server):
    gate = Gate(server)
    yield gate
    gate.shut()


def test_lost_answers_double_nothing(tmp_path, server, gate):
    study = small.SmallStudy(tmp_path / "runs", name="lost", identity="lost")
    _ended(study)
    kinds = (
        "experiments/create",
        "runs/create",
        "runs/log-batch",
        "runs/log-inputs",
        "runs/update",
        "runs/create",
    )
    gate.losing += [f"/mlflow/{kind} ".encode() for kind in kinds]
    assert _brought(study, gate.address) >= 2, (
        "the experiment, the parent and more were answered in vain"
    )
    assert gate.losing == []
    assert small.reduced(small.contents(study.runs, server, "lost")) == small.expected(
        study.stored()
    )


@pytest.mark.parametrize("anew", [False, True], ids=["the same process", "the next process"])
@pytest.mark.parametrize("kind", ["runs/create", "runs/update"])
def test_a_request_that_a_server_does_late_changes_nothing(tmp_path, server, gate, anew, kind):
    """A server that hung has requests whose senders are gone. It does them in any order."""
    name = f"late-{kind.rpartition('/')[2]}-{anew}"
    study = small.SmallStudy(tmp_path / "runs", name=name, identity=name)
    study.start(0)
    study.epoch(0, 1)
    if kind == "runs/update":  # the run is resumed, and ends
        study.session("interrupted")
        assert _brought(study, server) == 0
        study.session("running")
    study.end(0, "complete", epochs=1)
    study.session("finished")
    gate.delaying.append(f"/mlflow/{kind} ".encode())
    late = []
    assert (
        _brought(study, gate.address, lambda name: late.append(gate.let_through()), anew=anew) == 1
    )
    assert sum(late) == 1
    found = small.contents(study.runs, server, name)
    assert small.reduced(found) == small.expected(study.stored())
    assert len(found) == 2


@pytest.mark.parametrize(
    "seeds",
    [range(2), pytest.param(range(2, 22), marks=pytest.mark.slow)],
    ids=["two seeds", "twenty seeds"],
)
def test_no_kill_of_the_mirror_doubles_or_loses_anything_in_a_server(tmp_path, server, seeds):
    runs, studies = tmp_path / "runs", []
    for seed in seeds:
        studies.append(small.SmallStudy(runs, name=f"killed-{seed}", identity=f"killed{seed}"))
        _ended(studies[-1])
    plan = [f"killed-{seed}={seed}" for seed in seeds]
    command = [sys.executable, str(HERE / "killed_mirror.py"), str(runs), server, *plan]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= len(studies), (
        "most of three for each study are killed before they have brought all"
    )
    for study in studies:
        assert small.reduced(small.contents(runs, server, study.name)) == small.expected(
            study.stored()
        )


def test_what_a_server_missed_while_it_was_away_reaches_it_later(
    tmp_path, server, gate, monkeypatch
):
    monkeypatch.setattr(module, "PATIENCE", 600.0)
    runs, said = tmp_path / "runs", []
    study = small.SmallStudy(runs, name="away", identity="away")
    with mirroring("away", runs=runs, tracking=gate.address, say=said.append) as mirror:
        for number in range(3):
            study.start(number)
            study.epoch(number, 1)
        wait_until(lambda: mirror.state.brought)
        gate.shut()
        for number in range(3):
            study.epoch(number, 2)
        study.end(0, "complete", epochs=2)
        wait_until(lambda: mirror.warning)
        assert "is behind (no answer); training goes on" in mirror.warning
        gate.open()
        study.epoch(1, 3)
        study.end(1, "pruned", epochs=3)
        study.end(2, "complete", epochs=2)
        study.session("finished")
    assert (mirror.state.done, said) == (True, [])
    assert small.reduced(small.contents(runs, server, "away")) == small.expected(study.stored())


FOLLOWED = """
import sys, time
from pathlib import Path
import tracked_study as small
from sweeps.tracking import mirroring

runs = Path(sys.argv[1])
start = time.perf_counter()
with mirroring(small.STUDY, runs=runs) as mirror:
    print(time.perf_counter() - start, "mlflow" in sys.modules, flush=True)
    study = small.SmallStudy(runs)
    study.start(0)
    study.epoch(0, 1)
    while not mirror.state.brought:
        time.sleep(0.05)
    print(mirror._process.pid, flush=True)
    time.sleep(60)
"""


def test_the_mirror_ends_with_its_driver_and_nothing_stays_running(runs):
    command = [sys.executable, "-c", FOLLOWED, str(runs)]
    driver = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    seconds, imported = driver.stdout.readline().split()
    assert (float(seconds) < 0.3, imported) == (True, "False")
    identity = int(driver.stdout.readline())
    arguments = Path("/proc", str(identity), "cmdline")
    if arguments.parent.parent.exists():
        assert "runs" not in arguments.read_text()
        assert os.getpriority(os.PRIO_PROCESS, identity) >= min(
            19, os.getpriority(os.PRIO_PROCESS, 0) + 10
        )
    assert small.contents(runs)["small/0"]["status"] == "RUNNING"
    driver.kill()
    driver.communicate()
    wait_until(lambda: not _alive(identity))

    with study_lock(runs, small.STUDY):
        sync(small.STUDY, runs=runs)
        assert small.contents(runs)["small/0"]["status"] == "RUNNING", "somebody drives it"
    sync(small.STUDY, runs=runs)
    assert {run["status"] for run in small.contents(runs).values()} == {"KILLED"}


def _alive(identity):
    try:
        os.kill(identity, 0)
    except ProcessLookupError:
        return False
    status = Path("/proc", str(identity), "stat")
    return not status.exists() or ") Z" not in status.read_text()


def test_ctrl_c_says_what_is_missing(runs):
    said, study = [], small.SmallStudy(runs)
    study.start(0)
    study.epoch(0, 1)
    dead = f"http://127.0.0.1:{free_port()}"
    with (
        pytest.raises(KeyboardInterrupt),
        mirroring(study.name, runs=runs, tracking=dead, say=said.append),
    ):
        raise KeyboardInterrupt
    assert len(said) == 1
    assert "lacks 2 of 2 runs" in said[0]


@pytest.mark.slow
def test_a_store_that_is_deleted_meanwhile_is_built_anew(runs):
    said, study = [], small.SmallStudy(runs)
    with mirroring(study.name, runs=runs, say=said.append) as mirror:
        study.start(0)
        study.epoch(0, 1)
        wait_until(lambda: mirror.state.brought)
        (runs / "mlflow.db").unlink()
        study.epoch(0, 2)
        study.end(0, "complete", epochs=2)
        study.session("finished")
    assert len(said) == 1
    assert "was deleted or replaced; it is built anew" in said[0]
    assert small.reduced(small.contents(runs)) == small.expected(study.stored())


@pytest.mark.slow
def test_a_kill_while_the_store_is_made_leaves_none(tmp_path):
    """Half of MLflow's tables are worse than none: it cannot go on from there."""
    runs = tmp_path / "runs"

    def unfinished():
        return list(runs.glob(f"{UNFINISHED}*-mlflow.db"))

    small.SmallStudy(runs).tell_all()
    script = (
        "import sys\nfrom pathlib import Path\nfrom sweeps.tracking import sync\nsync('small', "
        "runs=Path(sys.argv[1]))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(runs)], env=ENVIRONMENT, start_new_session=True
    )
    wait_until(lambda: sum(part.stat().st_size for part in unfinished()) >= 100_000)
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert sum(part.stat().st_size for part in unfinished()) >= 100_000
    assert not (runs / "mlflow.db").exists()
    assert sync(small.STUDY, runs=runs).brought == 5
    assert unfinished() == []


def _garbage(database):
    database.write_bytes(b"no database at all " * 50_000)


def _half(database):
    os.truncate(database, database.stat().st_size // 2)


def _middle(database):
    with database.open("r+b") as file:
        file.seek(database.stat().st_size // 2)
        file.write(b"\xab" * 20_000)


@pytest.mark.parametrize("damage", [_garbage, _half, _middle])
def test_a_damaged_store_is_moved_aside_and_a_whole_one_stays(runs, damage):
    """What MLflow is built anew from is the storage; what else the store held is in the file
    aside.
    """
    database = runs / "mlflow.db"
    assert damage_of(database) is None
    assert _move_damaged_aside(runs) == []
    damage(database)
    content = database.read_bytes()
    [notice] = _move_damaged_aside(runs)
    assert notice.startswith(f"{database} was damaged (")
    assert "it is mlflow.db.damaged now, and is built anew" in notice
    assert not database.exists()
    assert (runs / "mlflow.db.damaged").read_bytes() == content
    assert _move_damaged_aside(runs) == []


def test_an_unknown_study_and_an_unknown_address_are_errors(runs):
    with pytest.raises(UserError, match="no such study 'other'"):
        sync("other", runs=runs)
    for address in ("mlruns", "file:///tmp/x", "htp://user:secret@host"):
        with pytest.raises(UserError, match=r"http\(s\)://, sqlite") as caught:
            sync(small.STUDY, runs=runs, tracking=address)
        assert "secret" not in str(caught.value)
