"""Tables: columns that are features, labels, groups and factors; cells that are no numbers."""

import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from raw_images import read_raw

from sweeps.errors import UserError
from vaeexp.data.formats import csv_files, tables

ROWS = 40


def flowers() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "length": rng.normal(size=ROWS).astype(np.float32),
            "width": rng.normal(size=ROWS),
            "petals": rng.integers(3, 9, ROWS),
            "species": np.array(["rose", "iris"])[np.arange(ROWS) % 2],
            "garden": np.repeat(["a", "b", "c", "d"], ROWS // 4),
            "age": np.arange(ROWS) / 4,
        }
    )


def as_csv(path: Path, table: pd.DataFrame, **options) -> Path:
    table.to_csv(path.with_suffix(".csv"), index=False, **options)
    return path.with_suffix(".csv")


def as_parquet(path: Path, table: pd.DataFrame, **options) -> Path:
    table.to_parquet(path.with_suffix(".parquet"), row_group_size=7, **options)
    return path.with_suffix(".parquet")


both = pytest.mark.parametrize("write", [as_csv, as_parquet])
NAMED = {"labels": "species", "split_by": "garden", "factors": ["age", "petals"]}


@both
def test_columns_that_are_named_are_no_features(tmp_path, write: Callable):
    table = flowers()
    raw = read_raw(write(tmp_path / "mine", table), **NAMED)
    assert raw.features == ("length", "width")
    assert raw.images.shape == (ROWS, 1, 1, 2)
    assert raw.images.dtype == np.float64
    np.testing.assert_allclose(raw.images[:, 0, 0], table[["length", "width"]], rtol=1e-7)
    assert raw.classes == ("iris", "rose")
    np.testing.assert_array_equal(raw.labels, 1 - np.arange(ROWS) % 2)
    np.testing.assert_array_equal(raw.groups, table["garden"])
    np.testing.assert_array_equal(raw.factors, table[["age", "petals"]])
    assert (raw.factors.dtype, raw.factor_names) == (np.float64, ("age", "petals"))
    assert "Features: 2 (length, width)" in raw.notes


@both
def test_a_column_may_have_two_roles(tmp_path, write):
    roles = {"labels": "petals", "split_by": "petals", "factors": "petals"}
    raw = read_raw(write(tmp_path / "mine", flowers()[["length", "petals"]]), **roles)
    np.testing.assert_array_equal(raw.groups, flowers()["petals"])
    np.testing.assert_array_equal(raw.factors[:, 0], raw.labels)


@both
def test_features_of_several_types_become_one(tmp_path, write):
    table = pd.DataFrame(
        {"a": np.arange(ROWS, dtype=np.uint8), "b": np.arange(ROWS) % 2 > 0, "c": -np.arange(ROWS)}
    )
    raw = read_raw(write(tmp_path / "mine", table))
    assert raw.images.dtype == np.int64
    np.testing.assert_array_equal(raw.images[:, 0, 0], table.astype(int))
    bits = read_raw(write(tmp_path / "bits", table[["b"]]))
    assert bits.images.dtype == bool


def test_a_csv_whose_first_rows_are_whole_numbers_may_have_fractions_later(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_BLOCK", 2**10)
    values = np.arange(3000).astype(object)
    values[2500] = 0.5
    raw = read_raw(
        as_csv(tmp_path / "mine", pd.DataFrame({"a": values, "b": np.arange(3000), "kind": "x"})),
        labels="kind",
    )
    assert raw.images.dtype == np.float64
    np.testing.assert_array_equal(raw.images[:, 0, 0, 0], values.astype(float))
    assert len(raw.labels) == 3000


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (np.arange(ROWS), "i"),
        (np.arange(ROWS) / 2, "f"),
        ([f"{row:03d}" for row in range(ROWS)], "U"),
        (pd.date_range("2026-01-01", periods=ROWS).astype(str), "U"),
    ],
)
@both
def test_groups_are_numbers_or_texts(tmp_path, write, cells, kind):
    table = pd.DataFrame({"a": np.arange(ROWS), "group": cells})
    groups = read_raw(write(tmp_path / "mine", table), split_by="group").groups
    assert groups.dtype.kind == kind
    assert groups.tolist() == list(cells)


def test_categories_and_times_of_a_parquet_file(tmp_path):
    times = pd.date_range("2026-01-01", periods=ROWS)
    table = pd.DataFrame({"a": np.arange(ROWS), "when": times, "kind": flowers()["species"]})
    table["kind"] = table["kind"].astype("category")
    raw = read_raw(as_parquet(tmp_path / "mine", table), split_by="when", labels="kind")
    assert raw.groups.dtype.kind == "M"
    np.testing.assert_array_equal(raw.groups, times)
    assert raw.classes == ("iris", "rose")


@pytest.mark.parametrize(("write", "ending"), [(as_csv, ".csv"), (as_parquet, ".parquet")])
def test_the_files_of_a_folder_are_read_in_the_order_of_their_names(tmp_path, write, ending):
    table = flowers()
    (tmp_path / "shards").mkdir()
    for number, rows in enumerate((slice(25, 40), slice(5, 25), slice(0, 5))):
        write(tmp_path / "shards" / f"part-{2 - number}", table[rows][["length", "petals"]])
    raw = read_raw(tmp_path / "shards", labels="petals")
    np.testing.assert_allclose(raw.images[:, 0, 0, 0], table["length"], rtol=1e-6)
    assert f"Files: 3 {ending} in the order of their names" in raw.notes
    write(tmp_path / "shards" / "part-3", table[["length", "petals", "age"]])
    with pytest.raises(
        UserError, match=r"differ from those of part-0\.\w+ \(more: age\)"
    ) as caught:
        read_raw(tmp_path / "shards", labels="petals")
    assert Path(caught.value.place).name == f"part-3{ending}"


def test_a_folder_of_two_formats_is_refused(tmp_path):
    as_csv(tmp_path / "mine", flowers())
    as_parquet(tmp_path / "mine", flowers())
    with pytest.raises(UserError, match=r"1 \.parquet, 1 \.csv.*must be one format"):
        read_raw(tmp_path)


def changed(row: int, column: str, value: object) -> pd.DataFrame:
    table = flowers().drop(columns=["species", "garden"]).astype(object)
    table.loc[row, column] = value
    return table


@pytest.mark.parametrize(
    ("write", "table", "settings", "place", "words"),
    [
        (as_csv, flowers(), {}, "species", "got 'rose' in line 2; .* --set labels=species if"),
        (
            as_parquet,
            flowers(),
            {},
            "species",
            r"got 'rose' in row 0 \(from 0\); .* --set labels=species if",
        ),
        (as_csv, flowers(), {"labels": "species"}, "garden", "'a' in line 2; must be a number"),
        (as_csv, changed(6, "width", None), {}, "width", "got an empty cell in line 8; must be a"),
        (as_csv, changed(6, "width", "NA"), {}, "width", "got an empty cell in line 8; must be a"),
        (as_csv, changed(6, "petals", None), {}, "petals", "got an empty cell in line 8"),
        (
            as_csv,
            changed(39, "width", "1,5"),
            {},
            "width",
            "got '1,5' in line 41; must be a number",
        ),
        (as_csv, changed(3, "petals", "many"), {}, "petals", "got 'many' in line 5; must be a"),
        (
            as_parquet,
            changed(6, "petals", None).astype({"petals": "Int64"}),
            {},
            "petals",
            r"got an empty cell in row 6 \(from 0\); must be a value in each row",
        ),
        (
            as_csv,
            changed(6, "petals", None),
            {"factors": "petals"},
            "petals",
            "got an empty cell in line 8",
        ),
        (as_csv, flowers(), NAMED | {"factors": ["species"]}, "species", "got 'rose' in line 2;"),
    ],
)
def test_cells_that_are_no_numbers_are_named(tmp_path, write, table, settings, place, words):
    if write is as_parquet:
        table = table.infer_objects()
    path = write(tmp_path / "mine", table)
    with pytest.raises(UserError, match=words) as caught:
        read_raw(path, **settings)
    assert caught.value.place == f"{path}: {place}"
    assert "\n" not in str(caught.value)


def test_a_text_in_a_later_block_is_named_by_its_row(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_BLOCK", 2**10)
    values = np.arange(3000).astype(object)
    values[2500] = "none"
    path = as_csv(tmp_path / "mine", pd.DataFrame({"b": np.arange(3000), "a": values}))
    with pytest.raises(UserError, match="got 'none' in line 2,502; must be a number"):
        read_raw(path)


@both
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": "speces"}, r"got 'speces'; must be a column of mine\.\w+: length, .*species'"),
        ({"labels": "SPECIES"}, r"Did you mean 'species'\?"),
        ({"split_by": "Gardn"}, r"Did you mean 'garden'\?"),
        ({"factors": ["age", "size"]}, "got 'size'; must be a column"),
        ({"split_by": "patient"}, "got 'patient'; must be a column"),
        ({"images": "width"}, r"mine\.\w+ is a table; must be left out"),
        ({"channels_first": True}, r"mine\.\w+ is a table; must be left out"),
    ],
)
def test_settings_that_do_not_fit_a_table_are_refused(tmp_path, write, settings, words):
    with pytest.raises(UserError, match=words) as caught:
        read_raw(write(tmp_path / "mine", flowers()), **settings)
    assert caught.value.place == f"data.{next(iter(settings))}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"got an empty file; must be a \.csv file with a line of names"),
        ("\n\n", r"got an empty file; must be a \.csv file with a line of names"),
        ("a,b,\n1,2,\n", "no name for column 3; .*ends with a separator, remove the last one"),
        ("# of today\na,b,c\n1,2,3\n", "got 3 fields in line 2 .*line of names must be the first"),
        ("a,b\n", "got a table without rows"),
        ("a,a\n1,2\n", "several columns named a"),
        (",a\n0,2\n1,3\n", r"got no name for column 1; .*index=False"),
        ("5.1,3.5\n4.9,3.0\n", r"got the numbers 5\.1, 3\.5 in the first line"),
        ("a,b\n1,2\n3\n", r"got 1 field in line 3 \('3'\), but the line of names has 2"),
        ("a\n1,5\n", "got 2 fields in line 2 .* has 1; .*decimal sign, or separates thousands"),
        ("a,b\n1,2\n\n1,628,3\n", "got 3 fields in line 4 .*decimal sign, or separates thous"),
        ("sep=;\na;b\n1;2\n3\n", "got 1 field in line 4 .*separated by semicolons"),
        ("5,1;3,5\n4,9;3,0\n", "got the numbers 5,1, 3,5 in the first line"),
        ("kind\n1\n2\n", "must be a column of numbers"),
    ],
)
def test_other_files_than_tables_are_refused_in_one_line(tmp_path, text, words):
    (tmp_path / "mine.csv").write_text(text)
    settings = {"labels": "kind"} if text.startswith("kind") else {}
    with pytest.raises(UserError, match=words) as caught:
        read_raw(tmp_path / "mine.csv", **settings)
    assert caught.value.place == str(tmp_path / "mine.csv")
    assert "\n" not in str(caught.value)


def test_a_damaged_parquet_file_is_refused_in_one_line(tmp_path):
    path = as_parquet(tmp_path / "mine", flowers()[["width"]])
    content = path.read_bytes()
    for other in (content[:500], b"", content[:40] + bytes(200) + content[240:]):
        path.write_bytes(other)
        with pytest.raises(UserError, match="must be a whole parquet file") as caught:
            read_raw(path)
        assert "\n" not in str(caught.value)


def test_the_index_of_pandas_is_no_feature(tmp_path):
    table = pd.DataFrame({"a": np.arange(9)}, index=np.arange(9)[::-1].copy())
    raw = read_raw(as_parquet(tmp_path / "mine", table))
    assert raw.features == ("a",)
    assert any("the index of pandas" in note for note in raw.notes)
    numbered = read_raw(as_csv(tmp_path / "numbered", pd.DataFrame(np.eye(9))))
    assert numbered.features == tuple(map(str, range(9)))


# ---- how a .csv is written ----


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sep": ";"}, "Form: separated by semicolons"),
        ({"sep": "\t"}, "Form: separated by tabs"),
        ({"sep": ";", "decimal": ","}, "Form: separated by semicolons, with decimal commas"),
        ({"sep": "\t", "decimal": ","}, "Form: separated by tabs, with decimal commas"),
        ({"encoding": "utf-8-sig"}, ""),
        ({"lineterminator": "\r\n"}, ""),
    ],
)
@pytest.mark.parametrize("said", ["", "sep=\n"])
def test_a_csv_may_be_written_in_other_ways(tmp_path, options, words, said):
    table = flowers().rename(columns={"length": "length, in cm", "species": "größe"})
    path = as_csv(tmp_path / "mine", table, **options)
    first = said.replace("=", f"={options.get('sep', ',')}").encode()
    content = path.read_bytes()
    bom = content[:3] if content[:3] == b"\xef\xbb\xbf" else b""
    path.write_bytes(bom + first + content.removeprefix(bom))
    raw = read_raw(path, **{**NAMED, "labels": "größe"})
    expected = table[["length, in cm", "width"]]
    np.testing.assert_allclose(raw.images[:, 0, 0], expected, rtol=1e-6)
    assert raw.features == ("length, in cm", "width")
    assert raw.classes == ("iris", "rose")
    np.testing.assert_array_equal(raw.factors, table[["age", "petals"]])
    assert [note for note in raw.notes if note.startswith("Form")] == ([words] if words else [])
    batches = list(csv_rows(path, ["age", "größe"]))
    assert [float(row["age"]) for row in batches] == table["age"].tolist()
    assert [row["größe"] for row in batches] == table["größe"].tolist()
    assert raw.where(0) == ("line 3" if said else "line 2")


def csv_rows(path: Path, names: list[str]) -> Iterator[dict]:
    for batch in tables.read_batches(path, names):
        yield from batch.to_pylist()


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252"])
@pytest.mark.parametrize("place", ["name", "label", "feature"])
def test_other_encodings_are_named_with_line_and_remedy(tmp_path, encoding, place):
    table = flowers()[["width", "species"]].astype(object)
    if place == "name":
        table = table.rename(columns={"width": "Größe"})
    else:
        table.loc[30, {"label": "species", "feature": "width"}[place]] = "Müller"
    path = as_csv(tmp_path / "mine", table, encoding=encoding)
    line, letter = (1, "ö") if place == "name" else (32, "ü")
    with pytest.raises(UserError) as caught:
        read_raw(path, labels="species")
    assert caught.value.place == str(path)
    assert f"not UTF-8 in line {line} " in caught.value.problem
    assert f"'{letter}' in Windows-1252" in caught.value.problem
    assert "iconv -f WINDOWS-1252 -t UTF-8" in caught.value.problem
    with pytest.raises(UserError, match="not UTF-8 in line"):
        list(tables.read_batches(path, None))


def test_another_encoding_far_down_in_a_column_of_numbers_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(csv_files, "_BLOCK", 2**10)
    values = np.arange(3000).astype(object)
    values[2500] = "fünf"
    table = pd.DataFrame({"b": np.arange(3000), "a": values})
    with pytest.raises(UserError, match=r"not UTF-8 in line 2,502 .*'ü' in Windows-1252"):
        read_raw(as_csv(tmp_path / "mine", table, encoding="latin-1"))
    with pytest.raises(UserError, match="got 'fünf' in line 2,502"):
        read_raw(as_csv(tmp_path / "mine", table))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le"])
def test_utf_16_is_refused_with_its_remedy(tmp_path, encoding):
    path = as_csv(tmp_path / "mine", flowers(), encoding=encoding)
    with pytest.raises(UserError, match=r"text in UTF-16; .*iconv -f UTF-16 -t UTF-8"):
        read_raw(path, **NAMED)


def test_a_spreadsheet_that_is_called_csv_is_refused(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"PK\x03\x04" + bytes(90))
    with pytest.raises(UserError, match=r"packed file, as \.xlsx is; .*Save the sheet as CSV"):
        read_raw(tmp_path / "mine.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('a,b\n1,"1,628"\n2,"3"\n', "'1,628' in line 2; .*Save 1628 if the comma .*, 1.628 if"),
        ('a,b\n1,"1,628.5"\n2,3\n', "'1,628.5' in line 2; .*of thousands, as 1628.5"),
        ('a,b\n1,"1,628,000"\n2,3\n', "'1,628,000' in line 2; .*of thousands, as 1628000"),
        ("a,b\n1,2\n2,12.6%\n", "'12.6%' in line 3; .*without the sign %, as 12.6"),
        ('a,b\n1,"2,5"\n2,3\n', "'2,5' in line 2; .*with a decimal point, as 2.5"),
        ("a;b\n1,5;2\n2;1.628,5\n", "'1.628,5' in line 3; .*of thousands, as 1628.5"),
        ("a;b\n1,628;2\n2;1\n", "'1,628' in line 2; .*Save 1628 if the comma separates thousand"),
        ("a;b\n1.5;2\n2;1,5\n", "'1,5' in line 3; .*with a decimal point, as 1.5"),
        ("a b\n1 2\n3 4\n", "'1 2' in line 2; .*Separate the columns by commas, semicolons or"),
        ("a|b\n1|2\n3|4\n", r"'1\|2' in line 2; .*Separate the columns by commas, semicolons or"),
        ("a,b\n1,2\n2,-\n", "'-' in line 3; .*stands for a missing value"),
        ("a,b\n1,2\n2,1_000\n", "'1_000' in line 3; .*labels=b if"),
        ("a\tb\n1\t2\n2\tmany\n", "'many' in line 3; .*labels=b if"),
    ],
)
def test_numbers_that_are_written_otherwise_are_named(tmp_path, text, words):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(UserError, match=words):
        read_raw(tmp_path / "mine.csv")


def test_decimal_points_after_decimal_commas_are_named(tmp_path):
    rows = ["1,5;2", *["3,25;4"] * 40_000, "2.5;1"]
    (tmp_path / "mine.csv").write_text("\n".join(["a;b", *rows]))
    with pytest.raises(UserError, match=r"'2\.5' in line 40,003; .*one decimal sign"):
        read_raw(tmp_path / "mine.csv")


@pytest.mark.parametrize("text", ["1", "2024"])
def test_numbers_as_text_in_a_parquet_file_are_said_to_be_text(tmp_path, text):
    path = as_parquet(tmp_path / "mine", pd.DataFrame({"a": [text, "7"]}))
    with pytest.raises(UserError, match=rf"'{text}' in row 0 \(from 0\), a text"):
        read_raw(path)


def test_rows_of_several_files_are_named_by_file_and_line(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.csv").write_text("a,note\n1,x\n\n2,y\n")
    (tmp_path / "parts" / "b.csv").write_text('a,note\n1,"x"\n2,z\n')
    raw = read_raw(tmp_path / "parts", labels="note")
    assert [raw.where(row) for row in range(4)] == [
        "line 2 of a.csv",
        "line 4 of a.csv",
        "line 2 of b.csv",
        "line 3 of b.csv",
    ]
    other = tmp_path / "other"
    other.mkdir()
    for name in "ab":
        as_parquet(other / name, pd.DataFrame({"a": [1, 2]}))
    raw = read_raw(other)
    assert [raw.where(row) for row in (1, 2)] == [
        "row 1 (from 0) of a.parquet",
        "row 0 (from 0) of b.parquet",
    ]


@pytest.mark.parametrize("ending", [".tsv", ".TAB", ".tsv.gz", ".csv.gz", ".CSV.GZ"])
def test_a_table_has_other_endings_and_may_be_packed(tmp_path, ending):
    text = "a\tb\tkind\n1\t2,5\tx\n\n−3\t4\tx\n".encode()
    path = tmp_path / f"mine.of.1{ending}"
    path.write_bytes(gzip.compress(text) if ending.lower().endswith("gz") else text)
    raw = read_raw(path, labels="kind")
    assert raw.images[:, 0, 0].tolist() == [[1, 2.5], [-3, 4]]
    assert raw.where(1) == "line 4"
    path.write_bytes(gzip.compress(text[:-1]) if ending.lower().endswith("gz") else text[:-1])
    with pytest.raises(UserError, match=r"kind: got 'x' in line 2; must be a number in each row"):
        read_raw(path)


def test_a_folder_of_packed_tables_is_one_table(tmp_path):
    (tmp_path / "parts").mkdir()
    for number in range(3):
        text = f"a,b\n{number},0.5\n"
        (tmp_path / "parts" / f"{number}.csv.gz").write_bytes(gzip.compress(text.encode()))
    raw = read_raw(tmp_path / "parts")
    assert raw.images[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert raw.files == [(f"{number}.csv.gz", 1) for number in range(3)]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\n", "Not a gzipped file"),
        (gzip.compress(b"a,b\n" + b"1.5,2\n" * 9000)[:-30], "a .csv file with a line of names"),
        (gzip.compress(b"a,b\n1,\xff\n"), r"a byte that is not UTF-8 in line 2"),
    ],
    ids=["plain", "short", "latin"],
)
def test_a_packed_table_that_is_none_is_refused(tmp_path, content, words):
    (tmp_path / "mine.csv.gz").write_bytes(content)
    with pytest.raises(UserError, match=words):
        read_raw(tmp_path / "mine.csv.gz")


# ---- what a point, a first line and a minus mean ----


@pytest.mark.parametrize("mark", [";", "\t"])
@pytest.mark.parametrize(
    "cells",
    [
        ["1.250", "987", "12.034"],
        ["987", "-1.250", "0"],
        ["1.250", "283,29", "17,5"],
    ],
)
def test_a_point_that_may_separate_thousands_is_asked_about(tmp_path, mark, cells):
    rows = [f"{cell}{mark}{row}" for row, cell in enumerate(cells * 3)]
    (tmp_path / "t.csv").write_text("\n".join([f"a{mark}b", *rows]))
    with pytest.raises(UserError, match="clear what the point is") as caught:
        read_raw(tmp_path / "t.csv")
    codes = re.findall(r"pandas\.read_csv\('t\.csv'.*?index=False\)", caught.value.problem)
    plain = [float(cell.replace(",", ".")) for cell in cells * 3]
    thousands = [float(cell.replace(".", "").replace(",", ".")) for cell in cells * 3]
    # A decimal comma beside a decimal point has no second reading.
    readings = [thousands] if "283,29" in cells else [thousands, plain]
    assert len(codes) == 2
    for number, (code, expected) in enumerate(zip(codes, readings, strict=False)):
        code = code.replace("'t.csv'", f"'{tmp_path / 't.csv'}'")
        code = code.replace("NEW.csv", f"{tmp_path}/new{number}.csv")
        eval(code, {"pandas": pd})
        raw = read_raw(tmp_path / f"new{number}.csv")
        np.testing.assert_allclose(raw.images[:, 0, 0, 0], expected)


@pytest.mark.parametrize(
    ("cells", "mark"),
    [
        (["1.250", "3.141", "17.002"], ";"),
        (["1.250", "987.5", "3"], ";"),
        (["1.250", "0.987", "3"], "\t"),
        (["1.250", "1250", "3"], ";"),
        (["1.250", "987", "3"], ","),
        (["1,250", "283,29", "3"], ";"),
    ],
)
def test_a_point_that_is_clear_is_not_asked_about(tmp_path, cells, mark):
    rows = [f"{cell}{mark}{row}" for row, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("\n".join([f"a{mark}b", *rows]))
    raw = read_raw(tmp_path / "t.csv")
    np.testing.assert_array_equal(
        raw.images[:, 0, 0, 0], [float(cell.replace(",", ".")) for cell in cells]
    )


def spectra(names: list, rows: np.ndarray, path: Path) -> Path:
    lines = [",".join(map(str, names)), *(",".join(map(str, row)) for row in rows.tolist())]
    path.write_text("\n".join(lines))
    return path


RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("names", "rows", "note"),
    [
        ([*range(400, 1001, 50)], RANDOM.normal(size=(20, 13)), "Names: 400 … 1,000"),
        ([*range(1000, 399, -50)], RANDOM.normal(size=(20, 13)), "Names: 1,000 … 400"),
        # Irregular, and outside the range of the rows.
        (
            [400.5, 401, 410, 420, 500, 600, 700, 801, 900, 999],
            RANDOM.random((20, 10)),
            "Names: 40",
        ),
        # Within the range of the rows, and regular.
        ([*range(10, 130, 10)], RANDOM.integers(0, 5000, (20, 12)), "Names: 10 … 120"),
    ],
)
def test_a_first_line_of_wavelengths_is_names(tmp_path, names, rows, note):
    raw = read_raw(spectra(names, rows, tmp_path / "t.csv"))
    np.testing.assert_array_equal(raw.images[:, 0, 0], rows)
    assert raw.features == tuple(map(str, names))
    assert any(each.startswith(note) for each in raw.notes)


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        # Fewer than ten.
        ([400, 500, 600, 700], RANDOM.random((20, 4))),
        # The second line rises, too.
        ([*range(400, 1001, 50)], np.sort(RANDOM.random((20, 13)))),
        # A row among others.
        (np.sort(RANDOM.normal(size=12)).round(3).tolist(), RANDOM.normal(size=(20, 12))),
        (RANDOM.normal(size=12).round(3).tolist(), RANDOM.normal(size=(20, 12))),
    ],
)
def test_other_numbers_in_the_first_line_are_refused(tmp_path, names, rows):
    with pytest.raises(UserError, match=r"got the numbers .* in the first line") as caught:
        read_raw(spectra(names, rows, tmp_path / "t.csv"))
    assert "before" not in caught.value.problem


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_minus_of_typography_is_a_minus(tmp_path, mark):
    lines = [mark.join(("a", "b", "kind", "age"))]
    lines += [mark.join(("−1.5", f"{row}", "−2", "−3")) for row in range(20)]
    lines += [mark.join(('"−2e3"', " −4", "2", "5")) for _ in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    raw = read_raw(tmp_path / "t.csv", labels="kind", factors="age")
    numbers = [[-1.5, row] for row in range(20)] + [[-2000, -4]] * 20
    np.testing.assert_array_equal(raw.images[:, 0, 0], numbers)
    np.testing.assert_array_equal(raw.factors[:, 0], [-3] * 20 + [5] * 20)
    assert raw.classes == ("-2", "2")
    assert raw.changed == ("− is a minus",)


def test_a_dash_within_a_text_stays(tmp_path):
    text = "a,kind\n" + "".join(f"{row},IL−{row % 2}\n" for row in range(20))
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert read_raw(tmp_path / "t.csv", labels="kind").classes == ("IL−0", "IL−1")


@pytest.mark.parametrize("mark", [",", ";"])
def test_a_first_line_of_many_letters_is_read(tmp_path, mark):
    names = [f"ENSG{number:015d}" for number in range(20_000)]
    rows = RANDOM.integers(0, 9, (3, 20_000)) / 2
    lines = [mark.join(names), *(mark.join(map(str, row)) for row in rows.tolist())]
    text = "\n".join(lines)
    (tmp_path / "t.csv").write_text(text.replace(".", ",") if mark == ";" else text)
    assert len(lines[0]) > 2**18
    raw = read_raw(tmp_path / "t.csv")
    np.testing.assert_array_equal(raw.images[:, 0, 0], rows)
    assert raw.where(1) == "line 3"


def test_a_row_of_units_is_taken_away_and_no_column_dropped(tmp_path):
    lines = ["a,b,c", "kg,cm,s", *(f"{row},{2 * row},{row % 7}" for row in range(40))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"got .kg. in line 2.*this row is no example") as caught:
        read_raw(tmp_path / "t.csv")
    assert "drop" not in caught.value.problem
    (tmp_path / "t.csv").write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    assert read_raw(tmp_path / "t.csv").images.shape == (40, 1, 1, 3)


@pytest.mark.parametrize("cell", ["n/a", "Null", " ", "na"])
def test_one_cell_that_says_nothing_is_no_class(tmp_path, cell):
    lines = ["a,b", *(f"{row},{cell if row == 9 else row}" for row in range(40))]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(UserError, match=r"in line 11.*stands for a missing value"):
        read_raw(tmp_path / "t.csv")
