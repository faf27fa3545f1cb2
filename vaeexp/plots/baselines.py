"""Baselines beside the best setting: what they draw, how they learnt, and what lies between two of their codes."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.results.rankings import Results
from vaeexp.plots.pictures import read_pictures
from vaeexp.plots.style import COLOURS, DASHES, INK, MUTED, End, Plot, dress, name_ends, new_figure, note, robust_limits
from vaeexp.plots.tiles import GAP, picture_axes, tiles, words
from vaeexp.results.tested_settings import Row, baseline_rows, best_row
from vaeexp.words import format_number

SHOWN = 8
"""Reconstructions, and samples, per row of the strip."""
HEADING = 0.75
"""Height of a line of words between rows of pictures, in rows."""
PAIRS = 3
LONGEST = 34
"""Characters of a title beside pictures and lines; longer ones are cut."""
MEASURES = {"val/neg_elbo": "−ELBO", "val/rate": "rate", "val/distortion": "distortion"}

Pictures = Mapping[str, np.ndarray]
Curve = tuple[Row, pd.DataFrame]


def _shown(results: Results) -> list[Row]:
    """The best setting that the search found, then the baselines; empty where there is no baseline."""
    baselines = baseline_rows(results)
    best = best_row(results)
    return [*([best] if best is not None else []), *baselines] if baselines else []


def _drawn(row: Row, needed: set[str]) -> Pictures:
    """Pictures of the row's best run that left all of these; empty where none did."""
    for folder in row.runs["folder"]:
        files = read_pictures(folder)
        if needed <= files.keys():
            return files
    return {}


def baseline_strip(results: Results) -> Figure | None:
    """Reconstructions beside samples of each baseline and of the best setting, below the originals that they were given.

    Rows of other targets (binarised or grey) stand below originals of their own. None without a baseline with pictures.
    """
    found = [(row, _drawn(row, {"originals", "reconstructions", "samples"})) for row in _shown(results)]
    found = [(row, files) for row, files in found if files]
    if all(row.baseline is None for row, _ in found):
        return None
    groups: list[list[tuple[Row, Pictures]]] = []
    for row, files in found:
        same = [group for group in groups if np.array_equal(group[0][1]["originals"], files["originals"])]
        if same:
            same[0].append((row, files))
        else:
            groups.append([(row, files)])
    return _strip(groups)


def _strip(groups: list[list[tuple[Row, Pictures]]]) -> Figure:
    count = min(
        SHOWN, *(len(files[name]) for group in groups for _, files in group for name in ("originals", "samples"))
    )
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
        for row, files in group:
            canvas[top : top + height, :half] = tiles(files["reconstructions"][None, :count])
            canvas[top : top + height, right:] = tiles(files["samples"][None, :count])
            labels.append((top + height / 2, row.title, _value_words(row)))
            top += tile
        top += tile // 2
    axes = picture_axes(canvas, margin=_margin([title for _, title, _ in labels]), width=6.2)
    for middle, title, under in labels:
        _label(axes, middle, tile, title, under)
    for place in captions:
        axes.text(0, place, "reconstructions", **words(INK, "left", 10, "bottom"))
        axes.text(right, place, "samples: z from the prior", **words(INK, "left", 10, "bottom"))
    return axes.figure


def _label(axes: Axes, middle: float, tile: int, title: str, under: str = "") -> None:
    """A title beside a row of pictures, with smaller words below it."""
    shown = _short(title)
    shift = 0.2 * tile if under else 0.0
    axes.text(-6, middle - shift, shown, **words(INK, "right", 10 if len(shown) <= 26 else 9))
    if under:
        axes.text(-6, middle + 0.25 * tile, under, **words(MUTED, "right", 9))


def _short(title: str) -> str:
    return textwrap.shorten(title, LONGEST, placeholder=" …")


def _margin(titles: Sequence[str]) -> float:
    """Inches for these titles beside a picture."""
    return 0.25 + 0.077 * max(22, *(len(_short(title)) for title in titles))


def _targets(row: Row) -> str:
    """`static binarisation`, or that the targets are levels."""
    binarisation = str(row.settings["binarisation"])
    return "levels in [0, 1]" if binarisation == "none" else f"{binarisation} binarisation"


def _value_words(row: Row) -> str:
    return f"{'distortion' if row.deterministic else '−ELBO'} {format_number(row.value, 1)}"


def baseline_curves(results: Results) -> Figure | None:
    """−ELBO, rate and distortion on validation by epoch of each baseline and of the best setting, each row's best run.

    Three panels for each data, binarisation and likelihood. None without a baseline that finished an epoch.
    """
    curves = [(row, _curve(results, row)) for row in _shown(results)]
    curves = [(row, curve) for row, curve in curves if len(curve)]
    if all(row.baseline is None for row, _ in curves):
        return None
    groups: dict[tuple, list[Curve]] = {}
    for row, curve in curves:
        groups.setdefault(row.same_distortion, []).append((row, curve))
    styles = {id(row): (COLOURS[i % 7], DASHES[i // 7 % 3]) for i, (row, _) in enumerate(curves)}
    heights = [max(2.6, 0.9 + 0.24 * len(group)) for group in groups.values()]
    figure = new_figure(sum(heights))
    figure.get_layout_engine().set(w_pad=0.08)
    panels = figure.subplots(len(groups), len(MEASURES), squeeze=False, height_ratios=heights)
    for place, (group, axes) in enumerate(zip(groups.values(), panels, strict=True)):
        row = group[0][0]
        title = f"{_targets(row)}, {str(row.settings['likelihood']).replace('_', ' ')}" if len(groups) > 1 else ""
        for panel, (metric, label) in zip(axes, MEASURES.items(), strict=True):
            dress(panel, x="epoch" if place == len(groups) - 1 else "", y=f"{label} (nats per image)")
            _panel(panel, group, metric, styles)
        # Above the remark on values that are cut off, for which the panel is too narrow beside it.
        axes[0].set_title(title, fontsize=11, color=INK, loc="left", pad=20)
        ends = [(curve["epoch"].iloc[-1], curve["val/distortion"].iloc[-1]) for _, curve in group]
        names = [(_short(row.title), styles[id(row)][0]) for row, _ in group]
        name_ends(axes[-1], [End(*end, *name) for end, name in zip(ends, names, strict=True)])
    return figure


def _curve(results: Results, row: Row) -> pd.DataFrame:
    run = row.runs.iloc[0]
    epochs = results.epochs
    own = epochs[(epochs["repeat"] == run["repeat"]) & (epochs["number"] == run["number"])]
    return own.dropna(subset=["val/rate", "val/distortion"]).sort_values("epoch")


def _panel(axes: Axes, group: Sequence[Curve], metric: str, styles: dict) -> None:
    """The lines of one panel; a plain autoencoder has no −ELBO."""
    shown = [(row, curve) for row, curve in group if metric != "val/neg_elbo" or not row.deterministic]
    last = max(float(curve["epoch"].max()) for _, curve in group)
    axes.set_xlim(min(1.0, last - 1), last)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    if not shown:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", fontsize=10, color=MUTED)
        return
    values = [curve[metric].to_numpy(float) for _, curve in shown]
    _scale(axes, values)
    if metric == "val/rate" and min(float(value[-1]) for value in values) < 1:
        # The line of a plain autoencoder, or of a collapsed posterior, stays clear of the axis.
        axes.set_ylim(bottom=-0.15 if axes.get_yscale() == "symlog" else -0.02 * axes.get_ylim()[1])
    for row, curve in shown:
        colour, dash = styles[id(row)]
        axes.plot(curve["epoch"], curve[metric], color=colour, linestyle=dash, linewidth=1.8, zorder=3)
        if len(curve) == 1:
            axes.scatter(curve["epoch"], curve[metric], color=colour, s=20, zorder=3)
    high = axes.get_ylim()[1]
    if any((value > high).any() for value in values):
        note(axes, f"cut off above {high:,.0f}")


def _scale(axes: Axes, values: Sequence[np.ndarray]) -> None:
    """Limits that the first epochs do not spoil; logarithmic above 1 where the rows lie orders of magnitude apart."""
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


def baseline_interpolations(results: Results) -> Figure | None:
    """Three interpolations between pairs of images: the plain autoencoder above the best VAE. None without a plain one."""
    needed = {"latent_interpolations"}
    plain = [row for row in baseline_rows(results) if row.deterministic]
    best = best_row(results)
    found = [(row, _drawn(row, needed)) for row in [*plain[:1], *([best] if best is not None else [])]]
    if len(found) < 2 or not plain or not all(files for _, files in found):
        return None
    pictures = [files["latent_interpolations"] for _, files in found]
    pairs = min(PAIRS, *map(len, pictures))
    height = pictures[0].shape[2]
    tile, gap = height + GAP, round(0.35 * height)
    strips = [tiles(np.stack([each[pair] for each in pictures])) for pair in range(pairs)]
    block = len(strips[0]) + gap
    canvas = np.full((pairs * block - gap, *strips[0].shape[1:]), 255, dtype=np.uint8)
    for pair, strip in enumerate(strips):
        canvas[pair * block : pair * block + len(strip)] = strip
    axes = picture_axes(canvas, margin=_margin([row.title for row, _ in found]), width=6.2)
    for pair in range(pairs):
        for place, (row, _) in enumerate(found):
            _label(axes, pair * block + place * tile + height / 2, tile, row.title)
    return axes.figure


PLOTS: dict[str, Plot] = {
    "baseline_strip": Plot(
        "Baselines side by side",
        baseline_strip,
        "The best setting of the search, then the baselines of the study file, each by its best run. Originals are "
        "validation images as the rows below them were given; values of rows below different originals are not comparable.",
        "No baseline with pictures is there.",
    ),
    "baseline_curves": Plot(
        "Learning curves of the baselines",
        baseline_curves,
        "On validation images after each epoch, each row's best run: −ELBO = rate + distortion. Rows share panels only where "
        "data, binarisation and likelihood are the same; a plain autoencoder has rate 0 and no ELBO.",
        "No baseline has finished an epoch.",
    ),
    "baseline_interpolations": Plot(
        "Between two images: autoencoder and VAE",
        baseline_interpolations,
        "Each row decodes codes on the straight line between those of two test images. What a VAE draws on the way tends to "
        "stay an image; a plain autoencoder has not been asked to make sense there.",
        "It takes a deterministic baseline and a VAE that left interpolations.",
    ),
}
