"""Pictures beside words: which models are shown, and that damaged files do not count."""

from pathlib import Path

import numpy as np
import pytest
from synthetic_study import (
    make_results,
    part,
    texts,
    write_pictures,
)

from sweeps.results import ranked
from vaeexp.plots import PLOTS
from vaeexp.plots.pictures import best_median_worst, beta_strip
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import read_arrays
from vaeexp.words import format_number, format_value


def test_strip_goes_from_low_to_high_beta_with_the_best_of_each_range(results):
    words = texts(beta_strip(StudyView(results)))
    betas = [float(word.removeprefix("β = ")) for word in words if word.startswith("β = ")]
    assert len(betas) == 6
    assert betas == sorted(betas)
    best = ranked(results).iloc[0]
    assert f"β = {format_value(best['params.beta'])}" in words
    assert f"L = {best['params.latent_size']}, −ELBO {format_number(best['objective'], 1)}" in words
    assert {"originals", "reconstructions", "samples of the prior"} <= set(words)


def test_strip_skips_a_damaged_file(tmp_path):
    made = make_results(trials=12, folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(made, tmp_path)
    rows = len(texts(beta_strip(StudyView(made))))
    lowest = StudyView(made).search.dropna(subset=["objective"]).sort_values("params.beta").iloc[0]
    file = Path(lowest["folder"]) / "pictures.npz"
    file.write_bytes(file.read_bytes()[:200])
    assert read_arrays(file.parent) == {}
    assert len(texts(beta_strip(StudyView(made)))) == rows - 2


def test_component_samples_have_a_row_per_component_of_the_confirmed_best(results):
    found, files = StudyView(results).best_with("component_samples")
    assert found["repeat"]
    assert "confirm" in found["purposes"]
    labels = texts(PLOTS["component_samples"].draw(StudyView(results)))
    assert labels == [f"component {place}" for place in range(1, len(files["component_samples"]) + 1)]


def test_sixteen_samples_stand_in_two_rows_of_eight(results):
    image = PLOTS["best_samples"].draw(StudyView(results)).axes[0].images[0].get_array()
    assert image.shape == (2 * 28 + 2, 8 * 28 + 7 * 2)


@pytest.fixture
def study(tmp_path):
    made = make_results(folder=tmp_path / "trials" / "beta_mnist", confirm=False, compare=False)
    write_pictures(made, tmp_path)
    return made


def names(figure):
    return [text for text in texts(figure) if ": trial " in text]


def words(rank, row):
    return f"{rank}: trial {row['number']}, −ELBO {format_number(row['objective'], 1)}"


def test_three_rows_are_the_best_the_median_and_the_worst(study):
    figure = best_median_worst(StudyView(study))
    trials = ranked(study)
    three = [trials.iloc[0], trials.iloc[(len(trials) - 1) // 2], trials.iloc[-1]]
    assert names(figure) == [words(*each) for each in zip(("best", "median", "worst"), three, strict=True)]
    for row in three:
        setting = f"β = {format_value(row['params.beta'])}, latent size = {row['params.latent_size']}"
        assert setting in texts(figure)
    image = figure.axes[0].images[0].get_array()
    for place, row in enumerate(three):
        files, top = read_arrays(row["folder"]), 28 + 20 + place * 30
        np.testing.assert_array_equal(image[top : top + 28, :28], files["reconstructions"][0, ..., 0])
        np.testing.assert_array_equal(image[top : top + 28, -28:], files["samples"][7, ..., 0])
    assert {"originals", "reconstructions", "samples of the prior"} <= set(texts(figure))


def test_a_damaged_or_missing_file_gives_way_to_the_next_trial(study):
    trials = ranked(study)
    for place, content in ((0, b"PK"), (len(trials) - 1, None)):
        file = Path(trials["folder"].iloc[place]) / "pictures.npz"
        file.unlink()
        if content:
            file.write_bytes(content)
    found = names(best_median_worst(StudyView(study)))
    assert (found[0], found[-1]) == (words("best", trials.iloc[1]), words("worst", trials.iloc[-2]))


def test_two_have_no_median_and_one_is_no_contrast(study):
    trials = ranked(study)
    assert [name.split(":")[0] for name in names(best_median_worst(StudyView(part(study, trials.head(2)))))] == [
        "best",
        "worst",
    ]
    assert best_median_worst(StudyView(part(study, trials.head(1)))) is None
