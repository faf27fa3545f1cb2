"""Prepared arrays: a source read, checked, shuffled, scaled and binarised once, then opened as
memory maps.

A folder holds `training_images.npy` [N, C, H, W], uint8 or targets float32, and
`training_labels.npy` uint8 [N] in the order of the split (`training_order.npy`, int64 [N]: place in
the source's file), `test_images.npy`, `test_labels.npy` in the order of the file, and `meta.json`
with what is known of them and a checksum of each file (vaeexp/cache.py). Under static binarisation
`training_keys.npy` and `test_keys.npy` hold hashes of the grey images.

Random draws are the same for ever: with every numpy version, on every machine. numpy promises to
keep the raw output of its bit generators, but not what `Generator.permutation` or
`Generator.random` make of it. So both draws here are made from raw Philox numbers (Salmon et al.
2011, "Parallel random numbers: as easy as 1, 2, 3"), keyed with (purpose, seed).
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.cache import FACTS, build_once, cache_folder, read_facts, seal_folder
from vaeexp.data.doubts import doubts, gather
from vaeexp.data.duplicates import compare_splits, image_keys
from vaeexp.data.first_look import look, look_at_numbers, settle_levels
from vaeexp.data.formats import (
    PART_NAMES,
    SPLIT_WORDS,
    TEST,
    TRAINING,
    VALIDATION,
    RawImages,
    Source,
    blocks,
    ending_of,
    natural,
    printable,
    row_words,
    some_of,
)
from vaeexp.data.formats.array_pixels import AS_NUMBERS
from vaeexp.data.formats.levels import DEEPEST
from vaeexp.data.formats.tiff import TIFF
from vaeexp.data.missing import without_missing
from vaeexp.data.numbers import (
    LeftOut,
    are_counts,
    as_bytes,
    describe_bytes,
    describe_numbers,
    without_constant_columns,
    words_of,
)
from vaeexp.data.outliers import look_at_sizes
from vaeexp.data.row_names import write_marks, write_names
from vaeexp.data.scaling import Scaling, check_finite, fit, limits_of, pieces, statistics
from vaeexp.data.splits import (
    joined_spellings,
    known_times,
    large_groups,
    spans,
    split_groups,
    split_time,
)
from vaeexp.data.values import Values
from vaeexp.words import plural

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_LAYOUT = 13  # raised whenever the same source would give other arrays
_DECIDING = ("scale", "scale_per", "clip", "split", "missing", "pages")
_SIZES = ("validation_size", "train_size")
_DEFAULTS = {"scale": "unit", "scale_per": "global", "split": "random"}
"""Settings that decide arrays besides those of files; None where they are not listed."""
_OF_RAW = ("classes", "unreadable", "doubt", "reading", "features", "black", "named_by", "changed")
SUBSET_VALIDATION = 500
_THRESHOLDS = np.array([-(-(grey << 32) // 255) for grey in range(256)], dtype=np.uint64)
_CHUNK = 2**20  # pixels drawn at a time; even, since one raw number serves two pixels


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of images that are prepared.

    classes: name of each label, empty for one that does not occur; None where the images have
        none. A split may have none all the same: `Split.classes`.
    warnings: sentences for people on what they cannot have meant, each with what to do.
    reading: words on what decides the pixels besides the files; empty where files are read as they
        always were.
    kind: type of the numbers in the files, as `uint16`.
    features: names of the features of a table.
    dropped, constants: names of the columns of vectors that were left out, because they never
        change, and the value of each.
    kept: the other columns of the file; None where none was left out.
    factors: names of the known factors of variation.
    whites: the number that became 255 in each kind of file, where the images are bytes.
    black, named_by, changed: as in `RawImages`.
    unlabelled: those of train, validation and test that have no labels although others have.
    """

    image_shape: tuple[int, int, int]
    classes: tuple[str, ...] | None
    warnings: tuple[str, ...]
    reading: tuple[str, ...]
    kind: str = "uint8"
    features: tuple[str, ...] | None = None
    dropped: tuple[str, ...] = ()
    constants: tuple[float, ...] = ()
    kept: tuple[int, ...] | None = None
    factors: tuple[str, ...] = ()
    whites: dict[str, int] | None = None
    black: int = DEEPEST
    named_by: str = ""
    changed: tuple[str, ...] = ()
    unlabelled: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Prepared(Known):
    """A folder of prepared arrays.

    digest: SHA-256 (hex) of all arrays.
    training, test: images. The last `validation` training images are the source's own validation
        images, if it has any.
    holdout: images to hold out for validation at most, where no protocol says how many.
    notes, doubt: as in `RawImages`.
    pixels: facts on the pixels of the training images (vaeexp/data/first_look.py).
    scaling: record of how numbers of the files became targets (vaeexp/data/scaling.py).
    values: record of what a model is given (vaeexp/data/values.py).
    files: images of the source.
    unreadable: those of them that cannot be read and were left out, as in `Unreadable`.
    """

    folder: Path
    digest: str
    training: int
    test: int
    validation: int | None
    holdout: int | None
    notes: tuple[str, ...]
    files: int
    unreadable: tuple[tuple[int, str, str], ...]
    doubt: str
    pixels: dict[str, Any]
    scaling: dict[str, Any]
    values: dict[str, Any]


def prepare(source: Source, *, say: Callable[[str], None]) -> Prepared:
    """Return the prepared arrays of `source`, and make them first where they are missing or
    damaged.

    Raises UserError when a file of the source is damaged, its numbers do not fit the settings (then
    nothing is kept) or the cache cannot be written, Damaged when files that were downloaded do not
    match their checksums.
    """
    settings = source.settings
    asked = {name: getattr(settings, name) for name in _DECIDING}
    # What most studies leave as it is is no part of the key of their arrays.
    others = {name: value for name, value in asked.items() if value != _DEFAULTS.get(name)}
    if _fitted(source) or settings.pages or settings.split_by or settings.split != "random":
        others |= {name: getattr(settings, name) for name in _SIZES}
    if source.definition.counts is None:
        others["binarised"] = settings.binarisation != "none"
    static = settings.binarisation == "static"
    identity = source.identity()
    facts = [_LAYOUT, source.definition.name, identity, static, settings.split_seed, others]
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    folder = cache_folder() / "prepared" / f"{source.definition.name}-{key}"
    prepared = build_once(folder, _open, lambda new: _build(new, source, say=say))
    # Another user may own the cache; `vaeexp gc` looks when it was last used.
    with suppress(OSError):
        os.utime(folder / FACTS)
    return prepared


def _time_of(raw: RawImages, row: int) -> str:
    """Name the time of a row; else its file of several, else its place."""
    if raw.groups is not None:
        return printable(re.sub(r"(T00:00:00)?(\.0+)?$", "", str(raw.groups[row]).strip()))
    row = row if raw.rows is None else int(raw.rows[row])
    for name, rows in raw.files if len(raw.files) > 1 else ():
        if row < rows:
            return printable(name)
        row -= rows
    return row_words(row)


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
    settings = source.settings
    root = str(source.root)
    if settings.split == "time":
        times = np.arange(len(parts))
        if raw.groups is not None:
            times = known_times(raw.groups, root, raw.where)
        parts = split_time(parts, times, settings.validation_size, root)
        said = "Split: in time, the last images for test, those before for validation"
        notes = (*notes, said, spans(parts, times, partial(_time_of, raw)))
    elif raw.groups is not None:
        seed = settings.split_seed
        parts = split_groups(parts, raw.groups, settings.validation_size, seed, root, raw.where)
        n = len(np.unique(raw.groups))
        notes = (*notes, f"Split: {n:,} groups by {settings.split_by or 'file'}, each in one split")
    notes = (*notes, *large_groups(parts, raw.groups))
    training = np.flatnonzero(parts == TRAINING)
    tenth = max(1, round(len(training) / 10))
    holdout = tenth if source.definition.counts is None and VALIDATION not in parts else None
    if TEST not in parts:
        if len(training) < 3:
            problem = f"got {plural(len(training), 'image')} to train, validate and test on"
            raise UserError(str(source.root), f"{problem}; must be at least 3")
        parts[training[permutation(len(training), 0, Purpose.HELD_OUT_TEST)[:tenth]]] = TEST
        notes = (*notes, "Test: a tenth of the data, the same for every split seed")
    readable = np.ones(len(parts), dtype=bool)
    readable[[file.row for file in raw.unreadable]] = False
    rows = {part: np.flatnonzero(readable & (parts == part)) for part in PART_NAMES}
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


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the files: where their order is that in time, in the order of the numbers in their
    names. Spellings of one group become one.
    """
    settings = source.settings
    paths = source.paths
    if settings.pages and not any(ending_of(path) in TIFF for path in paths):
        raise UserError("data.pages", f"got {settings.pages}; must be left out without TIFF files.")
    if settings.split == "time" and settings.split_by is None:
        paths = tuple(sorted(paths, key=lambda path: [*map(natural, path.parts)]))
    raw = source.definition.layout.read(replace(source, paths=paths), scratch, say)
    changed = raw.changed
    if paths != source.paths and raw.files:
        changed += ("files are in the order of the numbers in their names, day_2 before day_10",)
    groups = raw.groups
    notes = raw.notes
    if groups is not None and settings.split != "time":
        groups, joined = joined_spellings(groups)
        if joined:
            named = some_of([f"'{name}'" for name in joined])
            spelt = f"names that differ in spaces or forms of Unicode alone are one group: {named}"
            changed += (spelt,)
            notes += (f"Groups: {spelt}",)
    return raw._replace(groups=groups, notes=notes, changed=changed)


def _build(folder: Path, source: Source, *, say: Callable[[str], None]) -> None:
    scratch = folder / "scratch"
    scratch.mkdir()
    if source.check is not None:
        source.check()
    settings = source.settings
    root = str(source.root)
    raw = _read(source, scratch, say)
    kind = raw.images.dtype.name
    own_data = source.definition.counts is None and not source.definition.downloadable
    if own_data and not raw.files:
        raw = raw._replace(files=[(source.root.name, len(raw.parts))])
    raw = without_missing(raw, settings.missing, scratch, root)
    whole = check_finite(raw, root)
    if settings.keeps_range:
        raw = as_bytes(raw, settings.binarisation, scratch, root)
    facts, rows = _split(source, raw)
    raw = raw._replace(notes=facts["notes"])
    training = np.concatenate([rows[TRAINING], rows[VALIDATION]])
    order = _order(len(training), len(rows[VALIDATION]), settings.split_seed)
    taught = rows[TRAINING]
    if _fitted(source):
        own_sizes = len(training), len(rows[TEST]), facts["validation"], facts["holdout"]
        taught = training[order[: sizes_of(source, *own_sizes)[0]]]
    own = {name: rows[part] for part, name in SPLIT_WORDS.items()}
    doubted = doubts(gather(raw, rows, settings)) if source.definition.counts is None else []
    made = _bytes(raw, rows, kind, scratch, root) if is_bytes(raw, settings) else None
    made = made or _numbers(raw, rows, taught, settings, whole, scratch, root)
    raw = made.raw
    notes, doubles = compare_splits(raw.images, own, drawn=facts["validation"] is None)
    static_seed = settings.split_seed if settings.binarisation == "static" else None
    digest = _write(folder, raw, training, rows[TEST], order, static_seed, made.targets)
    if settings.clip is not None:
        # Limits change the numbers that are modelled, and depend on the images to train on.
        limits = json.dumps([made.scaling.record()[name] for name in ("low", "high")])
        digest = hashlib.sha256(f"{digest} {limits}".encode()).hexdigest()
    parts = {"training": training[order], "test": rows[TEST]}
    meta = {
        **facts,
        **_facts_of(made),
        "training": len(training),
        "test": len(rows[TEST]),
        # No notes on copies where nothing else is noted of the files.
        "notes": (*raw.notes, *(notes if raw.notes else ())),
        "warnings": (*raw.warnings, *doubted, *made.warnings, *doubles),
        "digest": digest,
    }
    if own_data:
        write_names(folder, raw, parts)
    if made.left.unseen:
        write_marks(folder, made.left.unseen, parts)
    shutil.rmtree(scratch)
    seal_folder(folder, meta)


def _facts_of(made: "_Made") -> dict[str, Any]:
    """Return what is known of images that are ready, by the names of `Prepared`."""
    raw = made.raw
    unlabelled = [
        name
        for part, name in PART_NAMES.items()
        if (part if part in raw.parts else TRAINING) in raw.unlabelled
    ]
    return {
        **{name: getattr(raw, name) for name in _OF_RAW},
        "pixels": made.pixels,
        "kind": made.kind,
        "whites": made.whites,
        "dropped": made.left.dropped,
        "constants": made.left.constants,
        "kept": made.left.kept,
        "image_shape": raw.images.shape[1:],
        "files": len(raw.parts),
        "unlabelled": unlabelled,
        "scaling": made.scaling.record(),
        "values": made.values.record(),
        "factors": raw.factor_names,
    }


def _fitted(source: Source) -> bool:
    """Return whether the arrays may depend on which images train, and so on the size of the splits.

    Whether a user's own array needs a scale is known only once it is read, so it counts. A folder
    of images under `scale: unit` does not, so that it is decoded once for all sizes.
    """
    settings = source.settings
    own = source.definition.counts is None and not source.definition.layout.resized
    return (own and settings.binarisation == "none") or not settings.keeps_range


def _order(count: int, held_out: int, seed: int) -> np.ndarray:
    """Return the order of the split, int64 [N]. The source's own validation images stay last, in an
    order of their own.
    """
    last = count - held_out + permutation(held_out, seed, Purpose.VALIDATION_ORDER)
    return np.concatenate([permutation(count - held_out, seed, Purpose.SPLIT), last])


class _Made(NamedTuple):
    """Images ready to be written.

    raw: the images, and what is known of them.
    targets: numbers of files [N, C, H, W] → targets float32; None where bytes are kept.
    others: as in `Known`.
    """

    raw: RawImages
    targets: Callable[[np.ndarray], np.ndarray] | None
    scaling: Scaling
    values: Values
    pixels: dict[str, Any]
    warnings: list[str]
    kind: str
    left: LeftOut = LeftOut()
    whites: dict[str, int] | None = None


def is_bytes(raw: RawImages, settings: "DataSettings") -> bool:
    """Return whether the images stay bytes, of which 255 is 1."""
    return raw.images.dtype == np.uint8 and settings.keeps_range


def _bytes(
    raw: RawImages, rows: Mapping[int, np.ndarray], kind: str, scratch: Path, root: str
) -> _Made:
    """Keep bytes, which the numbers of type `kind` in the files are now."""
    raw = settle_levels(raw, rows, scratch)
    pixels, warnings = look(raw, rows, root)
    values, scaling = describe_bytes(raw, rows[TRAINING], pixels["step"])
    whites = {str(int(kind)): white for kind, white in (raw.whites or {}).items()}
    return _Made(raw, None, scaling, values, pixels, warnings, kind, whites=whites or None)


def _numbers(
    raw: RawImages,
    rows: Mapping[int, np.ndarray],
    taught: np.ndarray,
    settings: "DataSettings",
    whole: bool,
    scratch: Path,
    root: str,
) -> _Made:
    """Scale numbers of any type, by the training images at the rows `taught`.

    whole: whether all are whole numbers.
    """
    if settings.binarisation != "none":
        problem = f"got {settings.binarisation}, and {root} has {raw.images.dtype} numbers"
        asked = f"with data.scale: {settings.scale}" + (" and data.clip" if settings.clip else "")
        remedy = f"binarisation needs grey levels, scale: unit, no clip. {AS_NUMBERS}"
        raise UserError("data.binarisation", f"{problem} {asked}; {remedy}.")
    others = np.setdiff1d(np.concatenate([*rows.values()]), taught)
    raw, left = without_constant_columns(raw, taught, others, scratch, root)
    limits = limits_of(raw, taught, settings, root)
    counts = are_counts(raw, settings.scale, whole=whole)
    if counts:
        # Outside, so that no more counts are cut than the percentiles say.
        found, limits = limits, (np.floor(limits[0]), np.ceil(limits[1]))
        if not np.array_equal(found, limits):
            raw = raw._replace(changed=(*raw.changed, "the limits of clip on counts are whole"))
    known = statistics(raw.images, taught, limits, settings.scale_per)
    scaling = fit(raw, taught, known, settings, root)
    doubts = look_at_numbers(raw, rows, taught, scaling, root)
    doubts += look_at_sizes(raw, rows, taught, known, scaling, root)
    values, pixels = describe_numbers(raw, taught, known, scaling, counts=counts)
    notes, reading, warnings = words_of(raw, rows, scaling, settings, left.dropped, root)
    warnings += doubts
    raw = raw._replace(notes=(*raw.notes, *notes), reading=(*raw.reading, *reading))
    kind = raw.images.dtype.name
    return _Made(raw, scaling.targets, scaling, values, pixels, warnings, kind, left)


def _write(
    folder: Path,
    raw: RawImages,
    training: np.ndarray,
    test: np.ndarray,
    order: np.ndarray,
    static_seed: int | None,
    targets: Callable[[np.ndarray], np.ndarray] | None,
) -> str:
    """Write the arrays, images piece by piece; return the digest, SHA-256 (hex), of the arrays
    before they were scaled: scaling is a setting of the training.

    training, test: rows of `raw`.
    order: of the training images.
    static_seed: of static binarisation; None without it.
    targets: numbers [N, C, H, W] → what is written; None: the numbers.
    """
    parts: dict[str, tuple[np.ndarray, np.ndarray | None]] = {
        "training_images": (raw.images, training[order]),
        "training_labels": (raw.labels[training], order),
        "training_order": (order.astype("<i8"), None),
        "test_images": (raw.images, test),
        "test_labels": (raw.labels[test], None),
    }
    if raw.factors is not None:
        parts["training_factors"] = raw.factors[training], order
        parts["test_factors"] = raw.factors[test], None
    if static_seed is not None:
        # Drawn in the order of the source, so that an image's pixels do not depend on the split.
        parts["training_images"] = (
            binarise(raw.images[training], static_seed, Purpose.TRAINING_PIXELS),
            order,
        )
        parts["test_images"] = binarise(raw.images[test], static_seed, Purpose.TEST_PIXELS), None
        parts["training_keys"] = image_keys(raw.images, training), order
        parts["test_keys"] = image_keys(raw.images, test), None
    digest = hashlib.sha256()
    for name, (array, rows) in parts.items():
        shape = (len(array if rows is None else rows), *array.shape[1:])
        known = name.endswith(("factors", "keys"))  # of the images, and no part of them
        if not known:
            digest.update(f"{name} {array.dtype.str} {shape}\n".encode())
        scaled = targets if name.endswith("images") else None
        descr = array.dtype.str if scaled is None else "<f4"
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": descr, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for block in blocks(array, rows):
                if not known:
                    digest.update(block.data)
                if scaled is None:
                    file.write(block.data)
                    continue
                for piece in pieces(block):
                    file.write(scaled(piece).data)
    return digest.hexdigest()


def sizes_of(
    source: Source, training: int, test: int, own: int | None, holdout: int | None
) -> tuple[int, int, int]:
    """Return the images in train, validation and test; the subset keeps its own validation size and
    takes any train_size.

    training, test: images in the files.
    own, holdout: as `validation` and `holdout` of `Prepared`.

    Raises UserError when the settings leave nothing to train on.
    """
    settings = source.settings
    validation = SUBSET_VALIDATION if source.subset else settings.validation_size
    if (limit := holdout if own is None else own) is not None:
        validation = min(validation, limit)
    kept_apart = validation if own is None else own
    if kept_apart >= training:
        problem = (
            f"got {validation:,}; must be less than the {training:,} images of the training files"
        )
        raise UserError("data.validation_size", problem)
    most = training - kept_apart
    train = settings.train_size or most
    # Only official files have a known number of images; elsewhere a study asks for at most so many.
    if train > most and not source.subset and source.definition.counts is not None:
        raise UserError(
            "data.train_size",
            f"got {train:,}; must be at most {most:,}, the images that are not held out",
        )
    return min(train, most), validation, test


def _open(folder: Path) -> Prepared | None:
    """Check the files of a folder and return its facts; None when there is no folder. Raises
    Damaged.
    """
    if (meta := read_facts(folder)) is None:
        return None
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
    NEW_PIXELS = 6


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
    grey = np.ascontiguousarray(images).reshape(-1)
    drawn = np.empty_like(grey)
    for start in range(0, grey.size, _CHUNK):
        chunk = grey[start : start + _CHUNK]
        uniform = bits.random_raw((chunk.size + 1) // 2).astype("<u8").view("<u4")[: chunk.size]
        drawn[start : start + _CHUNK] = uniform < _THRESHOLDS[chunk]
    return drawn.reshape(images.shape)
