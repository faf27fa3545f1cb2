"""Doubts: each speaks where something cannot be meant, and says what to do; ordinary data, on which
all are silent, are in test_ordinary_inputs.py.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_files import write_image
from plausible_inputs import bytes_of, pictures

from vaeexp.data import Dataset, open_dataset
from vaeexp.data.doubts import DOUBTS
from vaeexp.settings import DataSettings

SEEDS = (0, 1, 2)


def opened(path: Path, **changes) -> Dataset:
    kind = "folder" if path.is_dir() else "arrays"
    settings = DataSettings(**{"dataset": kind, "binarisation": "none"} | changes)
    return open_dataset(settings, root=path, say=lambda text: None)


def as_npy(root: Path, array: np.ndarray) -> Path:
    root.mkdir(exist_ok=True)
    np.save(root / "mine.npy", array)
    return root / "mine.npy"


def as_pngs(root: Path, images: np.ndarray) -> Path:
    for number, image in enumerate(images):
        write_image(root / "mine" / f"{number:03}.png", image)
    return root / "mine"


def as_csv(root: Path, table: pd.DataFrame) -> Path:
    root.mkdir(exist_ok=True)
    table.to_csv(root / "mine.csv", index=False)
    return root / "mine.csv"


def as_parquet(root: Path, table: pd.DataFrame) -> Path:
    root.mkdir(exist_ok=True)
    table.to_parquet(root / "mine.parquet")
    return root / "mine.parquet"


def soft(seed: int, count: int = 60) -> np.ndarray:
    """Soft pictures uint8 [count, 16, 16] of the whole range."""
    return bytes_of(pictures(np.random.default_rng(seed), count, side=16))


def test_each_doubt_has_a_test_by_its_name():
    files = Path(__file__).parent.glob("test_*.py")
    written = "".join(path.read_text(encoding="utf-8") for path in files)
    for doubt in DOUBTS:
        assert f"def test_{doubt.__name__}" in written


# ---- counting_columns ----


@pytest.mark.parametrize("first", [0, 1, 1001])
def test_counting_columns_are_named(tmp_path, first):
    table = pd.DataFrame(np.random.default_rng(first).normal(size=(40, 3)), columns=[*"abc"])
    table.insert(0, "number", np.arange(first, first + 40))
    path = as_csv(tmp_path, table)
    [warning] = opened(path, scale="standard", scale_per="feature").warnings
    assert warning.startswith("number counts the rows")


# ---- missing_values ----


def measured(seed: int, count: int = 400) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "carbon": draw.gamma(2, 1, count).round(2),
            "heat": draw.normal(10, 8, count).round(1),
            "visits": draw.integers(0, 40, count),
        }
    )


CODES = [("carbon", -200), ("heat", -9999), ("visits", 999), ("heat", -999), ("carbon", -32768)]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("write", [as_csv, as_parquet])
@pytest.mark.parametrize(("column", "code"), [*CODES, ("carbon", 88.8), ("visits", -100)])
def test_missing_values_are_named_with_their_code(tmp_path, write, column, code, seed):
    table = measured(seed)
    settings = {"scale": "standard", "scale_per": "feature"}
    path = write(tmp_path, table)
    assert opened(path, **settings).warnings == ()
    rows = np.random.default_rng(seed).choice(400, 9, replace=False)
    table.loc[rows, column] = code
    path = write(tmp_path / "coded", table)
    [warning] = [each for each in opened(path, **settings).warnings if "missing value" in each]
    assert f"of {column} lies far from all other values" in warning
    remedy = re.search(r"--set '(missing)=(.*)'$", warning)
    assert remedy
    left = opened(path, **settings, missing=tuple(map(float, remedy[2][1:-1].split(", "))))
    assert sum(left.sizes) == 391
    assert left.warnings == ()


def test_missing_values_of_several_columns_are_one_sentence(tmp_path):
    table = measured(0)
    table.loc[[3, 50, 60], "carbon"] = -200
    table.loc[[4, 50, 61], "heat"] = -9999
    path = as_csv(tmp_path, table)
    warnings = opened(path, scale="standard", scale_per="feature").warnings
    [warning] = [each for each in warnings if "missing value" in each]
    assert "so it is in heat. " in warning
    assert warning.endswith("--set 'missing=[-9999, -200]'")


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        (-9999, 2),  # too few rows
        (28, 9),  # within twice the range
        (0, 90),  # an answer
    ],
)
def test_missing_values_are_not_seen_in_other_numbers(tmp_path, value, rows):
    table = measured(0)
    table["heat"] = 20 + table["heat"].abs() / 4
    table.loc[table.index[:rows], "heat"] = value
    path = as_csv(tmp_path, table)
    warnings = opened(path, scale="standard", scale_per="feature").warnings
    assert not [each for each in warnings if "missing value" in each]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", [(12, 12), (12, 12, 2), (96,)])
def test_missing_values_are_seen_in_images_and_signals(tmp_path, shape, seed):
    """Each place has few of them, and all together have many."""
    draw = np.random.default_rng(seed)
    images = draw.normal(5, 2, (200, *shape)).astype(np.float32)
    images[draw.random(images.shape) < 0.004] = -9999
    warnings = opened(as_npy(tmp_path, images), scale="standard").warnings
    assert [each for each in warnings if "−9,999 in " in each and "lies far" in each]


# ---- a_number_alone ----


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("write", [as_npy, as_pngs])
@pytest.mark.parametrize(
    ("make", "hot"),
    [
        (lambda images: images.astype(np.uint16) * 16, 65_535),
        (lambda images: images // 12, 255),
        (lambda images: images.astype(np.uint16) * 4, 40_000),
    ],
)
def test_a_number_alone_is_named_with_its_image(tmp_path, write, make, hot, seed):
    images = make(soft(seed))
    place = tuple(np.random.default_rng(seed).integers(0, (60, 16, 16)))
    assert not [each for each in opened(write(tmp_path, images)).warnings if "broken pixel" in each]
    images[place] = hot
    (tmp_path / "hot").mkdir()
    warnings = opened(write(tmp_path / "hot", images)).warnings
    [warning] = [each for each in warnings if "as a broken pixel is" in each]
    where = f"{place[0]:03}.png" if write is as_pngs else f"row {place[0]} (from 0)"
    assert warning.startswith(f"{hot:,} in {where} is ")


# ---- two_kinds_of_images ----


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("write", [as_npy, as_pngs])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_two_kinds_of_images_are_doubted(tmp_path, write, share, seed):
    images = soft(seed)
    low = np.random.default_rng(seed).random(60) < share
    images[low] = images[low] > 128
    [warning] = [
        each for each in opened(write(tmp_path, images)).warnings if "nearly black" in each
    ]
    assert "of the images have numbers up to 1, all others up to 255 or more" in warning


@pytest.mark.parametrize(
    "images",
    [
        np.stack([soft(0) // 13 * 0, soft(1)]).reshape(-1, 16, 16)[30:],  # empty ones among others
        soft(0) * (soft(1) > 128),
        np.rint(soft(0) * np.geomspace(1, 0.02, 60)[:, None, None]).astype(np.uint8),
        255 * (soft(0) > 128).astype(np.uint8),
        soft(0) // 64,
    ],
)
def test_two_kinds_of_images_and_numbers_alone_are_not_seen_elsewhere(tmp_path, images):
    words = ("nearly black", "broken pixel")
    warnings = opened(as_npy(tmp_path, images)).warnings
    assert not [each for each in warnings if any(word in each for word in words)]


# ---- several_units ----


def sensors(seed: int, count: int = 300) -> np.ndarray:
    """Four sensors of 24 numbers each, of units of their own."""
    draw = np.random.default_rng(seed)
    places = np.linspace(0, 2, 24)
    waves = [
        np.sin(2 * np.pi * (places + draw.random((count, 1)))) + 0.1 * draw.normal(size=(count, 24))
        for _ in range(4)
    ]
    sizes = [(1e5, 500.0), (0.2, 0.01), (20.0, 4.0), (50.0, 0.1)]
    return np.hstack([mean + size * wave for wave, (mean, size) in zip(waves, sizes, strict=True)])


@pytest.mark.parametrize("seed", SEEDS)
def test_several_units_are_doubted_under_one_scale_alone(tmp_path, seed):
    path = as_npy(tmp_path, sensors(seed))
    warning = opened(path, scale="standard").warnings[0]
    assert warning.startswith("Numbers of another size begin at column 24, column 48, column 72,")
    assert warning.endswith("Try data.scale_per: feature")
    assert opened(path, scale="standard", scale_per="feature").warnings == ()


# ---- overlapping_rows ----


def windows(seed: int, step: int, width: int = 96) -> np.ndarray:
    recording = np.random.default_rng(seed).normal(size=300 * step + width).cumsum()
    return np.lib.stride_tricks.sliding_window_view(recording, width)[: 300 * step : step]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("step", [1, 8, 48, 96])
def test_overlapping_rows_are_doubted_in_a_random_split(tmp_path, step, seed):
    path = as_npy(tmp_path, windows(seed, step))
    warnings = opened(path, scale="standard").warnings
    if step == 96:
        assert warnings == ()
        return
    [warning] = warnings
    assert warning.startswith(f"Rows are the rows before them, shifted by {step}, as overlapping")
    assert opened(path, scale="standard", split="time").warnings == ()


@pytest.mark.parametrize("turn", [slice(None, None, -1), slice(None)])
@pytest.mark.parametrize("shape", ["lags", "[N, T, C]", "whole"])
def test_overlapping_rows_are_seen_in_other_shapes(tmp_path, shape, turn):
    if shape == "lags":
        path = as_csv(tmp_path, pd.DataFrame(windows(0, 1, 8)[:, turn]).add_prefix("lag_"))
    elif shape == "whole":
        path = as_npy(tmp_path, np.rint(4 * windows(0, 16)[turn]).astype(np.int32))
    else:
        path = as_npy(tmp_path, np.stack([windows(each, 5, 40) for each in range(6)], -1)[turn])
    [warning] = opened(path, scale="standard").warnings
    assert "as overlapping windows are" in warning


def test_overlapping_rows_may_be_apart_by_group_or_by_file(tmp_path):
    rows = windows(0, 8)
    np.savez(tmp_path / "mine.npz", train_images=rows[:200], val_images=rows[212:240],
             test_images=rows[252:])  # fmt: skip
    assert opened(tmp_path / "mine.npz", scale="standard").warnings == ()
    np.savez(tmp_path / "groups.npz", images=rows, recording=np.arange(300) // 25)
    assert opened(tmp_path / "groups.npz", scale="standard", split_by="recording").warnings == ()


def test_pictures_with_an_empty_border_are_no_windows(tmp_path):
    images = np.zeros((60, 16, 16), np.uint8)
    images[:, 4:12, 4:12] = soft(0)[:, 4:12, 4:12]
    assert not [each for each in opened(as_npy(tmp_path, images)).warnings if "shifted" in each]


@pytest.mark.parametrize("write", [as_npy, as_pngs])
def test_equal_channels_are_grey(tmp_path, write):
    grey = soft(0)
    colour = np.stack([grey] * 3, axis=-1)
    [warning] = [each for each in opened(write(tmp_path / "a", colour)).warnings if "equal" in each]
    assert "The 3 channels are equal, so the images are grey. Try image" in warning
    colour[-1, 0, 0] = 1, 2, 3  # one pixel of the last image
    found = opened(write(tmp_path / "b", colour)).warnings
    assert not [each for each in found if "channels" in each]
