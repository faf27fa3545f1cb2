"""Figures as SVG inside the page: their points know their trials."""

from io import StringIO

from matplotlib import rc_context
from matplotlib.figure import Figure

from vaeexp.plots.style import TRIALS, drawing


def has_trials(figure: Figure) -> bool:
    """Whether an artist of the figure says whose points it draws (`vaeexp.plots.style.mark_trials`)."""
    return any(str(artist.get_gid() or "").startswith(TRIALS) for artist in figure.findobj())


def inline_svg(figure: Figure, name: str) -> str:
    """Return a figure as an SVG element; the same figure gives the same text, and `name` keeps its ids its own."""
    file = StringIO()
    with drawing(figure), rc_context({"svg.hashsalt": name, "svg.fonttype": "path"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = file.getvalue()
    return text[text.index("<svg") :]
