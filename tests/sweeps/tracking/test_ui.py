"""Starting the MLflow UI: on this store, on this machine only, and gone when it is stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import psutil
import pytest
import tracked_study as small

from sweeps.errors import UserError
from sweeps.tracking import sync
from sweeps.tracking.ui import serve_ui, ui_server

HERE = Path(__file__).resolve().parents[2] / "support"
ROOT = HERE.parent.parent


def test_a_remote_server_is_named_and_nothing_is_started(tmp_path):
    said = []
    serve_ui("http://tracking.example:5000", tmp_path / "runs", say=said.append)
    assert said == ["The runs are at http://tracking.example:5000"]
    assert not (tmp_path / "runs").exists()


def test_a_folder_without_runs_is_an_error_and_stays_as_it_was(tmp_path):
    with pytest.raises(UserError, match=r"no runs are recorded here"):
        serve_ui(None, tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_taken_port_is_an_error(tmp_path):
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(UserError, match=f"--port: {port} cannot be used"), ui_server(None, tmp_path, port=port):
            pass


@pytest.mark.skipif(os.name != "posix", reason="sends Unix signals")
def test_it_answers_on_loopback_and_ctrl_c_ends_all_of_it(tmp_path, empty_store):
    runs = tmp_path / "runs"
    small.SmallStudy(runs).session("finished")
    shutil.copy(empty_store, runs)
    sync(small.STUDY, runs=runs)
    script = "import sys\nfrom pathlib import Path\nfrom sweeps.tracking.ui import serve_ui\nserve_ui(None, Path(sys.argv[1]))\n"
    command = [sys.executable, "-u", "-c", script, str(runs)]
    empty = tmp_path / "cwd"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=empty, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().split()[4]
        assert address.startswith("http://127.0.0.1:")
        page = f"{address}/#/experiments/1/runs?workflowType=machine_learning"
        assert process.stdout.readline() == f"  small: {page}\n"
        children = psutil.Process(process.pid).children(recursive=True)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            f"{address}/api/2.0/mlflow/experiments/search", b'{"max_results": 10}', {"Content-Type": "application/json"}
        )
        assert b'"name": "small"' in direct.open(request, timeout=30).read()
        listening = {c.laddr.ip for child in children for c in child.net_connections("tcp") if c.status == "LISTEN"}
        assert listening == {"127.0.0.1"}
        assert len(children) <= 4
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stdout.read() == "Stopped.\n"
    finally:
        process.kill()
        process.wait()
    end = time.monotonic() + 10
    while any(child.is_running() and child.status() != psutil.STATUS_ZOMBIE for child in children):
        assert time.monotonic() < end
        time.sleep(0.1)
    assert list(empty.iterdir()) == []
