"""Files of named arrays in groups: HDF5, read by h5py, and zarr.

An array has the path of its groups as its name: `train/images`. It is read in blocks into a file of
the scratch folder, because such files are compressed in chunks.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import refusing
from vaeexp.data.formats.entries import Entry, Header
from vaeexp.data.formats.scratch import rows_of_block, write_rows

HDF5 = (".h5", ".hdf5", ".hdf", ".he5")
_ZARR_FILES = ("zarr.json", ".zgroup", ".zarray")


def is_zarr(root: Path) -> bool:
    """Return whether a folder is a zarr array or a zarr group."""
    return any((root / name).is_file() for name in _ZARR_FILES)


def _h5py(path: Path) -> Any:
    """Import the package that reads HDF5. Raises UserError where it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise _missing(path, "h5py", "hdf5") from error
    return h5py


def _zarr(path: Path) -> Any:
    """Import the package that reads zarr. Raises UserError where it is not installed."""
    try:
        import zarr
    except ImportError as error:
        raise _missing(path, "zarr", "zarr") from error
    return zarr


def _missing(path: Path, package: str, extra: str) -> UserError:
    problem = f"got a file that needs the package {package}, which is not installed"
    return UserError(str(path), f"{problem}. Try pip install 'vaeexp[{extra}]'")


def hdf5_entries(path: Path) -> dict[str, Entry]:
    """Return the arrays of an HDF5 file by their paths. No array is read."""
    h5py = _h5py(path)
    names = list[str]()

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    with refusing(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        file.visititems(take)
    return {
        name: Entry(
            name=name,
            place=f"{path}: {name}",
            header=partial(_hdf5_header, path, name),
            read=partial(_read_hdf5, path, name),
        )
        for name in names
    }


def _hdf5_header(path: Path, name: str) -> Header:
    h5py = _h5py(path)
    with refusing(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        array = file[name]
        text = h5py.check_string_dtype(array.dtype)
        return np.dtype(str) if text else array.dtype, array.shape or ()


def _read_hdf5(path: Path, name: str, target: Path) -> np.ndarray:
    h5py = _h5py(path)
    with refusing(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        array = file[name]
        if h5py.check_string_dtype(array.dtype):
            return np.asarray(array.asstr()[()], dtype=str)
        return _copied(array, array.chunks, target)


def zarr_entries(root: Path) -> dict[str, Entry]:
    """Return the arrays of a zarr folder by their paths; a folder that is one array has the name
    images. No array is read.
    """
    zarr = _zarr(root)
    with refusing(root, "a whole zarr array or group"):
        opened = zarr.open(root, mode="r")
        found = (
            {"images": opened}
            if isinstance(opened, zarr.Array)
            else {
                name: item
                for name, item in opened.members(max_depth=None)
                if isinstance(item, zarr.Array)
            }
        )
    return {
        name: Entry(
            name=name,
            place=f"{root}: {name}",
            header=partial(_zarr_header, array),
            read=partial(_read_zarr, root, array),
        )
        for name, array in sorted(found.items())
    }


def _zarr_header(array: Any) -> Header:
    return np.dtype(str) if array.dtype.kind in "OT" else array.dtype, array.shape


def _read_zarr(root: Path, array: Any, target: Path) -> np.ndarray:
    with refusing(root, "a whole zarr array or group"):
        if array.dtype.kind in "OT":  # text of any length
            return np.asarray(array[...]).astype(str)
        return _copied(array, array.chunks, target)


def _copied(array: Any, chunks: tuple[int, ...] | None, target: Path) -> np.ndarray:
    """Return an array of the file as a mapped array of the bytes of this machine; in memory where
    it has no rows to be read one after the other.
    """
    dtype = array.dtype.newbyteorder("=")
    if dtype.hasobject or not array.shape:
        return np.asarray(array[...])
    return write_rows(target, _blocks(array, chunks), dtype, array.shape[1:])


def _blocks(array: Any, chunks: tuple[int, ...] | None) -> Iterator[np.ndarray]:
    row = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    step = rows_of_block(row, chunks[0] if chunks else 1)
    for start in range(0, array.shape[0], step):
        yield array[start : start + step]
