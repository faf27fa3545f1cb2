import math

import numpy as np
import pytest
from drawn_studies import SPACE, bowl, drawn, study
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex
from synthetic_study import SEARCH, make_results, texts

from sweeps.results import Results
from vaeexp.plots import PLOTS, style
from vaeexp.plots.parameters import equal_epochs, importance, partial_dependence
from vaeexp.plots.style import save, wrapped
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


@pytest.mark.parametrize(
    "values",
    [
        ["normal", "mixture", "factorised_mixture", "vampprior"],
        ["adam", "adamax", "adamw", "radam", "sgd", "lion"],
    ],
)
def test_names_that_stand_aslant_keep_clear_of_each_other(values):
    """The line below the name of an optimizer once ran through the name of the next one."""
    space = {
        "optimizer": {"kind": "choice", "values": values},
        "beta": SPACE["beta"],
        "components": SPACE["beta"],
    }
    figure = partial_dependence(
        StudyView(study(drawn(40, space=space), np.arange(40.0), space=space))
    )
    figure.draw_without_rendering()
    axes = panel(figure, "optimizer")
    ticks = axes.get_xticklabels()
    angle = math.radians(ticks[0].get_rotation())
    assert 0 < angle < math.pi / 2
    apart = np.diff(
        axes.transData.transform([(place, 0) for place in range(len(values))])[:, 0]
    ).min()
    for tick in ticks:
        tick.set_rotation(0)
        assert tick.get_window_extent().height < apart * math.sin(angle)


def test_partial_dependence_finds_the_known_minimum(view):
    figure = partial_dependence(view)
    assert figure.get_supylabel() == "expected validation −ELBO (nats per image)"
    panels = {axes.get_xlabel().split("\n")[0]: axes for axes in figure.axes if axes.get_visible()}
    assert next(iter(panels)) == "learning rate"
    assert len(panels) == len(SPACE)
    axes = panels["learning rate"]
    curve, lowest = axes.lines
    assert lowest.get_xdata()[0] == pytest.approx(0.002, rel=0.35)
    assert lowest.get_ydata()[0] == min(curve.get_ydata())
    assert axes.get_xscale() == "log"
    assert curve.get_ydata()[0] - min(curve.get_ydata()) == pytest.approx(
        20 * math.log10(20) ** 2, rel=0.25
    )
    rug = [found for found in axes.collections if isinstance(found, PathCollection)]
    assert len(rug[0].get_offsets()) == 120
    choice = panels["optimizer"]
    assert choice.lines[-1].get_xdata()[0] == 1
    means = choice.lines[0].get_ydata()
    assert means[0] - means[1] == pytest.approx(3, abs=0.8)
    counts = view.search["params.optimizer"].value_counts()
    ticks = [tick.get_text() for tick in choice.get_xticklabels()]
    assert ticks == [f"{name}\n{counts[name]} + 0 pruned" for name in SPACE["optimizer"]["values"]]


def test_nothing_is_called_lowest_where_nothing_can_be_told():
    noise = study(drawn(60), np.random.default_rng(2).normal(100, 1, 60))
    marked = [
        axes
        for axes in partial_dependence(StudyView(noise)).axes
        if axes.get_visible() and len(axes.lines) > 1
    ]
    assert len(marked) <= 1


def best_points(results, name):
    """x of the green points in the panel of a parameter; there is no panel where one value alone is
    covered.
    """
    figure = partial_dependence(StudyView(results))
    panels = [axes for axes in figure.axes if axes.get_xlabel() == name] if figure else []
    return [
        line.get_xdata()[0]
        for axes in panels
        for line in axes.lines
        if to_hex(line.get_color()) == style.BEST.lower()
    ]


@pytest.mark.parametrize(
    ("survivors", "pruned", "named"), [(1, 5, False), (6, 9, False), (9, 5, True), (1, 0, False)]
)
def test_nothing_is_called_best_by_the_few_that_survived_pruning(survivors, pruned, named):
    """adamax is 12 nats better where it was trained to the end; how many trials of it were decides
    what may be said.
    """
    settings = [row | {"optimizer": "adam"} for row in drawn(60)]
    for number in range(survivors + pruned):
        settings[4 * number]["optimizer"] = "adamax"
    states = ["complete"] * 60
    for number in range(survivors, survivors + pruned):
        states[4 * number] = "pruned"
    noise = np.random.default_rng(1).normal(0, 0.3, 60)
    values = [100 - 12 * (row["optimizer"] == "adamax") for row in settings] + noise
    results = study(settings, values, states=states)
    assert best_points(results, "optimizer") == ([1] if named else [])


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
    assert any(text.endswith("nats, some values left out") for text in texts(axes.figure))
    assert "where the others are good: prior = vampprior" in reading(
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


@pytest.mark.parametrize("name", ["importance", "partial_dependence"])
def test_the_same_study_gives_the_same_bytes(made, tmp_path, name):
    for copy in ("a", "b"):
        save(PLOTS[name].draw(StudyView(made)), tmp_path / copy)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


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
