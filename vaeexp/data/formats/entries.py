"""An array in a file of several, before it is read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vaeexp.data.formats import some_of

Header = tuple[np.dtype, tuple[int, ...]]
"""Type and shape of an array."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An array by its name.

    place: file and array, for an error.
    header: returns type and shape, and reads no more of the file than that.
    read: returns the array. It may be mapped from the file or from the new file that is named.
    packed: how stored numbers are unpacked, in words; empty where they are read as they are.
    coordinate: whether it holds the places along an axis of others, which are no images.
    matlab: whether MATLAB wrote it, whose axes come in reversed order.
    """

    name: str
    place: str
    header: Callable[[], Header]
    read: Callable[[Path], np.ndarray]
    packed: str = ""
    coordinate: bool = False
    matlab: bool = False


def described(entries: Iterable[Entry]) -> str:
    """Name the arrays with their types and shapes, as far as these can be read."""
    return some_of([_described(entry) for entry in entries])


def of_most_axes(entries: Iterable[Entry]) -> list[Entry]:
    """Return the arrays of numbers with the most axes, which are probably the data."""
    axes = [(_axes(entry), entry) for entry in entries]
    most = max((count for count, _ in axes), default=0)
    return [entry for count, entry in axes if count == most]


def _axes(entry: Entry) -> int:
    try:
        dtype, shape = entry.header()
    except Exception:  # as in `_described`
        return 0
    return len(shape) if dtype.kind in "biuf" else 0


def _described(entry: Entry) -> str:
    try:
        dtype, shape = entry.header()
    except Exception:  # another array may be meant, so its damage is no error
        return entry.name
    return f"{entry.name} {dtype} {list(shape)}"
