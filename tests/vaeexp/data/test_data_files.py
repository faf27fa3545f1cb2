"""Finding files and refusing damaged ones: every error names the file, and nothing broken is
kept.
"""

import gzip
import hashlib
import http.server
import re
import shutil
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from image_files import noise, write_image
from mnist_files import small_data, write_files, write_idx
from sealed import flip_bit

from sweeps.errors import UserError
from vaeexp.data import DATASETS, downloads, open_dataset
from vaeexp.data.formats.torchvision_files import FILES, QMNIST_FILES, read_idx
from vaeexp.settings import DataSettings

SETTINGS = DataSettings(validation_size=10)


def kept(cache) -> list[str]:
    """What lies in the cache, locks apart."""
    return [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


@pytest.mark.parametrize("suffix", ["", ".gz"])
@given(array=arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=3, max_side=9)))
@examples(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_idx_round_trip(tmp_path, suffix, array):
    path = tmp_path / f"array{suffix}"
    write_idx(path, array)
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


@pytest.mark.parametrize("suffix", ["", ".gz"])
@given(share=st.floats(0, 1, exclude_max=True))
@examples(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_truncated_file_is_refused_by_name_wherever_it_ends(tmp_path, suffix, share):
    path = tmp_path / f"array{suffix}"
    write_idx(path, small_data(training=2)[0])
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"got .* must be") as caught:
        read_idx(path, 3)
    assert caught.value.place == str(path)


def _flipped_bit(raw):
    packed = bytearray(gzip.compress((raw / FILES[0]).read_bytes()))
    packed[len(packed) // 2] ^= 8
    (raw / FILES[0]).unlink()
    (raw / f"{FILES[0]}.gz").write_bytes(packed)


def _written(place, array):
    """A damage: this array in place of a file."""
    return lambda raw: write_idx(raw / FILES[place], array.astype(np.uint8))


@pytest.mark.parametrize(
    ("damage", "name", "words"),
    [
        (
            lambda raw: (raw / FILES[0]).write_bytes((raw / FILES[0]).read_bytes() + b"\0"),
            FILES[0],
            "cannot reshape .* must be a whole IDX file",
        ),
        (
            lambda raw: (raw / FILES[1]).rename(raw / f"{FILES[1]}.gz"),
            f"{FILES[1]}.gz",
            "must be a whole gzip file",
        ),
        (_flipped_bit, f"{FILES[0]}.gz", "must be a whole gzip file"),
        (_written(3, np.zeros(19)), FILES[3], "got 19 labels from 0 to 0; must be 20 from 0 to 9"),
        (
            _written(1, 11 * np.eye(1, 60, 41)[0]),
            FILES[1],
            "got 60 labels from 0 to 11; must be 60",
        ),
        (
            _written(2, np.zeros((20, 32, 32))),
            FILES[2],
            "got images of 32 × 32 pixels; must be 28 × 28",
        ),
        (
            lambda raw: shutil.copy(raw / FILES[1], raw / FILES[0]),
            FILES[0],
            "got magic number 2049; must be 2051",
        ),
    ],
)
def test_damaged_files_are_refused_by_name_and_nothing_is_kept(
    tmp_path, cache, damage, name, words
):
    raw = tmp_path / "MNIST" / "raw"
    write_files(raw, suffix="")
    damage(raw)
    with pytest.raises(UserError, match=words) as caught:
        open_dataset(SETTINGS, root=tmp_path)
    assert caught.value.place == str(raw / name)
    assert kept(cache) == []
    write_files(raw, suffix="")
    (raw / f"{name.removesuffix('.gz')}.gz").unlink(missing_ok=True)
    assert open_dataset(SETTINGS, root=tmp_path).sizes == (50, 10, 20)


@pytest.mark.parametrize("below", ["MNIST/raw", "MNIST", "raw", "."])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_files_are_found_in_torchvisions_layout_or_directly(tmp_path, below, suffix):
    _, _, test, _ = write_files(tmp_path / "data" / below, suffix=suffix)
    data = open_dataset(
        DataSettings(validation_size=10, binarisation="none"), root=tmp_path / "data"
    )
    np.testing.assert_array_equal(data.test.images[:, 0], test)


def test_a_folder_without_files_is_an_error_and_not_a_fallback(tmp_path, cache):
    with pytest.raises(UserError) as caught:
        open_dataset(SETTINGS, root=tmp_path)
    assert caught.value.place == str(tmp_path)
    assert all(name in caught.value.problem for name in ("MNIST/raw/", *FILES))
    with pytest.raises(UserError, match="there is no such file or folder"):
        open_dataset(SETTINGS, root=tmp_path / "none")
    write_files(tmp_path / "MNIST" / "raw")
    (tmp_path / "MNIST" / "raw" / f"{FILES[2]}.gz").unlink()
    with pytest.raises(UserError, match=f"missing: {FILES[2]}$"):
        open_dataset(SETTINGS, root=tmp_path)
    assert kept(cache) == []


@pytest.mark.parametrize(("name", "full_data"), [("mnist", True), ("fashion_mnist", False)])
def test_no_files_and_no_subset_allowed_says_what_is_wanted_and_where_it_looked(
    cache, name, full_data
):
    with pytest.raises(UserError) as caught:
        open_dataset(DataSettings(dataset=name), full_data=full_data)
    message = str(caught.value)
    expected = [
        f"{DATASETS[name].folder}/raw/",
        *FILES,
        str(cache / "downloads" / name),
        "--data",
        "VAEEXP_OFFLINE",
    ]
    assert all(words in message for words in expected)
    assert "\n" not in message
    assert kept(cache) == []


def test_the_user_cache_comes_before_the_subset(cache):
    write_files(cache / "downloads" / "mnist" / "MNIST" / "raw")
    data = open_dataset(SETTINGS, full_data=True)
    assert data.sizes == (50, 10, 20)
    assert "cache" in data.source


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A mirror on this machine with a small data set; torchvision is told of its address and
    checksums.
    """
    torchvision = pytest.importorskip("torchvision.datasets")
    raw = tmp_path / "mirror"
    write_files(raw)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(raw))

        def log_message(self, *arguments):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("VAEEXP_OFFLINE")
    monkeypatch.setattr(torchvision.MNIST, "mirrors", [address])
    resources = [(f"{name}.gz", _md5(raw / f"{name}.gz")) for name in FILES]
    monkeypatch.setattr(torchvision.MNIST, "resources", resources)
    ask = downloads.why_unreachable.__wrapped__
    monkeypatch.setattr(downloads, "why_unreachable", lambda mirrors: ask((address,)))
    yield raw
    server.shutdown()
    server.server_close()
    thread.join()


def _md5(path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_download_arrives_in_the_cache_and_is_not_repeated(mirror, cache):
    said = []
    data = open_dataset(SETTINGS, full_data=True, say=said.append)
    assert data.sizes == (50, 10, 20)
    assert "Downloading MNIST" in said[0]
    for file in mirror.iterdir():
        file.unlink()
    assert open_dataset(SETTINGS, full_data=True).fingerprint == data.fingerprint


def _anew(cache, say=lambda text: None):
    """Open the data set when nothing is prepared, so that the downloaded files are read."""
    shutil.rmtree(cache / "prepared", ignore_errors=True)
    return open_dataset(SETTINGS, full_data=True, say=say)


@pytest.mark.parametrize("damage", ["bit", "gone", "checksums"])
def test_damaged_downloads_are_fetched_again_when_they_are_read(mirror, cache, caplog, damage):
    data, said = _anew(cache), []
    folder = cache / "downloads" / "mnist"
    # Torchvision unpacks it, so no checksum of gzip is left.
    images = folder / "MNIST" / "raw" / FILES[0]
    if damage == "bit":
        flip_bit(images)
    elif damage == "gone":
        images.unlink()
    else:
        flip_bit(folder / "meta.json")
    assert _anew(cache, said.append).fingerprint == data.fingerprint
    assert len([line for line in said if line.startswith("Downloading MNIST")]) == 1
    [line] = caplog.messages
    assert line.endswith("It is made again.")


def test_damaged_downloads_without_a_network_are_refused(mirror, cache, monkeypatch):
    _anew(cache)
    images = cache / "downloads" / "mnist" / "MNIST" / "raw" / FILES[0]
    flip_bit(images)
    content = images.read_bytes()
    monkeypatch.setenv("VAEEXP_OFFLINE", "1")
    with pytest.raises(
        UserError, match=r"is damaged.*cannot be downloaded again: VAEEXP_OFFLINE is set"
    ) as caught:
        _anew(cache)
    assert caught.value.place == str(images)
    assert images.read_bytes() == content


def test_a_download_that_breaks_off_leaves_nothing_and_says_why(mirror, cache):
    file = mirror / f"{FILES[2]}.gz"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="the download failed"):
        open_dataset(SETTINGS, full_data=True, say=lambda text: None)
    assert kept(cache) == []
    assert open_dataset(SETTINGS, say=lambda text: None).subset


def test_mirrors_are_asked_in_turn_and_the_last_is_named():
    # Port 9 of this machine: nothing listens there, and the answer comes at once.
    mirrors = ("http://127.0.0.1:9/a/", "http://127.0.0.1:9/b/")
    assert "http://127.0.0.1:9/b/ does not answer" in downloads.why_unreachable(mirrors)


WAYS = {
    "fashion_mnist": FILES,
    "kmnist": ("KMNIST/raw/", *FILES),
    "qmnist": QMNIST_FILES,
    "emnist_letters": ("gzip.zip", "emnist-letters-test-labels-idx1-ubyte"),
    "usps": ("usps.bz2", "usps.t.bz2"),
    "omniglot": ("images_background.zip", "images_evaluation.zip"),
    "cifar10": ("data_batch_5", "test_batch"),
    "svhn": ("train_32x32.mat", "test_32x32.mat"),
    "celeba": ("img_align_celeba", "list_eval_partition.txt"),
}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("given", [True, False], ids=["folder", "nothing"])
def test_files_that_are_not_there_are_named_with_the_way_to_get_them(
    tmp_path, monkeypatch, name, given
):
    import torchvision.datasets

    settings, definition = DataSettings(dataset=name, binarisation="none"), DATASETS[name]
    with pytest.raises(UserError) as caught:
        open_dataset(settings, root=tmp_path if given else None, say=lambda text: None)
    text = str(caught.value)
    assert all(word in text for word in WAYS[name])
    code = re.search(r'python -c "(.*)"$', text)[1]
    calls = []
    monkeypatch.setattr(
        torchvision.datasets,
        definition.torchvision,
        lambda root, **given: calls.append((root, given)),
    )
    exec(code)
    assert calls == [
        ("FOLDER", {keyword: value, "download": True}) for keyword, value in definition.downloads
    ]


@pytest.mark.parametrize("dataset", ["mnist", "folder", "cifar10"])
@pytest.mark.parametrize(
    "name",
    [
        "a.npy",
        "a.npz",
        "a.csv",
        "a.parquet",
        "a.h5",
        "a.hdf5",
        "a.tif",
        "a.tiff",
        "a.zarr/zarr.json",
    ],
)
def test_a_file_that_arrays_read_is_named_so(tmp_path, dataset, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"{}")
    root = path.parent if path.parent.suffix else path
    with pytest.raises(UserError, match=r"of arrays or tables try --set dataset=arrays") as caught:
        open_dataset(DataSettings(dataset=dataset, binarisation="none"), root=root)
    assert caught.value.place == str(root)


@pytest.mark.parametrize("dataset", ["mnist", "arrays", "celeba"])
def test_a_folder_of_images_is_named_so(tmp_path, dataset):
    write_image(tmp_path / "cats" / "1.png", noise(4, 4))
    (tmp_path / "labels.txt").write_text("1")
    with pytest.raises(UserError, match=r"For a folder of image files try --set dataset=folder"):
        open_dataset(DataSettings(dataset=dataset, binarisation="none"), root=tmp_path)


def test_other_files_are_no_images_and_no_arrays(tmp_path):
    (tmp_path / "notes.doc").write_text("1")
    for dataset in ("mnist", "arrays"):
        with pytest.raises(UserError, match="must be") as caught:
            open_dataset(DataSettings(dataset=dataset, binarisation="none"), root=tmp_path)
        assert "--set dataset=" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("markers.cvs", r"there is no such file or folder\. Did you mean 'markers\.csv'\?$"),
        ("Markers.CSV", r"there is no such file or folder\. Did you mean 'markers\.csv'\?$"),
        ("zzz", r"there is no such file or folder\.$"),
        ("pest/cat", r"folder, because there is no '.*/pest'\. Did you mean 'pets'\?$"),
        ("markers.csv/x", r"there is no such file or folder\.$"),
    ],
)
@pytest.mark.parametrize("name", ["arrays", "folder", "mnist"])
def test_a_path_that_does_not_exist_is_named_with_the_nearest(tmp_path, path, words, name):
    (tmp_path / "markers.csv").write_text("a,b\n1,2\n")
    (tmp_path / "pets").mkdir()
    with pytest.raises(UserError, match=words) as caught:
        open_dataset(DataSettings(dataset=name, binarisation="none"), root=tmp_path / path)
    assert caught.value.place == str(tmp_path / path)
