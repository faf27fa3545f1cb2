"""What a study survives: faults at random moments and places, each in a folder of its own, and a
table of what was lost.

    python tests/faults/campaign.py [--times 3] [--only WORDS] [--committed] [--write]
        [--folder FOLDER]

Each fault is done `--times` times with new seeds, which are printed; `--committed` takes the seeds
of seeds.txt in their place. A fault is done to a sweep of six small trials on two processes with a
real MLflow store, by the command of users. Then the remedies that the messages name are followed,
and all that is stored is compared with the undisturbed study: trials, every figure of every epoch,
weights bit for bit, runs and points in MLflow. `--write` puts the table into benchmarks/faults.md;
with `--only`, its rows. A fault that lost something is kept in `--folder`; its seed belongs into
seeds.txt, with the mending. The exit status is 1 where something was lost, doubled, changed, left
running or believed.
"""

import argparse
import random
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import joblib

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent / "support"), str(HERE.parent / "gate")]

from faults import FAULTS  # noqa: E402
from place import SWEEP, Verdict, compare, environment, make_place, read_facts, run  # noqa: E402
from scene import JOURNAL, NotDone, NotRecovered, Scene, Undisturbed  # noqa: E402

from sweeps.errors import UserError  # noqa: E402

SEEDS = HERE / "seeds.txt"
PAGE = HERE.parents[1] / "benchmarks" / "faults.md"
MARKS = ("<!-- campaign -->", "<!-- end of campaign -->")


@dataclass(frozen=True)
class Injection:
    """One fault with its seed, and what came of it."""

    fault: str
    seed: int
    harm: str
    verdict: Verdict
    believed: tuple[str, ...]
    seconds: float
    problem: str = ""
    not_done: str = ""

    def is_survived(self) -> bool:
        return self.verdict.is_clean() and not self.believed and not self.problem


def sweep_undisturbed(folder: Path, options: tuple[str, ...]) -> Undisturbed:
    begun = time.monotonic()
    status, said = run(make_place(folder), [*SWEEP, *options], environment(folder))
    if status:
        sys.exit(f"the undisturbed study failed:\n{said}")
    seconds = time.monotonic() - begun
    return Undisturbed(
        folder, read_facts(folder), seconds, (folder / JOURNAL).read_bytes().count(b"\n")
    )


def inject(
    case: tuple[str, int], *, folder: Path, undisturbed: Mapping[tuple[str, ...], Undisturbed]
) -> Injection:
    """Do one fault in a folder of its own and compare what is left with the undisturbed study."""
    name, seed = case
    fault = FAULTS[name]
    place = make_place(folder / f"{name.replace(' ', '-')}-{seed}")
    wanted, draw = undisturbed[fault.options], random.Random(f"{name} {seed}")
    problem, not_done, verdict = "", "", Verdict()
    with ExitStack() as servers:
        scene = Scene(place, [*SWEEP, *fault.options], environment(place), draw, wanted, servers)
        try:
            fault.do(scene)
            verdict = compare(read_facts(place, scene.storage), wanted.facts)
        except NotDone as error:
            not_done = str(error)
        except (NotRecovered, UserError) as error:
            problem = str(error)
    injection = Injection(
        name, seed, scene.done, verdict, tuple(scene.believed), scene.recovery, problem, not_done
    )
    print(in_a_line(injection), flush=True)
    if injection.is_survived():
        shutil.rmtree(place)
    return injection


def in_a_line(injection: Injection) -> str:
    if injection.not_done:
        return f"{injection.fault} {injection.seed}: not done: {injection.not_done}"
    verdict = injection.verdict
    kinds = {
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "changed": verdict.changed,
        "left running": verdict.running,
    }
    bad = [f"{len(names)} {kind}, {names[0]} first" for kind, names in kinds.items() if names]
    bad += [f"{name} believed it" for name in injection.believed]
    bad += [f"not recovered: {injection.problem}"] if injection.problem else []
    words = "; ".join(bad) or "survived"
    return (
        f"{injection.fault} {injection.seed}: {injection.harm}: {words} ({injection.seconds:.1f} s)"
    )


def in_a_table(injections: Iterable[Injection]) -> str:
    rows = [
        "| Fault | Times | Lost | Doubled | Changed | Left running | Believed | Not recovered | "
        "Seconds to complete: median (most) |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for fault in FAULTS:
        mine = [
            injection
            for injection in injections
            if injection.fault == fault and not injection.not_done
        ]
        if mine:
            counts = [
                sum(map(bool, column))
                for column in (
                    [i.verdict.lost for i in mine],
                    [i.verdict.doubled for i in mine],
                    [i.verdict.changed for i in mine],
                    [i.verdict.running for i in mine],
                    [i.believed for i in mine],
                    [i.problem for i in mine],
                )
            ]
            seconds = [injection.seconds for injection in mine]
            cells = [fault, len(mine), *counts, f"{median(seconds):.0f} ({max(seconds):.0f})"]
            rows.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(rows)


def write_page(table: str, seconds: float, seeds: str, only: str) -> None:
    """Put the table on its page. Of a part of the faults, put their rows into the table that is
    there.
    """
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(MARKS[0])
    there, _, after = rest.partition(MARKS[1])
    caption = f"The undisturbed study took {seconds:.0f} s. Seeds: {seeds}."
    if only:
        rows = {**_rows_by_fault(there), **_rows_by_fault(table)}
        table = "\n".join(
            [*table.splitlines()[:2], *(rows[fault] for fault in FAULTS if fault in rows)]
        )
        caption = (
            f"{there.strip().splitlines()[-1].removesuffix('.')}; of “{only}” {seeds}, beside "
            f"{seconds:.0f} s."
        )
    PAGE.write_text(
        f"{before}{MARKS[0]}\n{table}\n\n{caption}\n{MARKS[1]}{after}", encoding="utf-8"
    )


def _rows_by_fault(table: str) -> dict[str, str]:
    rows = {
        line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")
    }
    return {fault: row for fault, row in rows.items() if fault in FAULTS}


def committed_cases() -> list[tuple[str, int]]:
    """Read the cases of seeds.txt: a fault and a seed in each line."""
    lines = [
        line.partition("#")[0].strip() for line in SEEDS.read_text(encoding="utf-8").splitlines()
    ]
    return [
        (fault, int(seed)) for fault, _, seed in (line.rpartition(" ") for line in lines if line)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", default="", help="faults whose name has these words")
    parser.add_argument("--committed", action="store_true", help="the seeds of seeds.txt")
    parser.add_argument(
        "--write", action="store_true", help="put the table into benchmarks/faults.md"
    )
    parser.add_argument(
        "--folder",
        type=Path,
        help="where folders of what was not survived stay; by default a temporary one",
    )
    options = parser.parse_args()
    # A shell starts what it runs in the background with SIGINT ignored, and the sweeps would
    # inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    first = secrets.randbelow(10**6)
    drawn = [(fault, first + time) for time in range(options.times) for fault in FAULTS]
    cases = [
        case
        for case in (committed_cases() if options.committed else drawn)
        if options.only in case[0]
    ]
    folder = options.folder or Path(tempfile.mkdtemp(prefix="faults-"))
    folder.mkdir(parents=True, exist_ok=True)
    seeds = (
        "those of tests/faults/seeds.txt"
        if options.committed
        else f"{first} to {first + options.times - 1}"
    )
    print(f"{len(cases)} faults, seeds {seeds}, in {folder}")
    undisturbed = {
        options: sweep_undisturbed(folder / "-".join(["undisturbed", *options]), options)
        for options in {FAULTS[fault].options for fault, _ in cases} | {()}
    }
    with ThreadPoolExecutor(joblib.cpu_count()) as threads:
        injections = list(
            threads.map(partial(inject, folder=folder, undisturbed=undisturbed), cases)
        )
    table = in_a_table(injections)
    print(table)
    if options.write:
        write_page(table, undisturbed[()].seconds, seeds, options.only)
    if not all(injection.is_survived() for injection in injections):
        sys.exit(1)
    if options.folder is None:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
