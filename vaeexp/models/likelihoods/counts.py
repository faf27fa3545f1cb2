"""Defines the distributions p(x|z) of counts; `ImageDistribution` documents the methods of all.

Shapes: C channels, H × W pixels; `...` stands for any leading dimensions. A table of counts has
C = H = 1 and a column for each W.

Both are probabilities of whole numbers from 0. With a size factor the mean of an image is
multiplied by the sum of its counts over the mean sum of the training images, l / l̄, as for the
sequencing depth of cells (Lopez et al. 2018, with the observed library size). Their value is then
log p(x | z, l): it compares with values under the same condition only.

The masses are computed from deviances, x log(x/μ) − x + μ and the like, and the errors of
Stirling's formula (Loader 2000). The plain formulas add terms as large as x log x, which float32
rounds to hundredths of a nat for counts of 10,000.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

_LOG_2PI = math.log(2 * math.pi)
_LOG_MEAN_RANGE = (-20.0, 20.0)
"""Range of the decoder's output, up to means of 5e8, so that float32 stays finite."""
_LOG_DISPERSION_RANGE = (-15.0, 15.0)
"""Range of log r. At its upper end the negative binomial is a Poisson distribution to 1e-3 of the
variance, for means up to 3,000."""
_SERIES_ABOVE = 8.0
"""Number from which Stirling's series is exact to 1e-9."""


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

    def mean_given(self, x: Tensor) -> Tensor:
        """Return μ [..., C, H, W] for the row sums of x [..., C, H, W]."""
        return self.log_mean_of(x).exp()

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
        some = torch.where(x > 0, x, 1)
        log_some = some.log()
        deviance = some * _excess(log_mean - log_some)
        log_mass = -deviance - _stirling_error(some) - 0.5 * (log_some + _LOG_2PI)
        return torch.where(x > 0, log_mass, -log_mean.exp()).sum((-3, -2, -1))

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
        log_mean = self.log_mean_of(x)
        some = torch.where(x > 0, x, 1)
        total = some + r
        log_some = some.log()
        log_ratio = _log_ratio(some, r, log_mean, log_r)  # log (x + r) / (μ + r)
        deviance = some * _excess(log_mean - log_some + log_ratio) + r * _excess(log_ratio)
        errors = _stirling_error(total) - _stirling_error(some) - _stirling_error(r)
        roots = 0.5 * (log_r - total.log() - log_some - _LOG_2PI)
        none = -r * torch.log1p((log_mean - log_r).exp())
        return torch.where(x > 0, errors + roots - deviance, none).sum((-3, -2, -1))

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw the mean from its gamma distribution, and then a count."""
        r = self.log_dispersion.exp().expand(self.h.shape).to(generator.device)
        gamma = torch._standard_gamma(r, generator).to(self.h)
        return _poisson(gamma * (self.log_mean - self.log_dispersion).exp(), generator)


def _poisson(mean: Tensor, generator: torch.Generator) -> Tensor:
    return torch.poisson(mean.to(generator.device), generator).to(mean)


def _log_ratio(x: Tensor, r: Tensor, log_mean: Tensor, log_r: Tensor) -> Tensor:
    """Return log (x + r) / (μ + r), exact too where it is near 0."""
    excess = (x - log_mean.exp()) / (log_mean.exp() + r)
    far = (x + r).log() - torch.logaddexp(log_mean, log_r)
    return torch.where(excess.abs() < 0.5, torch.log1p(excess.clamp(-0.5, 0.5)), far)


def _excess(d: Tensor) -> Tensor:
    """Return exp(d) − 1 − d."""
    return torch.expm1(d) - d


def _stirling_error(t: Tensor) -> Tensor:
    """Return log Γ(t + 1) − (t + ½) log t + t − ½ log 2π for t > 0, by its series (DLMF 5.11.1) for
    a large t. Values and gradients of both branches are finite, because `torch.where` needs that.
    """
    small = t.clamp(max=_SERIES_ABOVE)
    exact = torch.lgamma(small + 1) - (small + 0.5) * small.log() + small - 0.5 * _LOG_2PI
    inverse = 1 / t.clamp(min=_SERIES_ABOVE)
    squares = inverse.square()
    series = inverse * (1 / 12 - squares * (1 / 360 - squares / 1260))
    return torch.where(t < _SERIES_ABOVE, exact, series)
