"""Numbers that no model can take, or that no reader can mean: too large for float32, so many
deviations away that they decide everything, or so close to each other that float32 joins them.
"""

from collections.abc import Mapping

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    TEST,
    TRAINING,
    VALIDATION,
    RawImages,
    printable,
    some_of,
)
from vaeexp.data.scaling import Scaling, Statistics, is_vector, pieces, place_words, sample
from vaeexp.words import plural

_NAMES = {TRAINING: "training", VALIDATION: "validation", TEST: "test"}
_LARGEST = 1e15
"""Target beyond which the square over the least σ², summed over an image, has no float32."""
_SHARE = 0.25
"""Share of the variance that one number makes from which on it is doubted."""
_ALONE = 5.0
"""Deviations from the mean from which on one number is doubted for its share."""
_FAR = 1_000.0
"""Deviations from the training mean from which on a validation or test number is doubted."""
_COARSE = 0.01
"""Share of a deviation that the step of float32 may be."""


def look_at_sizes(
    raw: RawImages,
    rows: Mapping[int, np.ndarray],
    taught: np.ndarray,
    known: Statistics,
    scaling: Scaling,
    root: str,
) -> list[str]:
    """Return sentences on numbers that cannot be meant, of images that are no bytes.

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
        where = f"{place_words(raw, place)} of the {_NAMES[part]} images"
        if deviations == np.inf:
            problem = f"got {number:g} in {where}; is too large for float32 when it is scaled"
            remedy = "Mend it, leave its row out, or cut all: --set clip='[0.1, 99.9]'"
            raise UserError(root, f"{problem}. {remedy}.")
        share = deviations**2 / known.count
        if part == TRAINING and deviations > _ALONE and share > _SHARE:
            warnings.append(
                f"{number:g} in {where} makes {min(share, 1):.0%} of the variance, so the others "
                "are nearly equal beside it. Mend it, or try data.clip: [0.1, 99.9]"
            )
        elif deviations > _FAR:
            warnings.append(
                f"{number:g} in {where} lies {deviations:,.0f} standard deviations from the "
                "training mean, so it decides the mean −ELBO. Mend it, or try data.clip: "
                "[0.1, 99.9]"
            )
    return warnings


def _farthest(
    images: np.ndarray, rows: np.ndarray, known: Statistics, scaling: Scaling
) -> tuple[tuple[int, ...], float]:
    """Return the place in `images` of the number that is farthest from the training mean, and its
    distance in deviations: infinite for the first whose target is too large. Without rows the place
    is empty.
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
    cut = scaling.cut(numbers)
    deviation = np.where(known.deviation > 0, known.deviation, np.inf)
    distances = np.abs(cut - known.mean) / deviation
    distances[np.abs((cut - scaling.offset) / scaling.scale) > _LARGEST] = np.inf
    return distances


def _joined(raw: RawImages, taught: np.ndarray, scaling: Scaling) -> list[str]:
    """Doubt numbers that are large beside their variation: as float32 targets many are equal."""
    if raw.images.dtype.itemsize < 4:
        return []
    axes = (0,) if is_vector(raw) else (0, 1, 2, 3)
    targets = (scaling.cut(sample(raw.images, taught)) - scaling.offset) / scaling.scale
    step = np.spacing(np.abs(targets).max(axis=axes).astype(np.float32)).astype(np.float64)
    lost = np.flatnonzero(step > _COARSE * targets.std(axis=axes))
    if not len(lost):
        return []
    if not is_vector(raw):
        which = "The numbers are"
    elif raw.features is None:
        which = f"The numbers of {plural(len(lost), 'column')} (first {lost[0]:,}, from 0) are"
    else:
        which = f"{some_of([printable(raw.features[column]) for column in lost])}: numbers are"
    return [
        f"{which} so large beside their variation that float32 joins many of them. Try data.scale: "
        "standard" + (" and data.scale_per: feature" if is_vector(raw) else "")
    ]
