"""Where studies are kept: what opens, what is refused and with which words, who holds a study."""

import errno
import json
import os
import re
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest
import sqlalchemy
from killed_search import PATHS, continued, killed_process
from postgres import postgres_server
from toy_lanes import ToyLanes
from toy_study import Fixed, X, in_memory, table, toy_study

from sweeps.checksums import Damaged
from sweeps.engine import search
from sweeps.errors import UserError, full_disk
from sweeps.storage import open_storage, open_study, storage_errors_as_user_errors, study_names
from sweeps.storage.checked_records import record_line
from sweeps.storage.journal import lock_holder, open_journal, study_lock
from sweeps.storage.optuna_internals import batched_writes, storage_of

# ---- journal files ----


def test_a_journal_is_made_and_found_again(tmp_path):
    study = toy_study()
    open_study(open_storage(None, tmp_path, "toy"), study)
    assert (tmp_path / "journal" / "toy.log").is_file()
    assert study_names(tmp_path) == ["toy"]
    again = open_storage(None, tmp_path, "toy", must_exist=True)
    assert again.get_all_studies()[0].user_attrs["question"] == "What is it?"


def test_looking_at_a_study_that_does_not_exist_creates_nothing(tmp_path):
    with pytest.raises(UserError, match=r"no such study 'toy'; start it first"):
        open_storage(None, tmp_path / "runs", "toy", must_exist=True)
    assert list(tmp_path.iterdir()) == []
    open_study(open_storage(None, tmp_path, "toys"), toy_study(name="toys"))
    with pytest.raises(UserError, match="Did you mean 'toys'"):
        open_storage(None, tmp_path, "toy", must_exist=True)


def test_a_runs_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for action in (lambda runs: open_storage(None, runs, "toy"), lambda runs: study_lock(runs, "toy").__enter__()):
        with pytest.raises(UserError, match=r"file/runs/journal: cannot be written: .*another runs folder"):
            action(tmp_path / "file" / "runs")


def test_a_file_that_is_no_journal(tmp_path):
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "toy.log").write_text("this\nis\nsomething else\n")
    with pytest.raises(UserError, match=r"toy\.log: line 1 is damaged: it is no record"):
        open_storage(None, tmp_path, "toy")


def test_reading_while_a_driver_writes_half_a_line(tmp_path):
    open_study(open_storage(None, tmp_path, "toy"), toy_study())
    with (tmp_path / "journal" / "toy.log").open("ab") as file:
        file.write(b'{"op_code":4,"worker_id":')
    storage = open_storage(None, tmp_path, "toy", must_exist=True)
    assert [study.study_name for study in storage.get_all_studies()] == ["toy"]


# ---- the lock ----

HOLDER = """
import sys, time
sys.path[:0] = {paths!r}
from pathlib import Path
from sweeps.storage.journal import study_lock
with study_lock(Path({runs!r}), "toy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_and_told_who_is_there(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER.format(paths=PATHS, runs=str(tmp_path))], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        holder = lock_holder(tmp_path, "toy")
        assert holder["pid"] == process.pid
        assert abs(holder["since"] - time.time()) < 60
        with (
            pytest.raises(UserError, match=rf"study 'toy': process {process.pid} \(since 2.*\) is running it already"),
            study_lock(tmp_path, "toy"),
        ):
            pass
        with study_lock(tmp_path, "other"):
            pass
    finally:
        process.kill()
        process.communicate()
    with study_lock(tmp_path, "toy"):  # the system has released it
        assert lock_holder(tmp_path, "toy")["pid"] == os.getpid()
    assert lock_holder(tmp_path, "toy") is None
    assert lock_holder(tmp_path, "never") is None


def test_the_lock_is_released_after_an_error(tmp_path):
    with pytest.raises(KeyboardInterrupt), study_lock(tmp_path, "toy"):
        raise KeyboardInterrupt
    with study_lock(tmp_path, "toy"):
        pass


def test_mending_keeps_every_whole_line(tmp_path):
    (tmp_path / "journal").mkdir()
    path = tmp_path / "journal" / "toy.log"
    whole = b"".join(record_line({"n": n, "filler": "x" * 70_000}) for n in range(4))
    next_line = record_line({"n": 5, "filler": "x"})
    halves = [next_line[:end] for end in range(len(next_line))]
    for kept, tail in [*((whole, tail) for tail in halves), (b"", b'{"n"')]:
        path.write_bytes(kept + tail)
        with study_lock(tmp_path, "toy"):
            assert path.read_bytes() == kept


# ---- continuing with a changed file ----


def refused(old, new, extend=False):
    optuna_study = in_memory(old)
    with pytest.raises(UserError) as error:
        open_study(optuna_study._storage, new, extend=extend)
    assert optuna_study.user_attrs["spec"] == json.loads(json.dumps(old.spec()))
    return str(error.value)


WIDER = {"x": {"kind": "float", "low": 0.0, "high": 5.0}}


def test_a_changed_file_is_refused_with_the_differences():
    message = refused(toy_study(), toy_study(WIDER, fixed=Fixed(epochs=9), seed=3))
    lines = message.splitlines()
    assert "study 'toy': exists with another definition" in lines[0]
    assert lines[1:4] == ["  train.epochs: 5 → 9", "  search.x.high: 1.0 → 5.0", "  seed: 0 → 3"]
    assert "--name NEW" in lines[4]
    assert "--extend" in lines[4]


def test_a_changed_budget_or_wording_is_no_other_study():
    optuna_study = in_memory(toy_study(trials=3))
    new = replace(toy_study(trials=99), question="What is it really?")
    assert open_study(optuna_study._storage, new).user_attrs["question"] == "What is it really?"


def test_extend_continues_with_the_new_file():
    study = toy_study(trials=3)
    optuna_study = in_memory(study)
    search(optuna_study, study, ToyLanes(), [])
    optuna_study.set_user_attr("finished", True)
    wider = toy_study(WIDER, seed=5, trials=9, sampler="tpe")
    extended = open_study(optuna_study._storage, wider, extend=True)
    assert extended.user_attrs["spec"]["search"]["x"]["high"] == 5.0
    assert extended.user_attrs["finished"] is False
    search(extended, wider, ToyLanes(), [])
    assert len(extended.trials) == 9
    assert max(trial.params["x"] for trial in extended.trials) > 1


@pytest.mark.parametrize(
    ("search_space", "why"),
    [
        ({"y": X["x"]}, "'x' is searched no longer"),
        ({**X, "y": X["x"]}, "'y' is searched only now"),
        ({"x": {"kind": "int", "low": 0, "high": 1}}, "'x' is of another kind now"),
        ({"x": {"kind": "float", "low": 0.1, "high": 1.0, "log": True}}, "'x' is of another kind now"),
        ({"x": {"kind": "choice", "values": [0.1, 0.2]}}, "'x' is of another kind now"),
    ],
)
def test_extend_is_refused_where_old_trials_would_not_fit(search_space, why):
    message = refused(toy_study(), toy_study(search_space), extend=True)
    assert f"cannot be extended, for {why}" in message
    assert "--name NEW" in message


def test_extend_cannot_change_choices():
    choice = lambda *values: {"a": {"kind": "choice", "values": list(values)}}  # noqa: E731
    assert "'a' has other choices now" in refused(toy_study(choice(1, 2)), toy_study(choice(1, 2, 3)), extend=True)


# ---- databases ----


def test_sqlite_is_opened_with_a_write_ahead_log(tmp_path):
    url = f"sqlite:///{tmp_path}/toy.db"
    storage = open_storage(url, tmp_path, "toy")
    with storage._backend.engine.connect() as connection:
        for pragma, value in (("journal_mode", "wal"), ("synchronous", 1), ("busy_timeout", 60000)):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() == value
    open_study(storage, toy_study())
    assert study_names(tmp_path, url) == ["toy"]
    open_storage(url, tmp_path, "toy", must_exist=True)
    with pytest.raises(UserError, match=r"no such study 'tay'.*Did you mean 'toy'"):
        open_storage(url, tmp_path, "tay", must_exist=True)
    assert not (tmp_path / "journal").exists()


def test_looking_into_a_database_creates_nothing(tmp_path):
    with pytest.raises(UserError, match=r"there is no file .*none\.db"):
        open_storage(f"sqlite:///{tmp_path}/none.db", tmp_path, "toy", must_exist=True)
    (tmp_path / "empty.db").touch()
    with pytest.raises(UserError, match="holds no study yet"):
        open_storage(f"sqlite:///{tmp_path}/empty.db", tmp_path, "toy", must_exist=True)
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("empty.db", 0)]


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("runs.db", "is not the URL of a database"),
        ("oracel://host/db", "is not the URL of a database"),
        ("mysql+aiomysqlx://host/db", "is not the URL of a database"),
        ("mysql://ann:secret@host/db", "needs a driver that is not installed"),
        ("sqlite://", "names no file"),
        ("sqlite:////nowhere/at/all/x.db", "the folder /nowhere/at/all does not exist"),
        ("postgresql+psycopg://ann:se@cret@127.0.0.1:1/db", "has an '@' in the user or password; write it as %40"),
        ("postgresql+psycopg://ann:secret@127.0.0.1:1/db", "cannot be reached: connection failed"),
        ("postgresql+psycopg://ann@no-such-host.invalid/db?password=secret", "cannot be reached"),
    ],
)
def test_a_url_that_leads_nowhere(tmp_path, url, problem):
    started = time.monotonic()
    with pytest.raises(UserError) as error:
        open_storage(url, tmp_path, "toy")
    assert time.monotonic() - started < 10
    assert problem in str(error.value)
    assert "secret" not in str(error.value)
    assert "cret" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_does_not_answer(tmp_path):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(UserError, match="cannot be reached"):
            open_storage(f"postgresql+psycopg://ann@127.0.0.1:{silent.getsockname()[1]}/db", tmp_path, "toy")
    assert time.monotonic() - started < 10


def test_a_database_on_a_full_disk_is_told_in_one_line(tmp_path):
    url = f"sqlite:///{tmp_path}/toy.db"
    optuna_study = open_study(open_storage(url, tmp_path, "toy"), toy_study())
    with storage_of(optuna_study)._backend.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with (
        pytest.raises(UserError, match=rf"^{url}: the disk is full. What is finished is kept"),
        storage_errors_as_user_errors(url, tmp_path),
    ):
        optuna_study.set_user_attr("filler", "x" * 2000 * pages)


def fail_as_a_worker():
    full = full_disk(OSError(errno.ENOSPC, "No space left on device"))
    raise UserError(full.place, full.problem)


def test_a_disk_that_fills_up_is_told_in_one_line(tmp_path):
    (tmp_path / "journal").mkdir()
    for failing in (lambda: Path("/dev/full").write_text("always full"), fail_as_a_worker):
        with (
            pytest.raises(UserError, match=rf"^{tmp_path}: the disk is full. What is finished is kept"),
            storage_errors_as_user_errors(None, tmp_path),
        ):
            failing()
    with pytest.raises(FileNotFoundError), storage_errors_as_user_errors(None, tmp_path):
        Path("/nowhere/file").write_text("another error stays what it is")


def test_a_database_of_another_program_is_refused_and_left_alone(tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "mlflow.db") as connection:
        connection.execute("create table alembic_version (version_num text)")
    connection.close()
    before = (tmp_path / "mlflow.db").read_bytes()
    with pytest.raises(UserError, match="belongs to another program"):
        open_storage(f"sqlite:///{tmp_path}/mlflow.db", tmp_path, "toy")
    assert (tmp_path / "mlflow.db").read_bytes() == before


@pytest.fixture(scope="module")
def server():
    with postgres_server("optuna") as server:
        yield server


@pytest.fixture
def postgres(server):
    """Its URL."""
    return server.get_uri(database="optuna", driver="psycopg")


@pytest.mark.filterwarnings("ignore")
def test_a_study_on_postgresql_killed_and_continued(tmp_path, postgres):
    def finished():
        try:
            storage = open_storage(postgres, tmp_path, "toy", must_exist=True)
        except UserError:
            return 0
        trials = storage.get_all_trials(storage.get_study_id_from_name("toy"))
        return sum(trial.state.is_finished() for trial in trials)

    killed_process(tmp_path, postgres, lambda: finished() >= 3)
    assert finished() < 10
    assert table(continued(tmp_path, postgres)) == table(continued(tmp_path, None))
    assert study_names(tmp_path, postgres) == ["toy"]
    engine = sqlalchemy.create_engine(postgres)
    with engine.begin() as connection:
        changed = "update trial_user_attributes set value_json = replace(value_json, ': ', ': 7') where key = 'seed'"
        connection.exec_driver_sql(changed)
    engine.dispose()
    with pytest.raises(Damaged, match=r"/optuna.*: study 'toy', trial \d, attribute 'seed' is damaged: it"):
        continued(tmp_path, postgres)
    wrong = postgres.replace("/optuna?", "/nothing?")
    with pytest.raises(UserError, match=r'cannot be reached: .*database "nothing" does not exist'):
        open_storage(wrong, tmp_path, "toy")


@pytest.mark.filterwarnings("ignore")
def test_a_password_comes_from_the_environment_or_from_pgpass(tmp_path, server, monkeypatch):
    server.psql("create role guarded login password 'correct horse';")
    server.psql("create database guarded owner guarded;")
    rules = server.pgdata / "pg_hba.conf"
    rules.write_text(f"local guarded guarded scram-sha-256\n{rules.read_text()}")
    server.psql("select pg_reload_conf();")
    url = re.sub("//[^/]*@", "//guarded@", server.get_uri(database="guarded", driver="psycopg"))
    monkeypatch.delenv("PGPASSWORD", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))

    def problem():
        with pytest.raises(UserError) as error:
            study_names(tmp_path, url)
        return error.value.problem

    while "no password supplied" not in problem():  # until the server has read its rules
        time.sleep(0.05)
    with monkeypatch.context() as patch:
        patch.setenv("PGPASSWORD", "correct horse")
        assert "holds no study yet" in problem()
    assert "no password supplied" in problem()
    (tmp_path / ".pgpass").write_text("*:*:guarded:guarded:correct horse\n")
    (tmp_path / ".pgpass").chmod(0o600)
    assert "holds no study yet" in problem()


@pytest.mark.filterwarnings("ignore")
def test_a_database_that_goes_away_ends_the_study_in_one_line_and_the_study_goes_on(tmp_path, server, postgres):
    study, checkpoints, events = replace(toy_study(trials=6), name="unplugged"), {}, []

    def unplug(event):
        events.append(event)
        if len(events) == 8:
            server.stop()

    def train(**lanes):
        optuna_study = open_study(open_storage(postgres, tmp_path, "unplugged"), study)
        search(optuna_study, study, ToyLanes(width=2, epochs=3, checkpoints=checkpoints, **lanes), [])
        return optuna_study

    with (
        pytest.raises(UserError, match=r"no longer answers. What is finished is kept"),
        storage_errors_as_user_errors(postgres, tmp_path),
    ):
        train(before=unplug)
    server.start()
    undisturbed = in_memory(study)
    search(undisturbed, study, ToyLanes(width=2, epochs=3), [])
    assert table(train()) == table(undisturbed)


def test_batched_writes_are_durable_at_the_end_in_their_order(tmp_path, monkeypatch):
    path = tmp_path / "one.log"
    storage = open_journal(path)
    study = optuna.create_study(storage=storage)
    trial = study.ask()
    syncs = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: syncs.append(descriptor))
    with batched_writes(study):
        for number in range(3):
            trial.set_user_attr("number", number)
        trial.report(0.5, 1)
        assert len(syncs) == 0
    assert len(syncs) == 1
    for seen in (study, optuna.load_study(study_name=study.study_name, storage=open_journal(path))):
        (found,) = seen.trials
        assert found.user_attrs["number"] == 2
        assert found.intermediate_values == {1: 0.5}


def test_batched_writes_of_a_trial_that_another_has_finished_are_left(tmp_path):
    path = tmp_path / "one.log"
    storage = open_journal(path)
    study = optuna.create_study(storage=storage)
    mine, other = study.ask(), study.ask()
    elsewhere = optuna.load_study(study_name=study.study_name, storage=open_journal(path))
    with batched_writes(study):
        mine.report(0.5, 1)
        elsewhere.tell(mine.number, 2.0)
        other.report(0.7, 1)
    assert study.trials[0].value == 2.0
    stored = optuna.load_study(study_name=study.study_name, storage=open_journal(path))
    assert [trial.intermediate_values for trial in stored.trials] == [{}, {1: 0.7}]


def test_what_an_interrupt_cuts_off_is_kept(tmp_path):
    storage = open_journal(tmp_path / "one.log")
    study = optuna.create_study(storage=storage)
    trial = study.ask()

    def interrupted():
        with batched_writes(study):
            trial.report(0.5, 1)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert study.trials[0].intermediate_values == {1: 0.5}
