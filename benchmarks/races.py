"""How many runs a race takes to confirm, and how sure its winner is, beside the same configurations
with all seeds each.

`python benchmarks/races.py [--races 1000]` prints a table of synthetic studies whose truth is
known, and trains nothing. The unit is the standard deviation of a run; seeds that all share vary by
as much again. What the configurations are worth is normal with a standard deviation of `apart`;
"unequal" draws each configuration's own spread from a log-normal distribution (0.7). The race is
the shipped one.

- runs: of all k × m.
- seeds: those of a configuration when the race ends, mean.
- best: share of races, and of fixed confirmations, that choose the truly best configuration.
- loss: by how much the chosen one is worse than the best, mean.
- lost: share of races that drop the configuration that the fixed form would have chosen.
- told: share in which the paired t test, corrected for all pairs and, in a race, for its looks,
  tells the chosen one from the next.
"""

import argparse
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy.special import stdtr
from table import markdown

from sweeps.results.racing import Race, run_race

__all__ = ["COLUMNS", "cells", "row"]

COLUMNS = (
    "runs",
    "seeds",
    "best: race",
    "fixed",
    "loss: race",
    "fixed",
    "lost",
    "told: race",
    "fixed",
)
PLANS = ((2, 6), (3, 5), (5, 8), (8, 10), (16, 10))
APART = (0.0, 0.5, 1.0, 3.0)
SHAPES = ("normal", "heavy tails", "unequal")


def drawn(
    random: np.random.Generator, plan: tuple[int, int], apart: float, shape: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the configurations are worth [K] and their runs [K, seeds]."""
    count, seeds = plan
    worth = apart * random.normal(size=count)
    noise = (
        random.standard_t(3, plan) / math.sqrt(3)
        if shape == "heavy tails"
        else random.normal(size=plan)
    )
    spread = np.exp(0.7 * random.normal(size=(count, 1))) if shape == "unequal" else 1.0
    return worth, worth[:, None] + random.normal(size=seeds) + spread * noise


def told(runs: np.ndarray, seeds: int, first: int, second: int, tests: int) -> bool:
    """Tell whether the paired t test over the first seeds, corrected for so many tests
    (Bonferroni), separates two configurations.
    """
    differences = runs[second, :seeds] - runs[first, :seeds]
    if not (deviation := differences.std(ddof=1)):  # of noise that is drawn from few runs
        return False
    t = abs(differences.mean()) / deviation * math.sqrt(seeds)
    return bool(2 * stdtr(seeds - 1, -t) * tests <= 0.05)


def measured(plan: tuple[int, int], apart: float, shape: str, races: int) -> list[float]:
    """Return the columns of the table: runs, seeds, best of race and fixed, loss of both, lost,
    told by both.
    """
    random, rows = np.random.default_rng(1), []
    for _ in range(races):
        worth, runs = drawn(random, plan, apart, shape)
        race = run_race({trial: own.tolist() for trial, own in enumerate(runs)}, plan[1])
        rows.append(row(worth, runs, race))
    return [float(column) for column in np.mean(rows, axis=0)]


def row(worth: np.ndarray, runs: np.ndarray, race: Race) -> list[float]:
    """Return the columns of one race, from what the configurations are worth [K], all their runs
    [K, seeds] and the race that ended.
    """
    first, second, *_ = race.order
    fixed, next_fixed = (int(place) for place in runs.mean(axis=1).argsort()[:2])
    return [
        sum(race.seeds.values()) / runs.size,
        race.looked,
        first == worth.argmin(),
        fixed == worth.argmin(),
        worth[first] - worth.min(),
        worth[fixed] - worth.min(),
        fixed in {dropped.trial for dropped in race.dropped},
        told(runs, race.seeds[second], first, second, race.pairs * race.looks),
        told(runs, race.most, fixed, next_fixed, race.pairs),
    ]


def cells(columns: Sequence[float], *, equal: bool = False) -> list[str]:
    """Return the means of the columns in words; of equal configurations each is the best."""
    runs, seeds, best, best_fixed, loss, loss_fixed, lost, told_race, told_fixed = columns
    chosen = ["–", "–"] if equal else [f"{best:.0%}", f"{best_fixed:.0%}"]
    losses = [f"{loss:.2f}", f"{loss_fixed:.2f}"]
    return [
        f"{runs:.0%}",
        f"{seeds:.1f}",
        *chosen,
        *losses,
        f"{lost:.1%}",
        f"{told_race:.0%}",
        f"{told_fixed:.0%}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--races", type=int, default=1000, help="races for each row")
    races = parser.parse_args().races
    rows = [
        [
            f"{plan[0]} × {plan[1]}",
            f"{apart:g}",
            shape,
            *cells(measured(plan, apart, shape, races), equal=not apart),
        ]
        for plan, apart, shape in itertools.product(PLANS, APART, SHAPES)
    ]
    print(markdown(["k × m", "apart", "noise", *COLUMNS], rows, texts=3))


if __name__ == "__main__":
    main()
