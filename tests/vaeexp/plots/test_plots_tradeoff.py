"""The rate-distortion plane and the active units, on the scales of the search space."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from synthetic_study import SEARCH, make_results, study_attributes

from vaeexp.plots import PLOTS
from vaeexp.plots.parameters import active_units
from vaeexp.plots.style import MUTED
from vaeexp.plots.tradeoff import SCORED_AT_ONE, rate_distortion
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite_points


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [(0.4, 3.0, ["0.5", "1", "2"]), (0.01, 10.0, ["0.01", "0.1", "1", "10"])],
)
def test_the_scale_of_beta_has_plain_decimals(made, low, high, labels):
    spec = with_search(made, {**SEARCH, "beta": {**SEARCH["beta"], "low": low, "high": high}})
    within = spec.trials["params.beta"].astype(float).clip(low, high)
    figure = rate_distortion(
        StudyView(replace(spec, trials=spec.trials.assign(**{"params.beta": within})))
    )
    bar = figure.axes[1]
    figure.canvas.draw()
    shown = [
        text.get_text()
        for text in bar.get_yticklabels(which="both")
        if low <= text.get_position()[1] <= high
    ]
    assert [label for label in shown if label] == labels


def test_lines_of_equal_elbo_are_what_they_say(results):
    axes = rate_distortion(StudyView(results)).axes[0]
    named = [text for text in axes.texts if text.get_text().startswith("−ELBO")]
    assert len(named) >= 3
    for text in named:
        assert sum(text.xy) == pytest.approx(float(text.get_text().removeprefix("−ELBO ")))


def test_the_plane_has_the_colour_of_beta_open_marks_and_a_star_at_the_winner(made):
    view = StudyView(made)
    figure = rate_distortion(view)
    axes = figure.axes[0]
    marks = [each for each in axes.collections if len(each.get_offsets())]
    others, complete, star = marks
    assert len(complete.get_offsets()) == len(view.ranked)
    assert len(complete.get_facecolors())
    assert not len(others.get_facecolors())
    assert complete.get_sizes()[0] > 2 * others.get_sizes()[0]
    betas = finite_points(view.last_epochs).groupby(
        finite_points(view.last_epochs)["state"] == "complete"
    )["params.beta"]
    assert sorted(complete.get_array()) == pytest.approx(sorted(betas.get_group(True)))
    assert figure.axes[1].get_ylabel() == "β"
    assert star.get_gid() == f"trials:{view.best_number}"
    assert star.get_label() == f"winner: trial {view.best_number}"
    searched = replace(made, trials=made.trials[~made.trials["repeat"]])
    star = rate_distortion(StudyView(searched)).axes[0].collections[-1]
    assert star.get_label() == f"best in the search: trial {view.ranked['number'].iloc[0]}"


def test_the_colours_of_beta_are_those_of_the_complete_trials_in_sight(made):
    """Trials of a β far out, that were pruned, make the others no more alike."""
    trials = made.trials.copy()
    pruned = (trials["state"] == "pruned") & ~trials["repeat"]
    trials.loc[pruned, "params.beta"] = 1e-4
    figure = rate_distortion(StudyView(replace(made, trials=trials)))
    complete = trials[(trials["state"] == "complete") & ~trials["repeat"]]
    betas = complete["params.beta"].astype(float)
    assert figure.axes[1].get_ylim() == pytest.approx((betas.min(), betas.max()))


def test_the_remark_on_trials_outside_the_plane_stands_clear_of_the_legend(made):
    pruned = made.trials[made.trials["state"] == "pruned"]["number"]
    far = made.epochs["number"].isin(pruned) & (made.epochs["repeat"] == 0)
    distortion = made.epochs["val/distortion"].where(~far, made.epochs["val/distortion"] * 20)
    epochs = made.epochs.assign(**{"val/distortion": distortion})
    figure = rate_distortion(StudyView(replace(made, epochs=epochs)))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (remark,) = [text for text in axes.texts if "outside these axes" in text.get_text()]
    for entry in axes.get_legend().get_texts():
        assert not remark.get_window_extent().overlaps(entry.get_window_extent()), entry.get_text()


@pytest.fixture(scope="module")
def made():
    return make_results()


def with_search(results, search, **model):
    spec = study_attributes().spec
    return replace(
        results,
        study=study_attributes(spec=spec | {"search": search, "model": spec["model"] | model}),
    )


def points(axes):
    return sum(
        len(found.get_offsets()) for found in axes.collections if isinstance(found, PathCollection)
    )


def line_of(axes, colour):
    (line,) = [line for line in axes.lines if to_hex(line.get_color()) == to_hex(colour)]
    return line


def test_complete_trials_are_large_and_pruned_ones_small(made):
    sizes = {
        to_hex(found.get_edgecolor()[0]): found.get_sizes()[0]
        for found in active_units(StudyView(made)).axes[0].collections
        if found.get_label() in ("complete", "pruned")
    }
    complete, pruned = sizes["#0072b2"], sizes["#e69f00"]
    assert complete > 2 * pruned


def test_what_was_not_searched_or_measured_has_no_panel(made):
    assert active_units(StudyView(with_search(made, {"components": SEARCH["components"]}))) is None
    assert (
        len(active_units(StudyView(with_search(made, {"latent_size": SEARCH["latent_size"]}))).axes)
        == 1
    )
    for epochs in (
        made.epochs.assign(**{"val/active_units": np.nan}),
        made.epochs.drop(columns=["val/active_units"]),
    ):
        assert active_units(StudyView(replace(made, epochs=epochs))) is None


def test_units_that_are_all_in_use_are_not_drawn(made):
    sizes = made.trials.set_index(["repeat", "number"])["params.latent_size"]
    keys = pd.MultiIndex.from_frame(made.epochs[["repeat", "number"]])
    full = made.epochs.assign(**{"val/active_units": sizes.reindex(keys).to_numpy(float)})
    assert active_units(StudyView(replace(made, epochs=full))) is None


def test_a_fixed_latent_size_is_the_ceiling_over_beta(made):
    (axes,) = active_units(
        StudyView(with_search(made, {"beta": SEARCH["beta"]}, latent_size=80))
    ).axes
    assert list(line_of(axes, MUTED).get_ydata()) == [80, 80]
    assert axes.get_ylim()[1] > 80
    figure = active_units(StudyView(made))
    assert figure.get_supylabel() == "active units (% of the latent size), last epoch"
    assert list(line_of(figure.axes[1], MUTED).get_ydata()) == [100, 100]


@pytest.mark.parametrize("search", ["beta", "beta and others", "others"])
def test_what_the_score_prefers_is_said_where_beta_was_searched(made, search):
    beta, others = {"beta": SEARCH["beta"]}, {"latent_size": SEARCH["latent_size"]}
    spaces = {"beta": beta, "beta and others": beta | others, "others": others}
    view = StudyView(with_search(made, spaces[search]))
    said = [
        name
        for name, plot in PLOTS.items()
        if plot.belongs_to(view) and SCORED_AT_ONE in reading(plot, view)
    ]
    assert said == ([] if search == "others" else ["rate_distortion"])
    # Whatever β was best: the winner of a study may have 0.123.
    assert "near 1" not in SCORED_AT_ONE
