"""Figures of a study, each one function from its results; `FIGURES` says how the report shows them.

A new figure is a function `results -> Figure | None` in one of these modules and a row of the table below.
"""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from sweeps.results import Results, ranked
from vaeexp.figures.comparison import paired_differences
from vaeexp.figures.frames import best_number, label
from vaeexp.figures.gallery import interpolations, latent_map, latent_plane, traversals
from vaeexp.figures.latent import USED, component_classes, rate_per_dimension
from vaeexp.figures.parameters import LEAST_TRIALS, effects, importance
from vaeexp.figures.pictures import (
    best_evaluated,
    best_pictured,
    best_reconstructions,
    best_samples,
    beta_strip,
    component_samples,
)
from vaeexp.figures.progress import history, learning_curves
from vaeexp.figures.references import reference_curves, reference_interpolations, reference_strip
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


def _drawn_by(needed: str, words: str, find: Callable = best_pictured) -> Callable[[Results], str]:
    """A caption that names the run whose pictures are shown, the one that `find` gives."""

    def caption(results: Results) -> str:
        found = find(results, needed)
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
    "reference_strip": Plot(
        "References side by side",
        reference_strip,
        "The best setting of the search, then the references of the study file, each by its best run. Originals are "
        "validation images as the rows below them were given; values of rows below different originals are not comparable.",
        "No reference with pictures is there.",
    ),
    "reference_curves": Plot(
        "Rate and distortion of the references",
        reference_curves,
        "On validation images after each epoch, each row's best run. Rows share a panel only where data, binarisation and "
        "likelihood are the same, and have the same colour in both; a plain autoencoder has rate 0.",
        "No reference has finished an epoch.",
    ),
    "reference_interpolations": Plot(
        "Between two images: autoencoder and VAE",
        reference_interpolations,
        "Each row decodes codes on the straight line between those of two test images. What a VAE draws on the way tends to "
        "stay an image; a plain autoencoder has not been asked to make sense there.",
        "It takes a deterministic reference and a VAE that left interpolations.",
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
    "component_classes": Plot(
        "Classes served by each component",
        component_classes,
        _drawn_by(
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
        _drawn_by(
            "rate_per_dimension",
            "The divergence of the posterior of each latent dimension from the prior of that dimension, mean over test images. "
            f"What is at most {USED} nats carries next to nothing. The bars add up to the rate where the prior's dimensions are "
            "independent, and not under a mixture of joint Gaussians.",
            best_evaluated,
        ),
        "No run with a posterior that has a density was tested.",
    ),
    "interpolations": Plot(
        "Between two images",
        interpolations,
        _drawn_by(
            "latent_interpolations",
            "Three pairs of test images. On the first two rows codes on the way from one to the other are decoded, in a "
            "straight line and around the origin; the ends are reconstructions. Below them the pixels are cross-faded.",
        ),
        "No run that was tested left such pictures.",
    ),
    "traversals": Plot(
        "Along single dimensions",
        traversals,
        _drawn_by(
            "traversals",
            "A test image with one latent dimension changed at a time, the most active ones first: from below to above the "
            "mean of that dimension's aggregate posterior, in its standard deviations (sd).",
        ),
        "No run that was tested left such pictures.",
    ),
    "latent_map": Plot(
        "Map of the latent space",
        latent_map,
        _drawn_by(
            "embedding",
            "t-SNE of the posterior means of test images, in the colours of their classes where they have any; a name "
            "stands at its class's median. Neighbours on the map have similar codes; large distances say little.",
            best_evaluated,
        ),
        "No run that was tested left a map.",
    ),
    "latent_plane": Plot(
        "The plane of two latent dimensions",
        latent_plane,
        _drawn_by(
            "manifold",
            "What the codes of a plane decode to, at equal steps of probability: z₁ rises to the right, z₂ upwards.",
        ),
        "No run with two latent dimensions was tested.",
    ),
}
"""File name without ending → figure, in the order of the report."""
