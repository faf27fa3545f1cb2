"""Plots of the latent space: what is drawn of the arrays that a run left, and of which run."""

import io
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_hex
from synthetic_study import make_results, part, texts, write_pictures

from vaeexp.plots import PLOTS, style
from vaeexp.plots.latent import (
    CLASS_COLOURS,
    LONGEST_CLASS,
    aggregate_posterior,
    latent_map,
    rate_per_dimension,
)
from vaeexp.report.chapters import reading
from vaeexp.results.study_view import StudyView
from vaeexp.results.tables import read_arrays
from vaeexp.training.checkpoint import save_arrays


def drawn_map(points, labels, classes):
    return latent_map(
        {"embedding": points, "embedding_labels": labels, "classes": np.array(classes)}
    )


def image_of(figure):
    return figure.axes[0].images[0].get_array()[..., 0]


def test_each_pair_has_its_ways_one_below_the_other(results):
    figure = PLOTS["interpolations"].draw(StudyView(results))
    assert texts(figure) == ["latent, linear", "latent, spherical", "pixels"] * 3
    image = image_of(figure)
    drawn = StudyView(results).best_with("latent_interpolations")[1]["latent_interpolations"]
    assert image.shape[1] == 10 * 28 + 9 * 2
    np.testing.assert_array_equal(image[:28, :28], drawn[0, 0, ..., 0])
    np.testing.assert_array_equal(image[30:58, -28:], drawn[0, -1, ..., 0])
    heights = [text.xy[1] for text in figure.axes[0].texts]
    for place, height in enumerate(heights):
        row = drawn[place // 3, 0, ..., 0]
        np.testing.assert_array_equal(image[int(height - 14) :][:28, :28], row)


def test_traversals_name_their_dimensions_and_how_far_they_go(results):
    words = texts(PLOTS["traversals"].draw(StudyView(results)))
    assert words[:8] == ["z₁₂", "z₄", "z₁", "z₈", "z₆", "z₃", "z₁₀", "z₁₅"]
    assert words[8:] == ["−2.5 sd", "−1.25 sd", "mean", "+1.25 sd", "+2.5 sd"]


def test_traversals_of_a_run_without_numbers_are_drawn_without_words(results, tmp_path):
    found, files = StudyView(results).best_with("traversals")
    (tmp_path / found["name"]).mkdir(parents=True)
    kept = {name: files[name] for name in ("originals", "traversals")}
    save_arrays(tmp_path / found["name"] / "pictures.npz", kept)
    alone = results.trials[results.trials["name"] == found["name"]].assign(
        folder=str(tmp_path / found["name"])
    )
    assert texts(PLOTS["traversals"].draw(StudyView(part(results, alone)))) == []


def test_the_plane_is_as_it_was_made(results):
    image = image_of(PLOTS["latent_plane"].draw(StudyView(results)))
    drawn = StudyView(results).best_with("manifold")[1]["manifold"]
    assert image.shape == (15 * 30 - 2, 15 * 30 - 2)
    np.testing.assert_array_equal(image[-28:, :28], drawn[-1, 0, ..., 0])


def test_the_map_has_every_image_in_the_colour_of_its_class_and_a_legend(results):
    numbers = StudyView(results).best_with("embedding")[1]
    axes = PLOTS["latent_map"].draw(StudyView(results)).axes[0]
    marks = axes.collections[0]
    np.testing.assert_allclose(marks.get_offsets(), numbers["embedding"])
    colours = [to_hex(colour) for colour in marks.get_facecolors()]
    assert colours == [CLASS_COLOURS[label].lower() for label in numbers["embedding_labels"]]
    handles, names = axes.get_legend_handles_labels()
    assert names == list(numbers["classes"])
    assert [to_hex(handle.get_facecolor()[0]) for handle in handles] == [
        colour.lower() for colour in CLASS_COLOURS
    ]


@pytest.mark.parametrize(
    "names", [("_background_", "leaf"), ("a", "_b", "__c__"), ("_" * 30, "_one", "_two", "x")]
)
def test_a_class_that_begins_with_an_underscore_is_in_the_legend(names):
    labels = np.arange(40) % len(names)
    axes = drawn_map(np.random.default_rng(0).normal(size=(40, 2)), labels, names).axes[0]
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == [style.shortened(name, LONGEST_CLASS) for name in names]


def test_classes_beyond_the_colours_have_those_of_a_rainbow():
    points = np.random.default_rng(0).normal(size=(300, 2))
    names = [f"class {number}" for number in range(25)]
    axes = drawn_map(points, np.arange(300) % 25, names).axes[0]
    handles, _ = axes.get_legend_handles_labels()
    assert len({to_hex(each.get_facecolor()[0]) for each in handles}) == len(handles) == 25


@pytest.mark.parametrize("classes", [(), ("all",), tuple(str(number) for number in range(100))])
def test_a_map_without_classes_or_with_too_many_has_one_colour(classes):
    figure = drawn_map(
        np.random.default_rng(0).normal(size=(50, 2)), np.zeros(50, np.int64), classes
    )
    assert texts(figure) == []
    assert len(figure.axes[0].collections[0].get_facecolors()) == 1


def test_captions_name_the_run_that_was_drawn_and_nothing_is_drawn_of_what_was_not_tested(results):
    for name in ("interpolations", "traversals", "latent_map", "latent_plane"):
        assert "Drawn by a confirmation run of trial" in reading(PLOTS[name], StudyView(results))
        searched = part(results, results.trials[~results.trials["repeat"]])
        assert PLOTS[name].draw(StudyView(searched)) is None
        assert isinstance(reading(PLOTS[name], StudyView(searched)), str)


def labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_bars_are_the_rates_from_the_greatest_to_the_smallest(results):
    rates = StudyView(results).best_with("rate_per_dimension")[1]["rate_per_dimension"]
    axes = PLOTS["rate_per_dimension"].draw(StudyView(results)).axes[0]
    assert [bar.get_height() for bar in axes.patches] == sorted(rates, reverse=True)
    assert labels(axes.xaxis) == [str(place + 1) for place in np.argsort(-rates, kind="stable")]
    used = int((rates > 0.1).sum())
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"above 0.1 nats ({used})",
        f"at most 0.1 nats ({len(rates) - used})",
    ]
    colours = [bar.get_facecolor() for bar in axes.patches]
    assert len(set(colours[:used])) == len(set(colours[used:])) == 1
    assert colours[0] != colours[-1]
    assert axes.get_ylabel() == "rate (nats per image)"


def test_what_a_run_recorded_decides_over_a_default(tmp_path):
    """Components of equal weight have no heaviest, and the line stands at the study's threshold."""
    made = make_results(12, folder=tmp_path / "trials" / "beta_mnist")
    write_pictures(made, tmp_path)
    view = StudyView(made)
    assert reading(PLOTS["component_samples"], view).startswith(
        "One component of the prior per row, the heaviest first."
    )
    for file in tmp_path.glob("trials/*/*/evaluation.npz"):
        arrays = dict(np.load(file))
        weights = np.full_like(arrays["component_weights"], 1 / len(arrays["component_weights"]))
        save_arrays(file, arrays | {"component_weights": weights, "rate_threshold": np.array(2.0)})
    view = StudyView(made)
    assert "in the order of the model, because all have the same weight." in reading(
        PLOTS["component_samples"], view
    )
    axes = PLOTS["rate_per_dimension"].draw(view).axes[0]
    used = int((view.best_with("rate_per_dimension")[1]["rate_per_dimension"] > 2).sum())
    assert axes.get_legend().get_texts()[0].get_text() == f"above 2 nats ({used})"
    assert "What is at most 2 nats carries next to nothing." in reading(
        PLOTS["rate_per_dimension"], view
    )


@pytest.mark.parametrize("rates", [[0.0], [2.0] * 299 + [0.0], [0.5, -0.01], [3.0, 0.1]])
def test_rates_of_any_number_are_drawn_where_a_dimension_is_not_in_use(rates):
    threshold = {"rate_threshold": np.array(0.1)}
    axes = rate_per_dimension(threshold | {"rate_per_dimension": np.array(rates)}).axes[0]
    assert len(axes.patches) == len(rates)
    assert axes.get_ylim()[0] <= min(rates)
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert any(text.startswith("above") for text in shown) == (max(rates) > 0.1)
    assert rate_per_dimension(threshold | {"rate_per_dimension": np.array([3.0, 0.2])}) is None


def test_without_arrays_there_is_no_figure(results, tmp_path):
    bare = part(results, results.trials.assign(folder=None))
    assert PLOTS["rate_per_dimension"].draw(StudyView(bare)) is None
    (tmp_path / "evaluation.npz").write_bytes(b"PK")
    assert read_arrays(tmp_path) == read_arrays(None) == {}
    assert "trial" in reading(PLOTS["rate_per_dimension"], StudyView(results))


@pytest.mark.parametrize("count", [1, 2, 6])
@pytest.mark.filterwarnings("error")
def test_codes_of_few_images_are_drawn_all(count):
    """The quantiles of few codes lie inside of all of them, so that nothing would be left to
    draw.
    """
    random = np.random.default_rng(count)
    arrays = {"aggregate_dimensions": np.arange(2)}
    arrays |= {name: random.normal(size=(2, count)) for name in ("aggregate_codes", "prior_codes")}
    figure = aggregate_posterior(arrays)
    heights = [bar.get_height() for bar in figure.axes[0].patches if hasattr(bar, "get_height")]
    assert np.isfinite(heights).all()
    assert max(heights) > 0


def test_a_letter_that_the_font_lacks_stands_as_its_number_in_the_legend():
    points = np.array([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])
    figure = drawn_map(points, np.array([0, 1, 2]), ["\u732b", "_\u72ac 2", "\u00e9t\u00e9 \u03b2"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        style.save(figure, io.BytesIO())
    with glyphs_drawn() as drawn:
        style.save(figure, io.BytesIO())
    assert {"U+732B", "_U+72AC 2", "\u00e9t\u00e9 \u03b2"} <= {*drawn}
    texts = figure.axes[0].get_legend().get_texts()
    assert "\u732b" in [text.get_text() for text in texts], "the page draws it with its own fonts"


@contextmanager
def glyphs_drawn():
    """Collect the texts whose glyphs matplotlib draws into a picture."""
    drawn, before = [], RendererAgg.draw_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            RendererAgg,
            "draw_text",
            lambda self, *given, **more: drawn.append(given[3]) or before(self, *given, **more),
        )
        yield drawn


FOREIGN = ["\u732b", "\U0001f408 b", "\u0642\u0637\u0629", "d $x"]
SHOWN = ["U+732B", "U+1F408 b", "\u0642\u0637\u0629", "d $x"]
"""Chinese, emoji, Arabic (for which the font has letters), and a lone dollar."""


def ticks(axes_of):
    figure, axes = style.one_plot(x="x")
    axes_of(figure, axes)
    return style.framed(figure)


@pytest.mark.parametrize(
    "axes_of",
    [
        lambda figure, axes: axes.set_xticks(range(4), FOREIGN),
        lambda figure, axes: axes.set_yticks(range(4), FOREIGN),
        lambda figure, axes: style._name_choices(axes, FOREIGN, [""] * 4),
        lambda figure, axes: style.colour_bar(figure, axes, ScalarMappable()).set_yticks(
            [0, 0.3, 0.6, 1], FOREIGN
        ),
        lambda figure, axes: style.label_axes(axes, "".join(FOREIGN)),
    ],
    ids=["below", "beside", "choices", "colour bar", "label"],
)
@pytest.mark.filterwarnings("error")
def test_a_letter_that_the_font_lacks_stands_as_its_number_on_every_axis(axes_of, tmp_path):
    figure = ticks(axes_of)
    with glyphs_drawn() as drawn:
        style.save(figure, io.BytesIO())
    assert "".join(SHOWN) in "".join(drawn)
    with glyphs_drawn() as drawn:
        figure.savefig(tmp_path / "user.png")
    assert "".join(SHOWN) in "".join(drawn), "a user saves what a report shows"


def test_names_of_ticks_have_room(tmp_path):
    """The layout measures what is drawn."""
    figure = ticks(lambda figure, axes: axes.set_yticks([0], [FOREIGN[0] * 4]))
    plain = ticks(lambda figure, axes: axes.set_yticks([0], [SHOWN[0] * 4]))
    boxes = [each.axes[0].get_position().bounds for each in (figure, plain)]
    assert boxes[0] == boxes[1]
    for each in (figure, plain):
        style.save(each, tmp_path / f"{each is plain}.png")
    assert (tmp_path / "True.png").read_bytes() == (tmp_path / "False.png").read_bytes()
