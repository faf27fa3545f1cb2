"""A first look at images before they are split and trained on: their scale, their range, and what
cannot be meant.

All decisions are made from the training images, before binarisation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import TEST, TRAINING, VALIDATION, RawImages, blocks
from vaeexp.data.formats.levels import (
    DEEPEST,
    FEW,
    PLAIN,
    Stored,
    scale_note,
    scale_words,
    to_bytes,
    white_of,
)
from vaeexp.words import format_share, plural

_SAMPLE_BYTES = 2**27
"""Bytes of the largest set of images whose pixels are all counted; of more, images at equal
distances.
"""
_NARROW, _MOST = 6, 0.99
"""Levels that are 2 % of 256, and the share of pixels within them from which images are doubted."""
_HALF, _QUARTER, _RARE = 128, 64, 0.001
"""Levels that images of half the range reach at most; those of a quarter; share of pixels that are
exceptions.
"""
_NUMBERS, _FAR = 32, 128
"""Numbers of classes in a mask, and how far above them its white lies, which marks what is
ignored.
"""
_NAMES = {VALIDATION: "validation", TEST: "test"}

Rows = Mapping[int, np.ndarray]
"""TRAINING, VALIDATION or TEST → rows of its images, int64."""


def settle_levels(raw: RawImages, rows: Rows, root: str, scratch: Path) -> RawImages:
    """Return the images with black at 0 and white at 255, by the largest number that is stored for
    the training images.

    Raises UserError, which names `root`, for floats that all would be black.
    """
    stored = np.zeros(len(raw.parts), np.uint8) if raw.stored is None else raw.stored
    largest = _largest(raw.images) if raw.largest is None else raw.largest
    training = rows[TRAINING]
    whites, notes, warnings = dict(PLAIN), list[str](), list(raw.warnings)
    for kind in (kind for kind in Stored if (stored == kind).any()):
        known = largest[training[stored[training] == kind]]
        if not len(known):
            if kind is Stored.DEEP:
                deep = plural(int((stored == kind).sum()), "image")
                warnings.append(
                    f"{deep} with 16 bits, none of them for training: {DEEPEST:,} counts as "
                    "white there. Save all images in one depth"
                )
            continue
        reached = int(known.max())
        whites[kind] = white_of(kind, reached)
        notes += [note] if (note := scale_note(kind, whites[kind], reached)) else []
        if kind is Stored.FLOATS and 0 < reached <= FEW:
            problem = (
                f"got floats of at most {reached / 255:.2g}, where 1 is white: every image would "
                "be black"
            )
            raise UserError(
                root,
                f"{problem}. Perhaps they were divided by 255 twice. Divide them by their "
                "largest value.",
            )
    reading = [words for kind, white in whites.items() if (words := scale_words(kind, white))]
    images = raw.images
    if whites != PLAIN:
        images, above = _scaled(raw, whites, scratch)
        clipped, doubted = _clipped(above, rows)
        (warnings if doubted else notes).extend(clipped)
    # Not drawn from the training images.
    own = {part: rows[part] for part in (VALIDATION, TEST) if part in raw.parts}
    warnings += _dark_parts(largest, stored, whites, rows[TRAINING], own)
    return raw._replace(
        images=images,
        notes=(*raw.notes, *notes),
        warnings=tuple(warnings),
        reading=(*reading, *raw.reading),
        largest=largest,
    )


def _largest(images: np.ndarray) -> np.ndarray:
    """Return the largest number of each image, int64 [N]."""
    return np.concatenate(
        [block.reshape(len(block), -1).max(axis=1) for block in blocks(images)]
    ).astype(np.int64)


def _scaled(
    raw: RawImages, whites: Mapping[Stored, int], scratch: Path
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images with these numbers as white, and for each image how many of its numbers lie
    above, int64 [N].
    """
    if raw.read_again is not None:
        above = raw.read_again(whites)
        return raw.images, above
    white = whites[Stored.BYTES]
    images = np.lib.format.open_memmap(
        scratch / "scaled.npy", mode="w+", dtype=np.uint8, shape=raw.images.shape
    )
    table, above, start = to_bytes(np.arange(256), white), np.zeros(len(images), np.int64), 0
    for block in blocks(raw.images):
        piece = slice(start, start + len(block))
        images[piece] = table[block]
        above[piece] = (block > white).reshape(len(block), -1).sum(axis=1)
        start += len(block)
    return images, above


def _clipped(above: np.ndarray, rows: Rows) -> tuple[list[str], bool]:
    """Describe the values of other images above the white of the training images, and whether they
    are too many to be meant.
    """
    others = above[np.concatenate([rows[VALIDATION], rows[TEST]])]
    images, values = int((others > 0).sum()), int(others.sum())
    if not images:
        return [], False
    text = (
        f"Clipped: {plural(values, 'value')} of {images:,} of the {len(others):,} validation and "
        "test images"
    )
    text += " above the range of the training images"
    doubted = 10 * images >= len(others)
    return [f"{text}. Save all splits with the same range" if doubted else text], doubted


def _dark_parts(
    largest: np.ndarray,
    stored: np.ndarray,
    whites: Mapping[Stored, int],
    training: np.ndarray,
    others: Rows,
) -> list[str]:
    """Return a sentence for each other split that is nearly black on the scale of the training
    images.
    """
    levels = np.zeros(len(stored), np.int64)
    for kind, white in whites.items():
        levels[stored == kind] = to_bytes(largest[stored == kind], white)
    return [
        f"The {_NAMES[part]} images have values of at most {largest[rows].max():,} and the "
        f"training images of up to {largest[training].max():,}, so they are nearly black (level "
        f"{levels[rows].max()} of 255). Save all splits with the same range"
        for part, rows in others.items()
        if 16 * levels[rows].max() <= levels[training].max()
    ]


def look(raw: RawImages, rows: Rows, root: str) -> tuple[dict[str, Any], list[str]]:
    """Return facts on the pixels of the training images, for `pixel_words`, and sentences on what
    cannot be meant.

    Raises UserError, which names `root`, when all pixels are equal.
    """
    training = rows[TRAINING]
    lowest = list[np.ndarray]()
    highest = list[np.ndarray]()
    alike = True
    one = raw.images[training[0]]
    for block in blocks(raw.images, training):
        flat = block.reshape(len(block), -1)
        lowest.append(flat.min(axis=1))
        highest.append(flat.max(axis=1))
        alike = alike and bool((block == one).all())
    low, high = np.concatenate(lowest), np.concatenate(highest)
    if low.min() == high.max():
        raise UserError(root, _constant(raw, training, int(low.min())))
    step = -(-len(training) * one.nbytes // _SAMPLE_BYTES)
    sampled = training[::step]
    histogram = np.zeros(256, np.int64)
    for block in blocks(raw.images, sampled):
        histogram += np.bincount(block.reshape(-1), minlength=256)
    pixels = {
        "lowest": int(low.min()),
        "highest": int(high.max()),
        "mean": float(histogram @ np.arange(256) / histogram.sum() / 255),
        "black": float(histogram[0] / histogram.sum()),
        "white": float(histogram[255] / histogram.sum()),
        "images": len(sampled),
        "of": len(training),
    }
    return pixels, [
        *_empty_images(low, high, alike),
        *(_doubts(raw, training, histogram) or _dim_images(low, high)),
    ]


def _empty_images(low: np.ndarray, high: np.ndarray, alike: bool) -> list[str]:
    """Doubt images that are all the same, and such as show nothing; low, high: the extreme levels
    of each image.
    """
    if alike and len(low) > 1:
        return [f"All {len(low):,} training images are the same image. Look at the files"]
    if 5 * (plain := int((low == high).sum())) >= len(low):
        count = f"{plain:,} of the {len(low):,} training images"
        return [
            f"{count} show nothing: all pixels of such an image are equal. Leave them out, or "
            "look at the files"
        ]
    return []


def _dim_images(low: np.ndarray, high: np.ndarray) -> list[str]:
    """Doubt images of which many have a range of their own that is narrow."""
    dim = int(((low < high) & (high - low.astype(int) <= FEW)).sum())
    if 5 * dim < len(low):
        return []
    return [
        f"{dim:,} of the {len(low):,} training images show next to nothing: the pixels of such "
        f"an image differ by at most {FEW} of 255 levels, and those of others by more. Save all "
        "images with the same range"
    ]


def _doubts(raw: RawImages, training: np.ndarray, histogram: np.ndarray) -> list[str]:
    """Doubt the levels of all pixels together. histogram: of the training images, int64 [256]."""
    total, levels = histogram.sum(), np.flatnonzero(histogram)
    first, last, remedy = int(levels[0]), int(levels[-1]), "Look at the images (`--dry-run --show`)"
    sums = np.convolve(histogram, np.ones(_NARROW, np.int64), mode="valid")
    start = int(sums.argmax())
    if (inside := float(sums[start] / total)) >= _MOST:
        low, high = start + np.flatnonzero(histogram[start : start + _NARROW])[[0, -1]]
        where = (
            f"lie between the levels {low} and {high}" if low < high else f"have the level {low}"
        )
        return [
            f"{100 * inside:.1f} % of the pixels of the training images {where} of 255, so there "
            f"is little to see. {remedy}; if they are dark or pale, stretch their range before "
            "they are read"
        ]
    if last - first <= _HALF:
        return [
            f"The pixels of the training images have levels from {first} to {last} of 255, at "
            f"most half of the range. {remedy}; if {first} is meant as black and {last} as "
            "white, stretch their range before they are read"
        ]
    deep = raw.stored is not None and bool((raw.stored[training] == Stored.DEEP).all())
    if deep and histogram[_QUARTER:].sum() <= _RARE * total:
        return [
            f"Fewer than {100 * _RARE:.1f} % of the pixels of the training images are brighter "
            f"than level {_QUARTER - 1} of 255: a few bright pixels decide the range, and all "
            f"else is dark. {remedy}, and clip such pixels"
        ]
    if 3 <= len(levels) <= _NUMBERS + 1 and levels[-2] < _NUMBERS and last - levels[-2] >= _FAR:
        return [
            f"The pixels of the training images have {len(levels)} levels: {first} to "
            f"{levels[-2]} as in a mask that numbers classes, and {last}, so all classes are "
            f"nearly black. If {last} marks what is ignored, save it as 0; if some masks have "
            "another range, save all masks with the same range"
        ]
    return []


def _constant(raw: RawImages, training: np.ndarray, level: int) -> str:
    names = {0: " (black)", 255: " (white)"}
    problem = (
        f"got {plural(len(training), 'training image')} of which every pixel has the level "
        f"{level}{names.get(level, '')}"
    )
    if raw.largest is not None and (value := int(raw.largest[training].max())) != level:
        problem += f", the value {value:,} in the files"
    if any(words.startswith("transparency") for words in raw.reading):
        other = "black" if level == 255 else "white"
        return (
            f"{problem}. Their shapes are transparent pixels before a background alike. Try "
            f"data.background={other}."
        )
    return (
        f"{problem}; must be images that show something. Look at one of them, and stretch its "
        "range if that is narrow."
    )


def pixel_words(pixels: Mapping[str, Any]) -> str:
    """Return the facts of `look` in words: `0 to 255, mean 0.31; 19 % are black, 2 % white`."""
    mean = pixels["mean"]
    text = (
        f"{pixels['lowest']} to {pixels['highest']}, mean {mean:{'.2f' if mean > 0.1 else '.2g'}}; "
    )
    text += f"{format_share(pixels['black'])} are black, {format_share(pixels['white'])} white"
    if pixels["images"] < pixels["of"]:
        text += f" (in {pixels['images']:,} of {pixels['of']:,} training images)"
    return text
