"""Databases that keep studies for many machines: what opens, what is refused, and the checksum beside every value of ours."""

from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage

from sweeps.errors import UserError, masked
from sweeps.storage.optuna_internals import sealed_database


def open_database(url: str, *, create: bool) -> BaseStorage:
    """Open the database at `url`; with `create`, make the tables that it lacks.

    Raises:
        UserError: it cannot be reached, belongs to another program, or holds no study and `create` is not given.
    """
    tables = database_tables(url, create=create)
    if "alembic_version" in tables and "studies" not in tables:
        raise UserError(masked(url), "belongs to another program (MLflow?); give the studies a database of their own.")
    # Optuna makes `alembic_version` last. A reader that came earlier would make it, too, and break the driver's start.
    if not create and not {"studies", "alembic_version"} <= set(tables):
        raise UserError(masked(url), "holds no study yet; start one with this storage first.")
    try:
        # Tables are made here, by one process: two that make them at once fail.
        storage = sealed_database(url, engine_kwargs=_engine_arguments(url), skip_table_creation=not create)
    except RuntimeError as error:
        raise UserError(masked(url), f"was written by another version of Optuna: {_first_line(error)}") from error
    if storage.engine.dialect.name == "sqlite":
        _tune_sqlite(storage.engine)
    return optuna.storages.get_storage(storage)


def database_tables(url: str, *, create: bool) -> list[str]:
    """Return the names of the tables that are there. Raises `UserError` when the database cannot be reached."""
    import sqlalchemy
    from sqlalchemy import exc

    if url.partition("://")[2].partition("/")[0].count("@") > 1:
        raise UserError(masked(url), "has an '@' in the user or password; write it as %40.")
    example = "Right would be e.g. sqlite:///runs.db or postgresql+psycopg://user@host/database."
    try:
        address = sqlalchemy.make_url(url)
        if address.get_backend_name() == "sqlite":
            _check_sqlite_file(url, address.database, create=create)
            if not Path(str(address.database)).exists():
                return []  # to look into it would make the file
        engine = sqlalchemy.create_engine(address, **_engine_arguments(url))
    except ImportError as error:
        raise UserError(masked(url), f"needs a driver that is not installed ({error}). {example}") from error
    except (exc.ArgumentError, ValueError) as error:
        raise UserError(masked(url), f"is not the URL of a database ({_first_line(error)}). {example}") from error
    try:
        return sqlalchemy.inspect(engine).get_table_names()
    except (exc.SQLAlchemyError, OSError) as error:
        raise UserError(masked(url), f"cannot be reached: {_first_line(error)}. {example}") from error
    finally:
        engine.dispose()


def _engine_arguments(url: str) -> dict[str, Any]:
    return {"connect_args": {"connect_timeout": 5}} if url.startswith("postgresql") else {}  # seconds


def _check_sqlite_file(url: str, database: str | None, *, create: bool) -> None:
    if database in (None, "", ":memory:"):
        raise UserError(masked(url), "names no file; right would be e.g. sqlite:///runs.db.")
    if not create and not Path(database).exists():
        raise UserError(masked(url), f"there is no file {database}; start a study with this storage first.")
    if not Path(database).absolute().parent.is_dir():
        raise UserError(masked(url), f"the folder {Path(database).absolute().parent} does not exist.")


def _tune_sqlite(engine: Any) -> None:
    """Turn on the write-ahead log, with one fsync less per commit: 5 times as fast, and readers do not block the driver."""
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def pragmas(connection: Any, _record: Any) -> None:
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "busy_timeout=60000"):
            connection.execute(f"PRAGMA {pragma}").close()

    engine.dispose()
    engine.connect().close()


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
