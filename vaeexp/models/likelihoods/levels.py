"""Defines the likelihoods of 256 grey levels: probabilities, so bits per dimension are defined.

Shapes: C channels, H × W pixels, n mixture components; `...` stands for any leading dimensions. Targets are k/255 for a
level k in 0..255. They are rounded to their level, because 255 · (k/255) is not always k in float32.

The decoder's output is [..., numbers · C, H, W]: one block of C channels per number.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from vaeexp.models.likelihoods.bernoulli import softplus

LEVELS = 256

_LOG_SCALE_RANGE = (-7.0, 7.0)
_HALF_BIN = 1 / 255
"""Half the width of a bin on [−1, 1], where bins are 2/255 wide."""


def _levels(x: Tensor) -> Tensor:
    """Return the levels k of targets k/255, as floats."""
    return (x * 255).round()


def _draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw indices [..., 1, C, H, W] by weight along dimension −4 of [..., n, C, H, W], from one uniform number each."""
    cumulative = weights.cumsum(-4)
    total = cumulative.narrow(-4, -1, 1)
    uniform = torch.rand(total.shape, generator=generator, device=generator.device).to(weights)
    return (cumulative <= uniform * total).sum(-4, keepdim=True).clamp(max=weights.shape[-4] - 1)


@dataclass(frozen=True)
class Categorical:
    """A softmax over the 256 levels of each sub-pixel, without regard to their order (van den Oord et al. 2016)."""

    support: ClassVar[str] = "levels_256"
    bits_per_dimension: ClassVar[bool] = True

    logits: Tensor
    """[..., 256, C, H, W]."""

    @classmethod
    def from_output(cls, h: Tensor) -> "Categorical":
        """Build the distribution from the decoder's output h [..., 256·C, H, W]."""
        return cls(h.unflatten(-3, (LEVELS, -1)))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""
        levels, log_masses = _levels(x).long(), self.logits.log_softmax(-4)
        lead = torch.broadcast_shapes(log_masses.shape[:-4], levels.shape[:-3])
        # `gather` does not broadcast.
        index = levels.expand(*lead, *levels.shape[-3:]).unsqueeze(-4)  # [..., 1, C, H, W]
        return log_masses.expand(*lead, *log_masses.shape[-4:]).gather(-4, index).sum((-4, -3, -2, -1))

    @property
    def mean(self) -> Tensor:
        """Σ_k p_k · k/255 [..., C, H, W]."""
        values = torch.arange(LEVELS, device=self.logits.device).to(self.logits.dtype) / (LEVELS - 1)
        return (self.logits.softmax(-4) * values.view(-1, 1, 1, 1)).sum(-4)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw images of levels k/255 [..., C, H, W] on the generator's device."""
        drawn = _draw(self.logits.softmax(-4), generator).squeeze(-4)
        return drawn.to(self.logits.dtype) / (LEVELS - 1)


@dataclass(frozen=True)
class DiscretisedLogisticMixture:
    """Each sub-pixel is Σ_k w_k Logistic(μ_k, s_k) on [−1, 1], rounded to the nearest of 256 levels.

    Bins are 2/255 wide; the bins of black and white are open-ended (Kingma et al. 2016; Salimans et al. 2017, section 2.1).
    Sub-pixels are independent given z, each with its own mixture; the paper shares the weights over colours. Small masses
    are exact too; no density approximates them.
    """

    support: ClassVar[str] = "levels_256"
    bits_per_dimension: ClassVar[bool] = True

    log_weights: Tensor
    """log w [..., n, C, H, W]."""
    means: Tensor
    """μ [..., n, C, H, W], on [−1, 1]."""
    log_scales: Tensor
    """log s [..., n, C, H, W], from −7, as in the papers, to 7, where hardly any mass lies between black and white."""

    @classmethod
    def single(cls, h: Tensor) -> "DiscretisedLogisticMixture":
        """Build one component from the decoder's output h [..., 2·C, H, W]: means, log-scales."""
        means, log_scales = h.unflatten(-3, (2, 1, -1)).unbind(-5)
        return cls(torch.zeros_like(means), means, log_scales.clamp(*_LOG_SCALE_RANGE))

    @classmethod
    def mixture(cls, h: Tensor, components: int) -> "DiscretisedLogisticMixture":
        """Build n components from the decoder's output h [..., 3·n·C, H, W]: logits of the weights, means, log-scales.

        At h = 0 the n means divide [−1, 1] evenly, because components with equal means would separate slowly.
        """
        logits, means, log_scales = h.unflatten(-3, (3, components, -1)).unbind(-5)
        middles = (2 * torch.arange(components, device=h.device).to(h.dtype) + 1) / components - 1
        return cls(logits.log_softmax(-4), means + middles.view(-1, 1, 1, 1), log_scales.clamp(*_LOG_SCALE_RANGE))

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""
        levels = _levels(x).to(self.means.dtype).unsqueeze(-4)  # [..., 1, C, H, W]
        black, white = levels == 0, levels == LEVELS - 1
        precisions = (-self.log_scales).exp()
        distances = levels * (2 / (LEVELS - 1)) - 1 - self.means
        below, above = (distances - _HALF_BIN) * precisions, (distances + _HALF_BIN) * precisions
        # σ(a) − σ(b) = σ(a) σ(−b) (1 − exp(b − a)) avoids the difference of nearly equal numbers.
        log_above = torch.where(white, 0, softplus(-above))
        log_below = torch.where(black, 0, softplus(below))
        log_width = torch.where(black | white, 0, (-torch.expm1(-2 * _HALF_BIN * precisions)).log())
        log_masses = log_width - log_above - log_below  # [..., n, C, H, W]
        return (self.log_weights + log_masses).logsumexp(-4).sum((-3, -2, -1))

    @property
    def mean(self) -> Tensor:
        """Σ_k P(level ≥ k) / 255 over k = 1..255: the mean of the masses, in [0, 1]; [..., C, H, W]."""
        weights, precisions = self.log_weights.exp(), (-self.log_scales).exp()
        total = torch.zeros_like(weights)
        for level in range(1, LEVELS):  # level by level, because all at once takes 255 times the memory
            edge = (2 * level - 1) / (LEVELS - 1) - 1
            total = total + torch.sigmoid((self.means - edge) * precisions)
        return (weights * total).sum(-4) / (LEVELS - 1)

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw images of levels k/255 [..., C, H, W], a component and then a level, on the generator's device."""
        chosen = _draw(self.log_weights.exp(), generator)
        means, log_scales = (t.gather(-4, chosen).squeeze(-4) for t in (self.means, self.log_scales))
        uniform = torch.rand(means.shape, generator=generator, device=generator.device).to(means)
        values = means + log_scales.exp() * uniform.logit()  # ±∞ is black or white
        return ((values + 1) / 2 * (LEVELS - 1)).clamp(0, LEVELS - 1).round() / (LEVELS - 1)
