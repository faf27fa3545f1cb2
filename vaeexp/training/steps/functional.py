"""A training step as one function of tensors: of a lane or, stacked, of R lanes at once. What a compiler takes whole.

Shapes: B batch, C channels, H × W pixels, L latent dimensions; `...` is nothing or R rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vaeexp.training.device import training_precision
from vaeexp.training.loss import Loss
from vaeexp.training.optimizers import move_all

_TOLERANCE = {"float32": 1e-3, "bf16": 5e-2}  # relative, of norms: a compiler rounds to bf16 in fewer places


class Numbers(NamedTuple):
    """What differs between lanes and between steps; each a number, or one for each row."""

    beta: Tensor
    free_nats: Tensor
    size: Tensor
    """Learning rate, with bias corrections."""
    epsilon: Tensor
    adamax: Tensor
    """0 or 1."""
    share: Tensor
    """Of the new weights in their running average."""


Step = Callable[[Mapping[str, list[Tensor]], Numbers, Tensor, Tensor], None]
"""Moves a state in place, by noise [..., B, L] and targets [..., B, C, H, W]. The state's lists: weights, first and second
moments, the running average where there is one, all by parameter; buffers; totals, which are the sums of (loss,
distortion, rate) [..., 3] and of μ and μ² [..., 2, L]."""


def step_of(
    loss_of: Callable[..., Loss],
    names: Sequence[str],
    buffer_names: Sequence[str],
    device: torch.device,
    precision: str,
    *,
    update: Callable[..., None] = move_all,
) -> Step:
    """The step that lowers `loss_of` (`vaeexp.training.loss.lane_loss`, or vmap of it) of parameters of these names."""

    def step(state: Mapping[str, list[Tensor]], numbers: Numbers, noise: Tensor, x: Tensor) -> None:
        leaves = [weight.detach().requires_grad_() for weight in state["weights"]]
        parameters = dict(zip(names, leaves, strict=True))
        buffers = dict(zip(buffer_names, state["buffers"], strict=True))
        with training_precision(device, precision):
            loss = loss_of(parameters, buffers, x, noise, numbers.beta, numbers.free_nats)
        grads = torch.autograd.grad(loss.loss.sum(), leaves)
        with torch.no_grad():
            update(
                state["weights"], grads, state["first"], state["second"],
                size=numbers.size, epsilon=numbers.epsilon, adamax=numbers.adamax,
                averages=state.get("average", ()), share=numbers.share,
            )  # fmt: skip
            sums, moments = state["totals"]
            sums.add_(torch.stack([loss.loss, loss.distortion, loss.rate], dim=-1))
            moments.add_(torch.stack([loss.mean_sum, loss.mean_square_sum], dim=-2))

    return step


def agree(results: Sequence[Sequence[Tensor]], references: Sequence[Sequence[Tensor]], precision: str) -> bool:
    """Whether two ways to compute a step give the same, but for rounding. Lanes that have diverged must do so both ways.

    Tensors that are listed together are compared as one vector: the gradient of some alone is nothing but rounding, such as
    that of a bias before a normalisation.
    """
    for tensors, wanted in zip(results, references, strict=True):
        distance = size = 0.0
        for a, b in zip(tensors, wanted, strict=True):
            if not torch.equal(a.isfinite(), b.isfinite()):
                return False
            distance += float(torch.linalg.vector_norm((a - b).nan_to_num(0, 0, 0))) ** 2
            size += float(torch.linalg.vector_norm(b.nan_to_num(0, 0, 0))) ** 2
        if distance > _TOLERANCE[precision] ** 2 * size:
            return False
    return True
