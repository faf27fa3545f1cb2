"""Figures as SVG inside the page: whose point each mark is, ids, colours, text, size."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image
from synthetic_study import make_results

import vaeexp.report.page
from vaeexp.plots import PLOTS
from vaeexp.plots.pictures import GAP, picture_grid
from vaeexp.plots.style import MOST_MARKED, framed, mark_trials, new_figure, style_axes
from vaeexp.report.folder import png
from vaeexp.report.page.inline import COLOURS, inline_svg, page_drawings
from vaeexp.results.study_view import StudyView

X = np.array([0.2, 0.5, np.nan, 0.8, 3.0, 0.5, 0.1, -40.0])
Y = np.array([0.1, 0.9, 0.4, np.nan, 0.5, 0.9, 1.7, 0.3])
"""Points inside, twice at one place, outside of the axes, outside of the picture, and without a
number.
"""
ROWS = ["7", "3", "12", "4", "r0", "r3", "9", "45"]


def plotted():
    figure = new_figure()
    axes = style_axes(figure.add_subplot(), x="β", y="nats")
    axes.set(xlim=(0, 1), ylim=(0, 1))
    return figure, axes


def elements(figure, name="plot"):
    return list(ElementTree.fromstring(inline_svg(framed(figure, "Title"), name)).iter())


def centre(element) -> tuple[float, float]:
    """Where a mark stands: the place of a used mark, or the middle of a path."""
    if element.tag == "use":
        return float(element.get("x")), float(element.get("y"))
    numbers = np.array(re.findall(r"-?[\d.]+", element.get("d")), float).reshape(-1, 2)
    return tuple((numbers.min(axis=0) + numbers.max(axis=0)) / 2)


def expected(figure, axes, x, y):
    """Units of the SVG, which are points and grow downwards."""
    place = axes.transData.transform(np.column_stack([x, y])) * 72 / figure.dpi
    return np.column_stack([place[:, 0], 72 * figure.get_size_inches()[1] - place[:, 1]])


@pytest.mark.parametrize(
    "look",
    [
        {"s": 30},
        {"s": 30, "facecolors": "none", "edgecolors": "#D55E00", "clip_on": False},
        {"s": np.arange(5.0, 13.0), "marker": "D"},
        {"c": np.arange(8.0), "cmap": "viridis"},
    ],
    ids=["alike", "open, not clipped", "sizes", "colours"],
)
@pytest.mark.parametrize("masked", [False, True])
def test_each_point_of_a_collection_says_its_row(look, masked):
    figure, axes = plotted()
    missing = ~np.isfinite(X + Y)
    x, y = (
        (np.ma.masked_array(np.nan_to_num(each), missing) for each in (X, Y)) if masked else (X, Y)
    )
    mark_trials(ROWS, axes.scatter(x, y, **look))
    axes.scatter(X, Y, s=10)  # of no trials
    found = [each for each in elements(figure) if each.get("data-row")]
    places = dict(zip(ROWS, expected(figure, axes, X, Y), strict=True))
    rows = [each.get("data-row") for each in found]
    assert rows[:5] == ["7", "3", "r0", "r3", "9"][: len(rows)], (
        "in order, without those that have no place"
    )
    assert {"7", "3", "r0", "r3"} <= set(rows), "only a point beyond the picture may be missing"
    assert np.allclose([centre(each) for each in found], [places[row] for row in rows], atol=0.02)


def test_lines_say_their_row():
    figure, axes = plotted()
    (line,) = axes.plot([0, 1, 2], [0.1, np.nan, 0.9], marker="o")
    mark_trials(["r3"], line)
    paths = [np.array([[0, 0], [0.5, height]]) for height in (0.2, 0.4, 5.0)]
    collection = axes.add_collection(
        LineCollection(paths, colors=["#0072B2", "#222222"], linestyles=["-", "--"])
    )
    mark_trials([4, 45, 6], collection)
    found = [each for each in elements(figure) if each.get("data-row")]
    rows = [each.get("data-row") for each in found]
    assert rows[-3:] == ["4", "45", "6"]
    assert set(rows[:-3]) == {"r3"}
    ends = [re.findall(r"-?[\d.]+", each.get("d"))[-2:] for each in found[-3:]]
    wanted = expected(figure, axes, [0.5] * 3, [0.2, 0.4, 5.0])[:, 1]
    assert np.allclose(np.array(ends, float)[:2, 1], wanted[:2], atol=0.02)


@pytest.mark.parametrize("count", [MOST_MARKED, MOST_MARKED + 1, 20_000])
def test_many_points_become_one_picture(count):
    figure, axes = plotted()
    places = np.random.default_rng(0).random((2, count))
    mark_trials(range(count), axes.scatter(*places, s=4))
    text = inline_svg(framed(figure, "Title"), "plot")
    assert text.count("data-row") == (count if count <= MOST_MARKED else 0)
    assert text.count("<image") == (count > MOST_MARKED)
    assert len(text) < 500_000


def test_two_plots_share_no_id_and_refer_to_their_own():
    texts = []
    for name in ("equal_epochs", "history"):
        figure, axes = plotted()
        mark_trials(ROWS, axes.scatter(X, Y))
        axes.hist([0.1, 0.2], hatch="//")
        texts.append(inline_svg(figure, name))
    first, second = (
        {each.get("id") for each in ElementTree.fromstring(text).iter()} - {None} for text in texts
    )
    assert first
    assert not first & second
    for text, ids in zip(texts, (first, second), strict=True):
        assert set(re.findall(r'(?:url\(#|href="#)([^")]+)', text)) == ids


def test_colours_text_and_size_are_those_of_the_page():
    figure, axes = plotted()
    axes.scatter(X, Y, color="#0072B2")
    axes.set_title("<b>ü 🙂 $\\x", fontsize=10)
    framed(figure, "Twice\nis once")
    before = png(figure)
    text = inline_svg(figure, "plot")
    assert text == inline_svg(figure, "plot")
    assert png(figure) == before, "drawing it changes nothing"
    assert "is once" not in text, "the page has the title"
    assert "&lt;b&gt;ü 🙂 $\\x" in text
    assert not set(re.findall(r"#[0-9a-f]{6}", text)) & set(COLOURS)
    assert "var(--paper)" not in text, "no ground"
    assert "<style" not in text
    root = ElementTree.fromstring(text)
    assert {"width", "height", "xmlns"}.isdisjoint(root.attrib)
    smallest = min(float(size) for size in re.findall(r"font-size:([\d.]+)", text))
    least, most = map(
        int, re.fullmatch(r"min-width:(\d+)px;max-width:(\d+)px", root.get("style")).groups()
    )
    assert least / float(root.get("viewBox").split()[2]) * smallest >= 8.98
    assert least < most


def test_words_on_a_picture_of_numbers_keep_their_colour():
    figure, axes = plotted()
    axes.imshow(np.eye(2), cmap="Blues")
    axes.text(0.5, 0.5, "in", color="#222222")
    axes.text(-0.9, 0, "beside", color="#222222")
    texts = {each.text: each.get("style") for each in elements(figure) if each.tag == "text"}
    assert "#222222" in texts["in"]
    assert "var(--ink)" in texts["beside"]


def test_every_colour_of_a_plot_is_one_of_the_page_light_and_dark():
    css = (Path(vaeexp.report.page.__file__).parent / "page.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    for name in {*COLOURS.values(), "good", "warning", "unknown"}:
        assert f"--{name}:" in light
        assert f"--{name}:" in dark


@pytest.mark.parametrize("channels", [1, 3])
def test_gaps_between_pictures_have_the_ground_of_the_page(channels):
    pictures = np.arange(2 * 4 * 4 * channels, dtype=np.uint8).reshape(1, 2, 4, 4, channels)
    text = inline_svg(framed(picture_grid(pictures), "Title"), "plot")
    content = base64.b64decode(re.search(r"base64,([^\"]*)", text)[1])
    with Image.open(io.BytesIO(content)) as file:
        drawn = np.asarray(file.convert("RGBA"))
    assert drawn.shape == (4, 2 * 4 + GAP, 4), "pixel by pixel"
    assert (drawn[:, 4 : 4 + GAP, 3] == 0).all()
    np.testing.assert_array_equal(drawn[:, :4, :3], np.broadcast_to(pictures[0, 0], (4, 4, 3)))
    assert (drawn[:, -4:, 3] == 255).all()


# ---- plots that cut their axes stand in the page a second time, with every trial inside ----

FAR = 5
"""A complete trial that is put far outside the axes of the others."""


def scattered(*, far):
    results = make_results(14, confirm=False, compare=False)
    if not far:
        kept = results.trials["state"] == "complete"
        return replace(
            results,
            trials=results.trials[kept].assign(objective=results.trials.loc[kept, "number"] % 3),
        )
    trials, epochs = results.trials.copy(), results.epochs.copy()
    trials.loc[trials["number"] == FAR, ["objective", "state"]] = [9e3, "complete"]
    own = epochs["number"] == FAR
    epochs.loc[own, ["objective", "val/distortion", "val/rate"]] = [9e3, 5e3, 4e3]
    return replace(results, trials=trials, epochs=epochs)


@pytest.mark.parametrize(
    "name", ["history", "rate_distortion", pytest.param("equal_epochs", marks=pytest.mark.slow)]
)
def test_a_plot_with_a_trial_outside_shows_it_in_its_second_drawing(name):
    view, file = StudyView(scattered(far=True)), f"{name}.png"
    figure = PLOTS[name].draw(view)
    limits = [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes]
    drawn = page_drawings(view, {file: figure})[file]
    first, whole = drawn.split('<div class="whole" hidden>')
    assert re.search(r"above the scale|outside", first)
    assert not re.search(r"above the scale|outside", whole)
    assert f'data-row="{FAR}"' in whole
    assert set(re.findall(r'data-row="(\d+)"', first)) <= set(
        re.findall(r'data-row="(\d+)"', whole)
    )
    assert [(axes.get_xlim(), axes.get_ylim()) for axes in figure.axes] == limits
    assert len(set(re.findall(r' id="([^"]+)"', drawn))) == len(re.findall(r' id="([^"]+)"', drawn))


def test_a_plot_that_shows_all_trials_stands_once():
    view = StudyView(scattered(far=False))
    assert (
        'class="whole"'
        not in page_drawings(view, {"history.png": PLOTS["history"].draw(view)})["history.png"]
    )
