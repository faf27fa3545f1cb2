"""The official files of MNIST, Fashion-MNIST, CIFAR-10 and SVHN, as torchvision lays them out.

These readers take compressed files, check sizes before memory is given, and unpickle nothing;
torchvision's readers want unpacked files, check an MD5 sum alone, and unpickle CIFAR.

- IDX (http://yann.lecun.com/exdb/mnist/): a magic number (two zero bytes, type 8 for unsigned
  bytes, number of dimensions), the dimensions as big-endian 32-bit integers, then the values. The
  official files are gzip-compressed.
- CIFAR-10 for Python (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html): six pickles of
  a dict with `data`, an array uint8 [N, 3072] (1,024 red, green, then blue values of an image), and
  `labels`, a list of N numbers.
- SVHN (Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/): two MATLAB 5 files with `X`
  uint8 [32, 32, 3, N] and `y` [N, 1] from 1 to 10, where 10 stands for the digit 0.
"""

import gzip
import math
import os
import pickle
import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import TEST, TRAINING, Definition, Layout, RawImages, Source, refusing
from vaeexp.data.formats.official_files import describe_doubt

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
"""Training images, training labels, test images, test labels of the MNIST family; each raw or with
`.gz`.
"""
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
MATRICES = ("train_32x32.mat", "test_32x32.mat")

_MOST_DEFLATED = 1032  # bytes that one byte of deflate can stand for, at most


def _joined(source: Source, files: Iterable[tuple[np.ndarray, np.ndarray]]) -> RawImages:
    """Join the images and labels of files, of which the last is the test file."""
    images, labels = zip(*files, strict=True)
    parts = np.repeat(
        np.array([TRAINING, TEST], np.uint8), [sum(map(len, labels[:-1])), len(labels[-1])]
    )
    doubt, warnings = "", tuple[str, ...]()
    if tuple(np.bincount(parts, minlength=TEST + 1)[[TRAINING, TEST]]) == source.definition.counts:
        doubt, warnings = describe_doubt(source.definition, source.paths)
    content = np.concatenate(images), np.concatenate(labels), parts, source.definition.classes
    return RawImages(*content, warnings=warnings, doubt=doubt)


def _complete_set(
    definition: Definition,
    root: Path,
    below: Iterable[str],
    names: tuple[str, ...],
    suffixes: tuple[str, ...] = ("",),
) -> tuple[Path, ...]:
    """Find the files of these names, with one of the suffixes, in the first folder below `root`
    that has them all.

    Empty where no folder has any. Raises UserError where a folder has some of them.
    """
    for folder in (root / name for name in below):
        versions = [
            [path for suffix in suffixes if (path := folder / f"{name}{suffix}").is_file()]
            for name in names
        ]
        if all(versions):
            return tuple(paths[0] for paths in versions)
        if any(versions):
            missing = ", ".join(
                name for name, paths in zip(names, versions, strict=True) if not paths
            )
            raise UserError(str(folder), f"some files of {definition.title} are missing: {missing}")
    return ()


def _read_pair(
    definition: Definition, images_path: Path, labels_path: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 [N, 1, H, W] and labels uint8 [N]. Raises UserError where one is damaged or
    misfits the other.
    """
    channels, height, width = definition.image_shape or (1, 0, 0)
    with _idx_stream(images_path) as stream:
        count, *size = _idx_header(images_path, stream, 3)
    if size != [height, width] or not count:
        images = f"{count:,} images of {size[0]} × {size[1]} pixels"
        raise UserError(
            str(images_path),
            f"got {images}; must be at least one image of {height} × {width} pixels",
        )
    labels, highest = read_idx(labels_path, 1), len(definition.classes or ()) - 1
    if len(labels) != count:
        problem = (
            f"got {len(labels):,} labels; must be {count:,}, one for each image in "
            f"{images_path.name}"
        )
        raise UserError(str(labels_path), problem)
    if labels.max() > highest:
        index = int(np.argmax(labels > highest))
        raise UserError(
            str(labels_path), f"got label {labels[index]} at image {index}; must be 0 to {highest}"
        )
    return read_idx(images_path, 3).reshape(-1, channels, height, width), labels


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Read the array in an IDX file of unsigned bytes, gzip-compressed if its name ends in `.gz`.

    No more is unpacked than the header announces, and a header that announces more than the file
    can hold is refused. Raises UserError that names the file, the content it has and the content it
    must have.
    """
    with _idx_stream(path) as stream:
        shape = _idx_header(path, stream, dimensions)
        # Of Python integers: a damaged header may announce more than 2⁶⁴ values.
        count = math.prod(shape)
        wanted = (
            f"{count:,} for the {' × '.join(f'{length:,}' for length in shape)} values of its "
            "header"
        )
        most = os.path.getsize(path) * (_MOST_DEFLATED if path.suffix == ".gz" else 1)
        if count > most:
            raise UserError(str(path), f"got at most {most:,} bytes of values; must be {wanted}")
        values = stream.read(count + 1)
        if len(values) != count:
            available = f"{len(values):,}" if len(values) < count else "more"
            raise UserError(str(path), f"got {available} bytes of values; must be {wanted}")
    return np.frombuffer(values, np.uint8).reshape(shape)


@contextmanager
def _idx_stream(path: Path) -> Iterator[BufferedIOBase]:
    kind, opened = ("gzip", gzip.open) if path.suffix == ".gz" else ("IDX", open)
    with refusing(path, f"a whole {kind} file"), opened(path, "rb") as stream:
        yield stream


def _idx_header(path: Path, stream: BufferedIOBase, dimensions: int) -> tuple[int, ...]:
    header = stream.read(length := 4 + 4 * dimensions)
    if len(header) < length:
        raise UserError(
            str(path), f"got {len(header)} bytes; must begin with an IDX header of {length}"
        )
    magic, *shape = struct.unpack(f">{1 + dimensions}I", header)
    if magic != 0x0800 + dimensions:
        kind = f"unsigned bytes in {dimensions} dimension{'s' if dimensions > 1 else ''}"
        raise UserError(
            str(path), f"got magic number {magic}; must be {0x0800 + dimensions} (IDX, {kind})"
        )
    return tuple(shape)


def read_batch(path: Path, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 [N, 3, 32, 32] and labels uint8 [N] of a CIFAR file.

    A pickle can name any function to be called. Only the names that CIFAR's files hold are
    admitted, and stand-ins that keep their arguments and run nothing answer for them.

    Raises UserError naming the file when it is damaged, holds anything but plain data, or does not
    fit.
    """
    with refusing(path, "a batch of CIFAR images"), path.open("rb") as file:
        content = _PlainUnpickler(file, encoding="bytes").load()
        content = {
            key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()
        }
        images, labels = content["data"].array(), np.asarray(content["labels"], dtype=np.int64)
    if images.ndim != 2 or images.shape[1] != 3072 or not len(images):
        raise UserError(
            str(path), f"got an array {images.shape}; must be at least one image of 3,072 values"
        )
    if labels.shape != (len(images),) or labels.min() < 0 or labels.max() >= classes:
        raise UserError(
            str(path), f"got other labels; must be {len(images):,} labels from 0 to {classes - 1}"
        )
    return images.reshape(-1, 3, 32, 32), labels.astype(np.uint8)


class _PlainType:
    """Stands for numpy.dtype."""

    def __init__(self, code: str | bytes = "", *flags: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """Byte order and the like, which bytes do not have."""


class _PlainArray:
    """Stands for numpy.ndarray: keeps shape, type, order and content, which `array` checks."""

    def __init__(self, *arguments: Any) -> None:
        """Stand for numpy's function that makes an empty array."""

    def __setstate__(self, state: tuple[int, tuple[int, ...], _PlainType, bool, bytes]) -> None:
        _, self.shape, self.type, self.fortran, self.content = state

    def array(self) -> np.ndarray:
        if self.type.code != "u1":
            raise ValueError(f"values of type {self.type.code}")
        return np.frombuffer(self.content, np.uint8).reshape(
            self.shape, order="F" if self.fortran else "C"
        )


_ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _PlainArray,
    ("numpy._core.multiarray", "_reconstruct"): _PlainArray,
    ("numpy", "ndarray"): _PlainArray,
    ("numpy", "dtype"): _PlainType,
    # Python 3 writes bytes so in a pickle that Python 2 can read.
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"the name {module}.{name}, which no such file holds")
        return _ADMITTED[module, name]


def _read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 [N, 3, 32, 32] and labels uint8 [N] from 0 to 9. Sizes are compared before
    any value is read.
    """
    from scipy.io import loadmat, whosmat

    with refusing(path, "a MATLAB 5 file with X and y"):
        shapes = {name: shape for name, shape, _ in whosmat(path)}
        shape, count = shapes["X"], math.prod(shapes["y"])
        if len(shape) != 4 or shape[:3] != (32, 32, 3) or not shape[3]:
            raise UserError(
                str(path), f"got X as {list(shape)}; must be [32, 32, 3, N] with at least one image"
            )
        if count != shape[3]:
            raise UserError(
                str(path), f"got {count:,} labels y; must be {shape[3]:,}, one for each image of X"
            )
        content = loadmat(path, variable_names=("X", "y"))
        images, labels = content["X"], content["y"].reshape(-1)
        if images.dtype != np.uint8:
            raise UserError(str(path), f"got X of type {images.dtype}; must be uint8")
        if not (labels.min() >= 0 and labels.max() <= 10):
            raise UserError(
                str(path), f"got labels y from {labels.min()} to {labels.max()}; must be 1 to 10"
            )
        return images.transpose(3, 2, 0, 1), (labels % 10).astype(np.uint8)


IDX = Layout(
    expected=lambda row: f"{row.folder}/raw/ with {', '.join(FILES)} (each raw or .gz)",
    find=lambda row, root: _complete_set(
        row, root, (f"{row.folder}/raw", row.folder, "raw", ""), FILES, ("", ".gz")
    ),
    read=lambda source, *_: _joined(
        source,
        [_read_pair(source.definition, *source.paths[place : place + 2]) for place in (0, 2)],
    ),
)
CIFAR = Layout(
    expected=lambda row: (
        f"{row.folder}/ with {', '.join(BATCHES)} (unpack {row.mirrors[0].rsplit('/', 1)[-1]} "
        "there)"
    ),
    find=lambda row, root: _complete_set(row, root, (row.folder, ""), BATCHES),
    read=lambda source, *_: _joined(
        source, [read_batch(path, classes=10) for path in source.paths]
    ),
)
SVHN = Layout(
    expected=lambda _: " and ".join(MATRICES),
    find=lambda row, root: _complete_set(row, root, ("", row.folder, row.title), MATRICES),
    read=lambda source, *_: _joined(source, map(_read_svhn, source.paths)),
)
