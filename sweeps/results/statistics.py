"""The uncertainty of a mean: intervals and tests for a handful of runs, or for many.

For the 3–10 seeds of a confirmation the t interval is right: it takes into account that the spread,
too, is estimated from so few values, while a bootstrap of three values knows nothing beyond their
range and comes out far too narrow. From `MANY` values on the bootstrap is right: it asks for no
normal distribution, and values of a search have a long tail. Two values give no interval at all.
Student's t of two is valid, but its quantile is 12.7: it excludes nothing and looks exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEAST_VALUES = 3
"""Fewer values have a mean, but no interval."""
MANY = 20
"""Independent values from which the bootstrap takes the place of Student's t."""
LEAST_PAIRS = 6
"""Fewer pairs can never bring Wilcoxon's p to 0.05: of n differences of one sign the exact p is
2/2ⁿ.
"""

_LEVEL = 0.95
_RESAMPLES = 10_000
_LEAST_RESAMPLES = 1_000
# In all: a resample of many values costs more, and their interval needs fewer of them.
_DRAWS = 2_000_000
_BATCH = 100  # resamples drawn at once, to bound memory


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with a confidence interval, in the unit of the values. NaN where the values cannot
    tell.
    """

    mean: float
    low: float
    high: float
    n: int
    """Number of values."""

    @property
    def half_width(self) -> float:
        """For `mean ± half_width`; exact where the interval is symmetric."""
        return (self.high - self.low) / 2

    @classmethod
    def around(cls, mean: float, half: float, n: int) -> "Interval":
        """Return the symmetric interval of this half width; NaN for none."""
        return cls(mean=mean, low=mean - half, high=mean + half, n=n)


def pooled_deviation(groups: Sequence[np.ndarray]) -> tuple[float, int]:
    """Return the standard deviation within groups of values, pooled over those of two values or
    more, and its degrees of freedom; NaN and 0 without one.
    """
    several = [group for group in groups if len(group) > 1]
    squares = math.fsum(((group - group.mean()) ** 2).sum() for group in several)
    freedom = sum(len(group) - 1 for group in several)
    return (math.sqrt(squares / freedom) if freedom else math.nan), freedom


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % interval, by Student's t, of the mean of independent, roughly normal values.

    Fewer than `LEAST_VALUES` have a mean but no interval; none has neither. Raises ValueError for a
    value that is not finite.
    """
    sample = _finite(values)
    n = len(sample)
    mean = float(sample.mean()) if n else math.nan
    if n < LEAST_VALUES:
        return Interval.around(mean, math.nan, n)
    # The quantile of Student's t; `scipy.stats` takes half a second to import.
    from scipy.special import stdtrit

    half = float(stdtrit(n - 1, 0.5 + _LEVEL / 2) * sample.std(ddof=1) / math.sqrt(n))
    return Interval.around(mean, half, n)


def interval_of_mean(values: Sequence[float], *, seed: int) -> Interval:
    """Return the 95 % interval of the mean: Student's t of fewer than `MANY` values, else the
    bootstrap with this seed.
    """
    return (
        mean_interval(values) if len(values) < MANY else bootstrap_mean_interval(values, seed=seed)
    )


def paired_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the 95 % interval, by Student's t, of the mean of `second` minus `first`, value by
    value.

    Both have their values in one order, as that of shared seeds. `n` counts the pairs. Raises
    ValueError for a value that is not finite, or where the lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(f"got {len(first)} and {len(second)} values; pairs need as many of both.")
    return mean_interval((_finite(second) - _finite(first)).tolist())


def difference_interval(first: Sequence[float], second: Sequence[float]) -> Interval:
    """Return the 95 % interval, by Welch's t (1947), of the mean of `second` minus that of `first`.

    The samples share nothing, and their spreads may differ. `n` counts the values of both. No
    interval where either has fewer than `LEAST_VALUES` values, and no mean where either has none.
    Raises ValueError for a value that is not finite.
    """
    samples = _finite(first), _finite(second)
    n = len(first) + len(second)
    least = min(len(first), len(second))
    mean = float(samples[1].mean() - samples[0].mean()) if least else math.nan
    if least < LEAST_VALUES:
        return Interval.around(mean, math.nan, n)
    # Squared standard errors of the two means.
    errors = np.array([sample.var(ddof=1) / len(sample) for sample in samples])
    if not errors.any():
        return Interval(mean=mean, low=mean, high=mean, n=n)
    from scipy.special import stdtrit

    freedom = errors.sum() ** 2 / (errors**2 / [len(first) - 1, len(second) - 1]).sum()
    half = float(stdtrit(freedom, 0.5 + _LEVEL / 2) * math.sqrt(errors.sum()))
    return Interval.around(mean, half, n)


def bootstrap_mean_interval(values: Sequence[float], *, seed: int) -> Interval:
    """Return the 95 % bootstrap interval of the mean, for `MANY` values or more, by the method BCa
    of Efron (1987).

    BCa moves the percentiles of the resampled means, so that bias (z₀) and skewness (a, from the
    jackknife) are corrected: of skewed values the interval reaches further on the side of the tail.
    The same seed gives the same interval. 10,000 resamples; of more than 200 values fewer, down to
    1,000. No interval of fewer than `LEAST_VALUES` values. Raises ValueError for a value that is
    not finite.
    """
    sample = _finite(values)
    n = len(sample)
    mean = float(sample.mean()) if n else math.nan
    if n < LEAST_VALUES:
        return Interval.around(mean, math.nan, n)
    if sample.min() == sample.max():
        return Interval(mean=mean, low=mean, high=mean, n=n)
    random = np.random.default_rng(seed)
    resamples = max(_LEAST_RESAMPLES, min(_RESAMPLES, _DRAWS // n))
    batches = (random.integers(n, size=(_BATCH, n)) for _ in range(resamples // _BATCH))
    means = np.concatenate([sample[drawn].sum(axis=1) / n for drawn in batches])
    low, high = np.quantile(means, _bca_levels(sample, means))
    return Interval(mean=mean, low=float(low), high=float(high), n=n)


def _bca_levels(sample: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return which two quantiles of the resampled means are the ends of the interval: [2]."""
    from scipy.special import ndtr, ndtri

    # A tie counts half. Without the bounds a mean beyond all resamples would have an infinite bias.
    below = (means < sample.mean()).mean() + (means == sample.mean()).mean() / 2
    bias = ndtri(np.clip(below, 1 / (len(means) + 1), len(means) / (len(means) + 1)))
    away = sample - sample.mean()
    # For a mean, the jackknife's acceleration is the sample's skewness over 6 √n.
    acceleration = (away**3).sum() / (6 * (away**2).sum() ** 1.5)
    z = bias + ndtri([0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2])
    return np.asarray(ndtr(bias + z / (1 - acceleration * z)))


def holm(ps: Sequence[float]) -> list[float]:
    """Return each p after the correction of Holm (1979) for all of them, at most 1; a NaN stays NaN
    and counts for nothing.

    Where every p at or below 0.05 after the correction is called a finding, a false finding is
    among them in at most 5 % of all families, however the tests depend on each other.
    """
    values = np.asarray(ps, dtype=float)
    defined = np.flatnonzero(~np.isnan(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    corrected = values.copy()
    corrected[order] = np.minimum(
        np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1)), 1.0
    )
    return [float(value) for value in corrected]


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Return the two-sided p of Wilcoxon's signed-rank test that paired differences are symmetric
    around 0.

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
