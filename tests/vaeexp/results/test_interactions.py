"""The pattern that was once hidden by “remains open”: Adam better at a low learning rate, Adamax above, in every seed."""

import math

import pandas as pd
import pytest
from drawn_studies import SPACE

from sweeps.results.statistics import mean_interval
from vaeexp.results.interactions import find_interactions
from vaeexp.results.parameters import searched_parameter
from vaeexp.results.tested_settings import PairComparison

EMPTY = pd.DataFrame({"repeat": [], "duplicate_of": [], "number": [], "purposes": []})
PARAMETERS = {name: searched_parameter(name, section, EMPTY) for name, section in SPACE.items()}
RATES, BETAS = (0.0012, 0.0023, 0.004, 0.006), (0.8, 0.5, 0.9, 0.6)


def found(differences, optimizers=("adam", "adamax", "adam", "adamax"), rates=RATES, betas=BETAS):
    rows = [(trial, value) for trial, own in enumerate(differences) for value in own]
    table = pd.DataFrame(rows, columns=["source_trial", "difference"])
    search = pd.DataFrame(
        {
            "number": range(len(differences)),
            "params.learning_rate": rates[: len(differences)],
            "params.beta": betas[: len(differences)],
            "params.optimizer": optimizers[: len(differences)],
        }
    )
    comparison = PairComparison(
        parameter="optimizer", first="adam", second="adamax", pairs=table, incomplete=0,
        interval=mean_interval(table["difference"]), p=math.nan,
    )  # fmt: skip
    return {each.other: each for each in find_interactions([comparison], PARAMETERS, search, ["beta", "optimizer"])}


def test_the_pattern_is_named_with_its_threshold_and_sides():
    rate = found([(2.0, 2.2), (-1.0, -1.4), (-4.0, -3.0), (-2.0, -2.5)])["learning_rate"]
    assert rate.consistent
    assert 0.0012 < rate.threshold < 0.0023
    assert (rate.below, rate.above) == pytest.approx((2.1, -13.9 / 6))
    assert (rate.configurations, rate.n) == (4, 8)
    # three thresholds of the learning rate and three of β split the configurations in six ways
    assert rate.false_alarm == pytest.approx(2 * 6 / 2**8)


def test_few_configurations_show_no_cause_and_twelve_may():
    """With a difference of its own in each configuration, four of them split by a threshold by chance in every second study."""
    few = found([(2.0, 2.2), (-1.0, -1.4), (-4.0, -3.0), (-2.0, -2.5)])["learning_rate"]
    assert few.cause_false_alarm == pytest.approx(2 * 6 / 2**4)
    assert not few.is_cause
    rates = tuple(0.001 * (1 + place) for place in range(12))
    betas = (0.5, 0.9) * 6
    many = found([(2.0, 2.2)] * 6 + [(-1.0, -1.4)] * 6, ("adam", "adamax") * 6, rates, betas)["learning_rate"]
    assert many.cause_false_alarm == pytest.approx(2 * 12 / 2**12)
    assert many.is_cause


def test_one_seed_of_the_other_sign_takes_the_name_away():
    assert not found([(2.0, -0.2), (-1.0, -1.4), (-4.0, -3.0), (-2.0, -2.5)])["learning_rate"].consistent


def test_too_few_differences_name_nothing():
    rate = found([(2.0, 2.2), (-1.0, -1.4)])["learning_rate"]
    assert not rate.consistent
    assert rate.false_alarm == pytest.approx(2 / 16)
    assert rate.alike == ("beta",)


def test_the_learning_rate_was_tuned_for_one_side():
    assert found([(1.0, 2.0)] * 3, optimizers=("adamax",) * 3)["learning_rate"].tuned_for == "adamax"
    assert found([(1.0, 2.0)] * 3)["learning_rate"].tuned_for is None


def test_configurations_of_one_learning_rate_have_no_threshold():
    rate = found([(1.0, 2.0)] * 3, rates=(0.001,) * 3)["learning_rate"]
    assert rate.threshold is None
    assert math.isnan(rate.above)
