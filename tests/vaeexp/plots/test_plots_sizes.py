"""Figures of model sizes: value and active units by size, on the scales of the search space."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from synthetic_study import SEARCH, make_results, study_attributes

from vaeexp.plots.style import MUTED, TEXT_COLOUR
from vaeexp.plots.tradeoff import active_units, bins
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def made():
    return make_results()


def with_search(results, search, **model):
    spec = study_attributes().spec
    return replace(results, study=study_attributes(spec=spec | {"search": search, "model": spec["model"] | model}))


def points(axes):
    return sum(len(found.get_offsets()) for found in axes.collections if isinstance(found, PathCollection))


def line_of(axes, colour):
    (line,) = [line for line in axes.lines if to_hex(line.get_color()) == to_hex(colour)]
    return line


def test_complete_trials_are_large_and_pruned_ones_small(made):
    sizes = {
        to_hex(found.get_facecolor()[0]): found.get_sizes()[0]
        for found in active_units(StudyView(made)).axes[0].collections
        if found.get_label() in ("complete", "pruned")
    }
    complete, pruned = sizes["#0072b2"], sizes["#e69f00"]
    assert complete > 2 * pruned


def test_listed_sizes_are_ticks_and_far_apart_on_a_logarithmic_axis(made):
    trials = made.trials.copy()
    listed = [1, 4, 16, 64]
    trials["params.latent_size"] = pd.Series([listed[number % 4] for number in trials["number"]], dtype=object)
    study = with_search(replace(made, trials=trials), {"latent_size": {"kind": "choice", "values": listed}})
    (axes,) = active_units(StudyView(study)).axes
    assert axes.get_xscale() == "log"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["1", "4", "16", "64"]
    near = trials.assign(**{"params.latent_size": trials["params.latent_size"].map({1: 4, 4: 5, 16: 6, 64: 7})})
    study = with_search(replace(made, trials=near), {"latent_size": {"kind": "choice", "values": [4, 5, 6, 7]}})
    assert active_units(StudyView(study)).axes[0].get_xscale() == "linear"


def test_what_was_not_searched_or_is_no_number_has_no_panel(made):
    assert active_units(StudyView(with_search(made, {"components": SEARCH["components"]}))) is None
    assert len(active_units(StudyView(with_search(made, {"latent_size": SEARCH["latent_size"]}))).axes) == 1
    words = made.trials.assign(**{"params.latent_size": pd.Series(["small", "large"] * len(made.trials))})
    named = with_search(replace(made, trials=words), {"latent_size": {"kind": "choice", "values": ["small", "large"]}})
    assert active_units(StudyView(named)) is None


def test_sizes_fall_into_parts_of_their_range():
    many = pd.Series(np.geomspace(1, 1024, 100))
    assert bins(many, log=True).value_counts().to_dict() == dict.fromkeys(range(10), 10)
    assert bins(many, log=False).value_counts().idxmax() == 0
    few = pd.Series([2.0, 4.0, 2.0, 4.0, np.nan])
    assert list(bins(few, log=True)) == [2, 4, 2, 4]
    assert list(bins(pd.Series([1.0, 3.0, 9.0]), log=True, listed=True)) == [1, 3, 9]
    assert list(bins(pd.Series([1.0, 3.0, 9.0]), log=True)) == [0, 1, 2]


def test_active_units_stand_against_beta_and_latent_size(made):
    beta, latent = active_units(StudyView(made)).axes
    trials = StudyView(made).at_best_epoch(StudyView(made).search)
    assert (beta.get_xlabel(), latent.get_xlabel()) == ("β", "latent size")
    for axes, name in ((beta, "beta"), (latent, "latent_size")):
        drawn = np.concatenate([found.get_offsets() for found in axes.collections if isinstance(found, PathCollection)])
        wanted = trials[[f"params.{name}", "val/active_units"]].to_numpy(float)
        assert sorted(drawn.tolist()) == sorted(wanted.tolist())
    ceiling = line_of(latent, MUTED)
    assert list(ceiling.get_xdata()) == list(ceiling.get_ydata())
    assert ceiling.get_label() == "all units active"
    assert beta.get_ylim()[1] > trials["val/active_units"].max()


def test_the_median_of_active_units_is_that_of_complete_trials(made):
    listed = made.trials.assign(**{"params.latent_size": pd.array([8, 16] * 100, dtype="Int64")[: len(made.trials)]})
    study = with_search(replace(made, trials=listed), {"latent_size": {"kind": "choice", "values": [8, 16]}})
    line = line_of(active_units(StudyView(study)).axes[0], TEXT_COLOUR)
    trials = StudyView(study).at_best_epoch(StudyView(study).search).query("state == 'complete'")
    medians = trials.groupby("params.latent_size")["val/active_units"].median()
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([8, 16], list(medians))


def test_a_fixed_latent_size_is_the_ceiling_over_beta(made):
    (axes,) = active_units(StudyView(with_search(made, {"beta": SEARCH["beta"]}, latent_size=80))).axes
    assert list(line_of(axes, MUTED).get_ydata()) == [80, 80]
    assert axes.get_ylim()[1] > 80


def test_no_figure_of_active_units_without_such_a_figure(made):
    assert active_units(StudyView(replace(made, epochs=made.epochs.assign(**{"val/active_units": np.nan})))) is None
    assert active_units(StudyView(replace(made, epochs=made.epochs.drop(columns=["val/active_units"])))) is None
