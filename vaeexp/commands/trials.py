"""The command trials: all runs of a study as a table, as JSON or as CSV, in any order."""

import csv
import sys
from typing import Any

import click

from sweeps import UserError, did_you_mean
from vaeexp.commands.options import Places, places_options, study_argument
from vaeexp.commands.status import json_option, print_runs, run_object
from vaeexp.console import open_console, print_json, write_line
from vaeexp.own_code import code_version
from vaeexp.results import stored_study

GROUPS = ("params", "results")
"""Parts of a run's object that become a column for each of their names."""


def flat(run: dict[str, Any]) -> dict[str, Any]:
    """Return the object of a run as one row: `params.beta`, `results.test/neg_elbo`."""
    row = {name: value for name, value in run.items() if name not in GROUPS} | {
        "purposes": "+".join(run["purposes"])
    }
    return row | {
        f"{group}.{name}": value for group in GROUPS for name, value in run[group].items()
    }


def in_order(rows: list[dict[str, Any]], sort: str) -> list[int]:
    """Return the indices of the rows, sorted by a column: `objective`, `params.beta` or `beta`;
    rows without a value come last.

    A `-` in front sorts from the largest down. A column that holds more than numbers is sorted as
    text.
    """
    name, names = sort.removeprefix("-"), {column for row in rows for column in row}
    columns = [
        column for column in (name, *(f"{group}.{name}" for group in GROUPS)) if column in names
    ]
    if not columns:
        raise UserError(
            "--sort", f"'{name}' is no column of the trials. {did_you_mean(name, names)}"
        )
    values = {
        index: row[columns[0]] for index, row in enumerate(rows) if row.get(columns[0]) is not None
    }
    if not all(isinstance(value, int | float) for value in values.values()):
        values = {index: str(value) for index, value in values.items()}
    order = sorted(values, key=values.__getitem__, reverse=sort.startswith("-"))
    return [*order, *(index for index in range(len(rows)) if index not in values)]


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Print rows as CSV, with all columns that any row has."""
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(sys.stdout, fieldnames=[*columns], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


@click.command()
@study_argument("Study whose runs are listed.")
@click.option(
    "--sort",
    metavar="COLUMN",
    show_default="number",
    help="Sort by a column of the CSV, as objective, seconds or beta. With - in front "
    "(--sort=-seconds) from the largest down.",
)
@json_option
@click.option(
    "--csv", "as_csv", is_flag=True, help="Print CSV, a column for each parameter and result."
)
@places_options
def trials(*, study: str, sort: str | None, as_json: bool, as_csv: bool, places: Places) -> None:
    """List the trials of a study.

    First those of the search, then the repeats (r0, r1 ...), which confirm, compare or are
    baselines.
    """
    if as_json and as_csv:
        raise click.UsageError("Give --json or --csv, not both.")
    stored = stored_study(study, places.runs, places.storage)
    records = [*stored.runs]
    objects = [run_object(stored.study.name, record, places.runs) for record in records]
    if changes := stored.study.provenance.get("code_changes"):
        objects = [
            row | {"code": code_version(changes, row["number"], repeat=row["repeat"])}
            for row in objects
        ]
    rows = [flat(run) for run in objects]
    order = in_order(rows, sort) if sort is not None and records else range(len(rows))
    if as_json:
        print_json([objects[index] for index in order])
    elif as_csv:
        print_csv([rows[index] for index in order])
    elif records:
        print_runs([records[index] for index in order], stored.study, console=open_console())
    else:
        write_line(open_console(), f"{stored.study.name} has no trial yet.")
