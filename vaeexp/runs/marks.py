"""Marks of the files that commands write. A file without its mark is another program's, or was
changed since: nothing is written over it unless the user says so.

The mark is metadata of .png and .parquet, a comment of .npz, the length of the header of .npy and
the beginning of .md and .json. A .csv has room for its line ends alone: the last one is `\\r\\n`,
the others are `\\n`.
"""

import re
from io import SEEK_END
from pathlib import Path
from zipfile import ZipFile

import numpy as np

from sweeps import UserError

NAME = b"vaeexp"
_NPY = b"\x93NUMPY\x01\x00\xf6\x03"
"""Start of a .npy with a header of 1,024 bytes; numpy writes 128."""
_LAST = b"\r\n"
_MARKS = {
    ".csv": rb"\A[^\r]*\r\n\Z",
    ".json": rb'\A\{\n "epoch": "\w+",\n "figures": ',
    ".md": rb"\A---\nlibrary_name: vaeexp\n",
    ".npy": re.escape(_NPY),
    ".npz": rb"vaeexp\Z",
    ".png": rb"Software\0vaeexp",
}
"""Ending → what the first and the last `_ENDS` bytes hold."""
_ENDS = 2**16


def check_ours(path: Path, remedy: str) -> None:
    """Raise UserError where a file is there without the mark of its kind."""
    if path.exists() and not _is_ours(path):
        raise UserError(str(path), f"is there already and is not from vaeexp. {remedy}.")


def _is_ours(path: Path) -> bool:
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as parquet

        try:
            return NAME in (parquet.read_schema(path).metadata or {})
        except (OSError, ValueError):
            return False
    with path.open("rb") as file:
        ends = file.read(_ENDS)
        file.seek(max(len(ends), path.stat().st_size - _ENDS))
        ends += file.read()
    mark = _MARKS.get(path.suffix.lower(), _MARKS[".json"])
    return re.search(mark, ends) is not None


def mark_csv(path: Path) -> None:
    """Mark a .csv whose lines end in `\\n`."""
    with path.open("r+b") as file:
        file.seek(-1, SEEK_END)
        file.write(_LAST)


def mark_npz(path: Path) -> None:
    """Mark a .npz."""
    with ZipFile(path, "a") as file:
        file.comment = NAME


def npy_header(dtype: np.dtype, shape: tuple[int, ...]) -> bytes:
    """Return the start of a .npy, with its mark."""
    facts = {"descr": dtype.str, "fortran_order": False, "shape": shape}
    return _NPY + str(facts).ljust(1013).encode() + b"\n"
