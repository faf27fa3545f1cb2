"""Tables: best trials, confirmed configurations, trials by parameter, matched pairs, components of the best mixture."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from sweeps.results.statistics import LEAST_PAIRS, MANY, interval_of_mean
from vaeexp.report.markdown import escape, heading, table
from vaeexp.results.columns import finite
from vaeexp.results.differences import PairComparison, WinnerMargin
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import TestedSetting
from vaeexp.results.trial_files import heaviest
from vaeexp.words import format_interval, format_number, format_reach, format_value, parameter_label, plural

TOP = 10
_KEYS = ["repeat", "number"]
_RANKED_METRICS = (("rate", 2), ("distortion", 2), ("active_units", 0))
_TESTED_METRICS = (
    ("test −ELBO", "neg_elbo"),
    ("test IW-NLL", "iw_nll"),
    ("test rate", "rate"),
    ("test distortion", "distortion"),
)


def ranked_table(view: StudyView) -> str:
    """Return the ten best complete trials of the search."""
    best = view.ranked.head(TOP)
    epochs = view.at_best_epoch(best)
    # A trial whose epochs are missing keeps its place.
    best = best.merge(epochs[[*_KEYS, *(name for name in epochs if name not in best)]], on=_KEYS, how="left")
    parameters = view.parameters.values()
    header = ["rank", "trial", "val −ELBO", "rate", "distortion", "active units", "epochs"]
    rows = [
        [
            *(str(place), str(row["number"]), format_number(row["objective"])),
            *(format_number(row.get(f"val/{name}"), digits) for name, digits in _RANKED_METRICS),
            str(row["epochs"]),
            *(escape(format_value(row.get(f"params.{parameter.name}"))) for parameter in parameters),
        ]
        for place, (_, row) in enumerate(best.iterrows(), start=1)
    ]
    titles = [escape(parameter_label(parameter.name)) for parameter in parameters]
    numeric = [place for place, parameter in enumerate(parameters, len(header)) if not parameter.is_choice]
    return table([*header, *titles], rows, right=[*range(len(header)), *numeric]) if rows else ""


def confirmed_table(view: StudyView) -> str:
    """Return the confirmed configurations over fresh seeds, with their test figures and how far the best is ahead.

    The best on validation stands first.
    """
    search = view.trials[~view.trials["repeat"]].set_index("number")["objective"]
    columns = _tested_columns(view)
    rows = [
        [
            *(str(setting.source_trial), str(len(setting.runs))),
            *(format_number(search.get(setting.source_trial)), format_number(setting.value)),
            *(make(setting) for _, make in columns),
            escape(setting.setting),
        ]
        for setting in view.confirmed
    ]
    titles = [title for title, _ in columns]
    header = ["trial", "seeds", "val −ELBO, search", "val −ELBO, new seeds", *titles, "configuration"]
    return table(header, rows, right=range(4 + len(columns))) if rows else ""


def _tested_columns(view: StudyView) -> list[tuple[str, Callable[[TestedSetting], str]]]:
    """Return the columns of test figures: title, and how a cell is made from a configuration."""
    columns = [(title, _on_test(metric)) for title, metric in _TESTED_METRICS]
    margins = {margin.source_trial: margin for margin in view.margins}
    if margins:
        columns.insert(1, ("above the first", lambda setting: _above(margins.get(setting.source_trial or 0))))
    shape = view.recorded("data").get("image_shape") or [1]
    if shape[0] > 1:
        size = math.prod(shape)
        columns.append(("nats per sub-pixel", lambda setting: format_number(setting.test("neg_elbo").mean / size, 4)))
    if any(setting.test("bits_per_dimension").n for setting in view.confirmed):
        columns.append(("bits per dimension", _on_test("bits_per_dimension", 3)))
    return columns


def _on_test(metric: str, digits: int = 2) -> Callable[[TestedSetting], str]:
    return lambda setting: format_interval(setting.test(metric), digits)


def _above(margin: WinnerMargin | None) -> str:
    """Return `0.62 (−0.31 to 1.55)`; an en dash for the first configuration itself."""
    if margin is None:
        return "–"
    reach = f" ({format_reach(margin.interval)})" if math.isfinite(margin.interval.low) else ""
    return f"{format_number(margin.interval.mean)}{reach}"


def edges(view: StudyView) -> list[str]:
    """Name the parameters whose best value lies within a twentieth of an end of its range, which may be too narrow."""
    if view.ranked.empty:
        return []
    near = []
    for name, value in view.params(view.ranked.iloc[0]).items():
        parameter = view.parameters[name]
        if parameter.is_choice or not parameter.low <= value <= parameter.high:
            continue
        scale = math.log if parameter.log else float
        low, high = scale(parameter.low), scale(parameter.high)
        if low == high:
            continue
        place = (scale(float(value)) - low) / (high - low)
        if not 0.05 <= place <= 0.95:
            end = "lower" if place < 0.05 else "upper"
            near.append(f"{escape(parameter_label(name))} = {escape(format_value(value))} at the {end} end")
    return near


LEAST = 5
"""Complete trials from which a mean has an interval: values of a search have a long tail, and Student's t over fewer trials
reaches further than any value can be."""
DESCRIBES = (
    f"Trials of the search, and over the n complete ones the best, the mean with its 95 % interval (Student's t from {LEAST} "
    f"trials, a bootstrap from {MANY} on; fewer have none) and the median of the validation −ELBO, in nats per image. The sampler "
    "prefers what looked good and the pruner ends what did not, so these rows describe and do not compare."
)
INACTIVE = "– (not used)"
"""Trials in which the parameter's condition was false."""
PARTS = 4

Group = tuple[tuple[str, ...], pd.DataFrame]
"""Values or ranges of the parameters, in words, and the trials that have them."""


def parameter_tables(view: StudyView) -> list[str]:
    """Return a table under its heading for each choice and each whole number that is searched; prior and components jointly."""
    parameters, blocks = view.parameters, []
    joint = {"prior", "components"} <= set(parameters) and parameters["prior"].is_choice
    for name in parameters:
        title, made = f"By {escape(parameter_label(name))}", by_parameter(view, name)
        if name == "components" and joint:
            title, made = "By prior and components", by_prior_and_components(view)
        blocks += [heading(title, 4), made] if made else []
    return blocks


def by_parameter(view: StudyView, name: str) -> str:
    """Return the trials of the search for each value of a choice, or each range of a whole number in powers of two.

    Empty for other numbers, and without a trial.
    """
    parameter = view.parameters[name]
    groups = [] if parameter.kind == "float" else _split(parameter, view.search)
    return _group_table(view, [parameter_label(name)], groups)


def by_prior_and_components(view: StudyView) -> str:
    """Return the trials of the search for each prior and, within it, each count or range of counts of components."""
    prior, components = view.parameters["prior"], view.parameters["components"]
    groups: list[Group] = [
        ((*kind, "–" if counts == (INACTIVE,) else counts[0]), both)
        for kind, group in _split(prior, view.search)
        for counts, both in _split(components, group)
        if len(both)
    ]
    return _group_table(view, ["prior", "components"], groups)


def ranges(low: int, high: int) -> list[tuple[int, int]]:
    """Split the whole numbers from low to high between powers of two; fewer than three such ranges make way for even parts.

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


def _split(parameter: SearchedParameter, trials: pd.DataFrame) -> list[Group]:
    """Return a group for each value of a choice, also without a trial, or each range; and one of trials without the parameter."""
    values = parameter.of(trials)
    inactive: list[Group] = [((INACTIVE,), trials[values.isna()])] if values.isna().any() else []
    if parameter.is_choice:
        texts = values.map(format_value, na_action="ignore")
        return [*(((text,), trials[texts == text]) for text in parameter.texts), *inactive]
    numbers = values.astype("Float64").astype(float)
    # The axis reaches to trials of an earlier search space, which may lie outside the range of today.
    for first, last in ranges(int(parameter.first), int(parameter.last)):
        words = f"{first:,}–{last:,}" if first < last else f"{first:,}"
        inactive.append(((words,), trials[numbers.between(first, last)]))
    return inactive


def _group_table(view: StudyView, titles: Sequence[str], groups: Sequence[Group]) -> str:
    if not any(len(group) for _, group in groups):
        return ""
    measures = ["best", "mean", "95 % interval of the mean", "median"]
    header = [*map(escape, titles), "trials", "pruned", "failed", "complete (n)", *measures]
    rows = [[*map(escape, names), *_counts(group), *_measures(group, view.seed)] for names, group in groups]
    return table(header, rows, right=range(len(titles), len(header)))


def _counts(group: pd.DataFrame) -> list[str]:
    ended = ((group["state"] == state).sum() for state in ("pruned", "failed", "complete"))
    return [f"{int(count):,}" for count in (len(group), *ended)]


def _measures(group: pd.DataFrame, seed: int) -> list[str]:
    values = finite(group.loc[group["state"] == "complete", "objective"])
    if not len(values):
        return ["–"] * 4
    interval = interval_of_mean(values.tolist(), seed=seed)
    reach = format_reach(interval) if interval.n >= LEAST else "–"
    return [format_number(values.min()), format_number(interval.mean), reach, format_number(float(np.median(values)))]


SHOWN = 50
"""Pairs that are listed; all are in trials.csv."""


def paired_tables(view: StudyView) -> list[str]:
    """Return for each two compared values the pairs, then their mean difference, its interval, and how many pairs lack a run."""
    return [block for comparison in view.pairs for block in _paired(comparison)]


def _paired(comparison: PairComparison) -> list[str]:
    if not len(comparison.pairs):
        return []
    pairs = comparison.pairs.sort_values(["source_trial", "seed_index"])
    columns = (f"objective.{comparison.first}", f"objective.{comparison.second}", "difference")
    rows = [
        [
            *(str(int(row[name])) for name in ("source_trial", "seed_index")),
            *(format_number(row[name]) for name in columns),
        ]
        for _, row in pairs.head(SHOWN).iterrows()
    ]
    first, second = escape(format_value(comparison.first)), escape(format_value(comparison.second))
    titles = [f"{first} val −ELBO", f"{second} val −ELBO", f"{second} − {first}"]
    header = ["configuration of trial", "seed index", *titles]
    more = [f"{plural(len(pairs) - SHOWN, 'more pair')} not listed here."] if len(pairs) > SHOWN else []
    return [table(header, rows, right=range(5)), " ".join([_summary(comparison, second), *more])]


def _summary(comparison: PairComparison, second: str) -> str:
    interval, several = comparison.interval, comparison.configurations > 1
    lower = int((comparison.pairs["difference"] < 0).sum())
    unit = "configuration" if several else "seed"
    words = f"Mean difference {format_number(interval.mean)} nats per image"
    if math.isfinite(interval.low):
        kind = "Student's t" if interval.n < MANY else "bootstrap"
        words += f", 95 % interval {format_reach(interval)} ({kind}) over {plural(interval.n, unit)}"
        words += " (the seeds of a configuration averaged first)" if several else ""
    words += (
        f". {second} is lower in {lower:,} of {plural(len(comparison.pairs), 'pair')}. {_wilcoxon(comparison, unit)}"
    )
    if comparison.incomplete:
        words += f" {plural(comparison.incomplete, 'pair')} lacked a complete run and {'is' if comparison.incomplete == 1 else 'are'} left out."
    return words


def _wilcoxon(comparison: PairComparison, unit: str) -> str:
    n = comparison.interval.n
    if n < LEAST_PAIRS:
        return f"With {plural(n, unit)} Wilcoxon's signed-rank test can never reach p = 0.05; it takes {LEAST_PAIRS}."
    return f"Wilcoxon's signed-rank test over {plural(n, unit)}: p = {comparison.p:.2g}."


_NAMED = 0.1
"""Share of a class from which a component is said to serve it."""
_CLASSES = 6


def component_table(view: StudyView) -> list[str]:
    """Return a row per component of the best mixture prior, the heaviest first, and how well components tell classes apart.

    Empty without a mixture or without classes.
    """
    best = view.best_evaluated("component_classes")
    if best is None:
        return []
    arrays = best[1]
    shares, weights, classes = arrays["component_classes"], arrays["component_weights"], arrays["classes"].tolist()
    order = heaviest(weights)
    rows = [
        [str(place), _percent(weights[k]), _percent(np.nanmean(shares[k])), _served(shares[k], classes)]
        for place, k in enumerate(order, start=1)
    ]
    served = f"classes of which it serves {_percent(_NAMED, 0)} or more"
    header = ["component", "weight", "mean share of a class", served]
    left_out = len(weights) - len(order)
    words = [f"{plural(left_out, 'lighter component')} not shown."] if left_out else []
    words.append(
        f"If each component stood for the class that it serves most, {_percent(purity(shares))} of the images would be put "
        "into their class (all classes weighted alike)."
    )
    return [table(header, rows, right=range(3)), " ".join(words)]


def purity(shares: np.ndarray) -> float:
    """Return the share of images whose component's main class is theirs, classes weighted alike; of shares [K, n].

    The share is 1 where no component serves two classes, 1/n where all serve all alike. A class with a NaN is left out.
    """
    present = ~np.isnan(shares).any(axis=0)
    return float(shares[:, present].max(axis=1).sum() / present.sum())


def _served(shares: np.ndarray, classes: list[str]) -> str:
    """Return the names and shares of the classes that a component serves, the greatest share first."""
    served = [place for place in np.argsort(-np.nan_to_num(shares), kind="stable") if shares[place] >= _NAMED]
    names = [f"{escape(classes[place])} ({_percent(shares[place], 0)})" for place in served[:_CLASSES]]
    more = len(served) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "") or "–"


def _percent(share: float, digits: int = 1) -> str:
    return f"{format_number(100 * share, digits)} %"
