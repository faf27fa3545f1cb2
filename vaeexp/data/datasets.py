"""The data sets that a study can name: their files, sizes and classes, where they can be had, and the bundled digits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.formats import TEST, TRAINING, Definition, Layout, RawImages, Source
from vaeexp.data.formats.arrays import ARRAYS
from vaeexp.data.formats.celeba import CELEBA
from vaeexp.data.formats.image_folder import FOLDER
from vaeexp.data.formats.torchvision_files import CIFAR, IDX, SVHN, read_idx
from vaeexp.data.random_draws import Purpose, permutation

SUBSET_COUNTS = (4_500, 500)
"""Bundled digits in place of MNIST's training files, and of its test files."""
SUBSET_VALIDATION = 500

_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

_ROWS = (
    Definition(
        name="mnist",
        title="MNIST",
        layout=IDX,
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
        layout=IDX,
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
        layout=CIFAR,
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
        layout=SVHN,
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


def _find_digits(definition: Definition, root: Path) -> tuple[Path, ...]:
    return (root / "digits.gz",)


def _read_digits(source: Source, scratch: Path, say: Callable[[str], None]) -> RawImages:
    """The 5,000 digits, 500 of each class in the order of the classes; 50 of each class are for test.

    The choice for test is fixed for ever and does not depend on the study's split seed, as with the official files.
    """
    images = read_idx(source.paths[0], 3)
    if images.shape != (sum(SUBSET_COUNTS), 28, 28):
        raise UserError(
            str(source.paths[0]), f"got {len(images):,} digits; must be {sum(SUBSET_COUNTS):,}. Install vaeexp again."
        )
    labels = np.repeat(np.arange(10, dtype=np.uint8), len(images) // 10)
    order = permutation(len(images), 0, Purpose.SUBSET_TEST)
    parts = np.full(len(images), TRAINING, dtype=np.uint8)
    for digit in range(10):
        parts[order[labels[order] == digit][: SUBSET_COUNTS[1] // 10]] = TEST
    return RawImages(images[:, None], labels, parts, classes=source.definition.classes)


DIGITS = Layout(expected=lambda definition: "digits.gz of vaeexp", find=_find_digits, read=_read_digits)
"""5,000 digits of MNIST in a file of vaeexp (vaeexp/data/digits.txt says where they come from)."""
