"""The referee of searches: what they see of a table, and what their choices are worth.

- **A search sees one seed of each configuration**, drawn at random from seeds 0 and 1, which all
  configurations of a table have. A draw for all configurations is a half-sample (McCarthy 1969).
  There are `WORLDS` of them; repeat r sees half-sample r mod `WORLDS`, the same for all searches.
  What differs between half-samples beyond chance is the luck of the table's seeds
  (`grading.interval`).
- **The incumbent** after a trial-epoch is the configuration with the least value that any trial has
  reported so far, whatever became of the trial: the configuration that would be confirmed if the
  search ended here. Of equal values the earlier counts.
- **Its grade** comes from the other seeds alone (`surrogate.Grades`): the mean objective, smoothed
  over neighbouring configurations, without noise.

This module, `surrogate.py`, `forest.py`, `noise.py` and `table_lanes.py` decide each result.
`grading.py` computes from results.
"""

import math

import numpy as np
from curve_table import Table
from grading import Change, Result
from surrogate import Grades, SeenCurves
from table_lanes import Trace

from sweeps.seeds import seed_of

__all__ = ["WORLDS", "Referee", "half_sample", "world_of"]

WORLDS = 10


def world_of(repeat: int) -> int:
    """Return the number of the half-sample that the searches of a repeat see."""
    return repeat % WORLDS


def half_sample(table: Table, repeat: int) -> np.ndarray:
    """Return for each configuration the seed that the searches of a repeat see, int [C] of 0
    and 1.
    """
    random = np.random.default_rng(seed_of(f"half-sample:{table.name}:{world_of(repeat)}"))
    return random.integers(2, size=len(table.numbers))


class Referee:
    """A table, the seeds of it that searches see, and the grades from its other seeds.

    Args:
        digest: of the table and the modules of the referee.
        seen: number of the seed that is seen, one for all configurations or int [C].
        surrogate: one of `surrogate.SURROGATES`.
    """

    def __init__(
        self, table: Table, digest: str, seen: int | np.ndarray, surrogate: str = "process"
    ) -> None:
        self.table, self.digest, self.surrogate = table, digest, surrogate
        self.seen, self.grades = SeenCurves(table, seen, surrogate), Grades(table, seen, surrogate)
        self.spread = table.spread()

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
            surrogate=self.surrogate,
            world=world_of(repeat),
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
