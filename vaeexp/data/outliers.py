"""Numbers that are probably mistakes: too large for float32, so far from the others that they
decide every mean, or so large beside their variation that float32 makes them equal.
"""

from collections.abc import Mapping

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    SPLIT_WORDS,
    TEST,
    TRAINING,
    VALIDATION,
    RawImages,
    some_of,
)
from vaeexp.data.scaling import Scaling, Statistics, percentiles, pieces, place_words, sample
from vaeexp.data.values import is_vector
from vaeexp.words import plural

_LARGEST = 1e15
"""Target beyond which the square over the least σ², summed over an image, has no float32."""
_SHARE = 0.25
"""Share of the variance above which one number that makes it is doubted."""
_ALONE = 5.0
"""Deviations from the mean that such a number has at least."""
_APART = 4.0
"""How many times as far from the mean as the next different number it is at least: the largest
number of a heavy tail is not.
"""
_FAR = 1_000.0
"""Deviations from the training mean above which a validation or test number is doubted."""
_LIMITS = (0.1, 99.9)
"""Percentiles that are proposed as limits."""
_COARSE = 0.01
"""Largest step of float32, as a share of a deviation, that is not doubted."""


class TooLargeError(UserError):
    """A target is too large for float32."""


def look_at_sizes(
    raw: RawImages,
    rows: Mapping[int, np.ndarray],
    taught: np.ndarray,
    known: Statistics,
    scaling: Scaling,
    root: str,
) -> list[str]:
    """Return warnings of numbers that are probably mistakes, in images that are not bytes.

    rows: TRAINING, VALIDATION or TEST → rows of its images.
    taught: rows of the training images, of which `known` are the statistics.

    Raises UserError, which names `root`, the row and the number, where a target is too large.
    """
    if scaling.kind == "unit":
        return []
    warnings = _joined(raw, taught, scaling)
    held_out = np.setdiff1d(rows[TRAINING], taught)
    others = {VALIDATION: np.concatenate([held_out, rows[VALIDATION]]), TEST: rows[TEST]}
    for part, own in {TRAINING: taught, **others}.items():
        place, deviations = _farthest(raw.images, own, known, scaling)
        if not place:
            continue
        number = raw.images[place].item()
        where = f"{place_words(raw, place)} of the {SPLIT_WORDS[part]} images"
        if deviations == np.inf:
            problem = f"got {number:g} in {where}; is too large for float32 when it is scaled"
            remedy = "Correct it, leave its row out, or cut all: --set clip='[0.1, 99.9]'"
            raise TooLargeError(root, f"{problem}. {remedy}.")
        share = deviations**2 / known.count
        if part == TRAINING and deviations > _ALONE and share > _SHARE:
            if not _stands_apart(raw.images, taught, known, place):
                continue
            warnings.append(
                f"{number:g} in {where} makes {min(share, 1):.0%} of the variance, so the others "
                f"are nearly equal beside it. {_remedy(raw, taught)}"
            )
        elif deviations > _FAR:
            warnings.append(
                f"{number:g} in {where} lies {deviations:,.0f} standard deviations from the "
                f"training mean, so it decides the mean −ELBO. {_remedy(raw, taught)}"
            )
    return warnings


def _remedy(raw: RawImages, taught: np.ndarray) -> str:
    """Propose limits only where they leave each column and each channel a range."""
    low, high = percentiles(raw, taught, _LIMITS)
    return "Correct it" if (low == high).any() else f"Correct it, or try data.clip: {[*_LIMITS]}"


def _farthest(
    images: np.ndarray, rows: np.ndarray, known: Statistics, scaling: Scaling
) -> tuple[tuple[int, ...], float]:
    """Return the place in `images` of the number that is farthest from the training mean, and its
    distance in deviations; infinite where its target is too large. The place is empty if there are
    no rows.
    """
    found: tuple[int, ...] = ()
    farthest = 0.0
    start = 0
    for piece in pieces(images, rows):
        ends = np.stack([piece.min(axis=0), piece.max(axis=0)])
        if not found or _distances(ends, known, scaling).max() > farthest:
            distances = _distances(piece, known, scaling)
            place = np.unravel_index(int(distances.argmax()), distances.shape)
            farthest = float(distances[place])
            found = (int(rows[start + int(place[0])]), *map(int, place[1:]))
        start += len(piece)
    return found, farthest


def _distances(numbers: np.ndarray, known: Statistics, scaling: Scaling) -> np.ndarray:
    """Return how many deviations each of the numbers [N, C, H, W] lies from the training mean,
    infinite where its target is too large; float64.
    """
    deviation = np.where(known.deviation > 0, known.deviation, np.inf)
    distances = np.abs(scaling.cut(numbers) - known.mean) / deviation
    distances[np.abs(scaling.scaled(numbers)) > _LARGEST] = np.inf
    return distances


def _stands_apart(
    images: np.ndarray, rows: np.ndarray, known: Statistics, place: tuple[int, ...]
) -> bool:
    """Return whether the number at `place` in `images` is far from all others that share its mean.

    The only number of a column that is no 0 is not, nor is that of a rare flag.
    """
    number = float(images[place])
    shared = [size == 1 for size in known.mean.shape]
    sides = list(zip(place[1:], shared, strict=True))
    own = tuple(slice(None) if every else slice(at, at + 1) for at, every in sides)
    mean = float(known.mean[tuple(0 if every else at for at, every in sides)])
    ends = list[float]()
    for piece in pieces(images, rows):
        others = piece[:, *own].astype(np.float64)
        others = others[others != number]
        ends += [others.min(), others.max()] if len(others) else []
    if max(ends) == min(ends) and (ends[0] == 0 or abs(number - ends[0]) == 1):
        return False
    farthest = max(abs(end - mean) for end in ends)
    # The farthest of many columns is farther by chance.
    return abs(number - mean) > _APART * np.sqrt(known.mean.size) * farthest


def _joined(raw: RawImages, taught: np.ndarray, scaling: Scaling) -> list[str]:
    """Return a warning of numbers so large beside their variation that many targets are equal in
    float32.
    """
    if raw.images.dtype.itemsize < 4:
        return []
    vectors = is_vector(raw.images.shape)
    axes = (0,) if vectors else (0, 1, 2, 3)
    targets = scaling.scaled(sample(raw.images, taught))
    step = np.spacing(np.abs(targets).max(axis=axes).astype(np.float32)).astype(np.float64)
    lost = np.flatnonzero(step > _COARSE * targets.std(axis=axes))
    if not len(lost):
        return []
    if not vectors:
        which = "The numbers are"
    elif raw.features is None:
        which = f"The numbers of {plural(len(lost), 'column')} (first {lost[0]:,}, from 0) are"
    else:
        which = f"{some_of([raw.features[column] for column in lost])}: numbers are"
    return [
        f"{which} so large beside their variation that float32 joins many of them. Try data.scale: "
        "standard" + (" and data.scale_per: feature" if vectors else "")
    ]
