"""What folder names mean: splits of many names and depths, folders that cannot be told from
classes, missing labels.
"""

import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from image_files import write_tree

from sweeps.errors import UserError
from vaeexp.data import describe_plan, open_dataset
from vaeexp.data.formats.folder_tree import list_tree
from vaeexp.evaluation.classifier import open_classifier
from vaeexp.evaluation.gallery import gallery
from vaeexp.models.vae import build_vae
from vaeexp.plots.latent import latent_map
from vaeexp.settings import DataSettings, ModelSettings

ROOT = Path("/pictures")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VAEEXP_CACHE", str(folder))
    return folder


def listed(*folders: str, **options):
    """The reading of two files in each folder, and the part of each folder that is read."""
    names = sorted(
        f"{folder}/{number}.png".lstrip("/") for folder in folders for number in range(2)
    )
    listing = list_tree(ROOT, names, **options)
    folder_of = [name.rpartition("/")[0] for name in listing.names]
    return listing, dict(zip(folder_of, listing.parts.tolist(), strict=True))


@pytest.mark.parametrize(
    ("train", "other", "part"),
    [
        ("train", "test", 2),
        ("Training", "Testing", 2),
        ("TRAIN_SET", "TEST_SET", 2),
        ("training-set", "test-images", 2),
        ("trainset", "testset", 2),
        ("seg_train", "seg_test", 2),
        ("trn", "tst", 2),
        ("train", "holdout", 2),
        ("train", "val", 1),
        ("TrainingData", "VALIDATION", 1),
        ("train", "validation set", 1),
        ("train2017", "val2017", 1),
        ("train", "dev", 1),
    ],
)
def test_splits_have_many_names(train, other, part):
    listing, parts = listed(f"{train}/a", f"{train}/b", f"{other}/a", f"{other}/b")
    assert parts == {f"{train}/a": 0, f"{train}/b": 0, f"{other}/a": part, f"{other}/b": part}
    assert listing.classes == ("a", "b")
    assert f"{train}/" in listing.notes[0]
    assert f"{other}/" in listing.notes[0]


@pytest.mark.parametrize(
    ("folders", "parts", "left_out"),
    [
        (["in/seg_train/seg_train/a", "in/seg_train/seg_train/b", "in/seg_test/seg_test/a", "in/seg_pred/seg_pred"],  # noqa: E501
         [0, 0, 2], "in/seg_pred/"),
        (["x/train/a", "x/train/b", "x/val/a", "x/x/train/a", "x/x/val/a"], [0, 0, 1], "x/x/"),
        (["train/a", "train/b", "test/a", "dogs_train"], [0, 0, 2], "dogs_train/"),
        (["a/b/train", "a/b/test", "a"], [0, 2], "a/"),
    ],
)  # fmt: skip
def test_splits_lie_deeper_and_other_folders_are_left_out_by_name(folders, parts, left_out):
    listing, found = listed(*folders)
    assert found == dict(zip(folders[: len(parts)], parts, strict=True))
    assert left_out in listing.notes[-1]
    assert f"{2 * (len(folders) - len(parts))} image files" in listing.notes[-1]


def patterns_to_copy(problem: str) -> dict[str, str]:
    """The patterns of the option that a message gives."""
    words = shlex.split(problem)
    option = words[words.index("--set") + 1]
    return yaml.safe_load(option.removeprefix("splits=").rstrip(".,"))


@pytest.mark.parametrize(
    ("folders", "labels", "images"),
    [
        (["images", "masks"], "masks/", "images"),
        (["images/training", "images/validation", "annotations/training"], "annot", "images"),
        (["leftImg8bit/train/x", "gtFine/train/x"], "gtFine/", "leftImg8bit"),
        (["imagesTr", "imagesTs", "labelsTr"], "labelsTr/", "imagesTr"),
        (["train/images", "test/images", "train/masks"], "train/masks/", "train/images"),
    ],
)
def test_labels_beside_images_are_refused_and_never_classes(folders, labels, images):
    for splits in (None, "none", {"train": "*"}):
        with pytest.raises(UserError, match=f"got {labels}.* beside {images}/") as caught:
            listed(*folders, splits=splits)
        assert caught.value.place == str(ROOT)
    patterns = patterns_to_copy(caught.value.problem)
    inside = {
        part: f"{images}/{name}/*"
        for part, name in (("train", "train"), ("train", "training"), ("validation", "validation"))
        if any(f"{folder}/".startswith(f"{images}/{name}/") for folder in folders)
    }
    assert patterns == (inside or {"train": f"{images}/*"})
    taken = {folder for folder in folders if f"{folder}/".startswith(f"{images}/")}
    assert set(listed(*folders, splits=patterns)[1]) == taken


@pytest.mark.parametrize(
    ("folders", "patterns"),
    [
        (["train_a", "test_b"], {"train": "train_a", "test": "test_b"}),
        (
            ["fold1_train", "fold1_test", "fold2_train", "fold2_test"],
            {"train": "fold1_train", "test": "fold1_test"},
        ),
        ([*(f"digit{number}" for number in range(10)), "test"], {"train": "", "test": "test"}),
        (["bus", "car", "train"], {"train": "train"}),
        (["train", "eval"], {"train": "train", "test": "eval"}),
        (["imagesTr", "imagesTs"], {"train": "imagesTr", "test": "imagesTs"}),
        (["trainA", "trainB", "testA", "testB"], {"train": "trainA", "test": "testA"}),
        (
            ["Training", "PublicTest", "PrivateTest"],
            {"train": "Training", "test": "PrivateTest"},
        ),
        (
            ["dogs_train", "dogs_test", "cats_train", "cats_test"],
            {"train": "cats_train", "test": "cats_test"},
        ),
        (["animals_train/a", "animals_test/b"], {"train": "animals_train", "test": "animals_test"}),
        (["VOC_train_val", "VOC_test"], {"train": "VOC_train_val", "test": "VOC_test"}),
        (
            ["MICCAI_BraTS_Training", "MICCAI_BraTS_Validation"],
            {"train": "MICCAI_BraTS_Training", "validation": "MICCAI_BraTS_Validation"},
        ),
        (["train", "val", "valid"], {"train": "train", "validation": "val"}),
        (["test/a", "test/b"], {"train": "", "test": "test"}),
        (["set/val", "set/test"], {"train": "", "validation": "set/val", "test": "set/test"}),
        (["lyon_train", "oslo_test"], {"train": "lyon_train", "test": "oslo_test"}),
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused_with_both_readings(folders, patterns):
    with pytest.raises(UserError) as caught:
        listed(*folders)
    assert caught.value.place == str(ROOT)
    for word in ("splits or classes", "--set splits=none"):
        assert word in caught.value.problem
    wanted = {split: f"{folder}/*" if folder else "GLOB" for split, folder in patterns.items()}
    assert patterns_to_copy(caught.value.problem) == wanted
    listing, parts = listed(*folders, splits="none")
    assert set(parts.values()) == {0}
    assert len(listing.names) == 2 * len(folders)


def test_several_folders_of_splits_are_refused_by_name():
    with pytest.raises(
        UserError, match=r"cat/ \(test, train\), dog/ \(test, train\).*--data.*splits=none"
    ):
        listed("cat/train", "cat/test", "dog/train", "dog/test")
    assert listed("cat/train", "cat/test", "dog/train", splits="none")[0].classes == (
        "cat",
        "dog",
    )


@pytest.mark.parametrize(
    "folders",
    [
        ["bullet_train", "bus", "test_tube"],
        ["de", "te", "tr"],
        ["Trainer", "Tester"],
        ["attest", "contest"],
    ],
)
def test_names_with_other_words_are_classes(folders):
    listing, parts = listed(*folders)
    assert listing.classes == tuple(sorted(folders))
    assert set(parts.values()) == {0}


@pytest.mark.parametrize(
    ("folders", "train", "others"),
    [
        (["Trainingsdaten/a", "Trainingsdaten/b", "Testdaten/a", "Testdaten/b"], "Trainingsdaten", {"test": "Testdaten"}),  # noqa: E501
        (["x/Lerndaten", "x/Testdaten"], "x/Lerndaten", {"test": "x/Testdaten"}),
        (["labeled/a", "labeled/b", "unlabeled"], "labeled", {"test": "unlabeled"}),
        (["labelled", "unlabelled"], "labelled", {"test": "unlabelled"}),
        (["Trainingsbilder/a", "Validierungsbilder/a", "Testbilder/b", "Testbilder/a"], "Trainingsbilder",  # noqa: E501
         {"validation": "Validierungsbilder", "test": "Testbilder"}),
        (["Trainingssatz/a", "Testsatz/a"], "Trainingssatz", {"test": "Testsatz"}),
        (["Lerndaten_2/a", "Testdaten_2/a", "docs"], "Lerndaten_2", {"test": "Testdaten_2"}),
    ],
)  # fmt: skip
def test_folders_like_splits_in_other_words_are_refused_with_patterns_to_copy(
    folders, train, others
):
    patterns = {"train": f"{train}/*"} | {name: f"{each}/*" for name, each in others.items()}
    with pytest.raises(UserError) as caught:
        listed(*folders)
    assert patterns_to_copy(caught.value.problem) == patterns
    assert "--set splits=none" in caught.value.problem
    listing, parts = listed(*folders, splits=patterns)
    number = {"train": 0, "validation": 1, "test": 2}
    for name, folder in {"train": train, **others}.items():
        taken = {each for each in parts if f"{each}/".startswith(f"{folder}/")}
        assert {parts[each] for each in taken} == {number[name]}
    deep = [each for each in folders if each.count("/") > train.count("/")]
    classes = {each.rpartition("/")[2] for each in deep}
    assert set(listing.classes or ()) == (classes if len(classes) > 1 else set())
    assert listed(*folders, splits="none")[0].notes[:1] != listing.notes[:1]


@pytest.mark.parametrize(
    "folders",
    [
        ["test_tube", "trained"],
        ["trained/x", "tested/x"],
        ["trainers", "testers"],
        ["trains", "vans"],
        ["labeled/a", "unlabeled/b", "unlabeled/c"],
        ["Lernende", "Testbilder"],
        ["Lerndaten", "Rohdaten"],
    ],
)
def test_class_folders_that_only_begin_like_splits_are_classes(folders):
    listing, parts = listed(*folders)
    assert set(parts.values()) == {0}
    assert set(listing.classes) == {folder.partition("/")[0] for folder in folders}


def test_patterns_may_cross_class_folders():
    splits = {"train": "*/train/*", "test": "*/test/*"}
    listing, parts = listed("cat/train", "cat/test", "dog/train", "dog/test", "x", splits=splits)
    assert parts == {"cat/train": 0, "cat/test": 2, "dog/train": 0, "dog/test": 2}
    assert listing.classes == ("cat", "dog")
    assert listing.notes[0] == "Split: train */train/*, test */test/*"
    assert listing.notes[-1] == "Left out: 2 image files in x/"


@pytest.mark.parametrize(
    ("splits", "place", "said"),
    [
        ({"train": "a/*", "test": "c/*"}, "data.splits.test", "such as 'a/0.png'"),
        ({"train": "*", "test": "b/*"}, "data.splits", "two patterns that take in 'b/0.png'"),
        ({"validation": "a/*", "test": "b/*"}, "data.splits", "must have `train`"),
    ],
)
def test_patterns_that_part_no_files_are_refused(splits, place, said):
    with pytest.raises(UserError) as caught:
        listed("a", "b", splits=splits)
    assert caught.value.place == place
    assert said in caught.value.problem


@pytest.mark.parametrize(
    ("folders", "parts"),
    [
        (["TrainVal/a", "TrainVal/b", "Test/a"], [0, 0, 2]),
        (["train-validation", "test"], [0, 2]),
    ],
)
def test_names_with_two_words_of_splits(folders, parts):
    assert listed(*folders)[1] == dict(zip(folders, parts, strict=True))


@pytest.mark.parametrize(
    ("folders", "classes", "unlabelled"),
    [
        (["train/n1/images", "train/n2/images", "val/images", "test/images"], ("n1", "n2"), (1, 2)),
        (["train/n1", "train/n2", "test"], ("n1", "n2"), (2,)),
        (["train/n1", "train/n2", "val/n1", "val/n2", "test/test"], ("n1", "n2"), (2,)),
        (["train/n1", "train/n2", "test/unknown"], ("n1", "n2"), (2,)),
        (["train", "test/n1", "test/n2"], ("n1", "n2"), (0,)),
        (["train/train/A", "train/train/B", "test/test"], ("A", "B"), (2,)),
        (["train/photo", "train/sketch", "test/photo"], ("photo", "sketch"), ()),
        (["train/images", "val/images"], None, ()),
    ],
)
def test_labels_of_a_split_that_has_none_are_absent(folders, classes, unlabelled):
    listing, _ = listed(*folders)
    assert listing.classes == classes
    assert listing.unlabelled == unlabelled
    expected = [
        name for name, part in (("train", 0), ("validation", 1), ("test", 2)) if part in unlabelled
    ]
    notes = [note for note in listing.notes if note.startswith("Labels")]
    assert notes == (
        [f"Labels: none for the {' and '.join(expected)} images"] if unlabelled else []
    )


def test_classes_that_only_test_images_have_are_named():
    listing, _ = listed("train/a", "train/b", "train/c", "val/a", "test/a", "test/b", "test/z")
    assert (
        "FID: not measured, because no training image has the classes z of test images"
        in listing.notes
    )
    assert not any("FID" in note for note in listed("train/a", "train/b", "test/b")[0].notes)


def opened(root: Path):
    settings = DataSettings(dataset="folder", binarisation="none")
    return open_dataset(settings, root=root, say=lambda text: None)


@pytest.mark.parametrize(
    ("test", "unlabelled"),
    [({"test/images": 6}, True), ({"test": 6}, True), ({"test/x": 3, "test/y": 3}, False)],
)
def test_nothing_is_made_of_labels_that_are_absent(tmp_path, test, unlabelled):
    write_tree(tmp_path, {"train/x/images": 8, "train/y/images": 8, **test}, shape=(8, 8, 3))
    data = opened(tmp_path)
    assert data.sizes == (14, 2, 6)
    assert data.train.classes == data.validation.classes == ("x", "y")
    assert set(np.unique(data.train.labels)) == {0, 1}
    assert data.test.classes == (None if unlabelled else ("x", "y"))
    assert ("Labels: none for the test images" in describe_plan(data)) == unlabelled
    assert (open_classifier(data, say=lambda text: None) is None) == unlabelled
    vae = build_vae(
        ModelSettings(prior="mixture", components=2, likelihood="gaussian", latent_size=2),
        (3, 8, 8),
        seed=0,
    )
    images = torch.rand(6, 3, 8, 8)
    _, arrays = gallery(vae, images, data.test.labels, data.test.classes, seed=0)
    assert ({"embedding_labels", "component_classes"} <= set(arrays)) != unlabelled
    assert "component_weights" in arrays
    figure = latent_map(arrays)
    assert bool(figure.legends or figure.axes[0].get_legend()) != unlabelled


def test_test_images_of_other_classes_have_no_classifier(tmp_path):
    write_tree(tmp_path, {"train/a": 6, "train/b": 6, "test/c": 3, "test/d": 3})
    data = opened(tmp_path)
    assert data.test.classes == ("a", "b", "c", "d")
    assert not data.taught
    assert open_classifier(data, say=pytest.fail) is None
