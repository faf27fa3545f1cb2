"""Text of tables, `.csv`: how a file is written, the lines of its rows, and what to do about cells
that are no numbers.

Columns are separated by commas, semicolons or tabs, as the first lines have them. Where they are
separated by semicolons or tabs, decimals may have a comma. − (U+2212) is a minus. The text must be
UTF-8. A file whose name ends in `.gz` is unpacked as it is read.
"""

import csv
import gzip
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import TextIOWrapper
from itertools import islice, zip_longest
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any, cast

from sweeps import UserError
from vaeexp.data.formats import printable, row_words
from vaeexp.words import plural

if TYPE_CHECKING:
    import pyarrow

EMPTY = ["", "NA", "N/A", "#N/A", "NULL", "null", "None", "<NA>"]
"""Cells that hold nothing; nan is a number."""
WANTED = "a .csv file with a line of names, in UTF-8"
_BLOCK = 2**24  # bytes; a row must fit
_HEAD = 2**18  # bytes that are looked at for separators and decimal signs
_LINES = 50  # that are looked at for separators
csv.field_size_limit(_BLOCK)  # a line that another mark parts is one field
_MARKS = {";": "semicolons", "\t": "tabs", ",": "commas"}
_SEPARATOR = re.compile(r'"?sep=(.)"?')
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?\d*\.\d+([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}([,.' \u00a0\u202f])\d{3}(\1\d{3})*(?:(?!\1)[,.]\d+)?")
_WHOLE = re.compile(r"[+-]?\d+")
_MINUS = "−".encode()
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): (.*)", re.DOTALL)
_MISFIT = re.compile(r"CSV column #(\d+): Row #(\d+): .* invalid value '(.*)'", re.DOTALL)


_ABSENT = ("-", "–", ".", "?", "*", "n.a.", "none", "missing", "unknown")
"""Cells that people leave where there is no value."""


@dataclass(frozen=True, kw_only=True)
class Form:
    """How a .csv is written.

    skipped: 1 where the first line says `sep=;`, as spreadsheets write it; else 0.
    """

    delimiter: str = ","
    decimal: str = "."
    skipped: int = 0

    def words(self) -> str:
        """Say what is not usual: `separated by semicolons, with decimal commas`; else empty."""
        if self.delimiter == ",":
            return ""
        mark = _MARKS.get(self.delimiter, f"'{printable(self.delimiter)}'")
        return f"separated by {mark}" + (", with decimal commas" if self.decimal == "," else "")


def _opened(path: Path) -> IO[bytes]:
    packed = path.suffix.lower() == ".gz"
    return cast(IO[bytes], gzip.open(path)) if packed else path.open("rb")


def form_of(path: Path) -> Form:
    """Return how a file is written. Raises UserError for UTF-16 and for what is no text."""
    return _look(path)[0]


def _look(path: Path) -> tuple[Form, list[str]]:
    """Return how a file is written, and its first lines."""
    with _opened(path) as file:
        # Of rows of many columns, the line of names and a whole row.
        head = file.read(_HEAD) + file.readline(_BLOCK) + file.readline(_BLOCK)
    _check_text(path, head)
    text = head.decode("utf-8-sig", "replace").replace("−", "-")
    lines = [line for line in re.split(r"\r\n|\r|\n", text) if line]
    said = _SEPARATOR.fullmatch(lines[0]) if lines else None
    if said is not None:
        lines = lines[1:]
    delimiter = said[1] if said is not None else _delimiter(lines[:_LINES])
    decimal = "." if delimiter == "," else _decimal(lines[1:], delimiter)
    return Form(delimiter=delimiter, decimal=decimal, skipped=int(said is not None)), lines


def check_points(path: Path) -> None:
    """Raise UserError where a point may separate thousands between semicolons or tabs: all numbers
    with a point have three digits after it, and stand beside decimal commas, or beside whole
    numbers of at most three digits in their column.
    """
    form, lines = _look(path)
    if form.delimiter == ",":
        return
    points = list[str]()
    others = list[str]()
    for cells in zip_longest(*csv.reader(lines[1:], delimiter=form.delimiter), fillvalue=""):
        column = [cell.strip() for cell in cells]
        own = [*filter(_POINT.fullmatch, column)]
        whole = [cell.lstrip("+-") for cell in column if _WHOLE.fullmatch(cell)]
        points += own
        others += filter(_COMMA.fullmatch, column)
        if own and max(map(len, whole), default=9) <= 3:
            others += whole
    if not (points and others and all(map(_GROUPED.fullmatch, points))):
        return
    problem = (
        f"got '{points[0]}' beside '{others[0]}' between {_MARKS.get(form.delimiter, 'marks')}"
    )
    problem = f"{problem}; must be clear what the point is"
    read = f"pandas.read_csv('{path.name}', sep={form.delimiter!r}"
    write = ").to_csv('NEW.csv', index=False)"
    remedy = f"If it separates thousands, try {read}, thousands='.', decimal=','{write}; if it is"
    raise UserError(str(path), f"{problem}. {remedy} decimal, {read}{write}")


def _delimiter(lines: Sequence[str]) -> str:
    """Return the mark that parts these lines into as many fields as the first, else the mark that
    the first line has.
    """
    counts = {mark: [len(row) for row in csv.reader(lines, delimiter=mark)] for mark in _MARKS}
    several = [mark for mark, fields in counts.items() if fields and fields[0] > 1]
    for mark in several:
        if set(counts[mark]) == {counts[mark][0]}:
            return mark
    return "," if "," in several or not several else several[0]


def _decimal(lines: Sequence[str], delimiter: str) -> str:
    """Return the decimal sign of cells: a comma where some have one that cannot separate thousands,
    and none has a point.
    """
    commas = False
    for row in csv.reader(lines, delimiter=delimiter):
        for cell in map(str.strip, row):
            if _POINT.fullmatch(cell):
                return "."
            commas = commas or bool(_COMMA.fullmatch(cell) and not _GROUPED.fullmatch(cell))
    return "," if commas else "."


def _check_text(path: Path, head: bytes) -> None:
    """Raise UserError where the first bytes are of UTF-16, or of no text, or there are none."""
    high = head[1:40:2]
    remedy = ""
    if not head.strip():
        got = "an empty file"
    elif head[:4] == b"PK\x03\x04":
        got = "a packed file, as .xlsx is"
        remedy = ". Save the sheet as CSV in UTF-8"
    elif head[:2] in (b"\xff\xfe", b"\xfe\xff") or high.count(0) > len(high) // 2:
        got = "text in UTF-16"
        remedy = f". {_convert('UTF-16')}"
    elif 0 in head:
        got = "zero bytes, which no text has"
    else:
        return
    raise UserError(str(path), f"got {got}; must be {WANTED}{remedy}")


def _convert(encoding: str) -> str:
    return f"Save it as CSV in UTF-8, or try: iconv -f {encoding} -t UTF-8 FILE > NEW.csv"


def has_minus(path: Path) -> bool:
    """Return whether a file has a − (U+2212)."""
    with _opened(path) as lines:
        return any(_MINUS in line for line in lines)


@contextmanager
def _with_minus(path: Path, form: Form) -> Iterator[Path | IO[bytes]]:
    """Yield a file, or a copy of it in which a − before the number of a cell is a minus."""
    if not has_minus(path):
        yield path
        return
    before = rb'(?<![^"\s' + re.escape(form.delimiter.encode()) + b"])"
    sign = re.compile(before + _MINUS + rb"(?=[\d.,])")
    with _opened(path) as file, TemporaryFile() as copy:
        for line in file:
            copy.write(sign.sub(b"-", line))
        copy.seek(0)
        yield copy


@contextmanager
def open_csv(path: Path, types: "Mapping[str, pyarrow.DataType]") -> Iterator[Any]:
    """Open a .csv, and yield pyarrow's reader; columns that `types` does not name get the type of
    their first rows.

    Raises UserError within the block, too: for bytes that are not UTF-8, and for a line of more or
    fewer fields than columns.
    """
    import pyarrow
    from pyarrow import csv as arrow

    form = form_of(path)
    # In one thread, because errors then name the row.
    reading = arrow.ReadOptions(block_size=_BLOCK, use_threads=False, skip_rows=form.skipped)
    parsing = arrow.ParseOptions(delimiter=form.delimiter)
    converting = arrow.ConvertOptions(
        null_values=EMPTY,
        strings_can_be_null=True,
        column_types=dict(types),
        decimal_point=form.decimal,
    )
    try:
        with (
            _with_minus(path, form) as source,
            arrow.open_csv(source, reading, parsing, converting) as reader,
        ):
            yield reader
    except (UnicodeDecodeError, pyarrow.ArrowInvalid) as error:
        if encoding := _other_encoding(path):
            raise encoding from error
        if ragged := _RAGGED.search(str(error)):
            raise _ragged(path, form, ragged) from error
        raise


def _other_encoding(path: Path) -> UserError | None:
    """Return an error that names the first byte that is not UTF-8; None where all are."""
    with _opened(path) as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                byte = line[error.start]
                letter = printable(bytes([byte]).decode("cp1252", "replace"))
                problem = f"got a byte that is not UTF-8 in line {number:,} (0x{byte:02X}, which is"
                problem = f"{problem} '{letter}' in Windows-1252); must be {WANTED}"
                return UserError(str(path), f"{problem}. {_convert('WINDOWS-1252')}")
    return None


def _ragged(path: Path, form: Form, found: re.Match[str]) -> UserError:
    """Return an error for a line of more or fewer fields than columns."""
    where = row_of_csv(path, int(found[1]) - 2 - form.skipped)
    shown = printable(found[4])[:60]
    fields = plural(int(found[3]), "field")
    problem = f"got {fields} in {where} ('{shown}'), but the line of names has {found[2]}"
    remedy = "must be as many"
    if found[2] == "1" and int(found[3]) > 2:
        remedy += ". The line of names must be the first: remove what stands before it"
    elif form.delimiter == "," and int(found[3]) > int(found[2]):
        remedy += ". If a comma is the decimal sign, or separates thousands, save numbers as 1628.5"
    elif form.delimiter != ",":
        remedy += f". This file is read as {form.words()}"
    return UserError(str(path), f"{problem}; {remedy}")


def misfit_of(path: Path, error: Exception, form: Form) -> tuple[int, int, str] | None:
    """Return the column, the row (from 0) and the text of the cell that an error of pyarrow says is
    of another type; None for another error. Raises UserError where the text is not UTF-8.
    """
    found = _MISFIT.search(str(error))
    if found is None:
        return None
    if "\ufffd" in found[3] and (encoding := _other_encoding(path)):
        raise encoding from error
    return int(found[1]), int(found[2]) - 2 - form.skipped, found[3]


def lines_of(path: Path) -> Iterator[int]:
    """Yield the line, from 1 as in an editor, at which each row of data begins. The line of names
    and empty lines are no rows.
    """
    form = form_of(path)
    with TextIOWrapper(_opened(path), "utf-8-sig", "replace", "") as file:
        for _ in range(form.skipped):
            file.readline()
        reader = csv.reader(file, delimiter=form.delimiter)
        start = form.skipped + 1
        named = False
        for record in reader:
            if record and named:
                yield start
            named = named or bool(record)
            start = form.skipped + reader.line_num + 1


def row_of_csv(path: Path, row: int) -> str:
    """Name the line of a row of data, which counts from 0: `line 5`."""
    line = next(islice(lines_of(path), row, None), None)
    return f"line {line:,}" if line else row_words(row)


def with_points(batch: "pyarrow.RecordBatch", form: Form) -> "pyarrow.RecordBatch":
    """Return a batch with a decimal point in each text that is a number of this form."""
    import pyarrow
    import pyarrow.compute as compute

    if form.decimal == ".":
        return batch
    number = r"^\s*([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)\s*$"
    columns = batch.columns
    for place, column in enumerate(columns):
        if pyarrow.types.is_string(column.type):
            columns[place] = compute.replace_substring_regex(column, number, r"\1.\2")
    return pyarrow.RecordBatch.from_arrays(columns, names=batch.schema.names)


def is_number(text: str, form: Form | None = None) -> bool:
    """Return whether a text is a number, with the decimal sign of the form."""
    if form is not None and form.decimal == ",":
        text = text.replace(".", "_").replace(",", ".")
    with suppress(ValueError):
        float(text)
        return "_" not in text
    return False


def number_hint(text: str) -> str:
    """Say what to do about a text that people read as a number; empty for other texts."""
    text = text.strip()
    bare = text.removesuffix("%").strip()
    if bare != text and is_number(bare.replace(",", ".")):
        return f"Save numbers without the sign %, as {bare.replace(',', '.')}"
    if found := _GROUPED.fullmatch(text):
        plain = text.replace(found[1], "").replace(",", ".")
        if found[1] == "," and text.count(",") == 1 and "." not in text:
            other = text.replace(",", ".")
            return f"Save {plain} if the comma separates thousands, {other} if it is decimal"
        if not _POINT.fullmatch(text):
            return f"Save numbers without separators of thousands, as {plain}"
    if _COMMA.fullmatch(text):
        shown = text.replace(",", ".")
        return f"Save numbers with a decimal point, as {shown}, and thousands without separators"
    if _POINT.fullmatch(text):
        return "This file has decimal commas. Save all numbers with one decimal sign"
    if text.lower() in (*_ABSENT, *map(str.lower, EMPTY)):
        return "If it stands for a missing value, fill it in, or leave these rows out"
    pieces = re.split(r"[\s|]+", text)
    if len(pieces) > 1 and all(map(is_number, pieces)):
        return "Separate the columns by commas, semicolons or tabs"
    return ""
