"""Differences that the study measures, with how sure they are: within matched pairs, and of the best from the other confirmed.

Runs of a matched pair share configuration and seed and differ in one parameter. Confirmed configurations share no seed.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sweeps.results.rankings import Results, levels, pairs
from sweeps.results.statistics import Interval, difference_interval, interval_of_mean, wilcoxon_p
from vaeexp.results.columns import column, finite
from vaeexp.results.tested_settings import TestedSetting


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


@dataclass(frozen=True, kw_only=True)
class WinnerMargin:
    """Another confirmed configuration, set against the best."""

    source_trial: int
    """Its trial of the search."""
    seeds: tuple[int, int]
    """Runs with a test figure: of the best, of this one."""
    interval: Interval
    """Of its mean test −ELBO minus that of the best, nats per image: above 0 where the best is better."""

    @property
    def settled(self) -> bool:
        """Whether the interval excludes 0."""
        return bool(self.interval.low > 0 or self.interval.high < 0)


def winner_margins(confirmed: Sequence[TestedSetting]) -> list[WinnerMargin]:
    """Set the first confirmed configuration against each other one that has test figures; empty where the first has none.

    Every configuration has seeds of its own (`sweeps.engine.repeats`). Nothing is paired, so that the interval is Welch's.
    """
    tested = [(setting, finite(column(setting.runs, "result.test/neg_elbo")).tolist()) for setting in confirmed]
    if not tested:
        return []
    (_, best), *others = tested
    return [
        WinnerMargin(
            source_trial=int(setting.source_trial),
            seeds=(len(best), len(own)),
            interval=difference_interval(best, own),
        )
        for setting, own in others
        if setting.source_trial is not None and best and own
    ]
