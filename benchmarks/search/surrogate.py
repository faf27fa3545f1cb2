"""Learning curves and grades of any configuration of a space, from the table of its curves.

    seen = SeenCurves(load_table("A"), 0)
    curves = seen.of_repeat(3)
    curves({"beta": 1.0, ...}).neg_elbo
        what the searches of repeat 3 see of this configuration, epoch by epoch

At a configuration of the table a search sees the table's own curve, bit for bit. Elsewhere it sees
a mean of the table's curves and the noise of a seed (`noise.py`), drawn for each configuration and
repeat. The mean is that of a surrogate: of a Gaussian process (`Process`; Rasmussen and Williams
2006, eq. 2.25) or of extra trees (`forest.py`). Both are weighted sums of curves, so each mean is a
curve, too. All searches see the same surrogate and the same noise; none is restricted to the points
of the table.

Rules:

- Values are log(1 + nats above the least of the table at this epoch / w), because bad curves would
  outweigh the others; w is the lower quartile of the objectives above the best. They are even at
  the best, and logarithmic far from it. Noise is drawn and added on this scale.
- The process has one kernel for all epochs, a Matérn-5/2 with a length for each number of a
  configuration. Lengths, variance and noise are the most likely ones (scikit-learn) of the curves
  that do not diverge, all epochs counting alike.
- A configuration diverges in the first epoch at which the same surrogate of finite curves (1) and
  ended ones (0) is below a half.
- `errors` says how far the surrogate of the others is from each curve of the table (of the process:
  Rasmussen and Williams 2006, eq. 5.12).

Our sampler `curves` believes in a process of the same kind, which may flatter it. The trees know
the curves less well, and flatter no search that believes in a process.
"""

import json
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from curve_table import Table
from forest import Forest
from noise import SeedNoise
from scipy.linalg import cho_factor, cho_solve
from scipy.stats import spearmanr
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from sweeps.search.curves.learning_curves import to_point
from sweeps.seeds import seed_of

__all__ = ["SURROGATES", "Curve", "EpochError", "Grades", "Process", "SeenCurves"]

_LENGTHS, _NOISE = (0.05, 20.0), (1e-6, 1.0)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The epochs of a configuration, as one seed sees them."""

    neg_elbo: tuple[float, ...]
    """Nats per image after each epoch."""
    seconds: tuple[float, ...]
    """Of a processor, for each epoch; of a diverged curve one more, for the epoch that was not
    finite.
    """
    diverged: bool


@dataclass(frozen=True, kw_only=True)
class EpochError:
    """How well the other curves predict each curve at one epoch."""

    epoch: int
    nats: float
    """Median absolute error over all curves."""
    nats_near_best: float
    """The same over the better quarter of the curves."""
    rank_correlation: float
    """Spearman's, between prediction and curve."""
    nearest_nats: float
    """Median absolute error of the nearest other configuration in the unit cube, for comparison."""


class Process:
    """A Gaussian process of several targets that share a kernel.

    Args:
        points: float64 [C, D], of `sweeps.search.curves.learning_curves.to_point`.
        targets: float64 [C, K]; NaN where a row has no such target. Rows with all of them decide
            the kernel.
        counts: int [C], how many runs a target is the mean of; else 1.
    """

    def __init__(
        self, points: np.ndarray, targets: np.ndarray, counts: np.ndarray | None = None
    ) -> None:
        self._points, self._known = points, np.isfinite(targets)
        self._mean, self._deviation = np.nanmean(targets, axis=0), np.nanstd(targets, axis=0)
        self._deviation = np.where(self._deviation > 0, self._deviation, 1.0)
        self._values = (targets - self._mean) / self._deviation
        kernel = ConstantKernel() * Matern(
            np.ones(points.shape[1]), _LENGTHS, nu=2.5
        ) + WhiteKernel(0.01, _NOISE)
        whole = self._known.all(axis=1)
        with warnings.catch_warnings():  # a parameter that does not matter has the greatest length
            warnings.simplefilter("ignore", ConvergenceWarning)
            fitted = GaussianProcessRegressor(kernel).fit(points[whole], self._values[whole])
        self.kernel, self.noise = fitted.kernel_.k1, float(fitted.kernel_.k2.noise_level)
        self._covariance = self.kernel(points) + np.diag(
            self.noise / (np.ones(len(points)) if counts is None else counts)
        )
        patterns, self._pattern = np.unique(self._known, axis=1, return_inverse=True)
        self._solved = [self._solve(pattern) for pattern in patterns.T]

    def _solve(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that are known, int [c], and the inverse of their covariance."""
        known = np.flatnonzero(rows)
        return known, cho_solve(
            cho_factor(self._covariance[np.ix_(known, known)]), np.eye(len(known))
        )

    def __call__(self, point: np.ndarray) -> np.ndarray:
        """Return the mean of each target at a point, float64 [K]."""
        across = self.kernel(point[None], self._points)[0]
        weights = [(known, across[known] @ inverse) for known, inverse in self._solved]
        found = np.array(
            [weights[p][1] @ self._values[weights[p][0], k] for k, p in enumerate(self._pattern)]
        )
        return found * self._deviation + self._mean

    def left_out(self) -> np.ndarray:
        """Return what the others say of each target of each row, float64 [C, K]; NaN where the row
        has none.
        """
        found = np.full(self._values.shape, math.nan)
        for target, pattern in enumerate(self._pattern):
            known, inverse = self._solved[pattern]
            own = self._values[known, target]
            found[known, target] = own - inverse @ own / np.diag(inverse)
        return found * self._deviation + self._mean


class Surrogate(Protocol):
    """Continues targets between their points."""

    def __call__(self, point: np.ndarray) -> np.ndarray:
        """Return the mean of each target at a point, float64 [K]."""

    def left_out(self) -> np.ndarray:
        """Return what the others say of each target of each row, float64 [C, K]; NaN where the row
        has none.
        """


SURROGATES: dict[str, Callable[..., Surrogate]] = {"process": Process, "trees": Forest}


class SeenCurves:
    """The curves that a search sees: of each configuration those of one seed, and elsewhere what a
    surrogate makes of them.

    Args:
        seen: number of the seed that is seen, one for all configurations or int [C].
        surrogate: one of `SURROGATES`.
    """

    def __init__(self, table: Table, seen: int | np.ndarray, surrogate: str = "process") -> None:
        seeds = np.broadcast_to(seen, len(table.numbers))
        rows = np.flatnonzero(table.trained[np.arange(len(seeds)), seeds])
        self.name, self.space, make = table.name, table.space, SURROGATES[surrogate]
        self.values = table.neg_elbo[rows, seeds[rows]]
        self.seconds = table.seconds[rows, seeds[rows]]
        self.configurations = [table.configurations[row] for row in rows]
        self.points = np.array([to_point(table.space, params) for params in self.configurations])
        self.alive = np.isfinite(self.values)
        self._floor = np.nanmin(table.neg_elbo, axis=(0, 1))
        self._width = _width(table.objectives()[rows, seeds[rows]])
        self._usual_seconds = float(np.nanmedian(self.seconds))
        excess = self._excess(self.values)
        self.surrogate = make(self.points, excess)
        self._seconds = make(self.points, self.seconds)
        self._alive = None if self.alive.all() else make(self.points, self.alive.astype(float))
        other = self._excess(table.neg_elbo[rows, np.where(seeds[rows] == 0, 1, 0)])
        self.noise = SeedNoise(self.points, excess[:, -1], other - excess)
        self._rows = {_key(params): row for row, params in enumerate(self.configurations)}

    def of_repeat(self, repeat: int) -> Callable[[Mapping[str, Any]], Curve]:
        """Return configuration → curve for all searches of a repeat."""
        known: dict[str, Curve] = {}

        def curve(params: Mapping[str, Any]) -> Curve:
            if (key := _key(params)) not in known:
                known[key] = self.curve(params, seed_of(f"noise:{self.name}:{repeat}:{key}"))
            return known[key]

        return curve

    def curve(self, params: Mapping[str, Any], seed: int) -> Curve:
        """Return the curve of a configuration; `seed` decides the noise where the table has no
        curve.
        """
        row = self._rows.get(_key(params))
        values, seconds = (
            self._drawn(params, seed) if row is None else (self.values[row], self.seconds[row])
        )
        epochs = int(np.isfinite(values).sum())
        diverged = epochs < self.values.shape[1]
        paid = [*map(float, seconds[:epochs])]
        if diverged:  # nobody has measured the epoch that was not finite
            paid.append(paid[-1] if paid else self._usual_seconds)
        return Curve(
            neg_elbo=tuple(map(float, values[:epochs])), seconds=tuple(paid), diverged=diverged
        )

    def _drawn(self, params: Mapping[str, Any], seed: int) -> tuple[np.ndarray, np.ndarray]:
        point = np.array(to_point(self.space, params))
        ended = [] if self._alive is None else np.flatnonzero(self._alive(point) < 0.5)
        epochs = int(ended[0]) if len(ended) else self.values.shape[1]
        seconds = np.maximum(self._seconds(point), np.nanmin(self.seconds))
        mean = self.surrogate(point)
        error = self.noise.draw(point, float(mean[-1]), seed)
        return self._in_nats(mean + error)[:epochs], seconds[:epochs]

    def _excess(self, nats: np.ndarray) -> np.ndarray:
        return np.asarray(np.log1p((nats - self._floor) / self._width))

    def _in_nats(self, excess: np.ndarray) -> np.ndarray:
        return self._floor + self._width * np.expm1(excess)

    def errors(self) -> list[EpochError]:
        """Return for each epoch how well the other curves predict each curve that is still finite
        there.
        """
        predicted = self._in_nats(self.surrogate.left_out())
        gaps = np.abs(self.points[:, None, :] - self.points[None, :, :]).sum(axis=2)
        np.fill_diagonal(gaps, math.inf)
        errors = []
        for epoch in range(self.values.shape[1]):
            alive, values = self.alive[:, epoch], self.values[:, epoch]
            rows = np.flatnonzero(alive)
            guesses = predicted[rows, epoch]
            nearest = values[np.where(alive[None, :], gaps, math.inf).argmin(axis=1)][rows]
            missed = np.abs(guesses - values[rows])
            best = values[rows] <= np.quantile(values[rows], 0.25)
            errors.append(
                EpochError(
                    epoch=epoch + 1,
                    nats=float(np.median(missed)),
                    nats_near_best=float(np.median(missed[best])),
                    rank_correlation=float(spearmanr(guesses, values[rows]).statistic),
                    nearest_nats=float(np.median(np.abs(nearest - values[rows]))),
                )
            )
        return errors


class Grades:
    """What a configuration is worth: the mean objective over the seeds that the search did not see,
    smoothed.

    A surrogate of the configurations of the table says so, those of the table as well, because the
    least of 400 noisy means lies below what any configuration is worth. A mean of several seeds has
    less noise. The seen seed enters nowhere.

    Args:
        seen: number of the seed that the search sees, one for all configurations or int [C].
        surrogate: one of `SURROGATES`.
    """

    def __init__(self, table: Table, seen: int | np.ndarray, surrogate: str = "process") -> None:
        others = (
            np.arange(table.trained.shape[1]) != np.broadcast_to(seen, len(table.numbers))[:, None]
        )
        trained, make = table.trained & others, SURROGATES[surrogate]
        rows = np.flatnonzero(trained.any(axis=1))
        finite = (np.isfinite(table.objectives()) & others)[rows]
        self._space, counts = table.space, finite.sum(axis=1)
        means = np.where(finite, table.objectives()[rows], 0.0).sum(axis=1) / np.maximum(counts, 1)
        self._floor, self._width = float(means[counts > 0].min()), _width(means[counts > 0])
        excess = np.where(
            counts > 0, np.log1p(np.maximum(means - self._floor, 0.0) / self._width), math.nan
        )
        share = counts / trained[rows].sum(axis=1)
        points = np.array([to_point(table.space, table.configurations[row]) for row in rows])
        self._worth = make(points, excess[:, None], np.maximum(counts, 1))
        self._finite = None if (share == 1).all() else make(points, share[:, None])
        self.best = min(self(table.configurations[row]) for row in rows)
        """Nats of the best configuration of the table."""

    def __call__(self, params: Mapping[str, Any]) -> float:
        """Return the nats of a configuration; infinite where runs are expected to diverge."""
        point = np.array(to_point(self._space, params))
        if self._finite is not None and self._finite(point)[0] < 0.5:
            return math.inf
        return self._floor + self._width * math.expm1(self._worth(point)[0])


def _width(objectives: np.ndarray) -> float:
    """Return the lower quartile of objectives above the best, in nats; those that diverged
    apart.
    """
    finite = objectives[np.isfinite(objectives)]
    return float(np.quantile(finite - finite.min(), 0.25)) or 1.0


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
