"""The pattern that was once hidden by “remains open”: Adam better at a low learning rate, Adamax
above, in every seed.
"""

import math

import numpy as np
import pandas as pd
import pytest
from drawn_studies import SPACE
from scipy.stats import binomtest

from sweeps.results.statistics import mean_interval
from vaeexp.results.interactions import chance_of_split, find_interactions
from vaeexp.results.parameters import searched_parameter
from vaeexp.results.tested_settings import PairComparison

EMPTY = pd.DataFrame({"repeat": [], "duplicate_of": [], "number": [], "purposes": []})
PARAMETERS = {name: searched_parameter(name, section, EMPTY) for name, section in SPACE.items()}
PATTERN = [(2.0, 2.2, 2.1), (-1.0, -1.4, -1.2), (-4.0, -3.0, -3.5), (-2.0, -2.5, -2.0)]
RATES, BETAS = (0.0012, 0.0023, 0.004, 0.006), (0.8, 0.5, 0.9, 0.6)


def found(differences, optimizers=("adam", "adamax", "adam", "adamax"), rates=RATES, betas=BETAS):
    rows = [(trial, value) for trial, own in enumerate(differences) for value in own]
    table = pd.DataFrame(rows, columns=["source_trial", "difference"])
    columns = {"params.learning_rate": rates, "params.beta": betas, "params.optimizer": optimizers}
    own = {name: values[: len(differences)] for name, values in columns.items()}
    named = find_interactions([of_pairs(table)], PARAMETERS, searched(len(differences), **own))
    return {each.other: each for each in named}


def searched(rows, **columns):
    return pd.DataFrame({"number": range(rows), **columns})


def of_pairs(table, parameter="optimizer", first="adam", second="adamax"):
    interval = mean_interval(table["difference"])
    named = {"parameter": parameter, "first": first, "second": second}
    return PairComparison(**named, pairs=table, incomplete=0, interval=interval, p=math.nan)


def test_the_pattern_is_named_with_its_threshold_and_sides():
    rate = found(PATTERN)["learning_rate"]
    assert rate.consistent
    assert 0.0012 < rate.threshold < 0.0023
    assert (rate.below, rate.above) == pytest.approx((2.1, -20.6 / 9))
    assert (rate.configurations, rate.n) == (4, 12)
    # three thresholds of the learning rate and three of β: {0}, {3}, {0, 1} and {1}, {2}, {1, 3}
    # against the rest
    assert rate.false_alarm == pytest.approx(chance_of_split((3, 3, 3, 3, 6, 6), 12))
    assert rate.study_false_alarm == rate.false_alarm < 0.01


def test_one_seed_of_the_other_sign_takes_the_name_away():
    assert not found([(2.0, 2.2, -0.2), *PATTERN[1:]])["learning_rate"].consistent


def test_too_few_differences_name_nothing():
    rate = found([(2.0, 2.2), (-1.0, -1.4)])["learning_rate"]
    assert not rate.consistent
    assert rate.false_alarm == pytest.approx(2 / 16)
    assert not rate.nameable
    assert rate.study_false_alarm == 0


@pytest.mark.parametrize(("sides", "n"), [((2, 2, 4), 8), ((3,), 12), ((1, 5, 6), 9)])
def test_the_chance_of_a_split_is_that_of_the_worst_common_difference(sides, n):
    """By simulation: differences above 0 with a chance p; every p has fewer consistent studies than
    stated, and one about as many.
    """
    random, stated, most = np.random.default_rng(0), chance_of_split(sides, n), 0.0
    masks = [np.arange(n) < side for side in sides]
    for p in (0.1, 0.2, 0.25, 0.3, 0.4, 0.5):
        signs = random.random((50_000, n)) < p
        hits = sum(((signs == mask).all(1) | (signs == ~mask).all(1)).mean() for mask in masks)
        most = max(most, hits)
        assert hits < stated + 0.002
    assert most > 0.9 * stated - 0.001


def test_at_most_five_percent_of_studies_without_an_interaction_name_one():
    """Three optimizers and two priors are compared at once, on shared seeds; the compared values
    differ by an amount everywhere.
    """
    random, false, studies = np.random.default_rng(1), 0, 100
    for _ in range(studies):
        rows = int(random.integers(2, 6))
        drawn = {
            "learning_rate": 10 ** random.uniform(-4, -2, rows),
            "beta": 10 ** random.uniform(-2, 1, rows),
        }
        drawn |= {"latent_size": random.integers(2, 64, rows), "optimizer": ["adam"] * rows}
        search = searched(rows, **{f"params.{name}": values for name, values in drawn.items()})
        seeds, shift = int(random.integers(2, 4)), random.normal(0, 1, 4)
        run = (
            random.normal(0, 1, (4, rows, seeds))
            + random.normal(0, 1, (4, 1, seeds))
            + shift[:, None, None]
        )
        twos = [(0, 1), (0, 2), (1, 2), (0, 3)]
        comparisons = [compared(str(one), str(other), run[other] - run[one]) for one, other in twos]
        named = find_interactions(comparisons, PARAMETERS, search)
        rates = {each.study_false_alarm for each in named}
        assert max(rates) <= 0.05
        assert len(rates) == 1
        false += any(each.consistent for each in named)
    assert binomtest(false, studies).proportion_ci(0.99, method="exact").low <= 0.05, false


def compared(first, second, differences):
    """A comparison with these differences, [configurations, seeds]."""
    rows, seeds = differences.shape
    table = pd.DataFrame(
        {"source_trial": np.repeat(np.arange(rows), seeds), "difference": differences.ravel()}
    )
    return of_pairs(table, "kind", first, second)


def test_the_learning_rate_was_tuned_for_one_side():
    assert (
        found([(1.0, 2.0)] * 3, optimizers=("adamax",) * 3)["learning_rate"].tuned_for == "adamax"
    )
    assert found([(1.0, 2.0)] * 3)["learning_rate"].tuned_for is None


def test_configurations_of_one_learning_rate_have_no_threshold():
    rate = found([(1.0, 2.0)] * 3, rates=(0.001,) * 3)["learning_rate"]
    assert rate.threshold is None
    assert math.isnan(rate.above)


def test_the_sides_of_a_choice_are_values_that_were_compared():
    """Nothing is known of values that no compared configuration has."""
    table = pd.DataFrame(
        {"source_trial": [0, 0, 0, 1, 1, 1], "difference": [2.0, 2.2, 2.1, -1.0, -1.4, -1.2]}
    )
    section = {"kind": "choice", "values": ["relu", "gelu", "tanh", "elu"]}
    parameters = {"activation": searched_parameter("activation", section, EMPTY)}
    search = searched(2, **{"params.activation": ["gelu", "tanh"]})
    (found_one,) = find_interactions([of_pairs(table)], parameters, search)
    assert (found_one.threshold, found_one.rest) == ("tanh", ("gelu",))
