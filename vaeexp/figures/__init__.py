"""Figures of a study, each one function from its results; `FIGURES` says how the report shows them.

A new figure is a function `results -> Figure | None` in one of these modules and a row of the table below.
"""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from sweeps.results import Results, ranked
from vaeexp.figures.comparison import paired_differences
from vaeexp.figures.frames import best_number, label
from vaeexp.figures.parameters import LEAST_TRIALS, effects, importance
from vaeexp.figures.pictures import best_pictured, best_reconstructions, best_samples, beta_strip, component_samples
from vaeexp.figures.progress import history, learning_curves
from vaeexp.figures.style import save
from vaeexp.figures.tradeoff import rate_distortion

__all__ = ["FIGURES", "Plot", "save"]


@dataclass(frozen=True)
class Plot:
    """A figure and the words that go with it."""

    title: str
    draw: Callable[[Results], Figure | None]
    """None when the study has too little for it."""
    caption: str | Callable[[Results], str]
    """How to read it, in a sentence or two."""
    absent: str
    """Why it may be missing."""

    def reading(self, results: Results) -> str:
        """The caption for this study."""
        return self.caption if isinstance(self.caption, str) else self.caption(results)


def _importance_caption(results: Results) -> str:
    return (
        f"How far the values of a parameter among the best trials differ from those among all {len(ranked(results))} complete "
        "trials (PED-ANOVA), as shares of the sum. With so few trials it is a rough guide, and pruned trials are left "
        "out: a parameter whose bad values were pruned early looks less important than it is."
        if len(ranked(results)) < 100
        else f"How far the values of a parameter among the best trials differ from those among all {len(ranked(results))} "
        "complete trials (PED-ANOVA), as shares of the sum. Pruned trials are left out: a parameter whose bad values were "
        "pruned early looks less important than it is."
    )


def _drawn_by(needed: str, words: str) -> Callable[[Results], str]:
    """A caption that names the run whose pictures are shown."""

    def caption(results: Results) -> str:
        found = best_pictured(results, needed)
        if found is None:
            return words
        row = found[0]
        source = row["of"] if row["replica"] else row["number"]
        run = f"a confirmation run of trial {source}" if row["replica"] else f"trial {source}"
        return (
            f"{words} Drawn by {run}{'' if source == best_number(results) else ', the best that left such pictures'}."
        )

    return caption


FIGURES: dict[str, Plot] = {
    "beta_strip": Plot(
        f"From low to high {label('beta')}",
        beta_strip,
        "One model per row, from low to high β: the best trial of each sixth of the range of log β. A low β tends to "
        "buy sharp reconstructions with a prior that fits badly, so that samples suffer; a high β blurs both. L is the latent size.",
        "No trial with pictures is there, or β was not searched.",
    ),
    "rate_distortion": Plot(
        "Rate and distortion",
        rate_distortion,
        "Each trial at its best epoch (large: complete); lower left is better, along a dashed line the −ELBO is the same. "
        "The grey line joins the trials that no other beats in both rate and distortion.",
        "No trial has finished an epoch.",
    ),
    "history": Plot(
        "Course of the search",
        history,
        "Each mark is a trial, in the order of the search, at its best epoch; the line is the best complete trial so far.",
        "No trial has finished an epoch.",
    ),
    "learning_curves": Plot(
        "Learning curves",
        learning_curves,
        "Validation −ELBO after each epoch. A square is where a trial was pruned, a cross where it failed; the black line is "
        "the best trial and its dot the epoch that counts.",
        "No trial has finished an epoch.",
    ),
    "importance": Plot(
        "Importance of the parameters",
        importance,
        _importance_caption,
        f"It takes {LEAST_TRIALS} complete trials of different value and two searched parameters to say anything.",
    ),
    "effects": Plot(
        "Effect of each parameter",
        effects,
        "Every trial in every panel, at its best epoch; pruned trials had fewer epochs, so they stand higher than they would "
        "have ended. A black bar is the median of the complete trials.",
        "No trial has finished an epoch.",
    ),
    "paired_differences": Plot(
        "Matched pairs",
        paired_differences,
        "Each point is a pair of runs with the same configuration and seed, a row per configuration; the diamond is the mean "
        "with its 95 % interval.",
        "There is no complete matched pair.",
    ),
    "best_reconstructions": Plot(
        "Reconstructions by the best model",
        best_reconstructions,
        _drawn_by("reconstructions", "Validation images and the means of p(x|z) with z from their posteriors."),
        "No run left pictures.",
    ),
    "best_samples": Plot(
        "Samples of the best model",
        best_samples,
        _drawn_by("samples", "Means of p(x|z) with z from the prior."),
        "No run left pictures.",
    ),
    "component_samples": Plot(
        "Samples per mixture component",
        component_samples,
        _drawn_by("component_samples", "One component of the prior per row, the heaviest first."),
        "No run with a mixture prior left pictures.",
    ),
}
"""File name without ending → figure, in the order of the report."""
