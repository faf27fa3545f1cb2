"""Workers that are actors on a real Ray cluster of three machines, really killed: what the driver
sees must not change.
"""

import os
import re
import shutil
import signal
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import counting
import psutil
import pytest
from ray_machines import three_machines
from stopped_study import STUDY, epochs_trained, notes, stopped_study
from toy_study import in_memory, search, table, toy_study

import sweeps
from sweeps.errors import UserError
from sweeps.lanes import Outcome, TrialSpec, advance_all
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.ray.worker import RayEngine, RayWorker, join_cluster

pytest.importorskip("ray", reason="needs vaeexp[ray]")

# A cluster of three machines takes half a minute to start, and minutes where the machine is busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
ROOT, SUPPORT = Path(__file__).parents[3], Path(__file__).parents[2] / "support"
SWEEPS = Path(sweeps.__file__).parent
COMPLETE = Outcome(state="complete", epoch=6, objective=0.0)
PAUSED = Outcome(state="paused", epoch=2, objective=0.0)
PROMOTED = toy_study(trials=9, pruner="promotion", pruner_options={"rungs": [1, 2], "factor": 2})
PATH = os.pathsep.join(map(str, (ROOT, SUPPORT)))


@pytest.fixture(scope="module")
def cluster():
    with three_machines(PYTHONPATH=PATH) as machines:
        yield machines


@pytest.fixture
def actors(cluster, tmp_path):
    """Starts a pool of actors; the last block of the test ends it."""

    @contextmanager
    def start(
        count=3,
        factory=counting.build,
        *,
        lanes=6,
        limit=60.0,
        seen=True,
        kinds=None,
        code=SWEEPS,
        **arguments,
    ):
        job = RayEngine(folder=tmp_path, limit=limit)
        recipe = {"folder": tmp_path, **arguments}
        recipes = [recipe | {"kind": kind} for kind in kinds] if kinds else [recipe] * count
        with join_cluster(cluster.address, [code]):
            job = job if not seen else _shown(job)
            pool = WorkerPool(factory, recipes, worker=job.worker, lanes=lanes)
            try:
                yield pool
            finally:
                pool.close()

    return start


def _shown(job):
    (job.folder / job.sign).write_text(job.sign)
    return job


def trial(number, epoch=0, **params):
    return TrialSpec(number=number, params=params, seed=number + 100, epoch=epoch)


def with_trials(lanes, *trials):
    for each in trials:
        lanes.add(each)
    return lanes


def values(progress):
    return [(each.number, each.epoch, each.objective) for each in progress]


def pids(progress):
    return {each.number: int(each.metrics["pid"]) for each in progress}


def alone(folder, numbers, epochs):
    """The rounds of the same trials in one process without accidents."""
    (folder / "alone").mkdir(exist_ok=True)
    lanes = with_trials(
        counting.CountingLanes(folder / "alone", len(numbers)), *map(trial, numbers)
    )
    return [values(advance_all(lanes, numbers)) for _ in range(epochs)]


def gone(processes, seconds=20.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not any(
            psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in processes
        ):
            return True
        time.sleep(0.05)
    return False


def test_a_study_begins_with_the_workers_that_there_are(actors, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(RayWorker, "patience", 3.0)
    four = list(range(4))
    with actors(5, lanes=10) as lanes:
        assert lanes.width == 10
        assert re.search(
            r"waiting for \d of 5 workers \(each needs, of what the cluster has: CPU 1 of 3, GPU",
            caplog.text,
        )
        while len(lanes._worker_set.up) < 3:
            lanes._worker_set.join(1.0)
        with_trials(lanes, *map(trial, range(10)))
        assert values(advance_all(lanes, four)) == alone(tmp_path, four, 1)[0]


def test_places_are_counted_by_cores_and_by_memory(cluster, tmp_path):
    import ray

    with join_cluster(cluster.address, []):
        sizes = [node["Resources"]["memory"] for node in ray.nodes() if node["Alive"]]
        memory = int(min(sizes))
        assert RayEngine(folder=tmp_path, memory=int(0.9 * memory)).places == 3
        assert RayEngine(folder=tmp_path, memory=2 * int(max(sizes))).places == 0
        assert RayEngine(folder=tmp_path, cpus=0.5, memory=int(0.4 * memory)).places == 6, (
            "two on each machine"
        )
        assert RayEngine(folder=tmp_path, cpus=0.5, memory=int(0.9 * memory)).places == 3


def test_results_come_back_from_where_the_drivers_folder_is_not_seen(actors, tmp_path, caplog):
    with actors(2, counting.build_writing, lanes=4, seen=False) as lanes:
        with_trials(lanes, *map(trial, range(4)))
        rounds = [advance_all(lanes, range(4)) for _ in range(2)]
        os.kill(pids(rounds[-1])[0], signal.SIGKILL)
        rounds.append(advance_all(lanes, range(4)))
        results = lanes.finish(dict.fromkeys(range(4), COMPLETE))
        lanes.discard_checkpoints([trial(number) for number in range(4)])
    assert [values(done) for done in rounds] == alone(tmp_path, range(4), 3)
    for number, result in enumerate(results):
        folder = tmp_path / f"trial-{number:04d}"
        assert result.folder == str(folder)
        assert {path.name for path in folder.iterdir()} >= {"weights", "epoch-3.png"}
        for done in rounds:
            assert Path(done[number].images[done[number].epoch]["state"]).exists()
    assert not list(tmp_path.glob("*.json"))
    assert "does not see the folder" in caplog.text
    assert "its trials begin again" in caplog.text


def files(folder):
    """The files of trials, by their path in the folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.glob("trial-*/*"))


def test_a_trial_that_paused_out_of_sight_goes_on_when_its_worker_is_lost(actors, tmp_path):
    four = range(4)
    with actors(2, counting.build_pausing, lanes=4, seen=False, notes=tmp_path) as lanes:
        with_trials(lanes, *map(trial, four))
        rounds = [values(advance_all(lanes, four)) for _ in range(2)]
        lanes.finish({0: PAUSED})
        for pid in {line.split()[-1] for line in notes(tmp_path) if line.startswith("epoch 0 ")}:
            os.kill(int(pid), signal.SIGKILL)
        with_trials(lanes, trial(0, epoch=2))
        lanes.replay()
        rounds.append(values(advance_all(lanes, four)))
        lanes.finish({0: COMPLETE})
        lanes.discard_checkpoints([trial(0)])
        assert files(tmp_path) == ["trial-0000/weights"]
    assert rounds == alone(tmp_path, four, 3)
    assert [line for line in epochs_trained(tmp_path) if line.startswith("trained 0 ")] == [
        f"trained 0 {epoch}" for epoch in (1, 1, 2, 2, 3)
    ]


def test_trials_stay_where_they_are_when_a_late_worker_does_not_see_their_checkpoints(
    actors, cluster, tmp_path, monkeypatch
):
    monkeypatch.setattr(RayWorker, "patience", 3.0)
    six = range(6)
    with actors(4, counting.build_pausing, lanes=6, seen=False, notes=tmp_path) as lanes:
        while len(lanes._worker_set.up) < 3:
            lanes._worker_set.join(1.0)
        with_trials(lanes, *map(trial, six))
        rounds = [values(advance_all(lanes, six)) for _ in range(2)]
        machine = cluster.add_node(num_cpus=1)
        while len(lanes._worker_set.up) < 4:
            lanes._worker_set.join(1.0)
        rounds += [values(advance_all(lanes, six)) for _ in range(2)]
        assert sorted(len(worker.trials) for worker in lanes.workers) == [0, 2, 2, 2]
    cluster.remove_node(machine)
    assert rounds == alone(tmp_path, six, 4)
    trained = epochs_trained(tmp_path)
    assert len(trained) == len(set(trained)) == 24


def test_an_actor_of_another_kind_is_refused_with_the_difference(actors, tmp_path, caplog):
    with actors(kinds=[{"torch": "2.15"}, {"torch": "2.16"}]) as lanes:
        assert len(lanes.workers) == 1
    assert re.search(
        r"goes on without worker-\d .*: it differs from .*torch 2\.1[56], not 2\.1[56]\)",
        caplog.text,
    )
    other = tmp_path / "other" / "sweeps"
    shutil.copytree(SWEEPS, other, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "seeds.py").open("a") as file:
        file.write("# other code\n")
    with (
        pytest.raises(
            UserError,
            match=r"worker-\d on \S+: runs other code than this process: sweeps .* not sweeps",
        ),
        actors(2, code=other),
    ):
        pass


@pytest.mark.parametrize("seen", [True, False], ids=["in sight", "out of sight"])
def test_a_stopped_study_on_actors_ends_in_the_same_table(actors, tmp_path, seen):
    undisturbed = in_memory(STUDY)
    (tmp_path / "alone").mkdir()
    search(
        undisturbed,
        STUDY,
        counting.PausingLanes(tmp_path / "alone", 2),
        [],
        runs=tmp_path / "alone",
    )
    with ExitStack() as pools:

        def start():
            pools.close()
            here = actors(2, counting.build_pausing, lanes=2, seen=seen, width=1, notes=tmp_path)
            return pools.enter_context(here)

        moments = [
            lambda: len(notes(tmp_path)) >= 7,  # in an epoch
            lambda: any(line.startswith("finish") for line in notes(tmp_path)),
        ]
        assert stopped_study(start, tmp_path, moments, runs=tmp_path) == table(undisturbed)
    trained = epochs_trained(tmp_path)
    if not seen:  # checkpoints stay out of sight, so the trials of stopped actors begin again
        trained = [*dict.fromkeys(trained)]
    assert trained == epochs_trained(tmp_path / "alone")
    assert len(trained) == len(set(trained))
