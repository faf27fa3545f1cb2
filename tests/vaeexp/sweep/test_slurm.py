"""`vaeexp slurm` on a real Slurm of three machines: a job that is pre-empted, and one that reaches its time limit, go on as if nothing had been."""

import re
import subprocess
import time
from pathlib import Path

import pytest
from place import EXECUTION, NAME, SWEEP, command, compare, environment, make_place, read_facts, run
from scene import JOURNAL
from slurm_machines import Slurm, three_machines

# The machines take seconds to start, and minutes with Ray where this one is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


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
    return read_facts(folder), len((folder / JOURNAL).read_bytes().splitlines())


def wait_for_lines(folder: Path, count: int) -> None:
    """Wait until the journal of the study has so many lines."""
    while not (folder / JOURNAL).exists() or len((folder / JOURNAL).read_bytes().splitlines()) < count:
        time.sleep(0.05)


def wait_for_start(slurm: Slurm, job: str, restarts: int) -> None:
    """Wait until the job runs again. Slurm lets it wait two minutes, because orders to the run before may still be on their way."""
    while (state := slurm.state(job))["Restarts"] != str(restarts) or state["JobState"] != "RUNNING":
        assert state["JobState"] in ("PENDING", "RUNNING", "COMPLETING"), slurm.log()
        time.sleep(0.5)


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_job_survives_preemption_and_its_time_limit(slurm, undisturbed, tmp_path, nodes):
    if nodes > 1:
        pytest.importorskip("ray", reason="needs vaeexp[ray]")
    wanted, records = undisturbed
    folder = make_place(tmp_path)
    asked = ["--nodes", str(nodes), "--cpus-per-node", "2", "--time", "1h", "--submit"]
    submitted = subprocess.run(
        slurm.inside(command("slurm", f"{NAME}.yaml", "--data", "data", *EXECUTION, *asked)),
        cwd=folder,
        env={**environment(folder), **slurm.environment, "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    job = re.search(r"is submitted as job (\d+)", submitted)[1]
    wait_for_lines(folder, records // 3)
    slurm.run("scontrol", "requeue", job)
    wait_for_start(slurm, job, 1)
    wait_for_lines(folder, 2 * records // 3)
    slurm.run("scancel", "--signal=USR1", "--batch", job)  # what Slurm sends before the time limit
    wait_for_start(slurm, job, 2)
    while (state := slurm.state(job))["JobState"] in ("RUNNING", "COMPLETING"):
        time.sleep(0.5)
    said = (folder / f"vaeexp-{NAME}-{job}.log").read_text(errors="replace")
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "2"), f"{said}\n{slurm.log()}"
    assert "Stopped. Finished trials are kept, running trials resume." in said
    verdict = compare(read_facts(folder), wanted)
    assert verdict.is_clean(), (verdict, said)
