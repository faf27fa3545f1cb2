"""Pixels in a file of arrays: bytes [N, H, W, C], or floats from 0 to 1 that become bytes.

Whatever cannot be read is refused with its shape, type and range, and with the line of numpy that
mends it.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import blocks
from vaeexp.data.formats.levels import DEPTHS, FEW

LEVELS = "uint8, or floats from 0 to 1"
_HAIR = 1e-3
"""How far beyond [0, 1] floats may lie, because resizing and arithmetic in float16 and float32
leave such values.
"""
_WANTED = "[N, H, W] or [N, H, W, C] with C = 1 or 3"
_LONG = 3


def as_bytes(
    place: str, name: str, images: np.ndarray, target: Path
) -> tuple[np.ndarray, list[str]]:
    """Return images uint8 [N, H, W, C], and notes for people.

    Floats are rounded to 256 levels; they and booleans are written to `target` piece by piece.
    place: file and array for an error. name: of the array. Raises UserError.
    """
    shaped = images[..., None] if images.ndim == 3 else images
    if (
        shaped.ndim != 4
        or shaped.shape[-1] not in (1, 3)
        or not all(shaped.shape)
        or _is_colour_image(images.shape)
    ):
        problem = f"got {images.dtype} {list(images.shape)}; must be {_WANTED}"
        raise UserError(place, f"{problem}.{_turned(name, images)}")
    if shaped.dtype == np.uint8:
        return shaped, []
    if shaped.dtype.kind not in "fbiu":
        what = f"numpy.abs({name})" if shaped.dtype.kind == "c" else f"{name}.astype(float)"
        problem = f"got {shaped.dtype} {list(images.shape)}; must be {LEVELS}"
        raise UserError(
            place, f"{problem}. Save the grey levels as such numbers, perhaps of {what}"
        )
    if shaped.dtype.kind in "iu":
        low, high = (int(find(piece)) for find, piece in ((np.min, shaped), (np.max, shaped)))
        raise UserError(place, _out_of_range(name, shaped.dtype, low, high))
    return _from_floats(place, name, shaped, images.shape, target)


def doubtful_shape(name: str, shape: Sequence[int]) -> list[str]:
    """Return a warning where the last axis seems to count the images, as MATLAB stores them: it
    differs from two that are alike, or is the longest by far."""
    if (
        len(shape) != 3
        or shape[2] == shape[1]
        or (shape[0] != shape[1] and shape[2] < _LONG * max(shape[:2]))
    ):
        return []
    read = f"{shape[0]:,} images of {shape[1]} × {shape[2]:,} pixels"
    meant = f"{shape[2]:,} images of {shape[0]} × {shape[1]}"
    return [f"{name} {list(shape)} is read as {read}; for {meant} save {name}.transpose(2, 0, 1)"]


def _is_colour_image(shape: Sequence[int]) -> bool:
    return len(shape) == 3 and shape[2] in (3, 4) and min(shape[:2]) > 4


def _turned(name: str, images: np.ndarray) -> str:
    """Return what to do about a shape, as a sentence; empty where it does not say what was
    meant.
    """
    shape = images.shape
    if images.dtype.names:
        return f" It is a table: save {name}[{images.dtype.names[0]!r}]"
    if not all(shape):
        return " It is empty: at least 3 images are needed"
    if len(shape) == 4 and shape[1] in (1, 3, 4) and min(shape[2:]) > 1:
        return f" It seems to be [N, C, H, W]: save {name}.transpose(0, 2, 3, 1)"
    if len(shape) == 4 and shape[2] in (1, 3) and shape[0] == shape[1]:
        return f" It seems to be [H, W, C, N]: save {name}.transpose(3, 0, 1, 2)"
    if len(shape) == 4 and shape[3] in (2, 4):
        kept = "0:1" if shape[3] == 2 else ":3"
        return (
            f" The last channel seems to be transparency: save {name}[..., {kept}], which drops it"
        )
    if len(shape) == 4:
        return f" Choose one channel or three of them: save, for example, {name}[..., 0]"
    if _is_colour_image(shape):
        return (
            " It seems to be one image [H, W, C], and a data set needs many: save "
            "numpy.stack(list_of_images)"
        )
    if len(shape) == 5:
        return f" If it is videos [N, T, H, W, C], save {name}.reshape(-1, *{name}.shape[2:])"
    return _unrolled(name, *shape) if len(shape) == 2 else ""


def _unrolled(name: str, rows: int, columns: int) -> str:
    """Return what to do about an array of two dimensions."""
    for channels, sizes, turn in ((1, "-1", ""), (3, "-1, 3", ".transpose(0, 2, 3, 1)")):
        side = math.isqrt(columns // channels)
        if rows != columns and side >= 8 and side * side * channels == columns:
            reshaped = f"{name}.reshape({sizes}, {side}, {side}){turn}"
            return f" It seems to be one row of pixels for each image: save {reshaped}"
    return " If it is one image, a data set needs many: save numpy.stack(list_of_images)"


def _from_floats(
    place: str, name: str, shaped: np.ndarray, shape: Sequence[int], target: Path
) -> tuple[np.ndarray, list[str]]:
    """Write floats in [0, 1], or booleans, as bytes; values a hair beyond are clipped."""
    drawn = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shaped.shape)
    start = beyond = missing = 0
    low, high = np.inf, -np.inf
    first = ""
    for piece in blocks(shaped):
        finite = np.isfinite(piece)
        if not finite.all():
            missing += int((~finite).sum())
            where = [int(axis[0]) for axis in np.nonzero(~finite)][: len(shape)]
            first = first or f"{name}[{', '.join(map(str, (where[0] + start, *where[1:])))}]"
            piece = (
                np.where(finite, piece, piece.dtype.type(0))
                if finite.any()
                else np.zeros_like(piece)
            )
        low, high = min(low, piece.min()[()]), max(high, piece.max()[()])
        beyond += int(((piece < 0) | (piece > 1)).sum())
        values = piece.astype(np.float32)
        drawn[start : start + len(piece)] = np.rint(np.clip(values, 0, 1) * 255)
        start += len(piece)
    if missing:
        problem = (
            f"got {missing:,} values of {shaped.size:,} that are NaN or infinite, the first at "
            f"{first}"
        )
        raise UserError(
            place,
            f"{problem}; must be {LEVELS}. Leave these images out, or save "
            f"numpy.nan_to_num({name})",
        )
    if not (low >= -_HAIR and high <= 1 + _HAIR):
        raise UserError(place, _out_of_range(name, shaped.dtype, low, high))
    clipped = (
        f"Clipped to [0, 1]: {beyond:,} of {shaped.size:,} values of {name}, from {_digits(low)} "
        f"to {_digits(high)}"
    )
    return drawn, [clipped] if beyond else []


def _out_of_range(name: str, kind: np.dtype, low: float, high: float) -> str:
    """Say which values there are and what to do about them."""
    found = f"got {kind} with values from {_digits(low)} to {_digits(high)}; must be {LEVELS}"
    return f"{found}. {remedy(name, kind, low, high)}"


def remedy(name: str, kind: np.dtype, low: float, high: float) -> str:
    """Say what to do about numbers from `low` to `high` that are no grey levels."""
    whole = kind.kind in "iu"
    if low >= 0 and whole and high <= 1:
        return f"Values 0 and 1: save ({name} * 255).astype(numpy.uint8)"
    as_uint8 = f"{name if whole else f'numpy.rint({name})'}.astype(numpy.uint8)"
    if not whole and low >= -0.1 and 0.5 < high <= 1.5:
        return f"If 0 is black and 1 is white, save numpy.clip({name}, 0, 1)"
    if low >= -_HAIR and not whole and FEW < high <= 200:
        return f"If 255 is white, save {as_uint8}; if {_digits(high)} is, {name} / {_digits(high)}"
    if low >= -_HAIR and high <= 255 + _HAIR:
        return f"Values 0 to 255: save as uint8, {as_uint8}"
    if low >= -_HAIR and high < 2**16:
        most = next(2**bits - 1 for bits in DEPTHS if high <= 2**bits - 1)
        return f"If {most:,} is white, save ({name} / {most}).astype(numpy.float32)"
    if low >= -1 - _HAIR and high <= 1 + _HAIR:
        return f"Values −1 to 1: save ({name} + 1) / 2"
    if not whole and max(-low, high) < 20:
        return f"If they were standardised, save {name} * std + mean, in [0, 1]"
    return f"Scale them by what is black and white: save ({name} - black) / (white - black)"


def _digits(value: float) -> str:
    return str(value + 0).removesuffix(".0")  # -0.0 becomes 0
