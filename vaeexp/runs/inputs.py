"""Read what people give to a finished run: image files and folders of them, arrays and tables in
files, and arrays, tables and pictures in memory.

Rows come in their order, piece by piece. A file that is no array of rows for the model ends with
one error; a single image or row that does not fit is a row with a problem.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import ending_of, printable, refusing, some_of
from vaeexp.data.formats.csv_files import check_points, is_number
from vaeexp.data.formats.entries import Entry, described
from vaeexp.data.formats.hierarchical import HDF5, hdf5_entries, is_zarr, zarr_entries
from vaeexp.data.formats.image_folder import find
from vaeexp.data.formats.image_pixels import readable
from vaeexp.data.formats.levels import Stored
from vaeexp.data.formats.npy_files import npy_entry, npz_entries
from vaeexp.data.formats.scratch import rows_of_block
from vaeexp.data.formats.tables import PARQUET, TEXTS, cells_of, read_batches
from vaeexp.data.formats.tiff import TIFF, stack_entry, unpack
from vaeexp.data.values import is_vector
from vaeexp.machine import usable_cores
from vaeexp.runs.preparation import Preparation, Rows, together

TABLES = (PARQUET, *TEXTS)
_ARRAYS = (".npy", ".npz", *HDF5)
_FOLDER = (".npy", ".npz", *TABLES)
_SWITCHES = {"true": 1.0, "1": 1.0, "false": 0.0, "0": 0.0, "": np.nan}
"""Cells of a column of booleans."""
_FILES_AT_ONCE = 400
_MOST_ROWS = 4_000


class Inputs(NamedTuple):
    """Rows to read.

    total: how many; 0 where only reading tells.
    labels: returns all labels, without reading more than them; empty text for none.
    """

    total: int
    read: Callable[[], Iterator[Rows]]
    labels: Callable[[], set[str]]


class _Picture(NamedTuple):
    """An image file, or an image in memory, by its name, and its label."""

    name: str
    label: str
    source: Any


def open_inputs(given: Any, preparation: Preparation, scratch: Path) -> Inputs:
    """Open rows for the model of a run.

    Args:
        given: a path, an array, a table of pandas, an image of Pillow, or a list of them.
        scratch: empty folder for arrays that are unpacked.

    Raises:
        UserError: a path does not exist, or an array or a table is none for the model.
    """
    several = [*given] if isinstance(given, list | tuple) else [given]
    if not several:
        raise UserError("images", "got none; must be files, arrays or images.")
    parts = list[Inputs]()
    alone = len(several) == 1
    found = (_found(each, place, preparation, scratch, alone) for place, each in enumerate(several))
    for pictures, some in groupby(_flat(found), key=lambda each: isinstance(each, _Picture)):
        if pictures:
            shown: list[Any] = [*some]
            labels = {picture.label for picture in shown}
            read = partial(_read_pictures, preparation, shown)
            parts.append(Inputs(len(shown), read, partial(set, labels)))
        else:
            parts += some
    return Inputs(
        sum(part.total for part in parts),
        lambda: _flat(part.read() for part in parts),
        lambda: set(_flat(part.labels() for part in parts)),
    )


def _flat(found: Iterable[Iterable[Any]]) -> Iterator[Any]:
    for some in found:
        yield from some


def _found(
    given: Any, place: int, preparation: Preparation, scratch: Path, alone: bool
) -> list[Any]:
    """Return the pictures that are meant, or opened rows; `alone`: they are all."""
    if isinstance(given, str | Path):
        return _found_path(Path(given).expanduser(), preparation, scratch)
    if hasattr(given, "getexif"):  # of Pillow
        return [_Picture(f"[{place}]", "", given)]
    given = as_frame(given)
    if hasattr(given, "columns") and hasattr(given, "iloc"):  # of pandas
        return [_open_frame(given, "" if alone else str(place), preparation)]
    array = given.detach().cpu().numpy() if hasattr(given, "detach") else np.asarray(given)
    images = preparation.rows_of(array, "images" if alone else f"images[{place}]")
    several = len(images) > 1
    name = str(place) if several and not alone else ""
    first = 0 if alone or several else place
    return [_open_rows(images, array, None, name, preparation, first)]


def _found_path(path: Path, preparation: Preparation, scratch: Path) -> list[Any]:
    if not path.exists():
        raise UserError(str(path), "there is no such file or folder.")
    packed = preparation.edition > 1
    ending = ending_of(path)
    if is_zarr(path):
        entries = zarr_entries(path, packed=packed)
    elif path.is_dir():
        return _found_folder(path, preparation, scratch)
    elif ending in TABLES:
        return [_open_table(path, preparation)]
    elif ending == ".npy":
        entries = {"images": npy_entry(path)}
    elif ending == ".npz":
        entries = npz_entries(path)
    elif ending in HDF5:
        entries = hdf5_entries(path, packed=packed)
    elif ending in TIFF and preparation.data.dataset == "arrays":
        return [_open_stack(path, preparation, scratch)]
    elif is_vector(preparation.values.shape):
        problem = f"is no array, and {preparation.run} takes rows of numbers"
        raise UserError(str(path), f"{problem}; must be one of {', '.join((*_ARRAYS, *TABLES))}")
    else:
        return _found_folder(path, preparation, scratch)
    return [_open_entries(entries, path, preparation, scratch)]


def _found_folder(folder: Path, preparation: Preparation, scratch: Path) -> list[Any]:
    """Return the images of a file or a folder, labelled with the folder in it that they lie in, or
    the files of arrays or tables in a folder.
    """
    paths = files_in(folder, preparation)
    if not paths:
        wanted = f"image files, or arrays ({', '.join((*_ARRAYS, *TABLES, *TIFF))}, zarr)."
        raise UserError(str(folder), f"holds no files that can be read; must be {wanted}")
    if ending_of(paths[0]) in _FOLDER:
        return [*_flat(_found_path(path, preparation, scratch) for path in paths)]
    found = list[_Picture]()
    for path in paths:
        label = "" if folder in (path, path.parent) else path.parent.name
        files = unpack(Path(), str(path), preparation.data, _new(scratch))
        found += [_Picture(name, label, Path(file)) for name, file in files.items()]
    return found


def files_in(path: Path, preparation: Preparation) -> list[Path]:
    """Return the files that are read where a path is given: itself, the files of a zarr folder, or
    the images of another folder, else the arrays and tables in it.
    """
    if not path.is_dir():
        return [path]
    if is_zarr(path):
        return [*path.rglob("*")]
    pictures = [each for each in find(None, path) if each.suffix.lower() in readable()]
    if pictures and preparation.values.shape[:2] != (1, 1):
        return pictures
    return sorted(each for each in path.iterdir() if ending_of(each) in _FOLDER)


# ---- pictures ----


def _read_pictures(preparation: Preparation, pictures: Sequence[_Picture]) -> Iterator[Rows]:
    with ThreadPoolExecutor(usable_cores()) as threads:
        for start in range(0, len(pictures), _FILES_AT_ONCE):
            some = pictures[start : start + _FILES_AT_ONCE]
            made = threads.map(preparation.picture, [picture.source for picture in some])
            names = [printable(picture.name) for picture in some]
            labels = [picture.label for picture in some]
            yield Rows(names, labels, *map(together, zip(*made, strict=True)))


# ---- arrays ----


def _open_rows(
    images: np.ndarray,
    array: np.ndarray,
    labels: np.ndarray | None,
    name: str,
    preparation: Preparation,
    first: int = 0,
    names: np.ndarray | None = None,
) -> Inputs:
    """Open rows [N, C, H, W] of an array with their labels [N] and names [N]; without, they are
    NAME[ROW].
    """
    columns = preparation.columns
    every = None
    if columns is not None and array.shape[-1] == len(columns.names):
        every = array.reshape(len(images), -1)

    def unseen(some: slice) -> list[str] | None:
        if columns is None or every is None:
            return [""] * len(images[some]) if is_vector(images.shape) else None
        return columns.unseen(every[some][:, columns.others], columns.dropped)

    def read() -> Iterator[Rows]:
        step = min(_MOST_ROWS, rows_of_block(images[:1].nbytes))
        for start in range(0, len(images), step):
            some = slice(start, start + step)
            numbers = np.ascontiguousarray(images[some])
            made = preparation.numbers(numbers)
            none = [None] * len(numbers)
            own, marks = (none if each is None else each[some].tolist() for each in (names, labels))
            shown = [*map(preparation.label, marks)]
            yield Rows(_row_names(own, name, first + start), shown, *made, unseen(some))

    def known() -> set[str]:
        if labels is None:
            return {""}
        return {preparation.label(each) for each in np.unique(labels).tolist()}

    return Inputs(len(images), read, known)


def _open_entries(
    entries: Mapping[str, Entry],
    path: Path,
    preparation: Preparation,
    scratch: Path,
) -> Inputs:
    """Open the array of images in a file of arrays, with the labels beside it."""
    images, labels, names = _chosen(entries, path, preparation)
    dtype, shape = images.header()
    if not preparation.fits(shape) and not preparation.fits((1, *shape)):
        raise UserError(images.place, f"got {dtype} {list(shape)}; must be {preparation.wanted}")
    array = images.read(_new(scratch))
    rows = preparation.rows_of(array, images.place)
    column, own = (None if each is None else each.read(_new(scratch)) for each in (labels, names))
    return _open_rows(rows, array, column, str(path), preparation, names=own)


def _new(scratch: Path) -> Path:
    return scratch / f"array-{len(list(scratch.iterdir()))}.npy"


def _chosen(
    entries: Mapping[str, Entry], path: Path, preparation: Preparation
) -> tuple[Entry, Entry | None, Entry | None]:
    """Return the array of images: the one of the run's setting, one that is named as images are,
    or the only one that fits; and those of labels and of names. Raises UserError where it is not
    clear which is meant.
    """
    own = {name.lower(): entry for name, entry in entries.items() if not entry.coordinate}
    named = [name for name in (preparation.data.images, "images", "x") if name]
    images = next((own[name.lower()] for name in named if name.lower() in own), None)
    if images is None:
        fitting = [entry for entry in entries.values() if _fits(entry, preparation)]
        if len(fitting) != 1:
            problem = f"got the arrays {described(entries.values()) or 'none'}; must be one array"
            raise UserError(str(path), f"{problem} {preparation.wanted}, or one named images")
        images = fitting[0]
    called = [name for name in (preparation.data.labels, "labels", "y") if name]
    labels = next((own[name.lower()] for name in called if name.lower() in own), None)
    count = images.header()[1][:1]
    labels, names = (
        None if one is None or one.header()[1] != count or one.header()[0].hasobject else one
        for one in (labels, entries.get(preparation.named_by))
    )
    return images, labels, names


def _fits(entry: Entry, preparation: Preparation) -> bool:
    dtype, shape = entry.header()
    return dtype.kind in "biuf" and preparation.fits(shape)


def _open_stack(path: Path, preparation: Preparation, scratch: Path) -> Inputs:
    entry, *_ = stack_entry(path, preparation.data, preparation.black)
    images = entry.read(_new(scratch))
    if images.shape[1:] != preparation.values.shape:
        raise UserError(str(path), f"got {list(images.shape)}; must be {preparation.wanted}")
    return _open_rows(images, images, None, str(path), preparation)


# ---- tables ----


def _open_table(path: Path, preparation: Preparation) -> Inputs:
    if ending_of(path) != PARQUET and preparation.edition > 1:
        check_points(path)
    read = partial(read_batches, path)
    return _open_columns(read, *_columns_of(path), str(path), str(path), preparation)


def _open_columns(
    read: Callable[[Sequence[str]], Iterable[Any]],
    names: Sequence[str],
    count: int,
    place: str,
    name: str,
    preparation: Preparation,
) -> Inputs:
    """Open the rows of a table: columns by their names, in whatever order, as `read` gives batches
    of them. The rows are called NAME[ROW]. Raises UserError where a column is missing.
    """
    features = preparation.features
    if features is None:
        raise UserError(place, f"is a table; must be an array {preparation.wanted}")
    if missing := [feature for feature in features if feature not in names]:
        needed = f"all {len(features):,} columns of {preparation.run}"
        raise UserError(place, f"got no column {some_of(missing)}; must be {needed}")
    label = preparation.data.labels
    label = label if label in names else None
    others = [each for each in (label, preparation.named_by) if each and each in names]
    # Features, those that were constant in training, labels and names, each once.
    wanted = [*dict.fromkeys([*features, *_constant(names, preparation), *others])]
    return Inputs(
        count,
        lambda: _table_rows(read(wanted), name, label, preparation),
        lambda: _labels_of(read([label]) if label else (), label, preparation),
    )


def _columns_of(path: Path) -> tuple[list[str], int]:
    """Return the names of the columns of a table, and its rows; 0 where only reading tells."""
    import pyarrow.parquet as parquet

    if ending_of(path) != PARQUET:
        first = next(read_batches(path, None), None)
        return ([] if first is None else first.schema.names), 0
    with refusing(path, "a whole parquet file"), parquet.ParquetFile(path) as file:
        return file.schema_arrow.names, file.metadata.num_rows


def _constant(names: Collection[str], preparation: Preparation) -> list[str]:
    """Return those of the columns of a table that were constant in training."""
    columns = preparation.columns
    return [] if columns is None else [name for name in columns.dropped if name in names]


def as_frame(given: Any) -> Any:
    """Return a table of polars, pyarrow or another library with Arrow's protocol as one of pandas;
    anything else as it is.
    """
    import pyarrow

    # A single column has one axis.
    table = hasattr(given, "__arrow_c_stream__") and len(getattr(given, "shape", (0, 0))) == 2
    if not table or hasattr(given, "iloc"):
        return given
    return pyarrow.table(given).to_pandas(ignore_metadata=True)


def _open_frame(table: Any, name: str, preparation: Preparation) -> Inputs:
    """Open the rows of a table of pandas, which are called NAME[ROW]."""
    import pyarrow

    roles = {preparation.data.labels, preparation.named_by} - {*table.columns}
    if levels := [level for level in table.index.names if level and level in roles]:
        table = table.reset_index(levels)

    def read(columns: Sequence[str]) -> list[Any]:
        chosen = pyarrow.Table.from_pandas(table[[*columns]], preserve_index=False)
        return chosen.to_batches(_MOST_ROWS)

    return _open_columns(read, [*table.columns], len(table), "images", name, preparation)


def _labels_of(batches: Iterable[Any], label: str | None, preparation: Preparation) -> set[str]:
    """Return the labels in a column of batches of a table; of none, that of rows without one."""
    every = _flat(batch.column(label).unique().to_pylist() for batch in batches)
    return set(map(preparation.label, every)) or {""}


def _table_rows(
    batches: Iterable[Any], name: str, label: str | None, preparation: Preparation
) -> Iterator[Rows]:
    features = preparation.features or ()
    start = 0
    for batch in batches:
        columns = [batch.column(feature) for feature in features]
        numbers = np.stack([*map(_as_numbers, columns)], axis=1)[:, None, None]
        if preparation.scaling.bytes:
            numbers = _as_levels(numbers, columns, preparation)
        made = preparation.numbers(numbers)
        for row, _, _, place in np.argwhere(np.isnan(numbers))[::-1].tolist():
            said = _no_number(columns[place], row, features[place])
            made.problems[row] = said or made.problems[row]
        count = len(numbers)
        own = [""] * count
        if preparation.named_by in batch.schema.names:
            column = batch.column(preparation.named_by)
            own = np.where(column.is_valid(), cells_of(column).astype(str), "").tolist()
        marks = batch.column(label).to_pylist() if label in batch.schema.names else [None] * count
        labels = [*map(preparation.label, marks)]
        unseen = [""] * len(numbers)
        if (known := preparation.columns) is not None:
            others = _constant(batch.schema.names, preparation)
            cells = [_as_numbers(batch.column(column)) for column in others]
            unseen = known.unseen(np.reshape(cells, (len(others), len(numbers))).T, others)
        yield Rows(_row_names(own, name, start), labels, *made, unseen)
        start += len(numbers)


def _row_names(own: Sequence[Any], name: str, start: int) -> list[str]:
    """Return the names that rows have of their own; of others NAME[ROW], ROW from `start`."""
    return [
        f"{name}[{row}]" if each in (None, "") else printable(str(each))
        for row, each in enumerate(own, start)
    ]


def _no_number(column: Any, row: int, name: str) -> str:
    """Say that a cell holds no number; empty where it holds nothing, or NaN."""
    text = str(column[row].as_py() or "nan").strip()
    return (
        "" if is_number(text) else f"got '{printable(text)}' in column '{name}'; must be a number"
    )


def _as_numbers(column: Any) -> np.ndarray:
    """Return the cells of a column as float64 [n], NaN where a cell holds no number."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_boolean(column.type):
        column = column.cast(pyarrow.uint8())
    try:
        numbers = column.to_numpy(zero_copy_only=False)
        if numbers.dtype.kind not in "biuf":
            numbers = column.cast(pyarrow.float64()).to_numpy(zero_copy_only=False)
        return numbers.astype(np.float64)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError):
        texts = ["" if cell is None else str(cell).strip() for cell in column.to_pylist()]
        if {text.lower() for text in texts} <= _SWITCHES.keys():
            return np.array([_SWITCHES[text.lower()] for text in texts])
        return np.array([float(text) if is_number(text) else np.nan for text in texts])


def _as_levels(numbers: np.ndarray, columns: Sequence[Any], preparation: Preparation) -> np.ndarray:
    """Return the numbers of a table that became bytes: booleans, or whole numbers where all are,
    but floats where the run's own table has floats, whose 1 is white.
    """
    import pyarrow

    fine = np.isfinite(numbers)
    if all(pyarrow.types.is_boolean(column.type) for column in columns) and fine.all():
        return numbers.astype(bool)
    whole = fine.all() and bool((numbers == np.rint(numbers)).all())
    floats = preparation.stored is Stored.FLOATS
    return numbers.astype(np.int64) if whole and not floats else numbers
