"""Arrays in files: one file or one folder of them, of any of these formats.

`.npy`, `.npz` (numpy), `.h5`, `.hdf5` (HDF5) and folders of zarr hold arrays; `.parquet` and `.csv`
hold tables whose columns are features; `.tif` and `.tiff` hold stacks of images. A folder may hold
several `.npy`, `.parquet` or `.csv` files, which are read in the order of their names.
"""

from collections.abc import Callable
from pathlib import Path

from sweeps import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source
from vaeexp.data.formats.array_pixels import SHAPES, TYPES
from vaeexp.data.formats.hierarchical import HDF5, hdf5_entries, is_zarr, zarr_entries
from vaeexp.data.formats.named_arrays import AUTOMATIC, ONE_CHANNEL, read_named, refuse_names
from vaeexp.data.formats.npy_files import folder_entry, npy_entry, npz_entries
from vaeexp.data.formats.tables import read_tables
from vaeexp.data.formats.tiff import TIFF, stack_entry

__all__ = ["ARRAYS", "ONE_CHANNEL"]

_SEVERAL = (".npy", ".parquet", ".csv")
"""Endings of files of which a folder may hold several."""
_FILES = (*_SEVERAL, ".npz", *HDF5, *TIFF)
_TABS = (".tsv", ".tab")
"""Endings of tables that are read by another name."""
_SAVE = "Try numpy.savez('FILE.npz', images=…, labels=…), which gives each array a name"


def _find(_: Definition, root: Path) -> tuple[Path, ...]:
    """Return the file itself, the files of a zarr folder, or the files of a folder that belong
    together. Raises UserError for a folder of several formats.
    """
    if root.is_file() and root.suffix.lower() in _TABS:
        problem = f"got a {root.suffix} file; must be called .csv"
        raise UserError(str(root), f"{problem}. Rename it: columns separated by tabs are read")
    if root.is_file():
        return (root,) if root.suffix.lower() in _FILES else ()
    if is_zarr(root):
        return tuple(sorted(path for path in root.rglob("*") if path.is_file()))
    found = {
        ending: sorted(
            path
            for path in root.iterdir()
            if path.suffix.lower() == ending and path.is_file() and path.name[0] != "."
        )
        for ending in _SEVERAL
    }
    kinds = [ending for ending, paths in found.items() if paths]
    if len(kinds) > 1:
        counts = ", ".join(f"{len(found[kind]):,} {kind}" for kind in kinds)
        problem = f"got files of several formats ({counts}); must be one format"
        raise UserError(str(root), f"{problem}. Try --data for one of the files.")
    return tuple(found[kinds[0]]) if kinds else ()


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the arrays in their own types. Raises UserError naming the file, and the array or column
    that does not fit.
    """
    root = source.root
    if is_zarr(root):
        return read_named(source, zarr_entries(root), scratch)
    path = source.paths[0]
    ending = path.suffix.lower()
    if ending in (".parquet", ".csv"):
        return read_tables(source, scratch)
    if ending == ".npz":
        return read_named(source, npz_entries(path), scratch)
    if ending in HDF5:
        return read_named(source, hdf5_entries(path), scratch)
    refuse_names(source, "has no names", _SAVE)
    if ending in TIFF:
        entry, note = stack_entry(path, channels_first=source.settings.channels_first)
        return read_named(source, {"images": entry}, scratch, [note], channels_first=True)
    if not root.is_dir():
        return read_named(source, {"images": npy_entry(path)}, scratch)
    first = source.settings.channels_first
    entry, note, files = folder_entry(root, source.paths, channels_first=first)
    return read_named(source, {"images": entry}, scratch, [note])._replace(files=files)


ARRAYS = Layout(
    expected=lambda _: (
        f"one file or folder of arrays {SHAPES} of {TYPES}: .npy or a folder of .npy, .npz, .h5, "
        f".hdf5 or a zarr folder with {AUTOMATIC} or the array that data.images names; .parquet or "
        ".csv with a column for each feature, or a folder of them; .tif with a stack of images"
    ),
    find=_find,
    read=_read,
)
