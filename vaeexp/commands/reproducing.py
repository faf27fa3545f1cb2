"""The command that trains a recorded trial again: reproduce."""

from pathlib import Path

import click

from vaeexp.commands.options import (
    TrialName,
    data_option,
    device_option,
    precision_option,
    runs_option,
    storage_option,
    study_option,
)


@click.command()
@study_option("Study that the trial belongs to.")
@click.option(
    "--trial",
    "-t",
    type=TrialName(),
    metavar="N",
    required=True,
    help="7 or trial-0007 for a trial of the search, repeat-0003 for a run that confirms, compares or is a baseline.",
)
@runs_option
@storage_option
@data_option
@device_option("that of the record")
@precision_option("that of the record")
def reproduce(
    *,
    study: str,
    trial: tuple[bool, int],
    runs: Path,
    storage: str | None,
    data: Path | None,
    device: str | None,
    precision: str | None,
) -> None:
    """Train a trial again and compare.

    It is trained from its record alone, in a temporary folder; the study is only read. It must match the record bit for bit where device, precision, threads, processor and PyTorch are the same, and within a stated tolerance elsewhere: in every epoch, in its weights, in its test figures, in how it failed. Other images than its own are refused. Exit status 0: it matches; 1: it differs.
    """
    from vaeexp.console import open_console
    from vaeexp.runs.reproduce import reproduce_trial

    repeat, number = trial
    matches = reproduce_trial(
        study,
        number,
        runs,
        storage,
        repeat=repeat,
        data=data,
        device=device,
        precision=precision,
        console=open_console(),
    )
    if not matches:
        raise click.exceptions.Exit(1)
