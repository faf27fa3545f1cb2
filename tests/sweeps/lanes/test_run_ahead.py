"""Workers that begin an epoch before the others have done the one before: the numbers are those of
one process in step.
"""

import threading
import time
from dataclasses import replace

import counting
import pytest
from counting import CountingLanes
from toy_lanes import ToyLanes
from toy_study import in_memory, search, toy_study

from sweeps.lanes import Outcome, TrialSpec, advance_all
from sweeps.lanes.worker_pool import WorkerPool
from sweeps.lanes.worker_restarts import WorkerError

MEDIAN = {"pruner": "median", "pruner_options": {"startup_trials": 2, "warmup_epochs": 0}}
TPE = {"sampler": "tpe", "sampler_options": {"startup_trials": 3}}
PRUNED = Outcome(state="pruned", epoch=2, objective=None)


@pytest.fixture
def pool(tmp_path):
    opened = []

    def start(factory=counting.build, count=2, timeout=None, **arguments):
        opened.append(
            WorkerPool(factory, [{"folder": tmp_path, **arguments}] * count, timeout=timeout)
        )
        return opened[-1]

    yield start
    for lanes in opened:
        lanes.close()


@pytest.fixture
def decided_late(monkeypatch):
    monkeypatch.setattr("sweeps.engine.trial_loop.PIPELINED_FROM", 1)


def trial(number, **params):
    return TrialSpec(number=number, params=params, seed=number + 100)


def values(progress):
    return sorted((each.number, each.epoch, each.objective) for each in progress)


def alone(folder, numbers, rounds):
    """The epochs of each of these trials, trained without neighbours."""
    (folder / "alone").mkdir()
    lanes = CountingLanes(folder / "alone", len(numbers))
    for number in numbers:
        lanes.add(trial(number))
    return {
        number: [values(advance_all(lanes, [number]))[0] for _ in range(rounds)]
        for number in numbers
    }


class Planned:
    """What follows, as an engine would plan it: these trials end, those begin in their lanes, in
    each round.
    """

    def __init__(self, ending=(), fresh=()):
        self.ending, self.fresh, self.asked = ending, [*fresh], []

    def __call__(self, numbers):
        self.asked.append(sorted(numbers))
        ending = {number: PRUNED for number in numbers if number in self.ending}
        return ending, [self.fresh.pop(0) for _ in ending]


def advanced(lanes, numbers, plan=None):
    lanes.prefetch(plan or Planned())
    return values(advance_all(lanes, numbers))


def test_a_worker_trains_on_while_another_one_still_trains_the_last_epoch(pool, tmp_path):
    """Trial 1 is in its second epoch before trial 0 has done its first."""
    lanes = pool(width=1)
    lanes.add(trial(0, bad="wait", at=1))
    lanes.add(trial(1, bad="mark", at=2))

    def go():
        while not list(tmp_path.glob("bad-1-*")) and waiting.is_alive():
            time.sleep(0.01)
        (tmp_path / "go").touch()

    waiting = threading.main_thread()
    threading.Thread(target=go, daemon=True).start()
    expected = alone(tmp_path, [0, 1], 3)
    assert [advanced(lanes, [0, 1]) for _ in range(3)] == [
        [expected[0][n], expected[1][n]] for n in range(3)
    ]


def test_who_ends_and_who_begins_goes_along_with_the_next_epoch(pool, tmp_path):
    """Nobody waits for a worker to end trial 1 and to begin trial 4: the caller asks when both are
    done.
    """
    lanes = pool()
    expected = alone(tmp_path, [0, 1, 2, 3, 4], 4)
    for number in range(4):
        lanes.add(trial(number))
    assert advanced(lanes, [0, 1, 2, 3]) == [expected[number][0] for number in range(4)]
    plan = Planned(ending=[1], fresh=[trial(4)])
    assert advanced(lanes, [0, 1, 2, 3], plan) == [expected[number][1] for number in range(4)]
    assert sorted(plan.asked) == [[0, 2], [1, 3]]
    assert [(result.number, result.metrics) for result in lanes.finish({1: PRUNED})] == [
        (1, {"epochs": 2})
    ]
    lanes.discard_checkpoints([trial(1)])
    lanes.add(trial(4))
    assert advanced(lanes, [0, 2, 3, 4]) == [
        *(expected[number][2] for number in (0, 2, 3)),
        expected[4][0],
    ]
    assert advanced(lanes, [0, 2, 3, 4]) == [
        *(expected[number][3] for number in (0, 2, 3)),
        expected[4][1],
    ]


@pytest.mark.parametrize("at", ["finish", "add", 1, 2, 3, 4])
def test_a_worker_that_dies_ahead_goes_unnoticed(pool, tmp_path, at):
    lanes = pool()
    expected = alone(tmp_path, range(5), 4)
    bad = {"bad": "kill", "at": at, "times": 2}
    begins = trial(4, **(bad if at in ("add", 1, 2) else {}))
    for number in range(4):
        lanes.add(trial(number, **(bad if (number, at) in ((1, "finish"), (3, 3), (3, 4)) else {})))
    rounds = [
        advanced(lanes, [0, 1, 2, 3], plan) for plan in (None, Planned(ending=[1], fresh=[begins]))
    ]
    assert rounds == [[expected[number][epoch] for number in range(4)] for epoch in (0, 1)]
    assert lanes.finish({1: PRUNED})[0].metrics == {"epochs": 2}
    lanes.add(begins)
    rounds = [advanced(lanes, [0, 2, 3, 4]) for _ in range(2)]
    assert rounds == [
        [*(expected[number][epoch] for number in (0, 2, 3)), expected[4][epoch - 2]]
        for epoch in (2, 3)
    ]
    assert len(list(tmp_path.glob("bad-*"))) == 2


@pytest.mark.parametrize("at", ["nowhere", "add", "replay", 3])
def test_a_trial_that_goes_on_ahead_catches_up_first(pool, tmp_path, at):
    """Trial 4 has done 2 epochs elsewhere, and its checkpoint is lost. Its worker may die in the
    midst of it.
    """
    lanes = pool()
    expected = alone(tmp_path, range(5), 4)
    for number in range(4):
        lanes.add(trial(number))
    goes_on = replace(trial(4, bad="kill", at=at, times=1), epoch=2)
    assert advanced(lanes, [0, 1, 2, 3], Planned(ending=[1], fresh=[goes_on])) == [
        expected[n][0] for n in range(4)
    ]
    lanes.finish({1: PRUNED})
    lanes.add(goes_on)
    lanes.replay()
    rounds = [advanced(lanes, [0, 2, 3, 4]) for _ in range(2)]
    assert rounds == [
        [*(expected[n][epoch] for n in (0, 2, 3)), expected[4][epoch + 1]] for epoch in (1, 2)
    ]
    assert len(list(tmp_path.glob("bad-4-*"))) == (at != "nowhere")


def test_a_trial_goes_on_once_a_worker_has_discarded_its_checkpoints(pool, tmp_path):
    """Both workers train when the checkpoints are to go, so that is done after their epochs: until
    then nobody begins the trial ahead.
    """
    lanes = pool()
    for number in range(4):
        lanes.add(trial(number, **({"bad": "wait", "at": 1} if number < 2 else {})))
    goes_on = replace(trial(4), epoch=2)
    expected = alone(tmp_path, [4], 3)
    (tmp_path / "4.json").write_text("[2, 0]")  # wrong, so that it shows who reads it
    plan = Planned(ending=[1], fresh=[goes_on])
    lanes.prefetch(plan)
    round_ = lanes.advance([0, 1, 2, 3])
    next(round_)
    lanes.discard_checkpoints([goes_on])
    (tmp_path / "go").touch()
    assert len([progress for part in round_ for progress in part]) == 4
    lanes.finish({1: PRUNED})
    lanes.add(goes_on)
    lanes.replay()
    assert advanced(lanes, [0, 2, 3, 4])[-1] == expected[4][2]


@pytest.mark.parametrize(
    ("bad", "kind"), [("kill", "out_of_memory"), ("raise", "error"), ("sleep", "timed_out")]
)
def test_a_trial_that_fails_ahead_has_failed_in_the_epoch_that_is_asked_for_then(
    pool, tmp_path, bad, kind
):
    lanes = pool(timeout=2.0)
    expected = alone(tmp_path, range(4), 3)
    for number in range(4):
        lanes.add(trial(number, **({"bad": bad, "at": 2} if number == 3 else {})))
    assert advanced(lanes, [0, 1, 2, 3]) == [expected[number][0] for number in range(4)]
    lanes.prefetch(Planned())
    *good, failed = advance_all(lanes, [0, 1, 2, 3])
    assert (failed.number, failed.epoch, failed.failure.kind) == (3, 2, kind)
    assert values(good) == [expected[each.number][1] for each in good]
    lanes.finish({3: Outcome(state="failed", epoch=1, objective=None)})
    assert advanced(lanes, [0, 2]) == [expected[number][2] for number in (0, 2)]


def test_what_nobody_planned_is_done_after_the_epoch_that_has_begun(pool, tmp_path):
    """A replay, a trial that another program has ended, a trial for its lane, and trials that
    leave.
    """
    lanes, expected = pool(), alone(tmp_path, range(5), 5)
    for number in range(4):
        lanes.add(trial(number))
    assert advanced(lanes, [0, 1, 2, 3]) == [expected[number][0] for number in range(4)]
    lanes.replay()
    assert lanes.finish({0: PRUNED})[0].number == 0
    lanes.add(trial(4))
    assert advanced(lanes, [1, 2, 3, 4]) == [
        *(expected[number][1] for number in (1, 2, 3)),
        expected[4][0],
    ]
    lanes.release([1])
    lanes.add(TrialSpec(number=1, params={}, seed=101, epoch=2))
    lanes.replay()
    assert advanced(lanes, [1, 2, 3, 4]) == [
        *(expected[number][2] for number in (1, 2, 3)),
        expected[4][1],
    ]


def test_another_trial_than_the_one_that_was_begun_is_refused(pool):
    lanes = pool()
    lanes.add(trial(0))
    advanced(lanes, [0], Planned(ending=[0], fresh=[trial(1)]))
    lanes.finish({0: PRUNED})
    with pytest.raises(WorkerError, match="trial-0001 is another one than a worker has begun"):
        lanes.add(trial(1, x=1.0))
    with pytest.raises(WorkerError, match="give the same command again"):
        advance_all(pool_with_one_begun(pool), [0])


def pool_with_one_begun(pool):
    lanes = pool(width=1, count=1)
    lanes.add(trial(0))
    advanced(lanes, [0], Planned(ending=[0], fresh=[trial(1)]))
    return lanes


# ---- studies that are decided late ----


def test_what_is_pruned_late_trains_and_reports_one_epoch_more(monkeypatch):
    """Values without noise that depend on the trial alone: each decision is known."""
    study = toy_study(trials=3, pruner="successive_halving", pruner_options={"factor": 2})
    lengths = {}
    for late in (1000, 1):
        monkeypatch.setattr("sweeps.engine.trial_loop.PIPELINED_FROM", late)
        optuna_study = in_memory(study)
        lanes = ToyLanes(
            width=3, epochs=6, objective=lambda trial, epoch, state: float(trial.number)
        )
        search(optuna_study, study, lanes, [])
        lengths[late] = [len(trial.intermediate_values) for trial in optuna_study.trials]
    assert lengths[1000][0] == lengths[1][0] == 6
    for before, after in zip(lengths[1000][1:], lengths[1][1:], strict=True):
        assert before < 6
        assert after == before + 1


@pytest.mark.parametrize(("first", "then"), [(15, 16), (16, 15)])
def test_the_constant_of_a_new_study_is_on_record_and_its_lanes_decide(first, then, monkeypatch):
    study, more = toy_study(trials=20, **MEDIAN), toy_study(trials=40, **MEDIAN)
    optuna_study = in_memory(study)
    asked = []

    class Asked(ToyLanes):
        def prefetch(self, plan):
            asked.append(self.width)

    search(optuna_study, study, Asked(width=first, epochs=2), [])
    monkeypatch.setattr("sweeps.engine.trial_loop.PIPELINED_FROM", 8)  # of a later version
    search(optuna_study, more, Asked(width=then, epochs=2), [])
    assert set(asked) == {16}
    assert len(optuna_study.trials) == 40
