"""Defines the likelihoods of grey levels as real numbers: densities, so log p(x) may be positive.

Shapes: C channels, H × W pixels; `...` stands for any leading dimensions. The Gaussian and the Laplace distribution are
densities on the real line with some mass outside [0, 1]; the continuous Bernoulli has all its mass in [0, 1].

A density at levels k/255 has no upper bound: if the model knows a pixel exactly, the density grows as its scale falls. So
its values compare with densities on the same targets, not with masses on 256 levels.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_NEAR = 0.25
_TINY = 1e-6


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw uniform numbers from [0, 1) in the shape of `like`."""
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like)


def _log_normaliser(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return `middle` and `rest` with log ∫₀¹ exp(ηx) dx = log((exp η − 1) / η) = `middle` · η + `rest`.

    The formula is 0/0 at η = 0, so near 0 its Taylor series replaces it, with an error below 2e-12. Values and gradients of
    both branches are finite everywhere, because `torch.where` needs that. The split in two avoids the cancellation of
    ηx − relu(η): the caller computes η (x − middle).
    """
    near = logits.abs() < _NEAR
    squares = torch.where(near, logits, 0).square()
    series = squares * (1 / 24 - squares * (1 / 2880 - squares / 181440))
    size = torch.where(near, 1, logits.abs())
    # Not expm1: far from 0, 1 − exp is as exact and several times as fast on the CPU.
    rest = torch.where(near, series, ((1 - (-size).exp()) / size).log())
    return torch.where(near, 0.5, (logits > 0).to(logits.dtype)), rest


@dataclass(frozen=True)
class ContinuousBernoulli:
    """p(x) = Π_i exp(η_i x_i) / ∫₀¹ exp(η_i t) dt on [0, 1] (Loaiza-Ganem & Cunningham 2019), η = logits.

    The Bernoulli formula with the constant that makes it a density on [0, 1].
    """

    support: ClassVar[str] = "unit_interval"
    bits_per_dimension: ClassVar[bool] = False

    logits: Tensor
    """η = log λ / (1 − λ) [..., C, H, W]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x in [0, 1] broadcastable to [..., C, H, W]."""
        middle, rest = _log_normaliser(self.logits)
        return ((x - middle) * self.logits - rest).sum((-3, -2, -1))

    @property
    def mean(self) -> Tensor:
        """1 / (1 − exp(−η)) − 1/η, and ½ at η = 0; [..., C, H, W]. The mean is not sigmoid(η)."""
        near = self.logits.abs() < _NEAR
        small = torch.where(near, self.logits, 0)
        squares = small.square()
        series = 0.5 + small * (1 / 12 - squares * (1 / 720 - squares / 30240))
        size = torch.where(near, 1, self.logits.abs())
        upper = 1 / (1 - (-size).exp()) - 1 / size
        return torch.where(near, series, torch.where(self.logits > 0, upper, 1 - upper))

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw images [..., C, H, W] in [0, 1] by the inverse distribution function, on the generator's device."""
        size = self.logits.abs().clamp(min=_TINY)
        lower = -torch.log1p(_uniform(size, generator) * torch.expm1(-size)) / size
        return torch.where(self.logits > 0, 1 - lower, lower).clamp(0, 1)


@dataclass(frozen=True)
class Gaussian:
    """p(x) = Π_i N(x_i; mean_i, σ²), one σ for all sub-pixels.

    −log p(x) = Σ_i (x_i − mean_i)² / 2σ² + D log(σ √2π) with D sub-pixels. At σ² = ½ it is the summed squared error
    (MSE · D) plus D/2 · log π.
    """

    support: ClassVar[str] = "real"
    bits_per_dimension: ClassVar[bool] = False

    mean: Tensor
    """[..., C, H, W]."""
    sigma: Tensor
    """σ []."""

    @classmethod
    def from_output(cls, h: Tensor, sigma: Tensor) -> "Gaussian":
        """Build the Gaussian with mean sigmoid(h), in the range of the images, from h [..., C, H, W]."""
        return cls(h.sigmoid(), sigma)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""
        squares = ((x - self.mean) / self.sigma).square().sum((-3, -2, -1))
        return -0.5 * squares - math.prod(self.mean.shape[-3:]) * (self.sigma.log() + _HALF_LOG_2PI)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw images [..., C, H, W], not limited to [0, 1], on the generator's device."""
        noise = torch.randn(self.mean.shape, generator=generator, device=generator.device)
        return self.mean + self.sigma * noise.to(self.mean)


@dataclass(frozen=True)
class Laplace:
    """p(x) = Π_i exp(−|x_i − mean_i| / b) / 2b, one scale b for all sub-pixels.

    At b = 1, −log p(x) is the summed absolute error (L1) plus D log 2 with D sub-pixels.
    """

    support: ClassVar[str] = "real"
    bits_per_dimension: ClassVar[bool] = False

    mean: Tensor
    """Mean and median [..., C, H, W]."""
    scale: Tensor
    """b []."""

    @classmethod
    def from_output(cls, h: Tensor, scale: Tensor) -> "Laplace":
        """Build the distribution with mean sigmoid(h), in the range of the images, from h [..., C, H, W]."""
        return cls(h.sigmoid(), scale)

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""
        errors = (x - self.mean).abs().sum((-3, -2, -1))
        return -errors / self.scale - math.prod(self.mean.shape[-3:]) * (2 * self.scale).log()

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw images [..., C, H, W], not limited to [0, 1], on the generator's device."""
        centred = 1 - 2 * _uniform(self.mean, generator)  # (−1, 1]
        # The clamp excludes ±1, where a draw would be infinite. 2⁻²⁴ is the step of torch's uniform numbers.
        tail = torch.log1p(-centred.abs().clamp(max=1 - 2**-24))
        return self.mean - self.scale * centred.sign() * tail
