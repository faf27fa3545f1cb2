"""Originals and reconstructions in the unit of the files, with axes: images that are no grey
levels, and signals.

Shapes: K images, C channels, H × W numbers; a signal of F values is [C, 1, F].
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaeexp.plots import style
from vaeexp.results.tables import Arrays

NUMBERS = frozenset({"originals_numbers", "last_reconstructions_numbers"})
"""Arrays of `pictures.npz`, float32 [K, C, H, W], that these plots are made of."""
COLOURS = "viridis"
"""Equal steps of a number are equal steps to the eye."""
LIMITS = (0.5, 99.5)
"""Percentiles of the originals at the ends of the scale of colours."""
UNIT = "value (unit of the data)"
LONGEST = 3.0
"""Height by width of a panel at most; images that are longer fill such a panel."""
ACROSS = 7.4
"""Inches of all heat maps of a row at most."""
TALLEST = 3.4
"""Inches of a heat map."""
MOST_CHANNELS = 4
RECONSTRUCTED = "#D55E00"


def reconstructions_in_units(arrays: Arrays) -> Figure:
    """Draw originals and reconstructions with axes: signals as lines, images as heat maps."""
    _, _, height, _ = arrays["originals_numbers"].shape
    return reconstructed_signals(arrays) if height == 1 else reconstructed_images(arrays)


def reconstructed_images(arrays: Arrays) -> Figure:
    """Draw originals above their reconstructions as heat maps, with one scale of colours for
    all.
    """
    both = [arrays[name][:, 0] for name in ("originals_numbers", "last_reconstructions_numbers")]
    count, height, width = both[0].shape
    low, high = np.percentile(both[0], LIMITS)
    shape = min(max(height / width, 1 / LONGEST), LONGEST)
    tall = min(shape * ACROSS / count, TALLEST)
    figure = style.new_figure(2 * tall + 0.9, count * tall / shape + style.WIDTH - ACROSS)
    panels = figure.subplots(2, count, sharex=True, sharey=True, squeeze=False)
    for row, (images, name) in enumerate(zip(both, ("originals", "reconstructions"), strict=True)):
        for column, image in enumerate(images):
            axes = panels[row, column]
            shown = axes.imshow(
                image,
                cmap=COLOURS,
                vmin=low,
                vmax=high if high > low else low + 1,
                aspect=shape / (height / width),
                interpolation="nearest",
            )
            _style(axes, "column" if row else "", "" if column else "row")
        panels[row, 0].set_title(name, fontsize=11, color=style.TEXT_COLOUR, loc="left", pad=4)
    pad = 0.25 / figure.get_figwidth()
    bar = style.colour_bar(figure, panels.ravel().tolist(), shown, extend="both", pad=pad)
    bar.set_ylabel(UNIT, fontsize=11, color=style.TEXT_COLOUR)
    return figure


def _style(axes: Axes, x: str, y: str) -> None:
    """Name the axes of a heat map, with few whole numbers along them."""
    style.label_axes(axes, x, y)
    axes.tick_params(labelsize=9, colors=style.TEXT_COLOUR, length=2)
    axes.spines[:].set_visible(False)
    style.whole_ticks(axes.xaxis, 4)
    style.whole_ticks(axes.yaxis, 4)


def reconstructed_signals(arrays: Arrays) -> Figure:
    """Draw signals and their reconstructions as lines in the same axes: four signals of one
    channel, or two of several with a row for each of the first channels.
    """
    originals = arrays["originals_numbers"][:, :, 0]
    made = arrays["last_reconstructions_numbers"][:, :, 0]
    count, channels, length = originals.shape
    rows = min(channels, MOST_CHANNELS) if channels > 1 else -(-count // 2)
    across = min(count, 2)
    figure = style.new_figure(1.7 * rows + 0.6)
    panels = figure.subplots(rows, across, sharex=True, sharey="row", squeeze=False)
    marks = "o" if length <= 30 else ""
    for (row, column), axes in np.ndenumerate(panels):
        signal, channel = (column, row) if channels > 1 else (row * across + column, 0)
        y = f"channel {channel + 1}" if channels > 1 else "value"
        style.style_axes(axes, x="position" if row == rows - 1 else "", y="" if column else y)
        if signal >= count:
            axes.set_axis_off()
            continue
        for values, colour, name in (
            (originals, style.TEXT_COLOUR, "original"),
            (made, RECONSTRUCTED, "reconstruction"),
        ):
            axes.plot(
                values[signal, channel],
                color=colour,
                linewidth=1.2,
                marker=marks,
                markersize=3,
                label=name,
            )
        style.whole_ticks(axes.xaxis, 6)
    style.figure_legend(figure, panels[0, 0])
    return figure
