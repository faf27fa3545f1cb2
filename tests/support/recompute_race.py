"""The race of the confirmed configurations, run again on the tables: written anew, on pandas and
scipy.
"""

import itertools
import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import scipy.stats
from recompute_statistics import plural


class Raced(NamedTuple):
    """How a race went."""

    order: list[int]
    dropped: list[tuple[int, int, int | None, float, float]]
    """Trial, seeds, leader, nats behind it, corrected p."""
    looked: int
    ended: str
    spread: float
    most: int

    def seeds(self, trial: int) -> int:
        """Return how many seeds the race asks for of a configuration by now: the winner gets all of
        them.
        """
        left = {dropped[0]: dropped[1] for dropped in self.dropped}
        if trial in left:
            return left[trial]
        if not self.ended:
            return max(3, self.looked + 1)
        return self.most if trial == self.order[0] else self.looked

    @property
    def pairs(self) -> int:
        return math.comb(len(self.order), 2)


def race(runs: pd.DataFrame, most: int) -> Raced:
    """Run the race of these confirming runs, failed ones among them."""
    runs = runs.astype({"source_trial": int, "seed_index": int})
    over = runs[runs["state"].isin(["complete", "failed", "pruned"])]
    values = over.assign(objective=over["objective"].where(over["state"] == "complete"))
    table = values.pivot_table("objective", "source_trial", "seed_index", dropna=False)
    known = over.assign(there=1.0).pivot_table("there", "source_trial", "seed_index")
    whole = {"index": sorted(runs["source_trial"].unique()), "columns": range(most)}
    table, known = table.reindex(**whole), known.reindex(**whole).notna()
    racing, dropped = list(table.index), []
    looked, ended, spread = 0, "", math.nan
    tests = math.comb(len(table), 2) * (most - 3)
    for n in range(3, most + 1):
        if not known.loc[racing, : n - 1].all(axis=None):
            break
        looked = n
        seen = table.loc[:, : n - 1]
        failed = [trial for trial in racing if seen.loc[trial].isna().any()]
        dropped += [(trial, n, None, math.nan, math.nan) for trial in failed]
        racing = [trial for trial in racing if trial not in failed]
        if not racing:
            ended = "failed"
            break
        gains, out = [], []
        leader = seen.loc[racing].mean(axis=1).idxmin()
        for trial in racing:
            if trial == leader:
                continue
            own = seen.loc[trial] - seen.loc[leader]
            variance, freedom = _variance(seen.loc[racing], own)
            turned = own.mean() / math.sqrt(variance / n * (most - n) / most) if n < most else 0.0
            p = min(1.0, 2 * scipy.stats.t.sf(turned, freedom) * tests)
            if p <= 0.05:
                out.append((trial, n, leader, own.mean(), p))
            else:
                gains.append(
                    scipy.stats.t.ppf(0.975, freedom) * math.sqrt(variance / n) - own.mean()
                )
        dropped += out
        racing = [trial for trial in racing if trial not in {each[0] for each in out}]
        spread = math.sqrt(seen.loc[racing].var(axis=1).mean())
        ended = (
            "alone"
            if len(racing) == 1
            else "seeds"
            if n == most
            else "close"
            if max(gains) <= spread
            else ""
        )
        if ended:
            break
    left = {trial: n for trial, n, *_ in dropped}
    means = {
        trial: table.loc[trial].iloc[: left.get(trial, looked or 3)].mean() for trial in table.index
    }
    order = sorted(
        means, key=lambda trial: (trial in left, -left.get(trial, 0), means[trial], trial)
    )
    return Raced(order, dropped, looked, ended, spread, most)


def _variance(seen: pd.DataFrame, own: pd.Series) -> tuple[float, int]:
    """Return the variance of a paired difference, the greater of the pair's and that of all pairs,
    and the degrees of freedom.

    The residual variance of configuration + seed is half the mean variance over all pairs of their
    differences.
    """
    two = [seen.loc[one] - seen.loc[other] for one, other in itertools.combinations(seen.index, 2)]
    pooled = float(np.mean([difference.var() for difference in two]))
    return max(float(own.var()), pooled), (len(seen) - 1) * (seen.shape[1] - 1)


def place_in_race(raced: Raced, trial: int) -> str:
    """Return the cell of a configuration in the column `race`."""
    left = {dropped: seeds for dropped, seeds, *_ in raced.dropped}
    if trial in left:
        return f"dropped after {plural(left[trial], 'seed')}"
    return "in it" if not raced.ended else "won" if trial == raced.order[0] else "in it to the end"
