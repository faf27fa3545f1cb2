"""Images that are in two splits, whatever file, link or array they came from, by a hash of their
pixels."""

import hashlib
from collections.abc import Mapping

import numpy as np

from vaeexp.data.formats import blocks
from vaeexp.data.values import is_vector

_SHARE = 0.01
"""From this share of a split on, images that are in another split, too, are a warning. Below it
they are a note.
"""
_FEW = 3
"""Fewer images than this are a note: in small tables rows are equal by chance."""
_EMPTY = bytes(8)
_WIDE = 4
"""Columns of the narrowest table of which rows of equal numbers but one show nothing."""
_PAIRS = (("test", "training"), ("test", "validation"), ("validation", "training"))
_REMEDY = {
    "test": "test figures are of images that the model has seen. Remove them from one of the two",
    "validation": "the search prefers models that know these images by heart. Remove them from "
    "one of the two",
}


def image_keys(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return a hash of the pixels of each of these images, uint64 [rows], and 0 for an image that
    shows nothing, because that is no copy of another. Images may be larger than memory.

    Two of a million different images have the same 64 bits with a probability of 3 · 10⁻⁸.
    """
    # Of pixels as a source decodes them, before binarisation.
    keys = list[bytes]()
    for block in blocks(images, rows):
        for image, empty in zip(block, _nothing(block), strict=True):
            keys.append(_EMPTY if empty else hashlib.sha256(image.data).digest()[:8])
    return np.frombuffer(b"".join(keys), np.uint64)


def _nothing(images: np.ndarray) -> np.ndarray:
    """Return which of the images have one level, as an empty mask, bool [N]; a row of a table may
    have one larger number, as of one wet station on a dry day.
    """
    flat = images.reshape(len(images), -1)
    low = flat.min(axis=1)
    if is_vector(images.shape) and flat.shape[1] >= _WIDE:
        return (flat != low[:, None]).sum(axis=1) <= 1
    return low == flat.max(axis=1)


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
            (warnings if count >= max(_FEW, _SHARE * total) else notes).append(text)
    return notes, warnings
