"""Importance against Optuna's own, the forest, and the axes of parameters."""

import math
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
from drawn_studies import SPACE, bowl, drawn, study
from report_text import in_words
from synthetic_study import part

from sweeps.results import Results, ranked
from vaeexp.plots.parameters import dependence_caption
from vaeexp.results.forest import expected
from vaeexp.results.parameters import importance_table
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def made():
    return bowl(120)


@pytest.fixture(scope="module")
def view(made):
    """Its view, whose importances and forest are made once."""
    return StudyView(made)


def by_optuna(results: Results) -> dict[str, float]:
    kinds = {
        "float": optuna.distributions.FloatDistribution,
        "int": optuna.distributions.IntDistribution,
    }
    kinds["choice"] = lambda values: optuna.distributions.CategoricalDistribution(values)
    distributions = {}
    for name, given in SPACE.items():
        ends = {key: given[key] for key in ("low", "high", "log", "values") if key in given}
        distributions[name] = kinds[given["kind"]](**ends)
    complete, found = ranked(results), []
    for row in complete.to_dict("records"):
        given = {
            name: row[f"params.{name}"] for name in SPACE if not pd.isna(row[f"params.{name}"])
        }
        used = {name: distributions[name] for name in given}
        found.append(
            optuna.trial.create_trial(params=given, distributions=used, value=row["objective"])
        )
    frozen = optuna.create_study()
    frozen.add_trials(found)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(
        target_quantile=max(0.1, 5 / len(complete))
    )
    return optuna.importance.get_param_importances(frozen, evaluator=evaluator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [10, 11, 24, 57, 300])
@pytest.mark.parametrize("digits", [0, 6])
def test_importances_are_those_of_optuna(count, digits):
    results = bowl(count, seed=count, noise=4)
    trials = results.trials.assign(objective=results.trials["objective"].round(digits))
    rounded = Results(results.name, results.study, trials, results.epochs)
    view = StudyView(rounded)
    everything = importance_table(view.plan.parameters, view.influence.learned, view.plan.seed)
    assert everything["share"].to_dict() == pytest.approx(by_optuna(rounded), abs=1e-12)


def test_importance_intervals_hold_the_share_and_narrow_with_more_trials():
    widths = []
    for count in (30, 200, 1500):
        results = bowl(count)
        table = StudyView(results).importances
        assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
        assert table["low"].min() >= 0
        assert table["high"].max() <= 1
        pd.testing.assert_frame_equal(table, StudyView(results).importances, check_exact=True)
        widths.append((table["high"] - table["low"])["learning_rate"])
    assert widths[0] > widths[1] > widths[2] > 0
    few = StudyView(part(bowl(30), ranked(bowl(30)).head(9)))
    assert few.importances.empty
    assert list(few.importances) == ["share", "low", "high"]


def test_the_interval_depends_on_the_seed_of_the_study(made, view):
    spec = made.study.spec | {"seed": 7}
    other = Results(made.name, replace(made.study, spec=spec), made.trials, made.epochs)
    ours, theirs = view.importances, StudyView(other).importances
    assert ours["share"].equals(theirs["share"])
    assert not np.allclose(ours["low"], theirs["low"])


def test_places_on_an_axis_go_both_ways(view):
    trials = view.search
    for name, given in SPACE.items():
        axis = view.plan.parameters[name]
        places = axis.places(trials)
        known = trials[f"params.{name}"].notna()
        assert places.notna().equals(known)
        if given["kind"] != "choice":
            back = axis.numbers(places[known])
            assert back == pytest.approx(trials.loc[known, f"params.{name}"].to_numpy(float))
            assert places.dropna().between(0, 1).all()
    prior = view.plan.parameters["prior"]
    assert [prior.texts[int(place)] for place in prior.places(trials)] == list(
        trials["params.prior"]
    )
    layers = view.plan.parameters["layers"]
    assert layers.numbers(layers.grid(layers.places(trials), 25)).tolist() == [1, 2, 3, 4, 5]


def test_an_axis_reaches_to_values_that_are_no_longer_searched(made):
    narrow = {name: dict(given) for name, given in SPACE.items()}
    narrow["beta"] |= {"low": 0.5, "high": 2.0}
    axis = StudyView(study(drawn(40), range(40), space=narrow)).plan.parameters["beta"]
    given = [row["beta"] for row in drawn(40)]
    assert (axis.first, axis.last) == (min(given), max(given))


def test_the_forest_explains_what_can_be_explained(view):
    assert view.influence.forest.r2 > 0.9
    noise = StudyView(study(drawn(120), np.random.default_rng(2).normal(100, 1, 120)))
    assert noise.influence.forest.r2 < 0.2
    assert "out-of-bag R²" in in_words(dependence_caption(noise))
    assert "out-of-bag R²" not in in_words(dependence_caption(view))
    assert "120 complete and 0 pruned trials" in in_words(dependence_caption(view))


def test_diverged_trials_count_as_the_ceiling(made):
    trials = made.trials.copy()
    trials.loc[[3, 4], "objective"] = [1e9, math.inf]
    diverged = StudyView(Results(made.name, made.study, trials, made.epochs))
    forest = diverged.influence.forest
    assert forest.capped == 2
    assert forest.values.max() == forest.ceiling < 400
    words = in_words(dependence_caption(diverged))
    assert f"2 values above {forest.ceiling:.0f} counted as that" in words


def test_the_forest_learns_from_2000_trials_at_most():
    view = StudyView(bowl(2100))
    forest = view.influence.forest
    assert len(forest.values) == len(forest.places) == 2000
    assert sorted(forest.values) == list(forest.values)
    assert "2,000 complete and 0 pruned trials" in in_words(dependence_caption(view))


def test_what_is_expected_of_a_parent_leaves_its_children_out_of_use():
    """Components matter to a mixture alone; among normal priors the forest must never see them."""
    settings = drawn(400, seed=4)
    values = [
        100 + (40 if "components" in row else 0) - (row.get("components", 0) > 30) * 20
        for row in settings
    ]
    forest = StudyView(
        study(settings, np.array(values) + np.random.default_rng(1).normal(0, 0.1, 400))
    ).influence.forest
    assert forest.conditions == {"components": {"prior": [1.0, 2.0]}}
    normal, mixture, vamp = expected(forest, "prior", np.arange(3.0)).mean(axis=0)
    assert normal == pytest.approx(100, abs=1)
    few_or_many = np.array([row["components"] > 30 for row in settings if "components" in row])
    assert mixture == pytest.approx(140 - 20 * few_or_many.mean(), abs=2)
    assert vamp == pytest.approx(mixture, abs=1)
    few, many = expected(forest, "components", np.array([0.2, 0.8])).mean(axis=0)
    assert (few, many) == pytest.approx((140, 120), abs=1.5)
