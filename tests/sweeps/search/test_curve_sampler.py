"""Sampler `curves`: expected improvement, who is proposed beside whom, what a search does, what a
study file may say.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from optuna_trials import may_revive, newest_of_each, trials_of
from scipy.integrate import quad
from scipy.stats import norm
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import CONDITIONAL, Fixed, X, in_memory, search, toy_study

from sweeps.errors import UserError
from sweeps.search.curves import acquisition
from sweeps.search.curves.acquisition import (
    CANDIDATES,
    NEIGHBOURS,
    Acquisition,
    expected_improvement,
    key_of,
    new_configurations,
)
from sweeps.search.curves.learning_curves import LearningCurve, to_point
from sweeps.search.curves.process import prior
from sweeps.search.curves.sampler import fitted_for
from sweeps.search.samplers import SAMPLERS, check_sampler
from sweeps.storage.trial_record import decoder
from sweeps.study.space import Parameter, Space

CURVES = {
    "sampler": "curves",
    "sampler_options": {"startup_trials": 4, "max_epochs": 8},
    "pruner": "promotion",
    "pruner_options": {"rungs": [1, 2, 4], "factor": 3},
    "fixed": Fixed(epochs=8),
}
SPACE = {**X, **CONDITIONAL}


def space_of(search_space):
    return Space(tuple(Parameter(name=name, **content) for name, content in search_space.items()))


def falling(params, seed, epoch, state):
    """A bowl around x = 0.3, and a trace of each epoch before."""
    return (params["x"] - 0.3) ** 2 + 1 / epoch + 0.001 * state


def searched(width=2, space=SPACE, **options):
    """The Optuna study of a toy search that has ended."""
    study = toy_study(space, **{**CURVES, "trials": 14, **options})
    stored = in_memory(study)
    search(
        stored, study, ToyLanes(width=width, epochs=8, curve=falling), [], clock=SimulatedClock()
    )
    return stored


@given(st.floats(-3, 3), st.floats(0.5, 3), st.floats(-3, 3))
def test_the_expected_improvement_is_an_integral(mean, deviation, incumbent):
    reach = (incumbent - mean) / deviation
    gain = quad(lambda z: deviation * (reach - z) * norm.pdf(z), -12, min(max(reach, -12), 12))[0]
    found = expected_improvement(np.array([mean]), np.array([deviation**2]), incumbent)[0]
    assert found == pytest.approx(gain, rel=1e-5, abs=1e-7)


def outlook_of(stored):
    return Acquisition(
        space_of(SPACE),
        trials_of(stored, space_of(SPACE)),
        last=8,
        seed=0,
        log_parameters=prior(3)[0],
    )


def test_what_begins_beside_a_configuration_is_another_one():
    """A configuration that trains is believed to end as expected, so that the next one is far from
    it or not worth less.
    """
    expected, space = outlook_of(searched()), space_of(SPACE)
    first = expected.best([], ())
    second = expected.best([first], [key_of(first)])
    unaware = expected.best([], [key_of(first)])
    apart = [
        np.linalg.norm(np.subtract(to_point(space, each), to_point(space, first)))
        for each in (second, unaware)
    ]
    assert apart[0] >= apart[1]
    beside = [first]
    while len(beside) < 6:
        beside.append(expected.best(beside, [*map(key_of, beside)]))
    assert len({*map(key_of, beside)}) == 6
    anew = outlook_of(searched())
    assert anew.best(beside[:-1], [*map(key_of, beside[:-1])]) == beside[-1], (
        "who asks for the last alone gets the same"
    )
    assert np.array_equal(anew._believed[1], expected._believed[1])


def test_what_is_believed_is_conditioned_on():
    """One after the other, the ends give the covariance of all of them at once."""
    predicted = outlook_of(searched())
    rows, covariance = [3, 17, 40, 5], predicted._covariance
    among = covariance[np.ix_(rows, rows)] + predicted._process.noise * np.eye(4)
    expected = covariance - covariance[:, rows] @ np.linalg.solve(among, covariance[rows])
    np.testing.assert_allclose(predicted._believing(rows), expected, atol=1e-9)


def test_the_ends_of_the_best_unfinished_trials_alone_are_predicted(monkeypatch):
    """Their number bounds the cost of a decision, however many trials are paused."""
    stored = searched(trials=24)
    revivable = [trial for trial in newest_of_each(stored.trials) if may_revive(trial)]
    assert len(revivable) > 4
    monkeypatch.setattr(acquisition, "UNFINISHED", 4)
    lowest = sorted(revivable, key=lambda trial: min(trial.intermediate_values.values()))[:4]
    predicted = outlook_of(stored)
    assert {*map(key_of, predicted._unfinished)} == {
        key_of(decoder(space_of(SPACE))(trial.params)) for trial in lowest
    }
    assert len(predicted._mean) == 4 + CANDIDATES + NEIGHBOURS


def test_new_configurations_lie_in_the_space():
    space = space_of(SPACE)
    best = [
        LearningCurve(
            number=0, params={"x": 0.99, "prior": "normal"}, objectives=(1.0,), diverged=False
        )
    ]
    found = new_configurations(space, best, np.random.default_rng(0))
    assert len(found) > 300
    for params in found:
        assert [*params] == space.active(params)
        assert all(space[name].allows(value) for name, value in params.items())
    near = [params for params in found[-64:] if params["prior"] == "normal"]
    assert np.mean([params["x"] > 0.7 for params in near]) > 0.8


@settings(max_examples=10, deadline=None)
@given(st.integers(1, 20), st.integers(2, 24), st.sampled_from(["promotion", "median", "none"]))
def test_a_search_ends_with_an_answer(width, trials, pruner):
    stored = searched(
        width,
        trials=trials,
        **({} if pruner == "promotion" else {"pruner": pruner, "pruner_options": {}}),
    )
    assert {trial.state for trial in stored.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(trial.state == TrialState.COMPLETE for trial in stored.trials) >= 1
    assert len(stored.trials) == trials


def test_proposals_come_nearer_to_the_best_than_random_draws():
    away = {
        sampler: np.mean(
            [
                abs(trial.params["x"] - 0.3)
                for seed in range(5)
                for trial in searched(
                    2, X, trials=30, sampler=sampler, sampler_options=options, seed=seed
                ).trials[-15:]
            ]
        )
        for sampler, options in (("curves", CURVES["sampler_options"]), ("random", {}))
    }
    assert away["curves"] < 0.5 * away["random"]


def test_parameters_are_found_for_ever_fewer_rounds():
    rounds = [fitted_for(round_) for round_ in range(1, 2000)]
    assert sorted({*rounds})[:12] == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18]
    assert all(
        newest <= round_ < 1.25 * newest + 1 for round_, newest in enumerate(rounds, start=1)
    )


# ---- the study file ----


def test_the_epochs_of_a_trial_are_those_of_the_study_unless_it_says():
    assert SAMPLERS["curves"]().for_epochs(30).max_epochs == 30
    assert SAMPLERS["curves"](max_epochs=50).for_epochs(30).max_epochs == 50
    with pytest.raises(UserError, match="max_epochs: is missing, and the study does not say"):
        SAMPLERS["curves"]().for_epochs(None)


def test_a_range_that_grows_is_refused():
    with pytest.raises(UserError) as error:
        check_sampler(SAMPLERS["curves"](), space_of({"x": {**X["x"], "grow": True, "limits": {}}}))
    assert error.value.place == "search.x.grow"
    check_sampler(SAMPLERS["curves"](), space_of(SPACE))
