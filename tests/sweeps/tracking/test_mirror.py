"""The process that follows a study: nothing is lost or doubled, whatever is killed, deleted, away or slow."""

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
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import tracked_study as small

from sweeps import tracking as module
from sweeps.errors import UserError
from sweeps.files import UNFINISHED
from sweeps.storage.journal import study_lock
from sweeps.tracking import mirroring, sync
from sweeps.tracking.mlflow_store import _move_damaged_aside, damage_of

HERE = Path(__file__).resolve().parents[2] / "support"
ROOT = HERE.parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}"}


@pytest.fixture(scope="module", autouse=True)
def elsewhere(tmp_path_factory):
    """Work in an empty folder, and see that MLflow leaves nothing in it (`mlflow.db` and `mlruns` are its habit)."""
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
def server(tmp_path_factory, empty_store):
    """The address of a real tracking server, which takes 10 s to start; it keeps the artifacts, too."""
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_store, folder / "mlflow.db")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--port", str(port), "--workers", "1", "--artifacts-destination", str(folder / "artifacts")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
    yield f"http://127.0.0.1:{port}"
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(20)


def wait_until(true):
    deadline = time.monotonic() + 90
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for(server):
    def up():
        with closing(socket.socket()) as probe:
            return probe.connect_ex(("127.0.0.1", int(server.rpartition(":")[2]))) == 0

    wait_until(up)
    return server


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def whole(server, empty_store, tmp_path_factory):
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


@pytest.mark.parametrize("nowhere", ["", pytest.param(None, marks=pytest.mark.slow)])
def test_sync_again_has_nothing_to_do(whole, nowhere):
    """An option may be empty."""
    before = own_contents(whole.runs)
    assert sync(small.STUDY, runs=whole.runs, storage=nowhere).brought == 0
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
    with mirroring(small.STUDY, runs=whole.runs, tracking=dead, say=said.append, sync_command="`give sync`") as mirror:
        assert time.monotonic() - start < 1
    assert said == [
        f"MLflow at {dead.replace('secret', '***')} lacks 5 of 5 runs (no answer). The storage keeps all: "
        "the same command brings the rest, and so does `give sync`."
    ]
    assert "no answer" in mirror.warning
    with pytest.raises(UserError, match="lacks 5 of 5 runs"):
        sync(small.STUDY, runs=whole.runs, tracking=dead)

    live = wait_for(server).replace("//", "//user:secret@")
    assert sync(small.STUDY, runs=whole.runs, tracking=live).brought == 5
    found = small.contents(whole.runs, server)
    assert found == own_contents(whole.runs)
    assert "secret" not in json.dumps(found)
    client = small.client(whole.runs, server)
    best = client.get_model_version_by_alias("toy-best", "best").run_id
    assert client.get_run(best).data.tags["sweeps.trial"] == "small/0"


@contextmanager
def in_front_of(server, delay):
    """The address of a server that passes everything on, each piece after a delay; None: it never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = int(server.rpartition(":")[2])

    def pass_on(source, target):
        with suppress(OSError), source, target:
            while data := source.recv(1 << 16):
                time.sleep(delay)
                target.sendall(data)

    def serve():
        held = []
        while True:
            try:
                near = listener.accept()[0]
            except OSError:
                return
            if delay is None:
                held.append(near)
                continue
            far = socket.create_connection(("127.0.0.1", port))
            for pair in ((near, far), (far, near)):
                threading.Thread(target=pass_on, args=pair, daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    listener.close()


@pytest.mark.slow
def test_a_server_that_never_answers_or_is_slow(tmp_path, server, monkeypatch):
    runs = tmp_path / "runs"
    study, said = small.SmallStudy(runs, name="slow", identity="slow"), []
    study.start(0)
    for step in range(1, 4):
        study.epoch(0, step)
    monkeypatch.setattr(module, "PATIENCE", 5.0)
    start = time.monotonic()
    with in_front_of(server, None) as silent, mirroring("slow", runs=runs, tracking=silent, say=said.append):
        pass
    assert time.monotonic() - start < 40, "it waits once, not for each run"
    assert len(said) == 1
    assert "lacks 2 of 2 runs" in said[0]
    monkeypatch.setattr(module, "PATIENCE", 10.0)  # many times what one answer takes on a busy machine
    with (
        in_front_of(wait_for(server), 0.2) as slow,
        mirroring("slow", runs=runs, tracking=slow, say=said.append) as mirror,
    ):
        wait_until(lambda: mirror.state.answers)
        study.end(0, "complete", epochs=3)
        study.session("finished")
        start = time.monotonic()
    assert time.monotonic() - start > module.PATIENCE, "the end waits as long as MLflow answers"
    assert mirror.state.done
    assert len(said) == 1
    assert small.reduced(small.contents(runs, server, "slow")) == small.expected(study.stored())


KILLING = """
import json, os, signal, sys
from pathlib import Path

plan = Path(os.environ.get("KILL_PLAN", "/nowhere"))
if plan.exists() and any("tracking.follower" in argument for argument in sys.orig_argv):
    points = json.loads(plan.read_text())
    plan.write_text(json.dumps(points[1:])) if points[1:] else plan.unlink()
    calls, (last, moment) = 0, points[0]

    def counted(method):
        def call(*arguments, **options):
            global calls
            calls += 1
            if calls == last and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = method(*arguments, **options)
            if calls == last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        return call

    from mlflow import MlflowClient

    for name in ("create_experiment", "create_run", "update_run", "log_batch", "log_artifacts", "log_inputs",
                 "create_registered_model", "create_model_version", "set_terminated"):
        setattr(MlflowClient, name, counted(getattr(MlflowClient, name)))
"""
"""The `sitecustomize` of a mirror that ends by SIGKILL at a call to MLflow; each process takes the next point of the plan."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_mirror_killed_at_any_point_leaves_no_trace(runs, whole, tmp_path, monkeypatch, seed):
    """The driver starts it anew each time."""
    study, chosen = small.SmallStudy(runs), random.Random(seed)
    study.tell_all()
    (tmp_path / "killing").mkdir()
    (tmp_path / "killing" / "sitecustomize.py").write_text(KILLING)
    monkeypatch.syspath_prepend(tmp_path / "killing")
    plan = [(chosen.randint(2, 8), chosen.choice(["before", "after"])) for _ in range(3)]
    (tmp_path / "plan").write_text(json.dumps(plan))
    monkeypatch.setenv("KILL_PLAN", str(tmp_path / "plan"))
    monkeypatch.setattr(module, "TRIES", 9)
    sync(small.STUDY, runs=runs)
    assert not (tmp_path / "plan").exists(), "all of them were killed"
    found = small.contents(runs)
    assert small.reduced(found) == small.expected(study.stored())
    assert found[small.STUDY]["files"] == ["report/README.md", f"study/{small.STUDY}.yaml"]
    untimed = {name: run["files"] for name, run in own_contents(whole.runs).items()}
    assert {name: len(run["files"]) for name, run in found.items()} == {n: len(f) for n, f in untimed.items()}
    assert small.client(runs).get_model_version_by_alias("toy-best", "best").version in (1, "1")


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
        assert os.getpriority(os.PRIO_PROCESS, identity) >= 10
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
    with pytest.raises(KeyboardInterrupt), mirroring(study.name, runs=runs, tracking=dead, say=said.append):
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
    script = "import sys\nfrom pathlib import Path\nfrom sweeps.tracking import sync\nsync('small', runs=Path(sys.argv[1]))\n"
    child = subprocess.Popen([sys.executable, "-c", script, str(runs)], env=ENVIRONMENT, start_new_session=True)
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


def _empty(database):
    os.truncate(database, 0)


@pytest.mark.parametrize("damage", [_garbage, _half, _middle])
def test_a_damaged_store_is_moved_aside_and_a_whole_one_stays(runs, damage):
    """What MLflow is built anew from is the storage; what else the store held is in the file aside."""
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


@pytest.mark.slow
@pytest.mark.parametrize("damage", [_garbage, _half, _middle, _empty])
def test_a_store_that_is_damaged_meanwhile_is_built_anew(runs, damage):
    said, study = [], small.SmallStudy(runs)
    with mirroring(study.name, runs=runs, say=said.append) as mirror:
        study.start(0)
        study.epoch(0, 1)
        wait_until(lambda: mirror.state.brought)
        damage(runs / "mlflow.db")
        study.epoch(0, 2)
        study.end(0, "complete", epochs=2)
        study.session("finished")
    assert len(said) == 1
    assert "mlflow.db was damaged (" in said[0]
    assert "built anew from the storage" in said[0]
    assert (runs / "mlflow.db.damaged").exists() is (damage is not _empty)
    assert small.reduced(small.contents(runs)) == small.expected(study.stored())


@pytest.mark.slow
def test_a_sync_builds_a_damaged_store_anew(tmp_path):
    runs = tmp_path / "runs"
    study = small.SmallStudy(runs)
    study.tell_all()
    (runs / "mlflow.db").write_bytes(b"no database at all " * 1000)
    state = sync(small.STUDY, runs=runs)
    assert state.brought == 5
    assert "mlflow.db was damaged (file is not a database); it is mlflow.db.damaged now" in state.notice
    assert (runs / "mlflow.db.damaged").read_bytes().startswith(b"no database at all")
    assert small.reduced(small.contents(runs)) == small.expected(study.stored())


def test_an_unknown_study_and_an_unknown_address_are_errors(runs):
    with pytest.raises(UserError, match="no such study 'other'"):
        sync("other", runs=runs)
    for address in ("mlruns", "file:///tmp/x", "htp://user:secret@host"):
        with pytest.raises(UserError, match=r"http\(s\)://, sqlite") as caught:
            sync(small.STUDY, runs=runs, tracking=address)
        assert "secret" not in str(caught.value)
