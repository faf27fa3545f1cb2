"""Maps of any number of codes: new codes land among their like and move none."""

import numpy as np
import pytest

from sweeps import UserError
from vaeexp.evaluation import large_map


def clusters(count, seed):
    generator = np.random.default_rng(seed)
    kinds = np.arange(count) % 3
    centres = 12 * np.eye(3, 5)
    return centres[kinds] + generator.normal(size=(count, 5)), kinds


def test_new_codes_land_among_their_like_and_move_none():
    codes, kinds = clusters(300, 0)
    new, own = clusters(30, 1)
    points, placed = large_map.map_codes(codes, new, seed=3)
    assert points.dtype == placed.dtype == np.float32
    assert (points.shape, placed.shape) == ((300, 2), (30, 2))
    nearest = np.linalg.norm(placed[:, None] - points, axis=2).argmin(1)
    assert (kinds[nearest] == own).all()
    again, none = large_map.map_codes(codes, np.zeros((0, 5)), seed=3)
    np.testing.assert_array_equal(again, points)
    assert none.shape == (0, 2)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(large_map, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"FILES: needs openTSNE. Try pip install 'vaeexp\[map\]'"):
        large_map.check_installed("FILES")
