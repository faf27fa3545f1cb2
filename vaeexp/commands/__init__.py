"""The command line: the table of commands, each loaded when it is called, and how a command
ends.
"""

import importlib
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn

import click
from click.shell_completion import CompletionItem

import sweeps.fast_exit  # noqa: F401
from sweeps import (
    VERSION,
    UserError,
    check_optuna,
    did_you_mean,
    free_memory,
    limit_reached,
    masked,
    unfit_folder,
)
from vaeexp.cache import spare_home
from vaeexp.commands.stop_signals import after_finalizers
from vaeexp.console import discard_output, open_closed_output
from vaeexp.words import format_gibibytes

COMMANDS: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Run": {
        "init": ("init", "Write a study file to start from."),
        "sweep": ("sweep", "Run a study, or continue it."),
        "slurm": ("slurm", "Write a study as a Slurm job, or submit it."),
    },
    "Watch": {
        "status": ("status", "Show how far a study is."),
        "trials": ("trials", "List the trials of a study."),
        "best": ("status", "Show the best run of a study."),
        "report": ("report", "Write the report of a study, or compare studies."),
        "ui": ("tracking", "Browse the runs in MLflow's pages."),
        "sync": ("tracking", "Bring MLflow up to what the studies have stored."),
    },
    "Use a run": {
        "evaluate": ("finished_run", "Measure a finished run on test images."),
        "sample": ("finished_run", "Draw samples of a finished run's prior."),
        "reconstruct": ("finished_run", "Draw images and a finished run's reconstructions."),
        "interpolate": ("finished_run", "Draw the way from one image to another."),
        "traverse": ("finished_run", "Draw what single latent dimensions do."),
        "embed": ("finished_run", "Draw a map of a finished run's codes."),
        "encode": ("new_data", "Write the codes of new data."),
        "score": ("new_data", "Score new data, and find what is strange."),
        "decode": ("new_data", "Write what codes decode to."),
        "export": ("finished_run", "Write a model that loads without vaeexp."),
    },
    "Check": {
        "doctor": ("doctor", "Check this machine, and all that is stored."),
        "studies": ("show", "List the studies at hand, and what has run."),
        "show": ("show", "Show what a study is made of, or all about a run."),
        "reproduce": ("finished_run", "Train a trial again and compare."),
        "completion": ("init", "Print the completion script of a shell."),
    },
    "Tidy and move": {
        "gc": ("gc", "Show what takes how much room, and free it."),
        "archive": ("archive", "Write a study into one file."),
        "restore": ("archive", "Bring a study back from its file."),
    },
}
"""Title in the help → name of a command → its module in `vaeexp.commands`, and the first sentence
of its help. In the module, the command has its own name."""

_PLACES = "--runs, --reports, VAEEXP_CACHE, MPLCONFIGDIR, TORCHINDUCTOR_CACHE_DIR"
_ROWS = dict(chain.from_iterable(commands.items() for commands in COMMANDS.values()))

_MEMORY = {
    "slurm": 800,
    "sweep": 800,
    "archive": 400,
    "doctor": 400,
    "finished_run": 400,
    "gc": 400,
    "new_data": 400,
}
"""Module in `vaeexp.commands` → MiB that it takes to load PyTorch and what else its commands need,
about. In a container with less the kernel kills the process without a word."""


class CommandTable(click.Group):
    """A group whose help and completion come from `COMMANDS`; a module is imported when its command
    is called.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_ROWS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _ROWS:
            return None
        _check_memory(name)
        if name != "doctor":  # which says so, too
            check_optuna("vaeexp")
        command: click.Command = getattr(
            importlib.import_module(f"vaeexp.commands.{_ROWS[name][0]}"), name
        )
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _ROWS and not name.startswith("-") and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{name}'. {did_you_mean(name, _ROWS)}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, _ROWS))
        for title, commands in COMMANDS.items():
            with formatter.section(title):
                formatter.write_dl(
                    [(name.ljust(widest), sentence) for name, (_, sentence) in commands.items()]
                )

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        items = [
            CompletionItem(name, help=sentence)
            for name, (_, sentence) in _ROWS.items()
            if name.startswith(incomplete)
        ]
        return items + click.Command.shell_complete(self, ctx, incomplete)


def _check_memory(name: str) -> None:
    """Raise UserError where the memory does not suffice to load the command."""
    needed = _MEMORY.get(_ROWS[name][0], 0) * 2**20
    free = free_memory()
    if free is not None and free.bytes < needed:
        problem = (
            f"`vaeexp {name}` needs about {format_gibibytes(needed)} to load PyTorch, and "
            f"{free.bound} has {format_gibibytes(free.bytes)} free. Give it more memory."
        )
        raise UserError("memory", problem)


@click.group(
    cls=CommandTable,
    context_settings={
        "show_default": True,
        "max_content_width": 100,
        "help_option_names": ["-h", "--help"],
    },
)
@click.version_option(VERSION, prog_name="vaeexp")
def cli() -> None:
    """Find good settings of a variational autoencoder, and say how sure that is.

    \b
    vaeexp sweep smoke              half a minute, to see it work
    vaeexp sweep beta_mnist         the main study, to its report
    vaeexp status beta_mnist        how far it is
    vaeexp report A B               two studies compared
    vaeexp sample beta_mnist/best   pictures of its best model
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit.

    Exit status: 0 done; 1 a bug, a closed pipe, or something is not as on record (`reproduce`,
    `doctor`); 2 something the user gave is wrong; 3 every trial of a sweep failed; 130 Ctrl-C; 143
    SIGTERM.
    """
    interrupted = 128 + signal.SIGINT

    def stop(number: int, frame: object) -> NoReturn:
        nonlocal interrupted
        interrupted = 128 + number
        # A second signal must not break into the orderly stop.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, after_finalizers(stop))
    # A background process of a shell ignores it.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, after_finalizers(signal.default_int_handler))
    spare_home()
    open_closed_output()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # A terminal that lacks a letter shows ? instead of failing.
            stream.reconfigure(errors="replace")
    code = 0
    try:
        code = cli.main(arguments, prog_name="vaeexp", standalone_mode=False)
        sys.stdout.flush()
    except click.Abort:
        code = interrupted
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except UserError as error:
        said = _typeable(str(error), sys.argv[1:] if arguments is None else arguments)
        click.echo(f"vaeexp: {masked(said)}", err=True)
        code = error.status
    except BrokenPipeError:
        code = 1
    except Exception as error:
        code = report_failure(error)
    try:
        sys.stdout.flush()
    except OSError:
        discard_output(sys.stdout)
    sys.exit(code or 0)


def _typeable(message: str, arguments: Sequence[str]) -> str:
    """Return a message with commands that can be typed as they stand, in the places that the failed
    command names.
    """
    from vaeexp.commands.options import Places

    name, *rest = arguments
    given: dict[str, Any] = {}
    # Which is the message, where the command itself is refused.
    with suppress(UserError, click.ClickException):
        if command := cli.get_command(click.Context(cli), name):
            given = command.make_context(name, rest, resilient_parsing=True).params
    return Places(
        Path(given.get("runs") or "mlruns"), given.get("storage"), given.get("tracking")
    ).typeable(message)


def report_failure(error: Exception) -> int:
    """Say in one line why a command failed, with a traceback where the reason is a bug; return the
    exit status.
    """
    limit = limit_reached(error)
    if limit is None and isinstance(error, OSError):
        limit = unfit_folder(error, _PLACES)
    if limit is not None:
        click.echo(f"vaeexp: {masked(str(limit))}", err=True)
        return limit.status
    click.echo(masked(traceback.format_exc()), err=True, nl=False)
    click.echo(
        "vaeexp: this is a bug. Please report it with the lines above, the command and `vaeexp "
        "--version`.",
        err=True,
    )
    return 1


__all__ = ["COMMANDS", "cli", "main"]
