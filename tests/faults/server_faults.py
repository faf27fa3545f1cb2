"""Faults of servers: the database of the study, the tracking server, the store that MLflow keeps in
a file.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil
import pytest
from postgres import postgres_server
from scene import (
    NotDone,
    NotRecovered,
    Scene,
    begin,
    continue_to_end,
    end,
    repair,
    stop_half_way,
    wait_for_moment,
)

STORE = Path("mlruns", "mlflow.db")


def stop_database(scene: Scene) -> None:
    """Kill PostgreSQL in the middle of a study, as when its machine fails; start it again and give
    the command again.
    """
    try:
        server = scene.servers.enter_context(postgres_server("study"))
    except pytest.skip.Exception as error:
        raise NotDone(str(error)) from None
    scene.storage = server.get_uri(database="study", driver="psycopg")
    scene.environment["VAEEXP_STORAGE"] = scene.storage
    process = begin(scene)
    moment = wait_for_moment(scene, process)
    postmaster = psutil.Process(
        int((server.pgdata / "postmaster.pid").read_text(encoding="ascii").split()[0])
    )
    backends = postmaster.children()
    for victim in [postmaster, *backends]:
        with suppress(psutil.Error):
            victim.kill()
    psutil.wait_procs([postmaster, *backends], timeout=30)
    scene.done = f"SIGKILL of PostgreSQL {moment}"
    said = end(process)
    if process.returncode and ("Traceback" in said or "this is a bug" in said):
        raise NotRecovered(f"the command did not say that the database is gone: {said[-1500:]}")
    (server.pgdata / "postmaster.pid").unlink(missing_ok=True)
    begun = time.monotonic()
    server.start()
    scene.recovery += time.monotonic() - begun
    continue_to_end(scene)


def stop_tracking(scene: Scene) -> None:
    """Kill the tracking server in the middle of a study; start it again later."""
    (scene.folder / STORE).parent.mkdir()
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = _tracking_server(scene.folder, port)
    scene.servers.callback(lambda: _kill_group(server))
    scene.environment["VAEEXP_TRACKING"] = f"http://127.0.0.1:{port}"
    process = begin(scene)
    moment = wait_for_moment(scene, process)
    _kill_group(server)
    scene.done = f"SIGKILL of the tracking server {moment}"
    begun = time.monotonic()
    end(process)
    if process.returncode:
        raise NotRecovered("the study did not go on without its tracking server")
    again = _tracking_server(scene.folder, port)
    scene.servers.callback(lambda: _kill_group(again))
    scene.recovery += time.monotonic() - begun
    continue_to_end(scene)


def _tracking_server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start MLflow's server and wait until it answers."""
    command = [
        sys.executable,
        "-P",
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        f"sqlite:///{folder / STORE}",
    ]
    command += [
        "--port",
        str(port),
        "--workers",
        "1",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    environment = {
        **os.environ,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "server.txt").open("ab") as log:
        server = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + 120
    while True:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return server
        if server.poll() is not None or time.monotonic() > deadline:
            raise NotDone("MLflow's server does not start here")
        time.sleep(0.1)


def _kill_group(server: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()


def damage_mlflow(scene: Scene) -> None:
    """Lose MLflow's store half-way or at the end, and build it anew. Its single bits are not
    checked, because MLflow owns it.
    """
    if scene.draw.random() < 0.5:
        stop_half_way(scene)
    else:
        continue_to_end(scene)
    scene.recovery = 0.0
    store = scene.folder / STORE
    content = store.read_bytes() if store.exists() else b""
    scene.done = scene.draw.choice(["deleted", "empty", "half", "garbage"])
    if scene.done == "deleted":
        store.unlink(missing_ok=True)
    else:
        harms = {
            "empty": b"",
            "half": content[: len(content) // 2],
            "garbage": scene.draw.randbytes(len(content)),
        }
        store.write_bytes(harms[scene.done])
    repair(scene)
    continue_to_end(scene)
