"""Stacks of images in one TIFF file, and folders of .npy files."""

import numpy as np
import pytest
import tifffile
from image_files import noise
from raw_images import read_raw

from sweeps.errors import UserError

DEEP = np.random.default_rng(0).integers(0, 65536, (4, 7, 5, 6)).astype(np.uint16)
FIRST = {"channels_first": True}


def as_shaped(axes: str) -> dict:
    return {"metadata": {"axes": axes}, "photometric": "minisblack"}


def as_imagej(axes: str) -> dict:
    return {"metadata": {"axes": axes}, "imagej": True}


@pytest.mark.parametrize(
    ("array", "options", "settings", "images"),
    [
        (DEEP[0], {"photometric": "minisblack"}, {}, DEEP[0][:, None]),
        (DEEP[0], as_imagej("TYX"), {}, DEEP[0][:, None]),
        (DEEP[0], as_imagej("ZYX"), {}, DEEP[0][:, None]),
        (DEEP[0], as_imagej("CYX"), {}, DEEP[0][:, None]),
        (DEEP[0], as_imagej("CYX"), FIRST, DEEP[:1]),
        (DEEP, as_imagej("TCYX"), {}, DEEP),
        (DEEP, as_imagej("ZCYX"), {}, DEEP),
        (DEEP, as_shaped("CTYX"), {}, DEEP.transpose(1, 0, 2, 3)),
        (DEEP, as_imagej("TZYX"), {}, DEEP.reshape(28, 1, 5, 6)),
        (DEEP, as_imagej("TZYX"), FIRST, DEEP),
        (DEEP, {"photometric": "minisblack"}, FIRST, DEEP),
        (DEEP, {"photometric": "minisblack", "compression": "zlib"}, FIRST, DEEP),
        (DEEP, {"photometric": "minisblack", "byteorder": ">"}, FIRST, DEEP),
        (
            DEEP[..., :3],
            {"photometric": "rgb"},
            FIRST,
            DEEP[..., :3].reshape(4, 7, 5, 3).transpose(0, 3, 1, 2),
        ),
        (DEEP.reshape(28, 5, 6), {"photometric": "minisblack", "tile": (16, 16)}, {}, None),
    ],
)
def test_the_axes_of_a_stack_say_what_its_pages_are(tmp_path, array, options, settings, images):
    if options.get("photometric") == "rgb":
        settings = {}
    tifffile.imwrite(tmp_path / "mine.tif", array, **options)
    raw = read_raw(tmp_path / "mine.tif", **settings)
    expected = array.reshape(28, 1, 5, 6) if images is None else images
    assert raw.images.dtype == np.uint16
    np.testing.assert_array_equal(raw.images, expected)
    assert raw.notes[0].startswith("Pages: ")
    assert len(raw.parts) == len(raw.labels) == len(expected)


@pytest.mark.parametrize("image_size", [None, 4])
def test_pages_of_one_bit_are_booleans(tmp_path, image_size):
    bits = DEEP > 32_767
    (tmp_path / "files").mkdir()
    for number, pages in enumerate(bits):
        tifffile.imwrite(tmp_path / "files" / f"{number}.tif", pages, photometric="minisblack")
    raw = read_raw(tmp_path / "files", dataset="folder", image_size=image_size)
    assert raw.images.dtype == bool
    assert 0.3 < raw.images.mean() < 0.7
    if image_size is None:
        np.testing.assert_array_equal(raw.images, bits)
    stack = read_raw(tmp_path / "files" / "0.tif")
    np.testing.assert_array_equal(stack.images[:, 0], bits[0])


def test_channels_that_are_taken_as_images_are_noted(tmp_path):
    tifffile.imwrite(tmp_path / "mine.tif", DEEP[0], **as_imagej("CYX"))
    note = read_raw(tmp_path / "mine.tif").notes[0]
    assert note.endswith("7 images, because channels without another axis are taken as images")


def test_series_that_are_not_read_are_noted(tmp_path):
    with tifffile.TiffWriter(tmp_path / "mine.tif") as file:
        file.write(DEEP[0], photometric="minisblack")
        file.write(noise(3, 8, 8), photometric="minisblack")
    raw = read_raw(tmp_path / "mine.tif")
    np.testing.assert_array_equal(raw.images[:, 0], DEEP[0])
    assert "not read: 1 other series" in raw.notes[0]


def test_two_axes_without_a_name_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "mine.tif", DEEP, photometric="minisblack")
    words = r"QQYX \[4, 7, 5, 6\].*--set channels_first=true"
    with pytest.raises(UserError, match=words) as caught:
        read_raw(tmp_path / "mine.tif")
    assert caught.value.place == str(tmp_path / "mine.tif")


@pytest.mark.parametrize("content", [b"", b"II*\0", b"no image", b"II*\0\x08\0\0\0" + bytes(40)])
def test_other_files_are_refused_in_one_line(tmp_path, content):
    (tmp_path / "mine.tif").write_bytes(content)
    with pytest.raises(UserError, match="must be a whole TIFF file") as caught:
        read_raw(tmp_path / "mine.tif")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"mine\.tif has no names"):
        read_raw(tmp_path / "mine.tif", labels="age")


def test_a_stack_that_is_cut_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "mine.tif", DEEP[0], photometric="minisblack", compression="zlib")
    content = (tmp_path / "mine.tif").read_bytes()
    (tmp_path / "mine.tif").write_bytes(content[:-400])
    with pytest.raises(UserError, match="must be a whole TIFF file"):
        read_raw(tmp_path / "mine.tif")


# ---- folders of .npy ----


@pytest.mark.parametrize(
    ("shapes", "settings", "images", "held"),
    [
        ([(6, 5)] * 4, {}, (4, 1, 6, 5), "an image each"),
        ([(7,)] * 4, {}, (4, 1, 1, 7), "an image each"),
        ([(6, 5, 3)] * 4, {}, (4, 3, 6, 5), "an image each"),
        ([(3, 6, 5)] * 4, FIRST, (4, 3, 6, 5), "an image each"),
        ([(9, 6, 5)] * 4, FIRST, (4, 9, 6, 5), "an image each"),
        ([(9, 6, 5)] * 4, {}, (36, 1, 6, 5), "a batch each"),
        ([(9, 6, 5), (2, 6, 5)], {}, (11, 1, 6, 5), "a batch each"),
        ([(9, 7), (2, 7)], {}, (11, 1, 1, 7), "a batch each"),
        ([(2, 6, 5, 3)] * 4, {}, (8, 3, 6, 5), "a batch each"),
        ([(4, 6, 5)], {}, (4, 1, 6, 5), "a batch each"),
    ],
)
def test_a_folder_of_npy_files_holds_images_or_batches(tmp_path, shapes, settings, images, held):
    root = tmp_path / "mine"
    root.mkdir()
    for number, shape in enumerate(shapes):
        np.save(root / f"{number}.npy", np.random.default_rng(number).normal(size=shape))
    (root / "README.txt").write_text("passed over")
    (root / ".hidden.npy").write_text("passed over")
    raw = read_raw(root, **settings)
    assert raw.images.shape == images
    assert raw.notes[0] == f"Files: {len(shapes)} .npy in the order of their names, {held}"
    values = [
        np.random.default_rng(number).normal(size=shape) for number, shape in enumerate(shapes)
    ]
    joined = np.concatenate(values) if held == "a batch each" else np.stack(values)
    if joined.ndim == 4 and not settings:
        joined = joined.transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(raw.images, joined.reshape(images))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (np.zeros((6, 6)), r"got float64 \[6, 6\]; must be float64 \[6, 5\], as 0\.npy has it"),
        (np.zeros((6, 5), np.uint8), r"got uint8 \[6, 5\]; must be float64 \[6, 5\]"),
        (np.zeros((6, 5, 1)), r"got float64 \[6, 5, 1\]; must be"),
        (np.array([{}], object), "got object"),
    ],
)
def test_a_file_that_differs_from_the_first_is_named(tmp_path, other, words):
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", other if number == 1 else np.zeros((6, 5)))
    with pytest.raises(UserError, match=words) as caught:
        read_raw(tmp_path)
    assert caught.value.place == str(tmp_path / "1.npy")


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_planes_of_grey_files_are_no_colours(tmp_path, kind):
    for number in range(4):
        planes = np.random.default_rng(number).integers(0, 256, (3, 9, 8)).astype(kind)
        tifffile.imwrite(tmp_path / f"{number}.tif", planes, photometric="minisblack")
    notes = read_raw(tmp_path, dataset="folder").notes
    said = "pages and samples of a file; with --set data.pages=images each page is an image"
    assert f"Channels: 3 ({said})" in notes
    assert any("3 channels each" in note for note in notes)
