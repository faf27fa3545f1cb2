"""What the searched parameters did: how much each mattered, the value along each, and the difference within matched pairs."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaeexp.plots.style import (
    BEST,
    MUTED,
    STATE_COLOURS,
    TEXT_COLOUR,
    annotate,
    figure_legend,
    marker_scale,
    new_figure,
    note,
    off_scale,
    parameter_panels,
    robust_limits,
    scatter,
    style_axes,
    style_parameter_axis,
    wrapped,
)
from vaeexp.results.columns import jitter
from vaeexp.results.differences import PairComparison
from vaeexp.results.parameter_effects import RESAMPLES, Forest, expected
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.words import NATS, format_number, format_value, parameter_label

MOST_PANELS = 9
LOW_R2 = 0.5
"""Share of the variance below which a reader is told not to trust the numbers of the model."""


def importance(view: StudyView) -> Figure | None:
    """Draw bars of each parameter's share with its 95 % interval, the largest on top.

    None with fewer than `LEAST_TRIALS` complete trials or one parameter.
    """
    table = 100 * view.importances.iloc[::-1]
    if len(table) < 2:
        return None
    figure = new_figure(0.9 + 0.42 * len(table))
    axes = style_axes(figure.add_subplot(), x="share of the importance (%)")
    places = list(range(len(table)))
    axes.barh(places, table["share"], color=STATE_COLOURS["complete"], height=0.62)
    axes.set_yticks(places, [wrapped(view.parameters[name].label, 34) for name in view.importances.index[::-1]])
    axes.hlines(places, table["low"], table["high"], color=TEXT_COLOUR, linewidth=1.6)
    for ends in (table["low"], table["high"]):
        axes.scatter(ends, places, s=70, marker="|", color=TEXT_COLOUR, linewidths=1.6, clip_on=False, zorder=3)
    for place, (share, low, high) in enumerate(table[["share", "low", "high"]].to_numpy()):
        annotate(axes, f"{share:.0f} % ({low:.0f}–{high:.0f})", (high, place), (8, 0), ha="left")
    top = float(table["high"].max())
    axes.set_xticks([tick for tick in MaxNLocator(6).tick_values(0, top) if tick <= 100])
    axes.set_xlim(0, 1.2 * top)
    axes.grid(visible=False, axis="y")
    return figure


def importance_caption(view: StudyView) -> str:
    """Say how the importance is estimated, from how many trials."""
    count = len(view.ranked)
    few = " With so few trials it is a rough guide." if count < 100 else ""
    return (
        f"How far the values of a parameter among the best {max(5, math.ceil(count / 10)):,} differ from those among all "
        f"{count:,} complete trials (PED-ANOVA, Watanabe et al. 2023), as shares of the sum. Whiskers are 95 % intervals: ± 1.96 "
        f"standard deviations over {RESAMPLES} resamples of the trials.{few} Pruned trials are not counted: a parameter whose "
        "bad values were pruned early looks less important than it is."
    )


def effects(view: StudyView) -> Figure | None:
    """Draw a panel per searched parameter: the value of each trial against it, coloured by state. None without a value."""
    scored = view.search[view.search["objective"].notna()]
    parameters = [parameter for parameter in view.parameters.values() if parameter.of(scored).notna().any()]
    if not parameters:
        return None
    figure, panels = parameter_panels(len(parameters), same_values=True)
    low, high = robust_limits(scored.loc[scored["state"] == "complete", "objective"], scored["objective"])
    for panel, parameter in zip(panels, parameters, strict=True):
        panel.set_ylim(low, high)
        _draw_effect(panel, scored, parameter)
    figure.supylabel(NATS, fontsize=11, color=TEXT_COLOUR)
    figure_legend(figure, panels[0])
    off_scale(figure, int((scored["objective"] > high).sum()))
    return figure


def _draw_effect(axes: Axes, trials: pd.DataFrame, parameter: SearchedParameter) -> None:
    """Draw trials as points on the scale of the search space; choices side by side with the median of each."""
    style_parameter_axis(style_axes(axes).xaxis, parameter)
    known = trials[parameter.places(trials).notna()]
    places = pd.Series(parameter.numbers(parameter.places(known)), index=known.index)
    if parameter.is_choice:
        complete = known["state"] == "complete"
        medians = known.loc[complete, "objective"].groupby(places[complete]).median()
        axes.hlines(medians, medians.index - 0.3, medians.index + 0.3, color=TEXT_COLOUR, linewidth=2, zorder=5)
        places = places + np.array(jitter(len(known)))
    for state in STATE_COLOURS:
        chosen = known["state"] == state
        shown = state if (trials["state"] == state).any() else None
        size = 30 * marker_scale(len(trials))
        scatter(axes, places[chosen], known.loc[chosen, "objective"], state, size=size, label=shown)


def partial_dependence(view: StudyView) -> Figure | None:
    """Draw a panel per searched parameter, the most important first: the expected value along it, averaged over the others.

    None with fewer than `LEAST_TRIALS` complete trials, or when they have one value.
    """
    forest = view.forest
    names = [] if forest is None else [name for name in forest.parameters if forest.places[name].nunique() > 1]
    if forest is None or not names:
        return None
    figure, panels = parameter_panels(len(names[:MOST_PANELS]), same_values=False)
    for panel, name in zip(panels, names, strict=False):
        _draw_dependence(panel, forest, forest.parameters[name])
    figure.supylabel(f"expected {NATS}", fontsize=11, color=TEXT_COLOUR)
    return figure


def _draw_dependence(axes: Axes, forest: Forest, parameter: SearchedParameter) -> None:
    """Draw the mean over the bags with its 95 % interval, the trials along the lower edge, and the lowest point."""
    places = forest.places[parameter.name].dropna()
    grid = parameter.grid(places, 25)
    bags = expected(forest, {parameter.name: grid})
    mean = bags.mean(axis=0)
    # The bags differ most in their height, which says nothing about this parameter.
    half = 1.96 * (bags - bags.mean(axis=1, keepdims=True)).std(axis=0, ddof=1)
    x, colour = parameter.numbers(grid), STATE_COLOURS["complete"]
    style_parameter_axis(style_axes(axes).xaxis, parameter)
    edge = axes.get_xaxis_transform()
    if parameter.is_choice:
        axes.errorbar(x, mean, half, fmt="o", color=colour, markersize=8, elinewidth=2)
        axes.margins(y=0.2)
        for place in np.unique(places):
            count = f"{int((places == place).sum()):,}"
            annotate(axes, count, (place, 0.045), xycoords=edge, colour=MUTED, va="baseline", boxed=True)
    else:
        axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, mean, color=colour, linewidth=2.2)
        axes.margins(y=0.1)
        # A tick for each trial along the lower edge: where there are few, the line is a guess.
        look: dict[str, Any] = {"marker": "|", "s": 60, "color": MUTED, "linewidths": 0.8, "transform": edge}
        faint = 0.6 * marker_scale(len(places)) ** 0.7
        axes.scatter(parameter.numbers(places), np.full(len(places), 0.02), alpha=faint, **look)
    low, high = int(mean.argmin()), int(mean.argmax())
    note(axes, f"spans {format_number(mean[high] - mean[low], 1)} nats")
    differences = bags[:, high] - bags[:, low]
    if differences.mean() > 1.96 * differences.std(ddof=1):
        axes.plot(x[low], mean[low], marker="o", markersize=8, color=BEST, zorder=5)
        if not parameter.is_choice:
            best = format_value(float(f"{x[low]:.2g}") if parameter.kind == "float" else round(x[low]))
            annotate(axes, best, (x[low], mean[low]), (0, 8), colour=BEST, va="bottom")


def dependence_caption(view: StudyView) -> str:
    """Say how to read the model's predictions, from how many trials they are, and how far to trust them."""
    text = (
        "The value to expect along each parameter, the others averaged over the trials that have it; the most important "
        "first, each on its own scale. Bands are 95 % intervals of the shape, its mean height held fixed. Along the lower "
        "edge are the trials, for choices their number; a green point is the lowest, where the bands tell it from the highest."
    )
    forest = view.forest
    if forest is None:
        return text
    text += f" The model is a forest of randomised trees on {len(forest.values):,} complete trials (pruned ones are not counted)"
    if forest.capped == 1:
        text += f"; the value above {format_number(forest.ceiling, 0)} counts as that"
    elif forest.capped:
        text += f"; the {forest.capped:,} values above {format_number(forest.ceiling, 0)} count as that"
    if forest.r2 < LOW_R2:
        text += (
            f". It explains little of trials that its trees have not seen (out-of-bag R² {format_number(forest.r2)}): read "
            "tendencies from it, not numbers"
        )
    return f"{text}."


def paired_differences(view: StudyView) -> Figure | None:
    """Draw the difference within each matched pair, a row per configuration, and their mean with its interval.

    One panel per two values that are compared, at most three. None without a complete pair.
    """
    shown = [comparison for comparison in view.pairs if len(comparison.pairs)][:3]
    if not shown:
        return None
    rows = [comparison.configurations + 1 for comparison in shown]
    figure = new_figure(sum(0.95 + 0.36 * count for count in rows))
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=rows)
    for axes, comparison in zip(panels[:, 0], shown, strict=True):
        _draw_differences(axes, comparison)
    return figure


def _draw_differences(axes: Axes, comparison: PairComparison) -> None:
    first, second = format_value(comparison.first), format_value(comparison.second)
    style_axes(axes, x=f"validation −ELBO, {second} − {first} (nats per image)")
    axes.axvline(0, color=MUTED, linewidth=1.2)
    look: dict[str, Any] = {"s": 42, "color": STATE_COLOURS["complete"], "linewidths": 0, "zorder": 3}
    names = []
    for row, (trial, group) in enumerate(comparison.pairs.groupby("source_trial")):
        axes.scatter(group["difference"], np.full(len(group), row), **look)
        names.append(f"trial {trial}")
    interval, last = comparison.interval, len(names)
    ends = [interval.low, interval.high] if math.isfinite(interval.low) else []
    axes.plot(ends, [last] * len(ends), color=TEXT_COLOUR, linewidth=2.4, zorder=3)
    axes.scatter([interval.mean], [last], s=70, marker="D", color=TEXT_COLOUR, zorder=4)
    axes.set_yticks(range(last + 1), [*names, "mean"])
    axes.set_ylim(last + 0.6, -0.6)
    reach = float(max(np.abs([*comparison.pairs["difference"], interval.mean, *ends]))) or 1.0
    axes.set_xlim(-1.15 * reach, 1.15 * reach)
    above: dict[str, Any] = {"transform": axes.transAxes, "va": "bottom"}
    for place, side, better in ((0.0, "left", second), (1.0, "right", first)):
        axes.text(place, 1.02, f"{better} better", fontsize=11, color=TEXT_COLOUR, ha=side, **above)
    middle = f"{parameter_label(comparison.parameter)}, mean {format_number(interval.mean)}"
    axes.text(0.5, 1.02, middle, fontsize=10, color=MUTED, ha="center", **above)
