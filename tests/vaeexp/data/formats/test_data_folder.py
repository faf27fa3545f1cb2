"""A folder of images: splits, classes, sizes, unreadable files, the cache, and decoding by several
processes.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from image_files import noise, write_image, write_tree
from PIL import Image

from sweeps.errors import UserError
from sweeps.source import Source
from vaeexp.data import describe_plan, open_dataset
from vaeexp.data.formats import image_files as decoding
from vaeexp.data.formats.folder_tree import list_tree
from vaeexp.data.formats.image_folder import find
from vaeexp.data.formats.image_pixels import read_header, read_pixels
from vaeexp.settings import DataSettings


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("VAEEXP_CACHE", str(folder))
    return folder


def opened(root: Path, **changes):
    said: list[str] = []
    settings = DataSettings(**{"dataset": "folder", "binarisation": "none", **changes})
    return open_dataset(settings, root=root, say=said.append), said


def keys(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


def stored(written: dict[str, np.ndarray], below: str) -> set[bytes]:
    return keys(
        [pixels.transpose(2, 0, 1) for name, pixels in written.items() if name.startswith(below)]
    )


def test_split_folders_with_classes(tmp_path):
    folders = {"train/b": 12, "train/a": 8, "val/a": 4, "val/b": 4, "test/a": 3, "test/b": 2}
    written = write_tree(tmp_path, folders)
    data, _ = opened(tmp_path)
    assert data.sizes == (20, 8, 5)
    assert data.classes == ("a", "b")
    assert keys(data.train.images) == stored(written, "train/")
    assert keys(data.validation.images) == stored(written, "val/")
    assert keys(data.test.images) == stored(written, "test/")
    assert keys(data.test.images[data.test.labels == 0]) == stored(written, "test/a")
    assert keys(data.train.images[data.train.labels == 1]) == stored(written, "train/b")
    assert data.title == f"{tmp_path.name}, 33 images"
    assert str(tmp_path) not in str(data.describe())
    fewer, _ = opened(tmp_path, validation_size=5)
    assert fewer.sizes == (20, 5, 5)
    assert keys(fewer.validation.images) < stored(written, "val/")
    assert set(fewer.validation.labels) == {0, 1}  # not the first files by name


def test_without_split_folders_a_tenth_is_for_test_for_ever(tmp_path):
    written = write_tree(tmp_path, {"cat": 30, "dog": 20})
    first, _ = opened(tmp_path)
    other, _ = opened(tmp_path, split_seed=1)
    assert first.sizes == other.sizes == (40, 5, 5)
    assert keys(first.test.images) == keys(other.test.images)
    assert keys(first.validation.images) != keys(other.validation.images)
    assert first.fingerprint != other.fingerprint
    everything = [keys(split.images) for split in (first.train, first.validation, first.test)]
    assert set.union(*everything) == stored(written, "")
    assert sum(map(len, everything)) == 50
    assert first.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("names", "classes", "parts"),
    [
        (["a.png", "b.png", "c.png"], None, None),
        (["x/a.png", "y/b.png", "c.png"], None, None),
        (["x/deep/a.png", "y/b.png", "y/c.png"], ("x", "y"), None),
        (["train/x/a.png", "train/y/b.png", "test/c.png"], ("x", "y"), [0, 0, 2]),
        (["train/x/a.png", "train/y/b.png", "train/y/c.png"], ("x", "y"), None),
        (["Train/x/a.png", "TEST/x/b.png", "Train/y/c.png"], ("x", "y"), [0, 2, 0]),
        (["all/of/it/x/a.png", "all/of/it/y/b.png", "all/of/it/y/c.png"], ("x", "y"), None),
        (["set/train/a.png", "set/test/b.png", "set/train/c.png"], None, [0, 2, 0]),
    ],
)
def test_what_folders_mean(tmp_path, names, classes, parts):
    listing = list_tree(tmp_path, names)
    assert listing.classes == classes
    assert listing.parts.tolist() == (parts or [0, 0, 0])
    assert len(listing.names) == len(listing.labels) == len(listing.parts)


def test_hidden_and_other_files_are_passed_over(tmp_path):
    write_tree(tmp_path, {"a": 2, ".hidden": 2})
    (tmp_path / "a" / "notes.txt").write_text("no image")
    (tmp_path / "a" / ".also.png").write_text("hidden")
    write_image(tmp_path / "a" / "UPPER.PNG", noise(4, 4, 3))
    assert [path.name for path in find(None, tmp_path)] == ["000.png", "001.png", "UPPER.PNG"]
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match="got a folder without image files; must be"):
        opened(tmp_path / "none")
    with pytest.raises(UserError, match="there is no such file or folder"):
        opened(tmp_path / "absent")
    with pytest.raises(UserError, match="needs --data"):
        opened(None)


def test_sizes_that_differ_need_a_size(tmp_path):
    write_tree(tmp_path, {"a": 9}, shape=(6, 5, 3))
    write_image(tmp_path / "a" / "wide.png", noise(8, 20, 3))
    with pytest.raises(
        UserError, match=r"6 × 5 \(9 images\), 8 × 20 \(1 image\); must be one size. Try image_size"
    ) as caught:
        opened(tmp_path)
    assert caught.value.place == str(tmp_path)
    data, said = opened(tmp_path, image_size=[4, 3])
    assert data.image_shape == (3, 4, 3)
    assert (
        describe_plan(data)[0]
        == "Files: 10 .png; height 6 to 8, width 5 to 20 pixels; all in colour"
    )
    assert "4 × 3 pixels, cropped" in describe_plan(data)[1]
    assert any("cropped" in line for line in said)


def test_crop_keeps_proportions_and_none_keeps_the_whole(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255  # white in the middle third
    write_image(tmp_path / "a.png", pixels)
    assert read_pixels(tmp_path / "a.png", (3, 5, 5), "center")[0].min() > 200
    stretched = read_pixels(tmp_path / "a.png", (3, 6, 6), "none")[0]
    assert stretched[:, :, 0].max() < 50 < 200 < stretched[:, :, 3].min()
    np.testing.assert_array_equal(
        read_pixels(tmp_path / "a.png", (3, 10, 30), "center")[0], pixels.transpose(2, 0, 1)
    )


def test_large_photographs_upright_and_sixteen_bits(tmp_path):
    pixels = np.zeros((400, 640, 3), np.uint8)
    pixels[:, :320, 0] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned a quarter to the right
    write_image(tmp_path / "turned.jpg", pixels, exif=exif)
    assert read_header(tmp_path / "turned.jpg")[:2] == (640, 400)
    shown = read_pixels(tmp_path / "turned.jpg", (3, 16, 10), "center")[0]
    assert shown[0, :7].min() > 150
    assert shown[0, 9:].max() < 50
    deep = (np.arange(65_536, dtype=np.uint16)).reshape(256, 256)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert read_header(tmp_path / "deep.png").grey
    np.testing.assert_array_equal(
        read_pixels(tmp_path / "deep.png", (1, 256, 256), "none")[0][0], deep >> 8
    )


def test_grey_images_have_one_channel_and_may_be_binarised(tmp_path):
    written = write_tree(tmp_path, {"a": 20}, shape=(6, 5))
    data, _ = opened(tmp_path)
    assert data.image_shape == (1, 6, 5)
    assert keys(data.train.images[:, 0]) < keys(written.values())
    static, _ = opened(tmp_path, binarisation="static")
    assert set(np.unique(static.train.images)) == {0, 1}
    colour, _ = opened(tmp_path, image_channels=3)
    assert colour.image_shape == (3, 6, 5)
    write_image(tmp_path / "a" / "colour.png", noise(6, 5, 3))
    assert opened(tmp_path)[0].image_shape == (3, 6, 5)
    with pytest.raises(UserError, match="one channel"):
        opened(tmp_path, binarisation="dynamic")


def test_unreadable_files_are_left_out_and_listed_up_to_a_share(tmp_path, cache):
    written = write_tree(tmp_path, {"train/a": 30, "train/b": 30, "test/a": 5, "test/b": 5})
    (tmp_path / "train/a/cut.png").write_bytes((tmp_path / "train/a/000.png").read_bytes()[:60])
    (tmp_path / "test/b/text.jpg").write_text("no image")
    with pytest.raises(
        UserError, match=r"2 of 72 .*text\.jpg \(no image that .*\), .*cut\.png .*unreadable_share"
    ) as caught:
        opened(tmp_path)
    assert caught.value.place == str(tmp_path)
    assert list(cache.rglob("*.npy")) == []
    data, said = opened(tmp_path, unreadable_share=0.05)
    assert data.sizes == (54, 6, 10)
    assert keys(data.test.images) == stored(written, "test/")
    assert any("2 of 72" in line for line in said)
    assert "Left out: 2 of 72 files" in "\n".join(describe_plan(data))
    listed = json.loads((data.folder / "meta.json").read_text())["facts"]["unreadable"]
    assert [name for _, name, _ in listed] == ["test/b/text.jpg", "train/a/cut.png"]
    with pytest.raises(UserError, match="unreadable_share"):  # from the cache, too
        opened(tmp_path, unreadable_share=0.01)


def test_decoding_happens_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    write_tree(tmp_path, {"a": 12})
    data, said = opened(tmp_path)
    assert said
    calls = []
    monkeypatch.setattr(
        decoding,
        "read_pixels",
        lambda path, **options: calls.append(path) or read_pixels(path, **options),
    )
    again, said = opened(tmp_path)
    assert again == data
    assert (calls, said) == ([], [])
    limited, _ = opened(tmp_path, train_size=3)
    assert limited.folder == data.folder
    os.utime(tmp_path / "a" / "000.png", ns=(1, 1))
    touched, _ = opened(tmp_path)
    assert len(calls) == 12
    assert touched.fingerprint == data.fingerprint  # the pixels are the same
    write_image(tmp_path / "a" / "000.png", noise(6, 5, 3, seed=99))
    assert opened(tmp_path)[0].fingerprint != data.fingerprint


def test_a_process_that_decodes_with_other_code_is_refused(monkeypatch):
    monkeypatch.setattr("sweeps.source.source_of", lambda package: Source("0", "0" * 64, "/here"))
    monkeypatch.setattr(decoding, "usable_cores", lambda: 2)
    problem = r"^a process that decodes images: runs other code than this process: sweeps"
    with pytest.raises(UserError, match=problem), decoding._workers(10_000) as spread:
        list(spread(len, ["never"]))


def test_processes_decode_the_same_and_leave_no_pixels_behind(tmp_path, monkeypatch):
    write_tree(tmp_path, {"a": 70, "b": 70})
    (tmp_path / "b" / "cut.png").write_bytes(b"\x89PNG")
    settings = DataSettings(dataset="folder", binarisation="none", image_size=8)
    listing = list_tree(
        tmp_path, [path.relative_to(tmp_path).as_posix() for path in find(None, tmp_path)]
    )
    monkeypatch.setattr(decoding, "_FILES_PER_PROCESS", 70)
    raws = []
    for cores in (1, 2):
        scratch = tmp_path.parent / f"scratch-{cores}"
        scratch.mkdir()
        monkeypatch.setattr(decoding, "usable_cores", lambda cores=cores: cores)
        raws.append(decoding.decode(listing, settings, scratch, lambda text: None))
    assert (
        raws[0].unreadable
        == raws[1].unreadable
        == ((140, "b/cut.png", raws[0].unreadable[0].problem),)
    )
    np.testing.assert_array_equal(raws[0].images, raws[1].images)
    data, _ = opened(tmp_path, image_size=8)
    others = {path.name for path in data.folder.iterdir() if path.suffix != ".npy"}
    assert others == {"meta.json", "names.txt"}


def test_the_plan_says_what_was_found_and_what_will_be_done(tmp_path):
    write_tree(tmp_path, {"cat": 10, "dog": 10})
    plan = describe_plan(opened(tmp_path, image_size=4)[0])
    for line in (
        "Files: 20 .png; height 6, width 5 pixels; all in colour",
        "Images: 4 × 4 pixels, cropped to the largest centred rectangle of these proportions and "
        "resized (Lanczos)",
        "Channels: 3 (red, green, blue)",
        "Classes: 2 (cat, dog)",
        "Sizes: 16 images to train on, 2 to validate, 2 to test; split seed 0",
    ):
        assert line in plan


def test_each_real_file_counts_once_whatever_links_lead_to_it(tmp_path):
    """A file that counted twice could be trained on under one name and tested on under the
    other.
    """
    written = write_tree(tmp_path / "elsewhere", {"cat": 10})
    written |= write_tree(tmp_path / "mine", {"dog": 10})
    mine = tmp_path / "mine"
    (mine / "cat").symlink_to(tmp_path / "elsewhere" / "cat")
    (mine / "round").symlink_to(mine)
    (tmp_path / "elsewhere" / "cat" / "back").symlink_to(mine / "dog")
    (mine / "dog" / "forth").symlink_to(tmp_path / "elsewhere" / "cat")
    (mine / "dog" / "again.png").symlink_to(mine / "dog" / "000.png")
    (mine / "dog" / "gone.png").symlink_to(tmp_path / "nothing.png")
    found = [path.relative_to(mine).as_posix() for path in find(None, mine)]
    dogs = [f"dog/{number:03d}.png" for number in range(10)]
    assert found == [*(f"cat/{number:03d}.png" for number in range(10)), *dogs, "dog/gone.png"]
    with pytest.raises(UserError, match=r"dog/gone\.png \(No such file or directory\)"):
        opened(mine)
    data, _ = opened(mine, unreadable_share=0.1)
    assert data.classes == ("cat", "dog")
    assert sum(data.sizes) == 20
    everything = [keys(split.images) for split in (data.train, data.validation, data.test)]
    assert stored(written, "cat") <= set.union(*everything)


def test_names_that_are_not_text_are_read_and_shown_with_escapes(tmp_path):
    root = os.fsencode(tmp_path)
    for folder in (b"cat\xff", b"dog\n"):
        os.mkdir(os.path.join(root, folder))
        for number in range(6):
            write_image(tmp_path / "x.png", noise(6, 5, 3, seed=number))
            os.rename(tmp_path / "x.png", os.path.join(root, folder, b"%d\xe9.png" % number))
    with open(os.path.join(root, b"cat\xff", b"bad\xe9\n.png"), "w") as file:
        file.write("no image")
    with pytest.raises(UserError) as caught:
        opened(tmp_path)
    assert (
        r"cat\udcff/bad\udce9\n.png (no image that Pillow reads)"
        in str(caught.value).encode().decode()
    )
    data, said = opened(tmp_path, unreadable_share=0.5)
    assert data.classes == (r"cat\udcff", r"dog\n")
    "\n".join([*said, *describe_plan(data), str(data.describe())]).encode()
    assert opened(tmp_path, unreadable_share=0.4)[0] == data


def test_the_plan_says_what_of_the_files_is_dropped(tmp_path):
    frames = [Image.fromarray(noise(6, 5, 3, seed=n)) for n in range(3)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    for number in range(10):
        Image.fromarray(noise(6, 5, 3, seed=number)).save(tmp_path / f"{number}.png")
    data, _ = opened(tmp_path)
    assert "Dropped: all frames but the first (1 file)" in describe_plan(data)


@pytest.mark.parametrize(("count", "sizes"), [(2, None), (3, (1, 1, 1)), (12, (10, 1, 1))])
def test_how_few_images_are_enough(tmp_path, count, sizes):
    write_tree(tmp_path / "Fotos für 漢字", {"kleine Kätzchen": count})
    if sizes:
        assert opened(tmp_path / "Fotos für 漢字")[0].sizes == sizes
    else:
        with pytest.raises(UserError, match=f"got {count} image.* must be at least 3"):
            opened(tmp_path / "Fotos für 漢字")


def test_images_of_which_none_can_be_read_say_why(tmp_path):
    for number in range(6):
        (tmp_path / f"{number}.tif").write_bytes(b"II*\0")
    with pytest.raises(UserError, match=r"6 of 6 image files cannot be read: 0\.tif \(.*\), .*, …"):
        opened(tmp_path)


def test_a_file_of_arrays_is_told_where_it_belongs(tmp_path):
    np.save(tmp_path / "mine.npy", noise(9, 4, 4))
    with pytest.raises(UserError, match=r"got a file without image files.*--set dataset=arrays"):
        opened(tmp_path / "mine.npy")
    write_tree(tmp_path / "pictures", {"a": 3})
    with pytest.raises(UserError, match=r"got a folder without arrays.*--set dataset=folder"):
        opened(tmp_path / "pictures", dataset="arrays")


ENDINGS = ["jfif", "JPE", "pbm", "tga", "jp2", "avif", "qoi"]


@pytest.mark.parametrize("ending", ENDINGS)
def test_every_ending_that_pillow_reads_is_an_image(tmp_path, ending):
    write_tree(tmp_path, {"more": 9}, shape=(8, 8, 3))
    kind = Image.registered_extensions()[f".{ending.lower()}"]
    image = Image.fromarray(noise(8, 8, 3)).convert("1" if ending == "pbm" else "RGB")
    image.save(tmp_path / f"a.{ending}", format=kind)
    data, said = opened(tmp_path)
    assert sum(data.sizes) == 10
    assert f"1 .{ending.lower()}" in data.notes[0]
    assert not any("Passed over" in line for line in [*said, *data.notes])


def test_files_of_an_installed_plugin_are_read(tmp_path):
    pytest.importorskip("pillow_heif")
    for number in range(10):
        Image.fromarray(noise(64, 64, 3, seed=number)).save(
            tmp_path / f"{number}.HEIC", format="HEIF"
        )
    assert sum(opened(tmp_path)[0].sizes) == 10


def test_what_is_passed_over_is_counted_by_ending(tmp_path):
    write_tree(tmp_path, {"cat": 9, "dog": 9})
    for name in ("a.npy", "b.npy", "cat/drawing.SVG", "IM0001"):
        (tmp_path / name).write_bytes(b"something else")
    for name in ("notes.txt", "labels.csv", "cat/a.xml", "LICENSE", ".DS_Store", ".a.npy"):
        (tmp_path / name).write_text("words")
    data, said = opened(tmp_path)
    (note,) = [note for note in data.notes if note.startswith("Passed over")]
    for words in ("2 .npy", "1 .svg", "1 without an ending"):
        assert words in note
    assert not any(word in note for word in ("txt", "csv", "xml", "DS_Store"))
    assert note in said
    assert note in describe_plan(data)
    assert data.classes == ("cat", "dog")
    (tmp_path / "c.npy").write_bytes(b"")
    assert any("3 .npy" in note for note in opened(tmp_path)[0].notes), (
        "what is there now, and not what was prepared"
    )


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["a.svg", "b.svg", "scan.dcm"], ("2 .svg, 1 .dcm",)),
        (["a.mp4", "b"], ("1 .mp4, 1 without an ending",)),
        (["train/a.jxl", "test/b.jxl"], ("2 .jxl", "Try pip install pillow-jxl-plugin")),
    ],
)
def test_a_folder_of_other_files_alone_says_what_it_holds(tmp_path, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"something else")
    with pytest.raises(UserError) as caught:
        opened(tmp_path)
    assert caught.value.place == str(tmp_path)
    for word in ("without image files", *words, "must hold image files"):
        assert word in caught.value.problem


def test_an_image_whose_ending_is_read_by_its_name_is_none_under_another(tmp_path):
    """Pillow takes almost any bytes for TGA."""
    write_tree(tmp_path, {"a": 10})
    Image.fromarray(noise(6, 5, 3)).save(tmp_path / "a" / "wrong.png", format="TGA")
    with pytest.raises(UserError, match=r"wrong\.png \(no image that Pillow reads\)"):
        opened(tmp_path)


@pytest.mark.parametrize(("mode", "ending"), [("RGB", "png"), ("P", "gif"), ("RGB", "jpg")])
def test_grey_saved_as_colour_is_told_how_it_becomes_grey(tmp_path, mode, ending):
    for number in range(12):
        grey = Image.fromarray(np.kron(noise(2, 2, seed=number), np.ones((8, 8), np.uint8)))
        palette = {"palette": Image.Palette.ADAPTIVE} if mode == "P" else {}
        grey.convert("RGB").convert(mode, **palette).save(tmp_path / f"{number}.{ending}")
    with pytest.raises(UserError) as caught:
        opened(tmp_path, binarisation="static")
    assert caught.value.place == "data.binarisation"
    for words in ("static", "3 channels", "if all pixels are grey", "--set image_channels=1"):
        assert words in caught.value.problem
    data, _ = opened(tmp_path, binarisation="static", image_channels=1)
    assert data.image_shape == (1, 16, 16)
    assert opened(tmp_path)[0].image_shape[0] == 3
    with pytest.raises(UserError, match="if all pixels are grey"):  # prepared already
        opened(tmp_path, binarisation="static")
