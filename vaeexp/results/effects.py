"""What the search shows of each parameter: its importance and the ends of what was searched; the
best trials; medians of groups of trials.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps import Bound, BoundHit
from vaeexp.results.parameters import Parameters

TOP = 5
"""The best configurations whose values are given; fewer where these are more than a quarter."""


def best_of(found: pd.DataFrame) -> pd.DataFrame:
    """Return the best of these trials, which come best first: `TOP` of them, and a quarter at most,
    because five of six trials would be nearly all.
    """
    return found.head(max(1, min(TOP, len(found) // 4)))


@dataclass(frozen=True, kw_only=True)
class ParameterEffect:
    """What the search shows of one parameter. What it costs says `equal_epochs`: the trials here
    are those that the sampler chose.
    """

    parameter: str
    share: float
    share_low: float
    share_high: float
    """Importance with its 95 % interval, from 0 to 1: what set the best apart among the trials that
    the sampler chose.
    """
    at_bound: Bound | None
    """The end of what was searched at which the best trials pile up
    (`sweeps.study.ranges.hits_of`).
    """
    winner_at: Bound | None
    """The end of what was searched at which the best configuration lies, whether others pile up
    there or not (`sweeps.study.ranges.end_at`).
    """


def parameter_effects(
    parameters: Parameters,
    importances: pd.DataFrame,
    hits: Sequence[BoundHit],
    winner_ends: Mapping[str, Bound],
) -> list[ParameterEffect]:
    """Return what the search shows of each searched parameter, in the order of the study file.

    Args:
        importances: as `importance_table`.
        hits: ends at which the best trials lie.
        winner_ends: parameter → the end at which the best configuration lies.
    """
    bounds = {hit.parameter: hit.bound for hit in hits if hit.told}
    shares = importances.reindex([*parameters]).to_numpy().tolist()
    return [
        ParameterEffect(
            parameter=name,
            share=share,
            share_low=low,
            share_high=high,
            at_bound=bounds.get(name),
            winner_at=winner_ends.get(name),
        )
        for name, (share, low, high) in zip(parameters, shares, strict=True)
    ]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The trials of the search that share something, pruned ones counted as what they are: ended
    before their end.
    """

    complete: int
    pruned: int
    median: float
    """Median objective, a pruned trial counted as worse than every value; NaN where half or more
    were pruned, or without a complete trial.

    A mean of the complete trials alone would flatter a value whose trials were mostly pruned: only
    the survivors would count.
    """
    best: float
    """The lowest objective of a complete trial; NaN without one."""

    @property
    def tells(self) -> bool:
        """Whether it has a median and at least two complete trials, so that it may be called
        best.
        """
        return self.complete > 1 and math.isfinite(self.median)


def group_of(trials: pd.DataFrame) -> Group:
    """Summarise trials of the search. Those in other states are left out, as are those without an
    objective.
    """
    states = trials["state"].to_numpy(object)
    objective = trials["objective"].to_numpy(float)
    complete = objective[(states == "complete") & ~np.isnan(objective)]
    pruned = int((states == "pruned").sum())
    median = math.nan
    if len(complete) > pruned:
        median = float(np.median(np.append(complete, np.full(pruned, math.inf))))
    return Group(
        complete=len(complete),
        pruned=pruned,
        median=median,
        best=min(complete.tolist(), default=math.nan),
    )


def best_group(groups: Sequence[Group]) -> int | None:
    """Return the place of the group with the lowest median, of those that have one from two
    complete trials or more; None without one.
    """
    indices = [index for index, group in enumerate(groups) if group.tells]
    return min(indices, key=lambda index: (groups[index].median, index), default=None)
