"""Shapes and types of arrays of images, vectors and signals.

[N, F] are vectors or signals of F numbers, [N, H, W] images of one channel, and [N, H, W, C] images
of C channels, or [N, C, H, W] where the setting `channels_first` says so. Whatever cannot be read
is refused with its shape and type, and with the setting or the line of numpy that mends it.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import blocks
from vaeexp.data.formats.levels import WHITE
from vaeexp.data.formats.scratch import write_rows

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

MOST_CHANNELS = 256
TYPES = "bool, integers of 8 to 64 bits, float16, float32 or float64"
SHAPES = "[N, F], [N, H, W], or [N, H, W, C] with 1 to 256 channels"
FIRST = "[N, C, H, W] with 1 to 256 channels"
HAIR = 1e-3
"""How far beyond [0, 1] floats of grey levels may lie, because resizing and arithmetic in float16
and float32 leave such values.
"""
LONG = 64
"""Numbers of the shortest vectors that may be signals or pixels."""
SCALE = "Save ({name} - black) / (white - black), with the numbers that are black and white."
"""What to do about numbers of image files that are no grey levels."""
LIKELIHOOD = " --set likelihood=gaussian_learned"
AS_NUMBERS = f"Try --set scale=standard --set binarisation=none{LIKELIHOOD}"
AS_NUMBERS += " for numbers; of grey levels, save (x - black) / (white - black)"
"""What to do about numbers that `scale: unit`, or a study of grey levels, does not take."""
_FEW = 4  # an axis as short as this holds channels, where the other axes are longer


def check_images(
    place: str, name: str, dtype: np.dtype, shape: tuple[int, ...], *, channels_first: bool
) -> None:
    """Raise UserError unless an array of this type and shape can be images, vectors or signals.

    place: file and array for an error.
    name: of the array.
    """
    got = f"got {dtype} {list(shape)}"
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise UserError(place, f"{got}; must be {TYPES}.{_typed(name, dtype)}")
    if len(shape) not in (2, 3, 4) or 0 in shape:
        wanted = FIRST if channels_first and len(shape) > 3 else SHAPES
        raise UserError(place, f"{got}; must be {wanted}, each at least 1.{_reshaped(name, shape)}")
    if len(shape) == 4:
        _check_channels(place, name, got, shape, channels_first=channels_first)


def _check_channels(
    place: str, name: str, got: str, shape: tuple[int, ...], *, channels_first: bool
) -> None:
    """Raise UserError where the axis of the channels of [N, _, _, _] seems to be the other one."""
    here, there = (shape[1], shape[3]) if channels_first else (shape[3], shape[1])
    # Few channels, or square images.
    turned = there <= _FEW < min(here, shape[2]) or there < here == shape[2]
    if not turned and here <= MOST_CHANNELS:
        return
    other, setting, axes = ("[N, C, H, W]", "true", "0, 3, 1, 2")
    if channels_first:
        other, setting, axes = ("[N, H, W, C]", "false", "0, 2, 3, 1")
    wanted = FIRST if channels_first else "[N, H, W, C] with 1 to 256 channels"
    likely = f", which looks like {other}" if turned else ""
    remedy = f"Try --set channels_first={setting} if it is {other}"
    if turned:
        remedy = f"{remedy}; if not, save {name}.transpose({axes}), and set it so, too"
    raise UserError(place, f"{got}{likely}; must be {wanted}. {remedy}.")


def _typed(name: str, dtype: np.dtype) -> str:
    """Return what to do about a type, as a sentence with a space before it; empty where the type
    does not say what was meant.
    """
    if dtype.kind == "c":
        return f" Save abs({name}), or its real and imaginary parts as two channels."
    if dtype.kind == "f":
        return f" Save {name}.astype('float64')."
    if dtype.kind == "O":
        return f" Save numpy.stack([*{name}]).astype(float), where all of them have one shape."
    return ""


def _reshaped(name: str, shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return f" If each number is an example, save {name}.reshape(-1, 1)."
    if len(shape) > 4 and 0 not in shape:
        return f" Save, for example, {name}.reshape(-1, *{name}.shape[-3:])."
    return ""


def as_images(array: np.ndarray, *, channels_first: bool) -> np.ndarray:
    """Return a view [N, C, H, W] of an array that `check_images` admits."""
    if array.ndim == 2:
        return array[:, None, None]
    if array.ndim == 3:
        return array[:, None]
    return array if channels_first else np.moveaxis(array, -1, 1)


def as_bits(
    images: np.ndarray, settings: "DataSettings", scratch: Path, *, table: bool = False
) -> np.ndarray:
    """Return numbers that are all 0 or 1 as bytes, where they are to be black and white, and rows
    of pixels from 0 to 255; other numbers as they are.

    These are whole numbers of a type without a range, as numpy and tables have them, under `scale:
    unit`. Floats of a table that are to be binarised are such numbers, too: a text 1.0 is a 1.
    """
    kind = images.dtype
    whole = kind.kind in "iu" and kind.itemsize > 2
    floats = table and kind.kind == "f" and settings.binarisation != "none"
    if not settings.keeps_range or not (whole or floats):
        return images
    bits = all(bool(((block == 0) | (block == 1)).all()) for block in blocks(images))
    if not bits and not (whole and _are_pixels(images)):
        return images
    pieces = (block.astype(np.uint8) for block in blocks(images))
    return write_rows(scratch / "bits.raw", pieces, np.dtype(np.uint8), images.shape[1:])


def _are_pixels(images: np.ndarray) -> bool:
    """Return whether long vectors of whole numbers go from 0 to 255."""
    _, channels, height, width = images.shape
    if channels * height > 1 or width < LONG:
        return False
    ends = [(int(block.min()), int(block.max())) for block in blocks(images)]
    lows, highs = zip(*ends, strict=True)
    return min(lows) == 0 and max(highs) == WHITE


def shape_note(images: np.ndarray) -> str:
    """Describe images [N, C, H, W] for a plan."""
    _, channels, height, width = images.shape
    kind = "" if images.dtype == np.uint8 else f", {images.dtype}"
    if (channels, height) == (1, 1):
        return f"Vectors: {width:,} numbers each, as they are{kind}"
    return f"Images: {height} × {width} pixels, channels: {channels}, as they are{kind}"
