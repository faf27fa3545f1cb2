"""Image files: their names, splits and classes; and one file's header and pixels, cropped, resized and converted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.random_draws import Purpose, permutation

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")

_GREY_MODES = ("1", "L", "LA", "La")
_TRANSPARENT_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
_ORIENTATION = 0x0112  # EXIF: 5 to 8 lie on their side


class UnreadableError(Exception):
    """A file that holds no image which can be decoded; the message says why."""


class Header(NamedTuple):
    """Size in pixels as shown (after the EXIF rotation), and whether the image has no colour."""

    height: int
    width: int
    grey: bool
    dropped: tuple[str, ...] = ()
    """What the pixels will not hold of the file, in words."""


def read_header(path: Path) -> Header:
    """What the first bytes of the file say; UnreadableError when it is no image."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
                width, height = height, width
            if image.mode == "F":
                raise ValueError("floating-point pixels")
            grey = image.mode in _GREY_MODES or image.mode.startswith("I")
            return Header(height, width, grey, _dropped(image))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file provokes
        raise UnreadableError(_words(error, path)) from error


def read_pixels(path: Path, shape: tuple[int, int, int], crop: str) -> np.ndarray:
    """Pixels uint8 [C, H, W] of an image of any size.

    Where the size differs, the largest centred rectangle of the wanted proportions is taken when `crop` is "center"
    and the whole image when it is "none"; it is resized with Lanczos' filter. The first frame counts, transparency is
    dropped, 16-bit values keep their upper 8 bits. Raises UnreadableError.
    """
    from PIL import Image, ImageOps

    channels, height, width = shape
    try:
        with Image.open(path) as image:
            # JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where that leaves twice the pixels wanted.
            image.draft(None, (2 * max(width, height), 2 * max(width, height)))
            upright = _eight_bit(ImageOps.exif_transpose(image)).convert("L" if channels == 1 else "RGB")
            if upright.size != (width, height):
                box = _centre(upright.size, (width, height)) if crop == "center" else None
                upright = upright.resize((width, height), Image.Resampling.LANCZOS, box=box)
            pixels = np.asarray(upright, dtype=np.uint8).reshape(height, width, channels)
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises whatever a damaged file provokes
        raise UnreadableError(_words(error, path)) from error
    return pixels.transpose(2, 0, 1)


def _dropped(image: "Image") -> tuple[str, ...]:
    found = {
        "transparency": image.mode in _TRANSPARENT_MODES or "transparency" in image.info,
        "all frames but the first": getattr(image, "is_animated", False),
        "the lower bits of 16": image.mode.startswith("I"),
    }
    return tuple(words for words, there in found.items() if there)


def _eight_bit(image: "Image") -> "Image":
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).clip(0, 255).astype(np.uint8))


def _centre(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Left, top, right, bottom of the largest centred rectangle in `size` with the proportions of `wanted`."""
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = wanted[0] * scale, wanted[1] * scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, min(left + width, size[0]), min(top + height, size[1])


def _words(error: Exception, path: Path) -> str:
    """One line that does not repeat the path."""
    if type(error).__name__ == "UnidentifiedImageError":
        return "no image"
    text = (getattr(error, "strerror", None) or str(error)).replace(str(path), path.name)
    return " ".join(text.split()) or type(error).__name__


TRAINING, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Image files of a data set.

    names: below `root`, with `/`.
    parts: TRAINING, VALIDATION or TEST of each, uint8 [N].
    labels: unsigned [N]; zeros where `classes` is None.
    holdout: images to hold out for validation at most, where the files do not say which.
    notes: sentences for people on how the splits came about.
    """

    title: str
    root: Path
    names: Sequence[str]
    parts: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] | None
    holdout: int | None
    notes: tuple[str, ...] = ()


def tenth(count: int) -> int:
    """A tenth of `count` images, at least one."""
    return max(1, round(count / 10))


def hold_out_test(place: str, count: int) -> np.ndarray:
    """TEST for a tenth of `count` images that came without a test split, else TRAINING; uint8 [count].

    The draw is fixed for ever and does not depend on the study's split seed, as with official test files: an image
    that was tested on under one seed is not trained on under another. Raises UserError for fewer than three images.
    """
    if count < 3:
        problem = f"holds {count} image{'s' * (count != 1)}; a split into train, validation and test needs at least 3"
        raise UserError(place, problem)
    parts = np.full(count, TRAINING, dtype=np.uint8)
    parts[permutation(count, 0, Purpose.HELD_OUT_TEST)[: tenth(count)]] = TEST
    return parts


def label_type(classes: int) -> np.dtype:
    """The smallest unsigned type that holds labels of this many classes."""
    return np.min_scalar_type(max(1, classes) - 1)
