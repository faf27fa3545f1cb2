"""The search as it went: each trial's value in order, and the learning curve of each."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results.rankings import Results, best_so_far
from vaeexp.plots.style import (
    BEST,
    INK,
    STATE_COLOURS,
    STATE_MARKERS,
    Plot,
    crowding,
    dress,
    key,
    new_figure,
    note,
    off_scale,
    robust_limits,
    scatter,
)
from vaeexp.results.frames import search_trials
from vaeexp.words import NATS, format_number

MOST_CURVES = 100
"""Learning curves drawn of each state; of more, so many that stand evenly among them."""


def history(results: Results) -> Figure | None:
    """Value of each trial of the search in order, by state, and the best complete value so far. None without a value."""
    trials = search_trials(results)
    if not trials["objective"].notna().any():
        return None
    figure = new_figure()
    axes = dress(figure.add_subplot(), x="trial", y=NATS)
    complete = trials["state"] == "complete"
    low, high = robust_limits(trials.loc[complete, "objective"], trials["objective"])
    axes.set_ylim(low, high)
    axes.set_xlim(-0.7, max(trials["number"].max(), 4) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for state in STATE_COLOURS:
        # A failed trial is shown even if it never reached the end of an epoch.
        chosen = trials[(trials["state"] == state) & (trials["objective"].notna() | (state == "failed"))]
        if len(chosen):
            scatter(
                axes,
                chosen["number"],
                chosen["objective"],
                state,
                size=46 * crowding(len(trials)),
                label=f"{state} ({len(chosen)})",
            )
    draw_best(axes, best_so_far(results), "number", trials["number"].max() + 0.5)
    off_scale(axes, int((trials["objective"] > high).sum()))
    key(axes)
    return figure


def draw_best(axes: Axes, course: pd.DataFrame, along: str, last: float, words: str = "") -> None:
    """Steps of the best complete value so far, the winner named below its point, with these words after it.

    `course` has the number, value and best (so far) of complete trials, in order of the column `along`, which is on the x
    axis; the steps go on to `last`.
    """
    if course.empty:
        return
    places, steps = course[along], course["best"]
    axes.step([*places, last], [*steps, steps.iloc[-1]], where="post", color=BEST, linewidth=2, zorder=2)
    best = course.loc[course["objective"].idxmin()]
    share = best[along] / last if last else 0.0
    side = "center" if 0.15 < share < 0.85 else ("left" if share <= 0.5 else "right")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.05 * (high - low), high)
    axes.annotate(
        f"best: trial {int(best['number'])}, {format_number(best['objective'])}{words}",
        (best[along], best["objective"]),
        xytext=(0, -8),
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize=10,
        color=BEST,
    )


def learning_curves(results: Results) -> Figure | None:
    """Validation −ELBO by epoch of trials of the search; where one was pruned or failed is marked. None without an epoch.

    Of more than `MOST_CURVES` trials in a state, so many are drawn that stand evenly among them, from best to worst.
    """
    trials = search_trials(results)
    epochs = results.epochs
    own = epochs[~epochs["repeat"] & epochs["number"].isin(trials["number"])]
    finite = own[np.isfinite(own["objective"])]
    if finite.empty:
        return None
    lowest = finite.groupby("number")["objective"].min().sort_values(kind="stable")
    states = trials.set_index("number")["state"].reindex(lowest.index)
    complete = trials[(trials["state"] == "complete") & trials["number"].isin(lowest.index)].sort_values(
        ["objective", "number"]
    )
    leader = (complete["number"] if len(complete) else lowest.index.to_series()).iloc[0]
    drawn = {state: _evenly(lowest.index[states == state]) for state in ("pruned", "failed", "running", "complete")}
    curves = _curves(finite, [leader, *np.concatenate([*drawn.values()])])
    figure = new_figure(5.0)
    axes = dress(figure.add_subplot(), x="epoch", y=NATS)
    low, high = robust_limits(lowest[complete["number"]], lowest)
    # The best values decide the scale, with room to see how the good ones came down.
    high += 0.35 * (high - low)
    high = max(high, float(curves[leader][len(curves[leader]) // 5, 1]))
    for state, chosen in drawn.items():
        if len(chosen):
            _draw_curves(axes, [curves[row] for row in chosen], state, int((states == state).sum()))
    if len(complete):
        _draw_winner(axes, complete.iloc[0], curves[leader])
    axes.set_ylim(low, high)
    axes.set_xlim(0.5, max(finite["epoch"].max(), 2) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if (finite["objective"] > high).any():
        note(axes, f"values above {high:,.0f} are cut off")
    if states.value_counts().max() > MOST_CURVES:
        note(axes, f"at most {MOST_CURVES} curves of an outcome are drawn", y=0.95)
    key(axes)
    return figure


def _evenly(ranked: pd.Index) -> np.ndarray:
    """At most `MOST_CURVES` of these, the first and the last among them."""
    places = np.linspace(0, len(ranked) - 1, min(len(ranked), MOST_CURVES)).round().astype(int)
    return ranked.to_numpy()[places]


def _curves(epochs: pd.DataFrame, chosen: Sequence[int]) -> dict[int, np.ndarray]:
    """(epoch, value) of each of these trials, by number: [E, 2]."""
    own = epochs[epochs["number"].isin(chosen)].sort_values(["number", "epoch"])
    return {int(row): part[["epoch", "objective"]].to_numpy() for row, part in own.groupby("number")}


def _draw_curves(axes: Axes, curves: list[np.ndarray], state: str, count: int) -> None:
    """The curves of one state, `count` trials in all; those that were pruned or failed faded, with a mark at their end."""
    stopped = state in ("pruned", "failed")
    faint = (0.4 if stopped else 0.7) * min(1.0, (30 / len(curves)) ** 0.75)
    colour = STATE_COLOURS[state]
    axes.add_collection(LineCollection(curves, colors=colour, linewidths=1.2, alpha=faint, zorder=2))
    label = f"{state} ({count:,})"
    if stopped:
        x, y = zip(*(curve[-1] for curve in curves), strict=True)
        size = 30 * crowding(4 * len(curves))
        style = {"marker": STATE_MARKERS[state], "s": size, "color": colour, "linewidths": 0, "alpha": 0.9}
        axes.scatter(x, y, **style, zorder=4, label=label)
    else:
        axes.plot([], [], color=colour, linewidth=1.6, label=label)


def _draw_winner(axes: Axes, best: pd.Series, curve: np.ndarray) -> None:
    axes.plot(curve[:, 0], curve[:, 1], color=INK, linewidth=2.2, zorder=5, label=f"best: trial {best['number']}")
    axes.plot([best["best_epoch"]], [best["objective"]], marker="o", color=INK, markersize=6, zorder=6)


PLOTS: dict[str, Plot] = {
    "history": Plot(
        "Course of the search",
        history,
        "Each mark is a trial, in the order of the search, at its best epoch; the line is the best complete trial so far.",
        "No trial has finished an epoch.",
    ),
    "learning_curves": Plot(
        "Learning curves",
        learning_curves,
        "Validation −ELBO after each epoch. A square is where a trial was pruned, a cross where it failed; the black line is "
        f"the best trial and its dot the epoch that counts. Of more than {MOST_CURVES} trials of one outcome, {MOST_CURVES} are "
        "drawn, evenly from the best to the worst.",
        "No trial has finished an epoch.",
    ),
}
