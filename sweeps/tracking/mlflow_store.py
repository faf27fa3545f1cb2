"""Where MLflow keeps its records: the SQLite store of a `runs` folder, or an address that the user gave."""

import http.client
import logging
import os
import re
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
import zlib
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from sweeps.errors import UserError, did_you_mean, masked
from sweeps.files import remove_unfinished, write_whole

if TYPE_CHECKING:
    from mlflow import MlflowClient

OWN_STORE = "sqlite:///mlflow.db"
"""Address of the store of a runs folder, for a process that works in that folder: its path may hold `%`, `#` or `?`, which
an address would have to quote, and MLflow reads quoted paths in two ways."""

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


def tracking_uri(uri: str | None) -> str:
    """Return the address of the store: `uri`, or that of the runs folder. UserError where MLflow cannot write to it."""
    if uri is None:
        return OWN_STORE
    scheme = re.split(r"[+:]", uri, maxsplit=1)[0]
    if scheme not in SCHEMES:
        raise UserError(
            "tracking address",
            f"got '{masked(uri)}'; must start with http(s)://, sqlite:/// or postgresql://. {did_you_mean(scheme, SCHEMES)}",
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
    """Return the address of a study's artifacts: below `runs`, or None where a server decides."""
    if uri.startswith(("http", "databricks")):
        return None
    return (runs.resolve() / "artifacts" / study).as_uri()


def place(uri: str | None, runs: Path) -> str:
    """Return the store's name for messages, without a password."""
    return str(runs / "mlflow.db") if uri is None else masked(uri)


def opening(runs: Path) -> FileLock:
    """Return the lock under which the store is created: two processes that create MLflow's tables at once break each other."""
    runs.mkdir(parents=True, exist_ok=True)
    return FileLock(runs / "mlflow.db.lock", timeout=60)


class StoreReplacedError(Exception):
    """The store no longer holds what it held; whoever writes to it has to look at it anew."""


class _Counted:
    """An MLflow client that calls `after` when a call has returned."""

    def __init__(self, client: "MlflowClient", after: Callable[[], None]) -> None:
        self._client, self._after = client, after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        def call(*arguments: Any, **options: Any) -> Any:
            found = method(*arguments, **options)
            self._after()
            return found

        return call


class Store:
    """An open MLflow store, for one process that writes to it. Opening imports MLflow (1 to 2 s).

    Raises:
        UserError: the store of the runs folder is damaged, or a newer MLflow has written it.
    """

    def __init__(self, tracking: str | None, runs: Path) -> None:
        os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
        self._runs, self._uri, self._own = runs, tracking_uri(tracking), tracking is None
        self.notices: list[str] = []
        """One line for each change to the store that a user wants to know."""
        self.told: Callable[[], None] = lambda: None
        """Called after each answer of MLflow."""
        self.answers = 0
        self._connections: list[sqlite3.Connection] = []
        with opening(runs):
            from mlflow import MlflowClient

            for name in ("mlflow", "alembic", "urllib3.connectionpool"):
                logging.getLogger(name).setLevel(logging.ERROR)
            if self._own:
                _create(runs)
                self.notices = prepare(runs)
                self._remember_connections()
            self.client: Any = _Counted(MlflowClient(self._uri), self._count)
            self._inode = self._find()

    def artifact_location(self, study: str) -> str | None:
        """Return the address of a study's artifacts: below the runs folder, or None where a server decides."""
        return artifact_location(self._uri, self._runs, study)

    def check(self) -> None:
        """Raise StoreReplacedError where the file that this store wrote to is gone."""
        if self._find() != self._inode:
            raise StoreReplacedError(
                f"{self._runs / 'mlflow.db'} was deleted or replaced; it is built anew from the storage."
            )

    def _count(self) -> None:
        self.answers += 1
        self.told()

    def _find(self) -> int:
        database = self._runs / "mlflow.db"
        return database.stat().st_ino if self._own and database.exists() else 0

    def _remember_connections(self) -> None:
        """Note the connections that SQLAlchemy opens from now on: MLflow keeps them to itself."""
        from sqlalchemy import event
        from sqlalchemy.pool import Pool

        event.listen(Pool, "connect", lambda connection, record: self._connections.append(connection))

    def close(self) -> None:
        """Leave a store of our own as one file: the last connection that closes takes its write-ahead log in."""
        for connection in self._connections:
            connection.close()


def _create(runs: Path) -> None:
    """Create the store of `runs`, the folder of this process, where there is none.

    It is created whole or not at all: MLflow takes seconds for its tables, and can neither use nor mend half of them.
    """
    database = runs / "mlflow.db"
    if database.exists() and database.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
    from sqlalchemy import event
    from sqlalchemy.pool import Pool

    def hurry(connection: sqlite3.Connection, _record: object) -> None:
        # 300 changes of tables, each of which SQLite would bring to the disk: half the time of a core, a fifth of the wait.
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA journal_mode=MEMORY")

    def make(unfinished: Path) -> None:
        made = SqlAlchemyStore(f"sqlite:///{unfinished.name}", (runs.resolve() / "artifacts").as_uri())
        made.engine.dispose()
        with closing(sqlite3.connect(unfinished)) as connection:
            connection.execute(f"PRAGMA user_version = {_version_mark()}")

    remove_unfinished(database)
    for log in ("mlflow.db-wal", "mlflow.db-shm"):  # of a deleted store; SQLite would replay them into the new one
        (runs / log).unlink(missing_ok=True)
    event.listen(Pool, "connect", hurry)
    try:
        write_whole(database, make, durable=True)
    finally:
        event.remove(Pool, "connect", hurry)


def prepare(runs: Path) -> list[str]:
    """Make the store of `runs` fit for use; return one line for each change that a user wants to know.

    The store gets the tables of the installed MLflow, a write-ahead log, and artifact addresses that point into `runs`:
    MLflow stores absolute addresses, so a folder that was moved would lose its pictures.

    Raises:
        UserError: the file is damaged, or a newer MLflow has written it.
    """
    database = runs / "mlflow.db"
    try:
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            # Persistent; ten times the throughput when several processes write.
            connection.execute("PRAGMA journal_mode=WAL")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'experiment_tags'").fetchone():
                return []
        notices = [_upgrade(runs), _correct_addresses(runs)]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # it is locked, or the disk is full
            raise
        problem = f"is damaged ({error}). Move it away; the same command, or a sync, builds it anew."
        raise UserError(str(database), problem) from error
    return [notice for notice in notices if notice]


def _upgrade(runs: Path) -> str | None:
    """Bring the tables of an older MLflow to the form that the installed one reads, and keep a copy of the file."""
    import mlflow
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    database = runs / "mlflow.db"
    mark = _version_mark()
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        if connection.execute("PRAGMA user_version").fetchone() == (mark,):
            return None
    config = Config()
    folder = Path(mlflow.__file__).parent / "store" / "db_migrations"
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with closing(sqlite3.connect(database, timeout=20)) as connection:
        (version,) = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        if version == script.get_current_head():
            connection.execute(f"PRAGMA user_version = {mark}")
            return None
        if version not in {revision.revision for revision in script.walk_revisions()}:
            problem = (
                f"was written by a newer MLflow than the installed {mlflow.__version__}. Try `pip install -U mlflow`."
            )
            raise UserError(str(database), problem)
        copy = database.with_name(f"mlflow-before-{mlflow.__version__}.db")
        with closing(sqlite3.connect(copy)) as target:
            connection.backup(target)
    command = [sys.executable, "-m", "mlflow", "db", "upgrade", OWN_STORE]
    done = subprocess.run(command, cwd=runs, env={**os.environ, **QUIET}, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise UserError(str(database), f"could not be upgraded for MLflow {mlflow.__version__}: {lines[-1]}")
    return f"{database}: upgraded for MLflow {mlflow.__version__}; {copy.name} keeps it as it was."


def _version_mark() -> int:
    """Return the number by which the store notes which MLflow has seen it: reading the migrations takes a third of a second."""
    import mlflow

    return zlib.crc32(mlflow.__version__.encode()) >> 1


def _correct_addresses(runs: Path) -> str | None:
    database = runs / "mlflow.db"
    with closing(sqlite3.connect(database, timeout=20)) as connection:
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


def _replace(connection: sqlite3.Connection, old: str, new: str) -> None:
    for table, column in PLACES:
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?",
            (new, len(old) + 1, len(old) + 1, f"{old}/"),
        )
