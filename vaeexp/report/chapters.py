"""The report from the answer to the study file: the order of its chapters, and what is folded
away.
"""

from collections.abc import Mapping
from functools import partial
from itertools import chain
from pathlib import Path

from matplotlib.figure import Figure

from sweeps import run_pages
from vaeexp.plots import CHAPTERS, PLOTS, Plot
from vaeexp.report.answer import all_findings, answer, answer_of, notices, trust_chapter
from vaeexp.report.baselines import protocol_tables
from vaeexp.report.closing import (
    SHEET,
    contact_sheet,
    failures,
    picture_sentence,
    provenance,
)
from vaeexp.report.folder import png, write_folder
from vaeexp.report.headline import headline
from vaeexp.report.markup import contents, escape, folded, heading, picture
from vaeexp.report.page.document import page
from vaeexp.report.page.inline import page_drawings
from vaeexp.report.page.trial_rows import study_data
from vaeexp.report.sentences import Block, bullets, said_in, sentence, words, written
from vaeexp.report.stages import stages_chapter
from vaeexp.report.summary import curves_csv, per_image_npz, summary_json, trials_csv
from vaeexp.report.tables import front_chapter, table_chapter
from vaeexp.results.statements import Statement, say
from vaeexp.results.study_view import StudyView, in_words_of_data
from vaeexp.words import join_and, of_data

OF_PICTURES = "What the models draw"
"""The chapter of pictures, which says how a picture shows an array that is no image."""


@in_words_of_data
def write_report(
    view: StudyView, *, reports: Path, html: bool = True, tracking: str | None = None
) -> Path:
    """Write the report of a study in any state and return the path of its README.md. The same study
    gives the same bytes.

    Args:
        view: the study.
        reports: folder that gets `<study>/`.
        html: whether to write `report.html`, too: the report as one file, with pictures and tables
            inside, and what one can look at in it.
        tracking: address of MLflow's store; the page leads to the runs of a server.

    Raises:
        UserError: the folder cannot be written.
    """
    text, figures, told = compose(view)
    files = {name: png(figure) for name, figure in figures.items()}
    files |= {"trials.csv": trials_csv(view).encode(), "curves.csv": curves_csv(view).encode()}
    files["summary.json"] = summary_json(view, told).encode()
    if images := per_image_npz(view):
        files["per_image.npz"] = images
    made = (
        partial(
            page,
            drawings=page_drawings(view, figures),
            data=partial(study_data, view, run_pages=run_pages(tracking, view.study)),
        )
        if html
        else None
    )
    return write_folder(reports / view.results.name, text, files, made)


@in_words_of_data
def compose(view: StudyView) -> tuple[str, dict[str, Figure], dict[str, list[Statement]]]:
    """Return the report's markdown, its figures by file name, and what it says in tables, below
    plots and of its making.
    """
    drawn = {name: plot.draw(view, titled=False) for name, plot in plots_of(view).items()}
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    hero = hero_of(view, figures)
    question = view.study.question
    opening = [
        heading(escape(view.results.name), 1),
        f"*Question:* {escape(question)}" if question else "",
        *notices(view),
        heading("Answer"),
        answer(view),
        *folded("All findings", [all_findings(view)]),
    ]
    sheet = contact_sheet(view)
    notes = headline(view)
    tables = [*front_chapter(view), *table_chapter(view), *protocol_tables(view)]
    ends = failures(view)
    made = provenance(view, sheet)
    rest = [
        *stages_chapter(view),
        *trust_chapter(answer_of(view).checks),
        *tables,
        *_plots(view, figures, hero),
        *ends,
        *made,
    ]
    first = _shown(view, hero, figures, level=3) if hero else []
    blocks = [*opening, *notes, *first, heading("Contents"), contents(rest), *rest]
    files = {f"{name}.png": figure for name, figure in figures.items()} | (
        {SHEET: sheet} if sheet else {}
    )
    below = chain.from_iterable(PLOTS[name].reading(view) for name in figures)
    told = {
        "tables": said_in([*notes, *tables, *ends]),
        "plots": said_in([*below, *_missing(view, figures)]),
        "method": said_in(made),
    }
    return "\n\n".join(filter(None, map(written, blocks))) + "\n", files, told


def hero_of(view: StudyView, figures: Mapping[str, Figure]) -> str | None:
    """Return the name of the plot that answers what the study compares, to stand under the answer;
    None where it compares nothing, or has no such plot yet.
    """
    changed = [spec.get("settings") or {} for spec in view.plan.baseline_specs.values()]
    wanted = ["front", "paired_differences"]
    if any("beta" in settings for settings in changed):
        wanted.append("rate_distortion")
    elif changed:
        wanted.append("confirmed_seeds")
    return next((name for name in wanted if name in figures), None)


def plots_of(view: StudyView) -> dict[str, Plot]:
    """Return the plots of studies with as many objectives, by file name without ending."""
    return {name: plot for name, plot in PLOTS.items() if plot.belongs_to(view)}


def _shown(view: StudyView, name: str, figures: dict[str, Figure], level: int) -> list[str]:
    """Return a plot under its title, and how to read it."""
    plot = PLOTS[name]
    title = of_data(plot.title)
    shown = picture(f"{name}.png", title, figures[name])
    return [heading(escape(title), level), shown, escape(reading(plot, view))]


def reading(plot: Plot, view: StudyView) -> str:
    """Return the caption of a plot in words."""
    return " ".join(
        part if isinstance(part, str) else sentence(part) for part in plot.reading(view)
    )


def _missing(view: StudyView, figures: Mapping[str, Figure]) -> list[Statement]:
    """Say which plots of such a study are not drawn; empty where all of them are."""
    names = tuple(name for name in plots_of(view) if name not in figures)
    return [say("plot.missing", count=len(names), plots=names)] if names else []


def _plots(view: StudyView, figures: dict[str, Figure], hero: str | None) -> list[Block]:
    """Return the plots by chapter, the open ones first; for a plot that is missing, why."""
    blocks: list[Block] = [heading("Plots")]
    for chapter, plots in CHAPTERS.items():
        shown = [name for name in plots if name in figures and name != hero]
        blocks += [heading(chapter, 3)] if shown else []
        blocks += [picture_sentence(view)] if shown and chapter == OF_PICTURES else []
        for name in shown:
            blocks += _shown(view, name, figures, level=4) if PLOTS[name].unfolded else []
        rest = [name for name in shown if not PLOTS[name].unfolded]
        inside = list(chain.from_iterable(_shown(view, name, figures, level=4) for name in rest))
        if rest:
            # One that is alone has its title in the line that opens it.
            blocks += folded(
                of_data(join_and([PLOTS[name].title for name in rest])),
                inside[1:] if len(rest) == 1 else inside,
            )
    for said in _missing(view, figures):
        missing = [PLOTS[name] for name in said.values["plots"]]
        lines = [escape(of_data(f"{plot.title}: {plot.absent}")) for plot in missing]
        blocks += folded(words(said), [bullets(lines)])
    return blocks
