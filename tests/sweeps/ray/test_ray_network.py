"""A machine of a real Ray cluster that is cut off from the others: each machine is a network
namespace of its own.
"""

import os
import shlex
import sys
import time

import machines
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


@pytest.mark.parametrize(
    ("limit", "settings", "line"),
    [
        pytest.param(10, {}, "gave no sign of life for 10 seconds", id="the pulse notices first"),
        pytest.param(15, NOTICED_EARLY, "is lost with its machine", id="Ray notices first"),
    ],
)
def test_the_trials_of_a_machine_that_is_cut_off_go_on_elsewhere(
    networks, wanted, tmp_path, record_property, limit, settings, line
):
    """The worker on it trains on for a while, and leaves by itself. Where the pulse notices first,
    it has left before its successor begins.
    """
    address = f"{machines.address(HEAD)}:6379"
    head = (
        f"{RAY} --head --port 6379 --node-ip-address {machines.address(HEAD)} --num-cpus 2 "
        "--include-dashboard false"
    )
    node = (
        f"{RAY} --address {address} --node-ip-address {machines.address(NODE)} --num-cpus 1 --block"
    )
    command = shlex.join(traced.command(tmp_path, address, 2, limit))
    variables = {**ENVIRONMENT, **settings}
    driver = traced.start(machines.machine(HEAD, f"{head} && {command}"), tmp_path, **variables)
    with machines.started(
        machines.machine(NODE, node), env={**os.environ, "PYTHONPATH": traced.PATH, **variables}
    ):
        traced.wait_for(tmp_path, driver, 8, NODE)
        (tmp_path / f"hold-{NODE}").touch()
        held = traced.wait_for(tmp_path, driver, 8 + 10, NODE)
        machines.cut(NODE)
        cut_at, harmed = time.time(), time.monotonic()
        assert driver.wait() == 0, traced.said(tmp_path)
        machines.mend(NODE)
    record_property("seconds after the fault", round(time.monotonic() - harmed, 1))
    if not settings:
        before = [moment for moment in traced.of(tmp_path, held.number) if moment.pid == held.pid]
        assert before[-1].time > cut_at + 1, "it trained on for a while"
        traced.check_order(traced.trace(tmp_path))
    assert traced.stored_table(tmp_path) == wanted
    assert line in traced.said(tmp_path)
