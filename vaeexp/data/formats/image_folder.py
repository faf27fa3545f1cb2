"""Data sets with a file for each image: folders with or without classes and splits, and CelebA (Liu
et al. 2015).

A folder has class folders and split folders or none (vaeexp/data/formats/folder_tree.py). CelebA's
aligned faces, 218 × 178 pixels, are a folder of JPEG files and the official partition.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    Definition,
    Layout,
    RawImages,
    Source,
    printable,
    refusing,
    some_of,
)
from vaeexp.data.formats.folder_tree import list_tree, word_set
from vaeexp.data.formats.image_files import Listing, decode
from vaeexp.data.formats.image_pixels import readable
from vaeexp.data.formats.named_arrays import ROLES, refuse_settings
from vaeexp.data.formats.tiff import unpack
from vaeexp.words import plural

_EXPECTED = (
    "image files (.png, .jpg, .jpeg, .bmp, .gif, .tif, .tiff, .webp, .ppm, .pgm, and others that "
    "Pillow and its plugins read), in class folders or not, in train/ and test/ or not"
)
_TEXTS = word_set(".txt .csv .tsv .json .jsonl .xml .md .rst .yaml .yml .html .log .ini .db")
_TEXT_NAMES = word_set("readme license licence copying makefile dockerfile changelog authors")
_PLUGINS = {
    ".heic": "pillow-heif",
    ".heif": "pillow-heif",
    ".hif": "pillow-heif",
    ".avif": "pillow-avif-plugin",
    ".jxl": "pillow-jxl-plugin",
}
"""Ending → package that reads such images where Pillow does not."""
_PARTITIONS = ("list_eval_partition.txt", "list_eval_partition.csv")
_IMAGES = "img_align_celeba"


def find(definition: Definition | None, root: Path) -> tuple[Path, ...]:
    """Return all files below `root` in the order of their names, each file once, without hidden
    files and texts.

    Other files than images are among them, because people are told of what is passed over. Links
    are followed. Where a file or a folder can be reached by several names, the name without links
    counts, else the first name.
    """
    found = dict[str, Path]()  # path without links → path
    starts = [root]
    links = list[Path]()
    seen = set[str]()
    for start in starts:  # links to folders join them, so that they come last
        for folder, folders, names in os.walk(start):
            real = os.path.realpath(folder)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if real in seen:
                folders.clear()
                continue
            seen.add(real)
            starts += [path for name in folders if (path := Path(folder, name)).is_symlink()]
            for name in names:
                path = Path(folder, name)
                if name.startswith(".") or _is_text(name):
                    continue
                if path.is_symlink():
                    links.append(path)
                else:
                    found[os.path.join(real, name)] = path
    for path in sorted(links):
        found.setdefault(os.path.realpath(path), path)
    return tuple(sorted(found.values()))


def holds_images(root: Path) -> bool:
    """Return whether there are image files below a folder."""
    return any(_ending(path.name) in readable() for path in find(None, root))


def _is_text(name: str) -> bool:
    stem, ending = os.path.splitext(name.lower())
    return ending in _TEXTS or stem in _TEXT_NAMES


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    _refuse_arrays(source)
    names = [path.relative_to(source.root).as_posix() for path in source.paths]
    images = [name for name in names if _ending(name) in readable()]
    passed = Counter(_ending(name) for name in names if _ending(name) not in readable())
    if not images:
        problem = f"got a folder without image files that can be read, but {_counted(passed)}"
        raise UserError(str(source.root), f"{problem}; must hold {_EXPECTED}.{_advice(passed)}")
    settings = source.settings
    files = dict[str, str]()
    for row, name in enumerate(images):
        files |= unpack(source.root, name, settings, scratch / str(row))
    splits = settings.splits if settings.split_folders else "none"
    listing = list_tree(source.root, [*files], splits=splits)
    if passed:
        note = f"Passed over: {_counted(passed)}, which are not read here.{_advice(passed)}"
        say(note)  # before an error, because what is passed over may be its cause
        listing = replace(listing, notes=(*listing.notes, note))
    pattern = settings.split_by
    if settings.pages == "images" and settings.split == "random":
        pattern = pattern or r"(.+?)(?:\[\d+\])?$"  # FILE of FILE[PAGE]
    groups = _groups(source.root, listing.names, pattern)
    found = replace(listing, names=[files[name] for name in listing.names])
    return decode(found, settings, scratch, say)._replace(
        groups=groups,
        files=[(name, 1) for name in listing.names],
        where=lambda row: printable(listing.names[row]),
    )


def _refuse_arrays(source: Source) -> None:
    """Raise UserError for settings that are for arrays."""
    fields = {"images", *ROLES, "channels_first"} - {"split_by"}
    subject = f"{source.definition.name} has image files"
    refuse_settings(source, sorted(fields), subject, "It is for arrays: dataset: arrays")


def _groups(root: Path, names: Sequence[str], pattern: str | None) -> np.ndarray | None:
    """Return the text [N] that the group of a pattern finds in each name below the root; None
    without a pattern. Raises UserError for a name that does not match.
    """
    if pattern is None:
        return None
    wanted = "a regular expression with one group in brackets, as patient_(\\d+)"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        problem = f"got '{pattern}' ({error}); must be {wanted}"
        raise UserError("data.split_by", problem) from error
    if compiled.groups != 1:
        problem = f"got '{pattern}' with {plural(compiled.groups, 'group')}; must be {wanted}"
        raise UserError("data.split_by", problem)
    groups = list[str]()
    for name in names:
        match = compiled.search(name)
        if match is None or match[1] is None:
            problem = f"got '{pattern}', which does not match {printable(name)}"
            remedy = f"must match the name of each image file below {printable(root.name)}"
            raise UserError("data.split_by", f"{problem}; {remedy}")
        groups.append(match[1])
    return np.array(groups)


def _ending(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _counted(passed: Counter[str]) -> str:
    """Count files by their endings, the most frequent first."""
    counts = [
        f"{count:,} {printable(ending) or 'without an ending'}"
        for ending, count in passed.most_common()
    ]
    return some_of(counts)


def _advice(passed: Collection[str]) -> str:
    """Name the plugins that would read files of these endings, as a sentence."""
    packages = sorted({_PLUGINS[ending] for ending in passed if ending in _PLUGINS})
    return f" Try pip install {' '.join(packages)}." if packages else ""


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
        places = product(("", "Eval"), _PARTITIONS)
        partitions = [folder / part / name for part, name in places]
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
    _refuse_arrays(source)
    if source.settings.split_by:
        problem = f"got {source.settings.split_by}, but CelebA has an official split"
        raise UserError("data.split_by", f"{problem}; must be left out")
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
    names = {name for name, _ in rows}
    parts = {part for _, part in rows}
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
