"""Pictures that the models drew, side by side with words: along β, of the best model, and of the best, median and worst trial."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaeexp.plots.style import MUTED, TEXT_COLOUR, new_figure, shortened
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import Arrays, left_pictures, read_arrays
from vaeexp.words import format_configuration, format_number, format_value, parameter_label

GAP = 2
"""White pixels between two pictures."""
SHOWN = 8
"""Reconstructions, and samples, per row of `picture_rows`."""
ACROSS = 8.95
"""Inches for the words and the pictures of `picture_rows` together."""
STRIP_ROWS = 6
STRIP = frozenset({"originals", "reconstructions", "samples"})
"""Arrays of `pictures.npz` that a row of reconstructions beside samples needs."""
LONGEST = 33
"""Characters of a configuration beside a row."""

Row = tuple[str, str, Arrays]
"""Title, smaller words below it, and arrays with `STRIP`."""


def tiles(pictures: np.ndarray) -> np.ndarray:
    """Join [R, K, H, W, C] to one picture with white gaps: [R·(H+gap) − gap, K·(W+gap) − gap, C]."""
    rows, across, height, width, channels = pictures.shape
    canvas = np.full((rows, across, height + GAP, width + GAP, channels), 255, dtype=np.uint8)
    canvas[:, :, :height, :width] = pictures
    joined = canvas.transpose(0, 2, 1, 3, 4).reshape(rows * (height + GAP), across * (width + GAP), channels)
    return joined[:-GAP, :-GAP]


def joined(pictures: Sequence[np.ndarray], gap: int, axis: int = 0) -> np.ndarray:
    """Join pictures [H, W, C] below each other, or beside each other (axis 1), with so many white pixels between."""
    shape = list(pictures[0].shape)
    shape[axis] = gap
    white = np.full(shape, 255, dtype=np.uint8)
    return np.concatenate([part for picture in pictures for part in (white, picture)][1:], axis=axis)


def picture_axes(canvas: np.ndarray, *, margin: float, width: float) -> tuple[Figure, Axes]:
    """Return a figure with the picture `width` inches wide and a margin for words at its left; coordinates are pixels."""
    edge = 0.06
    height = width * canvas.shape[0] / canvas.shape[1]
    whole = (margin + width + edge, height + 2 * edge)
    figure = new_figure(whole[1], whole[0])
    figure.set_layout_engine("none")
    axes = figure.add_axes((margin / whole[0], edge / whole[1], width / whole[0], height / whole[1]))
    grey = canvas.shape[2] == 1
    axes.imshow(canvas[..., 0] if grey else canvas, cmap="gray" if grey else None, vmin=0, vmax=255, aspect="auto")
    axes.set_axis_off()
    return figure, axes


def picture_grid(pictures: np.ndarray, names: Sequence[str] = ()) -> Figure:
    """Draw pictures [R, K, H, W, C] as a grid, with a name left of each row where there are names."""
    canvas, tile = tiles(pictures), pictures.shape[2]
    height, width = canvas.shape[:2]
    figure, axes = picture_axes(canvas, margin=1.5 if names else 0.06, width=min(7.2, 6.6 * width / height))
    for place, name in enumerate(names):
        axes.text(-4, place * (tile + GAP) + tile / 2, name, **words(TEXT_COLOUR, "right", 11))
    return figure


def picture_rows(groups: Sequence[tuple[str, Sequence[Row]]], *, margin: float) -> Figure:
    """Draw for each group its originals, with words below their name, and a row of reconstructions beside samples for each entry.

    The originals are those of the group's first entry. The margin is in inches.
    """
    every = [files[name] for _, rows in groups for *_, files in rows for name in STRIP]
    count, (tall, wide) = min(SHOWN, *map(len, every)), every[0].shape[1:3]
    tile, heading, right = tall + GAP, max(round(2 * (tall + GAP) / 3), 12), count * (wide + GAP) + 3 * GAP
    blocks = []
    for _, rows in groups:
        halves = [
            tiles(np.stack([files[name][:count] for *_, files in rows])) for name in ("reconstructions", "samples")
        ]
        body = joined(halves, 4 * GAP, axis=1)
        head = np.full_like(body[:tall], 255)
        head[:, : halves[0].shape[1]] = tiles(rows[0][2]["originals"][None, :count])
        blocks.append(joined([head, body], heading))
    figure, axes = picture_axes(joined(blocks, tile // 2), margin=margin, width=ACROSS - margin)
    top = 0
    for (under, rows), block in zip(groups, blocks, strict=True):
        first = top + tall + heading
        row_label(axes, top + tile / 2, tile, "originals", under)
        axes.text(0, first - 4, "reconstructions", **words(TEXT_COLOUR, "left", 11, "bottom"))
        axes.text(right, first - 4, "samples of the prior", **words(TEXT_COLOUR, "left", 11, "bottom"))
        for place, (title, below, _) in enumerate(rows):
            row_label(axes, first + place * tile + tile / 2, tile, title, below)
        top += len(block) + tile // 2
    return figure


def row_label(axes: Axes, middle: float, tile: int, title: str, under: str = "") -> None:
    """Write a title beside a row of pictures, with smaller words below it."""
    size = 11 if len(title) <= 30 else 10
    axes.text(-6, middle - (0.2 * tile if under else 0.0), title, **words(TEXT_COLOUR, "right", size))
    if under:
        axes.text(-6, middle + 0.25 * tile, under, **words(MUTED, "right"))


def words(colour: str, side: str, size: float = 10, height: str = "center") -> dict[str, Any]:
    """Return how words beside pictures look, as keywords of `Axes.text`; `side` is their horizontal, `height` their vertical alignment."""
    return {"fontsize": size, "color": colour, "ha": side, "va": height}


def strip_trials(view: StudyView) -> pd.DataFrame:
    """Return the trials for the strip, from low to high β: of each of six equal bins of log β the best that has pictures."""
    trials, beta = view.search, view.parameters.get("beta")
    if beta is None or beta.is_choice:
        return trials.iloc[:0]
    usable = trials[trials["objective"].notna() & (trials["params.beta"].astype(float) > 0)]
    usable = usable[left_pictures(usable)]
    if usable.empty:
        return usable
    logs = pd.Series(np.log(usable["params.beta"].astype(float)))
    span = logs.max() - logs.min()
    bins = ((logs - logs.min()) / (span or 1.0) * STRIP_ROWS).astype(int).clip(upper=STRIP_ROWS - 1)
    return usable.loc[usable["objective"].groupby(bins).idxmin()].sort_values("params.beta")


def beta_strip(view: StudyView) -> Figure | None:
    """Draw a row per β, low to high: reconstructions beside samples; the originals on top. None without pictures or without β."""
    rows = []
    for _, trial in strip_trials(view).iterrows():
        beta = f"{parameter_label('beta')} = {format_value(trial['params.beta'])}"
        size = f"L = {format_value(view.params(trial).get('latent_size', view.fixed('latent_size')))}, −ELBO {format_number(trial['objective'], 1)}"
        rows.append((beta, size, read_arrays(trial["folder"])))
    rows = [row for row in rows if row[2].keys() >= STRIP]
    return picture_rows([("", rows)], margin=1.75) if rows else None


def best_reconstructions(arrays: Arrays) -> Figure:
    """Draw originals above their reconstructions."""
    count = min(len(arrays["originals"]), len(arrays["reconstructions"]))
    names = ["originals", "reconstructions"]
    return picture_grid(np.stack([arrays[name][:count] for name in names]), names)


def best_samples(arrays: Arrays) -> Figure:
    """Draw samples of the prior, decoded, in full rows."""
    samples = arrays["samples"]
    across = min(8, len(samples))
    return picture_grid(samples[: len(samples) // across * across].reshape(-1, across, *samples.shape[1:]))


def component_samples(arrays: Arrays) -> Figure:
    """Draw samples of each component of a mixture prior, a row each, heaviest first."""
    samples = arrays["component_samples"]
    return picture_grid(samples, [f"component {place}" for place in range(1, len(samples) + 1)])


def best_median_worst(view: StudyView) -> Figure | None:
    """Draw reconstructions and samples of the best, the median and the worst complete trial of the search that left pictures.

    The median is the lower one of an even number. None with fewer than two such trials; of two, no median.
    """
    rows = []
    for rank, trial, files in _three(view):
        title = f"{rank}: trial {trial['number']}, −ELBO {format_number(trial['objective'], 1)}"
        rows.append((title, _main_setting(view, trial), files))
    return picture_rows([("", rows)], margin=2.6) if len(rows) > 1 else None


def _three(view: StudyView) -> list[tuple[str, pd.Series, Arrays]]:
    """Return rank in words, trial and arrays; in place of a trial whose file is damaged or lacks an array stands the next."""
    trials = view.ranked[left_pictures(view.ranked)]
    orders = {"best": trials, "worst": trials[::-1], "median": trials[(len(trials) - 1) // 2 :]}
    found: dict[int, tuple[str, pd.Series, Arrays]] = {}
    for rank, order in orders.items():
        files = ((row, read_arrays(row["folder"])) for _, row in order.iterrows())
        for row, arrays in files:
            if arrays.keys() >= STRIP:
                found.setdefault(row["number"], (rank, row, arrays))
                break
    return [found[number] for number in trials["number"] if number in found]


def _main_setting(view: StudyView, trial: pd.Series) -> str:
    """Return the searched parameters that come first in the study file, as many as fit."""
    parts = [format_configuration({name: value}) for name, value in view.params(trial).items()]
    while len(parts) > 1 and len(", ".join(parts)) > LONGEST:
        parts.pop()
    return shortened(", ".join(parts), LONGEST)
