"""Damaged and hostile data files: each is refused in one line, at once, with little memory, and
runs no code.
"""

import gzip
import io
import json
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import hostile_files
import numpy as np
import pytest
import scipy.io
from image_files import noise, write_svhn
from mnist_files import write_files, write_idx

from sweeps.errors import UserError
from vaeexp.data import open_dataset
from vaeexp.data.formats.torchvision_files import FILES, read_idx
from vaeexp.settings import DataSettings

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("mutants", [500, pytest.param(2000, marks=pytest.mark.slow)])
def test_mutants_are_opened_or_refused_and_run_nothing(tmp_path, mutants):
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{Path(hostile_files.__file__).parent}",
    }
    command = [
        sys.executable,
        "-W",
        "ignore",
        hostile_files.__file__,
        str(mutants),
        "0",
        str(tmp_path / "fuzz"),
    ]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert found["failures"] == []
    # The mutants reach all readers.
    for dataset in ("arrays", "mnist", "cifar10", "celeba", "folder"):
        assert found["answers"][f"opened {dataset}"] > 0
        assert found["answers"][f"refused {dataset}"] > 0


def npy(header: str, content: bytes = b"") -> bytes:
    text = header.encode() + b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


def npz(member: bytes, compression: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as file:
        file.writestr("images.npy", member)
    return packed.getvalue()


def whole() -> bytes:
    content = io.BytesIO()
    np.save(content, noise(12, 6, 5))
    return content.getvalue()


def other_method(content: bytes) -> bytes:
    """Both places that name the compression name one that does not exist."""
    directory = content.index(b"PK\x01\x02")
    return content[:8] + b"\x63" + content[9 : directory + 10] + b"\x63" + content[directory + 11 :]


def damaged_inside(content: bytes) -> bytes:
    place = content.index(b"images.npy") + 40
    return (
        content[:place]
        + bytes(byte ^ 255 for byte in content[place : place + 40])
        + content[place + 40 :]
    )


HEADER = "{{'descr': {}, 'fortran_order': False, 'shape': {}, }}"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("no end.npy", lambda: npy("{'descr': '|u1', 'fortran_order': False, 'shape': (((")),
        ("code.npy", lambda: npy(HEADER.format("__import__('os').mkdir('harm')", "(12, 6, 5)"))),
        ("negative.npy", lambda: npy(HEADER.format("'|u1'", "(-12, 6, 5)"), bytes(360))),
        ("true.npy", lambda: npy(HEADER.format("'|u1'", "(True, 6, 5)"), bytes(30))),
        ("number.npy", lambda: npy(HEADER.format("5", "(12, 6, 5)"))),
        ("beyond.npy", lambda: npy(HEADER.format("'|u1'", f"({10**30}, 6, 5)"))),
        ("deep.npy", lambda: npy("(" * 5000)),
        ("a zip.npy", lambda: npz(whole())),
        (
            "objects.npy",
            lambda: npy(HEADER.format("'|O'", "(12, 6, 5)"), b"cos\nmkdir\n(Vharm\ntR."),
        ),
        ("huge.npz", lambda: npz(npy(HEADER.format("'|u1'", f"({2**50}, 6, 5)"), bytes(360)))),
        ("beyond.npz", lambda: npz(npy(HEADER.format("'|u1'", f"({2**70}, 6, 5)"), bytes(360)))),
        ("version.npz", lambda: npz(whole().replace(b"NUMPY\x01", b"NUMPY\x09"))),
        ("method.npz", lambda: other_method(npz(whole()))),
        ("lzma.npz", lambda: damaged_inside(npz(whole(), zipfile.ZIP_LZMA))),
        ("bzip2.npz", lambda: damaged_inside(npz(whole(), zipfile.ZIP_BZIP2))),
        ("deflate.npz", lambda: damaged_inside(npz(whole(), zipfile.ZIP_DEFLATED))),
        (
            "objects.npz",
            lambda: npz(npy(HEADER.format("'|O'", "(12,)"), b"cos\nmkdir\n(Vharm\ntR.")),
        ),
    ],
)
def test_damaged_arrays_are_refused_in_one_line(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(content())
    with pytest.raises(UserError, match="must be a whole file of plain numpy arrays") as caught:
        open_dataset(DataSettings(dataset="arrays", binarisation="none"), root=tmp_path / name)
    assert caught.value.place == str(tmp_path / name)
    assert not (tmp_path / "harm").exists()
    assert list((tmp_path / "cache").rglob("*.npy")) == []


def peak_of(refused) -> int:
    """Bytes of Python's memory, at the highest, while something is refused."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as caught:
            refused()
        assert "must be" in caught.value.problem
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_what_follows_the_announced_values_is_never_unpacked(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(struct.pack(">4I", 2051, 10, 28, 28))
        for _ in range(200):
            file.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    assert peak_of(lambda: read_idx(path, 3)) < 2**22


def test_a_header_beyond_what_the_file_can_hold_takes_no_memory(tmp_path):
    (tmp_path / "huge").write_bytes(struct.pack(">4I", 2051, 2**20, 28, 28) + bytes(1000))
    (tmp_path / "huge.gz").write_bytes(
        gzip.compress(struct.pack(">4I", 2051, 2**20, 28, 28) + bytes(1000))
    )
    for name in ("huge", "huge.gz"):
        assert peak_of(lambda name=name: read_idx(tmp_path / name, 3)) < 2**22


def test_images_without_as_many_labels_are_not_unpacked(tmp_path):
    write_files(tmp_path)
    write_idx(tmp_path / f"{FILES[0]}.gz", np.zeros((50_000, 28, 28), np.uint8))
    settings = DataSettings(binarisation="none", validation_size=10)
    assert peak_of(lambda: open_dataset(settings, root=tmp_path)) < 2**22


def test_a_matlab_matrix_is_unpacked_only_when_its_labels_fit(tmp_path):
    write_svhn(tmp_path, packed=True)
    path = tmp_path / "train_32x32.mat"
    content = path.read_bytes()
    start = 136 + int.from_bytes(content[132:136], "little")
    length = int.from_bytes(content[start + 4 : start + 8], "little")
    unpacked = bytearray(zlib.decompress(content[start + 8 : start + 8 + length]))
    at = unpacked.index(struct.pack("<4I", 32, 32, 3, 30))
    unpacked[at + 12 : at + 16] = struct.pack("<I", 20_000)
    packed = zlib.compress(bytes(unpacked) + bytes(20_000 * 3072), 1)
    path.write_bytes(
        content[: start + 4]
        + struct.pack("<I", len(packed))
        + packed
        + content[start + 8 + length :]
    )
    settings = DataSettings(dataset="svhn", binarisation="none", validation_size=10)
    assert peak_of(lambda: open_dataset(settings, root=tmp_path)) < 20_000 * 3072


def _matrices(path: Path, **changed) -> None:
    whole = {"X": np.zeros((32, 32, 3, 30), np.uint8), "y": np.ones((30, 1), np.uint8)} | changed
    scipy.io.savemat(path, {name: matrix for name, matrix in whole.items() if matrix is not None})


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (
            lambda path: path.write_bytes(path.read_bytes()[:50]),
            "must be a MATLAB 5 file with X and y",
        ),
        (
            lambda path: path.write_bytes(path.read_bytes()[:-5000]),
            "must be a MATLAB 5 file with X and y",
        ),
        (
            lambda path: path.write_bytes(b"<html>404 Not Found</html>" * 20),
            "must be a MATLAB 5 file with X and y",
        ),
        (lambda path: path.write_bytes(b""), "must be a MATLAB 5 file with X and y"),
        (lambda path: _matrices(path, y=None), "must be a MATLAB 5 file with X and y"),
        (
            lambda path: _matrices(path, X=np.zeros((30, 32, 32, 3), np.uint8)),
            r"got X as \[30, 32, 32, 3\]; must be",
        ),
        (
            lambda path: _matrices(path, X=np.zeros((32, 32, 3, 30))),
            "got X of type float64; must be uint8",
        ),
        (lambda path: _matrices(path, y=np.ones((29, 1))), "got 29 labels y; must be 30"),
        (
            lambda path: _matrices(path, y=np.full((30, 1), 11)),
            "got labels y from 11 to 11; must be 1 to 10",
        ),
        (
            lambda path: _matrices(path, y=np.full((30, 1), {"a": 1}, object)),
            "must be a MATLAB 5 file with X and y",
        ),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_matlab_files_are_refused_in_one_line(tmp_path, damage, problem, packed):
    write_svhn(tmp_path, packed=packed)
    damage(tmp_path / "test_32x32.mat")
    with pytest.raises(UserError, match=problem) as caught:
        open_dataset(
            DataSettings(dataset="svhn", binarisation="none", validation_size=10), root=tmp_path
        )
    assert caught.value.place == str(tmp_path / "test_32x32.mat")
    assert "\n" not in str(caught.value)
