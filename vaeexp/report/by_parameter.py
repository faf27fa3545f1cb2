"""Trials of the search by the value of one parameter, or by prior and components jointly."""

import math
from collections.abc import Sequence

import pandas as pd

from sweeps.results.found_trials import promotes
from vaeexp.report.markup import escape, heading, table
from vaeexp.report.sentences import sentence
from vaeexp.results.coverage import left_out
from vaeexp.results.effects import best_group, group_of
from vaeexp.results.holes import hole_statement
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.statements import Statement
from vaeexp.results.study_view import StudyView
from vaeexp.words import format_number, format_value, parameter_label

_MEDIANS = (
    "Trials of the search by how they ended, the best validation −ELBO of the n complete ones, and the median of complete and "
    "pruned ones together, in nats per image. A pruned trial counts as worse than every complete one, so that there is no "
    "median where half or more were pruned. Bold is the lowest median; a value with one complete trial is never bold. The "
    "sampler prefers what looked good, so these rows describe and do not compare."
)
_PROMOTED = (
    "Trials of the search by how far they came: how many were promoted from the first rung on or are complete, and the best validation −ELBO of "
    "the complete ones, in nats per image. Most trials are paused early, so there is no median. The sampler prefers what looked good, so these "
    "rows describe and do not compare."
)
INACTIVE = "– (not used)"
"""Trials in which the parameter's condition was false."""
PARTS = 4
Group = tuple[tuple[str, ...], pd.DataFrame]
"""Values or ranges of the parameters, in words, and the trials that have them."""


def described(view: StudyView) -> str:
    """Say what the rows are; under the pruner `promotion` they have no medians."""
    return _PROMOTED if promotes(view.study) else _MEDIANS


def parameter_tables(view: StudyView) -> list[str]:
    """Return a table under its heading for each choice and each whole number that is searched; prior and components jointly.

    Below stands what was tried only with bad values of other parameters, of any number.

    Empty with two objectives, whose trials have no one value.
    """
    if view.front is not None:
        return []
    blocks = []
    for names in _tabled(view):
        title = f"By {escape(' and '.join(map(parameter_label, names)))}"
        made = by_parameter(view, names[0]) if len(names) == 1 else by_prior_and_components(view)
        lines = [line for line in (made, *(sentence(said, escape) for said in untold(view, names))) if line]
        blocks += [heading(title, 4), *lines] if lines else []
    return blocks


def _tabled(view: StudyView) -> list[list[str]]:
    """Return the parameters of each table; components stand with the prior that has them."""
    parameters = view.parameters
    joint = {"prior", "components"} <= set(parameters) and parameters["prior"].is_choice
    return [["prior", name] if name == "components" and joint else [name] for name in parameters]


def parameter_statements(view: StudyView) -> list[Statement]:
    """Return what stands below these tables."""
    return [] if view.front is not None else [said for names in _tabled(view) for said in untold(view, names)]


def untold(view: StudyView, names: Sequence[str]) -> list[Statement]:
    """Name the values that are not in the table because nothing shows them where the others are good, and those of which the trials say nothing."""
    left, kind = left_out(view.left_out, names), "" if promotes(view.study) else "_complete"
    holes = [hole_statement(view.holes.numbers[name]) for name in names if name in view.holes.numbers]
    return [*([Statement(id=f"table.left_out{kind}", values={"left": left})] if left else []), *holes]


def by_parameter(view: StudyView, name: str) -> str:
    """Return the trials of the search for each value of a choice, or each range of a whole number in powers of two.

    Empty for other numbers, and without a trial.
    """
    parameter = view.parameters[name]
    groups = [] if parameter.kind == "float" else _split(parameter, view.covered(view.search, name))
    groups = [group for group in groups if group[0][0] not in view.uncovered(name)]
    return _group_table(view, [parameter_label(name)], groups)


def by_prior_and_components(view: StudyView) -> str:
    """Return the trials of the search for each prior and, within it, each count or range of counts of components."""
    prior, components = view.parameters["prior"], view.parameters["components"]
    groups: list[Group] = [
        ((*kind, "–" if counts == (INACTIVE,) else counts[0]), both)
        for kind, group in _split(prior, view.covered(view.search, "prior"))
        if kind[0] not in view.uncovered("prior")
        for counts, both in _split(components, group)
        if len(both) and counts[0] not in view.uncovered("components")
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
        label = f"{first:,}–{last:,}" if first < last else f"{first:,}"
        inactive.append(((label,), trials[numbers.between(first, last)]))
    return inactive


def _group_table(view: StudyView, titles: Sequence[str], groups: Sequence[Group]) -> str:
    """Return a row for each group; bold is the lowest median of those that rest on two complete trials or more."""
    if not any(len(trials) for _, trials in groups):
        return ""
    if promotes(view.study):
        return _promoted_table(view, titles, groups)
    header = [*map(escape, titles), "complete (n)", "pruned", "failed", "best", "median, pruned as worse"]
    summaries = [group_of(trials) for _, trials in groups]
    lowest = best_group(summaries)
    rows = []
    for index, ((names, trials), summary) in enumerate(zip(groups, summaries, strict=True)):
        failed = int((trials["state"] == "failed").sum())
        counts = [f"{count:,}" for count in (summary.complete, summary.pruned, failed)]
        median = format_number(summary.median)
        marked = f"**{median}**" if index == lowest and sum(other.tells for other in summaries) > 1 else median
        rows.append([*map(escape, names), *counts, format_number(summary.best), marked])
    return table(header, rows, right=range(len(titles), len(header)))


def _promoted_table(view: StudyView, titles: Sequence[str], groups: Sequence[Group]) -> str:
    """Return a row for each group of a search whose trials are paused and promoted."""
    rows = []
    for names, trials in groups:
        states = trials["state"]
        counts = [len(trials), int(trials["number"].isin(view.judged).sum()), (states == "complete").sum()]
        cells = [f"{count:,}" for count in (*counts, (states == "failed").sum())]
        rows.append([*map(escape, names), *cells, format_number(group_of(trials).best)])
    header = [*map(escape, titles), "trials", "promoted", "complete (n)", "failed", "best"]
    return table(header, rows, right=range(len(titles), len(header)))
