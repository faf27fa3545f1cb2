"""One table for any number of workers, wherever they run and whichever die: real training on the
CPU.
"""

import hashlib
import io
import json
import os
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import ray_machines
from mnist_files import write_files
from noted_lanes import open_noted_lanes, returns
from rich.console import Console
from tiny_study import NAME, STUDY
from toy_study import search

from sweeps.errors import UserError
from sweeps.lanes.worker_process import preload
from sweeps.storage import open_storage, open_study
from sweeps.storage.study_record import read_state
from vaeexp.launch.job import prepare_job
from vaeexp.launch.memory import choose_execution
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.study_log import StudyLog
from vaeexp.launch.workers import engine_of, make_workers
from vaeexp.runs.comparison import OF_TIME

ASKED = {"device": "cpu", "precision": "float32", "lanes": 3}
SLOW = (pytest.mark.slow, pytest.mark.timeout(1800))
SUPPORT = str(Path(__file__).parents[2] / "support")
# Test figures take longer than all training.
SEARCH = STUDY.replace("confirm: {top: 1, seeds: 1}\n", "")
CONVOLUTIONAL = SEARCH.replace(
    "{network: mlp, hidden: [16], latent_size: 2}", "{network: conv, latent_size: 2}"
).replace("4.8e+37", "4.0")
PROMOTION = SEARCH.replace(
    "{name: median, startup_trials: 1, warmup_epochs: 2}",
    "{name: promotion, rungs: [1, 2], factor: 2}",
).replace("trials: 4", "trials: 9")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """Trains the tiny study and returns all its numbers; `kill` is given the pool of workers after
    the second round.
    """
    root = tmp_path_factory.mktemp("same")
    write_files(root / "data" / "MNIST" / "raw", training=160, test=30)
    preload("vaeexp.runs.worker")

    def trained(name, study=SEARCH, *, kill=None, options=None, seen=False, kind=None, **asked):
        path, runs = root / f"{NAME}.yaml", root / name
        path.write_text(study, encoding="utf-8")
        given = SweepOptions(study=str(path), data=root / "data", runs=runs, **ASKED | asked)
        job = prepare_job(replace(given, **(options or {})), StudyLog(Console(file=io.StringIO())))
        storage = open_storage(None, runs, NAME)
        optuna_study = open_study(storage, job.study)
        with engine_of(job) as engine, engine.shown() if seen else nullcontext():
            execution = choose_execution(
                *(job.study, job.settings, job.dataset, job.options.execution, {}, print),
                engine=engine,
            )
            lanes = make_workers(job, execution, engine, kind)
            try:
                watchers = [Killer(lanes, kill)] if kill else []
                search(optuna_study, job.study, lanes, watchers, runs=runs)
            finally:
                lanes.close()
        return numbers(read_state(storage, NAME), runs)

    return trained


class Killer:
    """An observer that does harm to the workers, once, after the second round."""

    def __init__(self, lanes, kill):
        self.lanes, self.kill, self.rounds = lanes, kill, 0

    def trial_started(self, trial, *, resumed): ...

    def trial_ended(self, trial, outcome, result, duplicate_of): ...

    def epoch_finished(self, trial, progress): ...

    def round_finished(self, snapshot):
        self.rounds += 1
        if self.rounds == 2:
            self.kill(self.lanes)


def kill_process(lanes):
    os.kill(lanes._children[0].process.pid, signal.SIGKILL)


def numbers(stored, runs):
    """All numbers of a study but times, the hashes of all weights, and how each run was
    computed.
    """
    return {
        run.name_in(NAME): {
            "trial": (run.state, run.params, run.seed, run.round, run.ended_round, run.files),
            "epochs": [(each.epoch, each.objective, timeless(each.metrics)) for each in run.epochs],
            "results": timeless(run.results),
            "weights": {
                path.name: hash_of(path) for path in (runs / run.folder).glob("*.safetensors")
            },
            "arithmetic": json.loads((runs / run.folder / "settings.json").read_text())[
                "arithmetic"
            ],
        }
        for run in stored.trials
        if run.folder
    }


def hash_of(path):
    """The hash of a file of weights, or of the tensors of a checkpoint, whose header holds
    times.
    """
    content = path.read_bytes()
    tensors = 8 + int.from_bytes(content[:8], "little") if path.name.startswith("checkpoint") else 0
    return hashlib.sha256(content[tensors:]).hexdigest()


def timeless(metrics):
    return {name: value for name, value in metrics.items() if name not in OF_TIME}


@pytest.mark.parametrize(
    ("study", "fuse"),
    [
        pytest.param(SEARCH, "off", id="mlp"),
        pytest.param(SEARCH, "on", id="mlp, fused", marks=SLOW),
        pytest.param(CONVOLUTIONAL, "off", id="conv", marks=SLOW),
        pytest.param(CONVOLUTIONAL, "on", id="conv, fused", marks=SLOW),
    ],
)
def test_the_table_of_three_workers_of_which_one_is_killed_is_that_of_one(
    train, study, fuse, request, monkeypatch
):
    monkeypatch.setattr("vaeexp.launch.execution.usable_cores", lambda: 6)
    name = request.node.callspec.id
    alone = train(f"{name}, 1 worker", study, fuse=fuse, workers=1)
    assert train(f"{name}, 3 workers", study, fuse=fuse, workers=3, kill=kill_process) == alone
    assert {f"{NAME}/{number}" for number in range(3)} <= alone.keys()


def test_a_study_goes_on_with_workers_of_its_own_kind_only(train):
    words = r"processor .*, not Abacus; .* Use the same options and machines"
    with pytest.raises(UserError, match=words):
        train("kind", workers=1, kind={"processor": "Abacus"})


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray", reason="needs vaeexp[ray]")
    with ray_machines.three_machines(PYTHONPATH=SUPPORT) as machines:
        yield machines


@pytest.fixture(scope="module")
def alone(train):
    """The numbers of one process that nobody disturbs."""
    return train("alone", workers=1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_another_machine_goes_on_from_checkpoints_at_an_address(
    train, alone, cluster, tmp_path, monkeypatch
):
    """No machine sees the runs folder of the driver here, because the driver does not show it
    (`RayEngine.shown`).
    """
    monkeypatch.setattr("vaeexp.launch.workers.open_remote_lanes", open_noted_lanes)
    monkeypatch.setenv("VAEEXP_NOTES", str(tmp_path / "notes"))
    lost = []

    def remove_machine(lanes):
        used = [worker._place.node for worker in lanes._children]
        machine = next(each for each in cluster.worker_nodes if each.node_id in used)
        lost.append(machine.node_id)
        cluster.remove_node(machine, allow_graceful=False)
        # A machine keeps its variables for the tests that follow.
        with monkeypatch.context() as patch:
            patch.delenv("VAEEXP_NOTES")
            cluster.add_node(num_cpus=1)

    shared = tmp_path / "shared"
    options = {
        "engine": "ray",
        "address": cluster.address,
        "checkpoints": f"file://{shared}",
        "worker_timeout": 10.0,
    }
    asked = {"workers": 2, "checkpoint_seconds": 0.001}
    assert train("checkpoints", kill=remove_machine, options=options, **asked) == alone
    came_back = returns(tmp_path / "notes")
    assert came_back, "trials of the lost machine went on elsewhere"
    for trial in came_back:
        assert trial.epoch, "a checkpoint, not the start"
        assert trial.machine not in lost
    assert not [path for path in shared.rglob("*") if path.is_file()], (
        "a trial that has ended needs none"
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_promotion_has_one_table_in_one_process_in_three_and_on_three_machines(
    train, cluster, tmp_path, monkeypatch
):
    """All machines see the runs folder of the driver, so that a promoted trial gets its checkpoint
    there.
    """
    monkeypatch.setattr("vaeexp.launch.execution.usable_cores", lambda: 6)
    monkeypatch.setattr("vaeexp.launch.workers.open_remote_lanes", open_noted_lanes)
    monkeypatch.setenv("VAEEXP_NOTES", str(tmp_path / "notes"))
    alone = train("promotion, 1 worker", PROMOTION, workers=1)
    assert train("promotion, 3 workers", PROMOTION, workers=3) == alone
    options = {"engine": "ray", "address": cluster.address}
    assert train("promotion, 3 machines", PROMOTION, workers=3, options=options, seen=True) == alone
    came_back = returns(tmp_path / "notes")
    assert came_back, "trials were promoted"
    assert all(trial.epoch for trial in came_back), "from a checkpoint, not from the start"
    assert {len(run["epochs"]) for run in alone.values()} >= {1, 4}
