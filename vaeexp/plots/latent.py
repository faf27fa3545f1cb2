"""How a model uses its latent space: nats per dimension, and the classes that the components of its prior serve."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from sweeps.results.rankings import Results
from vaeexp.plots.pictures import best_evaluated, drawn_by
from vaeexp.plots.style import INK, MUTED, Plot, dress, key, new_figure
from vaeexp.words import format_number

COMPONENTS = 20
"""Components shown, the heaviest ones."""
USED = 0.01
"""Nats above which a dimension is said to carry something."""

_NUMBERED = 40
"""Dimensions, or names of classes, that there is room to name."""
_CELLS = 260
"""Cells of the heat map that there is room to write a number in."""
_COLOURS = {True: "#0072B2", False: "#b8b8b8"}


def rate_per_dimension(results: Results) -> Figure | None:
    """Rate of each latent dimension of the best model, the greatest first. None where it left none."""
    found = best_evaluated(results, "rate_per_dimension")
    return None if found is None else rate_figure(found[1]["rate_per_dimension"])


def rate_figure(rates: np.ndarray) -> Figure:
    """Bars of rates [L] in nats per image, sorted; those above `USED` in colour."""
    figure = new_figure(3.8)
    axes = dress(figure.add_subplot(), y="rate (nats per image)")
    order = np.argsort(-rates, kind="stable")
    places, heights = np.arange(1, len(rates) + 1), rates[order]
    few = len(rates) <= _NUMBERED
    for used, words in ((True, f"above {USED} nats"), (False, f"at most {USED} nats")):
        chosen = (heights > USED) == used
        axes.bar(
            places[chosen],
            heights[chosen],
            width=0.8 if few else 1.0,
            color=_COLOURS[used],
            linewidth=0,
            label=f"{words} ({int(chosen.sum())})",
        )
    axes.set_xlim(0.4, len(rates) + 0.6)
    axes.set_ylim(min(0.0, 1.05 * heights.min()), 1.05 * max(heights.max(), USED))
    axes.grid(visible=False, axis="x")
    if few:
        axes.set_xticks(places, [str(dimension + 1) for dimension in order])
        axes.set_xlabel("number of the latent dimension", fontsize=11, color=INK)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True))
        axes.set_xlabel("latent dimensions, from the greatest rate to the smallest", fontsize=11, color=INK)
    key(axes)
    return figure


def heaviest(weights: np.ndarray) -> np.ndarray:
    """Places of at most `COMPONENTS` components of these weights [K], the heaviest first."""
    return np.argsort(-weights, kind="stable")[:COMPONENTS]


def component_classes(results: Results) -> Figure | None:
    """Which component serves which class in the best mixture prior. None where there is no mixture, or no classes."""
    found = best_evaluated(results, "component_classes")
    if found is None:
        return None
    arrays = found[1]
    return component_figure(arrays["component_classes"], arrays["component_weights"], arrays["classes"].tolist())


def component_figure(shares: np.ndarray, weights: np.ndarray, classes: list[str]) -> Figure:
    """Shares [K, n] of n classes that K components serve, as a map: the heaviest component on top, a column per class."""
    order = heaviest(weights)
    shown = np.ma.masked_invalid(shares[order])
    rows, columns = shown.shape
    figure = new_figure(1.5 + 0.3 * max(rows, 4))
    axes = figure.add_subplot()
    image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
    axes.set_yticks(
        range(rows), [f"{place + 1}  ({format_number(100 * weights[k], 1)} %)" for place, k in enumerate(order)]
    )
    axes.set_ylabel("component (weight)", fontsize=11, color=INK)
    _name_columns(axes, classes)
    if rows * columns <= _CELLS:
        _write_shares(axes, shown)
    axes.tick_params(labelsize=10, colors=INK, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, format=PercentFormatter(1, decimals=0, symbol=" %"), pad=0.015, aspect=30)
    bar.set_label("share of the class", fontsize=11, color=INK)
    bar.ax.tick_params(labelsize=10, colors=INK)
    bar.outline.set_visible(False)
    return figure


def _name_columns(axes: Axes, classes: list[str]) -> None:
    axes.set_xlabel("class", fontsize=11, color=INK)
    if len(classes) > _NUMBERED:
        axes.set_xticks([])
        axes.set_xlabel(f"{len(classes)} classes, in the order of their labels", fontsize=11, color=INK)
        return
    names = [name if len(name) <= 18 else f"{name[:17]}…" for name in classes]
    # The axes are about a hundred characters wide.
    slanted = (max(map(len, names)) + 2) * len(names) > 100
    turned = {"rotation": 40, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(names)), names, **turned)


def _write_shares(axes: Axes, shares: np.ma.MaskedArray) -> None:
    """Percent in each cell, and nothing where it rounds to 0."""
    for (row, column), share in np.ndenumerate(shares.filled(np.nan)):
        if np.isnan(share):
            axes.text(column, row, "–", fontsize=9, color=MUTED, ha="center", va="center")
        elif share >= 0.005:
            colour = "white" if share > 0.55 else INK
            axes.text(column, row, f"{100 * share:.0f}", fontsize=9, color=colour, ha="center", va="center")


PLOTS: dict[str, Plot] = {
    "component_classes": Plot(
        "Classes served by each component",
        component_classes,
        drawn_by(
            "component_classes",
            "In percent, the share of each class of test images whose codes the component serves: the mean of p(component | z) with "
            "z from the posterior. A column sums to 100; components are numbered as above, the heaviest first.",
            best_evaluated,
        ),
        "No run with a mixture prior was tested on images with classes.",
    ),
    "rate_per_dimension": Plot(
        "Rate of each latent dimension",
        rate_per_dimension,
        drawn_by(
            "rate_per_dimension",
            "The divergence of the posterior of each latent dimension from the prior of that dimension, mean over test images. "
            f"What is at most {USED} nats carries next to nothing. The bars add up to the rate where the prior's dimensions are "
            "independent, and not under a mixture of joint Gaussians.",
            best_evaluated,
        ),
        "No run with a posterior that has a density was tested.",
    ),
}
