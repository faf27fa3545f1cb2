"""The cropped digits of SVHN (Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/): two MATLAB 5 files.

`X` is uint8 [32, 32, 3, N] and `y` [N, 1] with labels from 1 to 10, where 10 stands for the digit 0.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.datasets import Definition, RawImages, complete_set

if TYPE_CHECKING:
    from vaeexp.data.locate import Source

MATRICES = ("train_32x32.mat", "test_32x32.mat")


def expected(definition: Definition) -> str:
    """The files, in words."""
    return " and ".join(MATRICES)


def find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """The two files in `root` or in its folder `svhn`; empty when there is none of them."""
    return complete_set((root, root / definition.folder, root / definition.title), MATRICES, definition.title)


def read(source: "Source", scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Both files; UserError naming the one that is damaged."""
    training, test = (_read_matrix(path) for path in source.paths)
    return RawImages(*training, *test, classes=source.definition.classes)


def _read_matrix(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, 3, 32, 32] and labels uint8 [N] from 0 to 9."""
    import scipy.io

    try:
        content = scipy.io.loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"].reshape(-1)
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged file provokes
        problem = f"expected a MATLAB file with X and y, found something else ({type(error).__name__}: {error})"
        raise UserError(str(path), problem) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[:3] != (32, 32, 3) or not images.shape[3]:
        found = f"{images.dtype} {list(images.shape)}"
        raise UserError(str(path), f"expected X as uint8 [32, 32, 3, N] with at least one image, found {found}")
    if len(labels) != images.shape[3] or labels.min() < 0 or labels.max() > 10:
        raise UserError(str(path), f"expected y as {images.shape[3]:,} labels from 1 to 10, found others")
    return images.transpose(3, 2, 0, 1), (labels % 10).astype(np.uint8)
