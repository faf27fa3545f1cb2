"""A Gaussian process of the values of all trials at one epoch, over all searched parameters at
once.

The value y of configuration x, on the scale g below, with P parameters:

    g(y(x)) = f(x) + noise
    cov f   = 1 + s_alone Σ_p k_p(x_p, x'_p) / P + s_joint k(x, x')

k_p is a Matérn-5/2 kernel of one parameter with its own length (0 distance: 1), k the one of all
parameters together with the same lengths (Rasmussen and Williams 2006, eq. 4.17; the sum is that of
Duvenaud, Nickisch and Rasmussen 2011). The first sum holds what each parameter does whatever the
others are, so that a value that was tried with bad settings of the others alone is judged by what
these cost elsewhere. The last term holds what depends on several, and keeps the process unsure
where no trial has a combination.

**No parameter of the process is chosen.** Lengths, variances, noise and scale are integrated out,
because with 48 trials, half of them near one configuration, the most probable ones are far too
sure. Samples are drawn around the most probable ones (Laplace) and weighted by their posterior
density (importance sampling, Owen 2013, chapter 9).

The scale is g(y) = log(1 + (y − least) / width), standardised. A large width is linear: costs of
two parameters add in nats. A small one keeps a few trials that are thousands of nats behind from
deciding the noise of the others. Each of `_WIDTHS` counts by its evidence.
"""

import math
from dataclasses import dataclass

import numpy as np

from sweeps import matern

_WIDTHS = (0.5, 0.8, 1.0)
"""Quantiles of the values above the least that serve as widths; and ten times the largest, which is
all but linear.
"""
_LENGTH = (0.0, 1.0)
"""Mean and standard deviation of the normal prior of the logarithm of a length over √P, of a
parameter whose range is 1 long.
"""
_VARIANCES = ((math.log(1.0), 1.5), (math.log(0.1), 1.2), (math.log(0.1), 1.5))
"""The same of `s_alone`, `s_joint` and the noise, for values of variance 1."""
_REACH = 4.0
"""Standard deviations of the prior in which the most probable parameters are looked for."""
_STEPS = 40
_STEP = 0.05
"""Of the search for the most probable parameters, at most; and of the differences that give the
curvature there.
"""
_PROCESSES = 64
_CURVES = 16
"""Samples of the parameters of the process for each width; samples of f for each of these."""
_FREEDOM = 6
_SPREAD = 1.1
"""Degrees of freedom of Student's t around the most probable parameters, and its width: wider tails
than the posterior has.
"""
_FARTHEST = 1000.0
"""Times the median above the least value; a value above counts as that."""
_LEAST_CHANCE = 0.02
"""Of a width against the most probable one, below which it is left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Samples of the values that configurations have without noise."""

    values: np.ndarray
    """In the unit of the values: [S, M]."""
    weights: np.ndarray
    """[S], summing to 1."""

    def quantiles(self, samples: np.ndarray, levels: list[float]) -> np.ndarray:
        """Return weighted quantiles of a function of the samples [S]."""
        order = np.argsort(samples, kind="stable")
        weights = self.weights[order]
        return np.interp(levels, np.cumsum(weights) - weights / 2, samples[order])


def sample_values(
    points: np.ndarray, values: np.ndarray, wanted: np.ndarray, groups: np.ndarray, *, seed: int
) -> Samples:
    """Return samples of the values at the wanted configurations, given the values of trials.

    Args:
        points: float64 [N, D]: the configurations of the trials. Coordinates of numbers lie from 0
            to 1.
        values: float64 [N], finite, not all equal.
        wanted: float64 [M, D].
        groups: int [D]: the parameter to which a coordinate belongs, from 0.
    """
    least = float(values.min())
    # One trial that exploded and is no failure (1e30) would leave no other difference to be seen.
    values = np.minimum(
        values, least + _FARTHEST * float(np.median(values) - least or values.max() - least)
    )
    among = [
        _squares(a, b, groups) for a, b in ((points, points), (points, wanted), (wanted, wanted))
    ]
    scales = _scales(values)
    probable = [_laplace(among[0], scale.values) for scale in scales]
    chances = np.array(
        [scale.slope + each.evidence for scale, each in zip(scales, probable, strict=True)]
    )
    random = np.random.default_rng(seed)
    found = []
    weights = []
    evidences = []
    for scale, each, chance in zip(scales, probable, chances, strict=True):
        if chance < chances.max() + math.log(_LEAST_CHANCE):
            continue
        curves, weighted, evidence = _sample(scale.values, each, among, random)
        found.append(scale.invert(curves))
        weights.append(weighted)
        evidences.append(evidence + scale.slope)
    share = np.exp(np.array(evidences) - max(evidences))
    share /= share.sum()
    joined = np.concatenate([own * weight for own, weight in zip(weights, share, strict=True)])
    return Samples(values=np.concatenate(found), weights=joined)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scale:
    """One scale g."""

    values: np.ndarray
    """The values of the trials on it: mean 0 and variance 1."""
    slope: float
    """Σ log g'(y), by which densities of the values differ from those on the scale."""
    least: float
    width: float
    mean: float
    deviation: float

    def invert(self, scaled: np.ndarray) -> np.ndarray:
        """Return the values that these are on the scale."""
        return self.least + self.width * np.expm1(
            np.clip(scaled * self.deviation + self.mean, -50, 50)
        )


def _scales(values: np.ndarray) -> list[_Scale]:
    above = values - values.min()
    scales = []
    for width in [*np.quantile(above, _WIDTHS), 10 * above.max()]:
        if width <= 0:
            continue
        logs = np.log1p(above / width)
        mean = float(logs.mean())
        deviation = float(logs.std())
        scales.append(
            _Scale(
                values=(logs - mean) / deviation,
                slope=-float(np.log(above + width).sum()) - len(values) * math.log(deviation),
                least=float(values.min()),
                width=float(width),
                mean=mean,
                deviation=deviation,
            )
        )
    return scales


def _squares(points: np.ndarray, others: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return squared distances by parameter: [P, N, M]."""
    gaps = (points[:, None, :] - others[None, :, :]) ** 2
    return np.stack(
        [gaps[:, :, groups == group].sum(axis=2) for group in range(int(groups.max()) + 1)]
    )


def _prior(parameters: int) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of the prior of the logarithms: P lengths, s_alone,
    s_joint, noise.
    """
    length = _LENGTH[0] + math.log(parameters) / 2, _LENGTH[1]
    means, deviations = zip(*[length] * parameters, *_VARIANCES, strict=True)
    return np.array(means), np.array(deviations)


def _covariances(logs: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Return the covariances of f for each of S parameters of the process, from squared distances
    [P, N, M]: [S, N, M].
    """
    parameters = len(squares)
    scaled = np.exp(-2 * logs[:, :parameters])[:, :, None, None] * squares
    alone, joint = np.exp(logs[:, parameters : parameters + 2]).T[:, :, None, None]
    return 1 + joint * _kernel(scaled.sum(axis=1)) + alone * _kernel(scaled).mean(axis=1)


def _kernel(squares: np.ndarray) -> np.ndarray:
    """Return `matern` without its derivative, in place: these arrays are most of the cost."""
    distance = np.sqrt(5 * squares, out=squares)
    decay = np.exp(-distance)
    decay *= 1 + distance * (1 + distance / 3)
    return decay


def _negative_log_posterior(
    logs: np.ndarray, squares: np.ndarray, values: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return minus the log posterior of the parameters of the process, up to a constant, and its
    gradient (ibid., eqs. 5.8 and 5.9).
    """
    from scipy.linalg import cho_factor, cho_solve

    parameters, (mean, deviation) = len(squares), _prior(len(squares))
    scaled = squares / np.exp(2 * logs[:parameters])[:, None, None]
    alone, joint, noise = np.exp(logs[parameters:])
    (each, each_slope), (together, slope) = matern(scaled), matern(scaled.sum(axis=0))
    covariance = 1 + alone * each.mean(axis=0) + joint * together
    covariance[np.diag_indices(len(values))] += noise
    factor = cho_factor(covariance, lower=True)
    weights = cho_solve(factor, values)
    pull = np.outer(weights, weights) - cho_solve(factor, np.eye(len(values)))
    slopes = (joint * slope + alone / parameters * each_slope) * scaled
    gradient = [
        *np.einsum("ij,pij->p", pull, slopes),
        alone * float((pull * each.mean(axis=0)).sum()),
        joint * float((pull * together).sum()),
        noise * float(np.trace(pull)),
    ]
    away = (logs - mean) / deviation
    fit = float(values @ weights) / 2 + float(np.log(np.diag(factor[0])).sum())
    return fit + float(away @ away) / 2, -np.array(gradient) / 2 + away / deviation


@dataclass(frozen=True, kw_only=True, eq=False)
class _Probable:
    """The posterior of the parameters of the process, as a normal distribution."""

    logs: np.ndarray
    """The most probable logarithms: [K]."""
    root: np.ndarray
    """A root of their covariance: [K, K]."""
    evidence: float
    """Logarithm of the evidence of the values, up to a constant."""


def _laplace(squares: np.ndarray, values: np.ndarray) -> _Probable:
    """Return the approximation of Laplace at the most probable parameters (MacKay 2003, chapter
    27).
    """
    from scipy.optimize import minimize

    mean, deviation = _prior(len(squares))
    found = minimize(
        _negative_log_posterior,
        mean,
        args=(squares, values),
        jac=True,
        method="L-BFGS-B",
        bounds=list(zip(mean - _REACH * deviation, mean + _REACH * deviation, strict=True)),
        options={"maxiter": _STEPS},
    )
    curvature = []
    for step in _STEP * np.eye(len(mean)):
        ends = [
            _negative_log_posterior(found.x + sign * step, squares, values)[1] for sign in (1, -1)
        ]
        curvature.append((ends[0] - ends[1]) / (2 * _STEP))
    sizes, directions = np.linalg.eigh((np.array(curvature) + np.array(curvature).T) / 2)
    # No flatter than the prior, which alone speaks where the values say nothing.
    root = directions / np.sqrt(np.maximum(sizes, 1 / deviation.max() ** 2))
    return _Probable(
        logs=found.x, root=root, evidence=float(np.linalg.slogdet(root)[1] - found.fun)
    )


def _sample(
    values: np.ndarray, probable: _Probable, among: list[np.ndarray], random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return samples of f at the wanted points [S, M], their weights [S], and the logarithm of the
    evidence of the values.
    """
    trials, across, wanted = among
    (mean, deviation), count = _prior(len(trials)), len(probable.logs)
    tails = np.sqrt(_FREEDOM / random.chisquare(_FREEDOM, _PROCESSES))[:, None]
    steps = _SPREAD * tails * random.standard_normal((_PROCESSES, count))
    logs = np.clip(
        probable.logs + steps @ probable.root.T, mean - 5 * deviation, mean + 5 * deviation
    )
    proposed = -(_FREEDOM + count) / 2 * np.log1p((steps**2).sum(axis=1) / _SPREAD**2 / _FREEDOM)
    covariances = _covariances(logs, trials)
    diagonal = np.arange(len(values))
    covariances[:, diagonal, diagonal] += np.exp(logs[:, -1:])
    factors = np.linalg.cholesky(covariances)
    both = np.concatenate(
        [
            np.broadcast_to(values[:, None], (_PROCESSES, len(values), 1)),
            _covariances(logs, across),
        ],
        axis=2,
    )
    solved = np.linalg.solve(factors, both)
    residuals = solved[:, :, 0]
    explained = solved[:, :, 1:]
    posterior = -(residuals**2).sum(axis=1) / 2 - np.log(factors[:, diagonal, diagonal]).sum(axis=1)
    posterior -= (((logs - mean) / deviation) ** 2).sum(axis=1) / 2
    weights, evidence = _weights(posterior - proposed + np.linalg.slogdet(probable.root)[1])
    means = np.einsum("sn,snm->sm", residuals, explained)
    left = _covariances(logs, wanted) - np.einsum("snm,snk->smk", explained, explained)
    left[:, np.arange(wanted.shape[1]), np.arange(wanted.shape[1])] += 1e-6
    half = random.standard_normal((_PROCESSES, _CURVES // 2, wanted.shape[1]))
    noise = np.einsum(
        "stk,smk->stm", np.concatenate([half, -half], axis=1), np.linalg.cholesky(left)
    )
    curves = (means[:, None, :] + noise).reshape(-1, wanted.shape[1])
    return curves, np.repeat(weights / _CURVES, _CURVES), evidence


def _weights(logs: np.ndarray) -> tuple[np.ndarray, float]:
    """Return weights that sum to 1 from their logarithms, none above 1/√S of them (Ionides 2008),
    and the logarithm of their mean.
    """
    ratios = np.exp(logs - logs.max())
    evidence = float(logs.max() + math.log(ratios.mean()))
    weights = np.minimum(ratios / ratios.sum(), 1 / math.sqrt(len(logs)))
    return weights / weights.sum(), evidence
