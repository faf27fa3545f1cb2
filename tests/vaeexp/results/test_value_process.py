"""The process of the values at one epoch: its covariance and gradient, and what it says of
functions that are known.
"""

import numpy as np
import pytest
from scipy.optimize import check_grad

from sweeps.search.curves.process import matern
from vaeexp.results import value_process
from vaeexp.results.value_process import Samples, sample_values


def points(count: int, seed: int = 0, parameters: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 1, (count, parameters))


@pytest.mark.parametrize("seed", range(3))
def test_the_gradient_is_that_of_the_log_posterior(seed: int) -> None:
    x = points(12, seed)
    squares = value_process._squares(x, x, np.arange(3))
    values = np.random.default_rng(seed).normal(size=12)
    start = np.random.default_rng(seed + 9).normal(-0.5, 0.5, 6)
    value = lambda logs: value_process._negative_log_posterior(logs, squares, values)[0]  # noqa: E731
    gradient = lambda logs: value_process._negative_log_posterior(logs, squares, values)[1]  # noqa: E731
    assert check_grad(value, gradient, start) < 1e-3


def test_covariances_are_those_of_the_formula_and_positive_definite() -> None:
    x = points(9)
    squares = value_process._squares(x, x, np.array([0, 0, 1]))
    logs = np.log([[0.4, 0.9, 2.0, 0.3, 0.1]])
    (covariance,) = value_process._covariances(logs, squares.copy())
    scaled = squares / np.array([0.4, 0.9])[:, None, None] ** 2
    expected = 1 + 2.0 * matern(scaled)[0].mean(axis=0) + 0.3 * matern(scaled.sum(axis=0))[0]
    np.testing.assert_allclose(covariance, expected)
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_quantiles_are_weighted() -> None:
    samples = Samples(values=np.zeros((4, 1)), weights=np.array([0.4, 0.1, 0.1, 0.4]))
    values = np.array([3.0, 1.0, 2.0, 4.0])
    assert samples.quantiles(values, [0.05, 0.15, 0.4, 0.8]).tolist() == pytest.approx(
        [1.0, 2.0, 3.0, 4.0]
    )


@pytest.mark.parametrize(
    ("cost", "far"),
    [
        pytest.param(lambda x: 20 * abs(x[:, 0] - 0.3), 14.0, id="one parameter"),
        pytest.param(lambda x: 20 * abs(x[:, 0] - 0.3) + 30 * x[:, 1] ** 2, 14.0, id="two that add"),  # noqa: E501
        pytest.param(lambda x: 40 * x[:, 0] * x[:, 1], 0.0, id="two that depend on each other, at the good end"),  # noqa: E501
        pytest.param(lambda x: np.where(x[:, 2] > 0.7, 1e3, 20 * x[:, 0] - 6), 14.0, id="values a thousand nats behind"),  # noqa: E501
        pytest.param(lambda x: 0 * x[:, 0], 0.0, id="nothing"),
    ],
)  # fmt: skip
def test_a_known_cost_lies_in_the_interval_of_the_samples(cost, far) -> None:
    x = points(48, 4)
    values = 100 + cost(x) + np.random.default_rng(1).normal(0, 0.5, 48)
    wanted = np.array([[0.3, 0.0, 0.2], [1.0, 0.0, 0.2]])
    samples = sample_values(x, values, wanted, np.arange(3), seed=0)
    assert samples.weights.sum() == pytest.approx(1)
    low, high = samples.quantiles(samples.values[:, 1] - samples.values[:, 0], [0.005, 0.995])
    assert low < far < high
    assert high - low < 25
    if far:
        assert low > 1


def test_one_trial_that_exploded_leaves_the_others_comparable() -> None:
    x = points(48, 4)
    values = 100 + 20 * abs(x[:, 0] - 0.3) + np.random.default_rng(1).normal(0, 0.5, 48)
    values[7] = 1e30
    samples = sample_values(
        x, values, np.array([[0.3, 0.0, 0.2], [1.0, 0.0, 0.2]]), np.arange(3), seed=0
    )
    low, high = samples.quantiles(samples.values[:, 1] - samples.values[:, 0], [0.005, 0.995])
    assert low < 14 < high
    assert high - low < 100


def test_the_same_seed_gives_the_same_samples() -> None:
    x = points(20)
    values = np.random.default_rng(0).normal(size=20)
    first, again, other = (
        sample_values(x, values, x[:2], np.arange(3), seed=seed) for seed in (3, 3, 4)
    )
    np.testing.assert_array_equal(first.values, again.values)
    assert not np.array_equal(first.values, other.values)
