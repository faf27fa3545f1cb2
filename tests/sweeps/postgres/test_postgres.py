"""The journal in a PostgreSQL table, on a real server: the same records as in a file, through
drops, kills and damage.
"""

import itertools
import re
import threading
import time
from dataclasses import replace

import optuna
import psycopg
import pytest
from killed_search import continued, killed_process
from postgres import faulty_network, plain, sql
from toy_lanes import ToyLanes
from toy_study import search, table, toy_study

from sweeps.checksums import Damaged
from sweeps.doctor.storage import check_storage
from sweeps.engine import run_study
from sweeps.errors import UserError
from sweeps.postgres.claim import claimed
from sweeps.postgres.database import Database, open_tables
from sweeps.postgres.journal import _APPEND as APPEND
from sweeps.postgres.journal import PostgresJournal
from sweeps.storage import (
    hold_study,
    open_storage,
    open_study,
    recorded_study,
    snapshot,
    study_names,
)
from sweeps.storage.journals import StorageLost

pytestmark = pytest.mark.filterwarnings("ignore:.*XDG_RUNTIME_DIR")
TERMINATE = (
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'sweeps'"
)
STUDY = toy_study(trials=6, sampler="tpe", sampler_options={"startup_trials": 3}, pruner="median")


def searched(url, runs, *, patience=60.0, **lanes):
    """The table of the whole search."""
    with hold_study(url, runs, "toy", patience=patience) as storage:
        optuna_study = open_study(storage, STUDY)
        search(optuna_study, STUDY, ToyLanes(width=3, epochs=4, **lanes), [])
        return table(optuna_study)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The table of the search, and the number of the records of its journal."""
    runs = tmp_path_factory.mktemp("undisturbed")
    found = searched(None, runs)
    return found, (runs / "journal" / "toy.log").read_bytes().count(b"\n")


def count(url):
    return sql(url, "select count(*) from sweeps_journal")[0][0]


def note_waits(record_property, times, said):
    """Note how often connections went, and for how long the driver waited each time that it
    noticed.
    """
    waits = [
        float(seconds)
        for seconds in re.findall(r"the connection was lost and is back after (\S+) s", said)
    ]
    record_property("times", times)
    record_property("times noticed", len(waits))
    record_property("seconds to go on", waits)


def read(url, runs):
    """The table of the search, as another process reads it."""
    return table(
        optuna.load_study(study_name="toy", storage=open_storage(url, runs, "toy", must_exist=True))
    )


# ---- the same journal as in a file ----


def test_a_search_has_the_table_and_the_records_of_a_file(tmp_path, url, undisturbed):
    assert recorded_study(url, tmp_path, "toy") is None
    assert (searched(url, tmp_path), count(url)) == undisturbed
    assert read(url, tmp_path) == undisturbed[0]
    assert recorded_study(url, tmp_path, "toy").question == "What is it?"
    assert study_names(tmp_path, url) == ["toy"]
    with pytest.raises(UserError, match=r"no such study 'tay'.*Did you mean 'toy'"):
        open_storage(url, tmp_path, "tay", must_exist=True)


def test_a_killed_study_goes_on(tmp_path, url):
    def finished():
        try:
            storage = open_storage(url, tmp_path, "toy", must_exist=True)
        except UserError:
            return 0
        return sum(trial.state.is_finished() for trial in storage.get_all_trials(0))

    killed_process(tmp_path, url, lambda: finished() >= 3)
    assert finished() < 10
    assert table(continued(tmp_path, url)) == table(continued(tmp_path / "file", None))


def test_a_round_in_which_nothing_ends_is_two_transactions(tmp_path, url):
    class AllAtOnce(ToyLanes):
        def advance(self, numbers):
            yield [progress for (progress,) in super().advance(numbers)]

    writes = []

    def look(event):
        if event.startswith("advance"):
            writes.append(sql(url, "select writes from sweeps_claims")[0][0])

    study = toy_study(trials=64)
    with hold_study(url, tmp_path, "toy") as storage:
        search(open_study(storage, study), study, AllAtOnce(width=64, epochs=4, before=look), [])
    assert [after - before for before, after in itertools.pairwise(writes)] == [2, 2, 2]


def test_looking_into_a_database_creates_nothing(tmp_path, url):
    with pytest.raises(UserError, match="holds no study yet"):
        open_storage(url, tmp_path, "toy", must_exist=True)
    assert sql(url, "select to_regclass('sweeps_journal')") == [(None,)]
    assert list(tmp_path.iterdir()) == []


def test_a_study_goes_into_a_storage_of_plain_optuna(tmp_path, url, undisturbed):
    """The command of docs/guide/many-machines.md."""
    searched(url, tmp_path)
    place = f"sqlite:///{tmp_path}/optuna.db"
    optuna.copy_study(
        from_study_name="toy", from_storage=open_storage(url, tmp_path, "toy"), to_storage=place
    )
    copied = optuna.load_study(study_name="toy", storage=place)
    assert [(trial.params, trial.value, trial.state.name) for trial in copied.trials] == [
        (row["params"], row["values"] and row["values"][0], row["state"]) for row in undisturbed[0]
    ]


# ---- the order of rows ----


def test_rows_become_visible_in_the_order_of_their_identities(url):
    """A reader goes by the newest row that it has seen, so an earlier one must not appear behind
    it.
    """
    database = Database(url)
    open_tables(database, create=True)
    drawn = lambda: sql(url, "select last_value, is_called from sweeps_journal_id_seq")[0]  # noqa: E731
    with (
        claimed(database, "toy") as claim,
        psycopg.connect(plain(url)) as slow,
        psycopg.connect(plain(url), autocommit=True) as quick,
    ):
        batch = lambda writes, line: (APPEND, ("toy", claim.number, writes, [line]))  # noqa: E731
        ((first,),) = slow.execute(*batch(0, "slow")).fetchall()
        assert drawn() == (first, True)
        found = []
        waiting = threading.Thread(
            target=lambda: found.extend(quick.execute(*batch(0, "quick")).fetchall())
        )
        waiting.start()
        is_waiting = (
            "select count(*) from pg_stat_activity where pid = %s and wait_event_type = 'Lock'"
        )
        while not sql(url, is_waiting, quick.info.backend_pid)[0][0]:
            time.sleep(0.01)
        assert drawn() == (first, True), "who waits for the claim has drawn no identity"
        assert count(url) == 0
        slow.commit()
        waiting.join()
        assert found == [], "it was sent under an older state of the claim"
        ((second,),) = quick.execute(*batch(1, "quick")).fetchall()
        assert second > first
        assert sql(url, "select line from sweeps_journal order by id") == [("slow",), ("quick",)]


def test_without_a_claim_nothing_is_written(tmp_path, url):
    searched(url, tmp_path)
    before, storage = count(url), open_storage(url, tmp_path, "toy")
    with pytest.raises(RuntimeError, match="`hold_study` opens it to be written"):
        storage.set_study_user_attr(0, "question", "Mine?")
    assert count(url) == before


# ---- connections that drop ----


def test_a_network_that_loses_requests_and_answers_loses_and_doubles_no_record(
    tmp_path, url, undisturbed, caplog
):
    faults = itertools.cycle(["cut", "answer", "late"])
    with faulty_network(url, lambda request: next(faults) if request % 4 == 0 else None) as network:
        assert (searched(network, tmp_path), count(url)) == undisturbed
    assert caplog.text.count("the connection was lost and is back after") > 9


def test_a_batch_whose_answer_was_lost_for_good_is_found_by_the_next(url):
    answers = {"lost": False}
    with faulty_network(url, lambda request: "answer" if answers["lost"] else None) as network:
        database = Database(network, patience=0.0)
        open_tables(database, create=True)
        with claimed(database, "toy") as claim:
            journal = PostgresJournal(database, "toy", claim)
            assert list(journal.read_logs(0)) == []
            answers["lost"] = True
            with pytest.raises(StorageLost, match="no longer answers"):
                journal.write([{"n": 1}])
            answers["lost"] = False
            journal.write([{"n": 2}])
            assert list(journal.read_logs(0)) == [{"n": 1}, {"n": 2}]
    assert count(url) == 2


def test_connections_that_are_terminated_all_the_time_cost_nothing_but_lines(
    tmp_path, url, undisturbed, caplog, record_property
):
    """Terminated as soon as a record was written since the last time, so the search moves on,
    however busy the machine is.
    """
    ended, cuts = threading.Event(), []

    def terminate():
        known = 0
        with psycopg.connect(plain(url), autocommit=True) as connection:
            while not ended.wait(0.001):
                (now,) = connection.execute(
                    "select coalesce(max(id), 0) from sweeps_journal"
                ).fetchone()
                if now > known:
                    cuts.append(connection.execute(TERMINATE).rowcount)
                    known = now

    open_tables(Database(url), create=True)
    terminating = threading.Thread(target=terminate)
    terminating.start()
    try:
        assert (searched(url, tmp_path), count(url)) == undisturbed
        assert read(url, tmp_path) == undisturbed[0]
    finally:
        ended.set()
        terminating.join()
    assert "the connection was lost and is back after" in caplog.text
    note_waits(record_property, sum(cuts), caplog.text)


def test_a_server_that_restarts_in_the_middle_of_a_round(
    tmp_path, server, url, undisturbed, caplog, record_property
):
    starts = []

    def restart(event):
        if event == "advance 3 4 5":
            for start in starts:  # the server's lock is one for all threads
                start.join()
            server.stop()
            starts.append(threading.Timer(0.2, server.start))
            starts[-1].start()

    try:
        assert (searched(url, tmp_path, before=restart), count(url)) == undisturbed
    finally:
        for start in starts:
            start.join()
    assert re.search(r"no connection \(.*\); trying again for 60 s\.", caplog.text)
    assert "the connection was lost and is back after" in caplog.text
    note_waits(record_property, len(starts), caplog.text)


def test_a_server_that_stays_away_ends_the_study_in_one_line_and_the_study_goes_on(
    tmp_path, server, url, undisturbed
):
    checkpoints = {}

    def unplug(event):
        if event == "advance 3 4 5":
            server.stop()

    try:
        with pytest.raises(
            UserError, match=r"^postgresql\S+: no longer answers. What is finished is kept"
        ) as error:
            searched(url, tmp_path, patience=0.5, checkpoints=checkpoints, before=unplug)
    finally:
        server.start()
    assert "\n" not in str(error.value)
    assert searched(url, tmp_path, checkpoints=checkpoints) == undisturbed[0]


def test_records_that_the_server_has_lost_are_noticed_after_a_reconnection(tmp_path, url):
    def lose(event):
        if event == "advance 3 4 5":
            sql(url, "delete from sweeps_journal where id = (select max(id) from sweeps_journal)")
            sql(url, TERMINATE)

    with pytest.raises(StorageLost, match="has lost records that it had confirmed"):
        searched(url, tmp_path, before=lose)


# ---- damage ----


def test_a_damaged_row_stops_the_study(tmp_path, url):
    searched(url, tmp_path)
    other = replace(toy_study(trials=1), name="other")
    run_study(other, ToyLanes, runs=tmp_path, storage=url)
    (bad,) = sql(
        url, "select id from sweeps_journal where study = 'toy' order by id offset 40 limit 1"
    )[0]
    sql(
        url,
        "update sweeps_journal set line = replace(line, '\"op_code\":', '\"op_code\":1') where "
        "id = %s",
        bad,
    )
    problem = (
        rf"study 'toy', row {bad} of the table sweeps_journal is damaged: its checksum does not "
        rf"match. Restore the database from a backup"
    )
    for look in (read, searched):
        with pytest.raises(Damaged, match=problem):
            look(url, tmp_path)
    assert len(run_study(other, ToyLanes, runs=tmp_path, storage=url).trials) == 1, (
        "the other study is whole"
    )
    (finding,) = check_storage(url, tmp_path, "toy", [])
    assert (finding.ok, finding.repair) == (False, None)


def test_a_snapshot_of_rows_is_used_and_changed_rows_are_found_in_spite_of_it(
    tmp_path, url, undisturbed, caplog, monkeypatch
):
    monkeypatch.setattr(snapshot, "RECORDS", 1)
    monkeypatch.setattr(snapshot, "SHARE", 0.0)
    searched(url, tmp_path)
    (kept,) = (tmp_path / "journal").glob("toy.*.snapshot")
    written = kept.stat().st_mtime_ns
    assert read(url, tmp_path) == undisturbed[0]
    assert kept.stat().st_mtime_ns == written, "it was used"
    assert searched(url, tmp_path) == undisturbed[0]
    assert caplog.text == ""

    (ninth,) = sql(url, "select id from sweeps_journal order by id offset 8 limit 1")[0]
    sql(
        url,
        "update sweeps_journal set line = replace(line, '\"op_code\":', '\"op_code\":1') where "
        "id = %s",
        ninth,
    )
    with pytest.raises(Damaged, match=f"row {ninth} of the table sweeps_journal is damaged"):
        read(url, tmp_path)
    assert "the snapshot does not belong to the journal as it is now" in caplog.text
    sql(
        url,
        "update sweeps_journal set line = replace(line, '\"op_code\":1', '\"op_code\":') where "
        "id = %s",
        ninth,
    )
    read(url, tmp_path)
    sql(url, "delete from sweeps_journal where id > %s", ninth + 30)  # as an older backup has it
    assert searched(url, tmp_path) == undisturbed[0]


# ---- rights ----


def test_roles_without_rights_are_told_in_one_line_and_the_least_rights_are_enough(
    tmp_path, url, undisturbed
):
    schema = url.rpartition("%3D")[2]
    sql(url, f"create role least_{schema} login")
    sql(url, f"grant usage on schema {schema} to least_{schema}")
    theirs = url.replace("//postgres:@", f"//least_{schema}@")
    with pytest.raises(
        UserError, match=rf"refuses this role: permission denied for schema {schema}; .*its rights"
    ) as error:
        searched(theirs, tmp_path)
    assert "\n" not in str(error.value)
    open_tables(Database(url), create=True)
    with pytest.raises(
        UserError, match="refuses this role: permission denied for table sweeps_claims"
    ):
        searched(theirs, tmp_path)
    # The grants of docs/guide/many-machines.md.
    sql(url, f"grant select, insert on sweeps_journal to least_{schema}")
    sql(url, f"grant usage on sequence sweeps_journal_id_seq to least_{schema}")
    sql(url, f"grant select, insert, update on sweeps_claims to least_{schema}")
    assert searched(theirs, tmp_path) == undisturbed[0]
