"""Samplers and pruners: made anew before each ask they search on as one would, on any storage."""

import logging
import math
import warnings

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from pydantic import TypeAdapter

from sweeps.errors import UserError
from sweeps.search.pruners import AnyPruner
from sweeps.search.samplers import SAMPLERS, check_sampler, exhausted, make_sampler
from sweeps.storage.trial_record import decoder
from sweeps.study.space import Parameter, Space

NUMBERS = (
    Parameter(name="beta", kind="float", low=0.01, high=10.0, log=True),
    Parameter(name="latent_size", kind="int", low=2, high=64, log=True),
)
CHOICE = (*NUMBERS, Parameter(name="optimizer", kind="choice", values=("adam", "adamax")))
FULL = (
    *CHOICE,
    Parameter(name="hidden", kind="choice", values=((64,), (64, 64))),
    Parameter(name="prior", kind="choice", values=("normal", "mixture")),
    Parameter(
        name="components", kind="int", low=2, high=64, log=True, when={"prior": ("mixture",)}
    ),
)
STEPS = Space(
    (
        Parameter(name="beta", kind="float", low=0.0, high=0.5, step=0.25),
        Parameter(name="prior", kind="choice", values=("normal", "mixture")),
        Parameter(name="hidden", kind="choice", values=((64,), (64, 64))),
        Parameter(name="components", kind="int", low=2, high=4, when={"prior": ("mixture",)}),
    )
)
SPACES = {name: Space(FULL) for name in ("tpe", "random", "qmc")} | {
    "grid": STEPS,
    "cmaes": Space(NUMBERS),
    "gp": Space(CHOICE),
}


def sampler_settings(name, **options):
    return SAMPLERS[name](**options)


def value_of(params):
    """A toy objective over whatever is there."""
    return (
        abs(params["beta"] - 0.3)
        + params.get("latent_size", 0) / 64
        + (params.get("optimizer") == "adam")
    )


def continue_study(storage, settings, space, trials, seed=0, width=2):
    """Ask `width` at a time with a sampler made anew for each, as the driver does, from a fresh
    `Study` object.
    """
    study = optuna.create_study(
        study_name="x", storage=storage, load_if_exists=True, direction="minimize"
    )
    for start in range(len(study.trials), trials, width):
        asked = []
        for number in range(start, min(start + width, trials)):
            study.sampler = make_sampler(settings, space, seed, number, {})
            trial = study.ask()
            asked.append((trial, space.suggest(trial)))
        for trial, params in asked:
            study.tell(trial, value_of(params))
    return [decoder(space)(trial.params) for trial in study.trials]


@pytest.mark.parametrize(
    ("name", "trials"),
    [("gp", 16), ("cmaes", 40), ("tpe", 40), ("random", 40), ("qmc", 40), ("grid", 24)],
)
def test_forty_trials_are_four_and_thirty_six(name, trials, caplog):
    settings, space = sampler_settings(name), SPACES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error", optuna.exceptions.ExperimentalWarning)
        whole = continue_study(optuna.storages.InMemoryStorage(), settings, space, trials)
        storage = optuna.storages.InMemoryStorage()
        continue_study(storage, settings, space, 4)
        parts = continue_study(storage, settings, space, trials)
    assert parts == whole
    warned = [record for record in caplog.records if record.levelno >= logging.WARNING]
    # The GP would be faster with it.
    assert not [record for record in warned if "greenlet" not in record.getMessage()]
    assert all(list(params) == space.active(params) for params in whole)
    distinct = {repr(params) for params in whole}
    assert len(distinct) == trials
    if name != "grid":
        assert (
            continue_study(optuna.storages.InMemoryStorage(), settings, space, 4, seed=1)
            != whole[:4]
        )


def test_every_sampler_is_tested():
    assert {*SPACES, "curves"} == {*SAMPLERS}, (
        "tests/sweeps/search/test_curve_sampler.py has curves"
    )


@pytest.mark.parametrize("sequence", ["sobol", "halton"])
def test_quasi_random_points_cover_better_than_random_ones(sequence):
    settings, space = sampler_settings("qmc", sequence=sequence), Space(FULL)
    asked = continue_study(optuna.storages.InMemoryStorage(), settings, space, 64)
    bins = {int(16 * math.log(params["beta"] / 0.01) / math.log(1000)) for params in asked[:16]}
    assert len(bins) >= 13  # 16 random points meet about 10 of 16 bins
    assert 28 <= sum(params["prior"] == "mixture" for params in asked) <= 36


def test_a_grid_with_conditions_visits_each_valid_setting_once():
    settings = sampler_settings("grid")
    size = 3 * 2 * (1 + 3)
    asked = continue_study(optuna.storages.InMemoryStorage(), settings, STEPS, size)
    assert sorted(map(repr, asked)) == sorted(map(repr, STEPS.configurations()))
    assert asked != STEPS.configurations()  # in a random order
    assert not exhausted(settings, STEPS, size - 1)
    assert exhausted(settings, STEPS, size)
    assert not exhausted(sampler_settings("random"), STEPS, 10_000)


def test_tpe_learns():
    settings, space = sampler_settings("tpe"), Space(CHOICE)
    asked = continue_study(optuna.storages.InMemoryStorage(), settings, space, 60)
    first, last = ([value_of(params) for params in part] for part in (asked[:10], asked[-10:]))
    assert sum(last) < 0.5 * sum(first)


@pytest.mark.parametrize(
    ("name", "space", "problem"),
    [
        ("cmaes", Space(CHOICE), "'cmaes' cannot model 'optimizer', which is a choice"),
        ("gp", Space(FULL), "'gp' cannot model 'components', which is searched under a condition"),
        ("grid", Space(NUMBERS), "search.beta: a grid needs a finite list"),
    ],
)
def test_spaces_that_a_sampler_cannot_search(name, space, problem):
    with pytest.raises(UserError, match=problem):
        check_sampler(sampler_settings(name), space)


# ---- pruners ----


def pruned_at(chosen, curves, study_name="x", pruner=None):
    """Epoch at which each curve is pruned, None where it runs to its end; one trial after the
    other.
    """
    study = optuna.create_study(
        study_name=study_name, direction="minimize", pruner=pruner or chosen.build()
    )
    epochs = []
    for curve in curves:
        trial = study.ask()
        epoch = None
        for step, value in enumerate(curve, start=1):
            trial.report(value, step)
            if trial.should_prune():
                epoch = step
                break
        study.tell(
            trial,
            None if epoch else min(curve),
            state=TrialState.PRUNED if epoch else TrialState.COMPLETE,
        )
        epochs.append(epoch)
    return epochs


def pruner_settings(content):
    return TypeAdapter(AnyPruner).validate_python(content)


GOOD, BAD = [[5.0, 4, 3, 2], [6.0, 5, 4, 3]], [9.0, 9, 9, 9]


@pytest.mark.parametrize(
    ("content", "epochs"),
    [
        ({"name": "median", "startup_trials": 2}, [None, None, 1]),
        ({"name": "median", "startup_trials": 3}, [None, None, None]),
        ({"name": "median", "startup_trials": 2, "warmup_epochs": 3}, [None, None, 3]),
        ({"name": "percentile", "percentile": 10, "startup_trials": 1}, [None, 1, 1]),
        ({"name": "threshold", "upper": 8}, [None, None, 1]),
        ({"name": "threshold", "upper": 8, "warmup_epochs": 2}, [None, None, 2]),
        ({"name": "threshold", "lower": 2.5}, [4, None, None]),
        (
            {"name": "patient", "patience": 1, "inner": {"name": "median", "startup_trials": 2}},
            [None, None, None],
        ),
        ({"name": "successive_halving", "min_epochs": 2, "factor": 2}, [None, 2, 2]),
        ({"name": "hyperband", "min_epochs": 1, "max_epochs": 1, "factor": 2}, [None, 1, 1]),
        ("none", [None, None, None]),
    ],
)
def test_pruners_end_what_they_should(content, epochs):
    assert pruned_at(pruner_settings(content), [*GOOD, BAD]) == epochs


def test_patience_waits_for_a_trial_that_still_improves():
    rising, falling = [7.0, 8, 9, 10], [10.0, 9, 8, 7]
    patient = pruner_settings({"name": "patient", "patience": 1})
    assert pruned_at(patient, [falling, rising]) == [None, 3]


@settings(max_examples=200, deadline=None)
@given(
    curves=st.lists(
        st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), min_size=1, max_size=12
    ),
    percentile=st.floats(1, 99),
    startup=st.integers(0, 4),
    warmup=st.integers(0, 3),
)
def test_the_percentile_of_a_round_decides_as_that_of_each_trial(
    curves, percentile, startup, warmup
):
    content = {
        "name": "percentile",
        "percentile": percentile,
        "startup_trials": startup,
        "warmup_epochs": warmup,
    }
    ours = pruned_at(pruner_settings(content), curves)
    optunas = optuna.pruners.PercentilePruner(
        percentile, n_startup_trials=startup, n_warmup_steps=warmup
    )
    assert ours == pruned_at(None, curves, pruner=optunas)
