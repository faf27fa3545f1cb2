"""The course of a search: the best value, and the front, against the trial-epochs that were trained
by then.
"""

import numpy as np
import pytest
from toy_lanes import SimulatedClock, ToyLanes
from toy_study import Fixed, Watcher, in_memory, search, toy_study

from sweeps.results import read_results
from vaeexp.results.tables import search_course, search_trials, spent_by

PRUNERS = {
    "none": {},
    "median": {"startup_trials": 3, "warmup_epochs": 2},
    "promotion": {"rungs": [1, 3, 9], "factor": 2},
}


def searched(pruner: str, width: int, *budgets: int):
    """The results of a toy search whose budget grows, and number → trial-epochs that had been
    trained when the round of its end was over.
    """
    watcher = Watcher()
    options = {"pruner": pruner, "pruner_options": PRUNERS[pruner], "fixed": Fixed(epochs=20)}
    stored = in_memory(toy_study(trials=budgets[0], **options))
    for trials in budgets:
        study, lanes = toy_study(trials=trials, **options), ToyLanes(width, epochs=20)
        search(stored, study, lanes, [watcher], clock=SimulatedClock())
    trained, ended, truth = 0, [], {}
    for kind, *event in watcher.events:
        trained += kind == "epoch"
        ended += [event[0]] if kind == "ended" else []
        if kind == "round":
            truth |= dict.fromkeys(ended, trained)
            ended = []
    return read_results(stored._storage, "toy"), truth | dict.fromkeys(ended, trained)


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize(
    ("pruner", "budgets"),
    [("none", [8]), ("median", [16]), ("promotion", [24]), ("promotion", [12, 40])],
)
def test_what_was_spent_is_what_had_been_trained(pruner, budgets, width):
    """Under promotion most trials end with the search, so a sum over trials that have ended once
    left out most of what was trained.
    """
    results, truth = searched(pruner, width, *budgets)
    trials, epochs = search_trials(results.trials), results.epochs
    course = search_course(trials, epochs)
    complete = course[course["state"] == "complete"]
    assert dict(zip(complete["number"], complete["spent"], strict=True)) == {
        n: truth[n] for n in complete["number"]
    }
    assert len(complete) == (trials["state"] == "complete").sum() > 1
    assert course["spent"].is_monotonic_increasing
    assert course["spent"].iloc[-1] == trials["epochs"].sum() == len(epochs)


def test_a_trial_that_has_no_round_counts_at_the_end():
    results, _ = searched("none", 2, 4)
    trials = results.trials.assign(
        ended_round=results.trials["ended_round"].where(results.trials["number"] != 3)
    )
    spent = spent_by(trials, results.epochs)
    assert spent[3] == len(results.epochs) == 80
    assert np.array_equal(spent, spent_by(results.trials, results.epochs))
