"""Pictures side by side in a figure, with words around them."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vaeexp.plots.style import INK, new_figure

GAP = 2
"""White pixels between two pictures."""
SHOWN = 8
"""Reconstructions, and samples, per row of `drawing_rows`."""
HEADING = 20
"""Pixels for the words between the originals and the rows."""
ACROSS = 8.95
"""Inches for the words and the pictures of `drawing_rows` together."""


def tiles(pictures: np.ndarray) -> np.ndarray:
    """[R, K, H, W, C] → one picture with white gaps: [R·(H+gap) − gap, K·(W+gap) − gap, C]."""
    rows, across, height, width, channels = pictures.shape
    canvas = np.full((rows, across, height + GAP, width + GAP, channels), 255, dtype=np.uint8)
    canvas[:, :, :height, :width] = pictures
    joined = canvas.transpose(0, 2, 1, 3, 4).reshape(rows * (height + GAP), across * (width + GAP), channels)
    return joined[:-GAP, :-GAP]


def labelled(canvas: np.ndarray, tile: int, names: list[str]) -> Figure:
    """The picture with a name, where there are names, left of each row of tiles, each `tile` pixels high."""
    height, width = canvas.shape[:2]
    axes = picture_axes(canvas, margin=1.5 if names else 0.06, width=min(7.2, 6.6 * width / height))
    for place, name in enumerate(names):
        axes.text(-4, place * (tile + GAP) + tile / 2, name, **words(INK, "right", 11))
    return axes.figure


def drawing_rows(drawn: Sequence[Mapping[str, np.ndarray]], *, margin: float) -> tuple[Axes, int, list[float]]:
    """The originals, and below them a row for each of these files: reconstructions beside samples, under headings.

    Each needs originals, reconstructions and samples; the originals shown are those of the first. Returns the axes, with
    a margin of so many inches for words at the left, the height of a row and the middle of each row, in pixels.
    """
    originals = tiles(drawn[0]["originals"][None, :SHOWN])
    left = tiles(np.stack([files["reconstructions"][:SHOWN] for files in drawn]))
    right = tiles(np.stack([files["samples"][:SHOWN] for files in drawn]))
    top, tile = len(originals) + HEADING, len(originals) + GAP
    canvas = np.full((top + len(left), left.shape[1] + 4 * GAP + right.shape[1], left.shape[2]), 255, dtype=np.uint8)
    canvas[: len(originals), : originals.shape[1]] = originals
    canvas[top:, : left.shape[1]], canvas[top:, -right.shape[1] :] = left, right
    axes = picture_axes(canvas, margin=margin, width=ACROSS - margin)
    axes.text(-6, tile / 2, "originals", **words(INK, "right", 11))
    axes.text(0, top - 4, "reconstructions", **words(INK, "left", 11, "bottom"))
    axes.text(canvas.shape[1] - right.shape[1], top - 4, "samples of the prior", **words(INK, "left", 11, "bottom"))
    return axes, tile, [top + place * tile + tile / 2 for place in range(len(drawn))]


def picture_axes(canvas: np.ndarray, *, margin: float, width: float) -> Axes:
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


def words(colour: str, side: str, size: float = 10, height: str = "center") -> dict:
    """How words beside pictures look: keywords of `Axes.text`; `side` is their horizontal, `height` their vertical alignment."""
    return {"fontsize": size, "color": colour, "ha": side, "va": height}
