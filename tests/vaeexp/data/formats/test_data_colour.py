"""CIFAR-10, SVHN and CelebA from files in their own formats."""

import os
import pickle

import numpy as np
import pytest
from image_files import noise, python2_pickle, write_cifar, write_image, write_svhn

from sweeps.errors import UserError
from vaeexp.data import DATASETS, describe_plan, open_dataset
from vaeexp.data.formats.torchvision_files import BATCHES, read_batch
from vaeexp.settings import DataSettings


def settings(dataset: str, **changes) -> DataSettings:
    return DataSettings(
        **{"dataset": dataset, "binarisation": "none", "validation_size": 4, **changes}
    )


def in_source_order(data) -> tuple[np.ndarray, np.ndarray]:
    """All training and validation images and labels as they lie in the files."""
    back = np.argsort(np.load(data.folder / "training_order.npy"))
    images = np.concatenate([data.train.images, data.validation.images])
    return images[back], np.concatenate([data.train.labels, data.validation.labels])[back]


@pytest.mark.parametrize("below", ["cifar-10-batches-py", "."])
def test_cifar_is_read_as_it_was_written(tmp_path, below):
    written = write_cifar(tmp_path / "data" / below)
    data = open_dataset(settings("cifar10"), root=tmp_path / "data")
    images, labels = in_source_order(data)
    np.testing.assert_array_equal(
        images, np.concatenate([written[name][0] for name in BATCHES[:-1]])
    )
    np.testing.assert_array_equal(
        labels, np.concatenate([written[name][1] for name in BATCHES[:-1]])
    )
    np.testing.assert_array_equal(data.test.images, written["test_batch"][0])
    np.testing.assert_array_equal(data.test.labels, written["test_batch"][1])
    assert data.sizes == (26, 4, 6)
    assert data.image_shape == (3, 32, 32)
    assert data.classes[0] == "airplane"
    assert data.title == "CIFAR-10, 36 images (not the official files)"


@pytest.mark.parametrize(("protocol", "key"), [(2, str), (4, str.encode)])
def test_a_batch_that_python_3_wrote_is_read_too(tmp_path, protocol, key):
    images = noise(3, 3072)
    path = tmp_path / "batch"
    path.write_bytes(
        pickle.dumps({key("data"): images, key("labels"): [1, 2, 9]}, protocol=protocol)
    )
    read, labels = read_batch(path)
    np.testing.assert_array_equal(read.reshape(3, -1), images)
    assert labels.tolist() == [1, 2, 9]


class _Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


def _whole_numbers() -> bytes:
    return pickle.dumps({"data": noise(2, 3072).astype(np.int64), "labels": [0, 1]}, protocol=2)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: pickle.dumps({"data": _Harm(), "labels": []}, protocol=2), "posix.mkdir|nt.mkdir"),
        (lambda: pickle.dumps({"data": eval, "labels": []}, protocol=2), "eval"),
        (lambda: python2_pickle(noise(2, 3072), [0, 1])[:-50], "must be a batch"),
        (lambda: python2_pickle(noise(2, 3072), [0]), "must be 2 from 0 to 9"),
        (lambda: python2_pickle(noise(2, 3072), [0, 10]), "must be 2 from 0 to 9"),
        (lambda: python2_pickle(noise(2, 3071), [0, 1]), "cannot reshape"),
        (_whole_numbers, "type int64"),
        (lambda: pickle.dumps([1, 2]), "must be a batch"),
    ],
)
def test_a_batch_that_is_damaged_or_dangerous_is_refused_by_name(
    tmp_path, monkeypatch, content, words
):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "batch"
    path.write_bytes(content())
    with pytest.raises(UserError, match=words) as caught:
        read_batch(path)
    assert caught.value.place == str(path)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("packed", [False, True])
def test_svhn_is_read_with_ten_as_zero(tmp_path, packed):
    written = write_svhn(tmp_path / "data", packed=packed)
    data = open_dataset(settings("svhn"), root=tmp_path / "data")
    images, labels = in_source_order(data)
    np.testing.assert_array_equal(images, written["train"][0])
    np.testing.assert_array_equal(labels, written["train"][1])
    np.testing.assert_array_equal(data.test.images, written["test"][0])
    np.testing.assert_array_equal(data.test.labels, written["test"][1])
    path = tmp_path / "data" / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="must be a MATLAB 5 file with X and y") as caught:
        open_dataset(settings("svhn"), root=tmp_path / "data")
    assert caught.value.place == str(path)


def write_celeba(folder, shape=(218, 178, 3)) -> dict[str, int]:
    parts = {
        f"{number:06d}.jpg": (0 if number <= 6 else 1 if number <= 9 else 2)
        for number in range(1, 12)
    }
    for number, name in enumerate(parts):
        write_image(
            folder / "img_align_celeba" / name, np.full(shape, 20 * number, np.uint8), quality=95
        )
    lines = [f"{name} {part}" for name, part in parts.items()]
    (folder / "list_eval_partition.txt").write_text("\n".join(lines) + "\n")
    return parts


def test_celeba_keeps_the_official_partition_and_size(tmp_path):
    write_celeba(tmp_path / "data" / "celeba")
    data = open_dataset(
        settings("celeba", validation_size=10_000), root=tmp_path / "data", say=lambda text: None
    )
    assert data.sizes == (6, 3, 2)
    assert data.image_shape == (3, 218, 178)
    assert data.classes is None
    assert not any(split.labels.any() for split in (data.train, data.validation, data.test))
    levels = [
        np.rint(split.images[:, 0, 100, 100] / 20)
        for split in (data.train, data.validation, data.test)
    ]
    assert [sorted(level) for level in levels] == [[0, 1, 2, 3, 4, 5], [6, 7, 8], [9, 10]]
    few = open_dataset(settings("celeba", validation_size=2, train_size=5), root=tmp_path / "data")
    assert few.sizes == (5, 2, 2)
    assert few.folder == data.folder
    assert set(np.rint(few.validation.images[:, 0, 0, 0] / 20)) < {6, 7, 8}
    small = open_dataset(
        settings("celeba", image_size=32), root=tmp_path / "data", say=lambda text: None
    )
    assert small.image_shape == (3, 32, 32)
    assert "32 × 32" in small.title
    assert small.fingerprint != few.fingerprint
    assert any("cropped" in line and "resized" in line for line in describe_plan(small))


@pytest.mark.parametrize(
    ("below", "partition", "images"),
    [
        ("archive", "list_eval_partition.csv", "img_align_celeba/img_align_celeba"),  # Kaggle
        ("CelebA", "Eval/list_eval_partition.txt", "Img/img_align_celeba"),  # the authors
        ("celeba", "list_eval_partition.txt", "img_align_celeba/img_align_celeba"),
        ("", "list_eval_partition.txt", "img_align_celeba"),
    ],
)
def test_celeba_is_read_as_it_is_shipped(tmp_path, below, partition, images):
    write_celeba(tmp_path / "whole", shape=(8, 8, 3))
    root = tmp_path / "data" / below
    (root / images).parent.mkdir(parents=True, exist_ok=True)
    (root / partition).parent.mkdir(exist_ok=True)
    (tmp_path / "whole" / "img_align_celeba").rename(root / images)
    lines = (tmp_path / "whole" / "list_eval_partition.txt").read_text()
    if partition.endswith(".csv"):
        lines = "image_id,partition\r\n" + lines.replace(" ", ",").replace("\n", "\r\n")
    (root / partition).write_bytes(lines.encode("utf-8-sig" if below else "utf-8"))
    data = open_dataset(settings("celeba"), root=tmp_path / "data", say=lambda text: None)
    assert data.sizes == (6, 3, 2)
    assert sorted(np.rint(data.test.images[:, 0, 4, 4] / 20)) == [9, 10]


def test_what_celeba_lacks_is_named_in_both_spellings(tmp_path):
    write_celeba(tmp_path / "archive", shape=(8, 8, 3))
    (tmp_path / "archive" / "list_eval_partition.txt").unlink()
    with pytest.raises(
        UserError, match=r"missing: list_eval_partition\.txt or list_eval_partition\.csv"
    ) as caught:
        open_dataset(settings("celeba"), root=tmp_path)
    assert caught.value.place == str(tmp_path / "archive")
    (tmp_path / "archive" / "list_eval_partition.csv").write_text(
        "image_id,partition\n000001.jpg,train\n"
    )
    with pytest.raises(UserError, match="must be lines of a file name and 0, 1 or 2"):
        open_dataset(settings("celeba"), root=tmp_path)


@pytest.mark.parametrize(
    ("dataset", "missing", "named"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_3", "data_batch_3"),
        ("svhn", "test_32x32.mat", "test_32x32.mat"),
        ("celeba", "celeba/list_eval_partition.txt", "list_eval_partition.txt"),
        ("celeba", "celeba/img_align_celeba/000004.jpg", "000004.jpg"),
    ],
)
def test_a_file_that_is_missing_is_named(tmp_path, dataset, missing, named):
    root = tmp_path / "data"
    write_cifar(root / "cifar-10-batches-py")
    write_svhn(root)
    write_celeba(root / "celeba", shape=(8, 8, 3))
    (root / missing).unlink()
    with pytest.raises(UserError, match=named):
        open_dataset(settings(dataset), root=root)


@pytest.mark.parametrize("binarisation", ["static", "dynamic"])
def test_colours_are_not_binarised(tmp_path, binarisation):
    with pytest.raises(UserError, match="CIFAR-10 has 3") as caught:
        open_dataset(settings("cifar10", binarisation=binarisation))
    assert caught.value.place == "data.binarisation"
    write_celeba(tmp_path / "celeba", shape=(8, 8, 3))
    with pytest.raises(UserError, match="CelebA has 3"):
        open_dataset(
            settings("celeba", binarisation=binarisation), root=tmp_path, say=lambda text: None
        )
    grey = settings("celeba", binarisation=binarisation, image_channels=1)
    assert open_dataset(grey, root=tmp_path, say=lambda text: None).image_shape == (1, 8, 8)


def test_a_size_for_images_of_one_size_is_refused():
    with pytest.raises(UserError, match="folder") as caught:
        open_dataset(settings("cifar10", image_size=64))
    assert caught.value.place == "data.image_size"


def test_torchvision_reads_the_same_images(tmp_path, monkeypatch):
    """The files of these tests are what torchvision takes for CIFAR-10, apart from their
    checksums.
    """
    torchvision = pytest.importorskip("torchvision.datasets")
    monkeypatch.setattr(torchvision.CIFAR10, "_check_integrity", lambda self: True)
    monkeypatch.setattr(torchvision.CIFAR10, "_load_meta", lambda self: None)
    write_cifar(tmp_path / "cifar-10-batches-py")
    theirs = getattr(torchvision, DATASETS["cifar10"].torchvision)(tmp_path, train=False)
    data = open_dataset(settings("cifar10"), root=tmp_path)
    assert len(theirs) == len(data.test)
    for place, (image, label) in enumerate(theirs):
        np.testing.assert_array_equal(np.asarray(image), data.test.images[place].transpose(1, 2, 0))
        assert label == data.test.labels[place]
