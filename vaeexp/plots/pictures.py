"""Pictures that the models drew, side by side with words: along β, of the best model, and of the
best, median and worst trial.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaeexp.plots.in_units import BOTH, LIMITS, reconstructions_in_units
from vaeexp.plots.style import MUTED, annotate, new_figure, write
from vaeexp.results.statements import Caption, say
from vaeexp.results.statements import Figure as StatedFigure
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import Arrays, column, curve_of, left_pictures, read_arrays
from vaeexp.words import (
    SHORT,
    format_briefly,
    format_number,
    format_value,
    join_and,
    parameter_label,
)

GAP = 2
"""White pixels between two pictures."""
SHOWN = {"last_reconstructions": 10, "last_samples": 5}
"""Pictures per row of `picture_rows`, by the array that has them: reconstructions, one of each
class of ten, and samples, which are of no particular class.
"""
WIDE = 80
LANDSCAPE = 1.4
"""Pixels, and width by height, of pictures of which half as many stand in a row, such as lines and
bars.
"""
APART = 24
"""Width of a picture by the pixels between two rows, where that is more than `GAP`."""
ACROSS = 8.95
"""Inches for the words and the pictures of `picture_rows` together."""
GRID_WIDTH = 7.2
"""Inches of a grid of pictures at most."""
STRIP_ROWS = 6
LAST_EPOCH = "Pictures are of the last epoch."
STRIP = frozenset({"originals", *SHOWN})
"""Arrays of `pictures.npz` that a row of reconstructions beside samples needs. A failed run has no
pictures of a last epoch.
"""
LINES = (0.2, 0.42, 0.57, 0.74)
"""Inches that the words beside a row take, by the lines after the first."""
LINE_HEIGHT = 1.2
"""Height of a line of words, in sizes of its font."""
LONGEST = 33
"""Characters of a configuration beside a row."""
Row = tuple[str, str, Arrays]
"""Title, smaller words below it, and arrays with `STRIP`."""


def ground(*shape: int) -> np.ndarray:
    """Return an empty picture [H, W, 4]: white where nothing lies behind it, and the ground of the
    page where it stands in one.
    """
    empty = np.full((*shape, 4), 255, dtype=np.uint8)
    empty[..., 3] = 0
    return empty


def opaque(pictures: np.ndarray) -> np.ndarray:
    """Return pictures [..., C] of one or three channels as [..., 4]."""
    colours = np.broadcast_to(pictures, (*pictures.shape[:-1], 3))
    return np.concatenate([colours, np.full_like(colours[..., :1], 255)], axis=-1)


def tiles(pictures: np.ndarray) -> np.ndarray:
    """Join [R, K, H, W, C] to one picture with empty gaps: [R·(H+gap) − gap, K·(W+gap) − gap,
    4].
    """
    rows, across, height, width, _ = pictures.shape
    canvas = ground(rows, across, height + GAP, width + GAP)
    canvas[:, :, :height, :width] = opaque(pictures)
    joined = canvas.transpose(0, 2, 1, 3, 4).reshape(
        rows * (height + GAP), across * (width + GAP), 4
    )
    return joined[:-GAP, :-GAP]


def joined(pictures: Sequence[np.ndarray], gap: int, axis: int = 0) -> np.ndarray:
    """Join pictures [H, W, 4] below each other, or beside each other (axis 1), with so many empty
    pixels between.
    """
    shape = list(pictures[0].shape[:2])
    shape[axis] = gap
    parts = chain.from_iterable((ground(*shape), picture) for picture in pictures)
    return np.concatenate(list(parts)[1:], axis=axis)


def picture_axes(
    canvas: np.ndarray, *, margin: float, width: float, below: float = 0.0
) -> tuple[Figure, Axes]:
    """Return a figure with the picture `width` inches wide and margins for words at its left and
    below; coordinates are pixels.
    """
    edge = 0.06
    height = width * canvas.shape[0] / canvas.shape[1]
    across = margin + width + edge
    up = height + below + 2 * edge
    figure = new_figure(up, across)
    figure.set_layout_engine("none")
    axes = figure.add_axes((margin / across, (edge + below) / up, width / across, height / up))
    axes.imshow(canvas, aspect="auto")
    axes.set_axis_off()
    return figure, axes


def picture_grid(pictures: np.ndarray, names: Sequence[str] = (), *, below: float = 0.0) -> Figure:
    """Draw pictures [R, K, H, W, C] as a grid, with a name left of each row where there are names,
    and inches left free below.
    """
    canvas = tiles(pictures)
    tile = pictures.shape[2]
    width = min(GRID_WIDTH, 6.6 * canvas.shape[1] / canvas.shape[0])
    figure, axes = picture_axes(canvas, margin=1.5 if names else 0.06, width=width, below=below)
    for row, name in enumerate(names):
        write(axes, name, -4, row * (tile + GAP) + tile / 2, ha="right", fontsize=11)
    return figure


def epoch_words(view: StudyView, run: pd.Series, *, deterministic: bool = False) -> str:
    """Return `−ELBO 98.1 at epoch 30`, the last epoch, whose pictures are drawn; of an autoencoder
    the distortion.
    """
    rate, distortion, epoch = curve_of(view.epochs, run).iloc[-1][
        ["val/rate", "val/distortion", "epoch"]
    ]
    figure = "distortion" if deterministic else "−ELBO"
    value = distortion if deterministic else rate + distortion
    state = f" ({run['state']})" if run["state"] != "complete" else ""
    return f"{figure} {format_number(value, 1)} at epoch {epoch}{state}"


def picture_rows(groups: Sequence[tuple[str, Sequence[Row]]], *, margin: float) -> Figure:
    """Draw for each group its originals, with words below their name, and a row of reconstructions
    beside samples for each entry.

    At most as many pictures as `SHOWN` says stand in a row, and half as many wide ones. The
    originals are those of the group's first entry. The margin is in inches.
    """
    every = list(chain.from_iterable(rows for _, rows in groups))
    counts = {
        name: min(most, *(len(files[name]) for *_, files in every)) for name, most in SHOWN.items()
    }
    tall, wide = every[0][2]["originals"].shape[1:3]
    if wide > max(WIDE, LANDSCAPE * tall):
        counts = {name: math.ceil(count / 2) for name, count in counts.items()}
    count = counts["last_reconstructions"]
    across = sum(counts.values()) * (wide + GAP) + 2 * GAP
    lines = max(title.count("\n") + len(below.splitlines()) for title, below, _ in every)
    step = max(tall + max(GAP, wide // APART), math.ceil(LINES[lines] * across / (ACROSS - margin)))
    heading = max(round(2 * (tall + GAP) / 3), 12)
    right = count * (wide + GAP) + 3 * GAP
    blocks = [_block([files for *_, files in rows], counts, step, heading) for _, rows in groups]
    figure, axes = picture_axes(joined(blocks, step // 2), margin=margin, width=ACROSS - margin)
    top = 0
    for (under, rows), block in zip(groups, blocks, strict=True):
        first = top + tall + heading
        row_label(axes, top + tall / 2, "originals", under)
        write(axes, "reconstructions", 0, first - 4, ha="left", va="bottom", fontsize=11)
        write(axes, "samples of the prior", right, first - 4, ha="left", va="bottom", fontsize=11)
        for index, (title, below, _) in enumerate(rows):
            row_label(axes, first + index * step + tall / 2, title, below)
        top += len(block) + step // 2
    return figure


def _block(
    rows: Sequence[Arrays], counts: Mapping[str, int], step: int, heading: int
) -> np.ndarray:
    """Return the originals of the first row, and `step` pixels apart the rows; `heading` pixels lie
    between.
    """
    originals = tiles(rows[0]["originals"][None, : counts["last_reconstructions"]])
    tall, wide = originals.shape[:2]
    halves = [
        joined([tiles(files[name][None, :count]) for files in rows], step - tall)
        for name, count in counts.items()
    ]
    body = joined(halves, 4 * GAP, axis=1)
    head = ground(tall, body.shape[1])
    head[:, :wide] = originals
    return joined([head, body], heading)


def row_label(axes: Axes, middle: float, title: str, under: str = "") -> None:
    """Write a title beside a row of pictures, with smaller words below it; both together are
    centred on the row.
    """
    lines = title.split("\n")
    size = 11 if max(map(len, lines)) <= 30 else 10
    difference = 10 * len(under.splitlines()) - size * len(lines)
    at = (-6, middle)
    offset = (0, LINE_HEIGHT * difference / 2)
    # The words stand outside the axes, where matplotlib leaves an annotation out unless told
    # otherwise.
    annotate(axes, title, at, offset, ha="right", va="bottom", fontsize=size, annotation_clip=False)
    if under:
        annotate(axes, under, at, offset, ha="right", va="top", color=MUTED, annotation_clip=False)


def strip_trials(view: StudyView) -> pd.DataFrame:
    """Return the trials for the strip, from low to high β: of each of six equal bins of log β the
    best complete one that has pictures. A β of 0 has a bin of its own.
    """
    trials = view.search
    betas = pd.to_numeric(column(trials, "params.beta"), errors="coerce").astype(float)
    usable = trials["objective"].notna() & left_pictures(trials) & (betas >= 0)
    logs = np.log(betas[usable].where(betas > 0))
    shares = (logs - logs.min()) / (logs.max() - logs.min() or 1.0)
    # A trial that was pruned had fewer epochs, so it stands only where none of its bin is complete.
    order = trials[usable].assign(
        early=trials.loc[usable, "state"] != "complete",
        bin=(STRIP_ROWS * shares).clip(upper=STRIP_ROWS - 1).fillna(-1).astype(int),
    )
    order = order.sort_values(["early", "objective", "number"]).drop_duplicates("bin")
    return order.loc[betas[order.index].sort_values(kind="stable").index]


def beta_strip(view: StudyView) -> Figure | None:
    """Draw a row per β, low to high: reconstructions beside samples; the originals on top. None
    without pictures or without β.

    Each row names the parameters that differ between the rows beside β.
    """
    rows, differing = _strip_rows(view)
    labelled = []
    for trial, files in rows:
        values = view.plan.params(trial)
        apart = format_briefly({name: values[name] for name in differing if name in values})
        title = f"{parameter_label('beta')} = {format_value(trial['params.beta'])}"
        labelled.append((title, f"{epoch_words(view, trial)}\n{apart}".strip(), files))
    return picture_rows([("", labelled)], margin=3.4) if len(rows) > 1 else None


def _strip_rows(view: StudyView) -> tuple[list[tuple[pd.Series, Arrays]], list[str]]:
    """Return trial and arrays of each row, and the parameters that differ beside β."""
    candidates = [
        (trial, read_arrays(trial["folder"])) for _, trial in strip_trials(view).iterrows()
    ]
    rows = [(trial, files) for trial, files in candidates if files.keys() >= STRIP]
    params = [view.plan.params(trial) for trial, _ in rows]
    values = {
        name: {format_value(each.get(name)) for each in params} for name in view.plan.parameters
    }
    return rows, [
        name for name, different in values.items() if name != "beta" and len(different) > 1
    ]


def strip_caption(view: StudyView) -> str:
    """Say what differs between the rows, and what may be concluded from that."""
    _, differing = _strip_rows(view)
    if not differing:
        text = (
            "One model per row, from low to high β; nothing but β and the seed differs. A low β "
            "tends to buy sharp reconstructions with a prior that fits badly, so that samples "
            "suffer; a high β blurs both."
        )
    else:
        names = join_and([parameter_label(name) for name in differing])
        text = (
            "One model per row, from low to high β: the best trial of each sixth of the range "
            f"of log β. The rows also differ in {names}, as each row says, so they do not show "
            "what β alone does."
        )
        brief = [f"{SHORT[name]} is {parameter_label(name)}" for name in differing if name in SHORT]
        text += f" {', '.join(brief)}." if brief else ""
    return f"{text} {LAST_EPOCH}"


def best_reconstructions(arrays: Arrays) -> Figure:
    """Draw originals above their reconstructions by the last epoch's model; where the run left
    their numbers, with axes in the unit of the files.
    """
    if BOTH[1] in arrays:
        return reconstructions_in_units(arrays)
    both = np.stack([arrays["originals"], arrays["last_reconstructions"]])
    return picture_grid(both, ["originals", "reconstructions"])


def reconstructions_caption(arrays: Arrays) -> str:
    """Say what is drawn, and where the colours of a heat map end."""
    text = "Validation images and the means of p(x|z) with z from their posteriors"
    if BOTH[1] not in arrays:
        return f"{text}. {LAST_EPOCH}"
    table = "column_names" in arrays
    text += ": a bar for each column, as scaled." if table else ", in the unit of the data."
    if arrays["originals_numbers"].shape[2] > 1:
        low, high = LIMITS
        text += (
            " All panels share one scale of colours, which ends at the percentiles "
            f"{low:g} and {high:g} of the originals that are shown."
        )
    return f"{text} {LAST_EPOCH}"


def best_samples(arrays: Arrays) -> Figure:
    """Draw samples of the prior, decoded by the last epoch's model, in full rows."""
    samples = arrays["last_samples"]
    across = min(8, len(samples))
    return picture_grid(
        samples[: len(samples) // across * across].reshape(-1, across, *samples.shape[1:])
    )


def component_samples(arrays: Arrays) -> Figure:
    """Draw samples of each component of a mixture prior, a row each, the heaviest first, those of
    equal weight in the order of the model.
    """
    samples = arrays["component_samples"]
    return picture_grid(samples, [f"component {number}" for number in range(1, len(samples) + 1)])


def neighbours(arrays: Arrays) -> Figure:
    """Draw samples above the training images nearest to them, with the distance of each pair
    below.
    """
    shown = np.stack([arrays["neighbour_samples"], arrays["neighbour_images"]])
    figure = picture_grid(shown, ["samples", "nearest in training"], below=0.32)
    axes, (tall, wide) = figure.axes[0], shown.shape[2:4]
    below = 2 * (tall + GAP)
    for index, distance in enumerate(arrays["neighbour_distances"]):
        write(axes, format_number(distance, 1), index * (wide + GAP) + wide / 2, below, va="top")
    write(axes, "distance", -4, below, ha="right", va="top", fontsize=11)
    return figure


def neighbours_caption(arrays: Arrays) -> Caption:
    """Say what the distance is, and which one is usual for images that no model has seen."""
    text = (
        "Samples of the model of the best epoch, and the training image nearest to each: "
        "Euclidean distance over sub-pixels as the model is given them."
    )
    usual = StatedFigure(value=float(arrays["neighbour_usual"]), digits=1)
    return [text, say("plot.neighbours", usual=usual)]
