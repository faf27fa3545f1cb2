"""A study's journal, the default storage, and the lock that makes a process its only driver on this
host.

Below the runs folder: `journal/<study>.log`, an Optuna journal file whose lines carry checksums,
beside it `.lock` (the system releases it when the driver dies) and `.holder` (who holds it).
"""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout
from optuna.storages import JournalStorage

from sweeps.errors import UserError
from sweeps.files import quarantine, rename, write_whole
from sweeps.locks import is_locked, lock_file
from sweeps.names import check_name
from sweeps.storage.checked_records import JournalCheck, check_lines, is_half_written
from sweeps.storage.journals import Journals, driver_in_words, exists_here
from sweeps.storage.optuna_internals import JournalFile, damaged_journal
from sweeps.storage.snapshot import open_with_snapshot, renew_snapshot

_LOCK_SECONDS = 1.0
_log = logging.getLogger(__name__)


class FileJournals(Journals):
    """A journal file for each study, in the folder of the runs."""

    def names(self) -> list[str]:
        return sorted(path.stem for path in journal_path(self.runs, "*").parent.glob("*.log"))

    def open(self, study: str, *, create: bool) -> JournalStorage:
        journal = journal_path(self.runs, study)
        if create:
            make_folder(journal.parent)
        return open_journal(journal)

    @contextmanager
    def hold(self, study: str, *, take_over: bool, patience: float) -> Iterator[JournalStorage]:
        if take_over:
            reason = "because the kernel releases the lock of a driver that has died."
            _log.warning(
                "study '%s': --take-over changes nothing for a journal file, %s", study, reason
            )
        with study_lock(self.runs, study):
            journal = journal_path(self.runs, study)
            opened = open_journal(journal)
            try:
                yield opened
            finally:
                if journal.exists() and not journal.stat().st_size:
                    journal.unlink()  # of a new study that was refused before it began
            renew_snapshot(opened, snapshot_path(journal))

    def holder(self, study: str) -> dict[str, Any] | None:
        return lock_holder(self.runs, study)

    def has(self, study: str) -> bool:
        return journal_path(self.runs, study).exists()

    def version(self, study: str) -> tuple[int, int] | None:
        try:
            status = journal_path(self.runs, study).stat()
        except OSError:
            return None
        return status.st_ino, status.st_size

    @contextmanager
    def receive(self, study: str) -> Iterator[Callable[[Path], None]]:
        with study_lock(self.runs, study):
            if self.has(study):
                raise exists_here(study)
            # A journal file must not be there before it is whole.
            yield lambda journal: rename(journal, journal_path(self.runs, study))

    def check(self, study: str) -> tuple[JournalCheck, str] | None:
        path = journal_path(self.runs, study)
        if not path.exists():
            return None
        found = check_lines(path.read_bytes())
        return found, f"line {found.records + 1} of {path}"

    def salvage(self, study: str) -> tuple[JournalCheck, str] | None:
        """Move a damaged journal to `<study>.log.damaged` and begin a new one with the whole
        records before its first bad line. At any instant the journal is the old one or the new one.

        Raises:
            UserError: another process drives the study.
        """
        path = journal_path(self.runs, study)
        with _lock(self.runs, study):
            content = path.read_bytes()
            if (found := check_lines(content)).problem is None:
                return None
            aside = quarantine(path, copy=True)
            whole = content[: found.length]
            write_whole(path, lambda unfinished: unfinished.write_bytes(whole), durable=True)
            snapshot_path(path).unlink(missing_ok=True)
        return found, str(aside)


def journal_path(runs: Path, study: str) -> Path:
    """Return the journal file of a study."""
    return Path(runs) / "journal" / f"{study}.log"


def snapshot_path(journal: Path) -> Path:
    """Return the place of a journal file's snapshot."""
    return journal.with_suffix(".snapshot")


def open_journal(path: Path) -> JournalStorage:
    """Open a journal file, or start one; the folder must exist. Raises `UserError` where it cannot
    be read or is `Damaged`.
    """
    try:
        return open_with_snapshot(JournalFile(path), snapshot_path(path))
    except OSError as error:
        raise UserError(str(path), f"cannot be opened: {error.strerror}.") from error


def make_folder(folder: Path) -> None:
    """Create a folder of the runs and see that it can be written. Raises `UserError`."""
    probe = folder / f".probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UserError(
            str(folder), f"cannot be written: {error.strerror}. Choose another folder with --runs."
        ) from error


@contextmanager
def study_lock(runs: Path, study: str) -> Iterator[None]:
    """Hold a study as its only driver on this host; a last line that a crash left half written is
    cut off first.

    Raises:
        UserError: another process holds it; says which and since when.
        Damaged: the journal ends in something else than records.
    """
    with _lock(runs, study):
        _mend(journal_path(runs, study))
        yield


@contextmanager
def _lock(runs: Path, study: str) -> Iterator[None]:
    journal = journal_path(runs, check_name(study, "study"))
    make_folder(journal.parent)
    remedy = "Choose a runs folder of your own on a local disk with --runs."
    try:
        lock = lock_file(journal.with_suffix(".lock"), remedy, _LOCK_SECONDS)
    except Timeout:
        holder = lock_holder(runs, study)
        who = "another process" if holder is None else driver_in_words(holder)
        raise UserError(f"study '{study}'", f"{who} is running it already.") from None
    with lock:
        try:
            holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
            journal.with_suffix(".holder").write_text(json.dumps(holder))
            yield
        finally:
            with suppress(OSError):
                journal.with_suffix(".holder").unlink()


def lock_holder(runs: Path, study: str) -> dict[str, Any] | None:
    """Return the process that drives a study on this host: `pid`, `host`, `since` (unix seconds);
    None when there is none.
    """
    journal = journal_path(runs, study)
    if not is_locked(journal.with_suffix(".lock")):
        return None
    try:
        return json.loads(journal.with_suffix(".holder").read_text())
    except (OSError, ValueError):  # it has the lock and has not yet written its name
        return {"pid": None, "host": socket.gethostname(), "since": time.time()}


def _mend(journal: Path) -> None:
    """Undo what a crash or a full disk left: Optuna's own lock, and a half-written last line, to
    which the next write would be glued.

    Raises:
        Damaged: what stands after the last whole line is not the beginning of a record.
    """
    Path(f"{journal}.lock").unlink(missing_ok=True)
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole == len(content):
        return
    if not is_half_written(content[whole:]):
        raise damaged_journal(journal, content.count(b"\n"), "it is no record")
    with journal.open("r+b") as file:
        file.truncate(whole)
        os.fsync(file.fileno())
