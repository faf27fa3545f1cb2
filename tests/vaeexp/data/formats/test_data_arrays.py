"""Files of numpy arrays: shapes, kinds of numbers, keys, splits."""

import re

import numpy as np
import pytest
from image_files import noise

from sweeps.errors import UserError
from vaeexp.data import describe_plan, open_dataset
from vaeexp.settings import DataSettings


def opened(path, **changes):
    settings = DataSettings(**{"dataset": "arrays", "binarisation": "none", **changes})
    return open_dataset(settings, root=path, say=lambda text: None)


def everything(data) -> set[bytes]:
    return {
        image.tobytes()
        for split in (data.train, data.validation, data.test)
        for image in split.images
    }


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


@pytest.mark.parametrize(
    ("names", "validation"),
    [
        (("{}_images", "{}_labels"), "val"),
        (("x_{}", "y_{}"), "val"),
        (("X_{}", "y_{}"), "valid"),
        (("{}_images", "{}_labels"), "validation"),
        (("X_{}", "Y_{}"), "VAL"),
    ],
)
def test_an_npz_file_with_splits_and_labels(tmp_path, names, validation):
    arrays = {}
    for seed, (part, count) in enumerate((("train", 30), (validation, 6), ("test", 8))):
        arrays[names[0].format(part)] = noise(count, 4, 4, 3, seed=seed)
        arrays[names[1].format(part)] = np.arange(count)[:, None] % 5
    np.savez(tmp_path / "mine.npz", **arrays)
    data = opened(tmp_path / "mine.npz")
    assert data.sizes == (30, 6, 8)
    assert data.classes == ("0", "1", "2", "3", "4")
    np.testing.assert_array_equal(
        data.test.images, arrays[names[0].format("test")].transpose(0, 3, 1, 2)
    )
    np.testing.assert_array_equal(data.test.labels, np.arange(8) % 5)
    order = np.load(data.folder / "training_order.npy")
    np.testing.assert_array_equal(data.train.labels, (order[:30]) % 5)
    assert sorted(order[30:]) == list(range(30, 36))
    pictures = arrays[names[0].format(validation)].transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(data.validation.images, pictures[order[30:] - 30])


def test_images_and_labels_stay_together_when_they_are_split(tmp_path):
    labels = np.arange(300) % 290  # more classes than a byte has
    images = np.repeat(labels.astype(">u2").view(np.uint8).reshape(300, 1, 2), 3, axis=1)
    np.savez_compressed(
        tmp_path / "mine.npz", images=images, labels=labels, names=np.array(["unused"])
    )
    data = opened(tmp_path / "mine.npz")
    for split in (data.train, data.validation, data.test):
        assert split.labels.dtype == np.uint16
        np.testing.assert_array_equal(
            split.images[:, 0, 0] @ np.array([256, 1], dtype=np.int64), split.labels
        )
    assert len(data.classes) == 290


FOUR = np.arange(40) % 4


@pytest.mark.parametrize(
    ("labels", "classes", "values"),
    [
        (FOUR.astype(np.float32), "0123", FOUR),
        (np.eye(4)[FOUR], "0123", FOUR),
        (FOUR.astype(np.float16)[:, None, None], "0123", FOUR),
        (FOUR * 2 - 1, ("-1", "1", "3", "5"), None),
        (np.where(FOUR % 2, 1, -1), ("-1", "1"), FOUR % 2),
        (FOUR - 10, ("-10", "-9", "-8", "-7"), FOUR),
        (FOUR * 10**9, ("0", "1000000000", "2000000000", "3000000000"), FOUR),
        (FOUR.astype(np.uint64) << 40, tuple(str(number << 40) for number in range(4)), FOUR),
        (FOUR > 1, ("False", "True"), FOUR > 1),
        (
            np.array(["dog", "cat", "emu", "bee"])[FOUR],
            ("bee", "cat", "dog", "emu"),
            np.array([2, 1, 3, 0])[FOUR],
        ),
        (np.array(["é".encode(), b"cat"])[FOUR % 2][:, None], ("cat", "é"), 1 - FOUR % 2),
    ],
)
def test_labels_of_any_kind_become_classes(tmp_path, labels, classes, values):
    # The number of each image, in its pixels.
    images = np.repeat(np.arange(40, dtype=np.uint8), 16).reshape(40, 4, 4)
    np.savez(tmp_path / "mine.npz", images=images, labels=labels)
    data = opened(tmp_path / "mine.npz")
    if values is None:  # −1 among others marks images without a label
        assert data.classes is None
        return
    assert data.classes == tuple(classes)
    for split in (data.train, data.validation, data.test):
        np.testing.assert_array_equal(split.labels, values[split.images[:, 0, 0, 0]])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.arange(40 * 14).reshape(40, 14) % 3 % 2, "an image has several, and they are not one-"),
        (noise(40, 4, 4), "an image has several"),
        (FOUR - 1, "some are −1"),
        (np.where(FOUR, FOUR, np.nan), "some are NaN or fractions"),
        (np.arange(40) * 10**8, "40 different ones for 40 images"),
        (np.where(FOUR, FOUR.astype(str), ""), "some are empty or nan"),
        (np.full(40, "2026-01-01", "M8[D]"), r"datetime64\[D\] names no classes"),
    ],
)
def test_labels_that_name_no_classes_are_left_out_with_a_note(tmp_path, labels, words):
    np.savez(tmp_path / "mine.npz", images=noise(40, 4, 4), labels=labels)
    data = opened(tmp_path / "mine.npz")
    assert data.classes is None
    assert not data.train.labels.any()
    assert re.search(f"Classes: none. Labels left out: .*{words}", "\n".join(describe_plan(data)))


def test_labels_of_all_splits_are_numbered_together(tmp_path):
    names = np.array(["ant", "bee", "cat"])
    parts = {
        "x_train": noise(30, 4, 4),
        "train_labels": names[np.arange(30) % 2],
        "x_test": noise(6, 4, 4, seed=1),
    }
    np.savez(tmp_path / "mine.npz", **parts, y_test=np.repeat(names[2], 6))
    data = opened(tmp_path / "mine.npz")
    assert data.classes == ("ant", "bee", "cat")
    assert set(data.test.labels) == {2}


@pytest.mark.parametrize("test_labels", [None, np.full(6, -1), np.full((6, 1), np.nan)])
@pytest.mark.parametrize(
    "train_labels", [np.arange(30) % 3, np.eye(3)[np.arange(30) % 3], np.arange(30) % 3 + 5]
)
def test_a_split_without_labels_has_none_beside_splits_that_have(
    tmp_path, test_labels, train_labels
):
    arrays = {
        "train_images": noise(30, 4, 4),
        "train_labels": train_labels,
        "test_images": noise(6, 4, 4, seed=1),
    }
    np.savez(
        tmp_path / "mine.npz",
        **arrays,
        **({} if test_labels is None else {"test_labels": test_labels}),
    )
    data = opened(tmp_path / "mine.npz")
    assert len(set(data.train.labels)) == 3
    assert data.train.classes == data.classes
    assert data.test.classes is None
    assert not data.test.labels.any()
    assert "Labels: none for the test images" in data.notes


def test_other_arrays_that_are_not_read_are_noted(tmp_path):
    np.savez(tmp_path / "mine.npz", images=noise(40, 4, 4), mean=noise(4), masks=noise(40))
    data = opened(tmp_path / "mine.npz")
    assert data.warnings == ()
    assert "Not read: masks, mean" in {
        note.replace("mean, masks", "masks, mean") for note in data.notes
    }


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        (
            {"images": noise(9, 3, 8, 8)},
            r"uint8 \[9, 3, 8, 8\].*N, C, H, W.*--set channels_first=true",
        ),
        ({"images": noise(9, 5, 8, 8, 3)}, r"got uint8 \[9, 5, 8, 8, 3\]; must be \[N, F\]"),
        ({"images": noise(9, 8, 8) * 1j}, "got complex128"),
        ({"images": noise(0, 8, 8)}, r"got uint8 \[0, 8, 8\]"),
        ({"images": noise(9, 8, 8), "labels": np.arange(7)}, r"got int64 \[7\]; must be 9 labels"),
        ({"images": noise(9, 8, 8), "labels": np.array(1)}, "must be 9 labels"),
        ({"images": noise(2, 8, 8)}, "got 2 images"),
        (
            {"imgs": noise(9, 8, 8), "y": np.arange(9)},
            r"got the arrays imgs uint8 \[9, 8, 8\], y int64 \[9\]; must be named.*images=imgs",
        ),
        (
            {"images": noise(9, 8, 8), "x_train": noise(9, 8, 8)},
            "must be all images, or the images",
        ),
        ({"test_images": noise(9, 8, 8)}, "must be named images"),
        ({"train_images": noise(9, 8, 8), "test_images": noise(9, 8, 7)}, "differ"),
        (
            {"images": np.array([noise(3, 3), noise(4, 4)] * 5, object)},
            "got object .*must be bool, integers",
        ),
    ],
)
def test_what_does_not_fit_is_refused_by_name_with_a_remedy(tmp_path, arrays, words):
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
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"got a folder without arrays, but with no files; must"):
        opened(tmp_path / "none")
    with pytest.raises(UserError, match="needs --data"):
        opened(None)
    np.save(tmp_path / "colour.npy", noise(20, 4, 4, 3))
    with pytest.raises(UserError, match="one channel"):
        opened(tmp_path / "colour.npy", binarisation="static")


@pytest.mark.parametrize("binarisation", ["static", "dynamic"])
def test_grey_arrays_of_three_channels_are_told_how_to_have_one(tmp_path, binarisation):
    images = noise(20, 6, 6, 1).repeat(3, axis=3)
    np.save(tmp_path / "mine.npy", images)
    with pytest.raises(
        UserError,
        match=r"3 channels.*one channel\. Try none, or images\[\.\.\., :1\] in the file if",
    ):
        opened(tmp_path / "mine.npy", binarisation=binarisation)
    np.save(tmp_path / "mine.npy", images[..., :1])
    assert opened(tmp_path / "mine.npy", binarisation=binarisation).image_shape == (1, 6, 6)
