"""Files of named arrays in groups: HDF5, read by h5py, and zarr.

An array has the path of its groups as its name: `train/images`. It is read in blocks into a file of
the scratch folder, because such files are compressed in chunks. Attributes say which numbers the
stored ones stand for (vaeexp/data/formats/packed.py). netCDF-4 is HDF5. Groups that are one array,
as sparse matrices are: vaeexp/data/formats/sparse.py.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import refusing
from vaeexp.data.formats.entries import Entry
from vaeexp.data.formats.packed import Packing, packing_of
from vaeexp.data.formats.scratch import rows_of_block, write_rows
from vaeexp.data.formats.sparse import join_groups

HDF5 = (".h5", ".hdf5", ".hdf", ".he5", ".nc", ".h5ad")
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


def hdf5_entries(path: Path, *, packed: bool = True) -> dict[str, Entry]:
    """Return the arrays of an HDF5 file by their paths. No array is read.

    packed: whether attributes apply.
    """
    h5py = _h5py(path)
    with path.open("rb") as file:
        if file.read(3) == b"CDF":
            problem = "got a file of classic netCDF; must be netCDF-4, which is HDF5"
            raise UserError(str(path), f"{problem}. Try nccopy -k nc4 {path.name} NEW.nc")
    entries = dict[str, Entry]()
    groups = dict[str, Any]()

    def take(name: str, item: Any) -> None:
        if not isinstance(item, h5py.Dataset):
            groups[name] = item
        else:
            text = h5py.check_string_dtype(item.dtype) is not None
            read = partial(_read_hdf5, path, name)
            entries[name] = _entry(path, name, item, read, text, item.is_scale, packed)

    with refusing(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        file.visititems(take)
        return join_groups(path, entries, groups)


def _entry(
    root: Path,
    name: str,
    array: Any,
    read: Callable[[Packing | None, Path], np.ndarray],
    text: bool,
    coordinate: bool,
    packed: bool,
) -> Entry:
    """Return an array by its name; `read` takes how it is unpacked, and a new file."""
    packing = packing_of(array.dtype, array.attrs) if packed else None
    dtype = packing.dtype if packing and packing.changes else array.dtype
    header = np.dtype(str) if text else dtype, array.shape or ()
    return Entry(
        name=name,
        place=f"{root}: {name}",
        header=lambda: header,
        read=partial(read, packing),
        packed=packing.words() if packing else "",
        coordinate=coordinate,
        matlab="MATLAB_class" in array.attrs,
    )


def _read_hdf5(path: Path, name: str, packing: Packing | None, target: Path) -> np.ndarray:
    h5py = _h5py(path)
    with refusing(path, "a whole HDF5 file"), h5py.File(path, "r") as file:
        array = file[name]
        if h5py.check_string_dtype(array.dtype):
            return np.asarray(array.asstr()[()], dtype=str)
        return _copied(array, target, packing)


def zarr_entries(root: Path, *, packed: bool = True) -> dict[str, Entry]:
    """Return the arrays of a zarr folder by their paths; a folder that is one array has the name
    images. No array is read.

    packed: whether attributes apply.
    """
    zarr = _zarr(root)
    entries = dict[str, Entry]()
    groups = dict[str, Any]()
    with refusing(root, "a whole zarr array or group"):
        opened = zarr.open(root, mode="r")
        alone = isinstance(opened, zarr.Array)
        found = {"images": opened} if alone else dict(opened.members(max_depth=None))
        for name, array in sorted(found.items()):
            if isinstance(array, zarr.Array):
                axes = getattr(array.metadata, "dimension_names", None)  # of version 3
                axes = axes or array.attrs.get("_ARRAY_DIMENSIONS", ())  # as xarray writes it
                coordinate = [*axes] == [name.rpartition("/")[2]]
                read = partial(_read_zarr, root, array)
                text = array.dtype.kind in "OT"
                entries[name] = _entry(root, name, array, read, text, coordinate, packed)
            else:
                groups[name] = array
        return join_groups(root, entries, groups)


def _read_zarr(root: Path, array: Any, packing: Packing | None, target: Path) -> np.ndarray:
    with refusing(root, "a whole zarr array or group"):
        if array.dtype.kind in "OT":  # text of any length
            return np.asarray(array[...]).astype(str)
        return _copied(array, target, packing)


def _copied(array: Any, target: Path, packing: Packing | None) -> np.ndarray:
    """Return an array of the file, unpacked, as a mapped array of the bytes of this machine; in
    memory where it has no rows to be read one after the other.
    """
    dtype = array.dtype.newbyteorder("=")
    if dtype.hasobject or not array.shape:
        return np.asarray(array[...])
    every = partial(_blocks, array)
    if packing and (packing.changes or any(packing.missing(block).any() for block in every())):
        return write_rows(target, map(packing.unpack, every()), packing.dtype, array.shape[1:])
    return write_rows(target, every(), dtype, array.shape[1:])


def _blocks(array: Any) -> Iterator[np.ndarray]:
    row = array.dtype.itemsize * int(np.prod(array.shape[1:]))
    step = rows_of_block(row, array.chunks[0] if array.chunks else 1)
    for start in range(0, array.shape[0], step):
        yield array[start : start + step]
