"""What a model must choose between: rate and distortion (Alemi et al. 2018, "Fixing a Broken
ELBO"), or the two objectives of a study.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results import pareto_front
from vaeexp.evaluation.metrics import METRICS
from vaeexp.plots import style
from vaeexp.plots.parameters import winner_words
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite_points, row_names
from vaeexp.words import format_value, is_missing, parameter_label, plural

PLANE = ["val/rate", "val/distortion"]
SCORED_AT_ONE = (
    "Models are scored by the −ELBO at β = 1, which is what training at β = 1 minimises; the score "
    "says nothing of samples or reconstructions."
)
"""Stands once in a report whose study searches β."""
NAME_FONT = 10
"""Of the names along a front."""
ROOM = (90.0, 14.0)
"""Width and height of such a name, in points."""
OFFSET = (-7, -4)
"""From a trial to the upper right corner of its name, in points."""


def rate_distortion(view: StudyView) -> Figure | None:
    """Draw each trial's rate and distortion at its last epoch (large: complete), coloured by β,
    with lines of equal −ELBO and the frontier; lower left is better.

    None when no trial has finished an epoch.
    """
    trials = finite_points(view.last_epochs)
    if trials.empty:
        return None
    figure, axes = style.one_plot(
        5.4,
        x="rate: KL(q(z|x) ‖ p(z)) (nats per image)",
        y="distortion: −E log p(x|z) (nats per image)",
    )
    complete = (trials["state"] == "complete").to_numpy()
    points = trials[PLANE].to_numpy(float)
    rate, distortion = points.T
    # A wide reach: that a small β buys distortion at a rate of hundreds of nats is what the plane
    # is there to show.
    bottom, top = style.robust_limits(distortion[complete], distortion, reach=6)
    near = rate[distortion <= top]
    _, right = style.robust_limits(near, near, reach=6)
    left = min(0.0, float(rate.min()))
    axes.set(xlim=(left - 0.02 * (right - left), right + 0.04 * (right - left)), ylim=(bottom, top))
    draw_equal_lines(axes)
    # A pruned trial would not have stayed where it was stopped.
    ended = points[complete]
    axes.plot(*ended[pareto_front(ended)].T, color=style.MUTED, linewidth=1.4, zorder=2)
    _draw_trials(figure, axes, view, trials)
    best = trials[trials["number"] == view.best_number]
    best = best[style.within(axes, best[PLANE].to_numpy(float))]
    if len(best):
        at = best[PLANE].to_numpy(float).T
        label = winner_words(view)
        style.draw_points(axes, row_names(best), *at, s=230, label=label, **style.STAR)
    style.legend(axes, columns=2)  # the remark has the room at the right of its lower line
    if hidden := int(((rate > right) | (distortion > top)).sum()):
        style.note(axes, f"{plural(hidden, 'trial lies', 'trials lie')} outside these axes")
    return figure


def rate_distortion_caption(view: StudyView) -> str:
    """Say how to read the plane; where β was searched, what the score of the models prefers."""
    text = (
        "Each trial at its last epoch (large: complete), because that is the model which its β "
        "trained; lower left is better, along a dashed line the −ELBO is the same. The grey line "
        "joins the complete trials that no other beats in both rate and distortion. Small open "
        "marks trained fewer epochs, so their places do not compare with those of complete "
        "trials."
    )
    return f"{text} {SCORED_AT_ONE}" if "beta" in view.plan.parameters else text


def _draw_trials(figure: Figure, axes: Axes, view: StudyView, trials: pd.DataFrame) -> None:
    """Draw complete trials as large points, all others as small open ones; the colour is β where
    the study searched it.
    """
    betas = pd.to_numeric(column(trials, "params.beta"), errors="coerce").astype(float)
    scale = None
    if "beta" in view.plan.parameters and (betas > 0).all() and betas.nunique() > 1:
        shown = style.within(axes, trials[PLANE].to_numpy(float))
        good = betas[shown & (trials["state"] == "complete").to_numpy()]
        ends = good if good.nunique() > 1 else betas
        scale = LogNorm(ends.min(), ends.max())
    small = style.marker_scale(len(trials))
    blue = style.STATE_COLOURS["complete"]
    for complete, chosen in trials.groupby(trials["state"] == "complete"):
        seen = chosen[style.within(axes, chosen[PLANE].to_numpy(float))]
        look: dict[str, Any] = {"color": blue}
        if scale is not None:
            look = {"c": betas[seen.index], "norm": scale, "cmap": "viridis"}
        look |= {"s": (74 if complete else 26) * small, "zorder": 4 if complete else 3}
        points = style.draw_points(axes, row_names(seen), *seen[PLANE].to_numpy(float).T, **look)
        if complete:
            points.set(edgecolor=style.TEXT_COLOUR, linewidth=0.5 * small)
        else:
            edge = blue if scale is None else None
            points.set(facecolor="none", edgecolor=edge, linewidth=1.4 * small**0.5)
        label = f"{'complete' if complete else 'not complete, value reached'} ({len(chosen):,})"
        inside = style.MUTED if complete else "none"
        axes.scatter([], [], s=40, facecolor=inside, edgecolor=style.MUTED, label=label)
    if scale is not None:
        extend = "neither" if betas.equals(betas.clip(*ends.agg(["min", "max"]))) else "both"
        colours = ScalarMappable(norm=scale, cmap="viridis")
        bar = style.colour_bar(figure, axes, colours, extend=extend)
        bar.set_ylabel(
            parameter_label("beta"), fontsize=12, color=style.TEXT_COLOUR, rotation=0, labelpad=8
        )
        style.log_ticks(bar.yaxis, *bar.get_ylim())


def draw_equal_lines(axes: Axes) -> None:
    """Draw lines rate + distortion = constant, with their −ELBO where they leave the axes below or
    at the right.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    ticks = MaxNLocator(nbins=9, steps=[1, 2, 3, 5, 10], integer=True)
    for level in ticks.tick_values(left + bottom, right + top):
        axes.axline(
            (0, level), slope=-1, color="#c9c9c9", linewidth=1, linestyle=(0, (4, 3)), zorder=1
        )
        x = min(right, level - bottom)
        if level - x <= top - 0.08 * (top - bottom) and x >= left + 0.12 * (right - left):
            style.annotate(
                axes,
                f"−ELBO {level:,.0f}",
                (x, level - x),
                (-4 if x == right else 2, 4),
                color=style.MUTED,
                ha="right",
                va="bottom",
                bbox=style.BOX,
                zorder=1,
            )


def front(view: StudyView) -> Figure | None:
    """Draw the complete trials in the plane of the two objectives, the front as steps, and its
    trials by name.

    None with one objective, or where no trial is complete.
    """
    found = view.front
    if found is None or found.complete.empty:
        return None
    x, y = (f"validation {METRICS[name].words} ({METRICS[name].unit})" for name in found.names)
    figure, axes = style.one_plot(5.4, x=x, y=y)
    members = found.members[[*found.metrics]].to_numpy(float)
    hidden = _set_limits(axes, found.values, members)
    if {*found.names} == {"rate", "distortion"}:
        draw_equal_lines(axes)
    blue = style.STATE_COLOURS["complete"]
    size = 40 * style.marker_scale(len(found.values))
    axes.step(*members.T, where="post", color=blue, linewidth=1.8, zorder=4)
    label = f"front ({len(members):,})"
    style.draw_points(
        axes, row_names(found.members), *members.T, color=blue, s=60, zorder=5, label=label
    )
    behind = ~found.complete["number"].isin(found.members["number"]).to_numpy()
    label = f"complete, behind it ({behind.sum():,})"
    shown = behind & style.within(axes, found.values)
    rows = row_names(found.complete[shown])
    style.draw_points(
        axes, rows, *found.values[shown].T, color="#9a9a9a", s=size, zorder=3, label=label
    )
    _name_members(figure, view, found.members, members)
    if hidden:
        style.note(axes, f"{hidden:,} of the complete trials outside these axes")
    style.legend(axes)
    return figure


def _set_limits(axes: Axes, values: np.ndarray, members: np.ndarray) -> int:
    """Set axes that show the whole front and most trials, with room for names at its left; return
    how many trials they leave out.
    """
    ends = [style.robust_limits(each, each, reach=6) for each in values.T]
    low, high = np.array(ends).T
    low = np.minimum(low, members.min(axis=0))
    high = np.maximum(high, members.max(axis=0))
    size = np.where(high > low, high - low, 1.0)
    (left, bottom), (right, top) = low - (0.2, 0.08) * size, high + 0.04 * size
    axes.set(xlim=(left, right), ylim=(bottom, top))
    ticks = MaxNLocator(7).tick_values(low[0], high[0])
    axes.set_xticks(ticks[(low[0] <= ticks) & (ticks <= high[0])])
    return int(((values < (left, bottom)) | (values > (right, top))).any(axis=1).sum())


def _name_members(
    figure: Figure, view: StudyView, members: pd.DataFrame, values: np.ndarray
) -> None:
    """Write the names of trials below and left of the front, where no trial can be; of trials that
    lie close together the last alone has one: `3: β = 0.52`, the number alone where the study does
    not search β.
    """
    (axes,) = figure.axes
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    points = 72 * 0.88 * figure.get_size_inches()  # about the size of the axes
    apart = np.abs(np.diff(values, axis=0)) / (right - left, top - bottom) * points
    room = np.append((apart > ROOM).any(axis=1), True)
    for index in np.flatnonzero(room).tolist():
        row = members.iloc[index]
        text = str(row["number"])
        beta = row.get("params.beta") if "beta" in view.plan.parameters else None
        if not is_missing(beta):
            text += f": β = {format_value(float(f'{beta:.2g}'))}"
        at = tuple(values[index])
        style.annotate(axes, text, at, OFFSET, ha="right", va="top", fontsize=NAME_FONT)


def front_caption(view: StudyView) -> str:
    """Say how to read the front, and what it does not show."""
    found = view.front
    if found is None:
        return ""
    first, second = found.labels
    text = (
        "Each complete trial at its last epoch; lower left is better. The steps join the trials "
        f"that no other equals or beats in both {first} and {second}, named by their numbers and "
        "β where it was searched."
    )
    if {*found.names} == {"rate", "distortion"}:
        text += " Along a dashed line the −ELBO is the same."
    return f"{text} Every point is one seed, and the front takes the luckiest of them."
