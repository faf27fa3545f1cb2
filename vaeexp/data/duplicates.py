"""Images that are in two splits, whatever file, link or array they came from: the same by a hash of
their pixels, and nearly the same, as after lossy compression, by a sketch of 8 × 8 means."""

import hashlib
from collections.abc import Mapping
from itertools import chain

import numpy as np

from vaeexp.data.formats import blocks

_SHARE = 0.01
"""From this share of a split on, images that are in another split, too, are a warning. Below it
they are a note.
"""
_NEAR = 0.05
_NEAR_SHARE = 0.1
"""Distance of two sketches, of the size of one, up to which images are nearly the same, and the
share of a split from which they are a warning. Of 1,000 test images of MNIST the nearest training
image is at least 0.06 away, of CIFAR-10 0.11; JPEG files of quality 75 are 0.03 away from what they
were made of."""
_PIXELS = 0.5
"""The same for the pixels of images whose sketches are near, because sketches do not see where a
dot lies within a field.
"""
_SKETCH = 8
_MOST_LOOKED_AT = 1_000
_AT_A_TIME = 20_000
# Of red, green, blue, which JPEG keeps better than colours.
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_OF_ONE_LEVEL = bytes(8)
_PAIRS = (("test", "training"), ("test", "validation"), ("validation", "training"))
_REMEDY = {
    "test": "test figures are of images that the model has seen. Remove them from one of the two",
    "validation": "the search prefers models that know these images by heart. Remove them from "
    "one of the two",
}


def image_keys(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a hash of the pixels of each of these images, uint64 [rows], and 0 for an image of one
    level, such as an empty mask, because that is no copy of another. Images may be larger than
    memory.

    Two of a million different images have the same 64 bits with a probability of 3 · 10⁻⁸.
    """
    # Of pixels as a source decodes them, before binarisation.
    keys = [
        _OF_ONE_LEVEL if image.min() == image.max() else hashlib.sha256(image.data).digest()[:8]
        for image in chain.from_iterable(blocks(images, rows))
    ]
    return np.frombuffer(b"".join(keys), np.uint64)


def row_keys(images: np.ndarray) -> np.ndarray:
    """Return a hash of each image [N, C, H, W] as it was prepared, before it is binarised; uint64
    [N], as `image_keys` has them.

    Of float32 numbers 13 binary digits count, so that a file of another type has the same rows.
    """
    if images.dtype == np.float32:
        bits = (images + np.float32(0)).view(np.uint32)  # -0 is 0
        images = (bits + np.uint32(1 << 10)) >> np.uint32(11)
    return image_keys(images, np.arange(len(images)))


def compare_splits(
    images: np.ndarray, rows: Mapping[str, np.ndarray], *, drawn: bool
) -> tuple[list[str], list[str]]:
    """Return notes and warnings on the images that are in two splits.

    rows: of "training", "validation" and "test" images.
    drawn: validation images are drawn from the training images later.
    """
    keys = {split: image_keys(images, own) for split, own in rows.items()}
    found = []
    for split, other in _PAIRS:
        count = int(np.isin(keys[split][keys[split] > 0], keys[other]).sum())
        found.append((split, count, f"are also {other} images: {_REMEDY[split]}"))
    if drawn:
        _, counts = np.unique(keys["training"][keys["training"] > 0], return_counts=True)
        several = int(counts[counts > 1].sum())
        problem = (
            "are there more than once, and validation images are drawn from them. Remove the copies"
        )
        found.append(("training", several, problem))
    notes = list[str]()
    warnings = list[str]()
    for split, count, problem in found:
        total = len(keys[split])
        if count:
            text = f"{count:,} of {total:,} {split} images {problem}"
            (warnings if count >= _SHARE * total else notes).append(text)
    # Only images of bytes are compressed with losses.
    lossy = images.dtype == np.uint8 and images.shape[2] > 1
    near = _compare_sketches(images, rows, keys) if lossy else []
    return notes, warnings + near


def _compare_sketches(
    images: np.ndarray, rows: Mapping[str, np.ndarray], keys: Mapping[str, np.ndarray]
) -> list[str]:
    """Return warnings on images that are nearly training images, or mirrored ones, and no copies
    (`keys`, as `compare_splits` has).

    rows: of "training", "validation" and "test" images. Of a large split, images at equal distances
    are looked at.
    """
    warnings = list[str]()
    taught = sketches(images, rows["training"])
    for split in (name for name in ("test", "validation") if len(rows[name])):
        own = rows[split][:: -(-len(rows[split]) // _MOST_LOOKED_AT)]
        copies = np.isin(image_keys(images, own), keys["training"])
        theirs = sketches(images, own)
        near = np.zeros(len(own), bool)
        for step in (1, -1):  # backwards: the mirrored image
            nearest = _nearest(theirs[:, :, ::step], taught)
            near |= _alike(images, own, rows["training"], *nearest, step)
        if (count := int((near & ~copies).sum())) and count >= _NEAR_SHARE * len(own):
            found = (
                f"{count:,} of {len(own):,} {split} images are nearly training images, or "
                "mirrored ones"
            )
            warnings.append(f"{found}, as after another compression: {_REMEDY[split]}")
    return warnings


def sketches(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return the means of at most 8 × 8 fields of each of these images, around their own mean,
    float32 [rows, 8, 8].
    """
    made = []
    for block in blocks(images, rows):
        channels = block.shape[1]
        weights = _LUMA if channels == 3 else np.full(channels, 1 / channels, np.float32)
        grey = block[:, 0]
        if channels > 1:
            grey = np.tensordot(block.astype(np.float32), weights, axes=(1, 0))
        fields: np.ndarray = grey.astype(np.float32)
        for axis in (1, 2):
            edges = np.linspace(0, fields.shape[axis], min(_SKETCH, fields.shape[axis]) + 1).astype(
                int
            )
            counts = np.diff(edges).reshape(-1, *[1] * (2 - axis))
            fields = np.add.reduceat(fields, edges[:-1], axis=axis) / counts
        made.append((fields - fields.mean(axis=(1, 2), keepdims=True)).astype(np.float32))
    return np.concatenate(made)


def _nearest(some: np.ndarray, all_: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance of each sketch from the nearest of all, as a share of its own size
    (infinite where it has none), and the place of the nearest."""
    few = some.reshape(len(some), -1)
    many = all_.reshape(len(all_), -1)
    sizes = (few**2).sum(axis=1)
    least = np.full(len(few), np.inf, np.float32)
    places = np.zeros(len(few), np.int64)
    for start in range(0, len(many), _AT_A_TIME):
        piece = many[start : start + _AT_A_TIME]
        squares = sizes[:, None] + (piece**2).sum(axis=1) - 2 * few @ piece.T
        nearer = squares.min(axis=1) < least
        places[nearer] = start + squares.argmin(axis=1)[nearer]
        least = np.minimum(least, squares.min(axis=1))
    shares = np.full(len(few), np.inf)
    np.divide(np.maximum(least, 0), sizes, out=shares, where=sizes > 1)
    return np.sqrt(shares), places


def _alike(
    images: np.ndarray,
    own: np.ndarray,
    training: np.ndarray,
    distances: np.ndarray,
    places: np.ndarray,
    step: int,
) -> np.ndarray:
    """Return which images, their columns taken by this step, are nearly their nearest training
    image (`_nearest`): by their sketches, then by their pixels.
    """
    near = distances <= _NEAR
    for place in np.flatnonzero(near).tolist():
        image, other = (
            images[row].astype(np.float32) for row in (own[place], training[places[place]])
        )
        image = image[..., ::step]
        near[place] = ((image - other) ** 2).mean() <= _PIXELS**2 * image.var()
    return near
