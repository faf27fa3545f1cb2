"""Two objectives at once, both minimised: which points no other beats, and how far the others are
behind.

Points are rows of [N, 2], all finite.
"""

import math

import numpy as np


def pareto_front(values: np.ndarray) -> np.ndarray:
    """Return the indices of the points that no other equals or beats in both objectives, in order
    of the first objective: [F].

    Of equal points the first alone is among them.
    """
    order = np.lexsort((values[:, 1], values[:, 0]))
    lowest = np.minimum.accumulate(values[order, 1])
    return order[np.diff(lowest, prepend=math.inf) < 0]


def scales(values: np.ndarray) -> np.ndarray:
    """Return a scale of each objective, above 0: its interquartile range, its range where that is
    0, and 1 where that is 0, too: [2].
    """
    low, high = np.percentile(values, [25, 75], axis=0)
    middle = high - low
    whole = np.ptp(values, axis=0)
    return np.where(middle > 0, middle, np.where(whole > 0, whole, 1.0))


def behind(values: np.ndarray) -> np.ndarray:
    """Return how far each point is behind the front of all points, in units of `scales`, at least
    0: [N].

    It is the additive ε of Zitzler et al. (2003, "Performance assessment of multiobjective
    optimizers"): the least amount by which both objectives of the point would have to fall for no
    other point to be lower in both, max over q of min over i of (p_i − q_i)/s_i. A point of the
    front has 0.
    """
    if not len(values):
        return np.zeros(0)
    # Whoever is lower in both than a point of the front would be on it instead, so the front speaks
    # for all.
    best = values[pareto_front(values)]
    gaps = ((values[:, None] - best) / scales(values)).min(axis=2)
    return np.maximum(gaps.max(axis=1), 0.0)
