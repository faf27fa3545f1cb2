"""Packed numbers: what the attributes of an array in HDF5, zarr and netCDF-4 say that it means.

A stored number is worth stored × `scale_factor` + `add_offset`, and one that equals `_FillValue` or
is among `missing_value` stands for none, NaN. These are attributes of the array; what zarr and HDF5
put where nothing was written (`fill_value`) is no such statement.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from vaeexp.data.formats import some_of


class Packing(NamedTuple):
    """How stored numbers are unpacked.

    stored: their type: unsigned where `_Unsigned` says so.
    dtype: type of unpacked numbers.
    fills: stored numbers that stand for none.
    changes: whether all numbers change, and not only those of `fills`.
    """

    stored: np.dtype
    dtype: np.dtype
    factor: float
    offset: float
    fills: np.ndarray
    changes: bool

    def missing(self, block: np.ndarray) -> np.ndarray:
        """Return which stored numbers stand for none."""
        return np.isin(block.view(self.stored), self.fills)

    def unpack(self, block: np.ndarray) -> np.ndarray:
        """Return the numbers that stored ones are worth."""
        numbers = block.view(self.stored) * np.float64(self.factor) + self.offset
        numbers = numbers.astype(self.dtype)
        if len(self.fills):
            numbers[self.missing(block)] = np.nan
        return numbers

    def words(self) -> str:
        """Say what the attributes mean."""
        said = f"stored × {self.factor:.10g} + {self.offset:.10g}"
        fills = some_of([f"{fill:.10g}" for fill in self.fills.tolist()])
        return f"{said}, NaN where stored as {fills}" if fills else said


def packing_of(dtype: np.dtype, attributes: Mapping[str, Any]) -> Packing | None:
    """Return how an array with these attributes is unpacked; None where it is read as it is.

    Numbers become float32 where that holds all stored ones and the attributes are no more exact,
    else float64, as the conventions of netCDF (CF) have it. Attributes that are no numbers say
    nothing, nor do scales of several numbers.
    """
    if dtype.kind not in "iuf":
        return None
    unsigned = dtype.kind == "i" and str(attributes.get("_Unsigned")).lower() == "true"
    stored = np.dtype(f"{dtype.byteorder}u{dtype.itemsize}") if unsigned else dtype
    factor = _number(attributes.get("scale_factor"), 1)
    offset = _number(attributes.get("add_offset"), 0)
    given = [_numbers(attributes.get(name)) for name in ("_FillValue", "missing_value")]
    fills = _as_stored(np.concatenate(given), dtype, stored)
    scaled = bool(factor != 1 or offset != 0)
    if not (scaled or unsigned or len(fills)):
        return None
    unpacked = stored.newbyteorder("=")
    if scaled or len(fills):
        unpacked = np.result_type(np.float32, unpacked, factor, offset)
    return Packing(stored, unpacked, factor.item(), offset.item(), fills, scaled or unsigned)


def _numbers(value: Any) -> np.ndarray:
    """Return the numbers [n] of an attribute, none of text."""
    numbers = np.ravel(value)
    return numbers if numbers.dtype.kind in "iuf" else np.zeros(0, np.int8)


def _number(value: Any, other: int) -> np.generic:
    """Return the number of an attribute; `other` where it is none, or several."""
    numbers = _numbers(value)
    return numbers[0] if len(numbers) == 1 else np.int8(other)


def _as_stored(numbers: np.ndarray, dtype: np.dtype, stored: np.dtype) -> np.ndarray:
    """Return those of the numbers that can be stored, in the type in which they are compared."""
    with np.errstate(invalid="ignore", over="ignore"):
        fills = numbers.astype(stored)
    if stored.kind == "f":
        return fills[~np.isnan(fills)]
    return fills[(fills == numbers) | (fills.view(dtype) == numbers)]
