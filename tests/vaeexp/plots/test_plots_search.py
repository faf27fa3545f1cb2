"""What the search took and the curves of many trials."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from synthetic_study import SEARCH, make_results, study_attributes, texts

from vaeexp.plots.search import MOST_CURVES, learning_curves
from vaeexp.results.study_view import StudyView
from vaeexp.words import format_value


@pytest.fixture(scope="module")
def study():
    return make_results()


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_of_many_curves_some_are_drawn_evenly_and_all_are_counted(study):
    copies, epochs = [], []
    for copy in range(12):
        shift = {"number": StudyView(study).search["number"] + 40 * copy}
        copies.append(StudyView(study).search.assign(**shift))
        own = study.epochs[~study.epochs["repeat"]]
        epochs.append(
            own.assign(number=own["number"] + 40 * copy, objective=own["objective"] + copy)
        )
    for copy, trials in enumerate(copies):
        trials["objective"] += copy
    many = replace(study, trials=pd.concat(copies), epochs=pd.concat(epochs))
    axes = learning_curves(StudyView(many)).axes[0]
    pruned, failed, complete = (
        found.get_segments() for found in axes.collections if isinstance(found, LineCollection)
    )
    assert (len(pruned), len(failed), len(complete)) == (MOST_CURVES, 12, MOST_CURVES)
    lowest = many.epochs.groupby("number")["objective"].min()
    states = many.trials.set_index("number")["state"]
    for drawn, state in ((pruned, "pruned"), (complete, "complete")):
        of_state = lowest[states[lowest.index] == state]
        shown = sorted(curve[:, 1].min() for curve in drawn)
        assert (shown[0], shown[-1]) == (of_state.min(), of_state.max())
        assert np.median(shown) == pytest.approx(of_state.median(), abs=2)
    assert legend(axes)[:3] == ["pruned, value reached (264)", "failed (12)", "complete (180)"]
    assert not [text for text in texts(learning_curves(StudyView(study))) if "at most" in text]


def few(study, numbers, **changes):
    """The study with these complete trials alone."""
    chosen = study.trials["number"].isin(numbers) & ~study.trials["repeat"]
    epochs = study.epochs[~study.epochs["repeat"] & study.epochs["number"].isin(numbers)]
    return replace(study, trials=study.trials[chosen], epochs=epochs, **changes)


@pytest.mark.parametrize(("count", "searched"), [(6, "beta"), (7, "all")])
def test_few_complete_trials_have_lines_of_their_own_with_their_names(study, count, searched):
    ranked = StudyView(study).ranked.head(count)
    own = few(study, ranked["number"])
    names = [f"trial {number}" for number in ranked["number"]]
    if searched == "beta":
        spec = study.study.spec | {"search": {"beta": SEARCH["beta"]}}
        own = replace(own, study=study_attributes(spec=spec))
        names = [f"β = {format_value(beta)}" for beta in ranked["params.beta"]]
    axes = learning_curves(StudyView(own)).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) > 1]
    assert len({(line.get_color(), str(line.get_linestyle())) for line in curves}) == count
    for line, number in zip(curves, ranked["number"], strict=True):
        course = own.epochs[own.epochs["number"] == number].sort_values("epoch")
        np.testing.assert_allclose(line.get_ydata(), course["objective"])
    assert legend(axes) == [f"best in the search: {names[0]}", *names[1:]]
