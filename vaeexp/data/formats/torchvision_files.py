"""The official files of the MNIST family, CIFAR-10 and SVHN, as torchvision lays them out.

These readers take compressed files and call no function that a pickle names; torchvision's readers
want unpacked files, and unpickle CIFAR.

- IDX (http://yann.lecun.com/exdb/mnist/): a magic number (two zero bytes, type 8 for unsigned
  bytes and 12 for big-endian 32-bit integers, number of dimensions), the dimensions as big-endian
  32-bit integers, then the values. The official files are gzip-compressed.
- QMNIST (Yadav and Bottou 2019, https://github.com/facebookresearch/qmnist): IDX; labels are
  integers [N, 8], of which the first is the digit.
- CIFAR-10 for Python (Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html): six pickles of
  a dict with `data`, an array uint8 [N, 3072] (1,024 red, green, then blue values of an image), and
  `labels`, a list of N numbers.
- SVHN (Netzer et al. 2011, http://ufldl.stanford.edu/housenumbers/): two MATLAB 5 files with `X`
  uint8 [32, 32, 3, N] and `y` [N, 1] from 1 to 10, where 10 stands for the digit 0.
"""

import gzip
import pickle
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

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
QMNIST_FILES = (
    "qmnist-train-images-idx3-ubyte",
    "qmnist-train-labels-idx2-int",
    "qmnist-test-images-idx3-ubyte",
    "qmnist-test-labels-idx2-int",
)
_IDX_TYPES = {"u1": 8, ">i4": 12}
BATCHES = (*(f"data_batch_{number}" for number in range(1, 6)), "test_batch")
MATRICES = ("train_32x32.mat", "test_32x32.mat")


def join_files(source: Source, files: Iterable[tuple[np.ndarray, np.ndarray]]) -> RawImages:
    """Join the images and labels of files, of which the last is the test file."""
    images, labels = zip(*files, strict=True)
    counts = sum(map(len, labels[:-1])), len(labels[-1])
    parts = np.repeat(np.array([TRAINING, TEST], np.uint8), counts)
    doubt = ""
    warnings = tuple[str, ...]()
    if counts == source.definition.counts:
        doubt, warnings = describe_doubt(source.definition, source.paths)
    content = np.concatenate(images), np.concatenate(labels), parts, source.definition.classes
    return RawImages(*content, warnings=warnings, doubt=doubt)


def complete_set(
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
    images = read_idx(images_path, 3)
    if "idx2-int" in labels_path.name:
        labels = read_idx(labels_path, 2, ">i4")[:, 0]
    else:
        labels = read_idx(labels_path, 1)
    return fit_pair(definition, (images_path, images), (labels_path, labels))


def fit_pair(
    definition: Definition,
    images_of: tuple[Path, np.ndarray],
    labels_of: tuple[Path, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 [N, 1, H, W] and labels uint8 [N] of two files [N, H, W] and [N]. Raises
    UserError where they do not fit each other or the definition.
    """
    images_path, images = images_of
    labels_path, labels = labels_of
    shape = definition.image_shape or (1, *images.shape[1:])
    if images.shape[1:] != shape[1:]:
        problem = f"got images of {images.shape[1]} × {images.shape[2]} pixels"
        raise UserError(str(images_path), f"{problem}; must be {shape[1]} × {shape[2]}")
    check_labels(labels_path, labels, len(images), len(definition.classes or ()))
    return images.reshape(-1, *shape), labels.astype(np.uint8)


def check_labels(path: Path, labels: np.ndarray, images: int, classes: int) -> None:
    """Raise UserError unless there is a label from 0 to `classes` − 1 for each image."""
    if len(labels) != images or labels.min() < 0 or labels.max() >= classes:
        problem = f"got {len(labels):,} labels from {labels.min()} to {labels.max()}"
        wanted = f"{images:,} from 0 to {classes - 1}, one for each image"
        raise UserError(str(path), f"{problem}; must be {wanted}")


def read_idx(path: Path, dimensions: int, kind: str = "u1") -> np.ndarray:
    """Read the array in an IDX file, gzip-compressed if its name ends in `.gz`.

    kind: of the values; u1 is unsigned bytes, >i4 integers of 32 bits.

    Raises UserError that names the file, the content it has and the content it must have.
    """
    packing, opened = ("gzip", gzip.open) if path.suffix == ".gz" else ("IDX", open)
    with refusing(path, f"a whole {packing} file"), opened(path, "rb") as stream:
        return read_idx_stream(path, cast(BinaryIO, stream), dimensions, kind)


def read_idx_stream(path: Path, stream: BinaryIO, dimensions: int, kind: str) -> np.ndarray:
    """Read the array of an open IDX file; `path` names it in an error."""
    magic, *shape = struct.unpack(f">{1 + dimensions}I", stream.read(4 + 4 * dimensions))
    known = (_IDX_TYPES[kind] << 8) + dimensions
    if magic != known:
        wanted = f"{known}, an array of {dimensions} dimensions"
        raise UserError(str(path), f"got magic number {magic}; must be {wanted}")
    return np.frombuffer(stream.read(), kind).reshape(shape)


def read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 [N, 3, 32, 32] and labels uint8 [N] of a CIFAR file.

    A pickle can name any function to be called. Only the names that CIFAR's files hold are
    admitted. Raises UserError naming the file when it is damaged or holds anything else.
    """
    with refusing(path, "a batch of CIFAR images"), path.open("rb") as file:
        content = _PlainUnpickler(file, encoding="bytes").load()
        content = {
            key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()
        }
        images = content["data"].reshape(-1, 3, 32, 32)
        labels = np.asarray(content["labels"], dtype=np.int64)
        if images.dtype != np.uint8:
            raise ValueError(f"values of type {images.dtype}")
    check_labels(path, labels, len(images), 10)
    return images, labels.astype(np.uint8)


_ADMITTED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    # Python 3 writes bytes so in a pickle that Python 2 can read.
    ("_codecs", "encode"),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise pickle.UnpicklingError(f"the name {module}.{name}, which no such file holds")
        return super().find_class(module, name)


def _read_svhn(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read images uint8 [N, 3, 32, 32] and labels uint8 [N] from 0 to 9. Raises UserError."""
    from scipy.io import loadmat

    with refusing(path, "a MATLAB 5 file with X and y"):
        content = loadmat(path, variable_names=("X", "y"))
        images = content["X"].transpose(3, 2, 0, 1)
        labels = content["y"].reshape(-1) % 10
        if images.dtype != np.uint8 or images.shape[1:] != (3, 32, 32):
            raise ValueError(f"X {images.dtype} {list(content['X'].shape)}")
    check_labels(path, labels, len(images), 10)
    return images, labels.astype(np.uint8)


def _idx_layout(names: tuple[str, ...]) -> Layout:
    """Return the layout of four IDX files: training images and labels, test images and labels."""
    return Layout(
        expected=lambda row: f"{row.folder}/raw/ with {', '.join(names)} (each raw or .gz)",
        find=lambda row, root: complete_set(row, root, below_raw(row), names, (".gz", "")),
        read=lambda source, *_: join_files(
            source,
            [_read_pair(source.definition, *source.paths[place : place + 2]) for place in (0, 2)],
        ),
    )


def below_raw(definition: Definition) -> tuple[str, ...]:
    """Return where the files of the MNIST family may lie below the folder that is given."""
    return f"{definition.folder}/raw", definition.folder, "raw", ""


IDX = _idx_layout(FILES)
QMNIST = _idx_layout(QMNIST_FILES)
CIFAR = Layout(
    expected=lambda row: (
        f"{row.folder}/ with {', '.join(BATCHES)} (unpack {row.mirrors[0].rsplit('/', 1)[-1]} "
        "there)"
    ),
    find=lambda row, root: complete_set(row, root, (row.folder, ""), BATCHES),
    read=lambda source, *_: join_files(source, [read_batch(path) for path in source.paths]),
)
SVHN = Layout(
    expected=lambda _: " and ".join(MATRICES),
    find=lambda row, root: complete_set(row, root, ("", row.folder, row.title), MATRICES),
    read=lambda source, *_: join_files(source, map(_read_svhn, source.paths)),
)
