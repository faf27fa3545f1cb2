"""What a report says of trials that the pruner paused: the ranks of its first rung, and paused
trials that were trained to their end.

The planted studies run under the default sampler and pruner. `slow` has the best learning rate
where trials fall slowly at first.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from default_studies import default_study
from scipy.stats import binom, spearmanr, t
from synthetic_study import make_results

from vaeexp.report.closing import left_out
from vaeexp.results.slow_learners import (
    FAIR,
    LEVEL,
    chance_of_ranks,
    late_trials,
    later_rungs,
    rung_ranks,
    spread_over_seeds,
)  # fmt: skip
from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import pruner_kept_winners

LATE = ("confirm.late=3",)


def view_of(kind, seed, **shape):
    return StudyView(default_study(kind, seed, **shape))


def warned(kind, seeds, **shape):
    """Seeds of the studies whose check of the pruner is a warning."""
    return [
        seed
        for seed in seeds
        if pruner_kept_winners(view_of(kind, seed, **shape)).verdict == "warning"
    ]


# ---- the first rung ----


def test_the_ranks_of_the_rung_are_spearmans_over_complete_trials():
    view = view_of("slow", 0, confirm=0)
    ranks = rung_ranks(view)
    epochs = view.epochs.pivot(index="number", columns="epoch", values="objective")
    complete = epochs.loc[view.ranked["number"]]
    expected = spearmanr(complete[[1, 2, 3]].min(axis=1), complete.min(axis=1))[0]
    assert ranks.correlation.mean == pytest.approx(expected)
    assert ranks.correlation.n == len(complete)
    assert (ranks.epoch, ranks.reached, ranks.stopped) == (3, 48, int(epochs[4].isna().sum()))
    check = pruner_kept_winners(view)
    assert check.found[0].values["complete"] == len(complete)
    assert "confirm.late=3 --extend" in check.command


@pytest.mark.parametrize(
    ("rho", "n", "weak"), [(0.36, 7, True), (0.9, 7, False), (0.5, 3, False), (-1.0, 3, True)]
)
def test_so_low_a_correlation_is_weak_only_where_chance_hardly_gives_it(rho, n, weak):
    """Seven complete trials of a study on MNIST had 0.36. Of three, only a reversal says
    something.
    """
    assert (chance_of_ranks(n, rho) <= LEVEL) == weak
    random = np.random.default_rng(3)
    drawn = random.multivariate_normal([0, 0], [[1, FAIR], [FAIR, 1]], (500, n))
    share = np.mean([spearmanr(*each.T)[0] <= rho + 1e-9 for each in drawn])
    assert chance_of_ranks(n, rho) == pytest.approx(
        share, abs=4 * math.sqrt(share * (1 - share) / 500) + 2e-3
    )


def test_a_study_that_pauses_nothing_has_no_rung():
    view = StudyView(make_results())
    assert rung_ranks(view) is None
    assert late_trials(view) == []


@pytest.mark.parametrize(
    ("rungs", "epochs", "later"),
    [([3, 6], 12, [6]), ([3, 8, 15], 30, [8, 15]), ([5], 12, [10]), ([5], 10, [])],
)
def test_rungs_that_pause_later(rungs, epochs, later):
    assert later_rungs(rungs, epochs) == later


# ---- paused trials, trained to their end ----


def test_late_trials_are_set_against_the_winner_of_the_search():
    view = view_of("slow", 4, spread=0.2, overrides=LATE)
    late, epochs = late_trials(view), view.epochs[~view.epochs["repeat"]]
    assert len(late) == 3
    best = view.ranked.iloc[0]
    spread, freedom = spread_over_seeds(view)
    margin = t.ppf(1 - 0.05 / 6, freedom) * math.sqrt(2) * spread
    for one in late:
        run = view.trials[view.trials["repeat"] & (view.trials["source_trial"] == one.number)]
        run = run[run["purposes"] == ("late",)].iloc[0]
        assert one.value == run["objective"]
        assert (one.winner, one.ahead.mean) == (best["number"], best["objective"] - one.value)
        assert one.ahead.high - one.ahead.mean == pytest.approx(margin)
        reached = epochs.groupby("number").filter(
            lambda own, rung=one.rung: own["epoch"].max() >= rung
        )
        at = reached[reached["epoch"] <= one.rung].groupby("number")["objective"].min()
        assert (one.rank, one.reached) == (int((at < at[one.number]).sum()) + 1, len(at))
    assert [one.value for one in late] == sorted(one.value for one in late)


def test_a_winner_that_the_pruner_stopped_is_a_warning_and_others_are_good():
    views = {seed: view_of("slow", seed, spread=0.2, overrides=LATE) for seed in (100, 101)}
    verdicts = {seed: pruner_kept_winners(view) for seed, view in views.items()}
    settled = {seed: any(one.settled for one in late_trials(view)) for seed, view in views.items()}
    assert settled == {100: False, 101: True}
    assert {seed: check.verdict for seed, check in verdicts.items()} == {
        100: "good",
        101: "warning",
    }
    assert "--set 'pruner.rungs=[6]' --extend" in verdicts[101].command
    null = pruner_kept_winners(view_of("null", 1, overrides=LATE))
    assert (null.verdict, null.advice) == ("good", None)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["null", "strong", "tie"])
def test_paused_trials_come_before_the_winner_by_chance_in_few_studies(kind):
    found = len(warned(kind, range(40), overrides=LATE))
    assert found <= binom.ppf(0.995, 40, 0.05)


def test_a_late_run_that_failed_says_nothing():
    results = default_study("null", 1, overrides=LATE)
    late = results.trials["purposes"] == ("late",)
    trials = results.trials.copy()
    trials.loc[late, "state"], trials.loc[late, "objective"] = "failed", np.nan
    view = StudyView(replace(results, trials=trials))
    assert [math.isnan(one.value) for one in late_trials(view)] == [True] * 3
    assert pruner_kept_winners(view).verdict == "unknown"
    counts = {said.id: said.values["count"] for said in left_out(view)}
    assert counts["left.late"] == 3
    assert "left.runs_failed" not in counts
