"""The IDX format of the MNIST files: http://yann.lecun.com/exdb/mnist/ ("THE IDX FILE FORMAT").

A file is a magic number (two zero bytes, type 8 for unsigned bytes, number of dimensions), the dimensions as
big-endian 32-bit integers, then the data; the official files are gzip-compressed.
"""

import gzip
import math
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sweeps.errors import UserError
from vaeexp.data.datasets import FILES, Definition, RawImages

if TYPE_CHECKING:
    from vaeexp.data.locate import Source


def expected(definition: Definition) -> str:
    """The files, in words."""
    return f"{definition.folder}/raw/ with {', '.join(FILES)} (each raw or .gz)"


def find(definition: Definition, root: Path) -> tuple[Path, ...]:
    """The four files in `root`, in torchvision's layout or directly; empty when there is none of them."""
    for folder in (root / definition.folder / "raw", root / definition.folder, root / "raw", root):
        found = [_raw_or_compressed(folder / name) for name in FILES]
        if all(found):
            return tuple(path for path in found if path)
        if any(found):
            missing = ", ".join(name for name, path in zip(FILES, found, strict=True) if not path)
            raise UserError(str(folder), f"some files of {definition.title} are missing: {missing} (raw or .gz)")
    return ()


def read(source: "Source", scratch: Path, say: Callable[[str], None]) -> RawImages:
    """Read and check the four files: training images, training labels, test images, test labels.

    Raises UserError naming the file that is damaged, does not fit the data set or does not fit its partner.
    """
    definition, paths = source.definition, source.paths
    training_images, training_labels = _read_pair(definition, paths[0], paths[1])
    test_images, test_labels = _read_pair(definition, paths[2], paths[3])
    return RawImages(training_images, training_labels, test_images, test_labels, classes=definition.classes)


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """The array in an IDX file of unsigned bytes, gzip-compressed if its name ends in `.gz`.

    Raises UserError naming the file, what was expected and what was found, when it is anything else.
    """
    content = _read_bytes(path)
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise UserError(str(path), f"expected an IDX header of {header} bytes, found {len(content)} bytes in all")
    magic, *shape = struct.unpack(f">{1 + dimensions}I", content[:header])
    expected = 0x0800 + dimensions
    if magic != expected:
        kind = f"unsigned bytes in {dimensions} dimension{'s' if dimensions > 1 else ''}"
        raise UserError(str(path), f"expected magic number {expected} (IDX, {kind}), found {magic}")
    size = header + math.prod(shape)  # of Python integers: a damaged header may announce more than 2⁶⁴ values
    if len(content) != size:
        what = " × ".join(f"{length:,}" for length in shape)
        raise UserError(
            str(path), f"expected {size:,} bytes for the {what} values its header announces, found {len(content):,}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=header).reshape(shape)


def _raw_or_compressed(path: Path) -> Path | None:
    return next((each for each in (path, path.with_name(f"{path.name}.gz")) if os.path.isfile(each)), None)


def _read_bytes(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as stream:
            return stream.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(str(path), f"expected a whole gzip file, found a damaged or truncated one ({error})") from error
    except OSError as error:
        raise UserError(str(path), f"cannot be read: {error.strerror or error}") from error


def _read_pair(definition: Definition, images_path: Path, labels_path: Path) -> tuple[np.ndarray, np.ndarray]:
    images, labels = read_idx(images_path, 3), read_idx(labels_path, 1)
    channels, height, width = definition.image_shape
    if images.shape[1:] != (height, width) or not len(images):
        found = f"{len(images):,} images of {images.shape[1]} × {images.shape[2]}"
        raise UserError(str(images_path), f"expected at least one image of {height} × {width} pixels, found {found}")
    if len(labels) != len(images):
        expected = f"expected {len(images):,} labels, one for each image in {images_path.name}"
        raise UserError(str(labels_path), f"{expected}, found {len(labels):,}")
    highest = len(definition.classes) - 1
    if labels.max() > highest:
        place = int(np.argmax(labels > highest))
        raise UserError(
            str(labels_path), f"expected labels from 0 to {highest}, found {labels[place]} at image {place}"
        )
    return images.reshape(-1, channels, height, width), labels
