"""Originals and reconstructions in the unit of the files, with axes: images that are no grey
levels, and signals; and rows of a table, as they are scaled, above the names of their columns.

Shapes: K images, C channels, H × W numbers; a signal of F values is [C, 1, F].
"""

import numpy as np
from matplotlib.figure import Figure

from vaeexp.plots import style
from vaeexp.results.tables import Arrays

BOTH = ("originals_numbers", "last_reconstructions_numbers")
"""Arrays of `pictures.npz`, float32 [K, C, H, W], that these plots are made of."""
COLOURS = "viridis"
"""Equal steps of a number are equal steps to the eye."""
LIMITS = (0.5, 99.5)
"""Percentiles of the originals at the ends of the scale of colours."""
LONGEST = 3.0
"""Height by width of a panel at most; images that are longer fill such a panel."""
ACROSS = 7.4
"""Inches of all heat maps of a row at most."""
TALLEST = 3.4
"""Inches of a heat map."""
MOST_CHANNELS = 4
NAMES = 20
"""Columns with a name below the axes, evenly, and letters of a name at most."""
RECONSTRUCTED = "#D55E00"


def reconstructions_in_units(arrays: Arrays) -> Figure:
    """Draw originals and reconstructions with axes: signals as lines, rows of a table as bars,
    images as heat maps.
    """
    height = arrays["originals_numbers"].shape[2]
    return reconstructed_signals(arrays) if height == 1 else reconstructed_images(arrays)


def reconstructed_images(arrays: Arrays) -> Figure:
    """Draw originals above their reconstructions as heat maps, with one scale of colours for
    all.
    """
    both = [arrays[name][:, 0] for name in BOTH]
    count, height, width = both[0].shape
    low, high = np.percentile(both[0], LIMITS)
    shape = min(max(height / width, 1 / LONGEST), LONGEST)
    tall = min(shape * ACROSS / count, TALLEST)
    figure = style.new_figure(2 * tall + 0.9, count * tall / shape + style.WIDTH - ACROSS)
    panels = figure.subplots(2, count, sharex=True, sharey=True, squeeze=False)
    for images, row, name in zip(both, panels, ("originals", "reconstructions"), strict=True):
        for image, axes in zip(images, row, strict=True):
            shown = axes.imshow(
                image,
                cmap=COLOURS,
                vmin=low,
                vmax=high if high > low else low + 1,
                aspect=shape / (height / width),
                interpolation="nearest",
            )
            style.label_axes(axes, "column", "row")
            axes.label_outer()
            axes.tick_params(labelsize=9, colors=style.TEXT_COLOUR, length=2)
            axes.spines[:].set_visible(False)
            style.whole_ticks(axes.xaxis, 4)
            style.whole_ticks(axes.yaxis, 4)
        row[0].set_title(name, fontsize=11, color=style.TEXT_COLOUR, loc="left", pad=4)
    pad = 0.25 / figure.get_figwidth()
    bar = style.colour_bar(figure, panels.ravel().tolist(), shown, extend="both", pad=pad)
    style.label_axes(bar, "", "value (unit of the data)")
    return figure


def reconstructed_signals(arrays: Arrays) -> Figure:
    """Draw signals and their reconstructions as lines in the same axes, or rows of a table as bars:
    those of one channel two beside each other, or two of several with a row for each of the first
    channels.
    """
    count, channels, _, length = arrays["originals_numbers"].shape
    columns = arrays.get("column_names")
    x, y, width = ("position", "value", 1.2) if columns is None else ("", "scaled value", 0)
    rows = min(channels, MOST_CHANNELS) if channels > 1 else -(-count // 2)
    figure = style.new_figure(1.7 * rows + 0.6)
    panels = figure.subplots(rows, min(count, 2), sharex=True, sharey="row", squeeze=False)
    look = {"linewidth": width, "marker": "o" if length <= 30 or not width else "", "markersize": 3}
    for (row, column), axes in np.ndenumerate(panels):
        signal, channel = (column, row) if channels > 1 else (2 * row + column, 0)
        style.style_axes(axes, x=x, y=f"channel {channel + 1}" if channels > 1 else y)
        axes.label_outer()
        if signal >= count:
            axes.set_axis_off()
            continue
        original, made = (arrays[name][signal, channel, 0] for name in BOTH)
        axes.plot(original, color=style.TEXT_COLOUR, label="original", **look)
        axes.plot(made, color=RECONSTRUCTED, label="reconstruction", **look)
        style.whole_ticks(axes.xaxis, 6)
        if columns is not None:
            axes.bar(range(length), original, color="#d6d6d6")
            places = range(0, length, -(-length // NAMES))
            names = [style.shortened(columns[place], NAMES) for place in places]
            axes.set_xticks(places, names, rotation=90, fontsize=8)
    style.figure_legend(figure, panels[0, 0])
    return figure
