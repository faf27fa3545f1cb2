"""Grades searches on a table of learning curves: how many trial-epochs until the chosen configuration is nearly the best.

Rules, the same for all searches:

- **A search sees one seed.** Repeat r sees seed r mod 2, because all configurations of a table have seeds 0 and 1.
- **The incumbent** after a trial-epoch is the configuration with the least value that any trial has reported so far, whatever became of the
  trial: the configuration that would be confirmed if the search ended here. Of equal values the earlier counts.
- **Its grade** comes from the other seeds alone (`surrogate.Grades`): the mean objective, smoothed over neighbouring configurations. **Regret** is its
  grade minus that of the best configuration of the table, in nats.
- **Targets** lie one and two standard deviations over seeds (`Table.spread`) above the best. Less is noise.
- **Epochs to a target** are the trial-epochs from which on the incumbent is within the target to the end of the budget. The first time would not do:
  while 64 trials are at their first epochs, the incumbent often is a good configuration by chance, and a worse one later.
- **Censoring.** A repeat whose incumbent is not within the target at the end of the budget counts as the whole budget, and the table says how many these
  are. So the mean is restricted to the budget (Irwin 1949), which flatters a search that often fails; a ratio to such a search is a lower bound.
- **Intervals** are 95 % percentile bootstrap intervals over repeats (Efron 1979), 2,000 draws. The ratio of two searches draws the same repeats of
  both, because equal repeats see equal seeds.
- **Curves** are medians over repeats, because a configuration whose other seeds diverge has an infinite regret.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from curve_table import Table
from surrogate import Grades, SeenCurves
from table_lanes import Trace

__all__ = [
    "DEVIATIONS",
    "Change",
    "Interval",
    "Referee",
    "Result",
    "interval",
    "median_regret",
    "ratio",
    "restricted_mean",
    "seen_seed",
]

DEVIATIONS = (2, 1)
"""Standard deviations over seeds from the best, of the nearer target first."""
_DRAWS = 2_000
_SEEN_SEEDS = 2


@dataclass(frozen=True, kw_only=True)
class Change:
    """The incumbent is another one."""

    epochs: int
    """Trial-epochs trained so far, this one included."""
    seconds: float
    """Virtual time."""
    regret: float
    """Nats above the best, infinite where the configuration diverges on other seeds."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One graded search."""

    space: str
    table: str
    """Digest of the table and of what grades it."""
    code: str
    """Digest of the package `sweeps` for searches of ours, empty for peers."""
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
        """Return the regret of the incumbent after so many trial-epochs; infinite before the first value."""
        so_far = [change.regret for change in self.changes if change.epochs <= epochs]
        return so_far[-1] if so_far else math.inf

    def reached(self, deviations: float) -> Change | None:
        """Return the change from which on the regret is within so many standard deviations over seeds; None if it is not in the end."""
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
            Change(**change | {"regret": math.inf if change["regret"] is None else change["regret"]})
            for change in content["changes"]
        ]
        return cls(**{**content, "changes": tuple(changes)})


def seen_seed(repeat: int) -> int:
    """Return the number of the seed that the searches of a repeat see."""
    return repeat % _SEEN_SEEDS


class Referee:
    """A table, the seed of it that searches see, and the grades from its other seeds."""

    def __init__(self, table: Table, digest: str, seen: int) -> None:
        self.table, self.digest = table, digest
        self.curves, self.grades, self.spread = SeenCurves(table, seen), Grades(table, seen), table.spread()

    def grade(self, trace: Trace, *, method: str, repeat: int, code: str = "") -> Result:
        """Grade a search that has ended."""
        trained = trace.in_order()
        changes, least, incumbent = [], math.inf, None
        for count, epoch in enumerate(trained, start=1):
            if epoch.objective >= least:
                continue
            least = epoch.objective
            if epoch.trial != incumbent:
                incumbent = epoch.trial
                regret = self.grades(trace.params[incumbent]) - self.grades.best
                changes.append(Change(epochs=count, seconds=epoch.ended, regret=regret))
        return Result(
            space=self.table.name,
            table=self.digest,
            code=code,
            method=method,
            lanes=trace.lanes,
            repeat=repeat,
            budget=trace.budget,
            spread=self.spread,
            trained=len(trained),
            trials=len({epoch.trial for epoch in trained}),
            own_seconds=trace.own_seconds(),
            changes=tuple(changes),
        )


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float

    def in_words(self, form: str) -> str:
        """Return the value and the interval, each number in this form of `format`."""
        return f"{self.value:{form}} ({self.low:{form}}–{self.high:{form}})"


def interval(statistic: Callable[[np.ndarray], np.ndarray], *samples: Sequence[float]) -> Interval:
    """Return a statistic of paired samples and its 95 % percentile bootstrap interval over their places.

    Args:
        statistic: called with float64 [S, N] of all samples, or [draws, S, N] of all draws; returns a number, or [draws].
        samples: S sequences of N numbers, number i of each from repeat i.
    """
    values = np.asarray(samples, dtype=float)
    drawn = np.random.default_rng(0).integers(values.shape[1], size=(_DRAWS, values.shape[1]))
    draws = statistic(values[:, drawn].swapaxes(0, 1))
    low, high = (float(_at_share(draws, share)) for share in (0.025, 0.975))
    return Interval(value=float(statistic(values)), low=low, high=high)


def _at_share(values: np.ndarray, share: float) -> np.ndarray:
    """Return the value below which this share of the last axis lies: one of the values, because some may be infinite."""
    return np.sort(values, axis=-1)[..., round(share * (values.shape[-1] - 1))]


def restricted_mean(results: Sequence[Result], deviations: float) -> Interval:
    """Return the mean trial-epochs to a target, a repeat that never reaches it counting as its whole budget."""
    return interval(lambda epochs: epochs[..., 0, :].mean(axis=-1), [r.epochs_to(deviations) for r in results])


def ratio(results: Sequence[Result], reference: Sequence[Result], deviations: float) -> Interval:
    """Return by how much fewer trial-epochs a search needs than a reference: the ratio of restricted means.

    Raises ValueError when the two are not of the same repeats and budget.
    """
    mine, theirs = ({result.repeat: result for result in some} for some in (results, reference))
    if mine.keys() != theirs.keys() or len({result.budget for result in (*results, *reference)}) > 1:
        raise ValueError(f"{results[0].method} and {reference[0].method}: got other repeats or another budget")
    epochs = [[some[repeat].epochs_to(deviations) for repeat in sorted(mine)] for some in (theirs, mine)]
    return interval(lambda both: both[..., 0, :].mean(axis=-1) / both[..., 1, :].mean(axis=-1), *epochs)


def median_regret(results: Sequence[Result], epochs: Sequence[int]) -> list[Interval]:
    """Return the median regret over repeats after each of these numbers of trial-epochs."""
    return [
        interval(
            lambda regrets: _at_share(regrets[..., 0, :], 0.5),
            [result.regret(count) for result in results],
        )
        for count in epochs
    ]
