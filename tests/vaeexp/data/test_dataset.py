"""Opening data sets: splits, binarisation, targets, fingerprints, and what goes into a pickle."""

import hashlib
import json
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from mnist_files import write_files

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.data.dataset import TARGETS, stratified, targets
from vaeexp.data.prepare import Purpose, binarise, permutation
from vaeexp.settings import DataSettings
from vaeexp.study import open_study_file


def settings(**changes) -> DataSettings:
    return DataSettings(**{"binarisation": "none", "validation_size": 10, **changes})


def test_splits_are_the_files_images_in_split_order(tmp_path):
    training, labels, test, test_labels = write_files(tmp_path / "MNIST" / "raw")
    data = open_dataset(settings(), root=tmp_path)
    order = np.load(data.folder / "training_order.npy")
    assert sorted(order) == list(range(60))
    assert list(order) != list(range(60))
    np.testing.assert_array_equal(data.train.images, training[order[:50], None])
    np.testing.assert_array_equal(data.train.labels, labels[order[:50]])
    np.testing.assert_array_equal(data.validation.images, training[order[50:], None])
    np.testing.assert_array_equal(data.validation.labels, labels[order[50:]])
    np.testing.assert_array_equal(data.test.images, test[:, None])
    np.testing.assert_array_equal(data.test.labels, test_labels)
    assert data.image_shape == (1, 28, 28)
    assert data.sizes == (len(data.train), len(data.validation), len(data.test)) == (50, 10, 20)
    assert isinstance(data.train.images, np.memmap)
    assert not data.train.images.flags.writeable


def test_train_size_takes_the_first_images_and_leaves_the_rest(tmp_path):
    write_files(tmp_path)
    whole = open_dataset(settings(), root=tmp_path)
    limited = open_dataset(settings(train_size=7), root=tmp_path)
    assert limited.sizes == (7, 10, 20)
    np.testing.assert_array_equal(limited.train.images, whole.train.images[:7])
    np.testing.assert_array_equal(limited.validation.images, whole.validation.images)
    assert limited.fingerprint == whole.fingerprint  # validated and tested on the same pixels
    assert limited.folder == whole.folder


@pytest.mark.parametrize(
    ("changes", "place", "values"),
    [
        ({"validation_size": 60}, "data.validation_size", ["60"]),
        ({"validation_size": 1000}, "data.validation_size", ["1,000", "60"]),
        ({"train_size": 51}, "data.train_size", ["51", "50"]),
    ],
)
def test_impossible_sizes_are_refused(tmp_path, changes, place, values):
    write_files(tmp_path)
    with pytest.raises(UserError) as caught:
        open_dataset(settings(**changes), root=tmp_path)
    assert caught.value.place == place
    assert all(value in caught.value.problem for value in values)


def test_fingerprint_depends_on_what_is_compared_and_on_nothing_else(tmp_path):
    write_files(tmp_path / "a")
    write_files(tmp_path / "copy", suffix="")
    write_files(tmp_path / "other", seed=1)

    def fingerprint(folder: str, **changes) -> str:
        return open_dataset(settings(**changes), root=tmp_path / folder).fingerprint

    assert fingerprint("a") == fingerprint("a") == fingerprint("copy")
    different = [
        fingerprint("a"),
        fingerprint("other"),
        fingerprint("a", split_seed=1),
        fingerprint("a", validation_size=11),
        fingerprint("a", binarisation="static"),
        fingerprint("a", binarisation="static", split_seed=1),
        fingerprint("a", binarisation="dynamic"),
    ]
    assert len(set(different)) == len(different)


def test_static_binarisation_belongs_to_the_image_and_not_to_the_split(tmp_path):
    training, _, test, _ = write_files(tmp_path)
    by_size = {}
    for size in (10, 25):
        data = open_dataset(settings(binarisation="static", validation_size=size), root=tmp_path)
        order = np.load(data.folder / "training_order.npy")
        images = np.concatenate([data.train.images, data.validation.images])
        assert set(np.unique(images)) == {0, 1}
        by_size[size] = images[np.argsort(order)]
    np.testing.assert_array_equal(by_size[10], by_size[25])
    np.testing.assert_array_equal(
        by_size[10], binarise(training, 0, Purpose.TRAINING_PIXELS)[:, None]
    )
    np.testing.assert_array_equal(data.test.images, binarise(test, 0, Purpose.TEST_PIXELS)[:, None])


def test_binarisation_draws_each_pixel_with_its_grey_level():
    grey = np.repeat(np.arange(256, dtype=np.uint8), 20_000)
    drawn = binarise(grey, 0, Purpose.TRAINING_PIXELS).reshape(256, 20_000).mean(axis=1)
    probability = np.arange(256) / 255
    deviation = np.sqrt(np.maximum(probability * (1 - probability), 1e-12) / 20_000)
    scores = (drawn - probability) / deviation
    assert drawn[0] == 0
    assert drawn[255] == 1
    assert np.abs(scores).max() < 5
    assert 0.7 < scores[1:255].std() < 1.3


def test_draws_are_the_same_for_ever():
    grey = (np.arange(3 * 28 * 28) % 256).astype(np.uint8).reshape(3, 1, 28, 28)
    digest = hashlib.sha256(binarise(grey, 5, Purpose.TEST_PIXELS).tobytes()).hexdigest()
    assert digest == "a48a889ff76191e0fc30cb1ec94c8ac5440915eeb8d8e06ef16b30d6587529c3"
    assert permutation(12, 3, Purpose.SPLIT).tolist() == [6, 1, 11, 8, 5, 2, 7, 10, 9, 4, 3, 0]


def test_a_longer_stream_starts_like_a_shorter_one():
    # More than one chunk, and an odd number of pixels.
    grey = np.full(2**20 + 3, 128, dtype=np.uint8)
    whole = binarise(grey, 1, Purpose.TRAINING_PIXELS)
    np.testing.assert_array_equal(binarise(grey[:1001], 1, Purpose.TRAINING_PIXELS), whole[:1001])
    assert abs(whole.mean() - 128 / 255) < 0.003
    assert (binarise(grey, 1, Purpose.TEST_PIXELS) != whole).any()
    assert (binarise(grey, 2, Purpose.TRAINING_PIXELS) != whole).any()


def test_targets_keep_zeros_and_ones_and_scale_grey_levels():
    binary = np.random.default_rng(0).integers(0, 2, (4, 1, 3, 3), dtype=np.uint8)
    assert targets(binary, "static", seed=0).tolist() == binary.tolist()
    grey = np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)
    assert targets(grey, "none", seed=0).flatten().tolist() == pytest.approx([0, 0.2, 1])
    for kind in TARGETS:
        images = grey.astype(np.float32) if kind == "scaled" else grey
        assert targets(images, kind, seed=0).dtype == torch.float32


def test_dynamic_targets_are_one_with_probability_grey():
    levels = np.array([0, 1, 64, 128, 254, 255], np.uint8)
    images = np.broadcast_to(levels, (40_000, 1, 1, 6))
    drawn = targets(images, "dynamic", seed=3)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    share, expected = drawn.double().mean((0, 1, 2)), torch.tensor(levels / 255)
    assert ((share - expected).abs() <= 4.5 * (expected * (1 - expected) / 40_000).sqrt()).all()
    assert (share[0], share[-1]) == (0, 1)
    assert torch.equal(drawn, targets(images, "dynamic", seed=3))
    assert not torch.equal(drawn, targets(images, "dynamic", seed=4))


def test_targets_read_a_memory_map_without_writing(tmp_path):
    np.save(tmp_path / "images.npy", np.full((3, 1, 2, 2), 255, np.uint8))
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert (targets(mapped, "none", seed=0) == 1).all()


def test_bundled_digits_stand_in_for_mnist_loudly():
    said = []
    data = open_dataset(DataSettings(), say=said.append)
    notice = "\n".join(said)
    assert len(notice.splitlines()) >= 4
    assert "5,000" in notice
    assert "--data" in notice
    assert data.subset
    assert data.title == "MNIST, 5,000-image subset"
    assert data.sizes == (4000, 500, 500)
    assert data.fingerprint == "30026fe4ef97ad75e25bb3044014f157e8549bc3c404b134dd976f620aade5ac"
    assert np.bincount(data.test.labels).tolist() == [50] * 10
    for split in (data.train, data.validation):
        assert len(np.unique(split.labels)) == 10
    assert 0.10 < data.train.images.mean() < 0.16  # share of ink in binarised MNIST: 0.13


def test_bundled_test_digits_are_never_trained_on_whatever_the_seed():
    def keys(images: np.ndarray) -> set[bytes]:
        return {image.tobytes() for image in images}

    opened = [open_dataset(settings(split_seed=seed), say=lambda text: None) for seed in (0, 1)]
    for data in opened:
        train = keys(data.train.images)
        validation = keys(data.validation.images)
        test = keys(data.test.images)
        assert not train & validation
        assert not (train | validation) & test
        assert len(train) + len(validation) + len(test) > 4_990  # all 5,000 but for the odd twin
    np.testing.assert_array_equal(opened[0].test.images, opened[1].test.images)
    assert keys(opened[0].validation.images) != keys(opened[1].validation.images)


def test_the_subset_trains_on_what_there_is():
    data = open_dataset(settings(train_size=1000, validation_size=10_000), say=lambda text: None)
    assert data.sizes == (1000, 500, 500)
    assert open_dataset(settings(train_size=30_000), say=lambda text: None).sizes == (
        4000,
        500,
        500,
    )


def test_description_is_plain_data_without_paths(tmp_path):
    write_files(tmp_path)
    described = open_dataset(settings(), root=tmp_path).describe()
    assert json.loads(json.dumps(described)) == described
    assert (described["train"], described["validation"], described["test"]) == (50, 10, 20)
    assert str(tmp_path) not in json.dumps(described)


def test_a_pickle_holds_no_pixels(tmp_path):
    write_files(tmp_path)
    data = open_dataset(settings(), root=tmp_path)
    assert data.train.images.nbytes > 30_000
    pickled = pickle.dumps(data)
    assert len(pickled) < 3_000
    again = pickle.loads(pickled)
    assert again == data
    np.testing.assert_array_equal(again.train.images, data.train.images)


@pytest.mark.parametrize(
    "read",
    [
        lambda: open_dataset(SimpleNamespace(dataset="minst")),
        lambda: open_study_file("smoke", overrides=["dataset=minst"]),
    ],
)
def test_unknown_name_suggests_the_nearest(read):
    words = (
        "data.dataset: got 'minst'; must be one of mnist, .*, arrays, or .* Did you mean 'mnist'"
    )
    with pytest.raises(UserError, match=words):
        read()


def test_import_is_light():
    heavy = [
        "torch",
        "torchvision",
        "joblib",
        "pandas",
        "pydantic",
        "platformdirs",
        "urllib.request",
    ]
    program = (
        f"import sys, vaeexp.data; sys.exit(', '.join(name for name in {heavy} if name in "
        "sys.modules) or 0)"
    )
    subprocess.run(
        [sys.executable, "-c", program], check=True, timeout=60, cwd=Path(__file__).parents[3]
    )


@pytest.mark.skipif(
    not os.environ.get("VAEEXP_DATA"), reason="VAEEXP_DATA names no folder with the official files"
)
def test_official_files_open_whole():
    data = open_dataset(DataSettings(), root=Path(os.environ["VAEEXP_DATA"]), full_data=True)
    assert data.title == "MNIST"
    assert data.sizes == (50_000, 10_000, 10_000)
    assert data.fingerprint == "ef51493ba8028bb35a09daf16914c04b236eb9d5ecd5ee7a103481d6125e0712"


@given(st.lists(st.integers(0, 6), max_size=40), st.integers(0, 50))
def test_stratified_images_show_each_class_in_turn(labels, count):
    chosen = stratified(np.array(labels, dtype=np.uint8), count)
    assert len(set(chosen)) == len(chosen) == min(count, len(labels))
    shown = [labels[index] for index in chosen]
    classes = sorted(set(labels))
    assert shown[: len(classes)] == classes[: len(shown)]
    every = {
        each: [index for index, label in enumerate(labels) if label == each] for each in classes
    }
    for each, indices in every.items():
        taken = [index for index in chosen if labels[index] == each]
        assert taken == indices[: len(taken)], "the first of a class come first"
    counts = [shown.count(each) for each in classes if shown.count(each) < len(every[each])]
    assert not counts or max(shown.count(each) for each in classes) - min(counts) <= 1


def test_without_classes_stratified_images_are_the_first():
    assert stratified(np.zeros(20, np.uint8), 8).tolist() == list(range(8))
