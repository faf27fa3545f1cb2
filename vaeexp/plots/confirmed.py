"""The confirmed configurations: a dot per seed, their learning curves, training against validation, and the bound by samples."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results.statistics import Interval, mean_interval
from vaeexp.plots import style
from vaeexp.results.statements import Statement
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import column, finite, read_arrays, row_names
from vaeexp.results.tested_settings import TestedSetting, by_training
from vaeexp.words import NATS, format_interval, format_number

LONGEST = 34
"""Characters of a line of a title beside a row."""
FAR = 6
"""Interquartile ranges above the median from which a dot stands at the edge, so that the others stay apart."""
MOST = 6
"""Configurations whose curves are drawn; more would hide each other."""


def comparable(view: StudyView) -> list[list[TestedSetting]]:
    """Return the confirmed configurations, the best first, then baselines of the same protocol; empty without a confirmed one.

    Configurations that were trained alike are one group, because a second dot or line would lie on the first.
    """
    confirmed = view.confirmed
    same = [setting for setting in view.baselines if confirmed and setting.same_protocol == confirmed[0].same_protocol]
    return by_training([*confirmed, *same]) if confirmed else []


def drawn_once(groups: Sequence[Sequence[TestedSetting]]) -> list[Statement]:
    """Say which configurations are not drawn because another has their training; empty where each is drawn."""
    return [
        Statement(
            id=f"plot.{'several_' if len(others) > 1 else ''}same_training",
            values={"others": tuple(setting.title for setting in others), "first": first.title},
        )
        for first, *others in groups
        if others
    ]


def confirmed_seeds(view: StudyView) -> Figure | None:
    """Draw a dot per seed of each confirmed configuration and comparable baseline, with means, intervals and lines of one seed.

    A line joins the runs of neighbouring rows that have the same seed. None without a confirmed configuration.
    """
    settings = [setting for setting, *_ in comparable(view)]
    if not settings:
        return None
    tested = any(len(finite(column(setting.runs, "result.test/neg_elbo"))) for setting in settings)
    metric = "result.test/neg_elbo" if tested else "objective"
    figure = style.new_figure(1.3 + 0.46 * len(settings))
    axes = style.style_axes(figure.add_subplot(), x="test −ELBO (nats per image)" if tested else NATS)
    rows = [setting.runs[np.isfinite(column(setting.runs, metric).astype(float))] for setting in settings]
    low, high = _limits(rows, metric)
    _join_seeds(axes, rows, metric)
    for y, runs in enumerate(rows):
        values = runs[metric].astype(float)
        _draw_dots(axes, values, row_names(runs), y, high)
        interval = mean_interval(values.tolist())
        if len(values) > 2:
            _draw_interval(axes, interval, y + 0.24, low, high)
        if low <= interval.mean <= high:
            axes.scatter([interval.mean], [y + 0.24], s=44, marker="D", color=style.TEXT_COLOUR, zorder=5)
        if len(values):
            mean = format_interval(interval) if len(values) > 2 else format_number(interval.mean)
            text = f"{mean}, n = {len(values)}"
            style.annotate(axes, text, (1.025, y), xycoords=("axes fraction", "data"), ha="left")
    axes.set_yticks(range(len(settings)), [style.two_lines(setting.title, LONGEST) for setting in settings])
    axes.set(ylim=(len(settings) - 0.4, -0.6), xlim=(low, high))
    axes.grid(visible=False, axis="y")
    return figure


def _draw_dots(axes: Axes, values: pd.Series, rows: pd.Series, y: float, high: float) -> None:
    """Draw a dot for each of these values at a height; those beyond the axes are triangles at their edge."""
    dot: dict[str, Any] = {"marker": "o", "linewidths": 0}
    triangle: dict[str, Any] = {"marker": ">", "clip_on": False}
    for chosen, look in ((values <= high, dot), (values > high, triangle)):
        if chosen.any():
            look |= {"s": 46, "color": style.STATE_COLOURS["complete"], "zorder": 3}
            points = axes.scatter(values[chosen].clip(upper=high), [y] * int(chosen.sum()), **look)
            style.mark_trials(points, rows[chosen])


def _draw_interval(axes: Axes, interval: Interval, y: float, low: float, high: float) -> None:
    """Draw an interval at a height; an end beyond the limits of the axes is an arrow at their edge, with its number."""
    start, stop = max(interval.low, low), min(interval.high, high)
    if start < stop:
        axes.plot([start, stop], [y, y], color=style.TEXT_COLOUR, linewidth=2.2, zorder=4, solid_capstyle="butt")
    ends = (interval.low, interval.high)
    beyond = {"left": [end for end in ends if end < low], "right": [end for end in ends if end > high]}
    for side, hidden in beyond.items():
        if hidden:
            edge, marker, away = (low, "<", 8) if side == "left" else (high, ">", -8)
            axes.scatter([edge], [y], s=40, marker=marker, color=style.TEXT_COLOUR, zorder=5, clip_on=False)
            words = " to ".join(format_number(end) for end in hidden)
            style.annotate(axes, words, (edge, y), (away, -7), ha=side, boxed=True)


def _join_seeds(axes: Axes, rows: Sequence[pd.DataFrame], metric: str) -> None:
    """Join the values of one seed in rows that lie below each other."""
    for y, (above, below) in enumerate(pairwise(rows)):
        both = above.dropna(subset=["seed"]).merge(below.dropna(subset=["seed"]), on="seed")
        for pair in both[[f"{metric}_x", f"{metric}_y"]].to_numpy(float):
            axes.plot(pair, [y, y + 1], color="#b0b0b0", linewidth=1, zorder=1)


def _limits(rows: Sequence[pd.DataFrame], metric: str) -> tuple[float, float]:
    """Return limits that hold the confirmed dots and all others that are near, and of the intervals what leaves them legible."""
    values = finite(value for runs in rows for value in runs[metric])
    if not len(values):
        return 0.0, 1.0
    low, high = (
        float(values.min()),
        float(values[values <= np.median(values) + FAR * _interquartile_range(rows, metric)].max()),
    )
    room = 0.5 * (high - low) or 0.5
    intervals = [mean_interval(runs[metric].astype(float).tolist()) for runs in rows if len(runs) > 2]
    ends = [end for interval in intervals for end in (interval.low, interval.high)]
    left = max(low - room, min([low, *ends]))
    right = min(high + room, max([high, *(end for end in ends if end <= high + room)]))
    edge = 0.05 * (right - left) or 0.5
    return left - edge, right + edge


def _interquartile_range(rows: Sequence[pd.DataFrame], metric: str) -> float:
    """Return the interquartile range of the rows' values, at least 1 nat."""
    lower, upper = np.quantile(finite(value for runs in rows for value in runs[metric]), [0.25, 0.75])
    return max(float(upper - lower), 1.0)


def confirmed_curves(view: StudyView) -> Figure | None:
    """Draw validation −ELBO by epoch of the confirmed configurations: the median over seeds, with a band from least to largest.

    A curve ends where the first of its seeds ended. None without a confirmed configuration.
    """
    drawn = [(setting, _by_seed(view, setting, "objective")) for setting in view.confirmed[:MOST]]
    drawn = [(setting, curves) for setting, curves in drawn if len(curves)]
    if not drawn:
        return None
    figure = style.new_figure(4.8)
    axes = style.style_axes(figure.add_subplot(), x="epoch", y=NATS)
    for index, (setting, curves) in enumerate(drawn):
        look = style.line_style(index)
        label = f"{style.two_lines(setting.title, LONGEST)} (n = {curves.shape[1]})"
        (line,) = axes.plot(curves.index, curves.median(axis=1), linewidth=1.9, label=label, zorder=3, **look)
        style.mark_trials(line, [] if setting.source_trial is None else [setting.source_trial])
        axes.fill_between(
            curves.index, curves.min(axis=1), curves.max(axis=1), color=look["color"], alpha=0.2, linewidth=0
        )
    _scale_curves(axes, [curves for _, curves in drawn])
    style.legend(axes, columns=3)
    return figure


def _by_seed(view: StudyView, setting: TestedSetting, metric: str) -> pd.DataFrame:
    """Return a metric of each run of a configuration, [epochs, runs], as far as all of its runs went."""
    curves = [
        view.curve(run).set_index("epoch")[metric].rename(index)
        for index, (_, run) in enumerate(setting.runs.iterrows())
    ]
    return pd.concat(curves, axis=1).dropna().sort_index().astype(float)


def _scale_curves(axes: Axes, curves: Sequence[pd.DataFrame]) -> None:
    """Set limits that the first fifth of the epochs does not spoil."""
    settled = np.concatenate([table.iloc[len(table) // 5 :].to_numpy().ravel() for table in curves])
    low, high = style.robust_limits(settled)
    last = max(float(table.index.max()) for table in curves)
    axes.set(xlim=(min(1.0, last - 1), last), ylim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if any(float(table.to_numpy().max()) > high for table in curves):
        style.note(axes, f"values above {high:,.0f} are cut off", y=0.95)


def train_validation(view: StudyView) -> Figure | None:
    """Draw −ELBO on training and on validation images by epoch, of each run of the best configuration. None without its epochs."""
    if view.best is None:
        return None
    sides = {"training": "train/neg_elbo", "validation": "val/neg_elbo"}
    curves_by_side = {side: _by_seed(view, view.best, metric) for side, metric in sides.items()}
    if not all(len(curves) for curves in curves_by_side.values()):
        return None
    figure = style.new_figure(4.6)
    axes = style.style_axes(figure.add_subplot(), x="epoch", y="−ELBO (nats per image)")
    gap = float((curves_by_side["validation"].iloc[-1] - curves_by_side["training"].iloc[-1]).mean())
    side = "above" if gap >= 0 else "below"
    words = f"validation, at the end {format_number(abs(gap))} nats {side} training"
    labels = {"training": "training", "validation": words}
    for index, (side, curves) in enumerate(curves_by_side.items()):
        look = style.line_style(index)
        for number, row in enumerate(row_names(view.best.runs)):
            label = None if number else labels[side]
            (line,) = axes.plot(curves.index, curves[number], linewidth=1.5, label=label, **look)
            style.mark_trials(line, [row])
    _scale_curves(axes, list(curves_by_side.values()))
    style.legend(axes)
    return figure


def nll_by_samples(view: StudyView) -> Figure | None:
    """Draw the importance-weighted NLL against its number of samples: of each comparable configuration the mean over its runs, and their span.

    Of configurations that were trained alike, the one with the most samples stands for all. None without a run that left these numbers.
    """
    groups = [(group[0], [_bounds_of(setting) for setting in group]) for group in comparable(view)]
    drawn = [(setting, max(tables, key=_most_samples)) for setting, tables in groups if any(map(len, tables))][:MOST]
    if not drawn:
        return None
    figure = style.new_figure(4.4)
    axes = style.style_axes(figure.add_subplot(), x="samples k", y="test NLL ≤ (nats per image)")
    first, last = math.inf, 2.0
    for index, (setting, bounds) in enumerate(drawn):
        samples, look = bounds.index, style.line_style(index)
        label = f"{style.two_lines(setting.title, LONGEST)} (n = {bounds.shape[1]})"
        axes.plot(samples, bounds.mean(axis=1), label=label, marker="o", markersize=4, linewidth=1.8, **look)
        if bounds.shape[1] > 1:
            axes.fill_between(
                samples, bounds.min(axis=1), bounds.max(axis=1), color=look["color"], alpha=0.2, linewidth=0
            )
        first, last = min(first, float(samples[0])), max(last, float(samples[-1]))
    style.log_axis(axes, first, last)
    style.legend(axes, columns=3)
    return figure


def _most_samples(bounds: pd.DataFrame) -> float:
    return float(bounds.index[-1]) if len(bounds) else 0.0


def _bounds_of(setting: TestedSetting) -> pd.DataFrame:
    """Return the bound by samples of each of its runs that left it, [samples, runs], at the samples that all of them have; empty where none did."""
    files = (read_arrays(folder, "nll_by_k") for folder in setting.runs["folder"])
    left = [pd.Series(arrays["nll_by_k"], index=arrays["nll_k"]) for arrays in files if arrays]
    return pd.concat(left, axis=1).dropna() if left else pd.DataFrame()
