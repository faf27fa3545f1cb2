"""Intervals and tests against closed forms and scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sweeps.results.statistics import (
    LEAST_PAIRS,
    MANY,
    bootstrap_mean_interval,
    difference_interval,
    holm,
    interval_of_mean,
    mean_interval,
    paired_interval,
    wilcoxon_p,
)


def test_t_interval_of_three_values_in_closed_form():
    interval = mean_interval([1.0, 2.0, 3.0])
    # 0.975 quantile of t with 2 degrees of freedom: 4 p - 2 over the root of 2 (1 - (2 p - 1)
    # squared), p = 0.975
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


@pytest.mark.parametrize(
    "interval", [mean_interval, lambda values: bootstrap_mean_interval(values, seed=0)]
)
def test_too_few_values_have_no_interval(interval):
    one, two, none = interval([4.0]), interval([4.0, 5.0]), interval([])
    assert (one.mean, one.n, two.mean, two.n) == (4.0, 1, 4.5, 2)
    assert math.isnan(one.low)
    assert math.isnan(two.low)
    assert math.isfinite(interval([4.0, 5.0, 7.0]).low)
    assert math.isnan(none.mean)
    with pytest.raises(ValueError, match="not finite: nan"):
        interval([1.0, math.nan])


def test_bootstrap_agrees_with_scipy_and_repeats():
    values = np.random.default_rng(1).exponential(3.0, 60)
    interval = bootstrap_mean_interval(values, seed=7)
    expected = stats.bootstrap(
        (values,), np.mean, method="BCa", n_resamples=20_000, rng=3
    ).confidence_interval
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
    same = difference_interval([1, 1, 1], [3, 3, 3])
    assert (same.low, same.high) == (2.0, 2.0)
    for few in (
        difference_interval([1.0], [3.0, 4.0]),
        difference_interval([0.5, 1.5], [3.0, 3.5, 4.0]),
    ):
        assert few.mean == 2.5
        assert math.isnan(few.low)
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
    assert (interval.low, interval.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=0.15 * half
    )


def test_fewer_pairs_than_the_least_never_reach_five_percent():
    assert (
        wilcoxon_p(np.arange(1.0, LEAST_PAIRS)) > 0.05 > wilcoxon_p(np.arange(1.0, LEAST_PAIRS + 1))
    )


def test_a_bootstrap_of_skewed_values_reaches_further_towards_the_tail():
    values = np.random.default_rng(9).lognormal(0, 1, 40)
    interval = bootstrap_mean_interval(values, seed=0)
    assert interval.high - interval.mean > 1.3 * (interval.mean - interval.low)
    assert bootstrap_mean_interval([2.0] * 30, seed=0).half_width == 0


def test_bca_lies_below_a_skewed_mean_less_often_than_percentiles_do():
    random = np.random.default_rng(10)
    below, below_by_percentiles, covered, mean = 0, 0, 0, math.exp(0.5)
    for seed in range(300):
        sample = random.lognormal(0, 1, 30)
        interval = bootstrap_mean_interval(sample, seed=seed)
        means = sample[random.integers(30, size=(2_000, 30))].mean(axis=1)
        below += interval.high < mean
        below_by_percentiles += np.quantile(means, 0.975) < mean
        covered += interval.low <= mean <= interval.high
    assert below < below_by_percentiles
    assert covered / 300 > 0.84  # 30 values of a lognormal are too few for 0.95, by either


def test_the_t_interval_of_three_seeds_covers_as_often_as_it_says():
    samples = np.random.default_rng(11).normal(0, 1, (2_000, 3))
    covered = sum(interval.low <= 0 <= interval.high for interval in map(mean_interval, samples))
    assert stats.binomtest(covered, 2_000).proportion_ci(0.99).high >= 0.95


def test_pairs_take_out_what_seeds_share():
    seeds, random = np.random.default_rng(12).normal(0, 5, 4), np.random.default_rng(13)
    first, second = seeds + random.normal(0, 0.1, 4), seeds + 1 + random.normal(0, 0.1, 4)
    interval = paired_interval(first, second)
    assert interval.low * interval.high > 0
    assert interval == mean_interval(second - first)
    apart = difference_interval(first, second)
    assert apart.low < 0 < apart.high
    with pytest.raises(ValueError, match="4 and 3 values"):
        paired_interval(first, second[:3])


def test_holm_by_hand_and_against_its_definition():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    known = holm([math.nan, 0.02, 0.9])
    assert math.isnan(known[0])
    assert known[1:] == pytest.approx([0.04, 0.9])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.randoms())
def test_holm_keeps_order_bounds_and_places(ps, random):
    corrected = holm(ps)
    assert all(
        p <= value <= min(1, len(ps) * p) + 1e-12 for p, value in zip(ps, corrected, strict=True)
    )
    order = sorted(range(len(ps)), key=ps.__getitem__)
    assert [corrected[place] for place in order] == sorted(corrected)
    places = list(range(len(ps)))
    random.shuffle(places)
    assert holm([ps[place] for place in places]) == [corrected[place] for place in places]


def test_holm_keeps_the_rate_of_false_findings():
    """Ten comparisons without any difference, 2,000 times: at most 5 % of the families have a
    finding.
    """
    families = np.random.default_rng(14).uniform(size=(2_000, 10))
    false = sum(min(holm(family)) <= 0.05 for family in families)
    assert stats.binomtest(false, 2_000).proportion_ci(0.99).low <= 0.05
    assert false > 50
