"""What a parameter costs at equal epochs: which trials are compared, at which epoch, and whether
the interval holds what was planted.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_studies import SPACE, bowl, drawn, study, with_curves
from synthetic_study import study_attributes

from sweeps.results import Results
from vaeexp.results.equal_epochs import MOST_TRIALS, EqualEpochEffect
from vaeexp.results.study_view import StudyView


def effects(results: Results) -> dict[str, EqualEpochEffect]:
    return {effect.parameter: effect for effect in StudyView(results).influence.equal_epochs}


def covers(effect: EqualEpochEffect, nats: float) -> bool:
    return effect.behind.low <= nats <= effect.behind.high


# ---- which trials, and when ----


def test_costs_are_those_of_the_formula_at_the_best_settings():
    results = with_curves(bowl(60))
    found, view = effects(results), StudyView(results)
    best = view.plan.params(view.best_trial)
    rate, optimizer = found["learning_rate"], found["optimizer"]
    cost = [20 * math.log10(value / 0.002) ** 2 for value in (rate.at, best["learning_rate"])]
    assert covers(rate, cost[0] - cost[1])
    assert rate.behind.low > 20
    assert (optimizer.at, optimizer.trial) == ("adam", view.best_number)
    assert covers(optimizer, 3.0)
    assert optimizer.behind.low > 1
    for name in ("beta", "dropout", "latent_size", "layers", "prior", "components"):
        assert covers(found[name], 0.0), found[name]
    assert found["components"].trials == int(view.search["params.components"].notna().sum()) < 60


@pytest.mark.parametrize(
    ("lengths", "pruner", "warmup", "epoch", "trials"),
    [
        pytest.param({1: 2, 2: 2}, "median", 0, 2, 40, id="the last that all have"),
        pytest.param({1: 1, 2: 2}, "median", 1, 2, 39, id="after the warm-up, without trials that ended before"),  # noqa: E501
        pytest.param({1: 1, 2: 3}, {"name": "promotion", "rungs": [2, 4], "factor": 4}, 0, 3, 39, id="from the first rung on"),  # noqa: E501
    ],
)  # fmt: skip
def test_trials_are_compared_at_the_last_epoch_that_they_share(
    lengths, pruner, warmup, epoch, trials
):
    settings = drawn(40)
    states = ["pruned" if number in lengths else "complete" for number in range(40)]
    results = study(settings, np.random.default_rng(0).normal(100, 1, 40), states=states)
    pruner = pruner if isinstance(pruner, dict) else {"name": pruner}
    spec = study_attributes().spec | {"search": SPACE, "pruner": pruner, "longest_warmup": warmup}
    results = with_curves(replace(results, study=study_attributes(spec=spec)), lengths=lengths)
    found = effects(results)["beta"]
    assert (found.epoch, found.trials) == (epoch, trials)


def test_failed_trials_are_left_out():
    settings = drawn(40)
    states = ["failed" if number % 10 == 0 else "complete" for number in range(40)]
    found = effects(
        with_curves(study(settings, np.random.default_rng(0).normal(100, 1, 40), states=states))
    )
    assert {effect.trials for name, effect in found.items() if name != "components"} == {36}


def one_value() -> Results:
    return with_curves(study([row | {"optimizer": "adam"} for row in drawn(30)], np.arange(30.0)))


def few_trials() -> Results:
    return with_curves(study(drawn(8), np.arange(8.0)))


def not_covered() -> Results:
    """Adamax was tried at a small β alone, where Adam is bad, too."""
    settings = drawn(48, 3)
    for number, row in enumerate(settings):
        row["optimizer"] = "adamax" if number % 8 == 0 else "adam"
        row["beta"] = (
            0.02 if row["optimizer"] == "adamax" or number % 8 == 1 else max(row["beta"], 0.3)
        )
    values = [
        100 + 30 * (row["beta"] < 0.1) + 0.1 * (number % 7) for number, row in enumerate(settings)
    ]
    return with_curves(study(settings, values))


@pytest.mark.parametrize("make", [one_value, few_trials, not_covered])
def test_where_nothing_can_be_compared_nothing_is_said(make):
    found = effects(make())["optimizer"]
    assert (found.at, found.trial) == (None, None)
    assert all(
        math.isnan(value) for value in (found.behind.mean, found.behind.low, found.behind.high)
    )


@pytest.mark.slow
def test_of_many_trials_those_near_the_settings_are_taken():
    found = effects(with_curves(bowl(4 * MOST_TRIALS)))
    assert found["optimizer"].trials == 4 * MOST_TRIALS
    assert covers(found["optimizer"], 3.0)
    assert found["optimizer"].behind.low > 2
