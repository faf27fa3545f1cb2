"""The plan of confirm and compare, as properties over random studies, and end to end through the
driver.
"""

import itertools
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_lanes import ToyLanes
from toy_study import in_memory, run_repeats, search, toy_study
from trials import make_trial

from sweeps.engine.repeats import plan_repeats
from sweeps.lanes import Outcome, baseline_names, joined_baselines
from sweeps.results import compared_levels, matched_pairs, ranked, read_results
from sweeps.state.record import StudyRecord
from sweeps.state.state import State
from sweeps.state.trial import Epoch
from sweeps.storage import open_study, repeat_study
from sweeps.storage.study_record import read_state
from sweeps.study.space import Parameter, Space, dependents
from sweeps.study.study_model import Baseline, Budget, Compare, Confirm

SPACE = Space(
    (
        Parameter(name="beta", kind="float", low=0.01, high=10.0, log=True),
        Parameter(name="optimizer", kind="choice", values=("adam", "adamax", "sgd")),
        Parameter(name="hidden", kind="choice", values=((512, 512), (64,))),
        Parameter(name="batch_size", kind="choice", values=(64, 128)),
        Parameter(name="prior", kind="choice", values=("normal", "mixture")),
        Parameter(name="components", kind="int", low=2, high=4, when={"prior": ("mixture",)}),
        Parameter(name="spread", kind="choice", values=(None, True), when={"components": (3, 4)}),
    )
)
SEARCH_SEEDS = list(range(1000, 1020))


@st.composite
def configurations(draw):
    drawn = {"beta": draw(st.sampled_from([0.1, 1.0]))}
    for parameter in SPACE.parameters[1:]:
        if parameter.name in SPACE.active(drawn):
            drawn[parameter.name] = draw(st.sampled_from(parameter.listed()))
    return drawn


@st.composite
def studies(draw):
    confirm = st.builds(Confirm, top=st.integers(1, 4), seeds=st.integers(1, 3))
    choices = ["optimizer", "hidden", "batch_size", "prior", "components", "spread"]
    compared = st.lists(st.sampled_from(choices), min_size=1, max_size=3, unique=True)
    compare = st.builds(
        Compare, parameters=compared, top=st.integers(1, 3), seeds=st.integers(1, 3)
    )
    return SimpleNamespace(
        seed=draw(st.integers(0, 3)),
        space=SPACE,
        confirm=draw(st.none() | confirm),
        compare=draw(st.none() | compare),
        baselines=(),
    )


trial_lists = st.lists(
    st.tuples(
        configurations(),
        st.sampled_from([1.0, 2.0, 3.0, 4.0]),
        st.sampled_from(["complete", "complete", "pruned"]),
    ),
    max_size=10,
)


def table(trials, seeds=SEARCH_SEEDS):
    """What `read_state` gives for these (params, objective, state)."""
    records = [
        make_trial(
            number=number,
            repeat=False,
            state=state,
            params=params,
            seed=seed,
            started=None,
            ended=None,
            epochs=(Epoch(epoch=1, objective=objective, metrics={}, at=None),),
            pictures=(),
            outcome=Outcome(state=state, epoch=1, objective=objective),
            results={},
            folder=None,
        )
        for number, ((params, objective, state), seed) in enumerate(
            zip(trials, seeds, strict=False)
        )
    ]
    return State(study=StudyRecord(name="toy"), trials=tuple(records), repeats=())


def text(params):
    return json.dumps(params, sort_keys=True)


@given(trial_lists, studies())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_plan(trials, study):
    plan = plan_repeats(table(trials), study)
    best = {}
    for params, _, number in sorted(
        (
            (params, value, number)
            for number, (params, value, state) in enumerate(trials)
            if state == "complete"
        ),
        key=lambda trial: trial[1:],
    ):
        best.setdefault(text(params), number)

    assert len({(text(run.params), run.seed) for run in plan}) == len(plan), (
        "nothing is trained twice"
    )
    shared = {run.seed_index: run.seed for run in plan}
    assert all(run.seed == shared[run.seed_index] for run in plan), (
        "seed index i is one seed, whatever the run is for"
    )
    assert not {run.seed for run in plan} & set(SEARCH_SEEDS)
    for run in plan:
        assert list(run.params) == SPACE.active(run.params), (
            "a valid configuration, in the order of the space"
        )
        assert run.source_trial in best.values()
        assert run.test == ("confirm" in run.purposes)
        assert bool(run.pair_ids) == ("compare" in run.purposes)
        assert json.loads(text(run.params)) == run.params, "plain values that a storage can keep"

    confirm = [run for run in plan if "confirm" in run.purposes]
    assert plan[: len(confirm)] == confirm, "confirm first"
    top, seeds = (study.confirm.top, study.confirm.seeds) if study.confirm else (0, 0)
    expected = list(itertools.product(list(best)[:top], range(seeds)))
    assert [(text(run.params), run.seed_index) for run in confirm] == expected
    check_pairs([run for run in plan if "compare" in run.purposes], trials, best, study)


def check_pairs(runs, trials, best, study):
    parameters = study.compare.parameters if study.compare else ()
    assert {pair.partition(":")[0] for run in runs for pair in run.pair_ids} <= set(parameters)
    for name in parameters:
        check_pairs_of(name, runs, trials, best, study.compare)


def check_pairs_of(name, runs, trials, best, compare):
    """The pairs of one parameter; `best`: each configuration that the search found (as text), the
    best first, and its trial.
    """
    own = [pair for run in runs for pair in run.pair_ids if pair.startswith(f"{name}:")]
    assert all(sum(pair in own for pair in run.pair_ids) <= 1 for run in runs), (
        "no run counts twice for a parameter"
    )
    bases = {}
    for pair in dict.fromkeys(own):
        members = [run for run in runs if pair in run.pair_ids]
        source, index = map(int, pair.removeprefix(f"{name}:").split("/"))
        base = trials[source][0]
        bases.setdefault(source, set()).add(index)
        assert len(members) >= 2
        assert {run.seed_index for run in members} == {index}
        assert len({run.seed for run in members}) == 1
        assert len({text(run.params[name]) for run in members}) == len(members)
        assert base in [run.params for run in members], "the configuration itself takes part"
        for run in members:
            changed = {
                key for key in base.keys() & run.params.keys() if base[key] != run.params[key]
            }
            assert changed <= {name}
            assert run.params.keys() <= base.keys(), "no parameter gets an invented value"
    assert all(indices == set(range(compare.seeds)) for indices in bases.values())
    dependent = dependents(name, SPACE.as_dict())
    rests = [rest_of(trials[source][0], name, *dependent) for source in bases]
    assert len(set(rests)) == len(rests), "equal but for the parameter: once"
    if dependent or name in ("components", "spread"):  # some pairs are impossible
        return
    usable = {}  # the best configuration stands for those that are equal but for the parameter
    for key, source in best.items():
        if name in json.loads(key):
            usable.setdefault(rest_of(json.loads(key), name), (source, text(json.loads(key)[name])))
    firsts = {}
    for source, level in usable.values():
        firsts.setdefault(level, source)
    assert set(firsts.values()) <= set(bases), (
        "each value brings the best configuration found with it"
    )
    assert len(bases) == min(len(usable), max(compare.top, len(firsts)))
    more = [source for source, _ in usable.values() if source not in firsts.values()]
    assert set(bases) - set(firsts.values()) == set(more[: len(bases) - len(firsts)]), (
        "then the next best"
    )


def rest_of(params, *names):
    return text({key: value for key, value in params.items() if key not in names})


def base(**changes):
    return {
        "beta": 1.0,
        "optimizer": "adam",
        "hidden": [64],
        "batch_size": 64,
        "prior": "normal",
    } | changes


def plan_of(*trials, confirm=None, compare=None, seed=0):
    return plan_repeats(
        table(list(trials)),
        SimpleNamespace(seed=seed, space=SPACE, confirm=confirm, compare=compare, baselines=()),
    )


def test_what_confirm_and_compare_share_is_trained_once():
    plan = plan_of(
        (base(), 1.0, "complete"),
        confirm=Confirm(top=1, seeds=3),
        compare=Compare(parameters=["optimizer"], top=1, seeds=2),
    )
    assert [
        (run.params["optimizer"], run.seed_index, run.purposes, run.pair_ids, run.test)
        for run in plan
    ] == [
        ("adam", 0, ("confirm", "compare"), ("optimizer:0/0",), True),
        ("adam", 1, ("confirm", "compare"), ("optimizer:0/1",), True),
        ("adam", 2, ("confirm",), (), True),
        ("adamax", 0, ("compare",), ("optimizer:0/0",), False),
        ("sgd", 0, ("compare",), ("optimizer:0/0",), False),
        ("adamax", 1, ("compare",), ("optimizer:0/1",), False),
        ("sgd", 1, ("compare",), ("optimizer:0/1",), False),
    ]


def test_a_parameter_without_a_value_rules_out_a_pair_and_one_without_a_use_is_dropped():
    compare = Compare(parameters=["prior"], top=2, seeds=1)
    assert plan_of((base(), 1.0, "complete"), compare=compare) == []
    mixture = base(prior="mixture", components=2)
    normal, same = plan_of((mixture, 1.0, "complete"), compare=compare)
    assert (normal.params, same.params) == (base(), mixture)


def test_configurations_that_are_equal_but_for_the_parameter_are_one_comparison():
    """The adam trial and its adamax twin were two configurations, with the same runs in both; now
    the next one is tried.
    """
    twins = [(base(), 1.0, "complete"), (base(optimizer="adamax"), 2.0, "complete")]
    other = (base(optimizer="adamax", beta=0.1), 3.0, "complete")
    compare = Compare(parameters=["optimizer"], top=1, seeds=1)
    assert {run.pair_ids for run in plan_of(*twins, compare=compare)} == {("optimizer:0/0",)}
    plan = plan_of(*twins, other, compare=compare)
    assert {run.pair_ids for run in plan} == {("optimizer:0/0",), ("optimizer:2/0",)}
    priors = Compare(parameters=["prior", "optimizer"], top=2, seeds=1)
    mixtures = [
        (base(prior="mixture", **more), 1.0, "complete")
        for more in ({"components": 2}, {"components": 3, "spread": None})
    ]
    ids = [run.pair_ids for run in plan_of(*mixtures, compare=priors)]
    assert sum(any(pair.startswith("prior:") for pair in each) for each in ids) == 2, (
        "components belong to the prior"
    )
    assert sum(len(each) for each in ids) == 2 + 2 * 3, (
        "a run may stand in pairs of several parameters"
    )


def test_baselines_that_come_to_one_configuration_share_their_runs_and_keep_their_names():
    """The best trial has what both ask for, so that neither changes it."""
    rows = tuple(
        Baseline(name=name, title=name, at="best", seeds=2, settings=settings)
        for name, settings in (("adam", {"optimizer": "adam"}), ("normal", {"prior": "normal"}))
    )
    trials = table([(base(optimizer="adam", prior="normal"), 1.0, "complete")])
    study = SimpleNamespace(
        seed=0, space=SPACE, confirm=Confirm(top=1, seeds=2), compare=None, baselines=rows
    )
    plan = plan_repeats(trials, study)
    assert [(run.seed_index, run.purposes, run.baseline) for run in plan] == [
        (index, ("confirm", "baseline"), "adam+normal") for index in (0, 1)
    ]
    assert baseline_names(plan[0].baseline) == ["adam", "normal"]
    assert joined_baselines(None, "adam", "adam+normal") == "adam+normal"
    assert joined_baselines(None, None) is None
    assert baseline_names(None) == baseline_names(float("nan")) == []


def test_end_to_end_through_the_driver():
    search_space = {
        "beta": {"kind": "float", "low": 0.0, "high": 1.0},
        "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    }
    study = replace(
        toy_study(search_space, trials=6),
        confirm=Confirm(top=2, seeds=2),
        compare=Compare(parameters=["optimizer"], top=1, seeds=3),
    )
    optuna_study = in_memory(study)
    storage = optuna_study._storage
    search(optuna_study, study, ToyLanes(), [])
    plan = plan_repeats(read_state(storage, "toy"), study)
    run_repeats(repeat_study(storage, "toy"), plan, ToyLanes(width=3), [])
    results = read_results(storage, "toy")
    assert plan_repeats(read_state(storage, "toy"), study) == plan, "repeats never change the plan"
    runs = results.trials[results.trials["repeat"]]
    assert [
        (row["source_trial"], row["seed"], row["seed_index"], row["purposes"], row["pair_ids"])
        for row in runs.to_dict("records")
    ] == [(run.source_trial, run.seed, run.seed_index, run.purposes, run.pair_ids) for run in plan]
    assert compared_levels(results, "optimizer") == ["adam", "adamax"]
    matched = matched_pairs(results, "optimizer")
    assert len(matched) == 6
    assert matched["difference"].notna().all()
    for pair in matched.to_dict("records"):
        two = runs[runs["pair_ids"].map(lambda ids, own=pair["pair_id"]: own in ids)]
        assert two["params.beta"].nunique() == two["seed"].nunique() == 1
    chosen = runs[runs["purposes"].map(lambda purposes: "confirm" in purposes)]["source_trial"]
    assert chosen.drop_duplicates().tolist() == ranked(results)["number"].tolist()[:2]


def test_under_promotion_a_comparison_takes_paused_trials_where_few_are_complete():
    search_space = {
        "beta": {"kind": "float", "low": 0.0, "high": 1.0},
        "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    }
    study = replace(
        toy_study(
            search_space,
            trials=20,
            pruner="promotion",
            pruner_options={"rungs": [1, 2], "factor": 4},
        ),
        confirm=Confirm(top=1, seeds=1),
        compare=Compare(parameters=["optimizer"], top=4, seeds=1),
    )
    optuna_study = in_memory(study)
    search(optuna_study, study, ToyLanes(epochs=5), [])
    stored = read_state(optuna_study._storage, "toy")
    states = {trial.number: trial.state for trial in stored.trials}
    plan = plan_repeats(stored, study)
    confirmed = {run.source_trial for run in plan if "confirm" in run.purposes}
    assert {states[number] for number in confirmed} == {"complete"}, (
        "what is tested was trained to its end in the search"
    )
    compared = {run.source_trial for run in plan if "compare" in run.purposes}
    assert len(compared) == 4
    assert {states[number] for number in compared} == {"complete", "pruned"}


def test_an_extended_study_gives_runs_of_the_old_plan_their_new_roles():
    search_space = {
        "beta": {"kind": "float", "low": 0.0, "high": 1.0},
        "optimizer": {"kind": "choice", "values": ["adam", "adamax"]},
    }
    before = replace(
        toy_study(search_space, trials=6),
        confirm=None,
        compare=Compare(parameters=["optimizer"], top=1, seeds=2),
    )
    after = replace(
        before,
        confirm=Confirm(top=1, seeds=1),
        compare=Compare(parameters=["optimizer"], top=4, seeds=2),
    )
    optuna_study = in_memory(before)
    storage = optuna_study._storage
    search(optuna_study, before, ToyLanes(), [])
    for study in (before, after):
        run_repeats(
            repeat_study(storage, "toy"),
            plan_repeats(read_state(storage, "toy"), study),
            ToyLanes(),
            [],
        )
    results = read_results(storage, "toy")
    runs = results.trials[results.trials["repeat"]]
    plan = plan_repeats(read_state(storage, "toy"), after)
    tested = [run for run in plan if run.test]
    assert len(runs) == len(plan) + len(tested), (
        "only what had not looked at the test images is trained again"
    )
    in_use = runs[runs["purposes"].map(len) > 0]
    expected = {(run.source_trial, run.seed, run.purposes, run.pair_ids) for run in plan}
    assert {
        (r["source_trial"], r["seed"], r["purposes"], r["pair_ids"])
        for r in in_use.to_dict("records")
    } == expected
    assert len(matched_pairs(results, "optimizer")) == len(
        {pair for run in plan for pair in run.pair_ids}
    )


FALLS = {"rungs": [2, 4], "factor": 3}


def slow_learner(params, seed, epoch, state):
    """The larger x, the slower it falls, and the lower it ends."""
    return 1 - params["x"] + 10 * (0.2 + 0.6 * params["x"]) ** epoch


@pytest.mark.parametrize("late", [1, 3, 100])
def test_the_paused_trials_that_fell_most_are_trained_to_their_end_as_they_would_have_been(late):
    study = replace(
        toy_study(trials=16, pruner="promotion", pruner_options=FALLS),
        confirm=Confirm(top=1, seeds=2, late=late),
    )
    optuna_study = in_memory(study)
    storage = optuna_study._storage
    search(optuna_study, study, ToyLanes(epochs=8, curve=slow_learner), [])
    stored = read_state(storage, "toy")
    paused = [trial for trial in stored.trials if trial.resumable]
    falls = {
        trial.number: trial.epochs[-2].objective - trial.epochs[-1].objective for trial in paused
    }
    plan = [run for run in plan_repeats(stored, study) if run.purposes == ("late",)]
    assert [run.source_trial for run in plan] == sorted(falls, key=falls.get, reverse=True)[:late]
    run_repeats(
        repeat_study(storage, "toy"),
        plan_repeats(stored, study),
        ToyLanes(epochs=8, curve=slow_learner),
        [],
    )
    results = read_results(storage, "toy")
    runs = results.trials[results.trials["repeat"] & (results.trials["purposes"] == ("late",))]
    assert len(runs) == len(plan) == min(late, len(paused))
    for run in runs.to_dict("records"):
        trial = next(trial for trial in paused if trial.number == run["source_trial"])
        assert run["seed"] == trial.seed
        assert run["epochs"] == 8
        course = results.epochs[
            results.epochs["repeat"] & (results.epochs["number"] == run["number"])
        ]
        values = course.sort_values("epoch")["objective"].tolist()
        assert values[: len(trial.epochs)] == [epoch.objective for epoch in trial.epochs]
    assert not any(run.test for run in plan), "no test image is looked at"


@pytest.mark.parametrize(("rungs", "later"), [([2, 4], [4]), ([2], [4]), ([1, 3, 5], [3, 5])])
def test_a_study_that_pauses_later_takes_the_trials_of_its_earlier_rung_on(rungs, later):
    """What the check of the pruner advises: no trial stays at the rung that misled."""
    study = toy_study(trials=12, pruner="promotion", pruner_options={"rungs": rungs, "factor": 3})
    optuna_study = in_memory(study)
    storage = optuna_study._storage
    search(optuna_study, study, ToyLanes(epochs=8), [])
    assert any(len(trial.epochs) == rungs[0] for trial in read_state(storage, "toy").trials)
    study = replace(
        study, pruner=study.pruner.model_copy(update={"rungs": later}), budget=Budget(trials=24)
    )
    search(open_study(storage, study, extend=True), study, ToyLanes(epochs=8), [])
    assert {len(trial.epochs) for trial in read_state(storage, "toy").trials} <= {*later, 8}
