"""Levels: how the numbers in files become grey levels from 0, black, to 255, white.

A file does not say which number is white. A picture of 8 bits goes to 255 and a mask to 1 or 9; a
camera stores 12 bits in 16. The largest value of the training images decides, for all splits alike.
"""

from enum import IntEnum

import numpy as np

WHITE = 255
"""Level of white."""
FEW = 15
"""Largest value of a mask, whose values are divided by their largest. No picture of 8 bits is so
dark.
"""
DEPTHS = (8, 10, 12, 14, 16)
"""Bits that cameras and scanners use of 16."""
DEEPEST = 2 ** DEPTHS[-1] - 1


class Stored(IntEnum):
    """The kind of numbers in a file. Beside plain pictures of bytes, floats go from 0 to 1 and are
    rounded to 256 levels where they are read.
    """

    BYTES = 0
    DEEP = 1
    FLOATS = 2


PLAIN = {Stored.BYTES: 255, Stored.DEEP: DEEPEST, Stored.FLOATS: 255}
"""The number that is white where nothing tells otherwise."""


def stored_kind(dtype: np.dtype) -> Stored:
    """Return the kind of numbers of this type."""
    if dtype.kind == "f":
        return Stored.FLOATS
    return Stored.DEEP if dtype.itemsize > 1 else Stored.BYTES


def white_of(kind: Stored, largest: int) -> int:
    """Return the number that is white in images of this kind, from the largest value of the
    training images.

    Masks of few levels: their largest value. Bytes: 255. Deep: the largest number of the fewest
    bits that hold the value.
    """
    if kind is not Stored.FLOATS and 0 < largest <= FEW:
        return largest
    if kind is not Stored.DEEP or not largest:
        return PLAIN[kind]
    return next(2**bits - 1 for bits in DEPTHS if largest < 2**bits)


def to_bytes(values: np.ndarray, white: int) -> np.ndarray:
    """Return whole numbers of any shape as uint8, with 255 for `white` and above.

    Of a depth of more than 8 bits the upper 8 bits are kept; a mask is divided by its white.
    """
    clipped = np.minimum(values, white)
    if white <= FEW:
        return np.rint(clipped * (255 / white)).astype(np.uint8)
    return (clipped >> (white.bit_length() - 8)).astype(np.uint8)


def black_of(values: np.ndarray) -> int:
    """Return the number that is black in a file of whole numbers in which 0 is white: the largest
    of the fewest bits that hold its values, because a camera stores 12 bits in 16.
    """
    largest = int(values.max()) if values.dtype.kind == "u" else 0
    if largest > DEEPEST:
        return 2 ** (8 * values.dtype.itemsize) - 1
    return white_of(Stored.DEEP, max(largest, FEW + 1))


def turned(values: np.ndarray, black: int) -> np.ndarray:
    """Return the numbers of a file in which 0 is white, in their type, with 0 as black.

    black: the least number that is black in files of 16 bits and more.
    """
    if values.dtype.kind == "f":
        return 1 - values
    if values.dtype.kind != "u" or values.dtype.itemsize == 1:
        return ~values
    return max(black, black_of(values)) - values


def scale_words(kind: Stored, white: int) -> str:
    """Name the scale for a record; empty where numbers are read as they always were."""
    if white == PLAIN[kind]:
        return ""
    return f"values divided by {white}" if white <= FEW else f"{white.bit_length()}-bit values"


def scale_note(kind: Stored, white: int, largest: int) -> str:
    """Describe the scale for a plan; empty for plain bytes."""
    reached = f"the largest value of the training images is {largest:,}"
    if white <= FEW:
        return f"Levels: values from 0 to {white} ({reached}), divided by {white}"
    if kind is Stored.DEEP:
        return (
            f"Levels: {white.bit_length()} of 16 bits, 0 to {white:,} ({reached}); the upper 8 "
            "bits are kept"
        )
    return ""
