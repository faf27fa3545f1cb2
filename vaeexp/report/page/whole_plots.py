"""The plots of trials in the page; those that cut their axes stand there a second time with all trials inside."""

from collections.abc import Mapping

from matplotlib.figure import Figure

from vaeexp.plots import PLOTS
from vaeexp.plots.style import CUT, TRIALS, whole_axes
from vaeexp.report.page.inline import inline_drawings, inline_svg
from vaeexp.results.study_view import StudyView


def page_drawings(view: StudyView, figures: Mapping[str, Figure]) -> dict[str, str]:
    """Return figures, given by file name, as SVG for the page; behind a plot that cut its axes a hidden one of all trials."""
    drawings = inline_drawings(figures)
    for file, whole in _whole_figures(view, figures).items():
        drawing = inline_svg(whole, f"{file.partition('.')[0]}-all")
        named = drawing.replace("<svg ", '<svg role="img" aria-label="The same plot with all trials" ', 1)
        drawings[file] += f'<div class="whole" hidden>{named}</div>'
    return drawings


def _whole_figures(view: StudyView, figures: Mapping[str, Figure]) -> dict[str, Figure]:
    """Return, by file name, the plots of trials that have other axes when they show every trial."""
    found = {}
    for file, figure in figures.items():
        plot = PLOTS.get(file.partition(".")[0])
        if plot is None or figure.get_gid() != CUT or not _has_trials(figure):
            continue
        with whole_axes():
            whole = plot.draw(view, titled=False)
        if whole is not None and _limits(whole) != _limits(figure):
            found[file] = whole
    return found


def _has_trials(figure: Figure) -> bool:
    return any(str(artist.get_gid() or "").startswith(TRIALS) for artist in figure.findobj())


def _limits(figure: Figure) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    return [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes]
