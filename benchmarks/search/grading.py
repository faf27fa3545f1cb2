"""Says of graded searches how many trial-epochs each needs until the chosen configuration is nearly
the best.

Rules, the same for all searches; `referee.py` says what a search sees and what its choices are
worth:

- **Regret** is the grade of the incumbent minus the least grade, in nats (`above_least`). The least
  grade is the least of the table's configurations and of all incumbents of all searches of the same
  space, surrogate and half-sample. The table's best alone is no bar: where searches settle below
  it, a target two deviations above it is reached by configurations that are far from the best. The
  least of the surrogate is none either, because it lies where nobody looked.
- **Targets** lie one and two standard deviations over seeds (`Table.spread`) above the least grade.
  Less is noise.
- **Epochs to a target** are the trial-epochs from which on the incumbent is within the target to
  the end of the budget. The first time would not do:
  while 64 trials are at their first epochs, the incumbent often is a good configuration by chance,
  and a worse one later.
- **Censoring.** A repeat whose incumbent is not within the target at the end of the budget counts
  as the whole budget, and the table says how many these are. So the mean is restricted to the
  budget (Irwin 1949), which flatters a search that often fails; a ratio to such a search is a lower
  bound.
- **Intervals** are 95 % percentile bootstrap intervals over repeats (Efron 1979), 2,000 draws, and
  over the seeds of the table (`interval`). The ratio of two searches draws the same repeats of
  both, because equal repeats see equal curves.
- **Curves** are medians over repeats, because a configuration whose other seeds diverge has an
  infinite regret.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

__all__ = [
    "DEVIATIONS",
    "FORMER",
    "Change",
    "Interval",
    "Result",
    "above_least",
    "influences",
    "interval",
    "mean_of",
    "median_regret",
    "paired_epochs",
    "ratio",
    "ratio_of",
    "restricted_mean",
    "seed_share",
]

DEVIATIONS = (2, 1)
"""Standard deviations over seeds from the best, of the nearer target first."""
FORMER = ""
"""Surrogate of results of the former referee, whose searches saw seed r mod 2 of all configurations
in repeat r, and no noise between configurations.
"""
_DRAWS = 2_000


@dataclass(frozen=True, kw_only=True)
class Change:
    """The incumbent is another one."""

    epochs: int
    """Trial-epochs trained so far, this one included."""
    seconds: float
    """Virtual time."""
    regret: float
    """Nats above the best of the table (below 0: beneath it), or above the least grade
    (`above_least`); infinite where the configuration diverges on other seeds.
    """


@dataclass(frozen=True, kw_only=True)
class Result:
    """One graded search."""

    space: str
    table: str
    """Digest of the table and of what grades it."""
    code: str
    """Digest of the package `sweeps` for searches of ours, empty for peers."""
    surrogate: str
    """What continues the table between its points; one of `surrogate.SURROGATES`, or `FORMER`."""
    world: int
    """Number of the half-sample of the table's seeds that the search saw; 0 under the former
    referee, which had none.
    """
    method: str
    lanes: int
    repeat: int
    budget: int
    """Trial-epochs on which it is graded."""
    spread: float
    """Standard deviation over seeds, in nats."""
    trained: int
    """Trial-epochs of the budget that it used."""
    trials: int
    own_seconds: float
    """Processor seconds of the search itself: sampler, pruner and driver."""
    changes: tuple[Change, ...]

    def regret(self, epochs: int) -> float:
        """Return the regret of the incumbent after so many trial-epochs; infinite before the first
        value.
        """
        so_far = [change.regret for change in self.changes if change.epochs <= epochs]
        return so_far[-1] if so_far else math.inf

    def reached(self, deviations: float) -> Change | None:
        """Return the change from which on the regret is within so many standard deviations over
        seeds; None if it is not in the end.
        """
        limit, reached = deviations * self.spread, None
        for change in reversed(self.changes):
            if change.regret > limit:
                break
            reached = change
        return reached

    def epochs_to(self, deviations: float) -> int:
        """Return the trial-epochs until the target; the budget where it is not reached."""
        reached = self.reached(deviations)
        return self.budget if reached is None else reached.epochs

    def to_dict(self) -> dict[str, Any]:
        """Return all fields, JSON-able; an infinite regret is None."""
        content = asdict(self)
        for change in content["changes"]:
            change["regret"] = change["regret"] if math.isfinite(change["regret"]) else None
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Result":
        """Make the result of which `to_dict` gave this content."""
        changes = [
            Change(
                **change | {"regret": math.inf if change["regret"] is None else change["regret"]}
            )
            for change in content["changes"]
        ]
        former = {"surrogate": FORMER, "world": 0}
        return cls(**{**former, **content, "changes": tuple(changes)})


def above_least(results: Sequence[Result]) -> list[Result]:
    """Return results whose regret counts from the least grade of their space, surrogate and
    half-sample: of the table, or of an incumbent of any of these results.

    Results of the former referee stay as they are.
    """
    least: dict[tuple[str, str, int], float] = {}
    for result in results:
        world = result.space, result.surrogate, result.world
        least[world] = min([least.get(world, 0.0), *(change.regret for change in result.changes)])

    def moved(result: Result) -> Result:
        if result.surrogate == FORMER:
            return result
        best = least[result.space, result.surrogate, result.world]
        return replace(
            result, changes=tuple(replace(c, regret=c.regret - best) for c in result.changes)
        )

    return [moved(result) for result in results]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def in_words(self, form: str) -> str:
        """Return the value and the interval, each number in this form of `format`."""
        return f"{self.value:{form}} ({self.low:{form}}–{self.high:{form}})"


Statistic = Callable[[np.ndarray], np.ndarray]
"""Called with float64 [S, N] of S paired samples, or [draws, S, N] of all draws; returns a number,
or [draws].
"""


def interval(statistic: Statistic, *samples: Sequence[float], share: float = 0.0) -> Interval:
    """Return a statistic of paired samples and its 95 % percentile bootstrap interval over their
    places, and over the seeds of the table.

    A half-sample of two seeds each varies as a new table does (McCarthy 1969), so its variance is
    not divided by the number of half-samples: each draw is of repeats with replacement, times the
    effect of one more half-sample, a normal number on the logarithm of the statistic.

    Args:
        samples: S sequences of N numbers, number i of each from repeat i.
        share: of the variance between repeats, what lies between half-samples (`seed_share`); where
            it is not 0, the statistic must be positive.
    """
    values = np.asarray(samples, dtype=float)
    random = np.random.default_rng(0)
    drawn = random.integers(values.shape[1], size=(_DRAWS, values.shape[1]))
    draws = statistic(values[:, drawn].swapaxes(0, 1))
    if share and values.shape[1] > 1:
        deviation = math.sqrt(share) * influences(statistic, *samples).std(ddof=1)
        draws = draws * np.exp(deviation * random.normal(size=_DRAWS))
    low, high = (float(_at_share(draws, place)) for place in (0.025, 0.975))
    return Interval(value=float(statistic(values)), low=low, high=high)


def influences(statistic: Statistic, *samples: Sequence[float]) -> np.ndarray:
    """Return the jackknife influence of each repeat on the logarithm of a positive statistic,
    float64 [N]; its mean is 0.
    """
    values = np.asarray(samples, dtype=float)
    count = values.shape[1]
    if count < 2:
        return np.zeros(count)
    without = np.array(
        [float(np.log(statistic(np.delete(values, repeat, axis=1)))) for repeat in range(count)]
    )
    return (count - 1) * (without.mean() - without)


def seed_share(groups: Sequence[tuple[np.ndarray, Sequence[int]]]) -> float:
    """Return the part of the variance of influences that lies between half-samples, from 0 to 1,
    pooled over groups.

    One-way analysis of variance (Searle et al. 1992, section 3.6) of all groups, each on the scale
    of its own deviation, because one group of 50 repeats tells a share below a tenth from no share
    by chance alone.

    Args:
        groups: of each comparison the influence of each repeat and the half-sample that it saw.
    """
    within = between = cells = 0.0
    freedom_within = freedom_between = 0
    for influence, worlds in groups:
        names, place = np.unique(worlds, return_inverse=True)
        if len(names) < 2 or len(names) == len(worlds) or not (deviation := influence.std(ddof=1)):
            continue
        scaled, sizes = (influence - influence.mean()) / deviation, np.bincount(place)
        means = np.bincount(place, scaled) / sizes
        within += ((scaled - means[place]) ** 2).sum()
        between += (sizes * means**2).sum()
        cells += len(worlds) - (sizes**2).sum() / len(worlds)
        freedom_within += len(worlds) - len(names)
        freedom_between += len(names) - 1
    if not freedom_within:
        return 0.0
    inside = within / freedom_within
    variance = max(0.0, (between / freedom_between - inside) / (cells / freedom_between))
    return float(variance / (variance + inside)) if variance else 0.0


def _at_share(values: np.ndarray, share: float) -> np.ndarray:
    """Return the value below which this share of the last axis lies: one of the values, because
    some may be infinite.
    """
    return np.sort(values, axis=-1)[..., round(share * (values.shape[-1] - 1))]


def mean_of(values: np.ndarray) -> np.ndarray:
    """Return the mean of the first sample: a `Statistic`."""
    return np.asarray(values[..., 0, :].mean(axis=-1))


def ratio_of(values: np.ndarray) -> np.ndarray:
    """Return the mean of the first sample over that of the second: a `Statistic`."""
    return np.asarray(values[..., 0, :].mean(axis=-1) / values[..., 1, :].mean(axis=-1))


def restricted_mean(results: Sequence[Result], deviations: float, share: float = 0.0) -> Interval:
    """Return the mean trial-epochs to a target, a repeat that never reaches it counting as its
    whole budget.
    """
    found = interval(mean_of, [r.epochs_to(deviations) for r in results], share=share)
    return replace(found, high=min(found.high, max(r.budget for r in results)))


def ratio(
    results: Sequence[Result], reference: Sequence[Result], deviations: float, share: float = 0.0
) -> Interval:
    """Return by how much fewer trial-epochs a search needs than a reference: the ratio of
    restricted means.

    Raises ValueError when the two are not of the same repeats and budget.
    """
    return interval(ratio_of, *paired_epochs(results, reference, deviations), share=share)


def paired_epochs(
    results: Sequence[Result], reference: Sequence[Result], deviations: float
) -> list[list[int]]:
    """Return the trial-epochs to a target of a reference and of a search, by repeat. Raises as
    `ratio`.
    """
    mine, theirs = ({result.repeat: result for result in some} for some in (results, reference))
    if (
        mine.keys() != theirs.keys()
        or len({result.budget for result in (*results, *reference)}) > 1
    ):
        raise ValueError(
            f"{results[0].method} and {reference[0].method}: got other repeats or another budget"
        )
    return [
        [some[repeat].epochs_to(deviations) for repeat in sorted(mine)] for some in (theirs, mine)
    ]


def median_regret(results: Sequence[Result], epochs: Sequence[int]) -> list[Interval]:
    """Return the median regret over repeats after each of these numbers of trial-epochs."""
    return [
        interval(
            lambda regrets: _at_share(regrets[..., 0, :], 0.5),
            [result.regret(count) for result in results],
        )
        for count in epochs
    ]
