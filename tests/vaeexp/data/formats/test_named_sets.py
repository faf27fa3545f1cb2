"""dSprites, 3D Shapes and MedMNIST from files in their own formats."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from image_files import noise
from raw_images import read_raw

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.data.formats.disentanglement import SHAPES, SPRITES
from vaeexp.settings import DataSettings

ROWS = 24


def factors(shapes: np.ndarray, place: int) -> np.ndarray:
    values = np.random.default_rng(0).normal(size=(len(shapes), 6))
    values[:, place] = shapes
    return values


def write_sprites(path: Path, **changed) -> dict[str, np.ndarray]:
    path.parent.mkdir(exist_ok=True)
    arrays = {
        "metadata": np.array({"title": "dSprites"}, object),
        "imgs": noise(ROWS, 64, 64) % 2,
        "latents_classes": np.zeros((ROWS, 6), np.int64),
        "latents_values": factors(np.arange(ROWS) % 3 + 1, 1),
    } | changed
    np.savez_compressed(path, **arrays)
    return arrays


def write_shapes(path: Path, **changed) -> dict[str, np.ndarray]:
    path.parent.mkdir(exist_ok=True)
    arrays = {"images": noise(ROWS, 64, 64, 3), "labels": factors(np.arange(ROWS) % 4, 4)}
    with h5py.File(path, "w") as file:
        for name, array in (arrays | changed).items():
            file[name] = array
    return arrays


@pytest.mark.parametrize("below", ["", "dsprites"])
def test_dsprites_has_its_shapes_as_classes_and_all_factors(tmp_path, below):
    arrays = write_sprites(tmp_path / below / SPRITES)
    for root in (tmp_path, tmp_path / below / SPRITES):
        raw = read_raw(root, dataset="dsprites", binarisation="static")
        np.testing.assert_array_equal(raw.images[:, 0], arrays["imgs"])
        np.testing.assert_array_equal(raw.factors, arrays["latents_values"])
        assert raw.factor_names == ("color", "shape", "scale", "orientation", "posX", "posY")
        assert raw.classes == ("square", "ellipse", "heart")
        np.testing.assert_array_equal(raw.labels, np.arange(ROWS) % 3)


@pytest.mark.parametrize(
    ("name", "write", "title"),
    [
        ("dsprites", lambda root: write_sprites(root / SPRITES), "dSprites"),
        ("shapes3d", lambda root: write_shapes(root / SHAPES), "3D Shapes"),
    ],
)
def test_splits_have_their_factors_and_the_set_its_name(tmp_path, name, write, title):
    arrays = write(tmp_path)
    given = arrays["latents_values"] if name == "dsprites" else arrays["labels"]
    images = arrays["imgs"] if name == "dsprites" else arrays["images"].transpose(0, 3, 1, 2)
    settings = DataSettings(dataset=name, binarisation="none")
    data = open_dataset(settings, root=tmp_path, say=lambda text: None)
    assert data.title == f"{title}, {ROWS:,} images"
    largest = images.max()
    known = {
        (image // largest * 255 if largest == 1 else image).tobytes(): factors
        for image, factors in zip(images.astype(np.uint8), given, strict=True)
    }
    for split in (data.train, data.validation, data.test):
        found = [known[np.ascontiguousarray(image).tobytes()] for image in split.images]
        np.testing.assert_array_equal(split.factors, found)


@pytest.mark.parametrize("below", ["", "shapes3d"])
def test_shapes3d_has_its_shapes_as_classes_and_all_factors(tmp_path, below):
    arrays = write_shapes(tmp_path / below / SHAPES)
    raw = read_raw(tmp_path, dataset="shapes3d")
    np.testing.assert_array_equal(raw.images, arrays["images"].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(raw.factors, arrays["labels"])
    assert raw.factor_names[0] == "floor_hue"
    np.testing.assert_array_equal(raw.labels, np.arange(ROWS) % 4)


def test_other_files_than_these_are_refused(tmp_path):
    write_sprites(tmp_path / "a.npz", latents_values=np.zeros((ROWS, 5)))
    with pytest.raises(UserError, match=r"latents_values: got float64 \[24, 5\]; must be numbers"):
        read_raw(tmp_path / "a.npz", dataset="dsprites")
    np.savez(tmp_path / "b.npz", images=noise(9, 64, 64))
    with pytest.raises(UserError, match="must be imgs and latents_values"):
        read_raw(tmp_path / "b.npz", dataset="dsprites")
    write_sprites(tmp_path / "c.npz", latents_values=factors(np.arange(ROWS) % 4, 1))
    with pytest.raises(UserError, match="other shapes among its factors than square, ellipse"):
        read_raw(tmp_path / "c.npz", dataset="dsprites")
    write_shapes(tmp_path / "d.h5", labels=np.zeros((ROWS - 1, 6)))
    with pytest.raises(UserError, match=r"labels: got float64 \[23, 6\]; must be numbers \[24, 6"):
        read_raw(tmp_path / "d.h5", dataset="shapes3d")
    with pytest.raises(UserError, match="has arrays of its own; must be left out") as caught:
        read_raw(tmp_path / "d.h5", dataset="shapes3d", factors="labels")
    assert caught.value.place == "data.factors"
