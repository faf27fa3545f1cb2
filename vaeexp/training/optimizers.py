"""Adam and Adamax (Kingma & Ba 2015, algorithms 1 and 2), elementwise.

`move_all` moves the parameters of a lane or of R lanes at once, each with its own learning rate, step and rule;
`update_one` is the same mathematics for a single lane with plain numbers, which a CPU runs faster where nothing is compiled;
`move` is what both rules have in common, for a compiler to make one pass over memory of it.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim.adam import adam

BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


def corrected(step: Tensor, learning_rate: Tensor, adamax: Tensor) -> tuple[Tensor, Tensor]:
    """`size` and `epsilon` of `move`, with the bias corrections of step `step` (from 1); all [R]."""
    # expm1 keeps the corrections exact in float32, where 1 - 0.999 is not.
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
    """One step in place, parameter by parameter: size, epsilon and adamax (0 or 1) are numbers, or [R] for parameters [R, ...].

    `averages`, where there are any, come nearer to the weights by `share` of the way.
    """
    is_adamax = adamax.bool()
    for weight, grad, mean, square in zip(weights, grads, first, second, strict=True):
        # Gradients that come out of vmap have transposed strides.
        move(
            weight, grad.contiguous(), mean, square,
            size=_beside(size, weight), epsilon=_beside(epsilon, weight), is_adamax=_beside(is_adamax, weight),
        )  # fmt: skip
    if share is not None:
        for average, weight in zip(averages, weights, strict=bool(averages)):
            average.add_(_beside(share, weight) * (weight - average))


def _beside(number: Tensor, weight: Tensor) -> Tensor:
    """A number as it is; one for each row with axes for what else a weight has."""
    return number.reshape(*number.shape, *[1] * (weight.dim() - 1)) if number.dim() else number


def move(
    weights: Tensor, grads: Tensor, first: Tensor, second: Tensor, *, size: Tensor, epsilon: Tensor, is_adamax: Tensor
) -> None:
    """One step in place, of tensors of one shape. What broadcasts to them: `size`, the learning rate with its bias
    corrections; `epsilon` for Adam's root, corrected; `is_adamax`, bool."""
    first.lerp_(grads, 1 - BETA1)
    of_adam = second.mul(BETA2).addcmul_(grads, grads, value=1 - BETA2)
    of_adamax = torch.maximum(second.mul(BETA2), grads.abs().add_(EPSILON))
    second.copy_(torch.where(is_adamax, of_adamax, of_adam))
    denominator = torch.where(is_adamax, second, second.sqrt().add_(epsilon))
    weights.sub_(size * first / denominator)


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
    """One step in place of one lane, tensor by tensor, all contiguous; `grads` are used as scratch space and are lost."""
    if optimizer == "adam":
        # torch's fused kernel: one pass over memory where separate operations take twelve. It ignores strides.
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
