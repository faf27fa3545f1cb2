"""Fronts of two objectives against their definitions: by brute force, by inclusion and exclusion,
and by drawing points.
"""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweeps.results.front import behind, hypervolume, pareto_front, scales

POINTS = st.integers(1, 12).flatmap(
    lambda count: arrays(float, (count, 2), elements=st.integers(-6, 6).map(float))
)
SMOOTH = st.integers(1, 12).flatmap(
    lambda count: arrays(float, (count, 2), elements=st.floats(-50, 50).map(lambda x: round(x, 3)))
)
REFERENCE = np.array([5.0, 4.0])


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


def by_inclusion_and_exclusion(points, reference):
    """Area of the union of the boxes between points and reference: over all subsets, of alternating
    sign.
    """
    total = 0.0
    for size in range(1, len(points) + 1):
        for some in itertools.combinations(points, size):
            sides = np.maximum(reference - np.max(some, axis=0), 0.0)
            total += (-1) ** (size + 1) * float(sides.prod())
    return total


@given(
    st.integers(0, 7).flatmap(
        lambda n: arrays(float, (n, 2), elements=st.integers(-6, 6).map(float))
    )
)
def test_the_hypervolume_is_that_of_inclusion_and_exclusion(points):
    assert hypervolume(points, REFERENCE) == by_inclusion_and_exclusion(points, REFERENCE)


def test_the_hypervolume_is_the_share_of_drawn_points_that_are_beaten():
    random = np.random.default_rng(5)
    angles = random.uniform(0, math.pi / 2, 40)
    points = 1 - random.uniform(0.3, 1, (40, 1)) * np.stack(
        [np.sin(angles), np.cos(angles)], axis=1
    )
    drawn = random.random((200_000, 2))
    beaten_ones = (points[:, None] <= drawn).all(axis=2).any(axis=0).mean()
    error = math.sqrt(beaten_ones * (1 - beaten_ones) / len(drawn))
    assert abs(hypervolume(points, np.ones(2)) - beaten_ones) < 5 * error


def test_the_hypervolume_of_a_quarter_of_a_disc():
    angles = np.linspace(0, math.pi / 2, 20_001)
    arc = 1 - np.stack([np.sin(angles), np.cos(angles)], axis=1)
    assert hypervolume(arc, np.ones(2)) == pytest.approx(math.pi / 4, abs=2e-4)


@given(SMOOTH, st.randoms(use_true_random=False))
def test_the_hypervolume_knows_no_order_and_never_falls_with_a_point(points, random):
    whole = hypervolume(points, REFERENCE)
    order = list(range(len(points)))
    random.shuffle(order)
    assert hypervolume(points[order], REFERENCE) == whole
    assert hypervolume(points[:-1], REFERENCE) <= whole + 1e-9
    assert hypervolume(points[pareto_front(points)], REFERENCE) == whole
    assert hypervolume(np.vstack([points, points[0]]), REFERENCE) == whole
    assert hypervolume(points - 1.0, REFERENCE) >= whole
    assert hypervolume(points + 100.0, REFERENCE) == 0
