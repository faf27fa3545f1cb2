"""Scores of new rows: equal for equal rows, compared with the run's own rows, and what is said of
rows that were not meant.
"""

import inspect
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from trained_runs import trained_run

from sweeps import UserError
from vaeexp.commands.new_data import score
from vaeexp.runs import new_data
from vaeexp.runs.calibration import Trend
from vaeexp.runs.run import Run, open_run
from vaeexp.runs.scoring import SAMPLES

GAUSSIAN = {"likelihood": "gaussian", "sigma": 0.5}
EACH = {"scale": "standard", "scale_per": "feature"}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")


def a_run(root: Path, path: Path, **settings: Any) -> Run:
    folder, _ = trained_run(root, path, dataset="arrays", **settings)
    return open_run(str(folder), Path("nowhere"))


def scored(run: Run, new: Path, data: Path | None, to: Path, **asked: Any) -> list[str]:
    """The lines of the command; the scores lie at `to`."""
    given = new_data.Given([new], None, data)
    chosen = {"by": None, "importance_samples": 20, "p": True, "against": (), "against_class": None}
    what = new_data.Asked(**chosen | asked)
    how = {"device": "cpu", "say": lambda text: None, "progress": None}
    return new_data.score_to(run, given, to, what, **how).lines


def silent(run: Run, rows: Any, **options: Any) -> pd.DataFrame:
    """The scores in Python, which say nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return run.score(rows, **options)


def blobs(count: int, seed: int = 0) -> np.ndarray:
    y, x = np.mgrid[:9, :8]
    places = np.random.default_rng(seed).uniform(2, 6, (count, 2, 1, 1))
    return (255 * np.exp(-((y - places[:, 0]) ** 2 + (x - places[:, 1]) ** 2) / 4)).astype(np.uint8)


def table_of(count: int, seed: int = 0, **more: Any) -> pd.DataFrame:
    numbers = np.random.default_rng(seed).normal(size=(count, 6)) * [1, 10, 0.1, 5, 2, 30] + 40
    return pd.DataFrame(numbers, columns=[*"abcdef"]).assign(**more)


NUMBERS = ["neg_elbo", "distortion", "rate", "iw_nll", "iw_nll_se", "p"]
IMAGES = {
    "none": {"model": GAUSSIAN},
    "static": {"binarisation": "static", "model": {}},
    "dynamic": {"binarisation": "dynamic", "model": {"prior": "mixture", "components": 3}},
}


# ---- equal rows ----


@pytest.mark.parametrize("kind", [*IMAGES, "table"])
def test_equal_rows_have_equal_scores_wherever_they_stand(kind, tmp_path):
    """In another order, file and number of neighbours, and in an order that crosses batches."""
    if kind == "table":
        table_of(300).to_csv(tmp_path / "own.csv", index=False)
        rows, own = table_of(470, seed=1).to_numpy(), tmp_path / "own.csv"
        settings: dict[str, Any] = {"model": GAUSSIAN, **EACH}
    else:
        rows, own, settings = blobs(470, seed=1), tmp_path / "own.npy", IMAGES[kind]
        np.save(own, blobs(300))
    run = a_run(tmp_path, own, **settings)
    expected = run.score(rows, data=own)[NUMBERS]
    assert expected["p"].nunique() > 5
    order = np.random.default_rng(2).permutation(len(rows))
    assert run.score(rows[order])[NUMBERS].equals(expected.iloc[order].reset_index(drop=True))
    for some in (slice(3, 4), slice(100, 117), slice(250, 470)):
        found = run.score(rows[some])[NUMBERS]
        assert found.equals(expected[some].reset_index(drop=True)), some
    twice = np.concatenate([rows[:90], rows[7:8]])
    assert run.score(twice)[NUMBERS].iloc[90].equals(expected.iloc[7])
    np.save(tmp_path / "new.npy", rows)
    scored(run, tmp_path / "new.npy", None, tmp_path / "s.parquet")
    assert pd.read_parquet(tmp_path / "s.parquet")[NUMBERS].equals(expected)
    codes = run.encode(rows).drop(columns="name")
    shuffled = run.encode(rows[order]).drop(columns="name")
    assert np.allclose(shuffled["rate"], codes["rate"][order], rtol=1e-5)


def test_many_draws_leave_p_to_the_row_and_their_error_is_said(tmp_path):
    table_of(400).to_csv(tmp_path / "own.csv", index=False)
    run = a_run(tmp_path, tmp_path / "own.csv", model=GAUSSIAN, **EACH)
    new = tmp_path / "new.csv"
    table_of(200, seed=1).to_csv(new, index=False)
    errors = []
    for k in (20, 320):
        lines = scored(run, new, tmp_path / "own.csv", tmp_path / "s.csv", importance_samples=k)
        [line] = [line for line in lines if "Monte-Carlo error" in line]
        frame = pd.read_csv(tmp_path / "s.csv")
        errors.append(frame["iw_nll_se"].median())
        assert f"{errors[-1]:.2g} nats (median" in line
    assert 2 < errors[0] / errors[1] < 6, "about √16"
    assert scored(run, new, None, tmp_path / "s.csv", importance_samples=320)
    assert not any(
        "Monte-Carlo" in line
        for line in scored(run, new, None, tmp_path / "s.csv", importance_samples=0, p=False)
    )


@pytest.mark.parametrize(("sigma", "samples", "within"), [(1.0, 400, 0.45), (0.05, 20, 0.6)])
def test_a_standard_error_is_the_spread_of_the_estimate(sigma, samples, within, tmp_path):
    """The jackknife against the deviation over 60 seeds, where one weight outweighs all others,
    too.
    """
    table_of(200).to_csv(tmp_path / "own.csv", index=False)
    model = {**GAUSSIAN, "sigma": sigma}
    run = a_run(tmp_path, tmp_path / "own.csv", model=model, **EACH)
    rows = (
        np.tile(table_of(5, seed=1).to_numpy(), (60, 1)) + 1e-3 * np.arange(60).repeat(5)[:, None]
    )
    frame = run.score(rows, p=False, importance_samples=samples)
    estimates = frame["iw_nll"].to_numpy().reshape(60, 5)
    claimed = frame["iw_nll_se"].to_numpy().reshape(60, 5).mean(0)
    slopes = np.polynomial.polynomial.polyfit(np.arange(60), estimates, 2)
    rest = estimates - np.polynomial.polynomial.polyval(np.arange(60), slopes).T
    ratio = rest.std(0, ddof=3) / claimed
    assert (np.abs(ratio - 1) < within).all()


# ---- what is kept ----


def test_p_needs_the_data_once(tmp_path, monkeypatch):
    own, new = tmp_path / "own.csv", tmp_path / "new.csv"
    table_of(200).to_csv(own, index=False)
    table_of(50, seed=1).to_csv(new, index=False)
    run = a_run(tmp_path, own, model=GAUSSIAN, **EACH)
    with pytest.raises(UserError, match="--data: is missing: p compares"):
        run.score(new)
    first = run.score(new, data=own)
    file = run.folder / "calibration.npz"
    monkeypatch.setattr("vaeexp.runs.run.open_dataset", None)
    assert run.score(new).equals(first)
    assert scored(run, new, None, tmp_path / "s.csv")
    with pytest.raises(UserError, match="--data"):  # other samples are another question
        run.score(new, importance_samples=30)
    monkeypatch.undo()
    whole = file.read_bytes()
    for damaged in (whole[:-9], whole.replace(b"iw_nll", b"iw_nlL"), b""):
        file.write_bytes(damaged)
        with pytest.raises(UserError, match="--data"):
            run.score(new)
        assert run.score(new, data=own).equals(first)
        assert run.score(new).equals(first)


def test_a_folder_that_cannot_be_written_needs_the_data_again(tmp_path, monkeypatch):
    own = tmp_path / "own.csv"
    table_of(200).to_csv(own, index=False)
    run = a_run(tmp_path, own, model=GAUSSIAN, **EACH)

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("vaeexp.runs.run.save_arrays", refused)
    first = run.score(own, data=own)
    assert run.score(own, data=own).equals(first)
    with pytest.raises(UserError, match="--data"):
        run.score(own)


def test_command_and_python_take_the_same_samples():
    [option] = [each for each in score.params if each.name == "importance_samples"]
    in_python = inspect.signature(Run.score).parameters["importance_samples"]
    assert option.default == in_python.default == SAMPLES == 20


def test_neg_elbo_and_distortion_remain(tmp_path):
    own = tmp_path / "own.csv"
    table_of(200).to_csv(own, index=False)
    run = a_run(tmp_path / "a", own, model=GAUSSIAN, **EACH)
    by_elbo = run.score(own, by="neg_elbo", data=own)
    assert by_elbo["p"].rank().corr(-by_elbo["neg_elbo"].rank()) > 0.9
    none = run.score(own, importance_samples=0)
    assert none["p"].equals(by_elbo["p"])
    assert "iw_nll" not in none
    with pytest.raises(UserError, match="got 0; must be at least 1"):
        run.score(own, by="iw_nll", importance_samples=0)
    plain = {"posterior": "deterministic", **GAUSSIAN}
    run = a_run(tmp_path / "b", own, model=plain, **EACH)
    frame = run.score(own, data=own)
    assert {"distortion", "p"} <= {*frame}
    assert not {"iw_nll", "neg_elbo"} & {*frame}


# ---- columns that never changed ----


def test_a_column_that_never_changed_is_seen_to_change(tmp_path):
    own = tmp_path / "own.csv"
    constants = {"alarm": 0, "valve": 3.3, "id": 20240101}
    table_of(300, **constants).to_csv(own, index=False)
    run = a_run(tmp_path, own, model=GAUSSIAN, **EACH)
    new = table_of(40, seed=1, **constants)
    usual = silent(run, new, data=own)
    assert usual["unseen"].eq("").all()
    new = new.astype({"alarm": float})
    new.loc[2, "alarm"] = 1
    new.loc[5, "valve"] = np.nan
    new.loc[9, ["alarm", "id"]] = [7, 20240102]
    new.loc[11, "valve"] = np.float32(3.3)
    named = {2: "alarm", 5: "valve", 9: "alarm, id"}
    new.to_csv(tmp_path / "n.csv", index=False)
    new[[*new.columns[::-1]]].to_parquet(tmp_path / "n.parquet")
    np.save(tmp_path / "n.npy", new.to_numpy())
    for given in (new, tmp_path / "n.csv", tmp_path / "n.parquet", tmp_path / "n.npy"):
        with pytest.warns(UserWarning, match=r"3 rows with a change where .*alarm, valve, id"):
            frame = run.score(given)
        assert frame["unseen"][frame["unseen"] != ""].to_dict() == named
        assert frame["problem"].eq("").all()
        assert frame["iw_nll"].equals(usual["iw_nll"])
        assert (frame["p"][[*named]] == 1 / 13).all(), "the least there is"
        others = frame.index.difference([*named])
        assert frame["p"][others].equals(usual["p"][others])
    against = {"against": [tmp_path / "n.csv"]}
    scored(run, own, own, tmp_path / "s.parquet", **against)
    assert (pd.read_parquet(tmp_path / "s.parquet")["unseen"] != "").sum() == 3
    lines = scored(run, tmp_path / "n.csv", None, tmp_path / "s.csv")
    [line] = [line for line in lines if "3 rows with a change" in line]
    assert "They have the least p, 0.077: so have only 0.00% of the run's own" in line
    assert silent(run, new[[*"abcdef"]])["unseen"].eq("").all(), "nothing to mark"
    assert "unseen" in run.encode(new)


def test_rows_of_splits_are_marked_where_columns_that_never_changed_do_so(tmp_path):
    own = tmp_path / "own.csv"
    rows = table_of(1300, alarm=0)
    rows.loc[1299, "alarm"] = 1
    rows.to_csv(own, index=False)
    run = a_run(tmp_path, own, model=GAUSSIAN, split="time", **EACH)
    lines = list[str]()
    given = new_data.Given([], "test", own)
    how = {"device": "cpu", "say": lines.append, "progress": None}
    new_data.encode_to(run, given, tmp_path / "c.csv", **how)
    codes = pd.read_csv(tmp_path / "c.csv", keep_default_na=False)
    assert codes["unseen"].tolist() == [*[""] * (len(codes) - 1), "alarm"]
    assert codes["name"].iloc[-1] == "own.csv[1299]"
    with pytest.warns(UserWarning, match="1 row with a change where"):
        assert run.score(rows[-9:], data=own)["unseen"].tolist() == [*[""] * 8, "alarm"]


def bordered(count: int, seed: int = 0) -> np.ndarray:
    images = np.random.default_rng(seed).normal(5, 2, (count, 5, 5))
    return np.pad(images, [(0, 0), (2, 1), (1, 1)])


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "student_t"])
def test_sub_pixels_that_a_density_leaves_out_are_seen_to_change(likelihood, tmp_path):
    own = tmp_path / "own.npy"
    np.save(own, bordered(300))
    run = a_run(tmp_path, own, model={"likelihood": likelihood}, scale="standard")
    new = bordered(20, seed=1)
    usual = silent(run, new, data=own)
    assert usual["unseen"].eq("").all()
    new[2, 0, 0] = 1
    new[[5, 9], -1, 3] = -0.5
    with pytest.warns(UserWarning, match="3 rows with a change where .*sub-pixels"):
        frame = run.score(new)
    assert frame.index[frame["unseen"] == "sub-pixels"].tolist() == [2, 5, 9]
    assert (frame["p"][[2, 5, 9]] == frame["p"].min()).all()
    assert frame["p"][10:].equals(usual["p"][10:])
    new[:, 0, 0] = np.nan
    assert run.encode(new)["unseen"].eq("").all(), "rows with a problem have that"


def test_new_genes_are_ordinary_where_validation_rows_have_them(tmp_path):
    """Cells with genes that no training cell had: p stays, and Python says nothing."""
    random = np.random.default_rng(0)
    rare = random.poisson(0.004, (600, 300))
    cells = np.concatenate([random.poisson(5, (600, 20)), rare], axis=1)
    names = [f"g{place}" for place in range(320)]
    own, new = tmp_path / "own.csv", tmp_path / "new.csv"
    pd.DataFrame(cells[:400], columns=names).to_csv(own, index=False)
    pd.DataFrame(cells[400:], columns=names).to_csv(new, index=False)
    poisson = {"likelihood": "poisson"}
    run = a_run(tmp_path, own, scale="none", validation_size=40, model=poisson)
    frame = silent(run, new, data=own)
    left = frame["unseen"] != ""
    assert 0.1 < left.mean() < 0.9
    assert frame["p"][left].max() > 0.5
    [line] = [
        line for line in scored(run, new, None, tmp_path / "s.csv") if "with a change" in line
    ]
    assert f"p stays: {left.mean():.2%} of the rows have one, and " in line
    own_share = float(line.partition("have one, and ")[2].partition("%")[0])
    assert own_share > 5


def test_columns_beyond_their_range_are_named_where_most_p_are_small(tmp_path):
    own = tmp_path / "own.csv"
    table_of(400).to_csv(own, index=False)
    run = a_run(tmp_path, own, epochs=9, model=GAUSSIAN, validation_size=36, **EACH)
    new = table_of(60, seed=1)
    cases = {
        "Columns beyond their range in training: c (60 rows), e (60 rows)": {"c": 5, "e": 400},
        "Columns beyond their range in training: f (60 rows)": {"f": -1e4},
        "": {},
    }
    for words, shift in cases.items():
        new.assign(**{name: new[name] + by for name, by in shift.items()}).to_csv(
            tmp_path / "n.csv", index=False
        )
        lines = scored(run, tmp_path / "n.csv", own, tmp_path / "s.csv")
        said = [line for line in lines if "their range in training" in line]
        assert [words in line for line in said] == [True] * bool(words), lines
    low, high = table_of(400).quantile(0.02), table_of(400).quantile(0.98)
    corners = np.random.default_rng(2).random((60, 6)) < [0.5, 0.5, 0.5, 0.5, 0.5, 1]
    inside = pd.DataFrame(np.where(corners, high, low), columns=[*"abcdef"])
    inside.to_csv(tmp_path / "n.csv", index=False)
    lines = scored(run, tmp_path / "n.csv", own, tmp_path / "s.csv")
    [line] = [line for line in lines if "their range" in line or "its range" in line]
    assert "No column left its range in training; the largest shift of a mean: f, 2." in line


# ---- rows of another kind ----


COUNTS = {
    "log1p": (np.log1p, "got a fraction, "),
    "per million": (lambda x: x / x.sum(1, keepdims=True) * 1e4 + 0.001, "got a fraction, "),
    "halves": (lambda x: x + 0.5, "got a fraction, "),
    "negative": (lambda x: x * -1.0 - 1, "got a negative number, -"),
}


@pytest.mark.parametrize("likelihood", ["poisson", "negative_binomial"])
def test_rows_that_are_no_counts_are_problems(likelihood, tmp_path):
    random = np.random.default_rng(0)
    own = tmp_path / "own.npy"
    counts = random.poisson(random.gamma(2, 2, (240, 1)) * random.gamma(2, 1, 8))
    np.save(own, counts[:200])
    run = a_run(tmp_path, own, scale="none", model={"likelihood": likelihood})
    usual = counts[200:]
    assert silent(run, usual.astype(float), data=own)["problem"].eq("").all()
    for change, words in COUNTS.values():
        frame = run.score(change(usual))
        bad = (change(usual) != np.rint(change(usual))).any(1) | (change(usual) < 0).any(1)
        assert (frame["problem"] != "").tolist() == bad.tolist()
        assert frame["problem"][bad].str.startswith(words).all()
        assert frame[["iw_nll", "p"]][bad].isna().all(axis=None)
        assert run.encode(change(usual))["problem"][bad].str.startswith(words).all()
    mixed = usual.astype(float)
    mixed[:5, 0] += 0.25
    mixed[7:10, 3] = -2
    np.save(tmp_path / "new.npy", mixed)
    lines = scored(run, tmp_path / "new.npy", None, tmp_path / "s.csv")
    problems = [line for line in lines if "with a problem" in line]
    assert [line.partition(", the first ")[0] for line in problems] == [
        "5 rows with a problem",
        "3 rows with a problem",
    ]
    # A Gaussian run of the same counts takes them as numbers.
    other = a_run(tmp_path / "g", own, scale="none", model=GAUSSIAN)
    assert other.encode(mixed)["problem"].eq("").all()


def test_python_says_what_the_command_says_of_numbers_that_are_cut(tmp_path):
    own = tmp_path / "own.csv"
    table_of(300).to_csv(own, index=False)
    run = a_run(tmp_path, own, model=GAUSSIAN, clip=(1.0, 99.0), **EACH)
    new = table_of(4, seed=3).assign(a=40, b=40, c=40, d=40, e=40, f=40)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run.encode(new)
    new.loc[1, "a"], new.loc[3, ["b", "c"]] = 900, -900
    said = "3 values in 2 rows cut to the limits of data.clip; the first in "
    for call in (run.encode, lambda rows: run.score(rows, data=own)):
        with pytest.warns(UserWarning, match=said) as caught:
            call(new)
        assert len(caught) == 1
        assert caught[0].filename == __file__


# ---- depth ----


def cells(count: int, seed: int) -> np.ndarray:
    """Counts of four kinds of cells, of depths over a factor of 10."""
    random = np.random.default_rng(seed)
    kinds = np.random.default_rng(9).gamma(0.5, 1, (4, 120))
    shares = random.dirichlet([0.3] * 4, count) @ kinds
    depth = np.exp(random.normal(6.5, 0.7, count))
    return random.poisson(shares / shares.sum(1, keepdims=True) * depth[:, None])


def test_odd_cells_come_first_once_the_trend_of_the_depth_is_off(tmp_path):
    new = cells(600, seed=1)
    rows = np.argsort(new.sum(1))[[60, 200, 350]]
    for row in rows:
        some = np.random.default_rng(row).permutation(120)[:40]
        new[row, some] = new[row, np.roll(some, 1)]
    own, file = tmp_path / "own.npy", tmp_path / "new.npy"
    np.save(own, cells(1500, seed=0))
    np.save(file, new)
    model = {"likelihood": "poisson", "hidden": (64,), "latent_size": 5}
    run = a_run(tmp_path, own, epochs=40, scale="none", validation_size=150, model=model)
    frame = run.score(new, data=own)
    ranks = frame.rank(numeric_only=True, ascending=False)
    assert ranks["iw_nll"][rows].max() > 30, "they hide behind deeper cells"
    assert sorted(ranks["residual"][rows]) == [1, 2, 3]
    assert (frame["p_residual"][rows] == 1 / 151).all()
    assert (frame["p_residual"] <= 0.05).mean() < 0.1
    sums = pd.Series(new.sum(1))
    assert abs(frame["residual"].corr(sums, method="spearman")) < 0.15
    given = new_data.Given([file], None, None)
    asked = new_data.Asked(None, 20, True, (), None)
    how = {"device": "cpu", "say": print, "progress": None}
    found = new_data.score_to(run, given, tmp_path / "s.csv", asked, **how)
    [line] = [line for line in found.lines if "Rank correlation of score and row sum: 0.9" in line]
    assert "and a sheet goes by them" in line
    assert {*found.seen.worst.names[:3]} == {f"{file}[{row}]" for row in rows}


def test_scores_that_do_not_follow_the_row_sum_are_judged_as_they_are():
    random = np.random.default_rng(0)
    sums = np.exp(random.normal(7, 1, 400))
    free = Trend(sums, random.normal(size=400))
    assert abs(free.correlation) < 0.2
    for shape in (np.log, np.sqrt, lambda x: np.log(x) ** 2):
        trend = Trend(sums, shape(sums) + 0.01 * random.normal(size=400))
        assert trend.correlation > 0.99
        spread = np.ptp(shape(sums))
        assert np.abs(trend.residuals(sums, shape(sums))).max() < 0.25 * spread
    scores = np.log(sums)
    scores[3] = np.inf
    assert np.isposinf(Trend(sums, scores).residuals_of_validation[3])
    few = Trend(np.array([5.0, 5.0, 5.0]), np.array([1.0, 2.0, 3.0]))
    assert np.isfinite(few.residuals(np.array([7.0]), np.array([1.0]))).all()


# ---- rows that were trained on ----


@pytest.mark.parametrize("kind", [*IMAGES, "table", "counts", "floats as text"])
def test_planted_training_rows_are_found(kind, tmp_path):
    """Six of them, whose scores alone tell nothing."""
    settings: dict[str, Any] = IMAGES.get(kind, {"model": GAUSSIAN, **EACH})
    rows = blobs(400) if kind in IMAGES else table_of(400).to_numpy()
    if kind == "counts":
        rows = np.random.default_rng(0).poisson(9, (400, 12))
        settings = {"scale": "none", "model": {"likelihood": "poisson"}}
    if kind == "floats as text":
        rows = (rows - 30).astype(np.float32)
    own = tmp_path / "own.npy"
    np.save(own, rows[:300])
    run = a_run(tmp_path, own, **settings)
    every = run.score(rows, data=own)
    assert every["split"].value_counts().to_dict() == {
        "train": 258,
        "": 100,
        "test": 30,
        "validation": 12,
    }
    planted = every.index[every["split"] == "train"][:6]
    mixed = np.concatenate([rows[300:350], rows[planted], rows[350:]])
    given: Any = mixed
    if kind == "floats as text":
        columns = [f"c{place}" for place in range(mixed.shape[1])]
        pd.DataFrame(mixed, columns=columns).to_csv(tmp_path / "new.csv", index=False)
        given = pd.read_csv(tmp_path / "new.csv").to_numpy()
        assert (given != mixed).any()
    with pytest.warns(UserWarning, match="6 rows are training rows of the run, which the model"):
        frame = run.score(given)
    assert frame.index[frame["split"] == "train"].tolist() == [*range(50, 56)]
    assert (frame["split"] != "").sum() == 6
    clean = silent(run, rows[300:])
    assert clean["split"].eq("").all()


def test_copies_are_ordinary_where_validation_rows_are_copies(tmp_path):
    """A table of few answers: equal rows are no leak, and nothing is said."""
    answers = np.random.default_rng(0).integers(0, 3, (500, 4)).astype(float)
    own = tmp_path / "own.npy"
    np.save(own, answers[:400])
    run = a_run(tmp_path, own, model=GAUSSIAN, scale="standard")
    assert (silent(run, answers[400:], data=own)["split"] == "train").mean() > 0.5
