"""Figures of a study, each one function from its results; each module says in `PLOTS` how the report shows its own.

A new figure is a function `results -> Figure | None` in one of these modules and an entry of its `PLOTS`.
"""

from vaeexp.plots import (
    baselines,
    distribution,
    gallery,
    latent,
    pairs,
    parameters,
    pictures,
    progress,
    schedule,
    sizes,
    surface,
    tradeoff,
)
from vaeexp.plots.style import Plot, save

__all__ = ["CHAPTERS", "FIGURES", "Plot", "save"]

CHAPTERS: dict[str, dict[str, Plot]] = {
    "Results": tradeoff.PLOTS | sizes.PLOTS,
    "The search": progress.PLOTS | schedule.PLOTS,
    "The parameters": parameters.PLOTS | surface.PLOTS | distribution.PLOTS,
    "Matched pairs": pairs.PLOTS,
    "Baselines": baselines.PLOTS,
    "What the models draw": pictures.PLOTS | pictures.CONTRAST | gallery.PLOTS,
    "The latent space": latent.PLOTS,
}
"""Chapter of the report → file name without ending → figure, in the order of the report."""

FIGURES: dict[str, Plot] = {name: plot for plots in CHAPTERS.values() for name, plot in plots.items()}
"""All of them, by file name without ending."""
