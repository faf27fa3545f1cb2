"""Epochs of a warm-up: recorded, and no trial's best; no trial is pruned, paused or predicted by
them.
"""

import math
from dataclasses import replace

import pytest
from optuna.trial import TrialState
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import Fixed, in_memory, run_repeats, search, toy_study

from sweeps.engine.repeats import plan_repeats
from sweeps.lanes import Failure
from sweeps.results import tables_of
from sweeps.search.pruners import PRUNERS
from sweeps.storage import repeat_study
from sweeps.storage.optuna_internals import storage_of
from sweeps.storage.study_record import read_state
from sweeps.study.study_model import Confirm

EPOCHS = 9
SEARCH = {
    "x": {"kind": "float", "low": 0.0, "high": 1.0},
    "warm": {"kind": "choice", "values": [0, 1.5, 4]},
}
LONGEST = 4
PRUNED_BY = {
    "none": {},
    "median": {"startup_trials": 2},
    "percentile": {"startup_trials": 2, "percentile": 50.0},
    "successive_halving": {"min_epochs": 1, "factor": 2},
    "hyperband": {"min_epochs": 1, "factor": 2},
    "patient": {"patience": 0},
    "promotion": {"rungs": [1, 3, 6], "factor": 2},
}


class Warm(Fixed):
    warm: float = 0.0


def rises(trial, epoch, state):
    """A better value while the warm-up lasts than ever after, as −ELBO has at a small β."""
    return state - 100 if epoch <= trial.params.get("warm", 0) else state


def studied(
    pruner="none", options=None, *, sampler="tpe", sampler_options=None, search=SEARCH, **budget
):
    study = toy_study(
        search,
        sampler=sampler,
        sampler_options=sampler_options,
        fixed=Warm(epochs=EPOCHS),
        **(budget or {"trials": 12}),
    )
    named = PRUNERS[pruner](**(options or {})).for_epochs(EPOCHS).after_warmup(LONGEST, EPOCHS)
    return replace(study, pruner=named, warmup="warm")


def searched(study, lanes=None, journal=None):
    stored = in_memory(study, journal)
    search(
        stored,
        study,
        lanes or ToyLanes(width=3, epochs=EPOCHS, objective=rises),
        [],
        clock=SimulatedClock(),
    )
    return stored


@pytest.mark.parametrize("pruner", PRUNED_BY)
def test_no_epoch_of_a_warmup_is_the_best_or_ends_a_trial(pruner):
    """The storage, the record, the table and Optuna's value agree on the least value after the
    trial's own warm-up.
    """
    stored = searched(studied(pruner, PRUNED_BY[pruner]))
    records = read_state(storage_of(stored), stored.study_name)
    rows = tables_of(records).trials.set_index("number")
    shortest = set()
    for trial, record in zip(stored.trials, records.trials, strict=True):
        if record.duplicate_of is not None:
            continue
        warmup = math.ceil(record.params["warm"])
        after = {
            epoch: value for epoch, value in trial.intermediate_values.items() if epoch > warmup
        }
        assert [*trial.intermediate_values] == [*range(1, len(record.epochs) + 1)], (
            "all epochs are on record"
        )
        assert len(record.epochs) > LONGEST, "a trial is compared after the longest warm-up alone"
        shortest.add(len(record.epochs))
        assert record.objective == record.outcome.objective == min(after.values())
        assert (
            record.best.epoch == rows.loc[trial.number, "best_epoch"] == min(after, key=after.get)
        )
        if trial.state == TrialState.COMPLETE:
            assert trial.value == min(after.values())
    if pruner not in ("none", "patient"):
        assert len(shortest) > 1, "the pruner has ended some"


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        ("tpe", {"startup_trials": 2}),
        ("gp", {"startup_trials": 13}),
        ("curves", {"startup_trials": 2, "max_epochs": EPOCHS}),
    ],
)
def test_a_trial_that_ends_within_its_warmup_has_no_value(sampler, options):
    """A warm-up longer than the training, a failure in it, and a trial that stops early break no
    sampler.
    """
    never = {**SEARCH, "warm": {"kind": "choice", "values": [0, 1.5, 4, 50]}}
    study = studied(
        "median",
        {"startup_trials": 2},
        sampler=sampler,
        sampler_options=options,
        search=never,
        trials=16,
    )
    lanes = ToyLanes(
        width=3,
        epochs=EPOCHS,
        objective=rises,
        failures={1: (2, Failure(kind="diverged", message="It grew."))},
        last_epochs=dict.fromkeys((3, 4), 1),
    )
    stored = searched(study, lanes)
    records = read_state(storage_of(stored), stored.study_name)
    within = [
        t
        for t in records.trials
        if t.duplicate_of is None and len(t.epochs) <= math.ceil(t.params["warm"])
    ]
    assert within
    for record in within:
        assert record.state in ("pruned", "failed")
        assert (record.best, record.objective, record.outcome.objective) == (None, None, None)
    complete = [record for record in records.trials if record.state == "complete"]
    assert complete
    assert all(record.params["warm"] != 50 and record.objective > -50 for record in complete)


def test_repeats_have_the_warmup_of_their_configuration():
    study = replace(studied(), confirm=Confirm(top=3, seeds=2))
    stored = searched(study)
    plan = plan_repeats(read_state(storage_of(stored), study.name), study)
    repeats = repeat_study(storage_of(stored), study.name)
    lanes = ToyLanes(width=3, epochs=EPOCHS, objective=rises)
    run_repeats(repeats, plan, lanes, [], clock=SimulatedClock(), warmup=study.warmup_of)
    runs = read_state(storage_of(stored), study.name).repeats
    assert len(runs) == 6
    for run in runs:
        assert run.warmup == math.ceil(run.params["warm"])
        assert run.best.epoch > run.warmup


@pytest.mark.parametrize(
    ("warmup", "rungs"), [(0, [1, 3, 6]), (1.5, [3, 6]), (4, [5, 6]), (7, [8]), (9, None)]
)
def test_a_rung_within_the_warmup_moves_to_the_first_epoch_after_it(warmup, rungs):
    pruner = PRUNERS["promotion"](rungs=[1, 3, 6]).for_epochs(EPOCHS)
    moved = pruner.after_warmup(math.ceil(warmup), EPOCHS)
    assert getattr(moved, "rungs", None) == rungs
