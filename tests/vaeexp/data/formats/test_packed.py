"""Packed arrays: attributes of HDF5, zarr and netCDF-4 that say what stored numbers stand for."""

from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from raw_images import read_raw
from trained_runs import trained_run

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.runs.preparation import Preparation
from vaeexp.runs.run import open_run, preparation_of
from vaeexp.settings import DataSettings

STORED = np.random.default_rng(0).integers(-3000, 3000, (40, 6, 5)).astype(np.int16)


def as_hdf5(root: Path, array: np.ndarray, attributes: dict[str, Any], ending: str = ".h5") -> Path:
    path = root.with_suffix(ending)
    with h5py.File(path, "w") as file:
        file.create_dataset("images", data=array, chunks=(3, *array.shape[1:]))
        file["images"].attrs.update(attributes)
    return path


def as_netcdf(root: Path, array: np.ndarray, attributes: dict[str, Any]) -> Path:
    return as_hdf5(root, array, attributes, ".nc")


def plain(value: Any) -> Any:
    """An attribute as JSON has it."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def as_zarr(root: Path, array: np.ndarray, attributes: dict[str, Any], version: int = 3) -> Path:
    group = zarr.open_group(root, mode="w", zarr_format=version)
    made = group.create_array("images", data=array, chunks=(3, *array.shape[1:]))
    made.attrs.update({name: plain(value) for name, value in attributes.items()})
    return root


def as_zarr_2(root: Path, array: np.ndarray, attributes: dict[str, Any]) -> Path:
    return as_zarr(root, array, attributes, 2)


every = pytest.mark.parametrize("write", [as_hdf5, as_netcdf, as_zarr, as_zarr_2])


@every
@pytest.mark.parametrize("kind", ["i2", ">i2", "i4", "u1", "f4"])
def test_stored_numbers_become_those_that_they_stand_for(tmp_path, write: Callable, kind):
    stored = STORED.astype(kind)
    attributes = {"scale_factor": 0.01, "add_offset": 273.15}
    raw = read_raw(write(tmp_path / "mine", stored, attributes))
    assert raw.images.dtype == np.float64
    np.testing.assert_allclose(raw.images[:, 0], stored.astype(float) * 0.01 + 273.15, rtol=1e-12)
    [said] = [note for note in raw.notes if "unpacked" in note]
    assert said == "images is unpacked as its attributes say: stored × 0.01 + 273.15"
    assert raw.changed == (said,)


@every
@pytest.mark.parametrize(
    "attributes",
    [
        {"_FillValue": np.int16(-2999)},
        {"missing_value": np.array([-2999, 77], np.int16)},
        {"missing_value": np.array([-2999.0, 1e20])},
        {"_FillValue": np.int16(-2999), "scale_factor": 2.0},
    ],
)
def test_numbers_that_stand_for_none_are_nan(tmp_path, write, attributes):
    stored = STORED.copy()
    stored[3, 2, 1] = -2999
    known = np.ravel(attributes.get("missing_value", -2999))
    raw = read_raw(write(tmp_path / "mine", stored, attributes))
    missing = np.isin(stored, known)
    assert missing[3, 2, 1]
    np.testing.assert_array_equal(np.isnan(raw.images[:, 0]), missing)
    expected = stored * attributes.get("scale_factor", 1.0)
    np.testing.assert_array_equal(raw.images[:, 0][~missing], expected[~missing])
    with pytest.raises(UserError, match=f"got {missing.sum()} values? that"):
        prepared(write(tmp_path / "other", stored, attributes))


@every
def test_floats_are_compared_in_their_own_type(tmp_path, write):
    stored = STORED.astype(np.float32)
    stored[5, 0, 0] = 1e20
    raw = read_raw(write(tmp_path / "mine", stored, {"_FillValue": np.float64(1e20)}))
    assert raw.images.dtype == np.float32
    assert np.argwhere(np.isnan(raw.images)).tolist() == [[5, 0, 0, 0]]


def prepared(path: Path, **settings) -> Any:
    data = DataSettings(dataset="arrays", binarisation="none", scale="standard", **settings)
    return open_dataset(data, root=path, say=lambda text: None)


@every
@pytest.mark.parametrize(
    "attributes",
    [
        {"_FillValue": np.int16(-32768)},
        {"missing_value": np.array([9999, -9999], np.int16), "units": "K"},
        {"_FillValue": b64encode(np.array([np.nan]).tobytes()).decode()},
        {"_FillValue": float("nan"), "scale_factor": 1.0, "add_offset": 0.0},
        {"scale_factor": np.array([0.5, 2.0]), "missing_value": "none"},
    ],
)
def test_what_no_number_matches_reads_as_without_attributes(tmp_path, write, attributes):
    without = write(tmp_path / "without", STORED, {})
    written = write(tmp_path / "mine", STORED, attributes)
    for raw in (read_raw(without), read_raw(written)):
        assert raw.images.dtype == np.int16
        np.testing.assert_array_equal(raw.images[:, 0], STORED)
    assert prepared(without).fingerprint == prepared(written).fingerprint


def test_what_is_put_where_nothing_was_written_is_no_attribute(tmp_path):
    array = np.random.default_rng(0).integers(0, 3, (40, 6, 5)).astype(np.uint8)
    group = zarr.open_group(tmp_path / "z", mode="w")
    group.create_array("images", data=array, chunks=(8, 6, 5), fill_value=0)
    with h5py.File(tmp_path / "h.h5", "w") as file:
        file.create_dataset("images", data=array, chunks=(8, 6, 5), fillvalue=0)
    for path in (tmp_path / "z", tmp_path / "h.h5"):
        raw = read_raw(path)
        assert raw.images.dtype == np.uint8
        np.testing.assert_array_equal(raw.images[:, 0], array)
        assert not raw.changed


@every
def test_bytes_may_be_unsigned_all_the_same(tmp_path, write):
    levels = np.random.default_rng(0).integers(0, 256, (40, 6, 5)).astype(np.uint8)
    attributes = {"_Unsigned": "true", "_FillValue": np.int8(-1), "scale_factor": np.float32(0.5)}
    raw = read_raw(write(tmp_path / "mine", levels.view(np.int8), attributes))
    expected = np.where(levels == 255, np.nan, levels * 0.5)
    np.testing.assert_array_equal(raw.images[:, 0], expected)
    alone = read_raw(write(tmp_path / "other", levels.view(np.int8), {"_Unsigned": "true"}))
    assert alone.images.dtype == np.uint8
    np.testing.assert_array_equal(alone.images[:, 0], levels)


def climate(path: Path) -> Path:
    """A file as programs for netCDF write it: coordinates, bounds, and one array of data."""
    with h5py.File(path, "w") as file:
        for name, count in (("time", 40), ("x", 6), ("y", 40)):
            file.create_dataset(name, data=np.arange(count, dtype=float))
            file[name].make_scale(name)
        file.create_dataset("time_bnds", data=np.zeros((40, 2)))
        file.create_dataset("air", data=STORED)
        file["air"].attrs.update({"scale_factor": 0.01, "add_offset": 273.15})
    return path


def test_coordinates_are_no_images_and_no_labels(tmp_path):
    path = climate(tmp_path / "mine.nc")
    for settings in ({}, {"images": "air", "split_by": "time"}):
        raw = read_raw(path, **settings)
        np.testing.assert_allclose(raw.images[:, 0], STORED * 0.01 + 273.15)
        assert raw.classes is None
    assert raw.groups.tolist() == list(range(40))
    with h5py.File(path, "a") as file:
        file.create_dataset("wind", data=STORED)
    with pytest.raises(UserError, match=r"got the arrays .*Try --set images=air for one of them"):
        read_raw(path)
    np.testing.assert_array_equal(read_raw(path, images="wind").images[:, 0], STORED)


def test_coordinates_of_zarr_are_no_images(tmp_path):
    group = zarr.open_group(tmp_path / "z", mode="w")
    group.create_array("x", data=np.arange(40.0), dimension_names=("x",))
    group.create_array("air", data=STORED, dimension_names=("x", "lat", "lon"))
    for settings in ({}, {"images": "air"}):
        assert read_raw(tmp_path / "z", **settings).images.shape == (40, 1, 6, 5)


@pytest.mark.parametrize("version", [1, 2, 5])
def test_classic_netcdf_names_the_command_that_converts_it(tmp_path, version):
    (tmp_path / "mine.nc").write_bytes(b"CDF" + bytes([version, 0, 0]))
    with pytest.raises(UserError, match=r"classic netCDF.*nccopy -k nc4 mine\.nc NEW\.nc"):
        read_raw(tmp_path / "mine.nc")


@pytest.mark.parametrize("write", [as_hdf5, as_zarr])
def test_new_rows_are_unpacked_as_those_of_the_run(tmp_path, write):
    attributes = {"scale_factor": 0.01, "add_offset": 273.15}
    path = write(tmp_path / "mine", STORED, attributes)
    model = {"likelihood": "gaussian", "sigma": 0.3}
    folder, _ = trained_run(tmp_path, path, dataset="arrays", model=model, scale="standard")
    run = open_run(str(folder), Path("nowhere"))
    codes = run.encode(write(tmp_path / "new", STORED[:3], attributes)).filter(like="mean")
    expected = run.encode(STORED[:3] * 0.01 + 273.15).filter(like="mean")
    np.testing.assert_allclose(codes, expected, atol=1e-5)


def test_new_rows_of_a_run_of_edition_1_are_read_as_they_are(tmp_path):
    from vaeexp.runs.inputs import open_inputs

    path = as_hdf5(tmp_path / "mine", STORED, {})
    model = {"likelihood": "gaussian", "sigma": 0.3}
    folder, _ = trained_run(tmp_path, path, dataset="arrays", model=model, scale="none")
    made = preparation_of(open_run(str(folder), Path("nowhere")))
    new = as_hdf5(tmp_path / "new", STORED, {"scale_factor": 0.5})
    (tmp_path / "scratch").mkdir()
    for edition, factor in ((1, 1.0), (2, 0.5)):
        record = {**made.record, "edition": edition}
        preparation = Preparation(**{**vars(made), "record": record})
        rows = next(open_inputs(new, preparation, tmp_path / "scratch").read())
        np.testing.assert_allclose(rows.images[:, 0], STORED * factor)
