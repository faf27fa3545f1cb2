"""Priors p(z) over latent codes.

Shapes: B codes, L latent dimensions, K components; `...` stands for any leading dimensions. All densities are in nats.

Each prior is a module with the constructor `(latent_size, components, image_shape)`; it holds what is learned. Its
`forward(encode, latent_mask)` returns a distribution, which holds the mathematics: `log_prob(z)`, its marginals
`dimension_log_prob(z)`, `sample(n, generator)` and `kl(posterior)`, which is None where there is no closed form. Dimensions where `latent_mask` is 0 and components where
`component_mask` is 0 do not exist: no density, no gradient, never drawn.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn

from vaeexp.models.networks import ImageShape
from vaeexp.models.posteriors import LOG_2PI, DiagonalGaussian, clamp_log_var

Encode = Callable[[Tensor], DiagonalGaussian]
"""Images [B, C, H, W] → their posterior."""


class PriorDistribution(Protocol):
    """What every prior offers."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) [...] for z [..., L]."""

    def dimension_log_prob(self, z: Tensor) -> Tensor:
        """log p(z_d) [..., L] of each dimension by itself, the others integrated out; 0 where masked."""

    def kl(self, posterior: DiagonalGaussian) -> Tensor | None:
        """KL(posterior ‖ self) [...] in closed form; None where there is none."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n codes [n, L], drawn on the generator's device."""


def _normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).to(like)


@dataclass(frozen=True)
class StandardNormal:
    """N(0, I) (Kingma & Welling 2014)."""

    mask: Tensor
    """[L]."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) [...] for z [..., L]."""
        return self.dimension_log_prob(z).sum(-1)

    def dimension_log_prob(self, z: Tensor) -> Tensor:
        """log p(z_d) [..., L], whose sum is log p(z)."""
        return -0.5 * (z.square() + LOG_2PI) * self.mask

    def kl(self, posterior: DiagonalGaussian) -> Tensor:
        """½ Σ_d (μ² + σ² − 1 − log σ²) [...] (Kingma & Welling 2014, appendix B)."""
        return self.dimension_kl(posterior).sum(-1)

    def dimension_kl(self, posterior: DiagonalGaussian) -> Tensor:
        """The terms of `kl` [..., L], one per dimension."""
        terms = posterior.mean.square() + posterior.log_var.exp() - 1 - posterior.log_var
        return 0.5 * terms * self.mask

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n codes [n, L]."""
        return _normal((n, len(self.mask)), generator, self.mask) * self.mask


@dataclass(frozen=True)
class GaussianMixture:
    """Σ_k w_k Π_d N(z_d; μ_kd, σ_kd²): a mixture of L-dimensional Gaussians with diagonal covariances."""

    log_weights: Tensor
    """log w [K], −inf for a component that does not exist."""
    means: Tensor
    """μ [K, L]; 0 where masked."""
    log_vars: Tensor
    """log σ² [K, L], so that σ = exp(½ log σ²)."""
    mask: Tensor
    """[L]."""

    @property
    def weights(self) -> Tensor:
        """w [K], which sum to 1."""
        return self.log_weights.exp()

    def component_log_prob(self, z: Tensor) -> Tensor:
        """log N(z; μ_k, σ_k²) [..., K] of each component, without its weight."""
        precisions = (-self.log_vars).exp() * self.mask  # [K, L]
        # MPS has no float64.
        distances = _distances if z.device.type == "mps" else _distances_by_products
        log_volumes = ((self.log_vars + LOG_2PI) * self.mask).sum(-1)  # [K]
        return -0.5 * (distances(z, self.means, precisions) + log_volumes)

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) [...] for z [..., L]: one log-sum-exp over components of the joint density."""
        return (self.log_weights + self.component_log_prob(z)).logsumexp(-1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """p(k|z) [..., K]: the probability that z came from component k."""
        return (self.log_weights + self.component_log_prob(z)).softmax(-1)

    def dimension_log_prob(self, z: Tensor) -> Tensor:
        """log Σ_k w_k N(z_d; μ_kd, σ_kd²) [..., L]: here the marginals do not multiply to p(z)."""
        return _dimension_log_prob(self, z)

    def kl(self, posterior: DiagonalGaussian) -> None:
        """None: it has no closed form."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n codes [n, L]: a component, then a code from it."""
        return self._draw(_components(self.weights, n, generator), generator)

    def sample_component(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """n codes [n, L] of component k."""
        return self._draw(torch.full((n,), k, device=self.means.device), generator)

    def _draw(self, components: Tensor, generator: torch.Generator) -> Tensor:
        noise = _normal((len(components), len(self.mask)), generator, self.means)
        return self.means[components] + (0.5 * self.log_vars[components]).exp() * noise * self.mask


def _distances(z: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """Σ_d (z_d − μ_kd)² / σ_kd² [..., K], in memory of [..., K, L]."""
    return ((z.unsqueeze(-2) - means).square() * precisions).sum(-1)


def _distances_by_products(z: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """The same as z²·p − 2z·μp + μ²·p: two small matrix products, five times as fast on the CPU.

    In float64, because the terms cancel: with narrow components float32 would lose whole nats. Autocast and TF32 leave
    float64 alone.
    """
    wide_z, wide_means, p = z.double(), means.double(), precisions.double()
    weighted = wide_means * p  # [K, L]
    distances = wide_z.square() @ p.mT - 2 * wide_z @ weighted.mT + (wide_means * weighted).sum(-1)
    return distances.to(z.dtype)


def _dimension_log_prob(mixture: "GaussianMixture | FactorisedMixture", z: Tensor) -> Tensor:
    """Log density of one mixture on the line per dimension [..., L], in memory of [..., K, L]."""
    squares = (z.unsqueeze(-2) - mixture.means).square() * (-mixture.log_vars).exp()
    log_densities = -0.5 * (squares + mixture.log_vars + LOG_2PI)
    return (mixture.log_weights.unsqueeze(-1) + log_densities).logsumexp(-2) * mixture.mask


def _components(weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    """n indices of components, drawn by weight."""
    drawn = torch.multinomial(weights.detach().to(generator.device), n, replacement=True, generator=generator)
    return drawn.to(weights.device)


@dataclass(frozen=True)
class FactorisedMixture:
    """Π_d Σ_k w_k N(z_d; μ_kd, σ_kd²): one mixture per latent dimension, with weights shared by all dimensions.

    A proper density with K^L modes. It is what comes out when the log-sum-exp over components is taken before the sum over
    dimensions; `GaussianMixture` is the mixture of L-dimensional Gaussians.
    """

    log_weights: Tensor
    """log w [K], −inf for a component that does not exist."""
    means: Tensor
    """μ [K, L]; 0 where masked."""
    log_vars: Tensor
    """log σ² [K, L]."""
    mask: Tensor
    """[L]."""

    def log_prob(self, z: Tensor) -> Tensor:
        """log p(z) [...] for z [..., L]."""
        return self.dimension_log_prob(z).sum(-1)

    def dimension_log_prob(self, z: Tensor) -> Tensor:
        """log Σ_k w_k N(z_d; μ_kd, σ_kd²) [..., L], whose sum is log p(z)."""
        return _dimension_log_prob(self, z)

    def kl(self, posterior: DiagonalGaussian) -> None:
        """None: it has no closed form."""

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """n codes [n, L]: each dimension draws its own component."""
        latent_size = len(self.mask)
        components = _components(torch.exp(self.log_weights), n * latent_size, generator).view(n, latent_size)
        means, log_vars = self.means.gather(0, components), self.log_vars.gather(0, components)
        return means + (0.5 * log_vars).exp() * _normal((n, latent_size), generator, means) * self.mask


class NormalPrior(nn.Module):
    """The standard normal: nothing to learn."""

    def __init__(self, latent_size: int, components: int, image_shape: ImageShape) -> None:
        super().__init__()

    def forward(self, encode: Encode, latent_mask: Tensor) -> StandardNormal:
        """N(0, I) on the dimensions of `latent_mask` [L]."""
        return StandardNormal(latent_mask)


class MixturePrior(nn.Module):
    """K Gaussians with learned means, variances and weights.

    Weights start equal and variances at 1, the scale of a fresh posterior.
    """

    def __init__(
        self,
        latent_size: int,
        components: int,
        image_shape: ImageShape,
        *,
        distribution: type[GaussianMixture | FactorisedMixture] = GaussianMixture,
    ) -> None:
        super().__init__()
        self.distribution = distribution
        self.means = nn.Parameter(_spread(latent_size) * torch.randn(components, latent_size))
        self.log_vars = nn.Parameter(torch.zeros(components, latent_size))
        self.logits = nn.Parameter(torch.zeros(components))
        self.register_buffer("component_mask", torch.ones(components))
        self.component_mask: Tensor

    def forward(self, encode: Encode, latent_mask: Tensor) -> GaussianMixture | FactorisedMixture:
        """The mixture on the dimensions of `latent_mask` [L]."""
        log_weights = _log_weights(self.logits, self.component_mask)
        return self.distribution(log_weights, self.means * latent_mask, clamp_log_var(self.log_vars), latent_mask)


def _spread(latent_size: int) -> float:
    """Standard deviation of the initial means.

    A component's distance from the origin grows as √L. Kept to about 4, the components are told apart from the first step,
    and yet each is within reach of fresh posteriors, which lie around the origin. Means of scale 1 at L = 64 leave one
    component alone with all the images and cost 2 nats after 12 epochs on 10,000 digits.
    """
    return min(1.0, 4 / math.sqrt(latent_size))


def _log_weights(logits: Tensor, component_mask: Tensor) -> Tensor:
    """log softmax over the components that exist, −inf for the others; [K]."""
    return logits.masked_fill(component_mask == 0, -math.inf).log_softmax(-1)


class VampPrior(nn.Module):
    """Mixture of the posteriors of K learned pseudo-images, equal weights (Tomczak & Welling 2018, eq. 9).

    Pseudo-images are sigmoids of what is learned: they stay within (0, 1) and, unlike with the paper's hard limits, their
    gradient never vanishes for good.
    """

    def __init__(self, latent_size: int, components: int, image_shape: ImageShape) -> None:
        super().__init__()
        self.pseudo_logits = nn.Parameter(-2 + torch.randn(components, *image_shape))
        self.register_buffer("component_mask", torch.ones(components))
        self.component_mask: Tensor

    @property
    def pseudo_images(self) -> Tensor:
        """Images in (0, 1), [K, C, H, W]."""
        return self.pseudo_logits.sigmoid()

    def forward(self, encode: Encode, latent_mask: Tensor) -> GaussianMixture:
        """The mixture of `encode`'s posteriors, on the dimensions of `latent_mask` [L]."""
        posterior = encode(self.pseudo_images)
        log_weights = _log_weights(torch.zeros_like(self.component_mask), self.component_mask)
        return GaussianMixture(log_weights, posterior.mean, posterior.log_var, latent_mask)


PRIORS: dict[str, Callable[[int, int, ImageShape], nn.Module]] = {
    "normal": NormalPrior,
    "mixture": MixturePrior,
    "factorised_mixture": partial(MixturePrior, distribution=FactorisedMixture),
    "vampprior": VampPrior,
}
"""Name in a study file → constructor `(latent_size, components, image_shape)`."""
