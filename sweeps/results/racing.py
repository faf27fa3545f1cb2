"""The race of confirmed configurations over shared seeds: which are dropped after which seed, when
it ends, and which wins.

The values are those of validation. From 3 seeds on, all configurations in the race are compared
with the one in the lead after each seed. One is dropped where it can hardly win any more over all
seeds. The race ends where one is left, where no other can still be better by more than seeds vary,
or with the last seed. The winner then gets the seeds that it lacks.

**The rule of dropping.** After n of m seeds let d be the mean paired difference of a configuration
to another, s its standard deviation for one seed, with ν degrees of freedom. The mean over the m −
n seeds to come is independent of both, so that

    T = (d − d_to_come) / (s √(1/n + 1/(m − n)))

has Student's t distribution, whatever the two configurations are worth. The configuration wins over
all m seeds against the other only where d_to_come < −d n/(m − n), which is T > d/s √(mn/(m − n)).
It is dropped where the two-sided p of that T, times the k(k − 1)/2 pairs of k configurations and
the m − 3 looks, is at most 5 % (Bonferroni). So at most 5 % of races drop the configuration that
would have been first after all m seeds, with any differences among them. This is exact for normal
noise of one size for all configurations until the first is dropped; `test_known_truth_races.py`
measures the rest.

s² is the larger of two: that of the pair's own differences, and twice the residual variance of
configuration + seed over all in the race. A few seeds alone tell little of a spread; configurations
together tell more, unless their spreads differ. For two configurations both are the same, and T is
that of the paired t test.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sweeps.results.statistics import LEAST_VALUES

MOST_LOST = 0.05
"""Of races, the greatest share that drop the configuration that would have won over all seeds."""
_PLAUSIBLE = 0.975
"""One-sided level of the gain that is still plausible."""

Ending = Literal["", "alone", "close", "seeds", "failed"]
"""Why a race is over: one was left, the others were too close to matter, all seeds were used, or
each had a failed run; empty while it goes on.
"""


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """A configuration that has left the race."""

    trial: int
    """The trial of the search that found it."""
    seeds: int
    """Seeds after which it was dropped."""
    leader: int | None
    """Trial of the configuration in the lead then; None where one of its own runs had failed."""
    behind: float
    """Mean paired difference to the leader; NaN where a run had failed."""
    p: float
    """Chance that it still wins, at most, corrected for all pairs and looks; NaN where a run had
    failed.
    """


@dataclass(frozen=True, kw_only=True)
class Race:
    """A race as far as its runs have ended."""

    most: int
    """Seeds that a configuration may have."""
    seeds: Mapping[int, int]
    """Trial → number of seeds, the first of the list, that its configuration is to be trained with
    by now.
    """
    order: tuple[int, ...]
    """Trials, the best first: by their mean while in the race, then those that were dropped, the
    latest first.
    """
    dropped: tuple[Dropped, ...]
    """In the order in which they were dropped, those of one look by trial."""
    looked: int
    """Seeds over which those in the race were last compared; 0 before the first look."""
    spread: float
    """Standard deviation over seeds at the last look, pooled over those that stayed in the race;
    NaN before.
    """
    ended: Ending

    @property
    def looks(self) -> int:
        """Numbers of seeds that two configurations of the race may share once it is over: 3 to
        `most`.
        """
        return self.most - LEAST_VALUES + 1

    @property
    def pairs(self) -> int:
        return len(self.seeds) * (len(self.seeds) - 1) // 2


def run_race(values: Mapping[int, Sequence[float | None]], seeds: int) -> Race:
    """Return the race of these configurations over so many seeds, 4 or more; it depends on nothing
    else.

    A run that failed or diverged ends the race for its configuration at the next look, because the
    same seed would fail again.

    Args:
        values: trial → objective of its configuration for each seed index, lower is better: None
            where the run has not ended, NaN where it failed. Seeds that the race did not ask for
            are ignored.
    """
    field = _Field(values, seeds)
    for n in range(LEAST_VALUES, seeds + 1):
        if not field.ended(n):
            return field.race(n, "")
        if ending := field.look(n):
            return field.race(n, ending)
    raise AssertionError("the look at the last seed ends a race")


class _Field:
    """The configurations of a race, and what has become of them."""

    def __init__(self, values: Mapping[int, Sequence[float | None]], seeds: int) -> None:
        self.values = {trial: values[trial] for trial in sorted(values)}
        self.seeds = seeds
        self.looked = 0
        self.spread = math.nan
        self.racing = [*self.values]
        self.dropped: list[Dropped] = []
        self.tests = len(values) * (len(values) - 1) // 2 * (seeds - LEAST_VALUES)

    def ended(self, n: int) -> bool:
        return all(None not in self.values[trial][:n] for trial in self.racing)

    def look(self, n: int) -> Ending:
        """Drop what the first n seeds rule out; return why the race is over, if it is."""
        self.looked = n
        for trial in [
            trial for trial in self.racing if not np.isfinite(self._first(trial, n)).all()
        ]:
            self._drop(Dropped(trial=trial, seeds=n, leader=None, behind=math.nan, p=math.nan))
        if not self.racing:
            return "failed"
        if len(self.racing) > 1:
            close = self._compare(n)
        table = np.array([self._first(trial, n) for trial in self.racing])
        self.spread = math.sqrt(table.var(axis=1, ddof=1).mean())
        if len(self.racing) == 1:
            return "alone"
        if n == self.seeds:
            return "seeds"
        return "close" if close <= self.spread else ""

    def _compare(self, n: int) -> float:
        """Drop the trials that can hardly win any more; return by how much one of the others may be
        better than the leader, at the most.
        """
        # Student's t; `scipy.stats` takes half a second to import.
        from scipy.special import stdtr, stdtrit

        table = np.array([self._first(trial, n) for trial in self.racing])
        behind, errors, freedom = distances(table)
        leader = self.racing[int(behind.argmin())]
        to_come = (self.seeds - n) / self.seeds
        gain = -math.inf
        for trial, own, error in zip([*self.racing], behind.tolist(), errors.tolist(), strict=True):
            if trial == leader:
                continue
            width = error * math.sqrt(to_come)
            t = 0.0
            if width:
                t = own / width
            elif own:
                t = math.copysign(math.inf, own)
            p = min(1.0, float(2 * stdtr(freedom, -t)) * self.tests)
            if p <= MOST_LOST and n < self.seeds:
                self._drop(Dropped(trial=trial, seeds=n, leader=leader, behind=own, p=p))
            else:
                gain = max(gain, float(stdtrit(freedom, _PLAUSIBLE)) * error - own)
        return gain

    def _drop(self, dropped: Dropped) -> None:
        self.racing.remove(dropped.trial)
        self.dropped.append(dropped)

    def _first(self, trial: int, n: int) -> np.ndarray:
        """Return the first n values of a configuration; NaN where there is none."""
        return np.array([math.nan if value is None else value for value in self.values[trial][:n]])

    def race(self, n: int, ending: Ending) -> Race:
        """Return the race that asks for n seeds, or is over."""
        left = {dropped.trial: dropped.seeds for dropped in self.dropped}
        seeds = {trial: left.get(trial, n) for trial in self.values}
        counted = {trial: left.get(trial, self.looked or n) for trial in self.values}
        means = {trial: _mean(self._first(trial, counted[trial])) for trial in self.values}
        order = sorted(
            self.values, key=lambda trial: (trial in left, -counted[trial], means[trial], trial)
        )
        if ending and self.racing:
            seeds[order[0]] = self.seeds
        return Race(
            most=self.seeds,
            seeds=seeds,
            order=tuple(order),
            dropped=tuple(self.dropped),
            looked=self.looked,
            spread=self.spread,
            ended=ending,
        )


def distances(table: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Return how far each configuration is behind the best mean, the standard errors of that, and
    their degrees of freedom.

    Args:
        table: finite values, configuration by shared seed: [a, n], both 2 or more.

    Returns the distances [a], 0 for the first of the best; their standard errors [a], from the
    larger of the two variances of a paired difference that the module names; and (a − 1)(n − 1).
    """
    count, n = table.shape
    means = table.mean(axis=1)
    differences = table - table[int(means.argmin())]
    residuals = table - means[:, None] - table.mean(axis=0) + table.mean()
    freedom = (count - 1) * (n - 1)
    pooled = 2 * float((residuals**2).sum()) / freedom
    variances = np.maximum(differences.var(axis=1, ddof=1), pooled)
    return means - means.min(), np.sqrt(variances / n), freedom


def _mean(values: np.ndarray) -> float:
    """Return the mean of the finite values; infinity without one."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else math.inf
