"""Files of rows that commands write and read: codes and scores as .parquet, .csv or .npz, and
arrays as .npy, or a table of named columns.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import VERSION, UserError, write_whole
from vaeexp.data.formats import refusing
from vaeexp.runs.codes import Measured, codes_in
from vaeexp.runs.marks import NAME, mark_csv, mark_npz, npy_header

ROW_FILES = (".parquet", ".csv", ".npz")


def check_target(path: Path, endings: Sequence[str], option: str = "--to") -> None:
    """Raise UserError where a file that is to be written has another ending, or its folder cannot
    hold it.
    """
    if endings and path.suffix.lower() not in endings:
        raise UserError(option, f"got '{path}'; must end in {' or '.join(endings)}.")
    folder = path.absolute().parent
    while not folder.exists():
        folder = folder.parent
    if not folder.is_dir():
        raise UserError(option, f"got '{path}'; '{folder}' is a file; must be a folder.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(option, f"got '{path}'; the folder '{folder}' must be writable.")


def flat(measured: Measured) -> dict[str, np.ndarray]:
    """Return columns [n] alone: those of mean are mean_0, mean_1 …"""
    columns = dict[str, np.ndarray]()
    for name, values in measured.items():
        if values.ndim == 1:
            columns[name] = values
            continue
        columns |= {f"{name}_{place}": values[:, place] for place in range(values.shape[1])}
    return columns


def write_rows(path: Path, batches: Iterator[Measured]) -> None:
    """Write rows batch by batch; .npz is written from memory. Empty text stays empty text, in .csv
    an empty cell.
    """
    write = _WRITERS[path.suffix.lower()]
    write_whole(path, lambda unfinished: write(unfinished, batches))


def _table(measured: Measured) -> Any:
    import pyarrow

    columns = {
        name: pyarrow.array(values, pyarrow.string() if values.dtype == object else None)
        for name, values in flat(measured).items()
    }
    return pyarrow.table(columns)


def _write_parquet(path: Path, batches: Iterator[Measured]) -> None:
    import pyarrow.parquet as parquet

    _write_tables(path, map(_table, batches), parquet.ParquetWriter)


def _write_csv(path: Path, batches: Iterator[Measured]) -> None:
    from pyarrow import csv

    _write_tables(path, (_with_cells(_table(measured)) for measured in batches), csv.CSVWriter)
    mark_csv(path)


def _write_tables(path: Path, tables: Iterator[Any], writer: Callable[..., Any]) -> None:
    first = next(tables)
    with writer(path, first.schema.with_metadata({NAME: VERSION})) as file:
        for table in chain([first], tables):
            file.write_table(table)


def _with_cells(table: Any) -> Any:
    """Return a table with empty cells for empty text, which would be written as two quotes."""
    import pyarrow
    from pyarrow import compute

    columns = [
        compute.if_else(compute.equal(column, ""), None, column)
        if pyarrow.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return pyarrow.table(columns, table.column_names)


def _write_npz(path: Path, batches: Iterator[Measured]) -> None:
    kept: dict[str, list[np.ndarray]] = {}
    for measured in batches:
        for name, values in measured.items():
            part = values.astype(np.str_) if values.dtype == object else values
            kept.setdefault(name, []).append(part)
    arrays: dict[str, Any] = {name: np.concatenate(parts) for name, parts in kept.items()}
    np.savez(path, **arrays)
    mark_npz(path)


_WRITERS = {".parquet": _write_parquet, ".csv": _write_csv, ".npz": _write_npz}


def read_codes(path: Path, latent_size: int) -> np.ndarray:
    """Return the codes float32 [M, L] of a file that `encode` wrote, or of a .npy. Raises UserError
    for anything else, and for rows without a code.
    """
    wanted = f"a file that the command encode wrote, or a .npy [M, {latent_size}]"
    if not path.is_file():
        raise UserError(str(path), "there is no such file.")
    with refusing(path, wanted):
        codes = _codes(path, latent_size)
    if codes is None or codes.ndim != 2 or codes.shape[1] != latent_size:
        got = "other columns" if codes is None else f"{codes.dtype} {list(codes.shape)}"
        raise UserError(str(path), f"got {got}; must be {wanted}")
    if codes.dtype.kind not in "iuf":
        raise UserError(str(path), f"got {codes.dtype}; must be numbers")
    return finite_codes(np.asarray(codes, np.float32), str(path))


def finite_codes(codes: np.ndarray, place: str) -> np.ndarray:
    """Return the codes [M, L]. Raises UserError for NaN, which a row with a problem has."""
    bad = ~np.isfinite(codes).all(1)
    if bad.any():
        row = int(bad.argmax())
        problem = f"got no code in {int(bad.sum()):,} rows, the first in row {row:,} (from 0)"
        raise UserError(place, f"{problem}. Leave out the rows with a problem")
    return codes


def _codes(path: Path, latent_size: int) -> np.ndarray | None:
    import pandas as pd

    ending = path.suffix.lower()
    if ending == ".npz":
        with np.load(path, allow_pickle=False) as packed:
            return np.asarray(packed["mean"]) if "mean" in packed else None
    if ending in (".parquet", ".csv"):
        frame = pd.read_parquet(path) if ending == ".parquet" else pd.read_csv(path)
        return codes_in(frame, latent_size)
    return np.asarray(np.load(path, allow_pickle=False))


# ---- arrays ----


def write_arrays(
    path: Path,
    pieces: Iterator[np.ndarray],
    count: int,
    columns: Sequence[str] | None,
    names: tuple[str, np.ndarray] | None = None,
) -> None:
    """Write `count` rows, as `Preparation.as_files` has them, as .npy, as .npz or, of a table with
    these columns, as .csv or .parquet.

    names: of the rows, under the name of their column; a .npy has no room for them.
    """
    ending = path.suffix.lower()
    if ending == ".npy":
        write_whole(path, lambda unfinished: _write_npy(unfinished, pieces, count))
        return
    write_rows(path, _named(pieces, None if ending == ".npz" else columns, names))


def array_endings(columns: Sequence[str] | None) -> tuple[str, ...]:
    """Return the endings that `write_arrays` takes."""
    return (".npy", ".npz") if columns is None else (".npy", ".npz", ".parquet", ".csv")


def _named(
    pieces: Iterator[np.ndarray],
    columns: Sequence[str] | None,
    names: tuple[str, np.ndarray] | None,
) -> Iterator[Measured]:
    """Yield columns, or one array `images`, with the names of the rows before them."""
    start = 0
    for piece in pieces:
        own: Measured = {}
        if names is not None:
            title = "names" if columns is None else names[0]
            while columns is not None and title in columns:
                title = f"_{title}"
            own[title] = names[1][start : start + len(piece)]
        start += len(piece)
        if columns is None:
            yield own | {"images": piece}
        else:
            yield own | {name: piece[:, place] for place, name in enumerate(columns)}


def _write_npy(path: Path, pieces: Iterator[np.ndarray], count: int) -> None:
    first = next(pieces)
    with path.open("wb") as file:
        file.write(npy_header(first.dtype, (count, *first.shape[1:])))
        for piece in chain([first], pieces):
            file.write(np.ascontiguousarray(piece).data)
