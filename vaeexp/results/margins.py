"""How far the best confirmed configuration is ahead of the others on test, and whether seeds alone could explain it."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results
from sweeps.results.statistics import Interval, difference_interval
from vaeexp.report.words import finite, reach_text
from vaeexp.results.frames import column, confirm_runs, confirmations, number


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


def margin_words(results: Results) -> str:
    """A sentence or two on the runner-up and the others; empty where one configuration alone was confirmed."""
    found = margins(results)
    if not found:
        return ""
    return " ".join([_runner_up(found[0]), *_others(found[1:])])


def _runner_up(margin: Margin) -> str:
    gap = margin.interval.mean
    other = f"trial {margin.source_trial}, the runner-up on validation"
    size = f"{number(abs(gap))} nats"
    if not math.isfinite(margin.interval.low):
        which = "one seed each" if max(margin.seeds) == 1 else "a single seed of one of them"
        return f"It is {size} {'better' if gap >= 0 else 'worse'} on test than {other}, and {which} cannot tell whether that is more than chance."
    span = f"95 % interval {reach_text(margin.interval)}"
    if not margin.settled:
        return f"It cannot be told from {other}: {_seeds(margin.seeds)} leave their difference of {number(gap)} nats open ({span})."
    if gap > 0:
        return f"It is {size} better on test than {other}, more than the seeds vary ({span})."
    return (
        f"On test it is {size} worse than {other}, more than the seeds vary ({span}); the choice rests on validation alone, "
        "so that no test figure is selected for."
    )


def _others(others: list[Margin]) -> list[str]:
    """What is to be said of those behind the runner-up, each set against the best."""
    count, unclear = len(others), sum(not margin.settled for margin in others)
    ahead = sum(margin.settled and margin.interval.mean < 0 for margin in others)
    vary = "by more than the seeds vary"
    if not count:
        return []
    if count == 1:
        return [f"The third {'cannot be told from it' if unclear else f'is {_side(ahead)} {vary}'}."]
    if unclear == count:
        return [f"None of the {count:,} others can be told from it."]
    if not unclear and not ahead:
        return [f"The {count:,} others are worse {vary}."]
    parts = [f"{unclear:,} cannot be told from it"] if unclear else []
    parts += [f"{ahead:,} {'is' if ahead == 1 else 'are'} better on test {vary}"] if ahead else []
    return [f"Of the {count:,} others {' and '.join(parts)}."]


def _side(ahead: int) -> str:
    return "better on test" if ahead else "worse"


def _seeds(seeds: tuple[int, int]) -> str:
    best, other = seeds
    return f"{best:,} seeds each" if best == other else f"{best:,} and {other:,} seeds"
