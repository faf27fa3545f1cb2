"""Plots of a study, each a function in one of these modules and an entry in `CHAPTERS`, which says
how the report shows it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from vaeexp.plots import comparisons, confirmed, latent, parameters, pictures, search, tradeoff
from vaeexp.plots.style import CUT, CUTS, framed, holding, save
from vaeexp.results.statements import Caption, Statement, say
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import row_names
from vaeexp.results.tested_settings import TestedSetting
from vaeexp.words import naming, of_data, parameter_label

__all__ = ["CHAPTERS", "PLOTS", "Plot", "save"]


@dataclass(frozen=True)
class Plot:
    """A plot and the words that go with it."""

    title: str
    make: Callable[[Any], Figure | None]
    """Draws the view of a study, or None where it has too little; where the plot `shows` a model,
    draws the arrays of its file.
    """
    caption: str | Callable[[Any], Caption]
    """Help in reading it, in a sentence or two, or what says it of what `make` draws."""
    absent: str
    """Why it may be missing."""
    shows: str | None = None
    """The array that a model must have left; the best that left it is drawn. None where no single
    model is drawn.
    """
    groups: Callable[[StudyView], Sequence[Sequence[TestedSetting]]] | None = None
    """Groups of configurations that were trained alike. The plot draws the first of each, and the
    caption names the others.
    """
    unfolded: bool = False
    """Whether a report shows it at once; the others stand folded, because they answer what few
    readers ask.
    """
    objectives: int | None = 1
    """Number of objectives of the studies that have it; None: of all. Two objectives rank no
    trials, and no model is the best.
    """

    def belongs_to(self, view: StudyView) -> bool:
        """Tell whether a study with these objectives has such a plot at all."""
        return self.objectives in (None, 1 if view.front is None else 2)

    def draw(self, view: StudyView, *, titled: bool = True) -> Figure | None:
        """Draw the plot of this study; None where it has too little for it, or another number of
        objectives.

        Args:
            titled: whether the title stands in the figure. In a report the heading above has it.
        """
        _, content = self._content(view)
        with holding(CUTS, []) as cuts, naming(view.noun):
            figure = None if content is None else self.make(content)
        if figure is None:
            return None
        figure.set_gid(CUT if cuts else None)
        return framed(figure, of_data(self.title) if titled else "")

    def _content(self, view: StudyView) -> tuple[pd.Series | None, Any]:
        """Return the run whose model is drawn, None where no single one is, and what `make` draws;
        None without it.
        """
        if not self.belongs_to(view):
            return None, None
        if self.shows is None:
            return None, view
        return view.best_with(self.shows) or (None, None)

    def reading(self, view: StudyView) -> list[str | Statement]:
        """Return the caption for this study in parts, with the run that drew where it draws one
        model; empty where nothing is there to draw.
        """
        run, content = self._content(view)
        if content is None:
            return []
        caption = self.caption if isinstance(self.caption, str) else self.caption(content)
        whole = [caption] if isinstance(caption, str) else caption
        parts = [of_data(part) if isinstance(part, str) else part for part in whole]
        if self.groups:
            parts += confirmed.drawn_once(self.groups(view))
        if run is not None:
            parts.append(_drawn_by(view, run))
        return parts


def _drawn_by(view: StudyView, row: pd.Series) -> Statement:
    """Say which trial drew, or a run of which, and whether it is the median of three or more."""
    names = row_names(row.to_frame().T)
    if not row["repeat"]:
        return say("plot.by_trial", names, trial=int(row["number"]))
    source = int(row["source_trial"])
    runs = next(own.median_first for own in view.confirmed if own.source_trial == source)
    median = len(runs) > 2 and runs.iloc[0]["number"] == row["number"]
    return say("plot.by_run", names, trial=source, runs=len(runs) if median else None)


def _by_name(chapters: Mapping[str, Sequence[Plot]]) -> dict[str, dict[str, Plot]]:
    """Name each plot after the function that draws it; its file has the same name."""
    return {
        title: {plot.make.__name__: plot for plot in plots} for title, plots in chapters.items()
    }


CHAPTERS = _by_name(
    {
        "Results": [
            Plot(
                "The front",
                tradeoff.front,
                tradeoff.front_caption,
                "No trial is complete.",
                unfolded=True,
                objectives=2,
            ),
            Plot(
                "The confirmed configurations, seed by seed",
                confirmed.confirmed_seeds,
                "Each dot is a run with a fresh seed, the diamond below the mean with its 95 % "
                "interval by Student's t (from three seeds on). A grey line joins runs of the "
                "same seed; a value with an arrow lies beyond the edge. Baselines stand below "
                "where their protocol is the same.",
                "No configuration was confirmed.",
                groups=confirmed.comparable,
                unfolded=True,
            ),
            Plot(
                "Rate and distortion",
                tradeoff.rate_distortion,
                tradeoff.rate_distortion_caption,
                "No trial has finished an epoch.",
                unfolded=True,
            ),
            Plot(
                "Active units",
                parameters.active_units,
                "Latent units whose posterior mean varies over validation images (Burda et al. "
                "2016), of each trial at its last epoch (large: complete), as shares where the "
                "latent size varies. That variance has no scale of its own under a learned "
                "prior; the tables of tested runs count dimensions by their rate.",
                "Neither β nor the latent size was searched, all units of all complete trials "
                "are in use, or no trial has finished an epoch.",
                objectives=None,
            ),
        ],
        "The search": [
            Plot(
                "Course of the search",
                search.history,
                "Each mark is a trial, in the order of the search, at its best epoch; the line is "
                "the best in the search so far.",
                "The pruner promotion made the trials wait for each other, so that their order "
                "says little, or none has finished an epoch.",
            ),
            Plot(
                "Learning curves",
                search.learning_curves,
                "Validation −ELBO after each epoch. A square is where a trial was pruned, a "
                "cross where it failed; the black line is the best in the search and its dot the "
                f"epoch that counts. Up to {search.MOST_NAMED} complete trials have names. Of "
                f"more than {search.MOST_CURVES} trials of one outcome, {search.MOST_CURVES} are "
                "drawn, evenly from the best to the worst.",
                "No trial has finished an epoch.",
            ),
            Plot(
                "Learning curves of the confirmed configurations",
                confirmed.confirmed_curves,
                "Validation −ELBO after each epoch, with fresh seeds: the median, and a band "
                "from the least to the largest seed. Curves that still fall at their end were "
                "stopped too early.",
                "No configuration was confirmed.",
            ),
        ],
        "The parameters": [
            Plot(
                "Trials along each parameter, at equal epochs",
                parameters.equal_epochs,
                parameters.equal_epochs_caption,
                "It takes two trials that reached one epoch.",
                unfolded=True,
            ),
        ],
        "Matched pairs": [
            Plot(
                "Differences within pairs",
                comparisons.paired_differences,
                "Each point is a pair of runs with the same configuration and seed, a row per "
                "configuration; the diamond is the mean with its 95 % interval.",
                "There is no complete matched pair.",
                unfolded=True,
            ),
        ],
        "Baselines": [
            Plot(
                "Baselines side by side",
                comparisons.baseline_strip,
                "The winner and other settings that baselines change, then the "
                "baselines of the study file, each by its median run, at its last epoch. Originals "
                "are validation images as the rows below them were given; values of rows below "
                "different originals are not comparable.",
                "No baseline with pictures is there.",
                groups=comparisons.best_and_baselines,
                unfolded=True,
                objectives=None,
            ),
        ],
        "What the models draw": [
            Plot(
                f"From low to high {parameter_label('beta')}",
                pictures.beta_strip,
                pictures.strip_caption,
                "It takes two trials of different β with pictures.",
                unfolded=True,
            ),
            Plot(
                "Reconstructions",
                pictures.best_reconstructions,
                pictures.reconstructions_caption,
                "No run left pictures.",
                shows="last_reconstructions",
            ),
            Plot(
                "Samples",
                pictures.best_samples,
                f"Means of p(x|z) with z from the prior. {pictures.LAST_EPOCH}",
                "No run left pictures.",
                shows="last_samples",
                unfolded=True,
            ),
            Plot(
                "Samples per mixture component",
                pictures.component_samples,
                latent.samples_caption,
                "No run with a mixture prior left pictures.",
                shows="component_samples",
            ),
            Plot(
                "Samples and their nearest training images",
                pictures.neighbours,
                pictures.neighbours_caption,
                "No run that was tested left such pictures.",
                shows="neighbour_images",
            ),
            Plot(
                "Between two images",
                latent.interpolations,
                "Pairs of test images, of different classes where they have any. On the first "
                "two rows codes on the way from one to the other are decoded, in a straight line "
                "and around the origin; the ends are reconstructions. Below them the two are "
                "mixed, pixel by pixel.",
                "No run that was tested left such pictures.",
                shows="latent_interpolations",
            ),
            Plot(
                "Along single dimensions",
                latent.traversals,
                "In each row a test image, of another class where they have any, with one latent "
                "dimension changed, the most active ones first: from below to above the mean of "
                "that dimension's aggregate posterior, in its standard deviations (sd).",
                "No run that was tested left such pictures.",
                shows="traversals",
            ),
            Plot(
                "Map of the latent space",
                latent.latent_map,
                "t-SNE of the posterior means of test images, in the colours of their classes "
                "where they have any. Neighbours on the map have similar codes; large distances "
                "say little.",
                "No run that was tested left a map.",
                shows="embedding",
            ),
            Plot(
                "The plane of two latent dimensions",
                latent.latent_plane,
                "What the codes of a plane decode to, at equal steps of probability: z₁ rises to "
                "the right, z₂ upwards.",
                "No run with two latent dimensions was tested.",
                shows="manifold",
            ),
        ],
        "The latent space": [
            Plot(
                "Aggregate posterior against prior",
                latent.aggregate_posterior,
                "Densities of the codes of test images, z ~ q(z|x), and of samples of the prior, "
                "in the dimensions with the highest rate. Where the two differ, samples of the "
                "prior are decoded from codes that no image has.",
                "No run that was tested left codes.",
                shows="aggregate_codes",
            ),
            Plot(
                "Rate of each latent dimension",
                latent.rate_per_dimension,
                latent.rate_caption,
                "Every dimension carries more than the threshold, or no run with a posterior "
                "that has a density was tested.",
                shows="rate_per_dimension",
            ),
        ],
    }
)
"""Chapter of the report → file name without ending → plot, in the order of the report."""
PLOTS = dict(chain.from_iterable(plots.items() for plots in CHAPTERS.values()))
"""All of them, by file name without ending."""
