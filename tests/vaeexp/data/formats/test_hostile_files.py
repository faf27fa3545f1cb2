"""Damaged and hostile data files: each is refused in one line and runs no code."""

import errno
import io
import struct
import zipfile

import numpy as np
import pytest
import scipy.io
from image_files import noise, write_svhn

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.data.formats import refusing
from vaeexp.settings import DataSettings


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def npz(member: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("images.npy", member)
    return packed.getvalue()


def whole() -> bytes:
    content = io.BytesIO()
    np.save(content, noise(12, 6, 5))
    return content.getvalue()


HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}"
HARM = b"cos\nmkdir\n(Vharm\ntR."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.npy", whole()[:200]),
        ("cut.npz", npz(whole())[:300]),
        ("changed.npz", npz(whole()).replace(bytes([noise(12, 6, 5)[0, 0, 0]]), b"\0")),
        ("code.npy", npy(HEADER.format("__import__('os').mkdir('harm')", "(12, 6, 5)"))),
        ("huge.npz", npz(npy(HEADER.format("'|u1'", f"({2**50}, 6, 5)"), bytes(360)))),
        ("pickle.npy", HARM),
        ("objects.npy", npy(HEADER.format("'|O'", "(12, 6, 5)"), HARM)),
        ("objects.npz", npz(npy(HEADER.format("'|O'", "(12,)"), HARM))),
    ],
)
def test_damaged_arrays_are_refused_in_one_line(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        open_dataset(DataSettings(dataset="arrays", binarisation="none"), root=tmp_path / name)
    assert caught.value.place in (str(tmp_path / name), f"{tmp_path / name}: images")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "harm").exists()
    assert list((tmp_path / "cache").rglob("*.npy")) == []


def test_a_full_disk_is_no_damage_of_the_file_that_is_read(tmp_path):
    with pytest.raises(OSError, match="No space left"), refusing(tmp_path, "a whole file"):
        raise OSError(errno.ENOSPC, "No space left on device")


def matrices(**changed) -> bytes:
    plain = {"X": np.zeros((32, 32, 3, 30), np.uint8), "y": np.ones((30, 1), np.uint8)}
    packed = io.BytesIO()
    scipy.io.savemat(packed, {**plain, **changed})
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (matrices()[:-5000], "must be a MATLAB 5 file with X and y"),
        (b"<html>404 Not Found</html>" * 20, "must be a MATLAB 5 file with X and y"),
        (matrices(X=np.zeros((30, 32, 32, 3), np.uint8)), r"X uint8 \[30, 32, 32, 3\]"),
        (matrices(X=np.zeros((32, 32, 3, 30))), "X float64"),
        (matrices(y=np.ones((29, 1))), "got 29 labels .* must be 30 from 0 to 9"),
    ],
)
def test_damaged_matlab_files_are_refused_in_one_line(tmp_path, content, problem):
    write_svhn(tmp_path)
    (tmp_path / "test_32x32.mat").write_bytes(content)
    with pytest.raises(UserError, match=problem) as caught:
        open_dataset(
            DataSettings(dataset="svhn", binarisation="none", validation_size=10), root=tmp_path
        )
    assert caught.value.place == str(tmp_path / "test_32x32.mat")
    assert "\n" not in str(caught.value)
