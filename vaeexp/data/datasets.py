"""The data sets that a study can name, and where their files are found: given, cached, downloaded
or bundled.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps import Damaged, UserError, did_you_mean
from vaeexp.cache import FACTS, cache_folder
from vaeexp.data.downloads import DownloadError, download, open_downloads
from vaeexp.data.formats import TEST, TRAINING, Checksum, Definition, Layout, RawImages, Source
from vaeexp.data.formats.arrays import ARRAYS
from vaeexp.data.formats.image_folder import CELEBA, FOLDER
from vaeexp.data.formats.torchvision_files import CIFAR, IDX, SVHN, read_idx
from vaeexp.data.prepare import Purpose, permutation

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

# Bundled digits in place of MNIST's training files, and of its test files.
SUBSET_COUNTS = (4_500, 500)
SUBSET_VALIDATION = 500
BUNDLED = Path(__file__).parent  # the folder with the bundled digits

_FASHION = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
_CIFAR10 = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
_DIGITS = tuple("0123456789")
_of_mnist = partial(Definition, layout=IDX, counts=(60_000, 10_000), image_shape=(1, 28, 28))

# The MD5 sums of the published files are torchvision's.
_MNIST_SUMS = (
    Checksum(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        ".gz",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    Checksum(
        "d53e105ee54ea40749a09fcbcd1e9432",
        ".gz",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    Checksum(
        "9fb629c4189551a2d022fa330f9573f3",
        ".gz",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    Checksum(
        "ec29112dd5afa0611ce80d1b7f02629c",
        ".gz",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)
_FASHION_SUMS = (
    Checksum("8d4fb7e6c68d591d4c3dfef9ec88bf0d", ".gz"),
    Checksum("25c81989df183df01b3e8a0aad5dffbe", ".gz"),
    Checksum("bef4ecab320f06d8554ea6380940ec79", ".gz"),
    Checksum("bb300cfdad3c16e7a12a480ee83cd310", ".gz"),
)
_CIFAR10_SUMS = (
    Checksum("c99cafc152244af753f735de768cd75f"),
    Checksum("d4bba439e000b95fd0a9bffe97cbabec"),
    Checksum("54ebc095f3ab1f0389bbae665268c751"),
    Checksum("634d18415352ddfa80567beed471001a"),
    Checksum("482c414d41f54cd18b22e5b47cb7c3cb"),
    Checksum("40351d587109b95175f43aff81a1287e"),
)
_SVHN_SUMS = (
    Checksum("e26dedcc434d2e4c54c9b2d4a06d8373"),
    Checksum("eb5a983be6a315427106f1b164d9cef3"),
)

_ROWS = (
    _of_mnist(
        name="mnist",
        title="MNIST",
        folder="MNIST",
        classes=_DIGITS,
        checksums=_MNIST_SUMS,
        torchvision="MNIST",
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "http://yann.lecun.com/exdb/mnist/",
        ),
        bundled=True,
    ),
    _of_mnist(
        name="fashion_mnist",
        title="Fashion-MNIST",
        folder="FashionMNIST",
        classes=_FASHION,
        checksums=_FASHION_SUMS,
        torchvision="FashionMNIST",
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
    Definition(
        name="cifar10",
        title="CIFAR-10",
        layout=CIFAR,
        folder="cifar-10-batches-py",
        classes=_CIFAR10,
        checksums=_CIFAR10_SUMS,
        counts=(50_000, 10_000),
        image_shape=(3, 32, 32),
        torchvision="CIFAR10",
        mirrors=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    ),
    Definition(
        name="svhn",
        title="SVHN",
        layout=SVHN,
        folder="svhn",
        classes=_DIGITS,
        checksums=_SVHN_SUMS,
        counts=(73_257, 26_032),
        image_shape=(3, 32, 32),
        torchvision="SVHN",
        downloads=(("split", "train"), ("split", "test")),
        mirrors=("http://ufldl.stanford.edu/housenumbers/test_32x32.mat",),
    ),
    Definition(
        name="celeba",
        title="CelebA",
        layout=CELEBA,
        folder="celeba",
        counts=(182_637, 19_962),
        torchvision="CelebA",
        downloads=(("split", "all"),),
        mirrors=("https://drive.google.com",),
    ),
    Definition(name="folder", title="image files", layout=FOLDER),
    Definition(name="arrays", title="arrays", layout=ARRAYS),
)

DATASETS: dict[str, Definition] = {definition.name: definition for definition in _ROWS}


def find_definition(name: str) -> Definition:
    """Return the data set of this name. Raises UserError when there is none."""
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS)
        problem = f"got '{name}'; must be one of {', '.join(DATASETS)}."
        raise UserError("data.dataset", f"{problem} {hint}" if hint.startswith("Did") else problem)
    return DATASETS[name]


def _read_digits(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read the 5,000 digits, 500 of each class in the order of the classes; 50 of each class are
    for test.

    The choice for test is fixed for ever and does not depend on the study's split seed, as with the
    official files.
    """
    images = read_idx(source.paths[0], 3)
    labels = np.repeat(np.arange(10, dtype=np.uint8), len(images) // 10)
    order = permutation(len(images), 0, Purpose.SUBSET_TEST)
    parts = np.full(len(images), TRAINING, dtype=np.uint8)
    for digit in range(10):
        parts[order[labels[order] == digit][: SUBSET_COUNTS[1] // 10]] = TEST
    return RawImages(images[:, None], labels, parts, classes=source.definition.classes)


DIGITS = Layout(
    expected=lambda _: "digits.gz of vaeexp",
    find=lambda _, root: (root / "digits.gz",),
    read=_read_digits,
)
"""5,000 digits of MNIST in a file of vaeexp (vaeexp/data/digits.txt says where they come from)."""


def download_again(definition: Definition, damage: Damaged, say: Callable[[str], None]) -> None:
    """Replace downloaded files, some of which are damaged. Raises UserError, which names the
    damage, when they cannot be had.
    """
    try:
        download(definition, cache_folder() / "downloads" / definition.name, say)
    except DownloadError as error:
        problem = f"{damage.problem} It cannot be downloaded again: {error}. Try --data FOLDER"
        raise UserError(damage.place, f"{problem}{_elsewhere(definition)}") from error


def find_source(
    settings: "DataSettings",
    definition: Definition,
    *,
    root: Path | None,
    full_data: bool,
    say: Callable[[str], None],
) -> Source:
    """Find the files: under `root`, else in the user's cache, else by download, else the bundled
    digits (MNIST only).

    A root that is given must hold the files. `say` announces the bundled digits. Raises UserError,
    which names the files expected and the places searched, when there are no files, or none but the
    bundled digits and `full_data` is set.
    """
    title = definition.title
    expected = definition.layout.expected(definition)
    if root is not None:
        return _find_given(settings, definition, Path(root).expanduser())
    if not definition.mirrors:
        problem = f"'{definition.name}' needs --data (or VAEEXP_DATA), which must name {expected}"
        raise UserError("data.dataset", problem)
    downloads = cache_folder() / "downloads" / definition.name
    cached = partial(
        Source,
        definition=definition,
        settings=settings,
        root=downloads,
        check=partial(open_downloads, definition, downloads),
    )
    if paths := _find_downloads(definition, downloads):
        return cached(paths=paths, words=f"{title} files in the user's cache")
    try:
        paths = download(definition, downloads, say)
        return cached(paths=paths, words=f"{title} files, downloaded")
    except DownloadError as error:
        failed = f"they could not be downloaded: {error}"
    looked = f"no data folder was given, {downloads} holds none, and {failed}"
    if full_data or not definition.bundled:
        remedy = f"Try --data FOLDER or VAEEXP_DATA=FOLDER{_elsewhere(definition)}"
        raise UserError(title, f"got no files ({looked}); must be {expected}. {remedy}")
    say(_notice(definition, looked))
    return Source(
        definition=replace(definition, layout=DIGITS),
        settings=settings,
        root=BUNDLED,
        paths=DIGITS.find(definition, BUNDLED),
        words=f"{sum(SUBSET_COUNTS):,} {title} digits bundled with vaeexp",
        subset=True,
    )


def _find_given(settings: "DataSettings", definition: Definition, root: Path) -> Source:
    """Return the files at the path that the user gives. Raises UserError when there are none."""
    expected = definition.layout.expected(definition)
    if not root.exists():
        problem = "there is no such file or folder; must be a folder or file with"
        raise UserError(str(root), f"{problem} {expected}")
    kind = "folder" if root.is_dir() else "file"
    if not (paths := definition.layout.find(definition, root)):
        remedy = _elsewhere(definition)
        if root.suffix in (".npy", ".npz"):
            remedy = ". For a file of arrays try --set dataset=arrays."
        elif definition.layout is ARRAYS:
            remedy = ". For a folder of image files try --set dataset=folder."
        problem = f"got a {kind} without {definition.title}; must be {expected}{remedy}"
        raise UserError(str(root), problem)
    files = f"{definition.title} files" if definition.mirrors else definition.title
    words = f"{files} in the {kind} given"
    return Source(definition=definition, settings=settings, root=root, paths=paths, words=words)


def _find_downloads(definition: Definition, folder: Path) -> tuple[Path, ...]:
    """Return the files in a folder of downloads; none where some of the downloaded files are
    missing. Opens no file.
    """
    try:
        return definition.layout.find(definition, folder)
    except UserError:
        if (folder / FACTS).exists():
            return ()
        raise


def _elsewhere(definition: Definition) -> str:
    """Say how to get the files on another machine."""
    if not (loader := definition.torchvision):
        return ""
    calls = [
        f"{loader}('FOLDER', {name}={value!r}, download=True)"
        for name, value in definition.downloads
    ]
    code = f"from torchvision.datasets import {loader}; {'; '.join(calls)}"
    return f'. On a machine with a network, this command makes such a FOLDER: python -c "{code}"'


def _notice(definition: Definition, looked: str) -> str:
    training = SUBSET_COUNTS[0] - SUBSET_VALIDATION
    test = SUBSET_COUNTS[1]
    return (
        f"NOTE: this run uses {sum(SUBSET_COUNTS):,} real digits, not the whole of "
        f"{definition.title}.\n"
        f"  The digits come with vaeexp: {training:,} to train on, {SUBSET_VALIDATION} for "
        f"validation, {test} for test.\n"
        "  Every result is marked as made on this subset; it cannot be compared with results on "
        f"{definition.title}.\n"
        f"  Why: {looked}.\n"
        f"  For all {sum(definition.counts or ()):,} images: --data FOLDER or "
        "VAEEXP_DATA=FOLDER, where FOLDER holds\n"
        f"  {definition.layout.expected(definition)}."
    )
