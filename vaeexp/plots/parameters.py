"""What the searched parameters did: how much each mattered, the value along each and under each choice, and all trials through them."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vaeexp.plots import style
from vaeexp.results.parameters import RESAMPLES, Forest, SearchedParameter, expected
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import jitter
from vaeexp.words import NATS, format_number, format_value, parameter_label

MOST_PANELS = 9
LOW_R2 = 0.5
"""Share of the variance below which a reader is told not to trust the numbers of the model."""
MOST_AXES = 7
LONGEST = 40
"""Characters of a choice in a legend; longer ones are cut."""
MOST_COLOURED, MOST_GREY = 200, 600
"""Lines; more would be a carpet."""
NOT_USED = -0.13
STRIP = 0.05


def importance(view: StudyView) -> Figure | None:
    """Draw bars of each parameter's share with its 95 % interval, the largest on top.

    None with fewer than `LEAST_TRIALS` complete trials or one parameter.
    """
    table = 100 * view.importances.iloc[::-1]
    if len(table) < 2:
        return None
    figure = style.new_figure(0.9 + 0.42 * len(table))
    axes = style.style_axes(figure.add_subplot(), x="share of the importance (%)")
    places = list(range(len(table)))
    axes.barh(places, table["share"], color=style.STATE_COLOURS["complete"], height=0.62)
    axes.set_yticks(places, [style.wrapped(view.parameters[name].label, 34) for name in view.importances.index[::-1]])
    whiskers = [table["share"] - table["low"], table["high"] - table["share"]]
    axes.errorbar(
        table["share"], places, xerr=whiskers, fmt="none", ecolor=style.TEXT_COLOUR, elinewidth=1.6, capsize=4
    )
    for place, (share, low, high) in enumerate(table[["share", "low", "high"]].to_numpy()):
        style.annotate(axes, f"{share:.0f} % ({low:.0f}–{high:.0f})", (high, place), (8, 0), ha="left")
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
    figure, panels = style.parameter_panels(len(parameters), same_values=True)
    low, high = style.robust_limits(scored.loc[scored["state"] == "complete", "objective"], scored["objective"])
    for panel, parameter in zip(panels, parameters, strict=True):
        panel.set_ylim(low, high)
        draw_trials(panel, scored, parameter)
    figure.supylabel(NATS, fontsize=11, color=style.TEXT_COLOUR)
    style.figure_legend(figure, panels[0])
    if above := int((scored["objective"] > high).sum()):
        figure.text(0.995, 0.985, f"▲ {above} above the scale", ha="right", va="top", fontsize=10, color=style.MUTED)
    return figure


def draw_trials(
    axes: Axes, trials: pd.DataFrame, parameter: SearchedParameter, metric: str = "objective", *, other: float = 1.0
) -> None:
    """Draw trials as points on the scale of the search space; choices side by side with the median of each.

    Marks of trials that are not complete are `other` times as large.
    """
    style.style_parameter_axis(style.style_axes(axes), parameter)
    known = trials[parameter.places(trials).notna()]
    places, values = pd.Series(parameter.numbers(parameter.places(known)), index=known.index), known[metric]
    if parameter.is_choice:
        complete = known["state"] == "complete"
        medians = values[complete].groupby(places[complete]).median()
        axes.hlines(medians, medians.index - 0.3, medians.index + 0.3, color=style.TEXT_COLOUR, linewidth=2, zorder=5)
        places = places + jitter(len(known))
    for state in style.STATE_COLOURS:
        chosen = known["state"] == state
        shown = state if (trials["state"] == state).any() else None
        size = 30 * style.marker_scale(len(trials)) * (1.0 if state == "complete" else other)
        style.scatter(axes, places[chosen], values[chosen], state, size=size, label=shown)


def partial_dependence(view: StudyView) -> Figure | None:
    """Draw a panel per searched parameter, the most important first: the expected value along it, averaged over the others.

    None with fewer than `LEAST_TRIALS` complete trials, or when they have one value.
    """
    forest = view.forest
    names = [] if forest is None else [name for name in forest.parameters if forest.places[name].nunique() > 1]
    if forest is None or not names:
        return None
    figure, panels = style.parameter_panels(len(names[:MOST_PANELS]), same_values=False)
    for panel, name in zip(panels, names, strict=False):
        _draw_dependence(panel, forest, forest.parameters[name])
    figure.supylabel(f"expected {NATS}", fontsize=11, color=style.TEXT_COLOUR)
    return figure


def _draw_dependence(axes: Axes, forest: Forest, parameter: SearchedParameter) -> None:
    """Draw the mean over the bags with its 95 % interval, the trials along the lower edge, and the lowest point."""
    places = forest.places[parameter.name].dropna()
    grid = parameter.grid(places, 25)
    bags = expected(forest, parameter.name, grid)
    mean = bags.mean(axis=0)
    # The bags differ most in their height, which says nothing about this parameter.
    half = 1.96 * (bags - bags.mean(axis=1, keepdims=True)).std(axis=0, ddof=1)
    x, colour = parameter.numbers(grid), style.STATE_COLOURS["complete"]
    style.style_parameter_axis(style.style_axes(axes), parameter)
    edge = axes.get_xaxis_transform()
    if parameter.is_choice:
        axes.errorbar(x, mean, half, fmt="o", color=colour, markersize=8, elinewidth=2)
        axes.margins(y=0.2)
        for place in np.unique(places):
            count = f"{int((places == place).sum()):,}"
            style.annotate(axes, count, (place, 0.045), xycoords=edge, colour=style.MUTED, va="baseline", boxed=True)
    else:
        axes.fill_between(x, mean - half, mean + half, color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, mean, color=colour, linewidth=2.2)
        axes.margins(y=0.1)
        # A tick for each trial along the lower edge: where there are few, the line is a guess.
        look: dict[str, Any] = {"marker": "|", "s": 60, "color": style.MUTED, "linewidths": 0.8, "transform": edge}
        faint = 0.6 * style.marker_scale(len(places)) ** 0.7
        axes.scatter(parameter.numbers(places), np.full(len(places), 0.02), alpha=faint, **look)
    low, high = int(mean.argmin()), int(mean.argmax())
    style.note(axes, f"spans {format_number(mean[high] - mean[low], 1)} nats")
    differences = bags[:, high] - bags[:, low]
    if differences.mean() > 1.96 * differences.std(ddof=1):
        axes.plot(x[low], mean[low], marker="o", markersize=8, color=style.BEST, zorder=5)
        if not parameter.is_choice:
            best = format_value(float(f"{x[low]:.2g}") if parameter.kind == "float" else round(x[low]))
            style.annotate(axes, best, (x[low], mean[low]), (0, 8), colour=style.BEST, va="bottom")


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


def parallel_coordinates(view: StudyView) -> Figure | None:
    """Draw a line per trial through its configuration to its value: the best complete trials in colour, others in grey.

    The parameters stand by importance, the most important next to the value; in the order of the study file where there is
    no importance. None with fewer than two parameters or two complete trials.
    """
    scored = view.search[np.isfinite(view.search["objective"])]
    names = list(view.importances.index)[:MOST_AXES][::-1] or list(view.parameters)[:MOST_AXES]
    parameters = [view.parameters[name] for name in names if view.parameters[name].of(scored).notna().any()]
    coloured, grey = _two_groups(scored)
    if len(parameters) < 2 or len(coloured) < 2:
        return None
    low, high = style.robust_limits(coloured["objective"])
    figure = style.new_figure(5.4)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(-0.35, len(parameters) + 0.45), ylim=(NOT_USED - 0.06, 1.0))
    heights = pd.DataFrame({place: _heights(parameter, scored) for place, parameter in enumerate(parameters)})
    heights[len(parameters)] = ((scored["objective"] - low) / (high - low)).clip(0, 1)
    colours = Normalize(coloured["objective"].min(), min(coloured["objective"].max(), high))
    faint, strong = max(0.35, min(0.9, 60 / max(1, len(grey)))), max(0.5, min(0.9, 40 / len(coloured)))
    shades: dict[str, Any] = {"array": coloured["objective"].to_numpy(), "norm": colours, "cmap": "viridis"}
    wide = 1.3 if len(coloured) < 100 else 0.9
    _draw_lines(axes, heights.loc[grey.index], colors="#b4b4b4", linewidths=0.6, alpha=faint, zorder=1)
    _draw_lines(axes, heights.loc[coloured.index], linewidths=wide, alpha=strong, zorder=2, **shades)
    _draw_lines(axes, heights.loc[coloured.index[-1:]], colors=style.TEXT_COLOUR, linewidths=2.4, zorder=3)
    for place, parameter in enumerate(parameters):
        _draw_axis(axes, place, parameter, unused=bool((heights[place] < 0).any()))
    _draw_value_axis(axes, len(parameters), np.linspace(low, high, 256), colours)
    best, above = coloured.iloc[-1], int((scored["objective"] > high).sum())
    text = f"best: trial {best['number']}, {format_number(best['objective'])}"
    text += f"\n▲ {above:,} above the scale" if above else ""
    style.annotate(axes, text, (len(parameters) + STRIP, 0), (0, -14), ha="right", va="top", linespacing=1.5)
    return figure


def parallel_caption(view: StudyView) -> str:
    """Say which lines are drawn, and in which order the parameters stand."""
    scored, complete = int(np.isfinite(view.search["objective"]).sum()), len(view.ranked)
    coloured = f"the best {MOST_COLOURED} of {complete:,}" if complete > MOST_COLOURED else f"all {complete:,}"
    grey = scored - min(complete, MOST_COLOURED)
    others = "" if not grey else "; other trials in grey" + (", thinned out" if grey > MOST_GREY else "")
    order, left_out = "The parameters stand in the order of the study file.", len(view.parameters) - MOST_AXES
    if len(view.importances):
        order = "The further right a parameter stands, the more important it is"
        order += f"; the {left_out} least important are left out." if left_out > 0 else "."
    return (
        f"A line per trial, through its settings to its value: {coloured} complete trials in the colour of the value, the best "
        f"in black{others}. {order} Choices are spread a little, so that lines can be told apart."
    )


def _two_groups(scored: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the best complete trials, the best of all last, and others evenly from the whole course of the search."""
    complete = scored[scored["state"] == "complete"].sort_values(["objective", "number"])
    coloured = complete.head(MOST_COLOURED)[::-1]
    others = scored.drop(coloured.index)
    return coloured, others.iloc[:: max(1, -(-len(others) // MOST_GREY))]


def _heights(parameter: SearchedParameter, trials: pd.DataFrame) -> pd.Series:
    """Return where each trial crosses the axis, from 0 to 1; below 0 where the parameter is not active."""
    places = parameter.places(trials)
    offsets = pd.Series(jitter(len(places)), index=places.index)
    if parameter.is_choice:
        places = (places + 0.5 + offsets) / len(parameter.texts)
    return places.fillna(NOT_USED + 0.08 * offsets)


def _draw_lines(axes: Axes, heights: pd.DataFrame, **look: Any) -> None:
    x = np.broadcast_to(np.arange(heights.shape[1]), heights.shape)
    axes.add_collection(LineCollection(list(np.stack([x, heights.to_numpy()], axis=2)), clip_on=False, **look))


def _draw_axis(axes: Axes, place: int, parameter: SearchedParameter, *, unused: bool) -> None:
    axes.plot([place, place], [0, 1], color=style.TEXT_COLOUR, linewidth=1.2, zorder=4, clip_on=False)
    style.annotate(axes, style.wrapped(parameter_label(parameter.name), 13), (place, 1), (0, 12), va="bottom")
    ticks = style.parameter_ticks(parameter)
    heights = (ticks + 0.5) / len(parameter.texts) if parameter.is_choice else ticks
    for text, height in zip(map(str, heights.index), heights, strict=True):
        style.annotate(axes, style.wrapped(text, 10), (place, height), (-4, 0), ha="right", boxed=True)
    if unused:
        style.annotate(axes, "not used", (place, NOT_USED), (-4, 0), ha="right", boxed=True, colour=style.MUTED)


def _draw_value_axis(axes: Axes, place: int, values: np.ndarray, colours: Normalize) -> None:
    """Draw the last axis, which is the scale of the colours, too."""
    strip: dict[str, Any] = {"origin": "lower", "aspect": "auto", "cmap": "viridis", "zorder": 4, "clip_on": False}
    axes.imshow(values[:, None], extent=(place, place + STRIP, 0, 1), norm=colours, **strip)
    style.annotate(axes, NATS, (place + STRIP, 0.5), (38, 0), rotation=90, ha="left")
    low, high = values[0], values[-1]
    for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high):
        if low <= tick <= high:
            text = format_number(tick, 0 if high - low > 5 else 1)
            style.annotate(axes, text, (place + STRIP, (tick - low) / (high - low)), (4, 0), ha="left")


def distributions(view: StudyView) -> Figure | None:
    """Draw the empirical distribution of the complete trials' values under each choice of a parameter; two panels at most.

    The optimizer comes first, then the others as in the study file. None without a parameter of which two choices have a
    complete trial.
    """
    choices = [parameter for parameter in view.parameters.values() if parameter.is_choice]
    choices.sort(key=lambda parameter: parameter.name != "optimizer")
    found = [(parameter, _by_choice(parameter, view.ranked)) for parameter in choices]
    shown = [(parameter, groups) for parameter, groups in found if len(groups) > 1][:2]
    if not shown:
        return None
    values = view.ranked["objective"]
    low, high = style.robust_limits(values)
    figure = style.new_figure(4.4, width=9.0 if len(shown) > 1 else 7.5)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (parameter, groups) in zip(panels, shown, strict=True):
        style.style_axes(axes, x=f"{parameter_label(parameter.name)}: {NATS}")
        axes.set(xlim=(low, high), ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f}"))
        for colour, (text, own) in zip(style.COLOURS, groups.items(), strict=False):
            axes.ecdf(own, color=colour, linewidth=2, label=f"{style.shortened(text, LONGEST)} (n = {len(own):,})")
        style.legend(axes, columns=4 if len(shown) == 1 else 2)
    panels[0].set_ylabel("complete trials at or below (%)", fontsize=11, color=style.TEXT_COLOUR)
    if above := int((values > high).sum()):
        style.note(panels[-1], f"{above:,} {'lies' if above == 1 else 'lie'} above {format_number(high, 0)}", y=0.02)
    return figure


def _by_choice(parameter: SearchedParameter, complete: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return choice → values of its complete trials, for as many choices as there are colours, those of most trials."""
    texts = parameter.of(complete).dropna().map(format_value)
    groups = {text: complete.loc[texts.index[texts == text], "objective"].to_numpy(float) for text in parameter.texts}
    most = sorted(groups, key=lambda text: -len(groups[text]))[: len(style.COLOURS)]
    return {text: own for text, own in groups.items() if text in most and len(own)}
