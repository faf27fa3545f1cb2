"""Contact sheets: which images they show, how they are kept, and how they are drawn."""

import json
from dataclasses import replace

import numpy as np
import pytest
from image_files import noise, write_tree

from vaeexp.data import examples, open_dataset
from vaeexp.plots.contact_sheet import HIGHEST, KEPT, ContactSheet, draw, pack, unpack
from vaeexp.report.chapters import compose
from vaeexp.results.study_view import StudyView
from vaeexp.settings import DataSettings


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize(
    ("classes", "names"), [(1, ()), (3, "012012012"), (9, "012345678"), (17, None)]
)
@pytest.mark.parametrize("binarisation", ["static", "dynamic", "none"])
def test_the_images_are_as_the_model_sees_them_and_of_all_classes(
    tmp_path, classes, names, binarisation
):
    images = noise(60, 5, 6) % 200
    labels = {"labels": np.arange(60) % classes} if classes > 1 else {}
    np.savez(tmp_path / "mine.npz", images=images, **labels)
    settings = DataSettings(dataset="arrays", binarisation=binarisation)
    data = open_dataset(settings, root=tmp_path / "mine.npz", say=lambda text: None)
    shown, shown_names = examples(data, 9)
    assert shown.shape == (9, 5, 6, 1)
    assert np.array_equal(shown, examples(data, 9)[0])
    if binarisation == "none":
        assert {image.tobytes() for image in shown} <= {image.tobytes() for image in images}
    else:
        assert {*np.unique(shown)} == {0, 255}
    if names is None:
        assert len({*shown_names}) == 9
        assert shown_names[0] == "0"
        assert shown_names[-1] == "16"
    else:
        assert "".join(shown_names) == "".join(names)


def test_fewer_images_than_nine_are_all_shown(tmp_path):
    write_tree(tmp_path / "mine", {"a": 6}, shape=(5, 4))
    data = open_dataset(
        DataSettings(dataset="folder"), root=tmp_path / "mine", say=lambda text: None
    )
    assert len(examples(data, 9)[0]) == 4


@pytest.mark.parametrize(
    ("shape", "kept"),
    [
        ((9, 28, 28, 1), (9, 28, 28, 1)),
        ((5, 300, 200, 3), (5, KEPT, KEPT * 2 // 3, 3)),
        ((1, 400, 100, 1), (1, KEPT, KEPT // 4, 1)),
    ],
)
def test_a_sheet_is_kept_as_text_and_drawn_from_it(shape, kept):
    names = tuple(f"class ${number}" for number in range(shape[0]))
    sheet = ContactSheet(noise(*shape), names, "A folder of images $x$")
    again = unpack(json.loads(json.dumps(pack(sheet))))
    assert again.images.shape == kept
    assert again[1:] == sheet[1:]
    if kept == shape:
        assert np.array_equal(again.images, sheet.images)
    figure = draw(again)
    assert figure.get_figheight() < HIGHEST + 2
    assert {*names} == {axes.get_xlabel() for axes in figure.axes} - {""}


def test_the_report_shows_the_sheet_under_its_data_and_needs_no_data(results, no_figures):
    sheet = ContactSheet(noise(9, 28, 28, 1), (), "MNIST")
    record = {**results.study.provenance, "contact_sheet": pack(sheet)}
    with_sheet = replace(results, study=replace(results.study, provenance=record))
    text, figures, _ = compose(StudyView(with_sheet))
    data = text[
        text.index("<summary>Data</summary>") : text.index("<summary>Fixed settings</summary>")
    ]
    assert '<img src="training_images.png"' in data
    training = with_sheet.study.provenance["data"]["train"]
    said = (
        f"9 of the {training:,} training images as the models are given them (binarisation static)."
    )
    assert said in data
    assert figures["training_images.png"].axes
    assert "training_images.png" not in compose(StudyView(results))[0]
