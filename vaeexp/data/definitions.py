"""The data sets that can be named in a study: files, sizes, classes, and where they can be had."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

__all__ = ["DATASETS", "FILES", "SUBSET_COUNTS", "SUBSET_VALIDATION", "Definition", "RawImages"]

# Training images, training labels, test images, test labels; each raw or with `.gz`.
FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")

# The bundled digits: images that take the place of the training files, and of the test files.
SUBSET_COUNTS = (4_500, 500)
SUBSET_VALIDATION = 500


@dataclass(frozen=True)
class Definition:
    """What is known of a data set before its files are read. `counts` are of the official training and test files."""

    name: str
    title: str
    folder: str  # in torchvision's layout <root>/<folder>/raw; also the name of torchvision's class
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    counts: tuple[int, int] = (60_000, 10_000)
    image_shape: tuple[int, int, int] = (1, 28, 28)  # C, H, W
    bundled: bool = False


class RawImages(NamedTuple):
    """The content of a source, in the order of its files: images uint8 [N, C, H, W], labels uint8 [N]."""

    training_images: np.ndarray
    training_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


DATASETS: dict[str, Definition] = {
    "mnist": Definition(
        name="mnist",
        title="MNIST",
        folder="MNIST",
        classes=tuple("0123456789"),
        mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        bundled=True,
    ),
    "fashion_mnist": Definition(
        name="fashion_mnist",
        title="Fashion-MNIST",
        folder="FashionMNIST",
        classes=(
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
        ),
        mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    ),
}
