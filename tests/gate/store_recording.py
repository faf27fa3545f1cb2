"""The part `stores`: what a former checkout has written is read, continued and extended.

The former checkout writes the stores once. Then each checkout goes on with a copy of its own.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from command_recording import SWEEPS, Place, left
from masks import unmasked
from toy_cases import Case, cases
from toy_recording import (
    END,
    import_before_forks,
    in_fork,
    memory_folder,
    place_of,
    run_case,
    stored,
    whole_case,
    write,
)

TOYS = (
    *(
        "repeats",
        "race",
        "two objectives promotion",
        "grow median",
        "grow promotion",
        "extend median",
    ),
    *("extend promotion", "changed", "learn", "start", "duplicates", "warm-up promotion", "cmaes"),
)
"""Toy cases, all with 4 lanes. Of two steps, the former checkout does the first; a single step, it
does half.
"""
WIDE = ("tpe hyperband 16 lanes", "curves promotion 16 lanes", "eager promotion 16 lanes")
COMMANDS = {"smoke": None, "conv": 9}
"""Sweep → the sync to disk at which the former checkout is killed; None: it ends."""


def store_cases(quick: bool) -> list[Case]:
    wanted = {f"{name} 4 lanes" for name in TOYS} | set(WIDE)
    found = [case for case in cases(quick=True) if case.name in wanted]
    return found[:: 4 if quick else 1]


def make_stores(out: Path, quick: bool) -> None:
    """Write the stores, in the former checkout."""
    import_before_forks(out / "imports")
    for case in store_cases(quick):
        folder = out / "toys" / case.name
        if len(case.steps) > 1:
            whole_case(replace(case, steps=case.steps[:1]), folder)
            (folder / "step").write_text("1")
            (folder / END).unlink()
        else:
            calls = whole_case(case, folder)["calls"]
            shutil.rmtree(folder)
            folder.mkdir()
            in_fork(
                lambda case=case, folder=folder, calls=calls: _half(case, folder, calls),
                folder / "said",
            )
    place = Place(out / "commands")
    for sweep in SWEEPS:
        if sweep.name in COMMANDS and not (quick and COMMANDS[sweep.name] is None):
            place.write_study(sweep)
            place.run(*sweep.arguments(), kill=COMMANDS[sweep.name])


def _half(case: Case, folder: Path, calls: list[str]) -> None:
    run_case(case, folder, ends_at=place_of("mid-round", calls))


def record_stores(out: Path, quick: bool, given: Path) -> None:
    """Record what the stores hold, and what they hold once they are continued and extended."""
    folder = memory_folder()
    import_before_forks(folder / "imports")
    for case in store_cases(quick):
        work = folder / case.name
        shutil.copytree(given / "toys" / case.name, work)
        opened = stored(work / "runs", case.steps[0].name)
        write(
            out / f"toy {case.name}.json", {"opened": opened, "continued": whole_case(case, work)}
        )
    for sweep in SWEEPS:
        if sweep.name in COMMANDS and not (quick and COMMANDS[sweep.name] is None):
            work = folder / sweep.name
            shutil.copytree(given / "commands", work, ignore=shutil.ignore_patterns("*.lock"))
            place = Place(work)
            record: dict[str, Any] = {
                "status": unmasked(json.loads(place.run("status", sweep.study, "--json")))
            }
            place.run("report", sweep.study)
            record["opened"] = left(place, sweep.study)
            place.run(*sweep.arguments())
            record["continued"] = left(place, sweep.study)
            place.run(*sweep.arguments(), "--trials", "10", "--extend")
            record["extended"] = left(place, sweep.study)
            write(out / f"command {sweep.name}.json", record)
    shutil.rmtree(folder)
