"""MLflow's store of records: the SQLite store of a runs folder, or an address that the user
gave.
"""

import importlib
import itertools
import logging
import os
import re
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import AcquireReturnProxy

from sweeps.errors import UserError, did_you_mean, masked
from sweeps.files import quarantine, remove_unfinished, write_whole
from sweeps.locks import lock_file, lock_place
from sweeps.program import how_to

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from sweeps.state.record import RegisteredModel

OWN_STORE = "sqlite:///mlflow.db"
"""Address of the store of a runs folder, for a process that works in this folder. An absolute path
may hold `%`, `#` or `?`, which an address must quote, and MLflow reads quoted paths in two ways."""

STUDY_TAG = "sweeps.study"

SCHEMES = ("http", "https", "sqlite", "postgresql", "mysql", "mssql", "databricks")

QUIET = {
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_UV_AUTO_DETECT": "false",
    "PYTHONSAFEPATH": "1",
}
"""Environment that keeps MLflow silent, off the network, away from files of the current folder, and
without a request at the end of each run for an address that nobody reads."""


def environment() -> dict[str, str]:
    """Return `QUIET`, and a home where the user has none, as in a container under a bare number:
    MLflow cannot be imported without.
    """
    try:
        Path.home()
    except RuntimeError:
        return {**QUIET, "HOME": tempfile.gettempdir()}
    return QUIET


def be_ready_for_mlflow() -> None:
    """Set the variables under which MLflow can be imported here, and is quiet."""
    os.environ.update(
        {name: value for name, value in environment().items() if name not in os.environ}
    )


NO_RETRIES = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
"""MLflow would repeat a request whose answer was lost, also one that creates a run, so that the run
would be there twice. The follower tries again instead.
"""

ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
"""Columns of MLflow's tables that hold absolute artifact addresses."""


def tracking_uri(uri: str | None) -> str:
    """Return the address of the store: `uri`, or that of the runs folder. UserError where MLflow
    cannot write to it.
    """
    if uri is None:
        return OWN_STORE
    scheme = re.split(r"[+:]", uri, maxsplit=1)[0]
    if scheme not in SCHEMES:
        raise UserError(
            "tracking address",
            f"got '{masked(uri)}'; must start with http(s)://, sqlite:/// or postgresql://. "
            f"{did_you_mean(scheme, SCHEMES)}",
        )
    return uri


REMEDY = (
    "Give --runs a folder of your own on a local disk, or copy these runs into a store of your "
    "own with --tracking sqlite:////FOLDER/mlflow.db."
)


def artifact_location(uri: str, runs: Path, study: str) -> str | None:
    """Return the address of a study's artifacts, or None where a server decides: below `runs`, and
    beside an SQLite store of its own where `runs` cannot be written."""
    if is_server(uri):
        return None
    folder = runs
    if uri.startswith("sqlite:///") and uri != OWN_STORE and not os.access(runs, os.W_OK):
        folder = Path(uri.removeprefix("sqlite:///")).parent
    return (folder.resolve() / "artifacts" / study).as_uri()


def is_server(uri: str) -> bool:
    """Tell whether the address is that of a server, not of a database."""
    return uri.startswith(("http", "databricks"))


def store_name(uri: str | None, runs: Path) -> str:
    """Name the store in messages, without a password."""
    return str(runs / "mlflow.db") if uri is None else masked(uri)


def creation_lock(runs: Path) -> AcquireReturnProxy[Any]:
    """Take the lock for creating the store, because two processes that create MLflow's tables at
    once break each other.
    """
    runs.mkdir(parents=True, exist_ok=True)
    return lock_file(lock_place(runs, "mlflow.db.lock"), REMEDY, timeout=60)


class StoreReplacedError(Exception):
    """The store lost its runs: somebody deleted it, or put another store in its place. A new
    process must read it anew.
    """


class Store:
    """An open MLflow store, for one process that writes to it. Opening imports MLflow (1 to 2 s).

    Args:
        tracking: address of the store; None for the store in `runs`, in which this process must
            work then.
        runs: folder of the runs.

    A damaged store of the runs folder is moved aside, and a new one made in its place.
    """

    def __init__(self, tracking: str | None, runs: Path) -> None:
        be_ready_for_mlflow()
        os.environ.update(NO_RETRIES)
        self._database = runs / "mlflow.db" if tracking is None else None
        self.notices: list[str] = []
        """One line for each change to the store that a user wants to know."""
        self._connections: list[sqlite3.Connection] = []
        with creation_lock(runs):
            from mlflow import MlflowClient
            from sqlalchemy import event
            from sqlalchemy.pool import Pool

            for name in ("mlflow", "alembic", "urllib3.connectionpool"):
                logging.getLogger(name).setLevel(logging.ERROR)
            if tracking is None:
                moved = _move_damaged_aside(runs)
                _create(runs)
                self.notices = [*moved, *prepare(runs)]
                # MLflow gives no access to the connections that it opens from now on.
                event.listen(
                    Pool, "connect", lambda connection, record: self._connections.append(connection)
                )
            self.client = MlflowClient(tracking_uri(tracking))
            self._inode = self._find()

    def check(self) -> None:
        """Raise StoreReplacedError where the file that this store wrote to is gone."""
        if self._find() != self._inode:
            raise StoreReplacedError(
                f"{self._database} was deleted or replaced; it is built anew from the storage."
            )

    def _find(self) -> int:
        return self._database.stat().st_ino if self._database and self._database.exists() else 0

    def close(self) -> None:
        """Leave a store of our own as one file: the last connection that closes takes its
        write-ahead log in.
        """
        for connection in self._connections:
            connection.close()


@contextmanager
def open_to_read(database: Path) -> Iterator[sqlite3.Connection]:
    """Open a store for reading, also where its folder cannot be written, in which SQLite cannot
    make the files of its log.
    """
    if os.access(database.parent, os.W_OK) and os.access(database, os.W_OK):
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            yield connection
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in (database, database.with_name(f"{database.name}-wal")):
            if path.exists():
                shutil.copyfile(path, Path(folder, path.name))
        with closing(sqlite3.connect(Path(folder, database.name), timeout=20)) as connection:
            yield connection


def damage_of(database: Path) -> str | None:
    """Return what SQLite finds wrong in a file, in its words; None where the file is whole, empty,
    missing or locked.

    SQLite looks at the structure of its pages, and has no checksums of their content.
    """
    if not database.exists() or not database.stat().st_size:
        return None
    try:
        with open_to_read(database) as connection:
            verdict: str = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        return None
    except sqlite3.DatabaseError as error:
        return str(error)
    return None if verdict == "ok" else verdict.splitlines()[-1]


def _move_damaged_aside(runs: Path) -> list[str]:
    """Move the store of `runs` beside its place where it is damaged, and say so; nothing in it is
    lost.
    """
    database = runs / "mlflow.db"
    if (problem := damage_of(database)) is None:
        return []
    aside = quarantine(database)
    for log in ("mlflow.db-wal", "mlflow.db-shm"):  # they belong to the damaged file
        if (runs / log).exists():
            quarantine(runs / log)
    return [
        f"{database} was damaged ({problem}); it is {aside.name} now, and is built anew from the "
        "storage."
    ]


def _create(runs: Path) -> None:
    """Create the store of `runs`, the folder of this process, unless it exists.

    The store is created whole or not at all, because MLflow takes seconds for its tables and cannot
    use half of them.
    """
    database = runs / "mlflow.db"
    if database.exists() and database.stat().st_size:
        return
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    def make(unfinished: Path) -> None:
        made = SqlAlchemyStore(
            f"sqlite:///{unfinished.name}", (runs.resolve() / "artifacts").as_uri()
        )
        made.engine.dispose()
        share_as_folder(unfinished)

    remove_unfinished(database)
    # SQLite would replay the logs of a deleted store into the new one.
    for log in ("mlflow.db-wal", "mlflow.db-shm"):
        (runs / log).unlink(missing_ok=True)
    write_whole(database, make, durable=True)


def share_as_folder(database: Path) -> None:
    """Let a group write to a new store where it may write to its folder; SQLite lets the owner
    alone, whatever the umask.

    The logs of the store take the rights of its file.
    """
    database.chmod(0o644 | (database.parent.stat().st_mode & 0o022))


def prepare(runs: Path) -> list[str]:
    """Make the store of `runs` fit for use; return one line for each change that a user wants to
    know.

    The store gets a write-ahead log, and artifact addresses that point into `runs`: MLflow stores
    absolute addresses, so a folder that was moved would lose its pictures.

    Raises:
        UserError: the file is damaged.
    """
    database = runs / "mlflow.db"
    try:
        with closing(sqlite3.connect(database, timeout=20)) as connection, connection:
            # Persistent; ten times the throughput when several processes write.
            connection.execute("PRAGMA journal_mode=WAL")
            if not connection.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'experiment_tags'"
            ).fetchone():
                return []
            return _correct_addresses(connection, runs)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # it is locked, or the disk is full
            raise
        problem = f"is damaged ({error}). {how_to('sync')} moves it aside and builds it anew."
        raise UserError(str(database), problem) from error


def _correct_addresses(connection: sqlite3.Connection, runs: Path) -> list[str]:
    here = (runs.resolve() / "artifacts").as_uri()
    rows = connection.execute(
        "SELECT artifact_location FROM experiments JOIN experiment_tags USING (experiment_id) "
        "WHERE key = ?",
        (STUDY_TAG,),
    )
    elsewhere = sorted({location.rpartition("/")[0] for (location,) in rows} - {here})
    for old, (table, column) in itertools.product(elsewhere, ADDRESSES):
        connection.execute(
            f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) "
            "= ?",
            (here, len(old) + 1, len(old) + 1, f"{old}/"),
        )
    return [
        f"{runs / 'mlflow.db'}: this folder was moved (from {os.path.dirname(old)}); its artifact "
        "addresses are corrected."
        for old in elsewhere[:1]
    ]


def claim_model(client: "MlflowClient", model: "RegisteredModel", identity: str) -> str | None:
    """Make the registered model, unless it is there; say in a line where its alias points at a
    model of somebody else.

    `identity`: that of the study. A user of a server may read a model that is there only with
    rights to it, so it is made first.
    """
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(model.name)
        return None
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    version = client.get_registered_model(model.name).aliases.get(model.alias)
    if version is None:
        return None
    if run_id := client.get_model_version(model.name, version).run_id:
        try:
            if client.get_run(run_id).data.tags.get("sweeps.id") == identity:
                return None
        except MlflowException as error:  # a run that is gone for good says nothing of its study
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
    return (
        f"MLflow's model '{model.name}' has the alias '{model.alias}' on version {version}, "
        "which is not of this study. It stays, and the model of this study is not registered. "
        "Delete the alias in MLflow and sync again, or rename the study."
    )


def register(
    client: "MlflowClient", run_id: str, folder: Path, model: "RegisteredModel"
) -> list[str]:
    """Save the model in `folder` below the run's artifacts, make it a version of the registered
    model, and point the alias at it.

    A run has at most one version of a model; a second call reuses it. Returns a line for each thing
    that a user wants to know.
    """
    notices: list[str] = []
    versions = client.search_model_versions(f"name = '{model.name}' and run_id = '{run_id}'")
    if versions:
        version = versions[0].version
    else:
        notices += _upload(client, run_id, folder, model)
        source = f"{client.get_run(run_id).info.artifact_uri}/model"
        version = client.create_model_version(model.name, source, run_id=run_id).version
    client.set_registered_model_alias(model.name, model.alias, version)
    if not client.get_registered_model(model.name).description:
        client.update_registered_model(model.name, model.description)
    return notices


def _upload(
    client: "MlflowClient", run_id: str, folder: Path, model: "RegisteredModel"
) -> list[str]:
    """Save the model as a program that needs no package of ours, and where that cannot be, with its
    loader; say the latter.
    """
    from mlflow.models import infer_signature
    from mlflow.types.schema import AnyType, ColSpec, Schema

    inputs, outputs = map(_example, (model.inputs, model.outputs))
    notices = []
    with tempfile.TemporaryDirectory() as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(inputs, outputs)
        if columns := model.inputs.get("columns"):
            # MLflow refuses whole numbers for `double`, and 3.5 or NaN for `long`; a file has both.
            signature.inputs = Schema([ColSpec(AnyType(), name) for name in columns])
        facts: dict[str, Any] = {"signature": signature, "input_example": inputs}
        if problem := _save_program(Path(temporary, "program"), folder, model, facts):
            notices = [
                f"The registered model '{model.name}' loads only where its packages are "
                f"installed: {problem}"
            ]
            import mlflow.pyfunc

            mlflow.pyfunc.save_model(
                Path(temporary, "loaded"),
                loader_module=model.loader_module,
                data_path=str(folder),
                pip_requirements=[*model.pip_requirements],
                **facts,
            )
        client.log_artifacts(
            run_id, str(Path(temporary, "loaded" if problem else "program")), "model"
        )
    return notices


def _example(record: Mapping[str, Any]) -> Any:
    """Return an example as an array, or as a table where its columns have names."""
    import numpy as np
    import pandas as pd

    array = np.array(record["values"], dtype=record["dtype"])
    columns = record.get("columns")
    return array if columns is None else pd.DataFrame(array, columns=columns)


def _save_program(
    path: Path, folder: Path, model: "RegisteredModel", facts: dict[str, Any]
) -> str | None:
    """Save the model as a PyTorch program, which runs without the code that made it; return why it
    cannot be, in a line.
    """
    import mlflow.pyfunc
    import mlflow.pytorch

    table = "columns" in model.inputs
    try:
        loader = importlib.import_module(model.loader_module)
        if not hasattr(loader, "write_program" if table else "make_program"):
            return f"{model.loader_module} makes no program of it."
        if table:
            target = path.with_name(f"{path.name}-files")
            code, requirements = loader.write_program(folder, target)
            mlflow.pyfunc.save_model(
                path,
                loader_module=code.stem,
                data_path=str(target),
                code_paths=[str(code)],
                pip_requirements=requirements,
                **facts,
            )
            return None
        program, requirements = loader.make_program(folder)
        mlflow.pytorch.save_model(
            program, path, serialization_format="pt2", pip_requirements=requirements, **facts
        )
    except Exception as error:  # code of the user's own can raise any error
        return (
            f"{type(error).__name__}: {(str(error).strip() or 'no reason given').splitlines()[0]}"
        )
    return None
