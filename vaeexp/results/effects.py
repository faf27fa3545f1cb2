"""The effect of each searched parameter: its values in the best trials, a test of them against chance, and its reach on the objective."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd

from sweeps.results.statistics import holm
from sweeps.study.ranges import Bound, BoundHit
from vaeexp.results.coverage import Coverage, covered_trials
from vaeexp.results.parameters import SearchedParameter
from vaeexp.words import parameter_label

TOP = 5
"""The best configurations whose values are given."""
NARROW = 0.25
"""Share of its axis within which the best lie where a parameter is determined."""
_LEVEL = 0.05

Verdict = Literal["determined", "weak", "open"]


@dataclass(frozen=True, kw_only=True)
class ParameterEffect:
    """The evidence of the search about one parameter.

    The verdict rests on a test whether the best quarter of the trials (complete and pruned, in the order of `learned_trials`; at
    least `TOP`) have other values than the rest: Kolmogorov and Smirnov's for numbers, for a choice Fisher's
    for each value, corrected for the number of values. All parameters of a study are corrected together (`holm`), so that in
    a random search of parameters that do nothing at most 5 % of the studies have any verdict but `open`. A sampler that
    returns to good regions draws trials that depend on each other, and then the level is only roughly kept.

    - `determined`: the test finds a difference, and the best `top` lie within a quarter of the axis or share one value.
    - `weak`: the test finds a difference, and the best are spread wider: some values are ruled out, no more.
    - `open`: the test finds none, or there is too little to test.
    """

    parameter: str
    label: str
    top: int
    """The best configurations with an active value that were looked at: complete, or under promotion also paused."""
    low: float | None
    high: float | None
    """Least and largest number in them; None for a choice, or without any."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Of a choice: text of each value → how many of them have it."""
    share: float = math.nan
    share_low: float = math.nan
    share_high: float = math.nan
    """Importance with its 95 % interval, from 0 to 1."""
    span: float = math.nan
    """Nats per image between the best and the worst of the partial dependence over covered values."""
    p: float = math.nan
    """Of the test, after the correction for the number of parameters."""
    verdict: Verdict = "open"
    at_bound: Bound | None = None
    """The end of what was searched at which the best trials pile up (`sweeps.study.ranges.hits_of`)."""
    winner_at: Bound | None = None
    """The end of what was searched at which the best configuration lies, whether others pile up there or not (`sweeps.study.ranges.end_at`)."""


def parameter_effects(
    parameters: Mapping[str, SearchedParameter],
    found: pd.DataFrame,
    learned: pd.DataFrame,
    importances: pd.DataFrame,
    spans: Mapping[str, float],
    coverage: Mapping[str, list[Coverage]],
    hits: Sequence[BoundHit] = (),
    winner_ends: Mapping[str, Bound] = MappingProxyType({}),
) -> list[ParameterEffect]:
    """Return the effect of each searched parameter, in the order of the study file.

    Args:
        found: complete trials, the best first, and under promotion the paused ones after them.
        learned: as `StudyView.learned`.
        importances: as `importance_table`.
        spans: parameter → span of its partial dependence, nats.
        coverage: as `measure_coverage`. Trials with a value that is not covered are left out of the test of that choice, because
            their difference would be that of the regions.
        hits: ends at which the best trials lie.
        winner_ends: parameter → the end at which the best configuration lies.
    """
    bounds = {hit.parameter: hit.bound for hit in hits if hit.told}
    covered = [covered_trials(learned, parameter, coverage) for parameter in parameters.values()]
    corrected = holm(
        [difference_p(parameter, trials) for parameter, trials in zip(parameters.values(), covered, strict=True)]
    )
    effects = []
    for (name, parameter), p in zip(parameters.items(), corrected, strict=True):
        top = found[parameter.places(found).notna()].head(TOP)
        shares = {end: float(importances[end][name]) for end in importances if name in importances.index}
        effects.append(
            ParameterEffect(
                parameter=name,
                label=parameter_label(name),
                top=len(top),
                **_reach(parameter, top),
                share=shares.get("share", math.nan),
                share_low=shares.get("low", math.nan),
                share_high=shares.get("high", math.nan),
                span=float(spans.get(name, math.nan)),
                p=p,
                verdict=_verdict(parameter, top, p),
                at_bound=bounds.get(name),
                winner_at=winner_ends.get(name),
            )
        )
    return effects


def _reach(parameter: SearchedParameter, top: pd.DataFrame) -> dict[str, Any]:
    if parameter.is_choice:
        places = parameter.places(top)
        counts = {text: int((places == place).sum()) for place, text in enumerate(parameter.texts)}
        return {"low": None, "high": None, "counts": {text: count for text, count in counts.items() if count}}
    numbers = parameter.of(top).astype(float)
    return {"low": float(numbers.min()), "high": float(numbers.max())} if len(top) else {"low": None, "high": None}


def _verdict(parameter: SearchedParameter, top: pd.DataFrame, p: float) -> Verdict:
    if not p <= _LEVEL:
        return "open"
    places = parameter.places(top)
    narrow = places.nunique() == 1 if parameter.is_choice else bool(places.max() - places.min() <= NARROW)
    return "determined" if narrow else "weak"


def difference_p(parameter: SearchedParameter, learned: pd.DataFrame) -> float:
    """Return the p of the test that the best quarter of these trials, best first, have other values than the rest.

    NaN where the parameter is active in fewer than 2·`TOP` trials, or never varied.
    """
    return places_p(parameter.places(learned).dropna().to_numpy(float), choice=parameter.is_choice)


def places_p(places: np.ndarray, *, choice: bool) -> float:
    """Return the p of `difference_p` from the places of the trials, the best first: [N]."""
    if len(places) < 2 * TOP or places.min() == places.max():
        return math.nan
    count = max(TOP, round(len(places) / 4))
    if choice:
        return _choice_p(places, count)
    return two_sample_p(np.sort(places[:count]), np.sort(places[count:]))


def two_sample_p(first: np.ndarray, second: np.ndarray) -> float:
    """Return the exact two-sided p of Kolmogorov and Smirnov's test of two sorted samples; conservative where values are tied."""
    ends = np.concatenate([first, second])
    ranks = [np.searchsorted(sample, ends, side="right") for sample in (first, second)]
    return _lattice_p(len(first), len(second), int(abs(ranks[0] * len(second) - ranks[1] * len(first)).max()))


@functools.lru_cache(maxsize=10_000)
def _lattice_p(n: int, m: int, distance: int) -> float:
    """Return the chance that a random path from (0, 0) to (n, m) leaves |i·m − j·n| < distance (Hodges 1958).

    A path stands for an order of both samples. Row by row, the number of paths that have stayed inside is a running sum,
    scaled to avoid an overflow.
    """
    j = np.arange(m + 1)
    inside, logarithm = (j * n < distance).astype(float), 0.0
    for i in range(1, n + 1):
        within = abs(i * m - j * n) < distance
        inside = np.cumsum(np.where(within, inside, 0.0)) * within
        most = inside.max()
        if not most:
            return 1.0
        inside, logarithm = inside / most, logarithm + math.log(most)
    if not inside[m]:
        return 1.0
    total = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
    return float(min(1.0, max(0.0, -math.expm1(math.log(inside[m]) + logarithm - total))))


def _choice_p(places: np.ndarray, count: int) -> float:
    """Return the smallest two-sided p of Fisher's test of each value's count among the first, times the number of values."""
    from scipy.special import gammaln

    def log_choose(n: np.ndarray | int, k: np.ndarray | int) -> np.ndarray:
        return np.asarray(gammaln(np.add(n, 1)) - gammaln(np.add(k, 1)) - gammaln(np.subtract(n, k) + 1))

    values, total, ps = np.unique(places), len(places), []
    for value in values:
        have, among_first = int((places == value).sum()), int((places[:count] == value).sum())
        possible = np.arange(max(0, count - (total - have)), min(count, have) + 1)
        chances = log_choose(have, possible) + log_choose(total - have, count - possible) - log_choose(total, count)
        chance = chances[possible == among_first][0]
        ps.append(np.exp(chances[chances <= chance + 1e-7]).sum())
    # The counts of two values mirror each other, and are one test.
    return float(min(1.0, min(ps) * (len(values) if len(values) > 2 else 1)))


@dataclass(frozen=True, kw_only=True)
class Group:
    """The trials of the search that share something, pruned ones counted as what they are: ended before their end."""

    complete: int
    pruned: int
    median: float
    """As `censored_median`."""
    best: float
    """The lowest objective of a complete trial; NaN without one."""

    @property
    def tells(self) -> bool:
        """Whether it has a median and at least two complete trials, so that it may be called best."""
        return self.complete > 1 and math.isfinite(self.median)


def censored_median(trials: pd.DataFrame) -> float:
    """Return the median objective of these trials, a pruned one counted as worse than every value; NaN where that cannot be said.

    It cannot where half or more were pruned, or without a complete trial. A mean of the complete trials alone would flatter
    a value whose trials were mostly pruned: only the survivors would count. Trials in other states are left out, as are
    those without an objective.
    """
    complete, pruned = _complete_and_pruned(trials)
    if len(complete) <= pruned:
        return math.nan
    return float(np.median(np.concatenate([complete, np.full(pruned, math.inf)])))


def _complete_and_pruned(trials: pd.DataFrame) -> tuple[np.ndarray, int]:
    """Return the objectives of the complete trials, and the number of pruned ones."""
    states, objective = trials["state"].to_numpy(object), trials["objective"].to_numpy(float)
    return objective[(states == "complete") & ~np.isnan(objective)], int((states == "pruned").sum())


def group_of(trials: pd.DataFrame) -> Group:
    """Summarise trials of the search."""
    complete, pruned = _complete_and_pruned(trials)
    return Group(
        complete=len(complete),
        pruned=pruned,
        median=censored_median(trials),
        best=float(complete.min()) if len(complete) else math.nan,
    )


def best_group(groups: Sequence[Group]) -> int | None:
    """Return the place of the group with the lowest median, of those that have one from two complete trials or more; None without one."""
    indices = [index for index, group in enumerate(groups) if group.tells]
    return min(indices, key=lambda index: (groups[index].median, index), default=None)
