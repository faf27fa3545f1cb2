"""Learning curves and grades of any configuration of a space, from the table of its curves.

    curves = SeenCurves(load_table("A"), seed=0)
    curves({"beta": 1.0, ...}).neg_elbo      what a search sees of this configuration, epoch by epoch

At a configuration of the table a search sees the table's own curve, bit for bit. Elsewhere it sees an average of the table's curves with the
weights of a forest of bagged trees (Breiman 1996; weights after Meinshausen 2006, "Quantile regression forests", eq. 4): in each tree the
curves of the leaf in which the configuration falls weigh alike. One forest serves all epochs, so that an average is a curve, too. All
searches see the same surrogate; none is restricted to the points of the table.

Rules:

- Nats are averaged as log(1 + nats above the least of the table at this epoch), because few bad curves would outweigh the others.
- A configuration diverges in the first epoch by which curves of more than half of the weight have ended.
- An average of n curves varies less over seeds than one curve. `effective_number` says how many curves an average holds.
- `errors` says how far the average of the others is from each curve of the table: each curve is predicted by the trees that were grown
  without it (out of bag: about 0.37 of the trees), from the other curves of their leaves.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from curve_table import Table, position
from scipy.stats import spearmanr
from sklearn.tree import DecisionTreeRegressor

from sweeps.study.space import Space, frozen

__all__ = ["Curve", "EpochError", "Forest", "Grades", "SeenCurves", "to_point"]

TREES = 200
LEAF = 2
"""Fewest curves of a leaf, a curve drawn twice counting twice. All parameters may split each node: on curves of which the truth is known, grades near the
best were 0.1 to 0.4 nats too high with half of them at a time, and right with all."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The epochs of a configuration, as one seed sees them."""

    neg_elbo: tuple[float, ...]
    """Nats per image after each epoch."""
    seconds: tuple[float, ...]
    """Of a processor, for each epoch; of a diverged curve one more, for the epoch that was not finite."""
    diverged: bool


@dataclass(frozen=True, kw_only=True)
class EpochError:
    """How well the other curves predict each curve at one epoch."""

    epoch: int
    nats: float
    """Median absolute error over all curves."""
    nats_near_best: float
    """The same over the better quarter of the curves."""
    rank_correlation: float
    """Spearman's, between prediction and curve."""
    nearest_nats: float
    """Median absolute error of the nearest other configuration in the unit cube, for comparison."""


def to_point(space: Space, params: Mapping[str, Any]) -> np.ndarray:
    """Return a configuration as numbers: each range a quantile, −1 where it is not active; each value of a choice 0 or 1."""
    numbers: list[float] = []
    for parameter in space.parameters:
        value = params.get(parameter.name)
        if parameter.kind == "choice":
            numbers += [float(parameter.name in params and frozen(value) == choice) for choice in parameter.values]
        else:
            numbers.append(position(parameter, value) if parameter.name in params else -1.0)
    return np.asarray(numbers, dtype=np.float32)


class Forest:
    """Trees that say which rows resemble a point.

    Args:
        points: float32 [C, D].
        targets: float64 [C, K]; what rows of a leaf are to have in common.
    """

    def __init__(self, points: np.ndarray, targets: np.ndarray) -> None:
        random, count = np.random.default_rng(29), len(points)
        draws = [random.integers(count, size=count) for _ in range(TREES)]
        trees = [
            DecisionTreeRegressor(min_samples_leaf=LEAF, random_state=number).fit(points[drawn], targets[drawn]).tree_
            for number, drawn in enumerate(draws)
        ]
        nodes = max(tree.node_count for tree in trees)
        self._feature = np.full((TREES, nodes), -1)
        self._threshold = np.zeros((TREES, nodes))
        self._children = np.zeros((TREES, nodes, 2), dtype=int)
        for number, tree in enumerate(trees):
            self._feature[number, : tree.node_count] = tree.feature  # negative in a leaf
            self._threshold[number, : tree.node_count] = tree.threshold
            self._children[number, : tree.node_count] = np.stack([tree.children_left, tree.children_right], axis=1)
        self._leaves = self._leaves_of(points)
        self._left_out = np.stack([~np.isin(np.arange(count), drawn) for drawn in draws])

    def _leaves_of(self, points: np.ndarray) -> np.ndarray:
        """Return the leaf of each point in each tree, int [T, N]."""
        trees, columns = np.arange(TREES)[:, None], np.arange(len(points))[None, :]
        node = np.zeros((TREES, len(points)), dtype=int)
        while (inner := (feature := self._feature[trees, node]) >= 0).any():
            right = points[columns, np.maximum(feature, 0)] > self._threshold[trees, node]
            node = np.where(inner, self._children[trees, node, right.astype(int)], node)
        return node

    def weights(self, point: np.ndarray) -> np.ndarray:
        """Return the weight of each row at a point, float64 [C], which sum to 1."""
        same = self._leaves == self._leaves_of(point[None])
        return (same / same.sum(axis=1, keepdims=True)).mean(axis=0)

    def left_out_weights(self) -> np.ndarray:
        """Return for each row the weights of the others in the trees that were grown without the row, float64 [C, C]."""
        count = self._leaves.shape[1]
        weights = np.zeros((count, count))
        for row in range(count):
            leaves = self._leaves[self._left_out[:, row]]
            same = leaves == leaves[:, [row]]
            same[:, row] = False
            weights[row] = (same / same.sum(axis=1, keepdims=True)).mean(axis=0)
        return weights


class SeenCurves:
    """The curves that a search sees: those of one seed of a table, and averages of them elsewhere."""

    def __init__(self, table: Table, seed: int) -> None:
        rows = np.flatnonzero(table.trained[:, seed])
        self.space = table.space
        self.values, self.seconds = table.neg_elbo[rows, seed], table.seconds[rows, seed]
        self.configurations = [table.configurations[row] for row in rows]
        self.points = np.stack([to_point(table.space, params) for params in self.configurations])
        self.alive = np.isfinite(self.values)
        self._floor = np.nanmin(self.values, axis=0)
        excess = np.log1p(self.values - self._floor)
        self._usual_seconds = float(np.nanmedian(self.seconds))
        self._excess, self._paid = np.nan_to_num(excess), np.nan_to_num(self.seconds)
        self.forest = Forest(self.points, np.where(self.alive, excess, np.nanmax(excess, axis=0)))
        self._rows = {_key(params): row for row, params in enumerate(self.configurations)}
        self._known: dict[str, Curve] = {}

    def __call__(self, params: Mapping[str, Any]) -> Curve:
        """Return the curve of a configuration."""
        if (key := _key(params)) not in self._known:
            row = self._rows.get(key)
            values, seconds = self._averages(params) if row is None else (self.values[row], self.seconds[row])
            self._known[key] = self._curve(values, seconds)
        return self._known[key]

    def _averages(self, params: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        weights = self.forest.weights(to_point(self.space, params))
        share = weights @ self.alive
        ended = np.flatnonzero(share <= 0.5)
        epochs = int(ended[0]) if len(ended) else len(share)
        share = np.where(share > 0, share, 1.0)
        values, seconds = self._in_nats(weights @ self._excess / share), weights @ self._paid / share
        return values[:epochs], seconds[:epochs]

    def _in_nats(self, excess: np.ndarray) -> np.ndarray:
        return self._floor + np.expm1(excess)

    def _curve(self, values: np.ndarray, seconds: np.ndarray) -> Curve:
        epochs = int(np.isfinite(values).sum())
        diverged = epochs < self.values.shape[1]
        paid = [*map(float, seconds[:epochs])]
        if diverged:  # nobody has measured the epoch that was not finite
            paid.append(paid[-1] if paid else self._usual_seconds)
        return Curve(neg_elbo=tuple(map(float, values[:epochs])), seconds=tuple(paid), diverged=diverged)

    def effective_number(self) -> float:
        """Return the median number of curves that an average of the others holds: 1 over the sum of squared weights (Kish 1965)."""
        return float(np.median(1 / np.square(self.forest.left_out_weights()).sum(axis=1)))

    def errors(self) -> list[EpochError]:
        """Return for each epoch how well the other curves predict each curve that is still finite there."""
        weights = self.forest.left_out_weights()
        gaps = np.abs(self.points[:, None, :] - self.points[None, :, :]).sum(axis=2)
        np.fill_diagonal(gaps, math.inf)
        errors = []
        for epoch in range(self.values.shape[1]):
            alive, values = self.alive[:, epoch], self.values[:, epoch]
            share = weights @ alive
            rows = np.flatnonzero(alive & (share > 0))
            guesses = self._floor[epoch] + np.expm1((weights @ self._excess[:, epoch])[rows] / share[rows])
            nearest = values[np.where(alive[None, :], gaps, math.inf).argmin(axis=1)][rows]
            missed, best = np.abs(guesses - values[rows]), values[rows] <= np.quantile(values[rows], 0.25)
            errors.append(
                EpochError(
                    epoch=epoch + 1,
                    nats=float(np.median(missed)),
                    nats_near_best=float(np.median(missed[best])),
                    rank_correlation=float(spearmanr(guesses, values[rows]).statistic),
                    nearest_nats=float(np.median(np.abs(nearest - values[rows]))),
                )
            )
        return errors


class Grades:
    """What a configuration is worth: the mean objective over the seeds that the search did not see, smoothed.

    The same forest weights average the configurations of the table, those of the table as well, because the least of 400 noisy means lies
    below what any configuration is worth. A row counts as often as it has seeds. The seen seed enters nowhere.

    Args:
        seen: number of the seed that the search sees.
    """

    def __init__(self, table: Table, seen: int) -> None:
        others = [seed for seed in range(table.trained.shape[1]) if seed != seen]
        trained, objectives = table.trained[:, others], table.objectives()[:, others]
        rows = np.flatnonzero(trained.any(axis=1))
        finite = np.isfinite(objectives[rows])
        self._space, self._seeds = table.space, finite.sum(axis=1)
        means = np.where(finite, objectives[rows], 0.0).sum(axis=1) / np.maximum(self._seeds, 1)
        self._floor = float(means[self._seeds > 0].min())
        self._excess = np.where(self._seeds > 0, np.log1p(np.maximum(means - self._floor, 0.0)), 0.0)
        self._diverged = 1 - self._seeds / trained[rows].sum(axis=1)
        points = np.stack([to_point(table.space, table.configurations[row]) for row in rows])
        worst = self._excess.max()
        self._forest = Forest(points, np.where(self._diverged > 0.5, worst, self._excess)[:, None])
        self.best = min(self(table.configurations[row]) for row in rows)
        """Nats of the best configuration of the table."""

    def __call__(self, params: Mapping[str, Any]) -> float:
        """Return the nats of a configuration; infinite where more than half of the weight diverged."""
        weights = self._forest.weights(to_point(self._space, params))
        counted = weights * self._seeds
        if weights @ self._diverged > 0.5 or not counted.any():
            return math.inf
        return self._floor + math.expm1(counted @ self._excess / counted.sum())


def _key(params: Mapping[str, Any]) -> str:
    return json.dumps(params, sort_keys=True)
