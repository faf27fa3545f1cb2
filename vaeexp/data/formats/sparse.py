"""Groups of arrays that are one: sparse matrices as scipy, AnnData and 10x Genomics store them, and
AnnData's columns of categories.

A matrix is `data`, `indices` and `indptr` of compressed rows (CSR) or columns (CSC). It is written
as dense rows, block by block. That of 10x is genes × barcodes; its rows here are the barcodes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vaeexp.data.formats import refusing
from vaeexp.data.formats.entries import Entry, Header
from vaeexp.data.formats.scratch import rows_of_block, write_rows

PARTS = ("data", "indices", "indptr")
_OLD = "h5sparse_"
"""Begins the attributes of a matrix in AnnData before 0.7."""


def join_groups(
    root: Path, entries: Mapping[str, Entry], groups: Mapping[str, Any]
) -> dict[str, Entry]:
    """Return the arrays of a file, with each group that is one array in place of its parts.

    Columns of AnnData's `obs`, and what stands beside the matrix of 10x, which is `images`, have
    names without their group.

    groups: of h5py or zarr, by their paths.
    """
    rest = dict(entries)
    joined = dict[str, Entry]()
    prefix = "obs/" if "obs" in groups and "_index" in groups["obs"].attrs else ""
    for name, group in groups.items():
        attributes = group.attrs
        form = str(attributes.get("encoding-type", attributes.get(_OLD + "format")))
        tenx = f"{name}/shape" in rest
        shape = group["shape"] if tenx else attributes.get("shape", attributes.get(_OLD + "shape"))
        if found := _taken(rest, name, ("codes", "categories")):
            joined[name] = _texts(name, *found, coded=True)
        elif form.startswith("nullable") and (found := _taken(rest, name, ("values", "mask"))):
            joined[name] = _texts(name, *found, coded=False)
        elif shape is not None and (found := _taken(rest, name, PARTS)):
            columns = not tenx and form.startswith("csc")
            size = tuple(map(int, np.asarray(shape)[:: -1 if tenx else 1]))
            load = partial(_load, "csc_array" if columns else "csr_array", found, size)
            dtype = found[0].header()[0].newbyteorder("=")
            place = f"{root}: {name}"
            if tenx and name == "matrix":
                name, prefix = "images", "matrix/"
            joined[name] = sparse_entry(name, place, (dtype, size), load)
    for name in entries:
        column = name.replace("/__categories/", "/")  # of AnnData before 0.8
        if name != column in rest:
            joined[column] = _texts(column, rest.pop(column), rest.pop(name), coded=True)
    every = joined | rest
    named = dict[str, Entry]()
    for name, entry in every.items():
        short = name.removeprefix(prefix)
        own = name if short in every else short
        named[own] = replace(entry, name=own)
    return named


def _taken(entries: dict[str, Entry], group: str, names: Sequence[str]) -> list[Entry]:
    """Take these arrays of a group away and return them; none where one is missing."""
    paths = [f"{group}/{name}" for name in names]
    return [*map(entries.pop, paths)] if entries.keys() >= {*paths} else []


def _texts(name: str, values: Entry, other: Entry, *, coded: bool) -> Entry:
    """Return a column with a text for each row, empty where it has none.

    other: the texts that `values` number where they are `coded`, else which values are missing.
    """

    def read(target: Path) -> np.ndarray:
        found = values.read(target)
        beside = other.read(target.with_suffix(".beside"))
        if coded:
            return np.append(beside.astype(str), "")[found]  # −1 is the last
        return np.where(beside, "", found.astype(str))

    header = np.dtype(str), values.header()[1]
    return replace(values, name=name, header=lambda: header, read=read)


def sparse_entry(name: str, place: str, header: Header, load: Callable[[Path], Any]) -> Entry:
    """Return a matrix [N, F] as dense rows. `load`: returns scipy's matrix, and may write its parts
    beside the path that it gets.
    """
    dtype, (count, width) = header

    def blocks(matrix: Any) -> Iterator[np.ndarray]:
        rows = matrix.tocsr()
        rows.check_format()  # that all places are within the matrix
        step = rows_of_block(width * dtype.itemsize)
        for first in range(0, count, step):
            yield rows[first : first + step].toarray()

    def read(target: Path) -> np.ndarray:
        with refusing(Path(place), "a whole sparse matrix"):
            return write_rows(target, blocks(load(target)), dtype, (width,))

    return Entry(name=name, place=place, header=lambda: header, read=read)


def _load(form: str, parts: Sequence[Entry], size: Sequence[int], target: Path) -> Any:
    """Return scipy's matrix of the arrays `PARTS`."""
    from scipy import sparse

    paths = [target.with_suffix(f".{number}") for number in range(3)]
    arrays = tuple(part.read(path) for part, path in zip(parts, paths, strict=True))
    return getattr(sparse, form)(arrays, shape=size)
