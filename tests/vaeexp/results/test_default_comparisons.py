"""What the default search sets side by side, in studies whose truth is known: baselines, matched pairs, and runs that diverge."""

import pytest
from default_studies import default_study
from scipy import stats

from vaeexp.results.study_view import StudyView

SMALL = {"trials": 24, "epochs": 8}


def views(kind, count, **shape):
    return [StudyView(default_study(kind, seed, **shape)) for seed in range(count)]


def at_most(events, count, rate=0.05):
    """Whether the exact 99 % binomial interval of a rate reaches down to this one."""
    return stats.binomtest(events, count).proportion_ci(0.99, method="exact").low <= rate


# ---- baselines ----


@pytest.mark.parametrize("count", [4, pytest.param(40, marks=pytest.mark.slow)])
def test_a_baseline_without_effect_stands_against_the_trial_that_it_changes(count):
    """The prior does nothing. Set against the winner, a change of another trial was called worse or better."""
    turned, settled, inside, rows = 0, 0, 0, 0
    for view in views("baseline", count, **SMALL):
        first = int(view.found["number"].iloc[0])
        own = [each for each in view.baselines if each.baseline == "normal_prior"]
        assert {each.source_trial for each in own} == {first, view.best_number}
        turned += view.best_number != first
        margins = [each for each in view.baseline_margins if each.baseline == "normal_prior"]
        for margin in margins:
            assert margin.against == margin.source_trial
            confirmed = next(each for each in view.confirmed if each.source_trial == margin.against)
            row = next(each for each in own if each.source_trial == margin.source_trial)
            two = [each.runs.set_index("seed")["result.test/neg_elbo"] for each in (row, confirmed)]
            assert margin.interval.mean == pytest.approx((two[0] - two[1]).mean())
            assert margin.interval.n == 3
            inside += margin.interval.low <= 0 <= margin.interval.high
            rows += 1
        settled += any(margin.settled or any(o.settled for o in margin.others.values()) for margin in margins)
        usual = next(each for each in view.baseline_margins if each.baseline == "usual")
        assert (usual.source_trial, usual.against) == (None, view.best_number)
    assert turned >= count / 8
    assert rows >= 2
    assert at_most(settled, count), settled
    assert stats.binomtest(inside, rows).proportion_ci(0.99, method="exact").high >= 0.95, (inside, rows)
