"""Files that are not read: one true line that says what they are, and how they are converted."""

import gzip
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
from raw_images import read_raw

from sweeps.errors import UserError
from vaeexp.data.formats.arrays import _HELP

ROWS = np.random.default_rng(0).normal(size=(12, 3))
TABLE = pd.DataFrame(ROWS, columns=["a", "b", "c"])


def mat(path: Path) -> None:
    scipy.io.savemat(path, {"NAME": ROWS})


def mat_7_3(path: Path) -> None:
    """MATLAB 7.3: HDF5 behind a block of the user, axes reversed."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["NAME"] = ROWS.T
        file["NAME"].attrs["MATLAB_class"] = np.bytes_("double")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file")


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(ROWS))


WRITTEN = {
    "m.mat": mat,
    "M73.MAT": mat_7_3,
    "mine.pkl": pickled,
    "mine.feather": TABLE.to_feather,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_the_line_that_is_named_converts_a_file(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    WRITTEN[name](tmp_path / name)
    kind = Path(name).suffix
    with pytest.raises(UserError, match=rf"^{name}: got a \{kind} file; must be \.npy,") as caught:
        read_raw(Path(name))
    said = str(caught.value)
    assert len(said.split()) < 30
    code = said.partition("Try ")[2].removesuffix(", if you trust its author")
    exec(code, {"numpy": np, "pandas": pd, "scipy": scipy, "h5py": h5py})
    [made] = tmp_path.glob("NEW.*")
    np.testing.assert_allclose(read_raw(made).images[:, 0, 0], ROWS)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("a.xlsx", r"Try pandas.read_excel\('a.xlsx'\).to_csv\('NEW.csv', index=False\)$"),
        ("a.fits", r"Try numpy.save\('NEW.npy', astropy.io.fits.getdata\('a.fits'\)\)$"),
        ("a.dcm", r"Try numpy.save\('NEW.npy', pydicom.dcmread\('a.dcm'\).pixel_array\)$"),
        ("a.zip", "got a .zip file; must be .*Unpack it"),
        ("a.npy.gz", "got a .gz file; must be [^;]*$"),
        ("notes", r"got a file without an ending; must be .npy, .* or .tif$"),
        ("a.xyz", r"got a .xyz file; must be .npy, .* or .tif$"),
    ],
)
def test_one_line_says_what_a_file_is(tmp_path, name, words):
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(UserError, match=words):
        read_raw(tmp_path / name)


def test_a_table_called_txt_is_read_when_it_is_renamed(tmp_path):
    TABLE.to_csv(tmp_path / "mine.txt", index=False)
    with pytest.raises(UserError, match=r"\.txt file.* rename it: it must be called \.csv$"):
        read_raw(tmp_path / "mine.txt")
    (tmp_path / "mine.txt").rename(tmp_path / "mine.csv")
    np.testing.assert_allclose(read_raw(tmp_path / "mine.csv").images[:, 0, 0], ROWS)


def test_a_folder_says_what_it_holds(tmp_path):
    for number in range(20):
        (tmp_path / f"{number:02}.dcm").write_bytes(b"DICM")
    (tmp_path / "README.md").write_text("")
    (tmp_path / ".hidden").write_text("")
    words = r"got a folder without arrays, but with 20 \.dcm, 1 \.md; must be .*'00\.dcm'"
    with pytest.raises(UserError, match=words):
        read_raw(tmp_path)


def test_an_unpacked_zip_names_the_folder_within(tmp_path):
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as packed:
        packed.writestr("data/mine.csv", TABLE.to_csv(index=False))
        packed.writestr("__MACOSX/data/._mine.csv", "")
        packed.extractall(tmp_path / "mine")
    with pytest.raises(UserError, match=r"without arrays, but with .* Try --data (.*)$") as caught:
        read_raw(tmp_path / "mine")
    named = Path(str(caught.value).partition("--data ")[2])
    np.testing.assert_allclose(read_raw(named).images[:, 0, 0], ROWS)


def test_a_folder_of_10x_is_no_table(tmp_path):
    for name in ("barcodes.tsv.gz", "features.tsv.gz", "matrix.mtx.gz"):
        (tmp_path / name).write_bytes(gzip.compress(b"ACGT-1\n"))
    with pytest.raises(UserError, match=r"1 \.mtx\.gz; must be .*Try scanpy\.read_10x_mtx"):
        read_raw(tmp_path)


def test_other_tables_beside_arrays_are_passed_over_as_before(tmp_path):
    (tmp_path / "mine").mkdir()
    np.save(tmp_path / "mine" / "rows.npy", ROWS)
    (tmp_path / "mine" / "notes.tsv").write_text("a\tb\n")
    np.testing.assert_array_equal(read_raw(tmp_path / "mine").images[:, 0, 0], ROWS)


def test_each_line_fits_a_name():
    assert all(kind == "HDF5" or kind[0] == "." for kind in _HELP)
    assert all("{" not in line.format("a.b") for line in _HELP.values())
