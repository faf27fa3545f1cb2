"""The report's chapters in order, from the answer to the study file."""

from collections.abc import Callable
from typing import Literal

from matplotlib.figure import Figure

from sweeps.results.rankings import Results
from vaeexp.plots import CHAPTERS, FIGURES
from vaeexp.report.answer import answer, notices
from vaeexp.report.baselines import protocol_rows
from vaeexp.report.failures import failures
from vaeexp.report.markdown import escape, heading, picture
from vaeexp.report.provenance import provenance
from vaeexp.report.tables import (
    DESCRIBES,
    component_table,
    confirmed_table,
    edges,
    group_tables,
    paired_tables,
    ranked_table,
)
from vaeexp.results.frames import fixed, recorded
from vaeexp.results.margins import margins
from vaeexp.results.study_summary import PROTOCOL
from vaeexp.results.study_view import StudyView
from vaeexp.words import join_and

HEROES = ("beta_strip", "baseline_strip", "rate_distortion", "history")
"""The picture under the answer is the first of these that the study has."""

Make = Callable[[Results], list[str]]
Figures = Literal["validation", "test", "other"]


def compose(results: Results) -> tuple[str, dict[str, Figure]]:
    """The report's markdown, and its figures by file name."""
    view = StudyView(results)
    figures = {name: figure for name, plot in FIGURES.items() if (figure := plot.draw(view)) is not None}
    hero = next((name for name in HEROES if name in figures), None)
    blocks = [heading(escape(results.name), 1), *notices(results)]
    question = results.study.question
    if question:
        blocks.append(f"*Question:* {escape(question)}")
    blocks += [heading("Answer"), answer(results)]
    if hero:
        blocks += [picture(f"{hero}.png", FIGURES[hero].title), escape(FIGURES[hero].reading(view))]
    blocks += [*_tables(results), *protocol_rows(results), *_plots(view, figures, hero)]
    blocks += [*failures(results), *provenance(results)]
    return "\n\n".join(blocks) + "\n", {f"{name}.png": figure for name, figure in figures.items()}


def _tables(results: Results) -> list[str]:
    """Tables, each under its heading; a table with nothing to show is left out."""
    blocks = [
        heading("Tables"),
        "All trials with all their figures: [trials.csv](trials.csv). This report for programs: [summary.json](summary.json).",
    ]
    for title, words, figures, make in SECTIONS:
        made = [block for block in make(results) if block]
        if made:
            line = protocol_line(results, figures)
            blocks += [heading(title, 3), words, *([line] if line else []), *made]
    return blocks


def protocol_line(results: Results, figures: Figures) -> str:
    """What the figures of a table have in common, in a line; empty where the study has one protocol only.

    Args:
        results: the study.
        figures: of which images they are; of no −ELBO at all is `other`.
    """
    if not _references_differ(results):
        return ""
    own = recorded(results, "protocol")
    parts = [own[name] for name in ("data", "split") if own.get(name)]
    for name in ("binarisation", "likelihood", "posterior"):
        value = own.get(name) or fixed(results, name)
        # What a binarisation means in full stands with the protocol at the end of the report.
        parts += [f"{name} {str(value).split(' (')[0]}"] if value else []
    if figures != "other":
        parts.append("−ELBO at β = 1 with one posterior sample per image")
    samples = fixed(results, "importance_samples")
    if figures == "test" and samples:
        parts.append(f"importance-weighted NLL with k = {samples:,}")
    return f"Protocol: {escape('; '.join(parts))}."


def _references_differ(results: Results) -> bool:
    own = recorded(results, "protocol")
    return any(
        given.get(name) != own.get(name) for given in recorded(results, "protocols").values() for name in PROTOCOL
    )


def _best_trials(results: Results) -> list[str]:
    near = edges(results)
    widen = (
        f"The best trial has {join_and(near)} of the range that was searched; beyond it may be better." if near else ""
    )
    return [ranked_table(results), widen]


def _confirmed(results: Results) -> list[str]:
    above = (
        "Above the first: the difference in test −ELBO with its 95 % interval (Welch's t, since no seeds are shared); the two "
        "can be told apart where that interval excludes 0."
    )
    return [confirmed_table(results), above if margins(results) else ""]


SECTIONS: tuple[tuple[str, str, Figures, Make], ...] = (
    (
        "Best trials of the search",
        "On validation images, in nats per image, at each trial's best epoch. Each is a single run (n = 1), which gives no "
        "interval: differences among these rows may be chance.",
        "validation",
        _best_trials,
    ),
    (
        "Confirmed configurations",
        "Trained again with fresh seeds: mean ± 95 % interval over n = seeds (Student's t), in nats per image. The order is "
        "that of the mean validation −ELBO of these runs, so that nothing was selected on test.",
        "test",
        _confirmed,
    ),
    (
        "Matched pairs",
        "Runs that share configuration and seed and differ in one parameter alone; validation −ELBO, in nats per image.",
        "validation",
        paired_tables,
    ),
    ("The search by parameter", DESCRIBES, "validation", group_tables),
    (
        "Classes served by each component",
        "On test images, of the best mixture.",
        "other",
        lambda results: [component_table(results)],
    ),
)
"""Title, words, of what the figures are, and what makes the blocks."""


def _plots(view: StudyView, figures: dict[str, Figure], hero: str | None) -> list[str]:
    """Plots by chapter with how to read them; why one is missing, where it is."""
    blocks, missing = [heading("Plots")], []
    for chapter, plots in CHAPTERS.items():
        shown = {name: plot for name, plot in plots.items() if name in figures and name != hero}
        missing += [
            f"- {escape(plot.title)}: {escape(plot.absent)}" for name, plot in plots.items() if name not in figures
        ]
        blocks += [heading(chapter, 3)] if shown else []
        for name, plot in shown.items():
            blocks += [
                heading(escape(plot.title), 4),
                picture(f"{name}.png", plot.title),
                escape(plot.reading(view)),
            ]
    if missing:
        blocks += ["Not drawn:", "\n".join(missing)]
    return blocks
