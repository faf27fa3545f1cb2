"""Starting the MLflow UI: on this store, on this machine only, and gone when it is stopped."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
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
        with (
            pytest.raises(UserError, match=f"--port: {port} cannot be used"),
            ui_server(None, tmp_path, port=port),
        ):
            pass


@pytest.mark.skipif(os.name != "posix", reason="sends Unix signals")
def test_it_answers_on_loopback_and_ctrl_c_ends_all_of_it(tmp_path, empty_store):
    runs = tmp_path / "runs"
    small.SmallStudy(runs).session("finished")
    shutil.copy(empty_store, runs)
    sync(small.STUDY, runs=runs)
    script = (
        "import sys\nfrom pathlib import Path\nfrom sweeps.tracking.ui import "
        "serve_ui\nserve_ui(None, Path(sys.argv[1]))\n"
    )
    command = [sys.executable, "-u", "-c", script, str(runs)]
    empty = tmp_path / "cwd"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=empty, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().split()[4]
        assert address.startswith("http://127.0.0.1:")
        page = f"{address}/#/experiments/1/runs?workflowType=machine_learning"
        [view] = small.views(runs)
        assert process.stdout.readline() == f"  small: {page}&viewStateShareKey={view}\n"
        children = psutil.Process(process.pid).children(recursive=True)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        request = urllib.request.Request(
            f"{address}/api/2.0/mlflow/experiments/search",
            b'{"max_results": 10}',
            {"Content-Type": "application/json"},
        )
        assert b'"name": "small"' in direct.open(request, timeout=30).read()
        listening = {
            c.laddr.ip
            for child in children
            for c in child.net_connections("tcp")
            if c.status == "LISTEN"
        }
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


def _ask(address, path, *, host=None, origin=None):
    """The status of a search that a browser sends: it names the host that it was called by, and the
    page that asks.
    """
    headers = {"Content-Type": "application/json"}
    headers |= ({"Host": host} if host else {}) | ({"Origin": origin} if origin else {})
    request = urllib.request.Request(f"{address}{path}", b'{"max_results": 10}', headers)
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return direct.open(request, timeout=30).status
    except urllib.error.HTTPError as error:
        return error.code


def test_another_address_answers_its_own_pages_and_no_others(tmp_path, empty_store):
    runs, search = tmp_path / "runs", "/ajax-api/2.0/mlflow/experiments/search"
    small.SmallStudy(runs).session("finished")
    shutil.copy(empty_store, runs)
    with ui_server(None, runs, host="127.0.0.2") as (address, _):
        assert address.startswith("http://127.0.0.2:")
        assert _ask(address, search, origin=address) == 200
        assert _ask(address, search, host="evil.example") == 403
        assert _ask(address, search, origin="http://evil.example") == 403


def test_another_address_is_admitted_by_its_names():
    from sweeps.tracking.ui import _admitted, is_loopback

    assert all(map(is_loopback, ("127.0.0.1", "localhost", "::1", "127.0.0.2")))
    for host in ("0.0.0.0", "::", "192.0.2.7", "lab.example"):
        assert not is_loopback(host)
        hosts, origins = _admitted(host, 8080)[1::2]
        expected = {socket.gethostname(), "127.0.0.1"} if host in ("0.0.0.0", "::") else {host}
        assert {f"{name}:8080" for name in expected} <= {*hosts.split(",")}
        assert {f"http://{name}:8080" for name in expected} <= {*origins.split(",")}


@pytest.mark.parametrize("host", ["192.0.2.7", "no.such.host.invalid", "not a host"])
def test_an_address_of_another_machine_is_refused(tmp_path, host):
    (tmp_path / "mlflow.db").touch()
    with (
        pytest.raises(UserError, match=rf"--host: got {host}.*0\.0\.0\.0"),
        ui_server(None, tmp_path, host=host),
    ):
        pass
