"""Prepared arrays: a source read, checked, shuffled and binarised once, then opened as memory maps.

A folder holds `training_images.npy` uint8 [N, C, H, W] and `training_labels.npy` uint8 [N] in the order of the split
(`training_order.npy`, int64 [N]: place in the source's file), `test_images.npy`, `test_labels.npy` in the order of
the file, and `meta.json` with the sizes of these files, the SHA-256 of their content and what is known of them;
`unreadable.txt` lists the image files that were left out.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.errors import UserError
from vaeexp.cache import build_once, cache_folder
from vaeexp.data.datasets import RawImages, blocks
from vaeexp.data.locate import Source
from vaeexp.data.random_draws import Purpose, binarise, permutation

ARRAYS = ("training_images", "training_labels", "training_order", "test_images", "test_labels")
UNREADABLE = "unreadable.txt"

_LAYOUT = 2  # raised whenever the same source would give other arrays


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A folder of prepared arrays; `digest` is the SHA-256 (hex) of all of them, `training` and `test` count images.

    validation, holdout, classes, notes, files: as in `RawImages`. unreadable: files that were left out.
    """

    folder: Path
    digest: str
    training: int
    test: int
    image_shape: tuple[int, int, int]
    validation: int | None
    holdout: int | None
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]
    files: int
    unreadable: int


def prepare(source: Source, *, static: bool, seed: int, say: Callable[[str], None]) -> Prepared:
    """The prepared arrays of `source`, made unless they are there; static binarisation and the split use `seed`.

    Raises UserError when a file of the source is damaged (nothing is kept then) or the cache cannot be written.
    """
    facts = [_LAYOUT, source.definition.name, source.identity(), static, seed]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = cache_folder() / "prepared" / f"{source.definition.name}-{key}"
    if (prepared := _open(folder, source)) is None:
        build_once(
            folder,
            is_whole=lambda folder: _open(folder, source) is not None,
            build=lambda temporary: _build(temporary, source, static=static, seed=seed, say=say),
        )
        prepared = _open(folder, source)
    if prepared is None:
        raise UserError(str(folder), "the prepared arrays are damaged as soon as they are written; check the disk")
    return prepared


def _build(folder: Path, source: Source, *, static: bool, seed: int, say: Callable[[str], None]) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    raw = source.read(scratch, say)
    meta = {
        "training": len(raw.training_labels),
        "test": len(raw.test_labels),
        "image_shape": list(raw.training_images.shape[1:]),
        "validation": raw.validation,
        "holdout": raw.holdout,
        "classes": raw.classes,
        "notes": raw.notes,
        "files": raw.files,
        "unreadable": len(raw.unreadable),
    }
    if raw.unreadable:
        lines = "".join(f"{name}\t{problem}\n" for name, problem in raw.unreadable)
        (folder / UNREADABLE).write_text(lines, encoding="utf-8")
    meta |= _write(folder, raw, static=static, seed=seed)
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def _write(folder: Path, raw: RawImages, *, static: bool, seed: int) -> dict[str, Any]:
    """Write the arrays, images piece by piece; their digest and the sizes of the files."""
    training, training_rows = raw.training_images, raw.training_rows
    test, test_rows = raw.test_images, raw.test_rows
    if static:
        # Drawn in the order of the source, so that an image's pixels do not depend on the split.
        training, training_rows = binarise(_chosen(training, training_rows), seed, Purpose.TRAINING_PIXELS), None
        test, test_rows = binarise(_chosen(test, test_rows), seed, Purpose.TEST_PIXELS), None
    order = _order(len(raw.training_labels), raw.validation or 0, seed)
    parts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        "training_images": (training, order if training_rows is None else training_rows[order]),
        "training_labels": (raw.training_labels, order),
        "training_order": (order.astype("<i8"), None),
        "test_images": (test, test_rows),
        "test_labels": (raw.test_labels, None),
    }
    digest, sizes = hashlib.sha256(), {}
    for name in ARRAYS:
        array, rows = parts[name]
        shape = (len(array if rows is None else rows), *array.shape[1:])
        digest.update(f"{name} {array.dtype.str} {shape}\n".encode())
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks(array, rows):
                digest.update(block.data)
                file.write(block.data)
        sizes[name] = (folder / f"{name}.npy").stat().st_size
    return {"digest": digest.hexdigest(), "sizes": sizes}


def _chosen(images: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return images if rows is None else images[rows]


def _order(count: int, validation: int, seed: int) -> np.ndarray:
    """The order of the split, int64 [count]: a source's own validation images stay last, in an order of their own."""
    training = permutation(count - validation, seed, Purpose.SPLIT)
    if not validation:
        return training
    return np.concatenate([training, count - validation + permutation(validation, seed, Purpose.VALIDATION_ORDER)])


def _open(folder: Path, source: Source) -> Prepared | None:
    """The prepared arrays, or None when there are none or their files do not have the sizes that were written."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if any((folder / f"{name}.npy").stat().st_size != meta["sizes"][name] for name in ARRAYS):
            return None
        known = {"image_shape": source.definition.image_shape, "classes": source.definition.classes}
        meta = {**known, **meta}  # what earlier versions did not write
        return Prepared(
            folder=folder,
            digest=meta["digest"],
            training=meta["training"],
            test=meta["test"],
            image_shape=tuple(meta["image_shape"]),
            validation=meta.get("validation"),
            holdout=meta.get("holdout"),
            classes=tuple(meta["classes"]) if meta["classes"] else None,
            notes=tuple(meta.get("notes", ())),
            files=meta.get("files", 0),
            unreadable=meta.get("unreadable", 0),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
