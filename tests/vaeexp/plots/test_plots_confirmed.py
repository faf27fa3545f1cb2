"""Plots of the confirmed configurations and of what tested runs left: dots, curves, bounds, neighbours, codes."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from synthetic_study import part, texts, with_baselines, write_pictures

from sweeps.results.statistics import mean_interval
from vaeexp.plots import PLOTS
from vaeexp.plots.confirmed import confirmed_curves, confirmed_seeds, train_validation
from vaeexp.plots.latent import aggregate_posterior
from vaeexp.plots.parameters import top_two
from vaeexp.results.study_view import StudyView


def dots(axes):
    return [found for found in axes.collections if isinstance(found, PathCollection)]


def test_every_seed_has_a_dot_and_each_row_its_mean(results):
    view = StudyView(results)
    axes = confirmed_seeds(view).axes[0]
    for place, setting in enumerate(view.confirmed):
        values = sorted(setting.runs["result.test/neg_elbo"].astype(float))
        drawn = [found.get_offsets() for found in dots(axes) if found.get_offsets()[0][1] == place]
        assert sorted(np.concatenate(drawn)[:, 0].tolist()) == pytest.approx(values)
        (mean,) = [found.get_offsets()[0] for found in dots(axes) if found.get_offsets()[0][1] == place + 0.24]
        assert mean[0] == pytest.approx(np.mean(values))
        interval = mean_interval(values)
        ends = [line.get_xdata() for line in axes.lines if list(line.get_ydata()) == [place + 0.24] * 2]
        assert [list(each) for each in ends] == [pytest.approx([interval.low, interval.high])]
    assert [label.get_text() for label in axes.get_yticklabels()] == [setting.title for setting in view.confirmed]
    assert axes.get_xlabel() == "test −ELBO (nats per image)"


def test_runs_of_one_seed_are_joined_and_others_are_not(results):
    def joins(made):
        axes = confirmed_seeds(StudyView(made)).axes[0]
        return [line for line in axes.lines if np.ptp(line.get_ydata()) == 1]

    rows = StudyView(results).confirmed
    assert len(joins(results)) == 3 * (len(rows) - 1)
    apart = results.trials.assign(seed=range(len(results.trials)))
    assert not joins(replace(results, trials=apart))


def test_two_seeds_have_no_interval(results):
    repeats = results.trials["repeat"]
    two = part(results, results.trials[~repeats | (results.trials["seed_index"] < 2)])
    axes = confirmed_seeds(StudyView(two)).axes[0]
    assert not [line for line in axes.lines if np.ptp(line.get_ydata()) == 0]
    assert all("±" not in text for text in texts(axes.figure))
    assert sum("n = 2" in text for text in texts(axes.figure)) == len(StudyView(two).confirmed)


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
    curves = np.stack([view.curve(run)["objective"].to_numpy(float) for _, run in view.confirmed[0].runs.iterrows()])
    assert list(axes.lines[0].get_ydata()) == pytest.approx(list(np.median(curves, axis=0)))
    heights = bands[0].get_paths()[0].vertices[:, 1]
    assert (heights.min(), heights.max()) == pytest.approx((curves.min(), curves.max()))


def test_curves_end_where_the_first_seed_ended(results):
    run = StudyView(results).confirmed[0].runs.iloc[0]
    own = results.epochs["repeat"] & (results.epochs["number"] == run["number"]) & (results.epochs["epoch"] > 20)
    axes = confirmed_curves(StudyView(replace(results, epochs=results.epochs[~own]))).axes[0]
    assert axes.lines[0].get_xdata()[-1] == 20
    assert axes.lines[1].get_xdata()[-1] == 30


def test_the_gap_between_training_and_validation_is_named(results):
    figure = train_validation(StudyView(results))
    # The synthetic curves part by 0.05 nats an epoch, over 30 epochs.
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["training", "validation, at the end 1.50 nats above training"]
    assert len(figure.axes[0].lines) == 2 * len(StudyView(results).best.runs)
    easier = results.epochs.assign(**{"val/neg_elbo": results.epochs["train/neg_elbo"] - 2})
    words = train_validation(StudyView(replace(results, epochs=easier))).axes[0].get_legend().get_texts()[1].get_text()
    assert words == "validation, at the end 2.00 nats below training"


def test_the_bound_by_samples_is_drawn_as_it_was_left(results, tmp_path):
    view = StudyView(results)
    axes = PLOTS["nll_by_samples"].draw(view).axes[0]
    arrays = view.best_with("nll_by_k")[1]
    assert len(axes.lines) == len(view.confirmed)
    assert list(axes.lines[0].get_xdata()) == list(arrays["nll_k"])
    assert list(axes.lines[0].get_ydata()) == list(arrays["nll_by_k"])
    assert axes.get_xscale() == "log"
    bare = part(results, results.trials.assign(folder=str(tmp_path)))
    assert PLOTS["nll_by_samples"].draw(StudyView(bare)) is None


def test_the_two_most_important_parameters_are_the_axes_and_the_objective_the_colour(results):
    view = StudyView(results)
    first, second = (view.parameters[name] for name in view.importances.index[:2])
    figure = top_two(view)
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == (first.label, second.label)
    early, complete = dots(axes)
    assert sorted(complete.get_array()) == sorted(view.ranked["objective"])
    assert not len(early.get_facecolors())
    assert len(early.get_offsets()) == int((view.search["objective"].notna()).sum()) - len(view.ranked)
    wanted = np.stack([first.of(view.ranked).astype(float), second.places(view.ranked)], axis=1)
    np.testing.assert_allclose(sorted(complete.get_offsets().tolist()), sorted(wanted.tolist()))
    assert top_two(StudyView(part(results, view.ranked.head(5)))) is None


def test_samples_stand_above_their_neighbours_with_the_distance(results):
    view = StudyView(results)
    arrays = view.best_with("neighbour_images")[1]
    figure = PLOTS["neighbours"].draw(view)
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(image[:28, :28], arrays["neighbour_samples"][0, ..., 0])
    np.testing.assert_array_equal(image[30:58, :28], arrays["neighbour_images"][0, ..., 0])
    assert [f"{distance:.1f}" for distance in arrays["neighbour_distances"]] == texts(figure)[2:-1]
    assert "median distance to the training images is 6.4." in PLOTS["neighbours"].reading(view)


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


def test_one_confirmed_run_is_drawn_without_a_spread(results, tmp_path):
    view = StudyView(results)
    alone = part(
        results,
        results.trials[~results.trials["repeat"] | (results.trials["name"] == view.confirmed[0].runs["name"].iloc[0])],
    )
    write_pictures(alone, tmp_path)
    for make in (confirmed_seeds, confirmed_curves, train_validation):
        make(StudyView(alone)).draw_without_rendering()
    assert not [
        found for found in confirmed_seeds(StudyView(alone)).axes[0].collections if isinstance(found, LineCollection)
    ]
    assert confirmed_seeds(StudyView(part(results, results.trials[~results.trials["repeat"]]))) is None
