"""One look for every plot: sizes, the Okabe–Ito colours, grid, axis limits, names at the ends of lines; and `Plot`, a plot with its words.

Figures are made with matplotlib's object interface; nothing here touches pyplot or its global state.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from sweeps.results.rankings import Results

WIDTH = 9.0
"""Inches. At 120 dots per inch a figure is 1,080 pixels wide and stays legible shown at 900."""
DPI = 120

INK = "#222222"
MUTED = "#6f6f6f"
BEST = "#009E73"
STATE_COLOURS = {"complete": "#0072B2", "pruned": "#E69F00", "failed": "#D55E00", "running": "#56B4E9"}
STATE_MARKERS = {"complete": "o", "pruned": "s", "failed": "X", "running": "D"}
"""From the palette of Okabe and Ito (2008), told apart by readers with any colour vision."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", INK)
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
"""Of lines beside each other, from the same palette; the next dash where the colours are used up."""


def new_figure(height: float = 4.6, width: float = WIDTH) -> Figure:
    """An empty white figure of this size in inches, which lays its parts out by itself."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: Axes, *, x: str = "", y: str = "", title: str = "") -> Axes:
    """Labels, light grid, no frame at the top and the right."""
    axes.set_xlabel(x, fontsize=11, color=INK)
    axes.set_ylabel(y, fontsize=11, color=INK)
    if title:
        axes.set_title(title, fontsize=11, color=INK, loc="left")
    axes.tick_params(labelsize=10, colors=INK, which="both")
    axes.grid(visible=True, color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#b0b0b0")
    return axes


def key(axes: Axes, columns: int = 5) -> None:
    """The legend: one line above the axes, without a box."""
    legend = axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        ncols=columns,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handletextpad=0.4,
        columnspacing=1.4,
        borderaxespad=0.2,
    )
    even_marks(legend)


def key_of_panels(figure: Figure, axes: Axes) -> None:
    """The legend of these axes, one line above all panels of the figure."""
    legend = figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=6,
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        handletextpad=0.2,
    )
    even_marks(legend)


def even_marks(legend: Legend) -> None:
    """Points of a legend at one legible size, however small they are drawn."""
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([40])


def note(axes: Axes, text: str, *, x: float = 1.0, y: float = 1.01) -> None:
    """A small remark above the right end of the axes."""
    axes.text(x, y, text, transform=axes.transAxes, fontsize=10, color=MUTED, ha="right", va="bottom")


def robust_limits(
    values: Iterable[float], others: Iterable[float] = (), *, reach: float = 1.5, margin: float = 0.06
) -> tuple[float, float]:
    """Limits that show the smallest values well: from the minimum up to Tukey's fence (q75 + reach x IQR) or the maximum.

    The fence is that of `values` (of all, where there are none); it is raised to the 0.7 quantile of everything, so
    that most points keep their place. Values that are not finite are ignored. Without any, (0, 1).
    """
    main, everything = _finite(values), _finite([*values, *others])
    if not len(everything):
        return 0.0, 1.0
    main = main if len(main) else everything
    lower, upper = np.quantile(main, [0.25, 0.75])
    fence = max(float(upper + reach * (upper - lower)), float(np.quantile(everything, 0.7)))
    low, high = float(everything.min()), min(float(everything.max()), fence)
    room = margin * (high - low) or max(abs(low) * 0.01, 1e-3)
    return low - room, high + room


def _finite(values: Iterable[float]) -> np.ndarray:
    numbers = np.asarray(list(values), dtype=float)
    return numbers[np.isfinite(numbers)]


def log_axis(axis, low: float, high: float) -> None:
    """Make an x or y axis logarithmic over [low, high], with plain decimal labels at 1, 2, 5 where decades are few."""
    name = axis.axis_name
    (axis.axes.set_xscale if name == "x" else axis.axes.set_yscale)("log")
    decades = np.log10(high / low)
    axis.set_major_locator(LogLocator(base=10, subs=(1.0,) if decades > 1.6 else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(decade_labels))
    axis.set_minor_locator(NullLocator() if decades <= 1.6 else LogLocator(base=10, subs=tuple(range(2, 10))))
    axis.set_minor_formatter(NullFormatter())
    edge = 10 ** (0.04 * decades)
    (axis.axes.set_xlim if name == "x" else axis.axes.set_ylim)(low / edge, high * edge)


def decade_labels(value: float, position: int | None = None) -> str:
    """0.001, 0.1, 10, 1,000; powers outside 1e-4 … 1e6 as 1e-05."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        return f"{value:,.10g}" if abs(value) >= 1 else f"{value:.10f}".rstrip("0").rstrip(".")
    return f"{value:.3g}"


def save(figure: Figure, file: Path | BinaryIO) -> None:
    """Write a PNG. The same figure gives the same bytes: no date, no version."""
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None}, facecolor="white")


def crowding(count: int) -> float:
    """By how much to shrink the marks of so many points: 1 up to 150 of them, then ever less."""
    return max(0.08, min(1.0, 150 / max(count, 1)))


def scatter(axes: Axes, x: pd.Series, y: pd.Series, state: str, *, size: float = 34, label: str | None = None) -> None:
    """Points in the colour and shape of this state; those above the axes stand at the upper edge as triangles.

    Call after the limits are set. A failed trial without a value (NaN) keeps its cross, at the upper edge.
    """
    high = axes.get_ylim()[1]
    above = y > high
    shared = {"color": STATE_COLOURS[state], "linewidths": 0, "clip_on": False, "alpha": 0.9}
    order = 4 if state == "complete" else 3
    axes.scatter(
        x[~above], y[~above].fillna(high), s=size, marker=STATE_MARKERS[state], label=label, zorder=order, **shared
    )
    if above.any():
        axes.scatter(x[above], [high] * int(above.sum()), s=0.8 * size, marker="^", zorder=order, **shared)


def off_scale(axes_or_figure: Axes | Figure, count: int) -> None:
    """Say how many points stand at the upper edge, where there are any."""
    if count:
        text = f"▲ {count} above the scale"
        if isinstance(axes_or_figure, Axes):
            note(axes_or_figure, text)
        else:
            axes_or_figure.text(0.995, 0.985, text, ha="right", va="top", fontsize=10, color=MUTED)


def spread(count: int, width: float = 0.5) -> Sequence[float]:
    """Offsets in a repeating, even pattern over [−width/2, width/2]: points of one category side by side, no randomness."""
    golden = 0.6180339887498949
    return [(((index + 1) * golden) % 1.0 - 0.5) * width for index in range(count)]


LINE = 0.21
"""Inches from one name to the next, at the least."""


class End(NamedTuple):
    """Where a line ends, in the units of the data, and what stands there."""

    x: float
    y: float
    name: str
    colour: str


def name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Names near the height at which the lines end, apart from each other, joined to them by thin lines.

    The limits and scales of the axes must be set. A line that ends outside of them is named at the edge.
    """
    points = axes.transAxes.inverted().transform(axes.transData.transform([(end.x, end.y) for end in ends]))
    heights = np.clip(points[:, 1], 0, 1)
    inches = axes.figure.get_size_inches()[1] * axes.get_subplotspec().get_position(axes.figure).height
    for end, start, height, place in zip(ends, points[:, 0], heights, end_places(heights, LINE / inches), strict=True):
        shared = {"transform": axes.transAxes, "clip_on": False, "color": end.colour}
        axes.plot([start, 1.015, 1.04], [height, height, place], linewidth=0.7, alpha=0.7, **shared)
        axes.text(1.05, place, end.name, fontsize=10, ha="left", va="center", **shared)


def end_places(wanted: np.ndarray, apart: float) -> np.ndarray:
    """Places as near to those wanted as keeps any two at least `apart`, in their order, within [0, 1] where they fit.

    Wanted places in increasing order minus multiples of `apart` must not decrease: that is isotonic regression, solved
    exactly by pooling neighbours (Barlow et al. 1972).
    """
    order = np.argsort(wanted, kind="stable")
    steps = apart * np.arange(len(wanted))
    pools: list[list[float]] = []
    for value in wanted[order] - steps:
        pools.append([float(value), 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (left, many), (right, more) = pools[-2:]
            pools[-2:] = [[(left * many + right * more) / (many + more), many + more]]
    level = np.concatenate([np.full(int(count), value) for value, count in pools])
    room = max(0.0, 1.0 - (steps[-1] if len(steps) else 0.0))
    places = np.empty(len(wanted))
    places[order] = np.clip(level, 0.0, room) + steps
    return places


@dataclass(frozen=True)
class Plot:
    """A figure and the words that go with it."""

    title: str
    draw: Callable[[Results], Figure | None]
    """None when the study has too little for it."""
    caption: str | Callable[[Results], str]
    """How to read it, in a sentence or two."""
    absent: str
    """Why it may be missing."""

    def reading(self, results: Results) -> str:
        """The caption for this study."""
        return self.caption if isinstance(self.caption, str) else self.caption(results)
