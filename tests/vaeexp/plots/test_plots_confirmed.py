"""Plots of the confirmed configurations and of what tested runs left: dots, curves,
neighbours, codes.
"""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from synthetic_study import part, texts, with_baselines

from sweeps.results.statistics import mean_interval
from vaeexp.plots import PLOTS
from vaeexp.plots.confirmed import confirmed_curves, confirmed_seeds
from vaeexp.plots.latent import aggregate_posterior
from vaeexp.plots.style import sibling_limits, with_intervals
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import curve_of
from vaeexp.words import format_interval


def dots(axes):
    return [found for found in axes.collections if isinstance(found, PathCollection)]


def test_each_row_has_its_mean_and_interval(results):
    view = StudyView(results)
    axes = confirmed_seeds(view).axes[0]
    bars = [found for found in axes.collections if isinstance(found, LineCollection)]
    for place, (setting, bar) in enumerate(zip(view.confirmed, bars, strict=True)):
        interval = mean_interval(setting.runs["result.test/neg_elbo"].astype(float).tolist())
        (mean,) = [
            found.get_offsets()[0][0]
            for found in dots(axes)
            if found.get_offsets()[0][1] == place + 0.24
        ]
        assert mean == pytest.approx(interval.mean)
        assert bar.get_segments()[0][:, 0] == pytest.approx([interval.low, interval.high])
        assert f"{format_interval(interval)}, n = 3" in texts(axes.figure)
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        setting.title for setting in view.confirmed
    ]
    assert axes.get_xlabel() == "test −ELBO (nats per image)"


def test_a_wide_interval_does_not_squeeze_the_dots():
    assert with_intervals(10.0, 12.0, [9.5, 11]) == pytest.approx((9.44, 12.06))
    assert with_intervals(10.0, 12.0, [-50, 70]) == pytest.approx((8.94, 13.06))


def test_an_interval_beyond_the_axes_ends_in_a_mark_at_their_edge(results):
    """Two seeds that agree and one far off: most of the interval lies outside."""
    far = (results.trials["repeat"]) & (results.trials["seed_index"] == 2)
    trials = results.trials.copy()
    trials.loc[far, "result.test/neg_elbo"] += 400
    axes = confirmed_seeds(StudyView(replace(results, trials=trials))).axes[0]
    marks = {line.get_marker(): line.get_xdata()[0] for line in axes.lines}
    assert marks["<"] == axes.get_xlim()[0]
    assert marks[">"] == axes.get_xlim()[1]


def test_runs_of_one_seed_are_joined_and_others_are_not(results):
    def joins(made):
        axes = confirmed_seeds(StudyView(made)).axes[0]
        return [line for line in axes.lines if np.ptp(line.get_ydata()) == 1]

    rows = StudyView(results).confirmed
    assert len(joins(results)) == 3 * (len(rows) - 1)
    apart = results.trials.assign(seed=range(len(results.trials)))
    assert not joins(replace(results, trials=apart))


@pytest.mark.parametrize("seeds", [1, 2])
def test_fewer_than_three_seeds_have_no_interval(results, seeds):
    few = ~results.trials["repeat"] | (results.trials["seed_index"] < seeds)
    view = StudyView(part(results, results.trials[few]))
    confirmed_curves(view).draw_without_rendering()
    said = texts(confirmed_seeds(view))
    assert all("±" not in text for text in said)
    assert sum(f"n = {seeds}" in text for text in said) == len(view.confirmed)
    searched = part(results, results.trials[~results.trials["repeat"]])
    assert confirmed_seeds(StudyView(searched)) is None


def test_baselines_stand_beside_the_confirmed_only_under_one_protocol(results):
    view = StudyView(with_baselines(results))
    labels = [label.get_text() for label in confirmed_seeds(view).axes[0].get_yticklabels()]
    assert {"Best, k = 5,000", "β = 10"} < set(labels)
    assert not {"Plain autoencoder", "Grey levels"} & set(labels)


def test_the_band_is_from_the_least_to_the_largest_seed(results):
    view = StudyView(results)
    axes = confirmed_curves(view).axes[0]
    bands = [found for found in axes.collections if isinstance(found, PolyCollection)]
    assert len(axes.lines) == len(bands) == len(view.confirmed)
    curves = np.stack(
        [
            curve_of(view.epochs, run)["objective"].to_numpy(float)
            for _, run in view.confirmed[0].runs.iterrows()
        ]
    )
    assert list(axes.lines[0].get_ydata()) == pytest.approx(list(np.median(curves, axis=0)))
    heights = bands[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((curves.min(), curves.max()))


def test_curves_end_where_the_first_seed_ended(results):
    run = StudyView(results).confirmed[0].runs.iloc[0]
    own = (
        results.epochs["repeat"]
        & (results.epochs["number"] == run["number"])
        & (results.epochs["epoch"] > 20)
    )
    axes = confirmed_curves(StudyView(replace(results, epochs=results.epochs[~own]))).axes[0]
    assert axes.lines[0].get_xdata()[-1] == 20
    assert axes.lines[1].get_xdata()[-1] == 30


def test_samples_stand_above_their_neighbours_with_the_distance(results):
    view = StudyView(results)
    arrays = view.best_with("neighbour_images")[1]
    figure = PLOTS["neighbours"].draw(view)
    image = figure.axes[0].images[0].get_array()[..., 0]
    np.testing.assert_array_equal(image[:28, :28], arrays["neighbour_samples"][0, ..., 0])
    np.testing.assert_array_equal(image[30:58, :28], arrays["neighbour_images"][0, ..., 0])
    assert [f"{distance:.1f}" for distance in arrays["neighbour_distances"]] == texts(figure)[2:-1]
    assert "median distance to the training images is 6.4." in reading(PLOTS["neighbours"], view)


def test_codes_and_prior_are_densities_over_the_same_bins(results):
    arrays = StudyView(results).best_with("aggregate_codes")[1]
    figure = aggregate_posterior(arrays)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == [
        f"latent dimension {d + 1}" for d in arrays["aggregate_dimensions"]
    ]
    for axes, codes in zip(panels, arrays["aggregate_codes"], strict=True):
        bars = [patch for patch in axes.patches if hasattr(patch, "get_width")]
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
        edges = [bar.get_x() for bar in bars] + [bars[-1].get_x() + bars[-1].get_width()]
        counts, _ = np.histogram(codes, edges, density=True)
        assert [bar.get_height() for bar in bars] == pytest.approx(list(counts))


def with_one_broken_run(results):
    """The first configuration has values of 91 and 93, and one run that collapsed to 207."""
    view = StudyView(results)
    runs = view.confirmed[0].runs
    trials = results.trials.copy()
    for seed, value in enumerate((91.0, 93.0, 207.0)):
        own = trials["repeat"] & (trials["number"] == runs["number"].iloc[seed])
        trials.loc[own, "result.test/neg_elbo"] = value
    others = trials["repeat"] & ~trials["number"].isin(runs["number"])
    spread = 92 + trials["seed_index"].astype(float)
    trials.loc[others, "result.test/neg_elbo"] = spread[others]
    return replace(results, trials=trials)


def test_a_broken_run_squeezes_no_other_and_its_value_is_written_at_the_edge(results):
    figure = confirmed_seeds(StudyView(with_one_broken_run(results)))
    axes = figure.axes[0]
    low, high = axes.get_xlim()
    assert 88 < low < 91
    assert 94 < high < 100
    assert "207.0 ▸" in texts(figure)
    assert dots(axes)[0].get_offsets()[:, 0].max() == high


def test_limits_follow_the_bulk_of_each_row():
    rows = [np.array([91.0, 93.0, 207.0]), np.array([120.0, 121.0, 123.0])]
    low, high = sibling_limits(rows)
    assert 85 < low < 91
    assert 123 < high < 140, "a row that is worse as a whole is in sight"
    assert sibling_limits([np.array([3.0]), np.array([9.0])])[1] > 9


@pytest.mark.parametrize("missing", [np.nan, np.inf])
def test_limits_leave_out_the_missing_values_of_a_row_alone(missing):
    rows = [np.array([91.0, missing, 93.0]), np.array([120.0, 121.0]), np.array([missing])]
    alike = [np.array([91.0, 93.0]), np.array([120.0, 121.0])]
    assert sibling_limits(rows) == sibling_limits(alike)
    low, high = sibling_limits(rows)
    assert 85 < low < 91
    assert 121 < high < 140


@pytest.mark.parametrize("rows", [[], [np.empty(0)], [np.array([np.nan])]])
def test_limits_of_no_value_are_those_of_an_empty_plot(rows):
    assert sibling_limits(rows) == (0.0, 1.0)


def test_of_two_seeds_a_broken_one_is_left_out_where_another_row_tells_their_spread():
    rows = [np.array([91.0, 93.0]), np.array([92.0, 207.0])]
    assert 93 < sibling_limits(rows)[1] < 100
    assert sibling_limits(rows[1:])[1] > 207, "two runs alone do not say which one is broken"
    assert sibling_limits([np.array([91.0, 91.0]), np.array([92.0, 92.5])])[1] > 92.5


def test_the_median_run_of_the_best_configuration_draws(results):
    view = StudyView(results)
    runs = view.confirmed[0].runs
    assert list(runs["objective"]) == sorted(runs["objective"])
    found, _ = view.best_with("aggregate_codes")
    assert found["number"] == runs["number"].iloc[1]
    assert list(view.confirmed[0].median_first["number"]) == list(runs["number"].iloc[[1, 0, 2]])
    less = results.trials.copy()
    less.loc[less["repeat"] & (less["number"] == found["number"]), "folder"] = None
    fewer = StudyView(replace(results, trials=less))
    assert fewer.best_with("aggregate_codes")[0]["number"] == runs["number"].iloc[0]
    assert reading(PLOTS["aggregate_posterior"], fewer).endswith(
        f"of trial {runs.iloc[0]['source_trial']}."
    )
