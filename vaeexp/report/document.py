"""The report's chapters in order, from the answer to the study file."""

from collections.abc import Callable

from matplotlib.figure import Figure

from sweeps.results import Results
from vaeexp.figures import CHAPTERS, FIGURES
from vaeexp.figures.frames import label, space
from vaeexp.report.answer import answer, notices
from vaeexp.report.latent import component_table
from vaeexp.report.markdown import escape, heading, picture
from vaeexp.report.provenance import provenance
from vaeexp.report.rows import protocol_rows
from vaeexp.report.tables import by_choice, by_components, confirmed_table, edges, outcomes, paired_tables, ranked_table

__all__ = ["compose"]

HEROES = ("beta_strip", "reference_strip", "rate_distortion", "history")
"""The picture under the answer is the first of these that the study has."""


DESCRIBES = "Trials of the search. The sampler prefers what looked good, so these rows describe and do not compare."


def compose(results: Results) -> tuple[str, dict[str, Figure]]:
    """The report's markdown, and its figures by file name."""
    figures = {name: figure for name, plot in FIGURES.items() if (figure := plot.draw(results)) is not None}
    hero = next((name for name in HEROES if name in figures), None)
    blocks = [heading(escape(results.name), 1), *notices(results)]
    question = results.study.get("question")
    if question:
        blocks.append(f"*Question:* {escape(question)}")
    blocks += [heading("Answer"), answer(results)]
    if hero:
        blocks += [picture(f"{hero}.png", FIGURES[hero].title), escape(FIGURES[hero].reading(results))]
    blocks += [*_tables(results), *protocol_rows(results), *_plots(results, figures, hero), *provenance(results)]
    return "\n\n".join(blocks) + "\n", {f"{name}.png": figure for name, figure in figures.items()}


def _tables(results: Results) -> list[str]:
    """Tables, each under its heading; those with nothing to show are left out."""
    blocks = [
        heading("Tables"),
        "All trials with all their figures: [trials.csv](trials.csv). This report for programs: [summary.json](summary.json).",
    ]
    for title, words, make in _table_list(results):
        content = [block for block in make() if block]
        if content:
            blocks += [heading(title, 3), *([words] if words else []), *content]
    return blocks


def _table_list(results: Results) -> list[tuple[str, str, Callable[[], list[str]]]]:
    near = edges(results)
    widen = (
        f"The best trial has {' and '.join(near)} of the range that was searched; beyond it may be better."
        if near
        else ""
    )
    choices = [name for name, parameter in space(results).items() if parameter["kind"] == "choice"]
    return [
        (
            "Best trials of the search",
            "On validation images, in nats per image, at each trial's best epoch.",
            lambda: [ranked_table(results), widen],
        ),
        (
            "Confirmed configurations",
            "Trained again with fresh seeds: mean ± 95 % interval over seeds, in nats per image. The order is that of the mean "
            "validation −ELBO of these runs, so that nothing was selected on test.",
            lambda: [confirmed_table(results)],
        ),
        *((f"By {escape(label(name))}", DESCRIBES, lambda name=name: [by_choice(results, name)]) for name in choices),
        ("By component count", DESCRIBES, lambda: [by_components(results)]),
        (
            "Classes served by each component",
            "On test images, of the best mixture.",
            lambda: [component_table(results)],
        ),
        (
            "Matched pairs",
            "Runs that share configuration and seed and differ in one parameter alone; validation −ELBO, in nats per image.",
            lambda: paired_tables(results),
        ),
        ("How the trials ended", "", lambda: [outcomes(results), escape(results.study.get("stopped") or "")]),
    ]


def _plots(results: Results, figures: dict[str, Figure], hero: str | None) -> list[str]:
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
                escape(plot.reading(results)),
            ]
    if missing:
        blocks += ["Not drawn:", "\n".join(missing)]
    return blocks
