"""Pixels in a file of arrays: bytes [N, H, W, C], or floats from 0 to 1 that become bytes.

Whatever cannot be read is refused with its shape, type and range, and with the line of numpy that
mends it.
"""

import math
from pathlib import Path

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import blocks

LEVELS = "uint8, or floats from 0 to 1"
HAIR = 1e-3
"""How far beyond [0, 1] floats may lie, because resizing and arithmetic in float16 and float32
leave such values.
"""
SCALE = "Save ({name} - black) / (white - black), with the numbers that are black and white."
"""What to do about numbers that are no grey levels."""
_WANTED = "[N, H, W] or [N, H, W, C] with C = 1 or 3"


def as_bytes(
    place: str, name: str, images: np.ndarray, target: Path
) -> tuple[np.ndarray, list[str]]:
    """Return images uint8 [N, H, W, C], and notes for people.

    Floats are rounded to 256 levels; they and booleans are written to `target` piece by piece.
    place: file and array for an error.
    name: of the array.

    Raises UserError.
    """
    shaped = images[..., None] if images.ndim == 3 else images
    if shaped.ndim != 4 or shaped.shape[-1] not in (1, 3) or not shaped.size:
        problem = f"got {images.dtype} {list(images.shape)}; must be {_WANTED}"
        raise UserError(place, f"{problem}.{_turned(name, images.shape)}")
    if shaped.dtype == np.uint8:
        return shaped, []
    if shaped.dtype.kind not in "fb":
        problem = f"got {shaped.dtype} {list(images.shape)}; must be {LEVELS}"
        as_uint8 = f"If black is 0 and white is 255, save {name}.astype(numpy.uint8)."
        raise UserError(place, f"{problem}. {as_uint8} {SCALE.format(name=name)}")
    return _from_floats(place, name, shaped, target)


def _turned(name: str, shape: tuple[int, ...]) -> str:
    """Return what to do about a shape, as a sentence; empty where it does not say what was
    meant.
    """
    if len(shape) == 4 and shape[1] in (1, 3):
        return f" If it is [N, C, H, W], save {name}.transpose(0, 2, 3, 1)."
    if len(shape) == 4:
        return f" Choose one channel or three of them: save, for example, {name}[..., :3]."
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        return f" If each row is an image, save {name}.reshape(-1, {side}, {shape[1] // side})."
    return ""


def _from_floats(
    place: str, name: str, shaped: np.ndarray, target: Path
) -> tuple[np.ndarray, list[str]]:
    """Write floats in [0, 1], or booleans, as bytes; values a hair beyond are clipped."""
    drawn = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shaped.shape)
    start = beyond = 0
    low = np.inf
    high = -np.inf
    for piece in blocks(shaped):
        smallest = piece.min()
        largest = piece.max()
        if not np.isfinite([smallest, largest]).all():
            problem = f"got values that are NaN or infinite; must be {LEVELS}"
            remedy = f"Leave these images out, or save numpy.nan_to_num({name})"
            raise UserError(place, f"{problem}. {remedy}")
        low = min(low, smallest)
        high = max(high, largest)
        beyond += int(((piece < 0) | (piece > 1)).sum())
        values = piece.astype(np.float32)
        drawn[start : start + len(piece)] = np.rint(np.clip(values, 0, 1) * 255)
        start += len(piece)
    if not (low >= -HAIR and high <= 1 + HAIR):
        found = f"got {shaped.dtype} with values from {low:g} to {high:g}; must be {LEVELS}"
        raise UserError(place, f"{found}. {SCALE.format(name=name)}")
    clipped = f"Clipped to [0, 1]: {beyond:,} of {shaped.size:,} values of {name}"
    return drawn, [clipped] if beyond else []
