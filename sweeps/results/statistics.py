"""How sure a mean is: intervals and tests for a handful of runs, or for many.

For the 2–10 seeds of a confirmation the t interval is right: it takes into account that the spread, too, is estimated
from so few values, while a bootstrap of three values knows nothing beyond their range and comes out far too narrow.
From `MANY` values on the bootstrap is right: it asks for no normal distribution, and values of a search have a long tail.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MANY = 20
"""Independent values from which the bootstrap takes the place of Student's t."""
LEAST_PAIRS = 6
"""Fewer pairs can never bring Wilcoxon's p to 0.05: of n differences of one sign the exact p is 2/2ⁿ."""

_LEVEL = 0.95
_RESAMPLES, _LEAST_RESAMPLES = 10_000, 1_000
_DRAWS = 2_000_000  # in all: a resample of many values costs more, and their interval needs fewer of them
_BATCH = 100  # resamples drawn at once, to bound memory


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with a confidence interval, in the unit of the values. NaN where the values cannot tell."""

    mean: float
    low: float
    high: float
    n: int
    """Number of values."""

    @property
    def half_width(self) -> float:
        """For `mean ± half_width`; exact where the interval is symmetric."""
        return (self.high - self.low) / 2

    @property
    def excludes_zero(self) -> bool:
        """Whether all of it lies on one side of 0."""
        return bool(self.low > 0 or self.high < 0)


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % interval, by Student's t, of the mean of independent, roughly normal values.

    One value has a mean but no interval; none has neither. Raises ValueError for a value that is not finite.
    """
    sample = _finite(values)
    n = len(sample)
    if n < 2:
        return Interval(mean=float(sample[0]) if n else math.nan, low=math.nan, high=math.nan, n=n)
    from scipy.special import stdtrit  # the quantile of Student's t; `scipy.stats` takes half a second to import

    mean = float(sample.mean())
    half = float(stdtrit(n - 1, 0.5 + _LEVEL / 2) * sample.std(ddof=1) / math.sqrt(n))
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def interval_of_mean(values: Sequence[float], *, seed: int) -> Interval:
    """Return the 95 % interval of the mean: Student's t of fewer than `MANY` values, else the bootstrap with this seed."""
    return mean_interval(values) if len(values) < MANY else bootstrap_mean_interval(values, seed=seed)


def difference_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the 95 % interval, by Welch's t (1947), of the mean of `second` minus that of `first`.

    The samples share nothing, and their spreads may differ. `n` counts the values of both. No interval where either has fewer than two values, and no mean
    where either has none. Raises ValueError for a value that is not finite.
    """
    samples = _finite(first), _finite(second)
    n, least = len(first) + len(second), min(len(first), len(second))
    mean = float(samples[1].mean() - samples[0].mean()) if least else math.nan
    if least < 2:
        return Interval(mean=mean, low=math.nan, high=math.nan, n=n)
    # Squared standard errors of the two means.
    errors = np.array([sample.var(ddof=1) / len(sample) for sample in samples])
    if not errors.any():
        return Interval(mean=mean, low=mean, high=mean, n=n)
    from scipy.special import stdtrit

    freedom = errors.sum() ** 2 / (errors**2 / [len(first) - 1, len(second) - 1]).sum()
    half = float(stdtrit(freedom, 0.5 + _LEVEL / 2) * math.sqrt(errors.sum()))
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def bootstrap_mean_interval(values: Sequence[float], *, seed: int) -> Interval:
    """Return the 95 % percentile bootstrap interval of the mean, for 20 values or more.

    Source: Efron and Tibshirani (1993), chapter 13. The same seed gives the same interval. 10,000 resamples; of more than 200 values fewer, down to 1,000.
    Raises ValueError for a value that is not finite.
    """
    sample = _finite(values)
    n = len(sample)
    mean = float(sample.mean()) if n else math.nan
    if n < 2:
        return Interval(mean=mean, low=math.nan, high=math.nan, n=n)
    random = np.random.default_rng(seed)
    resamples = max(_LEAST_RESAMPLES, min(_RESAMPLES, _DRAWS // n))
    batches = (random.integers(n, size=(_BATCH, n)) for _ in range(resamples // _BATCH))
    means = np.concatenate([sample[drawn].sum(axis=1) / n for drawn in batches])
    low, high = np.quantile(means, [0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2])
    return Interval(mean=mean, low=float(low), high=float(high), n=n)


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test that paired differences are symmetric around 0.

    Fewer than `LEAST_PAIRS` pairs can never reach 0.05. NaN without pairs; 1 when all are 0.
    Raises ValueError for a value that is not finite.
    """
    sample = _finite(differences)
    if not len(sample):
        return math.nan
    if not sample.any():
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(sample).pvalue)


def _finite(values: Sequence[float]) -> np.ndarray:
    sample = np.asarray(values, dtype=float)
    if not np.isfinite(sample).all():
        raise ValueError(f"got a value that is not finite: {sample[~np.isfinite(sample)][0]}")
    return sample
