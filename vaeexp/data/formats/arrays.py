"""A file of arrays: `.npy` with images, or `.npz` with images and, if there are any, labels and
splits.

Images are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, or floats in [0, 1] of these shapes. The
keys of an `.npz` are `images` and `labels`, or `train_images`, `test_images` (and `val_images`)
with their labels; the names of Keras' files (`x_train`, `y_train`, …) work too, in small letters or
capitals. Nothing in such a file is unpickled.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    TEST,
    TRAINING,
    VALIDATION,
    Layout,
    RawImages,
    Source,
    check_grey,
    class_notes,
    printable,
    refusing,
    some_of,
)
from vaeexp.data.formats.array_labels import read_labels
from vaeexp.data.formats.array_pixels import LEVELS, as_bytes
from vaeexp.data.formats.levels import Stored

_NAMES = {
    "": (("images", "x"), ("labels", "y")),
    "train": (("train_images", "x_train"), ("train_labels", "y_train")),
    "val": (
        ("val_images", "x_val", "valid_images", "x_valid", "validation_images", "x_validation"),
        ("val_labels", "y_val", "valid_labels", "y_valid", "validation_labels", "y_validation"),
    ),
    "test": (("test_images", "x_test"), ("test_labels", "y_test")),
}
"""Part → names of its images and names of its labels; of each, the first that the file has is read,
in any case.
"""
_PARTS = {"": TRAINING, "train": TRAINING, "val": VALIDATION, "test": TEST}
_NPZ = "images (and labels), or train_images and test_images (and val_images, …_labels)"
ONE_CHANNEL = "images[..., :1] in the file"


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the arrays as uint8; floats are rounded to 256 levels. Raises UserError naming the array
    that does not fit.
    """
    path = source.paths[0]
    notes = list[str]()
    images = dict[str, np.ndarray]()
    labels = list[np.ndarray | None]()
    kinds = set[str]()
    with refusing(path, "a whole file of plain numpy arrays"):
        file = np.load(path, mmap_mode="r", allow_pickle=False)
        arrays: Mapping[str, np.ndarray] = (
            {"images": file} if isinstance(file, np.ndarray) else file
        )
        names = _names(path, arrays)
        for part, (name, label_name) in names.items():
            array = arrays[name]
            column = arrays.get(label_name)
            target = scratch / f"{name}.npy"
            images[part], clipped = as_bytes(f"{path}: {name}", name, array, target)
            _check_number(f"{path}: {label_name}", column, len(array))
            labels.append(column)
            kinds.add(array.dtype.kind)
            notes += clipped
    if unread := set(arrays).difference(*names.values()):
        notes.append(f"Not read: {_listed(sorted(unread))}")
    if len(kinds) > 1:
        raise UserError(str(path), "got splits of different types; must be one type")
    shapes = {array.shape[1:] for array in images.values()}
    if len(shapes) > 1:
        sizes = sorted(shapes)
        problem = f"got splits of different height, width and channels {sizes}; must be the same"
        raise UserError(str(path), problem)
    check_grey(path.name, min(shapes)[2], source.settings.binarisation, ONE_CHANNEL)
    stored = Stored.FLOATS if kinds == {"f"} else Stored.BYTES
    return _join(images, labels, stored, notes, scratch)


def _names(path: Path, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[str, str]]:
    """Return the names of images and labels of each part. Raises UserError where it is not clear
    what is meant.
    """
    names = list(arrays)
    parts = {}
    own = {name.lower(): name for name in reversed(names)}
    for part, (images, labels) in _NAMES.items():
        if image_name := next((own[name] for name in images if name in own), None):
            parts[part] = image_name, next((own[name] for name in labels if name in own), labels[0])
    if parts.keys() != {""} and "train" not in parts:
        remedy = "Save them anew: numpy.savez(FILE, images=…, labels=…)"
        problem = (
            f"got the arrays {_described(arrays)}; must be named {_NPZ}, or as in Keras x_train"
        )
        raise UserError(str(path), f"{problem}. {remedy}")
    if "" in parts and len(parts) > 1:
        problem = (
            f"got the arrays {_described(arrays)}; must be all images, or the images of splits"
        )
        raise UserError(str(path), problem)
    return parts


def _described(arrays: Mapping[str, np.ndarray]) -> str:
    return _listed(f"{name} {each.dtype} {list(each.shape)}" for name, each in arrays.items())


def _listed(names: Iterable[str]) -> str:
    return some_of([printable(name) for name in names])


def _check_number(place: str, labels: np.ndarray | None, images: int) -> None:
    """Raise UserError where it is not known which image a label belongs to."""
    if labels is not None and (not labels.ndim or len(labels) != images):
        problem = f"got {labels.dtype} {list(labels.shape)}; must be {images:,} labels"
        raise UserError(place, f"{problem}, one for each image. Leave out labels that do not fit")


def _join(
    parts: Mapping[str, np.ndarray],
    columns: list[np.ndarray | None],
    stored: Stored,
    notes: list[str],
    scratch: Path,
) -> RawImages:
    """Join all parts one after the other, in a file of their own where there are several."""
    counts = [len(array) for array in parts.values()]
    images = next(iter(parts.values()))
    _, height, width, channels = images.shape
    if len(parts) > 1:
        shape = (sum(counts), height, width, channels)
        images = np.lib.format.open_memmap(
            scratch / "all.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        np.concatenate(list(parts.values()), out=images)
    labels = read_labels(columns, counts)
    part_of = np.repeat(np.array([_PARTS[name] for name in parts], np.uint8), counts)
    unlabelled = tuple(
        _PARTS[name] for index, name in enumerate(parts) if index in labels.unlabelled
    )
    split = [] if "" in parts else [f"Split: {', '.join(parts)} as in the file"]
    return RawImages(
        images=np.moveaxis(images, -1, 1),
        stored=np.full(sum(counts), stored, np.uint8),
        labels=labels.values,
        parts=part_of,
        classes=labels.classes,
        unlabelled=unlabelled,
        notes=(
            f"Images: {height} × {width} pixels, channels: {channels}, as they are",
            *labels.notes,
            *split,
            *class_notes(labels.values, part_of, labels.classes, unlabelled),
            *notes,
        ),
    )


ARRAYS = Layout(
    expected=lambda _: (
        f"one file: .npy with images [N, H, W] or [N, H, W, C], or .npz with {_NPZ}; {LEVELS}"
    ),
    find=lambda _, root: (
        (root,) if root.is_file() and root.suffix.lower() in (".npy", ".npz") else ()
    ),
    read=_read,
)
