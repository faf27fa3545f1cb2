"""CelebA's aligned faces (Liu et al. 2015), 218 × 178 pixels: a folder of JPEG files and the official partition."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.datasets import Definition, RawImages
from vaeexp.data.formats.decode import decode
from vaeexp.data.formats.image_files import Listing

if TYPE_CHECKING:
    from vaeexp.data.locate import Source

_PARTITION, _IMAGES = "list_eval_partition.txt", "img_align_celeba"


def expected(definition: Definition) -> str:
    """The files, in words."""
    return f"{definition.folder}/ with {_PARTITION} and {_IMAGES}/*.jpg (unpack {_IMAGES}.zip there)"


def find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """The partition file, then all images that it names; empty when there is neither it nor the folder of images."""
    for folder in (root / definition.folder, root):
        partition, images = folder / _PARTITION, folder / _IMAGES
        there = partition.is_file(), images.is_dir()
        if all(there):
            return partition, *(images / name for name, _ in _read_partition(partition))
        if any(there):
            missing = f"{_IMAGES}/" if there[0] else _PARTITION
            raise UserError(str(folder), f"some files of {definition.title} are missing: {missing}")
    return ()


def read(source: "Source", scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Decode all images; the official partition says which are for training, validation and test."""
    partition, first, *_ = source.paths
    rows = _read_partition(partition)
    listing = Listing(
        title=source.definition.title,
        root=first.parent,
        names=[name for name, _ in rows],
        parts=np.array([part for _, part in rows], dtype=np.uint8),
        labels=np.zeros(len(rows), dtype=np.uint8),
        classes=None,
        holdout=None,
        notes=("Split: the official partition",),
    )
    return decode(listing, source.settings, scratch, say)


def _read_partition(path: Path) -> list[tuple[str, int]]:
    """(file name, 0 | 1 | 2) for each line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [(name, int(part)) for name, part in (line.split() for line in lines if line.strip())]
    except (OSError, ValueError) as error:
        raise UserError(str(path), f"expected lines of a file name and 0, 1 or 2: {error}") from error
    if {part for _, part in rows} != {0, 1, 2} or any("/" in name or "\\" in name for name, _ in rows):
        raise UserError(str(path), "expected lines of a file name and 0, 1 or 2, with each of these at least once")
    return rows
