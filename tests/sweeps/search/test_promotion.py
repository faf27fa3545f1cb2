"""Trials that pause at rungs and are promoted: whom the rule takes, what samplers see, what is
kept, what users see.
"""

from dataclasses import replace
from itertools import pairwise

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState, create_trial
from optuna_trials import as_read, may_revive, propose
from toy_lanes import EagerLanes, SimulatedClock, ToyLanes
from toy_study import Fixed, Watcher, decided_by, in_memory, search, table, toy_study
from tracked_study import client

from sweeps import run_study
from sweeps.search.promotion import Rungs
from sweeps.search.pruners import PRUNERS
from sweeps.storage import open_storage
from sweeps.storage.study_record import read_state
from sweeps.study.study_model import Confirm
from sweeps.tracking import sync

PROMOTION = {"pruner": "promotion", "pruner_options": {"rungs": [1, 3, 9], "factor": 3}}


def searched(lanes=None, **options):
    """The Optuna study of a toy search that has ended, and its watcher."""
    study = toy_study(**{**PROMOTION, "fixed": Fixed(epochs=20), "trials": 18, **options})
    watcher = Watcher()
    stored = in_memory(study)
    search(stored, study, lanes or ToyLanes(width=3, epochs=20), [watcher], clock=SimulatedClock())
    return stored, watcher


def stored_trial(number, objectives, *, paused, finished):
    state = TrialState.PRUNED if finished else TrialState.RUNNING
    pauses = [{"epoch": len(objectives), "round": 7, "until": None}] if paused else []
    values = {"value": objectives[-1]} if finished else {}
    trial = create_trial(
        state=state,
        intermediate_values=dict(enumerate(objectives, start=1)),
        user_attrs={"seed": number, "round": 0, "pauses": pauses},
        **values,
    )
    trial.number = number
    return trial


CURVE = st.lists(st.integers(0, 6).map(float), min_size=0, max_size=7)


@given(
    st.lists(st.tuples(CURVE, st.booleans(), st.booleans()), min_size=1, max_size=20),
    st.integers(2, 4),
)
def test_the_rule_is_that_of_the_paper(drawn, factor):
    """Li et al. 2020, algorithm 2, `get_job`: from the highest rung on, the best of the top
    1/factor that is not promoted yet.

    Whether the budget has ended a paused trial makes no difference.
    """
    epochs = (1, 2, 5)
    trials = [
        stored_trial(
            number,
            curve,
            paused=paused and len(curve) in epochs,
            finished=finished and len(curve) > 0,
        )
        for number, (curve, paused, finished) in enumerate(drawn)
    ]
    expected = None
    for epoch in epochs:  # the last one that is found counts: the highest rung
        reached = sorted(
            (min(t.intermediate_values[e] for e in range(1, epoch + 1)), t.number)
            for t in trials
            if len(t.intermediate_values) >= epoch
        )
        top = [number for _, number in reached[: len(reached) // factor]]
        waiting = [
            number
            for number in top
            if trials[number].user_attrs["pauses"]
            and len(trials[number].intermediate_values) == epoch
        ]
        expected = waiting[0] if waiting else expected
    promoted = Rungs(epochs, factor).promoted(as_read(trials))
    assert (None if promoted is None else promoted.number) == expected


@settings(max_examples=25)
@given(
    st.integers(1, 6),
    st.integers(1, 30),
    st.integers(2, 4),
    st.sets(st.integers(1, 9), min_size=1, max_size=3).map(sorted),
)
def test_who_trains_past_a_rung_is_among_its_best(width, trials, factor, rungs):
    """At the end no more than 1/factor of a rung went on, but for trials that were among the best
    of fewer, and for the last one.
    """
    lanes = ToyLanes(width=width, epochs=10)
    stored, _ = searched(
        lanes,
        trials=trials,
        pruner_options={"rungs": rungs, "factor": factor},
        fixed=Fixed(epochs=10),
    )
    assert {trial.state for trial in stored.trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert sum(trial.state == TrialState.COMPLETE for trial in stored.trials) >= 1, (
        "a search ends with an answer"
    )
    for trial in stored.trials:
        epochs = len(trial.intermediate_values)
        assert epochs == 10 or epochs in rungs, "it pauses at rungs alone"
        assert list(trial.intermediate_values) == list(range(1, epochs + 1))
        for pause in trial.user_attrs.get("pauses", ()):
            assert pause["epoch"] in rungs
            assert pause["until"] is None or pause["until"] > pause["round"]
    assert set(lanes.checkpoints) <= {
        f"trial-{trial.number:04d}" for trial in stored.trials if may_revive(trial)
    }


@pytest.mark.parametrize(
    ("kind", "late"), [(ToyLanes, 1000), (EagerLanes, 1)], ids=["in step", "pipelined"]
)
def test_a_search_that_keeps_fewer_checkpoints_trains_again_and_ends_in_the_same_table(kind, late):
    """Whose checkpoints to keep is asked with all that is on record, who is promoted with what was
    known before.
    """
    tables, replays = [], []
    for keep in ({"paused": 200}, {}, {"paused": 2}, {"paused": 0}):
        lanes = kind(width=3, epochs=20)
        with decided_by(late):
            tables.append(table(searched(lanes, keep=keep, sampler="tpe")[0]))
        replays.append(any(event.startswith("replay") for event in lanes.events))
    assert tables == tables[:1] * 4
    assert (replays[0], replays[3]) == (False, True)


@pytest.mark.parametrize(
    ("keep", "most"), [({"paused": 2}, 2), ({"paused_gb": 3.5e-6}, 3), ({}, 30)]
)
def test_checkpoints_of_paused_trials_are_bounded_and_the_worst_fall(keep, most):
    """Toy checkpoints have 1,000 bytes."""
    paused = []

    def look(event):
        if event.startswith("advance"):
            held = [int(name.removeprefix("trial-")) for name in lanes.checkpoints]
            paused.append([number for number in held if number not in lanes._lanes])

    lanes = ToyLanes(width=2, epochs=20, before=look, checkpoint_every=100)
    searched(lanes, keep=keep, trials=20)
    assert max(map(len, paused)) <= most
    assert max(map(len, paused)) >= min(most, 6)


def test_a_search_completes_as_many_trials_as_the_study_confirms():
    study = replace(
        toy_study(**PROMOTION, trials=9, fixed=Fixed(epochs=20)), confirm=Confirm(top=4, seeds=1)
    )
    stored = in_memory(study)
    search(stored, study, ToyLanes(width=2, epochs=20), [])
    assert sum(trial.state == TrialState.COMPLETE for trial in stored.trials) == 4


class Looking(optuna.samplers.RandomSampler):
    """Notes what it is shown."""

    def sample_relative(self, study, trial, search_space):
        self.shown = study.get_trials(deepcopy=False)
        return {}


def test_a_sampler_sees_a_paused_trial_as_pruned_and_a_promoted_one_as_running():
    study = toy_study(**PROMOTION, trials=9, fixed=Fixed(epochs=20))
    stored = in_memory(study)

    def stop(event):
        if (
            event.startswith("advance")
            and len(lanes.checkpoints) > 4
            and any("@1" in each for each in lanes.events)
        ):
            raise KeyboardInterrupt

    lanes = ToyLanes(width=2, epochs=20, before=stop)
    with pytest.raises(KeyboardInterrupt):
        search(stored, study, lanes, [])
    sampler = Looking(seed=0)
    for unseen in (False, True):
        propose(
            stored,
            sampler,
            study.space,
            number=len(stored.trials),
            seed=0,
            proposals=(),
            unseen=lambda trial, unseen=unseen: unseen,
        )
        states = set()
        for trial, shown in zip(stored.trials, sampler.shown, strict=False):
            paused = (
                bool(trial.user_attrs.get("pauses"))
                and trial.user_attrs["pauses"][-1]["until"] is None
            )
            assert shown.state == (
                TrialState.PRUNED if paused and not unseen else TrialState.RUNNING
            )
            assert shown.value == (
                trial.intermediate_values[trial.last_step] if paused and not unseen else None
            )
            states.add(shown.state)
        assert len(states) == 2 - unseen, "there are paused and running ones"


def test_users_see_who_is_paused(tmp_path):
    study, runs = toy_study(**PROMOTION, trials=9, fixed=Fixed(epochs=20)), tmp_path

    def stop(event):
        if event.startswith("advance") and len(lanes.checkpoints) > 5:
            raise KeyboardInterrupt

    lanes = ToyLanes(width=2, epochs=20, before=stop)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, lambda: lanes, runs=runs)
    sync("toy", runs=runs)
    states = {
        trial.number: trial.state
        for trial in read_state(open_storage(None, runs, "toy"), "toy").trials
    }
    assert {"paused", "running"} == set(states.values())
    found = _runs_in_mlflow(runs)
    assert {found[f"toy/{number}"] for number, state in states.items() if state == "paused"} == {
        ("SCHEDULED", "PAUSED")
    }
    assert {found[f"toy/{number}"] for number, state in states.items() if state == "running"} == {
        ("KILLED", "INTERRUPTED")
    }
    run_study(study, lambda: ToyLanes(width=2, epochs=20, checkpoints=lanes.checkpoints), runs=runs)
    sync("toy", runs=runs)
    assert set(_runs_in_mlflow(runs).values()) == {("FINISHED", "COMPLETE"), ("KILLED", "PRUNED")}


def _runs_in_mlflow(runs):
    mlflow = client(runs)
    found = mlflow.search_runs([mlflow.get_experiment_by_name("toy").experiment_id])
    return {run.info.run_name: (run.info.status, run.data.tags["sweeps.state"]) for run in found}


def test_a_restart_with_fewer_lanes_pauses_those_that_lose_theirs():
    study, journal_lanes = toy_study(**PROMOTION, trials=9, fixed=Fixed(epochs=20)), {}
    stored = in_memory(study)

    def stop(event):
        if (
            event.startswith("advance")
            and sum("@3" in each or "@1" in each for each in lanes.events) > 1
        ):
            raise KeyboardInterrupt

    lanes = ToyLanes(width=4, epochs=20, before=stop, checkpoints=journal_lanes)
    with pytest.raises(KeyboardInterrupt):
        search(stored, study, lanes, [])
    search(stored, study, ToyLanes(width=1, epochs=20, checkpoints=journal_lanes), [])
    assert {trial.state for trial in stored.trials} == {TrialState.COMPLETE, TrialState.PRUNED}


# ---- the study file ----


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [(30, [3, 8, 15]), (100, [10, 25, 50]), (20, [3, 5, 10]), (15, [3, 8]), (10, [3, 5]), (4, [3])],
)
def test_rungs_that_nobody_names_are_a_tenth_a_quarter_and_a_half_of_the_epochs(epochs, rungs):
    assert PRUNERS["promotion"]().for_epochs(epochs).rungs == rungs


@given(st.integers(4, 10_000))
def test_the_first_rung_is_one_epoch_in_ten_or_the_third_and_each_is_half_as_long_again_as_the_one_before(  # noqa: E501
    epochs,
):
    rungs = PRUNERS["promotion"]().for_epochs(epochs).rungs
    assert all(1.5 * low <= high for low, high in pairwise([0, *rungs]))
    assert rungs[0] == max(3, round(epochs / 10))
    assert rungs[-1] < epochs
    assert abs(rungs[-1] - epochs / 2) <= 0.5 or epochs < 10


@pytest.mark.parametrize("rungs", [[3, 1], [2, 2]])
def test_rungs_ascend(rungs):
    with pytest.raises(ValueError, match=r"got rungs .*; must be in ascending order, each once"):
        PRUNERS["promotion"](rungs=rungs)


class Length(Fixed):
    epochs: int = 8


UNLIKE = {
    "x": {"kind": "float", "low": 0.0, "high": 1.0},
    "epochs": {"kind": "choice", "values": [2, 4, 8]},
}


@pytest.mark.parametrize(
    "options", [{"rungs": [4], "factor": 4}, {"rungs": [1, 3], "factor": 3}, {"rungs": [2, 6]}]
)
@pytest.mark.parametrize("seed", range(3))
def test_where_lengths_differ_no_paused_trial_stood_lower_than_the_best(options, seed):
    """Short trials are complete early, so a search that counted them would end while longer ones
    had come further.
    """
    study = toy_study(
        UNLIKE, pruner="promotion", pruner_options=options, fixed=Length(), trials=16, seed=seed
    )
    study = replace(study, epochs="epochs")

    class OwnLengths(ToyLanes):
        def _advance(self, lane):
            return replace(
                super()._advance(lane), finished=lane.epoch == lane.trial.params["epochs"]
            )

    stored = in_memory(study)
    search(stored, study, OwnLengths(width=3, epochs=99), [], clock=SimulatedClock())
    best = min(trial.value for trial in stored.trials if trial.state == TrialState.COMPLETE)
    assert best <= min(min(t.intermediate_values.values(), default=best) for t in stored.trials)
    assert any(trial.state == TrialState.PRUNED for trial in stored.trials), "not all were promoted"
