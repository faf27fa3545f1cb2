"""CelebA's aligned faces (Liu et al. 2015), 218 × 178 pixels: a folder of JPEG files and the official partition."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source, refusing
from vaeexp.data.formats.image_files import Listing, decode

_PARTITION, _IMAGES = "list_eval_partition.txt", "img_align_celeba"


def _find(definition: Definition, root: Path) -> tuple[Path, ...]:
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


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    partition, first, *_ = source.paths
    rows = _read_partition(partition)
    listing = Listing(
        title=source.definition.title,
        root=first.parent,
        names=[name for name, _ in rows],
        parts=np.array([part for _, part in rows], dtype=np.uint8),
        labels=np.zeros(len(rows), dtype=np.uint8),
        classes=None,
        notes=("Split: the official partition",),
    )
    return decode(listing, source.settings, scratch, say)


def _read_partition(path: Path) -> list[tuple[str, int]]:
    """(file name, 0 | 1 | 2) for each line: training, validation or test, as in `RawImages.parts`."""
    wanted = "lines of a file name and 0, 1 or 2, with each of these numbers at least once and no name twice"
    with refusing(path, wanted):
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [(name, int(part)) for name, part in (line.split() for line in lines if line.strip())]
    names = {name for name, _ in rows}
    if (
        {part for _, part in rows} != {0, 1, 2}
        or len(names) < len(rows)
        or any(set(name) & set("/\\\0") for name in names)
    ):
        raise UserError(str(path), f"got other lines; must be {wanted}")
    return rows


CELEBA = Layout(
    expected=lambda definition: (
        f"{definition.folder}/ with {_PARTITION} and {_IMAGES}/*.jpg (unpack {_IMAGES}.zip there)"
    ),
    find=_find,
    read=_read,
    resized=True,
)
