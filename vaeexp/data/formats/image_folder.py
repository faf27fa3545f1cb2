"""Data sets with a file for each image: folders with or without classes and splits, and CelebA (Liu
et al. 2015).

A folder has class folders and split folders or none (vaeexp/data/formats/folder_tree.py). CelebA's
aligned faces, 218 × 178 pixels, are a folder of JPEG files and the official partition.
"""

import os
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source, printable, refusing
from vaeexp.data.formats.folder_tree import list_tree
from vaeexp.data.formats.image_files import Listing, decode
from vaeexp.data.formats.image_pixels import is_image, readable

_EXPECTED = (
    "image files (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, .ppm, .pgm, and others that "
    "Pillow and its plugins read), in class folders or not, in train/ and test/ or not"
)
_TEXTS = {
    ".txt",
    ".csv",
    ".tsv",
    ".json",
    ".jsonl",
    ".xml",
    ".md",
    ".rst",
    ".yaml",
    ".yml",
    ".html",
    ".log",
    ".ini",
    ".db",
}
_TEXT_NAMES = {
    "readme",
    "license",
    "licence",
    "copying",
    "makefile",
    "dockerfile",
    "changelog",
    "authors",
}
_PLUGINS = {
    ".heic": "pillow-heif",
    ".heif": "pillow-heif",
    ".hif": "pillow-heif",
    ".avif": "pillow-avif-plugin",
    ".jxl": "pillow-jxl-plugin",
}
"""Ending → package that reads such images where Pillow does not."""
_TO_UNPACK = {".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz"}
_TO_CONVERT = {
    ".svg",
    ".dcm",
    ".eps",
    ".exr",
    ".hdr",
    ".cr2",
    ".nef",
    ".arw",
    ".dng",
    ".jp2",
    ".j2k",
}
_DOUBTED = 0.01  # share of images that are passed over
_KINDS_NAMED = 12
_PARTITIONS, _IMAGES = ("list_eval_partition.txt", "list_eval_partition.csv"), "img_align_celeba"


def find(definition: Definition | None, root: Path) -> tuple[Path, ...]:
    """Return all files below `root` in the order of their names, each file once, without hidden
    files and texts.

    Other files than images are among them, because people are told of what is passed over. Links
    are followed. Where a file or a folder can be reached by several names, the name without links
    counts, else the first name. Links that lead to a folder around them are not followed.
    """
    paths: list[Path] = []
    file_links: list[Path] = []
    folder_links, seen = [root], set[str]()
    while folder_links:
        # Folders without links first, and each folder once: folders full of links to each other
        # have endless names.
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
            folder_links += [
                path
                for path, end in links
                if not any(parent.is_relative_to(end) for parent in around)
            ]
            for name in names:
                if not name.startswith(".") and not _is_text(name):
                    path = Path(folder, name)
                    (file_links if path.is_symlink() else paths).append(path)
                    seen.add(os.path.join(real, name))
    for path in sorted(file_links):
        if (real := os.path.realpath(path)) not in seen:
            seen.add(real)
            paths.append(path)
    return tuple(sorted(paths))


def _links_left_out(root: Path, paths: tuple[Path, ...]) -> list[str]:
    """Return the links to images, or to folders with images, that `find` left out, because these
    are read under another name.
    """
    read = {str(path) for path in paths} | {
        str(parent) for path in paths for parent in path.parents
    }
    left = []
    for folder, folders, names in os.walk(root):
        around = f"{os.path.realpath(folder)}{os.sep}"
        images = [name for name in names if os.path.splitext(name)[1].lower() in readable()]
        for name in sorted((*folders, *images)):
            path = os.path.join(folder, name)
            if (
                name.startswith(".")
                or path in read
                or not os.path.islink(path)
                or not os.path.exists(path)
            ):
                continue
            if not around.startswith(os.path.join(os.path.realpath(path), "")):
                left.append(path)
    return left


def _is_text(name: str) -> bool:
    stem, ending = os.path.splitext(name.lower())
    return ending in _TEXTS or stem in _TEXT_NAMES


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    names = [path.relative_to(source.root).as_posix() for path in source.paths]
    endings = [os.path.splitext(name)[1].lower() for name in names]
    passed = Counter(ending for ending in endings if ending not in readable())
    first = {
        ending: path for path, ending in zip(reversed(source.paths), reversed(endings), strict=True)
    }
    unnamed = {ending for ending in passed if is_image(first[ending])}
    if len(passed) and passed.total() == len(names):
        problem = (
            f"got a folder without image files that can be read, but {_counted(passed)}; must "
            f"hold {_EXPECTED}"
        )
        raise UserError(str(source.root), f"{problem}.{_advice(passed, unnamed)}")
    notes = (
        [f"Passed over: {_counted(passed)}, which are not read here.{_advice(passed, unnamed)}"]
        if passed
        else []
    )
    for note in notes:
        say(note)  # before an error, because what is passed over may be its cause
    images = [name for name, ending in zip(names, endings, strict=True) if ending in readable()]
    listing = list_tree(source.root, images, split_folders=source.settings.split_folders)
    links = _links_left_out(source.root, source.paths)
    again = (
        f", such as {printable(os.path.relpath(links[0], source.root))}. Each image counts once"
        if links
        else ""
    )
    linked = (
        [f"Links left out: {len(links):,} to what is read under another name{again}"]
        if links
        else []
    )
    pictures = unnamed | _PLUGINS.keys() | _TO_CONVERT
    missing = sum(count for ending, count in passed.items() if ending in pictures)
    doubts = notes if missing > _DOUBTED * (len(images) + missing) else []
    doubts += linked if len(links) > _DOUBTED * len(images) else []
    listing = replace(
        listing, notes=(*listing.notes, *notes, *linked), warnings=(*listing.warnings, *doubts)
    )
    return decode(listing, source.settings, scratch, say)


def _counted(passed: Counter[str]) -> str:
    """Count files by their endings, the most frequent first."""
    shown = [
        f"{count:,} {printable(ending) or 'without an ending'}"
        for ending, count in passed.most_common(_KINDS_NAMED)
    ]
    more = [f"{len(passed) - len(shown):,} other kinds"] if len(passed) > len(shown) else []
    return ", ".join([*shown, *more])


def _advice(passed: Counter[str], unnamed: Collection[str]) -> str:
    """Say what would read the files that are passed over. unnamed: endings of files that are images
    all the same.
    """
    packages = sorted({_PLUGINS[ending] for ending in passed if ending in _PLUGINS})
    advice = [f" Try pip install {' '.join(packages)}."] if packages else []
    if named := ", ".join(
        printable(ending) or "those without an ending" for ending in sorted(unnamed)
    ):
        advice.append(
            f" The first of {named} is an image: give these files the ending .png, .jpg or .tif."
        )
    if packed := sorted(passed.keys() & _TO_UNPACK):
        advice.append(f" Unpack {', '.join(packed)}.")
    if converted := sorted(passed.keys() & _TO_CONVERT):
        advice.append(f" Convert {', '.join(converted)} to PNG.")
    if passed.keys() & {".npy", ".npz"}:
        advice.append(" For a file of arrays try --set dataset=arrays --data FILE.")
    return "".join(advice)


FOLDER = Layout(
    expected=lambda _: _EXPECTED,
    find=find,
    read=_read,
    resized=True,
)


def _find_celeba(definition: Definition, root: Path) -> tuple[Path, ...]:
    """Return the partition file, then all images that it names; empty where both it and the folder
    of images are missing.

    They lie beside each other, or in `Eval/` and `Img/` as the authors ship them, in torchvision's
    folder, in `root` or in a folder of `root`. Kaggle's archive has the images in a folder within
    the folder of the same name.
    """
    below = sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    for folder in (root / definition.folder, root, *below):
        partitions = [folder / part / name for part in ("", "Eval") for name in _PARTITIONS]
        partition = next((path for path in partitions if path.is_file()), None)
        images = next(
            (path for part in ("", "Img") if (path := folder / part / _IMAGES).is_dir()), None
        )
        if partition and images:
            inner = images / _IMAGES
            pictures = inner if inner.is_dir() else images
            return partition, *(pictures / name for name, _ in _read_partition(partition))
        if partition or images:
            missing = f"{_IMAGES}/" if partition else " or ".join(_PARTITIONS)
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
    """Return (file name, 0 | 1 | 2) for each line: training, validation or test, as in
    `RawImages.parts`.

    A .csv file may begin with the names of its columns.
    """
    wanted = (
        "lines of a file name and 0, 1 or 2, with each of these numbers at least once and no name "
        "twice"
    )
    with refusing(path, wanted):
        lines = path.read_text(encoding="utf-8-sig").replace('"', "").replace(",", " ").split("\n")
        fields = [line.split() for line in lines if line.strip()]
        titles = path.suffix == ".csv" and not fields[0][-1].isdecimal()
        rows = [(name, int(part)) for name, part in fields[titles:]]
    names, parts = {name for name, _ in rows}, {part for _, part in rows}
    if (
        parts != {0, 1, 2}
        or len(names) < len(rows)
        or any(set(name) & set("/\\\0") for name in names)
    ):
        raise UserError(str(path), f"got other lines; must be {wanted}")
    return rows


CELEBA = Layout(
    expected=lambda row: (
        f"{row.folder}/ with "
        f"{' (or .csv, as Kaggle has it) and '.join((_PARTITIONS[0], f'{_IMAGES}/*.jpg'))} "
        f"(unpack {_IMAGES}.zip there)"
    ),
    find=_find_celeba,
    read=_read_celeba,
    resized=True,
)
