"""The checks of “Can this study be trusted?”, each on a study in which the answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from default_studies import default_study
from drawn_studies import SPACE, drawn, study
from synthetic_study import make_results, study_attributes, thin_studies
from toy_lanes import ToyLanes
from toy_study import toy_study

from sweeps.engine import run_study
from sweeps.state.stages import Stage
from sweeps.study.ranges import Growth
from vaeexp.report.answer import advice, figure
from vaeexp.report.sentences import words
from vaeexp.results import wider_ranges
from vaeexp.results.study_view import StudyView
from vaeexp.results.trust import at_bounds, check_study


@pytest.fixture(scope="module")
def results():
    return make_results()


def check(results, name):
    (found,) = [check for check in check_study(StudyView(results)) if check.id == name]
    return found


def towards(name, space=SPACE):
    """A study whose objective falls towards the upper end of one parameter."""
    settings = drawn(60, seed=1)
    return study(settings, [100 - np.log(row[name]) for row in settings], space=space)


def test_a_best_at_a_bound_is_named_with_the_command_that_widens_the_range():
    found = check(towards("beta"), "bounds")
    assert found.verdict == "warning"
    (pile,) = found.found
    assert (pile.id, pile.values["parameter"], pile.values["bound"]) == ("check.pile", "β", "upper")
    assert (pile.values["top"], pile.values["ranked"]) == (10, 60)
    assert (
        found.command
        == "vaeexp sweep --study beta_mnist --trials 80 --set search.beta.high=40 --extend"
    )
    view = StudyView(towards("beta"))
    assert {
        effect.parameter: effect.at_bound for effect in view.influence.effects if effect.at_bound
    } == {"beta": "upper"}


def test_a_range_that_the_search_widened_is_named_and_its_new_end_counts():
    results = towards("beta")
    grown = (Growth(parameter="beta", bound="upper", end=1000.0, round=9, trial=31),)
    stages = (Stage(), Stage(trial=31, grown=grown))
    results = replace(results, study=replace(results.study, stages=stages))
    found = check(results, "bounds")
    assert found.verdict != "warning"
    assert "check.pile" not in [said.id for said in found.found]
    assert found.further[-1].id == "check.grown"
    assert figure(found).endswith("; the search widened β up to 1,000 from trial 31 on")
    assert StudyView(results).plan.parameters["beta"].high == 1000.0


def test_status_names_the_ends_at_which_the_best_pile_up_and_the_option_that_widens_them(tmp_path):
    space = {"beta": {"kind": "float", "low": 0.01, "high": 10.0, "log": True}}
    lanes = ToyLanes(width=2, epochs=1, curve=lambda params, seed, epoch, state: -params["beta"])
    stored = run_study(toy_study(space, sampler="tpe", trials=40), lambda: lanes, runs=tmp_path)
    (pile,) = wider_ranges(stored)
    assert (pile.values["parameter"], pile.values["ranked"]) == ("beta", 40)
    assert words(pile).endswith("Search beyond: --set search.beta.high=40 --extend")
    assert wider_ranges(replace(stored, trials=stored.trials[:19])) == []
    grown = (Growth(parameter="beta", bound="upper", end=40.0, round=9, trial=31),)
    stages = (Stage(), Stage(trial=31, grown=grown))
    (step,) = wider_ranges(replace(stored, study=replace(stored.study, stages=stages)))
    assert words(step) == "the search widened beta up to 40 from trial 31 on"


def test_natural_ends_are_no_bounds():
    settings = drawn(60)
    view = StudyView(study(settings, [100 + row["dropout"] + row["layers"] for row in settings]))
    assert not {hit.parameter for hit in view.influence.hits} & {"dropout", "layers"}
    assert not view.influence.winner_ends.keys() & {"dropout", "layers"}


@pytest.mark.parametrize("word", ["seeds", "levelled_off"])
def test_where_few_trials_are_complete_all_are_compared_at_an_epoch_that_they_reached(
    results, word
):
    """A pruner may complete two of them."""
    trials = results.trials.copy()
    complete = trials.index[~trials["repeat"] & (trials["state"] == "complete")]
    trials.loc[complete[2:], "state"] = "pruned"
    found = check(replace(results, trials=trials), word)
    assert (found.verdict, found.advice) == ("good", None)
    assert found.found[0].values["epoch"] == 5


def test_a_handful_of_trials_has_no_course(results):
    trials = results.trials[~results.trials["repeat"] & (results.trials["number"] < 9)]
    found = check(replace(results, trials=trials), "levelled_off")
    assert found.verdict == "unknown"
    assert found.advice.id == "advice.search_on"


@pytest.mark.parametrize(("taken", "advice"), [(9, "grid_done"), (8, "search_on")])
def test_a_finished_grid_is_not_advised_to_search_on(results, taken, advice):
    trials = results.trials[~results.trials["repeat"] & (results.trials["number"] < taken)]
    values = [0.1 * step for step in range(1, 10)]
    spec = {
        **results.study.spec,
        "sampler": {"name": "grid"},
        "search": {"beta": {"kind": "choice", "values": values}},
    }
    study = replace(results.study, spec=spec)
    found = check(replace(results, trials=trials, study=study), "levelled_off")
    assert found.advice.id == f"advice.{advice}"
    assert (found.command is None) == (advice == "grid_done")


def confirmed_as(results, validation, test):
    """The study with these nats between its three confirmed configurations, on validation and on
    test, and 0.1 between seeds.
    """
    trials = results.trials.copy()
    for place, setting in enumerate(StudyView(results).confirmed):
        seeds = np.array([0.0, 0.1, 0.2]) + 0.01 * np.roll([0.0, 1.0, 3.0], place)
        trials.loc[setting.runs.sort_values("seed_index").index, "objective"] = (
            100 + validation[place] + seeds
        )
        trials.loc[setting.runs.sort_values("seed_index").index, "result.test/neg_elbo"] = (
            104 + test[place] + seeds
        )
    return replace(results, trials=trials)


@pytest.mark.parametrize(
    ("validation", "test", "verdict"),
    [
        ((0.0, 0.001, 0.002), (0.0, 0.001, 0.002), "nothing"),  # nobody can tell them apart
        ((0.0, 0.001, 0.002), (0.002, 0.001, 0.0), "nothing"),  # in whatever order
        ((0.0, 0.001, 5.0), (0.0, 0.001, 5.0), "good"),
        ((0.0, 5.0, 9.0), (0.0, 9.0, 5.0), "good"),  # the best is the best
        ((0.0, 5.0, 9.0), (0.0, 0.001, 9.0), "unknown"),
        ((0.0, 5.0, 9.0), (9.0, 0.0, 5.0), "warning"),
        ((0.0, 0.001, 0.002), (0.0, 0.001, -5.0), "warning"),
    ],
)
def test_the_order_on_validation_holds_where_it_is_one_and_test_shows_it(
    results, validation, test, verdict
):
    found = check(confirmed_as(results, validation, test), "on_test")
    assert found.verdict == verdict, found
    assert bool(found.advice) == (verdict in ("unknown", "warning"))


def test_every_study_has_the_same_checks_whatever_it_lacks():
    for name, thin in thin_studies().items():
        checks = check_study(StudyView(thin))
        assert len(checks) == 7, name
        assert all(
            figure(check) and (check.verdict != "warning" or advice(check)) for check in checks
        ), name


@pytest.mark.parametrize(
    "values", [["adam", "adamax"], [[512, 512], [256], [128]], [True, False], [64, 128]]
)
def test_a_study_without_a_range_or_a_list_of_numbers_has_nothing_to_check(values):
    space = {"optimizer": {"kind": "choice", "values": values}}
    settings = [{"optimizer": values[place % len(values)]} for place in range(30)]
    found = at_bounds(StudyView(study(settings, range(30), space=space)))
    assert (found.verdict, found.advice) == ("nothing", None)


def test_a_handful_of_trials_is_too_few_to_tell():
    assert at_bounds(StudyView(study(drawn(19), range(19)))).verdict == "unknown"


def test_without_seeds_a_search_has_not_been_seen_to_level_off():
    planted = default_study("strong", 0, trials=24)
    alone = replace(planted, trials=planted.trials[~planted.trials["repeat"]])
    assert check(alone, "levelled_off").verdict == "unknown"


def test_a_winner_that_alone_lies_at_an_end_tells_nothing_of_beyond():
    settings = [row | {"beta": min(row["beta"], 5.0)} for row in drawn(60)]
    settings[0]["beta"] = 10.0
    found = at_bounds(StudyView(study(settings, [90.0, *range(100, 159)])))
    assert (found.verdict, found.found[0].id) == ("unknown", "check.winner_at_end")
    assert "--set search.beta.high=" in found.command


@pytest.mark.parametrize(
    ("name", "end", "beyond"),
    [("beta", "upper", 30.0), ("beta", "lower", 1e-4), ("learning_rate", "upper", 0.02)],
)
def test_a_winner_outside_a_narrowed_range_is_not_said_to_lie_at_its_end(name, end, beyond):
    middle = {"beta": 1.0, "learning_rate": 1e-3, "latent_size": 8}
    settings = [row | {"beta": min(max(row["beta"], 0.1), 5.0)} for row in drawn(60)]
    settings[0] |= middle | {name: beyond}
    found = at_bounds(StudyView(study(settings, [90.0, *range(100, 159)])))
    [said] = found.found
    assert (said.id, said.values["bound"]) == ("check.winner_beyond", end)
    assert not found.further


def test_a_sure_cost_has_an_epoch_where_epochs_are_searched():
    results = make_results()
    spec = results.study.spec
    train = {name: value for name, value in spec["train"].items() if name != "epochs"}
    study = study_attributes(spec=spec | {"train": train})
    trials = results.trials.copy()
    params = trials["params.optimizer"] == "adamax"
    trials.loc[params & trials["repeat"], "objective"] += 30.0
    view = StudyView(replace(results, study=study, trials=trials))
    assert view.plan.fixed("epochs") is None
    said = {
        one.values["parameter"]: one
        for one in next(one for one in check_study(view) if one.id == "seeds").further
    }
    assert said["optimizer"].values["epoch"] == view.ranked["epochs"].max()
