"""How often reports of the default search are right, in studies whose truth is known: the table of
`benchmarks/known-truth.md`.

    make known-truth [ARGS="--studies 400 --kinds null strong --processes 2"]

Each study is run by the shipped driver, sampler and pruner; training is replaced by a formula.
`tests/support/planted_rates.py` says what is counted and what is demanded. A study takes about a
second of processor time. Each leaves a line in the record, so that a run that was stopped goes on
with those that are missing; lines of another commit do not count. When all are there, the table is
written.
"""

import argparse
import csv
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from table import markdown

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))
from default_studies import KINDS, default_study
from planted_rates import RATES, judge, total, view_of
from planted_studies import exact_interval

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "benchmarks" / "known-truth.md"
RECORD = ROOT / "benchmarks" / "results" / "known-truth.jsonl"
BEFORE = ROOT / "benchmarks" / "known-truth-before.csv"
"""Rate, planted kind (empty: of several), count and number of studies, before the words of the
report changed: by the page of `a785a0f96`, or counted on the states after it.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=400, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--processes", type=int, default=0, help="default: one for each core")
    parser.add_argument("--record", type=Path, default=RECORD, help="a line of JSON for each study")
    parser.add_argument("--out", type=Path, default=TABLE, help="the table")
    options = parser.parse_args(arguments)
    shape, commit = {"trials": options.trials}, commit_of(ROOT)
    wanted = [(kind, seed) for seed in range(options.studies) for kind in options.kinds]
    done = read(options.record, commit, options.trials)
    missing = [own for own in wanted if own not in done]
    options.record.parent.mkdir(parents=True, exist_ok=True)
    with options.record.open("a", encoding="utf-8") as record:
        record.write("\n")  # after a line that a kill cut off
        for place, line in enumerate(judged(missing, shape, options.processes), start=1):
            record.write(json.dumps({"commit": commit, "trials": options.trials, **line}) + "\n")
            record.flush()
            if place % 100 == 0 or place == len(missing):
                print(
                    f"{len(wanted) - len(missing) + place:,} of {len(wanted):,} studies", flush=True
                )
    done = read(options.record, commit, options.trials)
    options.out.write_text(
        page({own: done[own] for own in wanted}, commit, options), encoding="utf-8"
    )
    print(f"{options.out} is written")


def commit_of(folder: Path) -> str:
    """Return the commit that is measured, with `+` where files have changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=folder, capture_output=True, text=True, check=True
        ).stdout.strip()

    changed = git(
        "status", "--porcelain", "--untracked-files=no", "--", "sweeps", "vaeexp", "tests/support"
    )
    return git("rev-parse", "--short=9", "HEAD") + ("+" if changed else "")


def read(record: Path, commit: str, trials: int) -> dict[tuple[str, int], dict[str, Any]]:
    """Return (kind, seed) → the line of each study of this commit in the record; a line that a kill
    cut off is left out.
    """
    text = record.read_text(encoding="utf-8") if record.exists() else ""
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for text_of_line in text.splitlines():
        try:
            line = json.loads(text_of_line)
        except json.JSONDecodeError:
            continue
        if (line["commit"], line["trials"]) == (commit, trials):
            found[line["kind"], line["seed"]] = line
    return found


def judged(
    studies: Sequence[tuple[str, int]], shape: dict[str, int], processes: int
) -> Iterator[dict[str, Any]]:
    """Judge studies side by side, each line as it is made."""
    import joblib

    count = processes or joblib.cpu_count()
    jobs = (joblib.delayed(one)(kind, seed, shape) for kind, seed in studies)
    yield from joblib.Parallel(n_jobs=count, return_as="generator_unordered")(jobs)


def one(kind: str, seed: int, shape: dict[str, int]) -> dict[str, Any]:
    """Return the line of one study."""
    started = time.process_time()
    counts = judge(kind, seed, **shape)
    view_of.cache_clear()
    default_study.cache_clear()
    return {
        "kind": kind,
        "seed": seed,
        "counts": counts,
        "seconds": round(time.process_time() - started, 3),
    }


# ---- the table ----


def page(
    lines: dict[tuple[str, int], dict[str, Any]], commit: str, options: argparse.Namespace
) -> str:
    """Return the page: a table for each rate, a row for each kind of studies."""
    seconds = sum(line["seconds"] for line in lines.values())
    words = (
        f"{len(lines):,} studies, {options.studies} of each kind, with {options.trials} trials "
        f"under the default sampler and pruner; commit `{commit}`, {time.strftime('%Y-%m-%d')}, "
        f"{seconds:,.0f} seconds of processor time. Intervals are exact 99 % binomial ones "
        "(Clopper and Pearson 1934). A rate *misses* where its interval lies on the bad side of "
        "what is demanded. Kinds: `tests/support/default_studies.py`; what is counted: "
        "`tests/support/planted_rates.py`."
    )
    parts = ["# Known truths", "`make known-truth` writes this page.", words]
    parts.append(
        "*Before*: the same rate before these sentences were written, in other studies of the kind "
        "(`benchmarks/known-truth-before.csv`)."
    )
    before = earlier()
    for name, rate in RATES.items():
        rows = [
            [*row, before.get((name, kind), "–")]
            for kind in options.kinds
            if kind in rate.kinds
            for row in _row(name, kind, lines)
        ]
        if rows:
            head = ["planted", "count", "of", "rate", "99 % interval", "demand", "before"]
            claim = rate.claim[0].upper() + rate.claim[1:]
            parts.append(f"## {claim}: {rate.demand}")
            if (name, "") in before:
                parts.append(f"Before, in several kinds: {before[name, '']}.")
            parts.append(markdown(head, rows, texts=1))
    return "\n\n".join(parts) + "\n"


def earlier() -> dict[tuple[str, str], str]:
    """Return (rate, kind) → `6 of 260`, as it was before."""
    with BEFORE.open(encoding="utf-8", newline="") as file:
        return {
            (row["rate"], row["planted"]): f"{int(row['count']):,} of {int(row['of']):,}"
            for row in csv.DictReader(file)
        }


def _row(name: str, kind: str, lines: dict[tuple[str, int], dict[str, Any]]) -> list[list[str]]:
    """Return the row of a kind; none where there was nothing to count."""
    events, of = total(line["counts"] for (own, _), line in lines.items() if own == kind).get(
        name, (0, 0)
    )
    if not of:
        return []
    low, high = exact_interval(events, of)
    holds = "holds" if RATES[name].holds(events, of) else "**misses**"
    return [
        [
            kind.replace("_", " "),
            f"{events:,}",
            f"{of:,}",
            f"{events / of:.1%}",
            f"{low:.1%} – {high:.1%}",
            holds,
        ]
    ]


if __name__ == "__main__":
    main()
