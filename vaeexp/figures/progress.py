"""The search as it went: each trial's value in order, and the learning curve of each."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results import Results, best_so_far
from vaeexp.figures.frames import NATS, number, search_trials
from vaeexp.figures.plot import Plot
from vaeexp.figures.style import (
    BEST,
    INK,
    STATE_COLOURS,
    STATE_MARKERS,
    crowding,
    dress,
    key,
    new_figure,
    note,
    off_scale,
    robust_limits,
    scatter,
)

__all__ = ["PLOTS", "history", "learning_curves"]


def history(results: Results) -> Figure | None:
    """Value of each trial of the search in order, by state, and the best complete value so far. None without a value."""
    trials = search_trials(results)
    if not trials["value"].notna().any():
        return None
    figure = new_figure()
    axes = dress(figure.add_subplot(), x="trial", y=NATS)
    complete = trials["state"] == "complete"
    low, high = robust_limits(trials.loc[complete, "value"], trials["value"])
    axes.set_ylim(low, high)
    axes.set_xlim(-0.7, max(trials["number"].max(), 4) + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for state in STATE_COLOURS:
        # A failed trial is shown even if it never reached the end of an epoch.
        chosen = trials[(trials["state"] == state) & (trials["value"].notna() | (state == "failed"))]
        if len(chosen):
            scatter(
                axes,
                chosen["number"],
                chosen["value"],
                state,
                size=46 * crowding(len(trials)),
                label=f"{state} ({len(chosen)})",
            )
    _draw_best(axes, best_so_far(results), last=trials["number"].max())
    off_scale(axes, int((trials["value"] > high).sum()))
    key(axes)
    return figure


def _draw_best(axes: Axes, course: pd.DataFrame, last: int) -> None:
    """Steps of the best complete value so far (`best_so_far`), with the winner named below its point."""
    if course.empty:
        return
    steps = course["best"]
    axes.step(
        [*course["number"], last + 0.5], [*steps, steps.iloc[-1]], where="post", color=BEST, linewidth=2, zorder=2
    )
    best = course.loc[course["value"].idxmin()]
    side = (
        "center" if 0.15 * last < best["number"] < 0.85 * last else ("left" if best["number"] <= last / 2 else "right")
    )
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.05 * (high - low), high)
    axes.annotate(
        f"best: trial {int(best['number'])}, {number(best['value'])}",
        (best["number"], best["value"]),
        xytext=(0, -8),
        textcoords="offset points",
        ha=side,
        va="top",
        fontsize=10,
        color=BEST,
    )


def learning_curves(results: Results) -> Figure | None:
    """Validation −ELBO by epoch of every trial of the search; where it was pruned or failed is marked. None without an epoch."""
    trials = search_trials(results)
    epochs = results.epochs
    own = epochs[~epochs["replica"] & epochs["number"].isin(trials["number"])]
    finite = own[np.isfinite(own["value"])].sort_values(["number", "epoch"])
    if finite.empty:
        return None
    curves = {number: part[["epoch", "value"]].to_numpy() for number, part in finite.groupby("number")}
    figure = new_figure(5.0)
    axes = dress(figure.add_subplot(), x="epoch", y=NATS)
    lowest = {number: curve[:, 1].min() for number, curve in curves.items()}
    complete = trials[(trials["state"] == "complete") & trials["number"].isin(list(curves))]
    low, high = robust_limits([lowest[number] for number in complete["number"]], lowest.values())
    # The best values decide the scale, with room to see how the good ones came down.
    high += 0.35 * (high - low)
    leader = curves[min(complete["number"] if len(complete) else lowest, key=lowest.get)]
    high = max(high, float(leader[len(leader) // 5, 1]))
    for state in ("pruned", "failed", "running", "complete"):
        chosen = [int(row) for row in trials.loc[trials["state"] == state, "number"] if row in curves]
        if chosen:
            _draw_curves(axes, [curves[row] for row in chosen], state)
    if not complete.empty:
        _draw_winner(axes, complete.loc[complete["value"].idxmin()], curves)
    axes.set_ylim(low, high)
    axes.set_xlim(0.5, max(finite["epoch"].max(), 2) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if (finite["value"] > high).any():
        note(axes, f"values above {high:,.0f} are cut off")
    key(axes)
    return figure


def _draw_curves(axes: Axes, curves: list, state: str) -> None:
    colour = STATE_COLOURS[state]
    faint = max(0.03, min(0.75, 15 / len(curves)))
    axes.add_collection(LineCollection(curves, colors=colour, linewidths=1.3, alpha=faint, zorder=2))
    ends = [curve[-1] for curve in curves]
    if state in ("pruned", "failed"):
        x, y = zip(*ends, strict=True)
        style = {"marker": STATE_MARKERS[state], "s": 34 * crowding(len(curves)), "color": colour, "linewidths": 0}
        axes.scatter(x, y, **style, zorder=4, label=f"{state} ({len(curves)})")
    else:
        axes.plot([], [], color=colour, linewidth=1.6, label=f"{state} ({len(curves)})")


def _draw_winner(axes: Axes, best: pd.Series, curves: dict) -> None:
    curve = curves[best["number"]]
    axes.plot(curve[:, 0], curve[:, 1], color=INK, linewidth=2.2, zorder=5, label=f"best: trial {best['number']}")
    axes.plot([best["best_epoch"]], [best["value"]], marker="o", color=INK, markersize=6, zorder=6)


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
        "the best trial and its dot the epoch that counts.",
        "No trial has finished an epoch.",
    ),
}
