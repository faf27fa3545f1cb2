"""The data sets that a study can name, and where their files are found: given, cached, downloaded
or bundled.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps import Damaged, UserError, did_you_mean
from vaeexp.cache import FACTS
from vaeexp.data import class_names
from vaeexp.data.downloads import DownloadError, download, downloads_folder, open_downloads
from vaeexp.data.formats import (
    TEST,
    TRAINING,
    Checksum,
    Definition,
    Layout,
    RawImages,
    RemoteFile,
    Source,
    emnist,
    printable,
)
from vaeexp.data.formats.arrays import ARRAYS
from vaeexp.data.formats.disentanglement import DSPRITES, SHAPES3D
from vaeexp.data.formats.image_folder import CELEBA, FOLDER, holds_images
from vaeexp.data.formats.official_arrays import OFFICIAL_ARRAYS
from vaeexp.data.formats.omniglot import OMNIGLOT
from vaeexp.data.formats.torchvision_files import CIFAR, IDX, QMNIST, SVHN, read_idx
from vaeexp.data.formats.usps import USPS
from vaeexp.data.hub_files import PREFIX, hub_definition
from vaeexp.data.prepare import SUBSET_VALIDATION, Purpose, permutation

if TYPE_CHECKING:
    from vaeexp.settings import DataSettings

# Bundled digits in place of MNIST's training files, and of its test files.
SUBSET_COUNTS = (4_500, 500)
BUNDLED = Path(__file__).parent  # the folder with the bundled digits

_of_mnist = partial(Definition, layout=IDX, counts=(60_000, 10_000), image_shape=(1, 28, 28))


def _sums(*md5: str, suffix: str = "") -> tuple[Checksum, ...]:
    return tuple(Checksum(each, suffix) for each in md5)


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
_FASHION_SUMS = _sums(
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
    suffix=".gz",
)
_KMNIST_SUMS = _sums(
    "bdb82020997e1d708af4cf47b453dcf7",
    "e144d726b3acfaa3e44228e80efcd344",
    "5c965bf0a639b31b8f53240b1b52f4d7",
    "7320c461ea6c1c855c0b718fb2a4b134",
    suffix=".gz",
)
_QMNIST_SUMS = _sums(
    "ed72d4157d28c017586c42bc6afe6370",
    "0058f8dd561b90ffdd0f734c6a30e5e4",
    "1394631089c404de565df7b7aeaf9412",
    "5b5b05890a5e13444e108efe57b788aa",
    suffix=".gz",
)
_CIFAR10_SUMS = _sums(
    "c99cafc152244af753f735de768cd75f",
    "d4bba439e000b95fd0a9bffe97cbabec",
    "54ebc095f3ab1f0389bbae665268c751",
    "634d18415352ddfa80567beed471001a",
    "482c414d41f54cd18b22e5b47cb7c3cb",
    "40351d587109b95175f43aff81a1287e",
)
_SVHN_SUMS = _sums(
    "e26dedcc434d2e4c54c9b2d4a06d8373",
    "eb5a983be6a315427106f1b164d9cef3",
)

_EMNIST_ARCHIVE = RemoteFile(
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    f"EMNIST/raw/{emnist.ARCHIVE}",
    "58c8d27c78d21e728a6bc7b3cc06412e",
)
_OMNIGLOT = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
_OMNIGLOT_ARCHIVES = tuple(
    RemoteFile(f"{_OMNIGLOT}/{name}.zip", f"omniglot-py/{name}.zip", md5)
    for name, md5 in (
        ("images_background", "68d2efa1b9178cc56df9314c21c6e718"),
        ("images_evaluation", "6b91aef0f799c5bb55b94e3f2daec811"),
    )
)
_MEDMNIST = "https://zenodo.org/records/10519652/files"
# Several independent programs that load these files have these sums.
DSPRITES_FILE = RemoteFile(
    "https://github.com/google-deepmind/dsprites-dataset/raw/master/"
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz",
    "7da33b31b13a06f4b04a70402ce90c2e",
)
SHAPES3D_FILE = RemoteFile(
    "https://storage.googleapis.com/3d-shapes/3dshapes.h5",
    "3dshapes.h5",
    "099a2078d58cec4daad0702c55d06868",
)
"""What a row with the layout of these files names as `remote`."""


def _of_emnist(split: str, title: str, counts: tuple[int, int]) -> Definition:
    """Return the row of a split of EMNIST. All splits come in one archive."""
    return Definition(
        name=f"emnist_{split}",
        title=f"EMNIST {title}",
        layout=emnist.EMNIST,
        folder="EMNIST",
        classes=class_names.EMNIST[split],
        counts=counts,
        image_shape=(1, 28, 28),
        checksums=(Checksum(_EMNIST_ARCHIVE.md5),),
        torchvision="EMNIST",
        downloads=(("split", split),),
        remote=(_EMNIST_ARCHIVE,),
        kept_as="emnist",
    )


def _of_medmnist(
    title: str, md5: str, counts: tuple[int, int], channels: int, side: int = 28
) -> Definition:
    """Return the row of a data set of MedMNIST, of 28, 64, 128 or 224 pixels a side. The MD5 sums
    are those of the package medmnist, version 3.
    """
    name = title.lower() + (f"_{side}" if side != 28 else "")
    return Definition(
        name=name,
        title=title,
        layout=OFFICIAL_ARRAYS,
        classes=class_names.MEDMNIST[title.lower()],
        counts=counts,
        image_shape=(channels, side, side),
        checksums=(Checksum(md5),),
        remote=(RemoteFile(f"{_MEDMNIST}/{name}.npz?download=1", f"{name}.npz", md5),),
    )


_ROWS = (
    _of_mnist(
        name="mnist",
        title="MNIST",
        folder="MNIST",
        classes=class_names.DIGITS,
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
        classes=class_names.FASHION,
        checksums=_FASHION_SUMS,
        torchvision="FashionMNIST",
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
    _of_mnist(
        name="kmnist",
        title="KMNIST",
        folder="KMNIST",
        classes=class_names.KMNIST,
        checksums=_KMNIST_SUMS,
        torchvision="KMNIST",
        mirrors=("http://codh.rois.ac.jp/kmnist/dataset/kmnist/",),
    ),
    Definition(
        name="qmnist",  # with torchvision's `test`: all 60,000 test images
        title="QMNIST",
        layout=QMNIST,
        folder="QMNIST",
        classes=class_names.DIGITS,
        checksums=_QMNIST_SUMS,
        counts=(60_000, 60_000),
        image_shape=(1, 28, 28),
        torchvision="QMNIST",
        downloads=(("what", "train"), ("what", "test")),
        mirrors=(
            "https://raw.githubusercontent.com/facebookresearch/qmnist/master/"
            "qmnist-test-labels-idx2-int.gz",
        ),
    ),
    _of_emnist("balanced", "Balanced", (112_800, 18_800)),
    _of_emnist("byclass", "ByClass", (697_932, 116_323)),
    _of_emnist("bymerge", "ByMerge", (697_932, 116_323)),
    _of_emnist("digits", "Digits", (240_000, 40_000)),
    _of_emnist("letters", "Letters", (124_800, 20_800)),
    _of_emnist("mnist", "MNIST", (60_000, 10_000)),
    Definition(
        name="usps",
        title="USPS",
        layout=USPS,
        folder="USPS",
        classes=class_names.DIGITS,
        checksums=_sums("ec16c51db3855ca6c91edd34d0e9b197", "8ea070ee2aca1ac39742fdd1ef5ed118"),
        counts=(7_291, 2_007),
        image_shape=(1, 16, 16),
        torchvision="USPS",
        downloads=(("train", True), ("train", False)),
        mirrors=("https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/multiclass/usps.t.bz2",),
    ),
    Definition(
        name="omniglot",
        title="Omniglot",
        layout=OMNIGLOT,
        folder="omniglot-py",
        checksums=_sums(*(file.md5 for file in _OMNIGLOT_ARCHIVES)),
        counts=(19_280, 13_180),
        image_shape=(1, 105, 105),
        torchvision="Omniglot",
        downloads=(("background", True), ("background", False)),
        remote=_OMNIGLOT_ARCHIVES,
    ),
    _of_medmnist("BloodMNIST", "7053d0359d879ad8a5505303e11de1dc", (13_671, 3_421), 3),
    _of_medmnist("BreastMNIST", "750601b1f35ba3300ea97c75c52ff8f6", (624, 156), 1),
    _of_medmnist("ChestMNIST", "02c8a6516a18b556561a56cbdd36c4a8", (89_687, 22_433), 1),
    _of_medmnist("DermaMNIST", "0744692d530f8e62ec473284d019b0c7", (8_010, 2_005), 3),
    _of_medmnist("OCTMNIST", "c68d92d5b585d8d81f7112f81e2d0842", (108_309, 1_000), 1),
    _of_medmnist("OrganAMNIST", "68e3f8846a6bd62f0c9bf841c0d9eacc", (41_052, 17_778), 1),
    _of_medmnist("OrganCMNIST", "b9ceb9546e10131b32923c5bbeaea2b1", (15_367, 8_216), 1),
    _of_medmnist("OrganSMNIST", "9ab87b696fb54e2a387ebe992d6ed5f1", (16_384, 8_827), 1),
    _of_medmnist("PathMNIST", "a8b06965200029087d5bd730944a56c1", (100_000, 7_180), 3),
    _of_medmnist("PneumoniaMNIST", "28209eda62fecd6e6a2d98b1501bb15f", (5_232, 624), 1),
    _of_medmnist("RetinaMNIST", "bd4c0672f1bba3e3a89f0e4e876791e4", (1_200, 400), 3),
    _of_medmnist("TissueMNIST", "ebe78ee8b05294063de985d821c1c34b", (189_106, 47_280), 1),
    Definition(
        name="cifar10",
        title="CIFAR-10",
        layout=CIFAR,
        folder="cifar-10-batches-py",
        classes=class_names.CIFAR10,
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
        classes=class_names.DIGITS,
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
    Definition(
        name="dsprites",
        title="dSprites",
        layout=DSPRITES,
        remote=(DSPRITES_FILE,),
        folder="dsprites",
        image_shape=(1, 64, 64),
    ),
    Definition(
        name="shapes3d",
        title="3D Shapes",
        layout=SHAPES3D,
        remote=(SHAPES3D_FILE,),
        folder="shapes3d",
        image_shape=(3, 64, 64),
    ),
    Definition(name="folder", title="image files", layout=FOLDER),
    Definition(name="arrays", title="arrays", layout=ARRAYS),
)

DATASETS: dict[str, Definition] = {definition.name: definition for definition in _ROWS}
"""Data sets by name. Those of the Hugging Face Hub go by `hf:OWNER/NAME`."""


def find_definition(name: str) -> Definition:
    """Return the data set of this name. Raises UserError when there is none."""
    if name.startswith(PREFIX):
        return hub_definition(name)
    if name not in DATASETS:
        hint = did_you_mean(name, DATASETS)
        problem = f"got '{name}'; must be one of {', '.join(DATASETS)}, or {PREFIX}OWNER/NAME."
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
        download(definition, downloads_folder(definition), say)
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
    if not definition.downloadable:
        problem = f"'{definition.name}' needs --data (or VAEEXP_DATA), which must name {expected}"
        raise UserError("data.dataset", problem)
    downloads = downloads_folder(definition)
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
    if not root.exists():
        raise UserError(str(root), _no_such_path(root))
    expected = definition.layout.expected(definition)
    kind = "folder" if root.is_dir() else "file"
    paths = definition.layout.find(definition, root)
    # Of a folder of other files the reader names the kinds.
    doubtful = not paths or (definition.layout is FOLDER and not holds_images(root))
    other = _other_layout(definition, root) if doubtful else ""
    if not paths or other:
        remedy = other + _elsewhere(definition)
        problem = f"got a {kind} without {definition.title}; must be {expected}{remedy}"
        raise UserError(str(root), problem)
    files = f"{definition.title} files" if definition.downloadable else definition.title
    words = f"{files} in the {kind} given"
    return Source(definition=definition, settings=settings, root=root, paths=paths, words=words)


def _no_such_path(root: Path) -> str:
    """Say that a path does not exist: which part of it is missing, and the nearest name there."""
    missing = root
    while missing != missing.parent and not missing.parent.exists():
        missing = missing.parent
    problem = "there is no such file or folder"
    problem += f", because there is no '{printable(str(missing))}'" if missing != root else ""
    names: list[str] = []
    with suppress(OSError):  # a parent that is a file, or that may not be read, has no names
        names = [path.name for path in missing.parent.iterdir() if path.name[0] != "."]
    hint = did_you_mean(missing.name, names)
    return f"{problem}. {printable(hint)}" if hint.startswith("Did") else f"{problem}."


def _other_layout(definition: Definition, root: Path) -> str:
    """Say how files that `folder` or `arrays` reads are named; empty where neither does."""
    what = "a folder of" if root.is_dir() else "a file of"
    if definition.layout is not FOLDER and holds_images(root):
        return f". For {what} image files try --set dataset=folder"
    with suppress(UserError):
        if definition.layout is not ARRAYS and ARRAYS.find(definition, root):
            return f". For {what} arrays or tables try --set dataset=arrays"
    return ""


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
        files = ", ".join(file.url for file in definition.remote)
        return f". On a machine with a network, download {files} into FOLDER" if files else ""
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
