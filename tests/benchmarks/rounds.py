"""The driver's processor time for each trial-epoch, by the number of lanes: what bounds a study on many workers.

    python tests/benchmarks/rounds.py [--lanes 64 512 2048] [--epochs 4]

The real driver with a journal file and median pruning of random trials. The lanes are toys in the driver's own process, whose epochs take
no time, so nothing else is measured: neither transport to workers nor training. A trial in each lane; its start and end are in the figures.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from table import markdown

from sweeps.engine import search
from sweeps.storage import hold_study, open_study

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "support"))
from toy_lanes import ToyLanes
from toy_study import Fixed, toy_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lanes", type=int, nargs="+", default=[64, 512, 2048])
    parser.add_argument("--epochs", type=int, default=4)
    options = parser.parse_args()
    rows = [measured(lanes, options.epochs) for lanes in options.lanes]
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print(markdown(["lanes", "ms of processor per trial-epoch", "ms of processor a round"], rows, texts=1))


def measured(lanes: int, epochs: int) -> list[str]:
    study = toy_study(trials=lanes, pruner="median", fixed=Fixed(epochs=epochs))
    with tempfile.TemporaryDirectory() as folder, hold_study(None, Path(folder), study.name) as storage:
        opened, begun = open_study(storage, study), time.process_time()
        search(opened, study, ToyLanes(width=lanes, epochs=epochs), [], runs=Path(folder))
        spent = time.process_time() - begun
        trained = sum(len(trial.intermediate_values) for trial in opened.get_trials(deepcopy=False))
    return [f"{lanes:,}", f"{1e3 * spent / trained:.2f}", f"{1e3 * spent / epochs:.0f}"]


if __name__ == "__main__":
    main()
