"""Arrays that the settings name: in .npz, HDF5 and zarr; what is not named is not read."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from image_files import noise
from raw_images import read_raw

from sweeps.errors import UserError
from vaeexp.data import DATASETS
from vaeexp.data.formats import TEST, TRAINING, Source
from vaeexp.settings import DataSettings

NAMES = np.array(["ant", "bee", "cat"])


def as_npz(folder: Path, **arrays) -> Path:
    np.savez(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def as_packed(folder: Path, **arrays) -> Path:
    np.savez_compressed(folder / "mine.npz", **arrays)
    return folder / "mine.npz"


def as_hdf5(folder: Path, **arrays) -> Path:
    with h5py.File(folder / "mine.hdf5", "w") as file:
        for name, array in arrays.items():
            text = array.dtype.kind == "U"
            file[name] = array.astype(object) if text else array
    return folder / "mine.hdf5"


def as_zarr(folder: Path, **arrays) -> Path:
    group = zarr.open_group(folder / "mine.zarr", mode="w")
    for name, array in arrays.items():
        group.create_array(name, data=array)
    return folder / "mine.zarr"


every_format = pytest.mark.parametrize("write", [as_npz, as_packed, as_hdf5, as_zarr])


class _Harm:
    def __reduce__(self):
        return os.mkdir, ("harm",)


@every_format
def test_arrays_of_any_name_are_read_where_the_settings_name_them(tmp_path, write: Callable):
    cells = np.random.default_rng(0).normal(size=(12, 7)).astype(np.float32)
    ages = np.arange(12) / 3
    places = np.arange(24).reshape(12, 2)
    patients = np.repeat(["a", "b", "c", "d"], 3)
    path = write(
        tmp_path,
        cells=cells,
        kind=NAMES[np.arange(12) % 3],
        ages=ages,
        places=places,
        patients=patients,
    )
    raw = read_raw(
        path, images="cells", labels="kind", factors=["ages", "places"], split_by="patients"
    )
    np.testing.assert_array_equal(raw.images, cells[:, None, None])
    assert raw.classes == ("ant", "bee", "cat")
    np.testing.assert_array_equal(raw.labels, np.arange(12) % 3)
    np.testing.assert_array_equal(raw.factors, np.column_stack([ages, places]))
    assert raw.factors.dtype == np.float64
    assert raw.factor_names == ("ages", "places[0]", "places[1]")
    np.testing.assert_array_equal(raw.groups, patients)
    assert not any(note.startswith("Not read") for note in raw.notes)
    alone = read_raw(path, images="cells", split_by="ages", factors="ages")
    assert (alone.classes, alone.factor_names) == (None, ("ages",))
    np.testing.assert_array_equal(alone.groups, ages)
    assert "Not read: kind, patients, places" in alone.notes


@every_format
def test_names_are_found_where_none_is_given(tmp_path, write):
    path = write(
        tmp_path, X_train=noise(9, 4, 4), y_train=np.arange(9) % 3, x_test=noise(3, 4, 4, seed=1)
    )
    raw = read_raw(path)
    assert raw.parts.tolist() == [TRAINING] * 9 + [TEST] * 3
    np.testing.assert_array_equal(raw.images[:9, 0], noise(9, 4, 4))
    np.testing.assert_array_equal(raw.images[9:, 0], noise(3, 4, 4, seed=1))
    assert (raw.classes, raw.unlabelled) == (("0", "1", "2"), (TEST,))


@every_format
def test_labels_are_found_beside_images_that_are_named(tmp_path, write):
    path = write(tmp_path, pixels=noise(9, 4, 4), labels=np.arange(9) % 3, y=np.arange(4))
    assert read_raw(path, images="pixels").classes == ("0", "1", "2")
    other = write(tmp_path, pixels=noise(8, 4, 4), labels=np.arange(9) % 3)
    assert read_raw(other, images="pixels").classes is None


@pytest.mark.parametrize("write", [as_hdf5, as_zarr])
def test_arrays_in_groups_have_their_path_as_name(tmp_path, write):
    path = write(
        tmp_path,
        **{
            "train/images": noise(9, 4, 4),
            "train/labels": np.arange(9) % 3,
            "test/images": noise(3, 4, 4),
            "raw/deep/scans": noise(5, 6, 7, 2),
        },
    )
    assert read_raw(path).classes == ("0", "1", "2")
    assert read_raw(path, images="raw/deep/scans").images.shape == (5, 2, 6, 7)
    with pytest.raises(UserError, match="Did you mean 'raw/deep/scans'"):
        read_raw(path, images="raw/deep/scan")


@every_format
@pytest.mark.parametrize(
    ("settings", "place", "words"),
    [
        ({"images": "imags"}, "data.images", r"got 'imags'; must be an array of mine\.\w+: "),
        ({"labels": "kinds"}, "data.labels", "got 'kinds'; must be an array .*"),
        ({"factors": ["age", "size"]}, "data.factors", "got 'size'; must be an array of mine"),
        ({"split_by": "patient"}, "data.split_by", "got 'patient'; must be an array of mine"),
        ({"labels": "few"}, "few", r"got int64 \[3\]; must be 12 labels, one for each image"),
        ({"factors": "few"}, "few", r"got int64 \[3\]; must be numbers \[12\] or \[12, K\]"),
        ({"factors": "kind"}, "kind", r"; must be numbers \[12\] or \[12, K\]"),
        ({"split_by": "few"}, "few", "must be 12 numbers or texts, one for each image"),
        ({"split_by": "images"}, "images", "must be 12 numbers or texts, one for each image"),
        ({"images": "kind"}, "kind", "must be bool, integers"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, write, settings, place, words):
    path = write(
        tmp_path,
        images=noise(12, 4, 4),
        kind=NAMES[np.arange(12) % 3],
        age=np.arange(12),
        few=np.arange(3),
    )
    with pytest.raises(UserError, match=words) as caught:
        read_raw(path, **settings)
    assert caught.value.place in (place, f"{path}: {place}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("field", ["labels", "factors", "split_by"])
def test_a_name_beside_splits_of_the_file_is_refused(tmp_path, field):
    path = as_npz(tmp_path, train_images=noise(9, 4, 4), test_images=noise(3, 4, 4), age=noise(12))
    with pytest.raises(UserError, match="the file has splits of its own; must be left out"):
        read_raw(path, **{field: "age"})
    assert len(read_raw(path, images="test_images").images) == 3


@pytest.mark.parametrize("field", ["images", "labels", "factors", "split_by"])
def test_a_file_of_one_array_has_no_names(tmp_path, field):
    np.save(tmp_path / "mine.npy", noise(9, 4, 4))
    with pytest.raises(UserError, match=r"mine\.npy has no names.*numpy\.savez\('FILE") as caught:
        read_raw(tmp_path / "mine.npy", **{field: "age"})
    assert caught.value.place == f"data.{field}"


@pytest.mark.parametrize("write", [as_npz, as_packed])
def test_members_that_nothing_names_are_not_touched(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    pickled = np.array([_Harm()], object)
    path = write(tmp_path, imgs=noise(9, 4, 4), metadata=pickled, labels=np.array([_Harm()] * 9))
    raw = read_raw(path, images="imgs")
    np.testing.assert_array_equal(raw.images[:, 0], noise(9, 4, 4))
    [note] = [note for note in raw.notes if note.startswith("Classes: none. Labels left out")]
    assert "only pickle reads. Save numpy.array(labels, str)" in note
    with pytest.raises(UserError, match=r"object \[9\], which is pickled.*labels\.astype\(str\)"):
        read_raw(path, images="imgs", labels="labels")
    for field in ("factors", "split_by"):
        with pytest.raises(UserError, match="metadata: got object"):
            read_raw(path, images="imgs", **{field: "metadata"})
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("write", [as_npz, as_packed])
def test_another_member_may_be_damaged_and_the_one_that_is_read_may_not(tmp_path, write):
    path = write(tmp_path, images=noise(9, 40, 40), other=noise(9, 40, 40, seed=1))
    content = path.read_bytes()
    middle = len(content) // 2
    ends = content[: middle // 2], content[middle + middle // 2 :]
    second = content.replace(content[-1000:-900], bytes(100))
    path.write_bytes(second)
    read_raw(path, images="images")
    with pytest.raises(UserError, match="must be a whole file of plain numpy arrays"):
        read_raw(path, images="other")
    path.write_bytes(ends[0] + bytes(len(content) - sum(map(len, ends))) + ends[1])
    with pytest.raises(UserError, match="must be a whole file of plain numpy arrays"):
        read_raw(path, images="images")


def test_what_is_read_of_a_file_is_part_of_its_identity(tmp_path):
    path = as_npz(tmp_path, images=noise(9, 4, 4), other=noise(9, 4, 4))
    kinds = [{}, {"images": "other"}, {"labels": "other"}, {"factors": "other"}]
    kinds += [{"split_by": "other"}, {"channels_first": True}]
    identities = set[str]()
    for changes in kinds:
        settings = DataSettings(dataset="arrays", **changes)
        definition = DATASETS["arrays"]
        source = Source(
            definition=definition, settings=settings, root=path, paths=(path,), words=""
        )
        identities.add(str(source.identity()))
    assert len(identities) == len(kinds)


@pytest.mark.parametrize(("write", "package"), [(as_hdf5, "h5py"), (as_zarr, "zarr")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, write, package):
    path = write(tmp_path, images=noise(9, 4, 4))
    monkeypatch.setitem(sys.modules, package, None)
    extra = {"h5py": "hdf5"}.get(package, package)
    with pytest.raises(UserError, match=rf"pip install 'vaeexp\[{extra}\]'") as caught:
        read_raw(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [as_hdf5, as_zarr])
def test_damaged_files_of_groups_are_refused_in_one_line(tmp_path, write):
    path = write(tmp_path, images=np.random.default_rng(0).normal(size=(99, 40, 40)))
    largest = max(path.rglob("*") if path.is_dir() else [path], key=lambda one: one.stat().st_size)
    largest.write_bytes(largest.read_bytes()[: 2**15])
    with pytest.raises(UserError, match="must be a whole") as caught:
        read_raw(path)
    assert caught.value.place == str(path)
    assert "\n" not in str(caught.value)


_PEAK = """
import resource, sys
from pathlib import Path
from raw_images import read_raw
import h5py, zarr
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
raw = read_raw(Path(sys.argv[1]))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert raw.images.shape == (4096, 1, 256, 256), raw.images.shape
assert int(raw.images[-1, 0, -1, -1]) == 7
print((after - before) // 1024)
"""


@pytest.mark.parametrize("write", [as_packed, as_hdf5, as_zarr])
def test_a_compressed_file_is_never_whole_in_memory(tmp_path, write):
    """256 MiB of images in a small file. Pages of a mapped file count as memory, so none is
    touched but the last.
    """
    images = np.zeros((4096, 256, 256), np.uint8)
    images[-1, -1, -1] = 7
    if write is as_packed:
        path = as_packed(tmp_path, images=images)
    elif write is as_hdf5:
        path = tmp_path / "mine.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("images", data=images, chunks=(64, 256, 256), compression="lzf")
    else:
        path = tmp_path / "mine.zarr"
        zarr.create_array(path, data=images, chunks=(64, 256, 256))
    folders = [path for path in sys.path if path.endswith("support")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*folders, os.getcwd()])}
    command = [sys.executable, "-c", _PEAK, str(path)]
    grown = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(grown.stdout) < 200, "MiB"


@every_format
def test_an_array_names_the_images_and_none_is_dropped(tmp_path, write):
    images = np.random.default_rng(0).random((12, 7))
    who = np.array([f"P{row}" for row in range(12)])
    path = write(tmp_path, images=images, who=who, number=np.arange(12))
    assert read_raw(path, names="who").names.tolist() == who.tolist()
    assert read_raw(path, names="number").names.tolist() == [*map(str, range(12))]
    with pytest.raises(UserError, match="is no table; must be left out") as caught:
        read_raw(path, drop="who")
    assert caught.value.place == "data.drop"


@pytest.mark.parametrize("labels", [None, (50,), (1, 50)])
def test_axes_that_matlab_reversed_are_named(tmp_path, labels):
    rows = np.random.default_rng(0).normal(size=(50, 9, 8))
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"] = rows.T
        if labels is None:
            file["images"].attrs["MATLAB_class"] = np.bytes_("double")
        else:
            file["labels"] = np.arange(50).reshape(labels) % 2
    words = r"images: got float64 \[8, 9, 50\].* axes are reversed, .* Save images\[\(\)\]\.T"
    with pytest.raises(UserError, match=words) as caught:
        read_raw(tmp_path / "mine.h5")
    assert "which is [50, 9, 8]" in str(caught.value)
    assert "eave out" not in str(caught.value)


def test_arrays_of_matlab_whose_labels_count_the_first_axis_are_read(tmp_path):
    rows = np.random.default_rng(0).normal(size=(50, 9))
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"] = rows
        file["images"].attrs["MATLAB_class"] = np.bytes_("double")
        file["labels"] = np.arange(50) % 2
    np.testing.assert_array_equal(read_raw(tmp_path / "mine.h5").images[:, 0, 0], rows)
