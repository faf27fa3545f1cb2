"""Writes the lines of a sweep to its console and to `logs/<study>.txt` in the runs folder, so that
no line depends on a terminal.
"""

import io
import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from rich.console import Console

from sweeps import UserError, check_name, masked
from vaeexp.console import discard_output, write_line

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)


def log_path(runs: Path, study: str) -> Path:
    """Return the file that holds the lines of all sweeps of a study."""
    return runs / "logs" / f"{check_name(study, 'study')}.txt"


class StudyLog:
    """The lines of one sweep. A console that takes no more lines, as a closed pipe, does not stop
    the sweep.
    """

    def __init__(self, console: Console) -> None:
        """Wrap the console. Lines are kept in memory until `keep` names the file."""
        console.file = cast("IO[str]", _SteadyStream(console.file))
        self.console = console
        self._lines = _TimedLines()
        # In a notebook, Rich would show the lines as the output of a cell instead of writing them
        # to the file.
        plain: dict[str, Any] = {
            "force_terminal": False,
            "force_jupyter": False,
            "color_system": None,
        }
        self.file_console = Console(file=cast("IO[str]", self._lines), width=200, **plain)
        """Writes to the file alone."""

    def say(self, text: str, style: str = "") -> None:
        """Write one line to the console and to the file."""
        write_line(self.console, text, style)
        write_line(self.file_console, text)

    @contextmanager
    def keep(self, runs: Path, study: str, command: str) -> Iterator["Callable[[], None]"]:
        """Keep the lines so far, all lines of the block, its warnings and its end for the file of
        the study.

        The function that the block gets opens the file, once nothing refuses the command any more;
        without, nothing is written.
        """
        path = log_path(runs, study)
        root = logging.getLogger()
        handlers: list[logging.Handler] = [_LineHandler(self.file_console)]
        if logging.lastResort and not root.handlers:
            # Any handler of the root switches off the one that writes warnings to standard error.
            handlers.append(logging.lastResort)
        with ExitStack() as files:

            def begin() -> None:
                path.parent.mkdir(parents=True, exist_ok=True)
                file = files.enter_context(path.open("a", encoding="utf-8"))
                file.write(f"\n{time.strftime('%Y-%m-%d %H:%M:%S %z')}  {command}\n")
                self._lines.move_to(file)

            for handler in handlers:
                root.addHandler(handler)
            try:
                yield begin
            except BaseException as error:
                write_line(self.file_console, _describe_end(error))
                raise
            finally:
                for handler in handlers:
                    root.removeHandler(handler)
                self._lines.move_to(io.StringIO())


def _describe_end(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, UserError):
        return masked(f"vaeexp: {error}")
    return masked("".join(traceback.format_exception(error)).rstrip())


class _SteadyStream:
    """A stream whose text goes nowhere once its reader is gone or its disk is full."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, work: "Callable[[], Any]") -> None:
        try:
            work()
        except OSError as error:
            discard_output(self._stream)
            _log.warning(
                "The output is lost (%s). The study goes on; its lines are in logs/ of the runs "
                "folder.",
                error.strerror,
            )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _TimedLines(io.TextIOBase):
    """Lines that get the local time in front, first kept in memory, then written to a file."""

    def __init__(self) -> None:
        self._file: IO[str] = io.StringIO()

    def write(self, text: str) -> int:
        stamp = time.strftime("%H:%M:%S")
        lines = text.splitlines(keepends=True)
        # A full disk ends the study by its storage, which says so.
        with suppress(OSError):
            self._file.write("".join(f"{stamp}  {line}" for line in lines))
            self._file.flush()
        return len(text)

    def move_to(self, file: IO[str]) -> None:
        """Write to this file from now on, and the lines that are in memory."""
        if isinstance(self._file, io.StringIO):
            file.write(self._file.getvalue())
        self._file = file


class _LineHandler(logging.Handler):
    """Writes warnings to a console, one line each."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        write_line(self._console, masked(record.getMessage()))
