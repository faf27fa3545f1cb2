"""The command ui: MLflow's pages on this machine."""

from pathlib import Path

import click

from sweeps.tracking.ui import serve_ui
from vaeexp.commands.options import runs_option, tracking_option


@click.command()
@runs_option
@tracking_option
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", show_default="a free one", help="Port on this machine."
)
def ui(*, runs: Path, tracking: str | None, port: int | None) -> None:
    """Browse the runs in MLflow's pages.

    They are served on this machine only. Prints the address; Ctrl-C stops it.
    """
    serve_ui(tracking, runs, port=port or 0, say=click.echo)
