"""Compare what two checkouts compute: tables, what samplers are shown, weights, stores, seeds.

    python tests/gate/compare.py COMMIT [--part NAME …] [--quick] [--keep FOLDER]

The former checkout is a worktree of COMMIT, the new one this working tree. Both run in the
environment of this Python, in float32 with one thread. Ends with status 1 where anything differs.
README.md describes the parts.
"""

import argparse
import hashlib
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recording import GIVEN, PARTS

GATE = Path(__file__).resolve().parent
ROOT = GATE.parents[1]
SHOWN_LENGTH = 300
REPEATS, WORST = 5, 1.1
"""Measurements of each cost in each checkout, and the ratio of their medians above which a cost is
worse.
"""


@dataclass(frozen=True)
class Difference:
    """The first place at which two recordings of a case differ."""

    case: str
    place: str
    former: str
    new: str

    def __str__(self) -> str:
        return f"{self.case}\n    {self.place}\n    former: {self.former}\n    new:    {self.new}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("commit", nargs="?", help="the former commit")
    parser.add_argument("--former", type=Path, help="a former checkout, in place of a commit")
    parser.add_argument(
        "--new", type=Path, default=ROOT, help="the new checkout; this working tree by default"
    )
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="a part; may be repeated (default: all)"
    )
    parser.add_argument("--quick", action="store_true", help="a part of the cases")
    parser.add_argument(
        "--keep",
        type=Path,
        help="keep the recordings in this folder, and use those of the commit that are there",
    )
    options = parser.parse_args()
    if bool(options.commit) == bool(options.former):
        parser.error("give a COMMIT, as in `make gate FORMER=COMMIT`, or --former CHECKOUT")
    different = False
    with ExitStack() as stack:
        former = (
            options.former.resolve()
            if options.former
            else stack.enter_context(worktree(options.commit))
        )
        kept = options.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="gate-"))
        )
        print(HEAD, flush=True)
        for part in options.part or [part for part in PARTS if part != "costs"]:
            reused = f"{commit_of(former)}-{own_code()}" if options.commit else None
            places = (
                [kept / f"former-{reused}", kept / "new"]
                if reused
                else [kept / "former", kept / "new"]
            )
            size = "quick" if options.quick else "full"
            folders = [place.resolve() / size / part for place in places]
            more = ["--quick"] if options.quick else []
            reuse = reused is not None
            if part in GIVEN:
                given = folders[0].with_name(f"{part} given")
                record(part, former, given, [*more, "--make-given"], reuse=reuse)
                more += ["--given", str(given)]
            if part == "costs":
                different |= compare_costs(former, options.new, folders, more)
                continue
            seconds = [
                record(part, former, folders[0], more, reuse=reuse),
                record(part, options.new, folders[1], more, reuse=False),
            ]
            different |= report(part, *folders, seconds)
    print("DIFFERENT" if different else "EQUAL")
    return int(different)


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """Check a commit out into a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="gate-former-") as folder:
        place = Path(folder) / "checkout"
        git("worktree", "add", "--quiet", "--detach", str(place), commit)
        try:
            yield place
        finally:
            git("worktree", "remove", "--force", str(place))


def git(*arguments: str, cwd: Path = ROOT) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=cwd, check=False, stdout=subprocess.PIPE, text=True
    )
    if done.returncode:
        sys.exit(f"git {' '.join(arguments)} ended with status {done.returncode}")
    return done.stdout.strip()


def commit_of(checkout: Path) -> str:
    return git("rev-parse", "--short=12", "HEAD", cwd=checkout)


def own_code() -> str:
    """Return a short hash of the gate's own files, which decide what is recorded."""
    files = sorted(GATE.glob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]


# ---- recording ----


OWN = ("VAEEXP_", "PYTHON", "OMP_")
KEPT = ("VAEEXP_DATA",)
"""Variables that would change what is recorded begin so; those that may."""


def environment(checkout: Path) -> dict[str, str]:
    """Return the environment in which a checkout's own packages are imported, with one thread."""
    one = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VAEEXP_OFFLINE"), "1"
    )
    path = os.pathsep.join([str(checkout.resolve()), str(GATE)])
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in KEPT or not name.startswith(OWN)
    }
    return kept | one | {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}


def record(
    part: str, checkout: Path, folder: Path, options: list[str], *, reuse: bool
) -> tuple[float, float]:
    """Record a part in a process of its own; the seconds of wall time and of processor time."""
    done = folder.with_name(f"{folder.name}.seconds")
    if reuse and done.exists():
        return tuple(json.loads(done.read_text()))
    subprocess.run(["rm", "-rf", str(folder), str(done)], check=True)
    folder.mkdir(parents=True)
    command = [
        sys.executable,
        "-P",
        str(GATE / "recording.py"),
        part,
        str(folder),
        "--checkout",
        str(checkout.resolve()),
    ]
    wall, processor = time.monotonic(), _processor()
    command += options
    ended = subprocess.run(
        command, cwd=folder, env=environment(checkout), stdin=subprocess.DEVNULL, check=False
    )
    if ended.returncode:
        sys.exit(f"{part}: the recording in {checkout} ended with status {ended.returncode}")
    seconds = time.monotonic() - wall, _processor() - processor
    done.write_text(json.dumps(seconds))
    return seconds


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# ---- comparing ----

HEAD = (
    f"{'part':28}{'cases':>7}{'equal':>7}{'different':>11}   seconds (of processor), former and new"
)


def report(part: str, former: Path, new: Path, seconds: list[tuple[float, float]]) -> bool:
    """Print a row for each aspect of a part, and the first difference; whether there is one."""
    compared = compare(former, new)
    spent = ", ".join(f"{wall:.0f} ({processor:.0f})" for wall, processor in seconds)
    for aspect, found in sorted(compared.items()):
        differences = [difference for difference in found if difference is not None]
        row = f"{f'{part}: {aspect}':28}{len(found):>7}{len(found) - len(differences):>7}{len(differences):>11}"  # noqa: E501
        print(f"{row}   {spent}".rstrip(), flush=True)
        spent = ""
        if differences:
            print(f"  {differences[0]}", flush=True)
    return any(difference for found in compared.values() for difference in found) or not compared


def compare(former: Path, new: Path) -> dict[str, list[Difference | None]]:
    """Compare all records of two folders: aspect (a key of the records) → the first difference of
    each case that has it.
    """
    found: dict[str, list[Difference | None]] = defaultdict(list)
    names = sorted(
        {path.relative_to(place) for place in (former, new) for path in place.rglob("*.json")},
        key=str,
    )
    for name in names:
        records = [read(place / name) for place in (former, new)]
        for aspect in {**records[0], **records[1]}:
            case = str(name.with_suffix(""))
            values = [record.get(aspect, MISSING) for record in records]
            found[aspect].append(first_difference(case, aspect, *values))
    return found


def compare_costs(former: Path, new: Path, folders: list[Path], more: list[str]) -> bool:
    """Measure the costs of both checkouts in turn and print their ratios; whether the new one costs
    more than `WORST` times.
    """
    measured: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for _ in range(REPEATS):
        for checkout, folder in zip((former, new), folders, strict=True):
            record("costs", checkout, folder, more, reuse=False)
        for path in sorted(folders[0].glob("*.json")):
            pair = read(path), read(folders[1] / path.name)
            for unit in pair[0]:
                measured[path.stem, unit].append([side[unit] for side in pair])
    print(
        f"{'cost':28}{'former':>12}{'new':>12}   ratio of the medians (smallest and largest of a "
        "pair)"
    )
    worse = False
    for (name, unit), pairs in measured.items():
        medians = [statistics.median(side) for side in zip(*pairs, strict=True)]
        ratio, ratios = medians[1] / medians[0], [new / former for former, new in pairs]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(
            f"{f'{name}, {unit}':28}{medians[0]:>12.4f}{medians[1]:>12.4f}   {ratio:.2f} {spread}",
            flush=True,
        )
        worse |= ratio > WORST
    return worse


MISSING = "(missing)"


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def first_difference(case: str, aspect: str, former: Any, new: Any) -> Difference | None:
    """Return the first place at which two values differ, in the order of the former; numbers are
    equal to the bit.
    """
    tables = [
        value.pop("trials") if aspect == "shown" and isinstance(value, dict) else {}
        for value in (former, new)
    ]
    if json.dumps(former, sort_keys=True) == json.dumps(new, sort_keys=True):
        return None
    place, *values = _descend([aspect], former, new, *tables)
    return Difference(case, " / ".join(place), *(_short(value) for value in values))


def _descend(
    place: list[str], former: Any, new: Any, old_table: dict[str, str], table: dict[str, str]
) -> Any:
    if isinstance(former, dict) and isinstance(new, dict):
        parts = [
            (key, former.get(key, MISSING), new.get(key, MISSING)) for key in {**former, **new}
        ]
    elif isinstance(former, list) and isinstance(new, list):
        pairs = itertools.zip_longest(former, new, fillvalue=MISSING)
        parts = [(str(index), *pair) for index, pair in enumerate(pairs)]
    elif isinstance(former, str) and isinstance(new, str) and former in old_table and new in table:
        return _descend(
            place, json.loads(old_table[former]), json.loads(table[new]), old_table, table
        )
    else:
        return place, former, new
    for key, one, other in parts:
        if json.dumps(one, sort_keys=True) != json.dumps(other, sort_keys=True):
            return _descend([*place, key], one, other, old_table, table)
    return place, former, new


def _short(value: Any) -> str:
    text = value if value is MISSING else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_LENGTH else text[:SHOWN_LENGTH] + " …"


if __name__ == "__main__":
    sys.exit(main())
