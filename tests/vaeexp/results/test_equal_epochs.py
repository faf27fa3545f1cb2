"""What a parameter costs at equal epochs: which trials are compared, at which epoch, and whether
the interval holds what was planted.
"""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
from drawn_studies import SPACE, bowl, drawn, study
from synthetic_study import epochs_frame, make_results, study_attributes

from sweeps.results import Results
from vaeexp.report.summary import summary_json
from vaeexp.results.equal_epochs import MOST_TRIALS, EqualEpochEffect
from vaeexp.results.study_view import StudyView


def with_curves(
    results: Results, *, epochs: int = 3, lengths: dict[int, int] | None = None
) -> Results:
    """Give each trial a curve that falls by 5 nats an epoch to its objective; some are shorter and
    end above it.
    """
    rows, trials = [], results.trials.copy()
    for place, row in trials.iterrows():
        length = (lengths or {}).get(int(row["number"]), epochs)
        values = [
            float(row["objective"]) + 5.0 * (epochs - epoch) for epoch in range(1, length + 1)
        ]
        own = {"repeat": False, "number": int(row["number"])}
        rows += [
            {**own, "epoch": n, "round": n, "objective": value}
            for n, value in enumerate(values, start=1)
        ]
        trials.loc[place, ["epochs", "objective"]] = [length, values[-1]]
    return replace(results, trials=trials, epochs=epochs_frame(rows))


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
    assert (optimizer.at, optimizer.trial, optimizer.why) == ("adam", view.best_number, "")
    assert covers(optimizer, 3.0)
    assert optimizer.behind.low > 1
    for name in ("beta", "dropout", "latent_size", "layers", "prior", "components"):
        assert covers(found[name], 0.0), found[name]
    assert found["layers"].tried == (1, 5)
    assert found["prior"].tried == ("normal", "mixture", "vampprior")
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
    assert (found.epoch, found.trials, found.failed) == (epoch, trials, 0)


def test_failed_trials_are_left_out_and_counted():
    settings = drawn(40)
    states = ["failed" if number % 10 == 0 else "complete" for number in range(40)]
    found = effects(
        with_curves(study(settings, np.random.default_rng(0).normal(100, 1, 40), states=states))
    )
    assert {
        (effect.trials, effect.failed) for name, effect in found.items() if name != "components"
    } == {(36, 4)}


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


@pytest.mark.parametrize(
    ("make", "why"),
    [(one_value, "one_value"), (few_trials, "few_trials"), (not_covered, "not_covered")],
)
def test_where_nothing_can_be_said_the_reason_stands(make, why):
    found = effects(make())["optimizer"]
    assert (found.why, found.at, found.trial) == (why, None, None)
    assert all(
        math.isnan(value) for value in (found.behind.mean, found.behind.low, found.behind.high)
    )


@pytest.mark.slow
def test_of_many_trials_those_near_the_settings_are_taken():
    found = effects(with_curves(bowl(4 * MOST_TRIALS)))
    assert found["optimizer"].trials == 4 * MOST_TRIALS
    assert covers(found["optimizer"], 3.0)
    assert found["optimizer"].behind.low > 2


def test_the_summary_has_each_effect_and_the_same_study_gives_the_same():
    results = make_results()
    entries = json.loads(summary_json(StudyView(results)))["equal_epochs"]
    for entry, effect in zip(entries, StudyView(results).influence.equal_epochs, strict=True):
        assert (entry["parameter"], entry["at"], entry["why"]) == (
            effect.parameter,
            effect.at,
            effect.why,
        )
        assert entry["behind"] == asdict(effect.behind)
