"""Baselines beside the best configuration: what they draw, how they learnt, and what lies between two of their codes."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaeexp.plots.pictures import GAP, STRIP, picture_axes, row_label, tiles, words
from vaeexp.plots.style import (
    COLOURS,
    DASHES,
    MUTED,
    TEXT_COLOUR,
    new_figure,
    note,
    robust_limits,
    side_legend,
    style_axes,
)
from vaeexp.results.study_view import StudyView
from vaeexp.results.tested_settings import TestedSetting
from vaeexp.results.trial_files import Arrays, read_pictures
from vaeexp.words import format_number

SHOWN = 8
"""Reconstructions, and samples, per row of the strip."""
HEADING = 0.75
"""Height of a line of words between rows of pictures, in rows."""
PAIRS = 3
LONGEST = 34
"""Characters of a title beside pictures and lines; longer ones are cut."""
MEASURES = {"val/neg_elbo": "−ELBO", "val/rate": "rate", "val/distortion": "distortion"}

Pictured = tuple[TestedSetting, Arrays]
Curve = tuple[TestedSetting, pd.DataFrame]


def _shown(view: StudyView) -> list[TestedSetting]:
    """Return the best configuration that the search found, then the baselines; empty where there is no baseline."""
    best = [view.best] if view.best is not None else []
    return [*best, *view.baselines] if view.baselines else []


def _pictures(setting: TestedSetting, needed: frozenset[str]) -> Arrays:
    """Return the pictures of the best run that left all of these; empty where none did."""
    files = (read_pictures(folder) for folder in setting.runs["folder"])
    return next((found for found in files if needed <= found.keys()), {})


def baseline_strip(view: StudyView) -> Figure | None:
    """Draw reconstructions beside samples of each baseline and of the best configuration, below the originals of each.

    Baselines of other targets (binarised or grey) stand below originals of their own. None without a baseline with pictures.
    """
    found = [(setting, _pictures(setting, STRIP)) for setting in _shown(view)]
    found = [(setting, files) for setting, files in found if files]
    if all(setting.baseline is None for setting, _ in found):
        return None
    groups: list[list[Pictured]] = []
    for setting, files in found:
        same = [group for group in groups if np.array_equal(group[0][1]["originals"], files["originals"])]
        if same:
            same[0].append((setting, files))
        else:
            groups.append([(setting, files)])
    return _strip(groups)


def _strip(groups: list[list[Pictured]]) -> Figure:
    lengths = [len(files[name]) for group in groups for _, files in group for name in ("originals", "samples")]
    count = min(SHOWN, *lengths)
    height, width, channels = groups[0][0][1]["originals"].shape[1:]
    tile = height + GAP
    heading = max(round(HEADING * tile), 12)
    half = count * (width + GAP) - GAP
    right = half + 4 * GAP
    total = sum((len(group) + 1) * tile + heading for group in groups) + (len(groups) - 1) * tile // 2
    canvas = np.full((total, right + half, channels), 255, dtype=np.uint8)
    labels: list[tuple[float, str, str]] = []
    captions: list[int] = []
    top = 0
    for group in groups:
        canvas[top : top + height, :half] = tiles(group[0][1]["originals"][None, :count])
        labels.append((top + height / 2, "originals", _targets(group[0][0]) if len(groups) > 1 else ""))
        top += tile + heading
        captions.append(top - 4)
        for setting, files in group:
            canvas[top : top + height, :half] = tiles(files["reconstructions"][None, :count])
            canvas[top : top + height, right:] = tiles(files["samples"][None, :count])
            labels.append((top + height / 2, setting.title, _value_words(setting)))
            top += tile
        top += tile // 2
    figure, axes = picture_axes(canvas, margin=_margin([title for _, title, _ in labels]), width=6.2)
    for middle, title, under in labels:
        row_label(axes, middle, tile, _short(title), under, size=10)
    for place in captions:
        axes.text(0, place, "reconstructions", **words(TEXT_COLOUR, "left", 10, "bottom"))
        axes.text(right, place, "samples: z from the prior", **words(TEXT_COLOUR, "left", 10, "bottom"))
    return figure


def _short(title: str) -> str:
    return textwrap.shorten(title, LONGEST, placeholder=" …")


def _margin(titles: Sequence[str]) -> float:
    """Return inches for these titles beside a picture."""
    return 0.25 + 0.077 * max(22, *(len(_short(title)) for title in titles))


def _targets(setting: TestedSetting) -> str:
    """`static binarisation`, or that the targets are levels."""
    binarisation = str(setting.settings["binarisation"])
    return "levels in [0, 1]" if binarisation == "none" else f"{binarisation} binarisation"


def _value_words(setting: TestedSetting) -> str:
    return f"{'distortion' if setting.deterministic else '−ELBO'} {format_number(setting.value, 1)}"


def baseline_curves(view: StudyView) -> Figure | None:
    """Draw −ELBO, rate and distortion on validation by epoch of each baseline and of the best configuration, the best run of each.

    Three panels for each data, binarisation and likelihood. None without a baseline that finished an epoch.
    """
    curves = [(setting, _curve(view, setting)) for setting in _shown(view)]
    curves = [(setting, curve) for setting, curve in curves if len(curve)]
    if all(setting.baseline is None for setting, _ in curves):
        return None
    groups: dict[tuple[str | None, ...], list[Curve]] = {}
    for setting, curve in curves:
        groups.setdefault(setting.same_distortion, []).append((setting, curve))
    heights = [max(2.6, 0.9 + 0.24 * len(group)) for group in groups.values()]
    figure = new_figure(sum(heights))
    panels = figure.subplots(len(groups), len(MEASURES), squeeze=False, height_ratios=heights)
    first = 0
    for place, (group, axes) in enumerate(zip(groups.values(), panels, strict=True)):
        setting = group[0][0]
        for panel, (metric, label) in zip(axes, MEASURES.items(), strict=True):
            style_axes(panel, x="epoch" if place == len(groups) - 1 else "", y=f"{label} (nats per image)")
            _draw_measure(panel, group, metric, first)
        if len(groups) > 1:
            title = f"{_targets(setting)}, {str(setting.settings['likelihood']).replace('_', ' ')}"
            # Above the remark on values that are cut off, for which the panel is too narrow beside it.
            axes[0].set_title(title, fontsize=11, color=TEXT_COLOUR, loc="left", pad=20)
        side_legend(axes[-1])
        first += len(group)
    return figure


def _curve(view: StudyView, setting: TestedSetting) -> pd.DataFrame:
    """Return the epochs of the best run."""
    run, epochs = setting.runs.iloc[0], view.epochs
    own = epochs[(epochs["repeat"] == run["repeat"]) & (epochs["number"] == run["number"])]
    return own.dropna(subset=["val/rate", "val/distortion"]).sort_values("epoch")


def _draw_measure(axes: Axes, group: list[Curve], metric: str, first: int) -> None:
    """Draw a line for each curve, of which the first has the colour number `first`; a plain autoencoder has no −ELBO."""
    last = max(float(curve["epoch"].max()) for _, curve in group)
    axes.set_xlim(min(1.0, last - 1), last)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    values = []
    for place, (setting, curve) in enumerate(group, start=first):
        if metric == "val/neg_elbo" and setting.deterministic:
            continue
        colour, dash = COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]
        label = _short(setting.title)
        axes.plot(curve["epoch"], curve[metric], color=colour, linestyle=dash, linewidth=1.8, zorder=3, label=label)
        if len(curve) == 1:
            axes.scatter(curve["epoch"], curve[metric], color=colour, s=20, zorder=3)
        values.append(curve[metric].to_numpy(float))
    if not values:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, **words(MUTED, "center", 10, "baseline"))
        return
    _scale(axes, values)
    if metric == "val/rate" and min(float(value[-1]) for value in values) < 1:
        # The line of a plain autoencoder, or of a collapsed posterior, stays clear of the axis.
        axes.set_ylim(bottom=-0.15 if axes.get_yscale() == "symlog" else -0.02 * axes.get_ylim()[1])
    high = axes.get_ylim()[1]
    if any((value > high).any() for value in values):
        note(axes, f"cut off above {high:,.0f}")


def _scale(axes: Axes, values: Sequence[np.ndarray]) -> None:
    """Set limits that the first epochs do not spoil; logarithmic above 1 where the lines lie orders of magnitude apart."""
    settled = np.concatenate([value[len(value) // 5 :] for value in values])
    ends = np.array([value[-1] for value in values])
    positive = ends[ends > 1]
    if len(positive) > 1 and positive.max() > 20 * positive.min():
        axes.set_yscale("symlog", linthresh=1.0)
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.6g}")
        axes.set_ylim(0, 1.6 * settled.max())
        return
    low, high = robust_limits(settled)
    # Of a short line beside long ones the better part stays in sight.
    thirds = max(float(value[len(value) // 3]) for value in values)
    high = max(high, thirds, float(ends.max()) + 0.08 * float(np.ptp(ends)))
    axes.set_ylim(low, high)


def baseline_interpolations(view: StudyView) -> Figure | None:
    """Draw three interpolations between pairs of images: the plain autoencoder above the best VAE. None without a plain one."""
    plain = [setting for setting in view.baselines if setting.deterministic]
    shown = [*plain[:1], *([view.best] if view.best is not None else [])]
    pictures = [_pictures(setting, frozenset({"latent_interpolations"})) for setting in shown]
    if len(shown) < 2 or not plain or not all(pictures):
        return None
    drawn = [files["latent_interpolations"] for files in pictures]
    pairs = min(PAIRS, *map(len, drawn))
    height = drawn[0].shape[2]
    tile, gap = height + GAP, round(0.35 * height)
    strips = [tiles(np.stack([pictures[pair] for pictures in drawn])) for pair in range(pairs)]
    block = len(strips[0]) + gap
    canvas = np.full((pairs * block - gap, *strips[0].shape[1:]), 255, dtype=np.uint8)
    for pair, strip in enumerate(strips):
        canvas[pair * block : pair * block + len(strip)] = strip
    figure, axes = picture_axes(canvas, margin=_margin([setting.title for setting in shown]), width=6.2)
    for pair in range(pairs):
        for place, setting in enumerate(shown):
            row_label(axes, pair * block + place * tile + height / 2, tile, _short(setting.title), size=10)
    return figure
