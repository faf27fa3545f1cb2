"""The pictures in the page of a report: each is the one that the run left, the best trials first,
and what is left out is said.
"""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from drawn_studies import two_objectives
from PIL import Image
from synthetic_study import make_results, with_baselines, write_pictures

from vaeexp.plots.contact_sheet import ContactSheet, pack
from vaeexp.report.page import picture_data as pictures
from vaeexp.report.page.trial_rows import ordered_trials
from vaeexp.results.study_view import StudyView
from vaeexp.training.checkpoint import save_arrays

RANDOM = np.random.default_rng(2)


def drawn(shape=(28, 28, 1), reconstructions=10, samples=16):
    """Pictures as a model draws them."""
    parts = {"reconstructions": reconstructions, "samples": samples}
    return {
        name: RANDOM.integers(0, 256, (count, *shape), dtype=np.uint8)
        for name, count in parts.items()
    }


def images_of(strip):
    """The pictures of a strip, uint8 [N, H, W, C]."""
    with Image.open(io.BytesIO(base64.b64decode(strip["png"].partition(",")[2]))) as file:
        joined = np.asarray(file)
    joined = joined[..., None] if joined.ndim == 2 else joined
    return np.stack(np.split(joined, strip["reconstructions"] + strip["samples"], axis=1))


def with_sheets(view, shape=(28, 28, 1)):
    """Give each trial of the search a sheet; return what they show, by row."""
    sheets = {}
    for _, row in view.search.iterrows():
        folder = Path(row["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        sheets[str(row["number"])] = drawn(shape)
        save_arrays(
            folder / "sheet.npz",
            sheets[str(row["number"])] | {"epoch": np.array(max(row["epochs"], 1))},
        )
    return sheets


@pytest.fixture
def view(tmp_path):
    return StudyView(make_results(12, folder=tmp_path))


def data_of(view):
    return pictures.picture_data(view, ordered_trials(view))


@pytest.mark.parametrize("shape", [(28, 28, 1), (16, 24, 3), (8, 8, 1)])
def test_each_trial_shows_its_own_sheet(view, shape):
    sheets = with_sheets(view, shape)
    rows = data_of(view)["rows"]
    assert list(rows) == [row for row in ordered_trials(view)["row"] if row in sheets]
    for row, sheet in sheets.items():
        strip = rows[row]
        epochs = int(view.search.set_index("number").loc[int(row), "epochs"])
        assert strip["epoch"] == max(epochs, 1)
        expected = np.concatenate([sheet["reconstructions"], sheet["samples"]])
        np.testing.assert_array_equal(images_of(strip), expected)
        assert (strip["height"], strip["width"]) == shape[:2]


def test_the_first_note_says_how_a_picture_shows_an_array(view):
    with_sheets(view, (64, 96, 1))
    assert data_of(view)["notes"] == []
    words = "a line of 50 values from −1 to 1"
    sheet = pack(ContactSheet(drawn((64, 96, 1))["samples"], (), "signals", words))
    provenance = view.study.provenance | {"contact_sheet": sheet}
    study = replace(view.study, provenance=provenance)
    told = data_of(StudyView(replace(view.results, study=study)))
    assert told["notes"] == [f"Each picture shows {words}."]


def test_a_study_without_pictures_has_none(view):
    assert data_of(view) == {}


@pytest.mark.parametrize("content", [b"", b"PK\\x03\\x04 cut", "damaged"])
def test_a_file_that_cannot_be_read_is_left_out_and_counted(view, content):
    sheets = with_sheets(view)
    first = next(iter(data_of(view)["rows"]))
    path = Path(view.search.set_index("number").loc[int(first), "folder"]) / "sheet.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20] + bytes(20) if content == "damaged" else content)
    data = data_of(view)
    assert set(data["rows"]) == set(sheets) - {first}
    assert any("they cannot be read" in note for note in data["notes"])


def test_the_best_trials_stand_in_a_page_without_room_for_all(view, monkeypatch):
    sheets = with_sheets(view)
    each = len(next(iter(data_of(view)["rows"].values()))["png"])
    monkeypatch.setattr(pictures, "PICTURED", int(4.5 * each))
    monkeypatch.setattr(pictures, "LEAST", 0)
    data = data_of(view)
    order = [row for row in ordered_trials(view)["row"] if row in sheets]
    assert list(data["rows"]) == order[:4]
    assert f"Pictures of 4 of {len(sheets)} runs stand in this page" in data["notes"][0]
    monkeypatch.setattr(pictures, "PICTURED", 0)
    assert data_of(view)["rows"] == {}
    monkeypatch.setattr(pictures, "LEAST", int(2.5 * each))
    assert list(data_of(view)["rows"]) == order[:2], "a large page has those of the best, too"


def test_the_front_stands_first_with_two_objectives(tmp_path):
    view = StudyView(two_objectives())
    view.trials["folder"] = [str(tmp_path / str(place)) for place in range(len(view.trials))]
    with_sheets(StudyView(view.results))
    members = view.front.members["number"].astype(str).tolist()
    assert list(data_of(StudyView(view.results))["rows"])[: len(members)] == members


def test_runs_of_other_images_are_left_out_and_named(tmp_path):
    folder = tmp_path / "trials" / "beta_mnist"
    results = with_baselines(make_results(12, folder=folder), folder=folder)
    write_pictures(results, tmp_path)
    view = StudyView(results)
    data = data_of(view)
    trials = ordered_trials(view)
    grey = trials[trials["baseline"] == "grey"]["row"].tolist()
    strong = trials[trials["baseline"] == "strong"]["row"].tolist()
    assert len(grey) > 0 < len(strong)
    assert not set(grey) & set(data["rows"])
    assert any("grey" in note and "strong" not in note for note in data["notes"])
