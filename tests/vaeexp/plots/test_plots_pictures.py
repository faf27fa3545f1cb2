"""Pictures beside words: which models are shown, and that damaged files do not count."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from synthetic_study import make_results, texts, write_pictures

from sweeps.results import ranked
from vaeexp.plots import PLOTS
from vaeexp.plots.pictures import (
    best_reconstructions,
    beta_strip,
    picture_rows,
    reconstructions_caption,
    strip_trials,
)
from vaeexp.plots.style import drawing
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import curve_of, read_arrays
from vaeexp.words import format_number, format_value


def test_strip_goes_from_low_to_high_beta_and_names_all_that_differs(results):
    view = StudyView(results)
    words = texts(beta_strip(view))
    betas = [float(word.removeprefix("β = ")) for word in words if word.startswith("β = ")]
    assert len(betas) == 6
    assert betas == sorted(betas)
    best = ranked(results).iloc[0]
    place = words.index(f"β = {format_value(best['params.beta'])}")
    last = curve_of(view.epochs, best).iloc[-1]
    lines = [
        f"−ELBO {format_number(last['val/rate'] + last['val/distortion'], 1)} at epoch "
        f"{last['epoch']}",
        f"L = {best['params.latent_size']}, lr = {format_value(best['params.learning_rate'])}, "
        f"{best['params.optimizer']}, {best['params.prior']}, K = {best['params.components']}",
    ]
    assert words[place + 1] == "\n".join(lines)
    assert {"originals", "reconstructions", "samples of the prior"} <= set(words)
    caption = reading(PLOTS["beta_strip"], view)
    assert (
        "The rows also differ in latent size, learning rate, optimizer, prior and components"
        in caption
    )
    assert "tends to" not in caption
    assert "a high β blurs" not in caption


def test_strip_shows_a_pruned_trial_only_where_none_of_its_range_was_trained_to_the_end(results):
    view = StudyView(results)
    scored = view.search[view.search["objective"].notna()]
    logs = np.log(scored["params.beta"].astype(float))
    sixths = np.minimum((6 * (logs - logs.min()) / (logs.max() - logs.min())).astype(int), 5)
    chosen = strip_trials(view)
    for _, trial in chosen.iterrows():
        near = scored[sixths == sixths[trial.name]]
        assert (trial["state"] == "complete") == (near["state"] == "complete").any()
    pruned = int((chosen["state"] == "pruned").sum())
    assert sum("(pruned)" in word for word in texts(beta_strip(view))) == pruned > 0


def test_strip_of_one_configuration_may_speak_of_beta(results):
    spec = results.study.spec | {"search": {"beta": results.study.spec["search"]["beta"]}}
    view = StudyView(replace(results, study=replace(results.study, spec=spec)))
    assert not [word for word in texts(beta_strip(view)) if "L = " in word]
    assert "nothing but β and the seed differs" in reading(PLOTS["beta_strip"], view)


@pytest.fixture
def study(tmp_path):
    made = make_results(folder=tmp_path / "trials" / "beta_mnist", confirm=False, compare=False)
    write_pictures(made, tmp_path)
    return made


def test_strip_skips_a_damaged_file(study):
    rows = len(texts(beta_strip(StudyView(study))))
    file = Path(strip_trials(StudyView(study))["folder"].iloc[0]) / "pictures.npz"
    file.write_bytes(file.read_bytes()[:200])
    assert read_arrays(file.parent) == {}
    assert len(texts(beta_strip(StudyView(study)))) == rows - 2


def test_pictures_are_of_the_last_epoch(study):
    view = StudyView(study)
    files = read_arrays(ranked(study)["folder"].iloc[0])
    image = PLOTS["best_reconstructions"].draw(view).axes[0].images[0].get_array()[..., 0]
    np.testing.assert_array_equal(image[30:58, :28], files["last_reconstructions"][0, ..., 0])


def test_a_row_shows_all_ten_reconstructions_and_some_samples():
    counts = {"originals": 10, "last_reconstructions": 10, "last_samples": 16}
    files = {name: np.zeros((count, 28, 28, 1), np.uint8) for name, count in counts.items()}
    figure = picture_rows([("", [("one", "", files), ("other", "", files)])], margin=3.1)
    image = figure.axes[0].images[0].get_array()[..., 0]
    assert image.shape[1] == (10 * 30 - 2) + 4 * 2 + (5 * 30 - 2)
    assert (np.asarray(image)[0, 9 * 30 : 9 * 30 + 28] == 0).all(), "the tenth original"
    few = {name: array[:3] for name, array in files.items()}
    image = (
        picture_rows([("", [("one", "", few)])], margin=3.1).axes[0].images[0].get_array()[..., 0]
    )
    assert image.shape[1] == 2 * (3 * 30 - 2) + 4 * 2


def test_component_samples_have_a_row_per_component_of_the_confirmed_best(results):
    found, files = StudyView(results).best_with("component_samples")
    assert found["repeat"]
    assert "confirm" in found["purposes"]
    labels = texts(PLOTS["component_samples"].draw(StudyView(results)))
    assert labels == [
        f"component {place}" for place in range(1, len(files["component_samples"]) + 1)
    ]


def test_sixteen_samples_stand_in_two_rows_of_eight(results):
    image = PLOTS["best_samples"].draw(StudyView(results)).axes[0].images[0].get_array()[..., 0]
    assert image.shape == (2 * 28 + 2, 8 * 28 + 7 * 2)


def numbers_of(*shape):
    random = np.random.default_rng(len(shape))
    both = ("originals_numbers", "last_reconstructions_numbers")
    return {name: random.normal(-40, 9, shape).astype(np.float32) for name in both}


@pytest.mark.parametrize("shape", [(4, 1, 20, 30), (1, 1, 400, 8), (3, 1, 2, 900)])
def test_heat_maps_share_a_scale_of_colours_in_the_unit_of_the_data(shape):
    arrays = numbers_of(*shape)
    figure = best_reconstructions(arrays)
    *panels, bar = figure.axes
    images = [axes.images[0] for axes in panels]
    assert len(images) == 2 * shape[0]
    drawn = np.stack([image.get_array() for image in images])
    expected = np.concatenate([array[:, 0] for array in arrays.values()])
    np.testing.assert_array_equal(drawn, expected)
    limits = np.percentile(arrays["originals_numbers"], (0.5, 99.5))
    assert {image.get_clim() for image in images} == {tuple(limits)}
    assert bar.get_ylabel() == "value (unit of the data)"
    assert [axes.get_ylabel() for axes in panels].count("row") == 2
    assert "percentiles 0.5 and 99.5" in reconstructions_caption(arrays)
    figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("shape", "panels"),
    [((4, 1, 1, 50), 4), ((1, 1, 1, 50), 1), ((3, 1, 1, 12), 3), ((4, 12, 1, 50), 8)],
)
def test_signals_and_their_reconstructions_are_lines_in_the_same_axes(shape, panels):
    arrays = numbers_of(*shape)
    figure = best_reconstructions(arrays)
    drawn = [axes for axes in figure.axes if axes.lines]
    assert len(drawn) == panels
    several = shape[1] > 1
    for place, axes in enumerate(drawn):
        signal, channel = (place % 2, place // 2) if several else (place, 0)
        for line, array in zip(axes.lines, arrays.values(), strict=True):
            np.testing.assert_array_equal(line.get_ydata(), array[signal, channel, 0])
    assert "percentile" not in reconstructions_caption(arrays)
    figure.draw_without_rendering()


@pytest.mark.parametrize(
    ("columns", "named", "rows"), [(2, 2, 4), (8, 8, 4), (20, 20, 3), (21, 11, 4), (400, 20, 1)]
)
def test_rows_of_a_table_are_bars_above_the_names_of_their_columns(columns, named, rows):
    names = np.array([f"column {place} of the ${columns}" for place in range(columns)])
    arrays = numbers_of(rows, 1, 1, columns)
    figure = best_reconstructions(arrays | {"column_names": names})
    drawn = [axes for axes in figure.axes if axes.patches]
    assert len(drawn) == rows
    for axes, *both in zip(drawn, *arrays.values(), strict=True):
        heights = [bar.get_height() for bar in axes.patches]
        np.testing.assert_array_equal(heights, both[0].ravel())
        for line, array in zip(axes.lines, both, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), array.ravel())
    labels = figure.axes[2 * (rows > 2)].get_xticklabels()
    assert len(labels) == named
    for label, place in zip(labels, range(0, columns, -(-columns // 20)), strict=True):
        assert names[place].startswith(label.get_text().rstrip("…"))
    with drawing(figure):
        figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in labels]
    assert all(left.x1 < right.x0 for left, right in pairwise(boxes)), "no name is on another"
    assert "a bar for each column" in reconstructions_caption(arrays | {"column_names": names})


@pytest.mark.parametrize(("shape", "across"), [((28, 28), 15), ((64, 96), 8), ((218, 178), 15)])
def test_of_wide_pictures_half_as_many_stand_in_a_row(shape, across):
    names = {"originals": 10, "last_reconstructions": 10, "last_samples": 16}
    arrays = {name: np.zeros((count, *shape, 1), np.uint8) for name, count in names.items()}
    figure = picture_rows([("", [("trial 1", "", arrays), ("trial 2", "", arrays)])], margin=2.9)
    image = figure.axes[0].images[0].get_array()
    opaque_columns = (image[..., 3] > 0).any(0).sum()
    assert opaque_columns == across * shape[1]
