"""What the search took and the curves of many trials."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.patches import StepPatch
from synthetic_study import make_results, texts

from vaeexp.plots.search import MOST_CURVES, best_by_cost, learning_curves, trial_costs
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def study():
    return make_results()


def steps(axes):
    return [patch.get_data() for patch in axes.patches if isinstance(patch, StepPatch)]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_costs_are_sorted_within_each_outcome_and_their_medians_named(study):
    axes = trial_costs(StudyView(study)).axes[0]
    trained = StudyView(study).search.query("seconds > 0")
    blocks = steps(axes)
    assert sum(len(block.values) for block in blocks) == len(trained)
    start, labels = 0, []
    for block, state in zip(blocks, ("complete", "pruned", "failed"), strict=True):
        own = trained[trained["state"] == state]["seconds"]
        assert list(block.values) == sorted(own, reverse=True)
        assert list(block.edges) == list(range(start, start + len(own) + 1))
        start += len(own)
        median = f"{'median ' if len(own) > 1 else ''}{own.median():.{0 if own.median() >= 10 else 1}f} s"
        share = 100 * own.sum() / trained["seconds"].sum()
        labels.append(f"{state} ({len(own)}): {median}, {share:.0f} % of the time")
    assert legend(axes) == labels
    assert [line.get_ydata()[0] for line in axes.lines] == [
        trained.query("state == @s")["seconds"].median() for s in ("complete", "pruned")
    ]
    assert axes.get_ylabel() == "training (s)"


def test_one_dear_trial_does_not_flatten_the_others(study):
    trials = study.trials.copy()
    trials.loc[0, "seconds"] = 7200.0
    axes = trial_costs(StudyView(replace(study, trials=trials))).axes[0]
    assert axes.get_ylim()[1] < 300
    assert "the dearest took 2 h" in texts(axes.figure)
    assert trial_costs(StudyView(replace(study, trials=trials.assign(seconds=0.0)))) is None


def test_of_many_curves_some_are_drawn_evenly_and_all_are_counted(study):
    copies, epochs = [], []
    for copy in range(12):
        shift = {"number": StudyView(study).search["number"] + 40 * copy}
        copies.append(StudyView(study).search.assign(**shift))
        own = study.epochs[~study.epochs["repeat"]]
        epochs.append(own.assign(number=own["number"] + 40 * copy, objective=own["objective"] + copy))
    for copy, trials in enumerate(copies):
        trials["objective"] += copy
    many = replace(study, trials=pd.concat(copies), epochs=pd.concat(epochs))
    axes = learning_curves(StudyView(many)).axes[0]
    pruned, failed, complete = (found.get_segments() for found in axes.collections if isinstance(found, LineCollection))
    assert (len(pruned), len(failed), len(complete)) == (MOST_CURVES, 12, MOST_CURVES)
    lowest = many.epochs.groupby("number")["objective"].min()
    states = many.trials.set_index("number")["state"]
    for drawn, state in ((pruned, "pruned"), (complete, "complete")):
        of_state = lowest[states[lowest.index] == state]
        shown = sorted(curve[:, 1].min() for curve in drawn)
        assert (shown[0], shown[-1]) == (of_state.min(), of_state.max())
        assert np.median(shown) == pytest.approx(of_state.median(), abs=2)
    assert legend(axes)[:3] == ["pruned (264)", "failed (12)", "complete (180)"]
    assert f"at most {MOST_CURVES} curves of an outcome are drawn" in texts(axes.figure)
    assert not [text for text in texts(learning_curves(StudyView(study))) if "at most" in text]


def test_curves_of_pruned_trials_are_fainter_than_those_of_complete_ones(study):
    axes = learning_curves(StudyView(study)).axes[0]
    pruned, _, complete = (found.get_alpha() for found in axes.collections if isinstance(found, LineCollection))
    assert pruned < 0.7 * complete


def test_the_best_value_steps_down_along_the_epochs_that_all_trials_trained(study):
    axes = best_by_cost(StudyView(study)).axes[0]
    ended = StudyView(study).search.sort_values(["ended", "number"])
    complete = ended["state"] == "complete"
    line = axes.lines[0]
    assert list(line.get_xdata()[:-1]) == list(ended["epochs"].cumsum()[complete])
    assert list(line.get_ydata()[:-1]) == list(ended["objective"][complete].cummin())
    assert line.get_xdata()[-1] == ended["epochs"].sum() == 577
    assert "best: trial 15, 96.90 after 303 of 577 trial-epochs" in texts(axes.figure)
    none = study.trials.assign(state="pruned")
    assert best_by_cost(StudyView(replace(study, trials=none))) is None
