"""Arrays in the scratch folder of a preparation, for files that are larger than memory."""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

BLOCK_BYTES = 2**26
"""Bytes that are read and written at a time."""


def allocate(path: Path, shape: tuple[int, ...], dtype: np.dtype | type) -> np.ndarray:
    """Make an array on disk and take its space, because a full disk must be an error here and no
    crash in a child.
    """
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def write_rows(
    path: Path, pieces: Iterable[np.ndarray], dtype: np.dtype, row: tuple[int, ...]
) -> np.ndarray:
    """Write pieces [n, *row] one after the other and return them as one mapped array [N, *row]."""
    count = 0
    with path.open("wb") as file:
        for piece in pieces:
            file.write(np.ascontiguousarray(piece, dtype).reshape(-1).view(np.uint8).data)
            count += len(piece)
    if not path.stat().st_size:
        return np.empty((count, *row), dtype)
    return np.memmap(path, dtype, "r", shape=(count, *row))


def rows_of_block(row_bytes: int, chunk: int = 1) -> int:
    """Return how many rows of so many bytes make a block: whole chunks of rows, where these are not
    too large.
    """
    rows = max(1, BLOCK_BYTES // max(1, row_bytes))
    if chunk * row_bytes > 4 * BLOCK_BYTES:
        return rows
    return max(chunk, rows - rows % chunk)
