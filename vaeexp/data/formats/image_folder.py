"""A folder of images: with class folders or without, split by `train/`, `val/` and `test/` or by a seeded draw."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaeexp.data.datasets import Definition, RawImages
from vaeexp.data.formats.decode import decode
from vaeexp.data.formats.image_files import (
    EXTENSIONS,
    TEST,
    TRAINING,
    VALIDATION,
    Listing,
    hold_out_test,
    label_type,
    tenth,
)

if TYPE_CHECKING:
    from vaeexp.data.locate import Source

_SPLITS = {"train": TRAINING, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}


def expected(definition: Definition) -> str:
    """The files, in words."""
    return f"image files ({', '.join(EXTENSIONS)}), in class folders or not, in train/ and test/ or not"


def find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """All image files below `root` in the order of their names; hidden ones and other kinds are passed over.

    Links to folders are followed, but for those that lead back to a folder that they are in.
    """
    found = []
    for folder, folders, names in os.walk(root, followlinks=True):
        folders[:] = [
            name for name in folders if not name.startswith(".") and not _leads_back(Path(folder, name), root)
        ]
        found += [
            Path(folder, name) for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
        ]
    return tuple(sorted(found))


def _leads_back(folder: Path, root: Path) -> bool:
    if not folder.is_symlink():
        return False
    target = folder.resolve()
    above = [root, *(parent for parent in folder.parents if parent.is_relative_to(root))]
    return any(parent.resolve().is_relative_to(target) for parent in above)


def read(source: "Source", scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Decode all images."""
    names = [path.relative_to(source.root).as_posix() for path in source.paths]
    return decode(list_tree(source.root, names), source.settings, scratch, say)


def list_tree(root: Path, names: list[str]) -> Listing:
    """Splits and classes of the files `names` below `root`.

    A folder that holds all others stands for `root`. Where there is a folder `train`, and `test` or `val` (`valid`,
    `validation`) beside it or nothing else, these folders are the splits and other folders are left out; capitals make
    no difference. A class is the first folder below a split; there are classes only when every image is in such a
    folder and there are two of them at least. Without a test split a tenth of the images is held out for it.
    """
    inner = _inner(names)
    paths = {name: name[len(inner) :] for name in names}
    tops = {path.split("/", 1)[0] for path in paths.values() if "/" in path}
    splits = {top for top in tops if top.lower() in _SPLITS}
    kinds = {top.lower() for top in splits}
    if "train" not in kinds or (kinds == {"train"} and len(tops) > 1):
        splits = set()
    kept = [name for name, path in paths.items() if not splits or ("/" in path and path.split("/", 1)[0] in splits)]
    parts = np.zeros(len(kept), dtype=np.uint8)
    if splits:
        parts = np.array([_SPLITS[paths[name].split("/", 1)[0].lower()] for name in kept], dtype=np.uint8)
    given = [f"{name}/" for name in sorted(splits, key=lambda name: (_SPLITS[name.lower()], name))]
    notes = [f"Split: as in the folders {', '.join(given)}"] if given else []
    if len(kept) < len(names):
        notes.append(f"Left out: {len(names) - len(kept):,} image files beside these folders")
    total = len(kept)
    if TEST not in parts:
        training = np.flatnonzero(parts == TRAINING)
        parts[training] = hold_out_test(str(root), len(training))
        notes.append("Test: a tenth of the images, drawn once for ever")
    else:
        total = int((parts == TRAINING).sum())
    classes, labels = _classes([paths[name].split("/", 1)[1] if splits else paths[name] for name in kept])
    return Listing(
        title=root.resolve().name,
        root=root,
        names=kept,
        parts=parts,
        labels=labels,
        classes=classes,
        holdout=None if VALIDATION in parts else tenth(total),
        notes=tuple(notes),
    )


def _inner(names: list[str]) -> str:
    """The folders that all images are in, as `images/` or empty; a folder named as a split is none of them."""
    inner = ""
    while True:
        tops = {name[len(inner) :].split("/", 1)[0] for name in names}
        top = next(iter(tops), "")
        if len(tops) != 1 or top.lower() in _SPLITS or not all("/" in name[len(inner) :] for name in names):
            return inner
        inner += f"{top}/"


def _classes(names: list[str]) -> tuple[tuple[str, ...] | None, np.ndarray]:
    """Class names and the label of each file, from its first folder; (None, zeros) where there are no classes."""
    found = sorted({name.split("/", 1)[0] for name in names})
    if len(found) < 2 or not all("/" in name for name in names):
        return None, np.zeros(len(names), dtype=np.uint8)
    number = {name: place for place, name in enumerate(found)}
    labels = [number[name.split("/", 1)[0]] for name in names]
    return tuple(found), np.array(labels, dtype=label_type(len(found)))
