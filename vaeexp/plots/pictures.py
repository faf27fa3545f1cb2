"""Pictures that the models drew, side by side with words: along β, of the best model, and of the
best, median and worst trial.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps import baseline_names
from vaeexp.plots.style import MUTED, annotate, new_figure, shortened, write
from vaeexp.results.statements import Caption, Statement
from vaeexp.results.statements import Figure as StatedFigure
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import Arrays, column, curve_of, left_pictures, read_arrays
from vaeexp.words import (
    SHORT,
    format_briefly,
    format_configuration,
    format_number,
    format_value,
    join_and,
    parameter_label,
)

GAP = 2
"""White pixels between two pictures."""
SHOWN = 10
"""Reconstructions per row of `picture_rows`: one of each class of ten."""
SAMPLES = 5
"""Samples per row, which are of no particular class."""
ACROSS = 8.95
"""Inches for the words and the pictures of `picture_rows` together."""
STRIP_ROWS = 6
STRIP = frozenset({"originals", "reconstructions", "samples"})
"""Arrays of `pictures.npz` that a row of reconstructions beside samples needs."""
LINES = (0.2, 0.42, 0.57, 0.74)
"""Inches that the words beside a row take, by the lines after the first."""
LINE_HEIGHT = 1.2
"""Height of a line of words, in sizes of its font."""
LONGEST = 33
"""Characters of a configuration beside a row."""
LEAST_ALIKE = 3
"""Values of β under one configuration from which a strip shows these alone."""
LEAST_SPAN = 3.0
"""Largest by smallest β from which trials of several configurations make a strip, because below
that other parameters tell more.
"""

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
    return np.concatenate(
        [part for picture in pictures for part in (ground(*shape), picture)][1:], axis=axis
    )


def picture_axes(
    canvas: np.ndarray, *, margin: float, width: float, below: float = 0.0
) -> tuple[Figure, Axes]:
    """Return a figure with the picture `width` inches wide and margins for words at its left and
    below; coordinates are pixels.
    """
    edge = 0.06
    height = width * canvas.shape[0] / canvas.shape[1]
    across, up = margin + width + edge, height + below + 2 * edge
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
    canvas, tile = tiles(pictures), pictures.shape[2]
    width = min(7.2, 6.6 * canvas.shape[1] / canvas.shape[0])
    figure, axes = picture_axes(canvas, margin=1.5 if names else 0.06, width=width, below=below)
    for row, name in enumerate(names):
        write(axes, name, -4, row * (tile + GAP) + tile / 2, ha="right", fontsize=11)
    return figure


def at_last_epoch(arrays: Arrays) -> tuple[Arrays, bool]:
    """Return the arrays with the pictures of the last epoch in place of the best one's, and whether
    the file has them.
    """
    last = {
        name: arrays[f"last_{name}"]
        for name in ("reconstructions", "samples")
        if f"last_{name}" in arrays
    }
    return ({**arrays, **last}, True) if len(last) == 2 else (arrays, False)


def epoch_words(view: StudyView, run: pd.Series, *, last: bool, deterministic: bool = False) -> str:
    """Return `−ELBO 98.1 at epoch 30 (last)`, of the epoch whose pictures are drawn; of an
    autoencoder the distortion.
    """
    curve, which = curve_of(view.epochs, run), "last" if last else "best"
    drawn = curve.tail(1) if last else curve[curve["epoch"] == run["best_epoch"]]
    if drawn.empty:
        return f"{which} epoch"
    rate, distortion, epoch = drawn.iloc[0][["val/rate", "val/distortion", "epoch"]]
    figure = (
        f"distortion {format_number(distortion, 1)}"
        if deterministic
        else f"−ELBO {format_number(rate + distortion, 1)}"
    )
    state = f", {run['state']}" if run["state"] != "complete" else ""
    return f"{figure} at epoch {epoch} ({which}{state})"


def picture_rows(groups: Sequence[tuple[str, Sequence[Row]]], *, margin: float) -> Figure:
    """Draw for each group its originals, with words below their name, and a row of reconstructions
    beside samples for each entry.

    At most `SHOWN` reconstructions and `SAMPLES` samples stand in a row, as many as each file has.

    The originals are those of the group's first entry. The margin is in inches.
    """
    every = [row for _, rows in groups for row in rows]
    count = min(
        SHOWN,
        *(len(files[name]) for *_, files in every for name in ("originals", "reconstructions")),
    )
    counts = {
        "reconstructions": count,
        "samples": min(SAMPLES, *(len(files["samples"]) for *_, files in every)),
    }
    tall, wide = every[0][2]["originals"].shape[1:3]
    across = sum(counts.values()) * (wide + GAP) + 2 * GAP
    lines = max(title.count("\n") + len(below.splitlines()) for title, below, _ in every)
    step = max(tall + GAP, math.ceil(LINES[lines] * across / (ACROSS - margin)))
    heading, right = max(round(2 * (tall + GAP) / 3), 12), count * (wide + GAP) + 3 * GAP
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
    tall = rows[0]["originals"].shape[1]
    halves = [
        joined([tiles(files[name][None, :count]) for files in rows], step - tall)
        for name, count in counts.items()
    ]
    body = joined(halves, 4 * GAP, axis=1)
    head = ground(tall, body.shape[1])
    head[:, : halves[0].shape[1]] = tiles(rows[0]["originals"][None, : counts["reconstructions"]])
    return joined([head, body], heading)


def row_label(axes: Axes, middle: float, title: str, under: str = "") -> None:
    """Write a title beside a row of pictures, with smaller words below it; both together are
    centred on the row.
    """
    lines = title.split("\n")
    size = 11 if max(map(len, lines)) <= 30 else 10
    difference = 10 * len(under.splitlines()) - size * len(lines)
    at, offset = (-6, middle), (0, LINE_HEIGHT * difference / 2)
    # The words stand outside the axes, where matplotlib leaves an annotation out unless told
    # otherwise.
    annotate(axes, title, at, offset, ha="right", va="bottom", fontsize=size, annotation_clip=False)
    if under:
        annotate(axes, under, at, offset, ha="right", va="top", colour=MUTED, annotation_clip=False)


def strip_trials(view: StudyView) -> pd.DataFrame:
    """Return the trials for the strip, from low to high β: of each of six equal bins of log β the
    best complete one that has pictures.

    Where at least `LEAST_ALIKE` values of β were trained under one configuration, runs of it alone.
    A β of 0 has a bin of its own. None where other parameters differ, too, and the largest β is
    less than `LEAST_SPAN` times the smallest.
    """
    trials = view.search
    if "beta" not in view.plan.parameters:
        return trials.iloc[:0]
    alike = _one_configuration(view)
    usable = trials[trials["objective"].notna()] if alike is None else alike
    betas = _betas(usable)
    usable = usable[left_pictures(usable) & (betas >= 0)]
    if usable.empty:
        return usable
    betas = _betas(usable)
    logs = np.log(betas.where(betas > 0))
    span = logs.max() - logs.min()
    if alike is None and (betas > 0).all() and span < np.log(LEAST_SPAN):
        return usable.iloc[:0]
    bins = (
        ((logs - logs.min()) / (span or 1.0) * STRIP_ROWS)
        .clip(upper=STRIP_ROWS - 1)
        .fillna(-1)
        .astype(int)
    )
    # A trial that was pruned had fewer epochs, so it stands only where none of its bin is complete.
    order = usable.assign(early=usable["state"] != "complete").sort_values(
        ["early", "objective", "number"]
    )
    best = order[~bins[order.index].duplicated()].drop(columns="early")
    return best.iloc[np.argsort(_betas(best), kind="stable")]


def _betas(trials: pd.DataFrame) -> pd.Series:
    return pd.to_numeric(column(trials, "params.beta"), errors="coerce").astype(float)


def _one_configuration(view: StudyView) -> pd.DataFrame | None:
    """Return the complete runs of the configuration that was trained with most values of β; None
    below `LEAST_ALIKE` of them.
    """
    unlike = {
        name
        for name, spec in view.plan.baseline_specs.items()
        if set(spec.get("settings") or {}) - {"beta"}
    }
    runs = view.trials[(view.trials["state"] == "complete") & view.trials["objective"].notna()]
    like = runs["baseline"].map(lambda names: unlike.isdisjoint(baseline_names(names))).astype(bool)
    runs = runs[like & (_betas(runs) >= 0) & left_pictures(runs)]
    if runs.empty:
        return None
    others = [name for name in view.plan.parameters if name != "beta"]
    keys = runs.apply(
        lambda run: tuple(format_value(run.get(f"params.{name}")) for name in others), axis=1
    )
    counts = _betas(runs).groupby(keys).nunique().sort_values(ascending=False, kind="stable")
    return runs[keys == counts.index[0]] if counts.iloc[0] >= LEAST_ALIKE else None


def beta_strip(view: StudyView) -> Figure | None:
    """Draw a row per β, low to high: reconstructions beside samples; the originals on top. None
    without pictures or without β.

    Each row names the parameters that differ between the rows beside β.
    """
    rows, differing = _strip_rows(view)
    labelled = []
    for trial, files, last in rows:
        values = view.plan.params(trial)
        apart = format_briefly({name: values[name] for name in differing if name in values})
        title = f"{parameter_label('beta')} = {format_value(trial['params.beta'])}"
        labelled.append((title, f"{epoch_words(view, trial, last=last)}\n{apart}".strip(), files))
    return picture_rows([("", labelled)], margin=3.4) if rows else None


def _strip_rows(view: StudyView) -> tuple[list[tuple[pd.Series, Arrays, bool]], list[str]]:
    """Return trial, arrays and whether they are of the last epoch for each row, and the parameters
    that differ beside β.
    """
    candidates = (
        (trial, read_arrays(trial["folder"])) for _, trial in strip_trials(view).iterrows()
    )
    rows = [(trial, *at_last_epoch(files)) for trial, files in candidates if files.keys() >= STRIP]
    configurations = [view.plan.params(trial) for trial, *_ in rows]
    values = {
        name: {format_value(params.get(name)) for params in configurations}
        for name in view.plan.parameters
    }
    return rows, [
        name for name, different in values.items() if name != "beta" and len(different) > 1
    ]


def strip_caption(view: StudyView) -> str:
    """Say what differs between the rows, what may be concluded from that, and of which epoch the
    pictures are.
    """
    rows, differing = _strip_rows(view)
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
    return f"{text} {epoch_sentence([last for *_, last in rows])}"


def epoch_sentence(last: Sequence[bool]) -> str:
    """Say of which epoch the pictures are; `last` tells for each row whether its file has those of
    the last epoch.
    """
    if all(last):
        return "Pictures are of the last epoch."
    which = "Some" if any(last) else "These"
    return (
        f"{which} runs kept no pictures of the last epoch: theirs are of the epoch with the best "
        "−ELBO."
    )


def best_caption(view: StudyView, shows: str, text: str) -> str:
    """Return the words on pictures of the best model, with the epoch that they are of."""
    best = view.best_with(shows)
    return text if best is None else f"{text} {epoch_sentence([at_last_epoch(best[1])[1]])}"


def best_reconstructions(arrays: Arrays) -> Figure:
    """Draw originals above their reconstructions by the last epoch's model."""
    arrays, _ = at_last_epoch(arrays)
    count = min(len(arrays["originals"]), len(arrays["reconstructions"]))
    names = ["originals", "reconstructions"]
    return picture_grid(np.stack([arrays[name][:count] for name in names]), names)


def best_samples(arrays: Arrays) -> Figure:
    """Draw samples of the prior, decoded by the last epoch's model, in full rows."""
    samples = at_last_epoch(arrays)[0]["samples"]
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


def best_median_worst(view: StudyView) -> Figure | None:
    """Draw reconstructions and samples of the best, the median and the worst complete trial of the
    search that left pictures.

    The median is the lower one of an even number. None with fewer than two such trials; of two, no
    median.
    """
    rows = []
    for rank, trial, every in _three(view):
        files, last = at_last_epoch(every)
        below = f"{epoch_words(view, trial, last=last)}\n{_main_setting(view, trial)}"
        rows.append((f"{rank}: trial {trial['number']}", below, files))
    return picture_rows([("", rows)], margin=2.9) if len(rows) > 1 else None


def _three(view: StudyView) -> list[tuple[str, pd.Series, Arrays]]:
    """Return rank in words, trial and arrays; in place of a trial whose file is damaged or lacks an
    array stands the next.
    """
    trials = view.ranked[left_pictures(view.ranked)]
    orders = {"best": trials, "worst": trials[::-1], "median": trials[(len(trials) - 1) // 2 :]}
    row_of: dict[int, tuple[str, pd.Series, Arrays]] = {}
    for rank, order in orders.items():
        for _, row in order.iterrows():
            if (arrays := read_arrays(row["folder"])).keys() >= STRIP:
                row_of.setdefault(row["number"], (rank, row, arrays))
                break
    return [row_of[number] for number in trials["number"] if number in row_of]


def _main_setting(view: StudyView, trial: pd.Series) -> str:
    """Return the searched parameters that come first in the study file, as many as fit."""
    parts = [format_configuration({name: value}) for name, value in view.plan.params(trial).items()]
    while len(parts) > 1 and len(", ".join(parts)) > LONGEST:
        parts.pop()
    return shortened(", ".join(parts), LONGEST)


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


def neighbours_caption(view: StudyView) -> Caption:
    """Say what the distance is, and which one is usual for images that no model has seen."""
    text = (
        "Samples of the model of the best epoch, and the training image nearest to each: "
        "Euclidean distance over sub-pixels, where black to white is 1."
    )
    best = view.best_with("neighbour_images")
    if best is None or "neighbour_usual" not in best[1]:
        return text
    usual = StatedFigure(value=float(best[1]["neighbour_usual"]), digits=1)
    return [text, Statement(id="plot.neighbours", values={"usual": usual})]
