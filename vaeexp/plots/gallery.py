"""The latent space of the best model: between codes, along its dimensions, its plane, its map."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.results.rankings import Results
from vaeexp.plots.pictures import best_evaluated, best_pictured, drawn_by, read_evaluation
from vaeexp.plots.style import INK, MUTED, Plot, new_figure
from vaeexp.plots.tiles import GAP, labelled, picture_axes, tiles, words
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


def interpolations(results: Results) -> Figure | None:
    """For each pair of images the ways between them, one below the other: through codes and through pixels."""
    found = best_pictured(results, "latent_interpolations")
    if found is None:
        return None
    ways = [name for name in WAYS if name in found[1]]
    return interpolation_figure(np.stack([found[1][name] for name in ways], axis=1), [WAYS[name] for name in ways])


def interpolation_figure(drawn: np.ndarray, names: Sequence[str]) -> Figure:
    """The ways between P pairs of images, uint8 [P, ways, S, H, W, C], those of one pair together, each with its name."""
    blocks = [tiles(pair) for pair in drawn]
    high, across, channels = blocks[0].shape
    space = max(4 * GAP, drawn.shape[3] // 3)
    canvas = np.full((len(blocks) * (high + space) - space, across, channels), 255, dtype=np.uint8)
    for place, block in enumerate(blocks):
        canvas[place * (high + space) :][:high] = block
    axes = picture_axes(canvas, margin=1.5, width=_width(canvas))
    tile = drawn.shape[3]
    for pair in range(len(blocks)):
        for place, name in enumerate(names):
            middle = pair * (high + space) + place * (tile + GAP) + tile / 2
            _beside(axes, middle, name, INK)
    return axes.figure


def traversals(results: Results) -> Figure | None:
    """A row of pictures for each dimension that is traversed, the most active first, with how far above its columns."""
    found = best_pictured(results, "traversals")
    if found is None:
        return None
    evaluation = read_evaluation(found[0]["folder"])
    return traversal_figure(
        found[1]["traversals"], evaluation.get("traversal_dimensions"), evaluation.get("traversal_reach")
    )


def traversal_figure(pictures: np.ndarray, dimensions: np.ndarray | None, reach: float | np.ndarray | None) -> Figure:
    """Pictures uint8 [D, S, H, W, C] with the numbers of their dimensions [D], from 0, and how far they reach either side."""
    canvas = tiles(pictures)
    width = _width(canvas)
    heading = round(0.3 / width * canvas.shape[1])  # pixels of 0.3 inches
    blank = np.full((heading, *canvas.shape[1:]), 255, dtype=np.uint8)
    axes = picture_axes(np.concatenate([blank, canvas]), margin=0.6, width=width)
    tall, wide = pictures.shape[2:4]
    if dimensions is not None:
        for place, dimension in enumerate(dimensions.tolist()):
            _beside(axes, heading + place * (tall + GAP) + tall / 2, _dimension(dimension), INK)
    if reach is not None:
        values = np.linspace(-float(reach), float(reach), pictures.shape[1])
        last = len(values) - 1
        # Quarters of the way, else halves, else the ends: words above every column would not fit.
        parts = next(parts for parts in (4, 2, 1) if last % parts == 0)
        for place in range(0, last + 1, max(1, last // parts)):
            middle = place * (wide + GAP) + wide / 2
            axes.text(middle, heading * 0.75, _deviations(values[place]), **words(MUTED, "center", 10, "bottom"))
    return axes.figure


def latent_plane(results: Results) -> Figure | None:
    """What the plane of two latent dimensions decodes to. None where the best model has another number of them."""
    found = best_pictured(results, "manifold")
    if found is None:
        return None
    pictures = found[1]["manifold"]
    return labelled(tiles(pictures), pictures.shape[2], [])


def latent_map(results: Results) -> Figure | None:
    """t-SNE of posterior means of test images, one mark each, in the colour of its class; the name at the class's median."""
    found = best_evaluated(results, "embedding")
    if found is None:
        return None
    classes = found[1].get("classes", np.array([], dtype=np.str_)).tolist()
    return map_figure(found[1]["embedding"], found[1].get("embedding_labels"), classes)


def map_figure(points: np.ndarray, labels: np.ndarray | None, classes: Sequence[str]) -> Figure:
    """Points [N, 2] of a t-SNE map in the colours of their labels [N]; in one colour where there are no classes, or too many."""
    figure = new_figure(6.6, 7.2)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_xlabel("t-SNE 1 (no unit)", fontsize=11, color=INK)
    axes.set_ylabel("t-SNE 2 (no unit)", fontsize=11, color=INK)
    for spine in axes.spines.values():
        spine.set_color("#b0b0b0")
    size = 14 if len(points) > 500 else 26
    shared = {"s": size, "linewidths": 0, "alpha": 0.75}
    if labels is None or not 1 < len(classes) <= NAMED_CLASSES:
        axes.scatter(*points.T, color="#0072B2", **shared)
        return figure
    # In the order of the images, so that no class lies on top.
    colours = np.array([CLASS_COLOURS[label % len(CLASS_COLOURS)] for label in range(len(classes))])
    axes.scatter(*points.T, color=colours[labels], **shared)
    _name_classes(axes, points, labels, classes, colours)
    return figure


def _name_classes(
    axes: Axes, points: np.ndarray, labels: np.ndarray, classes: Sequence[str], colours: np.ndarray
) -> None:
    """The name of each class in a box of its colour at the median of its points."""
    present = np.unique(labels).tolist()
    medians = np.array([np.median(points[labels == label], axis=0) for label in present])
    extent = np.ptp(points, axis=0).max()
    sizes = extent * np.array([(0.02 + 0.013 * len(classes[label]), 0.042) for label in present])
    for label, (x, y) in zip(present, _apart(medians, sizes), strict=True):
        box = {"boxstyle": "round,pad=0.22", "facecolor": "white", "edgecolor": colours[label], "linewidth": 1.8}
        axes.text(x, y, classes[label], bbox=box, **words(INK, "center", 11))


def _apart(places: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Centres [n, 2] of boxes of these widths and heights [n, 2], moved up and down by steps where boxes overlap."""
    moved = places.astype(float)
    for _ in range(100):
        for i in range(len(moved)):
            for j in range(i):
                gap, needed = moved[i] - moved[j], (sizes[i] + sizes[j]) / 2
                if (np.abs(gap) < needed).all():
                    step = 0.51 * (needed[1] - abs(gap[1])) * (1 if gap[1] >= 0 else -1)
                    moved[i, 1] += step
                    moved[j, 1] -= step
    return moved


def _width(canvas: np.ndarray) -> float:
    """Inches, so that the picture is as wide as the page and not taller than a screen."""
    return min(7.2, TALLEST * canvas.shape[1] / canvas.shape[0])


def _beside(axes: Axes, middle: float, text: str, colour: str) -> None:
    """Words left of a row of pictures, a fixed distance away whatever the pictures' size."""
    axes.annotate(text, (0, middle), (-6, 0), textcoords="offset points", **words(colour, "right", 11))


def _dimension(place: int) -> str:
    """z₁ for dimension 0."""
    return "z" + str(place + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _deviations(value: float) -> str:
    """+2.5 sd, mean, −2.5 sd."""
    if abs(value) < 1e-9:
        return "mean"
    return f"{'+' if value > 0 else ''}{format_number(value, 2).rstrip('0').rstrip('.')} sd"


PLOTS: dict[str, Plot] = {
    "interpolations": Plot(
        "Between two images",
        interpolations,
        drawn_by(
            "latent_interpolations",
            "Three pairs of test images. On the first two rows codes on the way from one to the other are decoded, in a "
            "straight line and around the origin; the ends are reconstructions. Below them the pixels are cross-faded.",
        ),
        "No run that was tested left such pictures.",
    ),
    "traversals": Plot(
        "Along single dimensions",
        traversals,
        drawn_by(
            "traversals",
            "A test image with one latent dimension changed at a time, the most active ones first: from below to above the "
            "mean of that dimension's aggregate posterior, in its standard deviations (sd).",
        ),
        "No run that was tested left such pictures.",
    ),
    "latent_map": Plot(
        "Map of the latent space",
        latent_map,
        drawn_by(
            "embedding",
            "t-SNE of the posterior means of test images, in the colours of their classes where they have any; a name "
            "stands at its class's median. Neighbours on the map have similar codes; large distances say little.",
            best_evaluated,
        ),
        "No run that was tested left a map.",
    ),
    "latent_plane": Plot(
        "The plane of two latent dimensions",
        latent_plane,
        drawn_by(
            "manifold",
            "What the codes of a plane decode to, at equal steps of probability: z₁ rises to the right, z₂ upwards.",
        ),
        "No run with two latent dimensions was tested.",
    ),
}
