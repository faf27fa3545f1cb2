"""Trains the learning curves of the spaces A, B, C and D (`designs.py`) into tables
(`curve_table.py`), which referee searches.

    make curves ARGS="--hours 2"
        the next curves of A, B and D, and of C with --images
    make curves ARGS="--space C --images CIFAR --hours 2"
    make curves ARGS="--space L --hours 2"
        A on 50,000 images, for `transfers.py`
    make curves ARGS="--pack"
        write what is new as the next part of each table, to be committed
    make curves ARGS="--status"
        what is there

MNIST comes from `--data` or `VAEEXP_DATA`, the colour images of C from `--images`: a folder of
images as `--data` of a study with `dataset: folder`; the table that is committed is of 6,000 images
of CIFAR-10, 5,000 in `train/` and 1,000 in `test/`.

Every configuration is trained for 30 epochs (in D for 10) with two seeds, in rounds of 50
configurations that visit the spaces in turn, so that all that is done at any time is useful. First
come 150 configurations of each space, then 50 near the best of these, then two more seeds for all
within two standard deviations over seeds of the best. Each step follows from the table alone:
whoever continues it, on whatever machine, trains the same curves.

Ctrl-C, a kill or a power cut lose the curves at hand (four for each core), and nothing else. After
`--hours` no further curve begins. Meant to run for days beside other work: `chrt --idle 0 nice -n
19 make curves`; SIGSTOP and SIGCONT to its process group pause it.

Measured on 2 threads of one core of an AMD EPYC with AVX2, beside much other work: 1.7 to 2.4 s of
a processor for an epoch of A, 1.2 to 3.5 of C (batches of 32 images take longest; at 32 × 32 pixels
4 to 5.4, which is why C has 16 × 16). With nothing beside, a curve takes 21 s of two such threads.
Two seeds of 200 configurations of each space are 1,200 curves: 7 hours. `--status` says what an
epoch takes.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from curve_lanes import CurveLanes, Wanted
from curve_table import (
    TABLES,
    Table,
    all_settings,
    append,
    live_file,
    load_table,
    pack,
    read_lines,
    to_line,
)
from designs import (
    CENTRES,
    FIRST,
    LARGE,
    NEAR,
    SPACES,
    first_configurations,
    near_configurations,
    open_space,
)
from filelock import FileLock, Timeout

from sweeps.errors import UserError
from sweeps.study.study import Study
from vaeexp.data import Dataset, open_dataset
from vaeexp.machine import usable_cores
from vaeexp.study import settings_of
from vaeexp.words import format_duration, format_number, format_params

__all__ = ["Plan", "check_design", "next_round", "plan_of", "status", "train_round"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many curves a table gets."""

    first: int = FIRST
    near: int = NEAR
    round: int = 50
    """Configurations of a round."""
    seeds: int = 2
    seeds_near_best: int = 4
    deviations: float = 2.0
    """Standard deviations over seeds from the best, within which configurations get
    `seeds_near_best`.
    """
    compile: bool = True


def plan_of(name: str) -> Plan:
    """Return the plan of a space."""
    return Plan(first=32, near=0) if name == LARGE else Plan()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--space",
        choices=(*SPACES, LARGE),
        nargs="+",
        help="train these; else A, B, D and, with --images, C",
    )
    parser.add_argument(
        "--hours", type=float, default=float("inf"), help="begin no further curves after so long"
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("VAEEXP_DATA"), help="folder with MNIST's files"
    )
    parser.add_argument("--images", type=Path, help="folder with the colour images of space C")
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of the tables")
    parser.add_argument(
        "--pack",
        type=Path,
        nargs="?",
        const=TABLES,
        metavar="FOLDER",
        help="write the next parts there",
    )
    parser.add_argument("--status", action="store_true", help="say what is there")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if options.status:
            for name in options.space or (*SPACES, LARGE):
                print(status(open_space(name), options.tables, plan_of(name)))
        elif options.pack:
            for name in options.space or (*SPACES, LARGE):
                print(f"{name}: {pack(name, options.tables, options.pack) or 'nothing new'}")
        else:
            run(options)
    except (UserError, ValueError, RuntimeError) as error:
        sys.exit(f"curves: {error}")
    except KeyboardInterrupt:
        sys.exit("\nStopped. What has ended is in the table; the same command goes on.")


def run(options: argparse.Namespace) -> None:
    """Train rounds of the spaces in turn, that with the fewest curves of its plan first, until all
    are done or time is up.
    """
    names = options.space or [name for name in SPACES if name != "C" or options.images]
    if "C" not in names:
        print("Space C is left out, because it needs --images.")
    elif options.images is None:
        raise UserError(
            "--images", "got nothing; must name the folder of the colour images of space C."
        )
    options.tables.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + 3600 * options.hours
    lock = FileLock(options.tables / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError(
            "--tables", f"another process trains curves into '{options.tables}'."
        ) from None
    with lock:
        opened = {name: (open_space(name), open_images(name, options)) for name in names}
        while time.monotonic() < deadline:
            rounds = {
                name: next_round(study, options.tables, plan_of(name))
                for name, (study, _) in opened.items()
            }
            name = min(names, key=lambda name: rounds[name][0])
            number, wanted = rounds[name]
            if not wanted:
                print("All curves of the plan are there.")
                return
            train_round(*opened[name], number, wanted, options.tables, plan_of(name), deadline)
        print("The time is up; the same command goes on.")


def open_images(name: str, options: argparse.Namespace) -> Dataset:
    """Open the images of a space; never the bundled digits, because a table is of one data set."""
    root = options.images if name == "C" else options.data
    return open_dataset(settings_of(open_space(name)).data, root=root, full_data=True)


def next_round(study: Study, folder: Path, plan: Plan) -> tuple[float, list[Wanted]]:
    """Return the number of the first round of a table that is not complete, from 0, and its missing
    curves.

    The last round is that of more seeds; after it the number is infinite and there are none.
    Raises ValueError when the table does not belong to this study and its configurations.
    """
    _, curves = read_lines(study.name, folder)
    if not curves:
        table = None
    else:
        table = load_table(study.name, folder)
        check_design(study, table, plan)
    for number, wanted in enumerate(_rounds(study, table, plan)):
        if missing := [one for one in wanted if (one.configuration, one.seed) not in curves]:
            return number, missing
    return float("inf"), []


def _rounds(study: Study, table: Table | None, plan: Plan) -> Iterator[list[Wanted]]:
    """Yield the curves of each round; the table must hold all of a round before the next is asked
    for.
    """
    first = first_configurations(study, plan.first)
    yield from _in_rounds(dict(enumerate(first)), "first", plan)
    assert table is not None
    of_first = [row for row, number in enumerate(table.numbers) if number < len(first)]
    best = sorted(of_first, key=lambda row: (_mean(table, row, plan.seeds), row))[:CENTRES]
    near = near_configurations(
        study.space, first, [table.configurations[row] for row in best], plan.near
    )
    yield from _in_rounds(dict(enumerate(near, start=len(first))), "near", plan)
    # By the seeds that all configurations have, so that further seeds change nothing in who gets
    # them.
    means = {row: _mean(table, row, plan.seeds) for row in range(len(table.numbers))}
    limit = min(means.values()) + plan.deviations * table.of_seeds(plan.seeds).spread()
    yield [
        Wanted(
            configuration=table.numbers[row],
            stage=table.stages[row],
            params=table.configurations[row],
            seed=seed,
        )
        for row in sorted(means, key=lambda row: (means[row], row))
        if means[row] <= limit
        for seed in range(plan.seeds, plan.seeds_near_best)
    ]


def _in_rounds(
    configurations: Mapping[int, Mapping[str, Any]], stage: str, plan: Plan
) -> Iterator[list[Wanted]]:
    numbers = sorted(configurations)
    for start in range(0, len(numbers), plan.round):
        yield [
            Wanted(configuration=number, stage=stage, params=configurations[number], seed=seed)
            for number in numbers[start : start + plan.round]
            for seed in range(plan.seeds)
        ]


def _mean(table: Table, row: int, seeds: int) -> float:
    return float(table.objectives()[row, :seeds].mean())


def check_design(study: Study, table: Table, plan: Plan) -> None:
    """Raise ValueError unless this study and this code would train the table's configurations under
    the same numbers.
    """
    known = next(iter(table.origins.values()))
    sections = settings_of(study).model_dump(mode="json", include={"data", "model", "train"})
    if (study.space.as_dict(), sections, study.seed) != (
        known["search"],
        all_settings(known),
        known["seed"],
    ):
        raise ValueError(
            f"table {study.name} was made with another space or other settings than those of its "
            "study now"
        )
    planned = first_configurations(study, plan.first)
    for number, params in zip(table.numbers, table.configurations, strict=True):
        if number < len(planned) and planned[number] != params:
            raise ValueError(
                f"table {study.name}: configuration {number} is {params} there and "
                f"{planned[number]} here"
            )


def train_round(
    study: Study,
    dataset: Dataset,
    number: float,
    wanted: list[Wanted],
    folder: Path,
    plan: Plan,
    deadline: float,
) -> None:
    """Train these curves into the table of the space, until the deadline (of `time.monotonic`),
    with a line for each.
    """
    begun, file = time.monotonic(), live_file(study.name, folder)

    def in_time() -> Iterator[Wanted]:
        for one in wanted:
            if time.monotonic() >= deadline:
                return
            yield one

    with closing(CurveLanes(study, dataset, workers=usable_cores(), compile=plan.compile)) as lanes:
        origin = lanes.origin()
        for done, curve in enumerate(lanes.train(in_time()), start=1):
            if done == 1:
                append(file, to_line(origin))
            append(file, to_line({**curve, "origin": origin["id"]}))
            elapsed = time.monotonic() - begun
            least = min(curve["neg_elbo"], default=float("inf"))
            epochs = len(curve["neg_elbo"])
            end = (
                f"diverged after {epochs} epochs"
                if curve["diverged"]
                else f"{format_number(least)} nats"
            )
            left = format_duration(elapsed / done * (len(wanted) - done))
            print(
                f"{study.name} {curve['configuration']}/{curve['seed']}: {end}, "
                f"{sum(curve['seconds']):.1f} s of a processor. Round {number:.0f}: {done} of "
                f"{len(wanted)}, {elapsed / done:.1f} s each, {left} left",
                flush=True,
            )


def status(study: Study, folder: Path, plan: Plan) -> str:
    """Say in a line what the table of a space holds. Raises ValueError as `next_round` does."""
    name = study.name
    _, curves = read_lines(name, folder)
    if not curves:
        return f"{name}: nothing yet"
    table = load_table(name, folder)
    number, missing = next_round(study, folder, plan)
    goes_on = f"round {number:.0f} lacks {len(missing)}" if missing else "complete"
    best, seconds = table.means().argmin(), float(np.nanmedian(table.seconds))
    return (
        f"{name}: {len(curves)} curves of {len(table.numbers)} configurations, "
        f"{int(table.diverged.sum())} diverged; best {format_number(table.means()[best])} nats "
        f"with {format_params(table.configurations[best])}; {seconds:.2f} s of a processor an "
        f"epoch, {3600 / (seconds * table.epochs):.0f} curves an hour on each; {goes_on}"
    )


if __name__ == "__main__":
    main()
