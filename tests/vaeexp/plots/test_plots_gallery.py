"""Figures of the latent space: what is drawn, and of which run."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import to_hex
from synthetic_study import part, texts

from vaeexp.plots import PLOTS
from vaeexp.plots.latent import interpolations, latent_map, latent_plane, map_figure, traversal_figure, traversals
from vaeexp.results.study_view import StudyView
from vaeexp.results.trial_files import read_evaluation


def image_of(figure):
    return figure.axes[0].images[0].get_array()


def test_each_pair_has_its_ways_one_below_the_other(results):
    figure = interpolations(StudyView(results))
    assert texts(figure) == ["latent, linear", "latent, spherical", "pixels"] * 3
    image, drawn = (
        image_of(figure),
        StudyView(results).best_pictured("latent_interpolations")[1]["latent_interpolations"],
    )
    assert image.shape[1] == 10 * 28 + 9 * 2
    np.testing.assert_array_equal(image[:28, :28], drawn[0, 0, ..., 0])
    np.testing.assert_array_equal(image[30:58, -28:], drawn[0, -1, ..., 0])
    heights = [text.xy[1] for text in figure.axes[0].texts]
    for place, height in enumerate(heights):
        row = drawn[place // 3, 0, ..., 0]
        np.testing.assert_array_equal(image[int(height - 14) :][:28, :28], row)


def test_traversals_name_their_dimensions_and_how_far_they_go(results):
    words = texts(traversals(StudyView(results)))
    assert words[:8] == ["z₁₂", "z₄", "z₁", "z₈", "z₆", "z₃", "z₁₀", "z₁₅"]
    assert words[8:] == ["−2.5 sd", "−1.25 sd", "mean", "+1.25 sd", "+2.5 sd"]


@pytest.mark.parametrize(("steps", "named"), [(1, 1), (2, 2), (4, 2), (7, 3), (9, 5)])
def test_words_above_the_columns_are_few_and_stand_above_theirs(steps, named):
    pictures = np.zeros((2, steps, 6, 5, 3), np.uint8)
    figure = traversal_figure(pictures, np.array([0, 1]), 1.0)
    above = [text for text in figure.axes[0].texts if "z" not in text.get_text()]
    assert len(above) == named
    values = np.linspace(-1, 1, steps)
    for text in above:
        column = (text.get_position()[0] - 2.5) / 7
        said = text.get_text().replace("mean", "0").replace(" sd", "").replace("−", "-")
        assert values[round(column)] == pytest.approx(float(said), abs=0.006)
        assert column == pytest.approx(round(column))


def test_traversals_of_a_run_without_numbers_are_drawn_without_words(results, tmp_path):
    found, files = StudyView(results).best_pictured("traversals")
    (tmp_path / found["name"]).mkdir()
    np.savez(tmp_path / found["name"] / "pictures.npz", **files)
    alone = results.trials[results.trials["name"] == found["name"]].assign(folder=str(tmp_path / found["name"]))
    assert texts(traversals(StudyView(part(results, alone)))) == []


def test_the_plane_is_as_it_was_made(results):
    image, drawn = (
        image_of(latent_plane(StudyView(results))),
        StudyView(results).best_pictured("manifold")[1]["manifold"],
    )
    assert image.shape == (15 * 30 - 2, 15 * 30 - 2)
    np.testing.assert_array_equal(image[-28:, :28], drawn[-1, 0, ..., 0])


def test_the_map_has_every_image_in_the_colour_of_its_class_and_names_at_the_medians(results):
    numbers = StudyView(results).best_evaluated("embedding")[1]
    axes = latent_map(StudyView(results)).axes[0]
    (marks,) = [found for found in axes.collections if isinstance(found, PathCollection)]
    np.testing.assert_allclose(marks.get_offsets(), numbers["embedding"])
    colours = np.array([to_hex(colour) for colour in marks.get_facecolors()])
    labels = numbers["embedding_labels"]
    assert len(set(colours)) == 10
    names = {text.get_text(): text for text in axes.texts}
    assert names.keys() == set(numbers["classes"])
    for label in range(10):
        assert set(colours[labels == label]) == {to_hex(names[str(label)].get_bbox_patch().get_edgecolor())}
        median = np.median(numbers["embedding"][labels == label], axis=0)
        np.testing.assert_allclose(names[str(label)].get_position(), median, atol=1e-3)


def test_names_of_classes_do_not_cover_each_other():
    points = np.random.default_rng(0).normal(size=(300, 2))
    figure = map_figure(points, np.arange(300) % 6, ["cat", "dog", "a horse", "sheep", "bear", "crow"])
    renderer = figure.canvas.get_renderer()
    figure.draw(renderer)
    boxes = [text.get_bbox_patch().get_window_extent(renderer) for text in figure.axes[0].texts]
    assert len(boxes) == 6
    assert not any(a.overlaps(b) for place, a in enumerate(boxes) for b in boxes[:place])


@pytest.mark.parametrize("classes", [(), ("all",), tuple(str(number) for number in range(100))])
def test_a_map_without_classes_or_with_too_many_has_one_colour(classes):
    figure = map_figure(np.random.default_rng(0).normal(size=(50, 2)), np.zeros(50, np.int64), classes)
    assert texts(figure) == []
    assert len(figure.axes[0].collections[0].get_facecolors()) == 1


def test_captions_name_the_run_that_was_drawn_and_nothing_is_drawn_of_what_was_not_tested(results):
    for name in ("interpolations", "traversals", "latent_map", "latent_plane"):
        assert "Drawn by a confirmation run of trial" in PLOTS[name].reading(StudyView(results))
        searched = part(results, results.trials[~results.trials["repeat"]])
        assert PLOTS[name].draw(StudyView(searched)) is None
        assert isinstance(PLOTS[name].reading(StudyView(searched)), str)


def test_a_damaged_file_of_numbers_is_no_file(tmp_path):
    (tmp_path / "evaluation.npz").write_bytes(b"PK")
    assert read_evaluation(tmp_path) == {}
    assert read_evaluation(None) == {}
