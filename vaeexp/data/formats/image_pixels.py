"""One image file: its format by its content, its header, and its pixels as uint8 of any size."""

import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import printable
from vaeexp.data.formats.array_pixels import remedy
from vaeexp.data.formats.levels import DEEPEST, PLAIN, Stored, to_bytes

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Pillow's names. The first group is known by its content, whatever the name; content of the second
# is taken for an image
# only under its own ending. Other formats are no single images, or, as PostScript, are handed to a
# program that runs them.
_BY_CONTENT = (
    "PNG",
    "JPEG",
    "BMP",
    "GIF",
    "TIFF",
    "WEBP",
    "PPM",
    "AVIF",
    "HEIF",
    "JPEG2000",
    "JXL",
)
_BY_ENDING = (
    "DDS",
    "DIB",
    "ICO",
    "MPO",
    "MSP",
    "PCX",
    "PSD",
    "QOI",
    "SGI",
    "SUN",
    "TGA",
    "XBM",
    "XPM",
)
_PLUGIN_MODULES = ("pillow_heif", "pi_heif", "pillow_jxl", "pillow_avif")
_GREY_MODES = ("1", "L", "LA", "La")
_TRANSPARENT_MODES = ("LA", "La", "PA", "RGBA", "RGBa")
# Raw modes of Pillow.
_DEEP_COLOURS = {f"{mode};16{order}" for mode in ("RGB", "RGBA") for order in "BLN"}
_GREY_WITH_ALPHA = "LA;16B"
_SAMPLE_FORMAT, _PHOTOMETRIC = 339, 262  # TIFF: 1 is unsigned; 0 is white
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_HAIR = 1e-3  # floats may miss 0 and 1 by so much
_ORIENTATION = 0x0112  # EXIF: 5 to 8 lie on their side


class Header(NamedTuple):
    """Size in pixels as shown (after the EXIF rotation), whether the image has no colour, and
    whether it has several frames.
    """

    height: int
    width: int
    grey: bool
    animated: bool


class Facts(NamedTuple):
    """What the file of an image says of its pixels.

    stored: the kind of numbers in the file.
    largest: the largest number in the file.
    above: numbers above the white that was asked for; they became white.
    composed: whether pixels are transparent, so that the background shows.
    """

    stored: Stored
    largest: int
    above: int
    composed: bool


class UnreadableError(Exception):
    """A file holds no image that can be decoded; the message says why."""


@cache
def readable() -> dict[str, str]:
    """Return the ending, in small letters, and Pillow's format of the files that Pillow and its
    installed plugins read.
    """
    from PIL import Image

    Image.init()
    for name in _PLUGIN_MODULES:
        if find_spec(name):
            plugin = import_module(name)
            if hasattr(plugin, "register_heif_opener"):
                plugin.register_heif_opener()
    kinds = {*_BY_CONTENT, *_BY_ENDING} & Image.OPEN.keys()
    return {
        ending.lower(): kind
        for ending, kind in Image.registered_extensions().items()
        if kind in kinds
    }


def _formats(path: Path) -> tuple[str, ...]:
    """Return the formats that the content of a file of this name may have."""
    kind = readable().get(path.suffix.lower())
    own = {kind} if kind in _BY_ENDING else set()
    return (*(name for name in _BY_CONTENT if name in set(readable().values())), *own)


@contextmanager
def _opened(path: Path) -> Iterator["ImageFile"]:
    """Open the image of a regular file; a named pipe would keep the reader waiting for ever. Raises
    UnreadableError.
    """
    from PIL import Image

    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UnreadableError("no regular file")
        with Image.open(path, formats=_formats(path)) as image:
            yield image
    except (UnreadableError, UserError):
        raise
    except MemoryError as error:
        raise UserError(
            str(path), "its pixels do not fit into the memory of this machine"
        ) from error
    except Exception as error:  # Pillow raises any error on a damaged file
        text = (getattr(error, "strerror", None) or str(error)).replace(str(path), path.name)
        problem = (
            _unknown(path)
            if type(error).__name__ == "UnidentifiedImageError"
            else " ".join(text.split())
        )
        raise UnreadableError(printable(problem) or type(error).__name__) from error


def _unknown(path: Path) -> str:
    """Say what a file is of which Pillow knows no image."""
    with path.open("rb") as file:
        tiff = file.read(4) in _TIFF_STARTS
    return (
        "a TIFF that Pillow does not read; save whole numbers of 8 or 16 bits, or float32"
        if tiff
        else "no image"
    )


def read_header(path: Path) -> Header:
    """Read the first bytes of the file. Raises UnreadableError when it is no image."""
    with _opened(path) as image:
        width, height = image.size
        if not width or not height:
            raise UnreadableError("no pixels")
        if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        grey = image.mode[0] in "IF" or image.mode in _GREY_MODES or _grey_with_alpha(image)
        return Header(height, width, grey, getattr(image, "is_animated", False))


def is_image(path: Path) -> bool:
    """Tell by its content whether a file is an image, whatever its name."""
    with suppress(UnreadableError), _opened(path):
        return True
    return False


def read_pixels(
    path: Path,
    shape: tuple[int, int, int],
    crop: str,
    background: str = "white",
    whites: Mapping[Stored, int] = PLAIN,
) -> tuple[np.ndarray, Facts]:
    """Read the pixels uint8 [C, H, W] of an image of any size.

    Where the size differs, the largest centred rectangle of the wanted proportions is taken when
    `crop` is "center" and the whole image when it is "none"; it is resized with Lanczos' filter.
    The first frame counts. Transparent pixels show the `background`. `whites`: the number that is
    white in each kind of file.

    Raises UnreadableError, and UserError for numbers that are no grey levels.
    """
    from PIL import Image

    channels, height, width = shape
    with _opened(path) as image:
        # JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where that leaves twice the pixels
        # wanted.
        image.draft(None, (2 * max(width, height), 2 * max(width, height)))
        numbers = _numbers(path, image)
        if numbers is None:
            upright, stored, largest, above = _upright(image), Stored.BYTES, 0, 0
        else:
            values, stored = numbers
            levels, seen = to_bytes(values, whites[stored]), values
            if values.ndim == 3 and values.shape[2] == 4:
                seen = values[values[..., 3] > 0, :3]
                levels[..., 3] = to_bytes(values[..., 3], DEEPEST)
            largest, above = int(seen.max(initial=0)), int((seen > whites[stored]).sum())
            upright = Image.fromarray(levels)
        upright, composed = _composed(upright, background)
        upright = upright.convert("L" if channels == 1 else "RGB")
        if numbers is None:
            histogram = np.array(upright.histogram()).reshape(-1, 256).sum(axis=0)
            largest = int(np.flatnonzero(histogram)[-1])
            above = int(histogram[whites[stored] + 1 :].sum())
            if whites[stored] != PLAIN[stored]:
                table = to_bytes(np.arange(256), whites[stored]).tolist()
                upright = upright.point(table * len(upright.getbands()))
        if upright.size != (width, height):
            box = _centre(upright.size, (width, height)) if crop == "center" else None
            upright = upright.resize((width, height), Image.Resampling.LANCZOS, box=box)
        levels = (
            np.asarray(upright, dtype=np.uint8).reshape(height, width, channels).transpose(2, 0, 1)
        )
        return levels, Facts(stored, largest, above, composed)


def _upright(image: "Image") -> "Image":
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _numbers(path: Path, image: "ImageFile") -> tuple[np.ndarray, Stored] | None:
    """Return the numbers [H, W] or [H, W, 3 or 4] of a file that has others than bytes, and their
    kind; None for bytes.

    Floats come as 256 levels. Raises UserError for numbers that are no grey levels.
    """
    if image.mode == "F":
        values = np.asarray(_upright(image))
        if missing := int((~np.isfinite(values)).sum()):
            got = f"got {missing:,} of {values.size:,} values that are NaN or infinite"
            advice = "Save numpy.nan_to_num(image), or leave the file out"
            raise UserError(str(path), f"{got}; must be from 0, black, to 1, white. {advice}.")
        if not (values.min() >= -_HAIR and values.max() <= 1 + _HAIR):
            low, high = float(values.min()), float(values.max())
            got = f"got floats from {low:g} to {high:g}; must be from 0, black, to 1, white"
            raise UserError(str(path), f"{got}. {remedy('image', values.dtype, low, high)}.")
        return np.rint(values.clip(0, 1) * 255).astype(np.uint8), Stored.FLOATS
    if image.mode[0] == "I":
        if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == 0:
            got = (
                "got a TIFF of more than 8 bits in which 0 is white (MinIsWhite); must be one in "
                "which 0 is black"
            )
            raise UserError(
                str(path),
                f"{got}. Save largest - image, with the largest number that the camera gives.",
            )
        values = np.asarray(_upright(image))
        if values.dtype == np.int32 and getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT) in (
            None,
            1,
            (1,),
        ):
            values = values.view(np.uint32)  # Pillow takes unsigned numbers for signed ones
        if values.min() < 0 or values.max() > DEEPEST:
            got = f"got values from {values.min():,} to {values.max():,}; must be 0 to {DEEPEST:,}"
            advice = (
                "Save (image - black) / (white - black) as floats, or whole numbers of at most 16 "
                "bits"
            )
            raise UserError(str(path), f"{got}. {advice}.")
        return values, Stored.DEEP
    return _deep_colours(path, image)


def _deep_colours(path: Path, image: "ImageFile") -> tuple[np.ndarray, Stored] | None:
    """Return colours of 16 bits, uint16 [H, W, 3 or 4]; None for an image of other colours.

    Pillow keeps the upper byte of each number. Read as if the bytes stood the other way round, the
    file gives the lower.
    """
    if _grey_with_alpha(image):
        # Read as four bytes a pixel: upper and lower byte of grey, of alpha.
        with _opened(path) as other:
            other.tile = [tile._replace(args="RGBA") for tile in other.tile]
            pairs = np.asarray(_upright(other)).astype(np.uint16)
        grey, alpha = (pairs[..., place] << 8 | pairs[..., place + 1] for place in (0, 2))
        return np.stack([grey, grey, grey, alpha], axis=-1), Stored.DEEP
    if (
        image.mode not in ("RGB", "RGBA")
        or not image.tile
        or not {*map(_raw_mode, image.tile)} <= _DEEP_COLOURS
    ):
        return None
    upper = np.asarray(_upright(image)).astype(np.uint16)
    with _opened(path) as other:
        other.tile = [_with_bytes_turned(tile) for tile in other.tile]
        lower = np.asarray(_upright(other))
    return upper << 8 | lower, Stored.DEEP


def _grey_with_alpha(image: "Image") -> bool:
    """Return whether an image is a PNG of grey and alpha of 16 bits, which Pillow takes for colours
    of 8 bits.
    """
    return [_raw_mode(tile) for tile in getattr(image, "tile", [])] == [_GREY_WITH_ALPHA]


def _raw_mode(tile: Any) -> str:
    """Return Pillow's name of how the numbers of a tile are stored; empty where it has none."""
    options = tile[3]
    return options if isinstance(options, str) else str(options[0]) if options else ""


def _with_bytes_turned(tile: Any) -> Any:
    """Return a tile of 16-bit colours in the other order of bytes."""
    turned = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
    codec, place, offset, options = tile
    mode = _raw_mode(tile)
    mode = mode[:-1] + turned[mode[-1]]
    other = mode if isinstance(options, str) else (mode, *options[1:])
    return tile._replace(args=other) if hasattr(tile, "_replace") else (codec, place, offset, other)


def _composed(image: "Image", background: str) -> tuple["Image", bool]:
    """Put an image that has transparent pixels on the background; return another image as it is,
    and which it was.
    """
    from PIL import Image

    if image.mode not in _TRANSPARENT_MODES and "transparency" not in image.info:
        return image, False
    clear = image.convert("RGBA")
    if clear.getchannel("A").getextrema()[0] == 255:
        return image, False
    return Image.alpha_composite(Image.new("RGBA", image.size, background), clear), True


def _centre(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the largest centred rectangle in `size` with the
    proportions of `wanted`.
    """
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = wanted[0] * scale, wanted[1] * scale
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, min(left + width, size[0]), min(top + height, size[1])
