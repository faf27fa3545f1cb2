"""Trials of the search by one parameter, or by two: how many ended how, and the mean of those that completed."""

import math

import numpy as np
import pandas as pd

from sweeps.results import Results
from sweeps.statistics import MANY, interval_of_mean
from vaeexp.figures.frames import categories, column, label, number, search_trials, space, study_seed, value_text
from vaeexp.report.markdown import escape, heading, table
from vaeexp.report.words import finite, reach_text

__all__ = ["DESCRIBES", "by_choice", "by_prior_and_components", "by_range", "group_tables", "ranges"]

LEAST = 5
"""Complete trials that take an interval: values of a search have a long tail, and Student's t over fewer of them reaches
further than any value can be."""
DESCRIBES = (
    f"Trials of the search, and over the n complete ones the best, the mean with its 95 % interval (Student's t from {LEAST} "
    f"trials, a bootstrap from {MANY} on; fewer have none) and the median of the validation −ELBO, in nats per image. The sampler "
    "prefers what looked good and the pruner gives up what did not, so these rows describe and do not compare."
)
INACTIVE = "– (not used)"
"""Trials in which the parameter's condition was false."""
PARTS = 4

Group = tuple[tuple[str, ...], pd.DataFrame]


def group_tables(results: Results) -> list[str]:
    """A table under its heading for each choice and each whole number that is searched; prior and components also jointly."""
    names, blocks = space(results), []
    joint = {"prior", "components"} <= set(names) and names["prior"]["kind"] == "choice"
    for name, parameter in names.items():
        title = f"By {escape(label(name))}"
        if name == "components" and joint:
            title, made = "By prior and components", by_prior_and_components(results)
        elif parameter["kind"] == "choice":
            made = by_choice(results, name)
        else:
            made = by_range(results, name) if parameter["kind"] == "int" else ""
        blocks += [heading(title, 4), made] if made else []
    return blocks


def by_choice(results: Results, name: str) -> str:
    """Trials of the search for each value of a choice parameter; empty without a trial."""
    return _group_table(results, [label(name)], _by_category(results, search_trials(results), name))


def by_range(results: Results, name: str) -> str:
    """Trials of the search for each range of a whole number, in powers of two; empty without a trial."""
    return _group_table(results, [label(name)], _by_range(results, search_trials(results), name))


def by_prior_and_components(results: Results) -> str:
    """Trials of the search for each prior and, within it, each count or range of counts of components that was tried."""
    trials = search_trials(results)
    kind = space(results)["components"]["kind"]
    split = _by_category if kind == "choice" else _by_range
    groups = [
        ((prior, *counts), both)
        for (prior,), group in _by_category(results, trials, "prior")
        for counts, both in split(results, group, "components")
        if len(both)
    ]
    groups = [((prior, "–" if counts == INACTIVE else counts), both) for (prior, counts), both in groups]
    return _group_table(results, ["prior", "components"], groups)


def ranges(low: int, high: int) -> list[tuple[int, int]]:
    """Whole numbers from low to high in ranges between powers of two; fewer than three of these make way for even parts.

    A last range of one number (64 of 2–64) goes to its neighbour.
    """
    starts = (
        [low, *(2**power for power in range(max(high, 1).bit_length()) if low < 2**power <= high)] if low >= 0 else []
    )
    if len(starts) > 1 and starts[-1] == high:
        starts.pop()
    if len(starts) < 3:
        starts = sorted({low + math.floor(part * (high - low + 1) / PARTS) for part in range(PARTS)})
    return [*zip(starts, [start - 1 for start in starts[1:]] + [high], strict=True)]


def _by_category(results: Results, trials: pd.DataFrame, name: str) -> list[Group]:
    """A group for each value, also those without a trial, then one for trials without it."""
    values = column(trials, f"params.{name}")
    texts = values.map(value_text).where(values.notna(), INACTIVE)
    groups = [((value,), trials[texts == value]) for value in categories(results, name)]
    inactive = trials[texts == INACTIVE]
    return [*groups, ((INACTIVE,), inactive)] if len(inactive) else groups


def _by_range(results: Results, trials: pd.DataFrame, name: str) -> list[Group]:
    """Trials without the parameter first, then a group for each range."""
    parameter = space(results)[name]
    values = column(trials, f"params.{name}").astype(float)
    inactive = trials[values.isna()]
    groups: list[Group] = [((INACTIVE,), inactive)] if len(inactive) else []
    # Trials of an earlier search space may lie outside the range of today.
    tried = column(search_trials(results), f"params.{name}").astype(float)
    low, high = np.nanmin([parameter["low"], *tried]), np.nanmax([parameter["high"], *tried])
    for first, last in ranges(int(low), int(high)):
        words = f"{first:,}–{last:,}" if first < last else f"{first:,}"
        groups.append(((words,), trials[values.between(first, last)]))
    return groups


def _group_table(results: Results, titles: list[str], groups: list[Group]) -> str:
    if not any(len(group) for _, group in groups):
        return ""
    seed = study_seed(results)
    measures = ["best", "mean", "95 % interval of the mean", "median"]
    header = [*map(escape, titles), "trials", "pruned", "failed", "complete (n)", *measures]
    rows = [[*map(escape, names), *_counts(group), *_measures(group, seed)] for names, group in groups]
    return table(header, rows, right=range(len(titles), len(header)))


def _counts(group: pd.DataFrame) -> list[str]:
    ended = ((group["state"] == state).sum() for state in ("pruned", "failed", "complete"))
    return [f"{int(count):,}" for count in (len(group), *ended)]


def _measures(group: pd.DataFrame, seed: int) -> list[str]:
    values = finite(group.loc[group["state"] == "complete", "value"])
    if not len(values):
        return ["–"] * 4
    interval = interval_of_mean(values, seed=seed)
    reach = reach_text(interval) if interval.n >= LEAST else "–"
    return [number(values.min()), number(interval.mean), reach, number(float(np.median(values)))]
