"""Runs of tables, signals, channels, decibels and images of 16 bits: what they draw and measure."""

from pathlib import Path

import numpy as np
import pytest
import torch
from array_files import COLUMNS, KINDS
from PIL import Image

from sweeps.lanes import Outcome, TrialSpec, advance_all
from vaeexp.data import Dataset, examples, open_dataset
from vaeexp.data.showing import picture_words, to_pictures
from vaeexp.plots import PLOTS
from vaeexp.plots.contact_sheet import KEPT, ContactSheet, draw, pack, unpack
from vaeexp.plots.style import save
from vaeexp.report.page.picture_data import _last
from vaeexp.results.tables import read_arrays
from vaeexp.run_files import LAST
from vaeexp.runs import worker
from vaeexp.runs.drawing import (
    draw_interpolations,
    draw_map,
    draw_reconstructions,
    draw_samples,
    draw_traversals,
)
from vaeexp.runs.run import open_images, open_run
from vaeexp.settings import DataSettings, EvaluationSettings, ModelSettings, Settings, TrainSettings
from vaeexp.training.checkpoint import load_model

SHAPES = {
    "table": (64, 98, 1),
    "signal": (64, 96, 1),
    "channels": (19, 31, 1),
    "decibels": (8, 10, 1),
    "deep": (8, 8, 1),
}


@pytest.fixture(scope="module", params=list(KINDS))
def trained(request, tmp_path_factory):
    """A kind, its data, and the folder of a repeat that was trained on them and tested."""
    root = tmp_path_factory.mktemp(request.param)
    write, scaled = KINDS[request.param]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEEXP_CACHE", str(root / "cache"))
        path = write(root / request.param, np.random.default_rng(0))
        data = DataSettings(dataset="arrays", binarisation="none", validation_size=12, **scaled)
        settings = Settings(
            data=data,
            model=ModelSettings(hidden=(16,), latent_size=3, likelihood="gaussian", sigma=0.3),
            train=TrainSettings(epochs=2, batch_size=8),
            evaluation=EvaluationSettings(importance_samples=2, pictures_every=1),
        )
        dataset = open_dataset(data, root=path, say=lambda text: None)
        lanes = worker.open_lanes(
            settings=settings,
            datasets={data.key: dataset},
            maxima={},
            averaged=False,
            study="s",
            study_seed=0,
            folder=str(root / "trials"),
            device="cpu",
            precision="float32",
            fuse=False,
            compile=False,
            lanes=1,
            rows=1,
            threads=1,
            checkpoint_seconds=60,
        )
        lanes.add(TrialSpec(number=0, params={}, seed=0, repeat=True, test=True))
        for _ in range(2):
            [progress] = advance_all(lanes, [0])
        ended = Outcome(state="complete", epoch=2, objective=progress.objective)
        [result] = lanes.finish({0: ended})
        yield request.param, path, dataset, Path(result.folder), result.metrics


def test_every_picture_has_the_size_of_its_kind(trained):
    kind, _, dataset, folder, _ = trained
    shape = SHAPES[kind]
    arrays = read_arrays(folder)
    drawn = {name: array for name, array in arrays.items() if array.dtype == np.uint8}
    assert {"originals", "last_samples", "traversals", "pixel_interpolations"} <= drawn.keys()
    assert {"neighbour_samples", "neighbour_images"} <= drawn.keys()
    assert {array.shape[-3:] for array in drawn.values()} == {shape}
    with Image.open(folder / "epoch-0001-samples.png") as file:
        assert file.size == (8 * (shape[1] + 1) - 1, 2 * (shape[0] + 1) - 1)
    shown, _ = examples(dataset, 9)
    assert shown.shape == (9, *shape)


def test_originals_are_the_validation_images_in_the_range_that_is_shown(trained):
    _, _, dataset, folder, _ = trained
    targets = worker.targets(dataset.validation.images, "scaled", 0)
    every = to_pictures(targets, dataset.values)
    for picture in read_arrays(folder)["originals"]:
        assert (every == picture).all((1, 2, 3)).any()


def test_the_page_shows_pictures_of_the_last_epoch_in_their_size(trained):
    *_, folder, _ = trained
    strip = _last(folder, 2)
    assert strip["epoch"] == 2
    assert (strip["height"], strip["width"]) == read_arrays(folder)["originals"].shape[1:3]


def test_squared_errors_are_in_the_unit_of_the_report(trained):
    kind, _, dataset, folder, metrics = trained
    x = worker.test_targets(dataset, 0)
    for prefix, file in (("test", "weights.safetensors"), ("test_last", LAST)):
        made = load_model(folder, file).reconstruct(x)
        numbers = [dataset.scaling.numbers(targets.numpy()) for targets in (x, made)]
        expected = np.square(numbers[1] - numbers[0]).mean() / dataset.scaling.unit**2
        name = "reconstruction_mse"
        if kind == "table":
            name = "unexplained_variance"
            errors = np.square(numbers[1] - numbers[0]).mean(0)
            spread = numbers[0].var(0)
            expected = (errors[spread > 0] / spread[spread > 0]).mean()
        assert metrics[f"{prefix}/{name}"] == pytest.approx(expected, rel=1e-4)
        assert (f"{prefix}/reconstruction_ssim" in metrics) == (kind == "deep")


def test_columns_of_a_table_are_measured_as_numpy_measures_them(trained):
    kind, path, dataset, folder, _ = trained
    arrays = read_arrays(folder, "feature_errors")
    if kind != "table":
        assert not arrays
        return
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    x = worker.test_targets(dataset, 0)
    numbers = dataset.scaling.numbers(x.numpy())[:, 0, 0]
    # Each test row is a row of the file.
    distances = np.abs(rows[:, None] - numbers) / rows.std(0)
    assert distances.max(2).min(0).max() < 1e-5
    made = load_model(folder, "weights.safetensors").reconstruct(x).numpy()
    errors = dataset.scaling.numbers(made)[:, 0, 0] - numbers
    assert arrays["feature_names"].tolist() == list(COLUMNS)
    np.testing.assert_allclose(arrays["feature_means"], numbers.mean(0))
    np.testing.assert_allclose(arrays["feature_deviations"], numbers.std(0))
    expected = np.sqrt(np.square(errors).mean(0))
    np.testing.assert_allclose(arrays["feature_errors"], expected, rtol=1e-5)


def test_signals_and_decibels_leave_numbers_of_the_file(trained):
    kind, path, dataset, folder, _ = trained
    arrays = read_arrays(folder)
    if kind == "table":
        return
    assert "column_names" not in arrays
    if kind not in ("signal", "decibels"):
        assert "originals_numbers" not in arrays
        return
    file = np.load(path).reshape(-1, *dataset.values.shape)
    assert arrays["originals_numbers"].shape == (4, *dataset.values.shape)
    assert arrays["last_reconstructions_numbers"].shape == (4, *dataset.values.shape)
    for original in arrays["originals_numbers"]:
        assert np.isclose(file, original, rtol=1e-4, atol=1e-3).all((1, 2, 3)).any()


def test_a_table_leaves_rows_as_they_are_scaled_and_the_names_of_its_columns(trained):
    kind, _, dataset, folder, _ = trained
    if kind != "table":
        return
    arrays = read_arrays(folder)
    assert arrays["column_names"].tolist() == list(COLUMNS)
    targets = worker.targets(dataset.validation.images, "scaled", 0).numpy()
    originals = arrays["originals_numbers"]
    assert originals.shape == (4, *dataset.values.shape)
    assert [(targets == row).all((1, 2, 3)).sum() for row in originals] == [1] * 4
    made = load_model(folder, LAST).reconstruct(torch.from_numpy(originals)).numpy()
    np.testing.assert_allclose(arrays["last_reconstructions_numbers"], made, atol=1e-5)


def test_every_command_draws_it_and_says_how(trained, monkeypatch):
    _, path, dataset, folder, _ = trained
    monkeypatch.setenv("VAEEXP_CACHE", str(path.parent / "cache"))
    run = open_run(str(folder), path.parent)
    images = open_images(run, path, count=6, say=lambda text: None)
    drawings = [
        draw_samples(run, 5, component=None, seed=0),
        draw_reconstructions(run, images),
        draw_interpolations(run, images, steps=4),
        draw_traversals(run, images, dimensions=2, steps=3),
    ]
    if dataset.features:
        *_, last = drawings[1].figure.axes
        assert [label.get_text() for label in last.get_xticklabels()] == list(COLUMNS)
    words = picture_words(dataset.values)
    for number, drawing in enumerate(drawings):
        assert drawing.words.endswith(words)
        save(drawing.figure, path.parent / f"{number}.png")
    assert words == "" or words not in draw_map(run, images, seed=0)[0].words


@pytest.mark.parametrize(
    "name",
    ["best_reconstructions", "best_samples", "neighbours", "interpolations", "traversals"],
)
def test_every_plot_of_one_model_is_drawn(trained, name, tmp_path):
    kind, *_, folder, _ = trained
    arrays = read_arrays(folder)
    plot = PLOTS[name]
    figure = plot.make(arrays)
    save(figure, tmp_path / "plot.png")
    if name != "best_reconstructions":
        return
    panels = {"decibels": 9, "signal": 4, "table": 4}.get(kind, 1)
    assert len(figure.axes) == panels
    assert ("unit of the data" in plot.caption(arrays)) == (kind in ("decibels", "signal"))


def test_a_contact_sheet_says_how_a_picture_shows_an_array(trained):
    _, _, dataset, *_ = trained
    assert isinstance(dataset, Dataset)
    sheet = ContactSheet(*examples(dataset, 9), "data", picture_words(dataset.values))
    again = unpack(pack(sheet))
    assert again.words == sheet.words
    assert ("words" in pack(sheet)) == bool(sheet.words)
    if max(sheet.images.shape[1:3]) <= KEPT:
        np.testing.assert_array_equal(again.images, sheet.images)
    assert draw(again).axes
