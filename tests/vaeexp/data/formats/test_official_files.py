"""Official files are known by their checksums: other files of the same names, sizes and counts are
not taken for them.
"""

import gzip
import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest
from image_files import write_cifar, write_svhn
from mnist_files import small_data, write_files, write_idx

from vaeexp.data import DATASETS, open_dataset
from vaeexp.data.formats import Checksum
from vaeexp.data.formats.torchvision_files import BATCHES, FILES, MATRICES
from vaeexp.settings import DataSettings


def publish(monkeypatch, name, files, *, counts, content=False):
    """Let these files be the official ones of a data set: their checksums stand in its
    definition.
    """
    sums = []
    for path in files:
        packed = path.suffix == ".gz"
        sha256 = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() if content else ""
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        sums.append(Checksum(md5, ".gz" if packed else "", sha256))
    monkeypatch.setitem(
        DATASETS, name, replace(DATASETS[name], counts=counts, checksums=tuple(sums))
    )


def opened(name, root):
    settings = DataSettings(dataset=name, binarisation="none", validation_size=10)
    return open_dataset(settings, root=root, say=lambda text: None)


def unpack(raw, *, remove):
    for name in FILES:
        packed = raw / f"{name}.gz"
        (raw / name).write_bytes(gzip.decompress(packed.read_bytes()))
        if remove:
            packed.unlink()


def pack_again(raw):
    """The same content in other bytes of gzip, as other programs write them."""
    for path in raw.glob("*.gz"):
        path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1, mtime=1))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("kept", ["packed", "both", "unpacked", "packed again"])
def test_official_idx_files_have_their_plain_title(tmp_path, monkeypatch, name, kept):
    raw = tmp_path / DATASETS[name].folder / "raw"
    write_files(raw)
    content = name == "mnist"  # of which the checksums of the content are known
    publish(
        monkeypatch, name, [raw / f"{file}.gz" for file in FILES], counts=(60, 20), content=content
    )
    if kept == "packed again":
        pack_again(raw)
    elif kept != "packed":
        unpack(raw, remove=kept == "unpacked")
    data, title = opened(name, tmp_path), DATASETS[name].title
    if content or kept in ("packed", "both"):
        assert (data.title, data.warnings) == (title, ())
    elif kept == "unpacked":
        assert data.title == f"{title}, 80 images (files not verified)"
        assert ".gz files" in data.warnings[0]
    else:
        assert data.title == f"{title}, 80 images (not the official files)"


def other_images(raw):
    write_files(raw, seed=1)


def one_other_label(raw):
    arrays = small_data()
    arrays[3][7] = (arrays[3][7] + 1) % 10
    write_idx(raw / f"{FILES[3]}.gz", arrays[3])


def transposed(raw):
    """As EMNIST lays its pixels out."""
    write_idx(raw / f"{FILES[0]}.gz", np.ascontiguousarray(small_data()[0].transpose(0, 2, 1)))


OTHERS = [other_images, one_other_label, transposed]


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("change", OTHERS, ids=lambda change: change.__name__)
def test_other_idx_files_of_the_same_names_and_counts_are_not_taken_for_official(
    tmp_path, monkeypatch, name, change
):
    raw = tmp_path / DATASETS[name].folder / "raw"
    write_files(raw)
    publish(
        monkeypatch,
        name,
        [raw / f"{file}.gz" for file in FILES],
        counts=(60, 20),
        content=name == "mnist",
    )
    assert opened(name, tmp_path).title == DATASETS[name].title
    change(raw)
    data = opened(name, tmp_path)
    assert data.title == f"{DATASETS[name].title}, 80 images (not the official files)"
    assert "checksum of " in data.warnings[0]
    assert "-ubyte" in data.warnings[0]


@pytest.mark.parametrize(
    ("name", "write", "files", "counts"),
    [("cifar10", write_cifar, BATCHES, (30, 6)), ("svhn", write_svhn, MATRICES, (30, 12))],
)
def test_other_colour_files_are_not_taken_for_official(
    tmp_path, monkeypatch, name, write, files, counts
):
    write(tmp_path)
    publish(monkeypatch, name, [tmp_path / file for file in files], counts=counts)
    assert opened(name, tmp_path).title == DATASETS[name].title
    path = tmp_path / files[-1]
    content = path.read_bytes()
    # A MATLAB file begins with a text for people, and ends with its last variable.
    path.write_bytes(b"x" + content[1:] if path.suffix == ".mat" else content + b"\0")
    assert opened(name, tmp_path).title.endswith("images (not the official files)")


def test_every_named_data_set_of_few_files_has_a_checksum_for_each():
    for name, files in (("mnist", 4), ("fashion_mnist", 4), ("cifar10", 6), ("svhn", 2)):
        assert len(DATASETS[name].checksums) == files


@pytest.mark.skipif(
    not os.environ.get("VAEEXP_DATA"), reason="VAEEXP_DATA names no folder with the official files"
)
@pytest.mark.parametrize("content", [True, False])
def test_mnist_is_known_by_its_content_and_by_its_files(monkeypatch, content):
    row = DATASETS["mnist"]
    if not content:
        sums = tuple(checksum._replace(content="") for checksum in row.checksums)
        monkeypatch.setitem(DATASETS, "mnist", replace(row, checksums=sums))
    assert opened("mnist", os.environ["VAEEXP_DATA"]).title == "MNIST"
