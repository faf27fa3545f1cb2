"""Learning curves of a search as `curve_process` wants them: configurations as numbers, few epochs
of each curve, objectives on an even scale.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweeps.search.curves.process import SeenEpochs
from sweeps.study.space import Space, frozen

POINTS = 8
"""Epochs of a curve that are looked at, at the most: its first, its newest, and others evenly in
the logarithm.
"""


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """What is known of one trial."""

    number: int
    params: Mapping[str, Any]
    objectives: tuple[float, ...]
    """After each epoch that follows the warm-up; finite."""
    diverged: bool
    warmup: int = 0
    """Epochs before the first of them."""

    @property
    def lowest(self) -> float:
        """The least objective; infinite without any."""
        return min(self.objectives, default=math.inf)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """An even scale of objectives: (log(1 + (y − best) / width) − mean) / deviation.

    The logarithm keeps first epochs and bad configurations, which may lie thousands of nats above
    the best, from deciding the scale. It is nearly linear at the best, and goes on below it.
    """

    best: float
    """The least objective seen."""
    width: float
    mean: float
    deviation: float

    def __call__(self, objectives: Any) -> np.ndarray:
        excess = np.maximum(np.asarray(objectives, dtype=float) - self.best, 0.0)
        return np.asarray((np.log1p(excess / self.width) - self.mean) / self.deviation)

    @classmethod
    def of(cls, curves: Sequence[LearningCurve]) -> "Scale":
        """Return the scale of curves that have epochs; its width is the lower quartile of their
        least objectives above the best.

        The width is no less than the resolution of a float64 over the range, because the quotient
        by a smaller width may be infinite.
        """
        lowest = np.array([curve.lowest for curve in curves])
        best = float(lowest.min())
        above = lowest[lowest > best] - best
        width = float(np.quantile(above, 0.25)) if len(above) else 1.0
        width = max(
            width,
            float(np.finfo(float).eps) * (max(max(curve.objectives) for curve in curves) - best),
        )
        logs = np.concatenate(
            [np.log1p((np.array(curve.objectives) - best) / width) for curve in curves]
        )
        return cls(
            best=best, width=width, mean=float(logs.mean()), deviation=float(logs.std()) or 1.0
        )


def to_point(space: Space, params: Mapping[str, Any]) -> tuple[float, ...]:
    """Return a configuration as numbers from 0 to 1: each range a quantile, 0.5 where it is not
    active; each value of a choice √½ or 0.
    """
    numbers: list[float] = []
    for parameter in space.parameters:
        value = params.get(parameter.name)
        if parameter.kind == "choice":
            # So that two different values are 1 apart, as the ends of a range are.
            chosen = [
                parameter.name in params and frozen(value) == choice for choice in parameter.values
            ]
            numbers += [math.sqrt(0.5) * is_chosen for is_chosen in chosen]
        else:
            numbers.append(parameter.quantile(value) if parameter.name in params else 0.5)
    return tuple(numbers)


def groups_of(space: Space) -> np.ndarray:
    """Return the parameter to which each number of `to_point` belongs, int [D]."""
    sizes = [len(p.values) if p.kind == "choice" else 1 for p in space.parameters]
    return np.repeat(np.arange(len(sizes)), sizes)


def log_time(epoch: float, last: int) -> float:
    """Return log epoch / log last: 0 after the first epoch, 1 after the last."""
    return math.log(epoch) / math.log(last) if last > 1 else 1.0


def seen_epochs(
    space: Space, curves: Sequence[LearningCurve], scale: Scale, last: int, most: int
) -> tuple[SeenEpochs, list[int]]:
    """Return what is known of curves, in at most `most` epochs, and the numbers of the trials in
    its order.

    Where the curves have more epochs, fewer of each are looked at, `POINTS` at the most; where
    there are more curves, only the best. A diverged curve ends, at the last epoch, with the worst
    of the least objectives.
    """
    chosen = sorted(
        sorted(curves, key=lambda c: (c.lowest, c.number))[:most], key=lambda c: c.number
    )
    points = next(
        (
            count
            for count in range(POINTS, 1, -1)
            if sum(len(_looked_at(c, count)) for c in chosen) <= most
        ),
        1,
    )
    worst = max(float(scale(curve.lowest)) for curve in chosen)
    rows: list[int] = []
    times: list[float] = []
    values: list[float] = []
    for row, curve in enumerate(chosen):
        epochs = _looked_at(curve, points)
        if curve.diverged:
            epochs = epochs[:-1]
            rows = [*rows, row]
            times = [*times, 1.0]
            values = [*values, worst]
        rows += [row] * len(epochs)
        times += [log_time(epoch, last) for epoch in epochs]
        values += [float(scale(curve.objectives[epoch - curve.warmup - 1])) for epoch in epochs]
    seen = SeenEpochs(
        points=np.array([to_point(space, curve.params) for curve in chosen]),
        groups=groups_of(space),
        curves=np.array(rows),
        times=np.array(times),
        values=np.array(values),
    )
    return seen, [curve.number for curve in chosen]


def _looked_at(curve: LearningCurve, points: int) -> list[int]:
    """Return the epochs of a curve that are looked at; from 1."""
    newest = curve.warmup + len(curve.objectives)
    epochs = {round(newest ** (1 - index / max(points - 1, 1))) for index in range(points)}
    return sorted({max(epoch, curve.warmup + 1) for epoch in epochs})
