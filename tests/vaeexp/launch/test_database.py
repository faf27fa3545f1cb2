"""The command sweep with its journal in PostgreSQL: connections cut every three seconds, and a
second sweep beside it.
"""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from command_line import without_mnist
from postgres import postgres_server, sql

from vaeexp.results import stored_study

TERMINATE = (
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'vaeexp'"
)
SMALL = [
    f"--set={change}"
    for change in ("train_size=100", "epochs=12", "pictures_every=100", "confirm.seeds=1")
]
VAEEXP = [sys.executable, "-P", "-m", "vaeexp"]
SWEEP = [*VAEEXP, "sweep", "smoke", *SMALL, "--trials", "3", "--workers", "1"]


def values(runs: Path, url: str | None) -> list[tuple]:
    stored = stored_study("smoke", runs, url)
    return [
        (run.params, run.state, run.objective, [epoch.objective for epoch in run.epochs], run.files)
        for run in (*stored.trials, *stored.repeats)
    ]


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_a_sweep_whose_connections_are_cut_has_the_table_of_a_journal(tmp_path):
    common: dict[str, Any] = {"cwd": tmp_path, "env": without_mnist(tmp_path), "text": True}
    merged = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with postgres_server("studies") as server:
        url = server.get_uri(database="studies", driver="psycopg")
        running = subprocess.Popen([*SWEEP, "--storage", url], **common, **merged)
        ended = threading.Event()
        cuts = []

        def terminate() -> None:
            while not ended.wait(3.0):
                cuts.append(len(sql(url, TERMINATE)))

        cutting = threading.Thread(target=terminate)
        said = ""
        for line in running.stdout:
            said += line
            if line.startswith("[1/3]"):
                second = [*SWEEP, "--storage", url, "--runs", "other"]
                refused = subprocess.run(second, **common, capture_output=True)
                assert refused.returncode == 2, refused.stderr
                assert f"process {running.pid} on host" in refused.stderr
                assert "is running it already" in refused.stderr
                cutting.start()
        ended.set()
        cutting.join()
        assert running.wait() == 0, said
        assert "the connection was lost and is back after" in said
        plain = subprocess.run([*SWEEP, "--runs", "plain"], **common, **merged)
        assert plain.returncode == 0, plain.stdout
        assert values(tmp_path / "mlruns", url) == values(tmp_path / "plain", None)
        synced = subprocess.run(
            [*VAEEXP, "sync", "smoke", "--storage", url], **common, capture_output=True
        )
        assert "nothing to bring" in synced.stdout, synced.stderr
