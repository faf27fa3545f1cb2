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
from typing import Any, NamedTuple

import numpy as np

from sweeps.errors import UserError
from vaeexp.cache import build_once, cache_folder
from vaeexp.data.formats import TEST, TRAINING, VALIDATION, RawImages, Source, blocks
from vaeexp.data.random_draws import Purpose, binarise, permutation

ARRAYS = ("training_images", "training_labels", "training_order", "test_images", "test_labels")
UNREADABLE = "unreadable.txt"

_LAYOUT = 2  # raised whenever the same source would give other arrays


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A folder of prepared arrays.

    digest: SHA-256 (hex) of all arrays.
    training, test: images. The last `validation` training images are the source's own validation images, if it has any.
    holdout: images to hold out for validation at most, where no protocol says how many.
    classes, notes: as in `RawImages`.
    files, unreadable: images of the source, and those among them that cannot be read and were left out.
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
    """Return the prepared arrays of `source`, and make them first where they are missing or damaged.

    `seed` is that of static binarisation and of the split. Raises UserError when a file of the source is damaged (then
    nothing is kept) or the cache cannot be written.
    """
    facts = [_LAYOUT, source.definition.name, source.identity(), static, seed]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = cache_folder() / "prepared" / f"{source.definition.name}-{key}"
    if (prepared := _open(folder)) is None:
        build_once(
            folder,
            is_whole=lambda folder: _open(folder) is not None,
            build=lambda temporary: _build(temporary, source, static=static, seed=seed, say=say),
        )
        prepared = _open(folder)
    if prepared is None:
        raise UserError(str(folder), "got damaged arrays right after they were written. Check the disk.")
    return prepared


class _Split(NamedTuple):
    """Rows of the raw images: training (the source's own validation images last) and test. Counts as in `Prepared`."""

    training: np.ndarray
    test: np.ndarray
    validation: int | None
    holdout: int | None
    notes: tuple[str, ...]


def _split(source: Source, raw: RawImages) -> _Split:
    """Keep the split of the files, and hold a tenth out for test where the files have no test images.

    This tenth is fixed for ever and does not depend on the study's split seed, as with official test files: an image that
    was tested on under one seed is not trained on under another. Raises UserError where a part has no readable image.
    """
    parts, notes = raw.parts.copy(), raw.notes
    training = np.flatnonzero(parts == TRAINING)
    tenth = max(1, round(len(training) / 10))
    holdout = tenth if source.definition.counts is None and VALIDATION not in parts else None
    if TEST not in parts:
        if len(training) < 3:
            found = f"got {len(training)} image{'s' * (len(training) != 1)} to train, validate and test on"
            raise UserError(str(source.root), f"{found}; must be at least 3")
        parts[training[permutation(len(training), 0, Purpose.HELD_OUT_TEST)[:tenth]]] = TEST
        notes = (*notes, "Test: a tenth of the images, drawn once for ever")
    readable = np.ones(len(parts), dtype=bool)
    readable[[file.row for file in raw.unreadable]] = False
    rows = {part: np.flatnonzero(readable & (parts == part)) for part in (TRAINING, VALIDATION, TEST)}
    if any(not len(rows[part]) for part in (TRAINING, *parts)):
        raise UserError(str(source.root), "got a split without readable images; must be at least one image each")
    return _Split(
        training=np.concatenate([rows[TRAINING], rows[VALIDATION]]),
        test=rows[TEST],
        validation=len(rows[VALIDATION]) if VALIDATION in parts else None,
        holdout=holdout,
        notes=notes,
    )


def _build(folder: Path, source: Source, *, static: bool, seed: int, say: Callable[[str], None]) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    raw = source.definition.layout.read(source, scratch, say)
    split = _split(source, raw)
    meta = {
        "training": len(split.training),
        "test": len(split.test),
        "image_shape": list(raw.images.shape[1:]),
        "validation": split.validation,
        "holdout": split.holdout,
        "classes": raw.classes,
        "notes": split.notes,
        "files": len(raw.parts),
        "unreadable": len(raw.unreadable),
    }
    if raw.unreadable:
        lines = "".join(f"{name}\t{problem}\n" for _, name, problem in raw.unreadable)
        (folder / UNREADABLE).write_text(lines, encoding="utf-8")
    meta |= _write(folder, raw, split, static=static, seed=seed)
    for path in scratch.iterdir():
        path.unlink()
    scratch.rmdir()
    (folder / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")


def _write(folder: Path, raw: RawImages, split: _Split, *, static: bool, seed: int) -> dict[str, Any]:
    """Write the arrays, images piece by piece; their digest and the sizes of the files."""
    order = _order(len(split.training), split.validation or 0, seed)
    training, training_rows = raw.images, split.training[order]
    test, test_rows = raw.images, split.test
    if static:
        # Drawn in the order of the source, so that an image's pixels do not depend on the split.
        training, training_rows = binarise(raw.images[split.training], seed, Purpose.TRAINING_PIXELS), order
        test, test_rows = binarise(raw.images[split.test], seed, Purpose.TEST_PIXELS), np.arange(len(split.test))
    parts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        "training_images": (training, training_rows),
        "training_labels": (raw.labels[split.training], order),
        "training_order": (order.astype("<i8"), None),
        "test_images": (test, test_rows),
        "test_labels": (raw.labels[split.test], None),
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


def _order(count: int, validation: int, seed: int) -> np.ndarray:
    """The order of the split, int64 [count]: a source's own validation images stay last, in an order of their own."""
    training = permutation(count - validation, seed, Purpose.SPLIT)
    if not validation:
        return training
    return np.concatenate([training, count - validation + permutation(validation, seed, Purpose.VALIDATION_ORDER)])


def _open(folder: Path) -> Prepared | None:
    """Open the prepared arrays; None when they are missing or their files have other sizes than were written."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        if any((folder / f"{name}.npy").stat().st_size != meta["sizes"][name] for name in ARRAYS):
            return None
        return Prepared(
            folder=folder,
            digest=meta["digest"],
            training=meta["training"],
            test=meta["test"],
            image_shape=tuple(meta["image_shape"]),
            validation=meta["validation"],
            holdout=meta["holdout"],
            classes=tuple(meta["classes"]) if meta["classes"] else None,
            notes=tuple(meta["notes"]),
            files=meta["files"],
            unreadable=meta["unreadable"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
