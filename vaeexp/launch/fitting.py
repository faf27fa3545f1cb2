"""Settings that fit a file: what is read of it decides likelihood, network, scale, batch size.

Vectors do not say whether their order means something. Those of 64 numbers or more are taken for
signals where neighbouring columns go together, and more so than columns at random.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from vaeexp.data import Dataset, open_dataset
from vaeexp.data.dataset import understood
from vaeexp.data.formats import blocks
from vaeexp.data.formats.hierarchical import is_zarr
from vaeexp.data.formats.image_folder import holds_images
from vaeexp.settings import DataSettings

_LONG = 64
"""Numbers of the shortest vectors that may be signals."""
_AGREE = 0.5
"""Least correlation of neighbouring columns of signals."""
_CLOSER = 0.5
"""How much of the distance 1 − correlation of other columns neighbours have at most."""
_SAMPLED = 2**24
"""Numbers that are looked at for this, at most."""
_RANGED = ("int8", "int16", "uint16")
"""Types whose whole range becomes 0 to 1, of which 1 is no white."""
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


def fit_study(
    path: Path, *, labels: str | None, split_by: str | None, say: Callable[[str], None]
) -> Fitting:
    """Return the settings that fit a file of arrays, or a folder of image files.

    labels, split_by: as the settings of these names.

    Raises UserError where the file cannot be read.
    """
    data: dict[str, Any] = {"dataset": _kind(path), "binarisation": "none"}
    data |= {"labels": labels} if labels else {}
    data |= {"split_by": split_by} if split_by else {}
    dataset = open_dataset(DataSettings(**data, scale="none"), root=path, say=say)
    found = _agreement(dataset)
    network = _network(dataset, signals=found is not None and _are_signals(*found))
    binary = _is_binary(dataset)
    chosen = {"scale": "unit"} if binary else _scale(dataset, network)
    model: dict[str, Any] = {
        "network": network,
        "likelihood": "bernoulli" if binary else _likelihood(dataset, chosen["scale"]),
    }
    if model["network"] == "mlp":
        model["hidden"] = _hidden(dataset)
    if model["likelihood"] == "bernoulli":
        chosen["binarisation"] = "static"
    scaled = open_dataset(DataSettings(**{**data, **chosen}), root=path, say=lambda text: None)
    size = dataset.image_shape[0] * dataset.image_shape[1] * dataset.image_shape[2]
    most = max(2, min(64, size // 2))
    return Fitting(
        data={**data, **chosen},
        model=model,
        train=_training(dataset.sizes[0]),
        evaluation=_evaluation(scaled.sizes[1]),
        latent_size=(min(2, most - 1), most),
        words=understood(scaled, model["likelihood"]),
        order="" if found is None else _order_words(*found, network, chosen["scale"]),
    )


def _kind(path: Path) -> str:
    """Return the data set that reads a path: `folder` for a folder with image files."""
    if not path.is_dir() or is_zarr(path):
        return "arrays"
    return "folder" if holds_images(path) else "arrays"


def _is_image(dataset: Dataset) -> bool:
    return dataset.image_shape[1] > 1


def _is_binary(dataset: Dataset) -> bool:
    """Return whether all numbers, of one channel, are 0 or 1, and of a type that makes these black
    and white.
    """
    low, high = dataset.limits
    if dataset.image_shape[0] > 1 or low != 0 or high != 1:
        return False
    if dataset.kind in _RANGED:
        return False
    splits = (dataset.train, dataset.validation, dataset.test)
    pieces = chain.from_iterable(blocks(split.images) for split in splits)
    return all(bool(np.isin(piece, (0, 1)).all()) for piece in pieces)


def _scale(dataset: Dataset, network: str) -> dict[str, Any]:
    """Choose scale and clip: numbers with a range of their own keep it, others are standardised."""
    low, high = dataset.limits
    if dataset.kind in ("uint8", "uint16", "bool") and _is_image(dataset):
        return {"scale": "unit"}
    if dataset.values.counts and not _is_image(dataset) and low == 0:
        return {"scale": "none"}
    if dataset.kind.startswith("float") and _is_image(dataset) and low >= 0 and high <= 1:
        return {"scale": "unit"}
    if not _is_image(dataset) and network == "mlp":
        return {"scale": "standard", "scale_per": "feature"}
    several = dataset.image_shape[0] > 1
    return {"scale": "standard", "scale_per": "channel" if several else "global"}


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


def _agreement(dataset: Dataset) -> tuple[float, float] | None:
    """Return the mean correlation of neighbouring columns of the training rows, and that of columns
    at random; None for images and for vectors that are too short.

    Each column counts the same, because a table may hold one of large numbers.
    """
    width = dataset.image_shape[2]
    if _is_image(dataset) or dataset.image_shape[0] > 1 or width < _LONG:
        return None
    train = dataset.train
    count = min(len(train), max(2, _SAMPLED // width))
    rows = np.linspace(0, len(train) - 1, count).astype(np.int64)
    train.check(rows)
    numbers = train.unchecked[rows, 0, 0].astype(np.float64)
    numbers -= numbers.mean(axis=0)
    length = np.sqrt(np.square(numbers).sum(axis=0))
    numbers /= np.where(length > 0, length, 1)
    drawn = numbers[:, np.random.default_rng(0).permutation(width)]
    near, other = ((each[:, 1:] * each[:, :-1]).sum(axis=0) for each in (numbers, drawn))
    return float(near.mean()), float(other.mean())


def _are_signals(near: float, other: float) -> bool:
    """Return whether neighbours go together more than columns at random, which do so in a table
    whose columns all follow one cause.
    """
    return near >= _AGREE and 1 - near <= _CLOSER * (1 - max(0.0, other))


def _order_words(near: float, other: float, network: str, scale: str) -> str:
    """Say what the order of the columns was taken for, and how to choose the other."""
    signals = network == "conv"
    numbers = f"{near:.2f}, others {other:.2f}".replace("-", "−")
    change = f"network: {'mlp' if signals else 'conv'}"
    if scale == "standard":
        change += f", scale_per: {'feature' if signals else 'global'}"
    if signals:
        text = f"Neighbouring columns agree ({numbers}): taken for signals"
        return f"{text}. If their order means nothing: {change}"
    text = f"Neighbouring columns agree too little ({numbers}): taken for features without an order"
    return f"{text}. For signals: {change}"


def _hidden(dataset: Dataset) -> list[int]:
    channels, height, width = dataset.image_shape
    wide = max(32, min(512, 2 ** (2 * channels * height * width - 1).bit_length()))
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
