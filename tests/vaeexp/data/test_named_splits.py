"""Groups, times and factors that the settings name, from files of each format to the splits."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from image_files import write_image

from sweeps.errors import UserError
from vaeexp.data import DATASETS, Dataset, open_dataset
from vaeexp.data.dataset import check_data
from vaeexp.data.scaling import scaling_from
from vaeexp.settings import DataSettings

ROWS = 120
PATIENTS = 15


def visits() -> pd.DataFrame:
    """Rows whose first feature is their number, so that they are known again."""
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "row": np.arange(ROWS, dtype=float),
            "pulse": random.normal(70, 9, ROWS),
            "patient": np.array([f"p{n:02d}" for n in random.integers(0, PATIENTS, ROWS)]),
            "day": random.permutation(ROWS) // 3,
            "age": random.integers(20, 90, ROWS).astype(float),
            "dose": random.random(ROWS),
        }
    )


FEATURES = ["row", "pulse"]


def as_npz(path: Path, table: pd.DataFrame) -> Path:
    others = {name: table[name].to_numpy() for name in table if name not in FEATURES}
    others = {
        name: values.astype(str) if values.dtype.kind == "O" else values
        for name, values in others.items()
    }
    np.savez(path.with_suffix(".npz"), images=table[FEATURES].to_numpy(), **others)
    return path.with_suffix(".npz")


def as_csv(path: Path, table: pd.DataFrame) -> Path:
    table.to_csv(path.with_suffix(".csv"), index=False)
    return path.with_suffix(".csv")


def as_parquet(path: Path, table: pd.DataFrame) -> Path:
    table.to_parquet(path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


each_format = pytest.mark.parametrize("write", [as_npz, as_csv, as_parquet])


def opened(path: Path, **settings) -> Dataset:
    """The data of a file in which no column but the features is left without a role."""
    if path.suffix != ".npz":
        rest = {"patient", "day", "age", "dose"} - {settings.get("split_by")}
        settings = {"factors": ("age", "dose"), **settings}
        rest -= set(settings["factors"])
        path = _without(path, sorted(rest))
    chosen = DataSettings(
        **{"dataset": "arrays", "binarisation": "none", "scale": "none"} | settings
    )
    return open_dataset(chosen, root=path, say=lambda text: None)


def _without(path: Path, names: list[str]) -> Path:
    read, write = {".csv": (pd.read_csv, as_csv), ".parquet": (pd.read_parquet, as_parquet)}[
        path.suffix
    ]
    return write(path.with_name("kept"), read(path).drop(columns=names))


def rows_of(data: Dataset) -> dict[str, np.ndarray]:
    """The rows of the table that are in each split."""
    return {
        name: np.rint(getattr(data, name).images[:, 0, 0, 0]).astype(int)
        for name in ("train", "validation", "test")
    }


@each_format
def test_no_group_straddles_the_splits(tmp_path, write: Callable):
    table = visits()
    path = write(tmp_path / "mine", table)
    tested = set()
    for seed in (0, 1, 2):
        data = opened(path, split_by="patient", split_seed=seed)
        rows = rows_of(data)
        assert sorted(np.concatenate([*rows.values()])) == list(range(ROWS))
        patients = [set(table["patient"].iloc[own]) for own in rows.values()]
        assert sum(map(len, patients)) == len(set.union(*patients)) == table["patient"].nunique()
        assert len(rows["test"]) >= ROWS // 10
        assert "Split: 15 groups by patient, each in one split" in data.notes
        tested.add(tuple(sorted(rows["test"])))
    assert len(tested) == 1, "test groups depend on no seed"


@each_format
def test_the_last_days_are_tested_on(tmp_path, write):
    table = visits()
    data = opened(write(tmp_path / "mine", table), split_by="day", split="time")
    rows = rows_of(data)
    days = {name: table["day"].iloc[own] for name, own in rows.items()}
    assert days["train"].max() < days["validation"].min()
    assert days["validation"].max() < days["test"].min()
    assert [len(own) for own in rows.values()] == [96, 12, 12]
    assert "Split: in time, the last images for test, those before for validation" in data.notes


@each_format
def test_the_order_of_the_file_is_the_order_in_time(tmp_path, write):
    rows = rows_of(opened(write(tmp_path / "mine", visits()), split="time"))
    assert [(min(own), max(own)) for own in rows.values()] == [(0, 95), (96, 107), (108, 119)]


@each_format
@pytest.mark.parametrize("split_by", [None, "patient"])
def test_factors_go_with_their_images(tmp_path, write, split_by):
    table = visits()
    data = opened(write(tmp_path / "mine", table), split_by=split_by, factors=("dose", "age"))
    assert data.factors == ("dose", "age")
    for name, rows in rows_of(data).items():
        expected = table[["dose", "age"]].to_numpy()[rows]
        found = getattr(data, name).factors
        np.testing.assert_allclose(found, expected)
        assert found.dtype == np.float64
    plain = opened(tmp_path / "mine.npz") if write is as_npz else None
    if plain is not None:
        assert (plain.factors, plain.train.factors) == ((), None)
        assert (plain.fingerprint == data.fingerprint) == (split_by is None)


def write_pictures(root: Path) -> dict[bytes, str]:
    """Pictures of twelve patients, several of each, in folders of classes; pixels → patient."""
    written = {}
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 256, (6, 5), np.uint8)
        patient = f"{number * 7 % 12:02d}"
        name = f"{'ab'[number % 2]}/{number:03d}-patient{patient}.png"
        write_image(root / name, pixels)
        written[pixels.tobytes()] = patient
    return written


def test_a_pattern_finds_the_groups_of_image_files(tmp_path):
    written = write_pictures(tmp_path / "mine")
    settings = {"dataset": "folder", "scale": "unit", "split_by": r"patient(\d+)\.png"}
    chosen = DataSettings(binarisation="none", **settings)
    data = open_dataset(chosen, root=tmp_path / "mine", say=lambda text: None)
    patients = [
        {written[image.tobytes()] for image in split.images}
        for split in (data.train, data.validation, data.test)
    ]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 12
    assert all(patients)


def test_image_files_are_split_in_time_by_their_names(tmp_path):
    written = write_pictures(tmp_path / "mine")
    settings = {"dataset": "folder", "split": "time", "split_by": r"patient(\d+)"}
    chosen = DataSettings(binarisation="none", **settings)
    data = open_dataset(chosen, root=tmp_path / "mine", say=lambda text: None)
    train, validation, test = (
        sorted({written[image.tobytes()] for image in split.images})
        for split in (data.train, data.validation, data.test)
    )
    assert train[-1] < validation[0] <= validation[-1] < test[0]


@pytest.mark.parametrize("pattern", ["patient", "(a)(b)", "(", r"visit(\d+)"])
def test_a_pattern_that_finds_no_group_is_refused(tmp_path, pattern):
    write_pictures(tmp_path / "mine")
    settings = DataSettings(dataset="folder", binarisation="none", split_by=pattern)
    with pytest.raises(UserError, match="must ") as caught:
        open_dataset(settings, root=tmp_path / "mine", say=lambda text: None)
    assert caught.value.place == "data.split_by"


OFFICIAL = [name for name, row in DATASETS.items() if row.counts is not None]
NAMES = {
    "images": "x",
    "labels": "y",
    "factors": ("age",),
    "split_by": "patient",
    "channels_first": True,
}


@pytest.mark.parametrize("setting", NAMES)
@pytest.mark.parametrize("name", [*OFFICIAL[:2], "celeba", "bloodmnist", "emnist_letters"])
def test_files_of_one_meaning_have_no_names(name, setting):
    settings = DataSettings(dataset=name, binarisation="none", **{setting: NAMES[setting]})
    with pytest.raises(UserError, match="must be left out for") as caught:
        check_data(settings)
    assert caught.value.place == f"data.{setting}"
    changed = re.search(r"--set (\w+)=(\w+)\.$", str(caught.value))
    check_data(
        settings.model_validate(settings.model_dump() | {changed[1]: yaml.safe_load(changed[2])})
    )


@pytest.mark.parametrize("name", ["mnist", "celeba", "bloodmnist"])
def test_official_files_are_not_split_in_time(name):
    with pytest.raises(UserError, match="--set split=random") as caught:
        check_data(DataSettings(dataset=name, binarisation="none", split="time"))
    assert caught.value.place == "data.split"


@pytest.mark.parametrize("scale", ["none", "standard"])
def test_the_preparation_is_the_same_after_json(tmp_path, scale):
    data = opened(as_csv(tmp_path / "mine", visits()), scale=scale, scale_per="feature")
    record = json.loads(json.dumps(data.preparation))
    assert record.pop("scaling") == data.scaling.record()
    assert scaling_from(data.preparation["scaling"]) == data.scaling
    assert record == {
        "name": "arrays",
        "kind": "float64",
        "features": FEATURES,
        "kept": None,
        "dropped": [],
        "constants": [],
        "whites": None,
        "black": 65_535,
        "classes": None,
        "named_by": "",
        "edition": 2,
    }
    numbers = visits()[FEATURES].to_numpy()[:, None, None]
    again = scaling_from(json.loads(json.dumps(data.preparation["scaling"])))
    np.testing.assert_array_equal(again.targets(numbers), data.scaling.targets(numbers))


def test_the_preparation_names_the_columns_that_are_kept_and_the_white_of_bytes(tmp_path):
    table = visits().assign(constant=3.0)
    path = as_csv(tmp_path / "mine", table[["row", "constant", "pulse"]])
    settings = DataSettings(dataset="arrays", binarisation="none", scale="standard")
    data = open_dataset(settings, root=path, say=lambda text: None)
    record = json.loads(json.dumps(data.preparation))
    assert (record["kept"], record["features"]) == ([0, 2], FEATURES)
    assert (record["dropped"], record["constants"]) == (["constant"], [3.0])
    np.save(tmp_path / "masks.npy", np.random.default_rng(0).integers(0, 10, (30, 6, 6), np.uint8))
    settings = DataSettings(dataset="arrays", binarisation="none")
    masks = open_dataset(settings, root=tmp_path / "masks.npy", say=lambda text: None)
    assert json.loads(json.dumps(masks.preparation))["whites"]["0"] == 9


@each_format
@pytest.mark.parametrize("split", ["random", "time"])
def test_rows_without_a_group_are_counted_and_the_first_is_named(tmp_path, write, split):
    table = visits()
    table["patient"] = np.arange(ROWS) / 10
    table.loc[[7, 30], "patient"] = np.nan
    kind = "groups" if split == "random" else "times"
    where = "line 9" if write is as_csv else r"row 7 \(from 0\)"
    with pytest.raises(UserError, match=rf"got 2 of {ROWS} {kind} .* first in {where}; must be"):
        opened(write(tmp_path / "mine", table), split_by="patient", split=split)


@each_format
def test_dates_as_text_are_in_the_order_of_time_or_refused(tmp_path, write):
    table = visits()
    days = pd.Timestamp("2023-11-01") + pd.to_timedelta(np.arange(ROWS)[::-1], "D")
    table["day"] = [f"{day.year}-{day.month}-{day.day}" for day in days]
    rows = rows_of(opened(write(tmp_path / "mine", table), split_by="day", split="time"))
    assert (max(rows["test"]), min(rows["validation"]), min(rows["train"])) == (11, 12, 24)
    table["day"] = [f"{day.month}/{day.day}/{day.year}" for day in days]
    where = "line 2" if write is as_csv else r"row 0 \(from 0\)"
    with pytest.raises(UserError, match=rf"got the time '\d+/\d+/2024' in {where}; .*ISO 8601"):
        opened(write(tmp_path / "other", table), split_by="day", split="time")


def test_a_large_group_is_named_in_the_plan(tmp_path):
    table = visits()
    table["patient"] = np.where(np.arange(ROWS) < ROWS * 3 // 5, "P0", table["patient"].astype(str))
    data = opened(as_csv(tmp_path / "mine", table), split_by="patient")
    assert "Group: 'P0' has 60 % of the images, and is trained on" in data.notes
    assert (data.sizes[1] + data.sizes[2]) < ROWS // 3
