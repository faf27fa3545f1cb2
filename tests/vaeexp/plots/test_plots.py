import io
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.collections import LineCollection, PathCollection
from synthetic_study import (
    SEARCH,
    make_results,
    part,
    study_attributes,
    texts,
    thin_studies,
    with_baselines,
    write_pictures,
)

from sweeps.results.rankings import best_so_far, ranked
from vaeexp.plots import PLOTS
from vaeexp.plots.parameters import effects, importance, paired_differences
from vaeexp.plots.pictures import best_samples, beta_strip, component_samples
from vaeexp.plots.search import history, learning_curves
from vaeexp.plots.style import robust_limits, save
from vaeexp.plots.tradeoff import frontier, rate_distortion
from vaeexp.results.study_view import StudyView
from vaeexp.results.trial_files import read_pictures
from vaeexp.words import format_number, format_value


def points(axes):
    return sum(len(found.get_offsets()) for found in axes.collections if isinstance(found, PathCollection))


def test_history_shows_every_trial_once_and_the_best_so_far(results):
    axes = history(StudyView(results)).axes[0]
    trials = StudyView(results).search
    assert points(axes) == len(trials) == 39
    line = axes.lines[0]
    assert list(line.get_ydata()[:-1]) == list(best_so_far(results)["best"])
    best = ranked(results).iloc[0]
    assert f"best: trial {best['number']}, {best['objective']:.2f}" in texts(axes.figure)
    assert axes.get_ylabel() == "validation −ELBO (nats per image)"
    counts = {state: int((trials["state"] == state).sum()) for state in ("complete", "pruned", "failed")}
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {f"{k} ({n})" for k, n in counts.items()}
    above = int((trials["objective"] > axes.get_ylim()[1]).sum())
    assert above
    assert f"▲ {above} above the scale" in texts(axes.figure)


def test_learning_curves_have_a_line_per_trial_and_mark_where_it_was_pruned(results):
    axes = learning_curves(StudyView(results)).axes[0]
    trials = StudyView(results).search
    lines = [
        segment for found in axes.collections if isinstance(found, LineCollection) for segment in found.get_segments()
    ]
    assert len(lines) == int((trials["epochs"] > 0).sum())
    marked = [found for found in axes.collections if isinstance(found, PathCollection)]
    ends = sorted(float(x) for found in marked for x, _ in found.get_offsets())
    stopped = trials[trials["state"].isin(["pruned", "failed"]) & (trials["epochs"] > 0)]
    assert ends == sorted(stopped["epochs"].astype(float))
    assert axes.get_xlabel() == "epoch"
    assert "nats per image" in axes.get_ylabel()


def test_importance_bars_are_the_shares_and_need_enough_trials(results):
    shares = StudyView(results).importances["share"].to_dict()
    assert set(shares) == set(SEARCH)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == StudyView(results).importances["share"].to_dict()
    axes = importance(StudyView(results)).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([100 * share for share in shares.values()][::-1])
    assert axes.get_xlabel() == "share of the importance (%)"
    few = part(results, ranked(results).head(9))
    assert StudyView(few).importances["share"].to_dict() == {}
    assert importance(StudyView(few)) is None


def test_importance_finds_the_one_parameter_that_matters(results):
    trials = StudyView(results).search.assign(state="complete")
    trials["objective"] = 100 + 40 * (np.log(trials["params.learning_rate"].astype(float)) + 6) ** 2
    shares = StudyView(part(results, trials)).importances["share"].to_dict()
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.5


def test_effects_have_a_panel_per_parameter_on_the_scale_of_its_space(results):
    figure = effects(StudyView(results))
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == [
        "β",
        "latent size",
        "learning rate",
        "optimizer",
        "prior",
        "components (if prior is mixture)",
    ]
    assert [axes.get_xscale() for axes in panels] == ["log", "log", "log", "linear", "linear", "log"]
    trials = StudyView(results).search
    scored = trials[trials["objective"].notna()]
    assert points(panels[0]) == len(scored)
    assert points(panels[5]) == int(scored["params.components"].notna().sum())
    assert figure.get_supylabel() == "validation −ELBO (nats per image)"
    (bars,) = (found for found in panels[3].collections if isinstance(found, LineCollection))
    medians = [bar[0, 1] for bar in bars.get_segments()]
    complete = scored[scored["state"] == "complete"].groupby("params.optimizer")["objective"].median()
    assert medians == pytest.approx([complete["adam"], complete["adamax"]])


def test_effects_show_values_outside_the_range_that_is_searched_now(results):
    spec = study_attributes().spec
    narrow = {
        "beta": {"kind": "float", "low": 0.5, "high": 2.0, "log": True},
        "optimizer": {"kind": "choice", "values": ["adamax"]},
    }
    later = part(results, results.trials, study=study_attributes(spec=spec | {"search": narrow}))
    axes = effects(StudyView(later)).axes[0]
    betas = StudyView(later).search.dropna(subset=["objective"])["params.beta"]
    assert axes.get_xlim()[0] < betas.min()
    assert axes.get_xlim()[1] > betas.max()
    assert [label.get_text() for label in effects(StudyView(later)).axes[1].get_xticklabels()] == ["adamax", "adam"]
    assert set(StudyView(later).importances["share"].to_dict()) == set(narrow)


def test_rate_distortion_places_and_colours_every_trial(results):
    figure = rate_distortion(StudyView(results))
    axes = figure.axes[0]
    trials = StudyView(results).at_best_epoch(StudyView(results).search)
    assert points(axes) == len(trials)
    drawn = np.concatenate([found.get_offsets() for found in axes.collections if isinstance(found, PathCollection)])
    assert sorted(drawn[:, 0] + drawn[:, 1]) == pytest.approx(sorted(trials["objective"]))
    shades = np.concatenate([found.get_array() for found in axes.collections if isinstance(found, PathCollection)])
    assert sorted(shades) == pytest.approx(sorted(trials["params.beta"]))
    assert axes.get_xlabel().endswith("(nats per image)")
    assert axes.get_ylabel().endswith("(nats per image)")
    levels = [text for text in texts(figure) if text.startswith("−ELBO")]
    assert len(levels) >= 3
    assert figure.axes[1].get_ylabel() == "β"


def test_lines_of_equal_elbo_are_what_they_say(results):
    axes = rate_distortion(StudyView(results)).axes[0]
    dashed = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert dashed
    for line in dashed:
        x, y = line.get_xdata(), line.get_ydata()
        assert x[0] + y[0] == pytest.approx(x[1] + y[1])
        assert (x[0] + y[0]) % 10 == pytest.approx(0, abs=1e-6)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30))
def test_the_frontier_is_what_nothing_beats(pairs):
    rate, distortion = np.array(pairs, dtype=float).T
    found = {(rate[i], distortion[i]) for i in frontier(rate, distortion)}
    unbeaten = {(r, d) for r, d in pairs if not any((a <= r and b <= d) and (a < r or b < d) for a, b in pairs)}
    assert found == unbeaten
    assert list(rate[frontier(rate, distortion)]) == sorted(rate[frontier(rate, distortion)])


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
    file = tmp_path / "trials" / "beta_mnist" / lowest["name"] / "pictures.npz"
    file.write_bytes(file.read_bytes()[:200])
    assert read_pictures(file.parent) == {}
    assert len(texts(beta_strip(StudyView(made)))) == rows - 2


def test_component_samples_have_a_row_per_component_of_the_confirmed_best(results):
    found, files = StudyView(results).best_pictured("component_samples")
    assert found["repeat"]
    assert "confirm" in found["purposes"]
    labels = texts(component_samples(StudyView(results)))
    assert labels == [f"component {place}" for place in range(1, len(files["component_samples"]) + 1)]


def test_sixteen_samples_stand_in_two_rows_of_eight(results):
    image = best_samples(StudyView(results)).axes[0].images[0].get_array()
    assert image.shape == (2 * 28 + 2, 8 * 28 + 7 * 2)


def test_matched_pairs_are_drawn_one_by_one_with_their_mean(results):
    (comparison,) = StudyView(results).pairs
    assert len(comparison.pairs) == 8
    assert comparison.configurations == 4
    axes = paired_differences(StudyView(results)).axes[0]
    drawn = sorted(float(x) for found in axes.collections[:-1] for x, _ in found.get_offsets())
    assert drawn == pytest.approx(sorted(comparison.pairs["difference"]))
    assert axes.collections[-1].get_offsets()[0][0] == pytest.approx(comparison.interval.mean)
    assert axes.get_xlabel() == "validation −ELBO, adamax − adam (nats per image)"
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "mean"


def test_the_interval_is_over_configurations_not_over_their_seeds(results):
    (comparison,) = StudyView(results).pairs
    assert comparison.interval.n == 4
    assert comparison.interval.mean == pytest.approx(comparison.pairs["difference"].mean())


def test_robust_limits_ignore_what_diverged():
    low, high = robust_limits([100, 101, 102, 103, 104, 1e6, math.inf, math.nan])
    assert low < 100
    assert 104 < high < 150
    assert robust_limits([]) == (0.0, 1.0)
    low, high = robust_limits([7.0, 7.0])
    assert low < 7 < high


def test_robust_limits_keep_most_of_all_points():
    _, high = robust_limits([100, 101, 102], [*range(100, 200)])
    assert 169 < high < 190


def test_the_same_figure_gives_the_same_bytes(results, tmp_path):
    for copy in ("a", "b"):
        save(effects(StudyView(results)), tmp_path / copy)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_figures_are_wide_enough_to_read(results, tmp_path):
    whole = with_baselines(results, folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(whole, tmp_path)
    for name, plot in PLOTS.items():
        width, height = plot.draw(StudyView(whole)).get_size_inches()
        assert 4 <= width <= 9.2, name
        assert height <= 9, name


def test_captions_name_the_run_that_drew(results):
    best = ranked(results).iloc[0]["number"]
    assert PLOTS["best_samples"].reading(StudyView(results)).endswith(f"Drawn by a confirmation run of trial {best}.")
    assert f"all {len(ranked(results))} complete trials" in PLOTS["importance"].reading(StudyView(results))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", thin_studies())
def test_thin_studies_give_a_figure_or_none(case):
    study = thin_studies()[case]
    drawn = {name: plot.draw(StudyView(study)) for name, plot in PLOTS.items()}
    for figure in drawn.values():
        if figure is not None:
            figure.savefig(io.BytesIO(), dpi=40)
    assert all(isinstance(plot.reading(StudyView(study)), str) for plot in PLOTS.values())
    if case in ("no trial", "nothing recorded", "one failed before an epoch"):
        assert not any(drawn.values())
    if case == "one parameter":
        assert drawn["importance"] is None
        assert len([axes for axes in drawn["effects"].axes if axes.get_visible()]) == 1
