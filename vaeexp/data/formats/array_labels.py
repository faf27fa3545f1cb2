"""Labels in a file of arrays: classes where each image has one, left out with the reason where it has not.

A VAE needs no labels, so no file is refused for their kind. A wrong number of labels is refused, because then it is not
known which image a label belongs to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.formats import printable

_MOST_CLASSES = 65_536  # labels are kept as uint16 at most
_LARGEST = np.iinfo(np.int64).max


class LabelArray(NamedTuple):
    """The labels of a part. `place` names file and array for an error; array is None where the file has none."""

    place: str
    name: str
    array: np.ndarray | None
    images: int


class Labels(NamedTuple):
    """Labels unsigned [N] of all parts, zeros without classes; the rest as in `RawImages`."""

    values: np.ndarray
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class _LeftOut(Exception):
    """The labels name no classes; the message has the reason."""


def read_labels(parts: Sequence[LabelArray]) -> Labels:
    """Read one class for each image. Raises UserError where the number of labels is not that of the images."""
    for part in parts:
        if part.array is not None:
            _check_number(part, part.array)
    present = [part for part in parts if part.array is not None]
    if not present:
        return _without(parts, "Classes: none")
    try:
        if len(present) < len(parts):
            raise _LeftOut(f"there is no array {next(part.name for part in parts if part.array is None)}")
        columns = [_one_each(part.array) for part in parts if part.array is not None]
        labels = _number(np.concatenate(_of_one_kind([values for values, _ in columns])))
    except _LeftOut as reason:
        names = ", ".join(part.name for part in present)
        return _without(parts, f"Classes: none. Labels left out ({names}): {reason}")
    read = sorted({words for _, words in columns if words})
    return labels._replace(notes=(*labels.notes, *(f"Labels: {words}" for words in read)))


def _without(parts: Sequence[LabelArray], note: str) -> Labels:
    return Labels(np.zeros(sum(part.images for part in parts), np.uint8), None, (note,))


def _check_number(part: LabelArray, array: np.ndarray) -> None:
    if array.size != part.images and (not array.ndim or len(array) != part.images):
        wanted = f"{part.images:,} labels, one for each image. Leave the array out of the file if the images have none"
        raise UserError(part.place, f"got {array.dtype} {list(array.shape)}; must be {wanted}")


def _one_each(array: np.ndarray) -> tuple[np.ndarray, str]:
    """Return whole numbers, booleans or text [N], and what was made of the array, in words; empty for nothing.

    Raises _LeftOut where an image has several labels, or none.
    """
    values, kind, words = array.reshape(-1), array.dtype.kind, ""
    if array.size != len(array) and array.ndim > 1:
        stored = f"{array.dtype} {list(array.shape)}"
        if kind not in "biuf" or array.ndim > 2:
            raise _LeftOut(f"{stored} is more than one label for each image")
        ones = array == 1
        if not (ones | (array == 0)).all() or not (ones.sum(1) == 1).all():
            raise _LeftOut(f"{stored} is several labels for each image, and not one-hot")
        values, kind, words = ones.argmax(1), "i", f"one-hot {list(array.shape)}, read as the column of the 1"
    if kind == "O":
        raise _LeftOut("they are Python objects, which only pickle can read. Save text as numpy.array(labels, str)")
    if kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace"), words
    if kind == "f":
        return _whole(values), words
    if kind not in "biuU":
        raise _LeftOut(f"{array.dtype} names no classes")
    return values, words


def _whole(values: np.ndarray) -> np.ndarray:
    """Return floats that are whole numbers as int64. Raises _LeftOut for others."""
    if count := int((~np.isfinite(values)).sum()):
        raise _LeftOut(f"{count:,} of {len(values):,} are NaN or infinite")
    broken = values[(np.rint(values) != values) | (np.abs(values) >= 2.0**63)]
    if len(broken):
        raise _LeftOut(f"{values.dtype} with values like {broken[0]} names no classes")
    return values.astype(np.int64)


def _of_one_kind(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the labels of all parts as booleans, as text, or as int64."""
    kinds = {values.dtype.kind for values in columns}
    if len(kinds) == 1 and kinds <= {"b", "U"}:
        return list(columns)
    if "U" in kinds:
        raise _LeftOut("they are text in one split and numbers in another")
    if any(values.max() > _LARGEST for values in columns if values.dtype == np.uint64):
        raise _LeftOut("numbers beyond 2⁶³ name no classes")
    return [values.astype(np.int64) for values in columns]


def _number(values: np.ndarray) -> Labels:
    """Number the classes from 0: whole numbers of 16 bits stay as they are, others are numbered in sorted order."""
    numbers, count = values.dtype == np.int64, len(values)
    distinct, places = np.unique(values, return_inverse=True)
    single = 2 * len(distinct) > count
    if numbers and distinct[0] >= 0 and distinct[-1] < _MOST_CLASSES:
        classes = int(distinct[-1]) + 1
        meant = (
            "if they number the images, leave them out of the file, because classes serve FID and the plots of classes"
        )
        warning = f"the labels name {len(distinct):,} classes for {count:,} images; {meant}"
        names = tuple(str(number) for number in range(classes))
        kept = values.astype(np.min_scalar_type(classes - 1))
        return Labels(kept, names, (f"Classes: {classes}",), (warning,) if single else ())
    if numbers and distinct[0] == -1 and distinct.tolist() != [-1, 1]:
        raise _LeftOut(f"{int((values == -1).sum()):,} of {count:,} are −1, which marks images without a label")
    if single or len(distinct) > _MOST_CLASSES:
        raise _LeftOut(f"{len(distinct):,} different ones for {count:,} images name images, and no classes")
    names = tuple(printable(str(name)) for name in distinct.tolist())
    shown = f"{', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
    note = f"Classes: {len(names):,} ({shown}), in sorted order"
    return Labels(places.reshape(-1).astype(np.min_scalar_type(len(names) - 1)), names, (note,))
