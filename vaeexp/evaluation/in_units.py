"""Measures and shows reconstructions in the unit of the files, where targets are scaled.

Shapes: N images, C channels, H × W sub-pixels, F columns of a table.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from vaeexp.data.scaling import Scaling
from vaeexp.data.showing import kind_of
from vaeexp.evaluation.nll import image_rows
from vaeexp.models.vae import VAE

SHOWN = 4
"""Images that a plot with axes shows."""


def shown_numbers(
    vae: VAE, images: Tensor, scaling: Scaling, names: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Return images, of targets [K, C, H, W], and their reconstructions as numbers of the files:
    originals_numbers, last_reconstructions_numbers float32 [K, C, H, W].

    Only of what a plot shows with axes: signals, images of one channel that are no grey levels, and
    rows of a table. Its columns differ in their units, so that these are the targets; their `names`
    are column_names unicode [F].
    """
    kind = kind_of(vae.values)
    grey = vae.values.unit or vae.values.shape[0] > 1
    table = kind == "table" and names is not None
    if not table and (scaling.bytes or (kind != "signal" and (kind != "image" or grey))):
        return {}
    x = images.to(vae.latent_mask)
    arrays = {"originals": x, "last_reconstructions": vae.reconstruct(x)}
    found = {f"{name}_numbers": targets.cpu().numpy() for name, targets in arrays.items()}
    if table:
        return {**found, "column_names": np.array(names, dtype=np.str_)}
    return {name: scaling.numbers(array).astype(np.float32) for name, array in found.items()}


def feature_arrays(
    vae: VAE, images: Tensor, names: Sequence[str], scaling: Scaling
) -> dict[str, np.ndarray]:
    """Return how well each column of a table is reconstructed, from targets [N, 1, 1, F].

    feature_names unicode [F]. feature_means, feature_deviations, feature_errors float64 [F]: mean
    and standard deviation over the rows, and root mean squared error of the reconstructions at the
    posterior means, all in the unit of the column.
    """
    pieces = images.split(image_rows(vae))
    means = sum(_numbers(x, scaling).sum(0) for x in pieces) / len(images)
    squares = errors = np.zeros(len(names))
    for x in pieces:
        numbers = _numbers(x, scaling)
        made = _numbers(vae.reconstruct(x.to(vae.latent_mask)), scaling)
        squares = squares + np.square(numbers - means).sum(0)
        errors = errors + np.square(made - numbers).sum(0)
    return {
        "feature_names": np.array(names, dtype=np.str_),
        "feature_means": means,
        "feature_deviations": np.sqrt(squares / len(images)),
        "feature_errors": np.sqrt(errors / len(images)),
    }


def _numbers(targets: Tensor, scaling: Scaling) -> np.ndarray:
    """Return targets [B, 1, 1, F] as numbers of the files, float64 [B, F]."""
    return scaling.numbers(targets.cpu().numpy()).reshape(len(targets), -1)
