"""The command doctor: checks of this machine, and of all that is stored of a study."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import click

from sweeps.doctor.findings import Check, Finding, examine
from sweeps.doctor.left_over import check_left_over, check_unknown
from sweeps.doctor.storage import check_driver, check_storage
from sweeps.errors import UserError
from sweeps.storage import study_names
from sweeps.storage.study_record import StoredStudy
from sweeps.tracking.checks import check_mirror
from vaeexp.commands.options import (
    runs_option,
    storage_option,
    study_argument,
    tracking_option,
    typeable,
)
from vaeexp.commands.status import json_option
from vaeexp.console import open_console, print_json, write_line
from vaeexp.machine_checks import (
    check_cache,
    check_device,
    check_disk,
    check_installation,
    check_limits,
    check_versions,
)
from vaeexp.results import study_name
from vaeexp.runs.checks import check_files

ROUNDS = 3
"""Number of times that `--repair` looks again, because a repair may bring to light what stands behind the damage."""


@dataclass(frozen=True)
class Places:
    """The runs folder and the stores of studies and of MLflow."""

    runs: Path
    storage: str | None
    tracking: str | None


def machine_checks(places: Places) -> Mapping[str, Check]:
    """Return the checks of this machine by name."""
    return {
        "versions": check_versions,
        "code": check_installation,
        "device": check_device,
        "disk": partial(check_disk, places.runs),
        "limits": check_limits,
        "cache": check_cache,
    }


def study_check(places: Places, study: str) -> Iterator[Finding]:
    """Check the storage of a study and then, where it can be read, all that belongs to it."""
    found: list[StoredStudy] = []
    yield from examine(partial(check_storage, places.storage, places.runs, study, found), f"{study}: storage")
    for stored in found:
        checks: Mapping[str, Check] = {
            "driver": partial(check_driver, places.storage, places.runs, stored),
            "files": partial(check_files, places.runs, stored),
            "left over": partial(check_left_over, places.storage, places.runs, stored),
            "mirror": partial(check_mirror, places.tracking, places.runs, places.storage, stored),
        }
        for name, check in checks.items():
            yield from examine(check, f"{study}: {name}")


def look(checks: Mapping[str, Check], show: Callable[[Finding], object]) -> dict[str, list[Finding]]:
    """Make all checks; return the findings of each. `show` gets each finding as it comes."""
    findings: dict[str, list[Finding]] = {}
    for name, check in checks.items():
        findings[name] = []
        for finding in examine(check, name):
            show(finding)
            findings[name].append(finding)
    return findings


def repair_all(
    checks: Mapping[str, Check],
    findings: Mapping[str, list[Finding]],
    say: Callable[[str], object],
    show: Callable[[Finding], object],
) -> dict[str, list[Finding]]:
    """Repair what can be repaired, make the checks that found it again, and return what all checks have found by then."""
    found = dict(findings)
    for _ in range(ROUNDS):
        wrong = {name: [each for each in found[name] if each.ok is False and each.repair] for name in found}
        for finding in (finding for each in wrong.values() for finding in each):
            try:
                say(f"{finding.name}: {finding.repair() if finding.repair else ''}")
            except (UserError, OSError) as error:
                say(f"{finding.name}: cannot be repaired: {error}")
        again = {name: checks[name] for name, each in wrong.items() if each}
        if not again:
            break
        found |= look(again, show)
    return found


def line_of(finding: Finding, marks: Mapping[bool | None, str], places: Places) -> str:
    """Return `✓ name – words`, with the remedy where it is needed."""
    return " – ".join(filter(None, (f"{marks[finding.ok]} {finding.name}", finding.words, _remedy(finding, places))))


def _remedy(finding: Finding, places: Places) -> str | None:
    """Return the remedy where it is needed, its commands with the options that name the places of this command."""
    if finding.ok or not finding.remedy:
        return None

    return typeable(finding.remedy, places.runs, places.storage, places.tracking)


def object_of(finding: Finding, places: Places) -> dict[str, Any]:
    """Return a finding for `--json`; the remedy is null where there is nothing to do."""
    remedy = _remedy(finding, places)
    return {"name": finding.name, "ok": finding.ok, "words": finding.words, "remedy": remedy}


@click.command()
@study_argument("Study to check; without it, all studies of the runs folder or the storage.", required=False)
@click.option(
    "--repair",
    is_flag=True,
    help="Do what is safe: save the whole records of a damaged journal, bring MLflow up to date or build it anew, close a study whose driver died, move a damaged file or a folder without a record aside, delete half-written files. No result is deleted.",
)
@json_option
@runs_option
@storage_option
@tracking_option
def doctor(
    *, study: str | None, repair: bool, as_json: bool, runs: Path, storage: str | None, tracking: str | None
) -> None:
    """Check this machine, and all that is stored.

    One line for each check, with what to do where something is wrong; the exit status is 1 then. Without --repair it only reads.
    """
    places, console = Places(runs, storage, tracking), open_console()
    utf8 = console.encoding.lower().startswith("utf")
    marks = {True: "✓", False: "✗", None: "?"} if utf8 else {True: "ok", False: "WRONG", None: "?"}
    repairs: list[str] = []

    def show(finding: Finding) -> None:
        if not as_json:
            write_line(console, line_of(finding, marks, places))

    def say(line: str) -> None:
        repairs.append(line)
        if not as_json:
            write_line(console, f"repaired: {line}", style="bold")

    names = [study_name(study)] if study else study_names(runs, storage)
    checks = {**machine_checks(places)}
    checks |= {f"study '{name}'": partial(study_check, places, name) for name in names}
    if not study:
        checks["left over"] = partial(check_unknown, storage, runs)
    found = look(checks, show)
    if repair:
        found = repair_all(checks, found, say, show)
    findings = [finding for each in found.values() for finding in each]
    if as_json:
        print_json({"findings": [object_of(finding, places) for finding in findings], "repairs": repairs})
    if any(finding.ok is False for finding in findings):
        click.get_current_context().exit(1)
