"""The course of a search: by how much its last trials lowered the best value, at equal epochs,
against what seeds do.

A pruner that pauses or stops trials completes few of them, 2 to 9 of 48 under the default one. So
trials are compared at the last epoch that all of them reached, under `promotion` the first rung.
Where nothing pauses and `LEAST_COMPARED` are complete, these are compared at their ends.
"""

from dataclasses import dataclass

import numpy as np

from sweeps.results import pooled_deviation, promotes
from vaeexp.results.broken_seeds import seed_groups
from vaeexp.results.slow_learners import spread_over_seeds
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import best_up_to

LATE = 1 / 3
"""Share of the trials, the last ones, that should gain little."""
LEAST_COMPARED = 10
"""Trials before the course of a search says anything."""
RESOLVED = 0.1
"""Share of the variance of trials up to which that of seeds lets the best trial stand for its
configuration.
"""
_RANKABLE = ("complete", "pruned", "paused")


@dataclass(frozen=True, kw_only=True)
class ComparedCourse:
    """Values of the trials of a search at equal epochs, in the order of their numbers, in nats."""

    epoch: int | None
    """The last epoch that all of them reached; None: each at its end, because they are complete."""
    values: tuple[float, ...]
    """The best validation −ELBO of each up to there."""
    spread: float
    """Standard deviation over seeds at the same epoch, as `spread_over_seeds`; NaN without two
    seeds of one configuration.
    """

    @property
    def n(self) -> int:
        return len(self.values)

    @property
    def gain(self) -> float:
        """By how much the last third of the trials lowered the best value."""
        before = self.values[: round((1 - LATE) * self.n)]
        return min(before) - min(self.values)

    @property
    def among(self) -> float:
        """Standard deviation over all trials."""
        return float(np.std(self.values, ddof=1))

    @property
    def resolved(self) -> bool:
        """Whether seeds make up at most `RESOLVED` of the variance of the trials. Where
        configurations do nothing, they do so in less than 1 % of studies with three confirmed
        configurations of three seeds (the F distribution)."""
        return self.spread**2 <= RESOLVED * self.among**2


def compared_course(view: StudyView) -> ComparedCourse | None:
    """Return the course of a search; None where fewer than `LEAST_COMPARED` can be compared, or
    there are two objectives.
    """
    if view.study.objectives:
        return None
    ended = view.search[view.search["state"].isin(_RANKABLE)]
    complete = ended[ended["state"] == "complete"].set_index("number")["objective"]
    at_end = complete[np.isfinite(complete.astype(float))]
    if len(at_end) >= LEAST_COMPARED and not promotes(view.study):
        spread, _ = spread_over_seeds(view)
        return ComparedCourse(epoch=None, values=tuple(at_end.sort_index()), spread=spread)
    counted = view.epochs[view.epochs["epoch"] > view.plan.warmup]
    own = counted[~counted["repeat"] & counted["number"].isin(ended["number"])]
    if own.empty:
        return None
    epoch = int(own.groupby("number")["epoch"].max().min())
    values = best_up_to(own, epoch)
    if len(values) < LEAST_COMPARED:
        return None
    repeats = best_up_to(counted[counted["repeat"]], epoch)
    groups = [repeats.reindex(own.index).dropna().to_numpy(float) for own in seed_groups(view)]
    return ComparedCourse(epoch=epoch, values=tuple(values), spread=pooled_deviation(groups)[0])
