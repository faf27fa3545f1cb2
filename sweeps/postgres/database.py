"""PostgreSQL as a place for journals: its address, a connection that is made again when it drops,
and our tables.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from sweeps.errors import DISK_FULL, UserError, masked
from sweeps.program import how_to_install, program
from sweeps.storage.journals import PATIENCE, StorageLost

if TYPE_CHECKING:
    from psycopg import Connection

Answer = TypeVar("Answer")

_DELAYS = (0.05, 1.0)
"""Seconds before the next try: after the first failure and, doubling, at the most."""
_SETTINGS: dict[str, Any] = {
    "connect_timeout": 5,  # seconds
    # A connection whose host is gone drops within 25 s, instead of the two hours of the system. A
    # server whose processes are
    # stopped still answers keepalives, because its system does: a statement then waits until they
    # go on, or for Ctrl-C.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 25_000,  # milliseconds
}
_PASSING = re.compile(
    "starting up|shutting down|recovery|not yet accepting|terminating connection|closed the "
    "connection|too many clients"
)
"""What a server says that is about to answer, or answers again."""
_TABLES = """
SELECT pg_advisory_xact_lock(1986094437);  -- two processes that make the same table at once would fail
CREATE TABLE IF NOT EXISTS sweeps_journal (id bigserial PRIMARY KEY, study text NOT NULL, line text NOT NULL);
CREATE INDEX IF NOT EXISTS sweeps_journal_study ON sweeps_journal (study, id);
CREATE TABLE IF NOT EXISTS sweeps_claims (
    study text PRIMARY KEY, number bigint NOT NULL, holder text, beats bigint NOT NULL, writes bigint NOT NULL,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS sweeps_damaged (
    id bigint NOT NULL, study text NOT NULL, line text NOT NULL, moved_at timestamptz NOT NULL DEFAULT now()
);
"""  # noqa: E501
"""The rows of journals, which are only ever added; the drivers of studies; and a table of damaged
rows, for versions that set them aside. One transaction.
"""


class Database:
    """A connection to a database that is made again when it drops, for `patience` seconds, with a
    line that says so.

    Raises:
        UserError: the address is no address of PostgreSQL, or its driver is not installed.
    """

    def __init__(self, url: str, *, patience: float = PATIENCE) -> None:
        self.place = masked(url)
        self.patience = patience
        self.address = _address(url)
        self._connection: Connection[Any] | None = None
        self._was_open = self._gave_up = False

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; the next `run` makes another."""
        connection = getattr(self, "_connection", None)
        self._connection = None
        if connection is not None:
            connection.close()

    def run(self, action: "Callable[[Connection[Any]], Answer]") -> Answer:
        """Return what an action on the connection returns. After a drop the action is done again,
        so it must bear that.

        Raises:
            StorageLost: no connection could be made for `patience` seconds; each later call tries
                once.
            UserError: the server refuses the action, or cannot be reached in the first place.
        """
        import psycopg

        failures = 0
        delay = _DELAYS[0]
        begun = 0.0
        reason = ""
        while True:
            try:
                answer = action(self._connect())
                break
            except psycopg.Error as error:
                if not self._has_dropped(error):
                    raise self._refusal(error) from error
                self.close()
                failures += 1
                reason = _first_line(error)
                now = time.monotonic()
                if failures == 1:
                    begun = now
                if self._gave_up or now - begun >= self.patience:
                    self._gave_up = True
                    problem = (
                        "no longer answers. What is finished is kept: when it is back, give the "
                        "same command again."
                    )
                    raise StorageLost(self.place, problem) from error
            if failures == 2:
                _log.warning(
                    "%s: no connection (%s); trying again for %g s.",
                    self.place,
                    reason,
                    self.patience,
                )
            time.sleep(delay)
            delay = min(2 * delay, _DELAYS[1])
        self._was_open = True
        if failures:
            _log.warning(
                "%s: the connection was lost and is back after %.1f s (%s).",
                self.place,
                time.monotonic() - begun,
                reason,
            )
        return answer

    def _connect(self) -> "Connection[Any]":
        import psycopg

        if self._connection is None:
            # Prepared statements would not survive a pooler between us and the server.
            self._connection = psycopg.connect(
                self.address, autocommit=True, prepare_threshold=None
            )
        return self._connection

    def _has_dropped(self, error: Exception) -> bool:
        from psycopg import InterfaceError, OperationalError, errors

        if self._connection is None:  # it could not be made
            return isinstance(error, OperationalError) and (
                self._was_open or bool(_PASSING.search(str(error)))
            )
        dropped = (
            errors.AdminShutdown,
            errors.CrashShutdown,
            errors.CannotConnectNow,
            InterfaceError,
        )
        return self._connection.closed or isinstance(error, dropped)

    def _refusal(self, error: Exception) -> UserError:
        from psycopg import errors

        if self._connection is None:
            return UserError(self.place, f"cannot be reached: {_first_line(error)}. {_EXAMPLE}")
        if isinstance(error, errors.DiskFull):
            return UserError(self.place, DISK_FULL)
        if isinstance(error, errors.InsufficientPrivilege):
            return UserError(
                self.place,
                f"refuses this role: {_first_line(error)}; `docs/guide/many-machines.md` lists "
                "its rights.",
            )
        return UserError(self.place, f"refuses: {_first_line(error)}.")


_log = logging.getLogger(__name__)
_EXAMPLE = "Right would be e.g. postgresql+psycopg://user@host/database."


def _address(url: str) -> str:
    """Return the address as PostgreSQL's own library takes it. Raises UserError where it is
    none.
    """
    rest = url.partition("://")[2]
    if rest.partition("/")[0].count("@") > 1:
        raise UserError(masked(url), "has an '@' in the user or password; write it as %40.")
    try:
        from psycopg import ProgrammingError, conninfo
    except ImportError as error:
        problem = (
            f"needs a driver that is not installed ({error}). Try: "
            f"{how_to_install('psycopg[binary]', 'postgres')}"
        )
        raise UserError(masked(url), problem) from error
    try:
        given = conninfo.conninfo_to_dict(f"postgresql://{rest}")
    except ProgrammingError as error:
        raise UserError(masked(url), f"is not the address of a database. {_EXAMPLE}") from error
    return conninfo.make_conninfo("", **{"application_name": program().name, **_SETTINGS, **given})


def open_tables(database: Database, *, create: bool) -> bool:
    """Return whether our tables are there; with `create`, make those that are missing.

    Raises:
        UserError: the database cannot be reached, or the role may not create tables.
    """
    # The last one to be made.
    query = "SELECT to_regclass('sweeps_damaged') IS NOT NULL"
    row = database.run(lambda connection: connection.execute(query).fetchone())
    there = bool(row and row[0])
    if create and not there:
        database.run(lambda connection: connection.execute(_TABLES))
    return there or create


def _first_line(error: Exception) -> str:
    lines = masked(str(error)).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
