"""What Optuna and tracking cost: seconds of a whole sweep spent outside of training, by where they went.

    python tests/benchmarks/overhead.py [--study beta_mnist] [--set KEY=VALUE …]

Runs the study in a temporary folder with clocks around the lanes (training, test figures, pictures), the tracker and
everything else that the driver does between rounds (Optuna's storage, sampler and pruner). `VAEEXP_DATA` as ever.
"""

import argparse
import os
import tempfile
import time
from collections import Counter
from pathlib import Path

from rich.console import Console

import sweeps.driver
import sweeps.tracking
import sweeps.workers
from vaeexp.job import SweepOptions
from vaeexp.sweep import run_sweep

SPENT: Counter[str] = Counter()
LANES = ("admit", "advance", "catch_up", "release")
TRACKER = ("trial_started", "epoch_finished", "trial_ended", "round_finished")


def clocked(kind: type, methods: tuple[str, ...], name: str) -> type:
    """The class with a clock around these methods."""

    def around(method: str):
        def call(self, *given, **options):
            started = time.perf_counter()
            try:
                return getattr(kind, method)(self, *given, **options)
            finally:
                SPENT[f"{name}.{method}"] += time.perf_counter() - started

        return call

    return type(kind.__name__, (kind,), {method: around(method) for method in methods})


def clocked_phase(phase):
    def run(*given, **options):
        started = time.perf_counter()
        try:
            return phase(*given, **options)
        finally:
            SPENT["phases"] += time.perf_counter() - started

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="beta_mnist")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    options = parser.parse_args()
    sweeps.workers.WorkerLanes = clocked(sweeps.workers.WorkerLanes, LANES, "lanes")
    sweeps.tracking.Tracker = clocked(sweeps.tracking.Tracker, TRACKER, "tracker")
    sweeps.driver.search, sweeps.driver.run_replicas = map(
        clocked_phase, (sweeps.driver.search, sweeps.driver.run_replicas)
    )
    data = os.environ.get("VAEEXP_DATA")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run_sweep(
            SweepOptions(
                study=options.study,
                overrides=tuple(options.overrides),
                data=Path(data) if data else None,
                runs=Path(folder) / "mlruns",
                reports=Path(folder) / "reports",
            ),
            console=Console(),
        )
        wall = time.perf_counter() - started
    lanes = sum(seconds for name, seconds in SPENT.items() if name.startswith("lanes"))
    tracker = sum(seconds for name, seconds in SPENT.items() if name.startswith("tracker"))
    phases = SPENT["phases"]
    rows = {
        "search, confirm and compare": phases,
        "  lanes: training, validation, test figures, pictures": lanes,
        "  tracker": tracker,
        "  Optuna and the driver": phases - lanes - tracker,
        "start, report, registry, delivery to MLflow": wall - phases,
    }
    for name, seconds in rows.items():
        share = "" if name.startswith("start") else f"{seconds / phases:8.2%} of the phases"
        print(f"{name:56}{seconds:9.2f} s{share}")


if __name__ == "__main__":
    main()
