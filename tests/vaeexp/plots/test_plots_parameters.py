import numpy as np
import pytest
from drawn_studies import SPACE, bowl, drawn, study, with_curves
from matplotlib.collections import LineCollection
from synthetic_study import SEARCH, make_results

from sweeps.results import Results
from vaeexp.plots import PLOTS
from vaeexp.plots.parameters import equal_epochs
from vaeexp.plots.style import wrapped
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView


@pytest.fixture(scope="module")
def made():
    return with_curves(bowl(120))


@pytest.fixture(scope="module")
def view(made):
    """Its view, whose importances are made once."""
    return StudyView(made)


def test_panels_have_the_importance_of_their_parameter_with_its_interval(view):
    panels = [axes for axes in equal_epochs(view).axes if axes.get_visible()]
    shown = [axes.get_xlabel().rpartition("\n")[2] for axes in panels]
    assert shown == [
        "importance {:.0f} % ({:.0f}–{:.0f})".format(*(100 * view.importances.loc[name]))
        for name in view.plan.parameters
    ]
    words = reading(PLOTS["equal_epochs"], view)
    assert (
        "the best 12 differ from those among all 120 complete and pruned trials (PED-ANOVA" in words
    )


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
    results = with_curves(study(drawn(40, space=space), np.arange(40.0), space=space))
    figure = equal_epochs(StudyView(results))
    figure.draw_without_rendering()
    angles = {
        name: panel(figure, name).get_xticklabels()[0].get_rotation()
        for name in ("prior", "optimizer")
    }
    assert angles == {"prior": 30, "optimizer": 0}
    boxes = [tick.get_window_extent() for tick in panel(figure, "optimizer").get_xticklabels()]
    assert boxes[0].x1 < boxes[1].x0


def panel(figure, label):
    (axes,) = [
        axes
        for axes in figure.axes
        if axes.get_visible() and axes.get_xlabel().split("\n")[0] == label
    ]
    return axes


def test_a_value_that_was_never_tried_where_the_others_are_good_is_left_out(made, view):
    """vampprior had only large learning rates, where everything is bad."""
    trials = made.trials.copy()
    bad = trials["params.learning_rate"].astype(float) > 0.006
    alternate = np.where(np.arange(len(trials)) % 2 == 0, "normal", "mixture")
    trials["params.prior"] = np.where(bad, "vampprior", alternate)
    other = StudyView(Results("x", made.study, trials, made.epochs))
    assert other.influence.uncovered("prior") == ["vampprior"]
    axes = panel(equal_epochs(other), "prior")
    assert axes.get_xticklabels()[-1].get_text() == "vampprior\nleft out"
    assert "at which other values do well: prior = vampprior" in reading(
        PLOTS["equal_epochs"], other
    )
    assert "Left out" not in reading(PLOTS["equal_epochs"], view)


def test_medians_at_equal_epochs_are_those_of_the_trials_of_a_choice():
    view = StudyView(make_results())
    assert set(view.importances["share"].to_dict()) == set(SEARCH)
    panel = next(
        axes for axes in equal_epochs(view).axes if axes.get_xlabel().startswith("optimizer")
    )
    (bars,) = (found for found in panel.collections if isinstance(found, LineCollection))
    _, trials = view.influence.at_equal_epochs
    medians = trials.groupby("params.optimizer")["value"].median()
    assert [bar[0, 1] for bar in bars.get_segments()] == pytest.approx(
        [medians["adam"], medians["adamax"]]
    )
    assert "Not drawn: 2 failed trials." in reading(PLOTS["equal_epochs"], view)
