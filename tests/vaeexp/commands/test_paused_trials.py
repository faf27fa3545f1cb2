"""Paused trials in the commands, while a search stands still and after its end; and the line about
checkpoints that are too many.
"""

import json
import logging
from dataclasses import replace

import pytest
from click.testing import CliRunner
from stored_studies import store
from synthetic_study import make_results
from toy_lanes import ToyLanes
from toy_study import toy_study

from sweeps import run_study
from vaeexp.commands import cli
from vaeexp.results import stored_study

PROMOTION = {"pruner": "promotion", "pruner_options": {"rungs": [1, 2], "factor": 3}}


class Stopping(ToyLanes):
    """Lanes at which somebody presses Ctrl-C in the ninth round."""

    rounds = 0

    def advance(self, numbers):
        self.rounds += 1
        if self.rounds == 9:
            raise KeyboardInterrupt
        yield from super().advance(numbers)


def said(runs, *words):
    done = CliRunner().invoke(cli, [*words, "--runs", str(runs)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.output


def count(runs, state):
    return sum(trial.state == state for trial in stored_study("toy", runs, None).trials)


def test_paused_trials_are_counted_until_the_search_ends_and_are_pruned_then(tmp_path):
    study = toy_study(trials=18, **PROMOTION)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, lambda: Stopping(width=2, epochs=5), runs=tmp_path)
    paused = count(tmp_path, "paused")
    assert paused >= 5
    assert f"{paused} paused" in said(tmp_path, "status", "toy")
    assert f"{paused} paused" in said(tmp_path, "status")
    assert json.loads(said(tmp_path, "status", "toy", "--json"))["states"]["paused"] == paused
    assert said(tmp_path, "trials", "toy").count("paused") == paused
    run_study(study, lambda: ToyLanes(width=2, epochs=5), runs=tmp_path)
    assert count(tmp_path, "paused") == 0
    pruned = count(tmp_path, "pruned")
    assert pruned > count(tmp_path, "complete") > 0
    assert f"{pruned} pruned" in said(tmp_path, "status", "toy")
    assert "paused" not in said(tmp_path, "status", "toy")


def test_one_line_says_that_checkpoints_of_paused_trials_are_deleted(tmp_path, caplog):
    study = toy_study(trials=18, keep={"paused": 3}, **PROMOTION)
    with caplog.at_level(logging.WARNING):
        run_study(study, lambda: ToyLanes(width=2, epochs=5), runs=tmp_path)
    told = [message for message in caplog.messages if "keep.paused, keep.paused_gb" in message]
    assert len(told) == 1


def lower(results, state):
    """Let one unfinished trial have reached less than all others."""
    searched = ~results.trials["repeat"]
    number = results.trials.loc[searched & (results.trials["state"] == state), "number"].iloc[0]
    epochs = results.epochs.copy()
    epochs.loc[~epochs["repeat"] & (epochs["number"] == number), "objective"] = 1.0
    return replace(results, epochs=epochs)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (lambda results: lower(results, "pruned"), {"came_further": ", pruned after "}),
        (
            lambda results: replace(results, epochs=results.epochs.assign(**{"val/rate": 0.03})),
            {"nothing_learned": "Nothing was learned: the posterior collapsed in all "},
        ),
    ],
    ids=["came further", "collapsed"],
)
def test_best_and_status_say_what_the_best_run_is_worth(tmp_path, changed, says):
    results = changed(make_results(confirm=False))
    store(results, tmp_path)
    state = json.loads(said(tmp_path, "status", results.name, "--json"))
    done = CliRunner().invoke(
        cli, ["best", results.name, "--runs", str(tmp_path), "--json"], catch_exceptions=False
    )
    json.loads(done.stdout)
    for field in ("came_further", "nothing_learned"):
        assert (says[field] in state[field]) if field in says else (state[field] is None)
        assert (field in says) == (
            bool(state[field]) and state[field] in done.stderr.replace("\n", " ")
        )
