"""Pictures of targets: images as they are, other arrays as tiles, lines or bars.

A picture is uint8 [H', W', C'], C' = 1 or 3, whatever the array. `Values.shown` gives the targets
that are black and white, or at the lower and the upper edge of a line or a bar. It is the same for
all pictures of a data set, so that originals and reconstructions compare.

Shapes: N arrays, C channels, H × W sub-pixels; a vector or a signal of F numbers is [C, 1, F].
"""

import math
from typing import TYPE_CHECKING

import numpy as np

from vaeexp.data.values import Values

if TYPE_CHECKING:
    from torch import Tensor

MOST_TILES = 16
"""Channels in a picture, the first ones."""
WIDTH = 96
"""Pixels of a line's picture from edge to edge, and of the picture of bars at least."""
HEIGHT = 64
"""Pixels of the picture of a line alone, and of bars, from edge to edge."""
ROOM = 0.1
"""Of lines and bars, the range above white and below black, in ranges from black to white."""
MARGIN = 4
"""Pixels between the frame and the first and last value of a line, or the bars."""
_LEAST_HEIGHT = 16  # of a line among many
_MOST_BARS = 288
_EDGE = 2  # pixels above the highest and below the lowest middle of a line
_THICKNESS = 1.5  # pixels of a line
_WHITE = 255
_INK = 30
_GREY = 120  # of bars
_FRAME = 215
_BETWEEN = 128  # of the lines between tiles


def to_pictures(targets: "Tensor", values: Values) -> np.ndarray:
    """Return pictures uint8 [..., H', W', C'] of targets [..., C, H, W] on any device.

    Images of one or three channels keep their size. Other channels are tiles side by side in one
    grey picture. Vectors and signals (H = 1) are lines, one below the other, and rows of a table
    are bars.
    """
    black, white = values.shown
    shares = (targets - black) / (white - black)
    kind = kind_of(values)
    if kind == "image":
        pixels = (shares.clamp(0, 1) * 255).round().byte().movedim(-3, -1)
        return np.asarray(pixels.cpu().numpy())
    # What a model that diverged decodes has no place; it is drawn as black.
    arrays = np.nan_to_num(shares.cpu().numpy().astype(np.float64), nan=0.0)
    flat = arrays.reshape(-1, *arrays.shape[-3:])[:, :MOST_TILES]
    if kind == "channels":
        drawn = _tiles(flat.clip(0, 1))
    elif kind == "signal":
        drawn = _lanes(_with_room(flat[:, :, 0]))
    else:
        base = _with_room(np.array(-black / (white - black)))
        drawn = _bars(_with_room(flat[:, 0, 0]), float(base))
    return drawn.reshape(*arrays.shape[:-3], *drawn.shape[1:])


def _with_room(shares: np.ndarray) -> np.ndarray:
    """Return places in [0, 1] of values of which 0 is black and 1 is white, with room beyond."""
    return ((shares + ROOM) / (1 + 2 * ROOM)).clip(0, 1)


def kind_of(values: Values) -> str:
    """Return what pictures show: image, channels, signal or table."""
    channels, height, _ = values.shape
    if values.table:
        return "table"
    if height == 1:
        return "signal"
    return "image" if channels in (1, 3) else "channels"


def picture_words(values: Values) -> str:
    """Say how a picture shows an array; empty for images."""
    channels, _, width = values.shape
    kind = kind_of(values)
    if kind == "image":
        return ""
    black, white = (f"{value:.3g}".replace("-", "−") for value in values.shown)
    if kind == "table":
        return f"a bar for each of the {width:,} columns, scaled values {black} to {white}"
    which = f"the first {MOST_TILES} of {channels:,}" if channels > MOST_TILES else f"{channels:,}"
    if kind == "channels":
        return f"{which} channels side by side, row by row, grey from {black} to {white}"
    lines = "a line" if channels == 1 else f"{which} channels as lines, one below the other,"
    return f"{lines} of {width:,} values from {black} to {white}"


def tile_columns(count: int, height: int, width: int) -> int:
    """Return the tiles in a row, so that all tiles together are near to square."""
    return min(count, math.ceil(math.sqrt(count * height / width)))


def _tiles(shares: np.ndarray) -> np.ndarray:
    """Return pictures [N, H', W', 1] of channels [N, C, H, W] in [0, 1] side by side, row by row,
    with lines of one pixel between them and a white edge around them.
    """
    number, count, height, width = shares.shape
    columns = tile_columns(count, height, width)
    rows = -(-count // columns)
    canvas = np.full((number, rows * (height + 1) + 1, columns * (width + 1) + 1), _BETWEEN)
    canvas[:, [0, -1]] = _WHITE
    canvas[:, :, [0, -1]] = _WHITE
    for place in range(rows * columns):
        top = place // columns * (height + 1) + 1
        left = place % columns * (width + 1) + 1
        tile = np.rint(shares[:, place] * 255) if place < count else _WHITE
        canvas[:, top : top + height, left : left + width] = tile
    return canvas.astype(np.uint8)[..., None]


def _lanes(places: np.ndarray) -> np.ndarray:
    """Return pictures [N, H', W', 1] of signals [N, C, F] in [0, 1]: a line for each channel, one
    below the other.
    """
    count = places.shape[1]
    height = max(_LEAST_HEIGHT, HEIGHT // count)
    lines = [_line(places[:, channel], height) for channel in range(count)]
    canvas = np.concatenate(lines, axis=1)
    canvas[:, ::height] = _FRAME
    return _framed(canvas)[..., None]


def _line(places: np.ndarray, height: int) -> np.ndarray:
    """Return uint8 [N, height, WIDTH] of signals [N, F] in [0, 1]: dark lines through their values,
    which lie at equal distances.
    """
    count = places.shape[1]
    across = np.linspace(MARGIN, WIDTH - 1 - MARGIN, count) if count > 1 else np.array([WIDTH / 2])
    # Between two pixel columns a line has the value of its straight way from value to value.
    edges = np.arange(MARGIN, WIDTH + 1 - MARGIN) - 0.5
    every = np.union1d(across, edges.clip(MARGIN, WIDTH - 1 - MARGIN))
    low, high = _extent(np.stack([np.interp(every, across, own) for own in places]), every, edges)
    # A pixel's ink is the share of its height that the line covers.
    middles = height - 1 - 2 * _EDGE
    upper = _EDGE + (1 - high) * middles + (1 - _THICKNESS) / 2
    lower = _EDGE + (1 - low) * middles + (1 + _THICKNESS) / 2
    rows = np.arange(height)[:, None]
    covered = np.minimum(rows + 1, lower[:, None]) - np.maximum(rows, upper[:, None])
    ink = np.rint(_WHITE - (_WHITE - _INK) * covered.clip(0, 1)).astype(np.uint8)
    return np.pad(ink, [(0, 0), (0, 0), (MARGIN, MARGIN)], constant_values=_WHITE)


def _extent(
    heights: np.ndarray, places: np.ndarray, edges: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the least and the largest of heights [N, P] at these places [P] within each column
    between two edges, both [N, columns]; what lies on an edge is in both columns.
    """
    last = len(edges) - 2
    low = np.full((len(heights), last + 1), np.inf)
    high = -low
    for side in ("left", "right"):
        columns = (np.searchsorted(edges, places, side) - 1).clip(0, last)
        np.minimum.at(low.T, columns, heights.T)
        np.maximum.at(high.T, columns, heights.T)
    return low, high


def _bars(places: np.ndarray, base: float) -> np.ndarray:
    """Return pictures [N, H', W', 1] of rows [N, F] in [0, 1]: a bar for each column, from the base
    to its value. Of more than `_MOST_BARS` columns, neighbours share a bar.
    """
    high = np.maximum(places, base)
    low = np.minimum(places, base)
    if (count := places.shape[1]) > _MOST_BARS:
        firsts = np.arange(_MOST_BARS) * count // _MOST_BARS
        high = np.maximum.reduceat(high, firsts, axis=1)
        low = np.minimum.reduceat(low, firsts, axis=1)
        count = _MOST_BARS
    wide = -(-(WIDTH - 2 * MARGIN) // count)
    tall = HEIGHT - 2 * MARGIN
    rows = np.arange(tall)[:, None]
    upper = ((1 - high) * tall).repeat(wide, axis=1)[:, None]
    lower = ((1 - low) * tall).repeat(wide, axis=1)[:, None]
    covered = (np.minimum(rows + 1, lower) - np.maximum(rows, upper)).clip(0, 1)
    if wide > 2:
        covered[:, :, wide - 1 :: wide] = 0  # a gap between two bars
    ink = np.rint(_WHITE - (_WHITE - _GREY) * covered).astype(np.uint8)
    ink[:, min(int((1 - base) * tall), tall - 1)] = _INK
    return _framed(np.pad(ink, [(0, 0), (MARGIN,) * 2, (MARGIN,) * 2], constant_values=_WHITE))[
        ..., None
    ]


def _framed(canvas: np.ndarray) -> np.ndarray:
    """Draw a thin frame along the edge of pictures [N, H, W]; return them."""
    canvas[:, [0, -1]] = _FRAME
    canvas[:, :, [0, -1]] = _FRAME
    return canvas
