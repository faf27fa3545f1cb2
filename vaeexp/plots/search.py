"""The search as it went: each trial's value in order, and the learning curve of each."""

import itertools

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from sweeps.results import best_so_far, promotes
from vaeexp.plots import style
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import epochs_of
from vaeexp.words import NATS, format_configuration, format_number

MOST_NAMED = 7
"""Complete trials up to which each has a line of its own and its name in the legend."""
MOST_CURVES = 100
"""Learning curves drawn of each state; of more, so many that stand evenly among them."""
ORDER = ("pruned", "failed", "paused", "running", "complete")
"""States of learning curves, the one on top last."""


def history(view: StudyView) -> Figure | None:
    """Draw the value of each trial of the search in order, by state, and the best complete value so
    far.

    None without a value, and under the pruner promotion, whose trials wait for each other.
    """
    trials = view.search
    trials = trials.assign(x=trials["number"], y=trials["objective"])
    if not trials["objective"].notna().any() or promotes(view.study):
        return None
    figure, axes = style.one_plot(x="trial", y=NATS)
    complete = trials["state"] == "complete"
    axes.set_ylim(*style.robust_limits(trials.loc[complete, "objective"], trials["objective"]))
    axes.set_xlim(-0.7, max(trials["number"].max(), 4) + 0.7)
    style.whole_ticks(axes.xaxis)
    size = 46 * style.marker_scale(len(trials))
    for state in style.STATE_COLOURS:
        # A failed trial is shown even if it never reached the end of an epoch.
        chosen = trials[
            (trials["state"] == state) & (trials["objective"].notna() | (state == "failed"))
        ]
        if len(chosen):
            label = style.state_label(state, len(chosen))
            style.scatter(axes, chosen, state, size=size, label=label)
    every = view.results.trials
    left = every[~every["repeat"] & ~every["counts"] & (every["state"] == "complete")]
    if len(left):
        others = f"of earlier stages, not counting ({len(left)})"
        axes.scatter("number", "objective", size / 2, data=left, color=style.MUTED, label=others)
    _draw_best(axes, best_so_far(view.results), trials["number"].max() + 0.5)
    style.off_scale(axes, trials["objective"])
    style.legend(axes, columns=2)  # the remark has the room at its right
    return figure


def _draw_best(axes: Axes, course: pd.DataFrame, last: float) -> None:
    """Draw the steps of the best complete value so far, on to `last`; the legend names the last.

    `course` has the number, value and best (so far) of complete trials, in the order of the search.
    """
    if course.empty:
        return
    best = course.nsmallest(1, "objective").iloc[0]
    text = f"best in the search: trial {int(best['number'])}, {format_number(best['objective'])}"
    steps = [*course["best"], best["best"]]
    x = [*course["number"], last]
    axes.step(x, steps, where="post", color=style.BEST, linewidth=2, label=text)


def learning_curves(view: StudyView) -> Figure | None:
    """Draw validation −ELBO by epoch of trials of the search, with marks where a trial was pruned
    or failed.

    Of more than `MOST_CURVES` trials in a state, so many are drawn that stand evenly among them,
    from best to worst. None without an epoch.
    """
    by_number = view.search.set_index("number")
    epochs = epochs_of(view.search, view.epochs)
    finite = epochs[np.isfinite(epochs["objective"])].sort_values(["number", "epoch"])
    if finite.empty:
        return None
    lowest = finite.groupby("number")["objective"].min()
    best_values = by_number["objective"].reindex(lowest.index)
    # Of a trial in its warm-up no epoch counts yet.
    lowest = best_values.fillna(lowest).sort_values(kind="stable")
    states = by_number["state"].reindex(lowest.index)
    complete = view.ranked[view.ranked["number"].isin(lowest.index)]
    leader = int([*complete["number"], *lowest.index][0])
    drawn = {state: _evenly(lowest.index[states == state]) for state in ORDER}
    shown = finite[finite["number"].isin([leader, *itertools.chain(*drawn.values())])]
    curves = {
        number: part[["epoch", "objective"]].to_numpy() for number, part in shown.groupby("number")
    }
    figure, axes = style.one_plot(5.0, x="epoch", y=NATS)
    low, high = style.robust_limits(lowest[complete["number"]], lowest)
    # The best values decide the scale, with room to see how the good ones came down.
    high = max(high + 0.35 * (high - low), float(curves[leader][len(curves[leader]) // 5, 1]))
    axes.set(xlim=(0.5, max(finite["epoch"].max(), 2) + 0.5), ylim=(low, high))
    few = len(complete) <= MOST_NAMED
    for state, chosen in drawn.items():
        if len(chosen) and not (few and state == "complete"):
            label = style.state_label(state, int((states == state).sum()))
            _draw_curves(axes, {number: curves[number] for number in chosen}, state, label)
    for place, (_, trial) in enumerate(complete.head(MOST_NAMED if few else 1).iterrows()):
        _draw_named(axes, view, trial, curves[trial["number"]], place)
    style.whole_ticks(axes.xaxis)
    if (finite["objective"] > high).any():
        style.note(axes, f"values above {high:,.0f} are cut off", y=0.95)
    style.legend(axes)
    return figure


def _draw_named(
    axes: Axes, view: StudyView, trial: pd.Series, curve: np.ndarray, place: int
) -> None:
    """Draw the curve of a trial with its name in the legend; that of the best, at place 0, black
    with a dot at its best epoch.
    """
    name = f"trial {trial['number']}"
    if len(view.plan.parameters) == 1:
        name = format_configuration(view.plan.params(trial))
    if place:
        lines = axes.plot(*curve.T, label=name, linewidth=1.5, **style.line_style(place - 1))
    else:
        black = style.TEXT_COLOUR
        lines = axes.plot(
            *curve.T, label=f"best in the search: {name}", color=black, linewidth=2.2, zorder=5
        )
        lines += axes.plot(trial["best_epoch"], trial["objective"], "o", color=black, zorder=6)
    style.mark_trials([trial["number"]], *lines)


def _evenly(numbers: pd.Index) -> np.ndarray:
    """Return at most `MOST_CURVES` of these, the first and the last among them."""
    indices = np.linspace(0, len(numbers) - 1, min(len(numbers), MOST_CURVES)).round().astype(int)
    return numbers.to_numpy()[indices]


def _draw_curves(axes: Axes, curves: dict[int, np.ndarray], state: str, label: str) -> None:
    """Draw the curves of one state; pruned, failed and paused ones faded, with a mark at their end.

    Call it after the limits are set.
    """
    stopped = state in ("pruned", "failed", "paused")
    faint = (0.4 if stopped else 0.7) * min(1.0, (30 / len(curves)) ** 0.75)
    colour = style.STATE_COLOURS[state]
    lines = LineCollection([*curves.values()], colors=colour, linewidths=1.2, alpha=faint, zorder=2)
    axes.add_collection(lines)
    style.mark_trials(curves, lines)
    if not stopped:
        axes.plot([], [], color=colour, linewidth=1.6, label=label)
        return
    ends = np.array([curve[-1] for curve in curves.values()])
    inside = style.within(axes, ends)
    rows = np.array([*curves])[inside]
    size = 30 * style.marker_scale(4 * len(curves))
    style.draw_points(
        axes,
        rows,
        *ends[inside].T,
        s=size,
        alpha=0.9,
        zorder=4,
        label=label,
        marker=style.STATE_MARKERS[state],
        edgecolors=colour,
        facecolors="none",
    )
