"""A folder of images: with class folders or without, and with or without the split folders `train/`, `val/`, `test/`."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from vaeexp.data.formats import TEST, TRAINING, VALIDATION, Definition, Layout, RawImages, Source, label_type, printable
from vaeexp.data.formats.image_files import EXTENSIONS, Listing, decode

_SPLITS = {"train": TRAINING, "val": VALIDATION, "valid": VALIDATION, "validation": VALIDATION, "test": TEST}


def find(definition: Definition | None, root: Path) -> tuple[Path, ...]:
    """All image files below `root` in the order of their names, each file once; hidden files and other kinds are left out.

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
            real = os.path.realpath(folder)
            folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
            if real in seen:
                continue
            seen.add(real)
            links = [name for name in folders if os.path.islink(os.path.join(folder, name))]
            folders[:] = [name for name in folders if name not in links]
            folder_links += [Path(folder, name) for name in links if not _leads_back(Path(folder, name), root)]
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


def _leads_back(link: Path, root: Path) -> bool:
    target = link.resolve()
    return any(folder.resolve().is_relative_to(target) for folder in (link.parent, root))


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    names = [path.relative_to(source.root).as_posix() for path in source.paths]
    return decode(list_tree(source.root, names), source.settings, scratch, say)


def list_tree(root: Path, names: list[str]) -> Listing:
    """Splits and classes of the files `names` below `root`.

    A folder that holds all others stands for `root`. Where there is a folder `train`, and `test` or `val` (`valid`,
    `validation`) beside it or nothing else, these folders are the splits and other folders are left out; capitals make
    no difference. A class is the first folder below a split; there are classes only when every image is in such a
    folder and there are two of them at least.
    """
    inner = _inner(names)
    paths = {name: name[len(inner) :] for name in names}
    tops = {path.split("/", 1)[0] for path in paths.values() if "/" in path}
    splits = {top for top in tops if top.lower() in _SPLITS}
    kinds = {top.lower() for top in splits}
    if "train" not in kinds or (kinds == {"train"} and len(tops) > 1):
        splits = set()
    inside = [name for name, path in paths.items() if not splits or ("/" in path and path.split("/", 1)[0] in splits)]
    parts = np.full(len(inside), TRAINING, dtype=np.uint8)
    notes = []
    if splits:
        parts = np.array([_SPLITS[paths[name].split("/", 1)[0].lower()] for name in inside], dtype=np.uint8)
        folders = sorted(splits, key=lambda name: (_SPLITS[name.lower()], name))
        notes.append(f"Split: as in the folders {', '.join(f'{name}/' for name in folders)}")
    if len(inside) < len(names):
        notes.append(f"Left out: {len(names) - len(inside):,} image files beside these folders")
    classes, labels = _classes([paths[name].split("/", 1)[1] if splits else paths[name] for name in inside])
    title = printable(root.resolve().name)
    return Listing(
        title=title, root=root, names=inside, parts=parts, labels=labels, classes=classes, notes=tuple(notes)
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
    folders = sorted({name.split("/", 1)[0] for name in names})
    if len(folders) < 2 or not all("/" in name for name in names):
        return None, np.zeros(len(names), dtype=np.uint8)
    number = {name: index for index, name in enumerate(folders)}
    labels = [number[name.split("/", 1)[0]] for name in names]
    return tuple(map(printable, folders)), np.array(labels, dtype=label_type(len(folders)))


FOLDER = Layout(
    expected=lambda definition: (
        f"image files ({', '.join(EXTENSIONS)}), in class folders or not, in train/ and test/ or not"
    ),
    find=find,
    read=_read,
    resized=True,
)
