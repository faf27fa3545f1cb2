"""Takes the steps of Adam and Adamax (Kingma & Ba 2015, algorithms 1 and 2), elementwise.

`move_all` updates the parameters of one lane or of R lanes, each with its own learning rate, step and rule. `update_one` is
the same mathematics for one lane with plain numbers, which is faster on a CPU without compilation.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def corrected(step: Tensor, learning_rate: Tensor, adamax: Tensor) -> tuple[Tensor, Tensor]:
    """Return `size` (the learning rate) and `epsilon` (the addend of Adam's root) of `move_all` with the bias corrections of
    step `step` (from 1); all [R]."""
    # expm1, because in float32 1 - 0.999 is inexact.
    correction1 = -torch.expm1(step * math.log(BETA1))
    correction2 = torch.sqrt(-torch.expm1(step * math.log(BETA2)))
    return learning_rate / correction1 * torch.where(adamax.bool(), 1.0, correction2), EPSILON * correction2


def move_all(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    *,
    size: Tensor,
    epsilon: Tensor,
    adamax: Tensor,
    averages: Sequence[Tensor] = (),
    share: Tensor | None = None,
) -> None:
    """Take one step in place, parameter by parameter, by either rule without a branch, so that a compiler makes one pass over
    memory of it. size, epsilon, adamax (0 or 1): [], or [R] for parameters [R, ...].

    With `share`, each of `averages` moves towards its weights by this share of the distance.
    """
    is_adamax = adamax.bool()
    for weight, strided, mean, square in zip(weights, grads, first, second, strict=True):
        grad = strided.contiguous()  # because gradients from vmap have transposed strides
        rate, addend, largest_wins = (_beside(number, weight) for number in (size, epsilon, is_adamax))
        mean.lerp_(grad, 1 - BETA1)
        of_adam = square.mul(BETA2).addcmul_(grad, grad, value=1 - BETA2)
        of_adamax = torch.maximum(square.mul(BETA2), grad.abs().add_(EPSILON))
        square.copy_(torch.where(largest_wins, of_adamax, of_adam))
        denominator = torch.where(largest_wins, square, square.sqrt().add_(addend))
        weight.sub_(rate * mean / denominator)
    if share is not None:
        for average, weight in zip(averages, weights, strict=bool(averages)):
            average.add_(_beside(share, weight) * (weight - average))


def _beside(number: Tensor, weight: Tensor) -> Tensor:
    """Return [] unchanged, and [R] with further axes so that it broadcasts to a weight [R, ...]."""
    return number.reshape(*number.shape, *[1] * (weight.dim() - 1)) if number.dim() else number


def update_one(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    *,
    step: int,
    learning_rate: float,
    optimizer: str,
) -> None:
    """Take one step of one lane in place; tensors are dense with equal strides; `grads` serve as scratch space."""
    if optimizer == "adam":
        # torch's fused kernel makes one pass over memory; separate operations make twelve. It ignores strides.
        steps = [torch.tensor(step - 1.0, device=weight.device) for weight in weights]
        adam(
            list(weights), list(grads), list(first), list(second), [], steps,
            fused=True, amsgrad=False, maximize=False,
            beta1=BETA1, beta2=BETA2, lr=learning_rate, weight_decay=0.0, eps=EPSILON,
        )  # fmt: skip
        return
    size = learning_rate / (1 - BETA1**step)
    for weight, grad, mean, largest in zip(weights, grads, first, second, strict=True):
        mean.lerp_(grad, 1 - BETA1)
        torch.maximum(largest.mul_(BETA2), grad.abs_().add_(EPSILON), out=largest)
        weight.addcdiv_(mean, largest, value=-size)
