"""Labels in a file of arrays: classes where each image has one, left out with the reason where it
has not.

A VAE needs no labels, so no file is refused for their kind.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from vaeexp.data.formats import printable, some_of

_MOST_CLASSES = 65_536  # labels are kept as uint16 at most


class Labels(NamedTuple):
    """Labels unsigned [N] of all parts, zeros without classes; the rest as in `RawImages`.

    unlabelled: places of the parts that have no labels although others have.
    """

    values: np.ndarray
    classes: tuple[str, ...] | None
    notes: tuple[str, ...]
    unlabelled: tuple[int, ...] = ()


class _LeftOut(Exception):
    """The labels name no classes; the message has the reason."""


def read_labels(columns: Sequence[np.ndarray | None], counts: Sequence[int]) -> Labels:
    """Read one class for each image of the parts that have labels.

    columns: labels of each part, a row or an entry for each image; None where the file has none.
    counts: images of each part.
    """
    none = Labels(np.zeros(sum(counts), np.uint8), None, ("Classes: none",))
    given = [column is not None and not _says_none(column) for column in columns]
    labelled = [column for column in columns if column is not None and not _says_none(column)]
    if not labelled:
        return none
    try:
        labels = _number(np.concatenate([_one_each(column) for column in labelled]))
    except _LeftOut as reason:
        return none._replace(notes=(f"Classes: none. Labels left out: {reason}",))
    values = np.zeros(sum(counts), labels.values.dtype)
    values[np.repeat(given, counts)] = labels.values
    unlabelled = tuple(index for index, there in enumerate(given) if not there)
    return labels._replace(values=values, unlabelled=unlabelled)


def only_occurring(
    labels: np.ndarray, classes: Sequence[str]
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the names of the classes that occur, and labels [N] that number these from 0."""
    kept = [label for label, name in enumerate(classes) if name]
    return np.searchsorted(kept, labels), tuple(classes[label] for label in kept)


def _says_none(array: np.ndarray) -> bool:
    """Return whether all labels are −1 or NaN, as where the labels of a test split are kept
    secret.
    """
    return array.dtype.kind in "if" and bool(((array == -1) | np.isnan(array)).all())


def _one_each(array: np.ndarray) -> np.ndarray:
    """Return booleans, text or int64 [N]. Raises _LeftOut where an image has several labels, or
    none.
    """
    values = array.reshape(-1)
    kind = array.dtype.kind
    if len(values) != len(array) and kind in "biuf" and array.ndim == 2:
        ones = array == 1
        if not (ones | (array == 0)).all() or not (ones.sum(axis=1) == 1).all():
            raise _LeftOut("an image has several, and they are not one-hot")
        return ones.argmax(axis=1)
    if len(values) != len(array):
        raise _LeftOut("an image has several")
    if kind == "f" and not (np.isfinite(values) & (np.rint(values) == values)).all():
        raise _LeftOut("some are NaN or fractions")
    if kind in "iuf":
        return values.astype(np.int64)
    if kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace")
    if kind == "O":
        raise _LeftOut("Python objects, which only pickle reads. Save numpy.array(labels, str)")
    if kind not in "bU":
        raise _LeftOut(f"{array.dtype} names no classes")
    return values


def _number(values: np.ndarray) -> Labels:
    """Number the classes from 0: whole numbers of 16 bits stay as they are, with an empty name for
    each that does not occur; others are numbered in sorted order.
    """
    distinct, places = np.unique(values, return_inverse=True)
    if values.dtype == np.int64 and distinct[0] >= 0 and distinct[-1] < _MOST_CLASSES:
        kept = values.astype(np.min_scalar_type(distinct[-1]))
        every = [""] * (int(distinct[-1]) + 1)
        for label in distinct.tolist():
            every[label] = str(label)
        return Labels(kept, tuple(every), (f"Classes: {len(distinct):,}",))
    if values.dtype == np.int64 and distinct[0] == -1 and distinct.tolist() != [-1, 1]:
        raise _LeftOut("some are −1, which marks images without a label")
    if values.dtype.kind == "U" and np.isin(distinct, ("", "nan")).any():
        raise _LeftOut("some are empty or nan, which marks images without a label")
    if 2 * len(distinct) > len(values) or len(distinct) > _MOST_CLASSES:
        raise _LeftOut(f"{len(distinct):,} different ones for {len(values):,} images")
    names = tuple(printable(str(name)) for name in distinct.tolist())
    note = f"Classes: {len(names):,} ({some_of(names)}), in sorted order"
    return Labels(places.reshape(-1).astype(np.min_scalar_type(len(names) - 1)), names, (note,))
