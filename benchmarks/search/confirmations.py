"""How many runs a race takes to confirm the best trials of a search, and how sure its winner is, on
tables of learning curves.

    PYTHONPATH=. python benchmarks/search/confirmations.py [--space A] [--repeats 1000]

Each repeat draws `--trials` configurations of a table, as a search without a pruner would have
trained them, and confirms the k best by their first seed with m fresh seeds: as a race, which is
the shipped one, and with all seeds for all. `races.py` says what the columns are, and has studies
whose truth is made up; losses are in nats here.

A table has two to four seeds of a configuration, and a race needs up to ten. So a run is made of
what the table says of configurations and seeds:

- the worth of a configuration is its grade (`surrogate.Grades` of the seeds that chose nobody): the
  mean of the other seeds, smoothed;
- the noise of a run is a residual of the table (run minus the mean of its configuration and of its
  seed, scaled to the variance of one run), drawn from those of the nearest `POOL` configurations in
  worth, because bad configurations vary more;
- all runs of a seed share a normal effect of the standard deviation that the means of the table's
  seeds have.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from curve_table import TABLES, Table, load_table
from surrogate import Grades

from sweeps.results.racing import run_race

sys.path.append(str(Path(__file__).resolve().parents[1]))

from races import COLUMNS, cells, row
from table import markdown

__all__ = ["Noise", "confirmed", "measured"]

PLANS = ((3, 5), (5, 8), (8, 10), (16, 10))
POOL = 20
_CHOSEN_BY = 0
"""Seed of the table by which trials are chosen; the worth comes from the others."""


class Noise:
    """The noise of runs of a table's configurations; only those with two seeds or more count, and
    none that diverged.
    """

    def __init__(self, table: Table) -> None:
        grades = Grades(table, _CHOSEN_BY)
        values = np.where(table.trained, table.objectives(), np.nan)
        self.rows = np.flatnonzero(np.isfinite(values[:, :2]).all(axis=1))
        self.chosen_by = values[self.rows, _CHOSEN_BY]
        self.worth = np.array([grades(table.configurations[row]) for row in self.rows])
        both = values[self.rows, :2]
        residuals = both - both.mean(axis=1, keepdims=True) - both.mean(axis=0) + both.mean()
        # Two seeds of a configuration leave it half of their variance, up to the seeds' own mean.
        freedom = (len(both) - 1) / len(both) / 2
        self.residuals = residuals / np.sqrt(freedom)
        self.shared = float(both.mean(axis=0).std(ddof=1))
        self._order = self.worth.argsort()
        self._place = self._order.argsort()

    def runs(self, random: np.random.Generator, places: np.ndarray, seeds: int) -> np.ndarray:
        """Return runs of configurations, float64 [K, seeds], in nats."""
        count = len(self.rows)
        first = np.clip(self._place[places] - POOL // 2, 0, max(0, count - POOL))
        drawn = self._order[
            first[:, None] + random.integers(min(POOL, count), size=(len(places), seeds))
        ]
        own = self.residuals[drawn, random.integers(2, size=drawn.shape)]
        return self.worth[places][:, None] + self.shared * random.normal(size=seeds) + own


def confirmed(
    noise: Noise, random: np.random.Generator, plan: tuple[int, int], trials: int
) -> list[float]:
    """Search once, confirm as a race and with all seeds for all, and return the columns of
    `races.row`, losses in nats.
    """
    count, seeds = plan
    tried = random.choice(len(noise.rows), size=min(trials, len(noise.rows)), replace=False)
    best = tried[noise.chosen_by[tried].argsort()[:count]]
    runs = noise.runs(random, best, seeds)
    return row(
        noise.worth[best],
        runs,
        run_race({trial: own.tolist() for trial, own in enumerate(runs)}, seeds),
    )


def measured(noise: Noise, plan: tuple[int, int], trials: int, repeats: int) -> list[float]:
    """Return the mean of each column over repeats."""
    random = np.random.default_rng(1)
    return [
        float(column)
        for column in np.mean(
            [confirmed(noise, random, plan, trials) for _ in range(repeats)], axis=0
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", nargs="+", default=["A", "B", "C"], help="names of tables")
    parser.add_argument("--tables", type=Path, default=TABLES, help="folder of the tables")
    parser.add_argument("--trials", type=int, default=40, help="trials of a search")
    parser.add_argument("--repeats", type=int, default=1000, help="confirmations for each row")
    options = parser.parse_args()
    rows = []
    for name in options.space:
        try:
            table = load_table(name, options.tables)
        except ValueError as error:
            parser.error(str(error))
        noise = Noise(table)
        for plan in PLANS:
            columns = measured(noise, plan, options.trials, options.repeats)
            rows.append([name, f"{table.spread():.2f}", f"{plan[0]} × {plan[1]}", *cells(columns)])
    print(markdown(["table", "spread, nats", "k × m", *COLUMNS], rows, texts=1))


if __name__ == "__main__":
    main()
