"""The claim on a study in a database: one driver at a time, on whatever host.

The claim is a row with a number, which rises with every new driver. Every write checks the number
in its own transaction, so a driver that was stopped, cut off or believed dead cannot write beside
its successor. A thread lets the row's counter rise as a sign of life. No clocks of two hosts are
compared: a process that wants to take a study over watches the counter by its own clock.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sweeps.errors import UserError
from sweeps.postgres.database import Database
from sweeps.storage.journals import SILENCE, StorageLost, driver_in_words

if TYPE_CHECKING:
    from psycopg import Connection

BEAT = 5.0
"""Seconds between two signs of life."""

_log = logging.getLogger(__name__)
_held: set[str] = set()
"""Tokens of the claims that this process has."""
_READ = """
SELECT number, holder, beats, extract(epoch FROM clock_timestamp() - seen_at)::float8 FROM sweeps_claims
WHERE study = %s
"""  # noqa: E501
_TAKE = """
INSERT INTO sweeps_claims AS claim (study, number, holder, beats, writes) VALUES (%s, 1, %s, 0, 0)
ON CONFLICT (study) DO UPDATE
SET number = claim.number + 1, holder = excluded.holder, beats = 0, writes = 0, seen_at = clock_timestamp()
WHERE claim.holder IS NULL OR (claim.number = %s AND claim.beats = %s)
RETURNING number
"""  # noqa: E501
_BEAT = (
    "UPDATE sweeps_claims SET beats = beats + 1, seen_at = clock_timestamp() WHERE study = %s AND "
    "number = %s"
)
_RELEASE = "UPDATE sweeps_claims SET holder = NULL WHERE study = %s AND number = %s"


@dataclass(frozen=True)
class Claim:
    """The right of this process to write to a study."""

    study: str
    number: int

    def lost(self, connection: "Connection[Any]") -> StorageLost:
        """Return the error of a process that no longer has the claim, with who has it."""
        found = _read(connection, self.study)
        who = (
            "another process"
            if found is None or not found.holder
            else driver_in_words(found.holder)
        )
        problem = f"{who} has taken it over, so this process stops. What is finished is kept."
        return StorageLost(f"study '{self.study}'", problem)


@dataclass(frozen=True)
class _Found:
    number: int
    holder: Mapping[str, Any] | None
    beats: int
    silent: float
    """Seconds since the last sign of life, by the server's clock."""


def claim_holder(database: Database, study: str) -> dict[str, Any] | None:
    """Return the process that drives a study: `pid`, `host`, `since` (unix seconds, by its clock),
    and `silent` (seconds since its last sign of life, by the server's clock). None when there is
    none, or when it died on this machine."""
    found = database.run(lambda connection: _read(connection, study))
    if found is None or found.holder is None or _is_dead(found.holder):
        return None
    return {**found.holder, "silent": found.silent}


@contextmanager
def claimed(database: Database, study: str, *, take_over: bool = False) -> Iterator[Claim]:
    """Hold the claim on a study.

    Args:
        take_over: take the claim from a process that gives no sign of life for `SILENCE` seconds of
            this process's clock.

    Raises:
        UserError: another process has the claim; says which and since when.
    """
    mine = _describe_process()
    claim = _take(database, study, mine, take_over=take_over)
    _held.add(mine["token"])
    ended = threading.Event()
    beating = threading.Thread(
        target=_beat, args=(database.address, claim, ended), name="claim", daemon=True
    )
    beating.start()
    try:
        yield claim
    finally:
        _held.discard(mine["token"])
        ended.set()
        beating.join(BEAT)
        # The process ends, and the next driver finds that it is dead. A server that is away does
        # not delay the end.
        database.patience = min(database.patience, 1.0)
        with suppress(UserError):
            database.run(
                lambda connection: connection.execute(_RELEASE, (claim.study, claim.number))
            )


def _take(database: Database, study: str, mine: Mapping[str, Any], *, take_over: bool) -> Claim:
    number, beats = -1, -1  # no claim has these
    while True:
        row = database.run(partial(_try, values=(study, json.dumps(mine), number, beats)))
        if row is not None:
            return Claim(study, row[0])
        found = database.run(lambda connection: _read(connection, study))
        if found is None or found.holder is None:
            continue
        if found.holder == mine:  # the answer was lost with the connection
            return Claim(study, found.number)
        if not _is_dead(found.holder) and not (take_over and _is_silent(database, study, found)):
            problem = f"{driver_in_words(found.holder)} is running it already."
            if take_over:
                problem += " It gives signs of life, so it cannot be taken over."
            else:
                problem += (
                    f" If that process is gone, --take-over takes the study after {SILENCE:g} s "
                    "without a sign of life."
                )
            raise UserError(f"study '{study}'", problem)
        number = found.number
        beats = found.beats


def _try(connection: "Connection[Any]", values: tuple[Any, ...]) -> tuple[int] | None:
    return connection.execute(_TAKE, values).fetchone()


def _is_silent(database: Database, study: str, before: _Found) -> bool:
    """Watch the counter of a claim for `SILENCE` seconds; returns whether it has stood still."""
    assert before.holder is not None
    who = driver_in_words(before.holder)
    _log.warning("study '%s': waiting %g s for a sign of life of %s.", study, SILENCE, who)
    end = time.monotonic() + SILENCE
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        now = database.run(lambda connection: _read(connection, study))
        if now is None or now.holder is None:  # it has ended by itself
            return True
        if (now.number, now.beats) != (before.number, before.beats):
            return False
    _log.warning("study '%s': taken over from %s, which gave no sign of life.", study, who)
    return True


def _read(connection: "Connection[Any]", study: str) -> _Found | None:
    row = connection.execute(_READ, (study,)).fetchone()
    if row is None:
        return None
    number, holder, *rest = row
    return _Found(number, None if holder is None else json.loads(holder), *rest)


def _beat(address: str, claim: Claim, ended: threading.Event) -> None:
    """Give signs of life until the claim ends or belongs to another process, which the next write
    will notice.
    """
    import psycopg

    connection = None
    while not ended.wait(BEAT):
        try:
            if connection is None or connection.closed:
                connection = psycopg.connect(address, autocommit=True, prepare_threshold=None)
            if not connection.execute(_BEAT, (claim.study, claim.number)).rowcount:
                break
        except psycopg.Error:
            continue  # the driver's own connection says so
    if connection is not None:
        connection.close()


# ---- processes ----


def _describe_process() -> dict[str, Any]:
    pid = os.getpid()
    return {
        "pid": pid,
        "host": socket.gethostname(),
        "since": time.time(),
        "machine": _machine(),
        "begun": _begun(pid),
        "token": uuid.uuid4().hex,
    }


def _is_dead(holder: Mapping[str, Any]) -> bool:
    """Whether a claim is known to have ended: its process was on this machine, where its number
    could be seen, and is there no more, or it is this process, which could not release the claim
    because the server was away."""
    if not holder["machine"] or holder["machine"] != _machine():
        return False
    if holder["begun"] != _begun(holder["pid"]):
        return True
    return holder["pid"] == os.getpid() and holder["token"] not in _held


def _machine() -> str | None:
    """Return what names this start of this machine and the processes that can be seen; None where
    the system does not tell.
    """
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        # Containers have numbers of their own, and a system may hide the processes of other users.
        return f"{boot} {os.readlink('/proc/self/ns/pid')} {os.getuid()}"
    return None


def _begun(pid: int) -> str | None:
    """Return when a process began, in ticks since the machine did; None when it is not there or a
    zombie.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]
