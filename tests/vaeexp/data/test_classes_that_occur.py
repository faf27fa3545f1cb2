"""Labels that are whole numbers name the classes that occur, and keep their numbers."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from vaeexp.data import Dataset, describe_plan, examples, open_dataset
from vaeexp.data.formats.array_labels import only_occurring, read_labels
from vaeexp.evaluation.gallery import gallery
from vaeexp.models.vae import build_vae
from vaeexp.runs.preparation import Preparation
from vaeexp.settings import DataSettings, ModelSettings

SETTINGS = DataSettings(dataset="arrays", binarisation="none", scale="standard")
KINDS = {
    "from 1": (1, 2, 3),
    "years": (2019, 2020, 2022),
    "gaps": (0, 7, 30, 31),
    "from 0": (0, 1, 2),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))


def opened(classes: tuple[int, ...]) -> Dataset:
    random = np.random.default_rng(0)
    labels = np.resize(classes, 90)
    images = random.normal(size=(90, 5, 5)) + labels[:, None, None] % 4
    np.savez("mine.npz", images=images, labels=labels)
    return open_dataset(SETTINGS, root=Path("mine.npz"), say=str)


@pytest.mark.parametrize("kind", KINDS)
def test_the_plan_counts_the_classes_that_occur(kind):
    classes = KINDS[kind]
    data = opened(classes)
    assert data.class_count == len(classes)
    said = "\n".join(describe_plan(data))
    assert f"{len(classes)} classes" in said
    assert f"Classes: {len(classes)}\n" in said
    _, names = examples(data, 9)
    assert set(names) == set(map(str, classes))


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_what_is_made_of_them_stay(kind):
    """As before: a class is found by its label, and the digest is of the labels in the file."""
    classes = KINDS[kind]
    data = opened(classes)
    labels = np.load("mine.npz")["labels"]
    read = read_labels([labels], [90])
    assert read.values.dtype == np.min_scalar_type(max(classes))
    np.testing.assert_array_equal(read.values, labels)
    assert set(np.unique(data.train.labels).tolist()) <= set(classes)
    assert len(data.classes) == max(classes) + 1
    assert all(data.classes[label] == str(label) for label in classes)
    assert data.taught


def test_fingerprints_are_those_of_earlier_versions():
    assert {kind: opened(classes).fingerprint[:12] for kind, classes in KINDS.items()} == {
        "from 1": "9c5d9ff5988b",
        "years": "b26d5a08eeac",
        "gaps": "8be4bdb1d771",
        "from 0": "597231a6284b",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_figures_have_a_column_for_each_class(kind):
    classes = KINDS[kind]
    data = opened(classes)
    names = tuple(map(str, classes))
    labels, shown = only_occurring(data.train.labels, data.classes)
    assert shown == names
    assert [shown[label] for label in labels] == [str(label) for label in data.train.labels]
    model = ModelSettings(
        hidden=(8,), latent_size=2, prior="mixture", components=2, likelihood="gaussian"
    )
    x = torch.from_numpy(np.array(data.train.images))
    _, arrays = gallery(
        build_vae(model, data.values, 0), x, data.train.labels, data.classes, seed=0
    )
    assert tuple(arrays["classes"]) == names
    assert arrays["component_classes"].shape == (2, len(classes))
    assert np.isfinite(arrays["component_classes"]).all()
    assert arrays["embedding_labels"].max() == len(classes) - 1


@pytest.mark.parametrize("kind", KINDS)
def test_new_rows_have_the_label_of_their_file(kind):
    data = opened(KINDS[kind])
    record = json.loads(json.dumps(data.preparation))
    new = Preparation(run="r", values=data.values, data=SETTINGS, record=record, study_seed=0)
    for label in (*KINDS[kind], 5, 40_000, -1):
        assert new.label(label) == str(label)
