"""Defines the priors p(z) over latent codes.

Shapes: B codes, L latent dimensions, K components; `...` stands for any leading dimensions. All
densities are in nats.

Each prior is a module with the constructor `(latent_size, components, values)`; the module
holds the learned parameters. Its `forward(encode, latent_mask)` returns a distribution
(`PriorDistribution`), which holds the mathematics. A study may name such a class of the user's own
by its import path, `prior: package.module:Class`. Dimensions where `latent_mask` is 0 and
components where `component_mask` is 0 do not exist: they add no density, get no gradient and are
never drawn.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from vaeexp.data.values import Values
from vaeexp.import_paths import imported, one_line
from vaeexp.models.posteriors import LOG_2PI, DiagonalGaussian, clamp_log_var

Encode = Callable[[Tensor], DiagonalGaussian]
"""Images [B, C, H, W] → their posterior q(z|x)."""


class PriorDistribution(ABC):
    """The methods of every prior. Two must be defined; what the others return by default leaves out
    figures and pictures that need them."""

    @abstractmethod
    def log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z) [...] for z [..., L]."""

    @abstractmethod
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n codes [n, L] on the generator's device."""

    def kl(self, posterior: DiagonalGaussian) -> Tensor | None:
        """Return KL(posterior ‖ prior) [...] in closed form; None if it has no closed form."""
        return None

    def dimension_kl(self, posterior: DiagonalGaussian) -> Tensor | None:
        """Return KL(q(z_d|x) ‖ p(z_d)) [..., L] of each dimension in closed form; None if it has no
        closed form.
        """
        return None

    def dimension_log_prob(self, z: Tensor) -> Tensor | None:
        """Return the log marginal density log p(z_d) [..., L] of each dimension, 0 where masked;
        None if it is not known.
        """
        return None

    def quantiles(self, levels: Tensor) -> Tensor | None:
        """Return the quantiles [n] at these levels [n], where they are the same in each dimension;
        else None.
        """
        return None

    def component_weights(self) -> Tensor | None:
        """Return the weights [K] of the components from which whole codes are drawn; None for a
        prior without components.

        A prior with components has `responsibilities` and `sample_component`, too.
        """
        return None

    def responsibilities(self, z: Tensor) -> Tensor:
        """Return p(k|z) [..., K], the probability that z came from component k."""
        raise NotImplementedError

    def sample_component(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw n codes [n, L] from component k."""
        raise NotImplementedError


def _normal(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.randn(shape, generator=generator, device=generator.device).to(like)


@dataclass(frozen=True)
class StandardNormal(PriorDistribution):
    """N(0, I) (Kingma & Welling 2014)."""

    mask: Tensor
    """1 for a dimension that exists, else 0; [L]."""

    def log_prob(self, z: Tensor) -> Tensor:
        return self.dimension_log_prob(z).sum(-1)

    def dimension_log_prob(self, z: Tensor) -> Tensor:
        """Return log p(z_d) [..., L]; the sum over d is log p(z)."""
        return -0.5 * (z.square() + LOG_2PI) * self.mask

    def kl(self, posterior: DiagonalGaussian) -> Tensor:
        """Return ½ Σ_d (μ² + σ² − 1 − log σ²) [...] (Kingma & Welling 2014, appendix B)."""
        return self.dimension_kl(posterior).sum(-1)

    def dimension_kl(self, posterior: DiagonalGaussian) -> Tensor:
        """Return the terms of `kl`, one per dimension; [..., L]."""
        terms = posterior.mean.square() + posterior.log_var.exp() - 1 - posterior.log_var
        return 0.5 * terms * self.mask

    def quantiles(self, levels: Tensor) -> Tensor:
        return torch.special.ndtri(levels)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        return _normal((n, len(self.mask)), generator, self.mask) * self.mask


@dataclass(frozen=True)
class _Mixture(PriorDistribution):
    """The components of a mixture of Gaussians."""

    log_weights: Tensor
    """log w [K], −inf for a component that does not exist."""
    means: Tensor
    """μ [K, L]; 0 where masked."""
    log_vars: Tensor
    """log σ² [K, L]."""
    mask: Tensor
    """1 for a dimension that exists, else 0; [L]."""

    @property
    def weights(self) -> Tensor:
        """The weights w [K]; their sum is 1."""
        return self.log_weights.exp()

    def dimension_log_prob(self, z: Tensor) -> Tensor:
        """Return log Σ_k w_k N(z_d; μ_kd, σ_kd²) [..., L]; takes memory of [..., K, L]."""
        squares = (z.unsqueeze(-2) - self.means).square() * (-self.log_vars).exp()
        log_densities = -0.5 * (squares + self.log_vars + LOG_2PI)
        return (self.log_weights.unsqueeze(-1) + log_densities).logsumexp(-2) * self.mask

    def _components(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n indices of components [n] by weight."""
        weights = self.weights.detach().to(generator.device)
        return torch.multinomial(weights, n, replacement=True, generator=generator).to(
            self.means.device
        )


@dataclass(frozen=True)
class GaussianMixture(_Mixture):
    """Σ_k w_k Π_d N(z_d; μ_kd, σ_kd²): a mixture of L-dimensional Gaussians with diagonal
    covariances.

    The product of its marginals `dimension_log_prob` is not p(z).
    """

    def component_weights(self) -> Tensor:
        return self.weights

    def component_log_prob(self, z: Tensor) -> Tensor:
        """Return log N(z; μ_k, σ_k²) [..., K] of each component, without its weight."""
        precisions = (-self.log_vars).exp() * self.mask  # [K, L]
        # MPS has no float64.
        distances = _distances if z.device.type == "mps" else _distances_by_products
        log_volumes = ((self.log_vars + LOG_2PI) * self.mask).sum(-1)  # [K]
        return -0.5 * (distances(z, self.means, precisions) + log_volumes)

    def log_prob(self, z: Tensor) -> Tensor:
        return (self.log_weights + self.component_log_prob(z)).logsumexp(-1)

    def responsibilities(self, z: Tensor) -> Tensor:
        """Return p(k|z) [..., K], the probability that z came from component k."""
        return (self.log_weights + self.component_log_prob(z)).softmax(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n codes [n, L]: first a component by weight, then a code from it."""
        return self._draw(self._components(n, generator), generator)

    def sample_component(self, k: int, n: int, generator: torch.Generator) -> Tensor:
        """Draw n codes [n, L] from component k."""
        return self._draw(torch.full((n,), k, device=self.means.device), generator)

    def _draw(self, components: Tensor, generator: torch.Generator) -> Tensor:
        drawn = DiagonalGaussian(self.means[components], self.log_vars[components], self.mask)
        return drawn.rsample(_normal(drawn.mean.shape, generator, self.means))


def _distances(z: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """Return Σ_d (z_d − μ_kd)² / σ_kd² [..., K]; takes memory of [..., K, L]."""
    return ((z.unsqueeze(-2) - means).square() * precisions).sum(-1)


def _distances_by_products(z: Tensor, means: Tensor, precisions: Tensor) -> Tensor:
    """Return the same as z²·p − 2z·μp + μ²·p: two small matrix products, five times as fast on the
    CPU.

    The sums are float64, because the terms cancel: with narrow components float32 would lose whole
    nats. Autocast and TF32 do not change float64.
    """
    wide_z = z.double()
    wide_means = means.double()
    p = precisions.double()
    weighted = wide_means * p  # [K, L]
    distances = wide_z.square() @ p.mT - 2 * wide_z @ weighted.mT + (wide_means * weighted).sum(-1)
    return distances.to(z.dtype)


@dataclass(frozen=True)
class FactorisedMixture(_Mixture):
    """Π_d Σ_k w_k N(z_d; μ_kd, σ_kd²): one mixture per latent dimension, with weights shared by all
    dimensions.

    A proper density with K^L modes. It takes the log-sum-exp over components before the sum over
    dimensions; `GaussianMixture` takes the sum first and is the mixture of L-dimensional Gaussians.
    """

    def log_prob(self, z: Tensor) -> Tensor:
        return self.dimension_log_prob(z).sum(-1)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draw n codes [n, L]; each dimension draws its own component."""
        latent_size = len(self.mask)
        components = self._components(n * latent_size, generator).view(n, latent_size)
        parameters = self.means.gather(0, components), self.log_vars.gather(0, components)
        noise = _normal((n, latent_size), generator, self.means)
        return DiagonalGaussian(*parameters, self.mask).rsample(noise)


class NormalPrior(nn.Module):
    """The standard normal prior, which has no learned parameters."""

    def __init__(self, latent_size: int, components: int, values: Values) -> None:
        super().__init__()

    def forward(self, encode: Encode, latent_mask: Tensor) -> StandardNormal:
        """Return N(0, I) on the dimensions of `latent_mask` [L]."""
        return StandardNormal(latent_mask)


class MixturePrior(nn.Module):
    """A mixture of K Gaussians with learned means, variances and weights.

    Weights start equal. Variances start at 1, the scale of a fresh posterior.
    """

    def __init__(
        self,
        latent_size: int,
        components: int,
        values: Values,
        *,
        distribution: type[GaussianMixture | FactorisedMixture] = GaussianMixture,
    ) -> None:
        super().__init__()
        self.distribution = distribution
        # A component's distance from the origin is about √L times the standard deviation. At a
        # distance of about 4 the
        # components are separate from the first step, and fresh posteriors, around the origin,
        # still reach each of them.
        self.means = nn.Parameter(
            min(1.0, 4 / math.sqrt(latent_size)) * torch.randn(components, latent_size)
        )
        self.log_vars = nn.Parameter(torch.zeros(components, latent_size))
        self.logits = nn.Parameter(torch.zeros(components))
        self.register_buffer("component_mask", torch.ones(components))
        self.component_mask: Tensor

    def forward(self, encode: Encode, latent_mask: Tensor) -> GaussianMixture | FactorisedMixture:
        """Return the mixture on the dimensions of `latent_mask` [L]."""
        log_weights = _log_weights(self.logits, self.component_mask)
        return self.distribution(
            log_weights, self.means * latent_mask, clamp_log_var(self.log_vars), latent_mask
        )


def _log_weights(logits: Tensor, component_mask: Tensor) -> Tensor:
    """Return the log softmax over the components that exist, −inf for the others; [K]."""
    return logits.masked_fill(component_mask == 0, -math.inf).log_softmax(-1)


class VampPrior(nn.Module):
    """A mixture of the posteriors of K learned pseudo-images, with equal weights (Tomczak & Welling
    2018, eq. 9).

    Where targets lie in [0, 1], a pseudo-image is the sigmoid of learned logits, so it stays within
    (0, 1). The paper clips instead; behind a clip the gradient can vanish for good, behind a
    sigmoid it cannot. Of counts it is the exponential of learned numbers, of other targets the
    learned numbers.
    """

    encodes: ClassVar[bool] = True
    """Whether it passes as many images as it has components through the encoder, in one batch."""

    def __init__(self, latent_size: int, components: int, values: Values) -> None:
        super().__init__()
        self.values = values
        start = -2 if values.unit else 0
        self.pseudo_logits = nn.Parameter(start + torch.randn(components, *values.shape))
        self.register_buffer("component_mask", torch.ones(components))
        self.component_mask: Tensor

    def forward(self, encode: Encode, latent_mask: Tensor) -> GaussianMixture:
        """Return the mixture of `encode`'s posteriors of the pseudo-images, on the dimensions of
        `latent_mask` [L].
        """
        posterior = encode(self._pseudo_images())
        log_weights = _log_weights(torch.zeros_like(self.component_mask), self.component_mask)
        return GaussianMixture(log_weights, posterior.mean, posterior.log_var, latent_mask)

    def _pseudo_images(self) -> Tensor:
        """Return the pseudo-images [K, C, H, W]."""
        if self.values.unit:
            return self.pseudo_logits.sigmoid()
        if self.values.counts:
            return self.pseudo_logits.clamp(max=_LARGEST_LOG_COUNT).exp()
        return self.pseudo_logits


_LARGEST_LOG_COUNT = 20.0
"""Of pseudo-images, so that float32 stays finite."""


PRIORS: dict[str, Callable[[int, int, Values], nn.Module]] = {
    "normal": NormalPrior,
    "mixture": MixturePrior,
    "factorised_mixture": partial(MixturePrior, distribution=FactorisedMixture),
    "vampprior": VampPrior,
}
"""Name in a study file → constructor `(latent_size, components, values)`."""


def build_prior(name: str, latent_size: int, components: int, values: Values) -> nn.Module:
    """Build the prior of this name: from `PRIORS`, or the user's own by import path
    `package.module:Class`.

    The user's own is tried on two codes. Raises ValueError if it cannot be imported or built, or
    gives no distribution over codes.
    """
    if ":" not in name:
        return PRIORS[name](latent_size, components, values)
    make: Any = imported(name, "prior")
    try:
        prior = make(latent_size, components, values.shape)
        if not isinstance(prior, nn.Module):
            raise TypeError(f"it is no torch.nn.Module but {type(prior).__name__}")
        _try_prior(prior, latent_size)
    except Exception as error:  # of the user's code, whatever it raises
        raise ValueError(
            f"prior: '{name}' must be a torch.nn.Module made by (latent_size, components, "
            "image_shape) whose forward(encode, latent_mask) returns a "
            f"`vaeexp.models.priors.PriorDistribution`: {one_line(error)}."
        ) from error
    return prior


def check_draws(name: str, prior: PriorDistribution) -> None:
    """Raise ValueError where draws do not follow the generator, or their moments are not those of
    the density p of `log_prob`.

    By integration by parts E[∂log p/∂z_d] is 0, and E[(z_d + 1) ∂log p/∂z_d] is −1. They exist for
    heavy tails, too, but not for a density with an edge, which is left alone; so is a flat one.
    """
    z, again = (prior.sample(4000, torch.Generator().manual_seed(0)).detach() for _ in range(2))
    if not torch.equal(z, again):
        raise ValueError(
            f"prior: `sample` of '{name}' gives other draws for an equal generator; must give the "
            "same. Pass `generator` to each function that draws."
        )
    z.requires_grad_()
    try:
        # Numbers beyond most edges, too. The 0 is the gradient of a density that has none.
        density = prior.log_prob(torch.cat([z, -1.5 * z.detach()])) + 0 * z.sum()
    except ValueError:  # of torch.distributions beyond an edge
        return
    score = torch.autograd.grad(density.sum(), z)[0]
    if not density.isfinite().all() or (density[: len(z)] == density[0]).all():
        return
    for factor, words, mean in ((1, "", 0), (z.detach() + 1, "(z_{0} + 1) · ", -1)):
        terms = factor * score - mean  # [n, L]; the mean of each is 0
        apart = (terms.mean(0).abs() / terms.std(0)).nan_to_num(0) * math.sqrt(len(z))
        if apart.max() > 7:
            d = int(apart.argmax())
            raise ValueError(
                f"prior: `sample` of '{name}' draws from another density than `log_prob` gives: "
                f"over {len(z):,} draws the mean of {words.format(d + 1)}∂log p/∂z_{d + 1} is "
                f"{terms.mean(0)[d] + mean:.2g}; must be {mean}. Draw from exp(log_prob)."
            )


def _try_prior(prior: nn.Module, latent_size: int) -> None:
    """Raise an error where the prior gives no distribution with densities [B] and codes [n, L]."""

    def encode(x: Tensor) -> DiagonalGaussian:
        zeros = torch.zeros(len(x), latent_size)
        return DiagonalGaussian(zeros, zeros, mask)

    mask = torch.ones(latent_size)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        distribution = prior(encode, mask)
        if not isinstance(distribution, PriorDistribution):
            raise TypeError(f"forward returns {type(distribution).__name__}")
        z = distribution.sample(2, generator)
        if z.shape != (2, latent_size):
            raise ValueError(
                f"sample(2, generator) has the shape {tuple(z.shape)}, not {(2, latent_size)}"
            )
        density = distribution.log_prob(z)
        if density.shape != (2,):
            raise ValueError(
                f"log_prob of codes {(2, latent_size)} has the shape {tuple(density.shape)}, not "
                "(2,)"
            )
