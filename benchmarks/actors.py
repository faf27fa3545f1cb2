"""Rounds a second of a study on 1, 8 and 32 Ray actors with 64 toy lanes each: what driver,
transport and journal cost.

    PYTHONPATH=. /path/with/ray/bin/python benchmarks/actors.py [--workers 1 8 32] [--lanes 64]
        [--epochs 10] [--local] [--search "curves + promotion"]

The real driver with a journal file and median pruning of random trials, or the default search of a
study, a trial in each lane. Epochs take no time; those of a worker come at once, as from one fused
program. Ray's machine is this one, and the actors share its cores. `--local` takes child processes
instead of actors. Milliseconds of a round are medians, without the first round, which starts the
trials. The processor time of the driver has all its threads, Ray's too, and the start and end of
the trials. Each row is printed as soon as it is measured.
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from table import markdown, usable_cores

import sweeps
from sweeps.engine import search
from sweeps.engine.events import Observer, Snapshot
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.ray.worker import RayEngine, RayWorker, join_cluster
from sweeps.storage import hold_study, open_study
from sweeps.storage.store import Store

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from toy_lanes import FusedToyLanes
from toy_study import SEARCHES, Fixed, toy_study

SUPPORT = Path(__file__).resolve().parent.parent / "tests" / "support"
HEAD = ("workers", "lanes", "s until all are up", "ms a round", "rounds/s", "trial-epochs/s")
HEAD += ("driver: ms of processor per trial-epoch", "driver: MiB")
ATTEMPTS = 6
RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",
    "RAY_worker_register_timeout_seconds": "1200",  # more actors than cores take long to start
    "RAY_health_check_failure_threshold": "60",
}


class Clock(Observer):
    """Notes when each round was over."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def round_finished(self, snapshot: Snapshot) -> None:
        self.at.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--search", choices=SEARCHES, default="random + median")
    parser.add_argument(
        "--trials", type=int, default=1, help="trials that are searched, for each lane"
    )
    options = parser.parse_args()
    print(
        f"{options.lanes} lanes a worker, {usable_cores()} cores, load before "
        f"{os.getloadavg()[0]:.1f}",
        flush=True,
    )
    rows = []
    for count in options.workers:
        rows.append(measured(count, options))
        print(dict(zip(HEAD, rows[-1], strict=True)), flush=True)
    print(f"\n{markdown(HEAD, rows, texts=0)}")


def measured(workers: int, options: argparse.Namespace) -> list[str]:
    """Return a row of the table."""
    lanes, epochs = options.lanes, options.epochs
    trials, chosen = options.trials * workers * lanes, SEARCHES[options.search](epochs)
    study = toy_study(trials=trials, fixed=Fixed(epochs=epochs), **chosen)
    recipes: list[dict[str, Any]] = [{"width": lanes, "epochs": epochs}] * workers
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        begun = time.perf_counter()
        kind = {} if options.local else {"worker": _cluster(stack, folder, workers).worker}
        pool = stack.enter_context(
            closing(WorkerPool(FusedToyLanes, recipes, lanes=workers * lanes, **kind))
        )
        assert len(pool.workers) == workers, "all must be there before the first round"
        up = time.perf_counter() - begun
        clock, processor = Clock(), time.process_time()
        with hold_study(None, folder, study.name) as storage:
            opened = open_study(storage, study)
            begun = time.perf_counter()
            search(Store(opened, study.space, folder), study, pool, [clock])
            wall, processor = time.perf_counter() - begun, time.process_time() - processor
            trained = sum(
                len(trial.intermediate_values) for trial in opened.get_trials(deepcopy=False)
            )
    seconds = statistics.median(
        after - before for before, after in zip(clock.at, clock.at[1:], strict=False)
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    figures = (up, 1e3 * seconds, 1 / seconds, trained / wall, 1e3 * processor / trained, memory)
    return [
        str(workers),
        f"{workers * lanes:,}",
        *(f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}" for figure in figures),
    ]


def _cluster(stack: ExitStack, folder: Path, workers: int) -> RayEngine:
    """Start a Ray cluster of this machine, whose cores the workers share, and join it."""
    from ray.cluster_utils import Cluster

    cores = usable_cores()
    os.environ |= RAY | {"PYTHONPATH": os.pathsep.join([str(SUPPORT.parent.parent), str(SUPPORT)])}
    RayWorker.patience = 1200.0
    for attempt in range(ATTEMPTS):
        cluster = Cluster()
        try:
            cluster.add_node(
                num_cpus=cores, include_dashboard=False, include_log_monitor=False, no_monitor=True
            )
            break
        except Exception:  # a busy machine starts Ray's own processes too slowly for Ray
            cluster.shutdown()
            if attempt == ATTEMPTS - 1:
                raise
    stack.callback(cluster.shutdown)
    stack.enter_context(join_cluster(cluster.address, [Path(sweeps.__file__).parent]))
    job = RayEngine(folder=folder, cpus=min(1.0, cores / workers), limit=600.0)
    stack.enter_context(job.shown())
    return job


if __name__ == "__main__":
    main()
