"""Plots that cut their axes stand in the page a second time, with every trial inside."""

import re
from dataclasses import replace

import pytest
from synthetic_study import make_results

from vaeexp.plots import PLOTS
from vaeexp.report.page.inline import page_drawings
from vaeexp.results.study_view import StudyView

FAR = 5
"""A complete trial that is put far outside the axes of the others."""


def study(*, far):
    results = make_results(14, confirm=False, compare=False)
    if not far:
        kept = results.trials["state"] == "complete"
        return replace(results, trials=results.trials[kept].assign(objective=results.trials.loc[kept, "number"] % 3))
    trials, epochs = results.trials.copy(), results.epochs.copy()
    trials.loc[trials["number"] == FAR, ["objective", "state"]] = [9e3, "complete"]
    own = epochs["number"] == FAR
    epochs.loc[own, ["objective", "val/distortion", "val/rate"]] = [9e3, 5e3, 4e3]
    return replace(results, trials=trials, epochs=epochs)


@pytest.mark.parametrize("name", ["history", "rate_distortion", pytest.param("equal_epochs", marks=pytest.mark.slow)])
def test_a_plot_with_a_trial_outside_shows_it_in_its_second_drawing(name):
    view, file = StudyView(study(far=True)), f"{name}.png"
    figure = PLOTS[name].draw(view)
    limits = [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes]
    drawn = page_drawings(view, {file: figure})[file]
    first, whole = drawn.split('<div class="whole" hidden>')
    assert re.search(r"above the scale|outside", first)
    assert not re.search(r"above the scale|outside", whole)
    assert f'data-row="{FAR}"' in whole
    assert set(re.findall(r'data-row="(\d+)"', first)) <= set(re.findall(r'data-row="(\d+)"', whole))
    assert [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes] == limits
    assert len(set(re.findall(r' id="([^"]+)"', drawn))) == len(re.findall(r' id="([^"]+)"', drawn))


def test_a_plot_that_shows_all_trials_stands_once():
    view = StudyView(study(far=False))
    assert 'class="whole"' not in page_drawings(view, {"history.png": PLOTS["history"].draw(view)})["history.png"]
