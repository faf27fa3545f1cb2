"""How sure a mean is: intervals and tests for a handful of runs, or for many.

For the 2–10 seeds of a confirmation the t interval is right: it takes into account that the spread, too, is estimated
from so few values, while a bootstrap of three values knows nothing beyond their range and comes out far too narrow.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["Interval", "bootstrap_mean_interval", "mean_interval", "wilcoxon_p"]

_RESAMPLES = 10_000
_BATCH = 100  # resamples drawn at once, to bound memory


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with a confidence interval, in the unit of the values. NaN where the values cannot tell."""

    mean: float
    low: float
    high: float
    n: int
    """Values, or clusters of values, that vary independently."""

    @property
    def half_width(self) -> float:
        """For `mean ± half_width`; exact where the interval is symmetric."""
        return (self.high - self.low) / 2


def mean_interval(values: Sequence[float], *, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent, roughly normal values.

    One value has a mean but no interval; none has neither. Raises ValueError for a value that is not finite.
    """
    values = _finite(values)
    n = len(values)
    if n < 2:
        return Interval(mean=float(values[0]) if n else math.nan, low=math.nan, high=math.nan, n=n)
    from scipy.stats import t

    mean = float(values.mean())
    half = float(t.ppf(0.5 + level / 2, n - 1) * values.std(ddof=1) / math.sqrt(n))
    return Interval(mean=mean, low=mean - half, high=mean + half, n=n)


def bootstrap_mean_interval(
    values: Sequence[float], *, seed: int, level: float = 0.95, clusters: Sequence[Hashable] | None = None
) -> Interval:
    """Percentile bootstrap interval of the mean (Efron and Tibshirani 1993, chapter 13), for 20 values or more.

    `clusters` names for each value the group that it belongs to, where values of one group are not independent (the runs
    of one configuration): whole groups are drawn then. The same seed gives the same interval.
    Raises ValueError for a value that is not finite, or when `clusters` has another length.
    """
    values = _finite(values)
    if clusters is None:
        sums, counts = values, np.ones(len(values))
    else:
        if len(clusters) != len(values):
            raise ValueError(f"got {len(clusters)} cluster names for {len(values)} values")
        names = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
        member = np.array([names[name] for name in clusters], dtype=int)
        sums, counts = np.bincount(member, weights=values), np.bincount(member).astype(float)
    n = len(sums)
    mean = float(values.mean()) if n else math.nan
    if n < 2:
        return Interval(mean=mean, low=math.nan, high=math.nan, n=n)
    random = np.random.default_rng(seed)
    batches = (random.integers(n, size=(_BATCH, n)) for _ in range(_RESAMPLES // _BATCH))
    means = np.concatenate([sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in batches])
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(mean=mean, low=float(low), high=float(high), n=n)


def wilcoxon_p(differences: Sequence[float]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that paired differences are symmetric around 0.

    Fewer than 6 pairs can never reach 0.05. NaN without pairs; 1 when all are 0.
    Raises ValueError for a value that is not finite.
    """
    differences = _finite(differences)
    if not len(differences):
        return math.nan
    if not differences.any():
        return 1.0
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)


def _finite(values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError(f"got a value that is not finite: {values[~np.isfinite(values)][0]}")
    return values
