"""Measures the use of the latent space: nats per dimension, and which component of the prior serves which class.

Shapes: N images, L latent dimensions, K components.
"""

import torch
from torch import Tensor

from vaeexp.models.posteriors import LOG_2PI
from vaeexp.models.priors import GaussianMixture, StandardNormal
from vaeexp.models.vae import VAE

_BATCH = 500
_SAMPLES = 8
"""Codes per image of a Monte-Carlo estimate."""


@torch.no_grad()
def rate_per_dimension(vae: VAE, images: Tensor, *, seed: int) -> Tensor | None:
    """Return KL(q(z_d|x) ‖ p(z_d)) of each latent dimension in nats, mean over images [N, C, H, W]; float64 [L], on the CPU.

    For the standard normal prior it is the closed form, and its sum is the rate. For other priors it is a Monte-Carlo
    estimate of E_q[log q(z_d|x) − log p(z_d)] with the prior's marginal p(z_d) and 8 codes per image. The sum is then the
    rate only if the prior's dimensions are independent, so not for a joint mixture. Masked dimensions give 0. None for a
    posterior without a density.
    """
    if not vae.posterior.stochastic:
        return None
    prior, generator = vae.prior_distribution(), torch.Generator().manual_seed(seed)
    total = torch.zeros(len(vae.latent_mask), dtype=torch.float64)
    for x in images.split(_BATCH):
        posterior = vae.encode_density(x.to(vae.latent_mask))
        if isinstance(prior, StandardNormal):
            total += prior.dimension_kl(posterior).cpu().double().sum(0)
            continue
        for _ in range(_SAMPLES):
            noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
            # log q is computed from the noise, because that keeps full precision for a tiny σ.
            log_q = -0.5 * (noise.square() + posterior.log_var + LOG_2PI) * posterior.mask
            ratio = log_q - prior.dimension_log_prob(posterior.rsample(noise))
            total += ratio.cpu().double().sum(0) / _SAMPLES
    return total / len(images)


@torch.no_grad()
def component_classes(vae: VAE, images: Tensor, labels: Tensor, classes: int, *, seed: int) -> Tensor | None:
    """Return the share of each class's codes that each component of the prior serves; float64 [K, classes], on the CPU.

    An entry is the mean of p(k|z) over the images [N, C, H, W] of the class (labels [N]), with one z from q(z|x) per image:
    the overlap of the class's aggregate posterior with the component. Each column sums to 1; it is NaN for a class without
    images. None for a prior that is no joint mixture.
    """
    prior, generator = vae.prior_distribution(), torch.Generator().manual_seed(seed)
    if not isinstance(prior, GaussianMixture):
        return None
    shares = torch.zeros(classes, len(prior.log_weights), dtype=torch.float64)
    for x, y in zip(images.split(_BATCH), labels.long().cpu().split(_BATCH), strict=True):
        posterior = vae.encode(x.to(vae.latent_mask))
        noise = torch.randn(posterior.mean.shape, generator=generator).to(posterior.mean)
        shares.index_add_(0, y, prior.responsibilities(posterior.rsample(noise)).cpu().double())
    return (shares / shares.sum(1, keepdim=True)).T


@torch.no_grad()
def component_weights(vae: VAE) -> Tensor | None:
    """Return the weights of the prior's components, float64 [K], on the CPU; None for a prior that is no joint mixture."""
    prior = vae.prior_distribution()
    return prior.weights.cpu().double() if isinstance(prior, GaussianMixture) else None
