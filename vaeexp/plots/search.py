"""The search as it went: each trial's value in order, the learning curve of each, what it took, and where the time went."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results import best_so_far
from vaeexp.plots import style
from vaeexp.results.study_view import StudyView
from vaeexp.words import NATS, format_duration, format_number

MOST_CURVES = 100
"""Learning curves drawn of each state; of more, so many that stand evenly among them."""
SEPARATE = 150
"""Trials of a state whose bars stand apart; the bars of more are one area."""
MEDIANS = 5
"""Times the largest median of an outcome up to which costs are shown."""


def history(view: StudyView) -> Figure | None:
    """Draw the value of each trial of the search in order, by state, and the best complete value so far. None without a value."""
    trials = view.search
    if not trials["objective"].notna().any():
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
            label = f"{state} ({len(chosen)})"
            style.scatter(axes, chosen["number"], chosen["objective"], state, size=size, label=label)
    _draw_best(axes, best_so_far(view.results), "number", trials["number"].max() + 0.5)
    style.off_scale(axes, trials["objective"])
    style.legend(axes)
    return figure


def best_by_cost(view: StudyView) -> Figure | None:
    """Draw the complete trials and the best value so far against the trial-epochs spent. None before a trial has completed."""
    course = view.course
    if course.empty:
        return None
    figure = style.new_figure()
    axes = style.style_axes(figure.add_subplot(), x="trial-epochs of the search", y=NATS)
    complete = course[course["state"] == "complete"]
    last = int(view.search["epochs"].sum())
    axes.set(xlim=(0, 1.01 * last), ylim=style.robust_limits(complete["objective"]))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    size = 30 * style.marker_scale(len(complete))
    style.scatter(axes, complete["spent"], complete["objective"], "complete", size=size)
    _draw_best(axes, complete, "spent", last)
    style.off_scale(axes, complete["objective"])
    return figure


def _draw_best(axes: Axes, course: pd.DataFrame, along: str, last: float) -> None:
    """Draw the steps of the best complete value so far, on to `last`, and name the winner below its point.

    `course` has the number, value and best (so far) of complete trials, in order of the column `along`, which is on the x axis.
    """
    if course.empty:
        return
    steps = [*course["best"], course["best"].iloc[-1]]
    axes.step([*course[along], last], steps, where="post", color=style.BEST, linewidth=2)
    best = course.nsmallest(1, "objective").iloc[0]
    share = best[along] / last
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.05 * (high - low), high)
    side = "center" if 0.2 < share < 0.8 else ("left" if share <= 0.5 else "right")
    text = f"best: trial {int(best['number'])}, {format_number(best['objective'])}"
    if along == "spent":
        text += f" after {int(best[along]):,} of {last:,} trial-epochs"
    style.annotate(axes, text, (best[along], best["objective"]), (0, -8), colour=style.BEST, ha=side, va="top")


def learning_curves(view: StudyView) -> Figure | None:
    """Draw validation −ELBO by epoch of trials of the search, with marks where a trial was pruned or failed.

    Of more than `MOST_CURVES` trials in a state, so many are drawn that stand evenly among them, from best to worst. None
    without an epoch.
    """
    trials, epochs = view.search, view.epochs
    own = epochs[~epochs["repeat"] & epochs["number"].isin(trials["number"])]
    finite = own[np.isfinite(own["objective"])]
    if finite.empty:
        return None
    lowest = finite.groupby("number")["objective"].min().sort_values(kind="stable")
    states = trials.set_index("number")["state"].reindex(lowest.index)
    complete = view.ranked[view.ranked["number"].isin(lowest.index)]
    leader = int(complete["number"].iloc[0] if len(complete) else lowest.index[0])
    drawn = {state: _evenly(lowest.index[states == state]) for state in ("pruned", "failed", "running", "complete")}
    shown = finite[finite["number"].isin([leader, *np.concatenate([*drawn.values()])])].sort_values(["number", "epoch"])
    curves = {number: part[["epoch", "objective"]].to_numpy() for number, part in shown.groupby("number")}
    figure = style.new_figure(5.0)
    axes = style.style_axes(figure.add_subplot(), x="epoch", y=NATS)
    low, high = style.robust_limits(lowest[complete["number"]], lowest)
    # The best values decide the scale, with room to see how the good ones came down.
    high = max(high + 0.35 * (high - low), float(curves[leader][len(curves[leader]) // 5, 1]))
    for state, chosen in drawn.items():
        if len(chosen):
            _draw_curves(axes, [curves[number] for number in chosen], state, int((states == state).sum()))
    if len(complete):
        best, winner = complete.iloc[0], f"best: trial {leader}"
        axes.plot(*curves[leader].T, color=style.TEXT_COLOUR, linewidth=2.2, zorder=5, label=winner)
        axes.plot(
            [best["best_epoch"]], [best["objective"]], marker="o", color=style.TEXT_COLOUR, markersize=6, zorder=6
        )
    axes.set(xlim=(0.5, max(finite["epoch"].max(), 2) + 0.5), ylim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if (finite["objective"] > high).any():
        style.note(axes, f"values above {high:,.0f} are cut off")
    if states.value_counts().max() > MOST_CURVES:
        style.note(axes, f"at most {MOST_CURVES} curves of an outcome are drawn", y=0.95)
    style.legend(axes)
    return figure


def _evenly(numbers: pd.Index) -> np.ndarray:
    """Return at most `MOST_CURVES` of these, the first and the last among them."""
    places = np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_CURVES)).round().astype(int)
    return numbers.to_numpy()[places]


def _draw_curves(axes: Axes, curves: list[np.ndarray], state: str, count: int) -> None:
    """Draw the curves of one state, `count` trials in all; pruned and failed ones faded, with a mark at their end."""
    stopped = state in ("pruned", "failed")
    faint = (0.4 if stopped else 0.7) * min(1.0, (30 / len(curves)) ** 0.75)
    colour, label = style.STATE_COLOURS[state], f"{state} ({count:,})"
    axes.add_collection(LineCollection(curves, colors=colour, linewidths=1.2, alpha=faint, zorder=2))
    if stopped:
        ends = np.array([curve[-1] for curve in curves])
        look: dict[str, Any] = {"marker": style.STATE_MARKERS[state], "color": colour, "linewidths": 0, "alpha": 0.9}
        axes.scatter(ends[:, 0], ends[:, 1], s=30 * style.marker_scale(4 * len(curves)), zorder=4, label=label, **look)
    else:
        axes.plot([], [], color=colour, linewidth=1.6, label=label)


def trial_costs(view: StudyView) -> Figure | None:
    """Draw the seconds of training of each trial of the search, by state and in falling order. None before any has trained."""
    trained = view.search[view.search["seconds"] > 0]
    if trained.empty:
        return None
    seconds = trained["seconds"]
    total, most = float(seconds.sum()), float(seconds.max())
    top = min(most, MEDIANS * float(seconds.groupby(trained["state"]).median().max()))
    size, unit = (1.0, "s") if top < 180 else (60.0, "min") if top < 3 * 3600 else (3600.0, "h")
    figure = style.new_figure(4.4)
    axes = style.style_axes(figure.add_subplot(), x="trials, dearest first within each outcome", y=f"training ({unit})")
    start = 0
    for state in ("complete", "pruned", "failed", "running"):
        own = np.sort(seconds[trained["state"] == state].to_numpy(float))[::-1]
        if len(own):
            _draw_costs(axes, own, state, start, size, total)
            start += len(own)
    axes.set(xlim=(0, start), ylim=(0, 1.04 * top / size))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if most > 1.04 * top:
        style.note(axes, f"the dearest took {_seconds(most)}")
    style.legend(axes, columns=2)
    return figure


def _draw_costs(axes: Axes, seconds: np.ndarray, state: str, start: int, size: float, total: float) -> None:
    """Draw one block of bars, the trials of a state, with a line at their median; its area is their time together."""
    median = float(np.median(seconds))
    share = 100 * seconds.sum() / total
    label = f"{state} ({len(seconds):,}): {'median ' if len(seconds) > 1 else ''}{_seconds(median)}"
    label += f", {'under 1' if share < 0.5 else f'{share:.0f}'} % of the time"
    edges = start + np.arange(len(seconds) + 1)
    axes.stairs(seconds / size, edges, fill=True, color=style.STATE_COLOURS[state], alpha=0.9, linewidth=0, label=label)
    if len(seconds) <= SEPARATE:
        axes.vlines(edges[1:-1], 0, seconds[:-1] / size, color="white", linewidth=0.8)
    if len(seconds) > 1:
        axes.plot(
            [edges[0], edges[-1]], [median / size] * 2, color=style.TEXT_COLOUR, linewidth=1.8, solid_capstyle="butt"
        )


def _seconds(seconds: float) -> str:
    return format_duration(seconds) if seconds >= 10 else f"{format_number(seconds, 1)} s"
