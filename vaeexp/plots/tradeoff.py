"""The rate–distortion plane (Alemi et al. 2018, "Fixing a Broken ELBO"): what β really chooses."""

import math

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sweeps.results.rankings import Results
from vaeexp.plots.style import (
    INK,
    MUTED,
    STATE_COLOURS,
    Plot,
    crowding,
    decade_labels,
    dress,
    new_figure,
    note,
    robust_limits,
)
from vaeexp.results.frames import label, points, space, value_of
from vaeexp.words import format_number


def frontier(rate: np.ndarray, distortion: np.ndarray) -> np.ndarray:
    """Indices of the points that no other beats in both, in order of rising rate: [F]."""
    order = np.lexsort((distortion, rate))
    lowest = np.minimum.accumulate(distortion[order])
    first = np.r_[True, lowest[1:] < lowest[:-1]]
    return order[first]


def rate_distortion(results: Results) -> Figure | None:
    """Each trial's rate and distortion at its best epoch, coloured by β, with lines of equal −ELBO and the frontier.

    None when no trial has finished an epoch.
    """
    trials = points(results)
    if trials.empty:
        return None
    figure = new_figure(5.4)
    axes = dress(
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
    _draw_trials(figure, axes, trials, results)
    _name_best(axes, trials)
    hidden = int(((rate > right) | (distortion > top)).sum())
    if hidden:
        note(axes, f"{hidden} {'trial lies' if hidden == 1 else 'trials lie'} outside these axes")
    return figure


def _draw_trials(figure: Figure, axes: Axes, trials: pd.DataFrame, results: Results) -> None:
    """Complete trials as large points, all others as small ones; colour is β where the study searched it."""
    betas = pd.Series([_number(value_of(results, row, "beta")) for _, row in trials.iterrows()], index=trials.index)
    coloured = "beta" in space(results) and bool((betas > 0).all()) and betas.nunique() > 1
    scale = LogNorm(*_beta_range(results, betas)) if coloured else None
    for complete, size in ((False, 26), (True, 74)):
        chosen = trials[(trials["state"] == "complete") == complete]
        if chosen.empty:
            continue
        shades = (
            {"c": betas[chosen.index], "norm": scale, "cmap": "viridis"}
            if coloured
            else {"color": STATE_COLOURS["complete"]}
        )
        axes.scatter(
            chosen["val/rate"],
            chosen["val/distortion"],
            s=size * crowding(len(trials)),
            edgecolors=INK,
            linewidths=0.5 * crowding(len(trials)),
            zorder=4 if complete else 3,
            **shades,
        )
    if coloured:
        bar = figure.colorbar(ScalarMappable(norm=scale, cmap="viridis"), ax=axes, pad=0.02, aspect=30)
        bar.set_label(label("beta"), fontsize=12, color=INK, rotation=0, labelpad=8)
        bar.ax.yaxis.set_major_formatter(FuncFormatter(decade_labels))
        bar.ax.tick_params(labelsize=10, colors=INK)
        bar.outline.set_visible(False)


def _beta_range(results: Results, betas: pd.Series) -> tuple[float, float]:
    """The searched range, so that reports of one study share their colours; wider where a trial lies outside."""
    parameter = space(results)["beta"]
    ends = [end for end in (parameter.get("low"), parameter.get("high")) if end]
    return min(betas.min(), *ends, math.inf), max(betas.max(), *ends, 0.0)


def _draw_equal_lines(axes: Axes) -> None:
    """Lines rate + distortion = constant, labelled where they meet the lower or the right edge."""
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
        if y > top - 0.08 * (top - bottom) or x < left + 0.12 * (right - left):
            continue
        axes.annotate(
            f"−ELBO {level:,.0f}",
            (x, y),
            xytext=(-4, 4) if x > right - 1e-9 else (2, 4),
            textcoords="offset points",
            fontsize=10,
            color=MUTED,
            ha="right",
            va="bottom",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            zorder=1,
        )


def _name_best(axes: Axes, trials: pd.DataFrame) -> None:
    complete = trials[(trials["state"] == "complete") & trials["objective"].notna()]
    if complete.empty:
        return
    best = complete.loc[complete["objective"].idxmin()]
    left, right = axes.get_xlim()
    far = best["val/rate"] > left + 0.7 * (right - left)
    axes.annotate(
        f"best: trial {best['number']}, {format_number(best['objective'])}",
        (best["val/rate"], best["val/distortion"]),
        xytext=(-26 if far else 26, 30),
        ha="right" if far else "left",
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        textcoords="offset points",
        fontsize=11,
        color=INK,
        arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.9, "shrinkB": 5},
        zorder=6,
    )


def _number(value) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


PLOTS: dict[str, Plot] = {
    "rate_distortion": Plot(
        "Rate and distortion",
        rate_distortion,
        "Each trial at its best epoch (large: complete); lower left is better, along a dashed line the −ELBO is the same. "
        "The grey line joins the trials that no other beats in both rate and distortion.",
        "No trial has finished an epoch.",
    ),
}
