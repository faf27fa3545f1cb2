"""A forest of randomised trees that predicts validation −ELBO along the searched parameters.

Extremely randomised trees (Geurts, Ernst and Wehenkel 2006), in small bags of which each saw its own bootstrap resample
of the trials: the spread over bags is the sampling error of the whole (Sexton and Laake 2009).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from vaeexp.results.columns import evenly_spread, outer_fence
from vaeexp.results.parameters import SearchedParameter

_MOST_TRIALS = 2000
_BAGS = 24
_TREES = 4
_NOT_ACTIVE = -1.0


@dataclass(frozen=True, eq=False)
class Forest:
    """A fitted model of validation −ELBO."""

    parameters: Mapping[str, SearchedParameter]
    """The parameters, the most important first."""
    places: pd.DataFrame
    """The trials that it learned from, best first: their place on the axis of each parameter."""
    values: np.ndarray
    """Their validation −ELBO, values above `ceiling` set to it: [N]."""
    ceiling: float
    """Tukey's outer fence; without one, the diverged trials would be all that a tree learns."""
    capped: int
    """Trials above the ceiling."""
    r2: float
    """Share of the variance that it explains in trials which its trees have not seen."""
    bags: Sequence[Any]
    """Fitted models, each of its own resample."""
    conditions: Mapping[str, Mapping[str, list[float]]]
    """Parameter → parent → places of the parent under which the parameter is active."""


def grow_forest(
    parameters: Mapping[str, SearchedParameter], names: Sequence[str], ranked: pd.DataFrame, seed: int
) -> Forest | None:
    """Fit the model on the complete trials (`ranked`), on 2,000 of them drawn at random where there are more.

    `names` are the parameters to learn from, the most important first; None without any.
    """
    if not names:
        return None
    chosen = {name: parameters[name] for name in names}
    ceiling = outer_fence(ranked["objective"])
    capped = int((ranked["objective"] > ceiling).sum())
    if len(ranked) > _MOST_TRIALS:
        drawn = np.random.default_rng(seed).choice(len(ranked), _MOST_TRIALS, replace=False)
        ranked = ranked.iloc[np.sort(drawn)].reset_index(drop=True)
    places = pd.DataFrame({name: parameter.places(ranked) for name, parameter in chosen.items()})
    values = ranked["objective"].clip(upper=ceiling).to_numpy(float)
    bags, r2 = _grow_bags(places.fillna(_NOT_ACTIVE).to_numpy(float), values, seed)
    return Forest(
        parameters=chosen,
        places=places,
        values=values,
        ceiling=ceiling,
        capped=capped,
        r2=r2,
        bags=bags,
        conditions=_conditions({name: own for name, own in parameters.items() if name in chosen}),
    )


def _grow_bags(design: np.ndarray, values: np.ndarray, seed: int) -> tuple[list[Any], float]:
    """Fit the bags; return them and their R² on the trials out of the bag."""
    from sklearn.ensemble import ExtraTreesRegressor

    random = np.random.default_rng(seed)
    bags, sums, counts = [], np.zeros(len(values)), np.zeros(len(values))
    for bag in range(_BAGS):
        drawn = random.integers(len(values), size=len(values))
        model = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=(seed + bag) % 2**32)
        bags.append(model.fit(design[drawn], values[drawn]))
        out = np.setdiff1d(np.arange(len(values)), drawn)
        if len(out):
            sums[out] += model.predict(design[out])
            counts[out] += 1
    known = counts > 0
    error = np.mean((sums[known] / counts[known] - values[known]) ** 2)
    return bags, float(1 - error / values[known].var()) if values[known].var() else 0.0


def _conditions(parameters: Mapping[str, SearchedParameter]) -> dict[str, dict[str, list[float]]]:
    """Return the conditions on parents that the model knows; parents come first, as in the study file."""
    found: dict[str, dict[str, list[float]]] = {}
    for name, parameter in parameters.items():
        parents = {
            parent: parameters[parent].places(pd.DataFrame({f"params.{parent}": list(wanted)})).dropna().tolist()
            for parent, wanted in parameter.when.items()
            if parent in parameters
        }
        found |= {name: parents} if parents else {}
    return found


def expected(forest: Forest, axes: Mapping[str, np.ndarray], *, over: int = 100) -> np.ndarray:
    """Return the partial dependence (Friedman 2001) of each bag: [B, G], or [B, G, H] for two parameters.

    The expected validation −ELBO at each place of `axes` (parameter → places), over the other settings of the trials in
    which these parameters are active, `over` of them evenly spread in rank. Parameters whose condition then fails are
    put out of use; parameters whose condition then holds take values of the trials that have them.
    """
    known = forest.places.dropna(subset=list(axes))
    rows = known.iloc[np.unique(np.linspace(0, len(known) - 1, over).round().astype(int))]
    grid = np.stack([part.ravel() for part in np.meshgrid(*axes.values(), indexing="ij")], axis=1)
    design = pd.DataFrame(np.tile(rows.to_numpy(), (len(grid), 1)), columns=rows.columns)
    for name, places in zip(axes, grid.T, strict=True):
        design[name] = np.repeat(places, len(rows))
    turns = np.array(evenly_spread(len(rows), 1.0)) + 0.5
    for name, parents in forest.conditions.items():
        others = forest.places[name].dropna().to_numpy()
        if name not in axes and len(others):
            holds = np.logical_and.reduce([design[parent].isin(wanted) for parent, wanted in parents.items()])
            spare = np.tile(others[(turns * len(others)).astype(int)], len(grid))
            design[name] = np.where(holds, design[name].fillna(pd.Series(spare)), np.nan)
    filled = design.fillna(_NOT_ACTIVE).to_numpy(float)
    means = np.stack([bag.predict(filled).reshape(len(grid), len(rows)).mean(axis=1) for bag in forest.bags])
    return means.reshape(len(forest.bags), *(len(part) for part in axes.values()))
