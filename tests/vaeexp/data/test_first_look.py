"""Which number is white, what is behind transparent pixels, and what a first look at the images
refuses and doubts.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, write_image, write_tiff, write_tree
from PIL import Image

from sweeps.errors import UserError
from vaeexp.data import Dataset, describe_plan, open_dataset
from vaeexp.data.formats.levels import Stored
from vaeexp.runs.provenance import protocol
from vaeexp.settings import DataSettings, Settings


def opened(root: Path | None, **changes) -> Dataset:
    kind = "folder" if root is None or root.is_dir() else "arrays"
    settings = DataSettings(**{"dataset": kind, "binarisation": "none", **changes})
    return open_dataset(settings, root=root, say=lambda text: None)


def plan(data: Dataset) -> str:
    return "\n".join(describe_plan(data))


def by_content(data: Dataset) -> list[bytes]:
    """All images of all splits, in an order that their split does not change."""
    splits = (data.train, data.validation, data.test)
    return sorted(image.tobytes() for split in splits for image in split.images)


def as_array(root: Path, images: np.ndarray) -> Path:
    np.save(root / "mine.npy", images)
    return root / "mine.npy"


def as_archive(root: Path, images: np.ndarray) -> Path:
    np.savez(root / "mine.npz", images=images, labels=np.arange(len(images)) % 3)
    return root / "mine.npz"


def as_files(
    ending: str, change: Callable = lambda image: image, write: Callable = write_image
) -> Callable:
    """A function that writes each image, changed, into a file of a folder."""

    def write_all(root: Path, images: np.ndarray) -> Path:
        for number, image in enumerate(images):
            write(root / "mine" / f"{number:03d}{ending}", change(image))
        return root / "mine"

    return write_all


def write_big_endian(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    Image.frombytes("I;16B", image.shape[::-1], image.astype(">u2").tobytes()).save(path)


as_png = as_files(".png")
as_deep_png = as_files(".png", lambda image: image.astype(np.uint16))
as_plain_tiff = as_files(".tif", write=write_tiff)
as_deep_tiff = as_files(".tif", lambda image: image.astype(np.uint16))
as_big_endian_tiff = as_files(".tif", write=write_big_endian)
as_wide_tiff = as_files(".tif", lambda image: image.astype(np.int32))
as_float_tiff = as_files(".tiff", lambda image: image.astype(np.float32))


# ---- figures that exist stay ----


@pytest.mark.parametrize(
    ("binarisation", "fingerprint"),
    [
        ("static", "30026fe4ef97ad75e25bb3044014f157e8549bc3c404b134dd976f620aade5ac"),
        ("dynamic", "180b21ee3744a14f08d0f94ebdf342a53214c086badfca8e9a3291cd151c644b"),
        ("none", "c8f240accdd18d7369c126e20022331958d7116e7226782c7c87721ff79c0f65"),
    ],
)
def test_the_bundled_digits_keep_their_fingerprint(binarisation, fingerprint):
    data = opened(None, dataset="mnist", binarisation=binarisation)
    assert (data.fingerprint, data.reading, data.warnings) == (fingerprint, (), ())
    assert "Pixels: 0 to 255, mean 0.13; 81 % are black" in plan(data)


def test_pictures_that_were_read_rightly_keep_their_fingerprint(tmp_path):
    write_tree(tmp_path / "bytes", {"a": 12, "b": 12})
    grey = {"binarisation": "static", "image_size": 4, "image_channels": 1}
    for data, fingerprint in (
        (
            opened(tmp_path / "bytes"),
            "65b1c38445094f4d6d5e8c19fb9a8b712927a70137d403950d359df794fe215a",
        ),
        (
            opened(tmp_path / "bytes", **grey),
            "ea72e2489e0eb2c94a7734089d015d76d6afc5c2c35813f29dc4f5655f687514",
        ),
        (
            opened(as_array(tmp_path, noise(20, 4, 4))),
            "4e78838eabeaac8497262802a03e09990e3fd41edab5dfd916fe692feb2ee9d9",
        ),
    ):
        assert (data.fingerprint, data.reading, data.warnings) == (fingerprint, (), ())
        assert "reading" not in protocol(data, Settings())


def test_binarised_images_of_16_bits_are_those_of_their_upper_8(tmp_path):
    for number in range(12):
        image = np.random.default_rng(number).integers(0, 65536, (6, 5)).astype(np.uint16)
        image[0, 0] = 65535
        write_image(tmp_path / "deep" / f"{number:02d}.png", image)
        write_image(tmp_path / "bytes" / f"{number:02d}.png", (image >> 8).astype(np.uint8))
    for binarisation in ("static", "dynamic"):
        deep, plain = (
            opened(tmp_path / name, binarisation=binarisation) for name in ("deep", "bytes")
        )
        assert (deep.fingerprint, deep.reading) == (plain.fingerprint, ())


# ---- which number is white ----


def masks(most: int, kind: type = np.uint8) -> np.ndarray:
    return (np.random.default_rng(most).integers(0, most + 1, (30, 8, 8))).astype(kind)


@pytest.mark.parametrize(
    ("write", "images"),
    [
        (as_array, masks(1)),
        (as_archive, masks(9)),
        (as_png, masks(1)),
        (as_png, masks(9)),
        (as_png, masks(15)),
        (as_array, masks(9, np.uint16)),
        (as_deep_png, masks(1)),
        (as_wide_tiff, masks(4)),
    ],
)
def test_masks_of_few_levels_are_divided_by_their_largest(tmp_path, write, images):
    most = images.max()
    path = write(tmp_path, images)
    data = opened(path, binarisation="static", **({"image_channels": 1} if path.is_dir() else {}))
    pixels = np.concatenate([split.images for split in (data.train, data.validation, data.test)])
    assert pixels.dtype == np.uint8
    assert pixels.mean() == pytest.approx(images.mean() / most, abs=0.03)
    assert (
        f"Levels: values from 0 to {most} (the largest value of the training images is {most}), "
        "divided" in plan(data)
    )
    assert protocol(data, Settings())["reading"] == f"values divided by {most}"
    assert data.warnings == ()


def test_masks_are_resized_as_the_same_masks_from_0_to_255(tmp_path):
    small, wide = masks(1), masks(1) * 255
    read = [
        by_content(opened(as_png(tmp_path / name, images), image_size=5))
        for name, images in (("small", small), ("wide", wide))
    ]
    assert read[0] == read[1]


def test_dark_pictures_of_8_bits_stay_dark(tmp_path):
    for name, write in (("a", as_array), ("f", as_png)):
        (tmp_path / name).mkdir()
        data = opened(write(tmp_path / name, masks(16)))
        assert by_content(data) == sorted(image.tobytes() for image in masks(16))
        assert data.reading == ()


def test_booleans_and_images_of_one_bit_are_black_and_white(tmp_path):
    bits = masks(1).astype(bool)
    for number, image in enumerate(bits):
        Image.fromarray(image).save(tmp_path / f"{number}.bmp")
    expected = sorted((255 * image.astype(np.uint8)).tobytes() for image in bits)
    assert by_content(opened(tmp_path)) == by_content(opened(as_array(tmp_path, bits))) == expected


def deep(bits: int, count: int = 12) -> np.ndarray:
    """Images whose largest number is an eighth below the largest of so many bits."""
    most = 2**bits - 1 - 2 ** (bits - 3)
    images = np.random.default_rng(bits).integers(0, most + 1, (count, 6, 6)).astype(np.uint16)
    images[:, 0, 0] = most
    return images


DEEP_FILES = [as_deep_png, as_deep_tiff, as_big_endian_tiff, as_plain_tiff, as_array]


@pytest.mark.parametrize("bits", [3, 8, 12, 16])
@pytest.mark.parametrize("write", DEEP_FILES)
def test_images_of_16_bits_keep_each_of_their_levels(tmp_path, write, bits):
    images = deep(bits)
    path = write(tmp_path, images)
    data = opened(path, **({"image_channels": 1} if path.is_dir() else {}))
    white = images.max() if bits == 3 else 2**bits - 1
    assert by_content(data) == sorted(
        (image / np.float64(white)).astype(np.float32).tobytes() for image in images
    )
    assert data.values.levels == white + 1
    assert data.values.unit
    assert data.kind == "uint16"
    assert f"Targets: 0 to {white:,} scaled to 0 to 1" in plan(data)
    assert (data.reading, data.warnings) == ((), ())


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("write", [as_deep_png, as_wide_tiff, as_plain_tiff, as_array])
def test_the_upper_8_bits_are_binarised(tmp_path, write, bits):
    images = deep(bits)
    path = write(tmp_path, images)
    single = {"image_channels": 1} if path.is_dir() else {}
    data = opened(path, binarisation="dynamic", **single)
    assert by_content(data) == sorted(
        (image >> (bits - 8)).astype(np.uint8).tobytes() for image in images
    )
    assert (
        f"Levels: {bits} of 16 bits, 0 to {2**bits - 1:,} (the largest value of the training images"
        in plan(data)
    )
    assert data.reading == (() if bits == 16 else (f"{bits}-bit values",))
    assert data.whites is not None
    assert data.whites[str(int(Stored.DEEP))] == 2**bits - 1


def test_the_training_images_decide_and_the_rest_is_cut_and_counted(tmp_path):
    values = np.random.default_rng(0).integers(0, 1024, (40, 4, 4)).astype(np.uint16)
    for number, image in enumerate(values):
        write_image(tmp_path / ("train" if number < 20 else "test") / f"{number}.png", image)
    bright = values[20].copy()
    bright[0, :3] = 4000
    write_image(tmp_path / "test" / "20.png", bright)
    data = opened(tmp_path)
    assert "Targets: 0 to 1,023 scaled to 0 to 1" in plan(data)
    assert data.values.levels == 1024
    assert set(data.test.images[:1, 0, 0, :3].ravel()) == {1}
    [warning] = data.warnings
    cut = "3 values of the validation and test images cut to 0 to 1,023"
    assert warning.startswith(f"{cut}, the range of the training images")
    # A model of `standard` describes these values, so the two are not compared.
    assert data.reading == (cut,)
    assert data.fingerprint != opened(tmp_path, scale="standard").fingerprint
    binarised = opened(tmp_path, binarisation="dynamic")
    assert "Levels: 10 of 16 bits, 0 to 1,023" in plan(binarised)
    assert "Clipped: 3 values of 1 of the 20 validation and test images" in plan(binarised)
    assert set(binarised.test.images[:1, 0, 0, :3].ravel()) == {255}
    assert binarised.warnings == ()


NARROW = "1/16 of that range or less"
BEYOND = "almost all beyond that range"


@pytest.mark.parametrize("write", [as_deep_png, as_archive])
@pytest.mark.parametrize(
    ("scale", "training", "test", "words"),
    [
        ("unit", (0, 1000), (0, 5), NARROW),
        ("unit", (0, 5), (0, 1000), "cut to 0 to 4, the range of the training images"),
        ("standard", (0, 1000), (40, 45), NARROW),
        ("standard", (0, 100), (101, 300), BEYOND),
        ("range", (200, 300), (0, 150), BEYOND),
        ("none", (0, 1000), (400, 1200), None),
    ],
)
def test_numbers_of_splits_of_unlike_range_are_doubted(
    tmp_path, write, scale, training, test, words
):
    parts = {
        name: np.random.default_rng(seed).integers(*limits, (30, 8, 8)).astype(np.uint16)
        for seed, (name, limits) in enumerate((("train", training), ("test", test)))
    }
    path = tmp_path
    if write is as_archive:
        arrays = {f"{name}_images": images for name, images in parts.items()}
        np.savez(path := tmp_path / "mine.npz", **arrays)
    else:
        for name, images in parts.items():
            write(tmp_path / name, images)
    data = opened(path, scale=scale)
    if words is None:
        assert data.warnings == ()
        return
    [warning] = data.warnings
    assert words in warning
    assert "test images" in warning
    assert (
        "the range of the training" in warning or "Save all splits with the same range" in warning
    )


@pytest.mark.parametrize("write", [as_png, as_archive])
@pytest.mark.parametrize(("training", "test"), [(1, 255), (255, 1), (200, 5)])
def test_splits_of_unlike_range_are_doubted(tmp_path, write, training, test):
    parts = {"train": masks(training), "test": masks(test)}
    if write is as_archive:
        np.savez(
            path := tmp_path / "mine.npz",
            **{f"{name}_images": images for name, images in parts.items()},
        )
    else:
        path = tmp_path
        for name, images in parts.items():
            write(tmp_path / name, images)
    [warning] = opened(path).warnings
    assert "test images" in warning
    assert "Save all splits with the same range" in warning


@pytest.mark.parametrize(
    ("write", "images", "words"),
    [
        (
            as_wide_tiff,
            noise(9, 4, 4).astype(int) - 30,
            r"got int32 from -\d+ to .* with data.scale: unit; must be .* Try --set scale=standard",
        ),
        (
            as_float_tiff,
            noise(9, 4, 4) * 1.0,
            r"got float32 from .* to 2\d\d .*must lie in \[0, 1\]. Try --set scale=standard",
        ),
        (
            as_float_tiff,
            np.where(np.arange(144).reshape(9, 4, 4) % 100 == 17, np.nan, 0.5),
            r"got 2 values that are NaN.* in 001.tiff, at \[0, 0, 1\] of \[C, H, W\]",
        ),
        (
            as_array,
            np.zeros((9, 4, 4), np.uint8),
            r"got 8 training images of which every pixel has the level 0 \(black\)",
        ),
        (as_array, np.full((9, 4, 4), 0.25), r"got 7 training images .*every number is 0.25; must"),
        (as_array, np.full((9, 4), -3), r"got 7 training rows of which every column has one value"),
        (as_png, np.full((9, 4, 4), 90, np.uint8), r"every pixel has the level 90"),
        (
            as_deep_png,
            np.full((9, 4, 4), 3000),
            r"every number is 3,000; must be numbers",
        ),
    ],
)
def test_numbers_that_are_no_grey_levels_are_refused(tmp_path, cache, write, images, words):
    with pytest.raises(UserError) as caught:
        opened(write(tmp_path, images))
    assert re.search(words, str(caught.value))
    assert str(tmp_path / "mine") in caught.value.place
    assert list(cache.rglob("*.npy")) == []


@pytest.mark.parametrize("write", [as_float_tiff, as_plain_tiff, as_array])
def test_floats_from_0_to_1_are_exact_unless_they_are_binarised(tmp_path, write):
    levels = noise(12, 4, 4)
    path = write(tmp_path, levels / 255)
    data = opened(path)
    assert by_content(data) == sorted(
        image.tobytes() for image in (levels / 255).astype(np.float32)
    )
    assert data.values.levels is None
    binarised = opened(path, binarisation="dynamic")
    assert by_content(binarised) == sorted(image.tobytes() for image in levels)


def test_floats_a_hair_beyond_are_cut_without_a_word(tmp_path):
    images = noise(30, 8, 8) / 255 * (1 + 1e-6) - 1e-9
    data = opened(as_array(tmp_path, images))
    assert data.warnings == ()
    assert data.train.images.min() == 0
    assert data.train.images.max() == 1


def test_percentiles_that_leave_one_number_are_refused(tmp_path):
    images = np.zeros((30, 8, 8))
    images[:, 0, 0] = np.arange(30)
    with pytest.raises(UserError, match=r"percentiles that are equal.*--set clip=null") as caught:
        opened(as_array(tmp_path, images), scale="standard", clip=(5, 95))
    assert caught.value.place == "data.clip"


def test_an_archive_of_several_types_is_refused(tmp_path):
    np.savez(tmp_path / "mine.npz", train_images=noise(20, 8, 8) / 255, test_images=masks(1))
    with pytest.raises(UserError, match="splits of different types; must be one type"):
        opened(tmp_path / "mine.npz")


# ---- what is behind transparent pixels ----


def shapes(colour: int, mode: str) -> list[Image.Image]:
    """Squares of this grey level, each at another place, on a transparent ground of the same
    level.
    """
    images = []
    for number in range(12):
        alpha = np.zeros((8, 8), np.uint8)
        alpha[number % 5 : number % 5 + 3, number // 5 : number // 5 + 4] = 255
        channels = [np.full((8, 8), colour, np.uint8)] * (1 if mode == "LA" else 3)
        images.append(
            Image.fromarray(
                np.stack([*channels, alpha], axis=2), mode="LA" if mode == "LA" else "RGBA"
            )
        )
    return [image.convert("P") if mode == "P" else image for image in images]


@pytest.mark.parametrize(
    ("mode", "colour", "background"),
    [("RGBA", 0, "white"), ("LA", 255, "black"), ("P", 0, "white")],
)
def test_shapes_that_live_in_the_alpha_channel_are_seen(tmp_path, mode, colour, background):
    for number, image in enumerate(shapes(colour, mode)):
        image.save(tmp_path / f"{number}.png")
    settings = {"image_channels": 1, "background": background}
    data = opened(tmp_path, **settings)
    ground = 255 - colour
    share = {level: (data.train.images == level).mean() for level in (colour, ground)}
    assert share[colour] == pytest.approx(12 / 64, abs=0.001)
    assert share[ground] == pytest.approx(52 / 64, abs=0.001)
    assert f"transparent pixels show a {background} background (12 files)" in plan(data)
    assert protocol(data, Settings())["reading"] == f"transparency on {background}"
    other = {"white": "black", "black": "white"}[background]
    with pytest.raises(
        UserError, match=f"every pixel has the level {colour}.*data.background={background}"
    ):
        opened(tmp_path, image_channels=1, background=other)


def test_half_transparent_pixels_are_mixed_with_the_background(tmp_path):
    for number in range(12):
        pixels = noise(6, 5, 4, seed=number)
        pixels[..., 3] = 128
        write_image(tmp_path / f"{number}.png", pixels)
    found = np.sort([image.mean() for image in opened(tmp_path).train.images])
    white = [0.5 * noise(6, 5, 4, seed=number)[..., :3].mean() + 0.5 * 255 for number in range(12)]
    assert all(np.abs(np.array(white) - mean).min() < 1 for mean in found)


def test_opaque_images_lose_nothing_and_keep_their_fingerprint(tmp_path):
    for number in range(12):
        pixels = noise(6, 5, 4, seed=number)
        pixels[..., 3] = 255
        write_image(tmp_path / "clear" / f"{number}.png", pixels)
        write_image(tmp_path / "plain" / f"{number}.png", np.ascontiguousarray(pixels[..., :3]))
    clear, plain = opened(tmp_path / "clear"), opened(tmp_path / "plain")
    assert clear.fingerprint == plain.fingerprint
    assert opened(tmp_path / "plain", background="black").fingerprint == plain.fingerprint
    assert "ransparen" not in plan(clear)


# ---- what is doubted ----


def narrow() -> np.ndarray:
    images = 120 + masks(4)
    images[0, 0, 0] = 255
    return images


def dots() -> np.ndarray:
    images = np.zeros((30, 16, 16), np.uint8)
    images[np.arange(30), np.arange(30) % 16, 3 + np.arange(30) // 16] = 255
    return images


def half_empty() -> np.ndarray:
    images = noise(30, 8, 8)
    images[::2] = np.arange(15, dtype=np.uint8)[:, None, None]
    return images


@pytest.mark.parametrize("write", [as_array, as_archive])
@pytest.mark.parametrize(
    ("images", "words"),
    [
        (narrow(), r"\d\d\.\d % of the pixels of the training images lie within 6 levels"),
        (half_empty(), r"of the 27 training images show nothing: all pixels of such an image"),
        (dots(), r"99\.\d % of the pixels of the training images lie within 6 levels of 255"),
        (noise(30, 8, 8) / 255**2, r"100\.0 % of the numbers .* within 2 % of the range 0 to 1,"),
        (half_empty() / 255, r"of the 2[47] training images show nothing: all pixels of such an"),
        (masks(1) * 128, "levels from 0 to 128 of 255, at most half of the range"),
        (masks(20), "levels from 0 to 20 of 255"),
        (noise(30, 8, 8) / 255 * 0.4, "numbers from 0 to 0.4 of 0 to 1, at most half of the range"),
        (masks(300, np.uint16), "numbers from 0 to 300 of 0 to 1,023, at most half of the range"),
    ],
)
def test_images_with_almost_nothing_to_see_are_doubted(tmp_path, write, images, words):
    data = opened(write(tmp_path, images))
    assert len(data.warnings) == 1
    assert re.search(words, data.warnings[0])


@pytest.mark.parametrize(
    "images",
    [
        masks(1) * 255,
        masks(9),
        masks(2) * 127,
        noise(30, 8, 8) // 2 + 64,
        noise(30, 8, 8) / 400,
        masks(700, np.uint16),
        masks(9, np.uint16),
    ],
)
def test_images_of_more_than_half_of_the_range_are_not_doubted(tmp_path, images):
    images[0, 0, :2] = 0, images.max()
    assert opened(as_array(tmp_path, images)).warnings == ()


def test_a_large_set_is_counted_in_a_sample_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr("vaeexp.data.first_look._SAMPLE_BYTES", 64 * 9)
    data = opened(as_array(tmp_path, noise(30, 8, 8)))
    assert "(in 9 of 27 training images)" in plan(data)
