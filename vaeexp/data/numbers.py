"""Numbers of any type on their way to targets: bytes where they are grey levels, columns that never
change, and what people and models are told of them.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import TEST, VALIDATION, RawImages, blocks, some_of
from vaeexp.data.formats.array_pixels import AS_NUMBERS, HAIR
from vaeexp.data.formats.levels import DEEPEST, PLAIN, WHITE, Stored, to_bytes
from vaeexp.data.formats.scratch import write_rows
from vaeexp.data.scaling import (
    FREE,
    Scaling,
    Statistics,
    bytes_scaling,
    changes,
    constant_columns,
    constant_runs,
    count_outside,
    extremes,
    pieces,
    sample,
    statistics,
    steps_of,
)
from vaeexp.data.values import LEAST_SIGMA, Values, is_vector
from vaeexp.words import format_signed, plural

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_SHOWN = (0.5, 99.5)
"""Percentiles of the training targets from black to white in pictures."""


def as_bytes(raw: RawImages, binarisation: str, scratch: Path, root: str) -> RawImages:
    """Return booleans as bytes 0 and 1 and, where they are to be binarised, floats in [0, 1] and
    images of 16 bits as 256 levels; other images as they are.

    Raises UserError for floats beyond [0, 1].
    """
    kind = raw.images.dtype.kind
    if kind in "iu" and binarisation != "none":
        return _upper_bits(raw, scratch) if _is_deep(raw) else raw
    if kind == "b":
        return raw._replace(images=raw.images.view(np.uint8))
    if not (kind == "f" and binarisation != "none"):
        return raw
    low, high = extremes(raw.images)
    if low < -HAIR or high > 1 + HAIR:
        problem = f"got {raw.images.dtype} from {low:g} to {high:g}; must lie in [0, 1]"
        raise UserError(root, f"{problem} with data.binarisation: {binarisation}. {AS_NUMBERS}.")
    beyond = 0

    def levels() -> Iterator[np.ndarray]:
        nonlocal beyond
        for piece in pieces(raw.images):
            values = piece.astype(np.float32)
            beyond += int(((values < 0) | (values > 1)).sum())
            yield np.rint(np.clip(values, 0, 1) * 255)

    made = write_rows(scratch / "levels.raw", levels(), np.dtype(np.uint8), raw.images.shape[1:])
    notes = [f"Cut to [0, 1]: {plural(beyond, 'value')} of {made.size:,}"] if beyond else []
    return raw._replace(images=made, notes=(*raw.notes, *notes))


def _is_deep(raw: RawImages) -> bool:
    """Return whether whole numbers are grey levels of up to 16 bits: those of such a type, and
    those of image files of any type.
    """
    if raw.images.dtype == np.uint16:
        return True
    if raw.stored is None or raw.images.dtype.itemsize == 1:
        return False
    low, high = extremes(raw.images)
    return low >= 0 and high <= DEEPEST


def _upper_bits(raw: RawImages, scratch: Path) -> RawImages:
    """Return images of 16 bits as their upper 8 bits; `settle_levels` decides which number is
    white, and takes them again.
    """
    made = np.lib.format.open_memmap(
        scratch / "levels.npy", mode="w+", dtype=np.uint8, shape=raw.images.shape
    )
    largest = np.zeros(len(made), np.int64)

    def take(whites: Mapping[Stored, int]) -> np.ndarray:
        above = np.zeros(len(made), np.int64)
        start = 0
        for block in pieces(raw.images):
            piece = slice(start, start + len(block))
            flat = block.reshape(len(block), -1)
            made[piece] = to_bytes(block, whites[Stored.DEEP])
            largest[piece] = flat.max(axis=1)
            above[piece] = (flat > whites[Stored.DEEP]).sum(axis=1)
            start += len(block)
        return above

    take(PLAIN)
    stored = np.full(len(made), Stored.DEEP, np.uint8)
    return raw._replace(images=made, stored=stored, largest=largest, read_again=take)


class LeftOut(NamedTuple):
    """Columns that were left out, as in `Known`; `unseen` by the row of the file."""

    dropped: tuple[str, ...] = ()
    constants: tuple[float, ...] = ()
    kept: tuple[int, ...] | None = None
    unseen: Mapping[int, str] = {}


def without_constant_columns(
    raw: RawImages, taught: np.ndarray, others: np.ndarray, scratch: Path, root: str
) -> tuple[RawImages, LeftOut]:
    """Return vectors without the columns that never change in the rows `taught`; `others` are those
    of the other splits.

    Raises UserError where no column is left.
    """
    constant = constant_columns(raw, taught)
    if not len(constant):
        return raw, LeftOut()
    width = raw.images.shape[3]
    if len(constant) == width:
        count = plural(len(taught), "training row")
        raise UserError(root, f"got {count} of which every column has one value; must vary")
    kept = np.setdiff1d(np.arange(width), constant)
    varying = (block[..., kept] for block in blocks(raw.images))
    shape = (1, 1, len(kept))
    images = write_rows(scratch / "varying.raw", varying, raw.images.dtype, shape)
    values = raw.images[taught[0], 0, 0, constant].astype(np.float64)
    names = raw.features or [f"column {index}" for index in range(width)]
    dropped = tuple(names[index] for index in constant)
    unseen = list[str]()
    for piece in pieces(raw.images, others):
        unseen += changes(piece[:, 0, 0][:, constant], values, dropped)
    left = LeftOut(
        dropped=dropped,
        constants=tuple(values.tolist()),
        kept=tuple(kept.tolist()),
        unseen={row: text for row, text in zip(others.tolist(), unseen, strict=True) if text},
    )
    features = raw.features and tuple(names[index] for index in kept)
    return raw._replace(images=images, features=features), left


def describe_bytes(raw: RawImages, training: np.ndarray, step: int) -> tuple[Values, Scaling]:
    """Return what a model is given of images whose bytes are kept, and their scaling.

    training: rows of the training images.
    step: least difference of two levels that occur there.
    """
    shape: tuple[int, int, int] = raw.images.shape[1:]
    if is_vector(shape):
        # 255 stands for the white of the file; the unit of the report is 1 of the file's numbers.
        scaling = bytes_scaling(unit=WHITE / (raw.whites or PLAIN)[Stored.BYTES])
        least = _least_sigma(raw, training, scaling, shape)
    else:
        scaling = bytes_scaling()
        least = max(step / 2 / WHITE, LEAST_SIGMA)
    table = raw.features is not None
    values = Values(shape=shape, least_sigma=least, scale=scaling.units(shape), table=table)
    return values, scaling


def are_counts(raw: RawImages, scale: str, *, whole: bool) -> bool:
    """Return whether targets are counts. whole: whether all numbers are whole ones."""
    if not whole or scale != "none" or raw.images.dtype.kind == "b":
        return False
    return extremes(raw.images)[0] >= 0


def describe_numbers(
    raw: RawImages, taught: np.ndarray, known: Statistics, scaling: Scaling, *, counts: bool
) -> tuple[Values, dict[str, Any]]:
    """Return what a model is given, and facts for `vaeexp.data.first_look.pixel_words`.

    taught: rows of the training images, of which `known` are the statistics.
    counts: whether targets are counts.
    """
    shape: tuple[int, int, int] = raw.images.shape[1:]
    if known.mean.size > 1 or np.isfinite(known.limits).any():
        known = statistics(raw.images, taught, FREE, "global")
    levels = None
    if scaling.kind == "unit" and raw.images.dtype.kind in "iu":
        levels = int(scaling.scale.reshape(-1)[0]) + 1
    targets = scaling.targets(sample(raw.images, taught))
    black, white = np.percentile(targets, _SHOWN).tolist()
    values = Values(
        shape=shape,
        unit=scaling.kind == "unit",
        levels=levels,
        counts=counts,
        least_sigma=_least_sigma(raw, taught, scaling, shape),
        row_sum=known.mean.item() * math.prod(shape) if counts else 1.0,
        scale=scaling.units(shape),
        shown=(black, white if white > black else black + 1),
        table=raw.features is not None,
        constant=constant_runs(raw.images, taught, scaling),
    )
    pixels = {
        "lowest": known.low.item(),
        "highest": known.high.item(),
        "mean": known.mean.item(),
        "deviation": known.deviation.item(),
    }
    return values, pixels


def _least_sigma(
    raw: RawImages, taught: np.ndarray, scaling: Scaling, shape: tuple[int, int, int]
) -> float | tuple[float, ...]:
    """Return the lower bound of a learned σ, in the scale of the targets: half the step between the
    values of a sub-pixel, because a density of few values has no bound.
    """
    half = steps_of(raw.images, taught) / 2 / scaling.scale
    bounds = np.maximum(half, LEAST_SIGMA)
    if (bounds == bounds.reshape(-1)[0]).all():
        return float(bounds.reshape(-1)[0])
    return tuple(np.broadcast_to(bounds, shape).reshape(-1).tolist())


def words_of(
    raw: RawImages,
    rows: Mapping[int, np.ndarray],
    scaling: Scaling,
    settings: "DataSettings",
    dropped: Sequence[str],
    root: str,
) -> tuple[list[str], list[str], list[str]]:
    """Return notes for people, words for a record on what decides the numbers, and warnings.

    Raises UserError for floats beyond [0, 1] under `scale: unit`.
    """
    notes = [f"Targets: {scale_words(scaling)}{_scale_numbers(scaling)}"]
    reading = []
    warnings = []
    if dropped:
        named = some_of(dropped)
        notes.append(f"Left out: {plural(len(dropped), 'column')} of one value ({named})")
    if settings.clip is not None:
        low, high = settings.clip
        limits = f"cut to the percentiles {low:g} and {high:g} of the training images"
        if scaling.low.size == 1:
            found = [format_signed(bound.item()) for bound in (scaling.low, scaling.high)]
            limits += f", {' to '.join(found)}"
        reading.append(limits)
        notes.append(f"Numbers: {limits}")
    elif scaling.kind == "unit" and (beyond := _beyond(raw, rows, scaling, root)):
        text = f"{plural(beyond, 'value')} of the validation and test images cut to"
        full = f"{format_signed(scaling.low.flat[0])} to {format_signed(scaling.high.flat[0])}"
        # Other scales keep these values, so their numbers are not compared with these.
        reading.append(f"{text} {full}")
        warnings.append(f"{text} {full}, the range of the training images. Try data.scale: range")
    return notes, reading, warnings


def _beyond(raw: RawImages, rows: Mapping[int, np.ndarray], scaling: Scaling, root: str) -> int:
    """Return how many values of the validation and test images lie beyond the range of the training
    images. Raises UserError for floats beyond [0, 1].
    """
    others = np.concatenate([rows[VALIDATION], rows[TEST]])
    floats = raw.images.dtype.kind == "f"
    hair = HAIR if floats else 0
    count = count_outside(raw.images, others, scaling.low - hair, scaling.high + hair)
    if count and floats:
        low, high = extremes(raw.images, others)
        problem = f"got {raw.images.dtype} from {low:g} to {high:g} in the validation and test"
        remedy = f"floats must lie in [0, 1]. {AS_NUMBERS}"
        raise UserError(root, f"{problem} images with data.scale: unit; {remedy}.")
    return count


def scale_words(scaling: Scaling) -> str:
    """Say how numbers become targets: `scaled by training mean and deviation`."""
    each = {"global": "", "channel": " of each channel", "feature": " of each feature"}[scaling.per]
    if scaling.bytes:
        return "bytes from 0 to 255"
    if scaling.kind == "none":
        return "not scaled"
    if scaling.kind == "unit":
        low = scaling.offset.item()
        high = low + scaling.scale.item()
        return f"{format_signed(low)} to {format_signed(high)} scaled to 0 to 1"
    measure = "minimum and maximum" if scaling.kind == "range" else "mean and deviation"
    return f"scaled by training {measure}{each}"


def _scale_numbers(scaling: Scaling) -> str:
    """Return the numbers of `scale_words` where they are one pair."""
    if scaling.kind in ("none", "unit") or scaling.offset.size > 1:
        return ""
    low = scaling.offset.item()
    other = scaling.scale.item() + (low if scaling.kind == "range" else 0)
    return f": {format_signed(low)} and {format_signed(other)}"
