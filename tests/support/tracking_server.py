"""A real MLflow server for tests, and a gate in front of one that is shut, loses answers, or lets a
request through later.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil


class TrackingServer:
    """An `mlflow server` that keeps its records in `mlflow.db` of a folder, or in a database, and
    the artifacts in the folder.

    It takes 10 s to start.
    """

    def __init__(self, folder: Path, *, workers: int = 1, records: str = "") -> None:
        self._folder, self._workers, self._port = folder, workers, free_port()
        self._records = records or f"sqlite:///{folder / 'mlflow.db'}"
        self.address = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-P", "-m", "mlflow", "server", "--port", str(self._port)]
        command += ["--backend-store-uri", self._records, "--workers", str(self._workers)]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {
            **os.environ,
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait(self) -> str:
        """Wait until it takes connections; its address."""
        while True:
            assert self._process.poll() is None, "the server has ended"
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return self.address
            time.sleep(0.1)

    def end(self, by: signal.Signals = signal.SIGKILL) -> None:
        """End all its processes."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, by)
        self._process.wait()

    def processor(self) -> float:
        """Seconds of processor time of all its processes."""
        own = psutil.Process(self._process.pid)
        return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Gate:
    """Passes on what a client and a server send each other."""

    def __init__(self, server: str) -> None:
        self._server, self._port = int(server.rpartition(":")[2]), free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.losing: list[bytes] = []
        """Part of the first line of each request that the server will do, and whose answer will be
        lost.
        """
        self.delaying: list[bytes] = []
        """Part of the first line of each request that the client believes lost, and that the server
        will do at `let_through`.
        """
        self._late: list[bytes] = []
        self._connections: set[socket.socket] = set()
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self._port))
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        """Refuse connections, and break those there are."""
        for connection in (self._listener, *self._connections):
            _close(connection)

    def let_through(self) -> int:
        """Let the server do the requests that were delayed; how many."""
        late, self._late = self._late, []
        for request in late:
            with socket.create_connection(("127.0.0.1", self._server)) as far:
                far.sendall(request)
                assert far.recv(1 << 16).startswith(b"HTTP/1.1 200")
        return len(late)

    def _serve(self, listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._server))
                self._connections |= {near, far}
                lost = threading.Event()
                for task in (self._pass_requests, self._pass_answers):
                    threading.Thread(target=task, args=(near, far, lost), daemon=True).start()

    def _pass_requests(
        self, near: socket.socket, far: socket.socket, lost: threading.Event
    ) -> None:
        with suppress(OSError):
            while data := near.recv(1 << 16):
                if pattern := next((part for part in self.losing if part in data), None):
                    self.losing.remove(pattern)
                    lost.set()
                if pattern := next((part for part in self.delaying if part in data), None):
                    self.delaying.remove(pattern)
                    self._late.append(_whole(near, data))
                    break
                far.sendall(data)
        self._end(near, far)

    def _pass_answers(self, near: socket.socket, far: socket.socket, lost: threading.Event) -> None:
        with suppress(OSError):
            while (data := far.recv(1 << 16)) and not lost.is_set():
                near.sendall(data)
        self._end(near, far)

    def _end(self, *connections: socket.socket) -> None:
        self._connections -= set(connections)
        for connection in connections:
            _close(connection)


def _close(connection: socket.socket) -> None:
    with suppress(OSError):
        # Wakes the thread that waits for it; `close` alone does not.
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def _whole(near: socket.socket, data: bytes) -> bytes:
    """Return a request whose beginning has arrived."""
    while b"\r\n\r\n" not in data:
        data += near.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    assert length is not None
    while len(body) < int(length[1]):
        body += near.recv(1 << 16)
    return head + b"\r\n\r\n" + body
