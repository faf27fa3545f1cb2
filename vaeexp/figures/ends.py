"""Names at the ends of lines, right of the axes, where a legend would have to be looked up."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

__all__ = ["End", "end_places", "name_ends"]

LINE = 0.21
"""Inches from one name to the next, at the least."""


class End(NamedTuple):
    """Where a line ends, in the units of the data, and what stands there."""

    x: float
    y: float
    name: str
    colour: str


def name_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Names near the height at which the lines end, apart from each other, joined to them by thin lines.

    The limits and scales of the axes must be set. A line that ends outside of them is named at the edge.
    """
    points = axes.transAxes.inverted().transform(axes.transData.transform([(end.x, end.y) for end in ends]))
    heights = np.clip(points[:, 1], 0, 1)
    inches = axes.figure.get_size_inches()[1] * axes.get_subplotspec().get_position(axes.figure).height
    for end, start, height, place in zip(ends, points[:, 0], heights, end_places(heights, LINE / inches), strict=True):
        shared = {"transform": axes.transAxes, "clip_on": False, "color": end.colour}
        axes.plot([start, 1.015, 1.04], [height, height, place], linewidth=0.7, alpha=0.7, **shared)
        axes.text(1.05, place, end.name, fontsize=10, ha="left", va="center", **shared)


def end_places(wanted: np.ndarray, apart: float) -> np.ndarray:
    """Places as near to those wanted as keeps any two at least `apart`, in their order, within [0, 1] where they fit.

    Wanted places in increasing order minus multiples of `apart` must not decrease: that is isotonic regression, solved
    exactly by pooling neighbours (Barlow et al. 1972).
    """
    order = np.argsort(wanted, kind="stable")
    steps = apart * np.arange(len(wanted))
    pools: list[list[float]] = []
    for value in wanted[order] - steps:
        pools.append([float(value), 1.0])
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (left, many), (right, more) = pools[-2:]
            pools[-2:] = [[(left * many + right * more) / (many + more), many + more]]
    level = np.concatenate([np.full(int(count), value) for value, count in pools])
    room = max(0.0, 1.0 - (steps[-1] if len(steps) else 0.0))
    places = np.empty(len(wanted))
    places[order] = np.clip(level, 0.0, room) + steps
    return places
