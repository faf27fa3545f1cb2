"""Figures and table of the latent space: what they show of the arrays that a run left."""

import numpy as np
import pytest
from synthetic_study import part

from vaeexp.plots import PLOTS
from vaeexp.plots.latent import component_classes, component_figure, rate_figure, rate_per_dimension
from vaeexp.report.chapters import compose
from vaeexp.report.tables import component_table, purity
from vaeexp.results.study_view import StudyView
from vaeexp.results.trial_files import COMPONENTS


def labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_bars_are_the_rates_from_the_greatest_to_the_smallest(results):
    rates = StudyView(results).best_evaluated("rate_per_dimension")[1]["rate_per_dimension"]
    axes = rate_per_dimension(StudyView(results)).axes[0]
    assert [bar.get_height() for bar in axes.patches] == sorted(rates, reverse=True)
    assert labels(axes.xaxis) == [str(place + 1) for place in np.argsort(-rates, kind="stable")]
    used = int((rates > 0.01).sum())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"above 0.01 nats ({used})",
        f"at most 0.01 nats ({len(rates) - used})",
    ]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert len(set(colours[:used])) == len(set(colours[used:])) == 1
    assert colours[0] != colours[-1]
    assert axes.get_ylabel() == "rate (nats per image)"


@pytest.mark.parametrize("rates", [[0.0], [0.0, 0.0], [1.0], [2.0] * 300, [0.5, -0.01]])
def test_rates_of_any_number_are_drawn(rates):
    figure = rate_figure(np.array(rates))
    assert len(figure.axes[0].patches) == len(rates)
    assert figure.axes[0].get_ylim()[0] <= min(rates)
    figure.draw_without_rendering()


def test_cells_are_the_shares_with_the_heaviest_component_on_top(results):
    arrays = StudyView(results).best_evaluated("component_classes")[1]
    shares, weights = arrays["component_classes"], arrays["component_weights"]
    axes = component_classes(StudyView(results)).axes[0]
    order = np.argsort(-weights, kind="stable")
    np.testing.assert_array_equal(axes.images[0].get_array(), shares[order])
    assert labels(axes.xaxis) == [str(digit) for digit in range(10)]
    assert labels(axes.yaxis)[0] == f"1  ({100 * weights.max():.1f} %)"
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert len(written) == int((shares >= 0.005).sum())
    for (column, row), text in written.items():
        assert text == f"{100 * shares[order[row], column]:.0f}"


def test_many_components_many_classes_and_missing_ones():
    random = np.random.default_rng(0)
    shares, weights = random.dirichlet(np.ones(64), 200).T, random.dirichlet(np.ones(64))
    axes = component_figure(shares, weights, [f"person {place}" for place in range(200)]).axes[0]
    assert axes.images[0].get_array().shape == (COMPONENTS, 200)
    assert not axes.texts
    assert "200 classes" in axes.get_xlabel()
    shares[:, 1] = np.nan
    axes = component_figure(shares[:4, :3], weights[:4], ["a", "b", "c"]).axes[0]
    assert [text.get_text() for text in axes.texts].count("–") == 4


def test_purity_runs_from_chance_to_one():
    assert purity(np.eye(4)) == 1
    assert purity(np.eye(7, 4)) == 1, "components that serve nothing do no harm"
    assert purity(np.full((3, 4), 1 / 3)) == pytest.approx(1 / 4)
    assert purity(np.array([[0.8, 0.3], [0.2, 0.7]])) == pytest.approx(0.75)
    assert purity(np.array([[0.8, 0.3, np.nan], [0.2, 0.7, np.nan]])) == pytest.approx(0.75)


def test_the_table_names_the_classes_that_a_component_serves(results):
    arrays = StudyView(results).best_evaluated("component_classes")[1]
    shares, weights = arrays["component_classes"], arrays["component_weights"]
    first = int(np.argmax(weights))
    lines = "\n".join(component_table(StudyView(results))).splitlines()
    assert len([line for line in lines if line.startswith("|")]) == 2 + len(weights)
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:2] == ["1", f"{100 * weights[first]:.1f} %"]
    best = int(np.argmax(shares[first]))
    assert cells[3].startswith(f"{best} ({100 * shares[first, best]:.0f} %)")
    assert f"{100 * purity(shares):.1f} %" in lines[-1]
    text, figures = compose(StudyView(results))
    assert "\n\n".join(component_table(StudyView(results))) in text
    assert {"rate_per_dimension.png", "component_classes.png"} <= figures.keys()


def test_without_arrays_there_is_neither_figure_nor_table(results):
    bare = part(results, results.trials.assign(folder=None))
    assert rate_per_dimension(StudyView(bare)) is None
    assert component_classes(StudyView(bare)) is None
    assert component_table(StudyView(bare)) == []
    for name in ("rate_per_dimension", "component_classes"):
        assert "trial" in PLOTS[name].reading(StudyView(results))
