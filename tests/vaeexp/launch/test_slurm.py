"""`vaeexp slurm` on a real Slurm of three machines: a job that is pre-empted, and one that reaches
its time limit, go on as if nothing had been.
"""

import re
import subprocess
import time
from pathlib import Path

import pytest
from noted_epochs import begun, noting
from place import EXECUTION, NAME, SWEEP, command, compare, environment, make_place, read_facts, run
from scene import JOURNAL
from slurm_machines import Slurm, three_machines

# The machines take seconds to start, and minutes with Ray where this one is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
LIMIT, SECONDS = "00:05:00", 300
"""The time limit of the second test."""
STOPPED = "Stopped. Finished trials are kept, running trials resume."


@pytest.fixture(scope="module")
def slurm():
    with three_machines() as started:
        yield started


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The study on this machine: its facts, and the lines of its journal."""
    folder = make_place(tmp_path_factory.mktemp("undisturbed"))
    status, said = run(folder, SWEEP, environment(folder))
    assert status == 0, said
    return read_facts(folder), lines(folder)


def write_script(slurm: Slurm, folder: Path, nodes: int, *asked: str, **variables: str) -> str:
    """Write the script of the study in the folder, or submit it; return what the command says."""
    asked = ("--nodes", str(nodes), "--sbatch", "cpus-per-task=2", *asked)
    return run_there(
        slurm,
        folder,
        *command("slurm", f"{NAME}.yaml", "--data", "data", *EXECUTION, *asked),
        **variables,
    )


def run_there(slurm: Slurm, folder: Path, *words: str, **variables: str) -> str:
    """Run a command in the folder, where it finds Slurm; return its output."""
    ray = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    return subprocess.run(
        slurm.inside(words),
        cwd=folder,
        env={**environment(folder), **slurm.environment, **ray, **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def lines(folder: Path) -> int:
    """Count the lines of the journal of the study."""
    return len((folder / JOURNAL).read_bytes().splitlines()) if (folder / JOURNAL).exists() else 0


def wait_for_lines(folder: Path, count: int) -> None:
    """Wait until the journal of the study has so many lines."""
    while lines(folder) < count:
        time.sleep(0.05)


def wait_for_start(slurm: Slurm, job: str, restarts: int) -> None:
    """Wait until the job runs again. Slurm lets it wait for `cred_expire`, because orders to the
    run before may still be on their way.
    """
    while (state := slurm.state(job))["Restarts"] != str(restarts) or state[
        "JobState"
    ] != "RUNNING":
        assert state["JobState"] in ("PENDING", "RUNNING", "COMPLETING"), slurm.log()
        time.sleep(0.5)


def wait_for_end(slurm: Slurm, job: str) -> tuple[str, int]:
    """Wait for the end of a job; return how it ended and how often it was started again."""
    while (state := slurm.state(job))["JobState"] in ("RUNNING", "COMPLETING", "PENDING"):
        time.sleep(0.5)
    return state["JobState"], int(state["Restarts"])


def log_of(folder: Path, job: str) -> str:
    """Return what the job has said."""
    log = folder / f"vaeexp-{NAME}-{job}.log"
    return log.read_text(errors="replace") if log.exists() else ""


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_job_survives_preemption_and_its_time_limit(slurm, undisturbed, tmp_path, nodes):
    if nodes > 1:
        pytest.importorskip("ray", reason="needs vaeexp[ray]")
    wanted, records = undisturbed
    folder = make_place(tmp_path)
    submitted = write_script(slurm, folder, nodes, "--time", "1:00:00", "--submit")
    job = re.search(r"is submitted as job (\d+)", submitted)[1]
    wait_for_lines(folder, records // 3)
    slurm.run("scontrol", "requeue", job)
    wait_for_start(slurm, job, 1)
    wait_for_lines(folder, lines(folder) + 1)
    wait_for_lines(folder, 2 * records // 3)
    # Slurm may let a run that it pre-empts stop in order, too.
    stops = log_of(folder, job).count(STOPPED)
    slurm.run("scancel", "--signal=USR1", "--batch", job)  # what Slurm sends before the time limit
    signalled = time.monotonic()
    while log_of(folder, job).count(STOPPED) == stops and time.monotonic() < signalled + 300:
        time.sleep(0.1)
    wait_for_start(slurm, job, 2)
    wait_for_lines(folder, lines(folder) + 1)
    ended = wait_for_end(slurm, job)
    said = log_of(folder, job)
    assert ended == ("COMPLETED", 2), f"{said}\n{slurm.log()}"
    assert said.count(STOPPED) > stops
    verdict = compare(read_facts(folder), wanted)
    assert verdict.is_clean(), (verdict, said)


@pytest.mark.parametrize("nodes", [1, 3])
def test_slurm_itself_stops_a_job_before_its_time_limit(slurm, undisturbed, tmp_path, nodes):
    """The study needs more than the limit, so Slurm sends the signal, and the job's next run trains
    no epoch a second time.

    Slurm counts limits in minutes, looks at them every 30 seconds, and sends the signal for 180
    seconds before the end up to a minute early. With five minutes it comes 90 to 120 seconds after
    the start, when workers train, and the next run has as long. Four would do for one node that is
    not busy: the signal comes after 30 to 60 seconds.
    """
    if nodes > 1:
        pytest.importorskip("ray", reason="needs vaeexp[ray]")
    wanted, _ = undisturbed
    folder = make_place(tmp_path)
    # Two lanes train side by side.
    variables = noting(folder, pause=2 * SECONDS / len(wanted.epochs))
    submitted = write_script(slurm, folder, nodes, "--time", LIMIT, "--submit", **variables)
    job = re.search(r"is submitted as job (\d+)", submitted)[1]
    wait_for_start(slurm, job, 0)
    started = time.monotonic()
    while STOPPED not in log_of(folder, job) and time.monotonic() < started + SECONDS:
        time.sleep(0.1)
    wait_for_start(slurm, job, 1)
    wait_for_lines(folder, lines(folder) + 1)
    state, restarts = wait_for_end(slurm, job)
    said = log_of(folder, job)
    assert (state, restarts >= 1) == ("COMPLETED", True), (
        f"{restarts} restarts\n{said}\n{slurm.log()}"
    )
    assert said.count(STOPPED) == restarts, "each run but the last was stopped in order"
    assert "DUE TO TIME LIMIT" not in said
    verdict = compare(read_facts(folder), wanted)
    assert verdict.is_clean(), (verdict, said)
    trained = begun(folder)
    assert 2 <= len([each for each in trained if each.run == 0]) < len(wanted.epochs), trained
    assert len({(each.trial, each.epoch) for each in trained}) == len(wanted.epochs)
    assert len(trained) == len(wanted.epochs), f"epochs were trained twice: {sorted(trained)}"
