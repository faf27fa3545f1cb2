import io
import math
import re
import warnings
from dataclasses import astuple, replace

import numpy as np
import pandas as pd
import pytest
from confirmed_figures import confirmed
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.text import Text
from report_text import as_written, in_words, on_view, table_list
from scipy.stats import ttest_1samp
from synthetic_study import (
    REFERENCES,
    make_results,
    study_attributes,
    with_baselines,
    write_pictures,
)

from sweeps.results import best_run, matched_pairs
from sweeps.results.statistics import mean_interval
from vaeexp.data import DATASETS
from vaeexp.plots import PLOTS
from vaeexp.plots.comparisons import baseline_strip
from vaeexp.plots.pictures import strip_trials
from vaeexp.plots.style import save, two_lines, wrapped
from vaeexp.report.answer import answer_of
from vaeexp.report.baselines import protocol_tables
from vaeexp.report.by_parameter import by_parameter
from vaeexp.report.chapters import reading
from vaeexp.report.closing import beta_scale, outcomes
from vaeexp.report.findings import findings
from vaeexp.report.headline import PUBLISHED, headline
from vaeexp.report.summary import trials_csv
from vaeexp.report.tables import confirmed_table, ranked_table
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import for_baseline_alone

outcomes = on_view(outcomes)
by_parameter, confirmed_table, ranked_table = map(
    on_view, (by_parameter, confirmed_table, ranked_table)
)
protocol_tables, headline = map(as_written, (protocol_tables, headline))
trials_csv = on_view(trials_csv)


@pytest.fixture(scope="module")
def results(baselined):
    return baselined


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    runs = tmp_path_factory.mktemp("runs")
    folder = runs / "trials" / "beta_mnist"
    made = with_baselines(make_results(folder=folder), folder=folder)
    write_pictures(made, runs)
    return made


def settings_of(results):
    view = StudyView(results)
    return [*view.confirmed, *view.retrained.baselines]


def tables(blocks):
    return table_list("\n\n".join(blocks))


def with_results(results, names, place="test", **figures):
    """Some results of the runs of these baselines, or of all confirming runs where there is no
    name.
    """
    trials = results.trials.copy()
    chosen = (
        trials["baseline"].isin(names)
        if names
        else trials["purposes"].map(lambda purposes: "confirm" in purposes)
    )
    for metric, value in figures.items():
        trials.loc[chosen.astype(bool), f"result.{place}/{metric}"] = value
    return replace(results, trials=trials)


def with_data(results, **data):
    record = results.study.provenance
    return replace(
        results, study=replace(results.study, provenance=record | {"data": record["data"] | data})
    )


WHOLE = {"name": "mnist", "title": "MNIST", "subset": False, "test": 10_000}


def test_every_confirmed_configuration_and_every_baseline_has_one_row_in_the_table_of_its_protocol(
    results,
):
    found = tables(protocol_tables(results))
    protocols = {row.title: row.same_protocol for row in settings_of(results)}
    shown = [title for _, table in found for title in table["row"]]
    assert sorted(shown) == sorted(protocols)
    assert len(protocols) == results.trials["source_trial"].where(
        results.trials["purposes"].map(lambda purposes: "confirm" in purposes)
    ).nunique() + len(REFERENCES)
    for _, table in found:
        assert len({protocols[title] for title in table["row"]}) == 1
    headings = [title for title, _ in found]
    assert len(set(headings)) == len(headings) == len(set(protocols.values())) == 3


@pytest.mark.parametrize(
    ("draws", "said"), [("one sample", ""), ("20 samples", ", on validation 20")]
)
def test_a_protocol_says_how_many_draws_validation_averages(plain, draws, said):
    record = plain.study.provenance
    estimator = f"search: −ELBO at β = 1 on validation, {draws} per image, the same noise"
    record = record | {"protocol": record["protocol"] | {"estimator": estimator}}
    changed = replace(plain, study=replace(plain.study, provenance=record))
    shown = "\n".join(protocol_tables(changed))
    assert f"with one posterior sample per image{said}; importance-weighted" in shown


def test_a_plain_autoencoder_has_no_elbo_and_a_table_of_its_own(results):
    (table,) = (
        table
        for title, table in tables(protocol_tables(results))
        if title.endswith("deterministic autoencoder")
    )
    assert list(table["row"]) == ["Plain autoencoder"]
    assert not [
        column for column in table if "ELBO" in column or "NLL" in column or "rate" in column
    ]
    assert "never against a −ELBO" in "\n".join(protocol_tables(results))


@pytest.mark.parametrize(("beside", "shown"), [(0.0, False), (-16.0, True)])
def test_what_training_minimised_has_a_column_where_it_is_not_the_elbo(results, beside, shown):
    epochs = results.epochs
    epochs = epochs.assign(**{"train/loss": epochs["train/neg_elbo"] + beside})
    found = tables(protocol_tables(replace(results, epochs=epochs)))
    titles = {title for _, table in found if "val −ELBO" in table for title in table}
    assert ("train loss, last epoch" in titles) == shown


def test_figures_of_samples_and_reconstructions_stand_in_a_second_table_with_the_classifier(
    results,
):
    measured = with_results(
        results, ["grey"], fid=12.34, inception_score=8.9, classifier_accuracy=0.985
    )
    blocks = protocol_tables(measured)
    (table,) = (table for title, table in tables(blocks) if "FID (classifier features)" in table)
    assert list(table["FID (classifier features)"]) == ["12.34"]
    assert list(table["IS (classifier)"]) == ["8.90"]
    assert "SSIM" not in table
    assert "right on 98.5 % of the test images" in "\n".join(blocks)
    assert "Inception" in blocks[1]
    assert "Inception" not in "\n".join(protocol_tables(results))


def test_references_change_nothing_that_is_said_of_the_search(plain, results, monkeypatch):
    said, of_plain = (answer_of(StudyView(study)) for study in (results, plain))
    assert (said.use, said.get) == (of_plain.use, of_plain.get)
    others = [repr(one) for one in said.findings if not one.id.startswith("baseline.")]
    assert others == [*map(repr, of_plain.findings)]
    assert ranked_table(results) == ranked_table(plain)
    assert confirmed_table(results) == confirmed_table(plain)
    assert best_run(results)["name"] == best_run(plain)["name"]
    assert confirmed(results)[list(confirmed(plain))].equals(confirmed(plain))
    assert matched_pairs(results, "optimizer").equals(matched_pairs(plain, "optimizer"))
    assert list(strip_trials(StudyView(results))["number"]) == list(
        strip_trials(StudyView(plain))["number"]
    )
    assert by_parameter(results, "prior") == by_parameter(plain, "prior")
    # Whether a plot is there does not depend on its layout, which takes half of the time.
    monkeypatch.setattr("vaeexp.plots.framed", lambda figure, title: figure)
    with_them, without_them = StudyView(results), StudyView(plain)
    for name in ("history", "rate_distortion", "confirmed_seeds", "paired_differences"):
        plot = PLOTS[name]
        assert (plot.draw(with_them) is None) == (plot.draw(without_them) is None), name


def test_a_baseline_with_a_prior_of_its_own_makes_no_category_of_the_search(plain):
    other = with_baselines(
        plain,
        {"vamp": {"title": "V", "at": "fixed", "seeds": 1, "settings": {"prior": "vampprior"}}},
    )
    assert StudyView(other).plan.parameters["prior"].texts == ("normal", "mixture")


def test_the_pictures_of_the_best_model_are_not_those_of_a_baseline(drawn):
    row, _ = StudyView(drawn).best_with("samples")
    assert pd.isna(row["baseline"])
    assert "baseline" not in row["purposes"]


def test_a_run_that_confirms_and_is_a_baseline_stands_in_both_rows(plain):
    trials = plain.trials.copy()
    own = StudyView(plain).retrained.confirm_runs
    index = own.index[0]
    trials.at[index, "purposes"] = ("confirm", "baseline")
    trials.loc[index, "baseline"] = "same"
    spec = plain.study.spec | {
        "baselines": {"same": {"title": "Same", "at": "best", "seeds": 1, "settings": {}}}
    }
    both = replace(plain, trials=trials, study=replace(plain.study, spec=spec))
    found = {row.title: row for row in settings_of(both)}
    assert list(found["Same"].runs["name"]) == [own.loc[index, "name"]]
    assert own.loc[index, "name"] in set(
        found[f"Trial {own.loc[index, 'source_trial']}, confirmed"].runs["name"]
    )
    assert not for_baseline_alone(trials[trials["name"] == own.loc[index, "name"]]).any()


def test_baselines_that_share_their_runs_have_a_row_each(plain):
    settings = {"prior": "normal"}
    given = {"at": "best", "seeds": 3, "settings": settings}
    made = with_baselines(plain, {"one": {"title": "One", **given}})
    trials = made.trials.copy()
    trials.loc[trials["baseline"] == "one", "baseline"] = "one+two"
    spec = made.study.spec | {
        "baselines": {name: {"title": name.capitalize(), **given} for name in ("one", "two")}
    }
    both = replace(made, trials=trials, study=replace(made.study, spec=spec))
    found = {row.title: list(row.runs["name"]) for row in StudyView(both).retrained.baselines}
    assert list(found) == ["One", "Two"]
    assert found["One"] == found["Two"]
    assert len(found["One"]) == 3
    assert {"One", "Two"} <= set(tables(headline(both))[0][1]["row"])


def test_the_csv_names_the_baseline_of_a_run(results):
    frame = pd.read_csv(io.StringIO(trials_csv(results)))
    counts = frame["baseline"].value_counts().to_dict()
    assert counts == {name: row["seeds"] for name, row in REFERENCES.items()}
    assert "confirm, compare and baselines" in outcomes(results)


def test_without_anything_confirmed_there_is_no_chapter(plain):
    search = plain.trials[~plain.trials["repeat"]]
    bare = replace(plain, trials=search)
    assert protocol_tables(bare) == []
    assert StudyView(bare).best.title == f"Trial {best_run(bare)['number']}, best in the search"
    assert StudyView(bare).retrained.baselines == []


@pytest.mark.parametrize(
    ("sigma", "shown"), [(math.sqrt(0.5), "0.00128"), (0.1, "0.0000255"), (1.0, "0.00255")]
)
def test_the_scale_of_beta_is_that_of_a_loss_with_the_same_minimum(results, sigma, shown):
    spec = study_attributes().spec
    model = spec["model"] | {"likelihood": "gaussian", "sigma": sigma}
    squares = replace(results, study=replace(results.study, spec=spec | {"model": model}))
    text = in_words(beta_scale(StudyView(squares)))
    (stated,) = re.findall(
        r"β = 1 here is ([\d.]+) in a loss of mean squared error per sub-pixel", text
    )
    assert stated == shown
    weight = float(stated)
    # Σ (x−μ)²/2σ² + KL and MSE + weight·KL order any two models alike.
    random = np.random.default_rng(0)
    squared, kl = random.uniform(1, 100, 50), random.uniform(1, 100, 50)
    ours, theirs = squared / (2 * sigma**2) + kl, squared / 784 + weight * kl
    assert np.allclose(theirs / ours, theirs[0] / ours[0], rtol=0.005)


def test_colour_and_levels_have_their_units_in_the_confirmed_table(results):
    colour = with_results(with_data(results, image_shape=[3, 8, 8]), [], bits_per_dimension=5.25)
    (_, table), *_ = tables([confirmed_table(colour)])
    assert list(table["bits per dimension"]) == ["5.250 ± 0.000"] * len(table)


def words(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_the_strip_has_a_line_for_the_best_and_each_baseline_below_its_own_originals(drawn):
    figure = baseline_strip(StudyView(drawn))
    shown = words(figure)
    for title in [StudyView(drawn).best.title, *(row["title"] for row in REFERENCES.values())]:
        assert shown.count(title) == 1
    assert shown.count("originals") == 2  # grey levels have their own
    assert {"static binarisation", "levels in [0, 1]"} <= set(shown)
    assert [text for text in shown if text.startswith("distortion")]
    assert baseline_strip(StudyView(with_baselines(make_results()))) is None
    assert baseline_strip(StudyView(make_results())) is None


def titled(results, titles):
    """The study whose baselines have these titles."""
    rows = zip(results.study.spec["baselines"].items(), titles, strict=True)
    spec = results.study.spec | {
        "baselines": {name: row | {"title": title} for (name, row), title in rows}
    }
    return replace(results, study=replace(results.study, spec=spec))


@pytest.fixture(scope="module")
def twice(drawn):
    """The same study, whose last baseline was trained as the best was and tested with more samples,
    under a long title.
    """
    trials = drawn.trials.copy()
    best = StudyView(drawn).best.runs.sort_values("seed_index")
    shared = [
        "seed",
        "result.test/neg_elbo",
        "result.test/distortion",
        "result.test/rate",
        "objective",
    ]
    rows = trials.index[trials["baseline"] == "many_samples"]
    trials.loc[rows, shared] = best[shared].to_numpy()[: len(rows)]
    titles = [
        TITLE if name == "many_samples" else spec["title"]
        for name, spec in drawn.study.spec["baselines"].items()
    ]
    return titled(replace(drawn, trials=trials), titles)


TITLE = "The best configuration, its bound by five thousand samples"


def test_a_baseline_that_was_trained_as_the_best_is_drawn_once_and_the_caption_says_so(twice):
    view = StudyView(twice)
    assert [setting.title for setting in view.retrained.baselines][2] == TITLE
    said = f"“{TITLE}”: the same training as “{view.best.title}”, not drawn a second time."
    for name in ("confirmed_seeds", "baseline_strip"):
        figure = PLOTS[name].draw(view)
        figure.canvas.draw()
        texts = [text.get_text() for text in figure.findobj(Text)]
        assert not [text for text in texts if "samples" in text and "bound" in text], name
        assert view.best.title in [text.split(" (n =")[0] for text in texts], name
        assert reading(PLOTS[name], view).endswith(said)


HOSTILE = ["x" * 9_000, r"costs $5 and $\foo{ more", "😀 שלום 世界", "one\n\ntwo"]


def test_any_title_is_drawn_as_it_stands(drawn):
    titles = HOSTILE
    named, shown = titled(drawn, titles), set()
    for name in ("confirmed_seeds", "baseline_strip"):
        with warnings.catch_warnings(record=True) as caught:
            figure = PLOTS[name].draw(StudyView(named))
            save(figure, io.BytesIO())
        assert not caught, name
        assert max(figure.get_size_inches()) < 20
        texts = [text.get_text() for text in figure.findobj(Text)]
        here = {title for title in titles if any(text.startswith(title[:3]) for text in texts)}
        assert here, name
        shown |= here
        for text in texts:
            assert max(map(len, text.split("\n"))) <= 100
    assert shown == {*titles}


@given(
    st.lists(st.text("abcdefgh", min_size=1, max_size=12), min_size=1, max_size=12),
    st.integers(12, 40),
)
def test_two_lines_keep_every_word_that_fits(words, width):
    text = " ".join(words)
    lines = two_lines(text, width).split("\n")
    assert len(lines) <= 2
    assert max(map(len, lines)) <= width
    if len(text) <= width:
        assert lines == [text]
    elif lines[1].endswith("…"):
        assert len(wrapped(text, width).split("\n")) > 2
        assert text.startswith(" ".join(lines).removesuffix("…"))
    else:
        assert " ".join(lines) == text


# ---- the headline table, and what the answer says of baselines ----


def of_row(results, name):
    """The line of the headline table with this title, by column."""
    table = tables(headline(results))[0][1].set_index("row")
    return table.loc[name]


def test_the_headline_has_a_row_for_the_best_each_baseline_and_the_published_figure(results):
    shown = tables(headline(with_data(results, **WHOLE)))[0][1]
    titles = [row["title"] for row in REFERENCES.values()]
    assert list(shown["row"]) == [
        StudyView(results).best.title,
        *titles,
        "published (Burda et al. 2016)",
    ]
    # No run of these has an FID or an MSE, so no column has.
    assert [*shown.columns] == [
        *("row", "n", "test −ELBO", "test IW-NLL (k)", "rate", "comparable?")
    ]


@pytest.mark.parametrize(
    "data",
    [
        {"subset": True},
        {"test": 500},
        {"title": "MNIST, 14 × 14"},
        {"title": "MNIST, 70,000 images (not the official files)"},
        {"name": "hf--ylecun--mnist", "title": "hf--ylecun--mnist, 70,000 images"},
        {"name": "omniglot", "title": "Omniglot, 28 × 28"},
        *(
            {"name": row.name, "title": row.title}
            for row in DATASETS.values()
            if row.name != "mnist"
        ),
    ],
)
def test_no_published_figure_stands_beside_other_data(results, data):
    shown = headline(with_data(results, **WHOLE | data))[0]
    assert not re.search("|".join(str(nll) for nll, _ in PUBLISHED.values()), shown)


@pytest.mark.parametrize(
    ("section", "setting", "figure"),
    [
        ("data", {"binarisation": "dynamic"}, "86.76"),
        ("data", {"binarisation": "none"}, None),
        ("model", {"likelihood": "continuous_bernoulli"}, None),
    ],
)
def test_the_published_figure_is_that_of_the_protocol(results, section, setting, figure):
    whole = with_data(results, **WHOLE)
    spec = whole.study.spec | {section: whole.study.spec[section] | setting}
    shown = headline(replace(whole, study=replace(whole.study, spec=spec)))[0]
    found = [str(nll) for nll, _ in PUBLISHED.values() if str(nll) in shown]
    assert found == ([] if figure is None else [figure])


def test_rows_that_cannot_be_compared_are_marked_with_the_reason(results):
    blocks = "\n".join(headline(with_data(results, **WHOLE)))
    for name, verdict, why in (
        ("Plain autoencoder", "FID, MSE", "a deterministic code has no rate and no ELBO"),
        ("Grey levels", "no", "binarisation none, not static"),
        ("Best, k = 5,000", "all but IW-NLL", "k = 5,000 samples, not 500"),
        (
            "published (Burda et al. 2016)",
            "IW-NLL, k = 5,000",
            "Only an IW-NLL of the same k may be set against it",
        ),
    ):
        cell = of_row(with_data(results, **WHOLE), name)["comparable?"]
        mark = re.fullmatch(rf"{re.escape(verdict)} (\([a-z]\))", cell)[1]
        (note,) = [line for line in blocks.splitlines() if line.startswith(f"- {mark}")]
        assert why in note
    assert of_row(results, "β = 10")["comparable?"] == "yes"
    assert of_row(results, "Plain autoencoder")["test −ELBO"] == "–"


def test_the_figures_that_a_source_printed_stand_in_a_row_that_is_not_compared(plain):
    row = REFERENCES["strong"] | {"published": "test −ELBO 92.07"}
    blocks = headline(with_baselines(plain, {"strong": row}))
    assert "| β = 10, as published | – | – | – | – | no (a) |" in blocks[0]
    assert "test −ELBO 92.07" in blocks[-1]


def test_figures_of_the_last_epoch_stand_beside_where_they_differ(results):
    same = with_results(results, ["strong"], fid=700.0, reconstruction_mse=0.05)
    assert "last epoch" not in headline(same)[0]
    moved = with_results(same, ["strong"], "test_last", rate=9.5, fid=650.0)
    row = of_row(moved, "β = 10, last epoch")
    assert (row["rate"], row["FID"]) == ("9.50", "650.00")


@pytest.mark.parametrize(("last", "again"), [((9.1, 9.9, 10.1), False), ((19, 20, 22), True)])
def test_a_row_stands_twice_where_a_figure_moves_by_more_than_its_interval(results, last, again):
    trials = results.trials.copy()
    best = StudyView(results).best
    chosen = trials["repeat"] & trials["number"].isin(best.runs["number"])
    # Mean 10 with the interval 10 ± 2.48.
    trials.loc[chosen, "result.test/rate"] = [9.0, 10.0, 11.0]
    trials.loc[chosen, "result.test_last/rate"] = [float(value) for value in last]
    shown = headline(replace(results, trials=trials))[0]
    assert (f"{best.title}, last epoch" in shown) == again


def test_a_table_has_no_column_of_samples_and_errors_in_shares(results):
    found = with_results(results, [], unexplained_variance=0.25)
    shown = tables(headline(found))[0][1]
    assert not {"FID", "MSE"} & {*shown.columns}
    assert shown["1 − R²"].iloc[0].startswith("0.2500")


def apart(results, nats):
    """The study whose baseline `many_samples` has the seeds of the best, and is worse on test by so
    many nats of each; and that baseline.
    """
    trials, best = results.trials.copy(), StudyView(results).best.runs.sort_values("seed_index")
    own = trials["baseline"] == "many_samples"
    trials.loc[own, "seed"] = best["seed"].to_numpy()
    trials.loc[own, "result.test/neg_elbo"] = best["result.test/neg_elbo"].to_numpy() + nats
    view = StudyView(replace(results, trials=trials))
    return view, view.retrained.margin_of(
        next(each for each in view.retrained.baselines if each.baseline == "many_samples")
    )


def test_runs_that_share_their_seeds_are_paired(results):
    _, margin = apart(results, [1.0, 1.1, 1.2])
    assert astuple(margin.interval) == pytest.approx(astuple(mean_interval([1.0, 1.1, 1.2])))
    expected = 3 * ttest_1samp([1.0, 1.1, 1.2], 0).pvalue  # each of three confirmed configurations
    assert margin.p_holm == pytest.approx(expected)
    assert "paired over 3 shared seeds" in margin.basis


def test_a_baseline_that_only_chance_may_tell_apart_is_not_called_worse(results):
    view, margin = apart(results, [0.5, 1.0, 0.6])
    assert margin.interval.low * margin.interval.high > 0
    assert not margin.settled
    said = [statement.id for statement in findings(view)]
    assert "baseline.perhaps" in said
    assert "baseline.apart" not in said


def test_a_baseline_that_is_the_best_configuration_has_no_difference(plain):
    """The best configuration has what the baseline asks for, so that both are the same runs."""
    trials = plain.trials.copy()
    best = StudyView(plain).best
    own = trials["repeat"] & trials["number"].isin(best.runs["number"])
    trials.loc[own, "purposes"] = trials.loc[own, "purposes"].map(
        lambda purposes: (*purposes, "baseline")
    )
    trials.loc[own, "baseline"] = "same"
    trials.loc[own, "result.test_last/rate"] = 9.0
    spec = plain.study.spec | {
        "baselines": {"same": {"title": "Same", "at": "best", "seeds": 3, "settings": {}}}
    }
    study = replace(plain, trials=trials, study=replace(plain.study, spec=spec))
    assert "baseline.same" in [statement.id for statement in findings(StudyView(study))]
    row = of_row(study, "Same")
    assert row["comparable?"] == "the winner itself (a)"
    assert "Same, last epoch" not in headline(study)[0]
    assert (
        "- (a) Same is the winner itself: the two rows show the same runs." in headline(study)[-1]
    )


@pytest.mark.parametrize("doubt", ["", " (not the official files)", " (files not verified)"])
def test_what_a_source_printed_stands_beside_its_own_data_alone(results, doubt):
    rows = {
        name: {**row, "published": "its own 91.2"}
        for name, row in results.study.spec["baselines"].items()
    }
    printed = replace(
        results, study=replace(results.study, spec={**results.study.spec, "baselines": rows})
    )
    text = headline(with_data(printed, **WHOLE | {"title": f"MNIST{doubt}"}))
    assert ("its own 91.2" in "\n".join(text)) == (doubt == "")
