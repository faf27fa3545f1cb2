"""Pictures beside words: which models are shown, and that damaged files do not count."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from synthetic_study import (
    make_results,
    part,
    texts,
    with_baselines,
    with_samples_tested,
    write_pictures,
)

from sweeps.results import ranked
from vaeexp.plots import PLOTS
from vaeexp.plots.comparisons import pair_pictures, runs_of_pairs
from vaeexp.plots.pictures import best_median_worst, beta_strip, picture_rows, strip_trials
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import curve_of, read_arrays
from vaeexp.training.checkpoint import save_arrays
from vaeexp.words import format_number, format_value


def test_strip_goes_from_low_to_high_beta_and_names_all_that_differs(results):
    view = StudyView(results)
    words = texts(beta_strip(view))
    betas = [float(word.removeprefix("β = ")) for word in words if word.startswith("β = ")]
    assert len(betas) == 6
    assert betas == sorted(betas)
    best = ranked(results).iloc[0]
    place = words.index(f"β = {format_value(best['params.beta'])}")
    last = curve_of(view.epochs, best).iloc[-1]
    lines = [
        f"−ELBO {format_number(last['val/rate'] + last['val/distortion'], 1)} at epoch "
        f"{last['epoch']} (last)",
        f"L = {best['params.latent_size']}, lr = {format_value(best['params.learning_rate'])}, "
        f"{best['params.optimizer']}, {best['params.prior']}, K = {best['params.components']}",
    ]
    assert words[place + 1] == "\n".join(lines)
    assert {"originals", "reconstructions", "samples of the prior"} <= set(words)
    caption = reading(PLOTS["beta_strip"], view)
    assert (
        "The rows also differ in latent size, learning rate, optimizer, prior and components"
        in caption
    )
    assert "tends to" not in caption
    assert "a high β blurs" not in caption


def test_strip_shows_a_pruned_trial_only_where_none_of_its_range_was_trained_to_the_end(results):
    view = StudyView(results)
    scored = view.search[view.search["objective"].notna()]
    logs = np.log(scored["params.beta"].astype(float))
    sixths = np.minimum((6 * (logs - logs.min()) / (logs.max() - logs.min())).astype(int), 5)
    chosen = strip_trials(view)
    for _, trial in chosen.iterrows():
        near = scored[sixths == sixths[trial.name]]
        assert (trial["state"] == "complete") == (near["state"] == "complete").any()
    pruned = int((chosen["state"] == "pruned").sum())
    assert sum("(last, pruned)" in word for word in texts(beta_strip(view))) == pruned > 0


def test_strip_of_one_configuration_may_speak_of_beta(results, tmp_path):
    """A baseline at the best setting changes β alone, so three values of β can be compared."""
    betas = {f"beta{value}": value for value in (0.0, 3.0, 10.0)}
    specs = {
        name: {"title": name, "at": "best", "seeds": 1, "settings": {"beta": value}}
        for name, value in betas.items()
    }
    other = {
        "more": {
            "title": "k",
            "at": "best",
            "seeds": 1,
            "settings": {"beta": 5.0, "binarisation": "none"},
        }
    }
    made = make_results(folder=tmp_path / "trials" / "beta_mnist")
    whole = with_baselines(made, specs | other, folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(whole, tmp_path)
    view = StudyView(whole)
    best = float(ranked(whole)["params.beta"].iloc[0])
    assert sorted(strip_trials(view)["params.beta"].astype(float)) == sorted(
        [*betas.values(), best]
    )
    words = texts(beta_strip(view))
    assert not [word for word in words if "L = " in word]
    assert "nothing but β and the seed differs" in reading(PLOTS["beta_strip"], view)


def test_pictures_are_of_the_last_epoch_or_say_that_they_are_not(study):
    view = StudyView(study)
    best = ranked(study).iloc[0]
    files = read_arrays(best["folder"])
    image = PLOTS["best_reconstructions"].draw(view).axes[0].images[0].get_array()[..., 0]
    np.testing.assert_array_equal(image[30:58, :28], files["last_reconstructions"][0, ..., 0])
    assert "Pictures are of the last epoch." in reading(PLOTS["best_reconstructions"], view)
    for _, trial in view.search[view.search["objective"].notna()].iterrows():
        file = Path(trial["folder"]) / "pictures.npz"
        arrays = {
            name: array for name, array in np.load(file).items() if not name.startswith("last_")
        }
        save_arrays(file, arrays)
    view = StudyView(study)
    image = PLOTS["best_reconstructions"].draw(view).axes[0].images[0].get_array()[..., 0]
    np.testing.assert_array_equal(image[30:58, :28], files["reconstructions"][0, ..., 0])
    for name in ("beta_strip", "best_reconstructions", "best_samples"):
        assert "runs kept no pictures of the last epoch" in reading(PLOTS[name], view)
    assert f"at epoch {best['best_epoch']} (best)" in " ".join(texts(beta_strip(view)))


def test_trials_of_almost_one_beta_make_no_strip(results):
    """Under promotion only trials near the best β leave pictures."""
    trials = results.trials.copy()
    search = ~trials["repeat"]
    trials.loc[search, "params.beta"] = np.geomspace(0.5, 1.49, int(search.sum()))
    assert beta_strip(StudyView(replace(results, trials=trials))) is None
    trials.loc[search, "params.beta"] = np.geomspace(0.5, 1.51, int(search.sum()))
    assert beta_strip(StudyView(replace(results, trials=trials))) is not None


def test_strip_skips_a_damaged_file(tmp_path):
    made = make_results(trials=12, folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(made, tmp_path)
    rows = len(texts(beta_strip(StudyView(made))))
    file = Path(strip_trials(StudyView(made))["folder"].iloc[0]) / "pictures.npz"
    file.write_bytes(file.read_bytes()[:200])
    assert read_arrays(file.parent) == {}
    assert len(texts(beta_strip(StudyView(made)))) == rows - 2


def test_a_row_shows_all_ten_reconstructions_and_some_samples():
    counts = {"originals": 10, "reconstructions": 10, "samples": 16}
    files = {name: np.zeros((count, 28, 28, 1), np.uint8) for name, count in counts.items()}
    figure = picture_rows([("", [("one", "", files), ("other", "", files)])], margin=3.1)
    image = figure.axes[0].images[0].get_array()[..., 0]
    assert image.shape[1] == (10 * 30 - 2) + 4 * 2 + (5 * 30 - 2)
    assert (np.asarray(image)[0, 9 * 30 : 9 * 30 + 28] == 0).all(), "the tenth original"
    few = {name: array[:3] for name, array in files.items()}
    image = (
        picture_rows([("", [("one", "", few)])], margin=3.1).axes[0].images[0].get_array()[..., 0]
    )
    assert image.shape[1] == 2 * (3 * 30 - 2) + 4 * 2


def test_component_samples_have_a_row_per_component_of_the_confirmed_best(results):
    found, files = StudyView(results).best_with("component_samples")
    assert found["repeat"]
    assert "confirm" in found["purposes"]
    labels = texts(PLOTS["component_samples"].draw(StudyView(results)))
    assert labels == [
        f"component {place}" for place in range(1, len(files["component_samples"]) + 1)
    ]


def test_sixteen_samples_stand_in_two_rows_of_eight(results):
    image = PLOTS["best_samples"].draw(StudyView(results)).axes[0].images[0].get_array()[..., 0]
    assert image.shape == (2 * 28 + 2, 8 * 28 + 7 * 2)


@pytest.fixture
def study(tmp_path):
    made = make_results(folder=tmp_path / "trials" / "beta_mnist", confirm=False, compare=False)
    write_pictures(made, tmp_path)
    return made


def names(figure):
    return [text for text in texts(figure) if ": trial " in text]


def words(rank, row):
    return f"{rank}: trial {row['number']}"


def test_three_rows_are_the_best_the_median_and_the_worst(study):
    figure = best_median_worst(StudyView(study))
    trials = ranked(study)
    three = [trials.iloc[0], trials.iloc[(len(trials) - 1) // 2], trials.iloc[-1]]
    assert names(figure) == [
        words(*each) for each in zip(("best", "median", "worst"), three, strict=True)
    ]
    for row in three:
        setting = (
            f"β = {format_value(row['params.beta'])}, latent size = {row['params.latent_size']}"
        )
        last = study.epochs[
            ~study.epochs["repeat"] & (study.epochs["number"] == row["number"])
        ].iloc[-1]
        value = format_number(last["val/rate"] + last["val/distortion"], 1)
        assert f"−ELBO {value} at epoch {last['epoch']} (last)\n{setting}" in texts(figure)
    image = figure.axes[0].images[0].get_array()[..., 0]
    for place, row in enumerate(three):
        step = (len(image) - (28 + 20 + 28)) // 2  # as high as the words beside a row
        files, top = read_arrays(row["folder"]), 28 + 20 + place * step
        np.testing.assert_array_equal(
            image[top : top + 28, :28], files["last_reconstructions"][0, ..., 0]
        )
        np.testing.assert_array_equal(image[top : top + 28, -28:], files["last_samples"][4, ..., 0])
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
    two = names(best_median_worst(StudyView(part(study, trials.head(2)))))
    assert [name.split(":")[0] for name in two] == ["best", "worst"]
    assert best_median_worst(StudyView(part(study, trials.head(1)))) is None


@pytest.mark.parametrize("places", [(0,), (0, -1), range(100)])
def test_words_beside_a_picture_are_of_the_epoch_that_is_drawn(study, places):
    """Runs that kept no pictures of the last epoch are drawn at their best one."""
    trials = ranked(study)
    without = {trials["number"].iloc[place] for place in places if place < len(trials)}
    for number in without:
        file = Path(trials.loc[trials["number"] == number, "folder"].iloc[0]) / "pictures.npz"
        kept = {
            name: array for name, array in np.load(file).items() if not name.startswith("last_")
        }
        save_arrays(file, kept)
    figure = best_median_worst(StudyView(study))
    shown = [trials.iloc[0], trials.iloc[(len(trials) - 1) // 2], trials.iloc[-1]]
    for row in shown:
        own = study.epochs[~study.epochs["repeat"] & (study.epochs["number"] == row["number"])]
        at_best = row["number"] in without
        drawn = own[own["epoch"] == row["best_epoch"]].iloc[0] if at_best else own.iloc[-1]
        value = format_number(drawn["val/rate"] + drawn["val/distortion"], 1)
        which = "best" if at_best else "last"
        assert any(
            text.startswith(f"−ELBO {value} at epoch {drawn['epoch']} ({which})")
            for text in texts(figure)
        )


@pytest.mark.parametrize("damaged", ["none", "those of the first pair", "all"])
def test_pictures_of_a_pair_are_of_the_winner_or_the_next_configuration_that_left_them(
    tmp_path, damaged
):
    made = make_results(folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(made, tmp_path)
    view = StudyView(with_samples_tested(made))
    (comparison,) = view.pairs
    runs = runs_of_pairs(view, comparison).set_axis(comparison.pairs["source_trial"])
    repeats = view.trials[view.trials["repeat"]].set_index("number")
    winner, after = (own.source_trial for own in comparison.by_configuration[:2])
    assert winner == view.best_number
    lost = {
        "none": [],
        "those of the first pair": runs.loc[[winner], "second"],
        "all": runs["first"],
    }[damaged]
    for number in lost:
        (Path(repeats.loc[number, "folder"]) / "pictures.npz").write_bytes(b"damaged")
    figure = pair_pictures(view)
    if damaged == "all":
        assert figure is None
        return
    source = winner if damaged == "none" else after
    words = texts(figure)
    assert f"trial {source}, seed 1" in words
    for side, value in (("first", "adam"), ("second", "adamax")):
        run = repeats.loc[runs.loc[[source], side].iloc[0]]
        assert run["params.optimizer"] == value
        below = words[words.index(f"optimizer = {value}") + 1]
        last = curve_of(
            view.epochs, run.rename(None).to_frame().T.assign(number=run.name).iloc[0]
        ).iloc[-1]
        assert (
            f"−ELBO {last['val/rate'] + last['val/distortion']:.1f} at epoch {last['epoch']} (last)"
            in below
        )
        of = "test_last" if run["best_epoch"] != run["epochs"] else "test"
        fid = run[f"result.{of}/fid"]
        assert (f"FID {fid:.4g}" in below) == (not np.isnan(fid))
