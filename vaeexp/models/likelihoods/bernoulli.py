"""The likelihood of binary images.

Shapes: C channels, H × W pixels; `...` stands for any leading dimensions.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

_LINEAR_ABOVE = 80.0
_FACTORS = 64  # of at most 2 each; the logarithm of their product is off by 1e-5 at most
_VECTOR = 16  # numbers that a processor takes at once


def softplus(h: Tensor) -> Tensor:
    """log(1 + exp h), six times as fast on the CPU as torch's, whose log1p is not vectorised.

    As −log sigmoid(−h), with the straight part added where sigmoid would underflow. Off by at most 6e-8, the rounding of
    a float32 number near 1. Its gradient is sigmoid(h), and is computed as that.
    """
    return _Softplus.apply(h)


class _Softplus(torch.autograd.Function):
    """Left to autograd, each step of the formula would keep a tensor and take a pass of its own backwards."""

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
    """Σ x·h − log(1 + exp h) over sub-pixels, whose gradient is x − sigmoid h. As `_Softplus`, for the passes it saves."""

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, x: Tensor) -> Tensor:
        # log(1 + exp h) = max(h, 0) + log(1 + exp −|h|), and of these factors in [1, 2] one logarithm serves many.
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

    A probability for x in {0, 1}. Grey levels in [0, 1] are taken as well, the loss of many a notebook; there the formula
    is no normalised density, and its values must not be compared with those on binary images.
    """

    support: ClassVar[str] = "binary"
    bits_per_dimension: ClassVar[bool] = False

    logits: Tensor
    """[..., C, H, W]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""
        return _LogProb.apply(self.logits, x)

    @property
    def mean(self) -> Tensor:
        """Probability of a 1 [..., C, H, W]."""
        return self.logits.sigmoid()

    def sample(self, generator: torch.Generator) -> Tensor:
        """Images of zeros and ones [..., C, H, W]; drawn on the generator's device."""
        uniform = torch.rand(self.logits.shape, generator=generator, device=generator.device)
        return (uniform.to(self.logits) < self.mean).to(self.logits)


@cache
def _together(sub_pixels: int) -> int:
    """How many sub-pixels share a logarithm: as many as may, in rows of whole vectors where that divides their number."""
    divisors = [n for n in range(1, _FACTORS + 1) if sub_pixels % n == 0]
    return max(divisors, key=lambda n: (sub_pixels // n % _VECTOR == 0, n))
