"""A study's journal, the default storage, and the lock that makes a process its only driver on this host.

Below the runs folder: `journal/<study>.log`, an Optuna journal file, beside it `.lock` (the system releases it when the
driver dies) and `.holder` (who holds it).
"""

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileOpenLock

from sweeps.errors import UserError
from sweeps.names import check_name
from sweeps.storage.optuna_internals import BatchingJournal

_LOCK_SECONDS = 1.0


def journal_path(runs: Path, study: str) -> Path:
    """Return the journal file of a study."""
    return Path(runs) / "journal" / f"{study}.log"


def open_journal(path: Path) -> BaseStorage:
    """Open a journal file, or start one; the folder must exist. Raises `UserError` where it cannot be read."""
    try:
        return JournalStorage(BatchingJournal(str(path), lock_obj=JournalFileOpenLock(str(path), grace_period=10)))
    except OSError as error:
        raise UserError(str(path), f"cannot be opened: {error.strerror}.") from error
    except (ValueError, KeyError, AssertionError) as error:
        raise UserError(str(path), f"is not an Optuna journal ({error}); move it away to start anew.") from error


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
    journal = journal_path(runs, check_name(study, "study"))
    make_folder(journal.parent)
    lock = FileLock(journal.with_suffix(".lock"))
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout:
        who, holder = "another process", lock_holder(runs, study)
        if holder is not None and holder["pid"] is not None:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
            who = f"process {holder['pid']} (since {since})"
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
    """Return the process that drives a study on this host: `pid`, `host`, `since` (unix seconds); None when there is none."""
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


def _mend(journal: Path) -> None:
    """Undo what a crash or a full disk left: Optuna's own lock, and a half-written last line, to which the next write
    would be glued."""
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    if (whole := _whole_length(content)) < len(content):
        with journal.open("r+b") as file:
            file.truncate(whole)
            os.fsync(file.fileno())


def _whole_length(content: bytes) -> int:
    """Count the bytes up to the end of the last line that is whole and can be read."""
    end = len(content)
    while end:
        start = content.rfind(b"\n", 0, end - 1) + 1
        with suppress(ValueError):
            if content.endswith(b"\n", start, end) and isinstance(json.loads(content[start:end]), dict):
                return end
        end = start
    return 0
