"""Matched pairs: runs that share configuration and seed and differ in one parameter."""

import itertools
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.results.rankings import Results, levels, pairs
from sweeps.results.statistics import Interval, interval_of_mean, wilcoxon_p


@dataclass(frozen=True, kw_only=True, eq=False)
class PairComparison:
    """Two values of a parameter, set against each other in matched pairs."""

    parameter: str
    first: Any
    second: Any
    pairs: pd.DataFrame
    """Complete pairs: source_trial, seed_index, value.<first>, value.<second>, difference (second − first, validation −ELBO)."""
    incomplete: int
    """Pairs that lack a run."""
    interval: Interval
    """Of the mean difference. Over configurations, whose seeds are averaged first; over seeds where there is one configuration."""
    p: float
    """Of Wilcoxon's signed-rank test on the values of the interval; NaN without pairs."""

    @property
    def configurations(self) -> int:
        return int(self.pairs["source_trial"].nunique())

    @property
    def settled(self) -> bool:
        """Whether the interval excludes 0."""
        return bool(self.interval.low > 0 or self.interval.high < 0)


def compare_pairs(results: Results, parameter: str | None, seed: int) -> list[PairComparison]:
    """Compare each two values of the parameter that the study compares; empty where it compares nothing.

    `seed` is that of the bootstrap.
    """
    if parameter is None:
        return []
    return [_compare(results, parameter, two, seed) for two in itertools.combinations(levels(results, parameter), 2)]


def _compare(results: Results, parameter: str, two: tuple[Any, Any], seed: int) -> PairComparison:
    table = pairs(results, parameter, two)
    complete = table.dropna(subset=["difference"])
    grouped = complete.groupby("source_trial")["difference"].mean()
    differences = (grouped if len(grouped) > 1 else complete["difference"]).to_numpy(float)
    return PairComparison(
        parameter=parameter,
        first=two[0],
        second=two[1],
        pairs=complete,
        incomplete=len(table) - len(complete),
        interval=interval_of_mean(list(differences), seed=seed),
        p=wilcoxon_p(list(differences)),
    )
