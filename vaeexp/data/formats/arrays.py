"""A file of arrays: `.npy` with images, or `.npz` with images and, if there are any, labels and splits.

Images are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, or floats in [0, 1] of these shapes. The keys of an `.npz`
are `images` and `labels`, or `train_images`, `test_images` (and `val_images`) with their labels; the names of
Keras' files (`x_train`, `y_train`, …) will do as well. Nothing in such a file is unpickled.
"""

import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.datasets import Definition, RawImages, blocks, check_grey
from vaeexp.data.formats.image_files import TEST, hold_out_test, label_type, tenth

if TYPE_CHECKING:
    from vaeexp.data.locate import Source

_KEYS = {
    "": (("images", "labels"), ("x", "y")),
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "val": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
_GREY_LEVELS = "uint8, or floats from 0 to 1"


class _Part(NamedTuple):
    """Images [N, C, H, W] uint8 and labels, None where the file has none."""

    images: np.ndarray
    labels: np.ndarray | None


def expected(definition: Definition) -> str:
    """The file, in words."""
    keys = "images (and labels), or train_images and test_images (and val_images, …_labels)"
    return f"one file: .npy with images [N, H, W] or [N, H, W, C], or .npz with {keys}; {_GREY_LEVELS}"


def find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """The file itself."""
    return (root,) if root.is_file() and root.suffix in (".npy", ".npz") else ()


def read(source: "Source", scratch: Path, say: Callable[[str], None]) -> RawImages:
    """The arrays as uint8; floats are rounded to 256 grey levels. UserError naming what does not fit."""
    path = source.paths[0]
    arrays = _load(path)
    parts = {}
    for name, keys in _KEYS.items():
        if pair := next((pair for pair in keys if pair[0] in arrays), None):
            parts[name] = _part(path, arrays, pair, scratch)
    if not parts or ("train" in parts) == ("" in parts) or ("" in parts and len(parts) > 1):
        found = ", ".join(arrays) or "nothing"
        raise UserError(str(path), f"expected the arrays images, or train_images and others; found {found}")
    shapes = {part.images.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        raise UserError(str(path), f"the splits differ in channels, height and width: {sorted(shapes)}")
    channels, height, width = shapes.pop()
    check_grey(path.name, channels, source.settings.binarisation)
    raw = _join(path, parts)
    classes = f"Classes: {len(raw.classes)}" if raw.classes else "Classes: none"
    split = f"Split: {', '.join(name for name in parts)} as in the file" if "" not in parts else ""
    drawn = "" if "test" in parts else "Test: a tenth of the images, drawn once for ever"
    size = f"Images: {height} × {width} pixels, channels: {channels}, as they are"
    return raw._replace(notes=tuple(note for note in (size, classes, split, drawn) if note))


def _load(path: Path) -> Mapping[str, np.ndarray]:
    """Name → array; `images` for that of an `.npy`, which stays on disk."""
    try:
        if path.suffix == ".npy":
            return {"images": np.load(path, mmap_mode="r", allow_pickle=False)}
        known = {key for pairs in _KEYS.values() for pair in pairs for key in pair}
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files if name in known}
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or error}") from error
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        # numpy's words on such a file advise to unpickle it.
        why = "found pickled objects, or no numpy file at all" if "pickle" in str(error) else str(error)
        raise UserError(str(path), f"expected a whole file of plain numpy arrays: {why}") from error


def _part(path: Path, arrays: Mapping[str, np.ndarray], keys: tuple[str, str], scratch: Path) -> _Part:
    images, labels = arrays[keys[0]], arrays.get(keys[1])
    place = f"{path}: {keys[0]}"
    shaped = images[..., None] if images.ndim == 3 else images
    if shaped.ndim != 4 or shaped.shape[-1] not in (1, 3) or not all(shaped.shape):
        turned = " (transpose it from [N, C, H, W])" if images.ndim == 4 and images.shape[1] in (1, 3) else ""
        raise UserError(place, f"expected [N, H, W] or [N, H, W, C] with C = 1 or 3, found {images.shape}{turned}")
    if shaped.dtype != np.uint8:
        shaped = _to_bytes(place, shaped, scratch / f"{keys[0]}.npy")
    if labels is not None:
        labels = _labels(f"{path}: {keys[1]}", labels, len(shaped))
    return _Part(np.moveaxis(shaped, -1, 1), labels)


def _to_bytes(place: str, images: np.ndarray, target: Path) -> np.ndarray:
    """Floats in [0, 1] or booleans → uint8, written to `target` piece by piece."""
    if images.dtype.kind not in "fb":
        raise UserError(place, f"expected {_GREY_LEVELS}, found {images.dtype}")
    drawn = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=images.shape)
    start = 0
    for piece in blocks(images, None):
        values = piece.astype(np.float32)
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN too
            raise UserError(place, f"expected {_GREY_LEVELS}, found values from {values.min():g} to {values.max():g}")
        drawn[start : start + len(piece)] = np.rint(values * 255)
        start += len(piece)
    return drawn


def _labels(place: str, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.size != count or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 65_535:
        found = f"{labels.dtype} {list(labels.shape)}"
        raise UserError(place, f"expected {count:,} whole numbers from 0, one for each image, found {found}")
    return labels.reshape(-1)


def _join(path: Path, parts: Mapping[str, _Part]) -> RawImages:
    """Training (with validation) and test images; a tenth is held out for test where the file has no test images."""
    labelled = all(part.labels is not None for part in parts.values())
    highest = max(int(part.labels.max()) for part in parts.values()) if labelled else 0
    labels = {
        name: part.labels.astype(label_type(highest + 1)) if labelled else np.zeros(len(part.images), np.uint8)
        for name, part in parts.items()
    }
    first = "" if "" in parts else "train"
    images, own = parts[first].images, labels[first]
    rows, held = np.arange(len(images)), np.arange(0)
    if "test" not in parts:
        parted = hold_out_test(str(path), len(images))
        rows, held = np.flatnonzero(parted != TEST), np.flatnonzero(parted == TEST)
    holdout = tenth(len(images))
    test_images, test_labels = (parts["test"].images, labels["test"]) if "test" in parts else (images, own[held])
    training, training_labels = images, own[rows]
    if "val" in parts:
        training = np.concatenate([images, parts["val"].images])
        rows = np.concatenate([rows, len(images) + np.arange(len(parts["val"].images))])
        training_labels = np.concatenate([training_labels, labels["val"]])
    return RawImages(
        training_images=training,
        training_labels=training_labels,
        test_images=test_images,
        test_labels=test_labels,
        training_rows=rows,
        test_rows=None if "test" in parts else held,
        validation=len(parts["val"].images) if "val" in parts else None,
        holdout=None if "val" in parts else holdout,
        classes=tuple(str(number) for number in range(highest + 1)) if labelled else None,
    )
