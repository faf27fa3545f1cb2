"""Data sets with a file for each image: folders with or without classes and splits, and CelebA (Liu et al. 2015).

A folder has class folders and split folders or none (vaeexp/data/formats/folder_tree.py). CelebA's aligned faces,
218 × 178 pixels, are a folder of JPEG files and the official partition.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source, refusing
from vaeexp.data.formats.folder_tree import list_tree
from vaeexp.data.formats.image_files import EXTENSIONS, Listing, decode

_PARTITION, _IMAGES = "list_eval_partition.txt", "img_align_celeba"


def find(definition: Definition | None, root: Path) -> tuple[Path, ...]:
    """Return all image files below `root` in the order of their names, each file once, without hidden files and other kinds.

    Links are followed. Where a file or a folder can be reached by several names, the name without links counts, else the
    first name. Links that lead to a folder around them are not followed.
    """
    paths: list[Path] = []
    file_links: list[Path] = []
    folder_links, seen = [root], set[str]()
    while folder_links:
        # Folders without links first, and each folder once: folders full of links to each other have endless names.
        folder_links.sort(reverse=True)
        for folder, folders, names in os.walk(folder_links.pop()):
            if (real := os.path.realpath(folder)) in seen:
                folders.clear()
                continue
            seen.add(real)
            visible = [Path(folder, name) for name in folders if not name.startswith(".")]
            folders[:] = sorted(path.name for path in visible if not path.is_symlink())
            links = [(path, path.resolve()) for path in visible if path.is_symlink()]
            around = Path(real), root.resolve()
            folder_links += [path for path, end in links if not any(parent.is_relative_to(end) for parent in around)]
            for name in names:
                if name.lower().endswith(EXTENSIONS) and not name.startswith("."):
                    path = Path(folder, name)
                    (file_links if path.is_symlink() else paths).append(path)
                    seen.add(os.path.join(real, name))
    for path in sorted(file_links):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            paths.append(path)
    return tuple(sorted(paths))


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    names = [path.relative_to(source.root).as_posix() for path in source.paths]
    listing = list_tree(source.root, names, split_folders=source.settings.split_folders)
    return decode(listing, source.settings, scratch, say)


FOLDER = Layout(
    expected=lambda _: f"image files ({', '.join(EXTENSIONS)}), in class folders or not, in train/ and test/ or not",
    find=find,
    read=_read,
    resized=True,
)


def _find_celeba(definition: Definition, root: Path) -> tuple[Path, ...]:
    """Return the partition file, then all images that it names; empty where both it and the folder of images are missing."""
    for folder in (root / definition.folder, root):
        partition, images = folder / _PARTITION, folder / _IMAGES
        there = partition.is_file(), images.is_dir()
        if all(there):
            return partition, *(images / name for name, _ in _read_partition(partition))
        if any(there):
            missing = f"{_IMAGES}/" if there[0] else _PARTITION
            raise UserError(str(folder), f"some files of {definition.title} are missing: {missing}")
    return ()


def _read_celeba(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    partition, first, *_ = source.paths
    names, parts = zip(*_read_partition(partition), strict=True)
    listing = Listing(
        title=source.definition.title,
        root=first.parent,
        names=names,
        parts=np.array(parts, dtype=np.uint8),
        labels=np.zeros(len(names), dtype=np.uint8),
        classes=None,
        notes=("Split: the official partition",),
    )
    return decode(listing, source.settings, scratch, say)


def _read_partition(path: Path) -> list[tuple[str, int]]:
    """Return (file name, 0 | 1 | 2) for each line: training, validation or test, as in `RawImages.parts`."""
    wanted = "lines of a file name and 0, 1 or 2, with each of these numbers at least once and no name twice"
    with refusing(path, wanted):
        lines = path.read_text(encoding="utf-8").split("\n")
        rows = [(name, int(part)) for name, part in (line.split() for line in lines if line.strip())]
    names, parts = {name for name, _ in rows}, {part for _, part in rows}
    if parts != {0, 1, 2} or len(names) < len(rows) or any(set(name) & set("/\\\0") for name in names):
        raise UserError(str(path), f"got other lines; must be {wanted}")
    return rows


CELEBA = Layout(
    expected=lambda row: f"{row.folder}/ with {_PARTITION} and {_IMAGES}/*.jpg (unpack {_IMAGES}.zip there)",
    find=_find_celeba,
    read=_read_celeba,
    resized=True,
)
