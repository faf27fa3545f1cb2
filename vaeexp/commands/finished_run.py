"""What the commands on a finished run share: the argument RUN, options, notes, and files that cannot be written."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from sweeps.errors import UserError
from sweeps.workload.protocol import named_run
from vaeexp.commands.options import runs_folder, runs_option, storage_option
from vaeexp.console import open_console, write_line


def _complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """`beta_mnist/best`, `beta_mnist/7`, `beta_mnist/r3` of the runs that left weights."""
    folders = [path.parent for path in (runs_folder(ctx) / "trials").glob("*/*/weights.safetensors")]
    names = {f"{folder.parent.name}/best" for folder in folders}
    for folder in folders:
        if named := named_run(folder.name):
            names.add(f"{folder.parent.name}/{'r' if named[0] else ''}{named[1]}")
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def run_argument(command: Callable) -> Callable:
    """RUN, and where it is looked for."""
    for option in (storage_option, runs_option):
        command = option(command)
    return click.argument("run", metavar="RUN", shell_complete=_complete_run)(command)


def count_option(*names: str, default: int | None, help: str, **attributes: Any) -> Callable:
    return click.option(*names, type=click.IntRange(min=1), metavar="N", default=default, help=help, **attributes)


split_option = click.option(
    "--split", type=click.Choice(["test", "validation"]), default="test", help="Which images of the data set."
)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system says into the user's error."""
    try:
        yield
    except OSError as error:
        raise UserError(str(path), f"cannot be written: {error.strerror or error}.") from error


def note(text: str) -> None:
    """Print a note on standard error."""
    write_line(open_console(stderr=True), text, style="yellow")
