"""What the driver, the pruner and tracking cost beside an accelerator: 64 lanes with epochs of a
second.

    python benchmarks/driver_cost.py [--width 64] [--trials 256] [--epochs 10] [--seconds 1.0]
        [--search "tpe + median"] [--postgres] [--json FILE]

The real driver on a journal (a file, or rows of a PostgreSQL server of its own) with a sampler and
a pruner, the real tracker on an MLflow store, and lanes that wait for a second where others train:
what is measured is all the time in which no lane is advanced, as a share of the search. Twelve
metrics per lane and epoch, as VAEs have.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from table import describe_machine, in_words, markdown, write_json

from sweeps.engine import search
from sweeps.lanes import Progress
from sweeps.search.pruners import PRUNERS
from sweeps.search.samplers import SAMPLERS
from sweeps.storage import hold_study, open_study
from sweeps.storage.store import Store
from sweeps.study.space import Parameter, Space
from sweeps.study.study import Study
from sweeps.study.study_model import Budget
from sweeps.tracking import mirroring

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from postgres import postgres_server, sql
from toy_lanes import ToyLanes


class WaitingLanes(ToyLanes):
    """Lanes that take their time for a round, whatever their number, as fused ones do."""

    spent = 0.0

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        started = time.perf_counter()
        yield []
        time.sleep(max(0.0, self.seconds - (time.perf_counter() - started)))
        trained = time.perf_counter()
        values = [each for [each] in super().advance(numbers)]
        self.spent += self.seconds + time.perf_counter() - trained
        yield [
            replace(each, metrics={f"val/{name}": each.objective for name in range(12)})
            for each in values
        ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--trials", type=int, default=256)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--search", choices=SEARCHES, default="tpe + median")
    parser.add_argument(
        "--postgres",
        action="store_true",
        help="keep the journal in PostgreSQL, and count transactions",
    )
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine = describe_machine("cpu")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = searched(options, Path(folder))
    if options.json:
        write_json(options.json, {"machine": machine, "task": vars(options), **found})
    print(f"{options.width} lanes, {options.trials} trials; {in_words(machine)}\n")
    print(
        markdown(
            ["what", "value"], [[name, f"{value:.4g}"] for name, value in found.items()], texts=1
        )
    )


class Waiting(BaseModel):
    """The fixed settings."""

    model_config = ConfigDict(frozen=True)
    epochs: int


SEARCHES = ("tpe + median", "tpe + promotion", "curves + promotion")


def study_of(options: argparse.Namespace) -> Study:
    sampler, pruner = (part.strip() for part in options.search.split("+"))
    chosen = SAMPLERS[sampler]()
    prunes = (
        PRUNERS["median"](startup_trials=8, warmup_epochs=2)
        if pruner == "median"
        else PRUNERS[pruner]()
    )
    return Study(
        name="waiting",
        path=Path("waiting.yaml"),
        text="",
        question="What does a search cost besides its training?",
        fixed={"train": Waiting(epochs=options.epochs)},
        space=Space(
            tuple(
                Parameter(name=name, kind="float", low=0.0, high=1.0)
                for name in ("beta", "rate", "share")
            )
        ),
        seed=0,
        sampler=chosen.for_epochs(options.epochs) if sampler == "curves" else chosen,
        pruner=prunes.for_epochs(options.epochs),
        budget=Budget(trials=options.trials),
        confirm=None,
        compare=None,
    )


def searched(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    with ExitStack() as stack:
        url = None
        if options.postgres:
            server = stack.enter_context(postgres_server("studies"))
            url = server.get_uri(database="studies", driver="psycopg")
        found = _searched(options, folder, url)
        if url:
            found["transactions a round"] = (
                sql(url, "select writes from sweeps_claims")[0][0] / found["rounds"]
            )
        return found


def _searched(options: argparse.Namespace, folder: Path, url: str | None) -> dict[str, float]:
    study = study_of(options)
    lanes = WaitingLanes(width=options.width, epochs=options.epochs, seconds=options.seconds)
    with hold_study(url, folder, study.name) as storage:
        optuna_study = open_study(storage, study, extend=False)
        with mirroring(study.name, runs=folder, storage=url) as mirror:
            started = time.perf_counter()
            search(Store(optuna_study, study.space, folder), study, lanes, [])
            wall = time.perf_counter() - started
        delivered = time.perf_counter() - started
    rounds = sum(event.startswith("advance") for event in lanes.events)
    other = wall - lanes.spent
    return {
        "rounds": rounds,
        "search, s": wall,
        "driver, pruner and tracking, s": other,
        "their share": other / wall,
        "ms a round": 1e3 * other / rounds,
        "until MLflow had all, s": delivered,
        "processor time of the mirror, s": mirror.state.seconds,
    }


if __name__ == "__main__":
    main()
