"""A study of toy trials on a Ray cluster, driven by a process of its own, whose lanes write down
when which process trains what.
"""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil
from counting import CountingLanes
from optuna import load_study
from toy_study import decided_by, table, toy_study

import sweeps
from sweeps.engine import run_study
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.ray.worker import RayEngine, RayWorker, join_cluster
from sweeps.storage import open_storage

ROOT, SUPPORT = Path(__file__).parents[2], Path(__file__).parent
PATH = os.pathsep.join(map(str, (ROOT, SUPPORT)))
STUDY = toy_study(
    trials=9, pruner="median", pruner_options={"startup_trials": 2, "warmup_epochs": 0}
)
LANES = 6
_MOMENT = 0.05  # seconds of an epoch
_COMMAND = ("-P", "-c", "from traced_study import main; main()")


class Moment(NamedTuple):
    """A process trains an epoch of a trial."""

    number: int
    epoch: int
    node: str
    """Name of the machine."""
    pid: int
    """In the machine."""
    time: float


class TracedLanes(CountingLanes):
    """Lanes of which each process writes what it trains, and when. A file `hold-NODE` makes the
    epochs of a machine last while it is there.

    The first process that finds a file `SIGNAL in COMMAND` (`add`, `train`, `finish`) in this
    command sends itself the signal.
    """

    def add(self, trial):
        self.fail_in("add")
        super().add(trial)

    def fail_in(self, command):
        for fault in ("SIGKILL", "SIGSTOP"):
            with suppress(FileNotFoundError):
                (self.folder / f"{fault} in {command}").unlink()
                os.kill(os.getpid(), signal.Signals[fault])

    def train(self, held):
        self.fail_in("train")
        self.trace(held)
        time.sleep(_MOMENT)
        while (self.folder / f"hold-{os.uname().nodename}").exists():
            self.trace(held)
            time.sleep(_MOMENT)
        return super().train(held)

    def trace(self, held):
        line = f"{held[0].number} {held[1] + 1} {os.uname().nodename} {os.getpid()} {time.time()}\n"
        with (self.folder / "trace").open("ab", buffering=0) as file:
            file.write(line.encode())

    def advance_one(self, held):
        return replace(super().advance_one(held), metrics={})

    def finish_one(self, number, outcome):
        self.fail_in("finish")
        return replace(super().finish_one(number, outcome), folder=None)


def build(folder, width=2):
    return TracedLanes(Path(folder), width)


def main() -> None:
    """Drive the study: FOLDER ADDRESS WORKERS LIMIT LATE. Begins when the cluster has as many
    machines as the study has workers.
    """
    folder = Path(sys.argv[1])
    address = sys.argv[2]
    workers = int(sys.argv[3])
    limit = float(sys.argv[4])
    late = int(sys.argv[5])
    job = RayEngine(folder=folder, limit=limit)

    def pool() -> WorkerPool:
        # All take part from the first round on, however busy the machine is.
        RayWorker.patience = 300.0
        opened = WorkerPool(build, [{"folder": folder}] * workers, worker=job.worker, lanes=LANES)
        RayWorker.patience = 5.0  # nobody has room for the successor of one whose machine has gone
        return opened

    with join_cluster(address, [Path(sweeps.__file__).parent]), job.shown(), decided_by(late):
        import ray

        while sum(node["Alive"] for node in ray.nodes()) < workers:
            time.sleep(0.1)
        run_study(STUDY, pool, runs=folder / "mlruns")


def command(folder: Path, address: str, workers: int, limit: float, late: int = 1000) -> list[str]:
    """Return the command of the driver, which decides late from so many lanes on."""
    return [sys.executable, *_COMMAND, str(folder), address, str(workers), str(limit), str(late)]


def start(arguments: Sequence[str], folder: Path, **variables: str) -> subprocess.Popen[bytes]:
    """Start a driver with these variables; what it says goes to the file `said`."""
    environment = {**os.environ, "PYTHONPATH": PATH, **variables}
    with (folder / "said").open("ab") as said:
        return subprocess.Popen(
            arguments, cwd=folder, env=environment, stdout=said, stderr=subprocess.STDOUT
        )


def said(folder: Path) -> str:
    """Return what the drivers said, without the pages that Ray's own processes say of a machine
    that goes.
    """
    return "\n".join(filter(_is_ours, (folder / "said").read_text(errors="replace").splitlines()))


def _is_ours(line: str) -> bool:
    """Tell whether a line has words of the driver; Ray's processes write to the same file,
    sometimes on the same line.
    """
    of_ray = "(raylet)" in line or "[state-dump]" in line
    return not of_ray or re.search(r"worker-\d+ on ", line) is not None


def trace(folder: Path) -> list[Moment]:
    """Return what was trained until now, in the order of time."""
    if not (folder / "trace").exists():
        return []
    lines = (folder / "trace").read_text().splitlines()
    moments = [line.split() for line in lines]
    return [
        Moment(int(n), int(epoch), node, int(pid), float(at)) for n, epoch, node, pid, at in moments
    ]


def of(folder: Path, number: int) -> list[Moment]:
    """Return the moments of a trial."""
    return [moment for moment in trace(folder) if moment.number == number]


def wait_for(folder: Path, driver: subprocess.Popen[bytes], count: int, node: str = "") -> Moment:
    """Wait until so many moments were trained, on this machine if it is named; return the last one.
    Fails if the driver ends before.
    """
    while len(found := [moment for moment in trace(folder) if node in ("", moment.node)]) < count:
        assert driver.poll() is None, said(folder)
        time.sleep(0.01)
    return found[-1]


def stored_table(folder: Path) -> list[dict]:
    """Return all that the study holds, times apart."""
    storage = open_storage(None, folder / "mlruns", STUDY.name, must_exist=True)
    return table(load_study(study_name=STUDY.name, storage=storage))


def undisturbed(folder: Path, late: int = 1000) -> list[dict]:
    """Run the study in this process without accidents; return its table."""
    with decided_by(late):
        run_study(STUDY, lambda: TracedLanes(folder, LANES), runs=folder / "mlruns")
    return stored_table(folder)


def check_order(moments: Sequence[Moment]) -> None:
    """Check that no process trains a trial after its successor has begun to."""
    for number in {moment.number for moment in moments}:
        processes = [(moment.node, moment.pid) for moment in moments if moment.number == number]
        changes = [
            here
            for here, before in zip(processes, [None, *processes], strict=False)
            if here != before
        ]
        assert len(changes) == len(set(changes)), (
            f"trial {number} was trained by two processes at once: {changes}"
        )


def ended(pids: Sequence[int], seconds: float = 60.0) -> bool:
    """Wait until these processes of this machine have ended; tells whether they have."""
    processes = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return not psutil.wait_procs(processes, timeout=seconds)[1]
