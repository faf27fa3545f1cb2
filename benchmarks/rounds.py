"""The driver's processor time for each trial-epoch, by the number of lanes: what bounds a study on
many workers.

    python benchmarks/rounds.py [--lanes 64 512 2048] [--epochs 4] [--on-record 0 10000]
        [--runs FOLDER] [--search "curves + promotion"]

The real driver with a journal file and median pruning of random trials, or the default search of a
study. The lanes are toys in the driver's own process, whose epochs take no time, so nothing else is
measured: neither transport to workers nor training. A trial in each lane; its start and end are in
the figures. `--on-record` says how many trials of 30 epochs, half of them pruned, the study has
before; `report_scale.py` writes them, into a temporary folder or the one given. Each row is
measured in a process of its own, whose peak memory it has.
"""

import argparse
import multiprocessing
import os
import resource
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import optuna
from table import markdown

from sweeps.engine import search
from sweeps.storage import hold_study, open_study
from sweeps.storage.journal import journal_path
from sweeps.storage.store import Store
from sweeps.storage.study_record import study_record

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from toy_lanes import ToyLanes
from toy_study import SEARCHES, Fixed, toy_study

STUDY = "beta_mnist"
HEAD = (
    "on record",
    "lanes",
    "ms of processor per trial-epoch",
    "ms of processor a round",
    "s to open",
    "memory, MiB",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lanes", type=int, nargs="+", default=[64, 512, 2048])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--on-record", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path)
    parser.add_argument("--search", choices=SEARCHES, default="random + median")
    parser.add_argument(
        "--trials", type=int, help="trials that are searched; else one for each lane"
    )
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        for recorded in options.on_record:
            runs = (options.runs or Path(temporary)) / f"{recorded}"
            path = journal_path(runs, STUDY)
            if recorded and not path.exists():
                # Which needs torch, whose memory is not the driver's.
                from report_scale import write_study

                path.parent.mkdir(parents=True)
                write_study(path, recorded, 30)
            for lanes in options.lanes:
                with ProcessPoolExecutor(
                    1, mp_context=multiprocessing.get_context("spawn")
                ) as process:
                    rows.append(process.submit(measured, options, lanes, recorded, runs).result())
                print(dict(zip(HEAD, rows[-1], strict=True)), flush=True)
    print(
        f"\n{os.cpu_count()} cores, load "
        f"{os.getloadavg()[0]:.1f}\n\n{markdown(HEAD, rows, texts=0)}"
    )


def measured(
    options: argparse.Namespace, lanes: int, recorded: int = 0, runs: Path | None = None
) -> list[str]:
    """Return a row of the table; the study in `runs`, if any is recorded, is copied and stays as it
    is.
    """
    trials, epochs = options.trials or lanes, options.epochs
    study = toy_study(
        trials=recorded + trials, fixed=Fixed(epochs=epochs), **SEARCHES[options.search](epochs)
    )
    with tempfile.TemporaryDirectory() as folder:
        if recorded and runs is not None:
            study = replace(study, name=STUDY)
            shutil.copytree(runs / "journal", Path(folder) / "journal")
        begun = time.process_time()
        with hold_study(None, Path(folder), study.name) as storage:
            opening = time.process_time() - begun
            if recorded:
                opened = optuna.load_study(
                    study_name=STUDY, storage=storage, pruner=study.pruner.build()
                )
                study = replace(study, space=study_record(opened).space)
            else:
                opened = open_study(storage, study)
            before, begun = _trial_epochs(opened), time.process_time()
            toys = ToyLanes(width=lanes, epochs=epochs)
            search(Store(opened, study.space, Path(folder)), study, toys, [])
            spent = time.process_time() - begun
            rounds = sum(event.startswith("advance") for event in toys.events)
            trained = _trial_epochs(opened) - before
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    figures = (
        f"{1e3 * spent / trained:.2f}",
        f"{1e3 * spent / rounds:.0f}",
        f"{opening:.1f}",
        f"{memory:.0f}",
    )
    return [f"{recorded:,}", f"{lanes:,}", *figures]


def _trial_epochs(opened: optuna.Study) -> int:
    return sum(len(trial.intermediate_values) for trial in opened.get_trials(deepcopy=False))


if __name__ == "__main__":
    main()
