"""Plots of the search, of its parameters and pairs, and facts that hold of every plot.

The plots of studies with next to nothing in them are drawn by the tests of the report.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_studies import two_objectives
from matplotlib.collections import PathCollection
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
from vaeexp.plots.parameters import equal_epochs
from vaeexp.plots.search import history
from vaeexp.plots.style import robust_limits, save
from vaeexp.report.chapters import reading
from vaeexp.report.markup import PER_INCH
from vaeexp.results.study_view import StudyView


def points(axes):
    return sum(
        len(found.get_offsets()) for found in axes.collections if isinstance(found, PathCollection)
    )


def test_history_shows_the_best_so_far_and_counts_what_lies_above(results):
    trials = StudyView(results).search
    axes = history(StudyView(results)).axes[0]
    assert list(axes.lines[0].get_ydata()[:-1]) == list(best_so_far(results)["best"])
    best = ranked(results).iloc[0]
    assert axes.get_ylabel() == "validation −ELBO (nats per image)"
    counts = {
        state: int((trials["state"] == state).sum()) for state in ("complete", "pruned", "failed")
    }
    assert {text.get_text() for text in axes.get_legend().get_texts()} == {
        f"best in the search: trial {best['number']}, {best['objective']:.2f}",
        f"complete ({counts['complete']})",
        f"pruned, value reached ({counts['pruned']})",
        f"failed ({counts['failed']})",
    }
    above = int((trials["objective"] > axes.get_ylim()[1]).sum())
    assert above
    assert f"▲ {above} above the scale" in texts(axes.figure)
    promotion = results.study.spec | {"pruner": {"name": "promotion", "rungs": [3, 9]}}
    study = replace(results.study, spec=promotion)
    assert PLOTS["history"].draw(StudyView(replace(results, study=study))) is None


def test_importances_are_shares_and_need_enough_trials(results):
    shares = StudyView(results).importances["share"].to_dict()
    assert set(shares) == set(SEARCH)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares == StudyView(results).importances["share"].to_dict()
    few = part(results, ranked(results).head(9))
    assert StudyView(few).importances["share"].to_dict() == {}


def test_equal_epochs_have_a_panel_per_parameter_on_the_scale_of_its_space(results):
    view = StudyView(results)
    figure = equal_epochs(view)
    panels = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_xlabel().split("\n")[0] for axes in panels] == [
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


def test_matched_pairs_are_drawn_with_their_mean_over_configurations(results):
    (comparison,) = StudyView(results).pairs
    assert len(comparison.pairs) == 8
    assert comparison.interval.n == 4, "over configurations, not over their seeds"
    axes = paired_differences(StudyView(results)).axes[0]
    mean = comparison.pairs["difference"].mean()
    assert axes.collections[-1].get_offsets()[0][0] == pytest.approx(mean)
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


@pytest.mark.parametrize("name", ["confirmed_seeds", "best_samples"])
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
        f"Drawn by a confirmation run of trial {best}, the median of 3 on validation."
    )


@pytest.mark.parametrize("name", ["learning_curves", "best_samples"])
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


def test_a_broken_pair_squeezes_no_other(results):
    """Differences of 1.0, 2.4 and 113.8 nats: the axis is that of the small ones."""
    (comparison,) = StudyView(results).pairs
    number = comparison.pairs.index[0]
    view = StudyView(results)
    pairs = comparison.pairs.copy()
    pairs.loc[number, "difference"] = 113.8
    vars(view)["pairs"] = [replace(comparison, pairs=pairs)]
    figure = paired_differences(view)
    assert figure.axes[0].get_xlim()[1] < 60
    assert "113.8 ▸" in texts(figure)
