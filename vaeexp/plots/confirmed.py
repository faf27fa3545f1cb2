"""The confirmed configurations: a dot per seed, and their learning curves."""

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.results import Interval, mean_interval
from vaeexp.plots import style
from vaeexp.results.statements import Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, curve_of, finite, row_names
from vaeexp.results.tested_settings import TestedSetting, by_training
from vaeexp.words import NATS, format_interval, format_number

LONGEST = 34
"""Characters of a line of a title beside a row."""
MOST = 6
"""Configurations whose curves are drawn; more would hide each other."""


def comparable(view: StudyView) -> list[list[TestedSetting]]:
    """Return the confirmed configurations, the best first, then baselines of the same protocol;
    empty without a confirmed one.

    Configurations that were trained alike are one group, because a second dot or line would lie on
    the first.
    """
    if not view.confirmed:
        return []
    protocol = view.confirmed[0].same_protocol
    same = [setting for setting in view.retrained.baselines if setting.same_protocol == protocol]
    return by_training([*view.confirmed, *same])


def drawn_once(groups: Sequence[Sequence[TestedSetting]]) -> list[Statement]:
    """Say which configurations are not drawn because another has their training; empty where each
    is drawn.
    """
    return [
        say(
            "plot.same_training",
            others=tuple(setting.title for setting in others),
            first=first.title,
        )
        for first, *others in groups
        if others
    ]


def confirmed_seeds(view: StudyView) -> Figure | None:
    """Draw a dot per seed of each confirmed configuration and comparable baseline, with means,
    intervals and lines of one seed.

    A line joins the runs of neighbouring rows that have the same seed. None without a confirmed
    configuration.
    """
    settings = [setting for setting, *_ in comparable(view)]
    if not settings:
        return None
    words = "test −ELBO (nats per image)"
    rows = _with_values(settings, "result.test/neg_elbo")
    if not any(map(len, rows)):
        words = NATS
        rows = _with_values(settings, "objective")
    figure, axes = style.one_plot(1.3 + 0.46 * len(settings), x=words)
    intervals = [mean_interval(runs["value"].tolist()) for runs in rows]
    ends = finite(chain.from_iterable((interval.low, interval.high) for interval in intervals))
    limits = style.sibling_limits(runs["value"].to_numpy() for runs in rows)
    low, high = style.with_intervals(*limits, ends)
    axes.set(ylim=(len(settings) - 0.4, -0.6), xlim=(low, high))
    _join_seeds(axes, rows)
    for y, (runs, interval) in enumerate(zip(rows, intervals, strict=True)):
        draw_dots(axes, row_names(runs), runs["value"].to_numpy(), y)
        draw_mean(axes, interval, y + 0.24)
        text = f"{format_interval(interval)}, n = {interval.n}"
        place = ("axes fraction", "data")
        style.annotate(axes, text, (1.025, y), xycoords=place, ha="left")
    axes.set_yticks(
        range(len(settings)), [style.two_lines(setting.title, LONGEST) for setting in settings]
    )
    axes.grid(visible=False, axis="y")
    return figure


def _with_values(settings: Sequence[TestedSetting], metric: str) -> list[pd.DataFrame]:
    """Return the runs of each setting that have this metric, as the column `value`."""
    every = [
        setting.runs.assign(value=column(setting.runs, metric).astype(float))
        for setting in settings
    ]
    return [runs[np.isfinite(runs["value"])] for runs in every]


def draw_dots(axes: Axes, names: Iterable[str], values: np.ndarray, y: float) -> None:
    """Draw a dot for the value of each run at a height. Those beyond the axes stand at their edge,
    below their values and an arrow.

    Call it after the limits are set.
    """
    low, high = axes.get_xlim()
    x = values.clip(low, high)
    look: dict[str, Any] = {"linewidths": 0, "zorder": 3, "clip_on": False}
    blue = style.STATE_COLOURS["complete"]
    style.draw_points(axes, names, x, np.full(len(x), y), s=46, color=blue, **look)
    for at, side in ((low, "left"), (high, "right")):
        beyond = ", ".join(format_number(each, 1) for each in values[(x == at) & (values != at)])
        if beyond:
            words = style.shortened(beyond, LONGEST)
            words = f"◂ {words}" if side == "left" else f"{words} ▸"
            style.annotate(axes, words, (at, y), (0, 6), ha=side, va="bottom")


def draw_mean(axes: Axes, interval: Interval, y: float) -> None:
    """Draw a mean with its interval at a height, with triangles at the edge of the axes where the
    interval goes on.
    """
    low, high = axes.get_xlim()
    black = style.TEXT_COLOUR
    axes.hlines(y, interval.low, interval.high, color=black, linewidth=2.2, zorder=4)
    axes.scatter([interval.mean], [y], s=44, marker="D", color=black, zorder=5)
    for hidden, edge, mark in ((interval.low < low, low, "<"), (interval.high > high, high, ">")):
        if hidden:
            axes.plot(edge, y, mark, color=black, clip_on=False, zorder=5)


def _join_seeds(axes: Axes, rows: Sequence[pd.DataFrame]) -> None:
    """Join the values of one seed in rows that lie below each other."""
    seeds = [runs.dropna(subset=["seed"]) for runs in rows]
    for y, (above, below) in enumerate(pairwise(seeds)):
        both = above.merge(below, on="seed")
        for pair in both[["value_x", "value_y"]].to_numpy():
            axes.plot(pair, [y, y + 1], color="#b0b0b0", linewidth=1, zorder=1)


def confirmed_curves(view: StudyView) -> Figure | None:
    """Draw validation −ELBO by epoch of the confirmed configurations: the median over seeds, with a
    band from least to largest.

    A curve ends where the first of its seeds ended. None without a confirmed configuration.
    """
    drawn = [(setting, _by_seed(view, setting)) for setting in view.confirmed[:MOST]]
    drawn = [(setting, curves) for setting, curves in drawn if len(curves)]
    if not drawn:
        return None
    figure, axes = style.one_plot(4.8, x="epoch", y=NATS)
    for index, (setting, curves) in enumerate(drawn):
        look = style.line_style(index)
        title = style.two_lines(setting.title, LONGEST)
        label = style.legend_label(f"{title} (n = {curves.shape[1]})")
        median = curves.median(axis=1)
        lines = axes.plot(curves.index, median, label=label, linewidth=1.9, zorder=3, **look)
        if curves.shape[1] > 1:
            ends = curves.min(axis=1), curves.max(axis=1)
            axes.fill_between(curves.index, *ends, color=look["color"], alpha=0.2, linewidth=0)
        style.mark_trials([str(setting.source_trial)], *lines)
    tables = [curves for _, curves in drawn]
    # The first fifth of the epochs does not spoil the scale.
    settled = [table.iloc[len(table) // 5 :].to_numpy().ravel() for table in tables]
    low, high = style.sibling_limits(settled)
    last = max(float(table.index.max()) for table in tables)
    axes.set(xlim=(min(1.0, last - 1), last), ylim=(low, high))
    style.whole_ticks(axes.xaxis)
    if any(float(table.to_numpy().max()) > high for table in tables):
        style.note(axes, f"values above {high:,.0f} are cut off", y=0.95)
    style.legend(axes, columns=3)
    return figure


def _by_seed(view: StudyView, setting: TestedSetting) -> pd.DataFrame:
    """Return the value of each run of a configuration, [epochs, runs], as far as all of its runs
    went.
    """
    curves = [
        curve_of(view.epochs, run).set_index("epoch")["objective"]
        for _, run in setting.runs.iterrows()
    ]
    return (
        pd.concat(curves, axis=1, keys=row_names(setting.runs)).dropna().sort_index().astype(float)
    )
