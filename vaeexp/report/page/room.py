"""How many bytes a page has, and which parts of a study it has room for."""

import json
from collections.abc import Mapping
from itertools import takewhile
from typing import Any, TypeVar

MOST_BYTES = 25_000_000
"""Of a page, whatever the study holds: what most mail servers let pass."""
OF_WORDS = 10_000
"""Bytes of the sentences on what was left out, at most."""
Part = TypeVar("Part")


def as_text(data: Any) -> str:
    """Return data as JSON in which no tag can begin or end."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )


def size_of(data: Any) -> int:
    """Return how many bytes of a page data take."""
    return len(as_text(data).encode())


class Room:
    """Room for parts of a page."""

    def __init__(self, size: int) -> None:
        """The room has `size` bytes."""
        self.left = size
        self.full = False

    def take(self, size: int) -> bool:
        """Take so many bytes, and return whether they fit; the room is `full` once a part does
        not.
        """
        fits = size <= self.left
        self.left -= size if fits else 0
        self.full |= not fits
        return fits


def that_fit(parts: Mapping[str, Part], size: int) -> dict[str, Part]:
    """Return the first parts that take `size` bytes together at most."""
    room = Room(size)
    return dict(takewhile(lambda part: room.take(size_of(dict([part]))), parts.items()))
