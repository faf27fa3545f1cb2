"""Writes lines, tables and bars to a terminal, a pipe or a notebook."""

import json
import math
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


LONGEST_WORD = 40
"""Letters of a word that a table does not break; a longer one is a path."""


def program() -> str:
    """Return the word that starts `vaeexp` here: its path if it is not on the PATH, as in an
    inactive environment.
    """
    installed = Path(sys.executable).with_name("vaeexp")
    if shutil.which("vaeexp") or not installed.exists():
        return "vaeexp"
    return shlex.quote(os.path.relpath(installed))


def in_notebook() -> bool:
    """Return whether this process is the kernel of a notebook.

    A process that only starts kernels, as nbclient does, has imported parts of ipykernel, too.
    """
    kernel = sys.modules.get("ipykernel.kernelapp")
    return kernel is not None and bool(kernel.IPKernelApp.initialized())


def open_console(*, stderr: bool = False) -> "Console":
    """Open the console of standard output, or of standard error.

    A notebook gets plain lines, because its output says that it is a terminal and cannot move a
    cursor.
    """
    from rich.console import Console

    terminal = False if in_notebook() else None
    return tolerant(
        Console(stderr=stderr, highlight=False, force_jupyter=False, force_terminal=terminal)
    )


def tolerant(console: "Console") -> "Console":
    """Return the same console, which writes `?` for a character that its encoding lacks, instead of
    raising an error.
    """
    reconfigure = getattr(console.file, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="replace")
    return console


def discard_output(stream: IO[str]) -> None:
    """Send what a stream still holds, and all that follows, nowhere, because its reader is gone or
    its disk is full.
    """
    with suppress(OSError, ValueError):  # a stream in memory has no number
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        stream.flush()


def open_closed_output() -> None:
    """Send what goes to an output that is closed (`>&-`) nowhere. Else the next file that is opened
    would take its place.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


def write_line(console: "Console", text: str, style: str = "") -> None:
    """Write one line without markup; only a terminal wraps it."""
    console.print(
        text, style=style, markup=False, highlight=False, soft_wrap=not console.is_terminal
    )


def print_table(
    console: "Console",
    titles: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    numeric: bool = False,
) -> None:
    """Print a table without rules, and without a header where all titles are empty. A terminal
    wraps the longest column between words; in a pipe each row is one line, and where even that does
    not fit, rows are lines that the terminal wraps.
    """
    from rich.cells import cell_len
    from rich.table import Table
    from rich.text import Text

    header = any(titles)
    rows = [tuple(row) for row in rows]
    columns = list(zip(*([tuple(titles), *rows] if header else rows), strict=True))
    widths = [max(map(cell_len, "\n".join(column).split("\n"))) for column in columns]
    shrinks = widths.index(max(widths))
    words = " ".join(columns[shrinks]).split()
    longest_word = min(max(map(cell_len, words), default=0), LONGEST_WORD)
    least = sum(widths) - max(widths) + longest_word + 2 * (len(widths) - 1)
    if not console.is_terminal or least > console.width:
        for line in zip(*columns, strict=True):
            padding = [
                " " * (width - cell_len(cell)) for width, cell in zip(widths, line, strict=True)
            ]
            cells = [
                pad + cell if numeric else cell + pad
                for pad, cell in zip(padding, line, strict=True)
            ]
            write_line(console, "  ".join(cells).rstrip())
        return
    table = Table(box=None, pad_edge=False, show_header=header, header_style="dim")
    for index, title in enumerate(titles):
        # One column shrinks, between words, because a number that is broken is another number.
        look: dict[str, Any] = (
            {"min_width": longest_word} if index == shrinks else {"no_wrap": True}
        )
        table.add_column(title, justify="right" if numeric else "left", overflow="fold", **look)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def minus_elbo(console: "Console") -> str:
    """Return the name of the objective, with a true minus sign if the console can write it."""
    return "−ELBO" if console.encoding.lower().startswith("utf") else "-ELBO"


@contextmanager
def progress_bar(console: "Console", title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar with the time left on a terminal; the block gets a function to call with (done,
    total).
    """
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def json_value(value: Any) -> Any:
    """Return a value as JSON shows it: a whole number without `.0`, as counts are, and None for a
    number that is not finite, because JSON has no word for it.
    """
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    # A larger float stands for many whole numbers.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def print_json(content: Any) -> None:
    """Print JSON with numbers as of `json_value`."""
    sys.stdout.write(
        json.dumps(json_value(content), indent=1, ensure_ascii=False, default=str) + "\n"
    )
