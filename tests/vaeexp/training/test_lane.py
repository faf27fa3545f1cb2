"""Flat parameters: views, gaps, and a small model inside a larger one; the schedules of a lane."""

import math
from dataclasses import replace
from typing import get_args

import pytest
import torch
from fused import BASE, trial
from hypothesis import given
from hypothesis import strategies as st

from vaeexp.schedules import SCHEDULES
from vaeexp.settings import TrainSettings
from vaeexp.training import Layout, leading_slice, open_lane

shapes = st.lists(st.integers(1, 5), min_size=0, max_size=3).map(torch.Size)


@given(st.lists(shapes, min_size=1, max_size=4), st.data())
def test_a_small_model_lives_in_the_leading_slices_of_a_large_one(small_shapes, data):
    large_shapes = [
        torch.Size(n + data.draw(st.integers(0, 3)) for n in shape) for shape in small_shapes
    ]
    tensors = {f"p{i}": torch.randn(shape) for i, shape in enumerate(small_shapes)}
    large = Layout({f"p{i}": torch.empty(shape) for i, shape in enumerate(large_shapes)})
    embedded = torch.zeros(large.size)
    for name, view in large.views(embedded).items():
        leading_slice(view, tensors[name].shape).copy_(tensors[name])
    for name, view in large.views(embedded).items():
        inner = view[tuple(slice(n) for n in tensors[name].shape)]
        assert torch.equal(inner, tensors[name])
        assert view.count_nonzero() == inner.count_nonzero()


def test_views_share_memory_and_keep_the_leading_axis():
    layout = Layout({"w": torch.empty(2, 3), "b": torch.empty(5)})
    flat = torch.zeros(4, layout.size)
    layout.views(flat)["w"][2, 1, 1] = 7
    assert flat[2].sum() == 7
    assert flat[[0, 1, 3]].abs().sum() == 0
    assert layout.offsets["b"] % 16 == 0


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@given(st.integers(0, 150), st.integers(1, 10))
def test_the_learning_rate_rises_linearly_and_then_takes_its_course(schedule, warmup, epochs):
    settings = BASE.with_params({"schedule": schedule, "warmup_steps": warmup, "epochs": epochs})
    lane = replace(open_lane(trial(0), BASE, (1, 8, 8), 160)[0], settings=settings)
    total, rate = 10 * epochs, settings.train.learning_rate
    for step in range(total):
        left = (step - warmup) / (total - warmup) if warmup < total else 0
        course = 0.5 * (1 + math.cos(math.pi * left)) if schedule == "cosine" else 1.0
        wanted = rate * (step + 1) / warmup if step < warmup else rate * course
        assert lane.learning_rate(step) == pytest.approx(wanted, rel=1e-12)


def cosine(optimizer, epochs):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * 10)


@pytest.mark.parametrize(
    ("settings", "each_step", "scheduler"),
    [
        ({}, 1, lambda optimizer, epochs: torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0)),
        ({"schedule": "cosine"}, 1, cosine),
        (
            {"schedule": "linear"},
            1,
            lambda optimizer, epochs: torch.optim.lr_scheduler.LinearLR(
                optimizer, 1.0, 0.0, epochs * 10
            ),
        ),
        (
            {"schedule": "exponential"},
            10,
            lambda optimizer, epochs: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.95),
        ),
        (
            {"schedule": "exponential", "schedule_factor": 0.5},
            10,
            lambda optimizer, epochs: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5),
        ),
        (
            {"schedule": "step"},
            10,
            lambda optimizer, epochs: torch.optim.lr_scheduler.StepLR(optimizer, 10),
        ),
        (
            {"schedule": "step", "schedule_factor": 0.3, "schedule_epochs": 4},
            10,
            lambda optimizer, epochs: torch.optim.lr_scheduler.StepLR(optimizer, 4, 0.3),
        ),
    ],
)
@pytest.mark.parametrize("epochs", [1, 13])
def test_schedules_are_those_of_pytorch(settings, each_step, scheduler, epochs):
    settings = BASE.with_params(settings | {"epochs": epochs})
    lane, _ = open_lane(trial(0), settings, (1, 8, 8), 160)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], settings.train.learning_rate)
    theirs = scheduler(optimizer, epochs)
    for step in range(10 * epochs):
        assert lane.learning_rate(step) == pytest.approx(
            theirs.get_last_lr()[0], rel=1e-9, abs=1e-12
        )
        optimizer.step()
        if (step + 1) % each_step == 0:
            theirs.step()


def test_every_schedule_of_the_table_can_be_named():
    assert [*SCHEDULES] == list(get_args(TrainSettings.model_fields["schedule"].annotation))


def test_schedules():
    settings = BASE.with_params({"schedule": "cosine", "warmup_epochs": 2.0, "epochs": 10})
    lane, _ = open_lane(trial(0), settings, (1, 8, 8), 160)
    assert lane.steps_per_epoch == 10
    assert lane.learning_rate(0) == pytest.approx(2e-3)
    assert lane.learning_rate(50) == pytest.approx(1e-3)
    assert lane.learning_rate(99) < 1e-6
    assert [lane.beta(step) for step in (0, 9, 19, 70)] == pytest.approx([0.05, 0.5, 1.0, 1.0])
