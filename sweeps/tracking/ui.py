"""The MLflow UI on one store, on this machine only."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sweeps.errors import UserError
from sweeps.tracking.mlflow_store import QUIET, artifact_location, opening, place, prepare, studies, tracking_uri

HOST = "127.0.0.1"
PORT = 5210  # taken where it is free: a browser keeps the settings of MLflow's UI by port
PAGES = 10  # studies whose pages are named
START = 120  # seconds within which the server must answer


def serve_ui(uri: str | None, runs: Path, *, port: int = 0, say: Callable[[str], None] = print) -> None:
    """Serve the store until Ctrl-C or SIGTERM, and say its address. A remote tracking server has its own UI: say where.

    `uri` None is the SQLite store in `runs`; `port` 0 takes a free one. UserError where there is nothing to show or
    the port is taken.
    """
    address = tracking_uri(uri)
    if address.startswith(("http", "databricks")):
        say(f"The runs are at {place(uri, runs)}")
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ui_server(uri, runs, port=port, say=say) as (shown, server):
            say(f"The runs are at {shown} (stop with Ctrl-C)")
            for name, number in list(studies(runs).items() if uri is None else ())[:PAGES]:
                # Without the last part, MLflow shows its pages for language models.
                say(f"  {name}: {shown}/#/experiments/{number}/runs?workflowType=machine_learning")
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
    """A server on a store for the length of a `with` block: its address, once it answers, and its process."""
    runs = runs.resolve()
    address = tracking_uri(uri)
    if uri is None:
        if not (runs / "mlflow.db").exists():
            raise UserError(str(runs), "no runs are recorded here (there is no mlflow.db).")
        with opening(runs):
            notices = prepare(runs)
        for notice in notices:
            say(notice)
    port = _free_port(port)
    root = str(artifact_location(address, runs, "other"))
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--no-serve-artifacts", "--default-artifact-root", root]
    # Without job execution: 2 processes and 0.5 GB instead of 11 and 3 GB.
    environment = {**os.environ, **QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # In the environment, because everybody on the machine can list the arguments of a process.
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
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            with direct.open(f"{address}/health", timeout=5):
                return
        except OSError:  # not listening yet; urllib's errors are OSErrors
            time.sleep(0.2)
    lines = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    raise UserError("MLflow server", f"did not start: {lines[-1]} (all it said: {log})")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started: they are one group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(server.pid, number)
        except ProcessLookupError:
            return
        end = time.monotonic() + 5
        while time.monotonic() < end:
            server.poll()
            try:
                os.killpg(server.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)
