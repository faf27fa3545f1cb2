"""The warm-up of β in training: which epochs can be the best, what `patience` waits for, and
warm-ups that never end.
"""

import io
import math

import pytest
import torch
from fused import BASE, make_lanes, trial
from mnist_files import write_files
from rich.console import Console

from sweeps.errors import UserError
from sweeps.lanes import Outcome, advance_all
from vaeexp.launch.job import prepare_job
from vaeexp.launch.options import SweepOptions
from vaeexp.launch.run import plan_sweep
from vaeexp.launch.study_log import StudyLog

STRONG = {"epochs": 7, "learning_rate": 2e-2, "beta": 30.0}
"""At so large a β the value of an epoch of the warm-up is better than that of all others."""


@pytest.mark.parametrize("warmup", [2.5, 6.0])
@pytest.mark.parametrize("kind", ["vectorised", "sequential"])
def test_the_best_weights_are_of_an_epoch_after_the_warmup(tmp_path, kind, warmup):
    lanes, artifacts = make_lanes(tmp_path, kind=kind, base=BASE.with_params(STRONG), every=0.0)
    lanes.add(trial(0, warmup_epochs=warmup))
    values, weights = [], []
    for _ in range(7):
        values.append(advance_all(lanes, [0])[0].objective)
        [group] = lanes.groups.all()
        weights.append(group.state(0)["weights"].clone())
    counted = range(math.ceil(warmup), 7)
    best = min(counted, key=values.__getitem__)
    if warmup == 6:
        assert min(values) < values[best], "the example has its lowest value in the warm-up"
    [result] = lanes.finish({0: Outcome(state="complete", epoch=7, objective=values[best])})
    assert result.metrics["best_epoch"] == best + 1
    assert torch.equal(artifacts.states[0]["best"], weights[best])


@pytest.mark.parametrize(("warmup", "patience"), [(3.0, 2), (2.5, 1)])
def test_patience_begins_after_the_warmup(tmp_path, warmup, patience):
    lanes, _ = make_lanes(
        tmp_path, kind="sequential", base=BASE.with_params(STRONG | {"epochs": 12})
    )
    lanes.add(trial(0, warmup_epochs=warmup, patience=patience))
    history = []
    while not (history and history[-1].finished):
        history.append(advance_all(lanes, [0])[0])
    first = math.ceil(warmup)
    best = min(range(first, len(history)), key=lambda index: history[index].objective)
    assert history[-1].metrics["train/beta"] == 30.0
    assert len(history) == min(best + 1 + patience, 12)
    assert len(history) > first + patience


def test_a_lane_that_ends_within_its_warmup_leaves_no_best(tmp_path):
    lanes, _ = make_lanes(tmp_path, kind="sequential")
    lanes.add(trial(0, warmup_epochs=3.0))
    advance_all(lanes, [0])
    [result] = lanes.finish({0: Outcome(state="failed", epoch=1, objective=None)})
    assert result.metrics["best_epoch"] == 0
    assert result.files == {}


@pytest.fixture
def prepare(tmp_path, monkeypatch):
    """Prepares the shipped study `smoke`: 2 epochs of 6 steps."""
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    write_files(tmp_path / "data" / "MNIST" / "raw", training=160, test=30)
    small = (
        "validation_size=40",
        "train_size=120",
        "batch_size=20",
        "hidden=[8]",
        "epochs=2",
        "pruner=none",
    )

    def options(*changes):
        folders = {name: tmp_path / name for name in ("data", "runs", "reports")}
        return SweepOptions(study="smoke", overrides=(*small, *changes), **folders, device="cpu")

    def prepared(*changes):
        return prepare_job(options(*changes), StudyLog(Console(quiet=True)))

    prepared.options = options
    return prepared


@pytest.mark.parametrize(
    ("change", "field", "value", "limit"),
    [
        ("warmup_epochs=1.5", "train.warmup_epochs", "got 1.5", "2 epochs"),
        ("warmup_steps=12", "train.warmup_steps", "12", "12 steps"),
        ("search.warmup_epochs={low: 3, high: 9}", "search.warmup_epochs", "3 to 9", "2 epochs"),
        (
            "baselines.x={at: best, settings: {warmup_epochs: 5}}",
            "baselines.x.warmup_epochs",
            "5",
            "2 epochs",
        ),
    ],
)
def test_a_warmup_longer_than_the_training_is_refused(
    prepare, tmp_path, change, field, value, limit
):
    with pytest.raises(UserError) as caught:
        prepare(change)
    words = str(caught.value)
    for part in (field, value, f"has {limit}", "must be less", "Give a shorter"):
        assert part in words, part
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("changes", "field", "effect"),
    [
        (["search.warmup_epochs={values: [0, 2]}"], "search.warmup_epochs got 0 to 2", "no value"),
        (
            ["search.epochs={values: [2, 6]}", "warmup_epochs=3"],
            "train.warmup_epochs got 3",
            "has no value",
        ),
        (
            ["search.batch_size={values: [10, 60]}", "warmup_steps=9"],
            "train.warmup_steps got 9",
            "never trains at",
        ),
    ],
)
def test_a_searched_warmup_that_some_trials_cannot_end_is_warned_of(
    prepare, changes, field, effect
):
    [line] = [line for line in prepare(*changes).warnings if "warmup" in line]
    assert field in line
    assert effect in line


@pytest.mark.parametrize("changes", [[], ["warmup_epochs=0.5"], ["warmup_steps=11"]])
def test_a_warmup_that_ends_is_no_doubt(prepare, changes):
    assert not prepare(*changes).warnings


def test_the_plan_names_the_rungs_that_moved(prepare):
    console = Console(file=io.StringIO(), width=300)
    changes = ("epochs=10", "warmup_epochs=4", "pruner={name: promotion, rungs: [2, 3, 7]}")
    plan_sweep(prepare.options(*changes), StudyLog(console))
    said = console.file.getvalue()
    assert "up to 4 epochs" in said
    assert "from epoch 5 on, rungs at 5 and 7" in said
