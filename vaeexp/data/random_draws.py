"""Random draws that are the same for ever: with every numpy version, on every machine.

numpy promises to keep the raw output of its bit generators, but not what `Generator.permutation` or
`Generator.random` make of it. So both draws here are made from raw Philox numbers (Salmon et al. 2011,
"Parallel random numbers: as easy as 1, 2, 3"), keyed with (purpose, seed).
"""

from enum import IntEnum

import numpy as np

_CHUNK = 2**20  # pixels drawn at a time; even, since one raw number serves two pixels


class Purpose(IntEnum):
    """What a stream is for: streams of different purposes are independent under the same seed."""

    SPLIT = 0
    TRAINING_PIXELS = 1
    TEST_PIXELS = 2
    SUBSET_TEST = 3
    HELD_OUT_TEST = 4
    VALIDATION_ORDER = 5


def _stream(seed: int, purpose: Purpose) -> np.random.Philox:
    return np.random.Philox(key=(int(purpose) << 64) + seed % 2**64)


def permutation(count: int, seed: int, purpose: Purpose) -> np.ndarray:
    """A random order of range(count), int64 [count]: that of `count` raw 64-bit numbers, ties by index."""
    return np.argsort(_stream(seed, purpose).random_raw(count), kind="stable")


def binarise(images: np.ndarray, seed: int, purpose: Purpose) -> np.ndarray:
    """Draw each pixel once: 1 with probability grey / 255, else 0.

    Pixel i (in memory order) is 1 when u_i < grey_i · 2³² / 255, where u_i is the i-th 32-bit number of the stream,
    low halves of the raw 64-bit numbers first. The probability is exact to 2⁻³²; 0 stays 0 and 255 becomes 1.
    So an image's pixels depend on its place in `images`, and not on how the images are split later.

    images: uint8 of any shape. Returns uint8 of the same shape.
    """
    bits = _stream(seed, purpose)
    thresholds = np.array([-(-(grey << 32) // 255) for grey in range(256)], dtype=np.uint64)
    grey = np.ascontiguousarray(images).reshape(-1)
    drawn = np.empty_like(grey)
    for start in range(0, grey.size, _CHUNK):
        chunk = grey[start : start + _CHUNK]
        uniform = bits.random_raw((chunk.size + 1) // 2).astype("<u8").view("<u4")[: chunk.size]
        drawn[start : start + _CHUNK] = uniform < thresholds[chunk]
    return drawn.reshape(images.shape)
