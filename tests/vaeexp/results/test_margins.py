"""The best of several equal configurations must not look better than the others, nor than a
baseline that equals it.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from vaeexp.evaluation.metrics import BESIDE
from vaeexp.results import tested_settings
from vaeexp.results.tested_settings import baseline_margins, same_runs, welch_p, winner_margins

STUDIES = 100
GAUSSIAN = {"posterior": "gaussian"}


def setting_of(name, figures, seeds=None, source=None):
    """A configuration with these test figures, whose validation figures are the same."""
    runs = pd.DataFrame(
        {
            "name": [f"{name}/{place}" for place in range(len(figures))],
            "seed": range(len(figures)) if seeds is None else seeds,
            "seed_index": range(len(figures)),
            "objective": figures,
            "result.test/neg_elbo": figures,
        }
    )
    named = {"title": name, "setting": name, "baseline": name, "source_trial": source}
    return tested_settings.TestedSetting(**named, runs=runs, protocol={}, settings=GAUSSIAN)


def against_first(confirmed, baselines):
    """The margins of baselines on the fixed settings, which stand against the first."""
    return baseline_margins(
        confirmed, [(replace(each, source_trial=None), confirmed[0]) for each in baselines]
    )


def nominal(false):
    """Whether the exact 99 % binomial interval of a rate reaches down to 5 %."""
    return stats.binomtest(false, STUDIES).proportion_ci(0.99, method="exact").low <= 0.05


@pytest.mark.parametrize(("configurations", "seeds"), [(2, 3), (4, 4)])
def test_at_most_five_percent_of_studies_without_a_difference_name_one(configurations, seeds):
    """The best is chosen by the runs that are tested: with Holm over its own pairs alone, more than
    5 % would name one.
    """
    random, margins, baselines, naive = np.random.default_rng(0), 0, 0, 0
    for _ in range(STUDIES):
        drawn = random.normal(100, 1, (configurations + 2, seeds)) + random.normal(0, 1, seeds)
        confirmed = [
            setting_of(str(place), own, source=place)
            for place, own in enumerate(drawn[:configurations])
        ]
        confirmed.sort(key=lambda each: each.value)
        found = winner_margins(confirmed)
        others = [setting_of("first", drawn[-2]), setting_of("second", drawn[-1])]
        margins += any(margin.settled for margin in found)
        baselines += any(margin.settled for margin in against_first(confirmed, others))
        naive += any(margin.interval.low * margin.interval.high > 0 for margin in found)
    assert nominal(margins), margins
    assert nominal(baselines), baselines
    assert configurations == 2 or not nominal(naive), naive


@pytest.mark.parametrize(
    ("configurations", "turned"),
    [(2, True), pytest.param(4, False, marks=pytest.mark.slow), (4, True)],
)
def test_a_change_without_effect_is_told_from_its_own_configuration_in_five_percent_of_studies(
    configurations, turned
):
    """The configurations differ. Against the winner a change of another one without any effect
    would be called worse in most studies.
    """
    random, settled, others, covered, naive = np.random.default_rng(2), 0, 0, 0, 0
    for _ in range(STUDIES):
        levels = 100 + 2.0 * np.arange(configurations)[:, None]
        seeds = random.normal(0, 1, 3)
        drawn = levels + random.normal(0, 0.5, (configurations, 3)) + seeds
        confirmed = [setting_of(str(place), own, source=place) for place, own in enumerate(drawn)]
        confirmed.sort(key=lambda each: each.value)
        sources = confirmed[:1] + confirmed[-1:] if turned else confirmed[:1]
        opposed = []
        for own in sources:
            figures = levels[own.source_trial] + random.normal(0, 0.5, 3) + seeds
            opposed.append((setting_of("row", figures, source=own.source_trial), own))
        for setting in [*confirmed, *(row for row, _ in opposed)]:
            for metric in BESIDE:
                setting.runs[f"result.test/{metric}"] = random.normal(0, 1, 3)
        margins = baseline_margins(confirmed, opposed)
        assert [(each.source_trial, each.against) for each in margins] == [
            (own.source_trial,) * 2 for own in sources
        ]
        assert {each.tests for each in margins} == {configurations}
        assert {other.tests for each in margins for other in each.others.values()} == {
            len(BESIDE) * configurations
        }
        settled += any(each.settled for each in margins)
        others += any(other.settled for each in margins for other in each.others.values())
        covered += margins[0].interval.low <= 0 <= margins[0].interval.high
        figure = (
            opposed[-1][0].runs["result.test/neg_elbo"] - confirmed[0].runs["result.test/neg_elbo"]
        )
        naive += stats.ttest_1samp(figure, 0).pvalue <= 0.05
    assert nominal(settled), settled
    assert nominal(others), others
    assert stats.binomtest(covered, STUDIES).proportion_ci(0.99, method="exact").high >= 0.95, (
        covered
    )
    assert not turned or naive > STUDIES / 2


def test_a_baseline_under_another_protocol_is_compared_by_samples_and_reconstructions_alone():
    best = setting_of("best", [100.0, 101.0, 102.0], source=1)
    other = setting_of("other likelihood", [900.0, 901.5, 902.0], source=1)
    for setting, fid in ((best, [60.0, 62.0, 61.0]), (other, [20.0, 23.0, 20.0])):
        setting.runs["result.test/fid"] = fid
    other = replace(other, protocol={"measure": "densities of real numbers"})
    (margin,) = baseline_margins([best], [(other, best)])
    assert np.isnan(margin.interval.mean)
    assert not margin.settled
    fid = margin.others["fid"]
    assert (fid.interval.mean, fid.interval.n, fid.tests) == (pytest.approx(-40.0), 3, 1)
    assert fid.settled
    assert margin.others.keys() == {"fid"}, "nothing else was measured"
    other = replace(other, protocol={"binarisation": "none"})
    assert baseline_margins([best], [(other, best)]) == [], "other targets"


def test_every_pair_among_which_the_best_was_chosen_is_counted():
    random = np.random.default_rng(1)
    confirmed = [
        setting_of(str(place), random.normal(100 + place, 0.1, 4), source=place)
        for place in range(4)
    ]
    margins = winner_margins(confirmed)
    assert [margin.tests for margin in margins] == [6, 6, 6]
    first = stats.ttest_rel(
        *(each.runs["objective"] for each in (confirmed[1], confirmed[0]))
    ).pvalue
    assert margins[0].p == pytest.approx(first)
    assert all(margin.p <= margin.p_holm <= 6 * margin.p for margin in margins)
    rows = [
        setting_of("a", [101.0, 101.2, 101.1]),
        setting_of("b", [101.0, 101.2, 101.5], seeds=[7, 8, 9]),
    ]
    found = against_first(confirmed, rows)
    assert {margin.tests for margin in found} == {8}
    assert [margin.basis.split()[0] for margin in found] == ["paired", "Welch's"]


def test_the_runs_of_the_best_are_no_margin():
    best = setting_of("best", [100.0, 101.0, 102.0], source=1)
    assert same_runs(best, best)
    assert against_first([best], [best]) == []


def test_a_baseline_that_was_trained_as_the_best_is_no_comparison():
    best = setting_of("best", [100.0, 101.0, 102.0], source=1)
    other = setting_of("normal", [103.0, 104.5, 105.0])
    again = setting_of("more samples", [100.0, 101.0, 102.0])
    again.runs["name"] = ["study/r7", "study/r8", "study/r9"]
    assert not same_runs(best, again)
    (margin,) = against_first([best], [again, other])
    assert (margin.baseline, margin.tests) == ("normal", 1)


@pytest.mark.parametrize(
    ("weighted", "agree"),
    [([1.0, 1.1, 1.2], True), ([-0.1, 0.1, -0.2], False), ([-1.0, -1.1, -1.2], False)],
)
def test_the_tighter_estimate_may_say_otherwise(weighted, agree):
    best = setting_of("best", [100.0, 101.0, 102.0], source=1)
    other = setting_of("normal", [101.0, 102.1, 103.2])
    best.runs["result.test/iw_nll"] = [90.0, 91.0, 92.0]
    other.runs["result.test/iw_nll"] = np.add([90, 91, 92], weighted)
    for setting in (best, other):
        setting.runs["result.test/importance_samples"] = 100.0
    (margin,) = against_first([best], [other])
    assert margin.settled
    assert margin.weighted.mean == pytest.approx(np.mean(weighted))
    assert margin.estimates_agree == agree
    other.runs["result.test/importance_samples"] = 5000.0
    assert against_first([best], [other])[0].weighted is None, "more samples alone lower it"


def test_welchs_p_needs_three_values_and_may_have_no_spread():
    assert np.isnan(welch_p([1.0, 2.0, 4.0], [3.0, 9.0]))
    assert welch_p([1.0] * 3, [1.0] * 3) == 1
    assert welch_p([1.0] * 3, [2.0] * 3) == 0
