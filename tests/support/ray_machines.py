"""A Ray cluster of three machines, each with room for one worker, all of them on this machine."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import psutil
import pytest

ENVIRONMENT = {
    "RAY_worker_niceness": "0",  # workers of a low priority would wait for the other tests
    "RAY_health_check_period_ms": "1000",  # for a machine that goes
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AUTH_MODE": "disabled",  # whether this user has a token or not
}
_ATTEMPTS = 6


@contextmanager
def three_machines(**variables: str | None) -> Iterator[Any]:
    """Start the machines, with these variables; yields a `ray.cluster_utils.Cluster`."""
    from ray.cluster_utils import Cluster

    given: Mapping[str, str | None] = {**ENVIRONMENT, **variables}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value) if value is not None else patch.delenv(name, raising=False)
        for attempt in range(1, _ATTEMPTS + 1):
            cluster, before = Cluster(), psutil.Process().children(recursive=True)
            try:
                for _ in range(3):
                    cluster.add_node(
                        num_cpus=1,
                        include_dashboard=False,
                        include_log_monitor=False,
                        no_monitor=True,
                    )
                break
            except Exception:  # a busy machine starts Ray's own processes too slowly for Ray
                cluster.shutdown()
                # Ray forgets them.
                for left in {*psutil.Process().children(recursive=True)}.difference(before):
                    with suppress(psutil.NoSuchProcess):
                        left.kill()
                if attempt == _ATTEMPTS:
                    raise
        try:
            yield cluster
        finally:
            cluster.shutdown()


def actors(cluster: Any) -> dict[int, Any]:
    """Return the processes of actors on these machines: process id → machine. Other clusters may
    run beside this one.
    """
    found = {}
    for machine in cluster.list_all_nodes():
        for raylet in machine.all_processes["raylet"]:
            with suppress(psutil.NoSuchProcess):
                children = psutil.Process(raylet.process.pid).children(recursive=True)
                found |= {
                    child.pid: machine
                    for child in children
                    if "ray::LanesActor" in " ".join(child.cmdline())
                }
    return found
