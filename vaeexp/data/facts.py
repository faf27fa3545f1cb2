"""What tells numbers that are no measurements, scales that do not belong together, and rows that
repeat each other: facts for the doubts of vaeexp/data/doubts.py.

`gap_of`, and what asks for columns that count, for times and for groups, look at all rows; the
others at a sample of rows at equal distances.
"""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from vaeexp.data.formats.array_pixels import LONG
from vaeexp.data.formats.levels import FEW
from vaeexp.data.scaling import pieces
from vaeexp.data.times import numbers_of
from vaeexp.data.values import is_vector

USUAL_CODES = (-9999, -999, -200, 999, -32768)
_LEAST_ROWS = 3
_LEAST_SHARE = 0.005
"""Rows, and share of the rows, that have a code for missing values at least."""
_FEW_VALUES = 20
"""Different values besides a code from which on a column is a measurement."""
_GAP = 4
"""How many times the next different number the largest one is that stands alone."""
_LOOKED_AT = 2_000
"""Images that have the largest number and are looked at for the next one."""
_GROUPS = 16
_GROUP_SHARE = 0.05
"""How many times apart the largest numbers of two kinds of images are, and the share of the images
that each kind has at least.
"""
_JUMP = 10
"""How many times the spread of the next column a spread is that has another unit."""
_SPREAD_ROWS = 256
"""Rows that spreads are taken from."""
_BLOCK = 8
"""Columns of one unit at least; fewer are a peak."""
_PAIRS = 64
"""Neighbouring rows that are compared."""
_LEAST_PAIRS = 8
_CANDIDATES = 32
"""Shifts that are tried for a pair of rows at most."""

_ROWS = 16
"""Rows of the shortest table of which a column is doubted for its order."""
_FIRST_ROWS = (64, 1_024)
_REPEATED = 30
"""Rows N of whole numbers drawn from fewer than N² / 30 hold one twice, but for a chance of
10⁻⁶, unless they rise throughout."""
_GAPS = 2
"""Numbers per row, at most, where rows were numbered before some were left out."""
_RUN = 10
_COVERED = 0.8
"""Rows of the shortest rising run of a counter, and its least share of the range."""
_ZEROS = re.compile(r"(?<![\d.])0+(?=\d)")


class Code(NamedTuple):
    """A number that stands far from the others of its column, which go from low to high.

    column: -1 for all columns together.
    share: of the rows that have it.
    """

    column: int
    value: float
    share: float
    low: float
    high: float


class Gap(NamedTuple):
    """How many times the next number the largest of all images is, and a row that has it."""

    times: float
    row: int


def missing_codes(sample: np.ndarray, *, together: bool) -> list[Code]:
    """Return the numbers of a sample [n, F] that are probably codes for missing values: the least
    or the largest of a column, or of all numbers together, in several rows.
    """
    count = len(sample)
    found = list[Code]()
    for sign in (1, -1):
        # Rows, columns that are looked at, numbers of each.
        signed = sign * (sample[:, None] if together else sample[..., None])
        low, high = signed.min(axis=(0, 2)), signed.max(axis=(0, 2))
        least = signed == low[:, None]
        above = np.where(least, np.inf, signed).min(axis=(0, 2))
        having = least.any(axis=2).sum(axis=0)
        usual = np.isin(sign * low, USUAL_CODES)
        likely = (having >= max(_LEAST_ROWS, _LEAST_SHARE * count)) & (above < high)
        # 0 is an answer: of rain, of counts, and of their logarithms, which have a gap above it.
        likely &= low != 0
        likely &= usual | (above - low > high - above)
        for column in np.flatnonzero(likely).tolist():
            others = signed[:, column][~least[:, column]]
            room = high[column] - above[column]
            if usual[column]:
                room = np.subtract(*np.percentile(others, (75, 25)))
            if above[column] - low[column] > room and len(np.unique(others)) > _FEW_VALUES:
                ends = sorted((sign * float(above[column]), sign * float(high[column])))
                value, share = sign * float(low[column]), float(having[column] / count)
                found.append(Code(-1 if together else column, value, share, *ends))
    return found


def gap_of(images: np.ndarray, largest: np.ndarray, rows: np.ndarray) -> Gap | None:
    """Return the largest number of images [N, C, H, W] where it is more than four times the next
    different one; None where it is not, and for masks.

    largest: of the images at these rows.
    """
    top = float(largest.max())
    least = top / _GAP
    if top <= (FEW if images.dtype.kind in "iu" else 0):
        return None
    others = largest[largest < top]
    following = float(others.max(initial=0))
    having = rows[largest == top]
    for piece in pieces(images, having[:: -(-len(having) // _LOOKED_AT)]):
        if following >= least:
            break
        following = max(following, float(np.where(piece < top, piece, 0).max()))
    return Gap(top / following, int(having[0])) if 0 < following < least else None


def groups_of(
    images: np.ndarray, largest: np.ndarray, rows: np.ndarray
) -> tuple[float, float, float] | None:
    """Return the largest number of dark images, the least maximum of bright ones, and the share of
    dark ones; None where the maxima of images are not of two kinds, or the dark ones are empty.

    largest: of the images at these rows.
    """
    shown = np.sort(largest[largest > 0]).astype(np.float64)
    if len(shown) < 2:
        return None
    ratios = shown[1:] / shown[:-1]
    place = int(ratios.argmax())
    share = (place + 1) / len(shown)
    if ratios[place] <= _GROUPS or not _GROUP_SHARE <= share <= 1 - _GROUP_SHARE:
        return None
    dark = images[rows[(largest > 0) & (largest <= shown[place])][:_LOOKED_AT]]
    if (dark.min(axis=(1, 2, 3)) == dark.max(axis=(1, 2, 3))).mean() > 0.5:
        return None
    return float(shown[place]), float(shown[place + 1]), share


def unit_jumps(sample: np.ndarray) -> list[int]:
    """Return the columns of a sample [n, F] at which blocks of another unit begin: their spread is
    ten times more or less, or they lie ten spreads apart. None where they are many, as those of
    peaks and of tables are.
    """
    few = sample[:: -(-len(sample) // _SPREAD_ROWS)]
    low, middle, high = np.percentile(few, (5, 50, 95), axis=0)
    used = np.flatnonzero(high > low)
    if len(used) < LONG:
        return []
    spread = (high - low)[used]
    wider = np.maximum(spread[1:], spread[:-1])
    jumps = wider > _JUMP * np.minimum(spread[1:], spread[:-1])
    jumps |= np.abs(np.diff(middle[used])) > _JUMP * wider
    starts = np.flatnonzero(jumps) + 1
    edges = [0, *starts.tolist(), len(used)]
    if any(end - start < _BLOCK for start, end in pairwise(edges)):
        return []
    return used[starts].tolist()


def overlap_of(images: np.ndarray, rows: np.ndarray) -> int:
    """Return by how many columns, or lines, most rows of images [N, C, H, W] are their neighbours
    shifted, as windows of one recording are; 0 where they are not.

    rows: in the order of the file.
    """
    first = rows[:-1][:: -(-len(rows) // _PAIRS)]
    for axis in (2, 1):
        shifts = list[int]()
        for row in first.tolist():
            one, other = np.moveaxis(images[row : row + 2], axis + 1, 1)
            shift = _shift(one, other) or _shift(other, one)
            shifts += [shift] if shift is not None else []
        usual = max(set(shifts), key=shifts.count, default=0)
        if usual and len(shifts) >= _LEAST_PAIRS and 2 * shifts.count(usual) > len(shifts):
            return usual
    return 0


def _shift(one: np.ndarray, other: np.ndarray) -> int | None:
    """Return by how many steps of the first axis, at most three quarters of it, `other` is `one`
    shifted; 0 where it is not, None where too much of it is alike to tell.
    """
    most = 3 * len(one) // 4
    alike = (one[1 : most + 1] == other[0]).all(axis=(1, 2))
    steps = np.flatnonzero(alike) + 1
    if len(steps) > _CANDIDATES:
        return None
    for step in steps.tolist():
        if np.array_equal(one[step:], other[:-step]) and len(np.unique(one[step:])) > 2:
            return step
    return 0


def are_equal_channels(images: np.ndarray) -> bool:
    """Return whether images [N, C, H, W] have several channels, which are all equal. Colours are
    found in the first piece.
    """
    several = images.shape[1] > 1
    return several and all((piece == piece[:, :1]).all() for piece in pieces(images))


def counting_columns(images: np.ndarray) -> list[int]:
    """Return the columns that number the rows. The first rows exclude most columns, so that few are
    read to the end. Where most are left, they are ranks.
    """
    count = len(images)
    if not is_vector(images.shape) or count < _ROWS:
        return []
    columns = np.arange(images.shape[3])
    most = _GAPS * count
    for seen in (_ROWS, *_FIRST_ROWS, count):
        flat = images[:seen, 0, 0][:, columns].astype(np.float64)
        steps = np.diff(flat, axis=0)
        by_chance = np.where((steps > 0).all(axis=0), most, count**2 / _REPEATED)
        kept = np.ptp(flat, axis=0) < np.minimum(most, by_chance)
        kept &= (steps != steps[:1]).any(axis=0)
        kept |= (steps == 1).all(axis=0)
        kept &= (np.diff(np.sort(flat, axis=0), axis=0) > 0).all(axis=0)
        columns = columns[kept & (flat == np.rint(flat)).all(axis=0)]
    return columns.tolist() if 2 * len(columns) <= max(2, images.shape[3]) else []


def restarts_of(times: np.ndarray) -> int:
    """Return how many rising runs of times that are numbers cover most of their range."""
    numbers = numbers_of(times)
    if numbers is None:
        return 0
    numbers = numbers.astype(np.float64)
    first = np.flatnonzero(np.diff(numbers, prepend=np.inf) < 0)
    last = np.append(first[1:], len(numbers)) - 1
    covered = numbers[last] - numbers[first] >= _COVERED * np.ptp(numbers)
    return int((covered & (last - first + 1 >= _RUN)).sum())


def spellings_of(groups: np.ndarray) -> Iterator[tuple[str, str]]:
    """Yield pairs of groups whose names differ in case or in leading zeros alone."""
    if groups.dtype.kind != "U":
        return
    alike = defaultdict[str, list[str]](list)
    for name in np.unique(groups).tolist():
        alike[_ZEROS.sub("", name.casefold())].append(name)
    for names in alike.values():
        yield from combinations(names, 2)
