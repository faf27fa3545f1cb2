"""Arrays in files: one file or one folder of them, of any of these formats.

`.npy`, `.npz` (numpy, scipy), `.h5`, `.hdf5` (HDF5), `.h5ad` (AnnData), `.nc` (netCDF-4) and
folders of zarr hold arrays; `.parquet`, `.csv` and `.tsv` (`.gz`) hold tables whose columns are
features; `.tif` and `.tiff` hold stacks of images. A folder may hold several `.npy` files or
tables, which are read in the order of their names. `_HELP` says what to do about others.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from sweeps import UserError
from vaeexp.data.formats import Definition, Layout, RawImages, Source, ending_of, printable, some_of
from vaeexp.data.formats.array_pixels import SHAPES, TYPES
from vaeexp.data.formats.hierarchical import HDF5, hdf5_entries, is_zarr, zarr_entries
from vaeexp.data.formats.image_folder import holds_images
from vaeexp.data.formats.levels import DEEPEST
from vaeexp.data.formats.named_arrays import (
    AUTOMATIC,
    ONE_CHANNEL,
    ROLES,
    read_named,
    refuse_settings,
)
from vaeexp.data.formats.npy_files import folder_entry, npy_entry, npz_entries
from vaeexp.data.formats.tables import PARQUET, TEXTS, read_tables
from vaeexp.data.formats.tiff import TIFF, TURNED, stack_entry

__all__ = ["ARRAYS", "ONE_CHANNEL"]

_SEVERAL = (".npy", PARQUET, ".csv")
"""Endings of files of which a folder may hold several; without them, the other `TEXTS`."""
_FILES = (".npy", ".npz", PARQUET, *TEXTS, *HDF5, *TIFF)
_WANTED = ".npy, .npz, .csv, .tsv, .parquet, .h5, .h5ad, .nc, .zarr or .tif"
_ARRAY = "Try numpy.save('NEW.npy', "
_EXCEL = "Try pandas.read_excel('{0}').to_csv('NEW.csv', index=False)"
_UNPACK = "Unpack it, and try --data for what was in it"
_HELP = {
    ".xlsx": _EXCEL,
    ".xls": _EXCEL,
    ".mat": _ARRAY + "scipy.io.loadmat('{0}')['NAME'])",
    "HDF5": _ARRAY + "h5py.File('{0}')['NAME'][()].T)",
    ".fits": _ARRAY + "astropy.io.fits.getdata('{0}'))",
    ".dcm": _ARRAY + "pydicom.dcmread('{0}').pixel_array)",
    ".nii": _ARRAY + "nibabel.load('{0}').get_fdata())",
    ".nii.gz": _ARRAY + "nibabel.load('{0}').get_fdata())",
    ".pkl": _ARRAY + "pandas.read_pickle('{0}')), if you trust its author",
    ".feather": "Try pandas.read_feather('{0}').to_parquet('NEW.parquet')",
    ".loom": "Try anndata.read_loom('{0}').write_h5ad('NEW.h5ad')",
    ".mtx": "Try scanpy.read_10x_mtx('FOLDER').write_h5ad('NEW.h5ad')",
    ".mtx.gz": "Try scanpy.read_10x_mtx('FOLDER').write_h5ad('NEW.h5ad')",
    ".txt": "If it is a table with a line of names, rename it: it must be called .csv",
    ".zip": _UNPACK,
    ".gz": _UNPACK,
    ".tar.gz": _UNPACK,
}
"""Ending of files that are not read → what to do, in which {0} is the name of such a file."""
_OTHERS = "Arrays without a role are not read"
_SAVE = "Try numpy.savez('FILE.npz', images=…, labels=…), which gives each array a name"


def _find(_: Definition, root: Path) -> tuple[Path, ...]:
    """Return the file itself, the files of a zarr folder, or the files of a folder that belong
    together; none for a folder of image files. Raises UserError for a folder of several formats,
    and for files that are not read.
    """
    if root.is_file():
        if ending_of(root) not in _FILES:
            raise _no_arrays(root, [root])
        return (root,)
    if is_zarr(root):
        return tuple(sorted(path for path in root.rglob("*") if path.is_file()))
    found = {
        ending: sorted(
            path
            for path in root.iterdir()
            if ending_of(path) == ending and path.is_file() and path.name[0] != "."
        )
        for ending in (*_SEVERAL, *TEXTS, ".mtx", ".mtx.gz")
    }
    kinds = [ending for ending in _SEVERAL if found[ending]]
    if not (kinds or found[".mtx"] or found[".mtx.gz"]):
        kinds = [ending for ending in TEXTS if found[ending]]
    if len(kinds) > 1:
        counts = ", ".join(f"{len(found[kind]):,} {kind}" for kind in kinds)
        problem = f"got files of several formats ({counts}); must be one format"
        raise UserError(str(root), f"{problem}. Try --data for one of the files.")
    if not kinds and not holds_images(root):
        below = sorted(path for path in root.rglob("[!.]*") if path.is_file())
        raise _no_arrays(root, below)
    return tuple(found[kinds[0]]) if kinds else ()


def _no_arrays(root: Path, paths: Sequence[Path]) -> UserError:
    """Return an error that says of which kinds a file, or the files below a folder, are, and how
    such files are converted, or which of them are read.
    """
    kinds = Counter(map(ending_of, paths)).most_common()
    held = [f"{count:,} {printable(kind) or 'without an ending'}" for kind, count in kinds]
    got = f"a folder without arrays, but with {some_of(held) or 'no files'}"
    if root.is_file():
        got = f"a {printable(root.suffix)} file" if root.suffix else "a file without an ending"
    read = [path for path in paths if ending_of(path) in _FILES and path.parent != root]
    remedy = f". Try --data {printable(str(read[0].parent))}" if read else ""
    for path in () if read else paths:
        kind = ending_of(path)
        if kind == ".mat" and b"\x89HDF" in path.open("rb").read(520):
            kind = "HDF5"
        if kind in _HELP:
            remedy = f". {_HELP[kind].format(printable(path.name))}"
            break
    return UserError(str(root), f"got {got}; must be {_WANTED}{remedy}")


def _read(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the arrays in their own types. Raises UserError naming the file, and the array or column
    that does not fit.
    """
    root = source.root
    if ending_of(source.paths[0]) in (PARQUET, *TEXTS) and not is_zarr(root):
        return read_tables(source, scratch)
    refuse_settings(source, ["drop"], f"{root.name} is no table", _OTHERS)
    if is_zarr(root):
        return read_named(source, zarr_entries(root), scratch)
    path = source.paths[0]
    ending = path.suffix.lower()
    if ending == ".npz":
        return read_named(source, npz_entries(path), scratch)
    if ending in HDF5:
        return read_named(source, hdf5_entries(path), scratch)
    refuse_settings(source, ("images", *ROLES), f"{root.name} has no names", _SAVE)
    if ending in TIFF:
        entry, note, black = stack_entry(path, source.settings)
        said = [TURNED] if black else []
        read = read_named(source, {"images": entry}, scratch, [note, *said], channels_first=True)
        return read._replace(black=black or DEEPEST, changed=tuple(said))
    if not root.is_dir():
        return read_named(source, {"images": npy_entry(path)}, scratch)
    entry, note, files = folder_entry(
        root, source.paths, channels_first=source.settings.channels_first
    )
    return read_named(source, {"images": entry}, scratch, [note])._replace(files=files)


ARRAYS = Layout(
    expected=lambda _: (
        f"one file or folder of arrays {SHAPES} of {TYPES}: .npy or a folder of .npy, .npz, .h5, "
        f".hdf5, .nc or a zarr folder with {AUTOMATIC} or the array that data.images names; "
        ".parquet, .csv or .tsv with a column for each feature, or a folder of them; .tif with a "
        "stack of images"
    ),
    find=_find,
    read=_read,
)
