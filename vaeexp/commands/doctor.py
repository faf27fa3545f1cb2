"""The command doctor: checks of this machine, and of all that is stored of a study."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

import click

from sweeps import (
    Check,
    Finding,
    State,
    UserError,
    check_driver,
    check_left_over,
    check_mirror,
    check_storage,
    examine,
    study_names,
)
from vaeexp.commands.options import Places, places_options, study_argument, tracking_option
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
"""Number of times that `--repair` looks again, because a repair may bring to light what stands
behind the damage.
"""


def machine_checks(places: Places) -> dict[str, Check]:
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
    found: list[State] = []
    yield from examine(
        partial(check_storage, places.storage, places.runs, study, found), f"{study}: storage"
    )
    for stored in found:
        checks: Mapping[str, Check] = {
            "driver": partial(check_driver, places.storage, places.runs, stored),
            "files": partial(check_files, places.runs, stored),
            "left over": partial(check_left_over, places.storage, places.runs, stored),
            "mirror": partial(check_mirror, places.tracking, places.runs, places.storage, stored),
        }
        for name, check in checks.items():
            yield from examine(check, f"{study}: {name}")


def look(
    checks: Mapping[str, Check], show: Callable[[Finding], object]
) -> dict[str, list[Finding]]:
    """Make all checks; return the findings of each. `show` gets each finding as it comes."""
    findings: dict[str, list[Finding]] = {name: [] for name in checks}
    for name, check in checks.items():
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
    """Repair what can be repaired, make the checks that found it again, and return what all checks
    have found by then.
    """
    found = dict(findings)
    for _ in range(ROUNDS):
        again = {}
        for name, each in found.items():
            for finding in each:
                if finding.ok is False and finding.repair:
                    again[name] = checks[name]
                    try:
                        say(f"{finding.name}: {finding.repair()}")
                    except (UserError, OSError) as error:
                        say(f"{finding.name}: cannot be repaired: {error}")
        if not again:
            break
        found |= look(again, show)
    return found


def with_places(finding: Finding, places: Places) -> Finding:
    """Return a finding with its remedy where it is needed, whose commands have the options that
    name the places of this command.
    """
    return replace(finding, remedy="" if finding.ok else places.typeable(finding.remedy))


@click.command()
@study_argument(
    "Study to check; without it, all studies of the runs folder or the storage.", required=False
)
@click.option(
    "--repair",
    is_flag=True,
    help="Do what is safe: save the whole records of a damaged journal, bring MLflow up to date "
    "or build it anew, close a study whose driver died, move a damaged file or a folder without "
    "a record aside, delete half-written files. No result is deleted.",
)
@json_option
@places_options
@tracking_option
def doctor(
    *, study: str | None, repair: bool, as_json: bool, places: Places, tracking: str | None
) -> None:
    """Check this machine, and all that is stored.

    One line for each check, with what to do where something is wrong; the exit status is 1 then.
    Without --repair it only reads.
    """
    places, console = places._replace(tracking=tracking), open_console()
    utf8 = console.encoding.lower().startswith("utf")
    marks = {True: "✓", False: "✗", None: "?"} if utf8 else {True: "ok", False: "WRONG", None: "?"}
    repairs: list[str] = []

    def show(finding: Finding) -> None:
        if not as_json:
            words = (
                f"{marks[finding.ok]} {finding.name}",
                finding.words,
                with_places(finding, places).remedy,
            )
            write_line(console, " – ".join(filter(None, words)))

    def say(line: str) -> None:
        repairs.append(line)
        if not as_json:
            write_line(console, f"repaired: {line}", style="bold")

    names = [study_name(study)] if study else study_names(places.runs, places.storage)
    checks = machine_checks(places) | {
        f"study '{name}'": partial(study_check, places, name) for name in names
    }
    found = look(checks, show)
    if repair:
        found = repair_all(checks, found, say, show)
    findings = [with_places(finding, places) for each in found.values() for finding in each]
    if as_json:
        shown = [
            {"name": each.name, "ok": each.ok, "words": each.words, "remedy": each.remedy or None}
            for each in findings
        ]
        print_json({"findings": shown, "repairs": repairs})
    if any(finding.ok is False for finding in findings):
        click.get_current_context().exit(1)
