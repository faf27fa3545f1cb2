import math

import numpy as np
import pytest
from drawn_studies import SPACE, bowl, drawn, study
from matplotlib.collections import LineCollection, PathCollection
from synthetic_study import SEARCH, make_results, texts

from sweeps.results import Results
from vaeexp.plots import PLOTS
from vaeexp.plots.parameters import equal_epochs, importance, partial_dependence
from vaeexp.plots.style import wrapped
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def made():
    return bowl(120)


@pytest.fixture(scope="module")
def view(made):
    """Its view, whose importances and forest are made once."""
    return StudyView(made)


def test_whiskers_are_the_interval_and_the_words_say_its_ends(view):
    axes = importance(view).axes[0]
    table = 100 * view.importances.iloc[::-1]
    (whiskers,) = [found for found in axes.collections if isinstance(found, LineCollection)]
    ends = np.array([segment[:, 0] for segment in whiskers.get_segments()])
    assert ends == pytest.approx(table[["low", "high"]].to_numpy())
    first = table.iloc[-1]
    assert (
        texts(axes.figure)[-1] == f"{first['share']:.0f} % ({first['low']:.0f}–{first['high']:.0f})"
    )
    words = reading(PLOTS["importance"], view)
    assert (
        "the best 12 differ from those among all 120 complete and pruned trials (PED-ANOVA" in words
    )
    assert "95 % intervals" in words


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("adam", "adam"),
        ("factorised_mixture", "factorised_\nmixture"),
        ("components (if prior is mixture)", "components\n(if prior is\nmixture)"),
        ("1,024–512–256", "1,024–512–\n256"),
        ("abcdefghijklmnopq r", "abcdefghijkl\nmnopq r"),
    ],
)
def test_long_names_are_broken_at_marks(text, lines):
    assert wrapped(text, 12) == lines


def test_names_of_choices_do_not_overlap_in_a_panel():
    space = {
        "prior": {
            "kind": "choice",
            "values": ["normal", "mixture", "factorised_mixture", "vampprior"],
        },
        "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
        "beta": SPACE["beta"],
    }
    figure = partial_dependence(
        StudyView(study(drawn(40, space=space), np.arange(40.0), space=space))
    )
    figure.draw_without_rendering()
    angles = {
        name: panel(figure, name).get_xticklabels()[0].get_rotation()
        for name in ("prior", "optimizer")
    }
    assert angles == {"prior": 30, "optimizer": 0}
    boxes = [tick.get_window_extent() for tick in panel(figure, "optimizer").get_xticklabels()]
    assert boxes[0].x1 < boxes[1].x0


def test_partial_dependence_finds_the_known_minimum(view):
    figure = partial_dependence(view)
    assert figure.get_supylabel() == "expected validation −ELBO (nats per image)"
    panels = {axes.get_xlabel().split("\n")[0]: axes for axes in figure.axes if axes.get_visible()}
    assert next(iter(panels)) == "learning rate"
    assert len(panels) == len(SPACE)
    axes = panels["learning rate"]
    (curve,) = axes.lines
    lowest = curve.get_ydata().argmin()
    assert curve.get_xdata()[lowest] == pytest.approx(0.002, rel=0.35)
    assert axes.get_xscale() == "log"
    span = np.ptp(curve.get_ydata()[: lowest + 1])
    assert span == pytest.approx(20 * math.log10(20) ** 2, rel=0.25)
    rug = [found for found in axes.collections if isinstance(found, PathCollection)]
    assert len(rug[0].get_offsets()) == 120
    choice = panels["optimizer"]
    means = choice.lines[0].get_ydata()
    assert means[0] - means[1] == pytest.approx(3, abs=0.8)
    counts = view.search["params.optimizer"].value_counts()
    ticks = [tick.get_text() for tick in choice.get_xticklabels()]
    assert ticks == [f"{name}\n{counts[name]} + 0 pruned" for name in SPACE["optimizer"]["values"]]


def panel(figure, label):
    (axes,) = [axes for axes in figure.axes if axes.get_visible() and axes.get_xlabel() == label]
    return axes


def test_a_value_that_was_never_tried_where_the_others_are_good_is_left_out(made, view):
    """vampprior had only large learning rates, where everything is bad: nothing is shown of it, and
    the panels say so.
    """
    trials = made.trials.copy()
    bad = trials["params.learning_rate"].astype(float) > 0.006
    alternate = np.where(np.arange(len(trials)) % 2 == 0, "normal", "mixture")
    trials["params.prior"] = np.where(bad, "vampprior", alternate)
    other = StudyView(Results("x", made.study, trials, made.epochs))
    assert other.influence.uncovered("prior") == ["vampprior"]
    axes = panel(partial_dependence(other), "prior")
    assert list(axes.lines[0].get_xdata()) == [0, 1]
    assert "Left out: prior = vampprior, never tried to the end" in reading(
        PLOTS["partial_dependence"], other
    )
    assert "Left out" not in reading(PLOTS["partial_dependence"], view)


def test_partial_dependence_leaves_out_what_has_one_value(made):
    trials = made.trials.assign(**{"params.dropout": 0.25})
    names = [
        axes.get_xlabel()
        for axes in partial_dependence(
            StudyView(Results("x", made.study, trials, made.epochs))
        ).axes
    ]
    assert "dropout" not in names
    assert "layers" in names


def test_medians_at_equal_epochs_are_those_of_the_trials_of_a_choice():
    view = StudyView(make_results())
    assert set(view.importances["share"].to_dict()) == set(SEARCH)
    assert len([axes for axes in partial_dependence(view).axes if axes.get_visible()]) == len(
        SEARCH
    )
    panel = next(axes for axes in equal_epochs(view).axes if axes.get_xlabel() == "optimizer")
    (bars,) = (found for found in panel.collections if isinstance(found, LineCollection))
    _, trials = view.influence.at_equal_epochs
    medians = trials.groupby("params.optimizer")["value"].median()
    assert [bar[0, 1] for bar in bars.get_segments()] == pytest.approx(
        [medians["adam"], medians["adamax"]]
    )
    assert "Not drawn: 2 failed trials." in reading(PLOTS["equal_epochs"], view)
