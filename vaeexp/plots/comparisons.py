"""Plots of comparisons: baselines and the best configuration, and matched pairs."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.results import matched_pairs
from vaeexp.plots import style
from vaeexp.plots.confirmed import draw_dots, draw_mean
from vaeexp.plots.pictures import STRIP, Row, epoch_words, picture_rows
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import finite, read_arrays
from vaeexp.results.tested_settings import PairComparison, TestedSetting, by_training
from vaeexp.words import format_number, format_value, parameter_label

LONGEST = 30
"""Characters of a line of a title beside pictures and curves."""


def best_and_baselines(view: StudyView) -> list[list[TestedSetting]]:
    """Return the best configuration, others that baselines change, then the baselines; those that
    were trained alike are one group.
    """
    baselines = view.retrained.baselines
    if not baselines:
        return []
    return by_training(filter(None, [view.best, *view.retrained.changed, *baselines]))


def baseline_strip(view: StudyView) -> Figure | None:
    """Draw reconstructions beside samples of each baseline and of the best configuration, below the
    originals of each.

    Baselines of other targets (binarised or grey) stand below originals of their own. None without
    a baseline with pictures.
    """
    groups: dict[bytes, tuple[str, list[Row]]] = {}
    words = []
    baselines = 0
    for setting, *_ in best_and_baselines(view):
        files = ((run, read_arrays(run["folder"])) for _, run in setting.median_first.iterrows())
        run, arrays = next((each for each in files if each[1].keys() >= STRIP), (None, {}))
        if run is None:
            continue
        title = style.two_lines(setting.title, LONGEST)
        below = epoch_words(view, run, deterministic=setting.deterministic)
        _, rows = groups.setdefault(arrays["originals"].tobytes(), (_targets(setting), []))
        rows.append((title, below, arrays))
        words += [*title.split("\n"), *below.split("\n")]
        baselines += setting.baseline is not None
    if not baselines:
        return None
    margin = 0.25 + 0.083 * max(22, *map(len, words))
    return picture_rows([*groups.values()] if len(groups) > 1 else [("", rows)], margin=margin)


def _targets(setting: TestedSetting) -> str:
    """Return `static binarisation`, or that the targets are levels."""
    binarisation = str(setting.settings["binarisation"])
    return "levels in [0, 1]" if binarisation == "none" else f"{binarisation} binarisation"


def paired_differences(view: StudyView) -> Figure | None:
    """Draw the difference within each matched pair, a row per configuration, and their mean with
    its interval.

    One panel per two values that are compared, at most three. None without a complete pair.
    """
    shown = [comparison for comparison in view.pairs if len(comparison.pairs)][:3]
    if not shown:
        return None
    rows = [comparison.configurations + 1 for comparison in shown]
    figure = style.new_figure(sum(0.95 + 0.36 * count for count in rows))
    panels = figure.subplots(len(shown), 1, squeeze=False, height_ratios=rows)
    for axes, comparison in zip(panels[:, 0], shown, strict=True):
        _draw_differences(axes, view, comparison)
    return figure


def _draw_differences(axes: Axes, view: StudyView, comparison: PairComparison) -> None:
    """Draw a row per configuration, then the mean; a point is marked as the run with the second
    value.
    """
    first = format_value(comparison.first)
    second = format_value(comparison.second)
    style.style_axes(axes, x=f"validation −ELBO, {second} − {first} (nats per image)")
    axes.axvline(0, color=style.MUTED, linewidth=1.2)
    two = [comparison.first, comparison.second]
    runs = matched_pairs(view.results, comparison.parameter, two, "number")
    numbers = runs[f"number.{comparison.second}"]
    groups = [*comparison.pairs.groupby("source_trial")["difference"]]
    interval = comparison.interval
    last = len(groups)
    _, most = style.sibling_limits(group.abs().to_numpy() for _, group in groups)
    _, reach = style.with_intervals(-most, most, np.abs(finite([interval.low, interval.high])))
    axes.set(xlim=(-reach, reach), ylim=(last + 0.6, -0.6))
    for row, (_, group) in enumerate(groups):
        marked = "r" + numbers[group.index].astype(int).astype(str)
        draw_dots(axes, marked, group.to_numpy(), row)
    draw_mean(axes, interval, last)
    axes.set_yticks(range(last + 1), [*(f"trial {trial}" for trial, _ in groups), "mean"])
    middle = f"{parameter_label(comparison.parameter)}, mean {format_number(interval.mean)}"
    above: dict[str, Any] = {"y": 1.02, "va": "bottom", "transform": axes.transAxes}
    style.write(axes, f"{second} better", x=0.0, ha="left", fontsize=11, **above)
    style.write(axes, f"{first} better", x=1.0, ha="right", fontsize=11, **above)
    style.write(axes, middle, x=0.5, color=style.MUTED, **above)
