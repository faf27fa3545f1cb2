"""Defines the distributions p(x|z) of counts; `ImageDistribution` documents the methods of all.

Shapes: C channels, H × W pixels; `...` stands for any leading dimensions. A table of counts has
C = H = 1 and a column for each W.

Both are probabilities of whole numbers from 0. With a size factor the mean of an image is
multiplied by the sum of its counts over the mean sum of the training images, l / l̄, as for the
sequencing depth of cells (Lopez et al. 2018, with the observed library size). Their value is then
log p(x | z, l): it compares with values under the same condition only.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaeexp.models.likelihoods.distributions import softplus

_LOG_MEAN_RANGE = (-20.0, 20.0)
"""Range of the decoder's output, up to means of 5e8, so that float32 stays finite."""
_LOG_DISPERSION_RANGE = (-15.0, 15.0)
"""Range of log r. At its upper end the negative binomial is a Poisson distribution to 1e-3 of the
variance, for means up to 3,000."""
_STIRLING_ABOVE = 8.0
"""r from which Stirling's series is exact to 1e-9."""


@dataclass(frozen=True)
class _Counts:
    """The means of counts."""

    support: ClassVar[str] = "counts"

    h: Tensor
    """The decoder's output: the log means at the mean row sum; [..., C, H, W]."""
    row_sum: Tensor | None
    """l̄ [], the mean over the training images of the sum of an image; None without size factors."""

    @property
    def log_mean(self) -> Tensor:
        """log μ at a size factor of 1; [..., C, H, W]."""
        return self.h.clamp(*_LOG_MEAN_RANGE)

    @property
    def mean(self) -> Tensor:
        """μ of an image whose counts add up to the mean row sum; [..., C, H, W]."""
        return self.log_mean.exp()

    def log_mean_of(self, x: Tensor) -> Tensor:
        """Return log μ [..., C, H, W] for the row sums of x [..., C, H, W]."""
        if self.row_sum is None:
            return self.log_mean
        factors = x.sum((-3, -2, -1), keepdim=True) / self.row_sum
        # Of an image of zeros the mean is 0; the clamp keeps 0 · log μ from NaN.
        return self.log_mean + factors.clamp(min=torch.finfo(factors.dtype).tiny).log()


@dataclass(frozen=True)
class Poisson(_Counts):
    """p(x) = Π_i μ_i^x_i exp(−μ_i) / x_i!."""

    def log_prob(self, x: Tensor) -> Tensor:
        log_mean = self.log_mean_of(x)
        return (x * log_mean - log_mean.exp() - torch.lgamma(x + 1)).sum((-3, -2, -1))

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        return _poisson(self.mean, generator)


@dataclass(frozen=True)
class NegativeBinomial(_Counts):
    """p(x) = Π_i Γ(x_i + r_i) / (Γ(r_i) x_i!) · (r_i / (r_i + μ_i))^r_i · (μ_i / (r_i + μ_i))^x_i.

    It is a Poisson distribution whose mean has a gamma distribution of shape r; its variance is
    μ + μ²/r (Lopez et al. 2018, methods).
    """

    log_r: Tensor
    """log r, the inverse dispersion of each sub-pixel; [C, H, W]."""

    @property
    def log_dispersion(self) -> Tensor:
        """log r in its range [C, H, W]."""
        return self.log_r.clamp(*_LOG_DISPERSION_RANGE)

    def log_prob(self, x: Tensor) -> Tensor:
        log_r = self.log_dispersion
        r = log_r.exp()
        # log μ/r. With log1p nothing cancels where r is large: r log(1 + μ/r) is then near μ.
        log_odds = self.log_mean_of(x) - log_r
        log_none = -r * torch.log1p(log_odds.exp())
        log_some = -x * softplus(-log_odds)
        ways = _log_rising(x, r) - torch.lgamma(x + 1)
        return (ways + log_none + log_some).sum((-3, -2, -1))

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw the mean from its gamma distribution, and then a count."""
        r = self.log_dispersion.exp().expand(self.h.shape).to(generator.device)
        gamma = torch._standard_gamma(r, generator).to(self.h)
        return _poisson(gamma * (self.log_mean - self.log_dispersion).exp(), generator)


def _poisson(mean: Tensor, generator: torch.Generator) -> Tensor:
    return torch.poisson(mean.to(generator.device), generator).to(mean)


def _log_rising(x: Tensor, r: Tensor) -> Tensor:
    """Return log Γ(x + r) − log Γ(r) for x ≥ 0 and r > 0.

    For a large r both terms are large and nearly equal, so Stirling's series (DLMF 5.11.1) takes
    their place: x log(x + r) + (r − ½) log(1 + x/r) − x and small corrections. Values and gradients
    of both branches are finite everywhere, because `torch.where` needs that.
    """
    small = r.clamp(max=_STIRLING_ABOVE)
    large = r.clamp(min=_STIRLING_ABOVE)
    exact = torch.lgamma(x + small) - torch.lgamma(small)
    leading = x * (x + large).log() + (large - 0.5) * torch.log1p(x / large) - x
    series = leading + _correction(x + large) - _correction(large)
    return torch.where(r < _STIRLING_ABOVE, exact, series)


def _correction(t: Tensor) -> Tensor:
    """Return the terms of Stirling's series beyond the leading ones, for t ≥ 8."""
    inverse = 1 / t
    squares = inverse.square()
    return inverse * (1 / 12 - squares * (1 / 360 - squares / 1260))
