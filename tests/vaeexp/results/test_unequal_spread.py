"""The test of equal spread over seeds, on runs that vary alike or not."""

import numpy as np
import pytest
from planted_studies import at_least, at_most

from vaeexp.results.unequal_spread import p_of_equal_spread


def groups(random, seeds, scales):
    """Five settings of each of two values, with so many seeds and this spread."""
    return [
        [random.normal(scale=scale, size=own) for _ in range(5)]
        for own, scale in zip(seeds, scales, strict=True)
    ]


@pytest.mark.parametrize("seeds", [(3, 3), (5, 5), (5, 2), (2, 8)])
def test_runs_that_vary_alike_are_told_apart_in_five_per_cent(seeds):
    """Also where one value has more seeds than the other."""
    random = np.random.default_rng(41)
    told = sum(p_of_equal_spread(groups(random, seeds, (1, 1))) <= 0.05 for _ in range(1_000))
    assert at_most(told, 0.05, 1_000), told
    assert at_least(told, 0.05, 1_000), told


def test_a_tenfold_spread_is_found():
    random = np.random.default_rng(42)
    found = sum(p_of_equal_spread(groups(random, (3, 3), (1, 10))) <= 0.05 for _ in range(200))
    assert at_least(found, 0.8, 200), found
