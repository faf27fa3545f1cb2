"""What a forest of randomised trees expects of settings that were not tried, from the complete trials of a study.

Extremely randomised trees (Geurts, Ernst and Wehenkel 2006), in small bags of which each saw its own bootstrap resample
of the trials: the spread over bags is the sampling error of the whole (Sexton and Laake 2009).
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.results import Results, ranked
from vaeexp.figures.axis import ParameterAxis, parameter_axis
from vaeexp.figures.frames import space, study_seed
from vaeexp.figures.parameters import importances
from vaeexp.figures.style import robust_limits, spread

__all__ = ["Forest", "expected", "grow_forest"]

_MOST_TRIALS = 2000
_BAGS = 24
_TREES = 4
_NOT_ACTIVE = -1.0


@dataclass(frozen=True)
class Forest:
    """A fitted model of validation −ELBO."""

    axes: Mapping[str, ParameterAxis]
    """The parameters, the most important first."""
    places: pd.DataFrame
    """The trials that it learned from, best first: where they stand on each axis."""
    values: np.ndarray
    """Their validation −ELBO, those above `ceiling` set to it: [N]."""
    ceiling: float
    """Tukey's outer fence; without one, the diverged trials would be all that a tree learns."""
    capped: int
    """Trials above it."""
    r2: float
    """Share of the variance that it explains in trials which its trees have not seen."""
    bags: Sequence
    """Fitted models, each of its own resample."""
    conditions: Mapping[str, Mapping[str, list[float]]]
    """Parameter → parent → places of the parent under which it is active."""


def grow_forest(results: Results) -> Forest | None:
    """The model of this study; None where `importances` has none.

    Learned from the complete trials, from 2,000 of them drawn at random where there are more.
    """
    axes = {name: parameter_axis(results, name) for name in importances(results)}
    if not axes:
        return None
    complete = ranked(results)
    ceiling = robust_limits(complete["value"], reach=3, margin=0)[1]
    seed = study_seed(results)
    if len(complete) > _MOST_TRIALS:
        chosen = np.random.default_rng(seed).choice(len(complete), _MOST_TRIALS, replace=False)
        complete = complete.iloc[np.sort(chosen)].reset_index(drop=True)
    places = pd.DataFrame({name: axis.places(complete) for name, axis in axes.items()})
    capped = int((complete["value"] > ceiling).sum())
    values = complete["value"].clip(upper=ceiling).to_numpy(float)
    design = np.ascontiguousarray(places.fillna(_NOT_ACTIVE).to_numpy(float))
    bags, r2 = _bags(design.tobytes(), len(axes), values.tobytes(), seed)
    return Forest(axes, places, values, ceiling, capped, r2, bags, _conditions(results, axes))


@functools.lru_cache(maxsize=1)
def _bags(design: bytes, width: int, values: bytes, seed: int) -> tuple[tuple, float]:
    """The bags and their R² on trials out of the bag. The last is kept: several figures and captions ask for it in turn."""
    from sklearn.ensemble import ExtraTreesRegressor

    x, y = np.frombuffer(design).reshape(-1, width), np.frombuffer(values)
    random = np.random.default_rng(seed)
    bags, sums, counts = [], np.zeros(len(y)), np.zeros(len(y))
    for bag in range(_BAGS):
        drawn = random.integers(len(y), size=len(y))
        model = ExtraTreesRegressor(_TREES, min_samples_leaf=2, random_state=(seed + bag) % 2**32)
        bags.append(model.fit(x[drawn], y[drawn]))
        out = np.setdiff1d(np.arange(len(y)), drawn)
        if len(out):
            sums[out] += model.predict(x[out])
            counts[out] += 1
    known = counts > 0
    error = np.mean((sums[known] / counts[known] - y[known]) ** 2)
    return tuple(bags), float(1 - error / y[known].var()) if y[known].var() else 0.0


def _conditions(results: Results, axes: Mapping[str, ParameterAxis]) -> dict[str, dict[str, list[float]]]:
    """Of the parameters that are searched under a condition, with the parents that the model knows; parents come first."""
    found = {}
    for name in (name for name in space(results) if name in axes):
        when = space(results)[name].get("when") or {}
        wanted = {parent: pd.DataFrame({f"params.{parent}": list(values)}) for parent, values in when.items()}
        parents = {
            parent: axes[parent].places(frame).dropna().tolist() for parent, frame in wanted.items() if parent in axes
        }
        found |= {name: parents} if parents else {}
    return found


def expected(forest: Forest, axes: Mapping[str, np.ndarray], *, over: int = 100) -> np.ndarray:
    """Partial dependence (Friedman 2001) of each bag: [B, G], or [B, G, H] for two parameters.

    The expected validation −ELBO at each place of `axes` (parameter → places), over the other settings of the trials in
    which these parameters are active, `over` of them evenly spread in rank. Parameters whose condition then fails are
    put out of use; those whose condition then holds take values of the trials that have them.
    """
    known = forest.places.dropna(subset=list(axes))
    rows = known.iloc[np.unique(np.linspace(0, len(known) - 1, over).round().astype(int))]
    grid = np.stack([part.ravel() for part in np.meshgrid(*axes.values(), indexing="ij")], axis=1)
    design = pd.DataFrame(np.tile(rows.to_numpy(), (len(grid), 1)), columns=rows.columns)
    for name, places in zip(axes, grid.T, strict=True):
        design[name] = np.repeat(places, len(rows))
    turns = np.array(spread(len(rows), 1.0)) + 0.5
    for name, parents in forest.conditions.items():
        others = forest.places[name].dropna().to_numpy()
        if name not in axes and len(others):
            holds = np.logical_and.reduce([design[parent].isin(wanted) for parent, wanted in parents.items()])
            spare = np.tile(others[(turns * len(others)).astype(int)], len(grid))
            design[name] = np.where(holds, design[name].fillna(pd.Series(spare)), np.nan)
    filled = design.fillna(_NOT_ACTIVE).to_numpy(float)
    means = np.stack([bag.predict(filled).reshape(len(grid), len(rows)).mean(axis=1) for bag in forest.bags])
    return means.reshape(len(forest.bags), *(len(part) for part in axes.values()))
