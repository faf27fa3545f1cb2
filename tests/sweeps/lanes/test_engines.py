"""The table of engines: a new engine is one class and one row."""

from pathlib import Path

import counting
import pytest
from thread_engine import ThreadWorker
from toy_study import in_memory, search, table, toy_study

from sweeps.lanes.engines import ENGINES, open_engine
from sweeps.lanes.worker_pool import WorkerPool

STUDY = toy_study(trials=8, sampler="tpe", sampler_options={"startup_trials": 3}, pruner="median")


@pytest.mark.parametrize("workers", [1, 2])
def test_an_engine_of_somebody_else_s_gives_the_same_table(
    workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENGINES, "threads", "thread_engine:open_threads")
    tables = []
    for name in ("local", "threads"):
        folder = tmp_path / name
        folder.mkdir()
        with open_engine(name, address="auto", packages=[], folder=folder) as engine:
            recipes = [{"folder": folder, "width": 4 // workers}] * workers
            lanes = WorkerPool(counting.build_toy, recipes, worker=engine.worker)
            optuna_study = in_memory(STUDY)
            search(optuna_study, STUDY, lanes, [])
            assert isinstance(lanes._children[0], ThreadWorker) == (name == "threads")
            lanes.close()
        tables.append(table(optuna_study))
    assert tables[0] == tables[1]
