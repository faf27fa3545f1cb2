"""Files of numpy arrays: `.npy`, `.npz`, and folders of `.npy`. Nothing in them is unpickled.

A `.npy` file is mapped. A member of an `.npz` is unpacked block by block into a file of the scratch
folder, which is mapped.
"""

import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import refusing
from vaeexp.data.formats.entries import Entry, Header
from vaeexp.data.formats.scratch import BLOCK_BYTES, rows_of_block, write_rows
from vaeexp.data.formats.sparse import sparse_entry

WHOLE = "a whole file of plain numpy arrays"
_OF_SCIPY = {"data", "format", "shape"}
"""Arrays in each sparse matrix of scipy."""


def read_header(stream: IO[bytes]) -> tuple[Header, bool]:
    """Return type and shape of an array in the format of `.npy`, and whether its order is
    Fortran's. The stream is then at the first number.
    """
    version = np.lib.format.read_magic(stream)
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in readers:
        raise ValueError(f"an array in version {version[0]}.{version[1]} of the format")
    shape, fortran, dtype = readers[version](stream)
    return (dtype, shape), fortran


def open_npy(path: Path) -> np.ndarray:
    """Map the array of a `.npy` file. Raises UserError where the file holds something else."""
    _npy_header(path)  # np.load takes other files, too
    with refusing(path, WHOLE):
        return np.load(path, mmap_mode="r", allow_pickle=False)


def _npy_header(path: Path) -> Header:
    with refusing(path, WHOLE), path.open("rb") as stream:
        header, _ = read_header(stream)
        return header


def npy_entry(path: Path) -> Entry:
    """Return the array of a `.npy` file, by the name images."""
    header = partial(_npy_header, path)
    return Entry(name="images", place=str(path), header=header, read=lambda _: open_npy(path))


def npz_entries(path: Path) -> dict[str, Entry]:
    """Return the arrays of an `.npz` file by their names. No array is read."""
    with refusing(path, WHOLE), zipfile.ZipFile(path) as packed:
        names = [each.filename for each in packed.infolist() if each.filename.endswith(".npy")]
    entries = {
        name.removesuffix(".npy"): Entry(
            name=name.removesuffix(".npy"),
            place=f"{path}: {name.removesuffix('.npy')}",
            header=partial(_member_header, path, name),
            read=partial(_read_member, path, name),
        )
        for name in names
    }
    return {"images": _matrix(path, entries)} if entries.keys() >= _OF_SCIPY else entries


def _matrix(path: Path, entries: Mapping[str, Entry]) -> Entry:
    """Return the sparse matrix that scipy.sparse.save_npz wrote."""
    with refusing(path, WHOLE), np.load(path) as packed:
        size = tuple(map(int, packed["shape"]))

    def load(_: Path) -> Any:
        from scipy.sparse import load_npz

        return load_npz(path)

    return sparse_entry("images", str(path), (entries["data"].header()[0], size), load)


def _member_header(path: Path, name: str) -> Header:
    with refusing(path, WHOLE), zipfile.ZipFile(path) as packed, packed.open(name) as stream:
        header, _ = read_header(stream)
        return header


def _read_member(path: Path, name: str, target: Path) -> np.ndarray:
    """Return an array of an `.npz`, unpacked into `target` and mapped there.

    All bytes are read, because the zip has a checksum of them.
    """
    with refusing(path, WHOLE), zipfile.ZipFile(path) as packed:
        with packed.open(name) as stream, target.open("wb") as file:
            shutil.copyfileobj(stream, file, BLOCK_BYTES // 16)
        return np.load(target, mmap_mode="r", allow_pickle=False)


def folder_entry(
    root: Path, paths: Sequence[Path], *, channels_first: bool
) -> tuple[Entry, str, list[tuple[str, int]]]:
    """Return the arrays of a folder of `.npy` files, joined in the order of these paths, a note on
    what each file holds, and the name and the rows of each.

    Each file is a batch [n, ...] where the files differ in n alone, where there is one file, and
    where all are of four axes, or of three of which the last is too long for channels. Else each
    file is an image; so are those of three axes with `channels_first`.
    """
    headers = [*map(_npy_header, paths)]
    dtype, shape = headers[0]
    shapes = {each for _, each in headers}
    batches = len(shapes) > 1 or len(paths) == 1 or len(shape) > 3
    if len(shape) == 3 and not batches:
        batches = not channels_first and shape[2] > 4
    skipped = int(batches)
    for path, (other, size) in zip(paths, headers, strict=True):
        if other != dtype or size[skipped:] != shape[skipped:] or len(size) != len(shape):
            wanted = f"{dtype} {list(shape)}, as {paths[0].name} has it"
            freely = ", or another length of the first axis" if batches else ""
            raise UserError(str(path), f"got {other} {list(size)}; must be {wanted}{freely}")
    counts = [size[0] if batches else 1 for _, size in headers]
    row = shape[skipped:]
    held = "a batch each" if batches else "an image each"
    entry = Entry(
        name="images",
        place=str(root),
        header=lambda: (dtype, (sum(counts), *row)),
        read=lambda target: write_rows(
            target, _rows_of_files(paths, batches=batches), dtype.newbyteorder("="), row
        ),
    )
    files = [(path.name, count) for path, count in zip(paths, counts, strict=True)]
    return entry, f"Files: {len(paths):,} .npy in the order of their names, {held}", files


def _rows_of_files(paths: Sequence[Path], *, batches: bool) -> Iterator[np.ndarray]:
    for path in paths:
        array = open_npy(path) if batches else open_npy(path)[None]
        step = rows_of_block(array[:1].nbytes)
        for start in range(0, len(array), step):
            yield array[start : start + step]
