"""Small data sets of colour images in the formats of the official files, for the tests of
vaeexp.data.
"""

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from vaeexp.data.formats.torchvision_files import BATCHES


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    """Random bytes of this shape."""
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


def python2_pickle(data: np.ndarray, labels: list[int]) -> bytes:
    """A batch as Python 2 wrote it (protocol 2): text as byte strings, the array by
    numpy.core.multiarray._reconstruct.
    """

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    kind = b"cnumpy\ndtype\n" + text(b"u1") + b"K\x00K\x01\x87R"
    kind += b"(K\x03" + text(b"|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
    )
    content = b"T" + struct.pack("<i", data.nbytes) + data.tobytes()
    array += (
        b"(K\x01"
        + b"".join(number(size) for size in data.shape)
        + b"\x86"
        + kind
        + b"\x89"
        + content
        + b"tb"
    )
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    name = text(b"batch_label") + text(b"a batch")
    return b"\x80\x02}(" + name + text(b"labels") + listed + text(b"data") + array + b"u."


def write_cifar(folder: Path, each: int = 6) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write the six batches; name → images [N, 3, 32, 32] and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for number, name in enumerate(BATCHES):
        images, labels = noise(each, 3, 32, 32, seed=number), noise(each, seed=100 + number) % 10
        (folder / name).write_bytes(python2_pickle(images.reshape(each, -1), labels.tolist()))
        written[name] = images, labels
    return written


def write_svhn(folder: Path, *, packed: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write both files; split → images [N, 3, 32, 32] and labels from 0 to 9."""
    import scipy.io

    folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for split, count in (("train", 30), ("test", 12)):
        images, labels = noise(count, 3, 32, 32, seed=count), np.arange(count, dtype=np.uint8) % 10
        stored = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        matrices = {"comment": "passed over", "X": images.transpose(2, 3, 1, 0), "y": stored}
        scipy.io.savemat(folder / f"{split}_32x32.mat", matrices, do_compression=packed)
        written[split] = images, labels
    return written


def write_image(path: Path, pixels: np.ndarray, **options) -> None:
    """Write pixels [H, W] or [H, W, 3] as the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def write_tiff(path: Path, pixels: np.ndarray, *, white: int = 1) -> None:
    """Write one channel [H, W] of any type as TIFF. white: 1 where the largest number is white, 0
    where 0 is.
    """
    height, width = pixels.shape
    kind = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    shorts = {
        256: width,
        257: height,
        258: pixels.itemsize * 8,
        259: 1,
        262: white,
        277: 1,
        278: height,
        339: kind,
    }
    longs = {273: 134, 279: pixels.nbytes}  # where the pixels begin, and their bytes
    tags = {number: struct.pack("<HHIHxx", number, 3, 1, value) for number, value in shorts.items()}
    tags |= {number: struct.pack("<HHII", number, 4, 1, value) for number, value in longs.items()}
    content = b"".join(tags[number] for number in sorted(tags))
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + content + bytes(4)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header + pixels.tobytes())


def write_tree(
    root: Path, counts: Mapping[str, int], *, shape: tuple[int, ...] = (6, 5, 3)
) -> dict[str, np.ndarray]:
    """So many PNG files in each folder; name below `root` → pixels."""
    written = {}
    for folder, count in counts.items():
        for _ in range(count):
            name = f"{folder}/{len(written):03d}.png"
            written[name] = noise(*shape, seed=len(written))
            write_image(root / name, written[name])
    return written
