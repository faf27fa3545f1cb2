"""Rows with missing values: `missing` leaves them out before the split, and all that belongs to a
row stays with it.
"""

import json
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
from trained_runs import trained_run

from sweeps import UserError
from vaeexp.data import Dataset, describe_plan, open_dataset
from vaeexp.runs.run import open_run
from vaeexp.settings import DataSettings

COUNT = 80


def opened(path: Path, **changes) -> Dataset:
    kind = "folder" if path.is_dir() and any(path.rglob("*.tif")) else "arrays"
    plain = {"dataset": kind, "binarisation": "none", "scale": "standard"}
    return open_dataset(DataSettings(**plain | changes), root=path, say=lambda text: None)


def numbers(shape: tuple[int, ...] = (5,), seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(COUNT, *shape)).astype(np.float32)


def rows_with(array: np.ndarray, value: float, seed: int = 1) -> tuple[np.ndarray, list[int]]:
    """The array with this value in some rows, and the rows."""
    draw = np.random.default_rng(seed)
    spoiled = array.copy()
    rows = np.sort(draw.choice(COUNT, 9, replace=False))
    for row in rows:
        flat = spoiled[row].reshape(-1)
        flat[draw.integers(flat.size)] = value
    return spoiled, rows.tolist()


def in_file_units(data: Dataset) -> dict[bytes, int]:
    """Row of every split, as rounded bytes → its label."""
    found = {}
    for split in (data.train, data.validation, data.test):
        given = data.scaling.numbers(np.asarray(split.images)).round(3) + 0.0
        for image, label in zip(given.reshape(len(given), -1), split.labels, strict=True):
            found[image.tobytes()] = int(label)
    return found


def as_npy(path: Path, array: np.ndarray) -> Path:
    np.save(path / "mine.npy", array)
    return path / "mine.npy"


def as_npz(path: Path, array: np.ndarray) -> Path:
    np.savez(path / "mine.npz", images=array)
    return path / "mine.npz"


def as_hdf5(path: Path, array: np.ndarray) -> Path:
    with h5py.File(path / "mine.h5", "w") as file:
        file["images"] = array
    return path / "mine.h5"


def as_csv(path: Path, array: np.ndarray) -> Path:
    names = [f"c{place}" for place in range(array.shape[1])]
    pd.DataFrame(array, columns=names).to_csv(path / "mine.csv", index=False)
    return path / "mine.csv"


def as_parquet(path: Path, array: np.ndarray) -> Path:
    names = [f"c{place}" for place in range(array.shape[1])]
    table = pd.DataFrame(array, columns=names)
    table.to_parquet(path / "mine.parquet")
    return path / "mine.parquet"


def as_tiffs(path: Path, array: np.ndarray) -> Path:
    (path / "mine").mkdir()
    for row, image in enumerate(array.reshape(len(array), 1, -1)):
        tifffile.imwrite(path / "mine" / f"{row:03}.tif", image)
    return path / "mine"


WRITERS = [as_npy, as_npz, as_hdf5, as_csv, as_parquet, as_tiffs]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(
    ("value", "missing", "words"),
    [
        (np.nan, "drop", "(NaN)"),
        (-9999.0, (-9999,), "(NaN or −9,999)"),
        (-99.9, (-200, -99.9), "(NaN or −200 or −99.9)"),
    ],
)
def test_rows_with_missing_values_are_left_out_and_counted(tmp_path, write, value, missing, words):
    array, rows = rows_with(numbers(), value)
    kept = np.delete(array, rows, axis=0)
    data = opened(write(tmp_path, array), missing=missing)
    assert sum(data.sizes) == COUNT - len(rows)
    assert f"Left out: 9 of 80 rows with missing values {words}" in describe_plan(data)
    (tmp_path / "kept").mkdir()
    alone = opened(write(tmp_path / "kept", kept))
    assert data.fingerprint == alone.fingerprint


@pytest.mark.parametrize("write", [as_npy, as_npz, as_hdf5, as_csv])
def test_rows_that_are_left_have_their_place_in_the_file_as_name(tmp_path, write):
    array, rows = rows_with(numbers(), np.nan)
    path = write(tmp_path, array)
    data = opened(path, missing="drop")
    names = list[str]()
    for split in (data.train, data.validation, data.test):
        names += split.names.of(np.arange(len(split)))
    left = sorted({*range(COUNT)}.difference(rows))
    assert sorted(names) == sorted(f"{path.name}[{row}]" for row in left)


def test_other_studies_keep_their_arrays_and_fingerprint(tmp_path):
    path = as_npy(tmp_path, numbers())
    plain = opened(path)
    dropped = opened(path, missing="drop")
    assert dropped.fingerprint == plain.fingerprint
    assert dropped.folder != plain.folder
    assert "missing" not in plain.folder.name
    assert opened(path, missing=(-9999,)).folder not in (plain.folder, dropped.folder)


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_labels_groups_and_factors_stay_with_their_row(tmp_path, ending):
    array, rows = rows_with(numbers().astype(np.float64).round(3), np.nan)
    table = pd.DataFrame(array, columns=[f"c{place}" for place in range(5)])
    table["kind"] = np.arange(COUNT) % 3
    table["group"] = [f"g{row // 4}" for row in range(COUNT)]
    table["row"] = np.arange(COUNT, dtype=float)
    path = tmp_path / f"mine.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path)
    roles = {"labels": "kind", "split_by": "group", "factors": "row"}
    data = opened(path, missing="drop", **roles)
    seen = dict[str, set[int]]()
    for name in ("train", "validation", "test"):
        split = getattr(data, name)
        given = data.scaling.numbers(np.asarray(split.images))[:, 0, 0]
        places = split.factors[:, 0].astype(int)
        assert not set(places.tolist()) & set(rows)
        assert np.allclose(given, array[places], atol=1e-5)
        assert [data.classes[label] for label in split.labels] == [str(row % 3) for row in places]
        seen[name] = set((places // 4).tolist())
    assert not seen["train"] & (seen["validation"] | seen["test"])


def test_a_number_in_a_later_row_is_named_by_its_place_in_the_file(tmp_path):
    array = numbers().astype(np.float64)
    array[3, 1] = np.nan
    array[20, 2] = np.inf
    with pytest.raises(UserError, match=r"line 22, column 'c2'"):
        opened(as_csv(tmp_path, array), missing="drop")


@pytest.mark.parametrize("write", [as_npy, as_csv, as_parquet])
def test_the_error_names_the_setting(tmp_path, write):
    array, _ = rows_with(numbers(), np.nan)
    with pytest.raises(UserError, match="--set missing=drop"):
        opened(write(tmp_path, array))


def test_tables_of_whole_numbers_and_booleans_may_have_gaps(tmp_path):
    table = pd.DataFrame({"a": np.arange(COUNT) % 7, "b": np.arange(COUNT) % 5})
    table["c"] = np.arange(COUNT) % 2 == 0
    table = table.astype({"a": "Int64", "c": "boolean"})
    table.loc[[2, 50], "a"] = pd.NA
    table.loc[[7], "c"] = pd.NA
    table.to_csv(tmp_path / "mine.csv", index=False)
    table.to_parquet(tmp_path / "mine.parquet")
    for ending in ("csv", "parquet"):
        data = opened(tmp_path / f"mine.{ending}", missing="drop", scale="none")
        assert sum(data.sizes) == COUNT - 3
        assert data.values.counts


@pytest.mark.parametrize("write", [as_csv, as_parquet])
@pytest.mark.parametrize("file", [0, 1, 2])
def test_a_column_may_be_empty_in_a_whole_file(tmp_path, write, file):
    for place in range(3):
        (tmp_path / str(place)).mkdir()
        path = write(tmp_path / str(place), numbers(seed=place))
        table = pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
        if place == file:
            table["c2"] = None
        kept = tmp_path / f"part_{place}{path.suffix}"
        table.to_csv(kept, index=False) if path.suffix == ".csv" else table.to_parquet(kept)
        path.unlink()
        path.parent.rmdir()
    data = opened(tmp_path, missing="drop")
    assert f"Left out: {COUNT} of {3 * COUNT} rows with missing values (NaN)" in data.notes
    names = data.train.names.of(np.arange(len(data.train)))
    assert not [name for name in names if name.startswith(f"part_{file}")]
    with pytest.raises(UserError, match="an empty cell"):
        opened(tmp_path)


def test_a_plan_in_time_names_rows_and_files_as_they_were_before(tmp_path):
    array = numbers()
    array[[2, 50, 70]] = np.nan
    path = as_csv(tmp_path, array)
    said = " ".join(opened(path, missing="drop", split="time").notes)
    assert "test from row 72 (from 0) to row 79 (from 0)" in said
    path.unlink()
    for day in range(1, 6):
        part = numbers(seed=day)[: 60 + day]  # a batch: files differ in their rows
        part[3 * day :] = np.nan
        np.save(tmp_path / f"day_{day}.npy", part)
    # 3 + 6 + 9 + 12 + 15 rows are left, of which the last 4 are tested on.
    said = " ".join(opened(tmp_path, missing="drop", split="time").notes)
    ends = "train from day_1.npy to day_5.npy, validation from day_5.npy to day_5.npy"
    assert f"{ends}, test from day_5.npy to day_5.npy" in said


def test_a_split_without_a_row_is_refused(tmp_path):
    empty = np.full((6, 5), np.nan, np.float32)
    np.savez(tmp_path / "mine.npz", train_images=numbers(), test_images=empty)
    with pytest.raises(UserError, match="a missing value in each test row"):
        opened(tmp_path / "mine.npz", missing="drop")


@pytest.mark.parametrize("missing", ["keep", [float("nan")], -9999, ["x"]])
def test_other_settings_are_refused(missing):
    with pytest.raises(ValueError, match="missing"):
        DataSettings(missing=missing)


def test_official_files_have_no_missing_values():
    with pytest.raises(UserError, match=r"data\.missing"):
        open_dataset(DataSettings(dataset="mnist", missing="drop"), say=lambda text: None)


@pytest.mark.parametrize("command", ["encode", "score"])
def test_new_rows_with_a_code_are_rows_with_a_problem(tmp_path, command):
    array, rows = rows_with(numbers(), -9999)
    path = as_csv(tmp_path, array)
    data = {"dataset": "arrays", "scale": "standard", "missing": (-9999.0,)}
    folder, _ = trained_run(tmp_path, path, epochs=1, model={"likelihood": "gaussian"}, **data)
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["data"]["missing"] == [-9999.0]
    run = open_run(str(folder), Path("nowhere"))
    given = {"p": False} if command == "score" else {}
    frame = getattr(run, command)(pd.read_csv(path), **given)
    bad = frame["problem"] != ""
    assert np.flatnonzero(bad).tolist() == rows
    assert (
        frame["problem"][rows[0]]
        .replace("column 'c", "")
        .startswith("1 of its numbers are missing, −9,999, NaN or infinite, the first in ")
    )
