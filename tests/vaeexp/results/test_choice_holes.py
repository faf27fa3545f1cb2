"""Where the values of a choice were tried, and what a value that was never tried where the others
are good is left out of.
"""

import math

import numpy as np
import pandas as pd
import pytest
from drawn_studies import study

from vaeexp.results.effects import best_group, group_of
from vaeexp.results.holes import ChoiceHole, choice_holes
from vaeexp.results.study_view import StudyView

SPACE = {
    "beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True},
    "rate": {"kind": "float", "low": 0.0, "high": 1.0},
    "prior": {"kind": "choice", "values": ["normal", "mixture"]},
    "components": {"kind": "int", "low": 2, "high": 64, "when": {"prior": ["mixture"]}},
}


def hole(normal_beta=(0.01, 0.1), states=None, count=40):
    """Mixtures around β = 1 are good; normal priors were tried in a range of β. The prior itself
    does nothing.
    """
    random, settings = np.random.default_rng(0), []
    for number in range(count):
        normal = number % 4 == 0
        low, high = normal_beta if normal else (0.05, 10)
        row = {
            "beta": math.exp(random.uniform(math.log(low), math.log(high))),
            "rate": random.uniform(0, 1),
        }
        row |= (
            {"prior": "normal"}
            if normal
            else {"prior": "mixture", "components": int(random.integers(2, 65))}
        )
        settings.append(row)
    values = [100 + 20 * abs(math.log10(row["beta"])) for row in settings] + random.normal(
        0, 0.1, count
    )
    return study(settings, values, space=SPACE, states=states)


def test_a_value_that_was_never_tried_near_the_best_is_not_covered():
    view = StudyView(hole())
    normal = ChoiceHole(parameter="prior", text="normal", trials=10, complete=10)
    assert view.influence.choice_holes == {"prior": [normal]}
    assert view.influence.uncovered("prior") == ["normal"]
    assert set(view.influence.covered(view.search, "prior")["params.prior"]) == {"mixture"}
    assert len(view.influence.covered(view.search, "beta")) == 40


def test_marginal_statistics_leave_such_a_value_out():
    """Without that, the prior that does nothing spans many nats: its trials lie where β is bad."""
    view = StudyView(hole())
    assert "prior" not in view.importances.index
    assert {"beta", "rate"} <= {*view.importances.index}
    even = StudyView(hole(normal_beta=(0.05, 10)))
    assert even.influence.uncovered("prior") == []
    assert "prior" in even.importances.index


def test_pruned_trials_inside_are_counted_but_do_not_cover():
    states = ["pruned" if number % 4 == 0 else "complete" for number in range(40)]
    view = StudyView(hole(normal_beta=(0.5, 2), states=states))
    [normal] = view.influence.choice_holes["prior"]
    assert (normal.complete, normal.trials) == (0, 10)
    # Were they to count.
    assert not choice_holes(view.plan.parameters, view.search, view.influence.learned)


def test_a_parameter_that_is_not_active_in_either_is_ignored():
    """No normal prior has components; that alone leaves none outside the region of the mixtures."""
    assert not StudyView(hole(normal_beta=(0.5, 2))).influence.choice_holes


@pytest.mark.parametrize(("value", "covered"), [(100.05, True), (130.0, False)])
def test_a_value_that_is_good_elsewhere_is_covered(value, covered):
    """Fourteen complete trials, of which the best quarter is four: the runner-up is no hole of its
    value.
    """
    settings = [
        {"beta": 1 + number / 100, "rate": 0.5, "prior": "mixture", "components": 8}
        for number in range(13)
    ]
    values = [100 + number / 10 for number in range(13)]
    view = StudyView(
        study(
            [*settings, {"beta": 9.0, "rate": 0.5, "prior": "normal"}],
            [*values, value],
            space=SPACE,
        )
    )
    assert view.influence.uncovered("prior") == ([] if covered else ["normal"])


def test_too_few_others_span_no_region():
    view = StudyView(hole(count=5))
    assert view.influence.uncovered("prior") == []


def trials(complete, pruned):
    states = ["complete"] * len(complete) + ["pruned"] * len(pruned)
    return pd.DataFrame({"state": states, "objective": [*complete, *pruned]})


@pytest.mark.parametrize(
    ("complete", "pruned", "median"),
    [
        ([1, 2, 3], [], 2),
        ([1, 2, 3], [0.5], 2.5),
        ([1, 2, 3], [9, 9], 3),
        ([1], [9], math.nan),
        ([], [], math.nan),
    ],
)
def test_the_median_counts_the_pruned_as_worse_than_all(complete, pruned, median):
    assert group_of(trials(complete, pruned)).median == pytest.approx(median, nan_ok=True)


def test_no_group_is_best_by_its_only_survivor():
    lucky = group_of(trials([90.0], [120.0] * 5))
    steady = group_of(trials([95.0, 96.0, 97.0], [110.0]))
    assert (lucky.complete, lucky.pruned, lucky.best) == (1, 5, 90.0)
    assert best_group([lucky, steady]) == 1
    assert best_group([group_of(trials([90.0], []))]) is None
