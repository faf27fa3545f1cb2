"""What `doctor` says of what runs left over: folders without a record, and half-written files."""

import os

import pytest
from toy_lanes import ToyLanes
from toy_study import toy_study

from sweeps.doctor.left_over import check_left_over
from sweeps.engine import run_study
from sweeps.files import UNFINISHED, is_aside
from sweeps.storage import open_storage
from sweeps.storage.journal import study_lock
from sweeps.storage.study_record import read_state


@pytest.fixture
def runs(tmp_path):
    """A finished study of three trials, each with a folder."""
    run_study(toy_study(trials=3), lambda: ToyLanes(width=2, epochs=2), runs=tmp_path)
    for number in range(3):
        run_of(tmp_path, number)
    return tmp_path


def run_of(runs, number, kind="trial"):
    folder = runs / "trials" / "toy" / f"{kind}-{number:04d}"
    folder.mkdir(parents=True)
    (folder / "weights").write_bytes(bytes(200_000))
    return folder


def left_over(runs, url=None):
    return list(
        check_left_over(
            url, runs, read_state(open_storage(url, runs, "toy", must_exist=True), "toy")
        )
    )


def healthy(findings):
    return [(finding.ok, finding.words) for finding in findings] == [(True, "nothing")]


def test_a_folder_without_a_record_is_named_and_moved_aside(runs):
    assert healthy(left_over(runs))
    (runs / "trials" / "toy" / "notes").mkdir()
    folders = [run_of(runs, 0, "repeat"), run_of(runs, 3)]
    findings = left_over(runs)
    assert [finding.ok for finding in findings] == [False, False]
    assert (
        findings[1].words == f"{folders[1]} (0.2 MB) is the folder of a run that is not on record"
    )
    assert findings[1].remedy == "`Finding.repair` moves it aside"
    assert all(folder.is_dir() for folder in folders), "it only reads"
    assert findings[1].repair() == f"moved it to {folders[1]}.unrecorded"
    findings[0].repair()
    assert healthy(left_over(runs))
    run_of(runs, 3)
    (finding,) = left_over(runs)
    assert finding.repair() == f"moved it to {folders[1]}.unrecorded-2"
    aside = [folder for folder in (runs / "trials" / "toy").iterdir() if is_aside(folder)]
    assert sum(len((folder / "weights").read_bytes()) for folder in aside) == 600_000
    assert (runs / "trials" / "toy" / "trial-0002" / "weights").exists()


def test_a_run_that_came_on_record_meanwhile_stays(runs):
    folder = run_of(runs, 3)
    (finding,) = left_over(runs)
    run_study(toy_study(trials=4), lambda: ToyLanes(width=2, epochs=2), runs=runs, extend=True)
    assert finding.repair() == f"{folder} is on record now"
    assert folder.is_dir()


def test_nothing_is_looked_for_while_a_process_drives_the_study(runs):
    run_of(runs, 3)
    with study_lock(runs, "toy"):
        (finding,) = left_over(runs)
    assert (finding.ok, finding.repair) == (True, None)


def test_a_study_in_a_database_has_its_folders(tmp_path, url):
    run_study(toy_study(trials=1), lambda: ToyLanes(width=1, epochs=2), runs=tmp_path, storage=url)
    run_of(tmp_path, 0)
    assert healthy(left_over(tmp_path, url))
    folder = run_of(tmp_path, 1)
    (finding,) = left_over(tmp_path, url)
    assert finding.repair() == f"moved it to {folder}.unrecorded"


def test_only_files_of_processes_that_are_gone_are_deleted(runs):
    folder = runs / "trials" / "toy" / "trial-0001"
    gone, unit = folder / f"{UNFINISHED}99999999999-weights", folder / f"{UNFINISHED}restored"
    gone.write_bytes(b"half")
    unit.mkdir()
    for alive in (1, os.getpid()):
        (folder / f"{UNFINISHED}{alive}-weights").write_bytes(b"half")
    (finding,) = left_over(runs)
    assert (finding.ok, finding.words.partition(" half")[0]) == (False, "2")
    assert finding.repair() == "deleted 2"
    assert healthy(left_over(runs))
    assert len([*folder.glob(f"{UNFINISHED}*")]) == 2
    assert (folder / "weights").stat().st_size == 200_000
