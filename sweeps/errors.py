"""Errors that a user can act on, which the command line shows as one line and ends with status 2, and warnings."""

import difflib
import errno
import logging
import re
from collections.abc import Iterable
from functools import cache

_log = logging.getLogger(__name__)


class UserError(Exception):
    """Something the user gave is wrong.

    The message names the place (`studies/x.yaml: search.beta`), the value got, and what would be right.
    """

    def __init__(self, place: str, problem: str) -> None:
        self.place, self.problem = place, problem
        super().__init__(f"{place}: {problem}" if place else problem)

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        # The default calls the class with the message alone; a child process could not hand it over.
        return type(self), (self.place, self.problem)

    def _render_traceback_(self) -> list[str]:
        """Return what a notebook shows instead of a traceback: the message says all that its user needs."""
        return [f"{type(self).__name__}: {self}"]


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Return a sentence that names the known value nearest to `name`, or lists them all when none is near."""
    names = sorted({*names})
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(names)}." if names else "None is known."


DISK_FULL = "the disk is full. What is finished is kept: free some space and give the same command again."


def full_disk(error: OSError) -> UserError | None:
    """Return what to tell the user about a full disk (or quota); None for any other error."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return UserError(str(error.filename or ""), DISK_FULL)


def limit_reached(error: BaseException) -> UserError | None:
    """Return what to tell the user where a limit of the system is the cause of an error; None for any other error.

    The limits: disk, processes and threads, open files, memory that a library needs to be loaded. A trial that needs too
    much memory is none of them, because only that trial fails.
    """
    text, number = str(error), error.errno if isinstance(error, OSError) else None
    if isinstance(error, OSError) and (full := full_disk(error)):
        return full
    if isinstance(error, BlockingIOError) or "can't start new thread" in text:
        problem = (
            "the system allows no further process or thread. Raise the limit (`ulimit -u`, or that of the container)."
        )
        return UserError("processes", problem)
    if number in (errno.EMFILE, errno.ENFILE):
        return UserError("open files", "the system allows no further open file. Raise the limit (`ulimit -n`).")
    loading = isinstance(error, ImportError) and ("failed to map" in text or "cannot allocate" in text.lower())
    if loading or number == errno.ENOMEM:
        problem = f"too little for a library ({text}). Raise the limit (`ulimit -v`, or that of the container)."
        return UserError("memory", problem)
    return None


def masked(text: str) -> str:
    """Return the text with *** in place of every password: `scheme://user:***@host`, `https://***@host`, `password=***`."""
    text = re.sub(r"(://[^\s:/@?#]*):\S*@", r"\1:***@", text)
    text = re.sub(r"(https?://)[^\s:/@?#]+@", r"\1***@", text)
    return re.sub(r"(?i)\b(password|passwd|pwd|token|secret)=[^&\s'\"]*", r"\1=***", text)


@cache
def warn_once(message: str) -> None:
    """Log a warning once in this process."""
    _log.warning(message)
