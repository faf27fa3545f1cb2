"""The view of a study agrees with the rankings that it is made from, and computes each selection
once.
"""

import itertools
import math
from dataclasses import replace

import pandas as pd
import pytest
from scipy import stats
from synthetic_study import make_results, thin_studies, with_baselines

from sweeps.results import best_run, ranked
from sweeps.results.statistics import holm
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def view():
    return StudyView(with_baselines(make_results()))


def test_confirmed_configurations_are_in_the_order_of_their_means(view):
    means = view.retrained.confirm_runs.groupby("source_trial")["objective"].mean().sort_values()
    assert [setting.source_trial for setting in view.confirmed] == list(means.index)
    assert [setting.value for setting in view.confirmed] == pytest.approx(list(means))
    assert view.best is view.confirmed[0]
    assert view.best_number == best_run(view.results)["source_trial"]
    assert view.best_trial["number"] == view.best_number
    assert len(view.retrained.margins) == len(view.confirmed) - 1


def test_baselines_have_their_own_protocol(view):
    assert [setting.baseline for setting in view.retrained.baselines] == list(
        view.plan.baseline_specs
    )
    by_name = {setting.baseline: setting for setting in view.retrained.baselines}
    assert by_name["autoencoder"].deterministic
    assert by_name["grey"].same_distortion != view.best.same_distortion
    assert by_name["strong"].same_protocol == view.best.same_protocol


def test_pruned_trials_save_the_epochs_up_to_the_most_that_they_could_train(view):
    pruned = view.search[view.search["state"] == "pruned"]
    assert view.plan.epochs_saved(view.search) == sum(30 - pruned["epochs"]) > 0
    spec = view.study.spec | {
        "search": view.study.spec["search"] | {"epochs": {"kind": "int", "low": 10, "high": 20}}
    }
    trials = view.trials.assign(**{"params.epochs": 10})
    searched = StudyView(replace(view.results, trials=trials, study=replace(view.study, spec=spec)))
    assert searched.plan.epochs_saved(searched.search) == sum(
        10 - pruned["epochs"][pruned["epochs"] < 10]
    )
    duplicates = view.trials.assign(duplicate_of=1)
    assert (
        StudyView(replace(view.results, trials=duplicates)).plan.epochs_saved(
            StudyView(replace(view.results, trials=duplicates)).search
        )
        == 0
    )


def paired_study(effects, *, seeds=2):
    """A study with runs of each optimizer: `effects` names, for each configuration, its difference
    for each other value.
    """
    results = make_results()
    model = results.trials[results.trials["repeat"]].iloc[[0]]
    rows = []
    for of, differences in enumerate(effects):
        for index, (optimizer, difference) in itertools.product(
            range(seeds), {"adam": 0.0, **differences}.items()
        ):
            params = {"params.optimizer": optimizer, "params.beta": 1.0 + of}
            ids = {
                "source_trial": of,
                "pair_ids": [(f"optimizer:{of}/{index}",)],
                "seed_index": index,
            }
            ids["number"] = len(rows)
            rows.append(model.assign(**params, **ids, objective=100.0 + difference))
    return StudyView(
        replace(results, trials=pd.concat([results.trials[~results.trials["repeat"]], *rows]))
    )


def test_the_test_of_pairs_agrees_with_their_interval():
    for differences in ([1.0, 1.2, 0.9], [1.0, 3.0, -0.5, 0.4], [-1.0, -2.0]):
        (comparison,) = paired_study([{"adamax": each} for each in differences]).pairs
        if len(differences) < 3:
            assert math.isnan(comparison.p)
            assert math.isnan(comparison.interval.low)
            assert comparison.better is None
            continue
        assert (
            comparison.p
            == comparison.p_holm
            == pytest.approx(stats.ttest_1samp(differences, 0).pvalue)
        )
        excludes_zero = comparison.interval.low * comparison.interval.high > 0
        assert (comparison.p < 0.05) == excludes_zero == (comparison.better == "adam")


def test_many_comparisons_are_corrected_for_their_number():
    """p of 0.03 for adamax is below 0.05 alone, and one of three comparisons."""
    found = [(1.0, 0.1), (2.2, -0.1), (1.3, 0.1), (0.4, -0.2)]
    differences = [{"adamax": adamax, "sgd": sgd} for adamax, sgd in found]
    comparisons = {(each.first, each.second): each for each in paired_study(differences).pairs}
    assert len(comparisons) == 3
    alone = comparisons["adam", "adamax"]
    assert alone.p < 0.05
    assert [each.p_holm for each in comparisons.values()] == holm(
        [each.p for each in comparisons.values()]
    )
    assert alone.better is None


@pytest.mark.parametrize("name", thin_studies())
def test_a_study_with_next_to_nothing_has_a_view(name):
    view = StudyView(thin_studies()[name])
    complete = ranked(view.results)
    assert (view.best is None) == (view.best_trial is None) == complete.empty
    assert view.ranked.equals(complete)
    assert len(view.course) <= len(view.search)
    assert view.pairs is view.pairs
    assert set(view.importances.columns) == {"share", "low", "high"}
