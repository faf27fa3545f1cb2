"""Tables: best trials, confirmed configurations, trials by parameter, matched pairs, components of the best mixture."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from sweeps.results.rankings import Results, ranked
from sweeps.results.statistics import LEAST_PAIRS, MANY, interval_of_mean
from vaeexp.plots.latent import heaviest
from vaeexp.plots.pairs import Comparison, comparisons
from vaeexp.plots.pictures import best_evaluated
from vaeexp.report.markdown import escape, heading, table
from vaeexp.results.frames import (
    at_best_epoch,
    categories,
    column,
    confirm_runs,
    confirmations,
    finite,
    params,
    recorded,
    search_trials,
    space,
    study_seed,
    test_interval,
)
from vaeexp.results.margins import Margin, margins
from vaeexp.words import (
    format_configuration,
    format_interval,
    format_number,
    format_reach,
    format_value,
    parameter_label,
    plural,
)

TOP = 10
_KEYS = ["repeat", "number"]


def ranked_table(results: Results) -> str:
    """The ten best complete trials of the search."""
    best = ranked(results).head(TOP)
    epochs = at_best_epoch(results, best)
    # A trial whose epochs are missing keeps its place.
    best = best.merge(epochs[[*_KEYS, *(name for name in epochs if name not in best)]], on=_KEYS, how="left")
    names = list(space(results))
    header = [
        "rank",
        "trial",
        "val −ELBO",
        "rate",
        "distortion",
        "active units",
        "epochs",
        *(escape(parameter_label(name)) for name in names),
    ]
    rows = [
        [
            str(place),
            str(row["number"]),
            format_number(row["objective"]),
            format_number(row.get("val/rate")),
            format_number(row.get("val/distortion")),
            format_number(row.get("val/active_units"), 0),
            str(row["epochs"]),
            *(escape(format_value(row.get(f"params.{name}"))) for name in names),
        ]
        for place, (_, row) in enumerate(best.iterrows(), start=1)
    ]
    numeric = [7 + index for index, name in enumerate(names) if space(results)[name]["kind"] != "choice"]
    return table(header, rows, right=[*range(7), *numeric]) if rows else ""


def confirmed_table(results: Results) -> str:
    """Confirmed configurations over fresh seeds: mean and 95 % interval on test, and how far the best is ahead.

    The best on validation stands first.
    """
    runs = confirm_runs(results)
    search = results.trials[~results.trials["repeat"]].set_index("number")
    columns = _tested_columns(results, runs)
    rows = []
    for _, entry in confirmations(results).iterrows():
        of = int(entry["source_trial"])
        own = runs[runs["source_trial"] == of]
        values = [format_number(search["objective"].get(of)), format_number(entry["objective"])]
        setting = escape(format_configuration(params(results, search.loc[of]))) if of in search.index else ""
        rows.append([str(of), str(len(own)), *values, *(make(own) for _, make in columns), setting])
    titles = [title for title, _ in columns]
    header = ["trial", "seeds", "val −ELBO, search", "val −ELBO, new seeds", *titles, "setting"]
    return table(header, rows, right=range(4 + len(columns))) if rows else ""


def _tested_columns(results: Results, runs: pd.DataFrame) -> list[tuple[str, Callable[[pd.DataFrame], str]]]:
    """Title, and cell from the runs of a configuration, of each column of test figures."""
    columns: list[tuple[str, Callable[[pd.DataFrame], str]]] = [
        (title, lambda own, metric=metric: format_interval(test_interval(own, metric)))
        for title, metric in (
            ("test −ELBO", "test/neg_elbo"),
            ("test IW-NLL", "test/iw_nll"),
            ("test rate", "test/rate"),
            ("test distortion", "test/distortion"),
        )
    ]
    ahead = {margin.source_trial: margin for margin in margins(results)}
    if ahead:
        columns.insert(1, ("above the first", lambda own: _above(ahead.get(own["source_trial"].iloc[0]))))
    return [*columns, *_per_sub_pixel(results, runs)]


def _above(margin: Margin | None) -> str:
    """`0.62 (−0.31 to 1.55)`; an en dash for the first itself."""
    if margin is None:
        return "–"
    reach = f" ({format_reach(margin.interval)})" if math.isfinite(margin.interval.low) else ""
    return f"{format_number(margin.interval.mean)}{reach}"


def _per_sub_pixel(results: Results, runs: pd.DataFrame) -> list[tuple[str, Callable[[pd.DataFrame], str]]]:
    """Columns of the confirmed table for colour images, and for likelihoods of levels: title, and cell from the runs."""
    shape = recorded(results, "data").get("image_shape") or [1]
    columns = []
    if shape[0] > 1:
        size = math.prod(shape)
        columns.append(
            ("nats per sub-pixel", lambda own: format_number(test_interval(own, "test/neg_elbo").mean / size, 4))
        )
    if len(finite(column(runs, "result.test/bits_per_dimension"))):
        columns.append(
            ("bits per dimension", lambda own: format_interval(test_interval(own, "test/bits_per_dimension"), 3))
        )
    return columns


def edges(results: Results) -> list[str]:
    """Parameters whose best value lies within a twentieth of an end of its range: perhaps the range is too narrow."""
    complete = ranked(results)
    if complete.empty:
        return []
    found = []
    for name, value in params(results, complete.iloc[0]).items():
        parameter = space(results)[name]
        if parameter["kind"] == "choice" or not parameter["low"] <= value <= parameter["high"]:
            continue
        scale = math.log if parameter.get("log") else float
        low, high = scale(parameter["low"]), scale(parameter["high"])
        if low == high:
            continue
        place = (scale(float(value)) - low) / (high - low)
        if place < 0.05 or place > 0.95:
            found.append(
                f"{escape(parameter_label(name))} = {escape(format_value(value))} at the {'lower' if place < 0.05 else 'upper'} end"
            )
    return found


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
        title = f"By {escape(parameter_label(name))}"
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
    return _group_table(results, [parameter_label(name)], _by_category(results, search_trials(results), name))


def by_range(results: Results, name: str) -> str:
    """Trials of the search for each range of a whole number, in powers of two; empty without a trial."""
    return _group_table(results, [parameter_label(name)], _by_range(results, search_trials(results), name))


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
    texts = values.map(format_value).where(values.notna(), INACTIVE)
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
    values = finite(group.loc[group["state"] == "complete", "objective"])
    if not len(values):
        return ["–"] * 4
    interval = interval_of_mean(values, seed=seed)
    reach = format_reach(interval) if interval.n >= LEAST else "–"
    return [format_number(values.min()), format_number(interval.mean), reach, format_number(float(np.median(values)))]


SHOWN = 50
"""Pairs that are listed; all are in trials.csv."""


def paired_tables(results: Results) -> list[str]:
    """For each two values that were compared: the pairs, then their mean difference, how sure it is, and what is missing."""
    return [block for comparison in comparisons(results) for block in _paired(comparison)]


def _paired(comparison: Comparison) -> list[str]:
    first, second = format_value(comparison.first), format_value(comparison.second)
    if not len(comparison.pairs):
        return []
    pairs = comparison.pairs.sort_values(["source_trial", "seed_index"])
    rows = [
        [
            str(int(row["source_trial"])),
            str(int(row["seed_index"])),
            format_number(row[f"objective.{comparison.first}"]),
            format_number(row[f"objective.{comparison.second}"]),
            format_number(row["difference"]),
        ]
        for _, row in pairs.head(SHOWN).iterrows()
    ]
    header = [
        "configuration of trial",
        "seed index",
        f"{escape(first)} val −ELBO",
        f"{escape(second)} val −ELBO",
        f"{escape(second)} − {escape(first)}",
    ]
    more = [f"{plural(len(pairs) - SHOWN, 'more pair')} not listed here."] if len(pairs) > SHOWN else []
    return [table(header, rows, right=range(5)), " ".join([_summary(comparison, first, second), *more])]


def _summary(comparison: Comparison, first: str, second: str) -> str:
    interval, several = comparison.interval, comparison.configurations > 1
    lower = int((comparison.pairs["difference"] < 0).sum())
    unit = "configuration" if several else "seed"
    words = f"Mean difference {format_number(interval.mean)} nats per image"
    if math.isfinite(interval.low):
        kind = "Student's t" if interval.n < MANY else "bootstrap"
        words += f", 95 % interval {format_reach(interval)} ({kind}) over {plural(interval.n, unit)}"
        words += " (the seeds of a configuration averaged first)" if several else ""
    words += f". {escape(second)} is lower in {lower:,} of {plural(len(comparison.pairs), 'pair')}. {_wilcoxon(comparison, unit)}"
    if comparison.incomplete:
        words += f" {plural(comparison.incomplete, 'pair')} lacked a complete run and {'is' if comparison.incomplete == 1 else 'are'} left out."
    return words


def _wilcoxon(comparison: Comparison, unit: str) -> str:
    n = comparison.interval.n
    if n < LEAST_PAIRS:
        return f"With {plural(n, unit)} Wilcoxon's signed-rank test can never reach p = 0.05; it takes {LEAST_PAIRS}."
    return f"Wilcoxon's signed-rank test over {plural(n, unit)}: p = {comparison.p:.2g}."


_NAMED = 0.1
"""Share of a class from which a component is said to serve it."""
_CLASSES = 6


def component_table(results: Results) -> str:
    """A row per component of the best mixture prior, the heaviest first, with the classes that it serves; then how well
    components tell classes apart. Empty without a mixture or without classes."""
    found = best_evaluated(results, "component_classes")
    if found is None:
        return ""
    shares, weights = found[1]["component_classes"], found[1]["component_weights"]
    classes, order = found[1]["classes"].tolist(), heaviest(found[1]["component_weights"])
    rows = [
        [str(place), _percent(weights[k]), _percent(np.nanmean(shares[k])), _served(shares[k], classes)]
        for place, k in enumerate(order, start=1)
    ]
    header = [
        "component",
        "weight",
        "mean share of a class",
        f"classes of which it serves {_percent(_NAMED, 0)} or more",
    ]
    left_out = len(weights) - len(order)
    words = [f"{plural(left_out, 'lighter component')} not shown."] if left_out else []
    words.append(
        f"If each component stood for the class that it serves most, {_percent(purity(shares))} of the images would be put "
        "into their class (all classes weighted alike)."
    )
    return f"{table(header, rows, right=range(3))}\n\n{' '.join(words)}"


def purity(shares: np.ndarray) -> float:
    """Share of images whose component's main class is theirs, classes weighted alike; of shares [K, n], NaN where missing.

    1 where no component serves two classes, 1/n where all serve all alike.
    """
    present = ~np.isnan(shares).any(axis=0)
    return float(shares[:, present].max(axis=1).sum() / present.sum())


def _served(shares: np.ndarray, classes: list[str]) -> str:
    """Names and shares, the greatest first."""
    served = [label for label in np.argsort(-np.nan_to_num(shares), kind="stable") if shares[label] >= _NAMED]
    names = [f"{escape(classes[label])} ({_percent(shares[label], 0)})" for label in served[:_CLASSES]]
    more = len(served) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") or "–"


def _percent(share: float, digits: int = 1) -> str:
    return f"{format_number(100 * share, digits)} %"
