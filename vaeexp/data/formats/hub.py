"""A data set of the Hugging Face Hub: parquet files with a column of images, or of numbers.

An image is a struct of `bytes`, an image file, and `path`. The names of classes are in the metadata
of the schema, key `huggingface`. Rows are read in batches.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    PART_NAMES,
    TEST,
    TRAINING,
    VALIDATION,
    Definition,
    Layout,
    RawImages,
    Source,
    class_notes,
    placed_at,
    refusing,
)
from vaeexp.data.formats.array_labels import Labels, read_labels
from vaeexp.data.formats.array_pixels import as_images
from vaeexp.data.formats.hub_columns import Columns, choose_columns
from vaeexp.data.formats.image_files import Listing, decode
from vaeexp.data.formats.image_pixels import readable
from vaeexp.data.formats.scratch import write_rows

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet

PARTS = {
    "train": TRAINING,
    "training": TRAINING,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
"""Name of a split → its part."""
PARTIAL = "partial-"
"""Before the name of a split of which only the first rows are on the Hub as parquet files."""
_SHARD = re.compile(r"-\d{4,6}(-of-\d{4,6}.*)?$")
_BATCH = 1024

Shards = Sequence[tuple[int, Path]]
"""Parquet files, each with its part, ordered by part."""


def part_of(name: str) -> int | None:
    """Return the part that a split of this name is; None for other names."""
    return PARTS.get(name.removeprefix(PARTIAL))


def _part_of_shard(path: Path) -> int | None:
    """Return the part that the name or a folder of a shard names: `data/train-00000-of-00001`."""
    names = [_SHARD.sub("", path.stem), *reversed(path.parent.parts)]
    return next((part for name in names if (part := part_of(name)) is not None), None)


def _find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """Find the parquet files: in a folder named after the data set, else at most two folders below
    `root`; empty where there are none.
    """
    owner, name = definition.title.split("/")[:2]
    for below in (f"{owner}/{name}", f"{owner}--{name}", name):
        if found := sorted((root / below).rglob("*.parquet")):
            return tuple(found)
    found = [*root.glob("*.parquet"), *root.glob("*/*.parquet"), *root.glob("*/*/*.parquet")]
    return tuple(sorted(found))


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the splits train, validation and test; where no name tells, all rows are to train on.
    Raises UserError.
    """
    shards, notes = _shards(source)
    columns = choose_columns(source, _opened(shards[0][1]).schema_arrow)
    counts = _count(shards, columns)
    beside = {name: _column(shards, name) for name in columns.beside()}
    labels = _labels(columns, beside, counts)
    parts = np.repeat(np.array([*counts], np.uint8), [*counts.values()])
    unlabelled = tuple([*counts][place] for place in labels.unlabelled)
    notes += [*columns.notes, *_left_out(labels)]
    listing = Listing(
        title=source.definition.title,
        root=scratch / "files",
        names=(),
        parts=parts,
        labels=labels.values,
        classes=labels.classes,
        notes=(*notes, *class_notes(labels.values, parts, labels.classes, unlabelled)),
        unlabelled=unlabelled,
    )
    if columns.encoded:
        names = _write_files(shards, str(columns.images), listing.root)
        with placed_at(source.root, listing.root):
            raw = decode(replace(listing, names=names), source.settings, scratch, say)
    else:
        raw = _as_numbers(listing, shards, columns, source, scratch)
    factors = [beside[name].astype(np.float64) for name in columns.factors]
    return raw._replace(
        groups=beside[columns.groups] if columns.groups else None,
        names=beside[columns.names].astype(str) if columns.names else None,
        changed=columns.changed,
        factors=np.stack(factors, axis=1) if factors else None,
        factor_names=columns.factors,
    )


def _shards(source: Source) -> tuple[Shards, list[str]]:
    """Return the files of the splits, and notes on the splits. Raises UserError."""
    parts = {path: _part_of_shard(path.relative_to(source.root)) for path in source.paths}
    shards = sorted((part, path) for path, part in parts.items() if part is not None)
    if not shards:
        return [(TRAINING, path) for path in source.paths], []
    found = [PART_NAMES[part] for part in dict.fromkeys(part for part, _ in shards)]
    if PART_NAMES[TRAINING] not in found:
        raise UserError(str(source.root), f"got the splits {', '.join(found)}; must have train")
    notes = [f"Split: {', '.join(found)} as in the files"]
    if cut := [path for _, path in shards if PARTIAL in path.parent.name]:
        names = ", ".join(dict.fromkeys(path.parent.name.removeprefix(PARTIAL) for path in cut))
        notes.append(f"Cut: only the first rows of {names} are on the Hub as parquet files")
    if others := len(parts) - len(shards):
        notes.append(f"Left out: {others:,} files that no split names")
    return shards, notes


def _opened(path: Path) -> "parquet.ParquetFile":
    from pyarrow import parquet

    with refusing(path, "a whole parquet file"):
        return parquet.ParquetFile(path)


def _count(shards: Shards, columns: Columns) -> dict[int, int]:
    """Return the rows of each part. Raises UserError where a file lacks a column, or has no row."""
    counts = Counter[int]()
    wanted = {*columns.beside(), *columns.features, columns.images} - {None}
    for part, path in shards:
        file = _opened(path)
        if missing := wanted - {*file.schema_arrow.names}:
            problem = f"got a file without the columns {', '.join(sorted(map(str, missing)))}"
            raise UserError(str(path), f"{problem}; must have those of {shards[0][1].name}")
        counts[part] += file.metadata.num_rows
    if empty := [PART_NAMES[part] for part, rows in counts.items() if not rows]:
        raise UserError(str(shards[0][1].parent), f"got no rows to {', '.join(empty)}")
    return dict(counts)


def _batches(path: Path, names: Sequence[str]) -> Iterator["pyarrow.RecordBatch"]:
    """Yield the rows of these columns in batches. Raises UserError for a damaged file."""
    batches = _opened(path).iter_batches(batch_size=_BATCH, columns=list(names))
    while True:
        with refusing(path, "a whole parquet file"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def _column(shards: Shards, name: str) -> np.ndarray:
    """Read a column of numbers or texts [N]; NaN, or the empty text, where there is nothing."""
    pieces = list[np.ndarray]()
    for _, path in shards:
        for batch in _batches(path, [name]):
            with refusing(path, f"a column {name} of one number or text a row"):
                pieces.append(_plain(batch.column(0)))
    return np.concatenate(pieces)


def _plain(column: "pyarrow.Array") -> np.ndarray:
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind in "biuf":
        return values
    texts = column.to_pylist()
    kinds = {type(text) for text in texts if text is not None}
    if not kinds <= {str, bool}:
        raise TypeError(f"values of type {column.type}")
    return np.array(["" if text is None else str(text) for text in texts], dtype=np.str_)


def _labels(columns: Columns, beside: dict[str, np.ndarray], counts: dict[int, int]) -> Labels:
    """Return the labels of all rows, with the names of classes that the files have."""
    if columns.labels is None:
        return read_labels([None] * len(counts), [*counts.values()])
    ends = np.cumsum([*counts.values()])[:-1]
    labels = read_labels(np.split(beside[columns.labels], ends), [*counts.values()])
    names = columns.classes
    if names and labels.classes and len(labels.classes) <= len(names):
        labels = labels._replace(classes=names)
    return labels


def _left_out(labels: Labels) -> list[str]:
    """Say why labels were left out; nothing where they were not."""
    if labels.classes:
        return []
    reasons = [note.partition("Labels left out: ")[2] for note in labels.notes]
    return [f"Labels left out: {reason}" for reason in reasons if reason]


def _write_files(shards: Shards, column: str, target: Path) -> list[str]:
    """Write each image as the file that it is, `part/row` with the ending of its path; return their
    names in order. An image that is missing is an empty file, which decoding lists as unreadable.
    """
    names = list[str]()
    for part, path in shards:
        folder = target / PART_NAMES[part]
        folder.mkdir(parents=True, exist_ok=True)
        for batch in _batches(path, [column]):
            for value in batch.column(0).to_pylist():
                cell = value if isinstance(value, dict) else {"bytes": value}
                ending = os.path.splitext(str(cell.get("path") or ""))[1].lower()
                ending = ending if ending in readable() else ".image"
                name = f"{PART_NAMES[part]}/{len(names):08d}{ending}"
                (target / name).write_bytes(cell.get("bytes") or b"")
                names.append(name)
    return names


def _as_numbers(
    listing: Listing, shards: Shards, columns: Columns, source: Source, scratch: Path
) -> RawImages:
    """Read numbers in their own type: lists [N, F], [N, H, W] or [N, H, W, C], or one column for
    each of F features. Raises UserError.
    """
    for name in ("image_size", "image_channels"):
        if (given := getattr(source.settings, name)) is not None:
            raise UserError(f"data.{name}", f"got {given}; must be left out for numbers")
    read = partial(_list_rows, str(columns.images)) if columns.images else _feature_rows
    names = [columns.images] if columns.images else [*columns.features]

    def pieces() -> Iterator[np.ndarray]:
        shapes = list[tuple[int, ...]]()
        for _, path in shards:
            for batch in _batches(path, list(map(str, names))):
                with refusing(path, "numbers of one shape and one type"):
                    rows = read(batch)
                    shapes.append(rows.shape[1:])
                    if shapes[0] != shapes[-1]:
                        raise ValueError(f"shapes {shapes[0]} and {shapes[-1]}")
                yield rows

    every = pieces()
    first = next(every)
    row = first.shape[1:]
    images = write_rows(scratch / "numbers.raw", chain([first], every), first.dtype, row)
    if images.ndim > 4:
        problem = f"got lists of {len(row)} dimensions"
        raise UserError(str(source.root), f"{problem}; must be [F], [H, W] or [H, W, C]")
    shaped = as_images(images, channels_first=source.settings.channels_first)
    size = " × ".join(map(str, shaped.shape[1:]))
    return RawImages(
        images=shaped,
        labels=listing.labels,
        parts=listing.parts,
        classes=listing.classes,
        notes=(
            f"Numbers: {images.dtype}, {size} a row",
            f"Classes: {len(listing.classes) if listing.classes else 'none'}",
            *listing.notes,
        ),
        unlabelled=listing.unlabelled,
        features=columns.features or None,
    )


def _list_rows(name: str, batch: "pyarrow.RecordBatch") -> np.ndarray:
    """Return the lists of a batch as an array [B, …]. Raises ValueError where their lengths
    differ.
    """
    values = batch.column(0)
    shape = [len(values)]
    while hasattr(values.type, "value_type"):
        if values.null_count:
            raise ValueError(f"{name} is empty in {values.null_count:,} rows")
        lengths = np.unique(values.value_lengths().to_numpy())
        if len(lengths) != 1:
            raise ValueError(f"{name} has {lengths.min():,} to {lengths.max():,} values a row")
        shape.append(int(lengths[0]))
        values = values.flatten()
    if values.null_count:
        raise ValueError(f"{name} lacks {values.null_count:,} values")
    return values.to_numpy(zero_copy_only=False).reshape(shape)


def _feature_rows(batch: "pyarrow.RecordBatch") -> np.ndarray:
    """Return the columns of a batch as an array [B, F]; NaN where there is nothing."""
    columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
    return np.stack(columns, axis=1)


HUB = Layout(
    expected=lambda row: f"the parquet files of {row.title} on the Hugging Face Hub",
    find=_find,
    read=_read,
    resized=True,
    columns=True,
)
