"""Plots of the confirmed configurations and of what tested runs left: dots, curves, bounds,
neighbours, codes.
"""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import LineCollection, PathCollection, PolyCollection
from synthetic_study import part, texts, with_baselines, write_pictures

from sweeps.results.statistics import mean_interval
from vaeexp.plots import PLOTS
from vaeexp.plots.confirmed import confirmed_curves, confirmed_seeds, train_validation
from vaeexp.plots.latent import aggregate_posterior
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import curve_of, read_arrays
from vaeexp.training.checkpoint import save_arrays
from vaeexp.words import format_number


def dots(axes):
    return [found for found in axes.collections if isinstance(found, PathCollection)]


def test_every_seed_has_a_dot_and_each_row_its_mean(results):
    view = StudyView(results)
    axes = confirmed_seeds(view).axes[0]
    for place, setting in enumerate(view.confirmed):
        values = sorted(setting.runs["result.test/neg_elbo"].astype(float))
        drawn = [found.get_offsets() for found in dots(axes) if found.get_offsets()[0][1] == place]
        assert sorted(np.concatenate(drawn)[:, 0].tolist()) == pytest.approx(values)
        (mean,) = [
            found.get_offsets()[0]
            for found in dots(axes)
            if found.get_offsets()[0][1] == place + 0.24
        ]
        assert mean[0] == pytest.approx(np.mean(values))
        interval = mean_interval(values)
        ends = [
            line.get_xdata() for line in axes.lines if list(line.get_ydata()) == [place + 0.24] * 2
        ]
        assert [list(each) for each in ends] == [pytest.approx([interval.low, interval.high])]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        setting.title for setting in view.confirmed
    ]
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


def test_the_gap_between_training_and_validation_is_named(results):
    figure = train_validation(StudyView(results))
    # The synthetic curves part by 0.05 nats an epoch, over 30 epochs.
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["training", "validation, at the end 1.50 nats above training"]
    assert len(figure.axes[0].lines) == 2 * len(StudyView(results).best.runs)
    easier = results.epochs.assign(**{"val/neg_elbo": results.epochs["train/neg_elbo"] - 2})
    words = (
        train_validation(StudyView(replace(results, epochs=easier)))
        .axes[0]
        .get_legend()
        .get_texts()[1]
        .get_text()
    )
    assert words == "validation, at the end 2.00 nats below training"


@pytest.mark.parametrize("factor", [1.0, 15.0, -15.0])
def test_an_interval_is_drawn_whole_or_its_cut_end_is_an_arrow_with_its_number(results, factor):
    """Seeds of the last row lie far apart: on either side of the others, or with the mean on one
    side of them.
    """
    trials, last = results.trials.copy(), StudyView(results).confirmed[-1]
    own = trials["number"].isin(last.runs["number"]) & trials["repeat"]
    values = trials.loc[own, "result.test/neg_elbo"].astype(float)
    trials.loc[own, "result.test/neg_elbo"] = values.mean() + factor * (values - values.max())
    view = StudyView(part(results, trials))
    axes = confirmed_seeds(view).axes[0]
    low, high = axes.get_xlim()
    cut = 0
    for place, setting in enumerate(view.confirmed):
        interval = mean_interval(setting.runs["result.test/neg_elbo"].astype(float).tolist())
        heights = [place + 0.24] * 2
        lines = [line.get_xdata() for line in axes.lines if list(line.get_ydata()) == heights]
        assert [list(each) for each in lines] == [
            pytest.approx(np.clip([interval.low, interval.high], low, high))
        ]
        here = [text for text in axes.texts if text.xy[1] == heights[0]]
        beyond = [end for end in (interval.low, interval.high) if not low <= end <= high]
        assert [text.get_text() for text in here] == [format_number(end) for end in beyond]
        assert [text.xy[0] for text in here] == [low if end < low else high for end in beyond]
        marks = [found for found in dots(axes) if found.get_offsets()[0].tolist()[1] == heights[0]]
        assert len(marks) == len(beyond) + (low <= interval.mean <= high)
        cut += len(beyond)
    assert (cut > 0) == (factor != 1.0)


@pytest.mark.parametrize("keep", ["all", "one run of each", "one damaged"])
def test_the_bound_by_samples_is_the_mean_over_runs_with_their_span(results, tmp_path, keep):
    trials, confirmed = results.trials.copy(), StudyView(results).confirmed
    for run in [run for setting in confirmed for run in setting.runs.itertuples()]:
        bounds = 100 + run.number % 7 - np.log([1.0, 10.0, 50.0 + run.number])
        (tmp_path / str(run.number)).mkdir()
        arrays = {"nll_k": np.array([1, 10, 50]), "nll_by_k": bounds}
        save_arrays(tmp_path / str(run.number) / "evaluation.npz", arrays)
    trials["folder"] = [
        str(tmp_path / str(number)) if repeat else None
        for number, repeat in trials[["number", "repeat"]].values
    ]
    gone = (
        {setting.runs["number"].iloc[-1] for setting in confirmed[:1]}
        if keep == "one damaged"
        else set()
    )
    if keep == "one run of each":
        gone = {number for setting in confirmed for number in setting.runs["number"].iloc[1:]}
    trials.loc[trials["repeat"] & trials["number"].isin(gone), "folder"] = str(tmp_path)
    view = StudyView(part(results, trials))
    axes = PLOTS["nll_by_samples"].draw(view).axes[0]
    assert len(axes.lines) == len(view.confirmed)
    bands = [found for found in axes.collections if isinstance(found, PolyCollection)]
    for line, setting in zip(axes.lines, view.confirmed, strict=True):
        left = [
            arrays
            for folder in setting.runs["folder"]
            if (arrays := read_arrays(folder, "nll_by_k"))
        ]
        bounds = np.stack([arrays["nll_by_k"] for arrays in left])
        assert list(line.get_xdata()) == list(left[0]["nll_k"])
        np.testing.assert_allclose(line.get_ydata(), bounds.mean(axis=0))
        assert line.get_label().endswith(f"(n = {len(left)})")
        if len(left) > 1:
            heights = bands.pop(0).get_paths()[0].vertices[:, 1]
            assert (heights.min(), heights.max()) == (
                pytest.approx(bounds.min()),
                pytest.approx(bounds.max()),
            )
    assert not bands
    assert axes.get_xscale() == "log"
    assert (
        PLOTS["nll_by_samples"].draw(StudyView(part(results, trials.assign(folder=str(tmp_path)))))
        is None
    )


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


def test_one_confirmed_run_is_drawn_without_a_spread(results, tmp_path):
    view = StudyView(results)
    first = results.trials["name"] == view.confirmed[0].runs["name"].iloc[0]
    alone = part(results, results.trials[~results.trials["repeat"] | first])
    write_pictures(alone, tmp_path)
    for make in (confirmed_seeds, confirmed_curves, train_validation):
        make(StudyView(alone)).draw_without_rendering()
    axes = confirmed_seeds(StudyView(alone)).axes[0]
    assert not [found for found in axes.collections if isinstance(found, LineCollection)]
    assert (
        confirmed_seeds(StudyView(part(results, results.trials[~results.trials["repeat"]]))) is None
    )
