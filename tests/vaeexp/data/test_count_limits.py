"""Counts: whole limits, what `init` takes for counts, and ranges of heavy tails."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_data import made

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.data.formats import TEST, TRAINING
from vaeexp.launch.fitting import fit_study
from vaeexp.settings import DataSettings

GENES = tuple(f"gene{at}" for at in range(8))


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


def counts(rows: int = 400, depth: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(0)
    sums = np.exp(random.normal(0, depth, (rows, 1)))
    means = random.gamma(2, 40 * sums, (rows, 8))
    return random.poisson(means).astype(np.int64)


def limits(images: np.ndarray, folder: Path, **settings) -> tuple[np.ndarray, np.ndarray]:
    data = made(images[:, None, None], folder, **{"scale": "none", "clip": (0.1, 99.9)} | settings)
    return data.scaling.low, data.scaling.high


@pytest.mark.parametrize("dtype", [np.int64, np.uint16, np.float32])
def test_limits_of_counts_are_the_whole_numbers_outside(tmp_path, dtype):
    images = counts().astype(dtype)
    low, high = limits(images, tmp_path)
    data = made(images[:, None, None], tmp_path, scale="none", clip=(0.1, 99.9))
    train = np.asarray(data.train.images)
    assert data.values.counts
    assert (train == np.rint(train)).all()
    assert train.max() <= high.max()
    assert (high == np.ceil(high)).all()
    assert (low == np.floor(low)).all()
    cut = (images > high.max()).mean() + (images < low.min()).mean()
    assert cut <= 0.003
    assert data.changed == ("the limits of clip on counts are whole",)


def test_limits_of_other_numbers_stay(tmp_path):
    for images, settings in (
        (counts(), {"scale": "standard"}),
        (counts() - 3, {}),
        (counts() + 0.25, {}),
    ):
        flat = images[:, None, None]
        data = made(flat, tmp_path, **{"scale": "none", "clip": (0.1, 99.9)} | settings)
        whole = data.scaling.high == np.rint(data.scaling.high)
        assert not whole.all()
        assert data.changed == ()


def test_the_proposed_limits_can_be_taken(tmp_path):
    """A huge number among genes that are nearly always 0: limits would leave them no range."""
    random = np.random.default_rng(0)
    for share, taken in ((0.0, False), (0.5, True)):
        table = counts(3000)
        table[:, 5] = random.random(3000) < share
        table[:2, 5] = 1
        table[100, 2] = 10**9
        pd.DataFrame(table, columns=list(GENES)).to_csv("genes.csv", index=False)
        settings = {"dataset": "arrays", "binarisation": "none", "scale": "none"}
        data = open_dataset(DataSettings(**settings), root=Path("genes.csv"), say=str)
        [doubt] = [words for words in data.warnings if "Correct it" in words]
        assert ("clip" in doubt) == taken
        cut = DataSettings(**settings, clip=(0.1, 99.9))
        if taken:
            clipped = open_dataset(cut, root=Path("genes.csv"), say=str)
            assert clipped.values.counts
        else:
            with pytest.raises(UserError, match="percentiles that are equal"):
                open_dataset(cut, root=Path("genes.csv"), say=str)


# What init offers


def fitted(columns: dict[str, np.ndarray]):
    pd.DataFrame(columns).to_csv("table.csv", index=False)
    return fit_study(Path("table.csv"), labels=None, split_by=None, say=str)


def people(rows: int = 300) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "age": random.integers(0, 91, rows),
        "height": random.normal(170, 9, rows).round().astype(int),
        "weight": random.normal(70, 12, rows).round().astype(int),
        "smoker": random.integers(0, 2, rows),
    }


@pytest.mark.parametrize(
    "names", [("age", "height"), ("height", "smoker"), ("age", "height", "weight", "smoker")]
)
def test_ages_and_heights_are_no_counts(names):
    found = fitted({name: people()[name] for name in names})
    assert found.model["likelihood"] == "gaussian_learned"
    assert found.data["scale"] == "standard"
    assert not found.sums


@pytest.mark.parametrize("mean", [0.05, 1.0, 5.0, "genes"])
def test_counts_are_offered(mean):
    random = np.random.default_rng(0)
    table = counts() if mean == "genes" else random.poisson(mean, (400, 8))
    table[0, 0] = 0
    found = fitted(dict(zip(GENES, table.T, strict=True)))
    assert found.model["likelihood"] == "negative_binomial"


@pytest.mark.parametrize(("depth", "given"), [(0.0, False), (0.6, True), (1.5, True)])
def test_sums_are_given_where_they_differ(depth, given):
    table = np.random.default_rng(1).poisson(
        30 * np.exp(np.random.default_rng(0).normal(0, depth, (400, 1))), (400, 30)
    )
    table[0, 0] = 0
    found = fitted({f"gene{at}": column for at, column in enumerate(table.T)})
    low, high = np.percentile(table.sum(axis=1), (10, 90))
    assert (high > 1.5 * low) == given
    assert found.model.get("size_factor", False) == given
    assert found.sums.startswith("Row sums: ") == given


# Ranges


def ranges(images: np.ndarray, tmp_path: Path, **settings) -> list[str]:
    parts = np.where(np.arange(len(images)) < 0.8 * len(images), TRAINING, TEST).astype(np.uint8)
    data = made(images, tmp_path, raw={"parts": parts}, **{"scale": "standard"} | settings)
    return [words for words in data.warnings if "same range" in words]


@pytest.mark.parametrize("kind", ["images", "table", "one column"])
def test_a_heavy_tail_has_no_other_range(tmp_path, kind):
    shape = {"images": (1, 4, 4), "table": (1, 1, 6), "one column": (1, 1, 1)}[kind]
    images = np.random.default_rng(0).pareto(1.5, (400, *shape))
    images[7] *= 1e4
    assert ranges(images, tmp_path) == []
    images[320:] /= 1e3
    [said] = ranges(images, tmp_path / "other")
    assert "1/16 of that range or less" in said
