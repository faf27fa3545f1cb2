"""A study with two objectives in the commands and in MLflow: its front in the place of a best
run.
"""

import json

import pytest
from click.testing import CliRunner
from toy_plane import OBJECTIVES, Plane, study_of
from tracked_study import client

from sweeps import run_study
from sweeps.engine import open_sweep
from sweeps.errors import UserError
from sweeps.results import front_trials, last_values
from sweeps.tracking import sync
from vaeexp.commands import cli
from vaeexp.results import stored_study
from vaeexp.runs.best_weights import BestWeights


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of the runs of a finished study."""
    folder = tmp_path_factory.mktemp("runs")
    run_study(study_of(trials=12), lambda: Plane(width=2, epochs=4), runs=folder)
    return folder


def said(runs, *words):
    return CliRunner().invoke(cli, [*words, "--runs", str(runs)], catch_exceptions=False).output


def test_status_lists_the_front(runs):
    stored = stored_study("toy", runs, None)
    front = front_trials(stored)
    assert len(front) > 1
    text = said(runs, "status", "toy")
    assert f"front of {len(front)} trials" in text
    assert "Front of rate and distortion, at the last epoch" in text
    assert "Best in the search" not in text
    lines = text[text.index("Front of") :].splitlines()[2:]
    assert [int(line.split()[0]) for line in lines[: len(front)]] == [
        trial.number for trial in front
    ]
    values = [f"{value:.2f}" for value in last_values(front[0], OBJECTIVES.values())]
    assert lines[0].split()[1:3] == values
    assert f"front of {len(front)} trials" in said(runs, "status")
    found = json.loads(said(runs, "status", "toy", "--json"))
    assert found["front"] == [f"toy/{trial.number}" for trial in front]
    assert found["best"] is None


def test_no_run_is_the_best(runs):
    front = ", ".join(
        f"toy/{trial.number}" for trial in front_trials(stored_study("toy", runs, None))
    )
    with pytest.raises(UserError) as caught:
        said(runs, "best", "toy")
    said_of_it = (
        f"has two objectives, so none of its runs is the best. Name one of its front: {front}."
    )
    assert caught.value.problem == said_of_it


def test_mlflow_gets_no_best_objective_and_every_trial_both_metrics(runs, tmp_path):
    uri = f"sqlite:///{tmp_path / 'store.db'}"
    sync("toy", runs=runs, tracking=uri)
    store = client(runs, uri)
    [experiment] = [found for found in store.search_experiments() if found.name == "toy"]
    metrics = [run.data.metrics for run in store.search_runs([experiment.experiment_id])]
    assert len(metrics) == 13
    assert not any("best_objective" in found for found in metrics)
    assert sum({*OBJECTIVES.values()} <= {*found} for found in metrics) == 12


def test_no_weights_are_freed_because_no_trial_is_worse(runs):
    with open_sweep(study_of(trials=12), runs=runs) as sweep:
        assert BestWeights.of(sweep, 1) == []
