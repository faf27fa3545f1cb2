"""The rate–distortion plane (Alemi et al. 2018, "Fixing a Broken ELBO"): what β really chooses; and the latent units in use."""

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

from vaeexp.plots.style import (
    DASHED,
    MUTED,
    STATE_COLOURS,
    TEXT_COLOUR,
    annotate,
    colour_bar,
    figure_legend,
    log_axis,
    marker_scale,
    new_figure,
    note,
    robust_limits,
    scatter,
    style_axes,
)
from vaeexp.results.columns import column, lowest
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.study_view import StudyView
from vaeexp.words import format_number, format_tick, format_value, parameter_label

GROUPS = 10
"""Sizes that are summed up each by itself; more of them by parts of their range, at most so many."""
IN_EACH = 5
"""Trials that such a part should have on average."""
FAR_APART = 8
"""By how much the largest of listed values exceeds the smallest for a logarithmic axis."""


def frontier(rate: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Return the indices of the points that no other beats in both, in order of rising rate: [F]."""
    order = np.lexsort((distortion, rate))
    lowest = np.minimum.accumulate(distortion[order])
    first = np.r_[True, lowest[1:] < lowest[:-1]]
    return order[first]


def rate_distortion(view: StudyView) -> Figure | None:
    """Draw each trial's rate and distortion at its best epoch, coloured by β, with lines of equal −ELBO and the frontier.

    None when no trial has finished an epoch.
    """
    trials = view.points
    if trials.empty:
        return None
    figure = new_figure(5.4)
    axes = style_axes(
        figure.add_subplot(),
        x="rate: KL(q(z|x) ‖ p(z)) (nats per image)",
        y="distortion: −E log p(x|z) (nats per image)",
    )
    rate, distortion = trials["val/rate"].to_numpy(float), trials["val/distortion"].to_numpy(float)
    # A wide reach: that a small β buys distortion at a rate of hundreds of nats is what the plane is there to show.
    _, right = robust_limits(rate, reach=6)
    bottom, top = robust_limits(distortion[trials["state"] == "complete"], distortion, reach=6)
    left = min(0.0, float(rate.min()))
    axes.set_xlim(left - 0.02 * (right - left), right + 0.04 * (right - left))
    axes.set_ylim(bottom, top)
    _draw_equal_lines(axes)
    best = frontier(rate, distortion)
    axes.plot(rate[best], distortion[best], color=MUTED, linewidth=1.4, zorder=2)
    _draw_trials(figure, axes, view)
    _name_best(axes, trials)
    hidden = int(((rate > right) | (distortion > top)).sum())
    if hidden:
        note(axes, f"{hidden} {'trial lies' if hidden == 1 else 'trials lie'} outside these axes")
    return figure


def _draw_trials(figure: Figure, axes: Axes, view: StudyView) -> None:
    """Draw complete trials as large points, all others as small ones; the colour is β where the study searched it."""
    trials, beta = view.points, view.parameters.get("beta")
    betas = pd.Series([_number(view.value_of(row, "beta")) for _, row in trials.iterrows()], index=trials.index)
    scale = _beta_scale(beta, betas) if beta is not None and (betas > 0).all() and betas.nunique() > 1 else None
    small = marker_scale(len(trials))
    for complete, size in ((False, 26), (True, 74)):
        chosen = trials[(trials["state"] == "complete") == complete]
        look: dict[str, Any] = {"color": STATE_COLOURS["complete"]}
        if scale is not None:
            look = {"c": betas[chosen.index], "norm": scale, "cmap": "viridis"}
        look |= {
            "s": size * small,
            "edgecolors": TEXT_COLOUR,
            "linewidths": 0.5 * small,
            "zorder": 4 if complete else 3,
        }
        if len(chosen):
            axes.scatter(chosen["val/rate"], chosen["val/distortion"], **look)
    if scale is not None:
        bar = colour_bar(figure, axes, ScalarMappable(norm=scale, cmap="viridis"))
        bar.set_ylabel(parameter_label("beta"), fontsize=12, color=TEXT_COLOUR, rotation=0, labelpad=8)
        bar.yaxis.set_major_formatter(FuncFormatter(format_tick))


def _beta_scale(beta: SearchedParameter, betas: pd.Series) -> LogNorm:
    """Return colours over the searched range, so that reports of one study share them; wider where a trial lies outside."""
    ends = [] if beta.is_choice else [end for end in (beta.low, beta.high) if end]
    return LogNorm(min(betas.min(), *ends, math.inf), max(betas.max(), *ends, 0.0))


def _draw_equal_lines(axes: Axes) -> None:
    """Draw lines rate + distortion = constant, with their −ELBO where they meet the lower or the right edge."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    for level in MaxNLocator(nbins=9, steps=[1, 2, 3, 5, 10], integer=True).tick_values(left + bottom, right + top):
        ends = sorted((x, level - x) for x in {left, right, level - bottom, level - top} if left <= x <= right)
        inside = [(x, y) for x, y in ends if bottom - 1e-9 <= y <= top + 1e-9]
        if len(inside) < 2 or inside[0] == inside[-1]:
            continue
        axes.plot(
            *zip(inside[0], inside[-1], strict=True), color="#c9c9c9", linewidth=1, linestyle=(0, (4, 3)), zorder=1
        )
        x, y = inside[-1]
        if y <= top - 0.08 * (top - bottom) and x >= left + 0.12 * (right - left):
            away = (-4 if x > right - 1e-9 else 2, 4)
            annotate(
                axes, f"−ELBO {level:,.0f}", (x, y), away, colour=MUTED, ha="right", va="bottom", boxed=True, zorder=1
            )


def _name_best(axes: Axes, trials: pd.DataFrame) -> None:
    complete = trials[(trials["state"] == "complete") & trials["objective"].notna()]
    if complete.empty:
        return
    best = lowest(complete)
    left, right = axes.get_xlim()
    far = best["val/rate"] > left + 0.7 * (right - left)
    line = {"arrowstyle": "-", "color": TEXT_COLOUR, "linewidth": 0.9, "shrinkB": 5}
    annotate(
        axes,
        f"best: trial {best['number']}, {format_number(best['objective'])}",
        (best["val/rate"], best["val/distortion"]),
        (-26 if far else 26, 30),
        ha="right" if far else "left",
        va="baseline",
        boxed=True,
        fontsize=11,
        arrowprops=line,
    )


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def active_units(view: StudyView) -> Figure | None:
    """Draw the active units of each trial at its best epoch against β and against latent size, one panel for each searched.

    A line shows where all units would be active. None where neither was searched, or no trial has such a figure.
    """
    every = column(view.best_epochs, "val/active_units").astype(float)
    trials = view.best_epochs[np.isfinite(every)]
    units, most = every[trials.index], float(every[trials.index].max())
    panels = _searched(view, trials, ("beta", "latent_size"))
    if not panels:
        return None
    figure = new_figure(4.6, width=9.0 if len(panels) > 1 else 6.5)
    drawn = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, sizes) in zip(drawn, panels.items(), strict=True):
        parameter = view.parameters[name]
        axes.set_ylim(-0.03 * most, 1.1 * max(most, 1))
        axes.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        _draw_points(axes, trials["state"], units, parameter, sizes)
        complete = sizes[trials["state"] == "complete"]
        groups = bins(complete, log=_is_log(parameter, sizes), listed=parameter.is_choice)
        middle = pd.DataFrame({"size": complete[groups.index], "units": units[groups.index]}).groupby(groups).median()
        look: dict[str, Any] = {"color": TEXT_COLOUR, "linewidth": 1.8, "zorder": 5}
        if len(middle):
            axes.plot(middle["size"], middle["units"], label="median of complete trials", **look)
        _draw_all_active(axes, view, name)
    figure.supylabel("active units at the best epoch", fontsize=11, color=TEXT_COLOUR)
    figure_legend(figure, drawn[-1])
    return figure


def _searched(view: StudyView, trials: pd.DataFrame, names: tuple[str, ...]) -> dict[str, pd.Series]:
    """Return the values of those of these parameters that were searched over numbers, by name; NaN where not active."""
    found = {}
    for parameter in (view.parameters[name] for name in names if name in view.parameters):
        values = parameter.of(trials)
        sizes = pd.to_numeric(values, errors="coerce").astype(float)
        if sizes.notna().any() and sizes.notna().sum() == values.notna().sum():
            found[parameter.name] = sizes
    return found


def _is_log(parameter: SearchedParameter, sizes: pd.Series) -> bool:
    """Tell whether a parameter was searched on a logarithmic scale; of listed values, whether they lie far apart."""
    return bool(sizes.min() > 0 and (sizes.max() >= FAR_APART * sizes.min() if parameter.is_choice else parameter.log))


def bins(sizes: pd.Series, *, log: bool, listed: bool = False) -> pd.Series:
    """Return the group of each size, without missing sizes.

    A group is the size itself where there are few sizes, as there are of `listed` ones; else the part of their range, from 0.
    """
    known = sizes.dropna()
    if listed or known.nunique() <= min(GROUPS, len(known) / 2):
        return known
    parts = min(GROUPS, max(3, len(known) // IN_EACH))
    scaled = pd.Series(np.log(known)) if log else known
    share = (scaled - scaled.min()) / ((scaled.max() - scaled.min()) or 1.0)
    return (share * parts).astype(int).clip(upper=parts - 1)


def _draw_points(
    axes: Axes, states: pd.Series, units: pd.Series, parameter: SearchedParameter, sizes: pd.Series
) -> None:
    """Draw complete trials large, others small, on the scale of the search space."""
    style_axes(axes, x=parameter.label)
    ends = (sizes.min(), sizes.max()) if parameter.is_choice else (parameter.low, parameter.high)
    low, high = min(ends[0], sizes.min()), max(ends[1], sizes.max())
    if _is_log(parameter, sizes) and high > low:
        log_axis(axes.xaxis, low, high)
    else:
        axes.set_xlim(low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=parameter.name != "beta"))
    if parameter.is_choice and sizes.nunique() <= GROUPS:
        places = sorted(sizes.dropna().unique())
        axes.set_xticks(places, [format_value(place) for place in places])
        axes.xaxis.set_minor_locator(NullLocator())
    for state in ("pruned", "failed", "running", "complete"):
        chosen = (states == state) & sizes.notna()
        large, small = (44, 8) if state == "complete" else (16, 3)
        if (states == state).any():
            size = max(small, large * marker_scale(len(states)))
            scatter(axes, sizes[chosen], units[chosen], state, size=size, label=state)


def _draw_all_active(axes: Axes, view: StudyView, name: str) -> None:
    """Draw where all units are active: units = latent size, or the latent size that the study fixes."""
    latent = view.fixed("latent_size")
    if name == "latent_size":
        ends = np.linspace(max(axes.get_xlim()[0], 0), axes.get_xlim()[1], 200)
        axes.plot(ends, ends, label="all units active", **DASHED)
    elif "latent_size" not in view.parameters and isinstance(latent, int):
        axes.set_ylim(top=max(axes.get_ylim()[1], 1.12 * latent))
        axes.axhline(latent, label="all units active", **DASHED)
