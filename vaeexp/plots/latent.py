"""The latent space of the best model: between codes, along its dimensions, its plane, its map, and how it is used."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from vaeexp.plots.pictures import GAP, labelled, picture_axes, tiles, words
from vaeexp.plots.style import MUTED, TEXT_COLOUR, annotate, colour_bar, legend, new_figure, style_axes
from vaeexp.results.study_view import StudyView
from vaeexp.results.trial_files import heaviest, read_evaluation
from vaeexp.words import format_number

WAYS = {
    "latent_interpolations": "latent, linear",
    "spherical_interpolations": "latent, spherical",
    "pixel_interpolations": "pixels",
}
CLASS_COLOURS = (
    *("#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499"),
    *("#999933", "#882255", "#44AA99", "#DDAA33", "#555555"),
)
"""After the palette "muted" of Paul Tol, told apart by readers with any colour vision; beyond ten classes they repeat."""
NAMED_CLASSES = 30
"""With more classes names would cover the map."""
TALLEST = 8.5
"""Inches."""
USED = 0.01
"""Nats above which a dimension is said to carry something."""
NUMBERED = 40
"""Dimensions, or names of classes, that there is room to name."""
MOST_CELLS = 260
"""Cells of the heat map that there is room to write a number in."""


def interpolations(view: StudyView) -> Figure | None:
    """Draw for each pair of images the ways between them, one below the other: through codes and through pixels."""
    found = view.best_pictured("latent_interpolations")
    if found is None:
        return None
    ways = [name for name in WAYS if name in found[1]]
    return interpolation_figure(np.stack([found[1][name] for name in ways], axis=1), [WAYS[name] for name in ways])


def interpolation_figure(drawn: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the ways between P pairs of images, uint8 [P, ways, S, H, W, C], those of one pair together, each with its name."""
    blocks = [tiles(pair) for pair in drawn]
    high, across, channels = blocks[0].shape
    space, tile = max(4 * GAP, drawn.shape[3] // 3), drawn.shape[3]
    canvas = np.full((len(blocks) * (high + space) - space, across, channels), 255, dtype=np.uint8)
    for place, block in enumerate(blocks):
        canvas[place * (high + space) :][:high] = block
    figure, axes = picture_axes(canvas, margin=1.5, width=_width(canvas))
    for pair in range(len(blocks)):
        for place, name in enumerate(names):
            _beside(axes, pair * (high + space) + place * (tile + GAP) + tile / 2, name)
    return figure


def traversals(view: StudyView) -> Figure | None:
    """Draw a row of pictures for each dimension that is traversed, the most active first, with the distance above its columns."""
    found = view.best_pictured("traversals")
    if found is None:
        return None
    evaluation = read_evaluation(found[0]["folder"])
    return traversal_figure(
        found[1]["traversals"], evaluation.get("traversal_dimensions"), evaluation.get("traversal_reach")
    )


def traversal_figure(pictures: np.ndarray, dimensions: np.ndarray | None, reach: float | np.ndarray | None) -> Figure:
    """Draw pictures uint8 [D, S, H, W, C] with the numbers of their dimensions [D], from 0, and their reach to either side."""
    canvas = tiles(pictures)
    width = _width(canvas)
    heading = round(0.3 / width * canvas.shape[1])  # pixels of 0.3 inches
    blank = np.full((heading, *canvas.shape[1:]), 255, dtype=np.uint8)
    figure, axes = picture_axes(np.concatenate([blank, canvas]), margin=0.6, width=width)
    tall, wide = pictures.shape[2:4]
    for place, dimension in enumerate([] if dimensions is None else dimensions.tolist()):
        _beside(axes, heading + place * (tall + GAP) + tall / 2, _dimension(dimension))
    if reach is not None:
        values = np.linspace(-float(reach), float(reach), pictures.shape[1])
        last = len(values) - 1
        # Quarters of the way, else halves, else the ends: words above every column would not fit.
        parts = next(parts for parts in (4, 2, 1) if last % parts == 0)
        for place in range(0, last + 1, max(1, last // parts)):
            middle = place * (wide + GAP) + wide / 2
            axes.text(middle, heading * 0.75, _deviations(values[place]), **words(MUTED, "center", 10, "bottom"))
    return figure


def latent_plane(view: StudyView) -> Figure | None:
    """Draw what the plane of two latent dimensions decodes to. None where the best model has another number of them."""
    found = view.best_pictured("manifold")
    if found is None:
        return None
    pictures = found[1]["manifold"]
    return labelled(tiles(pictures), pictures.shape[2], [])


def latent_map(view: StudyView) -> Figure | None:
    """Draw t-SNE of posterior means of test images, a mark each, in the colour of its class; the name at the class's median."""
    found = view.best_evaluated("embedding")
    if found is None:
        return None
    classes = found[1].get("classes", np.array([], dtype=np.str_)).tolist()
    return map_figure(found[1]["embedding"], found[1].get("embedding_labels"), classes)


def map_figure(points: np.ndarray, labels: np.ndarray | None, classes: Sequence[str]) -> Figure:
    """Draw points [N, 2] of a t-SNE map in the colours of their labels [N]; in one colour without classes, or with too many."""
    figure = new_figure(6.6, 7.2)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    axes.set_xlabel("t-SNE 1 (no unit)", fontsize=11, color=TEXT_COLOUR)
    axes.set_ylabel("t-SNE 2 (no unit)", fontsize=11, color=TEXT_COLOUR)
    for spine in axes.spines.values():
        spine.set_color("#b0b0b0")
    look: dict[str, Any] = {"s": 14 if len(points) > 500 else 26, "linewidths": 0, "alpha": 0.75}
    if labels is None or not 1 < len(classes) <= NAMED_CLASSES:
        axes.scatter(*points.T, color="#0072B2", **look)
        return figure
    # In the order of the images, so that no class lies on top.
    colours = np.array([CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in range(len(classes))])
    axes.scatter(*points.T, color=colours[labels], **look)
    _name_classes(axes, points, labels, classes, colours)
    return figure


def _name_classes(
    axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], colours: np.ndarray
) -> None:
    """Write the name of each class in a box of its colour at the median of its points."""
    present = np.unique(labels).tolist()
    medians = np.array([np.median(points[labels == label], axis=0) for label in present])
    extent = np.ptp(points, axis=0).max()
    sizes = extent * np.array([(0.02 + 0.013 * len(classes[label]), 0.042) for label in present])
    for label, (x, y) in zip(present, _apart(medians, sizes), strict=True):
        box = {"boxstyle": "round,pad=0.22", "facecolor": "white", "edgecolor": colours[label], "linewidth": 1.8}
        axes.text(x, y, classes[label], bbox=box, **words(TEXT_COLOUR, "center", 11))


def _apart(places: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return centres [n, 2] of boxes of these widths and heights [n, 2], moved up and down by steps where boxes overlap."""
    moved = places.astype(float)
    for _ in range(100):
        for i, j in itertools.combinations(range(len(moved)), 2):
            gap, needed = moved[j] - moved[i], (sizes[i] + sizes[j]) / 2
            if (np.abs(gap) < needed).all():
                step = 0.51 * (needed[1] - abs(gap[1])) * (1 if gap[1] >= 0 else -1)
                moved[j, 1] += step
                moved[i, 1] -= step
    return moved


def _width(canvas: np.ndarray) -> float:
    """Return inches, so that the picture is as wide as the page and not taller than a screen."""
    return float(min(7.2, TALLEST * canvas.shape[1] / canvas.shape[0]))


def _beside(axes: Axes, middle: float, text: str) -> None:
    """Write left of a row of pictures, a fixed distance away whatever the pictures' size."""
    annotate(axes, text, (0, middle), (-6, 0), ha="right", fontsize=11)


def _dimension(place: int) -> str:
    """`z₁` for dimension 0."""
    return "z" + str(place + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _deviations(value: float) -> str:
    """`+2.5 sd`, `mean`, `−2.5 sd`."""
    if abs(value) < 1e-9:
        return "mean"
    return f"{'+' if value > 0 else ''}{format_number(value, 2).rstrip('0').rstrip('.')} sd"


def rate_per_dimension(view: StudyView) -> Figure | None:
    """Draw the rate of each latent dimension of the best model, the greatest first. None where it left none."""
    found = view.best_evaluated("rate_per_dimension")
    return None if found is None else rate_figure(found[1]["rate_per_dimension"])


def rate_figure(rates: np.ndarray) -> Figure:
    """Draw bars of rates [L] in nats per image, sorted; those above `USED` in colour."""
    figure = new_figure(3.8)
    axes = style_axes(figure.add_subplot(), y="rate (nats per image)")
    order = np.argsort(-rates, kind="stable")
    places, heights = np.arange(1, len(rates) + 1), rates[order]
    few = len(rates) <= NUMBERED
    for used, colour, text in ((True, "#0072B2", f"above {USED} nats"), (False, "#b8b8b8", f"at most {USED} nats")):
        chosen = (heights > USED) == used
        look: dict[str, Any] = {"width": 0.8 if few else 1.0, "color": colour, "linewidth": 0}
        axes.bar(places[chosen], heights[chosen], label=f"{text} ({int(chosen.sum())})", **look)
    axes.set_xlim(0.4, len(rates) + 0.6)
    axes.set_ylim(min(0.0, 1.05 * heights.min()), 1.05 * max(heights.max(), USED))
    axes.grid(visible=False, axis="x")
    if few:
        axes.set_xticks(places, [str(dimension + 1) for dimension in order])
        axes.set_xlabel("number of the latent dimension", fontsize=11, color=TEXT_COLOUR)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        axes.set_xlabel("latent dimensions, from the greatest rate to the smallest", fontsize=11, color=TEXT_COLOUR)
    legend(axes)
    return figure


def component_classes(view: StudyView) -> Figure | None:
    """Draw which component serves which class in the best mixture prior. None where there is no mixture, or no classes."""
    found = view.best_evaluated("component_classes")
    if found is None:
        return None
    arrays = found[1]
    return component_figure(arrays["component_classes"], arrays["component_weights"], arrays["classes"].tolist())


def component_figure(shares: np.ndarray, weights: np.ndarray, classes: list[str]) -> Figure:
    """Draw shares [K, n] of n classes that K components serve, as a map: the heaviest component on top, a column per class."""
    order = heaviest(weights)
    shown = np.ma.masked_invalid(shares[order])
    rows, columns = shown.shape
    figure = new_figure(1.5 + 0.3 * max(rows, 4))
    axes = figure.add_subplot()
    image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    names = [f"{place + 1}  ({format_number(100 * weights[k], 1)} %)" for place, k in enumerate(order)]
    axes.set_yticks(range(rows), names)
    axes.set_ylabel("component (weight)", fontsize=11, color=TEXT_COLOUR)
    _name_columns(axes, classes)
    if rows * columns <= MOST_CELLS:
        _write_shares(axes, shown.filled(np.nan))
    axes.tick_params(labelsize=10, colors=TEXT_COLOUR, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = colour_bar(figure, axes, image, format=PercentFormatter(1, decimals=0, symbol=" %"), pad=0.015)
    bar.set_ylabel("share of the class", fontsize=11, color=TEXT_COLOUR)
    return figure


def _name_columns(axes: Axes, classes: list[str]) -> None:
    axes.set_xlabel("class", fontsize=11, color=TEXT_COLOUR)
    if len(classes) > NUMBERED:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(classes)} classes, in the order of their labels", fontsize=11, color=TEXT_COLOUR)
        return
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in classes]
    axes.set_xticks(range(len(names)), names)
    if (max(map(len, names)) + 2) * len(names) > 100:  # the axes are about a hundred characters wide
        for tick in axes.get_xticklabels():
            tick.set(rotation=40, ha="right", rotation_mode="anchor")


def _write_shares(axes: Axes, shares: np.ndarray) -> None:
    """Write percent in each cell, and nothing where it rounds to 0."""
    for (row, column), share in np.ndenumerate(shares):
        if np.isnan(share):
            axes.text(column, row, "–", **words(MUTED, "center", 9))
        elif share >= 0.005:
            colour = "white" if share > 0.55 else TEXT_COLOUR
            axes.text(column, row, f"{100 * share:.0f}", **words(colour, "center", 9))
