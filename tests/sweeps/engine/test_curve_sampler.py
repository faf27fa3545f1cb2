"""Freeze–thaw: expected improvement, who is chosen beside whom, what a search does, what a study file may say."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from scipy.integrate import quad
from scipy.stats import norm
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import CONDITIONAL, Fixed, Watcher, X, in_memory, table, toy_study

from sweeps.engine import search
from sweeps.engine.events import reported_epochs
from sweeps.engine.curve_sampler import fitted_for
from sweeps.engine.outlook import Option, Outlook, curves_of, expected_improvement, new_configurations
from sweeps.errors import UserError
from sweeps.results.curve_process import prior
from sweeps.results.seen_curves import LearningCurve
from sweeps.storage.trial_record import revives
from sweeps.study.pruners import PRUNERS
from sweeps.study.space import Parameter, Space
from sweeps.study.study_model import Budget, Confirm

RUNGS = [1, 2, 4]
THAW = {"pruner": "freeze_thaw", "pruner_options": {"rungs": RUNGS, "startup_trials": 4, "max_epochs": 8}}
SPACE = {**X, **CONDITIONAL}


def searched(width=2, **options):
    """The Optuna study of a toy search that has ended."""
    study = toy_study(SPACE, **{**THAW, "fixed": Fixed(epochs=8), "trials": 14, **options})
    stored = in_memory(study)
    search(stored, study, ToyLanes(width=width, epochs=8), [], clock=SimulatedClock())
    return stored


@given(st.floats(-3, 3), st.floats(0.5, 3), st.floats(-3, 3))
def test_the_expected_improvement_is_an_integral(mean, deviation, incumbent):
    reach = (incumbent - mean) / deviation
    gain = quad(lambda z: deviation * (reach - z) * norm.pdf(z), -12, min(max(reach, -12), 12))[0]
    found = expected_improvement(np.array([mean]), np.array([deviation**2]), incumbent)[0]
    assert found == pytest.approx(gain, rel=1e-5, abs=1e-7)


def outlook_of(stored):
    space = Space(tuple(Parameter(name=name, **content) for name, content in SPACE.items()))
    given = {"last": 8, "seed": 0, "log_parameters": prior(3)[0]}
    return Outlook(space, stored.get_trials(), **given), space


def test_equal_options_are_worth_less_together():
    """Two configurations side by side are one choice: the second lane takes another one."""
    outlook, _ = outlook_of(searched())
    twins = [
        {"x": 0.3, "prior": "normal"},
        {"x": 0.3001, "prior": "normal"},
        {"x": 0.36, "prior": "mixture", "components": 3},
    ]
    options = [Option(params=params, number=None) for params in twins]
    alone = outlook.best([], options, 1, 0.1)[0]
    beside = outlook.best([alone.params], [option for option in options if option is not alone], 2, 0.1)
    together = outlook.best([], options, 3, 0.1)
    assert [option.params for option in together] == [option.params for option in [alone, *beside]]


def test_a_trial_that_will_not_improve_does_not_go_on_but_a_new_one_may_begin():
    outlook, _ = outlook_of(searched())
    params = {"x": 0.31, "prior": "normal"}
    old, new = (Option(params=params, number=number) for number in (3, None))
    assert outlook.best([], [old], 1, 1e9) == []
    assert outlook.best([], [old, new], 1, 1e9) == [new]


def test_new_configurations_lie_in_the_space():
    space = Space(tuple(Parameter(name=name, **content) for name, content in SPACE.items()))
    best = [LearningCurve(number=0, params={"x": 0.99, "prior": "normal"}, objectives=(1.0,), diverged=False)]
    found = new_configurations(space, best, np.random.default_rng(0))
    assert len(found) > 300
    for params in found:
        assert [*params] == space.active(params)
        assert all(space[name].allows(value) for name, value in params.items())
    near = [params for params in found[-64:] if params["prior"] == "normal"]
    assert np.mean([params["x"] > 0.7 for params in near]) > 0.8


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 5), st.integers(2, 12))
def test_trials_pause_at_rungs_alone_and_a_search_ends_with_an_answer(width, trials):
    stored = searched(width, trials=trials)
    assert {trial.state for trial in stored.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(trial.state == TrialState.COMPLETE for trial in stored.trials) >= 1
    for trial in stored.trials:
        epochs = len(trial.intermediate_values)
        assert epochs == 8 or epochs in RUNGS or trial.user_attrs.get("duplicate_of") is not None
        assert all(pause["epoch"] in RUNGS for pause in trial.user_attrs.get("pauses", ()))


def test_the_same_study_gives_the_same_table():
    assert table(searched()) == table(searched())


def test_a_larger_budget_revives_and_the_curve_of_a_revived_trial_counts_once():
    study = toy_study(SPACE, **THAW, fixed=Fixed(epochs=8), trials=10)
    stored, checkpoints = in_memory(study), {}
    for trials, top in ((10, 1), (14, 6)):
        larger = replace(study, budget=Budget(trials=trials), confirm=Confirm(top=top, seeds=1))
        search(stored, larger, ToyLanes(2, 8, checkpoints=checkpoints), [Watcher()], clock=SimulatedClock())
    revived = [trial for trial in stored.trials if revives(trial) is not None]
    assert revived
    for trial in revived:
        before = stored.trials[revives(trial)]
        assert [*trial.intermediate_values.items()][: len(before.intermediate_values)] == [
            *before.intermediate_values.items()
        ]
    space = Space(tuple(Parameter(name=name, **content) for name, content in SPACE.items()))
    curves = curves_of(space, stored.trials)
    numbers = [curve.number for curve in curves]
    assert numbers == sorted(set(numbers))
    assert not {trial.number for trial in revived} & set(numbers), "a curve has the number of the trial that began it"
    assert sum(len(curve.objectives) for curve in curves) == reported_epochs(stored.trials)


def test_a_search_completes_as_many_trials_as_the_study_confirms():
    study = replace(toy_study(X, **THAW, trials=9, fixed=Fixed(epochs=8)), confirm=Confirm(top=4, seeds=1))
    stored = in_memory(study)
    search(stored, study, ToyLanes(width=2, epochs=8), [])
    assert sum(trial.state == TrialState.COMPLETE for trial in stored.trials) >= 4


def test_parameters_are_found_for_ever_fewer_rounds():
    rounds = [fitted_for(round_) for round_ in range(1, 2000)]
    assert sorted({*rounds})[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18]
    assert all(newest <= round_ < 1.25 * newest + 1 for round_, newest in enumerate(rounds, start=1))


# ---- the study file ----


def test_the_rungs_are_even_in_the_logarithm():
    assert PRUNERS["freeze_thaw"]().for_epochs(30).rungs == [1, 2, 3, 4, 5, 8, 11, 15, 21]
    chosen = PRUNERS["freeze_thaw"]().for_epochs(100)
    assert chosen.max_epochs == 100
    ratios = np.diff(np.log([*chosen.rungs[3:], 100]))
    assert ratios.max() / ratios.min() < 1.5
    assert math.exp(ratios.mean()) == pytest.approx(100**0.1, rel=0.05)


@pytest.mark.parametrize(
    ("given", "epochs", "problem"),
    [
        ({}, None, "max_epochs: is missing, and the study does not say"),
        ({}, 1, "max_epochs: got 1; must be at least 2"),
        ({"rungs": [5, 9]}, 5, "rungs: got [5, 9]; the first must be below the 5 epochs of a trial"),
    ],
)
def test_rungs_that_cannot_be(given, epochs, problem):
    with pytest.raises(UserError) as error:
        PRUNERS["freeze_thaw"](**given).for_epochs(epochs)
    assert problem in str(error.value)


def test_a_grid_and_a_range_that_grows_are_refused():
    grows = {"x": {**X["x"], "grow": True, "limits": {}}}
    for search_space, sampler, place in ((grows, "tpe", "search.x.grow"), (X, "grid", "pruner.name")):
        space = Space(tuple(Parameter(name=name, **content) for name, content in search_space.items()))
        with pytest.raises(UserError) as error:
            PRUNERS["freeze_thaw"]().check(space, sampler)
        assert error.value.place == place
    PRUNERS["freeze_thaw"]().check(Space((Parameter(name="x", **X["x"]),)), "tpe")
