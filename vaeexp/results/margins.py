"""How far the best confirmed configuration is ahead of the others on test, and whether seeds alone could explain it."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results
from sweeps.results.statistics import Interval, difference_interval
from vaeexp.results.frames import column, confirm_runs, confirmations, finite


@dataclass(frozen=True, kw_only=True)
class Margin:
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


def margins(results: Results) -> list[Margin]:
    """All confirmed configurations with test figures but the best, in order of their mean validation −ELBO.

    Every configuration has seeds of its own (`sweeps.engine.repeats`), so that nothing is paired and the interval is Welch's.
    Empty where the best has no test figure.
    """
    runs = confirm_runs(results)
    values = {of: _tested(runs[runs["source_trial"] == of]) for of in confirmations(results)["source_trial"]}
    if not values:
        return []
    (_, best), *others = values.items()
    return [
        Margin(source_trial=int(of), seeds=(len(best), len(own)), interval=difference_interval(best, own))
        for of, own in others
        if len(best) and len(own)
    ]


def _tested(runs: pd.DataFrame) -> np.ndarray:
    return finite(column(runs, "result.test/neg_elbo"))
