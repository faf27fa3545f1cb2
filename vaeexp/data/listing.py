"""Which image files belong to a data set: their names, splits and classes. Nothing is opened here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.draws import Purpose, permutation

__all__ = ["TEST", "TRAINING", "VALIDATION", "Listing", "hold_out_test", "label_type", "tenth"]

TRAINING, VALIDATION, TEST = 0, 1, 2


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Image files of a data set.

    names: below `root`, with `/`.
    parts: TRAINING, VALIDATION or TEST of each, uint8 [N].
    labels: unsigned [N]; zeros where `classes` is None.
    holdout: images to hold out for validation at most, where the files do not say which.
    notes: sentences for people on how the splits came about.
    """

    title: str
    root: Path
    names: Sequence[str]
    parts: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...] | None
    holdout: int | None
    notes: tuple[str, ...] = ()


def tenth(count: int) -> int:
    """A tenth of `count` images, at least one."""
    return max(1, round(count / 10))


def hold_out_test(place: str, count: int) -> np.ndarray:
    """TEST for a tenth of `count` images that came without a test split, else TRAINING; uint8 [count].

    The draw is fixed for ever and does not depend on the study's split seed, as with official test files: an image
    that was tested on under one seed is not trained on under another. Raises UserError for fewer than three images.
    """
    if count < 3:
        problem = f"holds {count} image{'s' * (count != 1)}; a split into train, validation and test needs at least 3"
        raise UserError(place, problem)
    parts = np.full(count, TRAINING, dtype=np.uint8)
    parts[permutation(count, 0, Purpose.HELD_OUT_TEST)[: tenth(count)]] = TEST
    return parts


def label_type(classes: int) -> np.dtype:
    """The smallest unsigned type that holds labels of this many classes."""
    return np.min_scalar_type(max(1, classes) - 1)
