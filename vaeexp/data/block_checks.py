"""Checksums of images block by block, because a large file cannot be hashed at each start.

Beside a file of images lies a table with the CRC-32 of each block of the file. Training gathers
images at random, so a process checks the blocks that it is about to read, each once: in all, one
CRC-32 of the file, spread over the first epoch.
"""

import zlib
from functools import partial
from pathlib import Path

import numpy as np

from sweeps import Damaged
from vaeexp.cache import distrust

WHOLE = 2**29
"""Bytes of the largest file that is hashed at each start. SHA-256 takes half a second for it, a
tenth of a start.
"""
_BLOCK = 2**16
"""Bytes of a block. Linux reads 128 KiB around a random access, so the check of a block hardly
reads more than the access.
"""


def table_of(path: Path) -> Path:
    """Return the path of the table that belongs to a file of images."""
    return path.with_name(f"{path.stem}.crc32.npy")


def write_table(path: Path) -> None:
    """Write the CRC-32 of each block of a file, uint32 [blocks], beside the file."""
    np.save(table_of(path), _sums(path))


def _sums(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        return np.array(
            [zlib.crc32(block) for block in iter(partial(file.read, _BLOCK), b"")], np.uint32
        )


def open_blocks(path: Path) -> "BlockChecks | None":
    """Return the checks of a file of images; None without a table, because then the file is hashed
    at each start.
    """
    return BlockChecks(path) if table_of(path).exists() else None


class BlockChecks:
    """The blocks of a file of images that this process has checked.

    Threads may share the object, because the worst that they do is to check a block twice.
    """

    def __init__(self, path: Path) -> None:
        """Open the table of the file `path`. Raises Damaged when the first block, which says what
        the file holds, has changed.
        """
        self._path = path
        self._sums = np.load(table_of(path))
        self._content = np.memmap(path, np.uint8, "r").data
        self._unchecked = np.ones(len(self._sums), bool)
        if zlib.crc32(self._content[:_BLOCK]) != self._sums[0]:
            raise Damaged(str(path), "is damaged in its first block.")
        images = np.load(path, mmap_mode="r")
        self._offset = images.offset
        self._row = images[:1].nbytes

    def check_rows(self, rows: np.ndarray) -> None:
        """Check the images at these rows, int64 [M]. Raises Damaged."""
        starts = self._offset + self._row * rows
        first = starts // _BLOCK
        last = (starts + self._row - 1) // _BLOCK
        spans = range(1 + int((last - first).max(initial=0)))
        blocks = np.concatenate([np.minimum(first + step, last) for step in spans])
        for block in np.unique(blocks[self._unchecked[blocks]]).tolist():
            start = _BLOCK * block
            stop = min(_BLOCK * (block + 1), len(self._content))
            if zlib.crc32(self._content[start:stop]) != self._sums[block]:
                distrust(self._path.parent)
                problem = f"is damaged in block {block:,} (bytes {start:,} to {stop - 1:,})"
                raise Damaged(
                    str(self._path),
                    f"{problem}. The same command prepares the images again and goes on.",
                )
            self._unchecked[block] = False
