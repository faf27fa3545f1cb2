"""The rate-distortion plane and the active units, on the scales of the search space."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.text import Text
from synthetic_study import SEARCH, make_results, study_attributes, texts, with_samples_tested

from vaeexp.plots import PLOTS
from vaeexp.plots.parameters import active_units
from vaeexp.plots.style import MUTED, TEXT_COLOUR, framed
from vaeexp.plots.tradeoff import SCORED_AT_ONE, fid_against_elbo, rate_distortion
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import at_last_epoch, finite_points


def test_rate_distortion_places_and_colours_every_trial(results):
    figure = rate_distortion(StudyView(results))
    axes = figure.axes[0]
    trials = StudyView(results).last_epochs
    assert points(axes) == len(trials)
    marks = [
        found
        for found in axes.collections
        if isinstance(found, PathCollection) and len(found.get_offsets())
    ]
    drawn = np.concatenate([found.get_offsets() for found in marks])
    ends = trials["val/rate"] + trials["val/distortion"]
    assert sorted(drawn[:, 0] + drawn[:, 1]) == pytest.approx(sorted(ends))
    shades = np.concatenate([found.get_array() for found in marks])
    assert sorted(shades) == pytest.approx(sorted(trials["params.beta"]))
    assert axes.get_xlabel().endswith("(nats per image)")
    assert axes.get_ylabel().endswith("(nats per image)")
    levels = [text for text in texts(figure) if text.startswith("−ELBO")]
    assert len(levels) >= 3
    assert figure.axes[1].get_ylabel() == "β"


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


def test_a_trial_with_a_small_beta_stands_where_its_training_ended(made):
    """At β near 0 the best −ELBO is that of the first epoch, so the best epoch shows a model that
    was not trained.
    """
    view = StudyView(made)
    trial = view.ranked[view.ranked["params.beta"].astype(float) < 0.03].iloc[0]
    assert trial["best_epoch"] == 1
    curve = view.epochs[
        ~view.epochs["repeat"] & (view.epochs["number"] == trial["number"])
    ].sort_values("epoch")
    first, last = curve.iloc[0], curve.iloc[-1]
    marks = [
        found
        for found in rate_distortion(view).axes[0].collections
        if isinstance(found, PathCollection)
    ]
    drawn = {tuple(point) for found in marks for point in found.get_offsets().tolist()}
    assert (last["val/rate"], last["val/distortion"]) in drawn
    assert (first["val/rate"], first["val/distortion"]) not in drawn
    assert "at its last epoch" in reading(PLOTS["rate_distortion"], view)


def test_the_best_trial_is_named_with_both_values_where_its_last_epoch_is_not_its_best(made):
    view = StudyView(made)
    best = view.ranked.iloc[0]
    last = at_last_epoch(view.epochs, view.ranked.head(1)).iloc[0]
    here = f"{last['val/rate'] + last['val/distortion']:.2f}"
    words = (
        f"lowest: trial {best['number']}, {here} ({best['objective']:.2f} at epoch "
        f"{best['best_epoch']})"
    )
    assert words in texts(rate_distortion(view))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("height", [0.0, 0.5, 1.0])
def test_the_name_of_the_best_trial_stays_within_the_axes(made, share, height):
    """Wherever the best trial lies: its name is more than half as wide as the axes."""
    view = StudyView(made)
    points = finite_points(view.last_epochs).copy()
    complete = points[points["state"] == "complete"]
    best = complete["objective"].idxmin()
    for name, at in (("val/rate", share), ("val/distortion", height)):
        points.loc[best, name] = complete[name].quantile(at)
    points.loc[best, ["number", "best_epoch"]] = 10**12, points.loc[best, "epoch"] - 1
    view.__dict__["points"] = points
    figure = framed(rate_distortion(view), "Rate and distortion")
    figure.draw_without_rendering()
    (name,) = [text for text in figure.axes[0].texts if text.get_text().startswith("lowest: trial")]
    words, axes = Text.get_window_extent(name), figure.axes[0].get_window_extent()
    assert words.width > axes.width / 2
    assert axes.x0 <= words.x0 < words.x1 <= axes.x1
    assert axes.y0 <= words.y0 < words.y1 <= axes.y1


def test_trials_that_did_not_complete_are_open_marks(made):
    found = rate_distortion(StudyView(made)).axes[0].collections
    drawn = {len(each.get_offsets()): each for each in found if isinstance(each, PathCollection)}
    complete = len(StudyView(made).ranked)
    assert len(drawn[complete].get_facecolors())
    (others,) = [each for count, each in drawn.items() if count not in (0, complete)]
    assert not len(others.get_facecolors())


def test_lines_of_equal_elbo_are_what_they_say(results):
    axes = rate_distortion(StudyView(results)).axes[0]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed
    for line in dashed:
        x, y = line.get_xdata(), line.get_ydata()
        assert x[0] + y[0] == pytest.approx(x[1] + y[1])
        assert (x[0] + y[0]) % 10 == pytest.approx(0, abs=1e-6)


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


def test_many_sizes_have_a_median_for_each_part_of_their_range(made):
    trials = pd.concat([made.trials[~made.trials["repeat"]].head(1)] * 100, ignore_index=True)
    trials = trials.assign(number=range(100), state="complete", best_epoch=1)
    trials["params.latent_size"] = pd.array(np.geomspace(2, 64, 100).round(), dtype="Int64")
    epochs = pd.concat([made.epochs.head(1)] * 100, ignore_index=True).assign(
        number=range(100), epoch=1
    )
    epochs["val/active_units"] = trials["params.latent_size"].astype(float) / 2
    study = with_search(
        replace(made, trials=trials, epochs=epochs), {"latent_size": SEARCH["latent_size"]}
    )
    line = line_of(active_units(StudyView(study)).axes[0], TEXT_COLOUR)
    assert len(line.get_xdata()) == 10
    assert list(line.get_ydata()) == [50] * 10


@pytest.mark.parametrize(("trials", "drawn"), [(6, False), (9, False), (10, True)])
def test_few_trials_of_many_numbers_have_no_median(made, trials, drawn):
    """A line through medians of two would show values that no trial has."""
    few = made.trials[~made.trials["repeat"] & (made.trials["state"] == "complete")].head(trials)
    study = with_search(replace(made, trials=few), {"beta": SEARCH["beta"]})
    lines = [line.get_label() for line in active_units(StudyView(study)).axes[0].lines]
    assert any("median" in label for label in lines) == drawn


def test_active_units_stand_against_beta_and_latent_size(made):
    beta, latent = active_units(StudyView(made)).axes
    trials = StudyView(made).last_epochs
    shares = (
        100 * trials["val/active_units"].astype(float) / trials["params.latent_size"].astype(float)
    )
    tested = StudyView(made).retrained.confirm_runs
    by_rate = 100 * 2 / tested["params.latent_size"].astype(float)
    assert (beta.get_xlabel(), latent.get_xlabel()) == ("β", "latent size")
    for axes, name in ((beta, "beta"), (latent, "latent_size")):
        *marks, diamonds = [
            found.get_offsets() for found in axes.collections if isinstance(found, PathCollection)
        ]
        wanted = np.stack([trials[f"params.{name}"].astype(float), shares], axis=1)
        np.testing.assert_allclose(sorted(np.concatenate(marks).tolist()), sorted(wanted.tolist()))
        np.testing.assert_allclose(
            diamonds, np.stack([tested[f"params.{name}"].astype(float), by_rate], axis=1)
        )
    assert list(line_of(latent, MUTED).get_ydata()) == [100, 100]
    assert beta.get_ylim()[1] > 100
    assert (
        active_units(StudyView(made)).get_supylabel()
        == "active units (% of the latent size), last epoch"
    )


def test_the_median_of_active_units_is_that_of_complete_trials(made):
    listed = made.trials.assign(
        **{"params.latent_size": pd.array([8, 16] * 100, dtype="Int64")[: len(made.trials)]}
    )
    study = with_search(
        replace(made, trials=listed), {"latent_size": {"kind": "choice", "values": [8, 16]}}
    )
    axes = active_units(StudyView(study)).axes[0]
    (bars,) = [
        found.get_segments() for found in axes.collections if isinstance(found, LineCollection)
    ]
    trials = StudyView(study).last_epochs.query("state == 'complete'")
    shares = 100 * trials["val/active_units"] / trials["params.latent_size"].astype(float)
    assert [bar[0, 1] for bar in bars] == list(
        shares.groupby(trials["params.latent_size"]).median()
    )
    assert [tick.get_text().split("\n")[0] for tick in axes.get_xticklabels()] == ["8", "16"]


def test_a_fixed_latent_size_is_the_ceiling_over_beta(made):
    (axes,) = active_units(
        StudyView(with_search(made, {"beta": SEARCH["beta"]}, latent_size=80))
    ).axes
    assert list(line_of(axes, MUTED).get_ydata()) == [80, 80]
    assert axes.get_ylim()[1] > 80


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


@pytest.mark.parametrize("other", ["generated", "images", "both"])
def test_fid_stands_beside_fid_of_as_many_samples_and_images_alone(other):
    made = with_samples_tested(make_results())
    worst = StudyView(made).confirmed[-1].runs["number"]
    changed = made.trials["repeat"] & made.trials["number"].isin(worst)
    for name in ("generated", "images") if other == "both" else (other,):
        made.trials.loc[changed, f"result.test/{name}"] = 77.0
    view = StudyView(made)
    drawn = {
        row
        for points in fid_against_elbo(view).axes[0].collections
        for row in points.get_gid()[7:].split(",")
    }
    wanted = view.retrained.confirm_runs[~view.retrained.confirm_runs["number"].isin(worst)][
        "number"
    ]
    assert drawn == {f"r{number}" for number in wanted}
    assert fid_against_elbo(StudyView(make_results())) is None
