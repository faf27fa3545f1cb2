"""Images that are in two splits, whatever file, link or array they came from, by a hash of their
pixels.
"""

import hashlib
from collections.abc import Mapping

import numpy as np

from vaeexp.data.formats import blocks

_SHARE = 0.01
"""From this share of a split on, images that are in another split, too, are a warning. Below it
they are a note.
"""
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
        for block in blocks(images, rows)
        for image in block
    ]
    return np.frombuffer(b"".join(keys), np.uint64)


def compare_splits(keys: Mapping[str, np.ndarray], *, drawn: bool) -> tuple[list[str], list[str]]:
    """Return notes and warnings on the images that are in two splits.

    keys: of "training", "validation" and "test" images. drawn: validation images are drawn from the
    training images later.
    """
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
    notes, warnings = list[str](), list[str]()
    for split, count, problem in found:
        total = len(keys[split])
        if count:
            text = f"{count:,} of {total:,} {split} images {problem}"
            (warnings if count >= _SHARE * total else notes).append(text)
    return notes, warnings
