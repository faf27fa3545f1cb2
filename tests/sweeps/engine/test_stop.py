"""A study that is stopped in order trains no epoch twice, however rarely its lanes write
checkpoints by themselves.
"""

import json
import logging
import time

import counting
import pytest
from stopped_study import STUDY, epochs_trained, interrupted, notes, stopped_study
from toy_study import decided_by, in_memory, search, table

from sweeps.lanes import TrialSpec
from sweeps.lanes.worker_pool import WorkerPool


@pytest.fixture
def workers(tmp_path):
    """Starts pools of two worker processes; they end with the test."""
    started = []

    def start(factory=counting.build_lasting, **arguments):
        started.append(WorkerPool(factory, [{"folder": tmp_path, "width": 1, **arguments}] * 2))
        return started[-1]

    yield start
    for lanes in started:
        lanes.close()


@pytest.mark.parametrize("late", [1000, 1], ids=["in step", "pipelined"])
def test_a_stopped_study_trains_each_epoch_once_and_ends_in_the_same_table(workers, tmp_path, late):
    (tmp_path / "alone").mkdir()
    moments = [
        lambda: len(epochs_trained(tmp_path)) >= 5,  # of the first two trials, of six epochs each
        lambda: any(line.startswith("finish") for line in notes(tmp_path)),
    ]
    with decided_by(late):
        undisturbed = in_memory(STUDY)
        search(undisturbed, STUDY, counting.LastingLanes(tmp_path / "alone", 2), [])
        assert stopped_study(workers, tmp_path, moments) == table(undisturbed)
    trained = epochs_trained(tmp_path)
    assert set(trained) == set(epochs_trained(tmp_path / "alone"))
    assert late == 1 or len(trained) == len(set(trained)), (
        "only who had run ahead trains an epoch again"
    )


def test_a_worker_that_hangs_holds_a_stop_for_its_time_and_the_others_leave_checkpoints(
    workers, tmp_path, caplog
):
    lanes = workers(counting.build)
    lanes.add(TrialSpec(number=0, params={"bad": "sleep", "at": 1}, seed=0))
    lanes.add(TrialSpec(number=1, params={"bad": "nod", "at": 1}, seed=1))
    interrupted_round = lanes.advance([0, 1])
    next(interrupted_round)
    interrupted_round.close()  # as an exception in the driver does
    started = time.monotonic()
    said = [each for done in lanes.stop(5.0) for each in done]
    assert time.monotonic() - started < 30  # the hanging worker sleeps for a minute
    assert [(progress.number, progress.epoch) for progress in said] == [(1, 1)]
    assert json.loads((tmp_path / "1.json").read_text())[0] == 1
    assert not (tmp_path / "0.json").exists()
    assert "worker-0: no checkpoint within 5 s." in caplog.text


def test_a_second_interrupt_ends_at_once(workers, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    # Both workers are in the second epoch, in which they hang.
    moments = [
        lambda: sum(" 2 of " in line for line in notes(tmp_path)) == 2,
        lambda: "Ctrl-C again ends at once" in caplog.text,
    ]
    lanes = workers(counting.build_hanging)
    with interrupted(*moments):
        search(in_memory(STUDY), STUDY, lanes, [], stop_seconds=3600.0)
    lanes.close()
    assert not list(tmp_path.glob("*.json"))
