"""The report's chapters in order, from the answer to the study file."""

from collections.abc import Callable
from typing import Literal, NamedTuple

from matplotlib.figure import Figure

from vaeexp.plots import CHAPTERS, PLOTS
from vaeexp.report.answer import answer, notices
from vaeexp.report.baselines import protocol_tables
from vaeexp.report.failures import failures
from vaeexp.report.markdown import escape, heading, picture
from vaeexp.report.provenance import provenance
from vaeexp.report.tables import (
    DESCRIBES,
    component_table,
    confirmed_table,
    edges,
    paired_tables,
    parameter_tables,
    ranked_table,
)
from vaeexp.results.study_summary import PROTOCOL
from vaeexp.results.study_view import StudyView
from vaeexp.words import join_and

HEROES = ("beta_strip", "baseline_strip", "rate_distortion", "history")
"""The picture under the answer is the first of these that the study has."""


def compose(view: StudyView) -> tuple[str, dict[str, Figure]]:
    """Return the report's markdown, and its figures by file name."""
    figures = {name: figure for name, plot in PLOTS.items() if (figure := plot.draw(view)) is not None}
    hero = next((name for name in HEROES if name in figures), None)
    blocks = [heading(escape(view.name), 1), *notices(view)]
    question = view.study.question
    if question:
        blocks.append(f"*Question:* {escape(question)}")
    blocks += [heading("Answer"), answer(view)]
    if hero:
        blocks += [picture(f"{hero}.png", PLOTS[hero].title), escape(PLOTS[hero].reading(view))]
    blocks += [*_tables(view), *protocol_tables(view), *_plots(view, figures, hero)]
    blocks += [*failures(view), *provenance(view)]
    return "\n\n".join(blocks) + "\n", {f"{name}.png": figure for name, figure in figures.items()}


def _tables(view: StudyView) -> list[str]:
    """Return the tables, each under its heading; a table with nothing to show is left out."""
    blocks = [
        heading("Tables"),
        "All trials with all their figures: [trials.csv](trials.csv). This report for programs: [summary.json](summary.json).",
    ]
    for section in SECTIONS:
        made = [block for block in section.make(view) if block]
        if made:
            line = protocol_line(view, section.figures)
            blocks += [heading(section.title, 3), section.introduction, *([line] if line else []), *made]
    return blocks


Figures = Literal["validation", "test", "other"]
"""Of which images the figures of a table are; `other` is no −ELBO at all."""


def protocol_line(view: StudyView, figures: Figures) -> str:
    """Return in a line what the figures of a table have in common; empty where the study has one protocol alone."""
    own = view.recorded("protocol")
    others = view.recorded("protocols").values()
    if all(other.get(name) == own.get(name) for other in others for name in PROTOCOL):
        return ""
    parts = [own[name] for name in ("data", "split") if own.get(name)]
    for name in ("binarisation", "likelihood", "posterior"):
        value = own.get(name) or view.fixed(name)
        # The protocol at the end of the report says in full what a binarisation means.
        parts += [f"{name} {str(value).split(' (')[0]}"] if value else []
    if figures != "other":
        parts.append("−ELBO at β = 1 with one posterior sample per image")
    samples = view.fixed("importance_samples")
    if figures == "test" and samples:
        parts.append(f"importance-weighted NLL with k = {samples:,}")
    return f"Protocol: {escape('; '.join(parts))}."


def _best_trials(view: StudyView) -> list[str]:
    near = edges(view)
    if not near:
        return [ranked_table(view)]
    words = f"The best trial has {join_and(near)} of the range that was searched; beyond it may be better."
    return [ranked_table(view), words]


def _confirmed(view: StudyView) -> list[str]:
    above = (
        "Above the first: the difference in test −ELBO with its 95 % interval (Welch's t, since no seeds are shared); the two "
        "can be told apart where that interval excludes 0."
    )
    return [confirmed_table(view), above if view.margins else ""]


class Section(NamedTuple):
    """A table of the report under its heading."""

    title: str
    introduction: str
    figures: Figures
    make: Callable[[StudyView], list[str]]


SECTIONS = (
    Section(
        "Best trials of the search",
        "On validation images, in nats per image, at each trial's best epoch. Each is a single run (n = 1), which gives no "
        "interval: differences among these rows may be chance.",
        "validation",
        _best_trials,
    ),
    Section(
        "Confirmed configurations",
        "Trained again with fresh seeds: mean ± 95 % interval over n = seeds (Student's t), in nats per image. The order is "
        "that of the mean validation −ELBO of these runs, so that nothing was selected on test.",
        "test",
        _confirmed,
    ),
    Section(
        "Matched pairs",
        "Runs that share configuration and seed and differ in one parameter alone; validation −ELBO, in nats per image.",
        "validation",
        paired_tables,
    ),
    Section("The search by parameter", DESCRIBES, "validation", parameter_tables),
    Section("Classes served by each component", "On test images, of the best mixture.", "other", component_table),
)


def _plots(view: StudyView, figures: dict[str, Figure], hero: str | None) -> list[str]:
    """Return the plots by chapter, each with how to read it; for a plot that is missing, why."""
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
