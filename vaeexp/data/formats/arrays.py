"""A file of arrays: `.npy` with images, or `.npz` with images and, if there are any, labels and
splits.

Images are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, or floats in [0, 1] of these shapes. The
keys of an `.npz` are `images` and `labels`, or `train_images`, `test_images` (and `val_images`)
with their labels; the names of Keras' files (`x_train`, `y_train`, …) work too, in small letters or
capitals. Nothing in such a file is unpickled.
"""

import zipfile
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import IO, NamedTuple

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
from vaeexp.data.formats.array_labels import LabelArray, read_labels
from vaeexp.data.formats.array_pixels import LEVELS, as_bytes, doubtful_shape
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
_SPLIT_WORDS = ("train", "val", "dev", "test", "eval", "holdout")
"""Words in the name of an array that seems to hold images of a split."""
_PARTS = {"": TRAINING, "train": TRAINING, "val": VALIDATION, "test": TEST}
_NPZ = "images (and labels), or train_images and test_images (and val_images, …_labels)"
ONE_CHANNEL = "images[..., :1] in the file"


class _Header(NamedTuple):
    """Shape and type of an array, known before it is read, and the bytes that announce them."""

    shape: tuple[int, ...]
    kind: np.dtype
    size: int


class _Part(NamedTuple):
    """Images uint8 [N, H, W, C], the type of the numbers in the file, their labels, and what people
    are told of them.
    """

    images: np.ndarray
    kind: np.dtype
    labels: LabelArray
    notes: list[str]
    warnings: list[str]


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the arrays as uint8; floats are rounded to 256 levels. Raises UserError naming the array
    that does not fit.
    """
    path, parts, notes, warnings = source.paths[0], dict[str, _Part](), list[str](), list[str]()
    with refusing(path, "a whole file of plain numpy arrays"):
        if path.suffix.lower() == ".npy":
            parts[""] = _part(path, ("images", "labels"), _load(path), None, scratch)
        else:
            with zipfile.ZipFile(path) as file:
                headers = _read_headers(file)
                names = _names(path, headers)
                for part, (images, labels) in names.items():
                    array = (
                        _read_member(file, labels, headers[labels]) if labels in headers else None
                    )
                    pixels = _read_member(file, images, headers[images])
                    parts[part] = _part(path, (images, labels), pixels, array, scratch)
            unread = headers.keys() - {name for pair in names.values() for name in pair}
            notes += [f"Not read: {_listed(headers, sorted(unread))}"] if unread else []
            warnings = _forgotten(headers, {images for images, _ in names.values()}, sorted(unread))
    shapes = {part.images.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        problem = (
            f"got splits of different height, width and channels {sorted(shapes)}; must be the same"
        )
        raise UserError(str(path), problem)
    if len({part.kind.kind for part in parts.values()}) > 1:
        kinds = ", ".join(f"{name} {part.kind}" for name, part in parts.items())
        raise UserError(
            str(path),
            f"got splits of different types: {kinds}; must be one type, with one range of values",
        )
    check_grey(path.name, min(shapes)[2], source.settings.binarisation, ONE_CHANNEL)
    raw = _join(parts, notes, scratch)
    return raw._replace(warnings=(*warnings, *raw.warnings))


def _load(path: Path) -> np.ndarray:
    with path.open("rb") as stream:
        header = _read_header(stream)
    return (
        _objects(header)
        if header.kind.hasobject
        else np.load(path, mmap_mode="r", allow_pickle=False)
    )


def _objects(header: _Header) -> np.ndarray:
    """Return an array of nothing that stands for Python objects, because they are not unpickled."""
    return np.broadcast_to(np.array(None, object), header.shape)


def _read_headers(file: zipfile.ZipFile) -> dict[str, _Header]:
    """Return the headers of all arrays of an .npz file, by name."""
    headers = {}
    for member in file.namelist():
        if member.endswith(".npy"):
            with file.open(member) as stream:
                headers[member.removesuffix(".npy")] = _read_header(stream)
    return headers


def _read_header(stream: IO[bytes]) -> _Header:
    version = np.lib.format.read_magic(stream)
    read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[
        version[0]
    ]
    shape, _, kind = read_header(stream)
    return _Header(shape, kind, stream.tell())


def _read_member(file: zipfile.ZipFile, name: str, header: _Header) -> np.ndarray:
    """Read the array of a member. Its header is compared with the member's size before memory is
    given.
    """
    if header.kind.hasobject:
        return _objects(header)
    member = file.getinfo(f"{name}.npy")
    announced = header.size + header.kind.itemsize * int(np.prod(header.shape, dtype=object))
    if announced != member.file_size:
        raise ValueError(
            f"{name} has {member.file_size:,} bytes, and its header announces {announced:,}"
        )
    with file.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _listed(headers: Mapping[str, _Header], names: Iterable[str]) -> str:
    return some_of(
        [f"{printable(name)} {headers[name].kind} {list(headers[name].shape)}" for name in names]
    )


def _names(path: Path, headers: Mapping[str, _Header]) -> dict[str, tuple[str, str]]:
    """Return the names of images and labels of each part. Raises UserError where it is not clear
    what is meant.
    """
    parts, own = {}, {name.lower(): name for name in reversed(list(headers))}
    for part, (images, labels) in _NAMES.items():
        if image_name := next((own[name] for name in images if name in own), None):
            parts[part] = image_name, next((own[name] for name in labels if name in own), labels[0])
    found = f"got the arrays {_listed(headers, headers)}" if headers else "got no array"
    if not parts:
        keras = "x_train and x_test (and x_val, y_…)"
        advice = "Save them anew: numpy.savez(FILE, images=…, labels=…)"
        raise UserError(
            str(path), f"{found}; must be named {_NPZ}, or as in Keras {keras}. {advice}"
        )
    if "" in parts and len(parts) > 1:
        one, *others = (images for images, _ in parts.values())
        problem = (
            f"{one} holds all images, and {', '.join(others)} those of a split: keep {one}, or "
            "the splits"
        )
        raise UserError(str(path), f"{found}; must be one of the two. {problem}")
    if "" not in parts and "train" not in parts:
        raise UserError(
            str(path), f"{found}; must be also train_images, because there is nothing to train on"
        )
    return parts


def _forgotten(
    headers: Mapping[str, _Header], images: Collection[str], unread: Collection[str]
) -> list[str]:
    """Return a warning where arrays that are not read are named like a split, and shaped like the
    images.
    """
    shapes = {headers[name].shape[1:] for name in images}
    like = [name for name in unread if any(word in name.lower() for word in _SPLIT_WORDS)]
    splits = [name for name in like if headers[name].shape[1:] in shapes]
    if not splits:
        return []
    remedy = "Save it as train_images, val_images or test_images, or leave it out of the file"
    return [f"Not read: {_listed(headers, splits)}, which seems to be a split. {remedy}"]


def _part(
    path: Path, names: tuple[str, str], images: np.ndarray, labels: np.ndarray | None, scratch: Path
) -> _Part:
    name, label_name = names
    if images.dtype.hasobject:
        problem = (
            f"got {name} as Python objects {list(images.shape)}; must be a whole file of plain "
            "numpy arrays"
        )
        advice = "Resize images of several sizes to one size, and save numpy.stack(images)"
        raise UserError(str(path), f"{problem}. {advice}")
    pixels, notes = as_bytes(f"{path}: {name}", name, images, scratch / f"{name}.npy")
    label_array = LabelArray(f"{path}: {label_name}", label_name, labels, len(pixels))
    return _Part(pixels, images.dtype, label_array, notes, doubtful_shape(name, images.shape))


def _join(parts: dict[str, _Part], notes: list[str], scratch: Path) -> RawImages:
    """Join all parts one after the other, in a file of their own where there are several."""
    counts = [len(part.images) for part in parts.values()]
    images = next(iter(parts.values())).images
    _, height, width, channels = images.shape
    if len(parts) > 1:
        shape = (sum(counts), height, width, channels)
        images = np.lib.format.open_memmap(
            scratch / "all.npy", mode="w+", dtype=np.uint8, shape=shape
        )
        np.concatenate([part.images for part in parts.values()], out=images)
    labels = read_labels([part.labels for part in parts.values()])
    part_of = np.repeat(np.array([_PARTS[name] for name in parts], np.uint8), counts)
    split = [] if "" in parts else [f"Split: {', '.join(parts)} as in the file"]
    unlabelled = tuple(
        _PARTS[name] for index, name in enumerate(parts) if index in labels.unlabelled
    )
    split += class_notes(labels.values, part_of, labels.classes, unlabelled)
    of_parts = [note for part in parts.values() for note in part.notes]
    warnings = [warning for part in parts.values() for warning in part.warnings]
    floats = next(iter(parts.values())).kind.kind == "f"
    return RawImages(
        images=np.moveaxis(images, -1, 1),
        stored=np.full(sum(counts), Stored.FLOATS if floats else Stored.BYTES, np.uint8),
        labels=labels.values,
        parts=part_of,
        classes=labels.classes,
        unlabelled=unlabelled,
        notes=(
            f"Images: {height} × {width} pixels, channels: {channels}, as they are",
            *(*labels.notes, *split, *of_parts, *notes),
        ),
        warnings=(*warnings, *labels.warnings),
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
