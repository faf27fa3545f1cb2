"""The random studies that tests of the default search rest on: the default search made them, and
what was planted is in them.
"""

import pandas as pd
from default_studies import default_study, truth_of


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
