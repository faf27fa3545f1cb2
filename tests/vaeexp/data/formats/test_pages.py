"""`data.pages`: what the pages of TIFF files are, against the arrays that were written."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from sweeps import UserError
from vaeexp.data.dataset import Dataset, open_dataset
from vaeexp.runs.inputs import open_inputs
from vaeexp.runs.preparation import Preparation
from vaeexp.settings import DataSettings

rng = np.random.default_rng(0)


def write(folder: Path, stacks: dict[str, np.ndarray], **how) -> dict[str, np.ndarray]:
    """Write each stack [N, ...] as a TIFF file below the folder. Return pages by their names."""
    for name, stack in stacks.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        tifffile.imwrite(path, stack, **how)
    return {
        f"{name}[{at}]": page for name, stack in stacks.items() for at, page in enumerate(stack)
    }


def opened(folder: Path, **given) -> Dataset:
    given = {"dataset": "folder", "binarisation": "none", "pages": "images"} | given
    return open_dataset(DataSettings(**given), root=folder, say=lambda _: None)


def by_name(data: Dataset) -> dict[str, np.ndarray]:
    """Return the images of all splits, in the levels of the file, by their names."""
    found = {}
    for split in (data.train, data.validation, data.test):
        numbers = split.images
        if not data.scaling.bytes:
            numbers = data.scaling.numbers(numbers)
        found |= dict(zip(split.names.of(np.arange(len(split))), numbers, strict=True))
    return found


def same(data: Dataset, pages: dict[str, np.ndarray]) -> None:
    found = by_name(data)
    assert sorted(found) == sorted(pages)
    for name, page in pages.items():
        np.testing.assert_allclose(found[name], page, rtol=0, atol=1e-2)


def levels(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    most = np.iinfo(dtype).max
    made = rng.integers(0, most + 1, shape).astype(dtype)
    made.flat[0] = most
    return made


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_each_grey_page_is_an_image_by_its_name(tmp_path, dtype, compression):
    counts = [3, 1, 5, 4, 2, 3]
    stacks = {f"{'ab'[k % 2]}/s{k}.tif": levels((n, 9, 7), dtype) for k, n in enumerate(counts)}
    pages = write(tmp_path / "mine", stacks, photometric="minisblack", compression=compression)
    data = opened(tmp_path / "mine")
    same(data, {name: page[None] for name, page in pages.items()})
    assert data.classes == ("a", "b")
    for split in (data.train, data.validation, data.test):
        names = split.names.of(np.arange(len(split)))
        assert [data.classes[label] for label in split.labels] == [name[0] for name in names]
    assert "Pages: each is an image" in data.notes
    assert "Split: 6 groups by file, each in one split" in data.notes


def test_samples_stay_channels(tmp_path):
    stacks = {f"{k}.tif": levels((k + 1, 6, 8, 3), "uint8") for k in range(4)}
    pages = write(tmp_path / "mine", stacks, photometric="rgb")
    same(opened(tmp_path / "mine"), {name: page.transpose(2, 0, 1) for name, page in pages.items()})


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_channels_of_imagej_stay_channels(tmp_path, dtype):
    stacks = {f"{k}.tif": levels((2, 3, 2, 6, 8), dtype) for k in range(4)}
    write(tmp_path / "mine", stacks, imagej=True, metadata={"axes": "TZCYX"})
    planes = {name: stack.reshape(6, 2, 6, 8) for name, stack in stacks.items()}
    same(
        opened(tmp_path / "mine"),
        {f"{name}[{at}]": page for name, stack in planes.items() for at, page in enumerate(stack)},
    )


def test_pages_of_a_file_stay_in_one_split_unless_asked_otherwise(tmp_path):
    stacks = {f"{k:02}.tif": levels((10, 6, 6), "uint8") for k in range(10)}
    write(tmp_path / "mine", stacks, photometric="minisblack")

    def files(data: Dataset) -> list[set[str]]:
        splits = (data.train, data.validation, data.test)
        return [{name[:2] for name in part.names.of(np.arange(len(part)))} for part in splits]

    data = opened(tmp_path / "mine")
    train, validation, test = files(data)
    assert not train & validation
    assert not train & test
    assert not validation & test
    assert data.sizes == (80, 10, 10)
    train, validation, test = files(opened(tmp_path / "mine", split_by="(.*)"))
    assert train & validation
    assert train & test
    last = opened(tmp_path / "mine", split="time").test
    assert last.names.of(np.arange(10)) == [f"09.tif[{page}]" for page in range(10)]


def test_splits_and_sizes_of_a_folder(tmp_path):
    stacks = {
        f"{part}/{k}.tif": levels((4, 8, 8), "uint8") for part in ("train", "test") for k in "abc"
    }
    write(tmp_path / "mine", stacks, photometric="minisblack")
    data = opened(tmp_path / "mine", image_size=4)
    assert (data.sizes, data.image_shape) == ((8, 4, 12), (1, 4, 4))


def test_without_the_setting_a_page_is_a_channel(tmp_path):
    stacks = {f"{k}.tif": levels((5, 6, 6), "uint8") for k in range(6)}
    write(tmp_path / "mine", stacks, photometric="minisblack")
    unset = opened(tmp_path / "mine", pages=None)
    asked = opened(tmp_path / "mine", pages="channels")
    assert unset.fingerprint == asked.fingerprint
    for data in (unset, asked):
        same(data, stacks)
    assert any("--set data.pages=images" in note for note in unset.notes)


def test_a_single_stack_says_the_same_in_both_words(tmp_path):
    stack = levels((12, 2, 6, 6), "uint8")
    tifffile.imwrite(tmp_path / "s.tif", stack, imagej=True, metadata={"axes": "TZYX"})
    of_stack = {"dataset": "arrays"}
    first = opened(tmp_path / "s.tif", **of_stack, pages=None, channels_first=True)
    asked = opened(tmp_path / "s.tif", **of_stack, pages="channels")
    assert (asked.fingerprint, asked.image_shape) == (first.fingerprint, (2, 6, 6))
    unset = opened(tmp_path / "s.tif", **of_stack, pages=None)
    images = opened(tmp_path / "s.tif", **of_stack)
    assert (images.fingerprint, images.image_shape) == (unset.fingerprint, (1, 6, 6))
    assert sum(images.sizes) == 24


@pytest.mark.parametrize("pages", ["channels", "images"])
@pytest.mark.parametrize("kind", ["npy", "csv", "png"])
def test_data_without_pages_refuse_the_setting(tmp_path, kind, pages):
    path = tmp_path / f"mine.{kind}"
    if kind == "png":
        from PIL import Image

        path.mkdir()
        for k in range(6):
            Image.fromarray(levels((6, 6), "uint8")).save(path / f"{k}.png")
    elif kind == "npy":
        np.save(path, levels((9, 6, 6), "uint8"))
    else:
        path.write_text("a,b\n" + "1,2\n3,5\n" * 9)
    dataset = "folder" if kind == "png" else "arrays"
    with pytest.raises(UserError, match=rf"data\.pages: got {pages}; .* TIFF files"):
        opened(path, dataset=dataset, pages=pages)


def test_named_data_refuse_the_setting():
    with pytest.raises(UserError, match=r"data\.pages: got images; must be left out for 'mnist'"):
        open_dataset(DataSettings(pages="images"))


def test_axes_without_a_name_and_damaged_files_are_errors(tmp_path):
    write(tmp_path / "mine", {"a.tif": levels((3, 4, 6, 6), "uint8")}, photometric="minisblack")
    with pytest.raises(UserError, match=r"mine/a\.tif: got pages of several axes"):
        opened(tmp_path / "mine")
    (tmp_path / "mine" / "a.tif").write_bytes(b"II*\0damaged")
    with pytest.raises(UserError, match=r"mine/a\.tif: .*must be a whole TIFF file"):
        opened(tmp_path / "mine")


@pytest.mark.parametrize(("pages", "channels"), [("images", 1), ("images", 2), ("channels", 5)])
def test_new_stacks_are_read_as_those_of_the_run(tmp_path, pages, channels):
    shape = {1: (3, 6, 8), 2: (3, 2, 6, 8), 5: (5, 6, 8)}[channels]
    how = {1: "ZYX", 2: "ZCYX", 5: "ZYX"}[channels]
    stacks = {f"{k}.tif": levels(shape, "uint8") for k in range(6)}
    write(tmp_path / "mine", stacks, imagej=True, metadata={"axes": how})
    data = opened(tmp_path / "mine", pages=pages)
    more = levels((7, *shape[1:]) if pages == "images" else shape, "uint8")
    write(tmp_path / "new", {"a/more.tif": more}, imagej=True, metadata={"axes": how})
    settings = DataSettings(dataset="folder", binarisation="none", pages=pages)
    ready = Preparation(
        run="mine/0", values=data.values, data=settings, record=data.preparation, study_seed=0
    )
    (tmp_path / "scratch").mkdir()
    (rows,) = open_inputs(tmp_path / "new", ready, tmp_path / "scratch").read()
    file = str(tmp_path / "new/a/more.tif")
    names = [f"{file}[{page}]" for page in range(7)] if pages == "images" else [file]
    assert (rows.names, {*rows.labels}, {*rows.problems}) == (names, {"a"}, {""})
    np.testing.assert_array_equal(rows.images, more.reshape(-1, channels, 6, 8))


def test_two_files_of_pages_are_too_few_for_three_splits(tmp_path):
    stacks = {f"{k}.tif": levels((5, 6, 6), "uint8") for k in range(2)}
    write(tmp_path / "mine", stacks, photometric="minisblack")
    with pytest.raises(UserError, match=r"got 2 groups by data\.split_by or of pages; .* least 3"):
        opened(tmp_path / "mine")
    assert sum(opened(tmp_path / "mine", split_by="(.*)").sizes) == 10
