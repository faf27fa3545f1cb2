"""The command line. Nothing heavy is imported before a command runs: `vaeexp --help` answers at once."""

import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

import sweeps.fast_exit  # noqa: F401
from sweeps.errors import UserError
from vaeexp.commands import drawing, looking, reporting, reproducing, running, saved
from vaeexp.version import __version__


@click.group(context_settings={"show_default": True, "max_content_width": 100, "help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="vaeexp")
def cli() -> None:
    """Find good settings of a variational autoencoder, and say how sure that is.

    Start with `vaeexp sweep --study smoke` (half a minute), then `vaeexp sweep --study beta_mnist`.
    """


for command in (
    *(running.sweep, reporting.report, running.ui),
    *(saved.evaluate, saved.export, reproducing.reproduce),
    *(drawing.sample, drawing.reconstruct, drawing.interpolate, drawing.traverse, drawing.embed),
    *(looking.studies, looking.show, looking.status, looking.trial, looking.completion),
):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit: 0 done, 1 a bug or what is not as it was (`reproduce`), 2 something the user gave is wrong, 130 Ctrl-C, 143 SIGTERM."""
    interrupted = 128 + signal.SIGINT

    def stop(number: int, frame: object) -> NoReturn:
        nonlocal interrupted
        interrupted = 128 + number
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not break into the orderly stop
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal that lacks a letter shows ? instead of failing
    try:
        code = cli.main(arguments, prog_name="vaeexp", standalone_mode=False)
    except click.Abort:
        code = interrupted
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except UserError as error:
        click.echo(f"vaeexp: {error}", err=True)
        code = 2
    except Exception:
        traceback.print_exc()
        click.echo(
            "vaeexp: this is a bug. Please report it with the lines above, the command and `vaeexp --version`.",
            err=True,
        )
        code = 1
    sys.exit(code or 0)
