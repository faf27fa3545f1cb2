"""Groups of arrays that are one: sparse matrices as scipy, AnnData and 10x Genomics store them, and
AnnData's columns of categories.

A matrix is `data`, `indices` and `indptr` of compressed rows (CSR) or columns (CSC). It is written
as dense rows, block by block. That of 10x is genes × barcodes; its rows here are the barcodes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vaeexp.data.formats import refusing
from vaeexp.data.formats.entries import Entry
from vaeexp.data.formats.scratch import allocate, rows_of_block, write_rows

PARTS = ("data", "indices", "indptr")


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
        place = f"{root}: {name}"
        tenx = f"{name}/shape" in rest
        shape = group["shape"] if tenx else group.attrs.get("shape")
        if found := _taken(rest, name, ("codes", "categories")):
            joined[name] = _categories(name, *found)
        elif shape is not None and (found := _taken(rest, name, PARTS)):
            rows = tenx or group.attrs.get("encoding-type") != "csc_matrix"
            size = np.asarray(shape)[:: -1 if tenx else 1]
            if tenx and name == "matrix":
                name, prefix = "images", "matrix/"
            joined[name] = sparse_entry(name, place, found, size, rows=rows)
    for name in entries:
        column = name.replace("/__categories/", "/")  # of AnnData before 0.8
        if name != column in rest:
            joined[column] = _categories(column, rest.pop(column), rest.pop(name))
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


def _categories(name: str, codes: Entry, names: Entry) -> Entry:
    """Return a column with a text for each row, empty where it has no category."""

    def read(target: Path) -> np.ndarray:
        texts = np.append(names.read(target.with_suffix(".names")).astype(str), "")
        return texts[codes.read(target)]  # −1 is the last

    header = np.dtype(str), codes.header()[1]
    return replace(codes, name=name, header=lambda: header, read=read)


def sparse_entry(name: str, place: str, parts: Sequence[Entry], shape: Any, *, rows: bool) -> Entry:
    """Return a matrix [N, F] of the arrays `PARTS`. rows: whether rows are compressed, else
    columns.
    """
    dtype = parts[0].header()[0].newbyteorder("=")
    count, width = map(int, shape)
    size = count, width

    def read(target: Path) -> np.ndarray:
        with refusing(Path(place), "a whole sparse matrix"):
            arrays = [
                part.read(target.with_suffix(f".{number}")) for number, part in enumerate(parts)
            ]
            if rows:
                return write_rows(target, _blocks(arrays, *size), dtype, size[1:])
            matrix = allocate(target, size, dtype)
            start = 0
            for block in _blocks(arrays, *size[::-1]):
                matrix[:, start : start + len(block)] = block.T
                start += len(block)
            return matrix

    return Entry(name=name, place=place, header=lambda: (dtype, size), read=read)


def _blocks(parts: Sequence[np.ndarray], count: int, width: int) -> Iterator[np.ndarray]:
    """Yield the compressed rows or columns [n, width]. Raises ValueError where they are damaged."""
    data, indices, indptr = parts
    fit = len(indptr) == count + 1 and indptr[-1] <= len(data)
    if not fit or indices.min(initial=0) < 0:
        raise ValueError(f"the places of {count:,} × {width:,} numbers do not fit")
    step = rows_of_block(width * data.itemsize)
    for first in range(0, count, step):
        ends = indptr[first : first + step + 1].astype(np.int64)
        part = slice(ends[0], ends[-1])
        block = np.zeros((len(ends) - 1, width), data.dtype)
        places = np.repeat(np.arange(len(block)), np.diff(ends)), indices[part]
        np.add.at(block, places, data[part])
        yield block
