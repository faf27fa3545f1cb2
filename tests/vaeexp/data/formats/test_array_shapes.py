"""Every shape and type of arrays in every format of file, read back equal to what was written."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import tifffile
import zarr
from raw_images import read_raw

from sweeps.errors import UserError

TYPES = (
    *("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"),
    *("float16", "float32", "float64"),
)
FIRST = {"channels_first": True}
SHAPES: list[tuple[tuple[int, ...], dict, tuple[int, ...]]] = [
    ((12, 5), {}, (12, 1, 1, 5)),
    ((12, 1), {}, (12, 1, 1, 1)),
    ((12, 6, 5), {}, (12, 1, 6, 5)),
    ((12, 6, 5, 1), {}, (12, 1, 6, 5)),
    ((12, 6, 5, 3), {}, (12, 3, 6, 5)),
    ((12, 6, 5, 2), {}, (12, 2, 6, 5)),
    ((3, 6, 5, 256), {}, (3, 256, 6, 5)),
    ((12, 3, 6, 5), FIRST, (12, 3, 6, 5)),
    ((3, 256, 6, 5), FIRST, (3, 256, 6, 5)),
]


def numbers(shape: tuple[int, ...], kind: str) -> np.ndarray:
    """Numbers of a type over all of its range; floats with NaN, infinity and negative ones."""
    rng = np.random.default_rng(len(shape))
    dtype = np.dtype(kind)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind == "f":
        values = (rng.normal(size=shape) * 1000).astype(dtype)
        values.reshape(-1)[:2] = np.nan, np.inf
        return values
    limits = np.iinfo(dtype)
    values = rng.integers(limits.min, limits.max, shape, dtype, endpoint=True)
    values.reshape(-1)[:2] = limits.min, limits.max
    return values


def expected(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The images [N, C, H, W] of an array."""
    if array.ndim == 4 and array.shape != shape:
        return array.transpose(0, 3, 1, 2)
    return array.reshape(shape)


def as_npy(path: Path, array: np.ndarray) -> Path:
    np.save(path.with_suffix(".npy"), array)
    return path.with_suffix(".npy")


def as_npz(path: Path, array: np.ndarray) -> Path:
    np.savez(path.with_suffix(".npz"), other=np.arange(3), images=array)
    return path.with_suffix(".npz")


def as_packed(path: Path, array: np.ndarray) -> Path:
    np.savez_compressed(path.with_suffix(".npz"), other=np.arange(3), images=array)
    return path.with_suffix(".npz")


def as_batches(path: Path, array: np.ndarray) -> Path:
    path.mkdir()
    for number, piece in enumerate((array[:2], array[2:])):
        np.save(path / f"{number}.npy", piece)
    return path


def as_hdf5(path: Path, array: np.ndarray) -> Path:
    with h5py.File(path.with_suffix(".h5"), "w") as file:
        file.create_dataset("images", data=array, chunks=True, compression="gzip")
    return path.with_suffix(".h5")


def as_zarr(path: Path, array: np.ndarray) -> Path:
    chunks = tuple(min(4, length) for length in array.shape)
    zarr.create_array(path.with_suffix(".zarr"), data=array, chunks=chunks)
    return path.with_suffix(".zarr")


WRITERS = [as_npy, as_npz, as_packed, as_batches, as_hdf5, as_zarr]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize(("shape", "settings", "images"), SHAPES)
def test_every_shape_of_every_type_is_read_as_it_was_written(
    tmp_path, write: Callable, shape, settings, images
):
    for kind in TYPES:
        array = numbers(shape, kind)
        raw = read_raw(write(tmp_path / kind, array), **settings)
        assert raw.images.dtype == np.dtype(kind)
        np.testing.assert_array_equal(raw.images, expected(array, images))
        assert (raw.stored, raw.largest, raw.read_again, raw.groups) == (None, None, None, None)
        assert len(raw.labels) == len(raw.parts) == shape[0]


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("kind", [">u2", ">f4", ">i8", "<f8"])
def test_numbers_in_the_order_of_other_machines_are_those_of_this_one(tmp_path, write, kind):
    array = np.arange(12 * 30).reshape(12, 6, 5).astype(kind)
    raw = read_raw(write(tmp_path / "mine", array))
    assert raw.images.dtype == np.dtype(kind).newbyteorder("=")
    assert raw.images.dtype.isnative
    np.testing.assert_array_equal(raw.images[:, 0], array)


@pytest.mark.parametrize("write", [as_npy, as_npz, as_packed])
def test_arrays_in_the_order_of_fortran_are_read(tmp_path, write):
    array = np.asfortranarray(numbers((12, 6, 5, 2), "float32"))
    raw = read_raw(write(tmp_path / "mine", array))
    np.testing.assert_array_equal(raw.images, array.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("write", [as_npy, as_npz])
def test_a_file_is_mapped_where_it_lies_or_where_it_was_unpacked(tmp_path, write):
    path = write(tmp_path / "mine", numbers((12, 6, 5), "float32"))
    base = read_raw(path).images
    while not isinstance(base, np.memmap) or not base.filename:
        base = base.base
    assert (Path(base.filename) == path) == (write is as_npy)


# ---- tables ----


def as_csv(path: Path, array: np.ndarray) -> Path:
    table = pd.DataFrame(array, columns=[f"f{place}" for place in range(array.shape[1])])
    table.to_csv(path.with_suffix(".csv"), index=False, na_rep="nan")
    return path.with_suffix(".csv")


def as_parquet(path: Path, array: np.ndarray) -> Path:
    table = pd.DataFrame(array, columns=[f"f{place}" for place in range(array.shape[1])])
    table.to_parquet(path.with_suffix(".parquet"), row_group_size=5)
    return path.with_suffix(".parquet")


@pytest.mark.parametrize("kind", TYPES)
def test_a_parquet_file_keeps_its_type(tmp_path, kind):
    array = numbers((12, 5), kind)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = 0  # pandas writes NaN as an empty cell
    raw = read_raw(as_parquet(tmp_path / "mine", array))
    assert raw.images.dtype == array.dtype
    np.testing.assert_array_equal(raw.images[:, 0, 0], array)
    assert raw.features == ("f0", "f1", "f2", "f3", "f4")


@pytest.mark.parametrize(
    ("kind", "read"),
    [("int64", "int64"), ("uint8", "int64"), ("float64", "float64"), ("bool",) * 2],
)
def test_a_csv_holds_whole_numbers_or_floats(tmp_path, kind, read):
    array = numbers((12, 5), kind)
    raw = read_raw(as_csv(tmp_path / "mine", array))
    assert raw.images.dtype == np.dtype(read)
    np.testing.assert_array_equal(raw.images[:, 0, 0], array)


# ---- TIFF ----


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "bool"])
def test_a_stack_keeps_its_type(tmp_path, kind):
    array = numbers((12, 6, 5), kind)
    tifffile.imwrite(tmp_path / "mine.tif", array, photometric="minisblack")
    raw = read_raw(tmp_path / "mine.tif")
    assert raw.images.dtype == np.dtype(kind)
    np.testing.assert_array_equal(raw.images[:, 0], array)


# ---- what cannot be images ----


@pytest.mark.parametrize("write", [as_npy, as_npz, as_packed, as_hdf5, as_zarr])
@pytest.mark.parametrize(
    ("array", "settings", "words"),
    [
        (np.zeros((9, 8, 8), complex), {}, "got complex128 .* must be bool, integers of 8 to"),
        (np.zeros((9, 8, 8), "S3"), {}, "must be bool, integers of 8 to 64 bits, float16, float3"),
        (np.zeros(9), {}, r"got float64 \[9\]; must be \[N, F\].*images\.reshape\(-1, 1\)"),
        (np.zeros((9, 5, 8, 8, 3)), {}, r"images\.reshape\(-1, \*images\.shape\[-3:\]\)"),
        (np.zeros((0, 8, 8)), {}, r"got float64 \[0, 8, 8\]; must be .* each at least 1"),
        (
            np.zeros((9, 3, 8, 8)),
            {},
            r"looks like \[N, C, H, W\]; .* Try --set channels_first=true",
        ),
        (np.zeros((9, 5, 8, 8)), {}, "looks like .*N, C, H, W.* --set channels_first=true"),
        (np.zeros((9, 8, 8, 257)), {}, "1 to 256 channels.* Try --set channels_first=true"),
        (np.zeros((2, 300, 3, 257)), {}, "1 to 256 channels.* Try --set channels_first=true"),
        (np.zeros((9, 8, 8, 3)), FIRST, "looks like .*N, H, W, C.* --set channels_first=false"),
        (np.zeros((2, 257, 8, 8)), FIRST, "1 to 256 channels.* Try --set channels_first=false"),
    ],
)
def test_arrays_that_are_no_images_are_refused_by_name(tmp_path, write, array, settings, words):
    path = write(tmp_path / "mine", array)
    with pytest.raises(UserError, match=words) as caught:
        read_raw(path, **settings)
    assert caught.value.place.startswith(str(path))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.glob("raw-scratch-*/*")) == []  # nothing was unpacked


def test_types_of_numpy_alone_are_refused(tmp_path):
    for array, words in (
        (np.array([np.zeros((3, 3)), np.zeros((4, 4))] * 5 + [None], object), "got object"),
        (np.zeros((9, 8), "M8[D]"), r"got datetime64\[D\]"),
        (np.zeros((9, 8), np.longdouble), "got float128.*astype"),
        (np.zeros((9, 8), "u1,f4"), "must be bool"),
    ):
        for write in (as_npy, as_npz, as_packed):
            with pytest.raises(UserError, match=words):
                read_raw(write(tmp_path / "mine", array))


def test_images_of_few_rows_and_many_channels_can_be_read_all_the_same(tmp_path):
    """[N, 2, 9, 12] of two rows looks like two channels; the error says how to save it."""
    array = numbers((5, 2, 9, 12), "uint8")
    with pytest.raises(UserError, match=r"images\.transpose\(0, 3, 1, 2\), and set it so, too"):
        read_raw(as_npy(tmp_path / "mine", array))
    turned = as_npy(tmp_path / "mine", array.transpose(0, 3, 1, 2))
    raw = read_raw(turned, channels_first=True)
    np.testing.assert_array_equal(raw.images, array.transpose(0, 3, 1, 2))
