"""Numbers that were tried only with bad values of other parameters: found where they are planted,
and not where nothing matters.
"""

import math

import numpy as np
import pytest
from drawn_studies import SPACE, drawn, study
from planted_studies import NOISES, PARAMETERS, at_most, planted

from sweeps.results import Results
from vaeexp.results.holes import find_holes
from vaeexp.results.study_view import StudyView

EDGES = (0.1, 1.0)
"""β beyond these is tried with bad values alone."""


def shared_choice(row: dict, number: int) -> float:
    row["optimizer"] = "adamax" if outside(row) or number % 5 == 0 else "adam"
    return 20.0 * (row["optimizer"] == "adamax")


def shared_number(row: dict, number: int) -> float:
    rate = 5e-3 if outside(row) or number % 5 == 0 else 3e-4
    row["learning_rate"] = rate * (1 + 0.5 * math.sin(number))
    return 20.0 * (row["learning_rate"] > 2e-3)


def either_of_two(row: dict, number: int) -> float:
    bad = outside(row) or number % 3 == 0
    row["optimizer"] = "adamax" if bad and number % 2 else "adam"
    row["prior"] = "vampprior" if bad and not number % 2 else "normal"
    row.pop("components", None)
    return 20.0 * bad


def outside(row: dict) -> bool:
    return not EDGES[0] <= row["beta"] <= EDGES[1]


def with_hole(change, count: int = 60) -> Results:
    """A study of random configurations, whose trials with β beyond `EDGES` are bad for another
    reason.
    """
    settings = drawn(count, seed=5)
    random = np.random.default_rng(0)
    values = [100 + change(row, number) + random.normal() for number, row in enumerate(settings)]
    return study(settings, values)


@pytest.mark.parametrize(
    ("change", "shared"),
    [
        (shared_choice, [("optimizer", "adamax")]),
        (shared_number, [("learning_rate", None)]),
        (either_of_two, [("optimizer", "adamax"), ("prior", "vampprior")]),
    ],
)
def test_a_region_that_was_tried_with_bad_values_alone_is_found(change, shared):
    results = with_hole(change)
    view = StudyView(results)
    holes = view.influence.holes.numbers
    hole, beta = holes["beta"], results.trials["params.beta"]
    assert EDGES[0] <= hole.low <= hole.high <= EDGES[1]
    beyond = (beta < hole.low) | (beta > hole.high)
    assert hole.trials == int(beyond.sum()) >= 20
    inside = view.influence.holes.trials["beta"]
    assert {*inside} == {*results.trials["number"][beyond]}
    assert sorted((bad.parameter, bad.value) for bad in hole.shared) == shared
    assert sum(bad.trials for bad in hole.shared) >= hole.trials
    if change is shared_number:
        assert hole.shared[0].below is None
        assert 3e-4 < hole.shared[0].above < 3e-3


@pytest.mark.parametrize(
    "spoiler",
    ["one fair trial at each end", "nothing is bad", "the far β are good", "a little beyond"],
)
def test_where_that_does_not_hold_there_is_no_hole(spoiler):
    settings = drawn(60, seed=5)
    values = []
    for number, row in enumerate(settings):
        cost = shared_choice(row, number)
        values.append(100 + number % 7 + (0.0 if spoiler == "nothing is bad" else cost))
        if spoiler == "the far β are good" and outside(row):
            values[-1] = 90.0
    if spoiler == "one fair trial at each end":
        for end, row in zip((0.011, 9.9), settings, strict=False):
            row |= {"beta": end, "optimizer": "adam"}
    if spoiler == "a little beyond":
        for row in settings:
            row["beta"] = min(max(row["beta"], 0.09), 1.1)
    assert "beta" not in StudyView(study(settings, values)).influence.holes.numbers


def test_a_value_of_a_choice_that_was_tried_with_bad_values_alone_is_named():
    settings = drawn(60, seed=5)
    for number, row in enumerate(settings):
        row["optimizer"] = "adamax" if number % 10 == 0 else "adam"
        row["beta"] = 5.0 if number % 10 in (0, 1) else min(row["beta"], 0.5)
    values = [
        100 + 20 * (row["beta"] > 1) + 0.1 * (number % 7) for number, row in enumerate(settings)
    ]
    view = StudyView(study(settings, values))
    adamax = view.search["params.optimizer"] == "adamax"
    inside = view.influence.holes.trials["optimizer"]
    assert {*inside} == {*view.search["number"][adamax]}
    assert len(inside) == 6


@pytest.mark.parametrize("count", [100, pytest.param(2_000, marks=pytest.mark.slow)])
def test_in_random_searches_of_parameters_that_do_nothing_there_is_no_hole(count):
    random, false = np.random.default_rng(31), 0
    for number in range(count):
        table = planted("none", random, shape=NOISES[number % 3]).table()
        false += bool(find_holes(PARAMETERS, table).numbers)
    assert at_most(false, 0.05, count), false


def test_few_trials_have_no_hole():
    assert not StudyView(study(drawn(9, space=SPACE), np.arange(9.0))).influence.holes.numbers
