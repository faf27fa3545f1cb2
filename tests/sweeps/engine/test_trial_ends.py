"""Every way that a trial of a toy study can end, and when failures end the study."""

import itertools
import math

import optuna
import pytest
from optuna.trial import TrialState
from test_search import DIVERGED, level, run, states
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import (
    MemoryJournal,
    Watcher,
    in_memory,
    table,
    toy_study,
)

from sweeps.engine.trial_loop import MAX_FAILURES
from sweeps.errors import AllFailedError, UserError
from sweeps.lanes import Failure, TrialResult
from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.study_record import read_state

ERROR = Failure(kind="error", message="a bug")


def test_every_way_that_a_trial_can_end():
    crashed = Failure(kind="crashed", message="the process died")
    memory = Failure(kind="out_of_memory", message="2 GB were asked for")
    lanes = ToyLanes(
        width=2,
        epochs=4,
        failures={1: (3, DIVERGED), 2: (1, crashed), 3: (2, memory), 4: (4, ERROR)},
        last_epochs={5: 2},
        objective=level(1.0, 1.0, 1.0, 1.0, 1.0, 1.5, 9.0),
    )
    study = toy_study(trials=7, pruner="threshold", pruner_options={"upper": 5.0})
    watcher = Watcher()
    optuna_study, _ = run(study, lanes, watcher)
    assert states(optuna_study) == [
        "COMPLETE",
        "FAIL",
        "FAIL",
        "FAIL",
        "FAIL",
        "COMPLETE",
        "PRUNED",
    ]
    endings = [trial.user_attrs["outcome"] for trial in optuna_study.trials]
    kinds = [ending["failure"] and ending["failure"]["kind"] for ending in endings]
    assert kinds == [None, "diverged", "crashed", "out_of_memory", "error", None, None]
    assert [ending["epoch"] for ending in endings] == [4, 3, 1, 2, 4, 2, 1]
    assert [ending["objective"] for ending in endings] == [1.0, 1.0, None, 1.0, 1.0, 1.5, 9.0]
    assert [len(trial.intermediate_values) for trial in optuna_study.trials] == [
        4,
        2,
        0,
        1,
        3,
        2,
        1,
    ]
    assert sorted(event[1] for event in watcher.events if event[0] == "ended") == list(range(7))
    assert not lanes.checkpoints


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_fails_the_trial_and_never_reaches_optuna(bad):
    lanes = ToyLanes(
        width=2,
        epochs=3,
        objective=lambda trial, epoch, state: bad if (trial.number, epoch) == (0, 2) else state,
    )
    optuna_study, _ = run(toy_study(trials=2), lanes)
    assert states(optuna_study) == ["FAIL", "COMPLETE"]
    assert list(optuna_study.trials[0].intermediate_values) == [1]
    assert optuna_study.trials[0].user_attrs["outcome"]["failure"]["kind"] == "diverged"


def test_the_best_epoch_is_the_value_even_when_the_last_is_worse():
    lanes = ToyLanes(
        width=1, epochs=3, objective=lambda trial, epoch, state: [5.0, 2.0, 3.0][epoch - 1]
    )
    optuna_study, _ = run(toy_study(trials=1), lanes)
    assert optuna_study.best_value == 2.0


def test_a_bug_does_not_burn_the_budget():
    failures = dict.fromkeys(range(100), (1, ERROR))
    study = toy_study(trials=100)
    optuna_study = in_memory(study)
    with pytest.raises(
        AllFailedError,
        match=rf"{MAX_FAILURES} trials in a row failed \(error\), the last with: a bug",
    ):
        run(study, ToyLanes(width=1, failures=failures), None, optuna_study)
    assert states(optuna_study) == ["FAIL"] * MAX_FAILURES
    run(toy_study(trials=12), ToyLanes(width=1), None, optuna_study)  # mended: it goes on
    assert states(optuna_study)[-2:] == ["COMPLETE"] * 2


@pytest.mark.parametrize("kind", ["crashed", "out_of_memory", "error", "timed_out"])
def test_failures_of_one_cause_in_a_row_end_a_study(kind):
    causes = (
        f"its process was killed in epoch {number}, with {7 * number} MiB"
        for number in itertools.count()
    )
    failures = {number: (1, Failure(kind=kind, message=next(causes))) for number in range(1, 100)}
    study = toy_study(trials=100)
    optuna_study = in_memory(study)
    with pytest.raises(UserError, match=rf"3 trials in a row failed \({kind}\)") as raised:
        run(
            study,
            ToyLanes(width=1, epochs=1, failures=failures),
            None,
            optuna_study,
            max_failures=3,
        )
    assert raised.value.status == 2, "one trial is complete"
    assert states(optuna_study) == ["COMPLETE", *["FAIL"] * 3]


def test_diverged_trials_and_changing_causes_never_end_a_study():
    diverged = dict.fromkeys(range(30), (1, DIVERGED))
    run(toy_study(trials=30), ToyLanes(width=1, epochs=1, failures=diverged), max_failures=2)
    crash = Failure(kind="crashed", message="it died")
    turns = {number: (1, (ERROR, crash, DIVERGED)[number % 3]) for number in range(30)}
    run(toy_study(trials=30), ToyLanes(width=1, epochs=1, failures=turns), max_failures=2)


def test_a_row_of_failures_is_that_of_the_numbers_and_not_of_the_ends():
    """Trial 2 trains long and well between failures; the row begins anew after it, whenever it
    ends.
    """
    failures = {number: (1, ERROR) for number in range(100) if number != 2}
    study = toy_study(trials=100)
    optuna_study = in_memory(study)
    lanes = ToyLanes(width=2, epochs=1, last_epochs={2: 20}, failures=failures)
    with pytest.raises(UserError, match="4 trials in a row"):
        run(study, lanes, None, optuna_study, max_failures=4)
    assert [name for number, name in enumerate(states(optuna_study)) if number != 2] == ["FAIL"] * 6


class Hanging(ToyLanes):
    """Trial 1 cannot be finished."""

    def finish(self, ending):
        failure = Failure(kind="timed_out", message="it hangs")
        return [
            TrialResult(number=1, failure=failure) if result.number == 1 else result
            for result in super().finish(ending)
        ]


class Dying(Hanging):
    """The process dies when the failure of trial 1 is on record, before Optuna knows."""

    def discard_checkpoints(self, trials):
        if 1 in [trial.number for trial in trials]:
            raise KeyboardInterrupt
        super().discard_checkpoints(trials)


@pytest.mark.parametrize("dies", [False, True])
def test_a_trial_that_cannot_be_finished_has_failed_also_after_a_restart(dies):
    study, journal, watcher = toy_study(trials=3), MemoryJournal(), Watcher()
    if dies:
        with pytest.raises(KeyboardInterrupt):
            run(study, Dying(width=1, epochs=2), None, in_memory(study, journal))
    optuna_study, _ = run(study, Hanging(width=1, epochs=2), watcher, in_memory(study, journal))
    assert states(optuna_study) == ["COMPLETE", "FAIL", "COMPLETE"]
    record = read_state(storage_of(optuna_study), "toy").trials[1]
    assert (record.state, record.outcome.failure.kind, len(record.epochs)) == (
        "failed",
        "timed_out",
        2,
    )
    assert ("ended", 1, "failed", None) in watcher.events


@pytest.mark.parametrize("jump", [-86400.0, 86400.0])
def test_a_clock_that_jumps_changes_times_alone(jump):
    """The clock jumps a day when the fourth epoch begins; the budget counts the seconds of the
    timer.
    """
    budget = {
        "seconds": 11.5,
        "stale_trials": 4,
        "sampler": "tpe",
        "sampler_options": {"startup_trials": 2},
    }
    values = level(3.0, 2.0, 2.5, 2.0, *[4.0] * 20)

    def trained(jumps):
        timer, clock, rounds = SimulatedClock(), SimulatedClock(1e9), itertools.count()

        def begin(event):
            if event.startswith("advance") and next(rounds) == 3:
                clock.now += jumps

        study = toy_study(**budget)
        lanes = ToyLanes(width=2, epochs=3, objective=values, clock=timer, before=begin)
        optuna_study, reason = run(study, lanes, None, in_memory(study), clock, timer=timer)
        record = read_state(storage_of(optuna_study), "toy")
        ends = [trial.ended_round for trial in record.trials]
        return table(optuna_study), reason, optuna_study.user_attrs["elapsed"], ends

    assert trained(jump) == trained(0.0)


def test_a_trial_that_somebody_else_ends_is_dropped():
    study = toy_study(trials=3)
    optuna_study = in_memory(study)

    def meddle(event):
        if event == "advance 0 1" and optuna_study.trials[0].intermediate_values:
            optuna_study.tell(0, state=TrialState.FAIL, skip_if_finished=True)

    lanes, watcher = ToyLanes(width=2, epochs=3, before=meddle), Watcher()
    run(study, lanes, watcher, optuna_study)
    assert states(optuna_study) == ["FAIL", "COMPLETE", "COMPLETE"]
    assert list(optuna_study.trials[0].intermediate_values) == [1]
    assert ("ended", 0, "failed", None) in watcher.events
    assert "finish 0 failed" in lanes.events


def test_trials_that_others_put_into_the_storage_are_left_alone():
    study = toy_study(trials=4)
    optuna_study = in_memory(study)
    optuna_study.ask()
    optuna_study.add_trial(
        optuna.trial.create_trial(
            params={"x": 0.5},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
            value=1.0,
        )
    )
    run(study, None, None, optuna_study)
    assert states(optuna_study) == ["RUNNING", "COMPLETE", "COMPLETE", "COMPLETE"]
