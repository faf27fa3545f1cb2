"""Fronts of two objectives against their definitions, by brute force."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweeps.results.front import behind, pareto_front, scales

POINTS = st.integers(1, 12).flatmap(
    lambda count: arrays(float, (count, 2), elements=st.integers(-6, 6).map(float))
)
SMOOTH = st.integers(1, 12).flatmap(
    lambda count: arrays(float, (count, 2), elements=st.floats(-50, 50).map(lambda x: round(x, 3)))
)


def beaten(point, others):
    return any((other <= point).all() and (other < point).any() for other in others)


@given(POINTS)
def test_the_front_is_what_no_other_point_equals_or_beats(points):
    chosen = pareto_front(points)
    expected = {tuple(point) for point in points if not beaten(point, points)}
    assert {tuple(point) for point in points[chosen]} == expected
    assert len(chosen) == len(expected), "of equal points one alone"
    assert (np.diff(points[chosen, 0]) > 0).all()
    assert (np.diff(points[chosen, 1]) < 0).all()


@given(POINTS)
def test_behind_is_the_least_step_after_which_no_point_is_lower_in_both(points):
    distances, scale = behind(points), scales(points)
    for point, distance in zip(points, distances, strict=True):
        worst = max((min((point - other) / scale) for other in points), default=0.0)
        assert distance == pytest.approx(max(0.0, worst), abs=1e-12)
        moved = point - distance * scale
        assert not ((points < moved - 1e-9).all(axis=1)).any()
        if distance > 0:
            assert (points < moved + 1e-6 * scale).all(axis=1).any(), "a smaller step would not do"
    assert (distances[pareto_front(points)] == 0).all()


@given(SMOOTH, st.floats(0.1, 10), st.floats(0.1, 10), st.floats(-20, 20))
def test_behind_does_not_depend_on_units(points, first, second, shift):
    changed = points * np.array([first, second]) + shift
    assert behind(changed) == pytest.approx(behind(points), rel=1e-6, abs=1e-6)


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=12))
def test_with_two_equal_objectives_behind_is_the_value_minus_the_best(values):
    """So the median of it is the median pruner's, in units of the scale."""
    points = np.array([values, values]).T
    expected = (np.array(values) - min(values)) / scales(points)[0]
    assert behind(points) == pytest.approx(expected)


def test_behind_of_a_point_alone_and_of_none():
    assert behind(np.array([[3.0, 4.0]])).tolist() == [0.0]
    assert behind(np.empty((0, 2))).tolist() == []


def test_a_scale_is_the_middle_half_then_the_range_then_one():
    values = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0], [3.0, 5.0], [1e9, 5.0]])
    assert scales(values).tolist() == [2.0, 1.0]
    assert scales(np.array([[0.0, 0.0]] * 9 + [[4.0, 0.0]])).tolist() == [4.0, 1.0]
