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

_SHOWN = 4
"""Images that a plot with axes shows."""


def shown_numbers(vae: VAE, images: Tensor, scaling: Scaling) -> dict[str, np.ndarray]:
    """Return the first images, of targets [N, C, H, W], and their reconstructions as numbers of the
    files: originals_numbers, last_reconstructions_numbers float32 [≤ 4, C, H, W].

    Only of what a plot shows with axes: signals, and images of one channel that are no grey levels.
    """
    kind = kind_of(vae.values)
    grey = vae.values.unit or vae.values.shape[0] > 1
    if scaling.bytes or not (kind == "signal" or (kind == "image" and not grey)):
        return {}
    x = images[:_SHOWN].to(vae.latent_mask)
    arrays = {"originals": x, "last_reconstructions": vae.reconstruct(x)}
    return {
        f"{name}_numbers": scaling.numbers(targets.cpu().numpy()).astype(np.float32)
        for name, targets in arrays.items()
    }


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
