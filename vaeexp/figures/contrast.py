"""The span of the search in pictures: what its best, its median and its worst complete trial draw."""

import textwrap
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from sweeps.results import Results, ranked
from vaeexp.figures.frames import number, params, setting_text
from vaeexp.figures.pictures import STRIP, left_pictures, read_pictures
from vaeexp.figures.plot import Plot
from vaeexp.figures.style import INK, MUTED
from vaeexp.figures.tiles import drawing_rows, words

__all__ = ["PLOTS", "best_median_worst"]

LONGEST = 33
"""Characters of a setting beside a row."""


def best_median_worst(results: Results) -> Figure | None:
    """Reconstructions and samples of the best, the median and the worst complete trial of the search that left pictures.

    The median is the lower one of an even number. None with fewer than two such trials; of two, no median.
    """
    rows = _three(results)
    if len(rows) < 2:
        return None
    axes, tile, middles = drawing_rows([files for _, _, files in rows], margin=2.6)
    for (rank, row, _), middle in zip(rows, middles, strict=True):
        name = f"{rank}: trial {row['number']}, −ELBO {number(row['value'], 1)}"
        axes.text(-6, middle - 0.2 * tile, name, **words(INK, "right", 11 if len(name) <= 30 else 10))
        axes.text(-6, middle + 0.24 * tile, _main_setting(results, row), **words(MUTED, "right"))
    return axes.figure


def _three(results: Results) -> list[tuple[str, pd.Series, Mapping[str, np.ndarray]]]:
    """Rank in words, trial and pictures; trials whose file is damaged or lacks an array do not count."""
    trials = ranked(results)
    places = list(np.flatnonzero(left_pictures(trials)))
    while places:
        wanted = {"best": places[0], "median": places[(len(places) - 1) // 2], "worst": places[-1]}
        if len(places) == 2:
            del wanted["median"]
        found = [
            (rank, trials.iloc[place], read_pictures(trials["folder"].iloc[place])) for rank, place in wanted.items()
        ]
        damaged = {
            place for place, (_, _, files) in zip(wanted.values(), found, strict=True) if not files.keys() >= STRIP
        }
        if not damaged:
            return found if len(places) > 1 else []
        places = [place for place in places if place not in damaged]
    return []


def _main_setting(results: Results, row: pd.Series) -> str:
    """The searched parameters that come first in the study file, as many as fit."""
    values = params(results, row)
    names = list(values)
    while len(names) > 1 and len(setting_text({name: values[name] for name in names})) > LONGEST:
        names.pop()
    return textwrap.shorten(setting_text({name: values[name] for name in names}), LONGEST, placeholder=" …")


PLOTS: dict[str, Plot] = {
    "best_median_worst": Plot(
        "From the best to the worst trial",
        best_median_worst,
        "Complete trials of the search, ranked by validation −ELBO: the best, the median and the worst of those that left "
        "pictures. Beside each stand the parameters that come first in the study file. Trials that were pruned do not count.",
        "It takes two complete trials that left pictures.",
    ),
}
