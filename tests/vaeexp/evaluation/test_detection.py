"""Measures of anomaly scores against scikit-learn, and p-values that keep their level."""

import numpy as np
import pytest
from scipy.stats import binom, norm
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from vaeexp.data.values import Values
from vaeexp.evaluation.detection import (
    auroc,
    auroc_gain,
    detection,
    lower,
    p_values,
    shift,
    sizes,
)


@pytest.mark.parametrize("digits", [1, 12], ids=["ties", "no ties"])
@pytest.mark.parametrize("seed", range(10))
def test_measures_are_those_of_scikit_learn(seed, digits):
    random = np.random.default_rng(seed)
    usual = random.normal(size=random.integers(20, 300)).round(digits)
    strange = random.normal(0.8, 1.5, size=random.integers(5, 100)).round(digits)
    truth = np.repeat([0, 1], [len(usual), len(strange)])
    scores = np.concatenate([usual, strange])
    found = detection(usual, strange)
    assert found.auroc.value == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert found.auprc.value == pytest.approx(average_precision_score(truth, scores), abs=1e-12)
    rates, hits, _ = roc_curve(truth, scores, drop_intermediate=False)
    assert found.fpr.value == pytest.approx(rates[np.argmax(hits >= 0.95)], abs=1e-12)
    for estimate in found:
        assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_infinite_scores_are_the_strangest_and_tie():
    """As with finite scores that are higher than all others."""
    random = np.random.default_rng(5)
    usual, strange = random.normal(size=60), random.normal(1, size=40)
    usual[:2], strange[:9] = np.inf, np.inf
    ranked = [np.where(np.isinf(scores), 1e6, scores) for scores in (usual, strange)]
    assert detection(usual, strange) == detection(*ranked)
    assert auroc(usual, strange) == auroc(*ranked)
    assert shift(usual, strange) == shift(*ranked)
    calibration = np.array([1.0, 2.0, np.inf])
    assert p_values(np.array([np.inf, 3.0, 0.0]), calibration).tolist() == [0.5, 0.5, 1.0]
    assert p_values(np.array([np.inf]), calibration[:2]).tolist() == [1 / 3]


def test_intervals_cover_the_truth_in_about_95_of_100_samples():
    random = np.random.default_rng(0)
    truth = roc_auc_score(
        [0] * 200_000 + [1] * 200_000,
        np.r_[random.normal(size=200_000), random.normal(1, size=200_000)],
    )
    covered = 0
    for _ in range(400):
        found = auroc(random.normal(size=60), random.normal(1, size=40))
        covered += found.low <= truth <= found.high
    assert binom.ppf(0.001, 400, 0.94) <= covered <= binom.ppf(0.999, 400, 0.96)


@pytest.mark.parametrize("anomalies", [3, 5, 10, 30])
@pytest.mark.parametrize(("far", "wide"), [(0.36, 1), (2.33, 1), (3.29, 1), (5.2, 3), (7.4, 3)])
def test_intervals_of_few_anomalies_cover_the_truth(anomalies, far, wide):
    """Normal scores: A = Φ(far / √(1 + wide²)), from 0.6 to 0.99."""
    random = np.random.default_rng(5)
    truth = norm.cdf(far / np.sqrt(1 + wide**2))
    covered = 0
    for _ in range(300):
        found = auroc(random.normal(size=200), random.normal(far, wide, size=anomalies))
        covered += found.low <= truth <= found.high
    assert covered >= binom.ppf(0.001, 300, 0.93)


def test_a_perfect_auroc_is_no_certainty():
    usual, strange = np.arange(50.0), np.arange(100.0, 105)
    for found in (auroc(usual, strange), auroc(-usual, -strange)):
        assert found.low < found.high
    assert auroc(usual, strange)[1:] == pytest.approx((5 / (5 + 1.959964**2), 1))
    assert detection(usual, strange).fpr == (0, 0, 1)
    assert auroc_gain(usual, strange, (usual, strange)) == (0, -1, 1)


def test_the_gain_over_other_scores_of_the_same_rows_is_paired():
    """Against a bootstrap of rows; with itself the gain is 0 without a doubt."""
    random = np.random.default_rng(3)
    usual, strange = random.normal(size=300), random.normal(1, size=200)
    others = usual + random.normal(size=300), strange + random.normal(size=200)
    found = auroc_gain(usual, strange, others)
    assert found.value == pytest.approx(auroc(usual, strange).value - auroc(*others).value)
    drawn = []
    for _ in range(1000):
        rows, more = random.integers(300, size=300), random.integers(200, size=200)
        pair = auroc(usual[rows], strange[more]), auroc(others[0][rows], others[1][more])
        drawn.append(pair[0].value - pair[1].value)
    assert (found.high - found.low) / 2 / 1.96 == pytest.approx(np.std(drawn), rel=0.1)
    assert auroc_gain(usual, strange, (usual, strange)) == (0, 0, 0)


def test_p_is_no_smaller_than_its_level_over_random_splits():
    """P(p ≤ α) ≤ α where validation images and new images are exchangeable: 200 splits of scores
    with ties, one new image counted in each.
    """
    random = np.random.default_rng(1)
    found = []
    for _ in range(200):
        scores = random.gamma(2, size=50).round(1)
        found.append(p_values(scores[:1], scores[1:])[0])
    for level in (0.02, 0.05, 0.1, 0.25, 0.5, 0.9):
        assert np.sum(np.array(found) <= level) <= binom.ppf(0.999, 200, level)
    assert min(found) >= 1 / 50


def test_p_counts_scores_that_are_as_high():
    p = p_values(np.array([0.0, 2.0, 3.5, np.nan]), np.array([1.0, 2.0, 2.0, 3.0]))
    assert p[:3] == pytest.approx([1.0, 4 / 5, 1 / 5])
    assert np.isnan(p[3])


@pytest.mark.parametrize(("calibration", "rows"), [(40, 300), (500, 20), (2_500, 200)])
@pytest.mark.parametrize("digits", [1, 12], ids=["ties", "no ties"])
def test_values_below_all_others_are_seldom_seen_by_chance(calibration, rows, digits):
    """At most at its level where values are exchangeable, and surely where a tenth is below all."""
    random = np.random.default_rng(6)
    chances = []
    for _ in range(400):
        scores = random.gamma(2, size=calibration + rows).round(digits)
        chances.append(lower(scores[:rows], scores[rows:]).p)
    for level in (0.01, 0.025, 0.1):
        assert np.sum(np.array(chances) < level) <= binom.ppf(0.999, 400, level)
    new = random.gamma(2, size=rows)
    new[: max(3, rows // 10)] = -1
    found = lower(new, random.gamma(2, size=calibration))
    assert found.p < 0.025
    assert found.rows >= max(3, rows // 10)
    assert found.spared == calibration // 1_000


def test_a_chance_of_low_values_is_that_of_counting():
    """Of 5 values below all of 3 others among 8: 5! 3! / 8!."""
    assert lower(np.arange(5), np.arange(3) + 9).p == pytest.approx(1 / 56)
    assert lower(np.arange(5) + 9, np.arange(3)) == (0, 0, 1)


def test_a_shift_of_test_images_is_seen():
    random = np.random.default_rng(2)
    found = shift(random.normal(size=500), random.normal(0.5, size=500))
    assert found.auroc.low > 0.5
    assert found.p < 1e-6
    assert found.kind == "higher"
    assert shift(random.normal(0.5, size=500), random.normal(size=500)).kind == "lower"
    found = shift(random.normal(size=500), random.normal(size=500))
    assert found.auroc.low < 0.5 < found.auroc.high
    assert found.p > 0.05
    assert found.kind == ""
    found = shift(random.normal(size=500), random.normal(0, 1.5, size=500))
    assert found.auroc.low < 0.5 < found.auroc.high
    assert found.kind == "spread"


def test_no_shift_is_denied_where_a_test_sees_one():
    """At most twice the level of one test is found where there is none."""
    random = np.random.default_rng(4)
    kinds = []
    for scale in [1.0] * 300 + [1.3] * 100:
        found = shift(random.normal(size=200), random.normal(0, scale, size=200))
        seen = found.p < 0.05 or found.auroc.low > 0.5 or found.auroc.high < 0.5
        assert bool(found.kind) == seen
        kinds.append(found.kind)
    assert sum(kind != "" for kind in kinds[:300]) <= binom.ppf(0.999, 300, 0.1)


@pytest.mark.parametrize(
    "values",
    [
        Values(shape=(1, 16, 16)),
        Values(shape=(3, 16, 16)),
        Values(shape=(1, 1, 200), unit=False, levels=None, shown=(-2.0, 2.0)),
    ],
)
def test_noise_is_larger_than_one_colour(values):
    noise = np.random.default_rng(0).random((2, *values.shape), np.float32)
    plain = np.full((1, *values.shape), 0.5, np.float32)
    measured = sizes(np.concatenate([noise, plain]), values)
    assert measured[:2].min() > measured[2]
