"""What the models drew: reconstructions and samples along β, and those of the best model."""

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.results import Results, ranked
from vaeexp.figures.frames import confirm_runs, confirmations, label, number, search_trials, space, value_of, value_text
from vaeexp.figures.style import INK, MUTED, new_figure

__all__ = [
    "best_pictured",
    "best_reconstructions",
    "best_samples",
    "beta_strip",
    "component_samples",
    "read_pictures",
    "strip_trials",
]

FILE = "pictures.npz"
STRIP_ROWS = 6
SHOWN = 8
"""Reconstructions, and samples, per row of the strip."""
GAP = 2
"""White pixels between two pictures."""
HEADING = 20
"""Pixels for the words between the originals and the rows of the strip."""


def read_pictures(folder: str | Path | None) -> Mapping[str, np.ndarray]:
    """Arrays of a trial's `pictures.npz`, uint8 [..., H, W, C]; empty where the trial left none or the file is damaged."""
    if not isinstance(folder, str | Path):
        return {}
    try:
        with np.load(Path(folder) / FILE, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return {}


def _left_pictures(folder: str | None) -> bool:
    return isinstance(folder, str) and (Path(folder) / FILE).exists()


def strip_trials(results: Results, rows: int = STRIP_ROWS) -> pd.DataFrame:
    """Trials for the strip, from low to high β: of each of `rows` equal bins of log β the best trial that has pictures."""
    trials = search_trials(results)
    parameter = space(results).get("beta")
    if not parameter or parameter["kind"] == "choice":
        return trials.iloc[:0]
    usable = trials[trials["value"].notna() & (trials["params.beta"].astype(float) > 0)]
    usable = usable[np.array([_left_pictures(folder) for folder in usable["folder"]], dtype=bool)]
    if usable.empty:
        return usable
    logs = np.log(usable["params.beta"].astype(float))
    span = logs.max() - logs.min()
    bins = ((logs - logs.min()) / (span or 1.0) * rows).astype(int).clip(upper=rows - 1)
    best = usable.loc[usable.groupby(bins)["value"].idxmin()]
    return best.sort_values("params.beta")


def beta_strip(results: Results) -> Figure | None:
    """One row per β, low to high: reconstructions beside samples; the originals on top. None without pictures or without β."""
    trials = strip_trials(results)
    if trials.empty:
        return None
    drawn = [(row, read_pictures(row["folder"])) for _, row in trials.iterrows()]
    drawn = [(row, files) for row, files in drawn if {"originals", "reconstructions", "samples"} <= files.keys()]
    if not drawn:
        return None
    originals = _grid(drawn[0][1]["originals"][None, :SHOWN])
    left = _grid(np.stack([files["reconstructions"][:SHOWN] for _, files in drawn]))
    right = _grid(np.stack([files["samples"][:SHOWN] for _, files in drawn]))
    top, tile = len(originals) + HEADING, len(originals) + GAP
    canvas = np.full((top + len(left), left.shape[1] + 4 * GAP + right.shape[1], left.shape[2]), 255, dtype=np.uint8)
    canvas[: len(originals), : originals.shape[1]] = originals
    canvas[top:, : left.shape[1]], canvas[top:, -right.shape[1] :] = left, right
    axes = _picture_axes(canvas, margin=1.75, width=7.2)
    axes.text(-6, tile / 2, "originals", **_words(INK, "right", 11))
    for place, (row, _) in enumerate(drawn):
        middle = top + place * tile + tile / 2
        axes.text(
            -6, middle - 0.2 * tile, f"{label('beta')} = {value_text(row['params.beta'])}", **_words(INK, "right", 12)
        )
        axes.text(-6, middle + 0.24 * tile, _row_words(results, row), **_words(MUTED, "right"))
    axes.text(0, top - 4, "reconstructions", **_words(INK, "left", 11, "bottom"))
    axes.text(canvas.shape[1] - right.shape[1], top - 4, "samples of the prior", **_words(INK, "left", 11, "bottom"))
    return axes.figure


def _row_words(results: Results, row: pd.Series) -> str:
    size = value_of(results, row, "latent_size")
    return f"L = {value_text(size)}, −ELBO {number(row['value'], 1)}"


def best_pictured(results: Results, needed: str) -> tuple[pd.Series, Mapping[str, np.ndarray]] | None:
    """The best model that left an array of this name, with its pictures.

    Confirmed runs come first, those of the best configuration before others; then the trials of the search.
    """
    runs = confirm_runs(results)
    place = {number: index for index, number in enumerate(confirmations(results)["of"])}
    runs = runs.assign(place=runs["of"].map(place)).sort_values(["place", "value", "number"])
    for group in (runs, ranked(results)):
        for _, row in group.iterrows():
            files = read_pictures(row["folder"])
            if needed in files:
                return row, files
    return None


def best_reconstructions(results: Results) -> Figure | None:
    """Originals above their reconstructions by the best model. None when it left no pictures."""
    found = best_pictured(results, "reconstructions")
    if found is None:
        return None
    files = found[1]
    count = min(len(files["originals"]), len(files["reconstructions"]))
    canvas = _grid(np.stack([files["originals"][:count], files["reconstructions"][:count]]))
    return _labelled(canvas, files["originals"].shape[1], ["originals", "reconstructions"])


def best_samples(results: Results) -> Figure | None:
    """Samples of the best model's prior, decoded. None when it left no pictures."""
    found = best_pictured(results, "samples")
    if found is None:
        return None
    samples = found[1]["samples"]
    across = min(8, len(samples))
    rows = samples[: len(samples) // across * across].reshape(-1, across, *samples.shape[1:])
    return _labelled(_grid(rows), samples.shape[1], [])


def component_samples(results: Results) -> Figure | None:
    """Samples of each component of the best mixture prior, a row each, heaviest first. None without a mixture."""
    found = best_pictured(results, "component_samples")
    if found is None:
        return None
    samples = found[1]["component_samples"]
    names = [f"component {place}" for place in range(1, len(samples) + 1)]
    return _labelled(_grid(samples), samples.shape[2], names)


def _grid(pictures: np.ndarray) -> np.ndarray:
    """[R, K, H, W, C] → one picture with white gaps: [R·(H+gap) − gap, K·(W+gap) − gap, C]."""
    rows, across, height, width, channels = pictures.shape
    canvas = np.full((rows, across, height + GAP, width + GAP, channels), 255, dtype=np.uint8)
    canvas[:, :, :height, :width] = pictures
    joined = canvas.transpose(0, 2, 1, 3, 4).reshape(rows * (height + GAP), across * (width + GAP), channels)
    return joined[:-GAP, :-GAP]


def _labelled(canvas: np.ndarray, tile: int, names: list[str]) -> Figure:
    """The picture with a name, where there are names, left of each row of tiles."""
    height, width = canvas.shape[:2]
    axes = _picture_axes(canvas, margin=1.5 if names else 0.06, width=min(7.2, 6.6 * width / height))
    for place, name in enumerate(names):
        axes.text(-4, place * (tile + GAP) + tile / 2, name, **_words(INK, "right", 11))
    return axes.figure


def _picture_axes(canvas: np.ndarray, *, margin: float, width: float) -> Axes:
    """A figure around the picture drawn `width` inches wide, with a margin for words at its left; pixels as coordinates."""
    edge = 0.06
    height = width * canvas.shape[0] / canvas.shape[1]
    whole = (margin + width + edge, height + 2 * edge)
    figure = new_figure(whole[1], whole[0])
    figure.set_layout_engine("none")
    axes = figure.add_axes((margin / whole[0], edge / whole[1], width / whole[0], height / whole[1]))
    grey = canvas.shape[2] == 1
    axes.imshow(canvas[..., 0] if grey else canvas, cmap="gray" if grey else None, vmin=0, vmax=255, aspect="auto")
    axes.set_axis_off()
    return axes


def _words(colour: str, side: str, size: float = 10, height: str = "center") -> dict:
    return {"fontsize": size, "color": colour, "ha": side, "va": height}
