"""Settings that fit a file: what is read of it decides likelihood, network, scale, batch size.

Vectors do not say whether their order means something. Those of 64 numbers or more are taken for
signals where neighbouring columns go together, and more so than columns at random. Where their
numbers jump in size at few places, they are sensors of several units, each with a scale.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vaeexp.data import Dataset, open_dataset
from vaeexp.data.dataset import understood
from vaeexp.data.facts import unit_jumps
from vaeexp.data.formats import blocks, some_of
from vaeexp.data.formats.array_pixels import LONG
from vaeexp.data.formats.hierarchical import is_zarr
from vaeexp.data.formats.image_files import SeveralSizesError
from vaeexp.data.formats.image_folder import holds_images
from vaeexp.data.formats.levels import WHITE
from vaeexp.data.outliers import TooLargeError
from vaeexp.settings import DataSettings

_AGREE = 0.5
"""Least correlation of neighbouring columns of signals."""
_CLOSER = 0.5
"""How much of the distance 1 − correlation of other columns neighbours have at most."""
_SAMPLED = 2**24
"""Numbers that are looked at for this, at most."""
_RANGED = ("int8", "int16", "uint16")
"""Types whose whole range becomes 0 to 1, of which 1 is no white."""
_DISPERSED = 0.8
"""Least variance of counts, in means; that of a Poisson distribution is 1."""
_NEAR_ZERO = 1 / 3
_AS_POISSON = 1.25
"""How much of the mean the least count of a column has at most, because ages stay far from 0; else
the largest variance of its counts, in means.
"""
_DEPTHS = 1.5
"""How many times the 10th percentile of row sums the 90th is, from which sums are given."""
_STEPS = 3_000
"""Steps of training that a study gets at least, as far as 300 epochs make them."""


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """Settings that fit a file, by section, and what was understood of the file, in words."""

    data: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    evaluation: dict[str, Any]
    latent_size: tuple[int, int]
    """The range to search."""
    words: str
    order: str
    """Why vectors were taken for signals or not, and how to choose the other; else empty."""
    sums: str
    """Why the model is given the sum of a row; else empty."""


def fit_study(path: Path, *, say: Callable[[str], None], **given: Any) -> Fitting:
    """Return the settings that fit a file of arrays, or a folder of image files.

    given: settings of the data that are known.

    Raises UserError where the file cannot be read.
    """
    given = {name: value for name, value in given.items() if value is not None}
    images = path.is_dir() and not is_zarr(path) and holds_images(path)
    kind = "folder" if images else "arrays"
    data: dict[str, Any] = {"dataset": kind, "binarisation": "none", **given}
    unscaled = {"binarisation": "none", "scale": "none", "clip": None}
    look = partial(open_dataset, root=path, say=say)
    try:
        dataset = look(DataSettings(**data | unscaled))
    except TooLargeError:
        dataset = look(DataSettings(**data | unscaled | {"scale": "standard"}))
    except SeveralSizesError as error:
        data |= {"image_size": error.side}
        dataset = look(DataSettings(**data | unscaled))
    found = _agreement(dataset)
    network = _network(dataset, signals=found is not None and _are_signals(found))
    if given.get("scale", "unit") == "unit" and _is_binary(dataset):
        chosen = {"scale": "unit", "binarisation": "static"}
        likelihood = "bernoulli"
    else:
        chosen = _scale(dataset, network)
        likelihood = _likelihood(dataset, chosen["scale"])
        if given.get("scale", chosen["scale"]) != chosen["scale"]:
            likelihood = "gaussian_learned"
    model: dict[str, Any] = {"network": network, "likelihood": likelihood}
    if network == "mlp":
        model["hidden"] = _hidden(dataset)
    sums = _sums_words(dataset) if likelihood == "negative_binomial" else ""
    if sums:
        model["size_factor"] = True
    data |= chosen | given
    scaled = open_dataset(DataSettings(**data), root=path, say=lambda text: None)
    most = max(2, min(64, math.prod(dataset.image_shape) // 2))
    return Fitting(
        data=data,
        model=model,
        train=_training(dataset.sizes[0]),
        evaluation=_evaluation(scaled.sizes[1]),
        latent_size=(min(2, most - 1), most),
        words=understood(scaled, likelihood),
        order="" if found is None else _order_words(found, network, chosen["scale"]),
        sums=sums,
    )


def _is_image(dataset: Dataset) -> bool:
    return dataset.image_shape[1] > 1


def _is_binary(dataset: Dataset) -> bool:
    """Return whether all numbers, of one channel, are 0 or 1, and of a type that makes these black
    and white.
    """
    if dataset.image_shape[0] > 1 or [*dataset.limits] != [0, 1] or dataset.kind in _RANGED:
        return False
    splits = (dataset.train, dataset.validation, dataset.test)
    pieces = chain.from_iterable(blocks(split.images) for split in splits)
    return all(np.isin(piece, (0, 1)).all() for piece in pieces)


def _scale(dataset: Dataset, network: str) -> dict[str, Any]:
    """Choose scale and clip: numbers with a range of their own keep it, others are standardised."""
    low, high = dataset.limits
    image = _is_image(dataset)
    floats = dataset.kind.startswith("float")
    ranged = dataset.kind in ("uint8", "uint16", "bool") or (floats and 0 <= low <= high <= 1)
    if image and ranged:
        return {"scale": "unit"}
    if _are_pixels(dataset):
        return {"scale": "range" if floats else "unit"}
    if dataset.values.counts and not image and low == 0 and _are_counts(dataset):
        return {"scale": "none"}
    if not image and network == "mlp":
        return {"scale": "standard", "scale_per": "feature"}
    several = dataset.image_shape[0] > 1
    return {"scale": "standard", "scale_per": "channel" if several else "global"}


def _are_counts(dataset: Dataset) -> bool:
    """Return whether whole numbers vary as counts do, all together and in most columns; ages and
    heights do not.
    """
    numbers = _training_rows(dataset)
    mean = numbers.mean(axis=0)
    variance = numbers.var(axis=0)
    own = (numbers.min(axis=0) <= _NEAR_ZERO * mean) | (variance <= _AS_POISSON * mean)
    most = np.mean(own & (variance >= _DISPERSED * mean)) > 0.5
    return bool(most and variance.sum() >= _DISPERSED * mean.sum())


def _sums_words(dataset: Dataset) -> str:
    """Say that the sums of rows differ; empty where they hardly do."""
    low, high = np.percentile(_training_rows(dataset).sum(axis=(1, 2, 3)), (10, 90))
    if high <= _DEPTHS * low:
        return ""
    return (
        f"Row sums: {low:,.0f} to {high:,.0f} (10th and 90th percentile), so means are in "
        "proportion to them (size_factor); false, if the sums mean something"
    )


def _are_pixels(dataset: Dataset) -> bool:
    """Return whether vectors are images of grey levels or of colours, from 0 to 255."""
    channels, height, varying = dataset.image_shape
    width = varying + len(dataset.dropped)
    low, high = dataset.limits
    square = any(math.isqrt(width // each) ** 2 * each == width for each in (1, 3))
    long = channels * height == 1 and width >= LONG
    return long and square and dataset.values.counts and (low, high) == (0, WHITE)


def _likelihood(dataset: Dataset, scale: str) -> str:
    """Choose the likelihood of numbers that are not all 0 or 1: of levels, of counts, or a
    density.
    """
    if scale == "none":
        return "negative_binomial"
    if scale != "unit" or dataset.kind.startswith("float"):
        return "gaussian_learned"
    return "discretised_logistic"


def _network(dataset: Dataset, *, signals: bool) -> str:
    """Choose `conv` for images of 16 × 16 pixels or more, and for signals."""
    _, height, width = dataset.image_shape
    if _is_image(dataset):
        return "conv" if min(height, width) >= 16 else "mlp"
    return "conv" if signals else "mlp"


class _Agreement(NamedTuple):
    """How columns of vectors go together.

    near, other: mean correlation of neighbouring columns, and of columns at random.
    jumps: columns at which numbers of another size begin.
    """

    near: float
    other: float
    jumps: list[int]


def _agreement(dataset: Dataset) -> _Agreement | None:
    """Return how the columns of the training rows go together; None for images, for pixels, and
    for vectors that are too short.

    Each column counts the same, because a table may hold one of large numbers.
    """
    width = dataset.image_shape[2]
    if _is_image(dataset) or dataset.image_shape[0] > 1 or width < LONG or _are_pixels(dataset):
        return None
    numbers = _training_rows(dataset)[:, 0, 0]
    jumps = unit_jumps(numbers)
    numbers -= numbers.mean(axis=0)
    length = np.sqrt(np.square(numbers).sum(axis=0))
    numbers /= np.where(length > 0, length, 1)
    drawn = numbers[:, np.random.default_rng(0).permutation(width)]
    sums = ((each[:, 1:] * each[:, :-1]).sum(axis=0) for each in (numbers, drawn))
    near, other = (float(each.mean()) for each in sums)
    return _Agreement(near, other, jumps)


def _training_rows(dataset: Dataset) -> np.ndarray:
    """Return training rows in float64, at equal distances where they are many."""
    train = dataset.train
    count = min(len(train), max(2, _SAMPLED // math.prod(dataset.image_shape)))
    rows = np.linspace(0, len(train) - 1, count).astype(np.int64)
    return train.images[rows].astype(np.float64)


def _are_signals(found: _Agreement) -> bool:
    """Return whether neighbours go together more than columns at random, which do so in a table
    whose columns all follow one cause, and have one unit.
    """
    near, other, jumps = found
    return near >= _AGREE and 1 - near <= _CLOSER * (1 - max(0.0, other)) and not jumps


def _order_words(found: _Agreement, network: str, scale: str) -> str:
    """Say what the order of the columns was taken for, and how to choose the other."""
    signals = network == "conv"
    numbers = f"{found.near:.2f}, others {found.other:.2f}".replace("-", "−")
    change = f"network: {'mlp' if signals else 'conv'}"
    if scale == "standard":
        change += f", scale_per: {'feature' if signals else 'global'}"
    if signals:
        text = f"Neighbouring columns agree ({numbers}): taken for signals"
        return f"{text}. If their order means nothing: {change}"
    if found.jumps:
        named = some_of([f"{column:,}" for column in found.jumps])
        text = f"Numbers of another size begin at the columns {named} (from 0): taken for features"
        return f"{text} of several units. For signals of one unit: {change}"
    text = f"Neighbouring columns agree too little ({numbers}): taken for features without an order"
    return f"{text}. For signals: {change}"


def _hidden(dataset: Dataset) -> list[int]:
    size = math.prod(dataset.image_shape)
    wide = max(32, min(512, 2 ** (2 * size - 1).bit_length()))
    return [wide, wide]


def _training(images: int) -> dict[str, Any]:
    """Choose a batch size, a power of two of at most a tenth of the images, and epochs."""
    tenth = max(1, images // 10)
    batch_size = min(images, max(8, min(128, 2 ** (tenth.bit_length() - 1))))
    steps = max(1, images // batch_size)
    return {"batch_size": batch_size, "epochs": max(20, min(300, -(-_STEPS // steps)))}


def _evaluation(rows: int) -> dict[str, Any]:
    """Choose draws of z where few rows validate, so that chance decides no ranking."""
    return {"validation_draws": min(20, -(-2_000 // rows))} if rows < 1_000 else {}
