"""Marks of trials that were paused and promoted: a shade for each number of epochs, because only trials of equally many can be compared."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes

from sweeps.results.found_trials import PAUSED
from vaeexp.plots import style
from vaeexp.results.parameters import SearchedParameter
from vaeexp.results.tables import row_names

_PALEST, _DARKEST = 0.35, 0.9
"""Of the colour map, which is even in lightness: the palest is seen on white, and none is as dark as text."""


def scatter_by_epochs(axes: Axes, x: pd.Series, y: pd.Series, trials: pd.DataFrame, *, size: float) -> None:
    """Draw trials as points, those that were paused the darker the more epochs they have, with a label for each number of epochs.

    Call it after the limits are set.
    """
    paused = trials["state"].isin(PAUSED)
    levels = sorted(trials.loc[paused, "epochs"].astype(int).unique())
    shades = colormaps["YlOrBr"](np.linspace(_PALEST, _DARKEST, len(levels)))
    marks: list[tuple[str, pd.Series, Any, str]] = [
        ("pruned", paused & (trials["epochs"] == epochs), tuple(shade), f"epoch {epochs:,}")
        for epochs, shade in zip(levels, shades, strict=True)
    ]
    names = row_names(trials)
    marks += [(state, trials["state"] == state, None, state) for state in ("failed", "running", "complete")]
    for state, chosen, colour, words in marks:
        if chosen.any():
            label = f"{words} ({int(chosen.sum()):,})"
            style.scatter(axes, x[chosen], y[chosen], names[chosen], state, size=size, label=label, colour=colour)


def promoted_below(
    trials: pd.DataFrame, parameter: SearchedParameter, judged: pd.Series, left_out: Sequence[str]
) -> list[str]:
    """Return for each choice of a parameter how many of these trials have it and were promoted: `27 of 64`.

    `left_out` are choices whose trials are not among `trials`.
    """
    places, beyond = parameter.places(trials), judged.to_numpy(bool)
    counts = [
        (int((places == place).sum()), int((beyond & (places == place)).sum())) for place in range(len(parameter.texts))
    ]
    return [
        "left out" if text in left_out else f"{promoted:,} of {count:,}"
        for text, (count, promoted) in zip(parameter.texts, counts, strict=True)
    ]
