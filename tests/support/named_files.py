"""Small data sets in the formats of the named data sets, for the tests of vaeexp.data."""

import bz2
import gzip
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
from image_files import noise
from mnist_files import idx_bytes
from PIL import Image

from vaeexp.data.formats.emnist import emnist_files
from vaeexp.data.formats.torchvision_files import QMNIST_FILES


def write_qmnist(raw: Path, *, suffix: str = ".gz") -> list[np.ndarray]:
    """Write the four files; returns training images, training labels, test images, test labels."""
    raw.mkdir(parents=True, exist_ok=True)
    arrays = []
    for name, count in zip(QMNIST_FILES, (60, 60, 40, 40), strict=True):
        if "images" in name:
            array = noise(count, 28, 28, seed=count)
            content = idx_bytes(array)
        else:
            array = np.arange(count, dtype=np.uint8) % 10
            beside = noise(count, 7, seed=count).astype(">i4") * 1000
            stored = np.concatenate([array[:, None].astype(">i4"), beside], axis=1)
            content = struct.pack(">3I", 0x0C02, *stored.shape) + stored.astype(">i4").tobytes()
        packed = gzip.compress(content) if suffix else content
        (raw / f"{name}{suffix}").write_bytes(packed)
        arrays.append(array)
    return arrays


def emnist_content(split: str, *, first: int = 0, classes: int = 10) -> dict[str, bytes]:
    """Name → IDX content of one split; images lie transposed, as in the official files."""
    arrays = emnist_arrays(classes)
    turned = [array.transpose(0, 2, 1) if array.ndim == 3 else array + first for array in arrays]
    contents = [idx_bytes(np.ascontiguousarray(array)) for array in turned]
    return dict(zip(emnist_files(split), contents, strict=True))


def emnist_arrays(classes: int) -> list[np.ndarray]:
    """Upright images and labels from 0, of training and test."""
    counts = (60, 20)
    images = [noise(count, 28, 28, seed=count) for count in counts]
    labels = [np.arange(count, dtype=np.uint8) % classes for count in counts]
    return [images[0], labels[0], images[1], labels[1]]


def emnist_archive(*splits: dict[str, bytes]) -> bytes:
    """The archive of all splits, `gzip/NAME.gz`."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for split in splits:
            for name, content in split.items():
                archive.writestr(f"gzip/{name}.gz", gzip.compress(content))
    return stream.getvalue()


def usps_content(count: int, seed: int) -> tuple[bytes, np.ndarray, np.ndarray]:
    """A file, and its images uint8 [N, 1, 16, 16] and labels from 0."""
    images = noise(count, 1, 16, 16, seed=seed)
    labels = np.arange(count, dtype=np.uint8) % 10
    lines = []
    for image, label in zip(images.reshape(count, -1), labels, strict=True):
        values = (image.astype(np.float64) + 0.5) / 255 * 2 - 1
        pairs = [f"{place}:{min(value, 1):.6f}" for place, value in enumerate(values, 1)]
        lines.append(f"{label + 1} {' '.join(pairs)} \n")
    return bz2.compress("".join(lines).encode()), images, labels


def png(pixels: np.ndarray) -> bytes:
    """Pixels [H, W], [H, W, 3] or booleans [H, W] as the content of a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def omniglot_archives(each: int = 4) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    """The two archives by name, and set/alphabet/character/file → pixels uint8 [105, 105]."""
    archives = {}
    pixels = {}
    for name, alphabets in (
        ("images_background", ("Greek", "Latin")),
        ("images_evaluation", ("Tengwar",)),
    ):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w") as archive:
            archive.writestr(f"{name}/", "")
            for alphabet in alphabets:
                for number in range(2 * each):
                    path = f"{name}/{alphabet}/character{number % 2 + 1:02d}/{number:04d}_01.png"
                    ink = noise(105, 105, seed=len(pixels)) < 20
                    archive.writestr(path, png(~ink))
                    pixels[path] = np.where(ink, 0, 255).astype(np.uint8)
        archives[f"{name}.zip"] = stream.getvalue()
    return archives, pixels


def medmnist_content(channels: int, classes: int) -> tuple[bytes, dict[str, np.ndarray]]:
    """A file of three splits, and its arrays by name."""
    arrays = {}
    for split, count in (("train", 40), ("val", 10), ("test", 12)):
        shape = (count, 28, 28) if channels == 1 else (count, 28, 28, channels)
        arrays[f"{split}_images"] = noise(*shape, seed=count)
        arrays[f"{split}_labels"] = (np.arange(count, dtype=np.uint8) % classes)[:, None]
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    return stream.getvalue(), arrays
