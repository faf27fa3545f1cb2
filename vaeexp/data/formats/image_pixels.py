"""One image file: its format by its content, its header, and its pixels as uint8 of any size.

The numbers of files of more than 8 bits: vaeexp/data/formats/image_numbers.py.
"""

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
from vaeexp.data.formats.array_pixels import HAIR, SCALE
from vaeexp.data.formats.levels import DEEPEST, PLAIN, Stored, black_of, to_bytes, turned
from vaeexp.data.formats.tiff import PHOTOMETRIC, TIFF, tiff_facts

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# Pillow's names. The first group is known by its content, whatever the name. Content of the second
# is taken for an image only under its own ending. Other formats are no single images, or, as
# PostScript, are handed to a program that runs them.
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
_ORIENTATION = 0x0112  # EXIF: 5 to 8 lie on their side
_BITS = 258
_SAMPLE_FORMAT = 339  # TIFF: 1 unsigned, 2 signed, 3 floats


class Header(NamedTuple):
    """Size in pixels as shown (after the EXIF rotation), whether the image has no colour, and
    whether it has several frames.

    dtype: type of the numbers of a file that is no plain picture, as it has more than 8 bits, or
        other channels than a picture; empty for a plain picture.
    channels: of such a file.
    black: number that is black in such a file in which 0 is white; else 0.
    """

    height: int
    width: int
    grey: bool
    animated: bool
    dtype: str = ""
    channels: int = 0
    black: int = 0


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
    known = {*readable().values()}
    kind = readable().get(path.suffix.lower())
    return tuple(
        name
        for name in (*_BY_CONTENT, *_BY_ENDING)
        if name == kind or (name in _BY_CONTENT and name in known)
    )


def reason_of(error: Exception) -> str:
    """Return the message of an error in one line, or its name."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return printable(" ".join(text.split()))


@contextmanager
def opened(path: Path) -> Iterator["ImageFile"]:
    """Open the image of a file. Raises UnreadableError."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path, formats=_formats(path)) as image:
            yield image
    except UserError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableError("no image that Pillow reads") from error
    except Exception as error:  # Pillow raises any error on a damaged file
        raise UnreadableError(reason_of(error)) from error


def read_header(path: Path) -> Header:
    """Read the first bytes of the file. Raises UnreadableError when it is no image."""
    try:
        header, beyond = _pillow_header(path)
    except UnreadableError as error:
        if path.suffix.lower() not in TIFF:
            raise
        with suppress(UnreadableError):
            if found := _tiff_header(path):
                return found
        raise error
    if beyond and (found := _tiff_header(path)):
        return found._replace(grey=header.grey, animated=header.animated)
    return header


def _tiff_header(path: Path) -> Header | None:
    """Return the header of a TIFF file that is no plain picture, and None for one that is. Raises
    UnreadableError.
    """
    try:
        facts = tiff_facts(path)
    except Exception as error:  # tifffile raises any error on a damaged file
        raise UnreadableError(reason_of(error)) from error
    plain = facts.pages == 1 and facts.channels in (1, 3) and facts.dtype.itemsize == 1
    if plain or facts.dtype.kind not in "biuf":
        return None
    size = facts.height, facts.width
    grey = facts.channels == 1
    return Header(*size, grey, False, facts.dtype.str, facts.channels, facts.black)


def _pillow_header(path: Path) -> tuple[Header, bool]:
    """Return the header as Pillow reads it, and whether the file is a TIFF of several pages, or of
    numbers or channels that Pillow drops.
    """
    with opened(path) as image:
        dtype = _deep_type(image)  # before getexif, which loads a PNG
        width, height = image.size
        if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
            width, height = height, width
        grey = image.mode[0] in "IF" or image.mode in _GREY_MODES
        animated = getattr(image, "is_animated", False)
        channels = len(image.getbands()) if dtype else 0
        black = black_of(np.asarray(image)) if dtype and white_is_0(image) else 0
        header = Header(height, width, grey, animated, dtype, channels, black)
        if image.format != "TIFF":
            return header, False
        bits = _tags(image).get(_BITS, (1,))
        dropped = len(bits) > len(image.getbands()) or (max(bits) > 8 and not dtype)
        return header, animated or dropped


def _tags(image: "Image") -> Mapping[int, Any]:
    return getattr(image, "tag_v2", {})


def white_is_0(image: "Image") -> bool:
    """Return whether 0 is white in the numbers that Pillow has of a TIFF of more than 8 bits."""
    return image.mode[0] in "IF" and _tags(image).get(PHOTOMETRIC) == 0


def _deep_type(image: "ImageFile") -> str:
    """Return the type of the numbers of an image of more than 8 bits that Pillow keeps, or that
    torchvision reads (colour PNG); empty for other images.
    """
    if image.mode[0] not in "IF":
        return "<u2" if is_deep_png(image) else ""
    if image.mode[0] == "F":
        return "<f4"
    if image.mode != "I" or image.format != "TIFF":
        return "<u2"
    signed = _tags(image).get(_SAMPLE_FORMAT, (1,))[0] == 2
    size = 4 if _tags(image).get(_BITS, (32,))[0] > 16 else 2
    return f"<{'i' if signed else 'u'}{size}"


def is_deep_png(image: "ImageFile") -> bool:
    """Return whether an image is a PNG of 16-bit colours, of which Pillow keeps 8 bits."""
    return image.format == "PNG" and any(tile[3] == "RGB;16B" for tile in image.tile)


def read_pixels(
    path: Path,
    shape: tuple[int, int, int],
    crop: str,
    background: str = "white",
    whites: Mapping[Stored, int] = PLAIN,
    black: int = 0,
) -> tuple[np.ndarray, Facts]:
    """Read the pixels uint8 [C, H, W] of an image of any size.

    Where the size differs, the largest centred rectangle of the wanted proportions is taken when
    `crop` is "center" and the whole image when it is "none"; it is resized with Lanczos' filter.
    The first frame counts. Transparent pixels show the `background`. `whites`: the number that is
    white in each kind of file. `black`: as in `read_tiff`.

    Raises UnreadableError, and UserError for numbers that are no grey levels.
    """
    _, height, width = shape
    with opened(path) as image:
        # JPEG files are decoded at 1/2, 1/4 or 1/8 of their size where that leaves twice the pixels
        # wanted.
        image.draft(None, (2 * max(width, height), 2 * max(width, height)))
        return pixels_of(image, str(path), shape, crop, background, whites, black)


def pixels_of(
    image: "Image",
    place: str,
    shape: tuple[int, int, int],
    crop: str,
    background: str,
    whites: Mapping[Stored, int],
    black: int,
) -> tuple[np.ndarray, Facts]:
    """Return the pixels uint8 [C, H, W] of an opened image, as `read_pixels`.

    place: of the image, for an error.
    """
    from PIL import Image

    channels, height, width = shape
    mode = "L" if channels == 1 else "RGB"
    composed = False
    if image.mode[0] in "IF":
        values, stored = _deep_values(place, image, black)
    else:
        shown, composed = _composed(upright(image), background)
        values = np.asarray(shown.convert(mode))
        stored = Stored.BYTES
    picture = Image.fromarray(to_bytes(values, whites[stored])).convert(mode)
    if picture.size != (width, height):
        box = centre(picture.size, (width, height)) if crop == "center" else None
        picture = picture.resize((width, height), Image.Resampling.LANCZOS, box=box)
    pixels = np.asarray(picture).reshape(height, width, channels).transpose(2, 0, 1)
    above = int((values > whites[stored]).sum())
    return pixels, Facts(stored, int(values.max()), above, composed)


def upright(image: "Image") -> "Image":
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def _deep_values(place: str, image: "Image", black: int) -> tuple[np.ndarray, Stored]:
    """Return the numbers [H, W] of a file of 16 or 32 bits, and their kind; floats as 256 levels.

    Raises UserError for numbers that are no grey levels.
    """
    values = np.asarray(upright(image))
    if black and white_is_0(image):
        values = turned(values, black)
    low = values.min()
    high = values.max()
    if image.mode == "F":
        if not (low >= -HAIR and high <= 1 + HAIR):
            problem = f"got floats from {low:g} to {high:g}; must be from 0, black, to 1, white"
            raise UserError(place, f"{problem}. {SCALE.format(name='image')}")
        return np.rint(values.clip(0, 1) * 255).astype(np.uint8), Stored.FLOATS
    if low < 0 or high > DEEPEST:
        problem = f"got values from {low:,} to {high:,}; must be 0 to {DEEPEST:,}"
        raise UserError(place, f"{problem}. {SCALE.format(name='image')}")
    return values, Stored.DEEP


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


def centre(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the largest centred rectangle in `size` with the
    proportions of `wanted`.
    """
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    width = wanted[0] * scale
    height = wanted[1] * scale
    left = (size[0] - width) / 2
    top = (size[1] - height) / 2
    return left, top, min(left + width, size[0]), min(top + height, size[1])
