"""MLflow's pages on one store, for this machine unless another address is given, and whether a
tracking server answers.
"""

import errno
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sweeps.errors import UserError, masked
from sweeps.program import how_to
from sweeps.state.record import StudyRecord
from sweeps.tracking.found_runs import mlflow_runs
from sweeps.tracking.mlflow_store import (
    REMEDY,
    STUDY_TAG,
    artifact_location,
    be_ready_for_mlflow,
    creation_lock,
    environment,
    is_server,
    open_to_read,
    prepare,
    store_name,
    tracking_uri,
)
from sweeps.tracking.saved_view import KEY, TAG

LOOPBACK = "127.0.0.1"
WILDCARDS = ("0.0.0.0", "::")
"""Addresses by which a server listens on all addresses of its machine."""
PORT = 5210  # used if it is free, because a browser keeps the settings of MLflow's pages by port
PAGES = 10  # studies whose pages are named
START = 120  # seconds within which the server must answer


def check_reachable(uri: str) -> None:
    """Raise UserError if a tracking server does not answer within seconds, or the folder of an
    SQLite store does not exist. Writes nothing.
    """
    address = urllib.parse.urlsplit(uri)
    try:
        if uri.startswith("http"):
            netloc = address.netloc.rpartition("@")[2]
            urllib.request.urlopen(
                f"{address.scheme}://{netloc}{address.path.rstrip('/')}/health", timeout=5
            ).close()
        elif uri.startswith("sqlite"):
            folder = Path(uri.partition(":///")[2]).parent
            if not folder.is_dir():
                raise OSError(f"the folder {folder} does not exist")
    except urllib.error.HTTPError:
        return  # a server answered
    except (
        OSError,
        ValueError,
        http.client.HTTPException,
    ) as error:
        problem = str(getattr(error, "reason", None) or error).strip()
        raise UserError(
            "--tracking", f"{masked(uri)} cannot be reached: {problem.splitlines()[0]}."
        ) from error


def run_pages(tracking: str | None, study: StudyRecord) -> dict[str, str]:
    """Return the name of each run → the address of its page on a tracking server, without a
    password; empty where the store is no http(s) server, or the server gives no answer.
    """
    if tracking is None or not tracking.startswith("http"):
        return {}
    be_ready_for_mlflow()
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(tracking)
    try:
        check_reachable(tracking)
        experiment = client.get_experiment_by_name(study.name)
        place = experiment and experiment.experiment_id
        found = [*mlflow_runs(client, place, study.identity)] if place else []
    except (UserError, MlflowException):
        return {}
    address = urllib.parse.urlsplit(tracking)
    host = address._replace(netloc=address.netloc.rpartition("@")[2]).geturl().rstrip("/")
    return {
        run.data.tags["sweeps.trial"]: f"{host}/#/experiments/{place}/runs/{run.info.run_id}"
        for run in found
        if run.info.lifecycle_stage == "active"
    }


def serve_ui(
    uri: str | None,
    runs: Path,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    say: Callable[[str], None] = print,
) -> None:
    """Serve the store until Ctrl-C or SIGTERM, and say its address. Of a tracking server, say the
    address only.

    Args:
        uri: address of the store; None for the store in `runs`.
        runs: folder of the runs.
        host: name or address of this machine at which the pages are served.
        port: port of the pages; 0 for a free one.
        say: gets each line.

    Raises:
        UserError: the folder holds no runs, the host is not of this machine, the port is taken, or
            the server does not start.
    """
    address = tracking_uri(uri)
    if is_server(address):
        say(f"The runs are at {store_name(uri, runs)}")
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ui_server(uri, runs, host=host, port=port, say=say) as (shown, server):
            say(f"The runs are at {shown} (stop with Ctrl-C)")
            if not is_loopback(host):
                say(
                    f"Everyone who reaches {shown} can read and delete these runs: there is no "
                    "password."
                )
            for name, experiment, view in _newest_studies(runs) if uri is None else ():
                # Without the type, MLflow shows its pages for language models.
                page = f"{shown}/#/experiments/{experiment}/runs?workflowType=machine_learning"
                say(f"  {name}: {page}{f'&viewStateShareKey={view}' if view else ''}")
            server.wait()
        raise UserError("MLflow server", f"ended with status {server.returncode}.")
    except KeyboardInterrupt:
        say("Stopped.")
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextmanager
def ui_server(
    uri: str | None,
    runs: Path,
    *,
    host: str = LOOPBACK,
    port: int = 0,
    say: Callable[[str], None] = print,
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run a server on a store for the length of a `with` block, which gets its address and its
    process once it answers.
    """
    runs = runs.resolve()
    address = tracking_uri(uri)
    if uri is None:
        _prepare(runs, say)
    runs.mkdir(parents=True, exist_ok=True)  # with another store there may be no runs yet
    log = runs / "ui.log"
    port = _free_port(host, port)
    root = str(artifact_location(address, runs, "other"))
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--host",
        host,
        "--port",
        str(port),
        "--workers",
        "1",
        *_admitted(host, port),
        "--no-serve-artifacts",
        "--default-artifact-root",
        root,
    ]
    # Without job execution, the server takes 2 processes and 0.5 GB instead of 11 processes and 3
    # GB.
    variables = {**os.environ, **environment(), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    # The address may hold a password, and everybody on the machine can list the arguments of a
    # process.
    variables["MLFLOW_BACKEND_STORE_URI"] = address
    with log.open("wb") as output:
        server = subprocess.Popen(
            command,
            cwd=runs if uri is None else None,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    here = LOOPBACK if host in WILDCARDS else host
    try:
        _wait_until_up(server, here, port, log)
        yield _address(socket.gethostname() if host in WILDCARDS else host, port), server
    finally:
        _end(server)


def _prepare(runs: Path, say: Callable[[str], None]) -> None:
    """Make the store of `runs` fit to be served. Raises UserError where there is none, or it cannot
    be written.
    """
    database = runs / "mlflow.db"
    if not database.exists():
        remedy = (
            f" {how_to('sync')} builds it from the studies."
            if [*runs.glob("journal/*.log")]
            else ""
        )
        raise UserError(str(runs), f"no runs are recorded here (there is no mlflow.db).{remedy}")
    if not (os.access(runs, os.W_OK) and os.access(database, os.W_OK)):
        raise UserError(str(database), f"cannot be written, as MLflow's server does. {REMEDY}")
    with creation_lock(runs):
        for notice in prepare(runs):
            say(notice)


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address of it."""
    return host in ("localhost", "::1") or host.startswith("127.")


def _admitted(host: str, port: int) -> list[str]:
    """Return the options by which MLflow answers browsers that call it by the names of this
    machine.

    MLflow refuses other names, and changes from pages of other origins, so that no page of the
    internet can reach it through a browser.
    """
    if host in (LOOPBACK, "localhost"):
        return []
    names = {host}
    if host in WILDCARDS:
        machine = socket.gethostname()
        with suppress(OSError):  # a name that no one resolves
            names = {str(found[4][0]) for found in socket.getaddrinfo(machine, None)}
        names |= {machine, socket.getfqdn(), "localhost", LOOPBACK}
    pages = sorted(_address(name, port) for name in names - {*WILDCARDS})
    hosts = [page.removeprefix("http://") for page in pages]
    return ["--allowed-hosts", ",".join(hosts), "--cors-allowed-origins", ",".join(pages)]


def _newest_studies(runs: Path) -> list[tuple[str, int, str | None]]:
    """Return name, experiment id and view of the `PAGES` newest studies in the store of `runs`, the
    newest first.
    """
    with open_to_read(runs / "mlflow.db") as connection:
        return connection.execute(
            "SELECT name, experiment_id, (SELECT substr(view.key, ?) FROM experiment_tags AS "
            "view WHERE view.experiment_id = experiments.experiment_id AND view.key LIKE ? ORDER "
            "BY view.value DESC LIMIT 1) FROM experiments JOIN experiment_tags USING "
            "(experiment_id) WHERE key = ? AND lifecycle_stage = 'active' ORDER BY "
            "last_update_time DESC LIMIT ?",
            (len(TAG) + 1, f"{TAG}{KEY}%", STUDY_TAG, PAGES),
        ).fetchall()


def _free_port(host: str, port: int) -> int:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    problem = ""
    for wanted in [port] if port else [PORT, 0]:
        try:
            with socket.create_server((host, wanted), family=family) as probe:
                return probe.getsockname()[1]
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                remedy = "Try 0.0.0.0 for all its addresses."
                raise UserError(
                    "--host", f"got {host}; must be a name or an address of this machine. {remedy}"
                ) from error
            problem = os.strerror(error.errno)
    raise UserError("--port", f"{port} cannot be used ({problem}). Omit --port to use a free port.")


def _wait_until_up(server: subprocess.Popen[bytes], host: str, port: int, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        with suppress(OSError):  # the server does not listen yet
            socket.create_connection((host, port), timeout=5).close()
            return
        time.sleep(0.2)
    lines = log.read_text(errors="replace").strip().splitlines() or ["no message"]
    raise UserError("MLflow server", f"did not start: {lines[-1]}. Its log is {log}.")


def _end(server: subprocess.Popen[bytes]) -> None:
    """End the server and the processes that it started, which form one group."""
    with suppress(ProcessLookupError):  # the whole group is gone
        os.killpg(server.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            server.wait(5)
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
