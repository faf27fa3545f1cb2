"""The search as it went: each trial's value in order, and the learning curve of each."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results import best_so_far
from sweeps.results.found_trials import promotes
from vaeexp.plots import style
from vaeexp.results.statements import Caption, Statement
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import row_names
from vaeexp.words import NATS, format_configuration, format_number

CLOCK = 1.05
"""Times the seconds of the search that its trials may lie apart; beyond, it was interrupted, or a clock was set."""
MOST_NAMED = 8
"""Complete trials up to which each has a line of its own with its name."""
NAME_HEIGHT = 0.04
"""Height of a name at the end of a line, as a share of the axes."""
LONGEST_NAME = 24
"""Letters of such a name."""
MOST_CURVES = 100
"""Learning curves drawn of each state; of more, so many that stand evenly among them."""


def history(view: StudyView) -> Figure | None:
    """Draw the value of each trial of the search in order, by state, and the best complete value so far.

    None without a value, where the study file gave all trials, and under the pruner promotion, whose trials wait for each other.
    """
    trials = view.search
    if not trials["objective"].notna().any() or _given(view) == len(trials) or promotes(view.study):
        return None
    figure = style.new_figure()
    axes = style.style_axes(figure.add_subplot(), x="trial", y=NATS)
    complete = trials["state"] == "complete"
    axes.set_ylim(*style.robust_limits(trials.loc[complete, "objective"], trials["objective"]))
    axes.set_xlim(-0.7, max(trials["number"].max(), 4) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    size = 46 * style.marker_scale(len(trials))
    for state in style.STATE_COLOURS:
        # A failed trial is shown even if it never reached the end of an epoch.
        chosen = trials[(trials["state"] == state) & (trials["objective"].notna() | (state == "failed"))]
        if len(chosen):
            label = style.state_label(state, len(chosen))
            places = chosen["number"], chosen["objective"], row_names(chosen)
            style.scatter(axes, *places, state, size=size, label=label)
    _draw_best(axes, best_so_far(view.results), trials["number"].max() + 0.5)
    style.off_scale(axes, trials["objective"])
    style.legend(axes)
    return figure


def history_caption(view: StudyView) -> Caption:
    """Return the caption, which counts the trials of the study file apart: they say nothing of how well the search searches."""
    caption = "Each mark is a trial, in the order of the search, at its best epoch; the line is the best complete trial so far."
    start = _given(view)
    return [caption, Statement(id="plot.given", values={"trials": start})] if start else caption


def _given(view: StudyView) -> int:
    """Return how many trials of the search the study file gave."""
    return min(len(view.study.spec.get("start") or []), len(view.search))


def _draw_best(axes: Axes, course: pd.DataFrame, last: float) -> None:
    """Draw the steps of the best complete value so far, on to `last`, and name the winner below its point.

    `course` has the number, value and best (so far) of complete trials, in the order of the search.
    """
    if course.empty:
        return
    steps = [*course["best"], course["best"].iloc[-1]]
    axes.step([*course["number"], last], steps, where="post", color=style.BEST, linewidth=2)
    best = course.nsmallest(1, "objective").iloc[0]
    share = best["number"] / last
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.05 * (high - low), high)
    side = "center" if 0.2 < share < 0.8 else ("left" if share <= 0.5 else "right")
    text = f"lowest: trial {int(best['number'])}, {format_number(best['objective'])}"
    style.annotate(axes, text, (best["number"], best["objective"]), (0, -8), colour=style.BEST, ha=side, va="top")


def wall_time(view: StudyView) -> Figure | None:
    """Draw the value of each complete trial at the time at which it ended, and the best so far.

    None without two complete trials with times, and where the trials lie further apart than the search has run: then it was interrupted, and
    the times of its trials count hours in which nothing ran.
    """
    trials, spent = view.ranked, view.study.elapsed
    trials = trials[np.isfinite(trials["ended"].astype(float))].sort_values(["ended", "number"])
    first = float(view.search["started"].astype(float).min())
    hours = (trials["ended"].astype(float) - first) / 3600
    if len(trials) < 2 or not spent or hours.min() < 0 or 3600 * hours.max() > CLOCK * spent:
        return None
    unit, scale = next(
        (unit, scale)
        for unit, scale in (("hours", 1), ("minutes", 60), ("seconds", 3600))
        if scale * hours.max() > 2 or scale == 3600
    )
    x, values = hours * scale, trials["objective"]
    figure = style.new_figure()
    axes = style.style_axes(figure.add_subplot(), x=f"wall time of the search ({unit})", y=NATS)
    axes.set_ylim(*style.robust_limits(values, values))
    axes.set_xlim(0, 1.02 * max(float(x.max()), spent / 3600 * scale))
    label, size = style.state_label("complete", len(trials)), 46 * style.marker_scale(len(trials))
    style.scatter(axes, x, values, row_names(trials), "complete", size=size, label=label)
    best = values.cummin()
    axes.step(
        [*x, axes.get_xlim()[1]],
        [*best, best.iloc[-1]],
        where="post",
        color=style.BEST,
        linewidth=2,
        label="best so far",
    )
    style.off_scale(axes, values)
    style.legend(axes)
    return figure


def learning_curves(view: StudyView) -> Figure | None:
    """Draw validation −ELBO by epoch of trials of the search, with marks where a trial was pruned or failed.

    Of more than `MOST_CURVES` trials in a state, so many are drawn that stand evenly among them, from best to worst. None
    without an epoch.
    """
    trials, epochs = view.search, view.epochs
    epochs_drawn = epochs[~epochs["repeat"] & epochs["number"].isin(trials["number"])]
    finite = epochs_drawn[np.isfinite(epochs_drawn["objective"])]
    if finite.empty:
        return None
    lowest = finite.groupby("number")["objective"].min()
    best_values = trials.set_index("number")["objective"].reindex(lowest.index)
    lowest = best_values.fillna(lowest).sort_values(kind="stable")  # of a trial in its warm-up no epoch counts yet
    states = trials.set_index("number")["state"].reindex(lowest.index)
    complete = view.ranked[view.ranked["number"].isin(lowest.index)]
    leader = int(complete["number"].iloc[0] if len(complete) else lowest.index[0])
    drawn = {
        state: _evenly(lowest.index[states == state]) for state in ("pruned", "failed", "paused", "running", "complete")
    }
    shown = finite[finite["number"].isin([leader, *np.concatenate([*drawn.values()])])].sort_values(["number", "epoch"])
    curves = {number: part[["epoch", "objective"]].to_numpy() for number, part in shown.groupby("number")}
    figure = style.new_figure(5.0)
    axes = style.style_axes(figure.add_subplot(), x="epoch", y=NATS)
    low, high = style.robust_limits(lowest[complete["number"]], lowest)
    # The best values decide the scale, with room to see how the good ones came down.
    high = max(high + 0.35 * (high - low), float(curves[leader][len(curves[leader]) // 5, 1]))
    axes.set(xlim=(0.5, max(finite["epoch"].max(), 2) + 0.5), ylim=(low, high))
    named = list(complete["number"]) if 1 < len(complete) <= MOST_NAMED else []
    for state, chosen in drawn.items():
        if len(chosen) and not (named and state == "complete"):
            _draw_curves(axes, {number: curves[number] for number in chosen}, state, int((states == state).sum()))
    if named:
        names = {trial["number"]: _name_of(view, trial) for _, trial in complete.iterrows()}
        _name_curves(axes, {number: curves[number] for number in names}, names, low, high)
    elif len(complete):
        best, winner = complete.iloc[0], f"lowest: trial {leader}"
        look: dict[str, Any] = {"color": style.TEXT_COLOUR}
        lines = axes.plot(*curves[leader].T, linewidth=2.2, zorder=5, label=winner, **look)
        lines += axes.plot([best["best_epoch"]], [best["objective"]], marker="o", markersize=6, zorder=6, **look)
        for line in lines:
            style.mark_trials(line, [leader])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if (finite["objective"] > high).any():
        style.note(axes, f"values above {high:,.0f} are cut off", y=0.95)
    if states.value_counts().max() > MOST_CURVES:
        style.note(axes, f"at most {MOST_CURVES} curves of an outcome are drawn", y=0.9)
    if axes.get_legend_handles_labels()[0]:
        style.legend(axes)
    return figure


def _name_of(view: StudyView, trial: pd.Series) -> str:
    """Return what a curve is called: the value of the parameter that was searched alone, else the trial."""
    values = view.params(trial)
    return format_configuration(values) if len(view.parameters) == 1 and values else f"trial {trial['number']}"


def _name_curves(axes: Axes, curves: dict[int, np.ndarray], names: dict[int, str], low: float, high: float) -> None:
    """Draw the curves of few complete trials, the best first, each in a look of its own with its name at its end.

    `low` and `high` are the limits of the axes. The names keep clear of each other; a line joins a name that had to move to its curve.
    """
    ends = {number: (float(np.clip(curve[-1, 1], low, high)) - low) / (high - low) for number, curve in curves.items()}
    heights: dict[int, float] = {}
    for number in sorted(ends, key=lambda each: (ends[each], names[each])):
        heights[number] = max(ends[number], max(heights.values(), default=-1.0) + NAME_HEIGHT)
    excess = max(0.0, max(heights.values()) - 1.0)
    for index, (number, curve) in enumerate(curves.items()):
        black = len(style.COLOURS) - 1
        look = style.line_style(black if index == 0 else index - (index <= black))
        lines = axes.plot(*curve.T, linewidth=2.2 if index == 0 else 1.5, zorder=5 if index == 0 else 3, **look)
        best = curve[curve[:, 1].argmin()]
        lines += axes.plot([best[0]], [best[1]], marker="o", color=look["color"], markersize=5, zorder=6)
        for line in lines:
            style.mark_trials(line, [number])
        words = f"{style.shortened(names[number], LONGEST_NAME)}{' (lowest)' if index == 0 else ''}"
        place: dict[str, Any] = {"xycoords": "axes fraction", "ha": "left"}
        style.annotate(axes, words, (1.01, heights[number] - excess), colour=look["color"], **place)


def _evenly(numbers: pd.Index) -> np.ndarray:
    """Return at most `MOST_CURVES` of these, the first and the last among them."""
    indices = np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_CURVES)).round().astype(int)
    return numbers.to_numpy()[indices]


def _draw_curves(axes: Axes, curves: dict[int, np.ndarray], state: str, count: int) -> None:
    """Draw the curves of one state, `count` trials in all; pruned and failed ones faded, with a mark at their end.

    Call it after the limits are set.
    """
    stopped = state in ("pruned", "failed", "paused")
    faint = (0.4 if stopped else 0.7) * min(1.0, (30 / len(curves)) ** 0.75)
    colour, label = style.STATE_COLOURS[state], style.state_label(state, count)
    lines = LineCollection([*curves.values()], colors=colour, linewidths=1.2, alpha=faint, zorder=2)
    axes.add_collection(lines)
    style.mark_trials(lines, curves)
    if stopped:
        every = np.array([curve[-1] for curve in curves.values()])
        inside = style.within(axes, every)
        rows, ends = np.array([*curves])[inside], every[inside]
        look: dict[str, Any] = {
            "marker": style.STATE_MARKERS[state],
            "edgecolors": colour,
            "facecolors": "none",
            "alpha": 0.9,
        }
        size = 30 * style.marker_scale(4 * len(curves))
        style.mark_trials(axes.scatter(ends[:, 0], ends[:, 1], s=size, zorder=4, label=label, **look), rows)
    else:
        axes.plot([], [], color=colour, linewidth=1.6, label=label)
