"""The commands trials and best: the runs of a study as a table, as JSON or CSV; and the one to use."""

import csv
import sys
from pathlib import Path
from typing import Any

import click

from sweeps.errors import UserError, did_you_mean
from vaeexp.commands.options import runs_option, storage_option, study_argument
from vaeexp.commands.rows import json_option, print_json, run_object, run_row, run_titles
from vaeexp.commands.show import print_run
from vaeexp.console import minus_elbo, open_console, print_table, write_line
from vaeexp.results.open_study import stored_study
from vaeexp.runs.names import RunName, best_of

GROUPS = ("params", "results")
"""Parts of a run's object that become a column for each of their names."""


def flat(run: dict[str, Any]) -> dict[str, Any]:
    """The object of a run as one row: `params.beta`, `results.test/neg_elbo`."""
    row = {name: value for name, value in run.items() if name not in GROUPS}
    row["purposes"] = "+".join(run["purposes"])
    return row | {f"{group}.{name}": value for group in GROUPS for name, value in run[group].items()}


def sort_key(name: str, rows: list[dict[str, Any]]) -> str:
    """The column that a user means: `objective`, `params.beta` or `beta`. Raises UserError where there is none."""
    known = {column for row in rows for column in row}
    for column in (name, *(f"{group}.{name}" for group in GROUPS)):
        if column in known:
            return column
    raise UserError("--sort", f"'{name}' is no column of the trials. {did_you_mean(name, known)}")


def in_order(objects: list[dict[str, Any]], sort: str) -> list[int]:
    """Places of the runs, sorted by a column; with `-` in front from the largest down. Runs without a value come last."""
    rows = [flat(run) for run in objects]
    column = sort_key(sort.removeprefix("-"), rows)
    there = [place for place, row in enumerate(rows) if row.get(column) is not None]
    numbers = all(isinstance(rows[place][column], int | float) for place in there)

    def key(place: int) -> Any:
        value = rows[place][column]
        return value if numbers else str(value)

    there.sort(key=key, reverse=sort.startswith("-"))
    return [*there, *(place for place, row in enumerate(rows) if row.get(column) is None)]


def print_csv(rows: list[dict[str, Any]]) -> None:
    """Print rows as CSV, with all columns that any row has."""
    columns = dict.fromkeys(column for row in rows for column in row)
    writer = csv.DictWriter(sys.stdout, fieldnames=list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


@click.command()
@study_argument("Study whose runs are listed.")
@click.option(
    "--sort",
    metavar="COLUMN",
    show_default="number",
    help="Sort by a column of the CSV, as objective, seconds or beta. With - in front (--sort=-seconds) from the largest down.",
)
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, a column for each parameter and result.")
@runs_option
@storage_option
def trials(*, study: str, sort: str | None, as_json: bool, as_csv: bool, runs: Path, storage: str | None) -> None:
    """List the trials of a study.

    First those of the search, then the repeats (r0, r1 ...), which confirm, compare or are baselines.
    """
    if as_json and as_csv:
        raise click.UsageError("Give --json or --csv, not both.")
    stored = stored_study(study, runs, storage)
    records = [*stored.trials, *stored.repeats]
    objects = [run_object(stored.study.name, record, runs) for record in records]
    if sort is not None and records:
        places = in_order(objects, sort)
        records, objects = [records[place] for place in places], [objects[place] for place in places]
    console = open_console()
    if as_json:
        print_json(objects)
    elif as_csv:
        print_csv([flat(run) for run in objects])
    elif records:
        print_table(console, run_titles(minus_elbo(console)), [run_row(record) for record in records])
    else:
        write_line(console, f"{stored.study.name} has no trial yet.")


@click.command()
@study_argument("Study whose best run is shown.")
@json_option
@runs_option
@storage_option
def best(*, study: str, as_json: bool, runs: Path, storage: str | None) -> None:
    """Show the best run of a study.

    It is chosen on validation: the best repeat of the confirmed configuration with the lowest mean, else the best trial. Commands that use a run know it as STUDY/best.
    """
    stored = stored_study(study, runs, storage)
    name: RunName = best_of(stored)
    record = name.record(stored)
    if as_json:
        print_json(run_object(stored.study.name, record, runs))
    else:
        print_run(stored, record, runs, epochs=False, console=open_console())
