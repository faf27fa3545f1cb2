"""A file of arrays: `.npy` with images, or `.npz` with images and, if there are any, labels and splits.

Images are uint8 [N, H, W] or [N, H, W, C] with C = 1 or 3, or floats in [0, 1] of these shapes. The keys of an `.npz`
are `images` and `labels`, or `train_images`, `test_images` (and `val_images`) with their labels; the names of
Keras' files (`x_train`, `y_train`, …) work too. Nothing in such a file is unpickled.
"""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.formats import TEST, TRAINING, VALIDATION, Layout, RawImages, Source, blocks, check_grey, refusing

_KEYS = {
    "": (("images", "labels"), ("x", "y")),
    "train": (("train_images", "train_labels"), ("x_train", "y_train")),
    "val": (("val_images", "val_labels"), ("x_val", "y_val")),
    "test": (("test_images", "test_labels"), ("x_test", "y_test")),
}
_PARTS = {"": TRAINING, "train": TRAINING, "val": VALIDATION, "test": TEST}
_GREY_LEVELS = "uint8, or floats from 0 to 1"
_NPZ = "images (and labels), or train_images and test_images (and val_images, …_labels)"


class _Part(NamedTuple):
    """Images uint8 [N, H, W, C], and labels or None where the file has none."""

    images: np.ndarray
    labels: np.ndarray | None


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the arrays as uint8; floats are rounded to 256 levels. Raises UserError naming the array that does not fit."""
    path, parts, names = source.paths[0], {}, ["images"]
    with refusing(path, "a whole file of plain numpy arrays"):
        if path.suffix == ".npy":
            images = np.load(path, mmap_mode="r", allow_pickle=False)
            parts[""] = _Part(_as_bytes(f"{path}: images", images, scratch / "images.npy"), None)
        else:
            with zipfile.ZipFile(path) as file:
                names = [name.removesuffix(".npy") for name in file.namelist()]
                for part, keys in _KEYS.items():
                    if pair := next((pair for pair in keys if pair[0] in names), None):
                        parts[part] = _read_part(path, file, names, pair, scratch)
    if not parts or ("train" in parts) == ("" in parts) or ("" in parts and len(parts) > 1):
        known_names = ", ".join(
            name for name in names if any(name in pair for pairs in _KEYS.values() for pair in pairs)
        )
        problem = f"got {known_names or 'no array of a known name'}; must be images, or train_images and others"
        raise UserError(str(path), problem)
    shapes = {part.images.shape[1:] for part in parts.values()}
    if len(shapes) > 1:
        problem = f"got splits of different height, width and channels {sorted(shapes)}; must be the same"
        raise UserError(str(path), problem)
    check_grey(path.name, min(shapes)[2], source.settings.binarisation)
    return _join(parts, scratch)


def _read_part(path: Path, file: zipfile.ZipFile, names: list[str], keys: tuple[str, str], scratch: Path) -> _Part:
    images = _as_bytes(f"{path}: {keys[0]}", _read_member(file, keys[0]), scratch / f"{keys[0]}.npy")
    if keys[1] not in names:
        return _Part(images, None)
    labels, array_name = _read_member(file, keys[1]), f"{path}: {keys[1]}"
    if labels.size != len(images) or labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() > 65_535:
        wanted = f"{len(images):,} whole numbers from 0 to 65,535, one for each image"
        raise UserError(array_name, f"got {labels.dtype} {list(labels.shape)}; must be {wanted}")
    return _Part(images, labels.reshape(-1))


def _read_member(file: zipfile.ZipFile, name: str) -> np.ndarray:
    """Read the array of a member. Its header is compared with the member's size before memory is given."""
    member = file.getinfo(f"{name}.npy")
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = {1: np.lib.format.read_array_header_1_0, 2: np.lib.format.read_array_header_2_0}[version[0]]
        shape, _, kind = read_header(stream)
        announced, held = stream.tell() + kind.itemsize * int(np.prod(shape, dtype=object)), member.file_size
    if kind.hasobject:
        raise ValueError("pickled objects")
    if announced != held:
        raise ValueError(f"{name} has {held:,} bytes, and its header announces {announced:,}")
    with file.open(member) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _as_bytes(array_name: str, images: np.ndarray, target: Path) -> np.ndarray:
    """Return images uint8 [N, H, W, C]; floats in [0, 1] and booleans are written to `target` piece by piece."""
    shaped = images[..., None] if images.ndim == 3 else images
    if shaped.ndim != 4 or shaped.shape[-1] not in (1, 3) or not all(shaped.shape):
        turned = " Try to transpose it from [N, C, H, W]." if images.ndim == 4 and images.shape[1] in (1, 3) else ""
        raise UserError(array_name, f"got {images.shape}; must be [N, H, W] or [N, H, W, C] with C = 1 or 3.{turned}")
    if shaped.dtype == np.uint8:
        return shaped
    if shaped.dtype.kind not in "fb":
        raise UserError(array_name, f"got {shaped.dtype}; must be {_GREY_LEVELS}")
    drawn = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shaped.shape)
    start = 0
    for piece in blocks(shaped):
        values = piece.astype(np.float32)
        if not (values.min() >= 0 and values.max() <= 1):  # false for NaN too
            raise UserError(array_name, f"got values from {values.min():g} to {values.max():g}; must be {_GREY_LEVELS}")
        drawn[start : start + len(piece)] = np.rint(values * 255)
        start += len(piece)
    return drawn


def _join(parts: dict[str, _Part], scratch: Path) -> RawImages:
    """Join all parts one after the other, in a file of their own where there are several."""
    counts = [len(part.images) for part in parts.values()]
    images = next(iter(parts.values())).images
    _, height, width, channels = images.shape
    if len(parts) > 1:
        shape = (sum(counts), height, width, channels)
        images = np.lib.format.open_memmap(scratch / "all.npy", mode="w+", dtype=np.uint8, shape=shape)
        np.concatenate([part.images for part in parts.values()], out=images)
    labels = [part.labels for part in parts.values() if part.labels is not None]
    labelled = len(labels) == len(parts)
    classes = 1 + max(int(each.max()) for each in labels) if labelled else 0
    notes = [
        f"Images: {height} × {width} pixels, channels: {channels}, as they are",
        f"Classes: {classes}" if labelled else "Classes: none",
    ]
    if "" not in parts:
        notes.append(f"Split: {', '.join(parts)} as in the file")
    return RawImages(
        images=np.moveaxis(images, -1, 1),
        labels=np.concatenate(labels).astype(np.min_scalar_type(classes - 1))
        if labelled
        else np.zeros(sum(counts), "u1"),
        parts=np.repeat(np.array([_PARTS[name] for name in parts], np.uint8), counts),
        classes=tuple(str(number) for number in range(classes)) if labelled else None,
        notes=tuple(notes),
    )


ARRAYS = Layout(
    expected=lambda _: f"one file: .npy with images [N, H, W] or [N, H, W, C], or .npz with {_NPZ}; {_GREY_LEVELS}",
    find=lambda _, root: (root,) if root.is_file() and root.suffix in (".npy", ".npz") else (),
    read=_read,
)
