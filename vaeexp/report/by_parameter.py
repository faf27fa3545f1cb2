"""Trials of the search by the value of one parameter."""

import math
from collections.abc import Sequence

import pandas as pd

from sweeps.results import promotes
from vaeexp.plots.parameters import untold
from vaeexp.report.markup import escape, heading, table
from vaeexp.report.sentences import Block
from vaeexp.results.effects import best_group, group_of
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.words import format_number, format_value, parameter_label

_MEDIANS = (
    "Trials of the search by how they ended, the best validation −ELBO of the n complete ones, "
    "and the median of complete and pruned ones together, in nats per image. A pruned trial "
    "counts as worse than every complete one, so that there is no median where half or more were "
    "pruned. Bold is the lowest median; a value with one complete trial is never bold. The "
    "sampler prefers what looked good, so these rows describe and do not compare."
)
_PROMOTED = (
    "Trials of the search by how far they came: how many were promoted from the first rung on or "
    "are complete, and the best validation −ELBO of the complete ones, in nats per image. Most "
    "trials are paused early, so there is no median. The sampler prefers what looked good, so "
    "these rows describe and do not compare."
)
INACTIVE = "– (not used)"
"""Trials in which the parameter's condition was false."""
PARTS = 4
Group = tuple[str, pd.DataFrame]
"""A value or a range of a parameter, in words, and the trials that have it."""


def described(view: StudyView) -> str:
    """Say what the rows are; under the pruner `promotion` they have no medians."""
    return _PROMOTED if promotes(view.study) else _MEDIANS


def parameter_tables(view: StudyView) -> list[Block]:
    """Return a table under its heading for each choice and each whole number that is searched.

    Below stands what was tried only with bad values of other parameters, of any number.

    Empty with two objectives, whose trials have no one value.
    """
    blocks: list[Block] = []
    for name in view.plan.parameters if view.front is None else ():
        made: list[Block] = [by_parameter(view, name), *untold(view, [name])]
        label = escape(parameter_label(name))
        blocks += [heading(f"By {label}", 4), *made] if any(made) else []
    return blocks


def by_parameter(view: StudyView, name: str) -> str:
    """Return the trials of the search for each value of a choice, or each range of a whole number
    in powers of two. Empty for other numbers, and without a trial.
    """
    parameter = view.plan.parameters[name]
    if parameter.kind == "float":
        return ""
    groups = _split(parameter, view.influence.covered(view.search, name))
    shown = [(text, own) for text, own in groups if text not in view.influence.uncovered(name)]
    return _group_table(view, parameter_label(name), shown)


def ranges(low: int, high: int) -> list[tuple[int, int]]:
    """Split the whole numbers from low to high between powers of two; fewer than three such ranges
    make way for even parts.

    A last range of one number (64 of 2–64) goes to its neighbour.
    """
    starts = (
        [low, *(2**power for power in range(max(high, 1).bit_length()) if low < 2**power <= high)]
        if low >= 0
        else []
    )
    if len(starts) > 1 and starts[-1] == high:
        starts.pop()
    if len(starts) < 3:
        starts = sorted(
            {low + math.floor(part * (high - low + 1) / PARTS) for part in range(PARTS)}
        )
    return [*zip(starts, [start - 1 for start in starts[1:]] + [high], strict=True)]


def _split(parameter: SearchedParameter, trials: pd.DataFrame) -> list[Group]:
    """Return the trials of each value of a choice, also without a trial, or of each range; and
    those without the parameter.
    """
    values = parameter.of(trials)
    inactive = [(INACTIVE, trials[values.isna()])] if values.isna().any() else []
    if parameter.is_choice:
        texts = values.map(format_value, na_action="ignore")
        return [*((text, trials[texts == text]) for text in parameter.texts), *inactive]
    numbers = values.astype("Float64").astype(float)
    # The axis reaches to trials of an earlier search space, which may lie outside the range of
    # today.
    for first, last in ranges(int(parameter.first), int(parameter.last)):
        label = f"{first:,}–{last:,}" if first < last else f"{first:,}"
        inactive.append((label, trials[numbers.between(first, last)]))
    return inactive


def _group_table(view: StudyView, title: str, groups: Sequence[Group]) -> str:
    """Return a row for each group; bold is the lowest median of those that rest on two complete
    trials or more.

    Under the pruner `promotion`, which pauses trials, there is no median.
    """
    if not any(len(trials) for _, trials in groups):
        return ""
    summaries = [group_of(trials) for _, trials in groups]
    lowest = best_group(summaries)
    telling = sum(summary.tells for summary in summaries)
    paused = promotes(view.study)
    rows = []
    for index, ((text, trials), summary) in enumerate(zip(groups, summaries, strict=True)):
        states = trials["state"]
        median = format_number(summary.median)
        failed = (states == "failed").sum()
        best = format_number(summary.best)
        if paused:
            promoted = trials["number"].isin(view.influence.judged).sum()
            counts = [len(trials), promoted, (states == "complete").sum(), failed]
            ends = [best]
        else:
            counts = [summary.complete, summary.pruned, failed]
            ends = [best, f"**{median}**" if index == lowest and telling > 1 else median]
        rows.append([escape(text), *(f"{count:,}" for count in counts), *ends])
    header = ["complete (n)", "pruned", "failed", "best", "median, pruned as worse"]
    header = ["trials", "promoted", "complete (n)", "failed", "best"] if paused else header
    return table([escape(title), *header], rows, right=range(1, 6))
