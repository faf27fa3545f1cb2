"""A first look at images before they are split and trained on: their scale, their range, and what
cannot be meant.

All decisions are made from the training images, before binarisation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sweeps import UserError
from vaeexp.data.formats import PART_NAMES, TEST, TRAINING, VALIDATION, RawImages, blocks
from vaeexp.data.formats.levels import (
    PLAIN,
    Stored,
    scale_note,
    scale_words,
    to_bytes,
    white_of,
)
from vaeexp.data.formats.scratch import write_rows
from vaeexp.data.scaling import Scaling, count_outside, ends_of, extremes, pieces, sample
from vaeexp.data.values import is_vector
from vaeexp.words import format_share, format_signed, plural

_SAMPLE_BYTES = 2**27
"""Bytes of the largest set of images whose pixels are all counted; of more, images at equal
distances.
"""
_NARROW = 6
_MOST = 0.99
"""Levels that are 2 % of 256, and the share of pixels within them from which images are doubted."""
_TAIL = 16
"""Levels beyond these that are no few stray ones: stars in a dark sky."""
_HALF = 128
"""Levels that images of half the range reach at most."""
_OUTSIDE = 0.9
"""Share of the numbers of a split beyond the range of the training images from which the split is
doubted.
"""
_ROWS = 16
"""Rows of a table from which on their range is compared."""

Rows = Mapping[int, np.ndarray]
"""TRAINING, VALIDATION or TEST → rows of its images, int64."""


def settle_levels(raw: RawImages, rows: Rows, scratch: Path) -> RawImages:
    """Return the images with black at 0 and white at 255, by the largest number that is stored for
    the training images.
    """
    stored = np.zeros(len(raw.parts), np.uint8) if raw.stored is None else raw.stored
    largest = ends_of(raw.images)[1].astype(np.int64) if raw.largest is None else raw.largest
    training = rows[TRAINING]
    whites = dict(PLAIN)
    notes = list[str]()
    warnings = list(raw.warnings)
    for kind in Stored:
        known = largest[training[stored[training] == kind]]
        if len(known):
            reached = int(known.max())
            whites[kind] = white_of(kind, reached)
            notes += [note] if (note := scale_note(kind, whites[kind], reached)) else []
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
        whites=whites,
    )


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
    table = to_bytes(np.arange(256), white)
    scaled = (table[block] for block in blocks(raw.images))
    images = write_rows(scratch / "scaled.raw", scaled, table.dtype, raw.images.shape[1:])
    beyond = [(block > white).sum((1, 2, 3)) for block in blocks(raw.images)]
    return images, np.concatenate(beyond)


def _clipped(above: np.ndarray, rows: Rows) -> tuple[list[str], bool]:
    """Describe the values of other images above the white of the training images, and whether they
    are too many to be meant.
    """
    others = above[np.concatenate([rows[VALIDATION], rows[TEST]])]
    images = int((others > 0).sum())
    values = int(others.sum())
    if not images:
        return [], False
    text = (
        f"Clipped: {plural(values, 'value')} of {images:,} of the {len(others):,} validation and "
        "test images above the range of the training images"
    )
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
        f"The {PART_NAMES[part]} images have values of at most {largest[rows].max():,} and the "
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
    low, high = ends_of(raw.images, training)
    if low.min() == high.max():
        raise UserError(root, _constant(raw, training, int(low.min())))
    step = -(-len(training) * raw.images[:1].nbytes // _SAMPLE_BYTES)
    sampled = training[::step]
    histogram = np.zeros(256, np.int64)
    for block in pieces(raw.images, sampled):  # `bincount` makes eight bytes of each
        histogram += np.bincount(block.reshape(-1), minlength=256)
    pixels = {
        "lowest": int(low.min()),
        "highest": int(high.max()),
        "step": int(np.diff(np.flatnonzero(histogram)).min(initial=255)),
        "mean": float(histogram @ np.arange(256) / histogram.sum() / 255),
        "black": float(histogram[0] / histogram.sum()),
        "white": float(histogram[255] / histogram.sum()),
        "images": len(sampled),
        "of": len(training),
    }
    if is_vector(raw.images.shape):
        return pixels, []  # a row of zeros is an answer, and no empty image
    return pixels, [*_empty_images(low, high), *_doubts(histogram)]


def _empty_images(low: np.ndarray, high: np.ndarray) -> list[str]:
    """Doubt images that show nothing; low, high: the extreme levels of each image."""
    plain = int((low == high).sum())
    if 5 * plain < len(low):
        return []
    count = f"{plain:,} of the {len(low):,} training images show nothing"
    return [f"{count}: all pixels of such an image are equal. Leave them out, or look at the files"]


def _doubts(histogram: np.ndarray) -> list[str]:
    """Doubt the levels of all pixels together. histogram: of the training images, int64 [256]."""
    used = np.flatnonzero(histogram)
    within = f"pixels of the training images lie within {_NARROW} levels of 255"
    ends = f"The pixels of the training images have levels from {used[0]} to {used[-1]} of 255"
    return _narrow(histogram, within, ends, "and stretch their range")


def _narrow(histogram: np.ndarray, within: str, ends: str, remedy: str) -> list[str]:
    """Doubt levels, int64 [256], that use little of their range, in these words."""
    used = np.flatnonzero(histogram)
    if (inside := _inside(histogram)) >= _MOST:
        problem = f"{100 * inside:.1f} % of the {within}, so there is little to see"
    elif used[-1] - used[0] <= _HALF:
        problem = f"{ends}, at most half of the range"
    else:
        return []
    return [f"{problem}. Look at the images (`--dry-run --show`), {remedy}"]


def _inside(histogram: np.ndarray) -> float:
    """Return the largest share of the pixels within a few neighbouring levels of int64 [256]; 0
    where those beyond have many levels over most of the range.
    """
    levels = np.flatnonzero(histogram)
    if len(levels) >= _TAIL + _NARROW and levels[-1] - levels[0] > _HALF:
        return 0.0
    sums = np.convolve(histogram, np.ones(_NARROW, np.int64))
    return float(sums.max() / histogram.sum())


def _constant(raw: RawImages, training: np.ndarray, level: int) -> str:
    names = {0: " (black)", 255: " (white)"}
    count = plural(len(training), "training image")
    problem = f"got {count} of which every pixel has the level {level}{names.get(level, '')}"
    if any(words.startswith("transparency") for words in raw.reading):
        other = "black" if level == 255 else "white"
        return (
            f"{problem}. Their shapes are transparent pixels before a background alike. Try "
            f"data.background={other}."
        )
    return f"{problem}; must be images that show something. Look at one of them."


def look_at_numbers(
    raw: RawImages, rows: Rows, taught: np.ndarray, scaling: Scaling, root: str
) -> list[str]:
    """Return sentences on what cannot be meant of images that are no bytes.

    taught: rows of the training images.

    Raises UserError, which names `root`, when all numbers are equal.
    """
    low, high = extremes(raw.images, taught)
    kind = "row" if raw.features is not None else "image"
    if low == high:
        count = plural(len(taught), f"training {kind}")
        problem = f"got {count} of which every number is {format_signed(low)}"
        raise UserError(root, f"{problem}; must be numbers that vary. Look at one of them.")
    warnings = []
    if raw.images.shape[2] > 1:
        warnings += _empty_images(*ends_of(raw.images, taught))
    if scaling.kind == "unit":
        warnings += _narrow_range(raw.images, taught, scaling)
    own = {part: rows[part] for part in (VALIDATION, TEST) if part in raw.parts}
    return warnings + _other_ranges(raw, taught, (low, high), own, cut=scaling.kind == "unit")


def _usual_range(images: np.ndarray, rows: np.ndarray) -> float:
    """Return the range of these images without a twentieth of them at each end."""
    low, high = ends_of(images, rows)
    return float(np.percentile(high, 95)) - float(np.percentile(low, 5))


def _narrow_range(images: np.ndarray, training: np.ndarray, scaling: Scaling) -> list[str]:
    """Doubt numbers that use little of the range that becomes 0 to 1."""
    levels = np.rint(scaling.targets(sample(images, training)) * 255).astype(np.int64)
    histogram = np.bincount(levels.reshape(-1), minlength=256)
    bottom = scaling.offset.flat[0]
    full = f"{format_signed(bottom)} to {format_signed(bottom + scaling.scale.flat[0])}"
    low, high = map(format_signed, extremes(images, training))
    share = f"{100 * _NARROW / 256:.0f} %"
    within = f"numbers of the training images lie within {share} of the range {full}"
    ends = f"The training images have numbers from {low} to {high} of {full}"
    return _narrow(histogram, within, ends, "or try data.scale: range")


def _other_ranges(
    raw: RawImages, taught: np.ndarray, known: tuple[float, float], others: Rows, *, cut: bool
) -> list[str]:
    """Return a sentence for each other split of the files that has another range than the training
    images.

    taught: rows of the training images; known: their least and largest number.
    cut: whether numbers beyond this range are cut, which a warning of its own says.
    """
    vectors = is_vector(raw.images.shape)
    low, high = known
    warnings = []
    for part, rows in others.items():
        least, largest = extremes(raw.images, rows)
        narrow = 16 * (largest - least) <= high - low and not (vectors and len(rows) < _ROWS)
        if narrow and largest > least:
            # Of heavy tails, few images decide the whole range.
            usual = _usual_range(raw.images, rows)
            narrow = 0 < 16 * usual <= _usual_range(raw.images, taught)
        outside = count_outside(raw.images, rows, low, high)
        beyond = outside >= _OUTSIDE * len(rows) * raw.images[0].size and not cut
        if not narrow and not beyond:
            continue
        found = [format_signed(number) for number in (least, largest, low, high)]
        where = "almost all beyond that range" if beyond else "1/16 of that range or less"
        warnings.append(
            f"The {PART_NAMES[part]} images have numbers from {found[0]} to {found[1]} and the "
            f"training images from {found[2]} to {found[3]}: {where}. Save all splits with the "
            "same range"
        )
    return warnings


def pixel_words(pixels: Mapping[str, Any]) -> str:
    """Return the facts of `look` in words: `0 to 255, mean 0.31; 19 % are black, 2 % white`."""
    mean = pixels["mean"]
    if "deviation" in pixels:
        lowest, highest, deviation = (
            format_signed(pixels[name]) for name in ("lowest", "highest", "deviation")
        )
        return f"{lowest} to {highest}, mean {format_signed(mean)}, standard deviation {deviation}"
    text = (
        f"{pixels['lowest']} to {pixels['highest']}, mean {mean:{'.2f' if mean > 0.1 else '.2g'}}; "
        f"{format_share(pixels['black'])} are black, {format_share(pixels['white'])} white"
    )
    if pixels["images"] < pixels["of"]:
        text += f" (in {pixels['images']:,} of {pixels['of']:,} training images)"
    return text
