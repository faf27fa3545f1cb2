"""A Ray that the driver itself has started, and whose only node dies: no other node can come."""

import os
import time
from pathlib import Path

import counting
import psutil
import pytest

import sweeps
from sweeps.errors import EngineLostError
from sweeps.lanes import TrialSpec, advance_all
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.ray.worker import RayEngine, open_ray

pytest.importorskip("ray", reason="needs vaeexp[ray]")
SUPPORT = Path(__file__).parents[2] / "support"
SWEEPS = Path(sweeps.__file__).parent


def train_on(pool, deadline):
    while time.monotonic() < deadline:
        advance_all(pool, [0])


def test_a_cluster_of_others_is_not_asked_whether_it_lives(tmp_path):
    RayEngine(folder=tmp_path).check_alive()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_death_of_the_only_node_ends_the_study_instead_of_a_wait(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    # Without it Ray turns its token on for the rest of this process, and other clusters have none.
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, (Path.cwd(), SUPPORT))))
    with open_ray("local", [SWEEPS], folder=tmp_path, limit=20.0) as engine, engine.shown():
        pool = WorkerPool(counting.build, [{"folder": tmp_path}], worker=engine.worker, lanes=2)
        try:
            pool.add(TrialSpec(number=0, params={}, seed=100))
            assert advance_all(pool, [0])
            for child in psutil.Process().children(recursive=True):
                if child.name() == "raylet":
                    child.kill()
            with pytest.raises(EngineLostError, match="the only node of this Ray has died"):
                train_on(pool, time.monotonic() + 300)
        finally:
            pool.close()
