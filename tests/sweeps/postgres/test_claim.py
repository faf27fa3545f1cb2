"""One driver at a time, on whatever host: who is refused, who takes over, and that nobody writes
beside a successor.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest
from killed_search import PATHS
from postgres import sql
from toy_lanes import ToyLanes
from toy_study import in_memory, search, table, toy_study

from sweeps.doctor.storage import check_driver
from sweeps.engine import run_study
from sweeps.errors import UserError
from sweeps.postgres import claim as claims
from sweeps.storage import driver_in_words, hold_study, open_storage, open_study, study_holder
from sweeps.storage.journals import StorageLost
from sweeps.storage.study_record import read_state

pytestmark = pytest.mark.filterwarnings("ignore:.*XDG_RUNTIME_DIR")
STUDY = toy_study(trials=10)

DRIVER = """
import sys, time
from pathlib import Path
sys.path[:0] = {paths!r}
from sweeps.engine import run_study
from sweeps.errors import UserError
from sweeps.postgres import claim
from toy_lanes import ToyLanes
from toy_study import toy_study
claim.BEAT = 0.1
def before(event):
    print(event, flush=True)
    time.sleep(0.02)
try:
    run_study(toy_study(trials=10), lambda: ToyLanes(width=2, epochs=20, before=before), runs=Path({runs!r}), storage={url!r})
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(2)
"""  # noqa: E501


@pytest.fixture
def driver(tmp_path, url):
    """A process that drives the study with a runs folder of its own; it has begun to train."""
    code = DRIVER.format(paths=PATHS, runs=str(tmp_path / "theirs"), url=url)
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    while "advance" not in (line := process.stdout.readline()):
        assert line, process.stderr.read()
    threading.Thread(target=process.stdout.read, daemon=True).start()
    yield process
    process.kill()
    process.wait()


def moved(url):
    """Make the holder of the claim one of another machine, where nobody here can see it."""
    sql(
        url,
        "update sweeps_claims set holder = jsonb_set(holder::jsonb, '{machine}', "
        "'\"another\"')::text",
    )


def drive(url, runs, **options):
    return run_study(STUDY, lambda: ToyLanes(width=2, epochs=20), runs=runs, storage=url, **options)


def test_a_second_driver_is_refused_and_told_who_drives_since_when(tmp_path, url, driver):
    with pytest.raises(UserError) as error:
        drive(url, tmp_path / "ours")
    said = str(error.value)
    assert re.match(
        rf"study 'toy': process {driver.pid} on host {socket.gethostname()} \(since 20\d\d-.*\) "
        rf"is running it already\. "
        r"If that process is gone, --take-over takes the study after 30 s without a sign of "
        r"life\.$",
        said,
    ), said
    holder = study_holder(url, tmp_path / "ours", "toy")
    assert (holder["pid"], holder["host"]) == (driver.pid, socket.gethostname())
    assert driver_in_words(holder).startswith(
        f"process {driver.pid} on host {socket.gethostname()} (since 20"
    )
    (finding,) = check_driver(url, tmp_path, read_state(open_storage(url, tmp_path, "toy"), "toy"))
    assert finding.ok
    assert f"process {driver.pid} on host" in finding.words


def test_a_driver_that_gives_signs_of_life_is_not_taken_over(tmp_path, url, driver, monkeypatch):
    monkeypatch.setattr(claims, "SILENCE", 30.0)
    began = time.monotonic()
    with pytest.raises(UserError, match="It gives signs of life, so it cannot be taken over"):
        drive(url, tmp_path / "ours", take_over=True)
    assert time.monotonic() - began < 25


def test_a_driver_that_died_on_this_machine_is_followed_at_once(tmp_path, url, driver):
    driver.kill()
    assert study_holder(url, tmp_path, "toy") is None or driver.wait()
    assert all(trial.state == "complete" for trial in drive(url, tmp_path / "ours").trials)
    assert sql(url, "select number, holder from sweeps_claims") == [(2, None)]


def test_a_driver_that_died_on_another_machine_is_taken_over(
    tmp_path, url, driver, monkeypatch, caplog
):
    driver.kill()
    driver.wait()
    moved(url)
    with pytest.raises(UserError, match="is running it already"):
        drive(url, tmp_path / "ours")
    monkeypatch.setattr(claims, "SILENCE", 0.3)
    assert all(
        trial.state == "complete" for trial in drive(url, tmp_path / "ours", take_over=True).trials
    )
    assert "waiting 0.3 s for a sign of life of process" in caplog.text
    assert "taken over from process" in caplog.text


def test_a_stopped_driver_that_wakes_up_finds_its_successor_and_stops(
    tmp_path, url, driver, monkeypatch
):
    """Nothing of the first driver comes after the first record of the second, and the table is that
    of one driver.
    """
    monkeypatch.setattr(claims, "SILENCE", 1.0)
    os.kill(driver.pid, signal.SIGSTOP)
    with hold_study(url, tmp_path / "ours", "toy", take_over=True) as storage:
        optuna_study = open_study(storage, STUDY)
        before = sql(url, "select max(id) from sweeps_journal")[0][0]
        os.kill(driver.pid, signal.SIGCONT)
        assert driver.wait() == 2
        assert sql(url, "select max(id) from sweeps_journal")[0][0] == before
        said = driver.stderr.read()
        assert re.fullmatch(
            rf"study 'toy': process {os.getpid()} on host .* has taken it over, so this process "
            rf"stops\. What is finished is kept\.\n",
            said.splitlines(keepends=True)[-1],
        ), said
        search(optuna_study, STUDY, ToyLanes(width=2, epochs=20), [])
        undisturbed = in_memory(STUDY)
        search(undisturbed, STUDY, ToyLanes(width=2, epochs=20), [])
        assert table(optuna_study) == table(undisturbed)


def test_a_claim_that_is_taken_in_the_middle_of_a_search_stops_it(tmp_path, url):
    def rob(event):
        if event.startswith("advance 4"):
            sql(url, "update sweeps_claims set number = number + 1, writes = 0")

    with pytest.raises(StorageLost, match="has taken it over, so this process stops"):
        run_study(
            STUDY, lambda: ToyLanes(width=2, epochs=3, before=rob), runs=tmp_path, storage=url
        )


def test_a_study_whose_driver_fell_silent_is_closed_by_the_doctor(
    tmp_path, url, driver, monkeypatch
):
    driver.kill()
    driver.wait()
    moved(url)
    sql(url, "update sweeps_claims set seen_at = seen_at - interval '5 minutes'")
    assert re.search(
        r"on host .* \(since 20.*, silent for 30\d s\)$",
        driver_in_words(study_holder(url, tmp_path, "toy")),
    )
    stored = read_state(open_storage(url, tmp_path, "toy"), "toy")
    assert stored.study.session == "running"
    (finding,) = check_driver(url, tmp_path, stored)
    assert finding.ok is False
    assert re.search(r", silent for 30\d s\) gives no sign of life", finding.words)
    assert "`take_over` takes it over" in finding.remedy
    monkeypatch.setattr(claims, "SILENCE", 0.3)
    assert finding.repair() == "recorded that the study was interrupted; `run_study` continues it"
    assert study_holder(url, tmp_path, "toy") is None
    assert read_state(open_storage(url, tmp_path, "toy"), "toy").study.session == "interrupted"
