"""The files of CIFAR-10 for Python (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html), read without running them.

Each of the six files is a pickle of a dict with `data`, an array uint8 [N, 3072] (1,024 red, green, then blue values
of an image), and `labels`, a list of N numbers. A pickle can name any function to be called, so only the names that
these files hold are admitted, and even those are answered by stand-ins that keep what is given and run nothing.
"""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.datasets import Definition, RawImages, complete_set

if TYPE_CHECKING:
    from vaeexp.data.locate import Source

BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")


def expected(definition: Definition) -> str:
    """The files, in words."""
    return f"{definition.folder}/ with {', '.join(BATCHES)} (unpack {definition.mirrors[0].rsplit('/', 1)[-1]} there)"


def find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """The six batches in `root`, in torchvision's layout or directly; empty when there is none of them."""
    return complete_set((root / definition.folder, root), BATCHES, definition.title)


def read(source: "Source", scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Five batches to train on, one to test on; UserError naming a file that is damaged."""
    shape, classes = source.definition.image_shape, source.definition.classes
    batches = [read_batch(path, shape, len(classes)) for path in source.paths]
    images, labels = zip(*batches[:-1], strict=True)
    return RawImages(np.concatenate(images), np.concatenate(labels), *batches[-1], classes=classes)


def read_batch(path: Path, image_shape: tuple[int, int, int], classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 [N, C, H, W] and labels uint8 [N] of one file.

    Raises UserError naming the file when it is damaged, holds anything but plain data, or does not fit.
    """
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file, encoding="bytes").load()
        content = {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}
        images, labels = content["data"].array(), np.asarray(content["labels"], dtype=np.int64)
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or error}") from error
    except Exception as error:  # whatever a damaged pickle provokes
        problem = f"expected a batch of CIFAR images, found something else ({type(error).__name__}: {error})"
        raise UserError(str(path), problem) from error
    size = int(np.prod(image_shape))
    if images.ndim != 2 or images.shape[1] != size or not len(images):
        raise UserError(str(path), f"expected at least one image of {size:,} values, found an array {images.shape}")
    if labels.shape != (len(images),) or labels.min() < 0 or labels.max() >= classes:
        raise UserError(str(path), f"expected {len(images):,} labels from 0 to {classes - 1}, found others")
    return images.reshape(-1, *image_shape), labels.astype(np.uint8)


class _PlainType:
    """Stands for numpy.dtype."""

    def __init__(self, code: str | bytes = "", *flags: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, which bytes do not have."""


class _PlainArray:
    """Stands for numpy.ndarray: keeps shape, type, order and content, each checked in `array`."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PlainType, bool, bytes]) -> None:
        _, self.shape, self.type, self.fortran, self.content = state

    def array(self) -> np.ndarray:
        if self.type.code != "u1":
            raise ValueError(f"values of type {self.type.code}")
        return np.frombuffer(self.content, np.uint8).reshape(self.shape, order="F" if self.fortran else "C")


def _reconstruct(*arguments: Any) -> _PlainArray:
    return _PlainArray()


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes in a pickle that Python 2 can read."""
    return text.encode("latin1")


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): _PlainArray,
    ("numpy", "dtype"): _PlainType,
    ("_codecs", "encode"): _encode,
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"the name {module}.{name}, which no such file holds")
        return _ADMITTED[module, name]
