"""The report from the answer to the study file: the order of its chapters, and what is folded away."""

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from vaeexp.plots import CHAPTERS, PLOTS, Plot
from vaeexp.report.answer import all_findings, answer, answer_of, notices
from vaeexp.report.baselines import protocol_tables
from vaeexp.report.checks import trust_chapter
from vaeexp.report.closing import SHEET, contact_sheet, failures, provenance
from vaeexp.report.folder import png, write_folder
from vaeexp.report.headline import headline
from vaeexp.report.markup import contents, escape, folded, heading, picture
from vaeexp.report.page.inline import page_drawings
from vaeexp.report.page.trial_rows import study_data
from vaeexp.report.sentences import sentence, words
from vaeexp.report.summary import curves_csv, per_image_npz, summary_json, trials_csv
from vaeexp.report.tables import front_chapter, table_chapter
from vaeexp.results.statements import Statement
from vaeexp.results.study_view import StudyView
from vaeexp.words import join_and

HEROES = ("front", "beta_strip", "baseline_strip", "rate_distortion", "history")
"""The picture under the answer is the first of these that the study has."""
MOST_UNFOLDED = 8
"""Pictures that stand open at most, with the one under the answer."""


def write_report(view: StudyView, *, reports: Path, html: bool = True) -> Path:
    """Write the report of a study in any state and return the path of its README.md. The same study gives the same bytes.

    Args:
        view: the study.
        reports: folder that gets `<study>/`.
        html: whether to write `report.html`, too: the report as one file, with pictures and tables inside, and what one can look at in it.

    Raises:
        UserError: the folder cannot be written.
    """
    text, figures = compose(view)
    files = {name: png(figure) for name, figure in figures.items()}
    files |= {"trials.csv": trials_csv(view).encode(), "curves.csv": curves_csv(view).encode()}
    files["summary.json"] = summary_json(view, plot_statements(view, figures)).encode()
    files |= {"per_image.npz": images} if (images := per_image_npz(view)) else {}
    drawings = page_drawings(view, figures) if html else {}
    data = partial(study_data, view) if html else None
    return write_folder(reports / view.name, text, files, html=html, drawings=drawings, data=data)


def compose(view: StudyView) -> tuple[str, dict[str, Figure]]:
    """Return the report's markdown, and its figures by file name."""
    figures = {
        name: figure for name, plot in plots_of(view).items() if (figure := plot.draw(view, titled=False)) is not None
    }
    hero = next((name for name in HEROES if name in figures), None)
    question = [f"*Question:* {escape(view.study.question)}"] if view.study.question else []
    opening = [heading(escape(view.name), 1), *question, *notices(view), heading("Answer"), answer(view)]
    opening += folded("All findings", [all_findings(view)])
    opening += headline(view)
    if hero:
        opening += [heading(escape(PLOTS[hero].title), 3), *_shown(view, hero, figures)]
    rest = [
        *trust_chapter(answer_of(view).checks),
        *front_chapter(view),
        *table_chapter(view),
        *protocol_tables(view),
        *_plots(view, figures, hero),
    ]
    sheet = contact_sheet(view)
    rest += [*failures(view), *provenance(view, sheet)]
    blocks = [*opening, heading("Contents"), contents(rest), *rest]
    files = {f"{name}.png": figure for name, figure in figures.items()} | ({SHEET: sheet} if sheet else {})
    return "\n\n".join(blocks) + "\n", files


def plots_of(view: StudyView) -> dict[str, Plot]:
    """Return the plots of studies with as many objectives, by file name without ending."""
    return {name: plot for name, plot in PLOTS.items() if plot.belongs_to(view)}


def _shown(view: StudyView, name: str, figures: dict[str, Figure]) -> list[str]:
    """Return a plot and how to read it."""
    return [picture(f"{name}.png", PLOTS[name].title, figures[name]), escape(reading(PLOTS[name], view))]


def reading(plot: Plot, view: StudyView) -> str:
    """Return the caption of a plot in words."""
    return " ".join(part if isinstance(part, str) else sentence(part) for part in plot.reading(view))


def plot_statements(view: StudyView, files: Collection[str]) -> list[Statement]:
    """Return what a report says of the plots of these files, and how many it does not draw."""
    plots = plots_of(view)
    missing = [name for name in plots if f"{name}.png" not in files]
    drawn = [plot for name, plot in plots.items() if name not in missing]
    said = [part for plot in drawn for part in plot.reading(view) if isinstance(part, Statement)]
    return [*said, *_missing(missing)]


def _missing(names: Sequence[str]) -> list[Statement]:
    values = {"count": len(names), "plots": tuple(names)}
    return [Statement(id="plot.missing", values=values)] if names else []


def _plots(view: StudyView, figures: dict[str, Figure], hero: str | None) -> list[str]:
    """Return the plots by chapter, the open ones first; for a plot that is missing, why."""
    wanted = [name for name, plot in PLOTS.items() if plot.unfolded and name in figures and name != hero]
    unfolded = set(wanted[: MOST_UNFOLDED - (hero is not None)])
    blocks = [heading("Plots")]
    for chapter, plots in CHAPTERS.items():
        shown = [name for name in plots if name in figures and name != hero]
        blocks += [heading(chapter, 3)] if shown else []
        for name in (name for name in shown if name in unfolded):
            blocks += [heading(escape(PLOTS[name].title), 4), *_shown(view, name, figures)]
        rest = [name for name in shown if name not in unfolded]
        inside = [block for name in rest for block in _with_title(view, name, figures, alone=len(rest) == 1)]
        blocks += folded(join_and([PLOTS[name].title for name in rest]), inside) if rest else []
    missing = {name: plot for name, plot in plots_of(view).items() if name not in figures}
    lines = "\n".join(f"- {escape(plot.title)}: {escape(plot.absent)}" for plot in missing.values())
    return [*blocks, *(part for said in _missing([*missing]) for part in folded(words(said), [lines]))]


def _with_title(view: StudyView, name: str, figures: dict[str, Figure], *, alone: bool) -> list[str]:
    """Return a folded plot under its title; one that is alone has its title in the line that opens it."""
    title = [] if alone else [heading(escape(PLOTS[name].title), 4)]
    return [*title, *_shown(view, name, figures)]
