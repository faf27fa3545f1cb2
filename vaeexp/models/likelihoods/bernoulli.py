"""Defines the Bernoulli likelihood of binary images.

Shapes: C channels, H × W pixels; `...` stands for any leading dimensions.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

_LINEAR_ABOVE = 80.0
_FACTORS = 64  # at most 2 each; the logarithm of their product is off by at most 1e-5
_VECTOR = 16  # numbers in a vector instruction


def softplus(h: Tensor) -> Tensor:
    """Return log(1 + exp h), six times as fast on the CPU as torch's softplus, whose log1p is not vectorised.

    It is −log sigmoid(−h), plus the linear part where sigmoid would underflow; the error is at most 6e-8, the rounding of
    a float32 number near 1. The gradient is computed as sigmoid(h).
    """
    return _Softplus.apply(h)


class _Softplus(torch.autograd.Function):
    """A function of its own, because autograd would keep a tensor and make a backward pass for each operation."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor) -> Tensor:
        excess = F.relu(h - _LINEAR_ABOVE)
        return excess.sub_((excess - h).sigmoid_().log_())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        return grad * torch.sigmoid(h)


class _LogProb(torch.autograd.Function):
    """Computes Σ x·h − log(1 + exp h) over sub-pixels; the gradient x − sigmoid h saves passes as in `_Softplus`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, x: Tensor) -> Tensor:
        # log(1 + exp h) = max(h, 0) + log(1 + exp −|h|). The factors 1 + exp −|h| lie in [1, 2], so many of them are
        # multiplied before one logarithm is taken.
        linear = (x * h).sub_(F.relu(h)).sum((-3, -2, -1))
        factors = h.abs().neg_().exp_().add_(1).flatten(-3)
        together = _together(factors.shape[-1])
        return linear - factors.unflatten(-1, (together, -1)).prod(-2).log_().sum(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (h, x), gradient = ctx.saved_tensors, grad[..., None, None, None]
        of_h = gradient * (x - h.sigmoid()) if ctx.needs_input_grad[0] else None
        return of_h, (gradient * h).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None


@dataclass(frozen=True)
class Bernoulli:
    """Independent coins: p(x) = Π_i p_i^x_i (1 − p_i)^(1 − x_i), with p = sigmoid(logits).

    A probability for x in {0, 1}. Grey levels in [0, 1] are accepted too, because many notebooks use this loss. There the
    formula is no normalised density, so its values must not be compared with values on binary images.
    """

    support: ClassVar[str] = "binary"
    bits_per_dimension: ClassVar[bool] = False

    logits: Tensor
    """[..., C, H, W]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""
        return _LogProb.apply(self.logits, x)

    @property
    def mean(self) -> Tensor:
        """The probability of a 1 [..., C, H, W]."""
        return self.logits.sigmoid()

    def sample(self, generator: torch.Generator) -> Tensor:
        """Draw images of zeros and ones [..., C, H, W] on the generator's device."""
        uniform = torch.rand(self.logits.shape, generator=generator, device=generator.device)
        return (uniform.to(self.logits) < self.mean).to(self.logits)


@cache
def _together(sub_pixels: int) -> int:
    """Return how many sub-pixels share a logarithm: the largest divisor up to `_FACTORS`, preferably with whole vectors."""
    divisors = [n for n in range(1, _FACTORS + 1) if sub_pixels % n == 0]
    return max(divisors, key=lambda n: (sub_pixels // n % _VECTOR == 0, n))
