"""Figures as SVG inside the page: real text, colours of the page, and points that know their
trials.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from io import StringIO
from itertools import chain
from typing import Any
from xml.etree import ElementTree

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist, getp, setp
from matplotlib.axes import Axes
from matplotlib.backends.backend_mixed import MixedModeRenderer
from matplotlib.backends.backend_svg import RendererSVG
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.path import Path
from matplotlib.text import Text

from vaeexp.plots import PLOTS, Plot
from vaeexp.plots.style import (
    CUT,
    LINE,
    MARGIN,
    MOST_MARKED,
    TITLE,
    TRIALS,
    WHOLE,
    drawing,
    holding,
)
from vaeexp.report.markup import PER_INCH
from vaeexp.results.study_view import StudyView

LEAST_TEXT = 10
"""CSS pixels of the smallest text. A screen that is too narrow for it scrolls the plot sideways."""
DENSITY = 150
"""Pixels in an inch of many points as one picture."""
POINTS = 72
"""Units of the SVG in an inch."""
COLOURS = {
    "#222222": "ink",
    "#6f6f6f": "soft",
    "#ffffff": "paper",
    "#e6e6e6": "grid",
    "#b0b0b0": "axis",
    "#c9c9c9": "axis",
    "#0072b2": "blue",
    "#e69f00": "orange",
    "#d55e00": "red",
    "#56b4e9": "sky",
    "#cc79a7": "pink",
    "#009e73": "green",
    "#007a5a": "best",
}
"""Colour of `vaeexp.plots.style` → the custom property of page.css that stands in its place, so
that plots follow the page.
"""
KEPT = "kept-colours"
"""Id of the group of an artist that keeps its colours."""
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LENGTHS = ("d", "x", "y", "width", "height", "transform")


def inline_drawings(figures: Mapping[str, Figure]) -> dict[str, str]:
    """Return figures, given by file name, as SVG elements that may stand in one page."""
    return {file: inline_svg(figure, file.partition(".")[0]) for file, figure in figures.items()}


def inline_svg(figure: Figure, name: str) -> str:
    """Return a figure without its title as an SVG element, whose ids begin with `name`.

    Each point or line of an artist that `mark_trials` marked has the attribute `data-row`. The same
    figure gives the same text.
    """
    root = ElementTree.fromstring(_drawn(figure, name))
    _make_plain(root)
    _name_ids(root, name)
    root.attrib = _frame(figure)
    return ElementTree.tostring(root, encoding="unicode")


def _frame(figure: Figure) -> dict[str, str]:
    """Return the attributes of the element: the part of the figure inside its white frame, and the
    widths at which it is legible.
    """
    width, height = (POINTS * float(size) for size in figure.get_size_inches())
    title = _title(figure)
    edge = POINTS * MARGIN
    top = edge + (0.0 if title is None else POINTS * (TITLE + LINE * title.get_text().count("\n")))
    width = width - 2 * edge
    height = height - top - edge
    sizes = [
        float(text.get_fontsize())
        for text in figure.findobj(Text)
        if text.get_text().strip() and text is not title
    ]
    least = round(width * LEAST_TEXT / min(sizes, default=LEAST_TEXT))
    natural = round(width * PER_INCH / POINTS)
    return {
        "viewBox": f"{edge:.2f} {top:.2f} {width:.2f} {height:.2f}",
        "style": f"min-width:{min(least, natural)}px;max-width:{natural}px",
    }


def _title(figure: Figure) -> Text | None:
    return next((text for text in figure.texts if text.get_gid() == "title"), None)


def _drawn(figure: Figure, name: str) -> str:
    """Return what matplotlib writes of a figure."""
    width, height = map(float, figure.get_size_inches())
    file = StringIO()
    options: dict[Any, Any] = {
        "svg.hashsalt": name,
        "svg.fonttype": "none",
        "image.composite_image": False,
    }
    with drawing(figure), _as_of_page(figure), rc_context(options):
        vector = _RowRenderer(
            POINTS * width, POINTS * height, file, image_dpi=DENSITY, metadata={"Date": None}
        )
        renderer: Any = MixedModeRenderer(figure, width, height, DENSITY, vector)
        figure.draw(renderer)
        renderer.finalize()
    return file.getvalue()


@contextmanager
def _as_of_page(figure: Figure) -> Iterator[None]:
    """Change a figure for the length of a `with` block: no title, no white ground, pictures pixel
    by pixel, many points as one picture.
    """
    title = _title(figure)
    changes: list[tuple[Artist, str, Any]] = [(figure, "dpi", POINTS)]
    if title is not None:
        changes += [(title, "visible", False)]
    grounds = [figure.patch, *(axes.patch for axes in figure.axes)]
    changes += [
        (patch, "visible", False) for patch in grounds if patch.get_facecolor()[:3] == (1, 1, 1)
    ]
    changes += [(image, "interpolation", "none") for image in figure.findobj(AxesImage)]
    changes += [
        (each, "rasterized", True)
        for each in figure.findobj(Collection)
        if _size(each) > MOST_MARKED
    ]
    changes += [(text, "gid", KEPT) for text in _over_colours(figure)]
    before = [(artist, key, getp(artist, key)) for artist, key, _ in changes]
    for artist, key, value in changes:
        setp(artist, **{key: value})
    try:
        yield
    finally:
        for artist, key, value in before:
            setp(artist, **{key: value})


def _over_colours(figure: Figure) -> list[Text]:
    """Return the texts that stand on a picture of numbers as colours, which is the same on a light
    and on a dark page.
    """
    over = []
    for axes in figure.axes:
        values = [image.get_array() for image in axes.images]
        if any(each is not None and each.ndim == 2 for each in values):
            over += [text for text in axes.texts if _is_over(axes, text)]
    return over


def _is_over(axes: Axes, text: Text) -> bool:
    box = text.get_window_extent()
    return axes.bbox.contains((box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2)


def _size(collection: Collection) -> int:
    """Return how many points or lines a collection draws."""
    return max(len(collection.get_paths()), len(np.asarray(collection.get_offsets())))


class _RowRenderer(RendererSVG):
    """matplotlib's SVG, in which a group with the attribute `data-row` stands around each point of
    a marked artist.
    """

    rows: Sequence[str] = ()

    def open_group(self, s: str, gid: str | None = None) -> None:
        """Begin an artist, and remember its rows."""
        self.rows = gid.removeprefix(TRIALS).split(",") if gid and gid.startswith(TRIALS) else ()
        super().open_group(s, KEPT if gid == KEPT else None)

    def close_group(self, s: str) -> None:
        """End an artist."""
        self.rows = ()
        super().close_group(s)

    @contextmanager
    def _of_row(self, row: str) -> Iterator[None]:
        self.writer.start("g", attrib={"data-row": row})
        yield
        self.writer.end("g")

    def draw_path(self, *arguments: Any) -> None:
        """Draw a line, which has a row where its artist is that of one trial."""
        with self._of_row(self.rows[0]) if len(self.rows) == 1 else nullcontext():
            super().draw_path(*arguments)

    def draw_markers(
        self,
        gc: Any,
        marker_path: Path,
        marker_trans: Any,
        path: Path,
        *arguments: Any,
    ) -> None:
        """Draw a mark at each vertex of the path."""
        if not self.rows:
            super().draw_markers(gc, marker_path, marker_trans, path, *arguments)
            return
        places = np.asarray(path.vertices)
        for row, place in zip(self._rows_of(len(places)), places, strict=True):
            if np.isfinite(place).all():
                with self._of_row(row):
                    super().draw_markers(gc, marker_path, marker_trans, Path([place]), *arguments)

    def draw_path_collection(
        self, gc: Any, master_transform: Any, *arguments: Any, **more: Any
    ) -> None:
        """Draw a collection, of a marked one each member by itself.

        The arguments are those of matplotlib: paths, their transforms, offsets, the transform of
        these, and sequences of colours and styles, all but the two that are no sequences repeated
        as often as there are members.
        """
        paths, transforms, offsets = arguments[:3]
        if not self.rows or not len(paths):  # matplotlib asks first, without a path, whether it may
            return super().draw_path_collection(gc, master_transform, *arguments, **more)
        rows = self._rows_of(max(len(paths), len(transforms), len(offsets)))
        self.rows = ()
        for index, row in enumerate(rows):
            with self._of_row(row):
                one = [_only(value, index) for value in arguments]
                super().draw_path_collection(
                    gc,
                    master_transform,
                    *one,
                    **{key: _only(value, index) for key, value in more.items()},
                )
        return None

    def _rows_of(self, count: int) -> Sequence[str]:
        return self.rows if len(self.rows) == count else list(self.rows) * count


def _only(values: Any, index: int) -> Any:
    """Return the member of this index in a sequence of its own, counted on from the first after the
    last; what is no sequence as it is.
    """
    if not isinstance(values, (list, tuple, np.ndarray)) or not len(values):
        return values
    return values[index % len(values) : index % len(values) + 1]


def _make_plain(root: ElementTree.Element) -> None:
    """Take away what the page does not need: namespaces, metadata, rules for the whole page, empty
    groups, digits; name the page's colours.
    """
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
    groups = (group.iter() for group in root.iter() if group.get("id") == KEPT)
    kept = set(map(id, chain.from_iterable(groups)))
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        element.text = element.text if element.tag == "text" else None
        element.tail = None
        if _LINK in element.attrib:
            element.set("href", element.attrib.pop(_LINK).replace("\n", ""))
        for key in _LENGTHS:
            if key in element.attrib:
                element.set(key, _short(element.attrib[key]))
        if "style" in element.attrib:
            element.set(
                "style", _style(element.attrib["style"], {} if id(element) in kept else COLOURS)
            )
    used = _references(root)
    for element in root.iter():
        if element.get("id") not in used:
            element.attrib.pop("id", None)
    _unpack(root)


def _short(text: str) -> str:
    """Return numbers with two digits after the point, but for those of a transformation that
    scales.
    """
    text = " ".join(text.split())
    if "matrix" in text or "scale" in text:
        return text
    text = re.sub(
        r"-?\d+\.\d+", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), text
    )
    return re.sub(r" ?([A-Zz]) ?", r"\1", text) if text.startswith("M") else text


def _style(text: str, colours: Mapping[str, str]) -> str:
    """Return a style in these colours and in the font of the page."""
    text = re.sub(
        r"#[0-9a-f]{6}",
        lambda found: f"var(--{colours[found[0]]})" if found[0] in colours else found[0],
        text,
    )
    text = re.sub(r"font-family: [^;]*;? ?", "", text)
    return re.sub(r"([:;]) ", r"\1", text).rstrip(";")


def _references(root: ElementTree.Element) -> set[str]:
    """Return the ids that elements refer to."""
    every = chain.from_iterable(element.attrib.values() for element in root.iter())
    values = [value for value in every if "#" in value]
    inside = chain.from_iterable(map(_REFERENCE.findall, values))
    return {value[1:] for value in values if value.startswith("#")}.union(inside)


def _unpack(element: ElementTree.Element) -> None:
    """Leave out groups that say nothing, and give the row of a group with one element to that
    element.
    """
    children: list[ElementTree.Element] = []
    for child in element:
        _unpack(child)
        if child.tag == "g" and "data-row" in child.attrib:
            children += child.findall("defs")
            child = _with_row(child)
        if child.tag == "g" and not child.attrib:
            children += child
        elif len(child) or child.tag not in ("g", "defs"):
            children.append(child)
    element[:] = children


def _with_row(group: ElementTree.Element) -> ElementTree.Element:
    """Return the group of a row without definitions, or the one element in it, which then has the
    row.
    """
    group[:] = [child for child in group if child.tag != "defs"]
    while group.tag == "g" and len(group) == 1:
        group[0].set("data-row", group.attrib.pop("data-row"))
        if group.attrib:
            return group
        group = group[0]
    return group


def _name_ids(root: ElementTree.Element, name: str) -> None:
    """Number the ids, in the order in which they stand, after the name."""
    named = [element for element in root.iter() if "id" in element.attrib]
    ids = {element.attrib["id"]: f"{name}-{number}" for number, element in enumerate(named)}
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, ids[value])
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{ids[value[1:]]}")
            elif "url(#" in value:
                element.set(key, _REFERENCE.sub(lambda found: f"url(#{ids[found[1]]})", value))


def page_drawings(view: StudyView, figures: Mapping[str, Figure]) -> dict[str, str]:
    """Return figures, given by file name, as SVG for the page; behind a plot that cut its axes a
    hidden one of all trials.
    """
    drawings = inline_drawings(figures)
    for file, figure in figures.items():
        name = file.partition(".")[0]
        whole = _whole(view, PLOTS.get(name), figure)
        if whole is not None:
            label = '<svg role="img" aria-label="The same plot with all trials" '
            named = inline_svg(whole, f"{name}-all").replace("<svg ", label, 1)
            drawings[file] += f'<div class="whole" hidden>{named}</div>'
    return drawings


def _whole(view: StudyView, plot: Plot | None, figure: Figure) -> Figure | None:
    """Return a plot of trials with every trial inside; None where it has the same axes then."""
    marked = any(str(artist.get_gid() or "").startswith(TRIALS) for artist in figure.findobj())
    if plot is None or figure.get_gid() != CUT or not marked:
        return None
    with holding(WHOLE, True):
        whole = plot.draw(view, titled=False)
    return None if whole is None or _limits(whole) == _limits(figure) else whole


def _limits(figure: Figure) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    return [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes]
