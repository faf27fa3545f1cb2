"""Which row is where: files in time, groups spelt in two ways, indexes, names, and what is doubted
of them.
"""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
import yaml
from image_files import write_image
from pyarrow import parquet
from raw_images import read_raw

from sweeps import UserError
from vaeexp.data import Dataset, open_dataset
from vaeexp.data.doubts import doubts, gather
from vaeexp.data.formats import TRAINING, RawImages, natural
from vaeexp.settings import DataSettings

DAYS = 12
ROWS = 10


def opened(path: Path, **settings) -> Dataset:
    chosen = {"dataset": "arrays", "binarisation": "none", "scale": "none"} | settings
    return open_dataset(DataSettings(**chosen), root=path, say=lambda text: None)


# ---- order of files ----


def of_day(day: int) -> np.ndarray:
    """Rows [n, 2] that say their day."""
    noise = np.random.default_rng(day).random(ROWS)
    return np.column_stack([np.full(ROWS, float(day)), noise])


def write_csv(path: Path, day: int) -> None:
    pd.DataFrame(of_day(day), columns=["day", "noise"]).to_csv(f"{path}.csv", index=False)


def write_parquet(path: Path, day: int) -> None:
    pd.DataFrame(of_day(day), columns=["day", "noise"]).to_parquet(f"{path}.parquet")


def write_npy(path: Path, day: int) -> None:
    """A batch: files differ in their rows."""
    np.save(f"{path}.npy", of_day(day)[int(day == 1) :])


def write_days(folder: Path, write: Callable[[Path, int], None], name: str = "day_{}") -> Path:
    folder.mkdir()
    for day in range(1, DAYS + 1):
        write(folder / name.format(day), day)
    return folder


def days_of(data: Dataset) -> list[list[int]]:
    splits = (data.train, data.validation, data.test)
    return [sorted({*np.rint(split.images[:, 0, 0, 0]).astype(int).tolist()}) for split in splits]


each_table = pytest.mark.parametrize("write", [write_csv, write_parquet, write_npy])


@each_table
@pytest.mark.parametrize("name", ["day_{}", "run{}_b", "2024-1-{}"])
def test_files_are_in_the_order_of_their_numbers_where_it_is_that_in_time(tmp_path, write, name):
    data = opened(write_days(tmp_path / "days", write, name), split="time")
    assert days_of(data) == [[*range(1, 11)], [10, 11], [11, 12]]
    first, tenth, eleventh, last = (name.format(day) for day in (1, 10, 11, 12))
    ending = next((tmp_path / "days").iterdir()).suffix
    said = f"train from {first}{ending} to {tenth}{ending}, validation from {tenth}{ending} to "
    assert f"In time: {said}{eleventh}{ending}, test from {eleventh}{ending} to {last}{ending}" in (
        data.notes
    )
    assert ["day_2 before day_10" in words for words in data.changed] == [True]


@each_table
def test_elsewhere_files_are_read_in_the_order_of_text(tmp_path, write):
    folder = write_days(tmp_path / "days", write)
    raw = read_raw(folder)
    assert list(dict.fromkeys(raw.images[:, 0, 0, 0])) == [1, 10, 11, 12, *range(2, 10)]
    assert opened(folder).changed == ()


@each_table
def test_names_of_equal_length_change_nothing(tmp_path, write):
    data = opened(write_days(tmp_path / "days", write, "day_{:02d}"), split="time")
    assert data.changed == ()
    assert days_of(data)[2] == [11, 12]


def test_frames_are_in_the_order_of_their_numbers(tmp_path):
    for frame in range(1, 31):
        pixels = np.random.default_rng(frame).integers(0, 256, (6, 5), np.uint8)
        pixels[0, 0] = frame
        write_image(tmp_path / "film" / f"frame{frame}.png", pixels)
    data = opened(tmp_path / "film", dataset="folder", scale="unit", split="time")
    shown = [sorted(split.images[:, 0, 0, 0]) for split in (data.train, data.validation, data.test)]
    assert shown == [[*range(1, 25)], [25, 26, 27], [28, 29, 30]]
    said = "In time: train from frame1.png to frame24.png, validation from frame25.png to "
    assert f"{said}frame27.png, test from frame28.png to frame30.png" in data.notes


@pytest.mark.parametrize(
    "names",
    [
        ["day_1", "day_2", "day_10"],
        ["t0.25", "t0.5", "t0.75", "t10.5"],
        ["a-1", "a1", "a10"],
        ["1.2.9", "1.2.10", "1.10.1"],
        ["frame_099.tif", "frame_100.tif"],
        ["x/9/b", "x/10/a"],
    ],
)
def test_the_natural_order_is_that_of_numbers(names):
    assert sorted({*names}, key=natural) == names


@pytest.mark.parametrize("write", [pd.DataFrame.to_csv, pd.DataFrame.to_parquet])
def test_the_plan_says_from_when_to_when_each_split_is(tmp_path, write):
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(40)[::-1], "D")
    table = pd.DataFrame({"a": np.random.default_rng(0).random(40), "day": days})
    path = tmp_path / f"mine.{write.__name__.removeprefix('to_')}"
    write(table, path, index=False)
    said = "train from 2024-01-01 to 2024-02-01, validation from 2024-02-02 to 2024-02-05"
    data = opened(path, split="time", split_by="day")
    assert f"In time: {said}, test from 2024-02-06 to 2024-02-09" in data.notes
    table.drop(columns="day").to_csv(tmp_path / "rows.csv", index=False)
    said = "In time: train from row 0 (from 0) to row 31 (from 0), validation from row 32"
    assert any(said in note for note in opened(tmp_path / "rows.csv", split="time").notes)


@pytest.mark.parametrize("write", [pd.DataFrame.to_csv, pd.DataFrame.to_parquet])
def test_dates_that_look_like_numbers_are_refused_in_files(tmp_path, write):
    days = pd.Timestamp("2022-10-20") + pd.to_timedelta(np.arange(40), "D")
    path = tmp_path / f"mine.{write.__name__.removeprefix('to_')}"
    for form in ("%d%m%Y", "%m%d%y", "%d.%m"):
        table = pd.DataFrame({"a": np.random.default_rng(0).random(40), "day": days.strftime(form)})
        write(table, path, index=False)
        with pytest.raises(UserError, match="begins with the day or the month"):
            opened(path, split="time", split_by="day")


# ---- groups ----


def patients(spell: Callable[[int, int], str]) -> pd.DataFrame:
    """Rows of sixty patients, whose names are spelt by their number and that of the visit."""
    number = np.repeat(np.arange(60), 5)
    names = [spell(patient, visit) for patient, visit in zip(number, np.arange(300), strict=True)]
    numbers = np.random.default_rng(0).random((300, 2))
    return pd.DataFrame(numbers, columns=["a", "b"]).assign(patient=names, number=number)


def splits_of_patients(data: Dataset) -> list[int]:
    """In how many splits each patient is."""
    splits = (data.train, data.validation, data.test)
    found = [{*split.factors[:, 0].tolist()} for split in splits]
    return [sum(patient in own for own in found) for patient in range(60)]


FORMS = ("NFC", "NFD")
SPELT = {
    "a space at the end": lambda patient, visit: f"P{patient:02d}" + " " * (visit % 2),
    "two spaces": lambda patient, visit: f"P{' ' * (1 + visit % 2)}{patient:02d}",
    "a no-break space": lambda patient, visit: "P" + " \u00a0"[visit % 2] + str(patient),
    "no width": lambda patient, visit: "\u200b" * (visit % 2) + f"P{patient:02d}",
    "two forms": lambda patient, visit: unicodedata.normalize(FORMS[visit % 2], f"Zoë {patient}"),
    "full width": lambda patient, visit: f"{'PＰ'[visit % 2]}{patient:02d}",
}


@pytest.mark.parametrize("spell", SPELT.values(), ids=SPELT)
@pytest.mark.parametrize("write", [pd.DataFrame.to_csv, pd.DataFrame.to_parquet])
def test_spellings_of_one_group_lie_in_one_split(tmp_path, spell, write):
    path = tmp_path / f"mine.{write.__name__.removeprefix('to_')}"
    write(patients(spell), path, index=False)
    data = opened(path, split_by="patient", factors="number")
    assert {*splits_of_patients(data)} == {1}
    assert "Split: 60 groups by patient, each in one split" in data.notes
    assert ["spaces or forms of Unicode alone" in words for words in data.changed] == [True]


@pytest.mark.parametrize("spell", [lambda p, v: f"P{p:02d}", lambda p, v: f" Zoë  {p} "])
def test_groups_spelt_in_one_way_are_drawn_as_ever(tmp_path, spell):
    patients(spell).to_csv(tmp_path / "mine.csv", index=False)
    data = opened(tmp_path / "mine.csv", split_by="patient", factors="number")
    assert (data.changed, data.warnings) == ((), ())
    plain = patients(lambda p, v: spell(p, v).encode("unicode_escape").decode())
    plain.to_csv(tmp_path / "other.csv", index=False)
    other = opened(tmp_path / "other.csv", split_by="patient", factors="number")
    same = data.test.factors.tolist() == other.test.factors.tolist()
    assert same == (spell(0, 0) == "P00"), "groups are drawn by the name that the file has"


def test_spellings_in_names_of_image_files_are_one_group(tmp_path):
    for patient in range(12):
        for visit in range(4):
            name = unicodedata.normalize(FORMS[visit % 2], f"zoë{patient}")
            pixels = np.random.default_rng(4 * patient + visit).integers(0, 256, (6, 5), np.uint8)
            write_image(tmp_path / "mine" / f"{name}_{visit}.png", pixels)
    settings = {"dataset": "folder", "scale": "unit", "split_by": r"(zo.*?)_"}
    data = opened(tmp_path / "mine", **settings)
    assert f"Split: 12 groups by {settings['split_by']}, each in one split" in data.notes


def test_case_and_zeros_in_names_of_image_files_are_doubted(tmp_path):
    for patient in range(12):
        for visit in range(4):
            name = (f"P{patient:02d}", f"p{patient}")[visit % 2]
            pixels = np.random.default_rng(4 * patient + visit).integers(0, 256, (6, 5), np.uint8)
            write_image(tmp_path / "mine" / f"{name}_{visit}.png", pixels)
    data = opened(tmp_path / "mine", dataset="folder", scale="unit", split_by=r"([Pp]\d+)_")
    assert data.warnings[0].startswith("12 pairs of groups differ in case or leading zeros alone")


# ---- doubts ----


def said_of(raw: RawImages, **settings) -> list[str]:
    rows = {TRAINING: np.arange(len(raw.images))}
    return doubts(gather(raw, rows, DataSettings(binarisation="none", **settings)))


def table_of(numbers: np.ndarray, **facts) -> RawImages:
    count = len(numbers)
    raw = RawImages(numbers[:, None, None], np.zeros(count, np.uint8), np.zeros(count, np.uint8))
    return raw._replace(**facts)


def beside(column: np.ndarray) -> RawImages:
    """A table whose first column is this, beside measurements."""
    numbers = np.random.default_rng(0).normal(size=(len(column), 3))
    return table_of(np.column_stack([column, numbers]))


RANDOM = np.random.default_rng(1)
COUNTING = {
    "from 0": np.arange(200),
    "from 1": np.arange(1, 201),
    "samples": np.arange(1001, 1201),
    "shuffled": RANDOM.permutation(200),
    "filtered": np.flatnonzero(RANDOM.random(300) < 0.7),
    "filtered and shuffled": RANDOM.permutation(np.flatnonzero(RANDOM.random(300) < 0.7)),
    "few rows": np.arange(16),
    "many rows": RANDOM.permutation(5_000),
}
MEASURED = {
    "milliseconds": 5_000 + RANDOM.integers(90, 110, 200).cumsum(),
    "ticks of 40": np.arange(0, 8_000, 40),
    "every other": np.arange(0, 400, 2),
    "ages": RANDOM.integers(18, 91, 200),
    "few ages": np.array([44, 31, 70, 25, 38, 52, 61, 47, 33, 58, 29, 66, 40, 55, 36, 49]),
    "sixteen bits": RANDOM.choice(65_536, 200, replace=False),
    "reals": np.arange(200) + 0.5,
    "descending": np.arange(200)[::-1] * 10,
}


@pytest.mark.parametrize("column", COUNTING.values(), ids=COUNTING)
def test_a_column_that_counts_is_doubted_by_name(column):
    [words] = said_of(beside(column))
    assert words.startswith("column 0 counts the rows, and is modelled as a feature. Leave it out")
    named = beside(column)._replace(features=("Unnamed: 0", "a", "b", "c"))
    [words] = said_of(named)
    assert words.startswith("Unnamed: 0 counts the rows")
    assert words.endswith("""Try --set drop='["Unnamed: 0"]'""")


@pytest.mark.parametrize("column", MEASURED.values(), ids=MEASURED)
def test_a_column_that_does_not_count_is_not_doubted(column):
    assert said_of(beside(column)) == []


def test_ranks_are_no_numbers_of_rows():
    ranks = np.column_stack([RANDOM.permutation(200) for _ in range(6)])
    assert said_of(table_of(ranks)) == []


TIMES = {
    "a counter of each recording": np.tile(np.arange(40), 5),
    "hours": np.tile(np.arange(24), 9),
    "text": np.tile(np.arange(40), 5).astype(str),
    "seconds of a day": np.concatenate([np.sort(RANDOM.random(50)) * 86_400 for _ in range(4)]),
}
IN_ORDER = {
    "rising": np.arange(200),
    "descending": np.arange(200)[::-1],
    "shuffled": RANDOM.permutation(200),
    "days of visits": np.concatenate(
        [100 * k + np.arange(RANDOM.integers(3, 9)) * 30 for k in range(60)]
    ),
    "numbers of visits": np.tile(np.arange(6), 40),
    "milliseconds": 5_000 + RANDOM.integers(90, 110, 200).cumsum(),
    "dates": np.tile([f"2024-01-{day:02d}" for day in range(1, 32)], 5),
    "two halves": np.tile(np.arange(100), 2),
    "one time": np.zeros(200),
}


@pytest.mark.parametrize("times", TIMES.values(), ids=TIMES)
def test_restarting_times_are_doubted(times):
    raw = table_of(np.random.default_rng(0).random((len(times), 3)), groups=times)
    [words] = said_of(raw, split="time", split_by="t")
    assert "the times rise through most of their range" in words
    assert said_of(raw, split_by="t") == []


@pytest.mark.parametrize("times", IN_ORDER.values(), ids=IN_ORDER)
def test_times_in_order_are_not_doubted(times):
    raw = table_of(np.random.default_rng(0).random((len(times), 3)), groups=times)
    assert said_of(raw, split="time", split_by="t") == []


@pytest.mark.parametrize(
    ("names", "count", "shown"),
    [
        (["P07", "p07", "P08", "p08", "P09"], "2 pairs", "'P07' and 'p07'"),
        (["0007", "7", "8"], "1 pair", "'0007' and '7'"),
        (["slide 01", "slide 1", "Slide 1"], "3 pairs", "'Slide 1' and 'slide 01'"),
        (["Straße", "STRASSE"], "1 pair", "'STRASSE' and 'Straße'"),
    ],
)
def test_spelt_groups_are_doubted(names, count, shown):
    raw = table_of(np.random.default_rng(0).random((60, 3)), groups=np.resize(names, 60))
    [words] = said_of(raw, split_by="patient")
    assert words.startswith(f"{count} of groups differ in case or leading zeros alone, as {shown};")


@pytest.mark.parametrize(
    "names", [["P07", "P70", "Q07"], ["1.01", "1.1", "1.10"], ["100", "10", "1"], [7, 70, 700]]
)
def test_other_groups_are_not_doubted(names):
    raw = table_of(np.random.default_rng(0).random((60, 3)), groups=np.resize(names, 60))
    assert said_of(raw, split_by="patient") == []


IDS = [f"s{row}" for row in range(40)]


@pytest.mark.parametrize(
    ("column", "ids"),
    [
        ("gene", IDS),
        ("gene_id", IDS),
        ("GeneSymbol", IDS),
        ("Probe Set ID", IDS),
        ("feature", IDS),
        ("transcripts", IDS),
        ("id", [f"ENSMUSG{row:011d}.2" for row in range(40)]),
        ("id", [f"{1007 + row}_s_at" for row in range(40)]),
        ("id", [f"ENST{row:011d}" for row in range(40)]),
    ],
)
def test_rows_of_genes_are_doubted(column, ids):
    numbers = np.random.default_rng(0).random((40, 3))
    raw = table_of(numbers, named_by=column, names=np.array(ids))
    [words] = said_of(raw)
    assert words.startswith(f"the rows are named by {column}, so each gene or feature is an ex")
    assert said_of(replace_name(raw)) == []


def replace_name(raw: RawImages) -> RawImages:
    """The same where a setting names the column."""
    return raw._replace(named_by="")


@pytest.mark.parametrize(
    "column", ["sample", "general", "gender", "patient_id", "barcode", "engine"]
)
def test_a_table_whose_rows_are_samples_is_not_doubted(column):
    numbers = np.random.default_rng(0).random((40, 3))
    raw = table_of(numbers, named_by=column, names=np.array(IDS))
    assert said_of(raw) == []


def test_an_index_that_was_saved_as_a_column_is_doubted_from_the_file(tmp_path):
    table = named_table()
    table[table["a"] > 0.2].to_csv(tmp_path / "saved.csv")
    pd.read_csv(tmp_path / "saved.csv").to_csv(tmp_path / "mine.csv", index=False)
    data = opened(tmp_path / "mine.csv")
    assert [words.partition(" counts")[0] for words in data.warnings] == ["Unnamed: 0"]
    [remedy] = [words.partition("--set drop=")[2] for words in data.warnings]
    assert opened(tmp_path / "mine.csv", drop=yaml.safe_load(remedy.strip("'"))).warnings == ()


# ---- the index of pandas ----

INDEXED = {
    "named": lambda table: table.set_index("sample"),
    "two levels": lambda table: table.set_index(["sample", "visit"]),
    "no name": lambda table: table.set_index("sample").rename_axis(None),
    "shuffled": lambda table: table.set_index("sample").sample(frac=1, random_state=0),
}


@pytest.mark.parametrize("index", INDEXED.values(), ids=INDEXED)
def test_an_index_of_pandas_is_no_feature_but_may_have_a_role(tmp_path, index):
    count = 80
    table = pd.DataFrame(np.random.default_rng(0).random((count, 2)), columns=["a", "b"])
    table = index(table.assign(sample=np.arange(count) // 2, visit=np.arange(count) % 2))
    table = table[["a", "b"]]
    table.to_parquet(tmp_path / "mine.parquet")
    data = opened(tmp_path / "mine.parquet")
    assert data.features == ("a", "b")
    named = "sample" in table.index.names
    assert [words.startswith("the index of pandas (sample") for words in data.changed] == [
        True
    ] * named
    name = "sample" if named else "__index_level_0__"
    grouped = opened(tmp_path / "mine.parquet", split_by=name)
    assert "Split: 40 groups" in " ".join(grouped.notes)


def test_a_table_of_another_program_has_no_index(tmp_path):
    numbers = np.random.default_rng(0).random(40)
    table = pyarrow.table({"sample": np.arange(40), "a": numbers})
    for metadata in (None, {b"pandas": b"{}"}, {b"pandas": b"no JSON"}):
        parquet.write_table(table.replace_schema_metadata(metadata), tmp_path / "mine.parquet")
        assert opened(tmp_path / "mine.parquet").features == ("sample", "a")


# ---- names ----


def named_table(**columns) -> pd.DataFrame:
    numbers = np.random.default_rng(0).random((40, 2))
    return pd.DataFrame(numbers, columns=["a", "b"]).assign(**columns)


SITES = np.resize(["x", "y"], 40)


@pytest.mark.parametrize("write", [pd.DataFrame.to_csv, pd.DataFrame.to_parquet])
@pytest.mark.parametrize(
    "settings", [{}, {"names": "sample"}, {"names": "sample", "labels": "site"}]
)
def test_a_text_that_differs_in_each_row_names_the_rows(tmp_path, write, settings):
    table = named_table(site=SITES, sample=IDS, code=[f"c{row}" for row in range(40)])
    path = tmp_path / f"mine.{write.__name__.removeprefix('to_')}"
    write(table, path, index=False)
    dropped = [name for name in ("site", "code") if name not in settings.values()]
    raw = read_raw(path, drop=dropped, **settings)
    assert raw.names.tolist() == IDS
    assert raw.features == ("a", "b")
    assert raw.named_by == ("" if settings else "sample")
    assert "Names: column sample" in raw.notes
    assert opened(path, drop=dropped, **settings).features == ("a", "b")


def test_the_index_of_pandas_may_name_the_rows(tmp_path):
    named_table(sample=IDS).set_index("sample").to_parquet(tmp_path / "mine.parquet")
    raw = read_raw(tmp_path / "mine.parquet")
    assert (raw.names.tolist(), raw.features) == (IDS, ("a", "b"))


@pytest.mark.parametrize(
    "cells",
    [
        ["-", *map(str, np.arange(39) + 0.5)],
        [f"{row},5" for row in range(40)],
        [f"{row} %" for row in range(40)],
        [*IDS[:-1], ""],
        [*IDS[:-1], IDS[0]],
    ],
)
def test_numbers_that_are_misspelt_name_no_rows(tmp_path, cells):
    named_table(c=cells).to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(UserError, match=r"must be a (number|value) in each row"):
        read_raw(tmp_path / "mine.csv")


def test_a_first_line_that_is_a_row_gives_no_names(tmp_path):
    rows = [f"P{row},{row / 7:.3f},{1 + row / 3:.3f}\n" for row in range(40)]
    (tmp_path / "mine.csv").write_text("".join(rows))
    with pytest.raises(UserError, match="got 'P1' in line 2; must be a number in each row"):
        read_raw(tmp_path / "mine.csv")


@pytest.mark.parametrize("write", [pd.DataFrame.to_csv, pd.DataFrame.to_parquet])
def test_all_text_columns_are_named_at_once(tmp_path, write):
    path = tmp_path / f"mine.{write.__name__.removeprefix('to_')}"
    write(named_table(site=SITES, sex=SITES, kind=SITES), path, index=False)
    with pytest.raises(UserError) as caught:
        read_raw(path)
    assert caught.value.place == f"{path}: site"
    assert "Nor are there numbers in sex, kind." in caught.value.problem
    assert caught.value.problem.endswith("""drop='["site", "sex", "kind"]'""")


def test_settings_of_columns_that_are_not_there_are_refused(tmp_path):
    named_table().to_csv(tmp_path / "mine.csv", index=False)
    for role in ("names", "drop"):
        with pytest.raises(UserError, match=r"got 'c'; must be a column of mine\.csv: a, b"):
            read_raw(tmp_path / "mine.csv", **{role: "c"})


@pytest.mark.parametrize("split", [{"split_by": "group"}, {"split": "time", "split_by": "time"}])
def test_rows_of_validation_groups_that_are_not_used_are_counted(tmp_path, split):
    table = pd.DataFrame(
        {"group": np.arange(200) // 30, "time": np.arange(200) // 30, "x": np.random.rand(200)}
    )
    table = table.drop(columns={"group", "time"} - {*split.values()})
    table.to_csv(tmp_path / "t.csv", index=False)
    dataset = opened(tmp_path / "t.csv", validation_size=5, **split)
    train, validation, test = dataset.sizes
    assert validation == 5
    unused = 200 - train - validation - test
    assert unused > 0
    said = f"Left out: {unused} of {unused + 5} validation images; data.validation_size is 5"
    assert said in dataset.notes
    every = opened(tmp_path / "t.csv", validation_size=30, **split)
    assert sum(every.sizes) == 200
    assert not any("Left out" in note for note in every.notes)
