"""The command doctor: checks of this machine, and of all that is stored of a study."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import chain

import click

from sweeps import (
    Check,
    Finding,
    State,
    UserError,
    check_driver,
    check_mirror,
    check_storage,
    examine,
    study_names,
)
from vaeexp.commands.options import Places, places_options, study_argument, tracking_option
from vaeexp.commands.status import json_option
from vaeexp.console import open_console, print_json, write_line
from vaeexp.machine_checks import (
    check_device,
    check_versions,
)
from vaeexp.results import study_name
from vaeexp.runs.checks import check_files

ROUNDS = 3
"""Number of times that `--repair` looks, because a repair may bring to light what stands behind the
damage.
"""


def check_study(places: Places, study: str) -> Iterator[Finding]:
    """Check the storage of a study and then, where it can be read, all that belongs to it."""
    runs, storage, tracking = places
    found: list[State] = []
    yield from examine(partial(check_storage, storage, runs, study, found), f"{study}: storage")
    for stored in found:
        checks: Mapping[str, Check] = {
            "driver": partial(check_driver, storage, runs, stored),
            "files": partial(check_files, runs, stored),
            "mirror": partial(check_mirror, tracking, runs, storage, stored),
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


def repair_found(
    checks: Mapping[str, Check],
    found: dict[str, list[Finding]],
    say: Callable[[str], object],
    show: Callable[[Finding], object],
) -> None:
    """Repair what can be repaired, and make the checks that found it again."""
    for name, findings in found.items():
        repairs = [
            (each.name, each.repair) for each in findings if each.ok is False and each.repair
        ]
        for place, repair in repairs:
            try:
                say(f"{place}: {repair()}")
            except (UserError, OSError) as error:
                say(f"{place}: cannot be repaired: {error}")
        if repairs:
            found[name] = look({name: checks[name]}, show)[name]


def remedy_of(finding: Finding, places: Places) -> str:
    """Return the remedy where it is needed; its commands can be typed as they stand."""
    return "" if finding.ok else places.typeable(finding.remedy)


@click.command()
@study_argument(
    "Study to check; without it, all studies of the runs folder or the storage.", required=False
)
@click.option(
    "--repair",
    is_flag=True,
    help="Do what is safe: save the whole records of a damaged journal, build a damaged MLflow "
    "store anew, close a study whose driver died, move a damaged file aside. No result is deleted.",
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
    places = places._replace(tracking=tracking)
    console = open_console()
    utf8 = console.encoding.lower().startswith("utf")
    marks = {True: "✓", False: "✗", None: "?"} if utf8 else {True: "ok", False: "WRONG", None: "?"}
    repairs: list[str] = []

    def show(finding: Finding) -> None:
        if not as_json:
            remedy = remedy_of(finding, places)
            words = [f"{marks[finding.ok]} {finding.name}", finding.words, remedy]
            write_line(console, " – ".join(filter(None, words)))

    def say(line: str) -> None:
        repairs.append(line)
        if not as_json:
            write_line(console, f"repaired: {line}", style="bold")

    names = [study_name(study)] if study else study_names(places.runs, places.storage)
    checks: dict[str, Check] = {
        "versions": check_versions,
        "device": check_device,
        **{f"study '{name}'": partial(check_study, places, name) for name in names},
    }
    found = look(checks, show)
    if repair:
        for _ in range(ROUNDS):
            repair_found(checks, found, say, show)
    findings = list(chain.from_iterable(found.values()))
    if as_json:
        shown = [
            {
                "name": each.name,
                "ok": each.ok,
                "words": each.words,
                "remedy": remedy_of(each, places) or None,
            }
            for each in findings
        ]
        print_json({"findings": shown, "repairs": repairs})
    if any(finding.ok is False for finding in findings):
        click.get_current_context().exit(1)
