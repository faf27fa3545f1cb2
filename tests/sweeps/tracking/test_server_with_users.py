"""The MLflow server of `docs/guide/many-machines.md`, with users and PostgreSQL: a user without any
rights given mirrors a study, and nobody else sees it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import tracked_study as small
from postgres import postgres_server

from sweeps.errors import UserError
from sweeps.tracking import sync

pytest.importorskip("flask_wtf", reason="needs mlflow[auth]")
# The server takes half a minute to make its tables.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
CONFIGURATION = """\
[mlflow]
default_permission = NO_PERMISSIONS
database_uri = {users}
admin_username = admin
admin_password = of-the-administrator
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """The address of the server, and the client of its administrator."""
    from mlflow.server.auth.client import AuthServiceClient

    folder = tmp_path_factory.mktemp("server")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with postgres_server("mlflow", "users") as database, pytest.MonkeyPatch.context() as patch:
        runs, users = (
            database.get_uri(database=name, driver="psycopg") for name in ("mlflow", "users")
        )
        (folder / "basic_auth.ini").write_text(CONFIGURATION.format(users=users.replace("%", "%%")))
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--app-name",
            "basic-auth",
            "--backend-store-uri",
            runs,
        ]
        command += [
            "--artifacts-destination",
            str(folder / "artifacts"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        environment = os.environ | {
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "of-the-server",
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
            "MLFLOW_DISABLE_TELEMETRY": "true",
        }
        with (folder / "log").open("wb") as log:
            options = {"cwd": folder, "stdout": log, "stderr": log, "start_new_session": True}
            process = subprocess.Popen([*command, "--workers", "1"], env=environment, **options)
        try:
            while not is_up(port):
                assert process.poll() is None, (folder / "log").read_text()
                time.sleep(0.2)
            patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
            patch.setenv("MLFLOW_TRACKING_PASSWORD", "of-the-administrator")
            administrator = AuthServiceClient(address)
            for name in ("trainer", "stranger"):
                administrator.create_user(name, f"password-of-{name}")
            yield address
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()


def is_up(port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def log_in(patch, name, password=None):
    patch.setenv("MLFLOW_TRACKING_USERNAME", name)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", password or f"password-of-{name}")


def bring(runs: Path, tracking: str | None) -> str:
    """Bring MLflow the study, again where the machine is too busy for the server to answer in time;
    return why it was refused.
    """
    deadline = time.monotonic() + 300
    while True:
        try:
            sync(small.STUDY, runs=runs, tracking=tracking)
            return ""
        except UserError as error:
            if "(no answer)" not in str(error) or time.monotonic() > deadline:
                return str(error)


def test_a_user_without_rights_mirrors_a_study_that_others_do_not_see(
    server, empty_store, tmp_path: Path, monkeypatch
):
    from mlflow.exceptions import MlflowException

    runs = tmp_path / "runs"
    small.SmallStudy(runs).tell_all()
    log_in(monkeypatch, "trainer", "wrong")
    assert bring(runs, server).endswith(
        "lacks 5 of 5 runs (401, no user or a wrong password; set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD)."
    )

    log_in(monkeypatch, "trainer")
    assert bring(runs, server) == ""
    shutil.copy(empty_store, runs / "mlflow.db")
    assert bring(runs, None) == ""
    assert small.contents(runs, server) == small.contents(runs)
    assert small.client(runs, server).get_model_version_by_alias("small-best", "best").run_id

    log_in(monkeypatch, "stranger")
    assert small.client(runs, server).search_experiments() == []
    with pytest.raises(MlflowException, match="Permission denied"):
        small.contents(runs, server)
