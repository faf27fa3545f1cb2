"""The data sets that can be named in a study: files, sizes, classes, and where they can be had."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sweeps.errors import UserError

# Training images, training labels, test images, test labels of the MNIST family; each raw or with `.gz`.
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# The bundled digits: images that take the place of the training files, and of the test files.
SUBSET_COUNTS = (4_500, 500)
SUBSET_VALIDATION = 500

_BLOCK_BYTES = 2**26


@dataclass(frozen=True, kw_only=True)
class Definition:
    """What is known of a data set before its files are read. What is None is found in the files."""

    name: str
    title: str
    layout: str
    """How the files are written: a name in vaeexp/data/formats/layouts.py."""
    folder: str = ""
    """In torchvision's layout, below the folder given."""
    classes: tuple[str, ...] | None = None
    counts: tuple[int, int] | None = None
    """Images of the official training (with validation) and test files."""
    image_shape: tuple[int, int, int] | None = None
    """C, H, W."""
    torchvision: str = ""
    """Name of torchvision's class, which downloads the files."""
    downloads: tuple[tuple[str, str | bool], ...] = ()
    """Keyword and value for each call of that class that it takes to get all files."""
    mirrors: tuple[str, ...] = ()
    """Addresses of which one must answer before a download is tried; one that ends in `/` holds `FILES`."""
    bundled: bool = False


class RawImages(NamedTuple):
    """The content of a source, in the order of its files: images uint8 [N, C, H, W], unsigned labels [N].

    The arrays of images may be memory maps. Labels are zeros where there are no classes.
    """

    training_images: np.ndarray
    training_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    training_rows: np.ndarray | None = None
    """Rows of `training_images` that count, one for each label; all when None."""
    test_rows: np.ndarray | None = None
    validation: int | None = None
    """The last so many training images are the source's own validation images."""
    holdout: int | None = None
    """Images to hold out for validation at most, where no protocol says how many."""
    classes: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    """Sentences for people: what was found, and what was done to it."""
    files: int = 0
    """Files that hold one image each."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Name and problem of those that were left out."""


def blocks(array: np.ndarray, rows: np.ndarray | None) -> Iterator[np.ndarray]:
    """`array[rows]` (all rows when None) in pieces of about 64 MiB, so that an array larger than memory passes through."""
    count = len(array) if rows is None else len(rows)
    step = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, count, step):
        which = slice(start, start + step)
        yield np.ascontiguousarray(array[which] if rows is None else array[rows[which]])


def check_grey(title: str, channels: int, binarisation: str) -> None:
    """Raise UserError when images of more than one channel are asked to be binarised."""
    if channels != 1 and binarisation != "none":
        problem = (
            f"'{binarisation}' is for images of one channel, and {title} has {channels}; set data.binarisation to none"
        )
        raise UserError("data.binarisation", problem)


_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_ROWS = (
    Definition(
        name="mnist",
        title="MNIST",
        layout="idx",
        folder="MNIST",
        classes=tuple("0123456789"),
        counts=(60_000, 10_000),
        image_shape=(1, 28, 28),
        torchvision="MNIST",
        downloads=(("train", True),),
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        bundled=True,
    ),
    Definition(
        name="fashion_mnist",
        title="Fashion-MNIST",
        layout="idx",
        folder="FashionMNIST",
        classes=_FASHION,
        counts=(60_000, 10_000),
        image_shape=(1, 28, 28),
        torchvision="FashionMNIST",
        downloads=(("train", True),),
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
    Definition(
        name="cifar10",
        title="CIFAR-10",
        layout="cifar",
        folder="cifar-10-batches-py",
        classes=_CIFAR10,
        counts=(50_000, 10_000),
        image_shape=(3, 32, 32),
        torchvision="CIFAR10",
        downloads=(("train", True),),
        mirrors=("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",),
    ),
    Definition(
        name="svhn",
        title="SVHN",
        layout="svhn",
        folder="svhn",
        classes=tuple("0123456789"),
        counts=(73_257, 26_032),
        image_shape=(3, 32, 32),
        torchvision="SVHN",
        downloads=(("split", "train"), ("split", "test")),
        mirrors=("http://ufldl.stanford.edu/housenumbers/test_32x32.mat",),
    ),
    Definition(
        name="celeba",
        title="CelebA",
        layout="celeba",
        folder="celeba",
        counts=(182_637, 19_962),
        torchvision="CelebA",
        downloads=(("split", "all"),),
        mirrors=("https://drive.google.com",),
    ),
    Definition(name="folder", title="image files", layout="folder"),
    Definition(name="arrays", title="arrays", layout="arrays"),
)

DATASETS: dict[str, Definition] = {definition.name: definition for definition in _ROWS}


def complete_set(folders: Iterable[Path], names: tuple[str, ...], title: str) -> tuple[Path, ...]:
    """The files of these names in the first folder that has all of them; empty when no folder has any.

    Raises UserError where a folder has some of them.
    """
    for folder in folders:
        paths = tuple(folder / name for name in names)
        missing = [path.name for path in paths if not path.is_file()]
        if not missing:
            return paths
        if len(missing) < len(paths):
            raise UserError(str(folder), f"some files of {title} are missing: {', '.join(missing)}")
    return ()
