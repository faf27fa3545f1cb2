"""Races searches on tables of learning curves, and says how many trial-epochs each needs until it
has nearly the best configuration.

    make search-race ARGS="--space A --repeats 50"
        run what is missing, then write the report
    make search-race ARGS="--errors --space A"
        how well each surrogate knows the curves, epoch by epoch
    make search-race ARGS="--list"
        the searches, and which are not installed here
    make search-race ARGS="--report --out benchmarks/search"
        race nothing; write the report of the results at hand

Results are lines of `search.jsonl` in `--out`, one for each search, surrogate, lanes and repeat;
what is there already is not run again, so the command can be stopped at any time and goes on. A
result belongs to one state of the table, of the referee and, for searches of ours, of the package
`sweeps`: where these have changed, it is made anew. Results take hours, so they are kept in
`races/`, and `--pack` adds the results in `--out`. Where `sweeps` or the referee has changed and no
search should have, `--renew 2 --former CHECKOUT` runs two repeats of each again and, where they are
equal, keeps all results for the present state. Results of the former referee, which drew no noise,
are reported apart. Another processor rounds otherwise, so that some searches choose otherwise on
it; these also run with the `sweeps` of the former state. The report is `search-tables.md` and a
picture for each space. `referee.py` and `grading.py` have the rules, `methods.py` and `peers.py`
the searches.

Peers that need other versions of packages than the project run in an environment of their own, into
the same `--out`:

    uv venv ../peers && uv pip install --python ../peers/bin/python --group search
    PYTHONPATH=. ../peers/bin/python benchmarks/search/race.py --out FOLDER --no-report \\
        --methods "syne-tune: mobster"

Ray Tune's BOHB needs older versions still, those of the group `search-bohb`, in a third
environment.
"""

import argparse
import contextlib
import hashlib
import itertools
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

import numpy as np
from curve_table import (
    TABLES,
    Table,
    append,
    load_table,
    to_line,
    whole_lines,
    write_lines,
    write_part,
)
from grading import FORMER, Result
from methods import METHODS, OURS, code_of, run_method, why_not
from referee import Referee, half_sample, world_of
from surrogate import SURROGATES, SeenCurves

from sweeps.source import same_code

sys.path.append(str(Path(__file__).resolve().parents[1]))

from table import markdown, usable_cores

__all__ = ["Entry", "digest_of", "entries", "pack_results", "race", "read_results", "renew"]

SPACES = ("A", "B", "C", "D")
LANES = (1, 4, 64)
REPEATS, BUDGET, WAVES = 50, 1200, 3
RACES = Path(__file__).resolve().parent / "races"
"""Folder of results that are kept. Files of peers' results, `001.jsonl.xz`, `002.jsonl.xz` …, and
those of our searches under the former referee never change.
"""
FORMER_DIGESTS = {
    "A": "9d6d942c1181",
    "B": "37fad8117a4f",
    "C": "d082e6e4e281",
    "D": "0533b48ed1a0",
}
"""Space → digest of the table and of the former referee, under which peers and other numbers of
lanes were graded.
"""
KEPT_OURS = "ours.jsonl.xz"
"""File of our searches' results in `RACES`. It is written anew."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A search to run."""

    space: str
    method: str
    surrogate: str
    """One of `SURROGATES`."""
    lanes: int
    repeat: int
    budget: int
    """Trial-epochs."""


def main() -> None:
    parser = _parser()
    options = parser.parse_args()
    if options.renew is not None and options.renew < 1:
        parser.error(f"--renew: got {options.renew}; must be 1 or more.")
    tables = _tables(parser, options)
    if options.list:
        for name in METHODS:
            print(
                name,
                *(
                    f"({space}: {reason})"
                    for space, table in tables.items()
                    if (reason := why_not(name, table))
                ),
            )
    elif options.pack:
        print(*pack_results(tables, options.out, RACES) or ["nothing new"], sep="\n")
    elif options.renew:
        if other := renew(
            tables,
            options.tables,
            RACES,
            options.former,
            repeats=options.renew,
            workers=options.workers,
        ):
            raise SystemExit(
                "\n".join(
                    ["nothing is kept, because these searches are no longer the same:", *other]
                )
            )
    elif options.errors:
        for (name, table), surrogate in itertools.product(tables.items(), options.surrogate):
            print(f"{surrogate_errors(name, table, surrogate)}\n")
    else:
        asked = {name: getattr(options, name) for name in ("surrogate", "lanes", "repeats")} | {
            "budget": options.epochs
        }
        wanted = [e for table in tables.values() for e in entries(table, options.methods, **asked)]
        if not options.report:
            race(tables, wanted, options.tables, options.out, workers=options.workers)
        if not options.no_report:
            # It needs more of the project than an environment of peers has.
            from race_report import write_report

            budgets = {(entry.space, entry.lanes, entry.budget) for entry in wanted}
            results = [
                r
                for r in read_results(tables, options.out)
                if (r.space, r.lanes, r.budget) in budgets
            ]
            former = read_former(tables) if options.tables == TABLES else []
            write_report([*results, *former], options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--space",
        choices=SPACES,
        nargs="+",
        help="race on these alone; else on all that have a table",
    )
    parser.add_argument(
        "--methods", choices=METHODS, nargs="+", default=METHODS, metavar="NAME", help="race these"
    )
    parser.add_argument(
        "--surrogate", choices=SURROGATES, nargs="+", default=[*SURROGATES], metavar="NAME"
    )
    parser.add_argument("--lanes", type=int, nargs="+", default=LANES)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument(
        "--epochs",
        type=int,
        help="trial-epochs of a search; else 1,200 or 3 whole trials in each lane",
    )
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of the tables")
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results"), help="folder of results and report"
    )
    parser.add_argument("--workers", type=int, default=usable_cores(), help="processes")
    parser.add_argument(
        "--errors", action="store_true", help="print the errors of the surrogates, and race nothing"
    )
    parser.add_argument(
        "--report", action="store_true", help="race nothing, and report the results at hand"
    )
    parser.add_argument("--no-report", action="store_true", help="leave the report to a later call")
    parser.add_argument("--list", action="store_true", help="print the searches")
    parser.add_argument("--pack", action="store_true", help="keep the results in `--out` for good")
    parser.add_argument(
        "--renew",
        type=int,
        metavar="N",
        help="run N repeats of each kept search again, and keep all if they are equal",
    )
    parser.add_argument(
        "--former",
        type=Path,
        metavar="CHECKOUT",
        help="with --renew: the state that made the results",
    )
    return parser


def _tables(parser: argparse.ArgumentParser, options: argparse.Namespace) -> dict[str, Table]:
    """Load the tables of curves, or end with what is wrong with them."""
    try:
        tables = {
            name: load_table(name, options.tables)
            for name in options.space or _spaces(options.tables)
        }
        for table in tables.values():
            table.spread()  # raises where no configuration has a second seed to be graded on
    except ValueError as error:
        parser.error(f"--tables: {error}")
    if not tables and not options.list:
        parser.error(
            f"--tables: got {options.tables}, which holds no table; must hold files of "
            f"{', '.join(SPACES)}. Try `make curves`."
        )
    return tables


def _spaces(folder: Path) -> list[str]:
    return [name for name in SPACES if any(folder.glob(f"{name}*.jsonl*"))]


def digest_of(table: Table) -> str:
    """Return the first 12 digits of the SHA-256 of all that searches see and are graded on, and of
    the modules that grade them.
    """
    content = hashlib.sha256(json.dumps([table.space.as_dict(), table.configurations]).encode())
    for module in ("surrogate", "forest", "noise", "table_lanes", "referee"):
        content.update((Path(__file__).parent / f"{module}.py").read_bytes())
    for values in (table.neg_elbo, table.seconds, table.trained, table.diverged):
        content.update(values.tobytes())
    return content.hexdigest()[:12]


def entries(
    table: Table,
    methods: Sequence[str],
    *,
    lanes: Sequence[int],
    repeats: int,
    budget: int | None,
    surrogate: Sequence[str] = tuple(SURROGATES),
) -> Iterator[Entry]:
    """Yield the searches of a table, surrogate by surrogate, all methods of a repeat before the
    next repeat, without those that cannot run here.

    Without a budget it is 1,200 trial-epochs, or three whole trials in each lane where that is
    more: in less time than a whole trial no search without a pruner has found anything.
    """
    able = [method for method in methods if why_not(method, table) is None]
    for continued, repeat, width, method in itertools.product(
        surrogate, range(repeats), lanes, able
    ):
        given = {"surrogate": continued, "lanes": width, "repeat": repeat}
        yield Entry(
            space=table.name,
            method=method,
            budget=budget or max(BUDGET, WAVES * width * table.epochs),
            **given,
        )


def read_results(tables: dict[str, Table], out: Path) -> list[Result]:
    """Read the results, kept ones too, on the present state of tables, referee and, for searches of
    ours, of the package `sweeps`.
    """
    digests = {name: digest_of(table) for name, table in tables.items()}
    paths = [*sorted(RACES.glob("*.jsonl.xz")), out / "search.jsonl"]
    results = [Result.from_dict(json.loads(line)) for path in paths for line in whole_lines(path)]
    codes = {method: code_of(method) for method in METHODS}
    valid = [r for r in results if (r.table, r.code) == (digests.get(r.space), codes.get(r.method))]
    # What is kept may stand in `out`, too.
    return [*{_entry_of(result): result for result in valid}.values()]


def read_former(spaces: Collection[str]) -> list[Result]:
    """Return the kept results of the former referee: of peers, and of our searches at the time."""
    digests = {FORMER_DIGESTS[space] for space in spaces}
    paths = sorted(RACES.glob("*.jsonl.xz"))
    results = (Result.from_dict(json.loads(line)) for path in paths for line in whole_lines(path))
    return [result for result in results if result.surrogate == FORMER and result.table in digests]


def _entry_of(result: Result) -> Entry:
    return Entry(**{field.name: getattr(result, field.name) for field in fields(Entry)})


def pack_results(tables: dict[str, Table], out: Path, into: Path) -> list[Path]:
    """Keep the results of `out/search.jsonl` that are not kept yet; return the files of `into` that
    were written.

    Results of peers become the next part. Results of ours belong to one state of `sweeps`, so that
    a space that has results of the present state loses the results of former states.
    """
    kept = {f"{line}\n" for part in into.glob("[0-9]*.jsonl.xz") for line in whole_lines(part)}
    before = [f"{line}\n" for path in into.glob(KEPT_OURS) for line in whole_lines(path)]
    results = read_results(tables, out)
    peers = [
        line for r in results if r.method not in OURS and (line := to_line(r.to_dict())) not in kept
    ]
    ours = [result for result in results if result.method in OURS]
    spaces = {result.space for result in ours}
    elsewhere = (line for line in before if json.loads(line)["space"] not in spaces)
    now = sorted([*elsewhere, *(to_line(result.to_dict()) for result in ours)])
    into.mkdir(exist_ok=True)
    written = [write_part(into, "", peers)] if peers else []
    if now != before:
        write_lines(into / KEPT_OURS, now)
        written.append(into / KEPT_OURS)
    return written


def renew(
    tables: dict[str, Table],
    folder: Path,
    into: Path,
    former: Path | None,
    *,
    repeats: int,
    workers: int,
) -> list[str]:
    """Keep results of a former state of `sweeps` and of the referee for the present one, if some
    repeats of each search find the same at the same epochs.

    The former referee is the one of our kept results. Results of peers that cannot run here stay as
    they are. A search that finds something else may have run on another processor before. Such a
    search is compared with the same search in `former`, a checkout of the former state. Returns the
    searches that differ. Where there are some, nothing is written.
    """
    paths = [into / KEPT_OURS, *sorted(into.glob("[0-9]*.jsonl.xz"))]
    kept = {
        path: [Result.from_dict(json.loads(line)) for line in whole_lines(path)] for path in paths
    }
    state = {
        (name, method): (digest_of(table), code_of(method))
        for name, table in tables.items()
        for method in METHODS
    }
    stale = _stale_results(kept, state, tables)
    before = {_entry_of(result): result for result in stale if result.repeat < repeats}
    other = []
    with single_threaded(workers) as pool:
        for entry, new in zip(
            before, pool.map(_run, before, itertools.repeat(folder)), strict=True
        ):
            same = is_same_search(before[entry], new)
            if not same and former is not None:
                again = _run_former(entry, folder, former)
                same = _state_of(again) == _state_of(before[entry]) and is_same_search(again, new)
            place = f"{entry.space} {entry.method}, {entry.lanes} lanes, repeat {entry.repeat}"
            other += [] if same else [place]
            print(f"{place}: {'the same' if same else 'another search'}", flush=True)
    for path, results in kept.items():
        if other or stale.isdisjoint(results):
            continue
        lines = []
        for result in results:
            table, code = (
                state[result.space, result.method] if result in stale else _state_of(result)
            )
            lines.append(to_line(replace(result, table=table, code=code).to_dict()))
        write_lines(path, sorted(lines))
    return other


def _stale_results(
    kept: dict[Path, list[Result]],
    state: dict[tuple[str, str], tuple[str, str]],
    tables: dict[str, Table],
) -> set[Result]:
    """Return the results of the former referee or state of `sweeps` whose searches can run here."""
    referees = {
        (result.space, result.table)
        for path in kept
        if path.name == KEPT_OURS
        for result in kept[path]
    }
    able = {(name, method) for name, method in state if why_not(method, tables[name]) is None}
    graded = {
        result
        for results in kept.values()
        for result in results
        if (result.space, result.table) in referees
    }
    return {
        r
        for r in graded
        if (r.space, r.method) in able and _state_of(r) != state[r.space, r.method]
    }


def _state_of(result: Result) -> tuple[str, str]:
    return result.table, result.code


def _run_former(entry: Entry, folder: Path, former: Path) -> Result:
    """Run a search with the referee and the package `sweeps` of a checkout, in a process of its
    own.
    """
    program = (
        "import json, sys, pathlib, race; "
        "print(json.dumps(race._run(race.Entry(**json.loads(sys.argv[1])), "
        "pathlib.Path(sys.argv[2])).to_dict()))"
    )
    paths = [former.resolve(), former.resolve() / "benchmarks" / "search"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, paths))}
    command = [
        sys.executable,
        "-P",
        "-c",
        program,
        json.dumps(asdict(entry)),
        str(folder.resolve()),
    ]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return Result.from_dict(json.loads(done.stdout.splitlines()[-1]))


def is_same_search(old: Result, new: Result) -> bool:
    """Say whether two results are equal but for processor time, states of `sweeps` and referee, and
    the rounding of another processor in grades and times.
    """

    def exact(result: Result) -> Result:
        changes = tuple(replace(change, seconds=0.0, regret=0.0) for change in result.changes)
        return replace(result, table="", code="", own_seconds=0.0, changes=changes)

    def rounded(result: Result) -> list[tuple[float, float]]:
        return [(change.seconds, change.regret) for change in result.changes]

    return exact(old) == exact(new) and np.allclose(rounded(old), rounded(new), rtol=0, atol=1e-6)


def race(
    tables: dict[str, Table], wanted: Sequence[Entry], folder: Path, out: Path, *, workers: int
) -> None:
    """Run the searches that have no result yet, in processes of one thread each, with a line for
    each.
    """
    done = {*map(_entry_of, read_results(tables, out))}
    missing = [entry for entry in wanted if entry not in done]
    begun = time.monotonic()
    with single_threaded(workers) as pool:
        futures = [pool.submit(_run, entry, folder) for entry in missing]
        try:
            for count, future in enumerate(as_completed(futures), start=1):
                result = future.result()
                append(out / "search.jsonl", json.dumps(result.to_dict(), allow_nan=False) + "\n")
                left = (time.monotonic() - begun) / count * (len(missing) - count)
                place = (
                    f"{result.space} ({result.surrogate}) {result.method}, {result.lanes} lanes, "
                    f"repeat {result.repeat}"
                )
                own = f"{result.own_seconds:.1f} s of its own"
                print(
                    f"{place}: {result.epochs_to(2)} and {result.epochs_to(1)} epochs, {own}; "
                    f"{left:.0f} s left",
                    flush=True,
                )
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@contextlib.contextmanager
def single_threaded(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Give a pool of processes of one thread each, because searches run side by side. The
    environment is as before when the pool ends.
    """
    # The last name is for the forest of SMAC, which else takes a thread for each core.
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "LOKY_MAX_CPU_COUNT")
    with (
        same_code(**dict.fromkeys(names, "1")),
        ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        yield pool


@cache
def _referee(space: str, folder: Path, world: int, surrogate: str) -> Referee:
    table = load_table(space, folder)
    return Referee(table, digest_of(table), half_sample(table, world), surrogate)


def _run(entry: Entry, folder: Path) -> Result:
    referee = _referee(entry.space, folder, world_of(entry.repeat), entry.surrogate)
    with contextlib.redirect_stdout(sys.stderr):  # peers talk
        return run_method(
            referee, entry.method, lanes=entry.lanes, repeat=entry.repeat, budget=entry.budget
        )


def surrogate_errors(name: str, table: Table, surrogate: str) -> str:
    """Return the errors of a surrogate of seed 0 as a table, every third epoch."""
    curves = SeenCurves(table, 0, surrogate)
    rows = [
        [
            f"{e.epoch}",
            f"{e.nats:.2f}",
            f"{e.nats_near_best:.2f}",
            f"{e.rank_correlation:.3f}",
            f"{e.nearest_nats:.2f}",
        ]
        for e in curves.errors()
        if e.epoch in (1, table.epochs) or e.epoch % 3 == 0
    ]
    head = [
        "epoch",
        "median error, nats",
        "of the better quarter",
        "rank correlation",
        "nearest neighbour, nats",
    ]
    spread = (
        f"{len(curves.configurations)} configurations, spread over seeds {table.spread():.2f} nats"
    )
    return f"{name}, {surrogate}: {spread}\n\n{markdown(head, rows, texts=0)}"


if __name__ == "__main__":
    main()
