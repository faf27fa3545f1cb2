"""The named data sets in the files that torchvision or their authors lay out: pixels and labels as
written, and as torchvision reads them.
"""

import gzip
import hashlib
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mnist_files import write_files
from named_files import (
    emnist_archive,
    emnist_arrays,
    emnist_content,
    medmnist_content,
    omniglot_archives,
    usps_content,
    write_qmnist,
)

from sweeps.errors import UserError
from vaeexp.data import DATASETS, Dataset, describe_plan, open_dataset
from vaeexp.data.class_names import EMNIST
from vaeexp.data.formats import Checksum
from vaeexp.data.formats.usps import USPS_FILES
from vaeexp.settings import DataSettings


def opened(name: str, root: Path, **changes) -> Dataset:
    settings = DataSettings(
        **{"dataset": name, "binarisation": "none", "validation_size": 5, **changes}
    )
    return open_dataset(settings, root=root, say=lambda text: None)


def training(data: Dataset) -> dict[bytes, int]:
    """Pixels → label of all images that are no test images."""
    found = {}
    for split in (data.train, data.validation):
        pixels = [image.tobytes() for image in split.images]
        found |= dict(zip(pixels, split.labels.tolist(), strict=True))
    return found


def holds(data: Dataset, arrays: list[np.ndarray]) -> None:
    """Assert that a data set holds these training images, labels, test images and labels."""
    images, labels, test, test_labels = arrays
    written = [image.tobytes() for image in images]
    assert training(data) == dict(zip(written, labels.tolist(), strict=True))
    np.testing.assert_array_equal(data.test.images.reshape(test.shape), test)
    np.testing.assert_array_equal(data.test.labels, test_labels)


def publish(monkeypatch, name: str, counts: tuple[int, int], *contents: bytes) -> None:
    """Let files of this content be the official ones."""
    sums = tuple(Checksum(hashlib.md5(content).hexdigest()) for content in contents)
    monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], counts=counts, checksums=sums))


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_kmnist_is_read_as_written(tmp_path, suffix):
    arrays = write_files(tmp_path / "KMNIST" / "raw", suffix=suffix)
    data = opened("kmnist", tmp_path)
    holds(data, arrays)
    assert data.classes == ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_qmnist_is_read_as_written_and_its_digit_is_the_first_of_eight_labels(tmp_path, suffix):
    arrays = write_qmnist(tmp_path / "QMNIST" / "raw", suffix=suffix)
    holds(opened("qmnist", tmp_path), arrays)


def test_qmnist_is_read_as_torchvision_reads_it(tmp_path):
    torchvision = pytest.importorskip("torchvision.datasets")
    arrays = write_qmnist(tmp_path / "QMNIST" / "raw", suffix="")
    for what, images, labels in (("train", *arrays[:2]), ("test", *arrays[2:])):
        theirs = torchvision.QMNIST(tmp_path, what=what)
        np.testing.assert_array_equal(theirs.data.numpy(), images)
        np.testing.assert_array_equal(theirs.targets[:, 0].numpy(), labels)


def test_labels_of_qmnist_of_another_type_are_refused(tmp_path):
    raw = tmp_path / "QMNIST" / "raw"
    write_qmnist(raw, suffix="")
    path = raw / "qmnist-test-labels-idx2-int"
    path.write_bytes(path.read_bytes().replace(b"\0\0\x0c\x02", b"\0\0\x08\x02", 1))
    with pytest.raises(UserError, match=r"got magic number 2050; must be 3074") as caught:
        opened("qmnist", tmp_path)
    assert caught.value.place == str(path)


@pytest.mark.parametrize("kept", ["archive", "raw", "gz"])
@pytest.mark.parametrize("split", EMNIST)
def test_each_split_of_emnist_is_read_upright(tmp_path, split, kept):
    count = len(EMNIST[split])
    content = emnist_content(split, first=int(split == "letters"), classes=min(count, 20))
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    if kept == "archive":
        other = emnist_content("digits" if split != "digits" else "mnist")
        (raw / "gzip.zip").write_bytes(emnist_archive(other, content))
    for name, written in content.items() if kept != "archive" else ():
        packed = gzip.compress(written) if kept == "gz" else written
        (raw / f"{name}{'.gz' if kept == 'gz' else ''}").write_bytes(packed)
    data = opened(f"emnist_{split}", tmp_path)
    holds(data, emnist_arrays(min(count, 20)))
    assert data.classes == EMNIST[split]
    assert any("turned upright" in line for line in describe_plan(data))


def test_emnist_is_torchvisions_transposed(tmp_path):
    torchvision = pytest.importorskip("torchvision.datasets")
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, written in emnist_content("letters", first=1, classes=26).items():
        (raw / name).write_bytes(written)
    theirs = torchvision.EMNIST(tmp_path, split="letters", train=False)
    data = opened("emnist_letters", tmp_path)
    np.testing.assert_array_equal(data.test.images[:, 0], theirs.data.numpy().transpose(0, 2, 1))
    names = [theirs.classes[target] for target in theirs.targets]
    assert [data.classes[label] for label in data.test.labels] == names


def test_classes_of_emnist_are_those_of_torchvision():
    torchvision = pytest.importorskip("torchvision.datasets")
    for split, classes in torchvision.EMNIST.classes_split_dict.items():
        assert list(EMNIST[split]) == [name for name in classes if name != "N/A"]


def test_emnist_is_verified_by_its_archive_alone(tmp_path, monkeypatch):
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    content = emnist_content("digits")
    archive = emnist_archive(content)
    publish(monkeypatch, "emnist_digits", (60, 20), archive)
    (raw / "gzip.zip").write_bytes(archive)
    assert opened("emnist_digits", tmp_path).title == "EMNIST Digits"
    (raw / "gzip.zip").write_bytes(archive + b"\0")
    assert opened("emnist_digits", tmp_path).title.endswith("(not the official files)")
    (raw / "gzip.zip").unlink()
    for name, written in content.items():
        (raw / name).write_bytes(written)
    data = opened("emnist_digits", tmp_path)
    assert data.title == "EMNIST Digits, 80 images (files not verified)"
    assert "only gzip.zip of EMNIST Digits has a known checksum" in data.warnings[0]


def test_an_archive_of_emnist_without_the_split_is_refused(tmp_path):
    (tmp_path / "gzip.zip").write_bytes(emnist_archive(emnist_content("digits")))
    with pytest.raises(UserError, match=r"without emnist-letters-train-images-idx3-ubyte.gz"):
        opened("emnist_letters", tmp_path)
    (tmp_path / "gzip.zip").write_bytes(b"PK no archive")
    with pytest.raises(UserError, match=r"must be a whole zip file") as caught:
        opened("emnist_letters", tmp_path)
    assert caught.value.place == str(tmp_path / "gzip.zip")


@pytest.mark.parametrize("below", ["", "USPS", "usps"])
def test_usps_is_read_as_written_and_as_torchvision_reads_it(tmp_path, monkeypatch, below):
    root = tmp_path / "data"
    folder = root / below
    folder.mkdir(parents=True)
    arrays = []
    contents = []
    for name, count in zip(USPS_FILES, (40, 12), strict=True):
        content, images, labels = usps_content(count, seed=count)
        (folder / name).write_bytes(content)
        contents.append(content)
        arrays += [images, labels]
    holds(opened("usps", root), arrays)
    publish(monkeypatch, "usps", (40, 12), *contents)
    assert opened("usps", root).title == "USPS"
    torchvision = pytest.importorskip("torchvision.datasets")
    theirs = torchvision.USPS(folder, train=False)
    np.testing.assert_array_equal(theirs.data, arrays[2][:, 0])
    assert theirs.targets == arrays[3].tolist()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace(b" 7:", b" 8:", 1), "should be sorted and unique"),
        (lambda text: text.replace(b" 256:", b" 300:", 1), "contains 300 features"),
        (lambda text: re.sub(rb" 7:\S+", b"", text, count=1), "other indices than 1 to 256"),
        (lambda text: b"11" + text[1:], "labels from 0 to 10"),
        (lambda text: text.replace(b" 1:", b" 1:7", 1), "values from -"),
        (lambda text: text.replace(b" 1:", b" 1:x", 1), "could not convert"),
    ],
)
def test_other_lines_in_a_file_of_usps_are_refused(tmp_path, change, words):
    import bz2

    for name in USPS_FILES:
        (tmp_path / name).write_bytes(usps_content(12, seed=1)[0])
    path = tmp_path / USPS_FILES[1]
    path.write_bytes(bz2.compress(change(bz2.decompress(path.read_bytes()))))
    with pytest.raises(UserError, match=words) as caught:
        opened("usps", tmp_path)
    assert caught.value.place == str(path)


@pytest.mark.parametrize("kept", ["archives", "folders"])
def test_omniglot_is_read_as_written_with_black_ink(tmp_path, monkeypatch, kept):
    archives, pixels = omniglot_archives()
    publish(monkeypatch, "omniglot", (16, 8), *archives.values())
    folder = tmp_path / "omniglot-py"
    folder.mkdir()
    for name, content in archives.items():
        (folder / name).write_bytes(content)
        if kept == "folders":
            shutil.unpack_archive(folder / name, folder)
            (folder / name).unlink()
    data = opened("omniglot", tmp_path)
    test = [name for name in sorted(pixels) if name.startswith("images_evaluation")]
    np.testing.assert_array_equal(data.test.images[:, 0], [pixels[name] for name in test])
    named = [data.classes[label] for label in data.test.labels]
    assert named == ["/".join(name.split("/")[1:3]) for name in test]
    background = {
        array.tobytes(): "/".join(name.split("/")[1:3])
        for name, array in pixels.items()
        if name not in test
    }
    assert {image: data.classes[label] for image, label in training(data).items()} == background
    assert data.image_shape == (1, 105, 105)
    expected = "Omniglot" if kept == "archives" else "Omniglot, 24 images (files not verified)"
    assert data.title == expected
    assert not data.taught
    small = opened("omniglot", tmp_path, image_size=28)
    assert small.image_shape == (1, 28, 28)
    assert small.title.startswith("Omniglot, 28 × 28")


def test_omniglot_is_read_as_torchvision_reads_it(tmp_path, monkeypatch):
    torchvision = pytest.importorskip("torchvision.datasets")
    archives, _ = omniglot_archives()
    sums = {
        name.removesuffix(".zip"): hashlib.md5(content).hexdigest()
        for name, content in archives.items()
    }
    monkeypatch.setattr(torchvision.Omniglot, "zips_md5", sums)
    folder = tmp_path / "omniglot-py"
    folder.mkdir()
    for name, content in archives.items():
        (folder / name).write_bytes(content)
        shutil.unpack_archive(folder / name, folder)
    theirs = torchvision.Omniglot(tmp_path, background=False)
    images = {np.asarray(image).tobytes() for image, _ in theirs}
    data = opened("omniglot", tmp_path)
    assert {image.tobytes() for image in data.test.images} == images


def test_a_missing_or_damaged_archive_of_omniglot_is_named(tmp_path):
    archives, _ = omniglot_archives()
    (tmp_path / "images_background.zip").write_bytes(archives["images_background.zip"])
    with pytest.raises(UserError, match=r"are missing: images_evaluation.zip"):
        opened("omniglot", tmp_path)
    (tmp_path / "images_evaluation.zip").write_bytes(archives["images_evaluation.zip"][:900])
    with pytest.raises(UserError, match=r"must be a whole zip file") as caught:
        opened("omniglot", tmp_path)
    assert caught.value.place == str(tmp_path / "images_evaluation.zip")


@pytest.mark.parametrize(
    ("name", "title"), [("bloodmnist", "BloodMNIST"), ("octmnist", "OCTMNIST")]
)
def test_medmnist_is_read_as_written_with_its_own_splits(tmp_path, monkeypatch, name, title):
    channels = DATASETS[name].image_shape[0]
    content, arrays = medmnist_content(channels, len(DATASETS[name].classes))
    publish(monkeypatch, name, (50, 12), content)
    (tmp_path / f"{name}.npz").write_bytes(content)
    for given in (tmp_path, tmp_path / f"{name}.npz"):
        data = opened(name, given, validation_size=10)
        assert (data.title, data.sizes) == (title, (40, 10, 12))
        assert data.classes == DATASETS[name].classes
        shaped = arrays["test_images"].reshape(12, 28, 28, channels).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(data.test.images, shaped)
        validation = {image.tobytes() for image in data.validation.images}
        stored = arrays["val_images"].reshape(10, 28, 28, channels).transpose(0, 3, 1, 2)
        assert validation == {np.ascontiguousarray(image).tobytes() for image in stored}
    (tmp_path / f"{name}.npz").write_bytes(content + b"\0")
    assert opened(name, tmp_path).title == f"{title}, 62 images (not the official files)"


def test_each_named_data_set_is_known_by_checksums():
    for name, row in DATASETS.items():
        if not row.downloadable or name == "celeba":
            continue
        remote = [file.md5 for file in row.remote]
        sums = [checksum.md5 for checksum in row.checksums]
        assert remote or sums, name
        assert all(len(bytes.fromhex(md5)) == 16 for md5 in (*remote, *sums)), name
        assert remote == sums or not remote or not sums, name
        assert row.counts is None or sums, name
        assert row.remote or row.torchvision, name


def test_checksums_are_those_of_torchvision():
    torchvision = pytest.importorskip("torchvision.datasets")
    qmnist = [md5 for what in ("train", "test") for _, md5 in torchvision.QMNIST.resources[what]]
    known = {
        "kmnist": [md5 for _, md5 in torchvision.KMNIST.resources],
        "qmnist": qmnist,
        "usps": [md5 for _, _, md5 in torchvision.USPS.split_list.values()],
        "omniglot": list(torchvision.Omniglot.zips_md5.values()),
        "emnist_letters": [torchvision.EMNIST.md5],
    }
    for name, sums in known.items():
        assert [checksum.md5 for checksum in DATASETS[name].checksums] == sums
