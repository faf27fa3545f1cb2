"""The places that keep the records of studies: `JOURNALS`, and what a place has to do.

A new kind of place is a class like `Journals` and a row of the table.
"""

import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage

from sweeps.errors import UserError, masked
from sweeps.storage.checked_records import JournalCheck
from sweeps.storage.optuna_internals import copy_journal, study_ids

JOURNALS = {
    "": "sweeps.storage.journal:FileJournals",
    "postgresql": "sweeps.postgres.journal:PostgresJournals",
    "postgresql+psycopg": "sweeps.postgres.journal:PostgresJournals",
}
"""Scheme of an address (`--storage`) → `module:class` of the place, loaded when used. The first row
is used without an address.
"""

PATIENCE = 60.0
"""Seconds for which a dropped connection is made again, unless a command is told another time."""
SILENCE = 30.0
"""Seconds without a sign of life of its driver after which a study may be taken over."""


class StorageLost(UserError):
    """The storage can no longer be written by this process: the server is away, or another process
    drives the study.
    """


class Journals:
    """A place that keeps the records of studies. A new kind of place defines `names`, `open` and
    `hold`.

    Args:
        url: the address as the user gives it; None for the place that needs none.
        runs: the folder of the runs.
    """

    def __init__(self, url: str | None, runs: Path) -> None:
        self.runs = Path(runs)
        self.address = str(runs) if url is None else masked(url)
        """The place in messages, without a password."""

    def names(self) -> list[str]:
        """Return the names of the studies with records, sorted. Raises UserError where the place
        cannot be reached.
        """
        raise NotImplementedError

    def open(self, study: str, *, create: bool) -> BaseStorage:
        """Open the records of a study to read them. With `create`, make the place if it does not
        exist.
        """
        raise NotImplementedError

    def hold(
        self, study: str, *, take_over: bool, patience: float
    ) -> AbstractContextManager[BaseStorage]:
        """Open the records of a study as its only writer.

        Raises:
            UserError: another process holds the study.
        """
        raise NotImplementedError

    def holder(self, study: str) -> dict[str, Any] | None:
        """Return the process that holds a study: `pid`, `host`, `since` (unix seconds), `silent`
        (seconds without a sign of life).
        """
        return None

    def has(self, study: str) -> bool:
        """Return whether records of a study exist. A place that does not exist has none."""
        return study in self.names()

    def version(self, study: str) -> tuple[int, int] | None:
        """Return two numbers: the first changes when the records are replaced, the second when some
        are added. None: unknown.
        """
        return None

    @contextmanager
    def receive(self, study: str) -> Iterator[Callable[[Path], None]]:
        """Hold a study that has no records; yields a function that takes the records of a journal
        file.

        Raises:
            UserError: another process holds the study, or it has records.
        """
        with self.hold(study, take_over=False, patience=PATIENCE) as storage:
            if study in study_ids(storage):
                raise exists_here(study)
            yield lambda journal: copy_journal(journal, storage)

    def check(self, study: str) -> tuple[JournalCheck, str] | None:
        """Check each record up to the first bad one; returns what was found and where the bad one
        is. None where the place cannot be checked without opening the study.
        """
        return None

    def salvage(self, study: str) -> tuple[JournalCheck, str] | None:
        """Keep the records before the first bad one and move the rest aside; returns what was found
        and where the rest is. None where no record is bad.
        """
        return None


def journals_at(url: str | None, runs: Path) -> Journals:
    """Return the place of the records of studies.

    Raises:
        UserError: `JOURNALS` has no such kind of place, or the address is wrong.
    """
    scheme, separator, _ = ("", "://", "") if url is None else url.partition("://")
    if url is not None and not (separator and scheme and scheme in JOURNALS):
        known = " or ".join(f"{name}://" for name in JOURNALS if name)
        problem = (
            "is no storage of studies. Omit --storage to use a journal file, or give an address "
            f"that begins with {known}."
        )
        raise UserError(masked(url), problem)
    journals: Journals = pkgutil.resolve_name(JOURNALS[scheme])(url, runs)
    return journals


def exists_here(study: str) -> UserError:
    """Return the error of a study that cannot be restored, because it has records."""
    return UserError(
        f"study '{study}'", "exists here already. Try --name NEW to restore it as another study."
    )


def driver_in_words(holder: Mapping[str, Any]) -> str:
    """Say `process 12 on host a (since 2026-11-23 09:00:00)`, and how long the process has been
    silent where that is too long.

    Args:
        holder: as `Journals.holder` returns it.
    """
    if holder["pid"] is None:
        return "another process"
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder["since"]))
    silent = holder.get("silent", 0.0)
    silence = f", silent for {silent:,.0f} s" if silent > SILENCE else ""
    return f"process {holder['pid']} on host {holder['host']} (since {since}{silence})"
