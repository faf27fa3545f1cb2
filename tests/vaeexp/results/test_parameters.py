"""Importance against Optuna's own, and the axes of parameters."""

from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
from drawn_studies import SPACE, bowl, drawn, study
from synthetic_study import part

from sweeps.results import Results, ranked
from vaeexp.results.parameters import importance_table
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def made():
    return bowl(120)


@pytest.fixture(scope="module")
def view(made):
    """Its view, whose importances are made once."""
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
@pytest.mark.parametrize("count", [10, 24, 300])
@pytest.mark.parametrize("digits", [0, 6])
def test_importances_are_those_of_optuna(count, digits):
    results = bowl(count, seed=count, noise=4)
    trials = results.trials.assign(objective=results.trials["objective"].round(digits))
    rounded = Results(results.name, results.study, trials, results.epochs)
    view = StudyView(rounded)
    everything = importance_table(view.plan.parameters, view.influence.learned, view.plan.seed, {})
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


def test_an_axis_reaches_to_values_that_are_no_longer_searched(made):
    narrow = {name: dict(given) for name, given in SPACE.items()}
    narrow["beta"] |= {"low": 0.5, "high": 2.0}
    axis = StudyView(study(drawn(40), range(40), space=narrow)).plan.parameters["beta"]
    given = [row["beta"] for row in drawn(40)]
    assert (axis.first, axis.last) == (min(given), max(given))
