"""Paused trials that a larger budget revives: they go on as new trials, and count once
everywhere.
"""

import itertools
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState
from optuna_trials import (
    duplicate_of,
    is_paused,
    may_revive,
    newest_of_each,
    propose,
    reported_epochs,
    revives,
)
from toy_lanes import SimulatedClock, ToyLanes, toy_curve
from toy_study import Fixed, MemoryJournal, Watcher, in_memory, search, toy_study
from tracked_study import client

from sweeps import read_results, run_study
from sweeps.engine import trial_seed
from sweeps.search.proposals import decide_pruning
from sweeps.seeds import seed_of
from sweeps.storage import open_storage, open_study
from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.store import Store
from sweeps.storage.study_record import json_able, read_state, write_study
from sweeps.study.study_model import Budget, Confirm
from sweeps.tracking import sync

PROMOTION = {
    "pruner": "promotion",
    "pruner_options": {"rungs": [1, 3, 9], "factor": 3},
    "fixed": Fixed(epochs=20),
}
FALLING = {"start": tuple({"x": x / 100} for x in range(60))}
"""The first trials are the best, so that the later ones let them go on."""


def level(params, seed, epoch, state):
    """A level that x sets, and a trace of every epoch before and of the seed, by which another
    trial would be found out.
    """
    return params["x"] + 1 / epoch + 0.01 * state + 1e-4 * seed_of(f"{seed}:{epoch}") / 2**63


def falling(**options):
    return replace(toy_study(**{**PROMOTION, **options}), **FALLING)


def simple(checkpoints):
    return ToyLanes(3, 20, curve=level, checkpoints=checkpoints)


def larger(study, **budget):
    return replace(study, budget=Budget(**budget))


def extended(study, *budgets, lanes=None, keep_checkpoints=True, between=lambda stored: None):
    """Search with one budget after the other; return the Optuna study and the lanes of the last
    search.
    """
    stored, made = in_memory(study), lanes or simple
    checkpoints: dict[str, tuple[int, float]] = {}
    for index, budget in enumerate(budgets):
        if index:
            between(stored)
        now = made(checkpoints if keep_checkpoints else {})
        search(stored, larger(study, **budget), now, [Watcher()], clock=SimulatedClock())
    return stored, now


def revivals(stored):
    return [trial for trial in stored.trials if revives(trial) is not None]


def trained(lanes):
    """Epochs that lanes have trained and reported."""
    return sum(len(event.split()) - 1 for event in lanes.events if event.startswith("advance"))


def test_a_revived_trial_is_the_trial_that_nobody_paused():
    """Its number is new; configuration, seed and every epoch are those of the trial that it
    revives, and it goes on from there.
    """
    study = falling()
    stored, lanes = extended(study, {"trials": 18}, {"trials": 60})
    unpaused = falling(pruner="none", pruner_options={}, trials=60)
    whole = in_memory(unpaused)
    search(whole, unpaused, simple({}), [])
    found = revivals(stored)
    assert len(found) > 3
    assert any(trial.state == TrialState.COMPLETE for trial in found)
    first = {}
    fresh = iter(range(60))
    for trial in stored.trials:
        old = revives(trial)
        first[trial.number] = next(fresh) if old is None else first[old]
        other = whole.trials[first[trial.number]]
        assert trial.params == other.params
        assert (
            trial.user_attrs["seed"]
            == other.user_attrs["seed"]
            == trial_seed(0, first[trial.number])
        )
        count = len(trial.intermediate_values)
        assert trial.intermediate_values == dict(list(other.intermediate_values.items())[:count])
        if old is not None:
            before = stored.trials[old]
            assert before.state == TrialState.PRUNED
            assert count >= len(before.intermediate_values)
            assert is_paused(trial) is False
            for epoch in before.intermediate_values:
                assert trial.user_attrs[f"epoch/{epoch}"] == before.user_attrs[f"epoch/{epoch}"]
    assert next(fresh, None) is None, "a revival costs no trial of the budget"
    assert not any(event.startswith("replay") for event in lanes.events), (
        "it goes on from the old checkpoint"
    )


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 5),
    st.lists(st.integers(1, 25), min_size=2, max_size=4, unique=True).map(sorted),
    st.integers(2, 4),
    st.sampled_from([{}, {"paused": 0}, {"paused": 2}]),
    st.sampled_from([toy_curve, level]),
)
def test_a_search_in_parts_counts_every_epoch_once(width, budgets, factor, keep, curve):
    study = falling(pruner_options={"rungs": [1, 2, 5], "factor": factor}, keep=keep)
    made = []

    def lanes(checkpoints):
        made.append(ToyLanes(width, 9, curve=curve, checkpoints=checkpoints))
        return made[-1]

    stored, last = extended(study, *({"trials": count} for count in budgets), lanes=lanes)
    newest = newest_of_each(stored.trials)
    assert (
        len(newest)
        == len([trial for trial in stored.trials if revives(trial) is None])
        == budgets[-1]
    )
    assert len({trial.user_attrs["seed"] for trial in newest}) == len(newest)
    assert reported_epochs(stored.trials) == sum(map(trained, made))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in stored.trials)
    may = [trial for trial in newest if may_revive(trial)]
    places = {f"trial-{trial.user_attrs.get('resumes_from', trial.number):04d}" for trial in may}
    assert set(last.checkpoints) <= places
    if not keep:
        assert set(last.checkpoints) == places


@pytest.mark.parametrize(
    "budgets", [({"epochs": 40}, {"epochs": 120}), ({"epochs": 7}, {"trials": 30})]
)
def test_a_budget_of_epochs_counts_those_that_a_revival_takes_over_once(budgets):
    made = []

    def lanes(checkpoints):
        made.append(simple(checkpoints))
        return made[-1]

    stored, _ = extended(falling(), *budgets, lanes=lanes)
    assert revivals(stored)
    first, second = map(trained, made)
    assert first + second == reported_epochs(stored.trials)
    if "epochs" in budgets[1]:
        assert first + second >= budgets[1]["epochs"], "the budget is used up"
        assert second >= budgets[1]["epochs"] - first


def test_a_larger_confirmation_revives_the_best():
    study = falling(trials=9)
    stored, checkpoints = in_memory(study), {}
    for top in (1, 4):
        confirmed = replace(study, confirm=Confirm(top=top, seeds=1))
        search(stored, confirmed, simple(checkpoints), [])
        complete = [trial for trial in stored.trials if trial.state == TrialState.COMPLETE]
        assert len(complete) == max(top, 1)
    assert len(newest_of_each(stored.trials)) == 9


def test_a_trial_of_other_settings_is_not_revived():
    """Its further epochs would be those of another trial."""
    journal, checkpoints = MemoryJournal(), {}
    study = falling(trials=18)
    search(in_memory(study, journal), study, simple(checkpoints), [])
    storage = storage_of(in_memory(study, journal))
    other = replace(larger(study, trials=60), fixed={"train": Fixed(epochs=21)})
    stored = open_study(storage, study)
    stored.set_user_attr("revives_from", 18)  # as 0.1.0 extended it
    write_study(stored, spec=json_able(other.spec()))
    search(stored, other, replace(simple(checkpoints), epochs=21), [])
    assert all(trial >= 18 for trial in map(revives, revivals(stored)))
    assert sum(map(may_revive, stored.trials[:18])) > 3


def test_a_duplicate_is_one_of_the_newest():
    study = replace(
        toy_study({"x": {"kind": "int", "low": 0, "high": 99}}, **PROMOTION),
        start=tuple({"x": x} for x in (*range(30), *range(20))),
    )
    stored, _ = extended(study, {"trials": 18}, {"trials": 50})
    revived = {revives(trial): trial for trial in revivals(stored)}
    repeats = [
        (trial, duplicate_of(trial)) for trial in stored.trials if duplicate_of(trial) is not None
    ]
    assert any(equal in {trial.number for trial in revived.values()} for _, equal in repeats)
    for trial, equal in repeats:
        assert revives(trial) is None
        assert equal not in revived or revived[equal].number > trial.number, (
            "it was the newest then"
        )
        assert trial.params == stored.trials[equal].params


def test_samplers_and_pruners_see_the_newest_of_two():
    stored, _ = extended(falling(), {"trials": 18}, {"trials": 60})
    seen = []

    class Looking(type(stored.sampler)):
        def sample_relative(self, study, trial, search_space):
            seen.append(study.get_trials(deepcopy=False))
            return {}

    study = toy_study(**PROMOTION)
    propose(
        stored,
        Looking(seed=0),
        study.space,
        number=99,
        seed=0,
        proposals=(),
        unseen=lambda trial: False,
    )
    numbers = [trial.number for trial in seen[0][:-1]]
    assert numbers == [trial.number for trial in newest_of_each(stored.trials)]
    assert len(numbers) == 60
    assert decide_pruning(Store(stored, study.space), [], 0).pruned == ()


def test_what_went_on_later_counts_as_paused():
    """With many lanes, proposals that are made ahead of a round do not know who is promoted or
    revived in it.
    """
    stored, _ = extended(falling(), {"trials": 18}, {"trials": 60})
    seen = []

    class Looking(type(stored.sampler)):
        def sample_relative(self, study, trial, search_space):
            seen.append({trial.number: trial for trial in study.get_trials(deepcopy=False)[:-1]})
            return {}

    late = {trial.number for trial in revivals(stored)}
    propose(
        stored,
        Looking(seed=0),
        toy_study(**PROMOTION).space,
        number=99,
        seed=0,
        proposals=(),
        unseen=lambda trial: False,
        later=lambda trial: trial.number in late,
    )
    [shown] = seen
    assert not late & shown.keys()
    revived = {revives(trial) for trial in revivals(stored)} - late
    assert revived <= shown.keys()
    assert all(shown[number].state == TrialState.PRUNED for number in revived)


# ---- what users see ----


@pytest.fixture
def two_sweeps(tmp_path):
    """A runs folder in which a study was swept with 18 trials, then with 60."""
    checkpoints = {}
    for trials in (18, 60):
        run_study(
            larger(falling(), trials=trials),
            lambda: simple(checkpoints),
            runs=tmp_path,
            extend=True,
        )
    return tmp_path


def test_tables_show_the_newest_of_two(two_sweeps):
    stored = read_state(open_storage(None, two_sweeps, "toy"), "toy")
    results = read_results(two_sweeps, "toy")
    revived = {each.number for trial in stored.trials for each in trial.chain[:-1]}
    assert len(revived) > 3
    assert len(results.trials) == 60
    assert not revived & set(results.trials["number"])
    assert [trial.number for trial in stored.trials] == results.trials["number"].tolist()
    for trial in stored.trials:
        own = results.epochs[results.epochs["number"] == trial.number]
        assert own["epoch"].tolist() == list(range(1, len(trial.epochs) + 1)), "the curve is whole"
    rounds = [[trial.round_of(epoch.epoch) for epoch in trial.epochs] for trial in stored.trials]
    assert all(one < two for each in rounds for one, two in itertools.pairwise(each)), (
        "rounds only rise"
    )


def test_mlflow_has_both_runs_and_the_newest_holds_the_curve(two_sweeps):
    stored = read_state(open_storage(None, two_sweeps, "toy"), "toy")
    sync("toy", runs=two_sweeps)
    mlflow = client(two_sweeps)
    experiment = mlflow.get_experiment_by_name("toy").experiment_id
    runs = {run.info.run_name: run for run in mlflow.search_runs([experiment])}
    found = [trial for trial in stored.records if trial.before]
    assert found
    for trial in found:
        run, old = runs[f"toy/{trial.number}"], runs[trial.before.name_in("toy")]
        assert run.data.tags["sweeps.revives"] == str(trial.before.number)
        assert (old.info.status, old.data.tags["sweeps.state"]) == ("KILLED", "PRUNED")
        assert "sweeps.revives" not in old.data.tags or trial.before.before
        curve = mlflow.get_metric_history(run.info.run_id, "loss")
        assert [point.step for point in curve] == [epoch.epoch for epoch in trial.epochs]
        assert [point.value for point in curve] == [epoch.metrics["loss"] for epoch in trial.epochs]
    best = mlflow.get_metric_history(runs["toy"].info.run_id, "best_objective")
    assert max(point.step for point in best) <= sum(len(trial.epochs) for trial in stored.trials)
