"""Files of numpy arrays: shapes, kinds of numbers, keys, splits."""

import numpy as np
import pytest
from image_files import noise

from sweeps.errors import UserError
from vaeexp.data import describe_plan, open_dataset
from vaeexp.settings import DataSettings


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


def opened(path, **changes):
    settings = DataSettings(**{"dataset": "arrays", "binarisation": "none", **changes})
    return open_dataset(settings, root=path, say=lambda text: None)


def everything(data) -> set[bytes]:
    return {image.tobytes() for split in (data.train, data.validation, data.test) for image in split.images}


@pytest.mark.parametrize("shape", [(50, 7, 5), (50, 7, 5, 1), (50, 7, 5, 3)])
def test_an_npy_file_is_split_and_keeps_its_bytes(tmp_path, shape):
    images = noise(*shape)
    np.save(tmp_path / "mine.npy", images)
    data = opened(tmp_path / "mine.npy")
    assert data.sizes == (40, 5, 5)
    assert data.image_shape == (shape[3] if len(shape) == 4 else 1, 7, 5)
    assert data.classes is None
    channels_first = images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)
    assert everything(data) == {np.ascontiguousarray(image).tobytes() for image in channels_first}
    assert data.title == "mine.npy, 50 images"
    assert "Sizes: 40 images" in "\n".join(describe_plan(data))
    assert opened(tmp_path / "mine.npy") == data


def test_floats_and_booleans_become_grey_levels(tmp_path):
    levels = noise(20, 4, 4)
    expected = {image.tobytes() for image in levels[:, None]}
    for kind in (np.float32, np.float64):
        np.save(tmp_path / "floats.npy", levels.astype(kind) / 255)
        assert everything(opened(tmp_path / "floats.npy")) == expected
    np.save(tmp_path / "bits.npy", levels > 127)
    assert set(np.unique(opened(tmp_path / "bits.npy").train.images)) == {0, 255}


@pytest.mark.parametrize("names", [("{}_images", "{}_labels"), ("x_{}", "y_{}")])
def test_an_npz_file_with_splits_and_labels(tmp_path, names):
    arrays = {}
    for seed, (part, count) in enumerate((("train", 30), ("val", 6), ("test", 8))):
        arrays[names[0].format(part)] = noise(count, 4, 4, 3, seed=seed)
        arrays[names[1].format(part)] = np.arange(count)[:, None] % 5
    np.savez(tmp_path / "mine.npz", **arrays)
    data = opened(tmp_path / "mine.npz")
    assert data.sizes == (30, 6, 8)
    assert data.classes == ("0", "1", "2", "3", "4")
    np.testing.assert_array_equal(data.test.images, arrays[names[0].format("test")].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(data.test.labels, np.arange(8) % 5)
    order = np.load(data.folder / "training_order.npy")
    np.testing.assert_array_equal(data.train.labels, (order[:30]) % 5)
    assert sorted(order[30:]) == list(range(30, 36))
    validation = arrays[names[0].format("val")].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.validation.images, validation[order[30:] - 30])


def test_images_and_labels_stay_together_when_they_are_split(tmp_path):
    labels = np.arange(300) % 290  # more classes than a byte has
    images = np.repeat(labels.astype(">u2").view(np.uint8).reshape(300, 1, 2), 3, axis=1)
    np.savez_compressed(tmp_path / "mine.npz", images=images, labels=labels, names=np.array(["unused"]))
    data = opened(tmp_path / "mine.npz")
    for split in (data.train, data.validation, data.test):
        assert split.labels.dtype == np.uint16
        np.testing.assert_array_equal(split.images[:, 0, 0] @ np.array([256, 1], dtype=np.int64), split.labels)
    assert len(data.classes) == 290


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": noise(9, 3, 8, 8)}, r"got \(9, 3, 8, 8\); .*transpose it"),
        ({"images": noise(9, 8)}, "must be"),
        ({"images": noise(9, 8, 8).astype(np.int64)}, "got int64"),
        ({"images": noise(9, 8, 8) * 1.0}, "values from 0 to 255"),
        ({"images": np.full((9, 8, 8), np.nan)}, "values from nan"),
        ({"images": noise(9, 8, 8), "labels": np.arange(8)}, "must be 9 whole numbers"),
        ({"images": noise(9, 8, 8), "labels": np.arange(9) - 1}, "must be 9 whole numbers"),
        ({"images": noise(2, 8, 8)}, "got 2 images"),
        ({"pictures": noise(9, 8, 8)}, "got no array of a known name"),
        ({"test_images": noise(9, 8, 8)}, "got test_images"),
        ({"train_images": noise(9, 8, 8), "test_images": noise(9, 8, 7)}, "differ"),
        ({"images": np.array([{}] * 9)}, "plain numpy arrays"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, arrays, words):
    path = tmp_path / "mine.npz"
    np.savez(path, **arrays)
    with pytest.raises(UserError, match=words) as caught:
        opened(path)
    assert str(path) in caught.value.place
    assert list((tmp_path / "cache").rglob("*.npy")) == []


def test_a_damaged_file_or_a_folder_is_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", images=noise(9, 8, 8))
    whole = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(whole[:300])
    with pytest.raises(UserError, match="plain numpy arrays"):
        opened(tmp_path / "mine.npz")
    with pytest.raises(UserError, match=r"\.npz with images"):
        opened(tmp_path)
    with pytest.raises(UserError, match="needs --data"):
        opened(None)
    np.save(tmp_path / "colour.npy", noise(20, 4, 4, 3))
    with pytest.raises(UserError, match="one channel"):
        opened(tmp_path / "colour.npy", binarisation="static")
