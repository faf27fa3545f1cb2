"""The lock that makes a process the only driver of a study on this host.

Beside the journal: `journal/<study>.lock` (the system releases it when the driver dies) and `.holder` (who holds it).
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from sweeps.errors import UserError
from sweeps.storage.journal import journal_path

_LOCK_SECONDS = 1.0


def make_folder(folder: Path) -> None:
    """Create a folder of the runs and see that it can be written. Raises `UserError`."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(str(folder), f"cannot be written: {error.strerror}; choose another runs folder.") from error


@contextmanager
def study_lock(runs: Path, study: str) -> Iterator[None]:
    """Hold a study as its only driver on this host; a journal that a crash left broken is mended first.

    Raises:
        UserError: another process holds it; says which and since when.
    """
    journal = journal_path(runs, study)
    make_folder(journal.parent)
    lock = FileLock(journal.with_suffix(".lock"))
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        who = _described(lock_holder(runs, study))
        raise UserError(f"study '{study}'", f"{who} is running it already.") from None
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
        journal.with_suffix(".holder").write_text(json.dumps(holder))
        _mend(journal)
        yield
    finally:
        with suppress(OSError):
            journal.with_suffix(".holder").unlink()
        lock.release()


def lock_holder(runs: Path, study: str) -> dict[str, Any] | None:
    """The process that drives a study on this host: `pid`, `host`, `since` (unix seconds); None when there is none."""
    journal = journal_path(runs, study)
    lock = journal.with_suffix(".lock")
    if not lock.exists():
        return None
    try:
        with FileLock(lock).acquire(timeout=0):
            return None
    except Timeout:
        try:
            return json.loads(journal.with_suffix(".holder").read_text())
        except (OSError, ValueError):  # it has the lock and has not yet said who it is
            return {"pid": None, "host": socket.gethostname(), "since": time.time()}


def _described(holder: dict[str, Any] | None) -> str:
    if holder is None or holder["pid"] is None:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    return f"process {holder['pid']} (since {since})"


def _mend(journal: Path) -> None:
    """Undo what a crash or a full disk left: Optuna's own lock, and a half-written last line, to which the next write
    would be glued."""
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    with journal.open("r+b") as file:
        whole = _whole_length(file)
        if whole < file.seek(0, os.SEEK_END):
            file.truncate(whole)
            os.fsync(file.fileno())


def _whole_length(file: BinaryIO) -> int:
    """Bytes up to the end of the last line that is whole and can be read."""
    end = file.seek(0, os.SEEK_END)
    block = 1 << 16
    while True:
        start = max(0, end - block)
        file.seek(start)
        lines = file.read(end - start).splitlines(keepends=True)
        # Where the block does not begin with the file, its first line may be the rest of one.
        for line in reversed(lines[1:] if start else lines):
            if line.endswith(b"\n") and _is_record(line):
                return end
            end -= len(line)
        if start == 0:
            return 0
        block *= 2


def _is_record(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
