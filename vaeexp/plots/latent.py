"""The latent space of the best model: between codes, along its dimensions, its plane, its map, and
how it is used.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vaeexp.plots import style
from vaeexp.plots.pictures import GAP, ground, joined, picture_axes, picture_grid, tiles
from vaeexp.results.statements import Caption, say
from vaeexp.results.statements import Figure as StatedFigure
from vaeexp.results.tables import Arrays, component_order
from vaeexp.words import format_value, of_data

WAYS = {
    "latent_interpolations": "latent, linear",
    "spherical_interpolations": "latent, spherical",
    "pixel_interpolations": "pixels",
}
CLASS_COLOURS = (
    *("#332288", "#CC6677", "#117733", "#88CCEE", "#AA4499"),
    *("#999933", "#882255", "#44AA99", "#DDAA33", "#555555"),
)
"""After the palette "muted" of Paul Tol, told apart by readers with any colour vision; more classes
have the colours of a rainbow.
"""
NAMED_CLASSES = 30
"""With more classes the legend would be longer than the map."""
TALLEST = 8.5
"""Inches."""
LONGEST_CLASS = 18
"""Characters of the name of a class; longer ones are cut."""
NUMBERED = 40
"""Dimensions that there is room to name."""
BINS = 41
"""Edges of the bins of a density."""


def interpolations(arrays: Arrays) -> Figure:
    """Draw for each pair of images the ways between them, one below the other: through codes and
    through pixels.
    """
    ways = [name for name in WAYS if name in arrays]
    drawn = np.stack([arrays[name] for name in ways], axis=1)
    return interpolation_figure(drawn, [of_data(WAYS[name]) for name in ways])


def interpolation_figure(drawn: np.ndarray, names: Sequence[str]) -> Figure:
    """Draw the ways between P pairs of images, uint8 [P, ways, S, H, W, C], those of one pair
    together, each with its name.
    """
    blocks = [tiles(pair) for pair in drawn]
    tile = drawn.shape[3]
    space = max(4 * GAP, tile // 3)
    canvas = joined(blocks, space)
    figure, axes = picture_axes(canvas, margin=1.5, width=_width(canvas))
    for pair, block in enumerate(blocks):
        for row, name in enumerate(names):
            _beside(axes, pair * (len(block) + space) + row * (tile + GAP) + tile / 2, name)
    return figure


def traversals(arrays: Arrays) -> Figure:
    """Draw a row of pictures for each dimension that is traversed, the most active first, with the
    distance above its columns.
    """
    pictures = arrays["traversals"]
    canvas = tiles(pictures)
    width = _width(canvas)
    heading = round(0.3 / width * canvas.shape[1])  # pixels of 0.3 inches
    figure, axes = picture_axes(
        np.concatenate([ground(heading, canvas.shape[1]), canvas]), margin=0.6, width=width
    )
    steps, tall, wide = pictures.shape[1:4]
    # Which dimensions these are stands in another file, which may be missing.
    if "traversal_dimensions" not in arrays:
        return figure
    for place, dimension in enumerate(arrays["traversal_dimensions"].tolist()):
        name = "z" + str(dimension + 1).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
        _beside(axes, heading + place * (tall + GAP) + tall / 2, name)
    reach = float(arrays["traversal_reach"])
    values = np.linspace(-reach, reach, steps)
    # Words above every column would not fit.
    for place in np.unique(np.linspace(0, steps - 1, 5).round().astype(int)):
        middle = place * (wide + GAP) + wide / 2
        value = values[place]
        words = "mean" if abs(value) < 1e-9 else f"{value:+.3g} sd".replace("-", "−")
        style.write(axes, words, middle, heading * 0.75, color=style.MUTED, va="bottom")
    return figure


def latent_plane(arrays: Arrays) -> Figure:
    """Draw what the plane of two latent dimensions decodes to."""
    return picture_grid(arrays["manifold"])


def latent_map(arrays: Arrays) -> Figure:
    """Draw t-SNE of posterior means of test images, a mark each, in the colour of its class; alike
    without classes, or with too many. New rows (`placed`) are rings above them.
    """
    points = arrays["embedding"]
    classes = arrays["classes"].tolist()
    figure = style.new_figure(6.6, 7.2)
    axes = figure.add_subplot()
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xticks=[], yticks=[])
    style.label_axes(axes, "t-SNE 1 (no unit)", "t-SNE 2 (no unit)")
    axes.spines[:].set_color("#b0b0b0")
    look: dict[str, Any] = {"s": 14 if len(points) > 500 else 26, "linewidths": 0, "alpha": 0.75}
    if not 1 < len(classes) <= NAMED_CLASSES:
        axes.scatter(*points.T, color="#0072B2", **look)
        _draw_placed(axes, arrays)
        return figure
    # Points are drawn in the order of the images, so that no class lies on top.
    labels = arrays["embedding_labels"]
    colours = np.array(CLASS_COLOURS)
    if len(classes) > len(colours):
        colours = colormaps["turbo"](np.linspace(0, 1, len(classes)))
    axes.scatter(*points.T, color=colours[labels], **look)
    for label in np.unique(labels).tolist():
        name = style.shortened(classes[label], LONGEST_CLASS)
        shown = style.legend_label(name)
        axes.scatter([], [], color=colours[label], s=40, linewidths=0, label=shown)
    _draw_placed(axes, arrays)
    style.side_legend(axes)
    return figure


def _draw_placed(axes: Axes, arrays: Arrays) -> None:
    """Draw new rows, which were placed into a map of others."""
    placed = arrays.get("placed", np.zeros((0, 2)))
    if len(placed):
        look: dict[str, Any] = {"s": 42, "facecolors": "none", "edgecolors": "black"}
        axes.scatter(*placed.T, label="new", zorder=3, linewidths=1.1, **look)


def _width(canvas: np.ndarray) -> float:
    """Return inches, so that the picture is as wide as the page beside a margin of 1.5 inches, and
    not taller than a screen.
    """
    return float(min(7.2, TALLEST * canvas.shape[1] / canvas.shape[0]))


def _beside(axes: Axes, middle: float, text: str) -> None:
    """Write left of a row of pictures, a fixed distance away whatever the pictures' size."""
    style.annotate(axes, text, (0, middle), (-6, 0), ha="right", fontsize=11)


def rate_per_dimension(arrays: Arrays) -> Figure | None:
    """Draw bars of the rate of each latent dimension in nats per image, sorted; those above the
    study's `rate_threshold` in colour.

    None where all are above it.
    """
    rates = arrays["rate_per_dimension"]
    threshold = float(arrays["rate_threshold"])
    if (rates > threshold).all():
        return None
    nats = f"{format_value(threshold)} nats"
    figure, axes = style.one_plot(
        3.8, x="latent dimension, the greatest rate first", y="rate (nats per image)"
    )
    order = np.argsort(-rates, kind="stable")
    positions = np.arange(1, len(rates) + 1)
    heights = rates[order]
    used = heights > threshold
    for chosen, colour, text in (
        (used, "#0072B2", f"above {nats}"),
        (~used, "#b8b8b8", f"at most {nats}"),
    ):
        if chosen.any():  # a legend would give bars that are not drawn the colour of the others
            label = f"{text} ({chosen.sum()})"
            axes.bar(positions[chosen], heights[chosen], label=label, color=colour, linewidth=0)
    axes.set(
        xlim=(0.4, len(rates) + 0.6),
        ylim=(min(0.0, 1.05 * heights.min()), 1.05 * max(heights.max(), threshold)),
    )
    axes.grid(visible=False, axis="x")
    if len(rates) <= NUMBERED:
        axes.set_xticks(positions, order + 1)
    else:
        style.whole_ticks(axes.xaxis, 10)
    style.legend(axes)
    return figure


def rate_caption(arrays: Arrays) -> Caption:
    """Say what a bar is, and from which rate on a dimension counts as used."""
    threshold = StatedFigure(value=float(arrays["rate_threshold"]), unit="nats", digits=None)
    return [
        "The divergence of the posterior of each latent dimension from the prior of that "
        "dimension, mean over test images.",
        say("plot.threshold", threshold=threshold),
        "The bars add up to the rate where the prior's dimensions are independent, and not under "
        "a mixture of joint Gaussians.",
    ]


def samples_caption(arrays: Arrays) -> str:
    """Say in which order the components stand."""
    weights = arrays.get("component_weights")
    order = "the heaviest first" if weights is None else component_order(weights)
    return f"One component of the prior per row, {order}."


def aggregate_posterior(arrays: Arrays) -> Figure:
    """Draw for each dimension the codes z ~ q(z|x) of test images against samples of the prior, as
    densities.
    """
    codes = arrays["aggregate_codes"]
    priors = arrays["prior_codes"]
    dimensions = arrays["aggregate_dimensions"]
    figure, panels = style.parameter_panels(len(codes), "density", same_values=False)
    for axes, posterior, prior, dimension in zip(
        panels, codes, priors, dimensions.tolist(), strict=True
    ):
        style.style_axes(axes, x=f"latent dimension {dimension + 1}")
        both = np.concatenate([posterior, prior])
        low, high = np.quantile(both[np.isfinite(both)], [0.002, 0.998])
        room = 0.02 * (high - low) or 1.0
        bins = np.linspace(low - room, high + room, BINS).tolist()
        axes.hist(
            posterior,
            bins,
            density=True,
            color="#0072B2",
            alpha=0.45,
            label=of_data("codes of test images"),
        )
        axes.hist(
            prior,
            bins,
            density=True,
            histtype="step",
            color=style.TEXT_COLOUR,
            linewidth=1.6,
            label="prior",
        )
        axes.xaxis.set_major_locator(MaxNLocator(5))
    style.figure_legend(figure, panels[0])
    return figure
