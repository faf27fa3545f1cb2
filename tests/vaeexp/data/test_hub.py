"""Data sets of the Hugging Face Hub: listed and downloaded from a real server, and their columns
read as written.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from file_server import serving
from hub_server import IMAGE, class_label, image_column, image_shard, publish, shard
from image_files import noise

from sweeps.errors import UserError
from vaeexp.data import Dataset, describe_plan, http_files, hub_files, open_dataset
from vaeexp.data.datasets import find_definition
from vaeexp.data.formats import TEST, TRAINING, VALIDATION, RawImages, Source
from vaeexp.settings import DataSettings


@pytest.fixture
def hub(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VAEEXP_OFFLINE")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(http_files, "PAUSE_SECONDS", 0.0)
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", f"{server.address}/")
        yield server


def opened(name: str = "hf:me/pets", root: Path | None = None, **changes) -> Dataset:
    settings = DataSettings(
        **{"dataset": name, "binarisation": "none", "validation_size": 5, **changes}
    )
    return open_dataset(settings, root=root, say=lambda text: None)


def read(root: Path, scratch: Path, **changes) -> RawImages:
    """What the layout reads below a folder."""
    settings = DataSettings(**{"dataset": "hf:me/pets", "binarisation": "none", **changes})
    definition = find_definition("hf:me/pets")
    paths = definition.layout.find(definition, root)
    source = Source(definition=definition, settings=settings, root=root, paths=paths, words="")
    scratch.mkdir(exist_ok=True)
    return definition.layout.read(source, scratch, lambda text: None)


def laid(folder: Path, splits: dict[str, bytes]) -> Path:
    for name, content in splits.items():
        path = folder / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def kept(cache: Path) -> list[str]:
    return [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def channels_first(images: np.ndarray) -> np.ndarray:
    return images.transpose(0, 3, 1, 2)


# ---- names and listings ----


def test_a_data_set_of_the_hub_arrives_as_written_with_its_splits_and_classes(hub, cache):
    first, *_ = image_shard(20, 1)
    second, *_ = image_shard(10, 2)
    validation, valid_images, _ = image_shard(8, 3)
    test, images, labels = image_shard(9, 4)
    splits = {"train": [first, second], "validation": [validation], "test": [test]}
    publish(hub, "me/pets", splits | {"extra": [b"not asked for"]})
    data = opened(validation_size=8)
    assert data.sizes == (30, 8, 9)
    assert data.title == "me/pets, 47 images"
    assert data.classes == ("cat", "dog", "eel")
    np.testing.assert_array_equal(data.test.images, channels_first(images))
    np.testing.assert_array_equal(data.test.labels, labels)
    stored = {np.ascontiguousarray(each).tobytes() for each in channels_first(valid_images)}
    assert {image.tobytes() for image in data.validation.images} == stored
    assert any("train, validation, test" in line for line in describe_plan(data))
    assert not [path for _, path, _ in hub.asked if "extra" in path]
    asked = len(hub.asked)
    shutil.rmtree(cache / "prepared")
    assert opened(validation_size=8).fingerprint == data.fingerprint
    assert len(hub.asked) == asked
    folders = [path.name for part in ("downloads", "prepared") for path in (cache / part).iterdir()]
    assert all(name.startswith("hf--me--pets") for name in folders)


@pytest.mark.parametrize(
    "name", ["hf:", "hf:pets", "hf:me/", "hf:/pets", "hf:me/pets/a/b", "hf:../pets", "hf:me/p ts"]
)
def test_other_names_are_refused_with_what_would_do(name):
    with pytest.raises(UserError, match=r"must be hf:OWNER/NAME.* Try hf:ylecun/mnist") as caught:
        find_definition(name)
    assert caught.value.place == "data.dataset"


def test_an_unknown_name_is_told_of_the_hub():
    with pytest.raises(UserError, match=r"must be one of mnist, .*, arrays, or hf:OWNER/NAME"):
        find_definition("nothing like this")


def test_a_configuration_is_named_where_there_are_several(hub):
    content, *_ = image_shard(30, 1)
    publish(hub, "me/pets", {"train": [content]}, "small")
    assert opened().sizes[0] > 0
    publish(hub, "me/many", {"train": [content]}, "small")
    publish(hub, "me/many", {"train": [content]}, "large")
    with pytest.raises(UserError, match=r"configurations small, large; .* Try hf:me/many/small"):
        opened("hf:me/many")
    with pytest.raises(UserError, match=r"'huge' of me/many; must be one of small, large"):
        opened("hf:me/many/huge")
    assert opened("hf:me/many/large").fingerprint
    publish(hub, "me/more", {"train": [content]}, "other")
    publish(hub, "me/more", {"train": [content]}, "default")
    assert opened("hf:me/more").fingerprint


def test_the_only_split_is_split_whatever_its_name(hub):
    content, *_ = image_shard(30, 1)
    publish(hub, "me/pets", {"everything": [content]})
    assert sum(opened().sizes) == 30


def test_a_split_that_the_hub_cuts_is_read_with_a_note(hub):
    content, *_ = image_shard(30, 1)
    publish(hub, "me/pets", {"partial-train": [content]})
    assert any("only the first rows of train" in line for line in describe_plan(opened()))


def test_a_token_opens_a_private_data_set_and_is_kept_nowhere(hub, cache, monkeypatch):
    content, *_ = image_shard(30, 1)
    publish(hub, "me/pets", {"train": [content]})
    hub.tokens |= dict.fromkeys(hub.files, "s3cret")
    with pytest.raises(UserError, match=r"answers 401 .*HF_TOKEN"):
        opened()
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    assert opened().fingerprint
    for path in cache.rglob("*"):
        assert not path.is_file() or b"s3cret" not in path.read_bytes()


def test_a_token_goes_to_no_other_host(hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "s3cret")
    content, *_ = image_shard(30, 1)
    with serving() as other:
        publish(hub, "me/pets", {"train": [content]})
        listing = hub.files["/api/datasets/me/pets/parquet"]
        elsewhere = listing.replace(hub.address.encode(), other.address.encode())
        hub.files["/api/datasets/me/pets/parquet"] = elsewhere
        other.files = hub.files
        assert opened().fingerprint
        assert other.asked
        assert all("Authorization" not in headers for *_, headers in other.asked)


def test_files_of_the_public_hub_come_from_the_endpoint(hub):
    content, *_ = image_shard(30, 1)
    publish(hub, "me/pets", {"train": [content]})
    path = "/api/datasets/me/pets/parquet"
    hub.files[path] = hub.files[path].replace(hub.address.encode(), b"https://huggingface.co")
    assert opened().fingerprint


@pytest.mark.parametrize("damage", ["cut", "gone", "offline", "listing", "empty", "silent"])
def test_what_does_not_arrive_leaves_nothing_and_says_why(hub, cache, monkeypatch, damage):
    content, *_ = image_shard(30, 1)
    publish(hub, "me/pets", {"train": [content, content]})
    listing = "/api/datasets/me/pets/parquet"
    last = f"{listing}/default/train/1.parquet"
    words = {
        "cut": r"1.parquet broke off 4 times",
        "gone": r"1.parquet answers 404",
        "offline": r"VAEEXP_OFFLINE is set",
        "listing": r"answers 404 .*the Hub has no me/pets",
        "empty": r"parquet lists no parquet files",
        "silent": r"the connection was silent",
    }
    if damage == "cut":
        hub.cuts[last] = [10] * 9
    elif damage == "gone":
        hub.statuses[last] = 404
    elif damage == "offline":
        monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    elif damage == "listing":
        del hub.files[listing]
    elif damage == "empty":
        hub.files[listing] = b"{}"
    else:
        monkeypatch.setattr(hub_files, "STALL_SECONDS", 0.1)
        hub.stalls[listing] = 1.0
    with pytest.raises(UserError, match=words[damage]) as caught:
        opened()
    assert "\n" not in str(caught.value)
    assert kept(cache) == []


@pytest.mark.parametrize(
    "listing", [[], "text", {"default": []}, {"default": {"train": 3}}, {"default": {"train": [3]}}]
)
def test_other_listings_are_named(hub, listing):
    hub.files["/api/datasets/me/pets/parquet"] = json.dumps(listing).encode()
    with pytest.raises(UserError, match=r"lists no parquet files"):
        opened()


def test_splits_without_training_images_are_named(hub):
    publish(hub, "me/pets", {"test": [image_shard(9, 1)[0]], "other": [b""]})
    with pytest.raises(UserError, match="got the splits test; must have train"):
        opened()


# ---- files that the user gives ----


@pytest.mark.parametrize("below", ["", "me/pets", "me--pets", "pets"])
@pytest.mark.parametrize("stem", ["{}-00000-of-00001", "data/{}-00000-of-00001-a1b2", "{}/0000"])
def test_files_of_the_hub_are_found_in_a_folder(tmp_path, below, stem):
    train, *_ = image_shard(30, 1)
    test, images, _ = image_shard(9, 2)
    folder = tmp_path / "data" / below
    laid(folder, {stem.format("train"): train, stem.format("test"): test})
    data = opened(root=tmp_path / "data")
    np.testing.assert_array_equal(data.test.images, channels_first(images))


def test_a_folder_without_such_files_is_named(tmp_path):
    with pytest.raises(UserError, match="must be the parquet files of me/pets"):
        opened(root=tmp_path)


def test_damaged_files_are_named(tmp_path):
    content, *_ = image_shard(30, 1)
    root = laid(tmp_path / "data", {"train-00000-of-00002": content})
    path = root / "train-00001-of-00002.parquet"
    path.write_bytes(content[:-20])
    with pytest.raises(UserError, match="must be a whole parquet file") as caught:
        opened(root=root)
    assert caught.value.place == str(path)
    path.write_bytes(shard({"other": pa.array([1, 2])}))
    with pytest.raises(UserError, match="without the columns image, label") as caught:
        opened(root=root)


# ---- columns ----


def test_images_of_several_sizes_need_a_size(tmp_path):
    images = [noise(8, 6, 3, seed=1), *noise(29, 8, 8, 3)]
    root = laid(tmp_path / "data", {"train": shard({"image": image_column(images)})})
    with pytest.raises(UserError, match="different sizes") as caught:
        opened(root=root)
    assert caught.value.place == str(root)
    assert opened(root=root, image_size=8).image_shape == (3, 8, 8)


def test_images_that_cannot_be_read_are_left_out_or_refused(tmp_path):
    rows = image_column(noise(30, 8, 6, 3)).to_pylist()
    rows[3] = None
    rows[4] = {"bytes": b"no image", "path": "4.png"}
    root = laid(tmp_path / "data", {"train": shard({"image": pa.array(rows, IMAGE)})})
    with pytest.raises(UserError, match="2 of 30 image files cannot be read"):
        opened(root=root)
    data = opened(root=root, unreadable_share=0.1)
    assert sum(data.sizes) == 28


def test_grey_images_and_a_column_of_plain_bytes(tmp_path):
    images = noise(30, 8, 6)
    plain = [row["bytes"] for row in image_column(images).to_pylist()]
    root = laid(tmp_path / "data", {"train": shard({"png": pa.array(plain, pa.binary())})})
    raw = read(root, tmp_path / "scratch")
    np.testing.assert_array_equal(raw.images[:, 0], images)
    assert raw.classes is None


def test_several_columns_of_images_or_labels_are_told_apart_by_settings(tmp_path):
    images = noise(30, 8, 6, 3)
    masks = noise(30, 8, 6, seed=1)
    columns = {
        "image": image_column(images),
        "mask": image_column(masks),
        "label": pa.array(np.arange(30) % 2),
        "colour": pa.array(np.arange(30) % 3),
        "name": pa.array([("ann", "bob")[place % 2] for place in range(30)]),
    }
    root = laid(tmp_path / "data", {"train": shard(columns)})
    with pytest.raises(UserError, match=r"several columns of images: image, mask; .*images=image"):
        read(root, tmp_path / "scratch")
    raw = read(root, tmp_path / "scratch", images="mask")
    np.testing.assert_array_equal(raw.images[:, 0], masks)
    assert raw.classes is None
    assert any("label, colour may be meant" in note for note in raw.notes)
    raw = read(root, tmp_path / "scratch", images="image", labels="colour", factors="label")
    np.testing.assert_array_equal(raw.images, channels_first(images))
    np.testing.assert_array_equal(raw.labels, np.arange(30) % 3)
    np.testing.assert_array_equal(raw.factors, (np.arange(30) % 2)[:, None])
    raw = read(root, tmp_path / "scratch", images="image", labels="name", split_by="name")
    assert raw.classes == ("ann", "bob")
    assert raw.groups.tolist()[:2] == ["ann", "bob"]
    for setting in ("images", "labels", "split_by", "factors"):
        with pytest.raises(UserError, match="must be a column of me/pets: image, mask") as caught:
            read(root, tmp_path / "scratch", **{"images": "image", setting: "nmae"})
        assert caught.value.place == f"data.{setting}"
    with pytest.raises(UserError, match="a column of type string; must be images"):
        read(root, tmp_path / "scratch", images="name")


def test_other_columns_are_prepared_again(tmp_path):
    columns = {"a": image_column(noise(30, 8, 6)), "b": image_column(noise(30, 8, 6, seed=1))}
    root = laid(tmp_path / "data", {"train": shard(columns)})
    first, second = opened(root=root, images="a"), opened(root=root, images="b")
    assert first.fingerprint != second.fingerprint


def test_names_of_classes_tell_the_labels_from_other_whole_numbers(tmp_path):
    columns = {
        "image": image_column(noise(30, 8, 6)),
        "id": pa.array(np.arange(30)),
        "kind": pa.array(np.arange(30) % 2),
    }
    content = shard(columns, class_label("kind", ["cat", "dog", "never"]))
    raw = read(laid(tmp_path / "data", {"train": content}), tmp_path / "scratch")
    assert raw.classes == ("cat", "dog", "never")
    np.testing.assert_array_equal(raw.labels, np.arange(30) % 2)


def test_a_test_split_of_hidden_labels_has_none(tmp_path):
    train, *_ = image_shard(30, 1)
    columns = {"image": image_column(noise(9, 8, 6, 3)), "label": pa.array([-1] * 9)}
    hidden = shard(columns, class_label("label", ["cat", "dog", "eel"]))
    root = laid(tmp_path / "data", {"train": train, "test": hidden})
    raw = read(root, tmp_path / "scratch")
    assert raw.unlabelled == (TEST,)
    assert raw.classes == ("cat", "dog", "eel")


@pytest.mark.parametrize(
    ("shape", "settings", "expected"),
    [
        ((5,), {}, (1, 1, 5)),
        ((5, 4), {}, (1, 5, 4)),
        ((5, 4, 3), {}, (3, 5, 4)),
        ((3, 5, 4), {"channels_first": True}, (3, 5, 4)),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.int64])
def test_lists_of_numbers_are_read_in_their_own_type(tmp_path, shape, settings, expected, kind):
    train, test = (noise(count, *shape, seed=count).astype(kind) for count in (30, 9))
    shards = {}
    for split, values in (("train", train), ("test", test)):
        column = pa.array(values.tolist(), _lists(pa.from_numpy_dtype(kind), len(shape)))
        shards[split] = shard({"x": column, "y": pa.array(np.arange(len(values)) % 2)})
    raw = read(laid(tmp_path / "data", shards), tmp_path / "scratch", **settings)
    assert raw.images.dtype == kind
    both = np.concatenate([train, test])
    placed = both if len(shape) < 3 or settings else channels_first(both)
    np.testing.assert_array_equal(raw.images, placed.reshape(-1, *expected))
    assert (raw.parts == np.repeat([TRAINING, TEST], [30, 9])).all()
    assert raw.classes == ("0", "1")


def _lists(kind: pa.DataType, depth: int) -> pa.DataType:
    for _ in range(depth):
        kind = pa.list_(kind)
    return kind


def test_columns_of_numbers_are_a_table(tmp_path):
    columns = {
        "height": pa.array(np.linspace(0, 1, 30)),
        "width": pa.array(np.arange(30)),
        "name": pa.array(["a", "b"] * 15),
    }
    root = laid(tmp_path / "data", {"train": shard(columns), "validation": shard(columns)})
    raw = read(root, tmp_path / "scratch", labels="name")
    assert raw.features == ("height", "width")
    assert raw.images.shape == (60, 1, 1, 2)
    np.testing.assert_array_equal(raw.images[30:, 0, 0, 1], np.arange(30))
    assert raw.classes == ("a", "b")
    assert (raw.parts == np.repeat([TRAINING, VALIDATION], 30)).all()
    with pytest.raises(UserError, match="must be left out for numbers"):
        read(root, tmp_path / "scratch", image_size=8)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([[1, 2], [3]], "x has 1 to 2 values a row"),
        ([[1, 2], None], "x is empty in 1 rows"),
        ([[1, 2], [3, None]], "x lacks 1 values"),
    ],
)
def test_lists_of_other_lengths_are_refused(tmp_path, rows, words):
    column = pa.array(rows, pa.list_(pa.int64()))
    root = laid(tmp_path / "data", {"train": shard({"x": column})})
    with pytest.raises(UserError, match=words):
        read(root, tmp_path / "scratch")


def test_texts_alone_are_refused(tmp_path):
    root = laid(tmp_path / "data", {"train": shard({"text": pa.array(["a", "b"])})})
    with pytest.raises(UserError, match=r"text \(string\); must have images or numbers"):
        read(root, tmp_path / "scratch")
