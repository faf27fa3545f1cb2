"""Each named data set is downloaded from a real server into the cache, whole or not at all."""

import hashlib
import io
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from file_server import FileServer, serving
from image_files import noise
from mnist_files import write_files
from named_files import (
    emnist_archive,
    emnist_arrays,
    emnist_content,
    medmnist_content,
    omniglot_archives,
    usps_content,
    write_qmnist,
)

from sweeps.errors import UserError
from vaeexp.data import DATASETS, datasets, downloads, http_files, open_dataset
from vaeexp.data.downloads import download
from vaeexp.data.formats import Definition, Layout
from vaeexp.settings import DataSettings

torchvision = pytest.importorskip("torchvision.datasets")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VAEEXP_OFFLINE")
    monkeypatch.setattr(http_files, "PAUSE_SECONDS", 0.0)
    with serving() as server:
        yield server


def opened(name: str, say=lambda text: None):
    settings = DataSettings(dataset=name, binarisation="none", validation_size=5)
    return open_dataset(settings, say=say)


def kept(cache) -> list[str]:
    """What lies in the cache, locks apart."""
    return [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def offer(monkeypatch, server: FileServer, name: str, contents: dict[str, bytes]) -> list[str]:
    """Serve the files of a row that vaeexp downloads itself; file name → content. Return their
    paths.
    """
    row = DATASETS[name]
    files = []
    for file in row.remote:
        path = f"/{file.name}"
        server.files[path] = contents[file.name.rpartition("/")[2]]
        changed = md5(server.files[path])
        files.append(file._replace(url=f"{server.address}{path}?download=1", md5=changed))
    monkeypatch.setitem(DATASETS, name, replace(row, remote=tuple(files)))
    return [f"/{file.name}" for file in row.remote]


def offer_kmnist(monkeypatch, server, tmp_path):
    arrays = write_files(tmp_path / "made")
    resources = []
    for path in sorted((tmp_path / "made").iterdir()):
        server.files[f"/{path.name}"] = path.read_bytes()
        resources.append((path.name, md5(path.read_bytes())))
    monkeypatch.setattr(torchvision.KMNIST, "mirrors", [f"{server.address}/"])
    monkeypatch.setattr(torchvision.KMNIST, "resources", resources)
    row = replace(DATASETS["kmnist"], mirrors=(f"{server.address}/",))
    monkeypatch.setitem(DATASETS, "kmnist", row)
    return arrays[2:]


def offer_qmnist(monkeypatch, server, tmp_path):
    arrays = write_qmnist(tmp_path / "made")
    resources = {"train": [], "test": []}
    for path in sorted((tmp_path / "made").iterdir()):
        server.files[f"/{path.name}"] = path.read_bytes()
        address = f"{server.address}/{path.name}"
        resources[path.name.split("-")[1]].append((address, md5(path.read_bytes())))
    monkeypatch.setattr(torchvision.QMNIST, "resources", resources)
    row = replace(DATASETS["qmnist"], mirrors=(resources["test"][1][0],))
    monkeypatch.setitem(DATASETS, "qmnist", row)
    return arrays[2:]


def offer_usps(monkeypatch, server, tmp_path):
    split_list = {}
    for split, name, count in (("train", "usps.bz2", 40), ("test", "usps.t.bz2", 12)):
        content, images, labels = usps_content(count, seed=count)
        server.files[f"/{name}"] = content
        split_list[split] = [f"{server.address}/{name}", name, md5(content)]
    monkeypatch.setattr(torchvision.USPS, "split_list", split_list)
    row = replace(DATASETS["usps"], mirrors=(split_list["test"][0],))
    monkeypatch.setitem(DATASETS, "usps", row)
    return images[:, 0], labels


def offer_emnist_letters(monkeypatch, server, tmp_path):
    content = emnist_content("letters", first=1, classes=26)
    offer(monkeypatch, server, "emnist_letters", {"gzip.zip": emnist_archive(content)})
    return emnist_arrays(26)[2:]


def offer_omniglot(monkeypatch, server, tmp_path):
    archives, pixels = omniglot_archives()
    offer(monkeypatch, server, "omniglot", archives)
    names = sorted(name for name in pixels if name.startswith("images_evaluation"))
    images = np.array([pixels[name] for name in names])
    return images, np.array([4 + int(name.split("/")[2][-2:]) - 1 for name in names])


def offer_octmnist(monkeypatch, server, tmp_path):
    content, arrays = medmnist_content(1, 4)
    offer(monkeypatch, server, "octmnist", {"octmnist.npz": content})
    return arrays["test_images"], arrays["test_labels"][:, 0]


OFFERS = {
    "kmnist": offer_kmnist,
    "qmnist": offer_qmnist,
    "usps": offer_usps,
    "emnist_letters": offer_emnist_letters,
    "omniglot": offer_omniglot,
    "octmnist": offer_octmnist,
}


@pytest.mark.parametrize("name", OFFERS)
def test_a_named_data_set_arrives_as_written_and_is_not_downloaded_twice(
    monkeypatch, server, cache, tmp_path, name
):
    images, labels = OFFERS[name](monkeypatch, server, tmp_path)
    said = []
    data = opened(name, said.append)
    np.testing.assert_array_equal(data.test.images[:, 0], images)
    np.testing.assert_array_equal(data.test.labels, labels)
    assert said[0].startswith(f"Downloading {DATASETS[name].title} to ")
    asked = len(server.asked)
    shutil.rmtree(cache / "prepared")
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    assert opened(name).fingerprint == data.fingerprint
    assert len(server.asked) == asked


@pytest.mark.parametrize("name", OFFERS)
@pytest.mark.parametrize("damage", ["cut", "other", "gone", "offline"])
def test_what_does_not_arrive_whole_leaves_nothing_and_one_line(
    monkeypatch, server, cache, tmp_path, name, damage
):
    OFFERS[name](monkeypatch, server, tmp_path)
    path = max(server.files, key=lambda each: len(server.files[each]))
    if damage == "cut":
        server.cuts[path] = [100] * 20
    elif damage == "other":
        server.files[path] = server.files[path][:-1] + b"\1"
    elif damage == "gone":
        server.statuses[path] = 404
    else:
        monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    with pytest.raises(UserError, match=r"they could not be downloaded: ") as caught:
        opened(name)
    assert "\n" not in caught.value.problem
    assert "VAEEXP_DATA" in caught.value.problem
    assert kept(cache) == []


@pytest.mark.parametrize("name", ["usps", "octmnist"])
def test_a_server_that_falls_silent_is_left(monkeypatch, server, cache, tmp_path, name):
    OFFERS[name](monkeypatch, server, tmp_path)
    path = max(server.files, key=lambda each: len(server.files[each]))
    server.stalls[path] = 1.5
    monkeypatch.setattr(downloads, "STALL_SECONDS", 0.2)
    with pytest.raises(UserError, match=r"they could not be downloaded: "):
        opened(name)
    assert kept(cache) == []


def test_a_transfer_that_breaks_off_once_is_resumed(monkeypatch, server, tmp_path):
    images, _ = offer_octmnist(monkeypatch, server, tmp_path)
    server.cuts["/octmnist.npz"] = [5_000]
    np.testing.assert_array_equal(opened("octmnist").test.images[:, 0], images)
    assert server.transfers("/octmnist.npz")[-1]["Range"] == "bytes=5000-"


def test_a_damaged_download_is_made_again(monkeypatch, server, cache, tmp_path, caplog):
    offer_octmnist(monkeypatch, server, tmp_path)
    data = opened("octmnist")
    [file] = (cache / "downloads").rglob("*.npz")
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    shutil.rmtree(cache / "prepared")
    assert opened("octmnist").fingerprint == data.fingerprint
    assert caplog.messages[0].endswith("It is made again.")


def test_the_splits_of_emnist_share_one_download(monkeypatch, server, cache):
    letters = emnist_content("letters", first=1, classes=26)
    archive = emnist_archive(letters, emnist_content("digits"))
    for name in ("emnist_letters", "emnist_digits"):
        [path] = offer(monkeypatch, server, name, {"gzip.zip": archive})
        opened(name)
    assert len(server.transfers(path)) == 1
    assert [path.name for path in (cache / "downloads").iterdir() if path.is_dir()] == ["emnist"]


def _factors_of_sprites() -> bytes:
    stream = io.BytesIO()
    images = noise(24, 64, 64) // 128
    np.savez_compressed(stream, imgs=images, latents_values=np.zeros((24, 6)))
    return stream.getvalue()


def _shapes() -> bytes:
    h5py = pytest.importorskip("h5py")
    stream = io.BytesIO()
    with h5py.File(stream, "w") as file:
        file["images"] = noise(12, 64, 64, 3)
        file["labels"] = np.zeros((12, 6))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("file", "make"),
    [(datasets.DSPRITES_FILE, _factors_of_sprites), (datasets.SHAPES3D_FILE, _shapes)],
    ids=["dsprites", "shapes3d"],
)
def test_files_of_any_layout_are_downloaded(server, cache, file, make):
    content = make()
    server.files[f"/{file.name}"] = content
    near = file._replace(url=f"{server.address}/{file.name}", md5=md5(content))
    layout = Layout(
        expected=lambda row: file.name,
        find=lambda row, root: tuple(root.glob(file.name)),
        read=lambda *arguments: pytest.fail("nothing is read"),
    )
    row = Definition(name="mine", title="Mine", layout=layout, remote=(near,))
    [path] = download(row, cache / "downloads" / "mine", lambda text: None)
    assert path.read_bytes() == content
    assert sorted(kept(cache)) == sorted([file.name, "meta.json"])


KILLED = """
import sys
from pathlib import Path
from vaeexp.data.downloads import download
from vaeexp.data.formats import Definition, Layout, RemoteFile
layout = Layout(expected=str, find=lambda row, root: tuple(root.glob("*.bin")), read=None)
files = tuple(RemoteFile(url, url.rpartition("/")[2]) for url in sys.argv[2:])
row = Definition(name="mine", title="Mine", layout=layout, remote=files)
print(*download(row, Path(sys.argv[1]), lambda text: None))
"""


def test_a_process_that_is_killed_leaves_nothing_that_is_taken_for_whole(server, cache):
    contents = {f"/{number}.bin": noise(2_000_000, seed=number).tobytes() for number in range(2)}
    server.files |= contents
    target = cache / "downloads" / "mine"
    addresses = [f"{server.address}{path}" for path in contents]
    command = [sys.executable, "-c", KILLED, str(target), *addresses]
    options = {"stdout": subprocess.PIPE, "text": True, "cwd": Path(__file__).parents[3]}
    server.stalls["/1.bin"] = 20.0
    child = subprocess.Popen(command, **options)
    parts = []
    while not parts and child.poll() is None:
        time.sleep(0.05)
        parts = [path for path in cache.rglob("1.bin.part") if path.stat().st_size]
    child.kill()
    child.communicate()
    assert parts
    assert not target.exists()
    server.stalls.clear()
    found = subprocess.run(command, check=True, **options).stdout.split()
    assert [Path(path).read_bytes() for path in sorted(found)] == list(contents.values())
    assert [path.name for path in target.parent.iterdir() if path.is_dir()] == ["mine"]


def test_the_files_of_a_row_are_named_where_they_cannot_be_had(cache):
    with pytest.raises(UserError) as caught:
        opened("bloodmnist")
    for words in ("bloodmnist.npz", "https://zenodo.org/", "VAEEXP_OFFLINE", "into FOLDER"):
        assert words in str(caught.value)


@pytest.mark.parametrize("name", [name for name, row in DATASETS.items() if row.remote])
def test_addresses_are_of_the_web_and_names_stay_below_the_folder(name):
    for file in DATASETS[name].remote:
        assert file.url.startswith("https://")
        assert ".." not in file.name.split("/")
        assert not file.name.startswith("/")
        assert len(bytes.fromhex(file.md5)) == 16
