"""Settings that fit a file: what is read of it decides likelihood, network, scale, batch size."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vaeexp.data import Dataset, open_dataset
from vaeexp.data.dataset import understood
from vaeexp.data.formats.hierarchical import is_zarr
from vaeexp.data.formats.image_folder import holds_images
from vaeexp.settings import DataSettings

_STEPS = 3_000
"""Steps of training that a study gets at least, as far as 300 epochs make them."""


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """Settings that fit a file, by section, and what was understood of the file, in words."""

    data: dict[str, Any]
    model: dict[str, Any]
    train: dict[str, Any]
    latent_size: tuple[int, int]
    """The range to search."""
    words: str


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
    chosen = _scale(dataset)
    model: dict[str, Any] = {
        "network": _network(dataset),
        "likelihood": _likelihood(dataset, chosen["scale"]),
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
        latent_size=(min(2, most - 1), most),
        words=understood(scaled, model["likelihood"]),
    )


def _kind(path: Path) -> str:
    """Return the data set that reads a path: `folder` for a folder with image files."""
    if not path.is_dir() or is_zarr(path):
        return "arrays"
    return "folder" if holds_images(path) else "arrays"


def _is_image(dataset: Dataset) -> bool:
    return dataset.image_shape[1] > 1


def _scale(dataset: Dataset) -> dict[str, Any]:
    """Choose scale and clip: numbers with a range of their own keep it, others are standardised."""
    low, high = dataset.limits
    levels = dataset.kind in ("uint8", "uint16", "bool")
    if levels and (_is_image(dataset) or (low, high) == (0, 1)):
        return {"scale": "unit"}
    if dataset.values.counts and not _is_image(dataset) and low == 0:
        return {"scale": "none"}
    if dataset.kind.startswith("float") and _is_image(dataset) and low >= 0 and high <= 1:
        return {"scale": "unit"}
    if not _is_image(dataset) and _network(dataset) == "mlp":
        return {"scale": "standard", "scale_per": "feature"}
    several = dataset.image_shape[0] > 1
    return {"scale": "standard", "scale_per": "channel" if several else "global"}


def _likelihood(dataset: Dataset, scale: str) -> str:
    """Choose the likelihood of the numbers: of levels, of counts, or a density."""
    low, high = dataset.limits
    if scale == "none":
        return "negative_binomial"
    if scale != "unit" or dataset.kind.startswith("float"):
        return "gaussian_learned"
    black_and_white = dataset.kind == "bool" or (low, high) == (0, 1)
    return (
        "bernoulli" if black_and_white and dataset.image_shape[0] == 1 else "discretised_logistic"
    )


def _network(dataset: Dataset) -> str:
    """Choose `conv` for images of 16 × 16 pixels or more, and for signals of 64 values or more."""
    _, height, width = dataset.image_shape
    if _is_image(dataset):
        return "conv" if min(height, width) >= 16 else "mlp"
    return "mlp" if dataset.features or width < 64 else "conv"


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
