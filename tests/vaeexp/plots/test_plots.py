"""Plots of the search, of its parameters and pairs, and facts that hold of every plot.

The plots of studies with next to nothing in them are drawn by the tests of the report.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_studies import two_objectives
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from synthetic_study import (
    SEARCH,
    part,
    study_attributes,
    texts,
    with_baselines,
    with_samples_tested,
    write_pictures,
)

from sweeps.results import best_so_far, ranked
from vaeexp.plots import PLOTS, style
from vaeexp.plots.comparisons import paired_differences
from vaeexp.plots.parameters import equal_epochs, importance
from vaeexp.plots.search import history, learning_curves
from vaeexp.plots.style import robust_limits, save
from vaeexp.report.chapters import reading
from vaeexp.report.markup import PER_INCH
from vaeexp.results.study_view import StudyView


def points(axes):
    return sum(
        len(found.get_offsets()) for found in axes.collections if isinstance(found, PathCollection)
    )


@pytest.mark.parametrize(
    ("given", "trials", "words"),
    [(0, 9, ""), (4, 9, "gave the first 4;"), (4, 2, "gave the first 2;")],
)
def test_the_history_says_which_trials_the_study_file_gave(results, given, trials, words):
    spec = results.study.spec | ({"start": [{"beta": 1}] * given} if given else {})
    study = replace(results.study, spec=spec)
    few = part(results, results.trials[~results.trials["repeat"]].head(trials), study=study)
    said = reading(PLOTS["history"], StudyView(few))
    assert words in said
    assert ("study file" in said) == bool(given)


def test_history_shows_every_trial_once_and_the_best_so_far(results):
    axes = history(StudyView(results)).axes[0]
    trials = StudyView(results).search
    assert points(axes) == len(trials) == 39
    line = axes.lines[0]
    assert list(line.get_ydata()[:-1]) == list(best_so_far(results)["best"])
    best = ranked(results).iloc[0]
    assert f"lowest: trial {best['number']}, {best['objective']:.2f}" in texts(axes.figure)
    assert axes.get_ylabel() == "validation −ELBO (nats per image)"
    counts = {
        state: int((trials["state"] == state).sum()) for state in ("complete", "pruned", "failed")
    }
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        f"complete ({counts['complete']})",
        f"pruned, value reached ({counts['pruned']})",
        f"failed ({counts['failed']})",
    }
    above = int((trials["objective"] > axes.get_ylim()[1]).sum())
    assert above
    assert f"▲ {above} above the scale" in texts(axes.figure)


def test_learning_curves_have_a_line_per_trial_and_mark_where_it_was_pruned(results):
    axes = learning_curves(StudyView(results)).axes[0]
    trials = StudyView(results).search
    lines = [
        segment
        for found in axes.collections
        if isinstance(found, LineCollection)
        for segment in found.get_segments()
    ]
    assert len(lines) == int((trials["epochs"] > 0).sum())
    marked = [found for found in axes.collections if isinstance(found, PathCollection)]
    ends = sorted(float(x) for found in marked for x, _ in found.get_offsets())
    stopped = trials[trials["state"].isin(["pruned", "failed"]) & (trials["epochs"] > 0)]
    last = results.epochs[~results.epochs["repeat"]].groupby("number")["objective"].last()
    seen = stopped[
        style.within(
            axes, np.stack([stopped["epochs"], last[stopped["number"]]], axis=1).astype(float)
        )
    ]
    assert 0 < len(seen) < len(stopped)
    assert ends == sorted(seen["epochs"].astype(float))
    assert axes.get_xlabel() == "epoch"
    assert "nats per image" in axes.get_ylabel()


def test_importance_bars_are_the_shares_and_need_enough_trials(results):
    shares = StudyView(results).importances["share"].to_dict()
    assert set(shares) == set(SEARCH)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == StudyView(results).importances["share"].to_dict()
    axes = importance(StudyView(results)).axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx(
        [100 * share for share in shares.values()][::-1]
    )
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


def test_equal_epochs_have_a_panel_per_parameter_on_the_scale_of_its_space(results):
    view = StudyView(results)
    figure = equal_epochs(view)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel() for axes in panels] == [
        "β",
        "latent size",
        "learning rate",
        "optimizer",
        "prior",
        "components (if prior is mixture)",
    ]
    assert [axes.get_xscale() for axes in panels] == [
        "log",
        "log",
        "log",
        "linear",
        "linear",
        "log",
    ]
    epoch, trials = view.influence.at_equal_epochs
    assert points(panels[0]) == len(trials) + 1, "each trial once, and a ring around the best"
    assert figure.get_supylabel() == f"validation −ELBO (nats per image), epoch {epoch}"


def test_panels_show_values_outside_the_range_that_is_searched_now(results):
    spec = study_attributes().spec
    narrow = {
        "beta": {"kind": "float", "low": 0.5, "high": 2.0, "log": True},
        "optimizer": {"kind": "choice", "values": ["adamax"]},
    }
    later = part(results, results.trials, study=study_attributes(spec=spec | {"search": narrow}))
    axes = equal_epochs(StudyView(later)).axes[0]
    betas = StudyView(later).influence.at_equal_epochs[1]["params.beta"]
    assert axes.get_xlim()[0] < betas.min()
    assert axes.get_xlim()[1] > betas.max()
    labels = equal_epochs(StudyView(later)).axes[1].get_xticklabels()
    assert [label.get_text().split("\n")[0] for label in labels] == ["adamax", "adam"]
    assert set(StudyView(later).importances["share"].to_dict()) == set(narrow)


def test_matched_pairs_are_drawn_one_by_one_with_their_mean(results):
    (comparison,) = StudyView(results).pairs
    assert len(comparison.pairs) == 8
    assert comparison.configurations == comparison.interval.n == 4, (
        "over configurations, not over their seeds"
    )
    assert comparison.interval.mean == pytest.approx(comparison.pairs["difference"].mean())
    axes = paired_differences(StudyView(results)).axes[0]
    drawn = sorted(float(x) for found in axes.collections[:-1] for x, _ in found.get_offsets())
    assert drawn == pytest.approx(sorted(comparison.pairs["difference"]))
    assert axes.collections[-1].get_offsets()[0][0] == pytest.approx(comparison.interval.mean)
    assert axes.get_xlabel() == "validation −ELBO, adamax − adam (nats per image)"
    assert [label.get_text() for label in axes.get_yticklabels()][-1] == "mean"


def test_robust_limits_ignore_what_diverged():
    low, high = robust_limits([100, 101, 102, 103, 104, 1e6, math.inf, math.nan])
    assert low < 100
    assert 104 < high < 150
    assert robust_limits([]) == (0.0, 1.0)
    low, high = robust_limits([7.0, 7.0])
    assert low < 7 < high
    _, high = robust_limits([100, 101, 102], [*range(100, 200)])
    assert 169 < high < 190, "most of all points stay"


@pytest.mark.parametrize("name", ["equal_epochs", "confirmed_seeds", "best_samples"])
def test_a_file_is_drawn_once_and_as_matplotlib_would_save_it(results, tmp_path, monkeypatch, name):
    draws, draw = [], Figure.draw
    monkeypatch.setattr(
        Figure, "draw", lambda self, renderer: draws.append(self) or draw(self, renderer)
    )
    figure = PLOTS[name].draw(StudyView(results))
    save(figure, tmp_path / "ours.png")
    assert draws == [figure], "its layout takes no drawing"
    save(PLOTS[name].draw(StudyView(results)), tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "ours.png").read_bytes()
    figure.savefig(tmp_path / "theirs.png", dpi=style.DPI, facecolor="white")
    np.testing.assert_array_equal(
        imread(tmp_path / "ours.png"), imread(tmp_path / "theirs.png")[..., :3]
    )


@pytest.fixture(scope="module")
def rendered(results, tmp_path_factory):
    """Every plot of a study that has all of them, or of one with two objectives, by name, laid
    out.
    """
    runs = tmp_path_factory.mktemp("drawn")
    whole = with_baselines(results, folder=runs / "trials" / "beta_mnist")
    write_pictures(whole, runs)
    view = StudyView(with_samples_tested(whole))
    two = StudyView(two_objectives())
    drawn = {name: plot.draw(two if plot.objectives == 2 else view) for name, plot in PLOTS.items()}
    assert None not in drawn.values()
    for figure in drawn.values():
        figure.draw_without_rendering()
    return drawn


def words_of(figure):
    """All texts of a figure that are seen, titles and legends among them; ticks beyond the limits
    are there, but not drawn.
    """
    unseen = set()
    for axes in figure.axes:
        unseen |= set() if axes.get_visible() else {id(text) for text in axes.findobj(Text)}
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            beyond = [tick for tick in axis.get_major_ticks() if not low <= tick.get_loc() <= high]
            unseen |= {id(text) for tick in beyond for text in (tick.label1, tick.label2)}
    found = [
        text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()
    ]
    return [text for text in found if id(text) not in unseen]


def luminance(colour):
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in to_rgb(colour)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("name", PLOTS)
def test_plots_have_a_title_fit_a_page_and_are_readable_on_a_dark_one(rendered, name):
    """Words contrast with the white canvas (WCAG 2.2, 1.4.3); no two words overlap; a white frame
    parts the plot from the page.
    """
    figure = rendered[name]
    width, height = figure.get_size_inches()
    assert 4 <= width <= 9.5
    assert height <= 9.5
    words = words_of(figure)
    titles = [text for text in words if text.get_gid() == "title"]
    assert [text.get_text() for text in titles] == [PLOTS[name].title]
    canvas = figure.bbox.padded(-style.MARGIN * figure.dpi / 2)
    for text in words:
        for shown, least in ((830, 9), (600, 8.8)):
            assert text.get_fontsize() / 72 * min(shown / width, PER_INCH) >= least, (
                "too small on a git host"
            )
        box = text.get_window_extent()
        assert canvas.x0 <= box.x0, text
        assert box.x1 <= canvas.x1, text
        assert canvas.y0 <= box.y0, text
        assert box.y1 <= canvas.y1, text
        on_a_cell = text.axes is not None and text.axes.images and text.get_color() == "white"
        assert on_a_cell or 1.05 / (luminance(text.get_color()) + 0.05) >= 4.5, text
    boxes = [text.get_window_extent().padded(-0.02 * figure.dpi) for text in words]
    for (one, box), (other, near) in itertools.combinations(zip(words, boxes, strict=True), 2):
        assert not box.overlaps(near), (one.get_text(), other.get_text())


def test_files_have_twice_the_pixels_of_the_page_and_a_white_frame(rendered, tmp_path):
    save(rendered["best_samples"], tmp_path / "plot.png")
    pixels = imread(tmp_path / "plot.png")
    width, height = rendered["best_samples"].get_size_inches()
    assert pixels.shape[:2] == (int(240 * height), int(240 * width))
    assert pixels.shape[2] == 3 or pixels[..., 3].min() == 1
    edge = round(0.1 * 240)
    inner = np.s_[edge:-edge, edge:-edge]
    frame = pixels[..., :3].copy()
    frame[inner] = 1
    assert frame.min() == 1
    assert pixels[inner][..., :3].min() == 0


def test_a_report_opens_with_eight_plots_at_most():
    for objectives in (1, 2):
        own = [plot for plot in PLOTS.values() if plot.objectives in (None, objectives)]
        assert 1 <= sum(plot.unfolded for plot in own) <= 8


def test_captions_name_the_run_that_drew(results):
    best = ranked(results).iloc[0]["number"]
    assert reading(PLOTS["best_samples"], StudyView(results)).endswith(
        f"Drawn by a confirmation run of trial {best}."
    )
    assert f"all {len(StudyView(results).influence.learned)} complete and pruned trials" in reading(
        PLOTS["importance"], StudyView(results)
    )


def _all_in_use(made):
    """The study, of which every unit of every trial and tested run is in use."""
    sizes = made.trials.set_index(["repeat", "number"])["params.latent_size"].astype(float)
    own = sizes[list(zip(made.epochs["repeat"], made.epochs["number"], strict=True))].to_numpy()
    used = made.trials["params.latent_size"].astype(float)
    trials = made.trials.assign(
        **{f"result.{of}/used_dimensions": used for of in ("test", "test_last")}
    )
    return replace(made, trials=trials, epochs=made.epochs.assign(**{"val/active_units": own}))


def _of_spec(made, **changed):
    return replace(made, study=replace(made.study, spec=made.study.spec | changed))


@pytest.mark.parametrize(
    ("name", "empty"),
    [
        ("active_units", _all_in_use),
        ("history", lambda made: _of_spec(made, start=[{"beta": 1}] * 40)),
        ("history", lambda made: _of_spec(made, pruner={"name": "promotion", "rungs": [3, 9]})),
    ],
)
def test_a_plot_that_answers_nothing_is_left_out(results, name, empty):
    assert PLOTS[name].draw(StudyView(results)) is not None
    assert PLOTS[name].draw(StudyView(empty(results))) is None


@pytest.mark.parametrize("name", ["learning_curves", "confirmed_seeds", "best_samples"])
def test_a_figure_without_its_title_is_the_same_figure_below_it(results, name):
    """In a report the heading above has the title."""
    titled, bare = (PLOTS[name].draw(StudyView(results), titled=titled) for titled in (True, False))
    assert [text.get_text() for text in titled.texts if text.get_gid() == "title"] == [
        PLOTS[name].title
    ]
    assert not [text for text in bare.texts if text.get_gid() == "title"]
    assert titled.get_figheight() - bare.get_figheight() == pytest.approx(style.TITLE)
    for one, other in zip(titled.axes, bare.axes, strict=True):
        sizes = [
            np.array(axes.get_position().size) * figure.get_size_inches()
            for figure, axes in ((titled, one), (bare, other))
        ]
        assert sizes[0] == pytest.approx(sizes[1])
