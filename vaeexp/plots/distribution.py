"""All trials at once: a line through the settings of each, and how their results are distributed under each choice."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sweeps.results.rankings import Results, ranked
from vaeexp.plots.axis import ParameterAxis, parameter_axis, wrapped
from vaeexp.plots.baselines import COLOURS
from vaeexp.plots.parameters import importances
from vaeexp.plots.style import INK, MUTED, Plot, dress, new_figure, note, robust_limits, spread
from vaeexp.results.frames import column, label, search_trials, space
from vaeexp.words import NATS, format_number, format_value

MOST_AXES = 7
MOST_COLOURED, MOST_GREY = 200, 600
"""Lines; more would be a carpet."""
NOT_USED = -0.13
STRIP = 0.05


def parallel_coordinates(results: Results) -> Figure | None:
    """A line per trial through its settings to its value: the best complete trials in colour, others in grey.

    The parameters stand by importance, the most important next to the value; in the order of the study file where there is
    no importance. None with fewer than two parameters or two complete trials.
    """
    trials = search_trials(results)
    scored = trials[np.isfinite(trials["objective"])]
    names = list(importances(results))[:MOST_AXES][::-1] or list(space(results))[:MOST_AXES]
    parameters = [parameter_axis(results, name) for name in names if column(scored, f"params.{name}").notna().any()]
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
    _draw_lines(
        axes,
        heights.loc[grey.index],
        colors="#b4b4b4",
        linewidths=0.6,
        alpha=max(0.35, min(0.9, 60 / max(1, len(grey)))),
        zorder=1,
    )
    norm = Normalize(coloured["objective"].min(), min(coloured["objective"].max(), high))
    shade = {
        "array": coloured["objective"],
        "norm": norm,
        "cmap": "viridis",
        "alpha": max(0.5, min(0.9, 40 / len(coloured))),
    }
    _draw_lines(axes, heights.loc[coloured.index], linewidths=1.3 if len(coloured) < 100 else 0.9, zorder=2, **shade)
    _draw_lines(axes, heights.loc[coloured.index[-1:]], colors=INK, linewidths=2.4, zorder=3)
    for place, parameter in enumerate(parameters):
        unused = bool((heights[place] < 0).any())
        _draw_axis(axes, place, label(parameter.name), _ticks(parameter), unused=unused)
    _draw_value_axis(axes, len(parameters), np.linspace(low, high, 256), norm)
    best, above = coloured.iloc[-1], int((scored["objective"] > high).sum())
    words = f"best: trial {best['number']}, {format_number(best['objective'])}" + (
        f"\n▲ {above:,} above the scale" if above else ""
    )
    axes.annotate(
        words, (len(parameters) + STRIP, 0), (0, -14), textcoords="offset points", fontsize=10, color=INK, ha="right",
        va="top", linespacing=1.5,
    )  # fmt: skip
    return figure


def _two_groups(scored: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The best complete trials, the best of all last, and others evenly from the whole course of the search."""
    complete = scored[scored["state"] == "complete"].sort_values(["objective", "number"])
    coloured = complete.head(MOST_COLOURED)[::-1]
    others = scored.drop(coloured.index)
    return coloured, others.iloc[:: max(1, -(-len(others) // MOST_GREY))]


def _heights(parameter: ParameterAxis, trials: pd.DataFrame) -> pd.Series:
    """Where each trial crosses the axis, from 0 to 1; below it where the parameter is not active. Choices are spread a little."""
    places = parameter.places(trials)
    if parameter.kind == "choice":
        places = (places + 0.5 + np.array(spread(len(places)))) / len(parameter.texts)
    return places.fillna(NOT_USED + 0.08 * pd.Series(spread(len(places)), index=places.index))


def _draw_lines(axes: Axes, heights: pd.DataFrame, **style) -> None:
    x = np.broadcast_to(np.arange(heights.shape[1]), heights.shape)
    axes.add_collection(LineCollection(np.stack([x, heights.to_numpy()], axis=2), clip_on=False, **style))


def _ticks(parameter: ParameterAxis) -> pd.Series:
    """Text → height."""
    ticks = parameter.ticks()
    return (ticks + 0.5) / len(parameter.texts) if parameter.kind == "choice" else ticks


def _draw_axis(axes: Axes, place: int, text: str, ticks: pd.Series, *, unused: bool) -> None:
    axes.plot([place, place], [0, 1], color=INK, linewidth=1.2, zorder=4, clip_on=False)
    style = {"fontsize": 10, "color": INK, "zorder": 5, "clip_on": False}
    above = {"xytext": (0, 12), "textcoords": "offset points", "ha": "center", "va": "bottom"}
    axes.annotate(wrapped(text, 13), (place, 1), **above, **style)
    lines = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.8}
    for tick, height in [*ticks.items(), *([("not used", NOT_USED)] if unused else [])]:
        axes.annotate(
            wrapped(tick, 10), (place, height), (-4, 0), textcoords="offset points", ha="right", va="center", bbox=lines,
            **style | ({"color": MUTED} if tick == "not used" else {}),
        )  # fmt: skip


def _draw_value_axis(axes: Axes, place: int, values: np.ndarray, norm: Normalize) -> None:
    """The last axis is the scale of the colours, too."""
    strip = {"origin": "lower", "aspect": "auto", "cmap": "viridis", "norm": norm, "zorder": 4, "clip_on": False}
    axes.imshow(values[:, None], extent=(place, place + STRIP, 0, 1), **strip)
    style = {"textcoords": "offset points", "fontsize": 10, "color": INK}
    axes.annotate(NATS, (place + STRIP, 0.5), (38, 0), rotation=90, ha="left", va="center", **style)
    low, high = values[0], values[-1]
    for tick in MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high):
        if low <= tick <= high:
            text = format_number(tick, 0 if high - low > 5 else 1)
            axes.annotate(text, (place + STRIP, (tick - low) / (high - low)), (4, 0), va="center", **style)


def distributions(results: Results) -> Figure | None:
    """The empirical distribution of the complete trials' values under each choice of one parameter; two panels at most.

    The optimizer comes first, then the others as in the study file. None without a parameter of which two choices have a
    complete trial.
    """
    complete = ranked(results)
    found = {name: _by_choice(results, name, complete) for name in _choices(results)}
    shown = [(name, groups) for name, groups in found.items() if len(groups) > 1][:2]
    if not shown:
        return None
    figure = new_figure(4.4, width=9.0 if len(shown) > 1 else 7.5)
    low, high = robust_limits(complete["objective"])
    for axes, (name, groups) in zip(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0], shown, strict=True):
        dress(axes, x=NATS, title=label(name))
        axes.set(xlim=(low, high), ylim=(0, 1.02))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:.0f}"))
        for colour, values in zip(COLOURS, groups.values(), strict=False):
            axes.ecdf(values, color=colour, linewidth=2)
        _label_curves(axes, groups, len(shown))
    figure.axes[0].set_ylabel("complete trials at or below (%)", fontsize=11, color=INK)
    above = int((complete["objective"] > high).sum())
    if above:
        note(figure.axes[-1], f"{above:,} {'lies' if above == 1 else 'lie'} above {format_number(high, 0)}")
    return figure


def _choices(results: Results) -> list[str]:
    names = [name for name, parameter in space(results).items() if parameter["kind"] == "choice"]
    return sorted(names, key=lambda name: name != "optimizer")


def _by_choice(results: Results, name: str, complete: pd.DataFrame) -> dict[str, np.ndarray]:
    """Choice → values of its complete trials in ascending order, for as many choices as there are colours, those of most trials."""
    texts = column(complete, f"params.{name}").dropna().map(format_value)
    groups = {text: np.sort(values) for text, values in complete["objective"].groupby(texts)}
    most = sorted(groups, key=lambda text: -len(groups[text]))[: len(COLOURS)]
    return {text: groups[text] for text in parameter_axis(results, name).texts if text in most}


def _label_curves(axes: Axes, groups: dict[str, np.ndarray], panels: int) -> None:
    """Each curve's name beside it, where it hides no other curve and no other name."""
    left, right = axes.get_xlim()
    taken: list[tuple[float, float, float]] = []
    for colour, (text, values) in zip(COLOURS, groups.items(), strict=False):
        words = f"{text} (n = {len(values):,})"
        wide = len(words) * 0.011 * panels * (right - left)
        spots = []
        for height in np.arange(0.9, 0.09, -0.05):
            at = float(np.quantile(values, height, method="inverted_cdf"))
            for side in (-1, 1):
                start, end = sorted((at + side * 0.012 * (right - left), at + side * wide))
                cost = _hidden(groups.values(), start, end, height) + 10 * (start < left or end > right)
                cost += 5 * sum(start < e and s < end and abs(height - h) < 0.07 for s, e, h in taken)
                spots.append((cost, abs(height - 0.6), side, at, height, start, end))
        _, _, side, at, height, start, end = min(spots)
        taken.append((start, end, height))
        axes.annotate(
            words, (at, height), (7 * side, 0), textcoords="offset points", fontsize=10, color=colour, va="center",
            ha="left" if side > 0 else "right", bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )  # fmt: skip


def _hidden(curves: Sequence[np.ndarray], start: float, end: float, height: float) -> int:
    """How many of these rising curves pass through the box from start to end around this height."""
    lower = [np.searchsorted(values, start, side="right") / len(values) for values in curves]
    upper = [np.searchsorted(values, end, side="right") / len(values) for values in curves]
    return sum(a < height + 0.035 and b > height - 0.035 for a, b in zip(lower, upper, strict=True))


def _lines_caption(results: Results) -> str:
    scored = search_trials(results)["objective"]
    complete = len(ranked(results))
    coloured = f"the best {MOST_COLOURED} of {complete:,}" if complete > MOST_COLOURED else f"all {complete:,}"
    grey = len(scored[np.isfinite(scored)]) - min(complete, MOST_COLOURED)
    others = "" if not grey else "; other trials in grey" + (", thinned out" if grey > MOST_GREY else "")
    ranking, left_out = importances(results), len(space(results)) - MOST_AXES
    order = (
        "The further right a parameter stands, the more important it is"
        + (f"; the {left_out} least important are left out." if left_out > 0 else ".")
        if ranking
        else "The parameters stand in the order of the study file."
    )
    return (
        f"A line per trial, through its settings to its value: {coloured} complete trials in the colour of the value, the best "
        f"in black{others}. {order} Choices are spread a little, so that lines can be told apart."
    )


PLOTS: dict[str, Plot] = {
    "parallel_coordinates": Plot(
        "Every trial through its parameters",
        parallel_coordinates,
        _lines_caption,
        "It takes two searched parameters and two complete trials.",
    ),
    "distributions": Plot(
        "Distribution of results by choice",
        distributions,
        "Which share of the complete trials of each choice ended at or below a value; the curve further left is better. The "
        "sampler prefers what looked good and pruned trials are not counted, so this describes and does not compare.",
        "It takes a parameter with choices, two of which have a complete trial.",
    ),
}
