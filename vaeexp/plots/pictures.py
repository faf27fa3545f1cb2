"""Pictures that the models drew, side by side with words: along β, of the best model, and of the best, median and worst trial."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaeexp.plots.style import MUTED, TEXT_COLOUR, new_figure
from vaeexp.results.study_view import StudyView
from vaeexp.results.trial_files import Arrays, left_pictures, read_pictures
from vaeexp.words import format_configuration, format_number, format_value, parameter_label

GAP = 2
"""White pixels between two pictures."""
SHOWN = 8
"""Reconstructions, and samples, per row of `picture_rows`."""
HEADING = 20
"""Pixels for the words between the originals and the rows."""
ACROSS = 8.95
"""Inches for the words and the pictures of `picture_rows` together."""
STRIP_ROWS = 6
STRIP = frozenset({"originals", "reconstructions", "samples"})
"""Arrays of `pictures.npz` that a row of reconstructions beside samples needs."""
LONGEST = 33
"""Characters of a configuration beside a row."""


def tiles(pictures: np.ndarray) -> np.ndarray:
    """Join [R, K, H, W, C] to one picture with white gaps: [R·(H+gap) − gap, K·(W+gap) − gap, C]."""
    rows, across, height, width, channels = pictures.shape
    canvas = np.full((rows, across, height + GAP, width + GAP, channels), 255, dtype=np.uint8)
    canvas[:, :, :height, :width] = pictures
    joined = canvas.transpose(0, 2, 1, 3, 4).reshape(rows * (height + GAP), across * (width + GAP), channels)
    return joined[:-GAP, :-GAP]


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


def labelled(canvas: np.ndarray, tile: int, names: Sequence[str]) -> Figure:
    """Return the picture with a name, where there are names, left of each row of tiles, each `tile` pixels high."""
    height, width = canvas.shape[:2]
    figure, axes = picture_axes(canvas, margin=1.5 if names else 0.06, width=min(7.2, 6.6 * width / height))
    for place, name in enumerate(names):
        axes.text(-4, place * (tile + GAP) + tile / 2, name, **words(TEXT_COLOUR, "right", 11))
    return figure


def picture_rows(rows: Sequence[tuple[str, str, Arrays]], *, margin: float) -> Figure:
    """Draw the originals, and below them a row for each entry: title, smaller words, and files with `STRIP`.

    A row is reconstructions beside samples; the originals are those of the first entry. The margin is in inches.
    """
    originals = tiles(rows[0][2]["originals"][None, :SHOWN])
    left = tiles(np.stack([files["reconstructions"][:SHOWN] for _, _, files in rows]))
    right = tiles(np.stack([files["samples"][:SHOWN] for _, _, files in rows]))
    top, tile = len(originals) + HEADING, len(originals) + GAP
    canvas = np.full((top + len(left), left.shape[1] + 4 * GAP + right.shape[1], left.shape[2]), 255, dtype=np.uint8)
    canvas[: len(originals), : originals.shape[1]] = originals
    canvas[top:, : left.shape[1]], canvas[top:, -right.shape[1] :] = left, right
    figure, axes = picture_axes(canvas, margin=margin, width=ACROSS - margin)
    axes.text(-6, tile / 2, "originals", **words(TEXT_COLOUR, "right", 11))
    axes.text(0, top - 4, "reconstructions", **words(TEXT_COLOUR, "left", 11, "bottom"))
    axes.text(
        canvas.shape[1] - right.shape[1], top - 4, "samples of the prior", **words(TEXT_COLOUR, "left", 11, "bottom")
    )
    for place, (title, under, _) in enumerate(rows):
        row_label(axes, top + place * tile + tile / 2, tile, title, under)
    return figure


def row_label(axes: Axes, middle: float, tile: int, title: str, under: str = "", size: float = 11) -> None:
    """Write a title beside a row of pictures, with smaller words below it."""
    axes.text(
        -6,
        middle - (0.2 * tile if under else 0.0),
        title,
        **words(TEXT_COLOUR, "right", size if len(title) <= 30 else 10),
    )
    if under:
        axes.text(-6, middle + 0.25 * tile, under, **words(MUTED, "right"))


def words(colour: str, side: str, size: float = 10, height: str = "center") -> dict[str, Any]:
    """Return how words beside pictures look, as keywords of `Axes.text`; `side` is their horizontal, `height` their vertical alignment."""
    return {"fontsize": size, "color": colour, "ha": side, "va": height}


def strip_trials(view: StudyView, rows: int = STRIP_ROWS) -> pd.DataFrame:
    """Return the trials for the strip, from low to high β: of each of `rows` equal bins of log β the best that has pictures."""
    trials, beta = view.search, view.parameters.get("beta")
    if beta is None or beta.is_choice:
        return trials.iloc[:0]
    usable = trials[trials["objective"].notna() & (trials["params.beta"].astype(float) > 0)]
    usable = usable[left_pictures(usable)]
    if usable.empty:
        return usable
    logs = pd.Series(np.log(usable["params.beta"].astype(float)))
    span = logs.max() - logs.min()
    bins = ((logs - logs.min()) / (span or 1.0) * rows).astype(int).clip(upper=rows - 1)
    return usable.loc[usable["objective"].groupby(bins).idxmin()].sort_values("params.beta")


def beta_strip(view: StudyView) -> Figure | None:
    """Draw a row per β, low to high: reconstructions beside samples; the originals on top. None without pictures or without β."""
    rows = []
    for _, trial in strip_trials(view).iterrows():
        beta = f"{parameter_label('beta')} = {format_value(trial['params.beta'])}"
        size = f"L = {format_value(view.value_of(trial, 'latent_size'))}, −ELBO {format_number(trial['objective'], 1)}"
        rows.append((beta, size, read_pictures(trial["folder"])))
    rows = [row for row in rows if row[2].keys() >= STRIP]
    return picture_rows(rows, margin=1.75) if rows else None


def best_reconstructions(view: StudyView) -> Figure | None:
    """Draw originals above their reconstructions by the best model. None when it left no pictures."""
    found = view.best_pictured("reconstructions")
    if found is None:
        return None
    files = found[1]
    count = min(len(files["originals"]), len(files["reconstructions"]))
    canvas = tiles(np.stack([files["originals"][:count], files["reconstructions"][:count]]))
    return labelled(canvas, files["originals"].shape[1], ["originals", "reconstructions"])


def best_samples(view: StudyView) -> Figure | None:
    """Draw samples of the best model's prior, decoded. None when it left no pictures."""
    found = view.best_pictured("samples")
    if found is None:
        return None
    samples = found[1]["samples"]
    across = min(8, len(samples))
    rows = samples[: len(samples) // across * across].reshape(-1, across, *samples.shape[1:])
    return labelled(tiles(rows), samples.shape[1], [])


def component_samples(view: StudyView) -> Figure | None:
    """Draw samples of each component of the best mixture prior, a row each, heaviest first. None without a mixture."""
    found = view.best_pictured("component_samples")
    if found is None:
        return None
    samples = found[1]["component_samples"]
    names = [f"component {place}" for place in range(1, len(samples) + 1)]
    return labelled(tiles(samples), samples.shape[2], names)


def best_median_worst(view: StudyView) -> Figure | None:
    """Draw reconstructions and samples of the best, the median and the worst complete trial of the search that left pictures.

    The median is the lower one of an even number. None with fewer than two such trials; of two, no median.
    """
    rows = [
        (
            f"{rank}: trial {trial['number']}, −ELBO {format_number(trial['objective'], 1)}",
            _main_setting(view, trial),
            files,
        )
        for rank, trial, files in _three(view)
    ]
    return picture_rows(rows, margin=2.6) if len(rows) > 1 else None


def _three(view: StudyView) -> list[tuple[str, pd.Series, Arrays]]:
    """Return rank in words, trial and pictures; a trial whose file is damaged or lacks an array does not count."""
    trials = view.ranked
    places = [int(place) for place in np.flatnonzero(left_pictures(trials))]
    while len(places) > 1:
        wanted = {"best": places[0], "median": places[(len(places) - 1) // 2], "worst": places[-1]}
        if len(places) == 2:
            del wanted["median"]
        found = [
            (rank, trials.iloc[place], read_pictures(trials["folder"].iloc[place])) for rank, place in wanted.items()
        ]
        damaged = {
            place for place, (_, _, files) in zip(wanted.values(), found, strict=True) if not files.keys() >= STRIP
        }
        if not damaged:
            return found
        places = [place for place in places if place not in damaged]
    return []


def _main_setting(view: StudyView, trial: pd.Series) -> str:
    """Return the searched parameters that come first in the study file, as many as fit."""
    values = view.params(trial)
    names = list(values)
    while len(names) > 1 and len(format_configuration({name: values[name] for name in names})) > LONGEST:
        names.pop()
    return textwrap.shorten(format_configuration({name: values[name] for name in names}), LONGEST, placeholder=" …")
