"""Image files of more than 8 bits or of other channels: their numbers, sizes, groups; and the
settings of arrays that do not apply to them.
"""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import noise, write_image, write_tree
from PIL import Image
from raw_images import read_raw

from sweeps.errors import UserError
from vaeexp.data.formats.levels import Stored


def deep(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 65536, shape).astype(np.uint16)


def as_png(path: Path, image: np.ndarray) -> None:
    write_image(path.with_suffix(".png"), image)


def as_tiff(path: Path, image: np.ndarray) -> None:
    photometric = "rgb" if image.shape[-1] == 3 else "minisblack"
    tifffile.imwrite(path.with_suffix(".tif"), image, photometric=photometric)


def as_samples(path: Path, image: np.ndarray) -> None:
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(path.with_suffix(".tif"), image, **options)


def as_pages(path: Path, image: np.ndarray) -> None:
    pages = np.moveaxis(image, -1, 0)
    tifffile.imwrite(path.with_suffix(".tif"), pages, photometric="minisblack")


def as_colour_png(path: Path, image: np.ndarray) -> None:
    """A PNG of 16-bit colours [H, W, 3], which Pillow does not write."""

    def chunk(name: bytes, content: bytes) -> bytes:
        summed = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", summed)

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in image)
    head = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.with_suffix(".png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def write_all(root: Path, images: np.ndarray, write: Callable) -> Path:
    root.mkdir()
    for number, image in enumerate(images):
        write(root / f"{number % 3}_{number:02d}", image)
    return root


def in_order(images: np.ndarray) -> np.ndarray:
    """Images [N, …] in the order of the names that `write_all` gives them."""
    return images[np.lexsort((np.arange(len(images)), np.arange(len(images)) % 3))]


FLOATS = np.random.default_rng(0).normal(size=(9, 6, 5)).astype(np.float32) * 1000


@pytest.mark.parametrize(
    ("write", "images", "kind", "stored"),
    [
        (as_png, deep(9, 6, 5), "uint16", Stored.DEEP),
        (as_tiff, deep(9, 6, 5), "uint16", Stored.DEEP),
        (as_tiff, deep(9, 6, 5).astype(np.int16), "int16", Stored.DEEP),
        (as_tiff, deep(9, 6, 5).astype(np.uint32) << 15, "uint32", Stored.DEEP),
        (as_tiff, -deep(9, 6, 5).astype(np.int32), "int32", Stored.DEEP),
        (as_tiff, FLOATS, "float32", Stored.FLOATS),
        (as_tiff, FLOATS.astype(np.float64), "float64", Stored.FLOATS),
        (as_tiff, FLOATS.astype(np.float16), "float16", Stored.FLOATS),
        (as_tiff, deep(9, 6, 5, 3), "uint16", Stored.DEEP),
        (as_colour_png, deep(9, 6, 5, 3), "uint16", Stored.DEEP),
        (as_samples, noise(9, 6, 5, 2), "uint8", Stored.BYTES),
        (as_samples, noise(9, 6, 5, 7), "uint8", Stored.BYTES),
        (as_samples, deep(9, 6, 5, 4), "uint16", Stored.DEEP),
        (as_pages, noise(9, 6, 5, 2), "uint8", Stored.BYTES),
        (as_pages, noise(9, 6, 5, 256), "uint8", Stored.BYTES),
        (as_pages, deep(9, 6, 5, 7), "uint16", Stored.DEEP),
        (as_pages, np.stack([FLOATS, -FLOATS], 3), "float32", Stored.FLOATS),
    ],
)
def test_files_that_are_no_plain_pictures_keep_their_numbers(tmp_path, write, images, kind, stored):
    raw = read_raw(write_all(tmp_path / "mine", images, write), dataset="folder")
    expected = in_order(images)
    expected = expected[:, None] if images.ndim == 3 else np.moveaxis(expected, -1, 1)
    assert raw.images.dtype == np.dtype(kind)
    np.testing.assert_array_equal(raw.images, expected)
    assert set(raw.stored) == {stored}
    assert (raw.largest, raw.read_again) == (None, None)
    assert f"Numbers: {kind}, as in the files" in raw.notes


def test_files_of_several_types_of_whole_numbers_have_one_that_holds_all(tmp_path):
    root = write_all(tmp_path / "mine", deep(8, 6, 5), as_png)
    as_tiff(root / "9", np.full((6, 5), -3, np.int16))
    raw = read_raw(root, dataset="folder")
    assert raw.images.dtype == np.int32
    assert raw.images.min() == -3
    np.testing.assert_array_equal(raw.images[:-1, 0], in_order(deep(8, 6, 5)))


def test_a_plain_picture_among_them_makes_all_of_them_bytes(tmp_path):
    root = write_all(tmp_path / "mine", deep(8, 6, 5), as_png)
    write_image(root / "9.png", noise(6, 5))
    as_pages(root / "91", noise(6, 5, 2))
    raw = read_raw(root, dataset="folder")
    assert raw.images.dtype == np.uint8
    np.testing.assert_array_equal(raw.images[:8, 0], in_order(deep(8, 6, 5)) >> 8)
    np.testing.assert_array_equal(raw.images[8, 0], noise(6, 5))
    assert raw.stored.tolist() == [Stored.DEEP] * 8 + [Stored.BYTES] * 2
    assert (raw.largest[:8] == in_order(deep(8, 6, 5)).reshape(8, -1).max(1)).all()
    assert raw.read_again is not None
    assert "Dropped: all frames but the first (1 file)" in raw.notes


@pytest.mark.parametrize("image_size", [3, [4, 7], 12])
@pytest.mark.parametrize("crop", ["center", "none"])
def test_numbers_are_resized_as_bytes_are(tmp_path, image_size, crop):
    """With 257 × a byte as 16-bit number, both differ by rounding alone."""
    settings = {"dataset": "folder", "image_size": image_size, "crop": crop}
    smooth = np.asarray(Image.fromarray(noise(3, 3)).resize((20, 16)))
    plain = read_raw(write_all(tmp_path / "plain", smooth[None], as_png), **settings)
    wide = read_raw(
        write_all(tmp_path / "deep", smooth[None].astype(np.uint16) * 257, as_png), **settings
    )
    fine = read_raw(
        write_all(tmp_path / "float", smooth[None].astype(np.float32), as_tiff), **settings
    )
    assert wide.images.dtype == np.uint16
    assert wide.images.shape == fine.images.shape == plain.images.shape
    np.testing.assert_allclose(wide.images / 257, plain.images, atol=1.01)
    np.testing.assert_allclose(fine.images.clip(0, 255), wide.images / 257, atol=0.01)
    assert fine.images.dtype == np.float32


def test_grey_levels_and_colours_of_more_bits_become_each_other(tmp_path):
    grey = write_all(tmp_path / "grey", deep(9, 6, 5), as_png)
    raw = read_raw(grey, dataset="folder", image_channels=3)
    np.testing.assert_array_equal(raw.images, in_order(deep(9, 6, 5))[:, None].repeat(3, 1))
    colour = write_all(tmp_path / "colour", deep(9, 6, 5, 3), as_tiff)
    raw = read_raw(colour, dataset="folder", image_channels=1)
    luma = in_order(deep(9, 6, 5, 3)) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(raw.images[:, 0], luma, atol=0.51)
    as_png(colour / "99", deep(6, 5))
    raw = read_raw(colour, dataset="folder")
    np.testing.assert_array_equal(raw.images[-1], deep(6, 5)[None].repeat(3, 0))


def test_files_of_other_channels_are_refused_with_their_counts(tmp_path):
    root = write_all(tmp_path / "mine", deep(8, 6, 5, 7), as_pages)
    for channels in (1, 3):
        with pytest.raises(UserError, match=rf"got {channels}, but .* 7 \(8 images\)") as caught:
            read_raw(root, dataset="folder", image_channels=channels)
        assert caught.value.place == "data.image_channels"
    as_pages(root / "9", deep(6, 5, 2))
    with pytest.raises(UserError, match=r"7 \(8 images\), 2 \(1 image\); must be the same"):
        read_raw(root, dataset="folder")
    many = write_all(tmp_path / "many", noise(2, 4, 4, 257), as_pages)
    with pytest.raises(UserError, match=r"257 channels .* at most 256\..*dataset=arrays"):
        read_raw(many, dataset="folder")
    (root / "9.tif").unlink()
    with pytest.raises(UserError, match="one channel"):
        read_raw(root, dataset="folder", binarisation="static")


def test_a_file_that_is_cut_is_left_out(tmp_path):
    root = write_all(tmp_path / "mine", deep(8, 40, 40, 7), as_pages)
    path = root / "0_03.tif"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(UserError, match=r"1 of 8 image files cannot be read: 0_03\.tif"):
        read_raw(root, dataset="folder")
    raw = read_raw(root, dataset="folder", unreadable_share=0.5)
    assert [file.name for file in raw.unreadable] == ["0_03.tif"]


# ---- groups ----


def test_a_pattern_of_names_finds_the_group_of_each_file(tmp_path):
    write_tree(tmp_path / "mine", {"p01/left": 3, "p02/left": 2, "p10/right": 4})
    raw = read_raw(tmp_path / "mine", dataset="folder", split_by=r"p(\d+)/")
    assert raw.groups.tolist() == ["01"] * 3 + ["02"] * 2 + ["10"] * 4
    assert read_raw(tmp_path / "mine", dataset="folder").groups is None


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        (r"p0(\d)/", r"does not match p10/right/\d+\.png; must match the name of each image file"),
        (r"p\d+", "with 0 groups; must be a regular expression with one group in brackets"),
        (r"(p)(\d+)", "with 2 groups; must be a regular expression with one group in brackets"),
        (r"p(\d+", "must be a regular expression with one group in brackets"),
        (r"p01(x)?|p", r"does not match p01/left/000\.png"),
    ],
)
def test_a_pattern_that_does_not_fit_is_refused(tmp_path, pattern, words):
    write_tree(tmp_path / "mine", {"p01/left": 3, "p02/left": 2, "p10/right": 4})
    with pytest.raises(UserError, match=words) as caught:
        read_raw(tmp_path / "mine", dataset="folder", split_by=pattern)
    assert caught.value.place == "data.split_by"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [{"images": "a"}, {"labels": "a"}, {"factors": ["a", "b"]}, {"channels_first": True}],
)
def test_settings_for_arrays_are_refused_for_image_files(tmp_path, settings):
    write_tree(tmp_path / "mine", {"a": 3})
    with pytest.raises(UserError, match=r"must be left out\. It is for arrays") as caught:
        read_raw(tmp_path / "mine", dataset="folder", **settings)
    assert caught.value.place == f"data.{next(iter(settings))}"
