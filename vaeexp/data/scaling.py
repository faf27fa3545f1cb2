"""Scaling: how the numbers of files become the targets of a model, and back.

Targets are (x − offset) / scale, computed in float64 and kept as float32. Limits, offset and scale
come from the training images alone. Offset and scale are a setting of the training: a density of
targets becomes one of x when its −log p gains Σ log scale. The limits of `clip` are not: they
change the numbers that are modelled.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import RawImages
from vaeexp.data.formats.array_pixels import AS_NUMBERS, HAIR
from vaeexp.data.formats.levels import WHITE, stored_kind, white_of
from vaeexp.data.values import ImageShape, is_vector
from vaeexp.words import plural

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

_PIECE = 2**21
"""Values that are computed with in float64 at a time."""
_SAMPLE = 2**23
"""Values from which percentiles are taken at most; of more, images at equal distances."""
_COLUMN = 10_000
"""Rows of a table that are looked at for columns of few values."""
_FEW_VALUES = 20
_BEYOND = 1e150
"""Largest number whose square has a float64."""
_AXES = {"global": (0, 1, 2, 3), "channel": (0, 2, 3), "feature": (0,)}
"""Setting `scale_per` → axes of [N, C, H, W] that share an offset and a scale."""
FREE = np.full((1, 1, 1), -np.inf), np.full((1, 1, 1), np.inf)
"""Limits that cut nothing."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Scaling:
    """From numbers of files to targets. Arrays are float64 and broadcast to [C, H, W].

    kind: the setting `scale`; bytes for images whose bytes are kept.
    per: the setting `scale_per`.
    unit: the number that is 1 in the unit of the report.
    low, high: limits to which numbers are cut; infinite where they are not.
    """

    kind: str
    per: str
    unit: float
    offset: np.ndarray
    scale: np.ndarray
    low: np.ndarray
    high: np.ndarray

    @property
    def bytes(self) -> bool:
        """Whether prepared images stay bytes, of which 255 is 1."""
        return self.kind == "bytes"

    def cut(self, numbers: np.ndarray) -> np.ndarray:
        """Return numbers [N, C, H, W] within the limits, in float64."""
        return np.clip(numbers.astype(np.float64), self.low, self.high)

    def scaled(self, numbers: np.ndarray) -> np.ndarray:
        """Return the targets of numbers [N, C, H, W] before they are rounded, in float64."""
        return (self.cut(numbers) - self.offset) / self.scale

    def targets(self, numbers: np.ndarray) -> np.ndarray:
        """Return the targets float32 of numbers [N, C, H, W]."""
        return self.scaled(numbers).astype(np.float32)

    def numbers(self, targets: np.ndarray) -> np.ndarray:
        """Return the numbers float64 [N, C, H, W] that have these targets."""
        return targets.astype(np.float64) * self.scale + self.offset

    def units(self, shape: ImageShape) -> float | tuple[float, ...]:
        """Return how much of the unit of the report a target of 1 is: a number, or one for each
        sub-pixel, C · H · W.
        """
        scale = self.scale / self.unit
        if scale.size == 1:
            return float(scale.reshape(()))
        return tuple(np.broadcast_to(scale, shape).reshape(-1).tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scaling) and self.record() == other.record()

    def record(self) -> dict[str, Any]:
        """Return the fields for JSON, of which `scaling_from` makes the scaling again."""
        arrays = {name: getattr(self, name) for name in ("offset", "scale", "low", "high")}
        return {
            **{name: getattr(self, name) for name in ("kind", "per", "unit")},
            **{name: [list(array.shape), _finite(array)] for name, array in arrays.items()},
        }


def _finite(array: np.ndarray) -> list[float | None]:
    """Return the numbers of an array for JSON, None for a limit that does not exist."""
    return [number if math.isfinite(number) else None for number in array.reshape(-1).tolist()]


def scaling_from(record: dict[str, Any]) -> Scaling:
    """Return the scaling of a record."""
    arrays = {
        name: np.array(record[name][1], np.float64).reshape(record[name][0])
        for name in ("offset", "scale", "low", "high")
    }
    arrays["low"][np.isnan(arrays["low"])] = -np.inf
    arrays["high"][np.isnan(arrays["high"])] = np.inf
    return Scaling(**{**record, **arrays})


def bytes_scaling(unit: float = float(WHITE)) -> Scaling:
    """Return the scaling of images whose bytes are kept; 255 is 1.

    unit: the byte that is 1 in the unit of the report.
    """
    zero = np.zeros((1, 1, 1))
    return Scaling(
        kind="bytes",
        per="global",
        unit=unit,
        offset=zero,
        scale=zero + WHITE,
        low=FREE[0],
        high=FREE[1],
    )


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """What is known of the training images; arrays float64, of the shape that `_AXES` leaves.

    limits: least and largest number to which they were cut; infinite without `clip`.
    count: numbers that share a mean.
    """

    limits: tuple[np.ndarray, np.ndarray]
    count: int
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray


def check_finite(raw: RawImages, root: str) -> bool:
    """Return whether all numbers are whole ones. Raises UserError where some are NaN, infinite or
    beyond 1e150: how many, and where the first is.
    """
    if raw.images.dtype.kind in "biu":
        return True
    whole = True
    count = start = 0
    missing = False
    first: tuple[int, ...] = ()
    unreadable = np.zeros((len(raw.images), 1, 1, 1), bool)
    unreadable[[file.row for file in raw.unreadable]] = True
    for block in pieces(raw.images):
        numbers = block.astype(np.float64)
        good = (np.abs(numbers) <= _BEYOND) | unreadable[start : start + len(block)]
        if not good.all():
            count += int((~good).sum())
            missing = missing or bool(np.isnan(block).any())
            row, *place = np.argwhere(~good)[0].tolist()
            first = first or (start + row, *place)
        whole = whole and bool((numbers[good] == np.rint(numbers[good])).all())
        start += len(block)
    if count:
        where = f"the first in {place_words(raw, first)}"
        problem = f"got {plural(count, 'value')} that are NaN, infinite or beyond 1e150, {where}"
        remedy = "Try --set missing=drop" if missing else "Leave these rows out"
        raise UserError(root, f"{problem}; must be numbers. {remedy}, or fill in what is missing.")
    return whole


def place_words(raw: RawImages, place: tuple[int, ...]) -> str:
    """Name the place [N, C, H, W] of a number in the file."""
    row = raw.where(place[0])
    if raw.features is not None:
        return f"{row}, column '{raw.features[place[3]]}'"
    return f"{row}, at {list(place[1:])} of [C, H, W]" if raw.images[0].size > 1 else row


def fit(
    raw: RawImages,
    training: np.ndarray,
    known: "Statistics",
    settings: "DataSettings",
    root: str,
) -> Scaling:
    """Return the scaling that the settings ask for, from the training images at these rows.

    known: statistics of these images, cut to their limits.

    Raises UserError where it makes no sense for these numbers.
    """
    low, high = known.limits
    shape = raw.images.shape
    zero = np.zeros_like(known.low)
    if settings.scale == "none":
        offset, scale = zero, zero + 1
    elif settings.scale == "unit":
        bottom, top = _full_range(raw, training, root)
        # One range for all, whatever `scale_per` says, because it is that of the type.
        zero = zero[:1, :1, :1]
        offset, scale = zero + bottom, zero + (top - bottom)
        low = np.maximum(low, bottom)
        high = np.minimum(high, top)
    elif settings.scale == "range":
        offset, scale = known.low, known.high - known.low
    else:
        offset, scale = known.mean, known.deviation
    # What never changes in training has no scale of its own.
    scale = np.where(scale > 0, scale, 1.0)
    return Scaling(
        kind=settings.scale,
        per=settings.scale_per,
        unit=float(WHITE) if raw.images.dtype == np.uint8 and not is_vector(shape) else 1.0,
        offset=offset,
        scale=scale,
        low=low,
        high=high,
    )


def _full_range(raw: RawImages, training: np.ndarray, root: str) -> tuple[float, float]:
    """Return the numbers that become 0 and 1 under `scale: unit`. Raises UserError where the type
    has no such range.
    """
    kind = raw.images.dtype
    low, high = extremes(raw.images, training)
    found = f"got {kind} from {low:g} to {high:g} with data.scale: unit"
    if kind.kind == "f":
        if low < -HAIR or high > 1 + HAIR:
            raise UserError(root, f"{found}; floats must lie in [0, 1]. {AS_NUMBERS}.")
        return 0.0, 1.0
    if kind.itemsize > 2:
        problem = f"{found}; must be booleans, whole numbers of 8 or 16 bits, or floats in [0, 1]"
        raise UserError(root, f"{problem}. {AS_NUMBERS}.")
    if kind.kind in "bu":
        return 0.0, float(white_of(stored_kind(kind), int(high)))
    limits = np.iinfo(kind)
    return float(limits.min), float(limits.max)


def pieces(images: np.ndarray, rows: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Yield `images[rows]` (all when None) piece by piece, for arithmetic in float64."""
    rows = np.arange(len(images)) if rows is None else rows
    step = max(1, _PIECE // math.prod(images.shape[1:]))
    for start in range(0, len(rows), step):
        yield images[rows[start : start + step]]


def sample(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return `images[rows]` in float64, at equal distances where they are more than `_SAMPLE`
    values.
    """
    step = -(-len(rows) * math.prod(images.shape[1:]) // _SAMPLE)
    return images[rows[::step]].astype(np.float64)


def count_outside(images: np.ndarray, rows: np.ndarray, low: Any, high: Any) -> int:
    """Return how many numbers of these images are less than `low` or larger than `high`."""
    outside = (((piece < low) | (piece > high)).sum() for piece in pieces(images, rows))
    return int(sum(outside))


def extremes(images: np.ndarray, rows: np.ndarray | None = None) -> tuple[float, float]:
    """Return the least and the largest number of these images, of all when None."""
    low, high = ends_of(images, rows)
    return float(low.min()), float(high.max())


def ends_of(images: np.ndarray, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest number of each of these images, of all when None."""
    ends = [(piece.min((1, 2, 3)), piece.max((1, 2, 3))) for piece in pieces(images, rows)]
    low, high = zip(*ends, strict=True)
    return np.concatenate(low), np.concatenate(high)


def limits_of(
    raw: RawImages, training: np.ndarray, settings: "DataSettings", root: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return the limits of `clip`: one pair for each column of a table, or each channel of images,
    whatever `scale_per` says. Without `clip` they are infinite.

    Raises UserError where the limits of a column or channel are equal, so that it cannot vary.
    """
    if settings.clip is None:
        return FREE
    low, high = percentiles(raw, training, settings.clip)
    for place in np.flatnonzero(low == high):
        name = "" if raw.features is None else f" in the column '{raw.features[place]}'"
        problem = f"got percentiles that are equal{name} ({low.flat[place]:g})"
        remedy = "must leave a range. Try --set clip=null" + (", or leave it out" if name else "")
        raise UserError("data.clip", f"{problem} in the training images of {root}; {remedy}.")
    return low, high


def percentiles(raw: RawImages, rows: np.ndarray, pair: tuple[float, float]) -> np.ndarray:
    """Return two percentiles of each column of a table, or each channel of images."""
    axes = _AXES["channel" if raw.features is None else "feature"]
    found: np.ndarray = np.percentile(sample(raw.images, rows), pair, axis=axes, keepdims=True)
    return found[:, 0]


def statistics(
    images: np.ndarray, rows: np.ndarray, limits: tuple[np.ndarray, np.ndarray], per: str
) -> Statistics:
    """Return statistics of these images, cut to the limits, by two passes over blocks."""
    axes = _AXES[per]

    def cut() -> Iterator[np.ndarray]:
        return (np.clip(block.astype(np.float64), *limits) for block in pieces(images, rows))

    low = np.float64(np.inf)
    high = np.float64(-np.inf)
    total = np.float64(0)
    for block in cut():
        low = np.minimum(low, block.min(axis=axes, keepdims=True)[0])
        high = np.maximum(high, block.max(axis=axes, keepdims=True)[0])
        total = total + block.sum(axis=axes, keepdims=True)[0]
    count = len(rows) * math.prod(images.shape[1:]) // np.asarray(total).size
    mean = total / count
    squares = np.float64(0)
    for block in cut():
        squares = squares + np.square(block - mean).sum(axis=axes, keepdims=True)[0]
    return Statistics(
        limits=limits,
        count=count,
        low=np.asarray(low),
        high=np.asarray(high),
        mean=np.asarray(mean),
        deviation=np.sqrt(squares / count),
    )


def steps_of(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the step between the values of each sub-pixel [C, H, W], 0 where they are not few.

    Of images of whole numbers it is 1. Of vectors, columns of whole numbers and of few values
    count: the least difference of two values of the column.
    """
    shape = images.shape[1:]
    if not is_vector(shape):
        return np.full(shape, float(images.dtype.kind in "biu"))
    sampled = rows[:: -(-len(rows) // _COLUMN)]
    steps = np.zeros(shape)
    # In float64 rows of many columns are up to eight times as large as in their file.
    together = max(1, _PIECE // len(sampled))
    for start in range(0, shape[2], together):
        columns = images[sampled, 0, 0, start : start + together].astype(np.float64)
        for place, column in enumerate(columns.T, start):
            values = np.unique(column)
            few = len(values) <= max(_FEW_VALUES, len(sampled) // 20)
            if len(values) > 1 and (few or (values == np.rint(values)).all()):
                steps[0, 0, place] = np.diff(values).min()
    return steps


def constant_columns(raw: RawImages, training: np.ndarray) -> np.ndarray:
    """Return the columns, int64, of vectors [N, 1, 1, F] that never change in training; none for
    images.
    """
    if not is_vector(raw.images.shape):
        return np.zeros(0, np.int64)
    low, high = extent(raw.images, training)
    return np.flatnonzero((low == high).reshape(-1))


def extent(images: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest number of each sub-pixel of these images, both [C, H, W]."""
    low = high = images[rows[0]]
    for block in pieces(images, rows):
        low = np.minimum(low, block.min(axis=0))
        high = np.maximum(high, block.max(axis=0))
    return low, high


def constant_runs(images: np.ndarray, rows: np.ndarray, scaling: Scaling) -> tuple[float, ...]:
    """Return the runs of sub-pixels that never change in these images, as `Values.constant`; none
    where no sub-pixel changes.
    """
    low, high = (scaling.cut(end).reshape(-1) for end in extent(images, rows))
    same = low == high
    if same.all():
        return ()
    targets = scaling.targets(low.reshape(images.shape[1:])).reshape(-1)
    starts = np.flatnonzero(np.diff(same, prepend=~same[0]) | (np.diff(targets, prepend=0) != 0))
    counts = np.diff(starts, append=len(same))
    runs = np.stack([starts, counts, targets[starts]], axis=1)[same[starts]]
    return tuple(runs.reshape(-1).tolist())


def changes(numbers: np.ndarray, constants: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return, for each row of columns [N, D] that were constant in training, [D], the names of
    those in which its number is missing or another, joined. Fractions may differ in their last
    digits, which files of other types round.
    """
    rounded = np.isclose(numbers, constants, rtol=1e-6, atol=0)
    changed = (numbers != constants) & ~(rounded & (constants != np.rint(constants)))
    return [", ".join(compress(names, row)) for row in changed]
