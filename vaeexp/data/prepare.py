"""Prepared arrays: a source read, checked, shuffled and binarised once, then opened as memory maps.

A folder holds `training_images.npy` uint8 [N, C, H, W] and `training_labels.npy` uint8 [N] in the
order of the split (`training_order.npy`, int64 [N]: place in the source's file), `test_images.npy`,
`test_labels.npy` in the order of the file, and `meta.json` with what is known of them and a
checksum of each file (vaeexp/cache.py). Images of more than `WHOLE` bytes have a table of checksums
beside them (vaeexp/data/block_checks.py).

Random draws are the same for ever: with every numpy version, on every machine. numpy promises to
keep the raw output of its bit generators, but not what `Generator.permutation` or
`Generator.random` make of it. So both draws here are made from raw Philox numbers (Salmon et al.
2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed with (purpose, seed).
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import UserError
from vaeexp.cache import FACTS, build_once, cache_folder, read_facts, seal_folder
from vaeexp.data.block_checks import WHOLE, open_blocks, write_table
from vaeexp.data.duplicates import compare_splits
from vaeexp.data.first_look import look, settle_levels
from vaeexp.data.formats import PART_NAMES, TEST, TRAINING, VALIDATION, RawImages, Source, blocks
from vaeexp.words import plural

_LAYOUT = 7  # raised whenever the same source would give other arrays
_SPLITS = {TRAINING: "training", VALIDATION: "validation", TEST: "test"}
_CHUNK = 2**20  # pixels drawn at a time; even, since one raw number serves two pixels


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A folder of prepared arrays.

    digest: SHA-256 (hex) of all arrays.
    training, test: images. The last `validation` training images are the source's own validation
        images, if it has any.
    holdout: images to hold out for validation at most, where no protocol says how many.
    classes, notes, warnings, doubt, reading: as in `RawImages`.
    pixels: facts on the pixels of the training images (vaeexp/data/first_look.py).
    unlabelled: those of train, validation and test that have no labels although the data set has
        classes.
    files: images of the source.
    unreadable: those of them that cannot be read and were left out, as in `Unreadable`.
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
    unreadable: tuple[tuple[int, str, str], ...]
    warnings: tuple[str, ...]
    doubt: str
    reading: tuple[str, ...]
    pixels: dict[str, Any]
    unlabelled: tuple[str, ...]


def prepare(source: Source, *, static: bool, seed: int, say: Callable[[str], None]) -> Prepared:
    """Return the prepared arrays of `source`, and make them first where they are missing or
    damaged.

    `seed` is that of static binarisation and of the split. Raises UserError when a file of the
    source is damaged (then nothing is kept) or the cache cannot be written, Damaged when files that
    were downloaded do not match their checksums.
    """
    facts = [_LAYOUT, source.definition.name, source.identity(), static, seed]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = cache_folder() / "prepared" / f"{source.definition.name}-{key}"
    prepared = build_once(
        folder, _open, lambda new: _build(new, source, static=static, seed=seed, say=say)
    )
    # Another user may own the cache; `vaeexp gc` looks when it was last used.
    with suppress(OSError):
        os.utime(folder / FACTS)
    return prepared


def _split(source: Source, raw: RawImages) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """Split the images. Return the facts of the split, as in `Prepared`, and the rows of each part.

    The split of the files is kept, the source's own validation images being the last training
    images. Where the files have no test images, a tenth is held out for test. This tenth is fixed
    for ever and does not depend on the study's split seed, as with official test files: an image
    that was tested on under one seed is not trained on under another. Raises UserError where a part
    has no readable image.
    """
    parts = raw.parts.copy()
    notes = raw.notes
    training = np.flatnonzero(parts == TRAINING)
    tenth = max(1, round(len(training) / 10))
    holdout = tenth if source.definition.counts is None and VALIDATION not in parts else None
    if TEST not in parts:
        if len(training) < 3:
            problem = f"got {plural(len(training), 'image')} to train, validate and test on"
            raise UserError(str(source.root), f"{problem}; must be at least 3")
        parts[training[permutation(len(training), 0, Purpose.HELD_OUT_TEST)[:tenth]]] = TEST
        notes = (*notes, "Test: a tenth of the images, drawn once for ever")
    readable = np.ones(len(parts), dtype=bool)
    readable[[file.row for file in raw.unreadable]] = False
    rows = {
        part: np.flatnonzero(readable & (parts == part)) for part in (TRAINING, VALIDATION, TEST)
    }
    if any(not len(rows[part]) for part in (TRAINING, *np.unique(parts).tolist())):
        raise UserError(
            str(source.root), "got a split without readable images; must be at least one image each"
        )
    facts = {
        "validation": len(rows[VALIDATION]) if VALIDATION in parts else None,
        "holdout": holdout,
        "notes": notes,
    }
    return facts, rows


def _build(
    folder: Path, source: Source, *, static: bool, seed: int, say: Callable[[str], None]
) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    if source.check is not None:
        source.check()
    raw = source.definition.layout.read(source, scratch, say)
    facts, rows = _split(source, raw)
    raw = settle_levels(raw._replace(notes=facts["notes"]), rows, scratch)
    pixels, warnings = look(raw, rows, str(source.root))
    training = np.concatenate([rows[TRAINING], rows[VALIDATION]])
    test = rows[TEST]
    own = {name: rows[part] for part, name in _SPLITS.items()}
    notes, doubles = compare_splits(raw.images, own, drawn=facts["validation"] is None)
    # The source's own validation images stay last, in an order of their own.
    held_out = len(rows[VALIDATION])
    last = len(training) - held_out + permutation(held_out, seed, Purpose.VALIDATION_ORDER)
    order = np.concatenate([permutation(len(training) - held_out, seed, Purpose.SPLIT), last])
    digest = _write(folder, raw, training, test, order, seed if static else None)
    meta = {
        **facts,
        "training": len(training),
        "test": len(test),
        "image_shape": raw.images.shape[1:],
        "classes": raw.classes,
        "files": len(raw.parts),
        "unreadable": raw.unreadable,
        "doubt": raw.doubt,
        # No notes on copies where nothing else is noted of the files.
        "notes": (*raw.notes, *(notes if raw.notes else ())),
        "warnings": (*raw.warnings, *warnings, *doubles),
        "reading": raw.reading,
        "pixels": pixels,
        "unlabelled": [
            name
            for part, name in PART_NAMES.items()
            if (part if part in raw.parts else TRAINING) in raw.unlabelled
        ],
        "digest": digest,
    }
    shutil.rmtree(scratch)
    large = [path for path in folder.glob("*_images.npy") if path.stat().st_size > WHOLE]
    for path in large:
        write_table(path)
    seal_folder(folder, meta, by_blocks=[path.name for path in large])


def _write(
    folder: Path,
    raw: RawImages,
    training: np.ndarray,
    test: np.ndarray,
    order: np.ndarray,
    static_seed: int | None,
) -> str:
    """Write the arrays, images piece by piece; return their digest, SHA-256 (hex).

    training, test: rows of `raw`.
    order: of the training images.
    static_seed: of static binarisation; None without it.
    """
    parts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        "training_images": (raw.images, training[order]),
        "training_labels": (raw.labels[training], order),
        "training_order": (order.astype("<i8"), None),
        "test_images": (raw.images, test),
        "test_labels": (raw.labels[test], None),
    }
    if static_seed is not None:
        # Drawn in the order of the source, so that an image's pixels do not depend on the split.
        parts["training_images"] = (
            binarise(raw.images[training], static_seed, Purpose.TRAINING_PIXELS),
            order,
        )
        parts["test_images"] = binarise(raw.images[test], static_seed, Purpose.TEST_PIXELS), None
    digest = hashlib.sha256()
    for name, (array, rows) in parts.items():
        shape = (len(array if rows is None else rows), *array.shape[1:])
        digest.update(f"{name} {array.dtype.str} {shape}\n".encode())
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": array.dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks(array, rows):
                digest.update(block.data)
                file.write(block.data)
    return digest.hexdigest()


def _open(folder: Path) -> Prepared | None:
    """Check the files of a folder and return its facts; None when there is no folder.

    Of images with a table only the first block is checked here. Raises Damaged.
    """
    if (meta := read_facts(folder)) is None:
        return None
    for path in folder.glob("*_images.npy"):
        open_blocks(path)
    facts: dict[str, Any] = {
        name: tuple(fact) if isinstance(fact, list) else fact for name, fact in meta.items()
    }
    return Prepared(folder=folder, **facts)


class Purpose(IntEnum):
    """The purpose of a stream: streams of different purposes are independent under the same
    seed.
    """

    SPLIT = 0
    TRAINING_PIXELS = 1
    TEST_PIXELS = 2
    SUBSET_TEST = 3
    HELD_OUT_TEST = 4
    VALIDATION_ORDER = 5


def _stream(seed: int, purpose: Purpose) -> np.random.Philox:
    return np.random.Philox(key=(int(purpose) << 64) + seed % 2**64)


def permutation(count: int, seed: int, purpose: Purpose) -> np.ndarray:
    """Return a random order of range(count), int64 [count]: that of `count` raw 64-bit numbers,
    ties by index.
    """
    return np.argsort(_stream(seed, purpose).random_raw(count), kind="stable")


def binarise(images: np.ndarray, seed: int, purpose: Purpose) -> np.ndarray:
    """Draw each pixel once: 1 with probability grey / 255, else 0.

    Pixel i (in memory order) is 1 when u_i < grey_i · 2³² / 255, where u_i is the i-th 32-bit
    number of the stream, low halves of the raw 64-bit numbers first. The probability is exact to
    2⁻³²; 0 stays 0 and 255 becomes 1. So an image's pixels depend on its place in `images`, and not
    on how the images are split later.

    images: uint8 of any shape. Returns uint8 of the same shape.
    """
    bits = _stream(seed, purpose)
    thresholds = np.array([-(-(grey << 32) // 255) for grey in range(256)], dtype=np.uint64)
    grey = np.ascontiguousarray(images).reshape(-1)
    drawn = np.empty_like(grey)
    for start in range(0, grey.size, _CHUNK):
        chunk = grey[start : start + _CHUNK]
        uniform = bits.random_raw((chunk.size + 1) // 2).astype("<u8").view("<u4")[: chunk.size]
        drawn[start : start + _CHUNK] = uniform < thresholds[chunk]
    return drawn.reshape(images.shape)
