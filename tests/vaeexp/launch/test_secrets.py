"""A password in an address stands nowhere afterwards: not in files, stores, the terminal, nor in
what children are called.
"""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psutil
import pytest
from command_line import without_mnist
from postgres import postgres_server

from sweeps.tracking.ui import serve_ui

SECRET = "Tr0ub4dor"


@pytest.fixture
def server() -> Iterator[Any]:
    with postgres_server("studies", "mlflow") as server:
        yield server


def address(server: Any, database: str, password: str) -> str:
    """The server lets everybody in on its socket, whatever the password."""
    return server.get_uri(database=database, driver="psycopg").replace(
        "postgres:@", f"postgres:{password}@"
    )


def rows(server: Any, database: str) -> str:
    """Everything that a database holds, as text."""
    import psycopg

    with psycopg.connect(server.get_uri(database=database)) as connection:
        tables = connection.execute(
            "select tablename from pg_tables where schemaname = 'public'"
        ).fetchall()
        found = [
            connection.execute(f'select row_to_json(t)::text from "{name}" t').fetchall()  # type: ignore[arg-type]
            for (name,) in tables
        ]
    return str(found)


@pytest.mark.slow
def test_a_sweep_with_a_password_in_its_addresses_leaves_it_nowhere(server, tmp_path):
    """Interrupted, continued, reported and looked at."""
    environment = without_mnist(tmp_path)
    stores = [
        "--storage",
        address(server, "studies", SECRET),
        "--tracking",
        address(server, "mlflow", f"{SECRET}%40x"),
    ]
    small = [
        f"--set={change}"
        for change in ("train_size=200", "epochs=25", "pictures_every=100", "confirm.seeds=1")
    ]
    small += ["--trials", "4", "--workers", "1"]
    command = [sys.executable, "-m", "vaeexp"]
    said, children = "", []

    common = {"cwd": tmp_path, "env": environment, "text": True}
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    running = subprocess.Popen([*command, "sweep", "smoke", *small, *stores], **common, **piped)
    for line in running.stdout:
        said += line
        if line.startswith("[1/4]"):
            children = [
                child.cmdline() for child in psutil.Process(running.pid).children(recursive=True)
            ]
            running.terminate()
    assert running.wait() == 143, said
    assert "Continue with: " in said
    assert "--storage 'postgresql+psycopg://postgres:***@" in said
    assert children

    for arguments in (
        ["sweep", "smoke", *small, *stores],
        ["report", "smoke", *stores[:2]],
        ["status", "smoke", *stores[:2]],
    ):
        done = subprocess.run(
            [*command, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        said += done.stdout + done.stderr
    assert "Browse the runs: " in said

    files = {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert any(path.endswith("report.html") for path in files)
    assert [path for path, content in files.items() if SECRET.encode() in content] == []
    assert SECRET not in said
    assert SECRET not in str(children)
    kept = {database: rows(server, database) for database in ("studies", "mlflow")}
    assert "vaeexp sweep smoke" in kept["studies"]
    assert "vaeexp sweep smoke" in kept["mlflow"], "the tag `command`"
    assert [database for database, text in kept.items() if SECRET in text] == []


def test_the_address_of_a_server_is_shown_without_its_password(tmp_path):
    said: list[str] = []
    serve_ui(f"https://me:{SECRET}@tracking.example", tmp_path, say=said.append)
    assert said == ["The runs are at https://me:***@tracking.example"]
