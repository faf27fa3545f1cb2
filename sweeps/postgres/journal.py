"""The journal of a study as rows of a table in PostgreSQL: the same lines as those of a journal
file.

A batch of records is one transaction of one statement, which also checks the number of the claim.
It locks the claim's row before it draws the rows' identities, so batches of a study become visible
in the order of their identities: a reader that has seen row 7 misses no row 6. The claim's row
counts the batches. After a dropped connection the count tells whether the last batch has arrived,
and it refuses a copy of the batch that arrives late.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.storages import JournalStorage

from sweeps.checksums import Damaged
from sweeps.errors import UserError
from sweeps.postgres.claim import Claim, claim_holder, claimed
from sweeps.postgres.database import Database, open_tables
from sweeps.storage.checked_records import parse_line, record_line
from sweeps.storage.journal import journal_path, study_lock
from sweeps.storage.journals import Journals, StorageLost
from sweeps.storage.optuna_internals import BatchedWrites
from sweeps.storage.snapshot import open_with_snapshot, renew_snapshot

if TYPE_CHECKING:
    from psycopg import Connection

_PAGE = 10_000
_NEWER = "SELECT id, line FROM sweeps_journal WHERE study = %s AND id > %s ORDER BY id LIMIT %s"
_APPEND = """
WITH claim AS (
    UPDATE sweeps_claims SET writes = writes + 1, beats = beats + 1, seen_at = clock_timestamp()
    WHERE study = %s AND number = %s AND writes = %s RETURNING study
)
INSERT INTO sweeps_journal (study, line)
SELECT claim.study, batch.line FROM claim, unnest(%s::text[]) WITH ORDINALITY AS batch (line, place) ORDER BY batch.place
RETURNING id
"""  # noqa: E501
_SUM = """
SELECT count(*), coalesce(sum(hashtextextended(line, 0)), 0)::text FROM sweeps_journal WHERE study = %s AND id <= %s
"""  # noqa: E501
_COUNT = "SELECT writes FROM sweeps_claims WHERE study = %s AND number = %s FOR UPDATE"
_IS_THERE = "SELECT 1 FROM sweeps_journal WHERE study = %s AND id = %s"


class PostgresJournals(Journals):
    """The studies in a PostgreSQL database: rows of one table."""

    def __init__(self, url: str, runs: Path) -> None:
        super().__init__(url, runs)
        self._url = url
        self._database = Database(url)

    def names(self) -> list[str]:
        if not open_tables(self._database, create=False):
            raise UserError(self.address, "holds no study yet; start one with this storage first.")
        return stored_names(self._database)

    def open(self, study: str, *, create: bool) -> JournalStorage:
        open_tables(self._database, create=create)
        return open_with_snapshot(PostgresJournal(self._database, study), self._snapshot(study))

    @contextmanager
    def hold(self, study: str, *, take_over: bool, patience: float) -> Iterator[JournalStorage]:
        # An unreachable database is an error before anything is written.
        database = Database(self._url, patience=patience)
        open_tables(database, create=True)
        snapshot = self._snapshot(study)
        with study_lock(self.runs, study), claimed(database, study, take_over=take_over) as claim:
            opened = open_with_snapshot(PostgresJournal(database, study, claim), snapshot)
            yield opened
            renew_snapshot(opened, snapshot)

    def holder(self, study: str) -> dict[str, Any] | None:
        return (
            claim_holder(self._database, study)
            if open_tables(self._database, create=False)
            else None
        )

    def has(self, study: str) -> bool:
        return open_tables(self._database, create=False) and study in stored_names(self._database)

    def _snapshot(self, study: str) -> Path:
        """Return the place of the snapshot of a study, on this machine."""
        mark = hashlib.sha256(self._database.place.encode()).hexdigest()[:8]
        return journal_path(self.runs, f"{study}.{mark}").with_suffix(".snapshot")


class PostgresJournal(BatchedWrites):
    """A study's rows. With a claim they can be written, and are read once, because no other
    process writes; without, only read.
    """

    def __init__(self, database: Database, study: str, claim: Claim | None = None) -> None:
        self._database = database
        self._study = study
        self._claim = claim
        self._rows: deque[tuple[int, str]] = deque()
        """Rows that Optuna has not taken yet."""
        self._last = 0
        """Identity of the newest row that was seen."""
        self._taken = 0
        """Identity of the newest row that Optuna has taken."""
        self._complete = False
        self._batches = 0
        """Batches that have arrived under this claim."""
        self._unsure = False
        """Whether a batch was sent and not answered for."""

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Yield the records that are new since the last call, whatever the number. Raises
        Damaged.
        """
        while self.batch is None and (self._rows or self._fetch()):
            identity, line = self._rows[0]  # a damaged row stays, to stop the next call, too
            try:
                record = parse_line(line.encode() + b"\n")
            except ValueError as error:
                raise self._damaged(identity, str(error)) from None
            self._rows.popleft()
            self._taken = identity
            yield record

    def position(self) -> dict[str, Any]:
        return {"row": self._taken, "sum": self._sum_of_rows(self._taken)[1]}

    def resume(self, records: int, position: Mapping[str, Any]) -> bool:
        row = int(position["row"])
        if self._sum_of_rows(row) != (records, position["sum"]):
            return False
        self._last = self._taken = row
        return True

    def _sum_of_rows(self, last: int) -> tuple[int, str]:
        """Return how many rows the study has up to this one, and the sum of their hashes, which the
        server computes.
        """
        values = (self._study, last)
        count, total = self._database.run(
            lambda connection: connection.execute(_SUM, values).fetchall()
        )[0]
        return count, total

    def _fetch(self) -> bool:
        if self._claim is not None and self._complete:
            return False
        values = (self._study, self._last, _PAGE)
        rows = self._database.run(lambda connection: connection.execute(_NEWER, values).fetchall())
        self._take(rows)
        self._complete = len(rows) < _PAGE
        return bool(rows)

    def _take(self, rows: Sequence[tuple[int, str]]) -> None:
        self._rows.extend(rows)
        self._last = rows[-1][0] if rows else self._last

    def _damaged(self, identity: int, reason: str) -> Damaged:
        where = f"study '{self._study}', row {identity} of the table sweeps_journal"
        remedy = "Restore the database from a backup, or delete the rows from this one on."
        return Damaged(self._database.place, f"{where} is damaged: {reason}. {remedy}")

    def write(self, records: Sequence[dict[str, Any]]) -> None:
        """Append records in one transaction. Raises StorageLost where another process has the
        claim.
        """
        if self._claim is None:
            raise RuntimeError(
                "the storage was opened to be read; `hold_study` opens it to be written"
            )
        lines = [record_line(record).decode().removesuffix("\n") for record in records]
        self._database.run(partial(self._append, self._claim, lines))

    def _append(self, claim: Claim, lines: list[str], connection: "Connection[Any]") -> None:
        """Append lines, unless an earlier try has, whose answer was lost with the connection."""
        while not (self._unsure and self._arrived(claim, connection) == lines):
            self._unsure = True
            rows = connection.execute(
                _APPEND, (claim.study, claim.number, self._batches, lines)
            ).fetchall()
            if rows:
                self._take(list(zip(sorted(identity for (identity,) in rows), lines, strict=True)))
                self._batches += 1
                break
        self._unsure = False

    def _arrived(self, claim: Claim, connection: "Connection[Any]") -> list[str]:
        """Take the rows of a batch that was not answered for; returns its lines, none where it has
        not arrived.

        Raises:
            StorageLost: the claim is another process's, or rows are gone that the server had
                confirmed.
        """
        # The lock waits for a batch that the server is still writing.
        count = connection.execute(_COUNT, (claim.study, claim.number)).fetchone()
        if count is None:
            raise claim.lost(connection)
        if (
            self._last
            and connection.execute(_IS_THERE, (self._study, self._last)).fetchone() is None
        ):
            problem = (
                "has lost records that it had confirmed. The same command goes on from those that "
                "are left."
            )
            raise StorageLost(self._database.place, problem)
        if count[0] == self._batches:
            return []
        # All rows in one statement, because a drop between two would leave part of the batch taken.
        rows = connection.execute(_NEWER, (self._study, self._last, None)).fetchall()
        self._take(rows)
        self._batches = count[0]
        return [line for _, line in rows]


def stored_names(database: Database) -> list[str]:
    """Return the names of the studies that have rows, sorted. Every study has a claim, and claims
    are few.
    """
    query = (
        "SELECT study FROM sweeps_claims AS claim WHERE EXISTS (SELECT 1 FROM sweeps_journal AS "
        "row WHERE row.study = claim.study)"
    )
    return sorted(
        name for (name,) in database.run(lambda connection: connection.execute(query).fetchall())
    )
