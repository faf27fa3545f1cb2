"""The noise of a seed at configurations that no seed has trained, from differences of two seeds at
near configurations.

    noise = SeedNoise(points, ends, differences)
    noise.draw(point, end, seed)
        an error for each epoch of a curve, on the scale of the differences

Two curves of one configuration differ by the noise of two seeds, so a difference over √2 has the
deviation of one seed. A draw is the difference of one of the `NEAR` nearest configurations, over
√2, with a random sign. So its deviation, course, correlation and tails are those of the table.
There the errors of the first epoch say nothing of the last one (correlation 0.0 to 0.1), and those
of the last third of a curve are nearly the same (0.8 to 1.0).

Near means alike in parameters and in the last epoch, each relative to the median over all pairs.
From epoch 3 on, the 20 configurations nearest in this sense predict the size of a difference that
was left out better than the 20 nearest in the parameters alone, and better than all configurations,
on each of A to D.
"""

import math
from collections.abc import Iterable

import numpy as np

__all__ = ["NEAR", "SeedNoise"]

NEAR = 20


class SeedNoise:
    """Draws errors of a seed.

    Args:
        points: float64 [C, D], of `sweeps.search.curves.learning_curves.to_point`.
        ends: float64 [C], the value of each configuration after the last epoch.
        differences: float64 [C, E], of two seeds at each epoch; a row with NaN is left out.

    Raises ValueError where no row is whole.
    """

    def __init__(self, points: np.ndarray, ends: np.ndarray, differences: np.ndarray) -> None:
        whole = np.isfinite(differences).all(axis=1) & np.isfinite(ends)
        if not whole.any():
            raise ValueError(
                "got no configuration with two whole curves; the noise of a seed needs one"
            )
        self._points, self._ends = points[whole], ends[whole]
        self._errors = differences[whole] / math.sqrt(2)
        self._apart = _median(self._gaps(points) for points in self._points)
        self._above = _median(np.abs(self._ends - end) for end in self._ends)

    def _gaps(self, point: np.ndarray) -> np.ndarray:
        return np.asarray(np.abs(self._points - point).sum(axis=1))

    def near(self, point: np.ndarray, end: float) -> np.ndarray:
        """Return the errors of the nearest configurations, float64 [K, E]."""
        gaps = self._gaps(point) / self._apart + np.abs(self._ends - end) / self._above
        return np.asarray(self._errors[np.argsort(gaps, kind="stable")[:NEAR]])

    def deviation(self, point: np.ndarray, end: float) -> np.ndarray:
        """Return the standard deviation of draws, float64 [E]."""
        return np.asarray(np.sqrt((self.near(point, end) ** 2).mean(axis=0)))

    def draw(self, point: np.ndarray, end: float, seed: int) -> np.ndarray:
        """Return an error for each epoch, float64 [E]; the same for the same seed."""
        random, near = np.random.default_rng(seed), self.near(point, end)
        return np.asarray(near[random.integers(len(near))] * random.choice((-1.0, 1.0)))


def _median(rows: Iterable[np.ndarray]) -> float:
    """Return the median of all numbers; 1 where it is 0, because it divides."""
    return float(np.median(np.stack([*rows]))) or 1.0
