import math
from dataclasses import replace

import numpy as np
import optuna
import pandas as pd
import pytest
from matplotlib.collections import LineCollection, PathCollection
from synthetic_study import SEARCH, epochs_frame, make_results, part, study_attributes, texts, trials_frame

from sweeps.results.rankings import Results, ranked
from vaeexp.plots import PLOTS
from vaeexp.plots.distribution import MOST_COLOURED, MOST_GREY, distributions, parallel_coordinates
from vaeexp.plots.parameters import effects, importance, partial_dependence
from vaeexp.plots.style import parameter_ticks, save, wrapped
from vaeexp.results.parameter_effects import expected
from vaeexp.results.study_view import StudyView
from vaeexp.words import parameter_label

SPACE = {
    "beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True},
    "learning_rate": {"kind": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "dropout": {"kind": "float", "low": 0.0, "high": 0.5},
    "latent_size": {"kind": "int", "low": 2, "high": 64, "log": True},
    "layers": {"kind": "int", "low": 1, "high": 5},
    "prior": {"kind": "choice", "values": ["normal", "mixture", "vampprior"]},
    "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    "components": {"kind": "int", "low": 2, "high": 64, "when": {"prior": ["mixture", "vampprior"]}},
}


def drawn(count: int, seed: int = 0, space: dict = SPACE) -> list[dict]:
    """Settings at random, even on the scale of each parameter."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        row = {}
        for name, given in space.items():
            if any(row[parent] not in wanted for parent, wanted in given.get("when", {}).items()):
                continue
            if given["kind"] == "choice":
                row[name] = given["values"][random.integers(len(given["values"]))]
                continue
            low, high = given["low"], given["high"]
            value = random.uniform(math.log(low), math.log(high)) if given.get("log") else random.uniform(low, high)
            value = math.exp(value) if given.get("log") else value
            row[name] = round(value) if given["kind"] == "int" else value
        found.append(row)
    return found


def study(settings: list[dict], values, *, space: dict = SPACE, states=None) -> Results:
    rows = [
        {
            "repeat": False, "number": number, "name": f"trial-{number:05d}", "objective": float(value), "epochs": 1,
            "state": "complete" if states is None else states[number], "best_epoch": 1,
            **{f"params.{name}": given for name, given in row.items()},
        }
        for number, (row, value) in enumerate(zip(settings, values, strict=True))
    ]  # fmt: skip
    spec = study_attributes().spec | {"search": space}
    return Results("made", study_attributes(spec=spec), trials_frame(rows, space), epochs_frame([]))


def bowl(count: int, seed: int = 0, noise: float = 0.3) -> Results:
    """A study whose value depends on the learning rate (best at 0.002), less on the optimizer, and on little else."""
    settings = drawn(count, seed)
    random = np.random.default_rng(seed + 1000)
    values = [
        100 + 20 * (math.log10(row["learning_rate"]) - math.log10(0.002)) ** 2 + 3 * (row["optimizer"] == "adam")
        for row in settings
    ]
    return study(settings, values + random.normal(0, noise, count))


@pytest.fixture(scope="module")
def made():
    return bowl(120)


def by_optuna(results: Results) -> dict[str, float]:
    kinds = {"float": optuna.distributions.FloatDistribution, "int": optuna.distributions.IntDistribution}
    distributions = {
        name: optuna.distributions.CategoricalDistribution(given["values"])
        if given["kind"] == "choice"
        else kinds[given["kind"]](low=given["low"], high=given["high"], log=given.get("log", False))
        for name, given in SPACE.items()
    }
    complete, found = ranked(results), []
    for row in complete.to_dict("records"):
        given = {name: row[f"params.{name}"] for name in SPACE if not pd.isna(row[f"params.{name}"])}
        used = {name: distributions[name] for name in given}
        found.append(optuna.trial.create_trial(params=given, distributions=used, value=row["objective"]))
    frozen = optuna.create_study()
    frozen.add_trials(found)
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=max(0.1, 5 / len(complete)))
    return optuna.importance.get_param_importances(frozen, evaluator=evaluator)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", [10, 11, 24, 57, 300])
@pytest.mark.parametrize("digits", [0, 6])
def test_importances_are_those_of_optuna(count, digits):
    results = bowl(count, seed=count, noise=4)
    trials = results.trials.assign(objective=results.trials["objective"].round(digits))
    rounded = Results(results.name, results.study, trials, results.epochs)
    assert StudyView(rounded).importances["share"].to_dict() == pytest.approx(by_optuna(rounded), abs=1e-12)


def test_importance_intervals_hold_the_share_and_narrow_with_more_trials():
    widths = []
    for count in (30, 200, 1500):
        results = bowl(count)
        table = StudyView(results).importances
        assert table["share"].to_dict() == StudyView(results).importances["share"].to_dict()
        assert list(table.index) == list(StudyView(results).importances["share"].to_dict())
        assert ((table["low"] <= table["share"]) & (table["share"] <= table["high"])).all()
        assert table["low"].min() >= 0
        assert table["high"].max() <= 1
        pd.testing.assert_frame_equal(table, StudyView(results).importances)
        widths.append((table["high"] - table["low"])["learning_rate"])
    assert widths[0] > widths[1] > widths[2] > 0
    few = part(bowl(30), ranked(bowl(30)).head(9))
    assert StudyView(few).importances.empty
    assert list(StudyView(few).importances) == ["share", "low", "high"]


def test_the_interval_depends_on_the_seed_of_the_study(made):
    spec = made.study.spec | {"seed": 7}
    other = Results(made.name, replace(made.study, spec=spec), made.trials, made.epochs)
    ours, theirs = StudyView(made).importances, StudyView(other).importances
    assert ours["share"].equals(theirs["share"])
    assert not np.allclose(ours["low"], theirs["low"])


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


def test_places_on_an_axis_go_both_ways(made):
    trials = StudyView(made).search
    for name, given in SPACE.items():
        axis = StudyView(made).parameters[name]
        places = axis.places(trials)
        known = trials[f"params.{name}"].notna()
        assert places.notna().equals(known)
        if given["kind"] != "choice":
            back = axis.numbers(places[known])
            assert back == pytest.approx(trials.loc[known, f"params.{name}"].to_numpy(float))
            assert places.dropna().between(0, 1).all()
    prior = StudyView(made).parameters["prior"]
    assert [prior.texts[int(place)] for place in prior.places(trials)] == list(trials["params.prior"])
    assert dict(parameter_ticks(StudyView(made).parameters["learning_rate"])) == pytest.approx(
        {"0.0001": 0, "0.001": 0.5, "0.01": 1}
    )
    layers = StudyView(made).parameters["layers"]
    assert layers.numbers(layers.grid(layers.places(trials), 25)).tolist() == [1, 2, 3, 4, 5]


def test_an_axis_reaches_to_values_that_are_no_longer_searched(made):
    narrow = {name: dict(given) for name, given in SPACE.items()}
    narrow["beta"] |= {"low": 0.5, "high": 2.0}
    axis = StudyView(study(drawn(40), range(40), space=narrow)).parameters["beta"]
    given = [row["beta"] for row in drawn(40)]
    assert (axis.first, axis.last) == (min(given), max(given))


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


def test_the_forest_explains_what_can_be_explained(made):
    assert StudyView(made).forest.r2 > 0.9
    noise = study(drawn(120), np.random.default_rng(2).normal(100, 1, 120))
    assert StudyView(noise).forest.r2 < 0.2
    assert "out-of-bag R²" in PLOTS["partial_dependence"].reading(StudyView(noise))
    assert "out-of-bag R²" not in PLOTS["partial_dependence"].reading(StudyView(made))
    assert "120 complete trials (pruned ones are not counted)" in PLOTS["partial_dependence"].reading(StudyView(made))


def test_diverged_trials_count_as_the_ceiling(made):
    trials = made.trials.copy()
    trials.loc[[3, 4], "objective"] = [1e9, math.inf]
    forest = StudyView(Results(made.name, made.study, trials, made.epochs)).forest
    assert forest.capped == 2
    assert forest.values.max() == forest.ceiling < 400
    words = PLOTS["partial_dependence"].reading(StudyView(Results(made.name, made.study, trials, made.epochs)))
    assert f"the 2 values above {forest.ceiling:.0f} count as that" in words


def test_the_forest_learns_from_2000_trials_at_most():
    results = bowl(2100)
    forest = StudyView(results).forest
    assert len(forest.values) == len(forest.places) == 2000
    assert sorted(forest.values) == list(forest.values)
    assert "2,000 complete trials" in PLOTS["partial_dependence"].reading(StudyView(results))


def test_what_is_expected_of_a_parent_leaves_its_children_out_of_use():
    """Components matter to a mixture alone; among normal priors the forest must never see them."""
    settings = drawn(400, seed=4)
    values = [100 + (40 if "components" in row else 0) - (row.get("components", 0) > 30) * 20 for row in settings]
    forest = StudyView(study(settings, np.array(values) + np.random.default_rng(1).normal(0, 0.1, 400))).forest
    assert forest.conditions == {"components": {"prior": [1.0, 2.0]}}
    normal, mixture, vamp = expected(forest, {"prior": np.arange(3.0)}).mean(axis=0)
    assert normal == pytest.approx(100, abs=1)
    few_or_many = np.array([row["components"] > 30 for row in settings if "components" in row])
    assert mixture == pytest.approx(140 - 20 * few_or_many.mean(), abs=2)
    assert vamp == pytest.approx(mixture, abs=1)
    few, many = expected(forest, {"components": np.array([0.2, 0.8])}).mean(axis=0)
    assert (few, many) == pytest.approx((140, 120), abs=1.5)


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
