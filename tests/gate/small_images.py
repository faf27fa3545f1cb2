"""Images in the format of the MNIST files, which a small model learns something from: blurred
marks, one shape a class.
"""

import gzip
import struct
from pathlib import Path

import numpy as np


def write_images(root: Path, training: int, test: int) -> None:
    """Write the four files below `root`, in the folders that torchvision makes."""
    raw = root / "MNIST" / "raw"
    raw.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for prefix, count in (("train", training), ("t10k", test)):
        labels = draw.integers(0, 10, count, dtype=np.uint8)
        images = np.stack([_image(int(label), draw) for label in labels])
        _write(raw / f"{prefix}-images-idx3-ubyte.gz", images)
        _write(raw / f"{prefix}-labels-idx1-ubyte.gz", labels)


def _image(label: int, draw: np.random.Generator) -> np.ndarray:
    """Draw an ellipse whose axes and angle are those of the class, at a random place."""
    y, x = np.mgrid[-1:1:28j, -1:1:28j]
    angle, wide = label * np.pi / 5, 0.2 + 0.04 * label
    x, y = x - draw.normal(0, 0.1), y - draw.normal(0, 0.1)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    ink = np.exp(-((u / wide) ** 2) - (v / 0.6) ** 2) + 0.05 * draw.random((28, 28))
    return np.clip(255 * ink, 0, 255).astype(np.uint8)


def _write(path: Path, array: np.ndarray) -> None:
    head = struct.pack(f">{1 + array.ndim}I", 0x0800 + array.ndim, *array.shape)
    path.write_bytes(gzip.compress(head + array.tobytes(), mtime=0))
