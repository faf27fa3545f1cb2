"""Prepared arrays: opened without reading the source, rebuilt when damaged, made once by many
processes.
"""

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mnist_files import FILES as FAMILY
from mnist_files import small_data, write_files, write_idx
from PIL import Image

from sweeps.errors import UserError
from vaeexp.data import open_dataset, prepare
from vaeexp.settings import DataSettings

SETTINGS = DataSettings(validation_size=10)


@pytest.fixture
def root(tmp_path):
    write_files(tmp_path / "data")
    return tmp_path / "data"


def _must_not_be_called(*arguments, **options):
    raise AssertionError("prepared data is opened without this")


def test_opening_again_reads_neither_the_source_nor_the_arrays(root, monkeypatch):
    first = open_dataset(SETTINGS, root=root)
    monkeypatch.setattr(prepare, "_build", _must_not_be_called)  # which alone reads the source
    # The maps are opened when a split is asked for.
    monkeypatch.setattr(np, "load", _must_not_be_called)
    assert open_dataset(SETTINGS, root=root) == first


def test_dynamic_and_grey_share_arrays(root):
    folders = {
        binarisation: _open(root, binarisation).folder
        for binarisation in ("static", "dynamic", "none")
    }
    assert folders["dynamic"] == folders["none"] != folders["static"]


def _open(root, binarisation):
    return open_dataset(DataSettings(validation_size=10, binarisation=binarisation), root=root)


def test_changed_source_files_are_prepared_anew(root):
    before = open_dataset(SETTINGS, root=root)
    write_files(root, seed=1)
    after = open_dataset(SETTINGS, root=root)
    assert after.fingerprint != before.fingerprint


def _written_in_place(path, content):
    path.write_bytes(content)


def _replaced(path, content):
    """As rsync and tar do: another file takes the name."""
    other = path.with_name(f".{path.name}.part")
    other.write_bytes(content)
    other.replace(path)


def _as_an_array(folder, images):
    np.save(folder / "mine.npy", images)
    return folder / "mine.npy", folder / "mine.npy", "arrays"


def _as_idx(folder, images):
    for name, array in zip(
        FAMILY, (images, np.zeros(30, np.uint8), images[::-1], np.zeros(30, np.uint8)), strict=True
    ):
        write_idx(folder / name, array)
    return folder / FAMILY[0], folder, "mnist"


def _as_images(folder, images):
    for number, image in enumerate(images):
        (folder / f"{number:02d}.bmp").parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{number:02d}.bmp")
    return folder / "17.bmp", folder, "folder"


@pytest.mark.parametrize("lay_out", [_as_an_array, _as_idx, _as_images])
@pytest.mark.parametrize("rewrite", [_written_in_place, _replaced])
def test_a_file_rewritten_with_its_size_and_time_kept_is_prepared_anew(tmp_path, lay_out, rewrite):
    (tmp_path / "data").mkdir()
    path, given, dataset = lay_out(tmp_path / "data", small_data(training=30)[0])
    settings = DataSettings(dataset=dataset, binarisation="none", validation_size=5)
    before, times = open_dataset(settings, root=given, say=lambda text: None), path.stat()
    content = bytearray(path.read_bytes())
    content[3 * len(content) // 5] ^= 64
    rewrite(path, bytes(content))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (times.st_size, times.st_mtime_ns)
    after = open_dataset(settings, root=given, say=lambda text: None)
    assert after.fingerprint != before.fingerprint
    pixels = [
        np.concatenate([data.train.images, data.validation.images, data.test.images])
        for data in (before, after)
    ]
    assert (pixels[0].astype(int) != pixels[1]).sum() >= 1


def test_a_copy_elsewhere_is_prepared_again_under_the_same_fingerprint(root, tmp_path):
    before = open_dataset(SETTINGS, root=root)
    shutil.copytree(root, tmp_path / "copy")
    after = open_dataset(SETTINGS, root=tmp_path / "copy")
    assert (after.folder != before.folder, after.fingerprint) == (True, before.fingerprint)


def _damage(path: Path, damage: str, draw: random.Random) -> None:
    """Damage a file as disks and crashes do, at a place drawn at random in its first, middle or
    last part.
    """
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    match damage.split():
        case ["cut"]:
            del content[draw.randrange(len(content)) :]
        case ["bit", part]:
            content[["head", "middle", "end"].index(part) * third + draw.randrange(third)] ^= (
                1 << draw.randrange(8)
            )
        case ["zeros"]:
            start = draw.randrange(len(content) // 2)
            content[start : start + third] = bytes(third)
    path.write_bytes(content)


FILES = (
    *(f"{part}_{kind}.npy" for part in ("training", "test") for kind in ("images", "labels")),
    "training_order.npy",
    "meta.json",
)


@pytest.mark.parametrize("damage", ["gone", "cut", "bit head", "bit end", "zeros"])
def test_damaged_arrays_are_prepared_again_with_one_line(root, caplog, damage):
    data, draw = open_dataset(SETTINGS, root=root), random.Random(0)
    for name in FILES:
        content = (data.folder / name).read_bytes()
        if damage == "gone":
            (data.folder / name).unlink()
        else:
            _damage(data.folder / name, damage, draw)
        caplog.clear()
        assert open_dataset(SETTINGS, root=root) == data
        assert (data.folder / name).read_bytes() == content
        [line] = caplog.messages
        assert name in line
        assert line.endswith("It is made again.")
    assert [path.name for path in data.folder.parent.iterdir() if path.is_dir()] == [
        data.folder.name
    ]


def test_arrays_that_vanish_later_give_an_error_that_names_the_folder(root):
    data = open_dataset(SETTINGS, root=root)
    (data.folder / "test_images.npy").unlink()
    with pytest.raises(UserError) as caught:
        _ = data.test
    assert caught.value.place == str(data.folder)


def test_processes_that_prepare_at_once_agree(root):
    images = open_dataset(SETTINGS, root=root).folder / "training_images.npy"
    _damage(images, "bit middle", random.Random(0))
    program = (
        "import sys; from pathlib import Path\n"
        "from vaeexp.data import open_dataset; from vaeexp.settings import DataSettings\n"
        "sys.stdin.readline()\n"
        "data = open_dataset(DataSettings(validation_size=10), root=Path(sys.argv[1]))\n"
        "print(data.fingerprint, int(data.train.images.sum()))\n"
    )
    options = {
        "stdin": subprocess.PIPE,
        "stdout": subprocess.PIPE,
        "text": True,
        "cwd": Path(__file__).parents[3],
    }
    children = [
        subprocess.Popen([sys.executable, "-c", program, str(root)], **options) for _ in range(4)
    ]
    answers = []
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        answers.append(child.communicate(timeout=120)[0])
        assert child.returncode == 0
    assert len(set(answers)) == 1
    data = open_dataset(SETTINGS, root=root)
    assert answers[0].split() == [data.fingerprint, str(int(data.train.images.sum()))]
    assert [path.name for path in data.folder.parent.iterdir() if path.is_dir()] == [
        data.folder.name
    ]


def test_leftovers_of_a_killed_process_are_removed(root):
    data = open_dataset(SETTINGS, root=root)
    leftover = data.folder.parent / f".{data.folder.name}-killed"
    data.folder.rename(leftover)
    assert open_dataset(SETTINGS, root=root) == data
    assert not leftover.exists()


def test_a_cache_that_cannot_be_written_is_named(root, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VAEEXP_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="VAEEXP_CACHE") as caught:
        open_dataset(SETTINGS, root=root)
    assert caught.value.place == str(tmp_path / "file" / "prepared")


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write anywhere")
def test_prepared_data_opens_from_a_cache_that_may_only_be_read(root, tmp_path):
    data = open_dataset(SETTINGS, root=root)
    folders = [
        path for path in (tmp_path / "cache", *(tmp_path / "cache").rglob("*")) if path.is_dir()
    ]
    for folder in folders:
        folder.chmod(0o555)
    try:
        assert open_dataset(SETTINGS, root=root) == data
    finally:
        for folder in folders:
            folder.chmod(0o755)
