"""Tables, `.parquet` and `.csv` (`.tsv`, `.csv.gz`): each row is an example, each column a feature.

The settings `labels`, `split_by`, `factors`, `names` and `drop` name columns that are no features,
and nor is an index of pandas. Without `names`, the first column with a different text in each row
names the rows. All features become one type, that of numpy's promotion, and are written row by row
into the scratch folder. The files of a folder are read in their order; all must have the same
columns.
"""

import json
import shlex
from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import (
    RawImages,
    Source,
    ending_of,
    printable,
    refusing,
    row_words,
    some_of,
)
from vaeexp.data.formats.array_pixels import as_bits
from vaeexp.data.formats.csv_files import (
    WANTED,
    Form,
    check_points,
    form_of,
    has_minus,
    is_number,
    misfit_of,
    number_hint,
    open_csv,
    row_of_csv,
    with_points,
)
from vaeexp.data.formats.named_arrays import (
    label_parts,
    names_given,
    refuse_settings,
    roles_in,
    unknown,
)
from vaeexp.data.formats.scratch import allocate, write_rows

if TYPE_CHECKING:
    import pyarrow

_INDEX = "__index_level_"  # pandas' name of the index in a parquet file
_COLUMNS = 512
_MOST_ROWS = 2**14
"""Columns and rows of a parquet file that are read at a time."""
_FEWEST_PLACES = 10
_TABLE_ROWS = 4_000  # of `read_batches`
PARQUET = ".parquet"
TEXTS = (".csv", ".tsv", ".tab", ".csv.gz", ".tsv.gz")
_WHOLE = "a whole parquet file"
_ROLES = "--set labels={0} if it is a class, split_by={0} if it is a group, names={0} if it names"
_ROLES = f"{_ROLES} the rows; else drop={{1}}"

Columns = Mapping[str, "pyarrow.DataType"]
"""Name of each column → its type."""


@dataclass(frozen=True, kw_only=True)
class _Roles:
    """The names of columns: features, and those of names and factors; and the rows of each file,
    and the cells of each column that is no feature, as far as they were read.

    gaps: whether cells of features may be empty, so that they are floats, and NaN there.
    """

    features: tuple[str, ...]
    names: str | None
    factors: tuple[str, ...]
    gaps: bool
    rows: dict[Path, int] = field(default_factory=dict)
    cells: dict[str, list[np.ndarray]] = field(default_factory=dict)


def pandas_index(schema: "pyarrow.Schema") -> list[str]:
    """Return the columns that hold an index of pandas, by the metadata of a file."""
    named = list[Any]()
    with suppress(KeyError, TypeError, ValueError):
        named = json.loads(schema.metadata[b"pandas"])["index_columns"]
    return [name for name in schema.names if name in named or name.startswith(_INDEX)]


def index_words(left: Sequence[str]) -> tuple[str, ...]:
    """Say which columns are no features any more, because they are an index of pandas."""
    named = ", ".join(map(printable, left))
    return (f"the index of pandas ({named}) is no feature",) if left else ()


def read_tables(source: Source, scratch: Path) -> RawImages:
    """Read tables as vectors [N, 1, 1, F]. Raises UserError naming the file, the column and the
    row that do not fit.
    """
    import pyarrow.parquet as parquet

    subject = f"{source.root.name} is a table"
    remedy = "All columns without a role are features"
    refuse_settings(source, ("images", "channels_first"), subject, remedy)
    settings = source.settings
    paths = source.paths
    ending = ending_of(paths[0])
    types = [_column_types(path) for path in paths]
    _check_same(paths, types)
    index = set[str]()
    for path in paths if ending == PARQUET else ():
        index.update(pandas_index(parquet.read_schema(path)))
    roles = _roles(source, types[0], index)
    for path, columns_of in zip(paths, types, strict=True):
        of_text = [x for x in roles.features if not _holds_numbers(columns_of[x], roles.gaps)]
        _refuse_texts(path, of_text, every=len(of_text) == len(roles.features) > 1)
    read = _read_parquet if ending == PARQUET else _read_csv
    values = read(paths, types, roles, scratch)
    texts = {name: np.concatenate(cells) for name, cells in roles.cells.items()}
    columns = texts
    if ending != PARQUET:
        columns = {name: _typed(cells) for name, cells in texts.items()}
    # As text, 01.11 is the first of November.
    groups = texts if settings.split == "time" else columns
    labels = columns.get(settings.labels or "")
    images = as_bits(values[:, None, None], settings, scratch, table=True)
    raw = label_parts(images, [labels], {"": values})
    notes = [f"Features: {len(roles.features):,} ({some_of(roles.features)})"]
    if len(paths) > 1:
        notes.append(f"Files: {len(paths):,} {ending} in the order of their names")
    if roles.names:
        notes.append(f"Names: column {printable(roles.names)}")
    left = sorted(index.difference(texts))
    changed = index_words([name for name in left if not name.startswith(_INDEX)])
    if ending != PARQUET:
        notes += _form_notes(roles.features, form_of(paths[0]))
        changed = ("− is a minus",) if any(map(has_minus, paths)) else ()
    if left:
        notes.append(f"Not read: {', '.join(map(printable, left))}, the index of pandas")
    where = partial(_where, roles.rows)
    factors = [_as_factor(paths[0], name, columns[name], where) for name in roles.factors]
    return raw._replace(
        notes=(*raw.notes, *notes),
        groups=groups.get(settings.split_by or ""),
        names=texts[roles.names].astype(str) if roles.names else None,
        named_by="" if settings.names else roles.names or "",
        files=[(path.name, roles.rows[path]) for path in paths],
        factors=np.column_stack(factors) if factors else None,
        factor_names=roles.factors,
        features=roles.features,
        changed=changed,
        where=where,
    )


def _form_notes(features: Sequence[str], form: Form) -> list[str]:
    """Say how a .csv is written, and which numbers are names."""
    notes = [f"Form: {form.words()}"] if form.words() else []
    if _numbers(features, form):
        ends = [float(features[place].replace(",", ".")) for place in (0, -1)]
        notes.append("Names: " + " … ".join(f"{end:,.10g}" for end in ends))
    return notes


def _where(rows: Mapping[Path, int], row: int) -> str:
    """Name a row, from 0, of all files together: `line 5`, or `line 5 of b.csv` of several.

    rows: of each file, in their order.
    """
    for path, count in rows.items():
        if row < count:
            words = _place(path, row)
            return f"{words} of {printable(path.name)}" if len(rows) > 1 else words
        row -= count
    return row_words(row)


def _place(path: Path, row: int) -> str:
    """Name a row, from 0, of a file."""
    return row_words(row) if ending_of(path) == PARQUET else row_of_csv(path, row)


def _column_types(path: Path) -> Columns:
    """Return the columns of a file; of a .csv, with the types of its first rows. Raises UserError
    for names that are doubtful.
    """
    import pyarrow.parquet as parquet

    text = ending_of(path) != PARQUET
    with refusing(path, WANTED if text else _WHOLE):
        if text:
            check_points(path)
            with open_csv(path, {}) as reader:
                schema = reader.schema
                names = schema.names
        else:
            schema = parquet.read_schema(path)
            names = schema.names
    double = sorted(name for name, count in Counter(names).items() if count > 1)
    if double:
        problem = f"got several columns named {some_of(double)}"
        raise UserError(str(path), f"{problem}; must be one of each name")
    if "" in names:
        problem = f"got no name for column {names.index('') + 1}; must be a name for each column"
        remedy = "If it numbers the rows, save the table without its index: to_csv(…, index=False)"
        if names.index("") == len(names) - 1 > 0:
            remedy = "If each line ends with a separator, remove the last one"
        raise UserError(str(path), f"{problem}. {remedy}")
    if text and _numbers(names, form_of(path)) and not _are_places(path, names):
        problem = f"got the numbers {some_of(names, 4)} in the first line; must be names of columns"
        remedy = f"If they are names, write them with a letter, as x{names[0]}"
        raise UserError(str(path), f"{problem}. {remedy}; if they are a row, names are missing")
    return dict(zip(names, schema.types, strict=True))


def _numbers(names: Sequence[str], form: Form) -> bool:
    """Return whether all names are numbers that do not count from 0 or from 1, as pandas names
    columns without names.
    """
    counts = ([str(first + place) for place in range(len(names))] for first in (0, 1))
    return all(is_number(name, form) for name in names) and [*names] not in counts


def _are_places(path: Path, names: Sequence[str]) -> bool:
    """Return whether numbers in the first line name columns, as wavelengths do: ten or more that
    rise or fall throughout, which the first row does not, and that lie outside the range of the
    rows or are about equally far from each other.
    """
    with refusing(path, WANTED), open_csv(path, {}) as reader:
        batch: Any = next(iter(reader), [])
    numbers = len(batch) and all(map(_holds_numbers, batch.schema.types))
    if not numbers or len(names) < _FEWEST_PLACES:
        return False
    rows = np.stack([cells.to_numpy(zero_copy_only=False) for cells in batch.columns], axis=1)
    places = np.array([name.replace(",", ".") for name in names], float)
    steps = np.diff([places, rows[0].astype(float)])
    ordered = (steps > 0).all(axis=1) | (steps < 0).all(axis=1)
    outside = (places < np.nanmin(rows)) | (places > np.nanmax(rows))
    widths = np.abs(steps[0])
    clear = bool(outside.all() or widths.max() <= 2 * widths.min())
    return clear and ordered.tolist() == [True, False]


def _check_same(paths: Sequence[Path], types: Sequence[Columns]) -> None:
    """Raise UserError where a file has other columns than the first."""
    for path, columns in zip(paths, types, strict=True):
        if columns.keys() != types[0].keys():
            more = columns.keys() - types[0].keys()
            less = types[0].keys() - columns.keys()
            both = (("more", more), ("missing", less))
            said = "; ".join(f"{word}: {some_of(sorted(some))}" for word, some in both if some)
            problem = f"got columns that differ from those of {paths[0].name} ({said})"
            raise UserError(str(path), f"{problem}; must be the same")


def _roles(source: Source, columns: Columns, index: Container[str]) -> _Roles:
    """Return the columns that are features and those that the settings name. Raises UserError."""
    settings = source.settings
    named = roles_in(settings)
    for role, name in named:
        if name not in columns:
            wanted = f"a column of {source.root.name}: {some_of([*columns])}"
            raise unknown(role, name, wanted, columns)
    taken = {name for _, name in named}
    own = settings.names
    if own is None:
        own = _naming_column(source.paths, {n: columns[n] for n in columns if n not in taken})
        taken |= {own or ""}
    order = source.columns or columns
    features = [name for name in order if name not in taken and name not in index]
    if not features:
        problem = "got no columns besides those with a role; must be a column of numbers"
        raise UserError(str(source.paths[0]), f"{problem} for each feature")
    beside = (settings.labels, settings.split_by, own, *names_given(settings.factors))
    return _Roles(
        cells={name: [] for name in beside if name is not None},
        features=tuple(features),
        names=own,
        factors=names_given(settings.factors),
        gaps=settings.missing is not None,
    )


def _naming_column(paths: Sequence[Path], columns: Columns) -> str | None:
    """Return the first column with a different text in each row. None where one of its texts may
    be a number, and where the names of all other columns of a .csv are: its first line may be a
    row.
    """
    texts = [name for name, kind in columns.items() if _holds_text(kind)]
    others = [name for name in columns if name not in texts]
    if ending_of(paths[0]) != PARQUET and _numbers(others, form_of(paths[0])):
        return None
    return next((name for name in texts if _all_differ(paths, name)), None)


def _all_differ(paths: Sequence[Path], name: str) -> bool:
    seen = set[str]()
    count = 0
    for batch in chain.from_iterable(read_batches(path, [name]) for path in paths):
        texts = [str(text) for text in batch.column(0).to_pylist()]
        seen.update(texts)
        count += len(texts)
        # An empty cell is `None`, of which there is a hint.
        if len(seen) < count or any(is_number(text) or number_hint(text) for text in texts):
            return False
    return count > 0


# ---- reading ----


def _read_parquet(
    paths: Sequence[Path],
    types: Sequence[Columns],
    roles: _Roles,
    scratch: Path,
) -> np.ndarray:
    """Return the features [N, F], and keep the cells of the other columns."""
    import pyarrow.parquet as parquet

    kinds = set[np.dtype]()
    count = 0
    for path, columns in zip(paths, types, strict=True):
        kinds |= {np.dtype(columns[name].to_pandas_dtype()) for name in roles.features}
        with refusing(path, _WHOLE):
            count += parquet.read_metadata(path).num_rows
    shape = (count, len(roles.features))
    kinds.discard(np.dtype(object))  # of empty columns
    dtype = np.result_type(*(kinds or {np.dtype(np.float64)}))
    if roles.gaps and dtype.kind != "f":
        dtype = np.dtype(np.float64)
    values = allocate(scratch / "table.npy", shape, dtype)
    first = 0
    for path in paths:
        with refusing(path, _WHOLE), parquet.ParquetFile(path) as file:
            # pyarrow keeps a page of each column that is read.
            for start in range(0, shape[1], _COLUMNS):
                part = slice(start, start + _COLUMNS)
                some = replace(roles, features=roles.features[part])
                some = replace(some, cells={}) if start else some
                batches = file.iter_batches(_MOST_ROWS, columns=[*some.features, *some.cells])
                row = first
                for piece in _rows(path, batches, some, values.dtype):
                    values[row : row + len(piece), part] = piece
                    row += len(piece)
            first += file.metadata.num_rows
    return values


def _read_csv(
    paths: Sequence[Path],
    types: Sequence[Columns],
    roles: _Roles,
    scratch: Path,
) -> np.ndarray:
    """Return the features [N, F], and keep the cells of the other columns.

    The first rows say whether all features are whole numbers; where a later row has a fraction, all
    are read again as floats.
    """
    import pyarrow

    kinds = {columns[name] for columns, name in product(types, roles.features)}
    plans = [pyarrow.float64()]
    if pyarrow.float64() not in kinds and not roles.gaps:
        plans.insert(0, pyarrow.bool_() if kinds == {pyarrow.bool_()} else pyarrow.int64())
    for plan in plans:
        wanted = dict.fromkeys(roles.cells, pyarrow.string())
        for name in roles.features:
            boolean = all(columns[name] == pyarrow.bool_() for columns in types)
            wanted[name] = pyarrow.bool_() if boolean else plan
        dtype = np.dtype(plan.to_pandas_dtype())
        for cells in roles.cells.values():
            cells.clear()
        pieces = (_csv_rows(path, roles, wanted, dtype) for path in paths)
        row = (len(roles.features),)
        try:
            return write_rows(scratch / "table.raw", chain.from_iterable(pieces), dtype, row)
        except _FractionError:
            continue
    raise AssertionError("floats have no fraction that is none")


class _FractionError(Exception):
    """A column that began with whole numbers or booleans has something else."""


def _csv_rows(
    path: Path,
    roles: _Roles,
    types: Mapping[str, "pyarrow.DataType"],
    dtype: np.dtype,
) -> Iterator[np.ndarray]:
    """Yield the features [n, F] of a .csv. Raises UserError for a cell that is no number, and
    _FractionError for one that is no whole number.
    """
    import pyarrow

    form = form_of(path)
    with refusing(path, WANTED), open_csv(path, types) as reader:
        batches = (with_points(batch, form) for batch in reader)
        try:
            yield from _rows(path, batches, roles, dtype)
            return
        except pyarrow.ArrowInvalid as error:
            misfit = misfit_of(path, error, form)
            if misfit is None:
                raise
    if dtype.kind != "f":
        raise _FractionError
    column, row, text = misfit
    raise _no_number(path, reader.schema.names[column], row_of_csv(path, row), text)


def read_batches(
    path: Path, names: Sequence[str] | None, *, pointed: bool = True
) -> Iterator["pyarrow.RecordBatch"]:
    """Yield the rows of these columns of a table, of all columns when None, in batches; the cells
    of a .csv are text, with a decimal point if `pointed`. Raises UserError for a damaged file.
    """
    import pyarrow
    import pyarrow.parquet as parquet

    if ending_of(path) == PARQUET:
        with refusing(path, _WHOLE), parquet.ParquetFile(path) as file:
            yield from file.iter_batches(_TABLE_ROWS, columns=names and [*names])
        return
    with refusing(path, WANTED):
        form = form_of(path)
        with open_csv(path, {}) as reader:
            types = dict.fromkeys(reader.schema.names, pyarrow.string())
        with open_csv(path, types) as reader:
            for batch in reader:
                chosen = batch.select([*names]) if names is not None else batch
                yield with_points(chosen, form) if pointed else chosen


def _rows(
    path: Path,
    batches: Any,
    roles: _Roles,
    dtype: np.dtype,
) -> Iterator[np.ndarray]:
    """Yield the features [n, F] of batches of rows, and keep the cells of other columns.
    Raises UserError for an empty cell of a feature or a factor.
    """
    import pyarrow

    start = 0
    features = list(roles.features)
    for batch in batches:
        rows = np.empty((batch.num_rows, len(features)), dtype)
        for place, (name, column) in enumerate(
            zip(features, batch.select(features).columns, strict=True)
        ):
            if not roles.gaps:
                _check_filled(path, name, column, start)
            elif pyarrow.types.is_boolean(column.type):
                column = column.cast(pyarrow.uint8())
            rows[:, place] = column.to_numpy(zero_copy_only=False)
        for name, cells in roles.cells.items():
            column = batch.column(name)
            if name in roles.factors:
                _check_filled(path, name, column, start)
            cells.append(cells_of(column))
        start += len(rows)
        yield rows
    roles.rows[path] = start


def _check_filled(path: Path, name: str, column: Any, start: int) -> None:
    """Raise UserError naming the first row of a column that is empty."""
    if column.null_count:
        row = start + int(column.is_null().to_numpy(zero_copy_only=False).argmax())
        problem = f"got an empty cell in {_place(path, row)}; must be a value in each row"
        remedy = "Fill in the values, or leave out this column or these rows"
        remedy = f"{remedy} (of features: --set missing=drop)"
        raise UserError(f"{path}: {printable(name)}", f"{problem}. {remedy}")


def cells_of(column: Any) -> np.ndarray:
    """Return the cells of a column of labels, groups or factors; empty text where there is none."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    values = column.to_numpy(zero_copy_only=False)
    if values.dtype.kind != "O":
        return values
    return np.array(["" if value is None else str(value) for value in values], dtype=str)


def _typed(cells: np.ndarray) -> np.ndarray:
    """Return the whole numbers or the floats that all texts [N] of a .csv are; other cells as they
    are, as 007.
    """
    if cells.dtype.kind != "U" or not len(cells):
        return cells
    try:
        whole = cells.astype(np.int64)
    except (ValueError, OverflowError):
        return cells.astype(np.float64) if all(map(is_number, cells.tolist())) else cells
    return whole if np.array_equal(whole.astype(str), cells) else cells


def _as_factor(
    path: Path, name: str, values: np.ndarray, where: Callable[[int], str]
) -> np.ndarray:
    """Return the values of a factor as float64 [N]. Raises UserError for text."""
    if values.dtype.kind not in "biuf":
        row, text = _first_text(values.tolist())
        raise _no_number(path, name, where(row), text, "A known factor is a number")
    return values.astype(np.float64)


def _first_text(values: Sequence[Any], form: Form | None = None) -> tuple[int, str]:
    """Return row, from 0, and text of the first of these values that is no number."""
    for row, value in enumerate(values):
        if value is not None and not is_number(str(value), form):
            return row, str(value)
    return 0, str(values[0]) if len(values) else ""


def _no_number(
    path: Path, name: str, where: str, text: str, remedy: str = "", several: Sequence[str] = ()
) -> UserError:
    """Return an error for a cell that is no number; `where` names its row.

    several: columns of which this is the first, that have none.
    """
    shown = printable(text)[:60]
    if is_number(text) and ending_of(path) == PARQUET:
        problem = f"got '{shown}' in {where}, a text; must be a number in each row"
        return UserError(f"{path}: {printable(name)}", f"{problem}. Save its .astype('float64')")
    problem = f"got '{shown}' in {where}; must be a number in each row"
    if len(several) > 1:
        problem += f". Nor are there numbers in {', '.join(map(printable, several[1:]))}"
    given = json.dumps([*several], ensure_ascii=False) if len(several) > 1 else name
    quoted = (shlex.quote(printable(each)) for each in (name, given))
    tip = number_hint(shown) or remedy or f"Try {_ROLES.format(*quoted)}"
    return UserError(f"{path}: {printable(name)}", f"{problem}. {tip}")


def _holds_text(kind: "pyarrow.DataType") -> bool:
    from pyarrow import types

    held = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(held) or types.is_large_string(held))


def _holds_numbers(kind: "pyarrow.DataType", gaps: bool = False) -> bool:
    """Return whether a column holds numbers. gaps: or may hold nothing."""
    from pyarrow import types

    numbers = types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind)
    return bool(numbers or (gaps and types.is_null(kind)))


def _refuse_texts(path: Path, texts: Sequence[str], *, every: bool) -> None:
    """Raise UserError for the first of the features `texts`, which hold no numbers: empty cells,
    text, times. every: whether they are all features.
    """
    if not texts:
        return
    name = texts[0]
    form = None if ending_of(path) == PARQUET else form_of(path)
    batch = next(read_batches(path, [name], pointed=False), None)
    if batch is None or not len(batch):
        raise UserError(str(path), "got a table without rows; must be a row for each example")
    column = batch.column(0)
    if column.null_count == len(column):
        _check_filled(path, name, column, 0)
    row, text = _first_text(column.to_pylist(), form)
    remedy = ""
    if every and is_number(str(column[-1]), form):
        remedy = "If this row is no example, as one of units, take it away"
    raise _no_number(path, name, _place(path, row), text, remedy, several=texts)
