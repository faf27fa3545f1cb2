"""All trials at once: a line through the configuration of each, and how their results are distributed under each choice."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from vaeexp.plots.style import (
    COLOURS,
    MUTED,
    TEXT_COLOUR,
    annotate,
    legend,
    new_figure,
    note,
    parameter_ticks,
    robust_limits,
    style_axes,
    wrapped,
)
from vaeexp.results.columns import jitter
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.words import NATS, format_number, format_value, parameter_label

MOST_AXES = 7
MOST_COLOURED, MOST_GREY = 200, 600
"""Lines; more would be a carpet."""
NOT_USED = -0.13
STRIP = 0.05


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
    low, high = robust_limits(coloured["objective"])
    figure = new_figure(5.4)
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
    _draw_lines(axes, heights.loc[coloured.index[-1:]], colors=TEXT_COLOUR, linewidths=2.4, zorder=3)
    for place, parameter in enumerate(parameters):
        _draw_axis(axes, place, parameter, unused=bool((heights[place] < 0).any()))
    _draw_value_axis(axes, len(parameters), np.linspace(low, high, 256), colours)
    best, above = coloured.iloc[-1], int((scored["objective"] > high).sum())
    text = f"best: trial {best['number']}, {format_number(best['objective'])}"
    text += f"\n▲ {above:,} above the scale" if above else ""
    annotate(axes, text, (len(parameters) + STRIP, 0), (0, -14), ha="right", va="top", linespacing=1.5)
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


def _draw_lines(axes: Axes, heights: pd.DataFrame, **style: Any) -> None:
    x = np.broadcast_to(np.arange(heights.shape[1]), heights.shape)
    axes.add_collection(LineCollection(list(np.stack([x, heights.to_numpy()], axis=2)), clip_on=False, **style))


def _draw_axis(axes: Axes, place: int, parameter: SearchedParameter, *, unused: bool) -> None:
    axes.plot([place, place], [0, 1], color=TEXT_COLOUR, linewidth=1.2, zorder=4, clip_on=False)
    annotate(axes, wrapped(parameter_label(parameter.name), 13), (place, 1), (0, 12), va="bottom")
    ticks = parameter_ticks(parameter)
    heights = (ticks + 0.5) / len(parameter.texts) if parameter.is_choice else ticks
    for text, height in zip(map(str, heights.index), heights, strict=True):
        annotate(axes, wrapped(text, 10), (place, height), (-4, 0), ha="right", boxed=True)
    if unused:
        annotate(axes, "not used", (place, NOT_USED), (-4, 0), ha="right", boxed=True, colour=MUTED)


def _draw_value_axis(axes: Axes, place: int, values: np.ndarray, colours: Normalize) -> None:
    """Draw the last axis, which is the scale of the colours, too."""
    strip: dict[str, Any] = {"origin": "lower", "aspect": "auto", "cmap": "viridis", "zorder": 4, "clip_on": False}
    axes.imshow(values[:, None], extent=(place, place + STRIP, 0, 1), norm=colours, **strip)
    annotate(axes, NATS, (place + STRIP, 0.5), (38, 0), rotation=90, ha="left")
    low, high = values[0], values[-1]
    for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high):
        if low <= tick <= high:
            text = format_number(tick, 0 if high - low > 5 else 1)
            annotate(axes, text, (place + STRIP, (tick - low) / (high - low)), (4, 0), ha="left")


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
    low, high = robust_limits(values)
    figure = new_figure(4.4, width=9.0 if len(shown) > 1 else 7.5)
    panels = figure.subplots(1, len(shown), sharey=True, squeeze=False)[0]
    for axes, (parameter, groups) in zip(panels, shown, strict=True):
        style_axes(axes, x=f"{parameter_label(parameter.name)}: {NATS}")
        axes.set(xlim=(low, high), ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f}"))
        for colour, (text, own) in zip(COLOURS, groups.items(), strict=False):
            axes.ecdf(own, color=colour, linewidth=2, label=f"{text} (n = {len(own):,})")
        legend(axes, columns=4 if len(shown) == 1 else 2)
    panels[0].set_ylabel("complete trials at or below (%)", fontsize=11, color=TEXT_COLOUR)
    above = int((values > high).sum())
    if above:
        note(panels[-1], f"{above:,} {'lies' if above == 1 else 'lie'} above {format_number(high, 0)}", y=0.02)
    return figure


def _by_choice(parameter: SearchedParameter, complete: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return choice → values of its complete trials, for as many choices as there are colours, those of most trials."""
    texts = parameter.of(complete).dropna().map(format_value)
    groups = {text: complete.loc[texts.index[texts == text], "objective"].to_numpy(float) for text in parameter.texts}
    most = sorted(groups, key=lambda text: -len(groups[text]))[: len(COLOURS)]
    return {text: own for text, own in groups.items() if text in most and len(own)}
