"""The commands ui and sync: serve MLflow's pages on this machine, and bring MLflow up to what the
studies have stored.
"""

from pathlib import Path

import click

from sweeps import LOOPBACK, UserError, serve_ui, study_names
from sweeps import sync as sync_study
from vaeexp.commands.options import (
    Places,
    places_options,
    runs_option,
    study_argument,
    tracking_option,
)


@click.command()
@runs_option
@tracking_option
@click.option(
    "--host",
    default=LOOPBACK,
    show_default="this machine only",
    metavar="LOOPBACK",
    help="Name or address of this machine at which others reach the pages; 0.0.0.0 for all its "
    "addresses. Everyone who reaches them can read and delete the runs.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    metavar="N",
    show_default="a free one",
    help="Port on this machine.",
)
def ui(*, runs: Path, tracking: str | None, host: str, port: int | None) -> None:
    """Browse the runs in MLflow's pages.

    They are served on this machine only, unless --host is given. Prints the address; Ctrl-C stops
    it. `mlflow ui` alone shows nothing, because it looks for another store: give it
    --backend-store-uri sqlite:///mlruns/mlflow.db.
    """
    serve_ui(tracking, runs, host=host, port=port or 0, say=click.echo)


@click.command()
@study_argument(
    "Study to bring; without it, all studies of the runs folder or the storage.", required=False
)
@places_options
@tracking_option
def sync(*, study: str | None, places: Places, tracking: str | None) -> None:
    """Bring MLflow up to what the studies have stored.

    A sweep does it by itself. This command builds a deleted or damaged mlflow.db anew, brings what
    a server missed while it was away, and copies studies into another server or store.
    """
    names = [study] if study else study_names(places.runs, places.storage)
    if not names:
        raise UserError(str(places.runs), "no study is stored here.")
    failures = []
    for name in names:
        try:
            state = sync_study(name, runs=places.runs, storage=places.storage, tracking=tracking)
        except UserError as error:
            failures.append(error)
            continue
        if state.notice:
            click.echo(state.notice)
        done = f"{state.brought} brought up to date" if state.brought else "nothing to bring"
        click.echo(f"{name}: {(state.runs or 0) - state.deleted} runs in MLflow, {done}.")
        if state.deleted:
            click.echo(
                f"{name}: {state.deleted} of {state.runs} runs are deleted in MLflow. To restore "
                "them, list them on its pages (State: Deleted)."
            )
    if failures:
        raise UserError("", "; ".join(map(str, failures)))
