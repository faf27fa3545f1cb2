"""Courses of the learning rate, each a factor of it as a function of the steps after the
warm-up.
"""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from vaeexp.settings import TrainSettings


class Course(NamedTuple):
    """Where a training is, after the warm-up of the learning rate."""

    step: int
    """From 0."""
    steps: int
    """Of the whole training."""
    epoch: int
    """Whole epochs passed."""


class Schedule(NamedTuple):
    """A course of the learning rate."""

    factor: Callable[["TrainSettings", Course], float]
    """Factor of the learning rate in the step."""
    to_zero: bool = False
    """Whether it falls to 0 over the training, so that it depends on the length of the training."""


def _power(usual: float, epochs: Callable[["TrainSettings"], int]) -> Schedule:
    """Return the schedule that multiplies by `schedule_factor` after each so many epochs."""

    def factor(train: "TrainSettings", course: Course) -> float:
        each = usual if train.schedule_factor is None else train.schedule_factor
        return float(each ** (course.epoch // epochs(train)))

    return Schedule(factor)


SCHEDULES: dict[str, Schedule] = {
    "constant": Schedule(lambda train, course: 1.0),
    "cosine": Schedule(
        lambda train, course: 0.5 * (1 + math.cos(math.pi * course.step / course.steps)),
        to_zero=True,
    ),
    "linear": Schedule(lambda train, course: 1 - course.step / course.steps, to_zero=True),
    "exponential": _power(0.95, lambda train: 1),
    "step": _power(0.1, lambda train: train.schedule_epochs),
}
"""Name in a study file → schedule: cosine is that of Loshchilov & Hutter 2017; exponential and step
are ExponentialLR and StepLR of PyTorch.
"""
