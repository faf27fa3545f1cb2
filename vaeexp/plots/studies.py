"""Studies of one protocol side by side: what their best configurations are worth on test, and how soon each search was there."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaeexp.plots.style import (
    COLOURS,
    DASHES,
    MUTED,
    annotate,
    legend,
    log_axis,
    new_figure,
    note,
    robust_limits,
    side_legend,
    style_axes,
)
from vaeexp.results.study_summary import StudySummary
from vaeexp.words import format_interval, format_number

LONGEST = 28
"""Characters of a study's name in the plot; longer ones are cut."""
MANY = 6
"""Times that the longest search has the epochs of the shortest from which on their axis is logarithmic."""


def side_by_side(group: Sequence[StudySummary]) -> Figure | None:
    """Draw the values of each study above, and the course of each search below.

    Above is a row per study: test mean and interval of its confirmed configuration, and the best validation value of its
    search. Below is that best value against the trial-epochs spent, a line per study. All studies must share their protocol.
    None with fewer than two studies that have a complete trial.
    """
    shown = [study for study in group if len(study.course)]
    if len(shown) < 2:
        return None
    upper, lower = 1.15 + 0.34 * len(shown), max(3.0, 1.0 + 0.22 * len(shown))
    figure = new_figure(upper + lower)
    above, below = figure.subplots(2, 1, height_ratios=[upper, lower])
    _draw_values(above, shown)
    _draw_courses(below, shown)
    return figure


def _draw_values(axes: Axes, shown: Sequence[StudySummary]) -> None:
    style_axes(axes, x=f"{shown[0].measure} (nats per image; smaller is better)")
    tested: dict[str, Any] = {"s": 64, "marker": "D", "linewidths": 0}
    searched: dict[str, Any] = {"s": 46, "facecolor": "white", "linewidths": 1.6}
    for row, study in enumerate(shown):
        colour, test = COLOURS[row % len(COLOURS)], study.test
        if np.isfinite(test.low):
            axes.plot([test.low, test.high], [row, row], color=colour, linewidth=2.6, zorder=3)
        if test.n:
            axes.scatter([test.mean], [row], color=colour, zorder=4, **tested)
        axes.scatter([_searched(study)], [row], edgecolor=colour, zorder=5, **searched)
        text = (
            f"{format_interval(test)}, n = {test.n}"
            if test.n
            else f"{format_number(study.search_value)}, not confirmed"
        )
        annotate(axes, text, (1.01, row), xycoords=("axes fraction", "data"), ha="left")
    axes.scatter([], [], color=MUTED, label="test, confirmed with fresh seeds, 95 % interval", **tested)
    axes.scatter([], [], edgecolor=MUTED, label="validation, best of the search", **searched)
    axes.set_yticks(range(len(shown)), [_short(study.name) for study in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(*_value_limits(shown))
    axes.grid(visible=False, axis="y")
    legend(axes)


def _searched(study: StudySummary) -> float:
    return float("nan") if study.search_value is None else study.search_value


def _value_limits(shown: Sequence[StudySummary]) -> tuple[float, float]:
    """Return limits for all means and values, and of the intervals what leaves these legible: two seeds may give one of 20 nats."""
    values = [value for study in shown for value in (_searched(study), study.test.mean) if np.isfinite(value)]
    low, high = min(values), max(values)
    room = max(0.6 * (high - low), 0.5)
    ends = [end for study in shown for end in (study.test.low, study.test.high) if np.isfinite(end)]
    low, high = max(low - room, min([low, *ends])), min(high + room, max([high, *ends]))
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _draw_courses(axes: Axes, shown: Sequence[StudySummary]) -> None:
    style_axes(axes, x="trial-epochs of the search", y=f"best validation {shown[0].measure} so far\n(nats per image)")
    low, high = robust_limits(map(_searched, shown), [value for study in shown for value in study.course["best"]])
    # Each search shows how it came down, if not from how high.
    high = max(high, *(float(study.course["best"].iloc[len(study.course) // 4]) for study in shown))
    high += 0.06 * (high - low)
    axes.set_ylim(low, high)
    _scale_cost(axes, shown)
    for row, study in enumerate(shown):
        spent, best = study.course["spent"], study.course["best"]
        colour, dash = COLOURS[row % len(COLOURS)], DASHES[row // len(COLOURS) % len(DASHES)]
        look: dict[str, Any] = {"where": "post", "color": colour, "linestyle": dash, "linewidth": 1.9}
        axes.step([*spent, study.epochs], [*best, best.iloc[-1]], label=_short(study.name), **look)
    if any((study.course["best"] > high).any() for study in shown):
        note(axes, f"values above {high:,.0f} are cut off")
    side_legend(axes)


def _scale_cost(axes: Axes, shown: Sequence[StudySummary]) -> None:
    """Scale from 0 to the longest search; logarithmic where a short one would be lost beside it."""
    first = min(float(study.course["spent"].iloc[0]) for study in shown)
    last = max(study.epochs for study in shown)
    if last > MANY * min(study.epochs for study in shown):
        log_axis(axes.xaxis, max(first, 1.0), float(last))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlim(0, 1.01 * last)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
