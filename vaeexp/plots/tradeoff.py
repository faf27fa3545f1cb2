"""What a model must choose between: rate and distortion (Alemi et al. 2018, "Fixing a Broken
ELBO"), −ELBO and FID, or the two objectives of a study.
"""

import itertools
import math
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
from vaeexp.plots.confirmed import comparable
from vaeexp.results.statements import Caption, Statement
from vaeexp.results.statements import Figure as StatedFigure
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite_points, row_names
from vaeexp.words import format_number, format_value, is_missing, parameter_label, plural

PLANE = ["val/rate", "val/distortion"]
SCORED_AT_ONE = (
    "Models are scored by the −ELBO at β = 1, which is what training at β = 1 minimises. So a "
    "best β near 1 follows from the score, and says nothing of samples or reconstructions."
)
"""Stands once in a report whose study searches β."""
FONT = 11
"""Of the words beside the best trial."""
LONGEST = 34
"""Characters of a line of a name in a legend."""
CONDITIONS = ("generated", "images")
"""What two values of FID must share to be compared."""
NEAR = 6
"""Room around these words, in 1/72 inch."""
ASIDE = 26
"""From the best trial to the words beside this trial, in 1/72 inch."""
NAME_FONT = 10
"""Of the names along a front."""
LINE = 1.4
"""Height of a line of words, in font sizes."""
OFFSET = (-7, -4)
"""From a trial to the upper right corner of its name, in points."""
CLEARER = 3.0
"""By how many points a trial is nearer to the end of its name than any other trial of the front."""


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
    complete, points = (trials["state"] == "complete").to_numpy(), trials[PLANE].to_numpy(float)
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
    _draw_trials(figure, axes, view)
    _name_best(axes, trials)
    if hidden := int(((rate > right) | (distortion > top)).sum()):
        style.note(axes, f"{plural(hidden, 'trial lies', 'trials lie')} outside these axes")
    return figure


def fid_against_elbo(view: StudyView) -> Figure | None:
    """Draw FID against −ELBO on test, a point for each run of the confirmed configurations and
    comparable baselines.

    Only runs whose FID is of as many samples and test images as that of the first. None without two
    such runs.
    """
    settings = [setting for setting, *_ in comparable(view)]
    if not settings:
        return None
    runs = pd.concat([setting.runs for setting in settings], keys=range(len(settings)))
    figures = runs.reindex(
        columns=[f"result.test/{name}" for name in ("neg_elbo", "fid", *CONDITIONS)]
    ).dropna()
    conditions = figures[figures.columns[2:]]
    figures = figures[(conditions == conditions.head(1).to_numpy()).all(axis=1)].astype(float)
    if len(figures) < 2:
        return None
    fid = METRICS["fid"]
    figure, axes = style.one_plot(
        4.8, x="test −ELBO (nats per image)", y=f"test {fid.label}, {fid.unit}"
    )
    for index, place in enumerate(figures.index.unique(0)):
        own = figures.loc[[place]]
        colour, marker = style.line_style(index)["color"], "osD^vP*"[index % 7]
        label = f"{style.two_lines(settings[place].title, LONGEST)} (n = {len(own)})"
        x, y = own["result.test/neg_elbo"], own["result.test/fid"]
        style.draw_points(
            axes,
            row_names(runs.loc[own.index]),
            x,
            y,
            label=label,
            color=colour,
            marker=marker,
            s=56,
            linewidths=0,
            zorder=3,
            alpha=0.9,
        )
    axes.margins(0.08)
    style.legend(axes, columns=3)
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


def _draw_trials(figure: Figure, axes: Axes, view: StudyView) -> None:
    """Draw complete trials as large points, all others as small open ones; the colour is β where
    the study searched it.
    """
    trials, beta = finite_points(view.last_epochs), view.plan.parameters.get("beta")
    betas = pd.to_numeric(column(trials, "params.beta"), errors="coerce").fillna(
        view.plan.fixed("beta") or math.nan
    )
    scale = None
    if beta is not None and (betas > 0).all() and betas.nunique() > 1:
        # Over the searched range, so that reports of one study share their colours; wider where a
        # trial lies outside.
        ends = [] if beta.is_choice else [end for end in (beta.low, beta.high) if end]
        scale = LogNorm(min([betas.min(), *ends]), max([betas.max(), *ends]))
    small = style.marker_scale(len(trials))
    blue = style.STATE_COLOURS["complete"]
    ended = trials["state"] == "complete"
    for chosen in (trials[~ended], trials[ended]):
        if chosen.empty:
            continue
        complete = chosen["state"].iloc[0] == "complete"
        seen = chosen[style.within(axes, chosen[PLANE].to_numpy(float))]
        look: dict[str, Any] = (
            {"s": 74 * small, "zorder": 4} if complete else {"s": 26 * small, "zorder": 3}
        )
        look |= (
            {"color": blue}
            if scale is None
            else {"c": betas[seen.index], "norm": scale, "cmap": "viridis"}
        )
        points = style.draw_points(axes, row_names(seen), *seen[PLANE].to_numpy(float).T, **look)
        if complete:
            points.set(edgecolor=style.TEXT_COLOUR, linewidth=0.5 * small)
        else:
            points.set(
                facecolor="none",
                edgecolor=blue if scale is None else None,
                linewidth=1.4 * small**0.5,
            )
        label = f"{'complete' if complete else 'not complete, value reached'} ({len(chosen):,})"
        inside = style.MUTED if complete else "none"
        axes.scatter([], [], s=40, facecolor=inside, edgecolor=style.MUTED, label=label)
    style.legend(axes)
    if scale is not None:
        bar = style.colour_bar(figure, axes, ScalarMappable(norm=scale, cmap="viridis"))
        bar.set_ylabel(
            parameter_label("beta"), fontsize=12, color=style.TEXT_COLOUR, rotation=0, labelpad=8
        )
        style.log_ticks(bar.yaxis, *bar.get_ylim())


def draw_equal_lines(axes: Axes) -> None:
    """Draw lines rate + distortion = constant, with their −ELBO where they meet the lower or the
    right edge.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for level in MaxNLocator(nbins=9, steps=[1, 2, 3, 5, 10], integer=True).tick_values(
        left + bottom, right + top
    ):
        ends = sorted(
            (x, level - x) for x in {left, right, level - bottom, level - top} if left <= x <= right
        )
        inside = [(x, y) for x, y in ends if bottom - 1e-9 <= y <= top + 1e-9]
        if len(inside) < 2 or inside[0] == inside[-1]:
            continue
        (start_x, start_y), (x, y) = inside[0], inside[-1]
        axes.plot(
            [start_x, x],
            [start_y, y],
            color="#c9c9c9",
            linewidth=1,
            linestyle=(0, (4, 3)),
            zorder=1,
        )
        if y <= top - 0.08 * (top - bottom) and x >= left + 0.12 * (right - left):
            style.annotate(
                axes,
                f"−ELBO {level:,.0f}",
                (x, y),
                (-4 if x > right - 1e-9 else 2, 4),
                colour=style.MUTED,
                ha="right",
                va="bottom",
                boxed=True,
                zorder=1,
            )


def _name_best(axes: Axes, trials: pd.DataFrame) -> None:
    complete = trials[(trials["state"] == "complete") & trials["objective"].notna()]
    if complete.empty:
        return
    best = complete.nsmallest(1, "objective").iloc[0]
    at = best["val/rate"], best["val/distortion"]
    text = f"lowest: trial {best['number']}, {format_number(sum(at))}"
    if best["epoch"] != best["best_epoch"]:
        text += f" ({format_number(best['objective'])} at epoch {best['best_epoch']})"
    line = {"arrowstyle": "-", "color": style.TEXT_COLOUR, "linewidth": 0.9, "shrinkB": 5}
    offset = _free_place(axes, trials[PLANE].to_numpy(float), at, text)
    style.annotate(
        axes, text, at, offset, ha="left", va="baseline", boxed=True, fontsize=FONT, arrowprops=line
    )


def _free_place(
    axes: Axes, points: np.ndarray, at: tuple[float, float], text: str
) -> tuple[float, float]:
    """Return the offset from `at`, in 1/72 inch, at which words lie within the axes.

    Of nine places, this place has the words and their line cover the fewest of the points [N, 2]
    and of the words already drawn.
    """
    figure = style.figure_of(axes)
    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)  # without a layout, the axes have another size
    frame, inch = axes.get_window_extent(), 72 / figure.dpi
    scaled = (axes.transData.transform(points) - frame.min) * inch
    best = (axes.transData.transform(at) - frame.min) * inch
    others = [(found.get_window_extent().get_points() - frame.min) * inch for found in axes.texts]
    words = axes.text(0, 0, text, fontsize=FONT)
    size = np.array([words.get_window_extent().width * inch, FONT])
    words.remove()
    across, up = np.array(frame.size) * inch

    def cost(offset: tuple[float, float]) -> int:
        corner = best + offset - NEAR
        opposite = corner + size + 2 * NEAR
        covered = ((scaled > corner) & (scaled < opposite)).all(axis=1)
        line = (corner + opposite) / 2 - best
        foot = best + np.clip((scaled - best) @ line / (line @ line), 0, 1)[:, None] * line
        crossed = (np.hypot(*(scaled - foot).T) < NEAR) & (np.hypot(*(scaled - best).T) > NEAR)
        overlaps = sum(
            bool((low < opposite).all() and (high > corner).all()) for low, high in others
        )
        outside = corner[1] < 0 or opposite[1] > up
        return (
            int((covered | crossed).sum()) + overlaps + (len(points) + len(others)) * int(outside)
        )

    ends = NEAR - best[0], max(NEAR, across - size[0] - NEAR) - best[0]
    sides = [float(np.clip(side, *ends)) for side in (ASIDE, -ASIDE - size[0], -size[0] / 2)]
    return min(itertools.product(sides, (30, -36, 60)), key=cost)


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
    blue, size = style.STATE_COLOURS["complete"], 40 * style.marker_scale(len(found.values))
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
    unnamed = _name_members(axes, view, found.members, members)
    notes = [f"{hidden:,} of the complete trials outside these axes"] if hidden else []
    notes += [f"{unnamed:,} of the front without a name here"] if unnamed else []
    for index, text in enumerate(notes):
        style.note(axes, text, y=1.0 - 0.05 * index)
    style.legend(axes)
    return figure


def _set_limits(axes: Axes, values: np.ndarray, members: np.ndarray) -> int:
    """Set axes that show the whole front and most trials, with room for names at its left; return
    how many trials they leave out.
    """
    ends = [style.robust_limits(each, each, reach=6) for each in values.T]
    low, high = np.array(ends).T
    low, high = np.minimum(low, members.min(axis=0)), np.maximum(high, members.max(axis=0))
    size = np.where(high > low, high - low, 1.0)
    (left, bottom), (right, top) = low - (0.2, 0.08) * size, high + 0.04 * size
    axes.set(xlim=(left, right), ylim=(bottom, top))
    ticks = MaxNLocator(7).tick_values(low[0], high[0])
    axes.set_xticks(ticks[(low[0] <= ticks) & (ticks <= high[0])])
    return int(((values < (left, bottom)) | (values > (right, top))).any(axis=1).sum())


def _name_members(axes: Axes, view: StudyView, members: pd.DataFrame, values: np.ndarray) -> int:
    """Write the names of trials below and left of the front, where no trial can be: its ends first,
    others where there is room.

    A name has no room where it would lie over another name, or would seem to be the name of another
    trial of the front because this trial is nearer to its end. The size of words is estimated from
    their number. Returns how many trials have no room.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    size = 72 * 0.88 * style.figure_of(axes).get_size_inches()
    boxes: list[tuple[float, float]] = []
    places = (values - (left, bottom)) / (right - left, top - bottom) * size
    for index in dict.fromkeys([0, len(members) - 1, *range(len(members))]):
        text, (x, y) = _named(view, members.iloc[index]), places[index]
        width = 0.55 * NAME_FONT * len(text)
        from_end = np.hypot(*(places - (x + OFFSET[0], y + OFFSET[1] - NAME_FONT / 2)).T)
        nearer = (from_end < from_end[index] + CLEARER).sum() > 1
        over = any(
            abs(y - other) < LINE * NAME_FONT and x - width < end < x + width
            for end, other in boxes
        )
        if not (nearer or over):
            boxes.append((x, y))
            style.annotate(
                axes, text, tuple(values[index]), OFFSET, ha="right", va="top", fontsize=NAME_FONT
            )
    return len(members) - len(boxes)


def _named(view: StudyView, row: pd.Series) -> str:
    """Return `3: β = 0.52`, the number alone where the study does not search β."""
    beta = row.get("params.beta") if "beta" in view.plan.parameters else None
    return (
        f"{row['number']}"
        if is_missing(beta)
        else f"{row['number']}: β = {format_value(float(f'{beta:.2g}'))}"
    )


def hypervolume(view: StudyView) -> Figure | None:
    """Draw the area that the front covered against the trial-epochs spent. None with one objective,
    or with fewer than two complete trials.
    """
    found = view.front
    if found is None or len(found.complete) < 2:
        return None
    figure, axes = style.one_plot(
        3.4, x="trial-epochs of the search", y=f"hypervolume ({found.unit})"
    )
    spent = found.course["spent"]
    volume = found.course["volume"]
    blue = style.STATE_COLOURS["complete"]
    axes.step(spent, volume, where="post", color=blue, linewidth=1.8)
    style.draw_points(axes, row_names(found.complete), spent, volume, color=blue, s=18)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
    axes.set_ylim(0, 1.08 * found.volume or 1.0)
    axes.set_xlim(0, 1.03 * float(spent.iloc[-1]))
    return figure


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
    text += (
        " Along a dashed line the −ELBO is the same."
        if {*found.names} == {"rate", "distortion"}
        else ""
    )
    return f"{text} Every point is one seed, and the front takes the luckiest of them."


def volume_caption(view: StudyView) -> Caption:
    """Say what the hypervolume is measured from."""
    found = view.front
    if found is None or found.complete.empty:
        return ""
    first, second = found.labels
    worst, other = (StatedFigure(value=float(value)) for value in found.reference)
    return [
        Statement(
            id="plot.volume",
            values={"first": first, "second": second, "first_worst": worst, "second_worst": other},
        ),
        "It cannot fall, so that it rises says nothing of the next trials; where it stays level "
        "the search has found little more.",
    ]
