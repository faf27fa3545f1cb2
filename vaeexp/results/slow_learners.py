"""Whether the pruner `promotion` stops slow learners: how well its first rung ranks, and paused
trials that were trained to their end.

**The rung.** Its ranks are set against those of the end, over the trials that are complete. These
are few, and the best of the rung. `chance` is the probability of so low a rank correlation in as
many pairs of normal values that correlate by `FAIR`. A warning at `chance` ≤ 5 % is false in at
most 5 % of studies whose rung ranks that well. Fewer than three complete trials say nothing.

**The late ones** (`confirm.late`). Each is trained with the seed of its trial, so it ends as the
trial would have. It is set against the best trial of the search. That one is the luckiest of its
kind, so a late one that is ahead by more than two runs of one configuration differ, at 5 % for all
late ones together (Student's t with the spread of the confirmed seeds, Bonferroni), is ahead by
chance in less than 5 % of studies.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from sweeps.results import Interval, pooled_deviation
from vaeexp.results.broken_seeds import seed_groups
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import best_up_to, epochs_of, with_purpose

FAIR = 0.9
"""Correlation of a rung with the end from which it serves to choose one trial in four."""
LEVEL = 0.05
LEAST = 3
"""Complete trials from which on ranks are compared."""
_DRAWS = 20_000


@dataclass(frozen=True, kw_only=True)
class RungRanks:
    """How the first rung ranks the complete trials."""

    epoch: int
    """Of the rung."""
    reached: int
    """Trials that reached it."""
    stopped: int
    """Those of them that went no further."""
    correlation: Interval
    """Spearman's, of the best value up to the rung with that up to the end, over `n` complete
    trials; its ends are NaN for fewer than 4.
    """
    chance: float
    """Of so low a correlation where the rung ranks by `FAIR`; NaN where it cannot be said."""

    @property
    def weak(self) -> bool:
        return self.chance <= LEVEL


@dataclass(frozen=True, kw_only=True)
class LateTrial:
    """A paused trial that was trained to its end after the search."""

    number: int
    rung: int
    """Epochs after which it was paused."""
    rank: int
    """By its best value up to there, from 1."""
    reached: int
    """Trials of the search that came as far."""
    value: float
    """Best validation −ELBO of all epochs; NaN where the run has failed or not ended."""
    winner: int
    """Best trial of the search."""
    ahead: Interval
    """Value of the winner minus its own; above 0 where it came before the winner. The interval is
    for all late trials together; NaN without a spread over seeds.
    """

    @property
    def before_winner(self) -> bool:
        return self.ahead.mean > 0

    @property
    def settled(self) -> bool:
        """Whether it came before the winner by more than seeds vary."""
        return self.ahead.low > 0


def rung_ranks(view: StudyView) -> RungRanks | None:
    """Return how the first rung ranks; None where the study does not pause trials, or no trial has
    reached the rung.
    """
    if not view.plan.rungs:
        return None
    epoch = view.plan.rungs[0]
    counted = epochs_of(view.search, view.epochs)
    lengths = counted.groupby("number")["epoch"].max()
    reached = lengths[lengths >= epoch]
    if reached.empty:
        return None
    pairs = _pairs(view, counted, epoch)
    correlation = _spearman(pairs)
    enough = len(pairs) >= LEAST and math.isfinite(correlation.mean)
    return RungRanks(
        epoch=epoch,
        reached=len(reached),
        stopped=int((reached == epoch).sum()),
        correlation=correlation,
        chance=chance_of_ranks(len(pairs), correlation.mean) if enough else math.nan,
    )


def _pairs(view: StudyView, counted: pd.DataFrame, epoch: int) -> pd.DataFrame:
    """Return the best value up to the rung and that up to the end of each complete trial, those of
    finite values.
    """
    after = counted[counted["number"].isin(view.ranked["number"])]
    after = after[after["epoch"] > view.plan.warmup]
    return pd.DataFrame({"rung": best_up_to(after, epoch), "end": best_up_to(after)}).dropna()


def _spearman(pairs: pd.DataFrame) -> Interval:
    """Return the rank correlation with its 95 % interval (Bonett and Wright 2000); NaN where one
    side has one value alone.
    """
    n = len(pairs)
    rho = low = high = math.nan
    if min(pairs["rung"].nunique(), pairs["end"].nunique()) > 1:
        ranks = pairs.rank()
        rho = ranks["rung"].corr(ranks["end"])
    if n >= 4 and abs(rho) <= 1 - 1e-9:
        half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (n - 3))
        low, high = (math.tanh(math.atanh(rho) + side * half) for side in (-1, 1))
    return Interval(mean=rho, low=low, high=high, n=n)


def chance_of_ranks(n: int, rho: float) -> float:
    """Return the chance of so low a rank correlation over n trials where the rung ranks by
    `FAIR`.
    """
    return float((_drawn(n) <= rho + 1e-9).mean())


@cache
def _drawn(n: int) -> np.ndarray:
    """Return the rank correlations of n pairs of normal values that correlate by `FAIR`, drawn many
    times.
    """
    random = np.random.default_rng(n)
    draws = max(500, min(_DRAWS, 2_000_000 // n))
    first, other = random.standard_normal((2, draws, n))
    ranks = [
        values.argsort(axis=1).argsort(axis=1)
        for values in (first, FAIR * first + math.sqrt(1 - FAIR**2) * other)
    ]
    differences = ((ranks[0] - ranks[1]) ** 2).sum(axis=1)
    return 1 - 6 * differences / (n * (n**2 - 1))


def late_trials(view: StudyView) -> list[LateTrial]:
    """Return the paused trials that were trained to their end, the best first; empty without a
    complete trial of the search.
    """
    late = with_purpose(view.trials, "late")
    if late.empty or view.ranked.empty:
        return []
    winner = view.ranked.iloc[0]
    margin = seed_margin(*spread_over_seeds(view), len(late))
    return sorted(
        (_late(view, run, winner, margin) for _, run in late.iterrows()),
        key=lambda one: (math.isnan(one.value), one.value, one.number),
    )


def _late(view: StudyView, run: pd.Series, winner: pd.Series, margin: float) -> LateTrial:
    number = int(run["source_trial"])
    own = view.search[view.search["number"] == number].iloc[0]
    rung = int(own["epochs"])
    counted = epochs_of(view.search, view.epochs)
    lengths = counted.groupby("number")["epoch"].max()
    values = best_up_to(counted[counted["epoch"] > view.plan.warmup], rung)
    values = values.reindex(lengths.index[lengths >= rung]).fillna(math.inf)
    value = float(run["objective"]) if run["state"] == "complete" else math.nan
    gap = float(winner["objective"]) - value
    return LateTrial(
        number=number,
        rung=rung,
        rank=int((values < values[number]).sum()) + 1,
        reached=len(values),
        value=value,
        winner=int(winner["number"]),
        ahead=Interval(mean=gap, low=gap - margin, high=gap + margin, n=1),
    )


def seed_margin(spread: float, freedom: int, count: int = 1) -> float:
    """Return by how much two runs of one configuration differ at most, in nats, at 5 % for so many
    of them together: t·√2·s.

    s is the spread over seeds, t the quantile of Student's t for its degrees of freedom, after
    Bonferroni. NaN without a spread.
    """
    if not freedom:
        return math.nan
    # The quantile of Student's t; `scipy.stats` takes half a second to import.
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 1 - LEVEL / 2 / count)) * math.sqrt(2) * spread


def spread_over_seeds(view: StudyView) -> tuple[float, int]:
    """Return the standard deviation of the validation objective over seeds, pooled over all
    repeated settings without broken runs (`seed_groups`), and its degrees of freedom.

    In nats; NaN and 0 where no configuration has two seeds.
    """
    return pooled_deviation([own.to_numpy() for own in seed_groups(view)])


def later_rungs(rungs: Sequence[int], epochs: int) -> list[int]:
    """Return rungs that pause later: without the first one, or the only one at twice its epoch;
    empty where trials have no room for it.
    """
    later = rungs[1:] or [2 * rungs[0]]
    return [rung for rung in later if rung < epochs]
