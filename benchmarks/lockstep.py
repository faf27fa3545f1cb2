"""What workers lose because they wait for each other in each round, decided at once and decided a
round late.

    python benchmarks/lockstep.py [--workers 4] [--width 64] [--trials 256] [--epochs 20]
        [--seconds 1.0] [--search "tpe + median"] [--json FILE]

The real driver with a journal file, a sampler and a pruner, and real worker processes. Their lanes
sleep instead of training, all lanes of a worker together, as fused lanes of a GPU train:
`--seconds` for an epoch, more or less by up to `--spread`, and in a share `--slow` of the epochs
1.4 times as long. So workers take no processor, and every time is drawn from a seed.

The figures are of the time from the first epoch to the start of the last new trial, because lanes
are empty after that however it is decided. "Idle": the share of that time in which a worker did not
train. "Lane time lost": idle or empty lanes. "Beyond the pruner": the share of all trial-epochs
that pruned trials trained after the epoch for which they were pruned; trials that pause train none.
"""

import argparse
import json
import sys
import time
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from driver_cost import SEARCHES, study_of
from table import describe_machine, in_words, markdown, write_json

from sweeps.engine import search, trial_loop
from sweeps.lanes import Progress, TrialSpec
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.seeds import seed_of
from sweeps.storage import hold_study, open_study
from sweeps.storage.store import Store

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from toy_lanes import ToyLanes


class SleepingLanes(ToyLanes):
    """Lanes that are done together, after a time that the worker's name and the count of its epochs
    decide.
    """

    def __init__(
        self,
        folder: str,
        name: str,
        width: int,
        epochs: int,
        seconds: float,
        spread: float,
        slow: float,
    ) -> None:
        super().__init__(width=width, epochs=epochs)
        self.seconds_of = partial(seconds_of, name, seconds, spread, slow)
        self.path = Path(folder) / f"{name}.json"
        self.spans: list[tuple[float, float, int]] = []
        """Begin, end and lanes of each epoch, by `time.monotonic`."""
        self.added = 0.0

    def add(self, trial: TrialSpec) -> None:
        super().add(trial)
        if not trial.epoch:
            self.added = time.monotonic()

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        begun = time.monotonic()
        time.sleep(self.seconds_of(len(self.spans)))
        done = [progress for [progress] in super().advance(numbers)]
        self.spans.append((begun, time.monotonic(), len(done)))
        yield done

    def close(self) -> None:
        self.path.write_text(json.dumps({"spans": self.spans, "added": self.added}))


def seconds_of(name: str, seconds: float, spread: float, slow: float, epoch: int) -> float:
    """Return how long an epoch of a worker takes."""
    noise, rare = (seed_of(f"{name}:{epoch}:{what}") / 2**63 for what in ("noise", "rare"))
    return seconds * (1 + spread * (2 * noise - 1)) * (1.4 if rare < slow else 1.0)


def measure(options: argparse.Namespace, *, late: bool) -> dict[str, float]:
    """Search once."""
    study = study_of(options)
    trial_loop.PIPELINED_FROM = 1 if late else 10**9
    with TemporaryDirectory() as folder, hold_study(None, Path(folder), study.name) as storage:
        optuna_study = open_study(storage, study)
        times = {name: getattr(options, name) for name in ("epochs", "seconds", "spread", "slow")}
        names = [f"worker-{index}" for index in range(options.workers)]
        each = {"folder": folder, "width": options.width // options.workers, **times}
        lanes = WorkerPool(SleepingLanes, [each | {"name": name} for name in names])
        try:
            begun = time.monotonic()
            search(Store(optuna_study, study.space, Path(folder)), study, lanes, [])
            wall = time.monotonic() - begun
        finally:
            lanes.close()
        left = [json.loads((Path(folder) / f"{name}.json").read_text()) for name in names]
        trials = optuna_study.get_trials(deepcopy=False)
    first, last = min(each["spans"][0][0] for each in left), max(each["added"] for each in left)
    spans = [
        (max(0.0, min(end, last) - begin), lanes)
        for each in left
        for begin, end, lanes in each["spans"]
    ]
    epochs = sum(len(trial.intermediate_values) for trial in trials)
    pruned = sum(trial.state.name == "PRUNED" for trial in trials)
    return {
        "seconds": wall,
        "idle": 1 - sum(seconds for seconds, _ in spans) / options.workers / (last - first),
        "lane time lost": 1
        - sum(seconds * lanes for seconds, lanes in spans) / options.width / (last - first),
        "trial-epochs": epochs,
        "beyond the pruner": pruned / epochs if late and options.search == "tpe + median" else 0.0,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, count in (("workers", 4), ("width", 64), ("trials", 256), ("epochs", 20)):
        parser.add_argument(f"--{name}", type=int, default=count)
    for name, share in (("seconds", 1.0), ("spread", 0.05), ("slow", 0.1)):
        parser.add_argument(f"--{name}", type=float, default=share)
    parser.add_argument("--search", choices=SEARCHES, default="tpe + median")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = describe_machine("cpu")
    found = {"at once": measure(options, late=False), "a round late": measure(options, late=True)}
    if options.json:
        write_json(options.json, {"machine": machine, "task": vars(options), **found})
    print(
        f"{options.workers} workers, {options.width} lanes, {options.trials} trials of "
        f"{options.search}; {in_words(machine)}\n"
    )
    rows = [
        [name, *(f"{v:,.0f}" if v > 1 else f"{v:.1%}" for v in values.values())]
        for name, values in found.items()
    ]
    print(markdown(["decided", *found["at once"]], rows, texts=1))


if __name__ == "__main__":
    main()
