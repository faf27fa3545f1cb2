"""Where MLflow keeps its records: the SQLite store of a `runs` folder, or an address that the user gave."""

import http.client
import os
import re
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from contextlib import closing
from functools import cache
from pathlib import Path

from filelock import FileLock

from sweeps.errors import UserError, did_you_mean, masked
from sweeps.files import remove_unfinished, write_whole

STUDY_TAG = "sweeps.study"

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")

QUIET = {
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_UV_AUTO_DETECT": "false",
}
"""Environment that keeps MLflow off the network, silent, and without minutes of retries (retrying is ours)."""

PLACES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's tables that hold absolute artifact addresses."""


def tracking_uri(uri: str | None, runs: Path) -> str:
    """The address of the store: `uri`, or the SQLite file in `runs`. UserError for one that MLflow cannot write to."""
    if uri is None:
        return f"sqlite:///{runs.resolve() / 'mlflow.db'}"
    scheme = re.split(r"[+:]", uri, maxsplit=1)[0]
    if scheme not in SCHEMES:
        raise UserError(
            "tracking address",
            f"'{masked(uri)}' must start with http(s)://, sqlite:/// or postgresql://. {did_you_mean(scheme, SCHEMES)}",
        )
    return uri


def check_reachable(uri: str) -> None:
    """Raise UserError where a tracking server or a database does not answer within seconds. Writes nothing."""
    from sqlalchemy import create_engine, exc

    address = urllib.parse.urlsplit(uri)
    problem: Exception | str | None = None
    if uri.startswith("http"):
        netloc = address.netloc.rpartition("@")[2]
        try:
            urllib.request.urlopen(f"{address.scheme}://{netloc}{address.path.rstrip('/')}/health", timeout=5).close()
        except urllib.error.HTTPError:
            return  # a server is there
        except (OSError, ValueError, http.client.HTTPException) as error:
            problem = getattr(error, "reason", error)
    elif uri.startswith("sqlite"):
        folder = Path(uri.partition(":///")[2]).parent
        problem = None if folder.is_dir() else f"the folder {folder} does not exist"
    elif not uri.startswith("databricks"):
        options = {"connect_timeout": 5} if uri.startswith("postgresql") else {}
        try:
            engine = create_engine(uri, connect_args=options)
            engine.connect().close()
            engine.dispose()
        except (exc.SQLAlchemyError, ImportError, OSError) as error:
            problem = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
    if problem is not None:
        raise UserError("--tracking", f"{masked(uri)} cannot be reached: {problem}.")


def artifact_location(uri: str, runs: Path, study: str) -> str | None:
    """Where the artifacts of a study go: below `runs`, or None where a server decides."""
    if uri.startswith(("http", "databricks")):
        return None
    return (runs.resolve() / "artifacts" / study).as_uri()


def opening(runs: Path) -> FileLock:
    """Held while the store may be created: two processes that create MLflow's tables at once break each other."""
    runs.mkdir(parents=True, exist_ok=True)
    return FileLock(runs / "mlflow.db.lock", timeout=60)


@cache
def connections() -> list[sqlite3.Connection]:
    """Those to databases that SQLAlchemy opens from the first call on; MLflow keeps its own to itself."""
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    opened: list[sqlite3.Connection] = []
    event.listen(Pool, "connect", lambda connection, record: opened.append(connection))
    return opened


def prepare(runs: Path) -> str | None:
    """Make the store of `runs` fit for use: tables, write-ahead log, and artifact addresses that point into `runs`.

    MLflow stores absolute addresses, so a folder that was moved would lose its pictures. Returns one line when
    addresses were changed.
    """
    _create(runs)
    database = runs / "mlflow.db"
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        # Persistent; ten times the throughput when several processes write.
        connection.execute("PRAGMA journal_mode=WAL")
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiment_tags'").fetchone():
            return None
        rows = connection.execute(
            "SELECT artifact_location FROM experiments JOIN experiment_tags USING (experiment_id) WHERE key = ?",
            (STUDY_TAG,),
        )
        here = (runs.resolve() / "artifacts").as_uri()
        elsewhere = {location.rpartition("/")[0] for (location,) in rows} - {here}
        with connection:
            for old in elsewhere:
                _replace(connection, old, here)
    if not elsewhere:
        return None
    return f"{database}: this folder was moved (from {os.path.dirname(sorted(elsewhere)[0])}); its artifact addresses are corrected."


def studies(runs: Path) -> dict[str, str]:
    """Name → id of the MLflow experiment of each study in the store of `runs`, the newest first."""
    with closing(sqlite3.connect(runs / "mlflow.db", timeout=20)) as connection:
        rows = connection.execute(
            "SELECT name, experiment_id FROM experiments JOIN experiment_tags USING (experiment_id) "
            "WHERE key = ? AND lifecycle_stage = 'active' ORDER BY last_update_time DESC",
            (STUDY_TAG,),
        )
        return {name: str(number) for name, number in rows}


def _create(runs: Path) -> None:
    """The store of `runs` where there is none, whole or not at all: MLflow takes seconds for its tables, and what a kill
    leaves of them it can neither use nor mend."""
    database = runs / "mlflow.db"
    if database.exists():
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def make(unfinished: Path) -> None:
        made = SqlAlchemyStore(f"sqlite:///{unfinished.resolve()}", (runs.resolve() / "artifacts").as_uri())
        made.engine.dispose()

    remove_unfinished(database)
    write_whole(database, make)


def _replace(connection: sqlite3.Connection, old: str, new: str) -> None:
    for table, column in PLACES:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
            (new, len(old) + 1, len(old) + 1, f"{old}/"),
        )
