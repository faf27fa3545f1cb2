"""The command reproduce."""

from pathlib import Path

import click

from vaeexp import runs as finished
from vaeexp.commands.finished_run import run_argument
from vaeexp.commands.options import data_option, device_option, precision_option
from vaeexp.console import open_console


@click.command()
@run_argument
@data_option
@device_option("that of the record")
@precision_option("that of the record")
def reproduce(
    *, run: str, runs: Path, storage: str | None, data: Path | None, device: str | None, precision: str | None
) -> None:
    """Train a trial again and compare.

    RUN is STUDY/7 for a trial, STUDY/r3 for a repeat, STUDY/best for the best run. It is trained from its record alone, in a temporary folder; the study is only read. It must match the record bit for bit where device, precision, threads, processor and PyTorch are the same, and within a stated tolerance elsewhere: in every epoch, in its weights, in its test figures, in how it failed. Other images than its own are refused. Exit status 0: it matches; 1: it differs.
    """
    matches = finished.reproduce.reproduce_trial(
        run, runs, storage, data=data, device=device, precision=precision, console=open_console()
    )
    if not matches:
        raise click.exceptions.Exit(1)
