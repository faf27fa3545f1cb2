"""MLflow's pages on one store, on this machine only, and whether a tracking server answers."""

import http.client
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sweeps.errors import UserError, masked
from sweeps.tracking.mlflow_store import (
    QUIET,
    STUDY_TAG,
    artifact_location,
    creation_lock,
    prepare,
    store_name,
    tracking_uri,
)

HOST = "127.0.0.1"
PORT = 5210  # used if it is free, because a browser keeps the settings of MLflow's pages by port
PAGES = 10  # studies whose pages are named
START = 120  # seconds within which the server must answer


def check_reachable(uri: str) -> None:
    """Raise UserError if a tracking server or a database does not answer within seconds. Writes nothing."""
    from sqlalchemy import create_engine, exc

    address = urllib.parse.urlsplit(uri)
    try:
        if uri.startswith("http"):
            netloc = address.netloc.rpartition("@")[2]
            urllib.request.urlopen(f"{address.scheme}://{netloc}{address.path.rstrip('/')}/health", timeout=5).close()
        elif uri.startswith("sqlite"):
            folder = Path(uri.partition(":///")[2]).parent
            if not folder.is_dir():
                raise OSError(f"the folder {folder} does not exist")
        elif not uri.startswith("databricks"):
            engine = create_engine(uri, connect_args={"connect_timeout": 5} if uri.startswith("postgresql") else {})
            engine.connect().close()
            engine.dispose()
    except urllib.error.HTTPError:
        return  # a server answered
    except (OSError, ValueError, http.client.HTTPException, exc.SQLAlchemyError, ImportError) as error:
        problem = str(getattr(error, "reason", None) or getattr(error, "orig", None) or error).strip()
        raise UserError("--tracking", f"{masked(uri)} cannot be reached: {problem.splitlines()[0]}.") from error


def serve_ui(uri: str | None, runs: Path, *, port: int = 0, say: Callable[[str], None] = print) -> None:
    """Serve the store until Ctrl-C or SIGTERM, and say its address. Of a tracking server, say the address only.

    Args:
        uri: address of the store; None for the store in `runs`.
        runs: folder of the runs.
        port: port of the pages; 0 for a free one.
        say: gets each line.

    Raises:
        UserError: the folder holds no runs, the port is taken, or the server does not start.
    """
    address = tracking_uri(uri)
    if address.startswith(("http", "databricks")):
        say(f"The runs are at {store_name(uri, runs)}")
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ui_server(uri, runs, port=port, say=say) as (shown, server):
            say(f"The runs are at {shown} (stop with Ctrl-C)")
            for name, experiment in _newest_studies(runs) if uri is None else ():
                # Without the last part, MLflow shows its pages for language models.
                say(f"  {name}: {shown}/#/experiments/{experiment}/runs?workflowType=machine_learning")
            server.wait()
        raise UserError("MLflow server", f"ended with status {server.returncode}.")
    except KeyboardInterrupt:
        say("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def ui_server(
    uri: str | None, runs: Path, *, port: int = 0, say: Callable[[str], None] = print
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server on a store for the length of a `with` block, which gets its address and its process once it answers."""
    runs = runs.resolve()
    address = tracking_uri(uri)
    if uri is None:
        if not (runs / "mlflow.db").exists():
            raise UserError(str(runs), "no runs are recorded here (there is no mlflow.db).")
        with creation_lock(runs):
            for notice in prepare(runs):
                say(notice)
    port = _free_port(port)
    root = str(artifact_location(address, runs, "other"))
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--no-serve-artifacts", "--default-artifact-root", root]
    # Without job execution, the server takes 2 processes and 0.5 GB instead of 11 processes and 3 GB.
    environment = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # The address may hold a password, and everybody on the machine can list the arguments of a process.
    environment["MLFLOW_BACKEND_STORE_URI"] = address
    log = runs / "ui.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=runs if uri is None else None,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_up(server, f"http://{HOST}:{port}", log)
        yield f"http://{HOST}:{port}", server
    finally:
        _end(server)


def _newest_studies(runs: Path) -> list[tuple[str, int]]:
    """Return name and experiment id of the `PAGES` newest studies in the store of `runs`, the newest first."""
    with closing(sqlite3.connect(runs / "mlflow.db", timeout=20)) as connection:
        return connection.execute(
            "SELECT name, experiment_id FROM experiments JOIN experiment_tags USING (experiment_id) "
            "WHERE key = ? AND lifecycle_stage = 'active' ORDER BY last_update_time DESC LIMIT ?",
            (STUDY_TAG, PAGES),
        ).fetchall()


def _free_port(port: int) -> int:
    for wanted in [port] if port else [PORT, 0]:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, wanted))
                return probe.getsockname()[1]
            except OSError as error:
                problem = error.strerror
    raise UserError("--port", f"{port} cannot be used ({problem}); without it, a free one is taken.")


def _wait_until_up(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            with direct.open(f"{address}/health", timeout=5):
                return
        except OSError:  # urllib's errors are OSErrors; the server does not listen yet
            time.sleep(0.2)
    lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
    raise UserError("MLflow server", f"did not start: {lines[-1]}. Its log is {log}.")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started, which form one group."""
    end = time.monotonic() + 5
    with suppress(ProcessLookupError):  # the whole group is gone
        os.killpg(server.pid, signal.SIGTERM)
        while time.monotonic() < end:
            server.poll()
            os.killpg(server.pid, 0)
            time.sleep(0.05)
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
