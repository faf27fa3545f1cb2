"""Studies of one protocol side by side: what their best settings are worth on test, and how soon each search was there."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaeexp.plots.style import (
    COLOURS,
    DASHES,
    INK,
    MUTED,
    End,
    dress,
    key,
    log_axis,
    name_ends,
    new_figure,
    note,
    robust_limits,
)
from vaeexp.results.study_summary import Standing
from vaeexp.words import format_number

LONGEST = 28
"""Characters of a study's name in the figure; longer ones are cut."""
MANY = 6
"""Times that the longest search has the epochs of the shortest from which on their axis is logarithmic."""


def side_by_side(group: Sequence[Standing]) -> Figure | None:
    """Above, a row per study: test mean and interval of its confirmed setting, and the best validation value of its search.
    Below, that best value against the trial-epochs spent, a line per study.

    All studies must share their protocol. None with fewer than two studies that have a complete trial.
    """
    shown = [each for each in group if len(each.course)]
    if len(shown) < 2:
        return None
    upper, lower = 1.15 + 0.34 * len(shown), max(3.0, 1.0 + 0.22 * len(shown))
    figure = new_figure(upper + lower)
    above, below = figure.subplots(2, 1, height_ratios=[upper, lower])
    _draw_values(above, shown)
    _draw_courses(below, shown)
    return figure


def _draw_values(axes: Axes, shown: Sequence[Standing]) -> None:
    dress(axes, x=f"{shown[0].measure} (nats per image; smaller is better)")
    for row, each in enumerate(shown):
        colour, test = COLOURS[row % len(COLOURS)], each.test
        if np.isfinite(test.low):
            axes.plot([test.low, test.high], [row, row], color=colour, linewidth=2.6, zorder=3)
        if test.n:
            axes.scatter([test.mean], [row], s=64, marker="D", color=colour, linewidths=0, zorder=4)
        axes.scatter([each.search_value], [row], s=46, facecolor="white", edgecolor=colour, linewidths=1.6, zorder=5)
        axes.annotate(
            _value_words(each), (1.01, row), xycoords=("axes fraction", "data"), fontsize=10, color=INK, va="center"
        )
    axes.scatter(
        [], [], s=64, marker="D", color=MUTED, linewidths=0, label="test, confirmed with fresh seeds, 95 % interval"
    )
    axes.scatter(
        [], [], s=46, facecolor="white", edgecolor=MUTED, linewidths=1.6, label="validation, best of the search"
    )
    axes.set_yticks(range(len(shown)), [_short(each.name) for each in shown])
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(*_value_limits(shown))
    axes.grid(visible=False, axis="y")
    key(axes)


def _value_limits(shown: Sequence[Standing]) -> tuple[float, float]:
    """All means and values, and of the intervals what leaves these legible: two seeds may give one of 20 nats."""
    values = [value for each in shown for value in (each.search_value, each.test.mean) if np.isfinite(value)]
    low, high = min(values), max(values)
    room = max(0.6 * (high - low), 0.5)
    ends = [end for each in shown for end in (each.test.low, each.test.high) if np.isfinite(end)]
    low, high = max(low - room, min([low, *ends])), min(high + room, max([high, *ends]))
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin


def _value_words(each: Standing) -> str:
    test = each.test
    if not test.n:
        return f"{format_number(each.search_value)}, not confirmed"
    width = f" ± {format_number(test.half_width)}" if np.isfinite(test.low) else ""
    return f"{format_number(test.mean)}{width}, n = {test.n}"


def _draw_courses(axes: Axes, shown: Sequence[Standing]) -> None:
    dress(axes, x="trial-epochs of the search", y=f"best validation {shown[0].measure} so far\n(nats per image)")
    low, high = robust_limits([each.search_value for each in shown], [v for each in shown for v in each.course["best"]])
    # Each search shows how it came down, if not from how high.
    high = max(high, *(float(each.course["best"].iloc[len(each.course) // 4]) for each in shown))
    high += 0.06 * (high - low)
    axes.set_ylim(low, high)
    _scale_cost(axes, shown)
    for row, each in enumerate(shown):
        steps = each.course
        axes.step(
            [*steps["spent"], each.epochs],
            [*steps["best"], steps["best"].iloc[-1]],
            where="post",
            color=COLOURS[row % len(COLOURS)],
            linestyle=DASHES[row // len(COLOURS) % len(DASHES)],
            linewidth=1.9,
        )
    if any((each.course["best"] > high).any() for each in shown):
        note(axes, f"values above {high:,.0f} are cut off")
    ends = [(each.epochs, each.course["best"].iloc[-1], _short(each.name)) for each in shown]
    name_ends(axes, [End(*end, COLOURS[row % len(COLOURS)]) for row, end in enumerate(ends)])


def _scale_cost(axes: Axes, shown: Sequence[Standing]) -> None:
    """From 0 to the longest search; logarithmic where a short one would be lost beside it."""
    first, last = min(float(each.course["spent"].iloc[0]) for each in shown), max(each.epochs for each in shown)
    if last > MANY * min(each.epochs for each in shown):
        log_axis(axes.xaxis, max(first, 1.0), float(last))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.set_xlim(0, 1.01 * last)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
