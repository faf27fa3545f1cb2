"""Measures how a finished model uses its latent space: nats per dimension, dimensions in use, use
of components.

Shapes: N images, L latent dimensions, K components.
"""

import numpy as np
import torch
from torch import Tensor

from vaeexp.models.posteriors import LOG_2PI
from vaeexp.models.vae import VAE

_IMAGES = 2000  # test images that are encoded, at most
_ENCODED, _MEASURED = 100, 500  # images at once
_DIMENSIONS = 6  # of the aggregate posterior
_CODES = 8  # per image of a Monte-Carlo estimate


def chosen(count: int, seed: int) -> list[int]:
    """Return the indices of the images to encode: all of up to 2,000; else the first and a draw,
    because files may be sorted.
    """
    if count <= _IMAGES:
        return list(range(count))
    drawn = 1 + torch.randperm(count - 1, generator=torch.Generator().manual_seed(seed))
    return [0, *drawn[: _IMAGES - 1].tolist()]


@torch.no_grad()
def codes_of(vae: VAE, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return posterior means and variances (0 without a density) [N, L] of targets [N, C, H, W],
    float64 on the CPU.
    """
    posteriors = [vae.encode(x.to(vae.latent_mask)) for x in images.split(_ENCODED)]
    means, variances = (
        torch.cat([getattr(p, name) for p in posteriors]) for name in ("mean", "variance")
    )
    return means.cpu().double(), variances.cpu().double()


@torch.no_grad()
def rate_per_dimension(vae: VAE, images: Tensor, *, seed: int) -> Tensor | None:
    """Return KL(q(z_d|x) ‖ p(z_d)) of each latent dimension in nats, mean over images [N, C, H, W];
    float64 [L], on the CPU.

    For the standard normal prior it is the closed form, and its sum is the rate. For other priors
    it is a Monte-Carlo estimate of E_q[log q(z_d|x) − log p(z_d)] with the prior's marginal p(z_d)
    and 8 codes per image. The sum is then the rate only if the prior's dimensions are independent,
    so not for a joint mixture. Masked dimensions give 0. None for a posterior without a density,
    and for a prior whose marginals are not known.
    """
    if not vae.posterior.stochastic:
        return None
    prior = vae.prior_distribution()
    generator = torch.Generator().manual_seed(seed)
    total = torch.zeros(len(vae.latent_mask), dtype=torch.float64)
    for x in images.split(_MEASURED):
        posterior = vae.encode_density(x.to(vae.latent_mask))
        exact = prior.dimension_kl(posterior)
        if exact is not None:
            total += exact.cpu().double().sum(0)
            continue
        for _ in range(_CODES):
            noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
            # log q is computed from the noise, because that keeps full precision for a tiny σ.
            log_q = -0.5 * (noise.square() + posterior.log_var + LOG_2PI) * posterior.mask
            marginal = prior.dimension_log_prob(posterior.rsample(noise))
            if marginal is None:
                return None
            ratio = log_q - marginal
            total += ratio.cpu().double().sum(0) / _CODES
    return total / len(images)


@torch.no_grad()
def aggregate_codes(
    vae: VAE, images: Tensor, rates: np.ndarray | None, *, seed: int
) -> dict[str, np.ndarray]:
    """Return codes of the aggregate posterior and of the prior in the D ≤ 6 dimensions with the
    highest rates [L].

    aggregate_dimensions int64 [D]: their indices from 0, the highest rate first. aggregate_codes
    float32 [D, M]: one z ~ q(z|x) for each of M ≤ 2,000 images of [N, C, H, W]. prior_codes float32
    [D, M]: as many draws from p(z). No arrays without rates.
    """
    if rates is None:
        return {}
    looked_at = images[chosen(len(images), seed)]
    generator = torch.Generator().manual_seed(seed)
    dimensions = np.argsort(-rates, kind="stable")[: min(_DIMENSIONS, int(vae.latent_mask.sum()))]
    means, variances = codes_of(vae, looked_at)
    codes = means + variances.sqrt() * torch.randn(means.shape, generator=generator)
    drawn = vae.prior_distribution().sample(len(looked_at), generator).cpu()
    both = {"aggregate_codes": codes, "prior_codes": drawn}
    arrays = {name: z.numpy().T[dimensions].astype(np.float32) for name, z in both.items()}
    return {"aggregate_dimensions": dimensions, **arrays}


def used_dimensions(rates: Tensor, threshold: float) -> int:
    """Count the latent dimensions whose rate in nats, of `rate_per_dimension` [L], is above
    `threshold`.

    Under a learned prior the variance of a posterior mean has no scale, because encoder and prior
    can shrink together. The rate has a scale: a dimension of rate 0 has the prior's marginal for
    every image, so its code says nothing of the image.
    """
    return int((rates > threshold).sum())


@torch.no_grad()
def component_use(
    vae: VAE, images: Tensor, labels: np.ndarray | Tensor, classes: int, *, seed: int
) -> dict[str, np.ndarray]:
    """Return how the components of the prior are used, as arrays on the CPU; none for a prior that
    is no joint mixture.

    component_weights float64 [K]. With classes, component_classes float64 [K, classes]: the share
    of each class's codes that each component serves. An entry is the mean of p(k|z) over the images
    [N, C, H, W] of the class (labels [N]), with one z from q(z|x) per image: the overlap of the
    class's aggregate posterior with the component. Each column sums to 1; it is NaN for a class
    without images.
    """
    prior = vae.prior_distribution()
    generator = torch.Generator().manual_seed(seed)
    weights = prior.component_weights()
    if weights is None:
        return {}
    arrays = {"component_weights": weights.cpu().double().numpy()}
    if classes:
        shares = torch.zeros(classes, len(weights), dtype=torch.float64)
        label_of = torch.as_tensor(np.asarray(labels).astype(np.int64))
        for x, y in zip(images.split(_MEASURED), label_of.split(_MEASURED), strict=True):
            posterior = vae.encode_density(x.to(vae.latent_mask))
            noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
            shares.index_add_(0, y, prior.responsibilities(posterior.rsample(noise)).cpu().double())
        arrays["component_classes"] = (shares / shares.sum(1, keepdim=True)).T.numpy()
    return arrays
