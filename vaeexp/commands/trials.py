"""The command trials: all runs of a study as a table, as JSON or as CSV."""

import csv
import sys
from itertools import chain
from typing import Any

import click

from vaeexp.commands.options import Places, places_options, study_argument
from vaeexp.commands.status import json_option, print_runs, run_object
from vaeexp.console import open_console, print_json, write_line
from vaeexp.own_code import code_version
from vaeexp.results import stored_study

GROUPS = ("params", "results")
"""Parts of a run's object that become a column for each of their names."""


def flatten(run: dict[str, Any]) -> dict[str, Any]:
    """Return the object of a run as one row: `params.beta`, `results.test/neg_elbo`."""
    row = {name: value for name, value in run.items() if name not in GROUPS} | {
        "purposes": "+".join(run["purposes"])
    }
    for group in GROUPS:
        row |= {f"{group}.{name}": value for name, value in run[group].items()}
    return row


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Print rows as CSV, with all columns that any row has."""
    columns = dict.fromkeys(chain.from_iterable(rows))
    writer = csv.DictWriter(sys.stdout, fieldnames=[*columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


@click.command()
@study_argument("Study whose runs are listed.")
@json_option
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV, a column for each parameter and result."
)
@places_options
def trials(*, study: str, as_json: bool, as_csv: bool, places: Places) -> None:
    """List the trials of a study.

    First those of the search, then the repeats (r0, r1 ...), which confirm, compare or are
    baselines.
    """
    if as_json and as_csv:
        raise click.UsageError("Give --json or --csv, not both.")
    stored = stored_study(study, places.runs, places.storage)
    records = stored.runs
    name = stored.study.name
    if not (as_json or as_csv):
        if records:
            print_runs(records, stored.study, console=open_console())
        else:
            write_line(open_console(), f"{name} has no trial yet.")
        return
    objects = [run_object(stored.study, record, places.runs) for record in records]
    if changes := stored.study.provenance.get("code_changes"):
        for run in objects:
            run["code"] = code_version(changes, run["number"], repeat=run["repeat"])
    if as_json:
        print_json(objects)
    else:
        print_csv([flatten(run) for run in objects])
