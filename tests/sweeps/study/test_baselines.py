"""Baselines and start points: read, planned, trained, and kept apart from what is searched."""

import pandas as pd
import pytest
import yaml
from toy_lanes import ToyLanes
from toy_study import CONDITIONAL, MemoryJournal, X, in_memory, run_repeats, search, toy_study

from sweeps.engine.repeats import plan_repeats
from sweeps.errors import UserError
from sweeps.results import best_run, ranked, read_results
from sweeps.storage import repeat_study, spec_differences
from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.study_record import read_state
from sweeps.study.study import load_study
from sweeps.study.study_model import Baseline, Confirm
from vaeexp.settings import SECTIONS

STUDY = """\
question: What is a good beta?
data: {binarisation: none}
train: {epochs: 4}
search:
  beta: {low: 0.1, high: 10, log: true}
  prior: {values: [normal, mixture]}
  components: {low: 2, high: 16, when: {prior: mixture}}
budget: {trials: 5}
"""


def load(tmp_path, *overrides, **parts):
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(STUDY) | parts, sort_keys=False))
    return load_study(str(path), sections=SECTIONS, overrides=overrides, data="data")


def message(tmp_path, *overrides, **parts) -> str:
    with pytest.raises(UserError) as caught:
        load(tmp_path, *overrides, **parts)
    return str(caught.value)


# ---- reading ----


def test_a_baseline_is_read_with_its_defaults_and_goes_into_the_record(tmp_path):
    study = load(
        tmp_path,
        baselines={
            "wide": {"settings": {"hidden": [64]}},
            "b": {"title": "B", "at": "best", "seeds": 2},
        },
        start=[{"beta": 1}, {"prior": "mixture", "components": 3}],
    )
    assert study.baselines == (
        Baseline(name="wide", title="wide", at="fixed", seeds=3, settings={"hidden": [64]}),
        Baseline(name="b", title="B", at="best", seeds=2, settings={}),
    )
    assert study.spec()["baselines"]["wide"] == {
        "title": "wide",
        "at": "fixed",
        "seeds": 3,
        "published": None,
        "settings": {"hidden": [64]},
    }
    assert study.spec()["start"] == [{"beta": 1.0}, {"prior": "mixture", "components": 3}]


@pytest.mark.parametrize(
    ("baselines", "words"),
    [
        ({"a": {"settings": {"hiden": [64]}}}, ["baselines.a.settings.hiden", "hidden"]),
        (
            {"a": {"settings": {"learning_rate": -1}}},
            ["baselines.a.settings.learning_rate", "-1", "greater than 0"],
        ),
        ({"a": {"settngs": {}}}, ["baselines.a.settngs", "settings"]),
        ({"a": {"at": "worst"}}, ["baselines.a.at", "'worst'", "best"]),
        ({"a": {"seeds": 0}}, ["baselines.a.seeds", "0"]),
        (
            {"a": {"settings": {"beta": 2}}, "b": {"settings": {"beta": 2.0}}},
            ["baselines.b", "same as baselines.a"],
        ),
        ([1], ["baselines"]),
    ],
)
def test_a_baseline_that_is_wrong_is_named(tmp_path, baselines, words):
    text = message(tmp_path, baselines=baselines)
    assert all(word in text for word in words), text


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ([{"bta": 1}], ["start.1.bta", "beta"]),
        ([{"beta": 1}, {"beta": 100}], ["start.2.beta", "100"]),
        ([{"prior": "flow"}], ["start.1.prior", "'normal', 'mixture'"]),
        ({"beta": 1}, ["start", "list"]),
    ],
)
def test_a_start_point_that_is_wrong_is_named(tmp_path, start, words):
    text = message(tmp_path, start=start)
    assert all(word in text for word in words), text


def test_fixing_a_setting_takes_it_out_of_the_start_points(tmp_path):
    study = load(tmp_path, "beta=1", start=[{"beta": 1}, {"beta": 2, "prior": "normal"}])
    assert study.start == ({"prior": "normal"},)
    assert (
        load(
            tmp_path, "baselines=null", "start=null", baselines={"a": {}}, start=[{"beta": 1}]
        ).baselines
        == ()
    )


def test_what_was_reported_holds_for_the_data_of_the_file_alone_and_is_wording(tmp_path):
    rows = {"a": {"published": "91.2", "settings": {"beta": 2}}}
    study = load(tmp_path, baselines=rows)
    assert study.baselines[0].published == "91.2"
    assert load(tmp_path, "dataset=fashion_mnist", baselines=rows).baselines[0].published is None
    (tmp_path / "parent.yaml").write_text(
        yaml.safe_dump(yaml.safe_load(STUDY) | {"baselines": rows}, sort_keys=False)
    )
    for child, published in (("seed: 1", "91.2"), ("dataset: fashion_mnist", None)):
        (tmp_path / "child.yaml").write_text(f"extends: ./parent.yaml\n{child}\n")
        extending = load_study(str(tmp_path / "child.yaml"), sections=SECTIONS, data="data")
        assert extending.baselines[0].published == published
    worded = load(tmp_path, baselines={"a": {"title": "A", "settings": {"beta": 2}}})
    other = load(tmp_path, baselines={"a": {"settings": {"beta": 3}}})
    assert spec_differences(study.spec(), worded.spec()) == {}
    assert spec_differences(study.spec(), other.spec()) == {"baselines.a.settings.beta": (2.0, 3.0)}


# ---- start points ----


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_the_search_begins_with_the_start_points_and_samples_what_they_leave_open(sampler):
    from dataclasses import replace

    points = ({"prior": "mixture", "components": 4}, {"x": 0.25})
    study = replace(toy_study(X | CONDITIONAL, sampler=sampler, trials=6), start=points)
    optuna_study = in_memory(study)
    search(optuna_study, study, ToyLanes(), [])
    params = [trial.params for trial in optuna_study.trials]
    assert (params[0]["prior"], params[0]["components"]) == ("mixture", 4)
    assert 0 <= params[0]["x"] <= 1
    assert params[1]["x"] == 0.25
    assert len({trial["x"] for trial in params}) == 6


def test_a_start_point_may_activate_what_a_point_of_the_grid_leaves_out():
    from dataclasses import replace

    study = replace(
        toy_study(CONDITIONAL, sampler="grid", trials=6), start=({"prior": "mixture"},) * 6
    )
    optuna_study = in_memory(study)
    search(optuna_study, study, ToyLanes(), [])
    assert all("components" in trial.params for trial in optuna_study.trials)


# ---- planning and training ----


def with_baselines(*baselines, trials=4, confirm=None):
    from dataclasses import replace

    return replace(toy_study(trials=trials), baselines=baselines, confirm=confirm)


FIXED = Baseline(name="fixed", title="Fixed", at="fixed", seeds=2, settings={"x": 0.9})
BEST = Baseline(name="best", title="Best", at="best", seeds=1, settings={"epochs": 7})


def run(study, journal):
    optuna_study = in_memory(study, journal)
    search(optuna_study, study, ToyLanes(), [])
    storage = storage_of(optuna_study)
    plan = plan_repeats(read_state(storage, study.name), study)
    run_repeats(repeat_study(storage, study.name), plan, ToyLanes(), [])
    return read_results(storage, study.name)


def test_references_are_trained_as_runs_of_their_own_with_test_figures():
    results = run(with_baselines(FIXED, BEST, confirm=Confirm(top=1, seeds=1)), MemoryJournal())
    rows = results.trials[results.trials["repeat"]]
    assert rows["baseline"].tolist() == [None, "fixed", "fixed", "best"]
    assert rows["purposes"].tolist() == [("confirm",), ("baseline",), ("baseline",), ("baseline",)]
    best = ranked(results).iloc[0]
    assert rows["source_trial"].tolist()[0] == rows["source_trial"].tolist()[3] == best["number"]
    assert rows["source_trial"].isna().tolist() == [False, True, True, False]
    assert rows["params.x"].tolist() == [best["params.x"], 0.9, 0.9, best["params.x"]]
    assert rows["params.epochs"].tolist() == [None, None, None, 7]
    assert rows["seed"].tolist() == [rows["seed"].iloc[0]] * 2 + [
        rows["seed"].iloc[2],
        rows["seed"].iloc[0],
    ]
    assert best_run(results)["name"] == f"{results.name}/r0", (
        "a baseline is never the best model of the search"
    )


def test_a_baseline_equal_to_a_confirmed_run_is_trained_once():
    same = Baseline(name="same", title="Same", at="best", seeds=1, settings={})
    results = run(with_baselines(same, confirm=Confirm(top=1, seeds=2)), MemoryJournal())
    rows = results.trials[results.trials["repeat"]]
    assert rows["purposes"].tolist() == [("confirm", "baseline"), ("confirm",)]
    assert rows["baseline"].tolist() == ["same", None]


def test_without_a_complete_trial_only_references_of_their_own_settings_are_planned():
    study = with_baselines(FIXED, BEST)
    optuna_study = in_memory(study)
    plan = plan_repeats(read_state(storage_of(optuna_study), study.name), study)
    assert [repeat.baseline for repeat in plan] == ["fixed", "fixed"]
    assert all(repeat.test for repeat in plan)


def test_a_row_on_the_best_setting_moves_when_a_longer_search_finds_a_better_one():
    journal = MemoryJournal()
    first = run(with_baselines(BEST, trials=2), journal)
    later = run(with_baselines(BEST, trials=12), journal)
    best_before, best_after = (ranked(results).iloc[0]["number"] for results in (first, later))
    assert best_before != best_after, (
        "choose another seed: the longer search must find something better"
    )
    rows = later.trials[later.trials["baseline"].notna()]
    assert rows["source_trial"].tolist() == [best_after]
    assert not rows["objective"].isna().any()
    assert pd.notna(later.trials[later.trials["repeat"]]["source_trial"]).sum() == 2, (
        "the earlier run is kept, without the row"
    )


def test_a_row_on_the_best_setting_drops_what_has_no_use_there():
    """The normal prior at the best setting, a mixture with components: trained with its own seeds
    beside the confirmed runs.
    """
    from dataclasses import replace

    normal = Baseline(
        name="normal", title="Normal prior", at="best", seeds=2, settings={"prior": "normal"}
    )
    start = tuple({"prior": "mixture", "components": components} for components in (2, 3, 4))
    study = replace(
        toy_study(X | CONDITIONAL, trials=3),
        start=start,
        baselines=(normal,),
        confirm=Confirm(top=1, seeds=2),
    )
    results = run(study, MemoryJournal())
    best = ranked(results).iloc[0]
    assert best["params.prior"] == "mixture"
    rows = results.trials[results.trials["baseline"] == "normal"]
    assert rows["state"].tolist() == ["complete"] * 2
    assert rows["params.prior"].tolist() == ["normal"] * 2
    assert rows["params.components"].isna().all()
    assert (rows["params.x"] == best["params.x"]).all()
    confirming = results.trials[
        results.trials["purposes"].map(lambda purposes: "confirm" in purposes)
    ]
    assert rows["seed"].tolist() == confirming["seed"].tolist(), "seed for seed with the best"


def test_a_row_on_the_best_setting_needs_the_values_that_the_best_setting_may_lack(tmp_path):
    text = message(tmp_path, baselines={"mixed": {"at": "best", "settings": {"prior": "mixture"}}})
    assert "baselines.mixed.settings: needs `components`" in text
    assert "prior: mixture" in text
    rows = {
        "mixed": {"at": "best", "settings": {"prior": "mixture", "components": 3}},
        "normal": {"at": "best", "settings": {"prior": "normal"}},
        "fixed": {"settings": {"prior": "mixture"}},
    }
    assert len(load(tmp_path, baselines=rows).baselines) == 3


def test_a_plus_joins_baselines_and_so_stands_in_no_name(tmp_path):
    row = {"at": "best", "settings": {"prior": "normal"}}
    assert "must have no +, which joins" in message(tmp_path, baselines={"a+b": row})
