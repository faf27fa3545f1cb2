"""Labels in a file of arrays: classes where each image has one, left out with the reason where it
has not.

A VAE needs no labels, so no file is refused for their kind. A wrong number of labels is refused,
because then it is not known which image a label belongs to.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import printable, some_of

_MOST_CLASSES = 65_536  # labels are kept as uint16 at most
_LARGEST = np.iinfo(np.int64).max


class LabelArray(NamedTuple):
    """The labels of a part. `place` names file and array for an error; array is None where the file
    has none.
    """

    place: str
    name: str
    array: np.ndarray | None
    images: int


class Labels(NamedTuple):
    """Labels unsigned [N] of all parts, zeros without classes; the rest as in `RawImages`.

    unlabelled: places of the parts that have no labels although others have.
    """

    values: np.ndarray
    classes: tuple[str, ...] | None
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    unlabelled: tuple[int, ...] = ()


class _LeftOut(Exception):
    """The labels name no classes; the message has the reason."""


def read_labels(parts: Sequence[LabelArray]) -> Labels:
    """Read one class for each image of the parts that have labels.

    Raises UserError where the number of labels is not that of the images.
    """
    for part in parts:
        if part.array is not None:
            _check_number(part, part.array)
    none = Labels(np.zeros(sum(part.images for part in parts), np.uint8), None, ("Classes: none",))
    arrays = [
        None if part.array is None or _says_none(part.array) else part.array for part in parts
    ]
    present = [part.name for part in parts if part.array is not None]
    labelled = [
        (array, part.images) for array, part in zip(arrays, parts, strict=True) if array is not None
    ]
    try:
        if present and not labelled:
            raise _LeftOut("all are −1 or NaN, which marks images without a label")
        if not labelled:
            return none
        columns = [_one_each(*labels_of_part) for labels_of_part in labelled]
        labels = _number(np.concatenate(_of_one_kind([values for values, _ in columns])))
    except _LeftOut as reason:
        return none._replace(
            notes=(f"Classes: none. Labels left out ({', '.join(present)}): {reason}",)
        )
    read = sorted({words for _, words in columns if words})
    values = none.values.astype(labels.values.dtype)
    values[np.repeat([array is not None for array in arrays], [part.images for part in parts])] = (
        labels.values
    )
    return labels._replace(
        values=values,
        notes=(*labels.notes, *(f"Labels: {words}" for words in read)),
        unlabelled=tuple(index for index, array in enumerate(arrays) if array is None),
    )


def _says_none(array: np.ndarray) -> bool:
    """Return whether all labels are −1 or NaN, as where the labels of a test split are kept
    secret.
    """
    return array.dtype.kind in "if" and bool(((array == -1) | np.isnan(array)).all())


def _check_number(part: LabelArray, array: np.ndarray) -> None:
    if array.size != part.images and (not array.ndim or len(array) != part.images):
        wanted = (
            f"{part.images:,} labels, one for each image. Leave the array out of the file if the "
            "images have none"
        )
        raise UserError(part.place, f"got {array.dtype} {list(array.shape)}; must be {wanted}")


def _one_each(array: np.ndarray, images: int) -> tuple[np.ndarray, str]:
    """Return whole numbers, booleans or text [N], and what was made of the array, in words; empty
    for nothing.

    Raises _LeftOut where an image has several labels, or none.
    """
    values, kind, words = array.reshape(-1), array.dtype.kind, ""
    if array.size != images:
        stored = f"{array.dtype} {list(array.shape)}"
        if kind not in "biuf" or array.ndim > 2:
            raise _LeftOut(f"{stored} is more than one label for each image")
        ones = array == 1
        if not (ones | (array == 0)).all() or not (ones.sum(1) == 1).all():
            raise _LeftOut(f"{stored} is several labels for each image, and not one-hot")
        values = ones.argmax(1)
        kind = "i"
        words = f"one-hot {list(array.shape)}, read as the column of the 1"
    if kind == "O":
        raise _LeftOut(
            "they are Python objects, which only pickle can read. Save text as "
            "numpy.array(labels, str)"
        )
    if kind == "S":
        return np.char.decode(values, "utf-8", "backslashreplace"), words
    if kind == "f":
        return _whole(values), words
    if kind not in "biuU":
        raise _LeftOut(f"{array.dtype} names no classes")
    return values, words


def _whole(values: np.ndarray) -> np.ndarray:
    """Return floats that are whole numbers as int64. Raises _LeftOut for others."""
    wide = values.astype(np.longdouble)  # in which 2⁶³ is a number, unlike in float16
    if count := int((~np.isfinite(values)).sum()):
        raise _LeftOut(f"{count:,} of {len(values):,} are NaN or infinite")
    broken = values[(np.rint(wide) != wide) | (np.abs(wide) >= 2.0**63)]
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
    """Number the classes from 0: whole numbers of 16 bits stay as they are, others are numbered in
    sorted order.
    """
    numbers, count = values.dtype == np.int64, len(values)
    distinct, places = np.unique(values, return_inverse=True)
    single = 2 * len(distinct) > count
    if numbers and distinct[0] >= 0 and distinct[-1] < _MOST_CLASSES:
        classes = int(distinct[-1]) + 1
        meant = (
            "if they number the images, leave them out of the file, because classes serve FID and "
            "the plots of classes"
        )
        warning = f"the labels name {len(distinct):,} classes for {count:,} images; {meant}"
        names = tuple(str(number) for number in range(classes))
        kept = values.astype(np.min_scalar_type(classes - 1))
        empty = classes - len(distinct)
        warnings = [warning] if single else []
        if not single and empty > len(distinct):
            largest = f"the labels name {len(distinct):,} classes by numbers up to {classes - 1:,}"
            warnings.append(
                f"{largest}; if {classes - 1} marks images without a label, save −1 there"
            )
        note = f"Classes: {classes:,}" + (f", {empty:,} of them without an image" if empty else "")
        return Labels(kept, names, (note,), tuple(warnings))
    if numbers and distinct[0] == -1 and distinct.tolist() != [-1, 1]:
        raise _LeftOut(
            f"{int((values == -1).sum()):,} of {count:,} are −1, which marks images without a label"
        )
    if not numbers and (missing := int(np.isin(values, ("", "nan")).sum())):
        raise _LeftOut(
            f"{missing:,} of {count:,} are empty or nan, which marks images without a label"
        )
    if single or len(distinct) > _MOST_CLASSES:
        raise _LeftOut(
            f"{len(distinct):,} different ones for {count:,} images name images, and no classes"
        )
    names = tuple(printable(str(name)) for name in distinct.tolist())
    note = f"Classes: {len(names):,} ({some_of(names)}), in sorted order"
    return Labels(places.reshape(-1).astype(np.min_scalar_type(len(names) - 1)), names, (note,))
