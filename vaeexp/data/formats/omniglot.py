"""Omniglot (Lake et al. 2015): characters of 50 alphabets, 105 × 105 pixels, black ink on white, in
two archives of PNG files, https://github.com/brendenlake/omniglot.

A class is a character. The background set trains and the evaluation set tests, so that no test
image has a class of a training image. The archives or their unpacked folders are read.
"""

import zipfile
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    TEST,
    TRAINING,
    Definition,
    Layout,
    RawImages,
    Source,
    class_notes,
    placed_at,
    printable,
    refusing,
)
from vaeexp.data.formats.image_files import Listing, decode
from vaeexp.data.formats.official_files import describe_doubt

SETS = ("images_background", "images_evaluation")


def _find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """Find both archives, else the PNG files of both folders. Raises UserError where one is
    missing.
    """
    for folder in (root / definition.folder, root):
        archives = [folder / f"{name}.zip" for name in SETS]
        if all(path.is_file() for path in archives):
            return tuple(archives)
        unpacked = [folder / name for name in SETS]
        if all(path.is_dir() for path in unpacked):
            found = (each.glob("*/*/*.png") for each in unpacked)
            return tuple(sorted(chain.from_iterable(found)))
        given = [path.exists() for path in (*archives, *unpacked)]
        if any(given):
            missing = [name for name in SETS if not (folder / f"{name}.zip").is_file()]
            problem = f"some files of {definition.title} are missing: {missing[-1]}.zip"
            raise UserError(str(folder), problem)
    return ()


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    packed = source.paths[0].suffix == ".zip"
    root = scratch / "files" if packed else source.paths[0].parents[3]
    if packed:
        for path in source.paths:
            _unpack(path, root)
        names = sorted(path.relative_to(root).as_posix() for path in root.glob("*/*/*/*.png"))
    else:
        names = [path.relative_to(root).as_posix() for path in source.paths]
    listing = _list(source.definition, root, names)
    with placed_at(source.root, root):
        raw = decode(listing, source.settings, scratch, say)
    if len(names) != sum(source.definition.counts or ()):
        return raw
    doubt, warnings = describe_doubt(source.definition, source.paths)
    return raw._replace(doubt=doubt, warnings=warnings)


def _unpack(path: Path, target: Path) -> None:
    """Unpack the PNG files `set/alphabet/character/name.png` of an archive."""
    with refusing(path, "a whole zip file of PNG files"), zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            parts = PurePosixPath(member).parts
            if len(parts) != 4 or parts[0] != path.stem or not member.endswith(".png"):
                continue
            archive.extract(member, target)  # which drops `..` and drives from names


def _list(definition: Definition, root: Path, names: Sequence[str]) -> Listing:
    """Return the listing of `set/alphabet/character/name.png`; classes are alphabet/character."""
    characters = ["/".join(name.split("/")[1:3]) for name in names]
    classes = sorted(set(characters))
    number = {name: index for index, name in enumerate(classes)}
    labels = np.array([number[name] for name in characters], np.uint16)
    training = [name.startswith(f"{SETS[0]}/") for name in names]
    parts = np.where(training, TRAINING, TEST).astype(np.uint8)
    shown = tuple(map(printable, classes))
    return Listing(
        title=definition.title,
        root=root,
        names=names,
        parts=parts,
        labels=labels,
        classes=shown,
        notes=(
            "Split: the background set trains, the evaluation set tests",
            *class_notes(labels, parts, shown, ()),
        ),
    )


OMNIGLOT = Layout(
    expected=lambda row: f"{row.folder}/ with {' and '.join(f'{name}.zip' for name in SETS)}",
    find=_find,
    read=_read,
    resized=True,
)
