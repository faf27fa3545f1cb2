"""What `init` makes of vectors: pixels, signals, and sensors of several units."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ordinary_inputs import ORDINARY
from plausible_inputs import bytes_of, pictures
from trained_runs import trained_run

from vaeexp.data import open_dataset
from vaeexp.launch.fitting import Fitting, fit_study
from vaeexp.runs.run import open_run
from vaeexp.settings import DataSettings

SEEDS = (0, 1, 2)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


def fitted(path: Path) -> Fitting:
    return fit_study(path, labels=None, split_by=None, say=lambda text: None)


# ---- pixels ----


def digits(seed: int, *, side: int = 28, colour: bool = False) -> np.ndarray:
    """Rows of pixels [200, F] with a border that is always black."""
    draw = np.random.default_rng(seed)
    images = bytes_of(pictures(draw, 200, side=side, colour=colour))
    images[:, :2] = 0
    return images.reshape(200, -1)


def as_csv(path: Path, rows: np.ndarray) -> Path:
    names = [f"pixel{place}" for place in range(rows.shape[1])]
    pd.DataFrame(rows, columns=names).to_csv(path / "mine.csv", index=False)
    return path / "mine.csv"


def as_parquet(path: Path, rows: np.ndarray) -> Path:
    names = [f"pixel{place}" for place in range(rows.shape[1])]
    pd.DataFrame(rows, columns=names).to_parquet(path / "mine.parquet")
    return path / "mine.parquet"


def as_npy(path: Path, rows: np.ndarray) -> Path:
    np.save(path / "mine.npy", rows)
    return path / "mine.npy"


def as_wide_npy(path: Path, rows: np.ndarray) -> Path:
    return as_npy(path, rows.astype(np.int64))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("write", [as_csv, as_parquet, as_npy, as_wide_npy])
@pytest.mark.parametrize("form", [{}, {"side": 8}, {"side": 8, "colour": True}])
def test_rows_of_pixels_are_grey_levels(tmp_path, write, form, seed):
    rows = digits(seed, **form)
    path = write(tmp_path, rows)
    fitting = fitted(path)
    assert fitting.data["scale"] == "unit"
    assert fitting.model["network"] == "mlp"
    assert fitting.model["likelihood"] == "discretised_logistic"
    data = open_dataset(DataSettings(**fitting.data), root=path, say=lambda text: None)
    assert data.values.levels == 256
    assert data.image_shape == (1, 1, rows.shape[1])
    splits = (data.train, data.validation, data.test)
    found = sorted(image.tobytes() for split in splits for image in split.images)
    assert found == sorted(row.astype(np.uint8).tobytes() for row in rows)


def test_pixels_of_floats_keep_their_range(tmp_path):
    fitting = fitted(as_npy(tmp_path, digits(0).astype(np.float32)))
    assert fitting.data["scale"] == "range"
    assert "scale_per" not in fitting.data


@pytest.mark.parametrize("write", [as_csv, as_parquet])
def test_a_run_on_rows_of_pixels_takes_its_own_rows(tmp_path, write):
    rows = digits(0)
    path = write(tmp_path, rows)
    model = {"likelihood": "discretised_logistic"}
    folder, _ = trained_run(tmp_path, path, epochs=1, model=model, dataset="arrays")
    run = open_run(str(folder), Path("nowhere"))
    codes = run.encode(path)
    assert (codes["problem"] == "").all()
    other = run.encode(rows.astype(np.int64))
    assert np.array_equal(codes["mean_0"], other["mean_0"])


def counted(seed: int) -> np.ndarray:
    """Counts of which the largest is 255 by chance; the number of their columns is no square."""
    rows = np.random.default_rng(seed).poisson(20, (200, 70))
    rows[7, 3:5] = 255, 0
    return rows


@pytest.mark.parametrize("make", [counted, lambda seed: digits(seed) // 2])
def test_other_whole_numbers_stay_counts(tmp_path, make: Callable[[int], np.ndarray]):
    fitting = fitted(as_npy(tmp_path, make(0).astype(np.int64)))
    assert fitting.data["scale"] == "none"


# ---- several units ----


def sensors(seed: int, sizes: list[tuple[float, float]], each: int) -> np.ndarray:
    """Waves of several sensors side by side, each of a unit of its own [300, sensors · each]."""
    draw = np.random.default_rng(seed)
    places = np.linspace(0, 2, each)
    parts = []
    for mean, size in sizes:
        waves = np.sin(2 * np.pi * (places + draw.random((300, 1))))
        parts.append(mean + size * (waves + 0.1 * draw.normal(size=waves.shape)))
    return np.hstack(parts)


KINDS = {
    "pressure and acceleration": ([(1e5, 500), (0.2, 0.01)], 48),
    "four": ([(1e5, 500), (0.2, 0.01), (20, 4), (50, 0.1)], 24),
    "of one spread": ([(0, 1), (1000, 1)], 32),
}


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("kind", KINDS)
def test_sensors_of_several_units_have_a_scale_each(tmp_path, kind, seed):
    sizes, each = KINDS[kind]
    path = as_npy(tmp_path, sensors(seed, sizes, each))
    fitting = fitted(path)
    assert fitting.data["scale_per"] == "feature"
    assert f"begin at the columns {each}" in fitting.order
    data = open_dataset(DataSettings(**fitting.data), root=path, say=lambda text: None)
    spreads = np.asarray(data.train.images).std(axis=0)
    assert np.allclose(spreads, 1, atol=0.2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["signals", "spectra"])
def test_smooth_differences_stay_signals(tmp_path, name, seed):
    path, _ = ORDINARY[name](tmp_path, np.random.default_rng(seed))
    fitting = fitted(path)
    assert fitting.model["network"] == "conv"
    assert fitting.data["scale_per"] == "global"
