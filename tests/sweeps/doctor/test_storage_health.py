"""What `doctor` says of a study's storage and its driver: each check is red by real damage, and
green without.
"""

import re

import optuna
from killed_search import continued, killed_process
from toy_lanes import ToyLanes
from toy_study import in_memory, search, table, toy_study

from sweeps.doctor.findings import Finding, examine
from sweeps.doctor.storage import check_driver, check_storage
from sweeps.engine import run_study
from sweeps.storage import open_storage
from sweeps.storage.journal import journal_path, study_lock
from sweeps.storage.study_record import read_state, write_study

STUDY = toy_study(trials=3)


def looked_at(runs):
    """The finding about the storage, and what could be read of the study."""
    found = []
    (finding,) = check_storage(None, runs, "toy", found)
    return finding, found


def driver_of(runs):
    stored = read_state(open_storage(None, runs, "toy", must_exist=True), "toy")
    (finding,) = check_driver(None, runs, stored)
    return finding


def test_a_missing_study_is_red_without_a_repair(tmp_path):
    finding, _ = looked_at(tmp_path)
    assert (finding.ok, finding.repair) == (False, None)
    assert "no such study 'toy'" in finding.words


def test_a_healthy_study_is_green(tmp_path):
    run_study(STUDY, lambda: ToyLanes(width=2, epochs=2), runs=tmp_path)
    finding, (stored,) = looked_at(tmp_path)
    assert finding.ok, finding
    assert finding.words.startswith("3 trials and repeats; ")
    assert len(stored.trials) == 3
    assert driver_of(tmp_path) == Finding(
        name="toy: driver", ok=True, words="none; the study is finished"
    )


def test_a_damaged_journal_is_red_and_saved(tmp_path):
    run_study(STUDY, lambda: ToyLanes(width=2, epochs=2), runs=tmp_path)
    path = journal_path(tmp_path, "toy")
    lines = path.read_bytes().splitlines(keepends=True)
    lines[20] = re.sub(rb'"op_code":\d', b'"op_code":7', lines[20])
    path.write_bytes(b"".join(lines))
    finding, found = looked_at(tmp_path)
    assert (finding.ok, found) == (False, [])
    assert finding.words == f"line 21 of {path} is damaged: its checksum does not match"
    assert finding.remedy == "`Finding.repair` keeps the 20 records before it"
    assert path.read_bytes() == b"".join(lines)
    said = finding.repair()
    assert said.startswith(f"kept 20 records; the other {len(lines) - 20} are in {path}.damaged")
    assert looked_at(tmp_path)[0].ok
    assert driver_of(tmp_path).ok is False  # the records of its end are gone
    undisturbed = in_memory(STUDY)
    search(undisturbed, STUDY, ToyLanes(width=2, epochs=2), [])
    again = run_study(STUDY, lambda: ToyLanes(width=2, epochs=2), runs=tmp_path)
    assert [trial.objective for trial in again.trials] == [
        trial.value for trial in undisturbed.trials
    ]


def test_runs_that_a_killed_driver_left_are_closed_and_continued(tmp_path):
    journal = journal_path(tmp_path, "toy")
    killed_process(
        tmp_path, None, lambda: journal.exists() and journal.read_bytes().count(b"\n") > 60
    )
    optuna_study = optuna.load_study(study_name="toy", storage=open_storage(None, tmp_path, "toy"))
    write_study(optuna_study, session="running", session_at=1.0)
    with study_lock(tmp_path, "toy"):
        assert driver_of(tmp_path).ok
    finding = driver_of(tmp_path)
    assert finding.ok is False
    assert finding.words.startswith(
        "died: the study is on record as running, and no process runs it"
    )
    assert finding.repair() == "recorded that the study was interrupted; `run_study` continues it"
    assert driver_of(tmp_path).ok
    assert table(continued(tmp_path, None)) == table(continued(tmp_path / "whole", None))


def test_an_error_of_a_check_is_a_finding():
    def check():
        yield Finding(name="a", ok=True, words="fine")
        raise OSError("no postgresql://me:secret@host/db")

    assert list(examine(check, "b")) == [
        Finding(name="a", ok=True, words="fine"),
        Finding(name="b", ok=False, words="could not be looked at: no postgresql://me:***@host/db"),
    ]
