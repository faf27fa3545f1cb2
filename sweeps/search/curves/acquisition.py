"""Where the unfinished trials of a search, and configurations that it has not tried, are expected
to end, and which new one is worth most.

A configuration is worth its expected improvement (Jones et al. 1998) on the best that is known: the
least objective seen, or the least end that is expected of an unfinished trial, because a search
that has paused a trial can have its end. A trial that trains counts as if it ended where the
process expects, so that a configuration is worth less the more it resembles those beside it (the
kriging believer of Ginsbourger et al. 2010).
"""

import json
import math
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from sweeps.search.curves.learning_curves import LearningCurve, Scale, seen_epochs, to_point
from sweeps.search.curves.process import CurveProcess
from sweeps.seeds import seed_of
from sweeps.state.state import reported_epochs
from sweeps.state.trial import Trial
from sweeps.study.space import Parameter, Space

EPOCHS_SEEN = 600
"""Trial-epochs from which the last epochs are predicted, at the most: their cube is the cost."""
UNFINISHED = 256
"""Unfinished trials whose ends are predicted, at the most, those with the least objectives: the
square of their number is the cost.
"""
CANDIDATES = 256
NEIGHBOURS = 64
"""New configurations that are looked at: points of a scrambled Sobol sequence, and points near the
best trials.
"""
CENTRES = 8
STEP = 0.1
REDRAWN = 0.2
"""How many best trials have neighbours; the deviation of a neighbour's quantiles; the chance that a
choice is drawn anew.
"""

Configuration = Mapping[str, Any]


def curves_of(trials: Sequence[Trial]) -> list[LearningCurve]:
    """Return the learning curves of the trials that have reported an epoch after their warm-up, by
    the numbers under which they began.
    """
    curves = [
        LearningCurve(
            number=trial.first,
            params=trial.params,
            objectives=tuple(value for _, value in sorted(trial.counted.items())),
            diverged=trial.diverged,
            warmup=trial.warmup,
        )
        for trial in trials
        if trial.counted
    ]
    return sorted(curves, key=lambda curve: curve.number)


def unfinished(trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials that train or are paused, those apart that wait for the result of an equal
    one.
    """
    return [trial for trial in trials if trial.unfinished and trial.duplicate_of is None]


def _going_on(trials: Sequence[Trial], curves: Sequence[LearningCurve]) -> list[Configuration]:
    """Return the configurations of the `UNFINISHED` lowest curves that may go on, by number.

    The order does not tell whether a trial has been revived already, so that a process that takes
    the round up predicts the same to the last bit.
    """
    going_on = [*unfinished(trials), *(trial for trial in trials if trial.resumable)]
    starts = {trial.first for trial in going_on}
    open_ones = [curve for curve in curves if curve.number in starts]
    lowest = sorted(open_ones, key=lambda curve: (curve.lowest, curve.number))[:UNFINISHED]
    lowest.sort(key=lambda curve: curve.number)
    return [curve.params for curve in lowest]


class Acquisition:
    """What is expected of the last epochs, given all epochs that these trials have reported: one at
    least.

    Args:
        last: epochs of a full trial.
        seed: of the study.
        log_parameters: of the process (`sweeps.search.curves.process.prior`).
    """

    def __init__(
        self,
        space: Space,
        trials: Sequence[Trial],
        *,
        last: int,
        seed: int,
        log_parameters: np.ndarray,
    ) -> None:
        self._space = space
        curves = curves_of(trials)
        scale = Scale.of(curves)
        seen, numbers = seen_epochs(space, curves, scale, last, EPOCHS_SEEN)
        self._process = CurveProcess(log_parameters, seen)
        self._least = float(scale(scale.best))
        began = {trial.first: trial for trial in trials}
        self._curves = {key_of(began[number].params): row for row, number in enumerate(numbers)}
        random = np.random.default_rng(
            seed_of(f"{seed}:configurations after {reported_epochs(trials)} epochs")
        )
        new = new_configurations(space, sorted(curves, key=lambda curve: curve.lowest), random)
        self._candidates = {key_of(params): params for params in new}
        # Those that begin later in the round are among the candidates. So a process that takes the
        # round up predicts the same to the last bit.
        self._trials = _going_on(trials, curves)
        self._unfinished = tuple(self._trials)
        self._predict()

    def _predict(self) -> None:
        everything = {key_of(params): params for params in self._trials} | self._candidates
        points = np.array([to_point(self._space, params) for params in everything.values()])
        curves = [self._curves.get(key, -1) for key in everything]
        self._rows = {key: row for row, key in enumerate(everything)}
        self._mean, self._covariance = self._process.predict(points, curves, [1.0] * len(points))
        self._believed: tuple[list[int], np.ndarray] = [], self._covariance
        """Rows of configurations that are believed to end as expected, and the covariance once
        their ends are known.
        """

    def best(self, running: Sequence[Configuration], tried: Container[str]) -> Configuration | None:
        """Return the untried candidate with the highest expected improvement, given the `running`
        configurations; None without any. `tried`: keys of configurations (`key_of`).
        """
        options = [key for key in self._candidates if key not in tried]
        if not options:
            return None
        if missing := [params for params in running if key_of(params) not in self._rows]:
            self._trials += missing
            self._predict()
        rows = [self._rows[key] for key in options]
        training = [self._rows[key_of(params)] for params in running]
        unfinished_rows = [self._rows[key_of(params)] for params in self._unfinished]
        incumbent = min([self._least, *self._mean[unfinished_rows], *self._mean[training]])
        gains = expected_improvement(
            self._mean[rows], np.diag(self._believing(training))[rows], incumbent
        )
        return self._candidates[options[int(gains.argmax())]]

    def _believing(self, rows: list[int]) -> np.ndarray:
        """Return the covariance once the ends of these are known, one after the other.

        Configurations that begin in the same round are asked for one by one, each beside one more:
        what is known already serves the next.
        """
        known, covariance = self._believed
        if known != rows[: len(known)]:
            known = []
            covariance = self._covariance
        for row in rows[len(known) :]:
            column = covariance[:, row]
            covariance = covariance - np.outer(column, column) / (column[row] + self._process.noise)
        self._believed = rows, covariance
        return covariance


def expected_improvement(mean: np.ndarray, variance: np.ndarray, incumbent: float) -> np.ndarray:
    """Return E[max(incumbent − y, 0)] of normal y (Jones et al. 1998, eq. 15)."""
    from scipy.special import ndtr

    deviation = np.sqrt(np.maximum(variance, 1e-12))
    gap = (incumbent - mean) / deviation
    return np.asarray(
        deviation * (gap * ndtr(gap) + np.exp(-(gap**2) / 2) / math.sqrt(2 * math.pi))
    )


# ---- new configurations ----


def new_configurations(
    space: Space, best: Sequence[LearningCurve], random: np.random.Generator
) -> list[dict[str, Any]]:
    """Return configurations that are spread over the space, and others near the best curves."""
    from scipy.stats import qmc

    sequence = qmc.Sobol(len(space.parameters), scramble=True, seed=random)
    drawn = [_at(space, quantiles) for quantiles in sequence.random(CANDIDATES)]
    centres = best[:CENTRES]
    return drawn + [
        _near(space, centres[place % len(centres)].params, random) for place in range(NEIGHBOURS)
    ]


def _at(space: Space, quantiles: Sequence[float]) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for parameter, quantile in zip(space.parameters, quantiles, strict=True):
        if parameter.name in space.active(params):
            params[parameter.name] = parameter.at(float(quantile))
    return params


def _near(space: Space, centre: Configuration, random: np.random.Generator) -> dict[str, Any]:
    return _at(space, [_moved(parameter, centre, random) for parameter in space.parameters])


def _moved(parameter: Parameter, centre: Configuration, random: np.random.Generator) -> float:
    draw = random.random()
    step = STEP * random.standard_normal()
    redrawn = random.random() < REDRAWN
    if parameter.name not in centre or (parameter.kind == "choice" and redrawn):
        return draw
    quantile = parameter.quantile(centre[parameter.name])
    if parameter.kind == "choice":
        return quantile
    folded = abs(quantile + step) % 2  # mirrored at 0 and 1
    return min(folded if folded < 1 else 2 - folded, 1 - 1e-12)


def key_of(params: Configuration) -> str:
    """Return a text that equal configurations share."""
    return json.dumps(params, sort_keys=True)
