"""Builds a training step as one function of tensors, for one lane or R stacked lanes, which a compiler can take whole.

Shapes: B batch, C channels, H × W pixels, L latent dimensions; `...` is nothing or R rows.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vaeexp.training.device import training_precision
from vaeexp.training.loss import Loss
from vaeexp.training.optimizers import move_all

_TOLERANCE = {"float32": 1e-3, "bf16": 5e-2}  # relative to norms; larger for bf16, because a compiler rounds less often


class Numbers(NamedTuple):
    """The numbers that differ between lanes and between steps: each [] for one lane or [R] for rows."""

    beta: Tensor
    free_nats: Tensor
    size: Tensor
    """Learning rate with bias corrections."""
    epsilon: Tensor
    """Addend of Adam's root, corrected."""
    adamax: Tensor
    """0 or 1."""
    share: Tensor
    """Share of the new weights in their running average."""


Step = Callable[[Mapping[str, list[Tensor]], Numbers, Tensor, Tensor], None]
"""(state, numbers, noise [..., B, L], targets [..., B, C, H, W]) → None; trains the state in place. Lists of the state:
weights, first and second (moments) and, if kept, average, all by parameter; buffers; totals, the sums of (loss, distortion,
rate) [..., 3] and of μ and μ² [..., 2, L]."""


def step_of(
    loss_of: Callable[..., Loss],
    names: Sequence[str],
    buffer_names: Sequence[str],
    device: torch.device,
    precision: str,
    *,
    update: Callable[..., None] = move_all,
) -> Step:
    """Return the step that minimises `loss_of` (`vaeexp.training.loss.lane_loss`, or vmap of it); `names` and `buffer_names`
    are in the order of the state's lists."""

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
    """Return whether two ways to compute a step agree up to rounding; numbers that are not finite must match in place.

    The tensors of one inner list are compared as one vector, because some gradients are rounding errors alone, such as the
    gradient of a bias before a normalisation.
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
