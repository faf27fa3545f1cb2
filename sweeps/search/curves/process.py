"""A Gaussian process over configurations and epochs, which says where unfinished learning curves
will end.

The objective y of configuration x, trained with its own seed as curve c, after epoch t of T, at τ =
log t / log T:

    y(c, τ) = f(x, τ) + o(c) + noise
    cov f   = s_μ (1 + m(τ, τ')) + k(x, x') (s_level + s_shape m(τ, τ'))
    cov o   = s_own for equal curves, else 0

k is a Matérn-5/2 kernel with a length for each parameter, m one with a length for τ, both 1 at
distance 0 (Rasmussen and Williams 2006, eq. 4.17). The product k · m makes curves of similar
configurations fall alike (freeze–thaw: Swersky, Snoek and Adams 2014; as one product kernel: Lin et
al. 2025, "Scalable Gaussian processes with latent Kronecker structure"). The first term is what all
curves share: without it, the mean of the last epochs would be that of the good curves, because only
those get there. o is the luck of a seed, which a curve keeps.

Curves have different lengths, so that the covariance of all epochs seen is no Kronecker product.
Its Cholesky factor is exact, and costs the cube of the number of epochs seen; the caller bounds
this number.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FURTHER = ("time", "shared", "level", "shape", "own", "noise")
"""The parameters of the process after the lengths of the configuration's parameters: the length of
τ, then variances.
"""
_PRIOR = {
    "time": (math.log(0.5), 0.7),
    "shared": (math.log(0.5), 1.0),
    "level": (math.log(0.5), 1.0),
    "shape": (math.log(0.1), 1.0),
    "own": (math.log(0.005), 1.0),
    "noise": (math.log(0.002), 1.0),
}
"""Mean and standard deviation of the normal prior of each logarithm, for values of variance 1."""
_REACH = 3.0
"""Standard deviations of the prior in which the most probable parameters are looked for."""
_STEPS = 12
_ROOT5 = math.sqrt(5)


@dataclass(frozen=True, kw_only=True, eq=False)
class SeenEpochs:
    """What is known: N curves with n epochs in all."""

    points: np.ndarray
    """float64 [N, D]: the configurations; see `groups`."""
    groups: np.ndarray
    """int [D]: the parameter to which a coordinate belongs, from 0. All coordinates of a parameter
    share a length.
    """
    curves: np.ndarray
    """int [n], ascending: the curve of an epoch."""
    times: np.ndarray
    """float64 [n]: τ of an epoch, from 0 to 1."""
    values: np.ndarray
    """float64 [n]: objectives, with a mean near 0 and a variance near 1."""

    @property
    def parameters(self) -> int:
        """The number of parameters of a configuration."""
        return int(self.groups.max()) + 1


def prior(parameters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the log-normal prior of the parameters, float64 [P + 6]
    each.

    Lengths grow with the root of the number of parameters, as distances in a unit cube do
    (Hvarfner, Hellsten and Nardi 2024).
    """
    means, deviations = zip(*(_PRIOR[name] for name in FURTHER), strict=True)
    lengths = [math.log(0.5 * math.sqrt(parameters))] * parameters
    return np.array([*lengths, *means]), np.array([1.0] * parameters + [*deviations])


def matern(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return Matérn-5/2 at these squared scaled distances r², and −2 dk/d(r²), which is dk/dlog ℓ
    where r² is divided by ℓ².
    """
    distance = _ROOT5 * np.sqrt(squares)
    decay = np.exp(-distance)
    return (1 + distance + distance**2 / 3) * decay, (5 / 3) * (1 + distance) * decay


def negative_log_posterior(
    log_parameters: np.ndarray, seen: SeenEpochs
) -> tuple[float, np.ndarray]:
    """Return minus the log marginal likelihood minus the log prior, up to a constant, and its
    gradient, float64 [P + 6].

    (Rasmussen and Williams 2006, eqs. 5.8 and 5.9.)
    """
    from scipy.linalg import cho_factor, cho_solve

    count = len(seen.values)
    parameters = seen.parameters
    of_points, slopes = _between(seen.points, seen.points, seen.groups, log_parameters)
    time, shared, level, shape, own, noise = np.exp(log_parameters[parameters:])
    gaps = np.subtract.outer(seen.times, seen.times) ** 2 / time**2
    of_times, time_slope = matern(gaps)
    alike = of_points[np.ix_(seen.curves, seen.curves)]
    same = seen.curves[:, None] == seen.curves[None, :]
    ahead = level + shape * of_times
    covariance = shared * (1 + of_times) + alike * ahead + own * same
    covariance[np.diag_indices(count)] += noise
    factor = cho_factor(covariance, lower=True)
    weights = cho_solve(factor, seen.values)
    # 2 d(log likelihood)/d(covariance).
    pull = np.outer(weights, weights) - cho_solve(factor, np.eye(count))
    starts = np.searchsorted(seen.curves, np.arange(len(seen.points)))
    of_curves = np.add.reduceat(np.add.reduceat(pull * ahead, starts, axis=0), starts, axis=1)
    gradient = [
        *(float((of_curves * slope).sum()) for slope in slopes),
        float((pull * (shared + shape * alike) * time_slope * gaps).sum()),
        shared * float((pull * (1 + of_times)).sum()),
        level * float((pull * alike).sum()),
        shape * float((pull * alike * of_times).sum()),
        own * float(pull[same].sum()),
        noise * float(np.trace(pull)),
    ]
    mean, deviation = prior(parameters)
    away = (log_parameters - mean) / deviation
    fit = float(seen.values @ weights) / 2 + float(np.log(np.diag(factor[0])).sum())
    return fit + float(away @ away) / 2, -np.array(gradient) / 2 + away / deviation


def most_probable(seen: SeenEpochs) -> np.ndarray:
    """Return the logarithms of the most probable parameters, float64 [P + 6]: 12 steps of L-BFGS
    from the prior's mean.

    The start is always the same, so that the result depends on `seen` alone.
    """
    from scipy.optimize import minimize

    mean, deviation = prior(seen.parameters)
    bounds = list(zip(mean - _REACH * deviation, mean + _REACH * deviation, strict=True))
    options = {"maxiter": _STEPS, "maxfun": 2 * _STEPS}
    found = minimize(
        negative_log_posterior,
        mean,
        args=(seen,),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options=options,
    )
    return np.asarray(found.x)


class CurveProcess:
    """The process, given the epochs seen."""

    def __init__(self, log_parameters: np.ndarray, seen: SeenEpochs) -> None:
        from scipy.linalg import cholesky, solve_triangular

        self.seen = seen
        self._log = log_parameters
        self.noise = float(np.exp(log_parameters[-1]))
        """Variance of one epoch about its curve."""
        covariance = self._covariance(
            seen.points, seen.curves, seen.times, seen.points, seen.curves, seen.times
        )
        covariance[np.diag_indices(len(seen.values))] += self.noise
        self._factor = cholesky(covariance, lower=True)
        self._weights = solve_triangular(self._factor, seen.values, lower=True)

    def predict(
        self, points: np.ndarray, curves: Sequence[int], times: Sequence[float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the means, float64 [m], and the covariance, float64 [m, m], of curves without the
        noise of an epoch.

        Args:
            points: float64 [m, D].
            curves: number of a curve that has been seen, or a negative number: any other curve, its
                own.
            times: τ.
        """
        from scipy.linalg import solve_triangular

        seen = self.seen
        numbers = np.asarray(curves, dtype=int)
        at = np.asarray(times, dtype=float)
        numbers = np.where(numbers < 0, -1 - np.arange(len(numbers)), numbers)
        across = self._covariance(seen.points, seen.curves, seen.times, points, numbers, at)
        explained = solve_triangular(self._factor, across, lower=True)
        covariance = self._covariance(points, numbers, at, points, numbers, at)
        return explained.T @ self._weights, covariance - explained.T @ explained

    def _covariance(
        self,
        points: np.ndarray,
        curves: np.ndarray,
        times: np.ndarray,
        others: np.ndarray,
        other_curves: np.ndarray,
        other_times: np.ndarray,
    ) -> np.ndarray:
        """Return the covariance of epochs without noise. `points`: of all curves seen, or of each
        epoch where there are as many.
        """
        parameters = self.seen.parameters
        time, shared, level, shape, own, _ = np.exp(self._log[parameters:])
        of_points = _between(points, others, self.seen.groups, self._log)[0]
        rows = curves if points is self.seen.points else np.arange(len(points))
        columns = other_curves if others is self.seen.points else np.arange(len(others))
        of_times = matern(np.subtract.outer(times, other_times) ** 2 / time**2)[0]
        same = curves[:, None] == other_curves[None, :]
        alike = of_points[np.ix_(rows, columns)]
        return np.asarray(shared * (1 + of_times) + alike * (level + shape * of_times) + own * same)


def _between(
    points: np.ndarray, others: np.ndarray, groups: np.ndarray, log_parameters: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return k between configurations, float64 [N, M], and its derivative by the logarithm of each
    parameter's length.
    """
    scaled = []
    for group in range(int(groups.max()) + 1):
        mine = points[:, groups == group]
        theirs = others[:, groups == group]
        squares = ((mine[:, None, :] - theirs[None, :, :]) ** 2).sum(axis=2)
        scaled.append(squares / math.exp(2 * log_parameters[group]))
    kernel, slope = matern(sum(scaled, np.zeros((len(points), len(others)))))
    return kernel, [slope * squares for squares in scaled]
