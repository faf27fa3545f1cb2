"""The random studies that tests of the default search rest on: the default search made them, and
what was planted is in them.
"""

import pandas as pd
import pytest
from default_studies import KINDS, default_study, truth_of

from vaeexp.report.chapters import compose
from vaeexp.results.study_view import StudyView

FEW = ("strong", "hole", "divergence")
kinds = pytest.mark.parametrize(
    "kind", [kind if kind in FEW else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]
)


@kinds
def test_the_default_search_makes_each_kind_with_its_repeats(kind: str) -> None:
    results = default_study(kind, 0)
    spec, trials = results.study.spec, results.trials
    assert (spec["sampler"]["name"], spec["pruner"]["name"]) == ("curves", "promotion")
    search = trials[~trials["repeat"]]
    assert len(search) == 48
    assert set(search["state"]) <= {"complete", "pruned", "failed"}
    assert 2 <= (search["state"] == "complete").sum() <= 20
    repeats = trials[trials["repeat"]]
    sections = {"confirm": "confirm", "compare": "compare", "baseline": "baselines"}
    wanted = {purpose for purpose, section in sections.items() if spec[section]}
    assert {purpose for purposes in repeats["purposes"] for purpose in purposes} == wanted
    tested = repeats["purposes"].map(lambda purposes: set(purposes) != {"compare"}) & (
        repeats["state"] == "complete"
    )
    assert repeats["result.test/neg_elbo"].notna().equals(tested)


def test_a_study_is_the_same_each_time() -> None:
    first = default_study("hole", 1)
    default_study.cache_clear()
    again = default_study("hole", 1)
    pd.testing.assert_frame_equal(first.trials, again.trials)
    pd.testing.assert_frame_equal(first.epochs, again.epochs)


def test_what_is_planted_is_in_the_trials() -> None:
    trials = default_study("divergence", 0).trials
    assert (trials["failure"] == "diverged").equals(trials["params.learning_rate"] > 0.01)
    trials = default_study("hole", 0).trials.head(40)
    outside = ~trials["params.beta"].between(*truth_of("hole", 0).facts["hole"]["beta"])
    assert set(trials.loc[outside, "params.optimizer"]) == {"adamax"}
    trials = default_study("strong", 0).trials
    optimum = truth_of("strong", 0).facts["optimum"]["learning_rate"]
    best = (
        trials[~trials["repeat"] & (trials["state"] == "complete")].sort_values("objective").iloc[0]
    )
    assert 0.4 < best["params.learning_rate"] / optimum < 2.5


@kinds
@pytest.mark.slow
def test_a_whole_report_is_made_of_each_kind(kind: str) -> None:
    text, figures, _ = compose(StudyView(default_study(kind, 0)))
    assert "## Answer" in text
    assert figures
