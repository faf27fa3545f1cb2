import math

import numpy as np
import pytest
from drawn_studies import SPACE, bowl, drawn, study
from matplotlib.collections import LineCollection, PathCollection
from synthetic_study import SEARCH, make_results, part, texts

from sweeps.results import Results, ranked
from vaeexp.plots import PLOTS
from vaeexp.plots.parameters import (
    MOST_COLOURED,
    MOST_GREY,
    distributions,
    effects,
    importance,
    parallel_coordinates,
    partial_dependence,
)
from vaeexp.plots.style import save, wrapped
from vaeexp.results.study_view import StudyView
from vaeexp.words import parameter_label


@pytest.fixture(scope="module")
def made():
    return bowl(120)


def test_whiskers_are_the_interval_and_the_words_say_its_ends(made):
    axes = importance(StudyView(made)).axes[0]
    table = 100 * StudyView(made).importances.iloc[::-1]
    (whiskers,) = [found for found in axes.collections if isinstance(found, LineCollection)]
    ends = np.array([segment[:, 0] for segment in whiskers.get_segments()])
    assert ends == pytest.approx(table[["low", "high"]].to_numpy())
    first = table.iloc[-1]
    assert texts(axes.figure)[-1] == f"{first['share']:.0f} % ({first['low']:.0f}–{first['high']:.0f})"
    words = PLOTS["importance"].reading(StudyView(made))
    assert "the best 12 differ from those among all 120 complete trials (PED-ANOVA" in words
    assert "95 % intervals" in words
    assert "Pruned trials are not counted" in words


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("adam", "adam"),
        ("factorised_mixture", "factorised_\nmixture"),
        ("components (if prior is mixture)", "components\n(if prior is\nmixture)"),
        ("1,024–512–256", "1,024–512–\n256"),
    ],
)
def test_long_names_are_broken_at_marks(text, lines):
    assert wrapped(text, 12) == lines


def test_names_of_choices_do_not_overlap_in_a_panel():
    space = {
        "prior": {"kind": "choice", "values": ["normal", "mixture", "factorised_mixture", "vampprior"]},
        "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
        "beta": SPACE["beta"],
    }
    figure = effects(StudyView(study(drawn(40, space=space), np.arange(40.0), space=space)))
    figure.draw_without_rendering()
    angles = [axes.get_xticklabels()[0].get_rotation() for axes in figure.axes]
    assert angles == [30, 0, 0]
    boxes = [tick.get_window_extent() for tick in figure.axes[1].get_xticklabels()]
    assert boxes[0].x1 < boxes[1].x0


def test_partial_dependence_finds_the_known_minimum(made):
    figure = partial_dependence(StudyView(made))
    assert figure.get_supylabel() == "expected validation −ELBO (nats per image)"
    panels = {axes.get_xlabel().split("\n")[0]: axes for axes in figure.axes if axes.get_visible()}
    assert next(iter(panels)) == "learning rate"
    assert len(panels) == len(SPACE)
    axes = panels["learning rate"]
    curve, lowest = axes.lines
    assert lowest.get_xdata()[0] == pytest.approx(0.002, rel=0.35)
    assert lowest.get_ydata()[0] == min(curve.get_ydata())
    assert axes.get_xscale() == "log"
    assert curve.get_ydata()[0] - min(curve.get_ydata()) == pytest.approx(20 * math.log10(20) ** 2, rel=0.25)
    rug = [found for found in axes.collections if isinstance(found, PathCollection)]
    assert len(rug[0].get_offsets()) == 120
    choice = panels["optimizer"]
    assert choice.lines[-1].get_xdata()[0] == 1
    means = choice.lines[0].get_ydata()
    assert means[0] - means[1] == pytest.approx(3, abs=0.8)
    counts = StudyView(made).search["params.optimizer"].value_counts()
    assert {str(count) for count in counts} < {text.get_text() for text in choice.texts}


def test_nothing_is_called_lowest_where_nothing_can_be_told():
    noise = study(drawn(60), np.random.default_rng(2).normal(100, 1, 60))
    marked = [axes for axes in partial_dependence(StudyView(noise)).axes if axes.get_visible() and len(axes.lines) > 1]
    assert len(marked) <= 1


def test_partial_dependence_leaves_out_what_has_one_value(made):
    trials = made.trials.assign(**{"params.dropout": 0.25})
    names = [
        axes.get_xlabel() for axes in partial_dependence(StudyView(Results("x", made.study, trials, made.epochs))).axes
    ]
    assert "dropout" not in names
    assert "layers" in names


def test_parallel_axes_rise_in_importance_towards_the_value(made):
    figure = parallel_coordinates(StudyView(made))
    words = texts(figure)
    names = [parameter_label(name) for name in StudyView(made).importances["share"].to_dict()][:7][::-1]
    found = [word.replace("\n", " ") for word in words if word.replace("\n", " ") in names]
    assert found == names
    assert words.index("learning rate") < words.index("validation −ELBO (nats per image)")
    assert "the more important it is; the 1 least" in PLOTS["parallel_coordinates"].reading(StudyView(made))
    few = part(made, ranked(made).head(5))
    assert "in the order of the study file" in PLOTS["parallel_coordinates"].reading(StudyView(few))
    assert texts(parallel_coordinates(StudyView(few)))[0] == "β"
    lines = [found for found in figure.axes[0].collections if isinstance(found, LineCollection)]
    grey, coloured, best = lines
    assert len(grey.get_segments()) == 0
    assert len(coloured.get_segments()) == 120
    assert list(coloured.get_array()) == sorted(made.trials["objective"], reverse=True)
    first = ranked(made).head(1)
    heights = best.get_segments()[0][:, 1]
    assert heights[-2] == pytest.approx(StudyView(made).parameters["learning_rate"].places(first).iloc[0])
    assert heights[-1] == min(segment[-1, 1] for segment in coloured.get_segments())


def test_parallel_lines_pass_below_the_axis_of_what_they_do_not_have():
    space = {name: SPACE[name] for name in ("prior", "components", "beta")}
    results = study(drawn(50, space=space), np.arange(50.0), space=space)
    figure = parallel_coordinates(StudyView(results))
    place = list(StudyView(results).importances["share"].to_dict())[::-1].index("components")
    coloured = figure.axes[0].collections[1].get_segments()
    below = sum(segment[place, 1] < 0 for segment in coloured)
    assert below == int(results.trials["params.components"].isna().sum()) > 0
    assert texts(figure).count("not used") == 1


def test_parallel_lines_thin_out_and_say_so():
    states = ["complete" if index % 2 else "pruned" for index in range(3000)]
    values = bowl(3000).trials["objective"]
    results = study(drawn(3000), values, states=states)
    figure = parallel_coordinates(StudyView(results))
    grey, coloured, _ = (found for found in figure.axes[0].collections if isinstance(found, LineCollection))
    assert len(coloured.get_segments()) == MOST_COLOURED
    assert MOST_GREY / 2 < len(grey.get_segments()) <= MOST_GREY
    assert max(coloured.get_array()) == ranked(results)["objective"].iloc[MOST_COLOURED - 1]
    assert f"the best {MOST_COLOURED} of 1,500 complete trials" in PLOTS["parallel_coordinates"].reading(
        StudyView(results)
    )
    assert "in grey, thinned out" in PLOTS["parallel_coordinates"].reading(StudyView(results))
    top = max(coloured.get_array())
    assert any(word.endswith("above the scale") for word in texts(figure))
    assert top < max(values)


def test_distributions_are_those_of_numpy_the_optimizer_first(made):
    figure = distributions(StudyView(made))
    complete = ranked(made)
    for axes, name in zip(figure.axes, ("optimizer", "prior"), strict=True):
        assert axes.get_xlabel() == f"{name}: validation −ELBO (nats per image)"
        for line, choice in zip(axes.lines, SPACE[name]["values"], strict=True):
            values = np.sort(complete.loc[complete[f"params.{name}"] == choice, "objective"])
            assert list(line.get_xdata()[1:]) == list(values)
            assert line.get_ydata()[1:] == pytest.approx(np.arange(1, len(values) + 1) / len(values))
            assert line.get_drawstyle() == "steps-post"
            assert line.get_label() == f"{choice} (n = {len(values)})"
    assert figure.axes[0].get_ylabel() == "complete trials at or below (%)"


def test_distributions_need_two_choices_with_a_complete_trial(made):
    one = made.trials.assign(**{"params.optimizer": "adam", "params.prior": "normal"})
    assert distributions(StudyView(Results("x", made.study, one, made.epochs))) is None
    two = made.trials.assign(**{"params.optimizer": "adam"})
    (axes,) = distributions(StudyView(Results("x", made.study, two, made.epochs))).axes
    assert axes.get_xlabel().startswith("prior: ")


@pytest.mark.parametrize("name", ["importance", "partial_dependence", "parallel_coordinates", "distributions"])
def test_the_same_study_gives_the_same_bytes(made, tmp_path, name):
    for copy in ("a", "b"):
        save(PLOTS[name].draw(StudyView(made)), tmp_path / copy)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_search_of_the_example_has_all_of_these_figures():
    results = make_results(confirm=False, compare=False)
    assert set(StudyView(results).importances["share"].to_dict()) == set(SEARCH)
    panels = [axes for axes in partial_dependence(StudyView(results)).axes if axes.get_visible()]
    assert len(panels) == len(SEARCH)
