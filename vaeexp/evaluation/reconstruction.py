"""How alike images and their reconstructions are."""

import torch
from torch import Tensor

from vaeexp.evaluation.nll import image_rows
from vaeexp.vae import VAE

__all__ = ["reconstruction_figures", "structural_similarity"]

_SIGMA = 1.5
_RADIUS = 5
"""Pixels, of the window of Wang et al. 2004: 11 × 11, a Gaussian of σ = 1.5."""


@torch.no_grad()
def reconstruction_figures(vae: VAE, images: Tensor) -> dict[str, float]:
    """Means over targets [N, C, H, W] in [0, 1], grey, colour or binary, against the mean of p(x|z) at the posterior mean.

    `test/reconstruction_mse`: squared error per sub-pixel, black to white is 1. `test/reconstruction_ssim`: structural
    similarity, 1 for equal images.
    """
    squares = similarity = 0.0
    for x in images.split(image_rows(vae)):
        x = x.to(vae.latent_mask)
        reconstructions = vae.decode(vae.encode(x).mean).mean
        squares += (reconstructions - x).square().flatten(1).mean(1).double().sum().item()
        similarity += structural_similarity(reconstructions, x).double().sum().item()
    return {"test/reconstruction_mse": squares / len(images), "test/reconstruction_ssim": similarity / len(images)}


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of images in [0, 1], [B, C, H, W] each, mean over pixels and channels; [B] (Wang et al. 2004, eq. 13).

    The window is a Gaussian of 11 × 11 pixels, and the largest odd one that fits where the images are smaller.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    radius = min(_RADIUS, (min(first.shape[-2:]) - 1) // 2)
    # torchmetrics cuts its Gaussian at int(3.5 σ + 0.5) pixels.
    sigma = _SIGMA if radius == _RADIUS else radius / 3.5
    window = {"sigma": sigma} if radius else {"gaussian_kernel": False, "kernel_size": 1}
    return structural_similarity_index_measure(first, second, data_range=1.0, reduction="none", **window)
