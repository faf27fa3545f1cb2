"""The command export."""

from pathlib import Path

import click

from vaeexp import runs as finished
from vaeexp.commands.finished_run import run_argument, writing


@click.command()
@run_argument
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="DIR",
    required=True,
    help="Folder to write into; it is made.",
)
def export(*, run: str, runs: Path, storage: str | None, output: Path) -> None:
    """Write a model that loads without vaeexp.

    RUN is as for `vaeexp evaluate`. DIR gets encoder.pt2 and decoder.pt2, which PyTorch loads by itself, the weights as safetensors, the settings, and a README.txt that says how to use them.
    """
    opened = finished.run.open_run(run, runs, storage)
    with writing(output):
        paths = finished.export.export_run(opened, output)
    click.echo("\n".join(map(str, paths)))
