"""Extra trees of several targets, a surrogate of another kind than the Gaussian process
(`surrogate.Process`).

    forest = Forest(points, targets)
    forest(point)      the mean of each target

The mean of extremely randomised trees (Geurts et al. 2006; scikit-learn) is a weighted sum of the
table's curves, as that of a process is. It is constant between splits and knows no lengths, so that
it favours no search that believes in a process. Each leaf has two configurations or more, because a
leaf of one takes the noise of its seed for its worth.
"""

import math

import numpy as np
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.model_selection import KFold

__all__ = ["Forest"]

_TREES, _LEAF, _FOLDS = 200, 2, 10


class Forest:
    """Extra trees of several targets; arguments as `surrogate.Process`."""

    def __init__(
        self, points: np.ndarray, targets: np.ndarray, counts: np.ndarray | None = None
    ) -> None:
        self._points, self._targets = points, targets
        self._counts = np.ones(len(points)) if counts is None else np.asarray(counts, dtype=float)
        whole = np.isfinite(targets).all(axis=1)
        fitted = ExtraTreesRegressor(_TREES, min_samples_leaf=_LEAF, random_state=0)
        wanted = targets[whole]
        fitted.fit(
            points[whole],
            wanted[:, 0] if wanted.shape[1] == 1 else wanted,
            sample_weight=self._counts[whole],
        )
        self._trees = [tree.tree_ for tree in fitted.estimators_]
        self._leaves = self._leaves_of(points)
        known = np.isfinite(targets)
        self._known, self._values = known * self._counts[:, None], np.where(known, targets, 0.0)

    def _leaves_of(self, points: np.ndarray) -> np.ndarray:
        """Return the leaf of each point in each tree, int [C, T]."""
        exact = np.ascontiguousarray(points, dtype=np.float32)
        return np.stack([tree.apply(exact) for tree in self._trees], axis=1)

    def __call__(self, point: np.ndarray) -> np.ndarray:
        """Return the mean of each target at a point, float64 [K]: over the trees, each the mean of
        its leaf.
        """
        same = (self._leaves == self._leaves_of(point[None])).T.astype(float)  # [T, C]
        counts = same @ self._known
        sums = same @ (self._known * self._values)
        means = np.divide(sums, counts, out=np.full(sums.shape, math.nan), where=counts > 0)
        return np.asarray(np.nanmean(means, axis=0))

    def left_out(self) -> np.ndarray:
        """Return what the others say of each target of each row, a tenth left out at a time,
        float64 [C, K]; NaN where the row has none.
        """
        found = np.full(self._targets.shape, math.nan)
        for others, rows in KFold(_FOLDS, shuffle=True, random_state=0).split(self._points):
            forest = Forest(self._points[others], self._targets[others], self._counts[others])
            found[rows] = [forest(point) for point in self._points[rows]]
        return np.where(np.isfinite(self._targets), found, math.nan)
