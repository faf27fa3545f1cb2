"""The Gaussian process of learning curves against dense closed forms, finite differences and its
limits.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal

from sweeps.search.curves.learning_curves import (
    POINTS,
    LearningCurve,
    Scale,
    groups_of,
    log_time,
    seen_epochs,
    to_point,
)
from sweeps.search.curves.process import (
    FURTHER,
    CurveProcess,
    SeenEpochs,
    most_probable,
    negative_log_posterior,
    prior,
)
from sweeps.study.space import Parameter, Space

GROUPS = np.array([0, 1, 1, 2])


def drawn(seed, curves=7, longest=6):
    """Curves of unequal lengths with random values, and parameters of the process near the prior's
    mean.
    """
    random = np.random.default_rng(seed)
    lengths = random.integers(1, longest + 1, curves)
    seen = SeenEpochs(
        points=random.random((curves, len(GROUPS))),
        groups=GROUPS,
        curves=np.repeat(np.arange(curves), lengths),
        times=np.concatenate(
            [np.log(np.arange(1, length + 1)) / math.log(longest) for length in lengths]
        ),
        values=random.standard_normal(int(lengths.sum())),
    )
    mean, deviation = prior(3)
    return seen, mean + 0.5 * deviation * random.standard_normal(len(mean))


def kernel(log_parameters, one, other):
    """The covariance of two epochs (point, curve, τ) as the module's docstring has it, without
    noise.
    """
    lengths = np.exp(log_parameters[:3])[GROUPS]
    time, shared, level, shape, own, _ = np.exp(log_parameters[3:])

    def m52(distance):
        r = math.sqrt(5) * distance
        return (1 + r + r * r / 3) * math.exp(-r)

    alike = m52(np.linalg.norm((one[0] - other[0]) / lengths))
    near = m52(abs(one[2] - other[2]) / time)
    return (
        shared * (1 + near)
        + alike * (level + shape * near)
        + own * (one[1] == other[1] and one[1] >= 0)
    )


def dense(log_parameters, ones, others):
    return np.array([[kernel(log_parameters, one, other) for other in others] for one in ones])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_posterior_is_that_of_a_dense_normal(seed):
    """Conditioning of a joint normal of all epochs, seen and asked for (Rasmussen and Williams
    2006, eqs. 2.23 and 2.24).
    """
    seen, log_parameters = drawn(seed)
    random = np.random.default_rng(seed)
    points = np.vstack([seen.points[[0, 3]], random.random((2, 4))])
    curves = [0, 3, -1, -1]
    times = [1.0, 0.7, 1.0, 0.2]
    known = [
        (seen.points[row], row, time) for row, time in zip(seen.curves, seen.times, strict=True)
    ]
    asked = [
        (point, row if row >= 0 else -2, time)
        for point, row, time in zip(points, curves, times, strict=True)
    ]
    inverse = np.linalg.inv(
        dense(log_parameters, known, known) + math.exp(log_parameters[-1]) * np.eye(len(known))
    )
    across = dense(log_parameters, asked, known)
    among = dense(log_parameters, asked, asked)
    own = math.exp(log_parameters[3 + FURTHER.index("own")])
    among[[2, 3], [2, 3]] += own  # a curve that nobody has seen has luck of its own, too
    mean, covariance = CurveProcess(log_parameters, seen).predict(points, curves, times)
    np.testing.assert_allclose(mean, across @ inverse @ seen.values, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(
        covariance, among - across @ inverse @ across.T, rtol=1e-7, atol=1e-8
    )


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_the_likelihood_is_that_of_a_dense_normal_and_its_gradient_that_of_finite_differences(seed):
    seen, log_parameters = drawn(seed)
    value, gradient = negative_log_posterior(log_parameters, seen)
    known = [
        (seen.points[row], row, time) for row, time in zip(seen.curves, seen.times, strict=True)
    ]
    covariance = dense(log_parameters, known, known) + math.exp(log_parameters[-1]) * np.eye(
        len(known)
    )
    mean, deviation = prior(3)
    likelihood = multivariate_normal(cov=covariance).logpdf(seen.values)
    constant = len(seen.values) * math.log(2 * math.pi) / 2
    assert value == pytest.approx(
        ((log_parameters - mean) / deviation) @ ((log_parameters - mean) / deviation) / 2
        - likelihood
        - constant
    )
    for place, step in enumerate(1e-5 * np.eye(len(mean))):
        high, low = (
            negative_log_posterior(log_parameters + sign * step, seen)[0] for sign in (1, -1)
        )
        assert gradient[place] == pytest.approx((high - low) / 2e-5, rel=1e-4, abs=1e-3)


def test_it_goes_through_curves_without_noise_and_falls_back_to_the_shared_mean_far_away():
    seen, log_parameters = drawn(3)
    quiet = log_parameters.copy()
    quiet[-1] = math.log(1e-9)
    process = CurveProcess(quiet, seen)
    mean, covariance = process.predict(seen.points[seen.curves], seen.curves, seen.times)
    np.testing.assert_allclose(mean, seen.values, atol=1e-4)
    assert np.diag(covariance).max() < 1e-6
    far, further = (np.full((1, 4), distance) for distance in (1e3, 2e3))
    (one,), (spread,) = process.predict(far, [-1], [0.5])
    (other,), _ = process.predict(further, [-1], [0.5])
    assert one == pytest.approx(other), "only what all curves share is left"
    _, shared, level, shape, own, _ = np.exp(quiet[3:])
    assert level + shape + own - 1e-9 < spread[0] < 2 * shared + level + shape + own


def test_what_all_curves_share_is_known_ever_less_where_nothing_was_seen():
    """Without any shared part, a configuration far away is as the prior has it."""
    seen, log_parameters = drawn(4)
    log_parameters[3 + FURTHER.index("shared")] = -60.0
    mean, covariance = CurveProcess(log_parameters, seen).predict(np.full((1, 4), 1e3), [-1], [1.0])
    _, _, level, shape, own, _ = np.exp(log_parameters[3:])
    assert mean[0] == pytest.approx(0, abs=1e-12)
    assert covariance[0, 0] == pytest.approx(level + shape + own)


def test_the_most_probable_parameters_are_better_than_the_start_and_those_around():
    seen, _ = drawn(5, curves=20)
    found = most_probable(seen)
    least = negative_log_posterior(found, seen)[0]
    assert least < negative_log_posterior(prior(3)[0], seen)[0]
    random = np.random.default_rng(0)
    around = [
        negative_log_posterior(found + 0.5 * random.standard_normal(9), seen)[0] for _ in range(20)
    ]
    assert least < min(around)
    assert (most_probable(seen) == found).all(), "the same to the last bit"


def test_the_process_learns_which_parameter_matters():
    random = np.random.default_rng(6)
    points = random.random((40, 4))
    values = np.sin(5 * points[:, 0])
    seen = SeenEpochs(
        points=points,
        groups=GROUPS,
        curves=np.arange(40),
        times=np.ones(40),
        values=(values - values.mean()) / values.std(),
    )
    first, second, third = most_probable(seen)[:3]
    assert first < min(second, third) - 1
    asked = random.random((30, 4))
    mean, _ = CurveProcess(most_probable(seen), seen).predict(asked, [-1] * 30, [1.0] * 30)
    truth = (np.sin(5 * asked[:, 0]) - values.mean()) / values.std()
    assert np.corrcoef(mean, truth)[0, 1] > 0.97


# ---- what is looked at ----

SPACE = Space(
    (
        Parameter(name="rate", kind="float", low=1e-4, high=1e-2, log=True),
        Parameter(name="prior", kind="choice", values=("normal", "mixture", "flow")),
        Parameter(
            name="components", kind="int", low=2, high=64, log=True, when={"prior": ("mixture",)}
        ),
    )
)
CURVES = st.lists(
    st.tuples(st.lists(st.floats(1, 1e6), min_size=1, max_size=40), st.booleans()),
    min_size=1,
    max_size=30,
)


def test_two_choices_are_as_far_apart_as_the_ends_of_a_range_and_what_is_not_active_lies_in_the_middle():  # noqa: E501
    points = [
        np.array(to_point(SPACE, {"rate": 1e-3, "prior": name}))
        for name in ("normal", "mixture", "flow")
    ]
    assert [math.dist(*pair) for pair in itertools.combinations(points, 2)] == pytest.approx(
        [1, 1, 1]
    )
    assert points[0][-1] == 0.5
    assert points[0][0] == pytest.approx(0.5)
    assert to_point(SPACE, {"rate": 1e-2, "prior": "mixture", "components": 64})[
        0
    ] == pytest.approx(1)
    assert groups_of(SPACE).tolist() == [0, 1, 1, 1, 2]


@given(CURVES, st.integers(5, 60))
def test_no_more_epochs_are_looked_at_than_allowed_and_the_newest_of_each_curve_is(
    drawn_curves, most
):
    curves = [
        LearningCurve(
            number=number,
            params={"rate": 1e-3, "prior": "normal"},
            objectives=tuple(objectives),
            diverged=diverged,
        )
        for number, (objectives, diverged) in enumerate(drawn_curves)
    ]
    scale = Scale.of(curves)
    seen, numbers = seen_epochs(SPACE, curves, scale, 40, most)
    assert len(seen.values) <= most
    assert len(numbers) == min(len(curves), most)
    assert (np.diff(seen.curves) >= 0).all()
    assert set(seen.curves) == set(range(len(numbers)))
    assert np.isfinite(seen.values).all()
    for row, number in enumerate(numbers):
        here, curve = seen.curves == row, curves[number]
        assert here.sum() <= POINTS
        newest = log_time(len(curve.objectives), 40)
        assert curve.diverged or newest in seen.times[here]
        assert not curve.diverged or 1.0 in seen.times[here]


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
@example([0.0, 1.0, 5e-324, 1e-310])
def test_the_scale_keeps_the_order_and_has_mean_0_and_variance_1(objectives):
    curves = [
        LearningCurve(number=n, params={}, objectives=(value,), diverged=False)
        for n, value in enumerate(objectives)
    ]
    scaled = Scale.of(curves)(objectives)
    assert (np.diff(scaled[np.argsort(objectives)]) >= 0).all()
    if max(objectives) - min(objectives) > 1e-3:
        assert scaled.mean() == pytest.approx(0, abs=1e-6)
        assert scaled.std() == pytest.approx(1)
