"""Intervals, tests and words of numbers for a report that is recomputed: written anew, on scipy."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats


class Mean(NamedTuple):
    """A mean with the ends of its 95 % interval; NaN where there is none."""

    mean: float
    low: float = math.nan
    high: float = math.nan
    n: int = 0

    @property
    def sided(self) -> bool:
        return self.low > 0 or self.high < 0


def student(values: Iterable[float]) -> Mean:
    """Return the mean with its Student's t interval, from three values on; values that are not
    finite are left out.
    """
    sample = np.array([value for value in values if math.isfinite(value)], float)
    if len(sample) < 3:
        return Mean(float(sample.mean()) if len(sample) else math.nan, n=len(sample))
    error = scipy.stats.sem(sample)
    half = float(scipy.stats.t.ppf(0.975, len(sample) - 1) * error)
    return Mean(
        float(sample.mean()), float(sample.mean()) - half, float(sample.mean()) + half, len(sample)
    )


def welch(first: Sequence[float], second: Sequence[float]) -> Mean:
    """Return the mean of `second` minus that of `first` with Welch's interval, where both have
    three values or more.
    """
    n = len(first) + len(second)
    if not len(first) or not len(second):
        return Mean(math.nan, n=n)
    mean = float(np.mean(second) - np.mean(first))
    if min(len(first), len(second)) < 3:
        return Mean(mean, n=n)
    interval = scipy.stats.ttest_ind(second, first, equal_var=False).confidence_interval(0.95)
    return Mean(mean, float(interval.low), float(interval.high), n)


def holm(ps: Sequence[float]) -> list[float]:
    """Return p after Holm's correction: the k-th smallest of m times m − k + 1, never below one
    before it.
    """
    order = sorted((p, place) for place, p in enumerate(ps) if not math.isnan(p))
    corrected, least = list(ps), 0.0
    for rank, (p, place) in enumerate(order):
        least = max(least, min(1.0, p * (len(order) - rank)))
        corrected[place] = least
    return corrected


def paired_p(values: Sequence[float]) -> float:
    """Return the p of Student's t that the mean of these differences is 0; NaN of fewer than
    three.
    """
    if len(values) < 3:
        return math.nan
    if len(set(values)) == 1:
        return float(values[0] == 0)
    return float(scipy.stats.ttest_1samp(values, 0).pvalue)


def of_looks(p: float, looks: int) -> float:
    """Return p after Bonferroni's correction for so many looks; NaN stays NaN."""
    return p if math.isnan(p) else min(1.0, looks * p)


class Gap(NamedTuple):
    """A difference on test: its mean, the p of its test, what it rests on; p after Holm's
    correction for so many tests.
    """

    mean: Mean
    p: float
    basis: str
    p_holm: float = math.nan
    tests: int = 1

    @property
    def settled(self) -> bool:
        return self.p_holm <= 0.05


def corrected(gaps: Sequence[Gap]) -> list[Gap]:
    tests = sum(not math.isnan(gap.p) for gap in gaps)
    adjusted = holm([gap.p for gap in gaps])
    return [gap._replace(p_holm=p, tests=tests) for gap, p in zip(gaps, adjusted, strict=True)]


# ---- words of numbers ----


def p_words(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.2g}"


def number(value: float, digits: int = 2) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:,.{digits}f}"
    return (
        text.replace("-", "−") if any(digit in "123456789" for digit in text) else text.lstrip("-")
    )


def interval(mean: Mean, digits: int = 2) -> str:
    width = f" ± {number((mean.high - mean.low) / 2, digits)}" if math.isfinite(mean.low) else ""
    return number(mean.mean, digits) + width


def reach(mean: Mean) -> str:
    return f"{number(mean.low)} to {number(mean.high)}" if math.isfinite(mean.low) else "–"


def share(value: float) -> str:
    return "under 1 %" if 0 < value < 0.005 else f"{100 * value:.0f} %"


def plural(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


class Pairs(NamedTuple):
    """Two values of a compared parameter, run for run."""

    parameter: str
    first: str
    second: str
    table: pd.DataFrame
    """source, seed_index, first, second, difference of the pairs that are complete."""
    incomplete: int

    @property
    def differences(self) -> list[float]:
        """Differences of which the interval is: of configurations, whose seeds are averaged; of
        seeds where there is one.
        """
        means = self.table.groupby("source")["difference"].mean()
        return list(means if len(means) > 1 else self.table["difference"])

    @property
    def mean(self) -> Mean:
        """With the interval of Student's t, or of a bootstrap (BCa) from 20 differences on."""
        values = self.differences
        if len(values) < 20:
            return student(values)
        ends = scipy.stats.bootstrap(
            (values,), np.mean, method="BCa", random_state=0
        ).confidence_interval
        return Mean(float(np.mean(values)), float(ends.low), float(ends.high), len(values))

    @property
    def p(self) -> float:
        values = self.differences
        return float(scipy.stats.wilcoxon(values).pvalue) if len(values) >= 20 else paired_p(values)
