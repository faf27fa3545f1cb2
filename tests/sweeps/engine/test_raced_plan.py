"""Races through the driver: which runs are trained, with whatever lanes, beside comparisons and
baselines, and after an extension.
"""

import math
from dataclasses import replace

import pytest
from toy_lanes import EagerLanes, ToyLanes
from toy_study import Watcher, X, in_memory, run_repeats, search, toy_study

from sweeps.engine.races import GrowingPlan
from sweeps.engine.repeats import plan_repeats
from sweeps.lanes import Failure
from sweeps.results import best_record, best_run, race_of, ranked, read_results
from sweeps.seeds import seed_of
from sweeps.storage import repeat_study
from sweeps.storage.study_record import read_state
from sweeps.study.study_model import Baseline, Compare, Confirm

SPACE = X | {"b": {"kind": "choice", "values": ["p", "q"]}}
RACE = Confirm(top=5, seeds=7, race=True)
COMPARE = Compare(parameters=["b"], top=2, seeds=5)


def curve(params, seed, epoch, state):
    """A level that x sets, luck of a seed that all share, and luck of the run."""
    shared, own = (seed_of(f"{text}:{seed}") / 2**63 for text in ("", repr(sorted(params.items()))))
    return 1 + abs(params["x"] - 0.3) + shared + 0.3 * own + 0.1 / epoch


def study_of(**changes):
    return replace(toy_study(SPACE, trials=7), **{"confirm": RACE, **changes})


def raced(study, lanes=None, storage=None, observers=()):
    """Search and repeat; returns the storage."""
    optuna_study = in_memory(study) if storage is None else None
    storage = storage or optuna_study._storage
    if optuna_study is not None:
        search(optuna_study, study, ToyLanes(curve=curve), [])
    lanes = lanes or ToyLanes(curve=curve, epochs=2)
    run_repeats(
        repeat_study(storage, "toy"),
        GrowingPlan(read_state(storage, "toy"), study),
        lanes,
        observers,
    )
    return with_spec(storage, study)


def with_spec(storage, study):
    """The results of a study; the storage has its newest file."""
    results = read_results(storage, "toy")
    return storage, replace(results, study=replace(results.study, spec=study.spec()))


def confirming(results):
    """(source trial, seed index) of the runs that confirm."""
    runs = results.trials[results.trials["purposes"].map(lambda purposes: "confirm" in purposes)]
    return list(zip(runs["source_trial"], runs["seed_index"], strict=True))


def test_the_runs_are_those_that_the_race_asks_for():
    watcher = Watcher()
    _, results = raced(study_of(), observers=[watcher])
    race = race_of(results)
    assert race.ended
    assert race.dropped, "some drop out on the way"
    assert set(race.order) == set(ranked(results)["number"].head(5))
    assert set(confirming(results)) == {
        (trial, index) for trial, n in race.seeds.items() for index in range(n)
    }
    assert len(confirming(results)) == sum(race.seeds.values()) < 5 * 7
    indices = [index for _, index in confirming(results)]
    winner = indices[-(7 - race.looked) :]
    assert indices[: len(indices) - len(winner)] == sorted(indices[: len(indices) - len(winner)]), (
        "seed by seed"
    )
    assert winner == [*range(race.looked, 7)]
    assert {snapshot.planned for snapshot in watcher.snapshots} == {None, len(indices)}


@pytest.mark.parametrize("compare", [None, COMPARE])
def test_lanes_change_the_order_of_runs_and_no_run(compare, monkeypatch):
    baseline = Baseline(name="q", title="q", at="best", seeds=3, settings={"b": "q"})
    study = study_of(compare=compare, baselines=(baseline,))
    tables = set()
    for width, late, kind in (
        (1, 99, ToyLanes),
        (2, 99, ToyLanes),
        (4, 4, EagerLanes),
        (40, 99, ToyLanes),
    ):
        monkeypatch.setattr("sweeps.engine.trial_loop.PIPELINED_FROM", late)
        _, results = raced(study, kind(width=width, curve=curve, epochs=2))
        columns = [
            "source_trial",
            "seed_index",
            "params.x",
            "params.b",
            "objective",
            "purposes",
            "pair_ids",
            "baseline",
        ]
        runs = results.trials.loc[results.trials["repeat"], columns]
        tables.add(tuple(sorted(map(repr, runs.itertuples(index=False)))))
        assert len(runs) == len(
            {(row["params.x"], row["params.b"], row["seed_index"]) for _, row in runs.iterrows()}
        )
    assert len(tables) == 1


def test_comparisons_that_the_race_may_ask_for_wait_for_its_end():
    """A run that only compares must not take the place of one that looks at the test images,
    too.
    """
    storage, results = raced(study_of(compare=COMPARE), ToyLanes(width=30, curve=curve, epochs=2))
    race = race_of(results)
    plan = plan_repeats(read_state(storage, "toy"), study_of(compare=COMPARE), race.seeds)
    runs = results.trials[results.trials["repeat"]]
    assert len(runs) == len(plan), "nothing is trained twice"
    wanted = {
        (run.params["x"], run.params["b"], run.seed): (run.purposes, run.pair_ids, run.test)
        for run in plan
    }
    for record in read_state(storage, "toy").repeats:
        found = record.purposes, record.pair_ids, record.test
        assert found == wanted[record.params["x"], record.params["b"], record.seed]


def test_a_race_goes_on_from_runs_of_the_fixed_form():
    """Runs of a plan before the race count in it, and those that it does not ask for count
    nowhere.
    """
    fixed = study_of(confirm=Confirm(top=5, seeds=5))
    optuna_study = in_memory(fixed)
    storage = optuna_study._storage
    search(optuna_study, fixed, ToyLanes(curve=curve), [])
    lanes = ToyLanes(curve=curve, epochs=2)
    run_repeats(
        repeat_study(storage, "toy"), plan_repeats(read_state(storage, "toy"), fixed), lanes, []
    )
    _, extended = raced(study_of(), storage=storage)
    _, fresh = raced(study_of())
    assert race_of(extended) == race_of(fresh)
    assert set(confirming(extended)) == set(confirming(fresh))
    runs = extended.trials[extended.trials["repeat"]]
    assert len(runs) == 25 + sum(max(0, n - 5) for n in race_of(fresh).seeds.values())
    _, shrunk = raced(study_of(confirm=Confirm(top=2, seeds=4, race=True)), storage=storage)
    assert len(race_of(shrunk).order) == 2


def test_a_run_that_fails_ends_the_race_for_its_configuration():
    failures = {3: (1, Failure(kind="diverged", message="NaN"))}
    _, results = raced(study_of(), ToyLanes(curve=curve, epochs=2, failures=failures))
    failed = results.trials[results.trials["repeat"] & (results.trials["number"] == 3)].iloc[0]
    race = race_of(results)
    (dropped,) = [dropped for dropped in race.dropped if dropped.leader is None]
    assert (dropped.trial, dropped.seeds) == (failed["source_trial"], 3)
    assert math.isnan(dropped.behind)
    assert dropped.trial != race.order[0]


def test_the_best_run_is_of_the_winner_even_where_another_mean_is_lower():
    """A configuration that was dropped had luckier seeds, so that its mean over them says less."""
    storage, results = raced(study_of())
    race = race_of(results)
    lost = race.dropped[0].trial
    trials = results.trials.copy()
    late = (
        trials["repeat"]
        & (trials["source_trial"] == race.order[0])
        & (trials["seed_index"] >= race.looked)
    )
    trials.loc[late, "objective"] += 100
    changed = replace(results, trials=trials)
    means = trials[trials["repeat"]].groupby("source_trial")["objective"].mean()
    assert means[lost] < means[race.order[0]]
    assert race_of(changed).order == race.order
    assert best_run(changed)["source_trial"] == race.order[0]
    stored = read_state(storage, "toy")
    stored = replace(stored, study=replace(stored.study, spec=study_of().spec()))
    assert best_record(stored).source_trial == race.order[0] == best_run(results)["source_trial"]
