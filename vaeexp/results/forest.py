"""A model of the objective over the searched parameters, and what it expects along each of them.

The forest has extremely randomised trees (Geurts, Ernst and Wehenkel 2006) in small bags, each with
its own bootstrap resample of the trials: the spread over bags is the sampling error of the whole
(Sexton and Laake 2009). Like the importances, it learns from complete and pruned trials, a pruned
one with what it had reached.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vaeexp.results.parameters import NONE, Parameters
from vaeexp.results.tables import jitter

_MOST_TRIALS = 2000
_BAGS = 24
_TREES = 4
_NOT_ACTIVE = -1.0

Bag = Sequence[Any]
"""Trees of scikit-learn that were fitted on one resample."""


@dataclass(frozen=True, eq=False)
class Forest:
    """A fitted model of validation −ELBO."""

    parameters: Parameters
    """The parameters whose dependence can be said, the most important first."""
    complete: int
    """Complete trials that it learned from."""
    pruned: int
    """Pruned trials that it learned from, each with what it had reached."""
    places: pd.DataFrame
    """Those of them whose choices are all covered, best first: their place on the axis of each
    parameter. Dependences average over them.
    """
    values: np.ndarray
    """The validation −ELBO of these, values above `ceiling` set to it: [N]."""
    ceiling: float
    """Tukey's outer fence; without one, the diverged trials would be all that a tree learns."""
    capped: int
    """Trials above the ceiling."""
    r2: float
    """Share of the variance that it explains in trials which its trees have not seen."""
    bags: Sequence[Bag]
    """Fitted trees, each bag of its own resample."""
    conditions: Mapping[str, Mapping[str, list[float]]]
    """Parameter → parent → places of the parent under which the parameter is active."""


def grow_forest(
    parameters: Parameters,
    names: Sequence[str],
    learned: pd.DataFrame,
    seed: int,
    left_out: Mapping[str, Sequence[str]] = NONE,
) -> Forest | None:
    """Fit the model on complete and pruned trials, on 2,000 of them drawn at random where there are
    more.

    A choice with values that are left out is learned from, so that its effect is not taken for
    another's; but dependences average over trials of covered values alone, and none is said of a
    parameter that has one value in these.

    Args:
        names: the parameters to learn from, the most important first; None without any.
        learned: complete and pruned trials, the lowest objective first.
        left_out: choice → values, as text, that are not covered.
    """
    without = {name: texts for name, texts in left_out.items() if texts}
    chosen = {name: parameters[name] for name in dict.fromkeys([*names, *without])}
    if not names:
        return None
    ceiling = outer_fence(learned["objective"])
    capped = int((learned["objective"] > ceiling).sum())
    if len(learned) > _MOST_TRIALS:
        drawn = np.random.default_rng(seed).choice(len(learned), _MOST_TRIALS, replace=False)
        learned = learned.iloc[np.sort(drawn)].reset_index(drop=True)
    places = pd.DataFrame({name: parameter.places(learned) for name, parameter in chosen.items()})
    values = learned["objective"].clip(upper=ceiling).to_numpy(float)
    bags, r2 = _grow_bags(places.fillna(_NOT_ACTIVE).to_numpy(float), values, seed)
    covered = np.ones(len(places), dtype=bool)
    for name, texts in without.items():
        covered &= ~chosen[name].has(learned, texts)
    pruned = int((learned["state"] == "pruned").sum())
    places = places[covered].reset_index(drop=True)
    shown = {name: parameters[name] for name in names if places[name].nunique() > 1}
    if not shown:
        return None
    return Forest(
        parameters=shown,
        complete=len(learned) - pruned,
        pruned=pruned,
        places=places,
        values=values[covered],
        ceiling=ceiling,
        capped=capped,
        r2=r2,
        bags=bags,
        conditions=_conditions({name: each for name, each in parameters.items() if name in chosen}),
    )


def outer_fence(values: pd.Series) -> float:
    """Return Tukey's outer fence (the upper quartile + 3 interquartile ranges), at least the 0.7
    quantile, at most the maximum.

    The fence has room above it: 1 % of the smallest value.
    """
    lower, upper, most = np.quantile(values, [0.25, 0.75, 0.7])
    high = min(float(values.max()), max(float(upper + 3 * (upper - lower)), float(most)))
    return high + max(0.01 * abs(float(values.min())), 1e-3)


def _grow_bags(design: np.ndarray, values: np.ndarray, seed: int) -> tuple[list[Bag], float]:
    """Fit the bags; return them and their R² on the trials out of the bag."""
    from sklearn.ensemble import ExtraTreesRegressor

    random = np.random.default_rng(seed)
    bags: list[Bag] = []
    sums, counts = np.zeros(len(values)), np.zeros(len(values))
    for bag in range(_BAGS):
        drawn = random.integers(len(values), size=len(values))
        model = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=(seed + bag) % 2**32)
        bags.append(model.fit(design[drawn], values[drawn]).estimators_)
        out = np.setdiff1d(np.arange(len(values)), drawn)
        if len(out):
            sums[out] += _predict(bags[-1], design[out])
            counts[out] += 1
    out_of_bag = counts > 0
    error = np.mean((sums[out_of_bag] / counts[out_of_bag] - values[out_of_bag]) ** 2)
    return bags, float(1 - error / values[out_of_bag].var()) if values[out_of_bag].var() else 0.0


def _predict(bag: Bag, design: np.ndarray) -> np.ndarray:
    """Return the mean prediction of a bag for settings [N, P]: [N].

    It is that of scikit-learn's forest to the bit; the forest spends most of its time on checks and
    threads.
    """
    numbers = design.astype(np.float32)
    total = np.zeros(len(design))
    for tree in bag:
        total += tree.tree_.predict(numbers)[:, 0]
    return total / len(bag)


def _conditions(parameters: Parameters) -> dict[str, dict[str, list[float]]]:
    """Return the conditions on parents that the model knows; parents come first, as in the study
    file.
    """

    def places(parent: str, wanted: Sequence[Any]) -> list[float]:
        return (
            parameters[parent]
            .places(pd.DataFrame({f"params.{parent}": list(wanted)}))
            .dropna()
            .tolist()
        )

    conditions = {
        name: {
            parent: places(parent, wanted)
            for parent, wanted in parameter.when.items()
            if parent in parameters
        }
        for name, parameter in parameters.items()
    }
    return {name: parents for name, parents in conditions.items() if parents}


@dataclass(frozen=True, eq=False)
class Dependence:
    """The forest's expectation along one parameter."""

    places: np.ndarray
    """Places on the axis of the parameter, of covered values alone: [G]."""
    bags: np.ndarray
    """Expected validation −ELBO of each bag at these, nats per image: [B, G]."""

    @property
    def span(self) -> float:
        """Nats per image between the best and the worst place."""
        return float(np.ptp(self.bags.mean(axis=0)))


def dependence(forest: Forest, name: str) -> Dependence:
    """Return the partial dependence on a parameter of the forest: at each covered choice, or at 25
    places over its range.
    """
    places = forest.parameters[name].grid(forest.places[name].dropna(), 25)
    return Dependence(places, expected(forest, name, places))


def expected(forest: Forest, name: str, places: np.ndarray, *, over: int = 100) -> np.ndarray:
    """Return the partial dependence of each bag on a parameter (Friedman 2001): [B, G].

    The expected validation −ELBO at each of G places, over the other settings of the trials in
    which the parameter is active, `over` of them evenly spread in rank. Parameters whose condition
    then fails are put out of use; parameters whose condition then holds take values of the trials
    that have them.
    """
    active = forest.places.dropna(subset=[name])
    rows = active.iloc[np.unique(np.linspace(0, len(active) - 1, over).round().astype(int))]
    design = pd.DataFrame(np.tile(rows.to_numpy(), (len(places), 1)), columns=rows.columns)
    design[name] = np.repeat(places, len(rows))
    quantiles = jitter(len(rows), 1.0) + 0.5
    for child, parents in forest.conditions.items():
        others = forest.places[child].dropna().to_numpy()
        if child != name and len(others):
            holds = np.logical_and.reduce(
                [design[parent].isin(wanted) for parent, wanted in parents.items()]
            )
            spare = np.tile(others[(quantiles * len(others)).astype(int)], len(places))
            design[child] = np.where(holds, design[child].fillna(pd.Series(spare)), np.nan)
    filled = design.fillna(_NOT_ACTIVE).to_numpy(float)
    return np.stack(
        [_predict(bag, filled).reshape(len(places), len(rows)).mean(axis=1) for bag in forest.bags]
    )
