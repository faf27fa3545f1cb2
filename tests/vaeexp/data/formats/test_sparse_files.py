"""Sparse matrices of scipy, AnnData and 10x Genomics, which become dense rows."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sparse
import zarr
from raw_images import read_raw
from trained_runs import trained_run

from sweeps.errors import UserError
from vaeexp.data.formats import scratch
from vaeexp.runs.run import open_run

CELLS, GENES = 60, 23
KINDS = ["B", "NK", "T"]


def matrix(kind: str = "f4") -> np.ndarray:
    draw = np.random.default_rng(0)
    counts = draw.poisson(3, (CELLS, GENES)) * (draw.random((CELLS, GENES)) < 0.3)
    counts[7] = 0  # a cell without a count
    return counts.astype(kind)


def by_scipy(path: Path, dense: np.ndarray, form: str = "csr") -> Path:
    sparse.save_npz(path / "mine.npz", sparse.csr_matrix(dense).asformat(form))
    return path / "mine.npz"


def write_group(parent, name: str, dense: np.ndarray, form: str) -> None:
    """A matrix as AnnData writes it (encoding version 0.1.0)."""
    compressed = sparse.csr_matrix(dense).asformat(form)
    group = parent.create_group(name)
    encoding = {"encoding-type": f"{form}_matrix", "encoding-version": "0.1.0"}
    group.attrs.update(encoding | {"shape": list(dense.shape)})
    for part in ("data", "indices", "indptr"):
        group[part] = getattr(compressed, part)


def write_obs(file, codes: np.ndarray) -> None:
    obs = file.create_group("obs")
    obs.attrs.update({"encoding-type": "dataframe", "_index": "_index"})
    names = h5py.string_dtype()
    obs.create_dataset("_index", data=[f"cell{row}" for row in range(CELLS)], dtype=names)
    column = obs.create_group("cell_type")
    column.attrs.update({"encoding-type": "categorical", "ordered": False})
    column["codes"] = codes.astype("i1")
    column.create_dataset("categories", data=KINDS, dtype=names)
    obs["depth"] = np.arange(CELLS) / 2
    obs["X"] = np.arange(CELLS) / 4  # a coordinate, and not the matrix


def by_anndata(path: Path, dense: np.ndarray, form: str = "csr") -> Path:
    with h5py.File(path / "mine.h5ad", "w") as file:
        file.attrs["encoding-type"] = "anndata"
        write_group(file, "X", dense, form)
        write_group(file.create_group("layers"), "doubled", 2 * dense, "csc")
        write_obs(file, np.arange(CELLS) % 3)
    return path / "mine.h5ad"


def by_10x(path: Path, dense: np.ndarray, form: str = "") -> Path:
    """As Cell Ranger 3 writes it: genes × barcodes in columns, integers of 32 and 64 bits."""
    columns = sparse.csc_matrix(dense.T)
    with h5py.File(path / "filtered_feature_bc_matrix.h5", "w") as file:
        group = file.create_group("matrix")
        group["data"] = columns.data.astype(dense.dtype)
        group["indices"] = columns.indices.astype("i8")
        group["indptr"] = columns.indptr.astype("i8")
        group["shape"] = np.array(columns.shape, "i4")
        group["barcodes"] = np.array([f"ACGT{row}-1" for row in range(CELLS)], "S18")
        features = group.create_group("features")
        features["id"] = np.array([f"ENSG{row:011}" for row in range(GENES)], "S18")
    return path / "filtered_feature_bc_matrix.h5"


def by_zarr(path: Path, dense: np.ndarray, form: str = "csr") -> Path:
    group = zarr.open_group(path / "mine.zarr", mode="w")
    own = group.create_group("X")
    own.attrs.update({"encoding-type": f"{form}_matrix", "shape": list(dense.shape)})
    compressed = sparse.csr_matrix(dense).asformat(form)
    for part in ("data", "indices", "indptr"):
        own.create_array(part, data=getattr(compressed, part))
    return path / "mine.zarr"


written = pytest.mark.parametrize(
    ("write", "form"),
    [
        *((by_scipy, form) for form in ("csr", "csc", "coo", "bsr", "dia")),
        *((write, form) for write in (by_anndata, by_zarr) for form in ("csr", "csc")),
        (by_10x, ""),
    ],
)


@written
@pytest.mark.parametrize("kind", ["f4", "f8", "i4", "u2"])
@pytest.mark.parametrize("block", [2**26, 200])
def test_a_sparse_matrix_is_read_as_its_dense_rows(
    tmp_path, monkeypatch, write: Callable, form, kind, block
):
    monkeypatch.setattr(scratch, "BLOCK_BYTES", block)
    dense = matrix(kind)
    raw = read_raw(write(tmp_path, dense, form))
    assert raw.images.dtype == kind
    np.testing.assert_array_equal(raw.images[:, 0, 0], dense)


def test_booleans_are_read_and_numbers_of_one_place_are_added(tmp_path):
    dense = matrix() > 0
    (tmp_path / "a").mkdir()
    np.testing.assert_array_equal(read_raw(by_scipy(tmp_path, dense)).images[:, 0, 0], dense)
    twice = sparse.csr_matrix(([1.0, 2, 4], [1, 1, 0], [0, 2, 3]), shape=(2, 2))
    sparse.save_npz(tmp_path / "a" / "twice.npz", twice)
    raw = read_raw(tmp_path / "a" / "twice.npz")
    assert raw.images[:, 0, 0].tolist() == twice.toarray().tolist() == [[0, 3], [4, 0]]


def test_a_layer_is_named_and_columns_of_obs_have_roles(tmp_path):
    path = by_anndata(tmp_path, matrix())
    roles = {"labels": "cell_type", "names": "_index", "factors": "depth"}
    raw = read_raw(path, images="layers/doubled", **roles)
    np.testing.assert_array_equal(raw.images[:, 0, 0], 2 * matrix())
    assert raw.classes == tuple(KINDS)
    assert raw.labels.tolist() == [row % 3 for row in range(CELLS)]
    assert raw.names.tolist() == [f"cell{row}" for row in range(CELLS)]
    assert raw.factors[:, 0].tolist() == [row / 2 for row in range(CELLS)]
    groups = read_raw(path, split_by="cell_type").groups
    assert groups.tolist() == [KINDS[row % 3] for row in range(CELLS)]


def test_a_cell_without_a_category_has_an_empty_text(tmp_path):
    with h5py.File(tmp_path / "mine.h5ad", "w") as file:
        write_group(file, "X", matrix(), "csr")
        write_obs(file, np.arange(CELLS) % 4 - 1)
    raw = read_raw(tmp_path / "mine.h5ad", names="cell_type")
    assert raw.names[:4].tolist() == ["", *KINDS]


@pytest.mark.parametrize("kind", ["text", "numbers"])
@pytest.mark.parametrize("store", ["h5ad", "zarr"])
def test_a_column_of_categories_as_anndata_wrote_it_before_0_8_has_their_names(
    tmp_path, kind, store
):
    """Codes, with the categories in a group for all columns; an attribute of the codes names
    them.
    """
    codes = (np.arange(CELLS) % 4 - 1).astype("i1")
    path = tmp_path / f"mine.{store}"
    text = kind == "text"
    categories = [name.encode() for name in KINDS] if text else [30, 10, 20]
    if store == "zarr":
        file = zarr.open_group(path, mode="w", zarr_format=2)
        obs = file.create_group("obs")
        array = np.array(KINDS) if text else np.array(categories)
        obs.create_group("__categories").create_array("cell_type", data=array)
        obs.create_array("cell_type", data=codes).attrs["categories"] = "__categories/cell_type"
        file.create_array("X", data=matrix())
    else:
        file = h5py.File(path, "w")
        file["X"] = matrix()
        obs = file.create_group("obs")
        dtype = h5py.string_dtype() if text else None
        obs.create_dataset("__categories/cell_type", data=categories, dtype=dtype)
        obs["cell_type"] = codes
        obs["cell_type"].attrs["categories"] = obs["__categories/cell_type"].ref
        obs["__categories/cell_type"].attrs["ordered"] = False
        obs.create_dataset("index", data=[f"c{row}" for row in range(CELLS)])
        obs["depth"] = np.arange(CELLS) / 2
    obs.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.1.0", "_index": "index"})
    if store == "h5ad":
        file.close()
    raw = read_raw(path, names="cell_type", images="X")
    wanted = KINDS if kind == "text" else ["30", "10", "20"]
    assert raw.names[:5].tolist() == ["", *wanted, ""]
    if store == "h5ad":
        assert read_raw(path, factors="depth").factors[:3, 0].tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("kind", "values", "texts"),
    [
        ("nullable-integer", np.arange(CELLS) % 3, ["", "1", "2", "0"]),
        ("nullable-boolean", np.arange(CELLS) % 3 == 1, ["", "True", "False", "False"]),
        ("nullable-string-array", [KINDS[row % 3] for row in range(CELLS)], ["", "NK", "T", "B"]),
    ],
)
def test_a_nullable_column_is_empty_where_it_is_missing(tmp_path, kind, values, texts):
    path = by_anndata(tmp_path, matrix())
    with h5py.File(path, "r+") as file:
        column = file["obs"].create_group("state")
        column.attrs["encoding-type"] = kind
        text = h5py.string_dtype() if isinstance(values, list) else None
        column.create_dataset("values", data=values, dtype=text)
        column["mask"] = np.arange(CELLS) == 0
    assert read_raw(path, names="state").names[:4].tolist() == texts


@pytest.mark.parametrize("form", ["csr", "csc"])
def test_a_matrix_of_the_first_anndata_is_read(tmp_path, form):
    path = by_anndata(tmp_path, matrix(), form)
    with h5py.File(path, "r+") as file:
        attributes = file["X"].attrs
        attributes["h5sparse_format"], attributes["h5sparse_shape"] = form, attributes["shape"]
        for name in ("encoding-type", "encoding-version", "shape"):
            del attributes[name]
    np.testing.assert_array_equal(read_raw(path).images[:, 0, 0], matrix())


def test_barcodes_name_the_rows_of_10x(tmp_path):
    raw = read_raw(by_10x(tmp_path, matrix("i4")), names="barcodes")
    assert raw.names[[0, 59]].tolist() == ["ACGT0-1", "ACGT59-1"]


@pytest.mark.parametrize(
    ("part", "place", "number"),
    [("indices", 3, GENES), ("indices", 3, -1), ("indptr", 5, 0), ("indptr", -1, 10**9)],
)
def test_a_damaged_matrix_is_refused(tmp_path, part, place, number):
    path = by_anndata(tmp_path, matrix())
    with h5py.File(path, "r+") as file:
        file["X"][part][place] = number
    with pytest.raises(UserError, match=r"X: got something else .* must be a whole sparse matrix"):
        read_raw(path)


def test_arrays_that_happen_to_have_such_names_are_read_as_before(tmp_path):
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        for part in ("data", "indices", "indptr"):
            file[f"run/{part}"] = np.arange(12.0).reshape(4, 3)
    raw = read_raw(tmp_path / "mine.h5", images="run/data")
    assert raw.images[:, 0, 0].tolist() == np.arange(12.0).reshape(4, 3).tolist()


@pytest.mark.parametrize("write", [by_scipy, by_anndata, by_10x])
def test_new_rows_are_read_as_those_of_the_study_were(tmp_path, monkeypatch, write: Callable):
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "cache"))
    path = write(tmp_path, matrix())
    model = {"network": "mlp", "likelihood": "poisson"}
    roles = {"labels": "cell_type"} if write is by_anndata else {}
    folder, _ = trained_run(
        tmp_path, path, epochs=1, model=model, dataset="arrays", scale="none", **roles
    )
    np.save(tmp_path / "dense.npy", matrix())
    run = open_run(str(folder), Path("nowhere"))
    codes, dense = run.encode(path), run.encode(tmp_path / "dense.npy")
    pd.testing.assert_frame_equal(codes.filter(like="mean"), dense.filter(like="mean"))
    assert len(codes) == CELLS
    assert bool(roles) == ("T" in set(codes["label"]))
