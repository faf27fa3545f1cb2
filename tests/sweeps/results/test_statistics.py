"""Intervals and tests against closed forms and scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from sweeps.results.statistics import (
    LEAST_PAIRS,
    MANY,
    bootstrap_mean_interval,
    difference_interval,
    interval_of_mean,
    mean_interval,
    wilcoxon_p,
)


def test_t_interval_of_three_values_in_closed_form():
    interval = mean_interval([1.0, 2.0, 3.0])
    # 0.975 quantile of t with 2 degrees of freedom: 4 p - 2 over the root of 2 (1 - (2 p - 1) squared), p = 0.975
    quantile = 0.95 * math.sqrt(2 / (1 - 0.95**2))
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(quantile / math.sqrt(3), rel=1e-9)
    assert (interval.low + interval.high) / 2 == pytest.approx(2.0)
    assert interval.n == 3


def test_t_interval_agrees_with_scipy():
    values = np.random.default_rng(0).normal(5, 2, 40)
    interval = mean_interval(values)
    expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


@pytest.mark.parametrize("interval", [mean_interval, lambda values: bootstrap_mean_interval(values, seed=0)])
def test_too_few_values_have_no_interval(interval):
    one, none = interval([4.0]), interval([])
    assert (one.mean, one.n) == (4.0, 1)
    assert math.isnan(one.low)
    assert math.isnan(none.mean)
    with pytest.raises(ValueError, match="not finite: nan"):
        interval([1.0, math.nan])


def test_bootstrap_agrees_with_scipy_and_repeats():
    values = np.random.default_rng(1).exponential(3.0, 60)
    interval = bootstrap_mean_interval(values, seed=7)
    expected = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=3).confidence_interval
    assert (interval.low, interval.high) == pytest.approx(tuple(expected), abs=0.05)
    assert interval == bootstrap_mean_interval(values, seed=7)
    assert interval != bootstrap_mean_interval(values, seed=8)
    assert interval.mean == pytest.approx(values.mean())


def test_bootstrap_covers_the_mean_as_often_as_it_says():
    random = np.random.default_rng(2)
    intervals = [bootstrap_mean_interval(random.normal(0, 1, 40), seed=seed) for seed in range(300)]
    covered = np.mean([interval.low <= 0 <= interval.high for interval in intervals])
    assert 0.89 < covered < 0.98


def test_wilcoxon():
    # with n differences of one sign the exact two-sided p is 2 / 2**n
    assert wilcoxon_p([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]) == pytest.approx(2 / 2**6)
    assert wilcoxon_p([-3.0, -1.0, -2.0]) == pytest.approx(2 / 2**3)
    assert wilcoxon_p([0.0, 0.0]) == 1.0
    assert math.isnan(wilcoxon_p([]))


def test_welch_agrees_with_scipy():
    random = np.random.default_rng(4)
    first, second = random.normal(5, 1, 3), random.normal(6, 4, 7)
    interval = difference_interval(first, second)
    expected = stats.ttest_ind(second, first, equal_var=False).confidence_interval()
    assert interval.mean == pytest.approx(second.mean() - first.mean())
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), rel=1e-9)
    assert interval.n == 10


def test_a_difference_without_spread_or_without_a_second_value():
    assert (difference_interval([1, 1], [3, 3]).low, difference_interval([1, 1], [3, 3]).high) == (2.0, 2.0)
    one = difference_interval([1.0], [3.0, 4.0])
    assert one.mean == 2.5
    assert math.isnan(one.low)
    assert math.isnan(difference_interval([], [3.0, 4.0]).mean)
    with pytest.raises(ValueError, match="not finite: inf"):
        difference_interval([1.0, math.inf], [3.0, 4.0])


def test_few_values_have_a_t_interval_and_many_a_bootstrap():
    values = np.random.default_rng(5).exponential(2.0, MANY)
    assert interval_of_mean(values[:-1], seed=3) == mean_interval(values[:-1])
    assert interval_of_mean(values, seed=3) == bootstrap_mean_interval(values, seed=3)


def test_thousands_of_values_agree_with_the_normal_limit():
    values = np.random.default_rng(6).exponential(2.0, 10_000)
    interval = bootstrap_mean_interval(values, seed=0)
    half = 1.96 * values.std() / 100
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.15 * half)


def test_fewer_pairs_than_the_least_never_reach_five_percent():
    assert wilcoxon_p(np.arange(1.0, LEAST_PAIRS)) > 0.05 > wilcoxon_p(np.arange(1.0, LEAST_PAIRS + 1))
