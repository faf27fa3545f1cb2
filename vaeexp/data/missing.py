"""Rows without some of their numbers: NaN, or a code such as −9999 that the files have there.

The setting `missing` says which rows are left out before the split. Nothing is filled in.
"""

from pathlib import Path
from typing import Literal

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import PART_NAMES, RawImages, Unreadable, blocks
from vaeexp.data.formats.scratch import write_rows
from vaeexp.words import format_signed, join_and, plural

Missing = tuple[float, ...] | Literal["drop"] | None
"""The setting `missing`."""


def missing_numbers(numbers: np.ndarray, missing: Missing) -> np.ndarray:
    """Return which numbers of any shape are NaN, or a code that the setting lists, bool."""
    codes = np.array(codes_of(missing))
    # Files of float32 have the nearest such number.
    found: np.ndarray = np.isnan(numbers) | np.isin(numbers, [codes, codes.astype(np.float32)])
    return found


def codes_of(missing: Missing) -> tuple[float, ...]:
    """Return the codes that the setting lists."""
    return missing if isinstance(missing, tuple) else ()


def without_missing(raw: RawImages, missing: Missing, scratch: Path, root: str) -> RawImages:
    """Return the images without those that have a missing number, with a note that says how many.

    Raises UserError where a split has no other images, and for codes of grey levels in image files.
    """
    if missing is None:
        return raw
    if raw.read_again is not None:
        if codes := codes_of(missing):
            named = join_and([format_signed(code) for code in codes])
            problem = f"got {named}, but the image files hold grey levels; must be left out"
            raise UserError("data.missing", f"{problem}. Leave the files out of the folder.")
        return raw
    found = [
        missing_numbers(block, missing).reshape(len(block), -1).any(axis=1)
        for block in blocks(raw.images)
    ]
    lost = np.concatenate(found)
    lost[[file.row for file in raw.unreadable]] = False  # these hold nothing, not even a code
    if not lost.any():
        return raw
    kept = np.flatnonzero(~lost)
    for part in np.setdiff1d(raw.parts, raw.parts[kept]).tolist():
        problem = f"got a missing value in each {PART_NAMES[part]} row"
        raise UserError(root, f"{problem}; data.missing must leave rows. Leave columns out.")

    def where(row: int) -> str:
        return raw.where(int(kept[row]))

    complete = blocks(raw.images, kept)
    shape = raw.images.shape[1:]
    images = write_rows(scratch / "complete.raw", complete, raw.images.dtype, shape)
    what = ["NaN", *map(format_signed, codes_of(missing))]
    rows = plural(len(lost), "row")
    note = f"Left out: {lost.sum():,} of {rows} with missing values ({' or '.join(what)})"
    per_row = ("labels", "parts", "stored", "largest", "groups", "factors", "names")
    given = {name: getattr(raw, name) for name in per_row}
    place = np.cumsum(~lost) - 1
    return raw._replace(
        **{name: array[kept] for name, array in given.items() if array is not None},
        images=images,
        rows=kept,
        notes=(*raw.notes, note),
        unreadable=tuple(Unreadable(int(place[row]), *rest) for row, *rest in raw.unreadable),
        where=where,
    )
