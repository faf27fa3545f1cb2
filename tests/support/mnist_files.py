"""Small data sets in the format of the MNIST files, for the tests of vaeexp.data."""

import gzip
import struct
from pathlib import Path

import numpy as np

from vaeexp.data.formats.torchvision_files import FILES


def idx_bytes(array: np.ndarray) -> bytes:
    """`array` (uint8) as the content of an IDX file."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape) + array.tobytes()


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write an IDX file, compressed if its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = idx_bytes(array)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def small_data(training: int = 60, test: int = 20, seed: int = 0) -> list[np.ndarray]:
    """Training images, training labels, test images, test labels of random 28 × 28 pictures."""
    draw = np.random.default_rng(seed)
    sizes = [(training, 28, 28), (training,), (test, 28, 28), (test,)]
    return [
        draw.integers(0, 256 if len(size) == 3 else 10, size=size, dtype=np.uint8) for size in sizes
    ]


def write_files(raw: Path, *, suffix: str = ".gz", **options: int) -> list[np.ndarray]:
    """Write the four files into the folder `raw`; returns what they hold."""
    arrays = small_data(**options)
    for name, array in zip(FILES, arrays, strict=True):
        write_idx(raw / f"{name}{suffix}", array)
    return arrays
