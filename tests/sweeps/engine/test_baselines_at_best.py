"""Baselines on the best setting: trained on the best trial of the search, and on the winner where
the confirmation turns the order round.
"""

from dataclasses import replace

import pytest
from toy_lanes import EagerLanes, ToyLanes
from toy_study import MemoryJournal, in_memory, run_repeats, search, toy_study

from sweeps.engine import run_study, trial_seed
from sweeps.engine.races import GrowingPlan, plan_of
from sweeps.engine.repeats import plan_repeats
from sweeps.lanes import Failure
from sweeps.results import best_run, ranked, read_results
from sweeps.storage import open_storage, repeat_study
from sweeps.storage.study_record import read_state
from sweeps.study.study_model import Baseline, Compare, Confirm

SPACE = {
    "x": {"kind": "float", "low": 0.0, "high": 1.0},
    "b": {"kind": "choice", "values": ["p", "q"]},
}
TRIALS = 7
SEARCHED = {trial_seed(0, number) for number in range(TRIALS)}
FIXED, RACE = Confirm(top=3, seeds=4), Confirm(top=3, seeds=4, race=True)
COMPARE = Compare(parameters=["b"], top=3, seeds=3)
ROWS = (
    Baseline(name="q", title="q", at="best", seeds=3, settings={"b": "q"}),
    Baseline(name="other", title="other", at="best", seeds=2, settings={"b": "r"}),
    Baseline(name="fixed", title="fixed", at="fixed", seeds=2, settings={"x": 0.5, "b": "p"}),
)


def turned(params, seed, epoch, state):
    """The lowest x is the best in the search, and the highest of those that are confirmed with
    fresh seeds.
    """
    level = params["x"] if seed in SEARCHED else 1 - params["x"]
    return 1 + level + 0.01 * (seed % 7) + 0.1 / epoch


def kept(params, seed, epoch, state):
    return 1 + params["x"] + 0.01 * (seed % 7) + 0.1 / epoch


def study_of(**changes):
    return replace(
        toy_study(SPACE, trials=TRIALS), **{"confirm": FIXED, "baselines": ROWS, **changes}
    )


def trained(tmp_path, study, lanes, **options):
    run_study(study, lambda: lanes, runs=tmp_path, **options)
    return read_results(tmp_path, "toy")


def sources(results, name):
    """Source trial → seeds of the runs of a baseline that changes it."""
    runs = results.trials[
        results.trials["baseline"].map(lambda names: name in str(names).split("+"))
    ]
    return {int(source): sorted(own["seed_index"]) for source, own in runs.groupby("source_trial")}


def table(results):
    """The runs, whatever their numbers are."""
    names = [
        "source_trial",
        "seed",
        "params.x",
        "params.b",
        "objective",
        "purposes",
        "pair_ids",
        "baseline",
    ]
    runs = results.trials.loc[results.trials["repeat"], names]
    return sorted(map(repr, runs.itertuples(index=False)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"confirm": RACE},
        {"compare": COMPARE},
        {"confirm": RACE, "compare": COMPARE},
        {"compare": Compare(parameters=["b"], top=1, seeds=5)},
    ],
    ids=["fixed", "race", "compared", "race, compared", "one compared"],
)
def test_a_turned_order_trains_baselines_at_both(changes, tmp_path, monkeypatch):
    study = study_of(**changes)
    tables = []
    for width, late, kind in ((1, 99, ToyLanes), (4, 4, EagerLanes), (40, 99, ToyLanes)):
        monkeypatch.setattr("sweeps.engine.trial_loop.PIPELINED_FROM", late)
        results = trained(tmp_path / str(width), study, kind(width=width, curve=turned, epochs=2))
        tables.append(table(results))
        runs = results.trials[results.trials["repeat"]]
        assert not runs.duplicated(["params.x", "params.b", "seed"]).any(), (
            "nothing is trained twice"
        )
    assert all(each == tables[0] for each in tables), "lanes change no run"
    first, winner = int(ranked(results)["number"].iloc[0]), best_run(results)["source_trial"]
    assert winner != first
    assert sources(results, "other") == {first: [0, 1], winner: [0, 1]}
    records = [run for run in read_study_of(tmp_path / "1").repeats if run.baseline]
    assert all(run.test for run in records), "each looks at the test images"
    configurations = {(run.params["x"], run.params["b"]) for run in records}
    for number in (first, winner):
        x = results.trials.set_index(["repeat", "number"]).loc[(False, number), "params.x"]
        assert {(x, "q"), (x, "r")} <= configurations
    fixed = [run for run in records if run.baseline == "fixed"]
    assert [run.source_trial for run in fixed] == [None, None]


def read_study_of(runs):
    return read_state(open_storage(None, runs, "toy", must_exist=True), "toy")


@pytest.mark.parametrize(
    "confirm", [FIXED, RACE, Confirm(top=1, seeds=3)], ids=["fixed", "race", "one"]
)
def test_an_order_that_holds_trains_nothing_more(confirm, tmp_path):
    study = study_of(confirm=confirm)
    results = trained(tmp_path, study, ToyLanes(curve=kept, epochs=2))
    first = int(ranked(results)["number"].iloc[0])
    assert sources(results, "other") == {first: [0, 1]}
    if not confirm.race:
        stored = read_study_of(tmp_path)
        assert len(stored.repeats) == len(plan_repeats(stored, study))


@pytest.mark.parametrize(
    "confirm", [FIXED, pytest.param(RACE, marks=pytest.mark.slow)], ids=["fixed", "race"]
)
def test_a_study_that_is_killed_anywhere_ends_in_the_same_table(confirm, tmp_path):
    class Killed(BaseException):
        pass

    study, events = study_of(confirm=confirm, compare=COMPARE), []
    whole = trained(
        tmp_path / "whole", study, ToyLanes(curve=turned, epochs=2, before=events.append)
    )
    expected = table(whole)
    assert len(sources(whole, "other")) == 2
    for at in range(40, len(events), 21):
        left = iter(range(at))

        def before(event, left=left):
            if next(left, None) is None:
                raise Killed

        with pytest.raises(Killed):
            trained(tmp_path / str(at), study, ToyLanes(curve=turned, epochs=2, before=before))
        assert (
            table(trained(tmp_path / str(at), study, ToyLanes(curve=turned, epochs=2))) == expected
        )


def test_an_extended_confirmation_may_find_another_winner(tmp_path):
    one = study_of(confirm=Confirm(top=1, seeds=4))
    before = trained(tmp_path, one, ToyLanes(curve=turned, epochs=2))
    assert len(sources(before, "other")) == 1
    after = trained(tmp_path, study_of(), ToyLanes(curve=turned, epochs=2), extend=True)
    fresh = trained(tmp_path / "fresh", study_of(), ToyLanes(curve=turned, epochs=2))
    in_use = after.trials["purposes"].map(len) > 0
    assert table(replace(after, trials=after.trials[in_use | ~after.trials["repeat"]])) == table(
        fresh
    )
    assert len(sources(after, "other")) == 2


def test_only_a_confirmation_that_chooses_makes_a_plan_grow():
    stored = read_state(in_memory(study_of())._storage, "toy")
    grow = [study_of(), study_of(baselines=(), confirm=RACE)]
    stay = [
        study_of(baselines=ROWS[2:]),
        study_of(confirm=Confirm(top=1, seeds=3)),
        study_of(confirm=None),
    ]
    assert [isinstance(plan_of(stored, study), GrowingPlan) for study in (*grow, *stay)] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("failing", [range(4), range(12)], ids=["first", "all"])
def test_a_confirmation_whose_runs_fail(failing):
    """Runs that fail decide nothing; where all fail, nothing is trained but what the search asked
    for.
    """
    study = study_of(baselines=ROWS[1:2])
    optuna_study = in_memory(study, MemoryJournal())
    search(optuna_study, study, ToyLanes(curve=turned, epochs=2), [])
    storage = optuna_study._storage
    failures = {number: (1, Failure(kind="diverged", message="NaN")) for number in failing}
    lanes = ToyLanes(curve=turned, epochs=2, failures=failures)
    run_repeats(
        repeat_study(storage, "toy"), GrowingPlan(read_state(storage, "toy"), study), lanes, []
    )
    results = read_results(storage, "toy")
    first = int(ranked(results)["number"].iloc[0])
    if len(failing) == 12:
        assert sources(results, "other") == {first: [0, 1]}
    else:
        assert set(sources(results, "other")) == {first, best_run(results)["source_trial"]}
