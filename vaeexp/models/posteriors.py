"""Defines the approximate posteriors q(z|x): the distribution over latent codes that an encoder
describes.

Shapes: L latent dimensions; `...` stands for any leading dimensions. All densities are in nats.

`from_head(h, mask)` builds a posterior from the raw output of the encoder, `parameters` numbers per
latent dimension. The numbers are interleaved, (..., L, parameters), so that the head of a small
model is a leading slice of the head of a bigger model. Dimensions where `mask` is 0 do not exist:
their z is 0 and they add nothing to any density.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)

LOG_VAR_RANGE = (-20.0, 10.0)
"""Range of every log-variance, of posteriors and priors.

Below the range σ is less than 4.5e-5, near the spacing of float32 numbers around z, so z could not
carry its noise. Far above the range exp overflows. Both would end the trial with a number that is
not finite.
"""


def clamp_log_var(log_var: Tensor) -> Tensor:
    """Return `log_var` clamped to `LOG_VAR_RANGE`."""
    return log_var.clamp(*LOG_VAR_RANGE)


@dataclass(frozen=True)
class DiagonalGaussian:
    """N(z; mean, diag(exp(log_var))) with independent dimensions (Kingma & Welling 2014, appendix
    C.2).
    """

    parameters: ClassVar[int] = 2
    """Numbers of the encoder's head per latent dimension: mean and log-variance."""
    stochastic: ClassVar[bool] = True
    """Whether the posterior has a density, and so a rate and an ELBO."""

    mean: Tensor
    """[..., L]; 0 where masked."""
    log_var: Tensor
    """log σ² [..., L]."""
    mask: Tensor
    """1 for a dimension that exists, else 0; [L]."""

    @classmethod
    def from_head(cls, h: Tensor, mask: Tensor) -> "DiagonalGaussian":
        """Build the posterior from the encoder's output h [..., 2L]."""
        mean, log_var = h.unflatten(-1, (-1, cls.parameters)).unbind(-1)  # [..., L] each
        return cls(mean * mask, clamp_log_var(log_var), mask)

    @property
    def variance(self) -> Tensor:
        """σ² [..., L]."""
        return self.log_var.exp()

    def rsample(self, noise: Tensor) -> Tensor:
        """Return z = mean + σ · noise [..., L] for standard normal noise [..., L]; gradients reach
        mean and σ.
        """
        return self.mean + (0.5 * self.log_var).exp() * noise * self.mask

    def rsample_and_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Return z [..., L] and log q(z) [...] for standard normal noise [..., L].

        The density uses the noise for (z − mean)/σ, because the quotient loses precision for a tiny
        σ.
        """
        log_prob = -0.5 * ((noise.square() + self.log_var + LOG_2PI) * self.mask).sum(-1)
        return self.rsample(noise), log_prob


@dataclass(frozen=True)
class Deterministic:
    """A point, z = mean: the code of a plain autoencoder.

    A point has no density, and its divergence from any continuous prior is infinite. So the model
    has no ELBO: its rate counts as 0, and the distortion stands in place of the negative ELBO.
    """

    parameters: ClassVar[int] = 1
    stochastic: ClassVar[bool] = False

    mean: Tensor
    """[..., L]; 0 where masked."""
    mask: Tensor
    """1 for a dimension that exists, else 0; [L]."""

    @classmethod
    def from_head(cls, h: Tensor, mask: Tensor) -> "Deterministic":
        """Build the posterior from the encoder's output h [..., L]."""
        return cls(h * mask, mask)

    @property
    def variance(self) -> Tensor:
        """0 [..., L]."""
        return torch.zeros_like(self.mean)


POSTERIORS: dict[str, type[DiagonalGaussian] | type[Deterministic]] = {
    "gaussian": DiagonalGaussian,
    "deterministic": Deterministic,
}
"""Name in a study file → class."""
