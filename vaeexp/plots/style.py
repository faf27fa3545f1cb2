"""One look for every plot: sizes, the Okabe–Ito colours, grid, legends, axis limits.

Plots are made with matplotlib's object interface; nothing here touches pyplot or its global state.
"""

import math
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from PIL import Image

from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.tables import finite, row_names
from vaeexp.words import format_tick, of_data

WIDTH = 9.0
"""Inches of a plot without its frame. On a page an inch takes 100 to 120 pixels."""
PICTURE_SCALE = 2
"""Pixels of a file for each pixel of the page, so that a screen of high resolution shows sharp
words.
"""
DPI = 120 * PICTURE_SCALE
TRIALS = "trials:"
"""What the mark of `mark_trials` begins with."""
MOST_MARKED = 2000
"""Points of a collection up to which each is an element of the page; more would make the page
slow.
"""
COMPRESSION = 3
"""Level of PNG files: level 6 takes twice as long for files that are 15 % smaller."""
EDGE = 0.02
"""Share of the axes by which a point may lie beyond them and still show a part of its mark."""
MARGIN = 0.2
TITLE = 0.4
LINE = 0.25
"""Inches of white around a plot, which part it from a dark page, of its title, and of each further
line of the title.
"""

TEXT_COLOUR = "#222222"
MUTED = "#6f6f6f"
BEST = "#007A5A"
STATE_COLOURS = {
    "complete": "#0072B2",
    "pruned": "#E69F00",
    "failed": "#D55E00",
    "running": "#56B4E9",
    "paused": "#CC79A7",
}
STATE_MARKERS = {"complete": "o", "pruned": "s", "failed": "X", "running": "D", "paused": "P"}
"""From the palette of Okabe and Ito (2008), told apart by readers with any colour vision."""
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", TEXT_COLOUR)
DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)))
"""Of lines beside each other, from the same palette; the next dash where the colours are used
up.
"""
DASHED: dict[str, Any] = {"color": MUTED, "linewidth": 1.3, "linestyle": (0, (4, 3)), "zorder": 2}
"""Of a line that is there for orientation."""
STAR: dict[str, Any] = {
    "marker": "*",
    "facecolors": "none",
    "edgecolors": TEXT_COLOUR,
    "linewidths": 1.2,
    "zorder": 6,
}
"""Of the winner."""
FAR = 15
"""Times the usual distance from their median by which a run is far above others of one setting:
ten standard deviations or more.
"""
SLANT = 30
"""Degrees at which names below an axis stand where the names do not fit side by side."""
LONGEST = 120
"""Letters of a name or title in a plot; the report's tables have longer ones in full."""
_SPACE = "\u200b"  # without a width
_WORDS: dict[str, Any] = {"color": TEXT_COLOUR, "fontsize": 10, "ha": "center", "va": "center"}
"""Of words that say nothing else of their look."""
BOX: dict[str, Any] = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
"""White behind words, as their `bbox`."""


def line_style(index: int) -> dict[str, Any]:
    """Return the colour and the dash of a line by its place among lines beside each other."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": DASHES[index // len(COLOURS) % len(DASHES)],
    }


class _Canvas(FigureCanvasAgg):
    """Draws a letter that the font lacks as its number in Unicode, `U+732B`: all texts of a figure
    pass its renderer, those of ticks, too.
    """

    def get_renderer(self) -> RendererAgg:
        renderer = super().get_renderer()
        renderer.__class__ = _Renderer
        return renderer


class _Renderer(RendererAgg):
    def draw_text(self, *given: Any, **more: Any) -> None:
        gc, x, y, text, *look = given
        super().draw_text(gc, x, y, _in_glyphs(text), *look, **more)

    def get_text_width_height_descent(self, s: str, *look: Any) -> Any:
        return super().get_text_width_height_descent(_in_glyphs(s), *look)


@cache
def _in_glyphs(text: str) -> str:
    glyphs = get_font(findfont("DejaVu Sans")).get_charmap()
    return "".join(c if ord(c) in glyphs else f"U+{ord(c):04X}" for c in text)


def new_figure(height: float = 4.6, width: float = WIDTH) -> Figure:
    """Return an empty white figure of this size in inches, which lays its parts out by itself."""
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained", facecolor="white")
    _Canvas(figure)
    return figure


def framed(figure: Figure, title: str = "") -> Figure:
    """Put a title above everything in the figure where there is one, and a white margin around;
    return the figure, which grows by both.
    """
    # The layout is made once, without the frame, which the layout engine would not leave free above
    # a legend.
    if (engine := figure.get_layout_engine()) is not None:
        with drawing(figure):
            engine.execute(figure)
        figure.set_layout_engine("none")
    width, height = map(float, figure.get_size_inches())
    above = TITLE + LINE * title.count("\n") if title else 0.0
    whole = width + 2 * MARGIN, height + 2 * MARGIN + above
    left = MARGIN / whole[0]
    bottom = MARGIN / whole[1]
    across = width / whole[0]
    up = height / whole[1]
    for text in figure.texts:
        x, y = text.get_position()
        text.set_position((left + across * x, bottom + up * y))
    for legend in figure.legends:
        legend.set_bbox_to_anchor((left, bottom, across, up), figure.transFigure)
    for axes in figure.axes:
        box = axes.get_position(original=True)
        axes.set_position(
            (left + across * box.x0, bottom + up * box.y0, across * box.width, up * box.height)
        )
    figure.set_size_inches(*whole)
    if title:
        figure.text(
            left,
            1 - (MARGIN + 0.02) / whole[1],
            title,
            gid="title",
            fontsize=14,
            fontweight="bold",
            color=TEXT_COLOUR,
            va="top",
        )
    return figure


@contextmanager
def drawing(figure: Figure) -> Iterator[None]:
    """Draw texts of users as they stand for the length of a `with` block.

    A `$` begins no formula, because a lone one, or a formula with a mistake, is an error. A page
    shows letters that our font lacks in the fonts of its reader.
    """
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph", UserWarning)
        yield


def one_plot(height: float = 4.6, *, x: str, y: str = "") -> tuple[Figure, Axes]:
    """Return a figure of this height in inches, and its only axes with these labels."""
    figure = new_figure(height)
    return figure, style_axes(figure.add_subplot(), x=x, y=y)


def whole_ticks(axis: Axis, most: int = 10) -> None:
    """Put ticks at whole numbers, at most so many intervals apart."""
    axis.set_major_locator(MaxNLocator(most, integer=True))


def label_axes(axes: Axes, x: str, y: str = "") -> None:
    """Write the names of what the axes show."""
    axes.set_xlabel(of_data(x), fontsize=11, color=TEXT_COLOUR)
    axes.set_ylabel(of_data(y), fontsize=11, color=TEXT_COLOUR)


def style_axes(axes: Axes, *, x: str = "", y: str = "") -> Axes:
    """Give axes labels and a light grid, without a frame at the top and the right; return them."""
    label_axes(axes, x, y)
    axes.tick_params(labelsize=10, colors=TEXT_COLOUR, which="both")
    axes.grid(color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#b0b0b0")
    return axes


def legend(axes: Axes, columns: int = 5) -> None:
    """Put the legend in lines of so many entries above the axes, without a box."""
    _draw_legend(
        axes,
        ncols=columns,
        columnspacing=1.4,
        handletextpad=0.4,
        loc="lower left",
        bbox_to_anchor=(-0.01, 1.0),
        borderaxespad=0.2,
    )


def figure_legend(figure: Figure, axes: Axes) -> None:
    """Put the legend of these axes in one line above all panels of the figure."""
    handles = axes.get_legend_handles_labels()
    _draw_legend(figure, *handles, loc="outside upper left", ncols=6, handletextpad=0.2)


def side_legend(axes: Axes) -> None:
    """Put the legend beside the axes at the right, a line for each entry."""
    _draw_legend(axes, loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.2)


def legend_label(name: str) -> str:
    """Return the label of a user's name, of which matplotlib leaves out those that begin with _."""
    return f"{_SPACE}{name}" if name.startswith("_") else name


def _draw_legend(owner: Axes | Figure, *handles: Any, **look: Any) -> None:
    """Put a legend without a box: points have one legible size, however small they are on the axes,
    and labels stand as they were given.
    """
    legend = owner.legend(*handles, frameon=False, fontsize=10, labelcolor=TEXT_COLOUR, **look)
    for text in legend.get_texts():
        text.set_text(text.get_text().removeprefix(_SPACE))
    for handle in legend.legend_handles:
        if isinstance(handle, PathCollection):
            handle.set_sizes([40])


def annotate(
    axes: Axes,
    text: str,
    at: tuple[float, float],
    offset: tuple[float, float] = (0, 0),
    **look: Any,
) -> None:
    """Write beside a point, so many points (1/72 inch) away from it; `look` is as matplotlib names
    it.
    """
    look = _WORDS | {"zorder": 6} | look
    axes.annotate(text, at, offset, textcoords="offset points", **look)


def colour_bar(
    figure: Figure, axes: Axes | Sequence[Axes], colours: ScalarMappable, **style: Any
) -> Axes:
    """Put the scale of these colours beside the axes; return the axes of the scale."""
    bar = figure.colorbar(colours, ax=axes, aspect=30, **({"pad": 0.02} | style))
    bar.ax.tick_params(labelsize=10, colors=TEXT_COLOUR)
    bar.outline.set_visible(False)
    return bar.ax


def write(axes: Axes, text: str, x: float, y: float, **look: Any) -> None:
    """Write at a point; `look` is as matplotlib names it."""
    axes.text(x, y, text, **(_WORDS | look))


def note(axes: Axes, text: str, *, y: float = 1.01) -> None:
    """Write a small remark above the right end of the axes."""
    write(axes, text, 1.0, y, color=MUTED, ha="right", va="bottom", transform=axes.transAxes)


WHOLE: ContextVar[bool] = ContextVar("whole axes", default=False)
"""Whether axes show all trials, however far out a few of them lie."""
CUTS: ContextVar[list[float]] = ContextVar("limits that leave trials out")
"""Collects the limits that leave values out."""
CUT = "axes that leave trials out"
"""Id of a figure whose axes do not show every trial."""


@contextmanager
def holding(variable: ContextVar[Any], value: Any) -> Iterator[Any]:
    """Give one of these variables this value for the length of a `with` block."""
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


def robust_limits(
    values: Iterable[float],
    others: Iterable[float] = (),
    *,
    beyond: Iterable[float] = (),
    reach: float = 1.5,
) -> tuple[float, float]:
    """Return limits that show the smallest values well: from the minimum up to Tukey's fence (q75 +
    reach x IQR) or the maximum.

    The fence is that of `values`, or of all values where there are none of these. It is raised to
    the 0.7 quantile of all, so that most points keep their place. Under `WHOLE` there is no
    fence, and the largest value `beyond` it is in sight, too. Values that are not finite are
    ignored; without any other the limits are (0, 1).
    """
    main = finite(values)
    everything = finite([*values, *others])
    if not len(everything):
        return 0.0, 1.0
    main = main if len(main) else everything
    lower, upper = np.quantile(main, [0.25, 0.75])
    fence = max(float(upper + reach * (upper - lower)), float(np.quantile(everything, 0.7)))
    low = float(everything.min())
    high = float(everything.max())
    fence = min(fence, high)
    high = max([high, *finite(beyond)])
    if fence < high and not WHOLE.get():
        high = fence
        CUTS.get([]).append(high)
    room = 0.06 * (high - low) or max(abs(low) * 0.01, 1e-3)
    return low - room, high + room


def sibling_limits(rows: Iterable[np.ndarray]) -> tuple[float, float]:
    """Return `robust_limits` of values whose rows differ by nothing but the seed, without those
    that lie far above their row: one broken run squeezes no other.
    """
    found = [own for row in rows if len(own := finite(row))]
    # The lower median is a run's own value: of two runs, a broken one would move their mean.
    above = [own - np.quantile(own, 0.5, method="lower") for own in found]
    values, distances = (np.concatenate([[], *parts]) for parts in (found, above))
    several = np.abs(distances[distances != 0])
    usual = np.quantile(several, 0.5, method="lower") if len(several) else math.inf
    return robust_limits(values[distances <= FAR * usual], beyond=values)


def with_intervals(low: float, high: float, ends: Iterable[float]) -> tuple[float, float]:
    """Widen limits to these ends of intervals, by at most half on either side: a wide interval does
    not squeeze the values.
    """
    room = 0.5 * (high - low)
    edge = 0.03 * (high - low)
    reached = np.clip([low, high, *ends], low - room, high + room)
    return float(reached.min()) - edge, float(reached.max()) + edge


def log_axis(axes: Axes, low: float, high: float) -> None:
    """Make the x axis logarithmic over [low, high], with plain decimal labels at 1, 2, 5 where
    decades are few.
    """
    axes.set_xscale("log")
    log_ticks(axes.xaxis, low, high)
    edge = 10 ** (0.04 * float(np.log10(high / low)))
    axes.set_xlim(low / edge, high * edge)


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Label a logarithmic axis over [low, high] with plain decimals, at 1, 2, 5 where decades are
    few.
    """
    many = np.log10(high / low) > 1.6
    axis.set_major_locator(LogLocator(subs=(1.0,) if many else (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(format_tick))
    axis.set_minor_locator(LogLocator(subs=range(2, 10)) if many else NullLocator())
    axis.set_minor_formatter(NullFormatter())


def save(figure: Figure, file: Path | BinaryIO) -> None:
    """Write a PNG of an opaque figure as it was laid out. The same figure gives the same bytes: no
    date, no version.
    """
    # `Figure.savefig` would draw everything twice, the first time for a layout that `framed` has
    # made.
    canvas = _Canvas(figure)
    with drawing(figure):
        canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba()))
    picture.convert("RGB").save(file, format="png", dpi=(DPI, DPI), compress_level=COMPRESSION)


def within(axes: Axes, points: np.ndarray) -> np.ndarray:
    """Return which points [N, 2] have a part of their mark on the axes: [N]. Others must not be
    drawn: the page has no element for them.
    """
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    low = np.array([left, bottom])
    size = np.array([right - left, top - bottom])
    return (np.abs((points - low) / size - 0.5) <= 0.5 + EDGE).all(axis=1)


def marker_scale(count: int) -> float:
    """Return by how much to shrink the marks of so many points: 1 up to 150 of them, then ever
    less.
    """
    return max(0.08, min(1.0, 150 / max(count, 1)))


def scatter(
    axes: Axes, trials: pd.DataFrame, state: str, *, size: float, label: str | None
) -> None:
    """Draw trials at their `x` and `y` in the shape and colour of a state, filled where complete;
    points above the axes stand at the upper edge as triangles.

    Call it after the limits are set. A failed trial without a value (NaN) keeps its cross, at the
    upper edge.
    """
    high = axes.get_ylim()[1]
    colour = STATE_COLOURS[state]
    complete = state == "complete"
    look: dict[str, Any] = {
        "edgecolors": colour,
        # The value of a trial that ended early is what it had reached, so its mark is open.
        "facecolors": colour if complete else "none",
        "linewidths": 0 if complete else 1.3,
        "clip_on": False,
        "alpha": 0.9,
        "zorder": 4 if complete else 3,
    }
    above = trials[trials["y"] > high]
    others = trials.drop(above.index)
    y = others["y"].fillna(high)
    mark = STATE_MARKERS[state]
    draw_points(axes, row_names(others), others["x"], y, s=size, marker=mark, label=label, **look)
    if len(above):
        y = above["y"].clip(upper=high)
        draw_points(axes, row_names(above), above["x"], y, s=0.8 * size, marker="^", **look)


def draw_points(
    axes: Axes, rows: Iterable[int | str], x: Any, y: Any, **look: Any
) -> PathCollection:
    """Draw points marked with the trials that they are of; return them."""
    points = axes.scatter(x, y, **look)
    mark_trials(rows, points)
    return points


def mark_trials(rows: Iterable[int | str], *artists: Artist) -> None:
    """Remember whose points a collection has, in its order, or whose one line it is: `45` for a
    trial, `r3` for a repeat.

    The HTML page finds its trials by this mark. A collection of more than `MOST_MARKED` points has
    none, and is an image in the page.
    """
    names = [str(row) for row in rows]
    for artist in artists:
        if len(names) > MOST_MARKED:
            artist.set_rasterized(True)
        elif names:
            artist.set_gid(f"{TRIALS}{','.join(names)}")


def state_label(state: str, count: int) -> str:
    """Return how a legend calls so many trials of a state: `complete (15)`, `pruned, value reached
    (22)`.
    """
    return f"{state}{', value reached' if state == 'pruned' else ''} ({count:,})"


def off_scale(axes: Axes, values: pd.Series) -> None:
    """Write how many of these values stand at the upper edge, where there are any."""
    if count := int((values > axes.get_ylim()[1]).sum()):
        note(axes, f"▲ {count} above the scale")


def style_parameter_axis(axes: Axes, parameter: SearchedParameter, below: Sequence[str]) -> None:
    """Make the x axis that of a parameter: its name, its scale, its range and the names of its
    choices.

    `below` has a remark for each choice, which stands under its name.
    """
    style_axes(axes, x=wrapped(parameter.label, 36))
    first = parameter.first
    last = parameter.last
    if parameter.log:
        log_axis(axes, first, last)
    elif parameter.is_choice:
        _name_choices(axes, parameter.texts, below)
        axes.set_xlim(-0.5, len(parameter.texts) - 0.5)
    else:
        axes.xaxis.set_major_locator(
            MaxNLocator(integer=parameter.kind == "int", nbins=6 if last < 1000 else 4)
        )
        axes.xaxis.set_major_formatter(FuncFormatter(format_tick))
        axes.set_xlim(first - 0.04 * (last - first), last + 0.04 * (last - first))


def _name_choices(axes: Axes, texts: Sequence[str], below: Sequence[str]) -> None:
    """Write the names of choices below the axes, each above its remark where they fit side by side;
    else aslant, with the remark behind the name.
    """
    grid = axes.get_subplotspec()
    columns = grid.get_gridspec().ncols if grid is not None else 1
    room = 90 // columns // len(texts)
    pairs = list(zip(texts, below, strict=True))
    names = [f"{wrapped(text, max(6, room))}\n{remark}".rstrip() for text, remark in pairs]
    look: dict[str, Any] = {}
    if max(map(len, "\n".join(names).split("\n"))) > room:
        names = [": ".join(filter(None, (shortened(text, 28), remark))) for text, remark in pairs]
        look = {"rotation": SLANT, "ha": "right", "va": "top", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(texts)), names, **look)


def parameter_panels(count: int, y: str, *, same_values: bool) -> tuple[Figure, list[Axes]]:
    """Return a figure with a panel for each of so many parameters, with one scale of values or with
    scales of their own; `y` names the values.
    """
    across = 2 if count in (2, 4) else min(3, count)
    down = math.ceil(count / across)
    figure = new_figure(0.6 + 2.75 * down, width=9.0 if across > 1 else 6.5)
    panels = list(figure.subplots(down, across, sharey=same_values, squeeze=False).ravel())
    for panel in panels[count:]:
        panel.set_visible(False)
    figure.supylabel(of_data(y), fontsize=11, color=TEXT_COLOUR)
    return figure, panels[:count]


def wrapped(text: str, width: int) -> str:
    """Break a text into lines of at most this many characters: after spaces and other marks, and
    inside a longer word.

    Its own lines are joined, and more than `LONGEST` characters are cut.
    """
    lines = [""]
    # A line may end after these marks.
    for part in re.split(r"(?<=[ _–.:])", shortened(" ".join(text.split()), LONGEST)):
        if lines[-1] and len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
        while len(lines[-1].rstrip()) > width:
            lines[-1:] = [lines[-1][:width], lines[-1][width:]]
    return "\n".join(line.rstrip() for line in lines)


def two_lines(text: str, width: int) -> str:
    """Break a text into at most two lines of so many characters; a longer second line is cut."""
    first, *more = wrapped(text, width).split("\n")
    return "\n".join([first, shortened(" ".join(more), width)] if more else [first])


def shortened(text: str, most: int) -> str:
    """Cut a text to at most so many characters, the last of them an ellipsis where something is
    missing.
    """
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}…"
