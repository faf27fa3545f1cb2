"""The table of columns: its figures against numpy, its order, and which runs it is of."""

import math
from pathlib import Path

import numpy as np
import pytest
from report_text import tables_of
from synthetic_study import make_results, write_pictures

from vaeexp.report.features import MOST, feature_blocks
from vaeexp.report.tables import table_chapter
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import load_arrays
from vaeexp.training.checkpoint import save_arrays

TABLE = "Columns and their reconstruction"


@pytest.fixture
def study(tmp_path):
    """A study whose runs may be given figures of columns."""
    made = make_results(folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(made, tmp_path)
    return StudyView(made)


def give(view, names, deviations, errors):
    """Give the runs of the best configuration these figures; `errors` has a row for each run."""
    runs = view.confirmed[0].runs
    for folder, own in zip(runs["folder"], errors, strict=False):
        path = Path(folder) / "evaluation.npz"
        figures = {
            "feature_names": np.array(names),
            "feature_means": np.arange(len(names)) - 1.5,
            "feature_deviations": np.array(deviations, float),
            "feature_errors": np.array(own, float),
        }
        save_arrays(path, {**load_arrays(path), **figures})
    return runs


def test_a_study_of_images_has_no_such_table(study):
    assert feature_blocks(study) == []
    assert not any(TABLE in str(block) for block in table_chapter(study))


def test_figures_are_means_over_the_runs_of_the_best_configuration(study):
    count = len(study.confirmed[0].runs)
    random = np.random.default_rng(0)
    deviations = np.array([0.02, 1.0, 25_000.0])
    errors = deviations * random.uniform([0.2, 0.8, 0.5], [0.3, 0.9, 0.6], (count, 3))
    runs = give(study, ["low", "worst | one", "middle"], deviations, errors)
    text, words = feature_blocks(study)
    assert r"worst \| one" in text
    table = tables_of(text.replace(r"\|", "/"))[""]
    assert list(table["column"]) == ["worst / one", "middle", "low"]
    shares = (errors / deviations).mean(0)[[1, 2, 0]]
    for cell, share in zip(table["share"], shares, strict=True):
        assert float(cell.split(" ± ")[0]) == pytest.approx(100 * share, abs=0.051)
    squares = (1 - (errors / deviations) ** 2).mean(0)[[1, 2, 0]]
    assert [float(cell) for cell in table["R²"]] == pytest.approx(list(squares), abs=5.1e-4)
    assert table["standard deviation"].tolist() == ["1.00", "25,000", "0.0200"]
    assert table["mean"].tolist() == ["−0.50", "0", "−1.5000"]
    assert table["RMSE"][2].startswith(f"{errors[:, 0].mean():.4f}")
    images = runs["result.test/images"].iloc[0]
    assert f"n = {count} seeds" in words
    assert f"on {images:,.0f} test rows; 3 columns." in words


def test_of_many_columns_the_worst_are_shown(study):
    count = len(study.confirmed[0].runs)
    errors = np.tile(np.linspace(0.1, 0.9, 100), (count, 1))
    give(study, [f"c{number}" for number in range(100)], np.ones(100), errors)
    text, words = feature_blocks(study)
    assert list(tables_of(text)[""]["column"]) == [f"c{number}" for number in range(99, 59, -1)]
    assert f"{MOST} of 100 columns" in words


def test_a_column_that_is_constant_in_the_test_rows_comes_last_without_a_share(study):
    count = len(study.confirmed[0].runs)
    give(study, ["constant", "good"], [0.0, 1.0], [[0.1, 0.01]] * count)
    table = tables_of(feature_blocks(study)[0])[""]
    assert list(table["column"]) == ["good", "constant"]
    assert list(table["share"])[1] == list(table["R²"])[1] == "–"


def test_one_run_has_no_interval(study):
    give(study, ["a"], [2.0], [[1.0]])
    text, words = feature_blocks(study)
    assert "±" not in text
    assert "50.0 %" in text
    assert words.startswith("One run, so no interval (n = 1)")
    assert not math.isnan(float(tables_of(text)[""]["R²"][0]))
