"""Images in two splits are counted by what is decoded: copies, links, other formats, arrays,
official layouts.
"""

import os
import shutil

import numpy as np
import pytest
from image_files import noise, write_image
from PIL import Image

from vaeexp.data import describe_plan, duplicates, formats, open_dataset
from vaeexp.data.duplicates import image_keys
from vaeexp.settings import DataSettings


def opened(path, dataset="folder", **changes):
    settings = DataSettings(
        **{"dataset": dataset, "binarisation": "none", "validation_size": 10} | changes
    )
    return open_dataset(settings, root=path, say=lambda text: None)


def folder(root, **counts):
    """So many different images in each folder below `root`."""
    for split, count in counts.items():
        for number in range(count):
            write_image(
                root / split / f"{number:03d}.png", noise(6, 6, seed=len(split) * 1000 + number)
            )


def copied(source, target):
    shutil.copy(source, target)


def linked(source, target):
    os.link(source, target)


def in_another_format(source, target):
    Image.open(source).save(target.with_suffix(".bmp"))


WAYS = [copied, linked, in_another_format]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("split", ["test", "val"])
def test_images_of_a_split_that_are_also_training_images_are_a_warning(tmp_path, way, split):
    folder(tmp_path / "mine", train=40, test=5, val=5)
    for number in range(20):
        way(
            tmp_path / "mine" / "train" / f"{number:03d}.png",
            tmp_path / "mine" / split / f"other-{number}.png",
        )
    name = {"test": "test", "val": "validation"}[split]
    [warning] = opened(tmp_path / "mine").warnings
    assert warning.startswith(f"20 of 25 {name} images are also training images")
    assert "Remove them" in warning


def test_links_to_images_elsewhere_are_followed_without_a_word(tmp_path):
    folder(tmp_path / "pool", train=40, test=10)
    for split in ("train", "test"):
        (tmp_path / "mine" / split).mkdir(parents=True)
        for path in (tmp_path / "pool" / split).iterdir():
            (tmp_path / "mine" / split / path.name).symlink_to(path)
    data = opened(tmp_path / "mine")
    assert (sum(data.sizes), data.warnings) == (50, ())


@pytest.mark.parametrize("binarisation", ["none", "static", "dynamic"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32, bool])
def test_arrays_are_compared_as_they_are_decoded_before_binarisation(tmp_path, binarisation, kind):
    images = noise(60, 8, 8) > 127 if kind is bool else noise(60, 8, 8)
    scaled = (images / 255).astype(np.float32) if kind is np.float32 else images
    np.savez(
        tmp_path / "mine.npz",
        train_images=scaled,
        val_images=scaled[30:40],
        test_images=scaled[20:40],
    )
    data = opened(tmp_path / "mine.npz", "arrays", binarisation=binarisation)
    assert [warning.split(":")[0] for warning in data.warnings] == [
        "20 of 20 test images are also training images",
        "10 of 20 test images are also validation images",
        "10 of 10 validation images are also training images",
    ]


def test_a_split_that_is_drawn_from_copies_is_doubted(tmp_path):
    np.save(tmp_path / "mine.npy", np.repeat(noise(30, 8, 8), 3, axis=0))
    data = opened(tmp_path / "mine.npy", "arrays")
    assert "9 of 9 test images are also training images" in data.warnings[0]
    assert (
        "training images are there more than once, and validation images are drawn from them"
        in data.warnings[1]
    )


def test_few_of_many_are_a_note(tmp_path):
    images = noise(600, 4, 4)
    images[410] = images[3]
    np.savez(tmp_path / "mine.npz", train_images=images[:400], test_images=images[400:])
    data = opened(tmp_path / "mine.npz", "arrays")
    assert data.warnings == ()
    assert "1 of 200 test images are also training images" in "\n".join(describe_plan(data))


def test_different_images_are_no_matter(tmp_path):
    folder(tmp_path / "mine", train=30, test=10)
    assert opened(tmp_path / "mine").warnings == ()
    images = noise(40, 8, 8)
    np.savez(tmp_path / "mine.npz", train_images=images[:30], test_images=images[30:])
    assert opened(tmp_path / "mine.npz", "arrays").warnings == ()


def test_keys_are_of_pixels_and_made_piece_by_piece(monkeypatch):
    images = noise(50, 1, 7, 5)
    whole = image_keys(images, np.arange(50))
    assert len(set(whole.tolist())) == 50
    monkeypatch.setattr(formats, "_BLOCK_BYTES", 100)
    assert duplicates.image_keys(images[::-1], np.arange(49, -1, -1)).tolist() == whole.tolist()


def test_empty_masks_are_no_copies_of_each_other(tmp_path):
    masks = noise(60, 8, 8) > 127
    masks[::3] = False
    np.savez(tmp_path / "mine.npz", train_images=masks[:40], test_images=masks[40:])
    assert not any(
        "also" in warning for warning in opened(tmp_path / "mine.npz", "arrays").warnings
    )
