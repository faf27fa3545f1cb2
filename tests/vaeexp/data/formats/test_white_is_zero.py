"""TIFF files in which 0 is white: every reader turns them, so that 0 is black."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from raw_images import read_raw
from trained_runs import trained_run

from vaeexp.data import Dataset, open_dataset
from vaeexp.runs.preparation import Preparation
from vaeexp.runs.run import open_run, preparation_of
from vaeexp.settings import DataSettings

LEVELS = np.random.default_rng(0).integers(0, 84, (40, 6, 5)).astype(np.uint8)
LEVELS[:, 0, 0] = np.arange(40) % 2 * 255
"""Dark pictures, each with a pixel that is black or white."""
MEAN = float(LEVELS.mean()) / 255


def write(path: Path, image: np.ndarray, photometric: str = "miniswhite", **options) -> None:
    tifffile.imwrite(path.with_suffix(".tif"), image, photometric=photometric, **options)


def as_folder(root: Path, images: np.ndarray, **options) -> Path:
    root.mkdir()
    for number, image in enumerate(images):
        write(root / f"{number:02d}", image, **options)
    return root


def as_stack(root: Path, images: np.ndarray, **options) -> Path:
    write(root, images, **options)
    return root.with_suffix(".tif")


def mixed(root: Path, images: np.ndarray, **options) -> Path:
    as_folder(root, images, **options)
    for number in range(2):
        write(root / f"a{number}", LEVELS[number], photometric="minisblack")
    return root


def prepared(path: Path, **settings) -> Dataset:
    dataset = "folder" if path.is_dir() else "arrays"
    data = DataSettings(**{"dataset": dataset, "binarisation": "none", **settings})
    return open_dataset(data, root=path, say=lambda text: None)


def mean_of(dataset: Dataset) -> float:
    """The mean of all images, of which 1 is white."""
    images = [split.images for split in (dataset.train, dataset.validation, dataset.test)]
    return float(np.concatenate(images).mean()) / (255 if dataset.scaling.bytes else 1)


DEEP = LEVELS.astype(np.uint16)
IN_16 = 65535 - DEEP * 257
OF_12 = 4095 - DEEP * 16
"""A camera's 12 bits, of which 4,095 is black."""
IN_12 = 65535 - DEEP * 16
"""12 bits, of which 65,535 is black."""


@pytest.mark.parametrize("layout", [as_folder, mixed, as_stack])
@pytest.mark.parametrize("images", [255 - LEVELS, IN_16, OF_12, IN_12], ids=["8", "16", "12", "65"])
def test_copies_of_8_12_and_16_bits_have_one_mean(tmp_path, layout: Callable, images):
    dataset = prepared(layout(tmp_path / "mine", images))
    assert mean_of(dataset) == pytest.approx(MEAN, abs=0.01)
    turned = any("in which 0 is white" in note for note in dataset.notes)
    # Pillow turns pictures of 8 bits.
    assert turned == (images.dtype == np.uint16 or layout is as_stack)
    assert bool(dataset.changed) == turned


@pytest.mark.parametrize("layout", [as_folder, as_stack])
@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (LEVELS > 40, LEVELS <= 40),
        ((1 - LEVELS / 255).astype(np.float32), (LEVELS / 255).astype(np.float32)),
        (2**32 - 1 - (LEVELS.astype(np.uint32) << 20), LEVELS.astype(np.uint32) << 20),
        (-1 - LEVELS.astype(np.int16), LEVELS.astype(np.int16)),
        (np.stack([IN_16, IN_16], 1), np.stack([DEEP * 257] * 2, 1)),
        (65535 - IN_16.astype(">u2"), IN_16),
    ],
    ids=["bool", "float", "uint32", "int16", "pages", "big endian"],
)
def test_numbers_of_every_type_are_turned(tmp_path, layout, images, expected):
    path = layout(tmp_path / "mine", images)
    first = {} if path.is_dir() else {"channels_first": images.ndim > 3}
    raw = read_raw(path, dataset="folder" if path.is_dir() else "arrays", **first)
    found = raw.images.reshape(expected.shape)
    if expected.dtype == bool and raw.images.dtype == np.uint8:
        found = found > 0
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_says_that_0_is_black_stays_as_it_is(tmp_path):
    for number, layout in enumerate((as_folder, as_stack)):
        path = layout(tmp_path / f"mine{number}", IN_16, photometric="minisblack")
        raw = read_raw(path, dataset="folder" if path.is_dir() else "arrays")
        np.testing.assert_array_equal(raw.images[:, 0], IN_16)
        assert not raw.changed
        assert not any("0 is white" in note for note in raw.notes)


def of_edition_1(preparation: Preparation) -> Preparation:
    record = {name: fact for name, fact in preparation.record.items() if name != "black"}
    return Preparation(**{**vars(preparation), "record": record | {"edition": 1}})


@pytest.mark.parametrize("dataset", ["folder", "arrays"])
@pytest.mark.parametrize("images", [IN_16, OF_12], ids=["16", "12"])
def test_new_files_are_read_as_the_files_of_the_run(tmp_path, dataset, images):
    model = {"likelihood": "gaussian", "sigma": 0.3}
    path = (as_folder if dataset == "folder" else as_stack)(tmp_path / "mine", images)
    folder, _ = trained_run(tmp_path, path, dataset=dataset, model=model)
    run = open_run(str(folder), Path("nowhere"))
    layout = as_folder if dataset == "folder" else as_stack
    plain = DEEP * (257 if images is IN_16 else 16)
    new = layout(tmp_path / "new", images[:3])
    black = layout(tmp_path / "black", plain[:3], photometric="minisblack")
    codes = [run.encode(each).filter(like="mean").to_numpy() for each in (new, black)]
    assert codes[0].shape == (3, 3)
    np.testing.assert_allclose(codes[0], codes[1], atol=1e-5)
    preparation = preparation_of(run)
    assert preparation.black == (65535 if images is IN_16 else 4095)
    if dataset == "folder":
        shown = [
            each.picture(new / "00.tif").images for each in (preparation, of_edition_1(preparation))
        ]
        assert shown[0].mean() == pytest.approx(LEVELS[0].mean() / 255, abs=0.01)
        assert shown[1].mean() > 0.6
