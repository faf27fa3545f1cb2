"""A machine of a real Ray cluster that is cut off from the others: each machine is a network
namespace of its own.
"""

import os
import shlex
import signal
import sys
import time
from contextlib import suppress

import machines
import psutil
import pytest
import traced_study as traced
from ray_machines import ENVIRONMENT

pytest.importorskip("ray", reason="needs vaeexp[ray]")
# Two machines take half a minute to start, and minutes where this one is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
HEAD, NODE = machines.HUB, "n1"
RAY = f"{shlex.quote(sys.executable)} -m ray.scripts.scripts start --disable-usage-stats"
NOTICED_EARLY = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "500",
    "RAY_health_check_failure_threshold": "2",
}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory):
    """The table of the study in one process."""
    return traced.undisturbed(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def networks():
    with machines.made_networks([NODE]):
        yield


def count(file):
    return len(file.read_text()) if file.exists() else 0


def wait_until(happens, driver, folder):
    while not happens():
        assert driver.poll() is None, traced.said(folder)
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("limit", "settings", "line"),
    [
        pytest.param(10, {}, "gave no sign of life for 10 seconds", id="the pulse notices first"),
        pytest.param(
            15,
            NOTICED_EARLY,
            "cannot be reached; its trials go on elsewhere once",
            id="Ray notices first",
        ),
        pytest.param(
            30,
            NOTICED_EARLY,
            "workers of the driver before this one could not be reached",
            id="Ctrl-C, next driver",
        ),
    ],
)
def test_a_worker_that_is_cut_off_ends_before_its_successor_begins(
    networks, wanted, tmp_path, record_property, limit, settings, line, request
):
    """Ray may say that a machine is dead long before the worker on it leaves, which trained on
    beside its successor.

    Ctrl-C ends the driver before that; the next one, at once, leaves the trial alone until this
    worker has ended.
    """
    stopped = "Ctrl-C" in request.node.callspec.id
    address, starts, over = f"{machines.address(HEAD)}:6379", tmp_path / "starts", tmp_path / "over"
    head = (
        f"{RAY} --head --port 6379 --node-ip-address {machines.address(HEAD)} --num-cpus 2 "
        "--include-dashboard false"
    )
    node = (
        f"{RAY} --address {address} --node-ip-address {machines.address(NODE)} --num-cpus 1 --block"
    )
    first, second = (
        shlex.join(traced.command(tmp_path, address, workers, limit)) for workers in (2, 1)
    )
    again = f"; date +%s.%N > {shlex.quote(str(over))}; {second}" if stopped else ""
    variables = {**ENVIRONMENT, **settings}
    driver = traced.start(
        machines.machine(HEAD, f"{head} && {{ {first}{again}; }}"), tmp_path, **variables
    )
    loop = f"while true; do {node}; echo >> {shlex.quote(str(starts))}; sleep 1; done"
    with machines.started(
        machines.machine(NODE, loop), env={**os.environ, "PYTHONPATH": traced.PATH, **variables}
    ):
        traced.wait_for(tmp_path, driver, 8, NODE)
        (tmp_path / f"hold-{NODE}").touch()
        held = traced.wait_for(tmp_path, driver, 8 + 10, NODE)
        begun = count(starts)
        machines.cut(NODE)
        cut_at, harmed = time.time(), time.monotonic()
        if stopped:
            wait_until(
                lambda: "cannot be reached; its trials go on" in traced.said(tmp_path),
                driver,
                tmp_path,
            )
            os.kill(python_below(driver), signal.SIGINT)
        else:
            wait_until(lambda: traced.of(tmp_path, held.number)[-1].node == HEAD, driver, tmp_path)
            (tmp_path / f"hold-{HEAD}").touch()
            record_property("seconds to the successor", round(time.monotonic() - harmed, 1))
            machines.mend(NODE)
            if settings:  # Ray has given the machine up, so that it begins anew
                wait_until(lambda: count(starts) > begun, driver, tmp_path)
            (tmp_path / f"hold-{NODE}").unlink()
            (tmp_path / f"hold-{HEAD}").unlink()
        assert driver.wait() == 0, traced.said(tmp_path)
        machines.mend(NODE)
    record_property("seconds after the fault", round(time.monotonic() - harmed, 1))
    moments = traced.of(tmp_path, held.number)
    zombie = [
        moment.time for moment in moments if (moment.node, moment.pid) == (held.node, held.pid)
    ]
    assert zombie[-1] > (float(over.read_text()) if stopped else cut_at + 1), (
        "it trained on for a while"
    )
    assert zombie[-1] < min(moment.time for moment in moments if moment.node == HEAD)
    traced.check_order(traced.trace(tmp_path))
    assert traced.stored_table(tmp_path) == wanted
    assert line in traced.said(tmp_path)


def python_below(process):
    """Return the process id of the driver in a machine."""
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if (
                child.cmdline()[:1] == [sys.executable]
                and "from traced_study import main; main()" in child.cmdline()
            ):
                return child.pid
    raise AssertionError("no driver runs")
