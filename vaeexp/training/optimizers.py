"""Takes the steps of the optimizers, elementwise.

Adam and Adamax (Kingma & Ba 2015, algorithms 1 and 2), AdamW (Loshchilov & Hutter 2019, algorithm
2), RAdam (Liu et al. 2020, algorithm 2), NAdam (Dozat 2016), SGD with momentum, all with the
numbers of `torch.optim`; Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2).

`move_all` updates the parameters of one lane or of R lanes, each with its own rule and numbers,
without a branch on either. Its numbers for one step come from `moves_of`. `update_one` is the same
mathematics for one lane with plain numbers, which is faster on a CPU without compilation. No rule
keeps more than two vectors of a lane's size.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim.adam import adam

from vaeexp.training.device import wide_dtype

if TYPE_CHECKING:
    from vaeexp.settings import TrainSettings

BETA1 = 0.9
BETA2 = 0.999
EPSILON = 1e-8
_LION_BETA2 = 0.99

Number = float | np.ndarray
"""A number of one step, or an array [S] with those of S steps."""


class Rule(NamedTuple):
    """The update rule of one lane."""

    optimizer: str = "adam"
    beta1: float = BETA1
    beta2: float = BETA2
    momentum: float = 0.9
    weight_decay: float = 0.0
    clip_norm: float = math.inf

    @property
    def decoupled(self) -> bool:
        """Whether the decay of weights stays out of the gradient."""
        return self.optimizer in ("adamw", "lion")


def rule_of(train: "TrainSettings") -> Rule:
    """Return the rule that these settings name."""
    beta2 = _LION_BETA2 if train.optimizer == "lion" else BETA2
    return Rule(
        optimizer=train.optimizer,
        beta1=BETA1 if train.beta1 is None else train.beta1,
        beta2=beta2 if train.beta2 is None else train.beta2,
        momentum=train.momentum,
        weight_decay=train.weight_decay,
        clip_norm=math.inf if train.clip_norm is None else train.clip_norm,
    )


# ---- what the lanes of a study need ----

_BASE = ("size", "epsilon", "adamax")
_NAMES: dict[str, tuple[str, ...]] = {
    "moments": ("keep1", "add1", "keep2", "add2"),
    "plain": ("plain",),
    "ahead": ("ahead",),
    "sign": ("sign", "blend"),
    "decay": ("l2", "shrink"),
    "clip": ("limit",),
    "warmup": (),
    "course": (),
}
"""Part of an update that Adam and Adamax with their usual numbers do not need → the names of its
numbers.
"""


def parts_of(options: Mapping[str, Collection[Any]]) -> tuple[str, ...]:
    """Return the parts of an update that some lane needs beyond Adam and Adamax; a step has no
    operation for other parts.

    Args:
        options: each setting of `TrainSettings` → the values that a lane can have.
    """
    optimizers = {*options["optimizer"]}
    needed = {
        "moments": bool(optimizers & {"sgd", "lion"})
        or {*options["beta1"], *options["beta2"]} != {None},
        "plain": bool(optimizers & {"sgd", "radam"}),
        "ahead": "nadam" in optimizers,
        "sign": "lion" in optimizers,
        "decay": any(options["weight_decay"]),
        "clip": {*options["clip_norm"]} != {None},
        "warmup": any(options["warmup_steps"]),
        # Which a captured graph computes itself.
        "course": bool({*options["schedule"]} - {"constant", "cosine"}),
    }
    return tuple(name for name in _NAMES if needed[name])


def check_parts(train: "TrainSettings", parts: Collection[str]) -> None:
    """Raise ValueError where a lane of these settings needs a part that a step was not made
    with.
    """
    if missing := {*parts_of({name: [value] for name, value in vars(train).items()})} - {*parts}:
        raise ValueError(
            f"optimizer: {train.optimizer} needs {', '.join(sorted(missing))}; the step was made "
            "without."
        )


def move_names(parts: Collection[str]) -> tuple[str, ...]:
    """Return the names of the numbers that `move_all` needs for these parts, in the order of a
    packed vector.
    """
    taken = (names for part, names in _NAMES.items() if part in parts)
    return (*_BASE, *chain.from_iterable(taken))


# ---- the numbers of one step ----


def moves_of(rule: Rule, step: Any, learning_rate: Any) -> dict[str, Number]:
    """Return the numbers of `move_all` for one lane at step `step` (from 1), or arrays [S] for an
    array of S steps.

    size: factor of the first moment.
    epsilon: addend of the root.
    adamax: 1 where the denominator is the largest gradient, else 0.
    plain: 1 where there is no denominator, else 0.
    sign: 1 where the direction is a sign, else 0.
    keep and add: factors of a moment and of what it takes up.
    ahead: factor of the gradient beside the first moment.
    blend: share of the first moment in Lion's direction.
    l2 and shrink: factors of the weights, in the gradient and before the step.
    limit: largest norm of a lane's gradient.
    """
    optimizer = rule.optimizer
    beta1 = rule.beta1
    beta2 = rule.beta2
    moves: dict[str, Number] = {
        "size": learning_rate,
        "epsilon": EPSILON,
        "adamax": float(optimizer == "adamax"),
        "keep1": beta1,
        "add1": 1 - beta1,
        "keep2": beta2,
        "add2": 1 - beta2,
        "plain": 0.0,
        "ahead": 0.0,
        "sign": 0.0,
        "blend": beta1,
        "l2": 0.0 if rule.decoupled else rule.weight_decay,
        "shrink": 1 - learning_rate * rule.weight_decay if rule.decoupled else 1.0,
        "limit": rule.clip_norm,
    }
    if optimizer == "sgd":
        return moves | {
            "plain": 1.0,
            "keep1": rule.momentum,
            "add1": 1.0,
            "keep2": 0.0,
            "add2": 0.0,
        }
    if optimizer == "lion":
        return moves | {"sign": 1.0, "keep1": beta2, "add1": 1 - beta2, "keep2": 0.0, "add2": 0.0}
    root = _root(1 - beta2**step)
    if optimizer == "radam":
        rectified, factor = _rectification(beta2, step)
        size = learning_rate / (1 - beta1**step) * (root * factor + (1 - rectified))
        return moves | {"size": size, "plain": 1.0 - rectified}
    if optimizer == "nadam":
        now = _nadam_mu(beta1, step)
        following = _nadam_mu(beta1, step + 1)
        product = _nadam_product(beta1, step)
        ahead = learning_rate * (1 - now) / (1 - product) * root
        size = learning_rate * following / (1 - product * following) * root
        return moves | {"size": size, "ahead": ahead, "epsilon": EPSILON * root}
    size = learning_rate / (1 - beta1**step) * (1.0 if optimizer == "adamax" else root)
    return moves | {"size": size, "epsilon": EPSILON * root}


def _root(square: Any) -> Any:
    # A float stays a float, because arithmetic with those of numpy takes four times as long.
    return np.sqrt(square) if isinstance(square, np.ndarray) else math.sqrt(square)


def _rectification(beta2: float, step: Any) -> tuple[Any, Any]:
    """Return whether RAdam divides by the root of the second moment at this step, and by how much
    it corrects it then.
    """
    longest = 2 / (1 - beta2) - 1
    length = longest - 2 * step * beta2**step / (1 - beta2**step)
    rectified = length > 5
    if longest <= 5:
        return rectified, 0.0 * length
    ratio = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
    return rectified, _root(ratio * rectified)


_NADAM_DECAY = 0.96**0.004
_SERIES = [(k, 0.5**k / k * _NADAM_DECAY**k / (1 - _NADAM_DECAY**k)) for k in range(1, 54)]


def _nadam_mu(beta1: float, step: Any) -> Any:
    """Return NAdam's momentum μ at a step: β₁·(1 − ½·q^step) with q = 0.96^0.004."""
    return beta1 * (1 - 0.5 * _NADAM_DECAY**step)


def _nadam_product(beta1: float, step: Any) -> Any:
    """Return the product of μ over the steps from 1 to `step`.

    In closed form, because a lane then needs no running product: ln(1 − x) = −Σ xᵏ/k makes the
    logarithm a sum of geometric series. 53 terms reach the last bit of float64, because x is at
    most ½.
    """
    logarithm = -sum(factor * (1 - _NADAM_DECAY ** (k * step)) for k, factor in _SERIES)
    return beta1**step * math.e**logarithm


def corrected(step: Tensor, learning_rate: Tensor, adamax: Tensor) -> tuple[Tensor, Tensor]:
    """Return `size` and `epsilon` of Adam and Adamax with their usual numbers for step `step` (from
    1); all [R].
    """
    # expm1, because in float32 1 - 0.999 is inexact.
    correction1 = -torch.expm1(step * math.log(BETA1))
    correction2 = torch.sqrt(-torch.expm1(step * math.log(BETA2)))
    return learning_rate / correction1 * torch.where(
        adamax.bool(), 1.0, correction2
    ), EPSILON * correction2


# ---- steps ----


def move_all(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    moves: Mapping[str, Tensor],
    *,
    averages: Sequence[Tensor] = (),
    share: Tensor | None = None,
) -> None:
    """Take one step in place, parameter by parameter, by any of the rules without a branch on it,
    so that a compiler makes one pass over memory of it; with `limit` one more, over the gradients.

    Args:
        weights: parameters [...], or [R, ...] for R lanes; so are grads, first, second (moments)
            and averages.
        moves: numbers of `moves_of` by name, [] or [R]; a part whose numbers are missing takes no
            operation.
        share: if given, each of `averages` moves towards its weights by this share of the distance.
    """
    numbers = {
        name: number.bool() if name in ("adamax", "plain", "sign") else number
        for name, number in moves.items()
    }
    if "limit" in moves:
        grads = [grad.contiguous() for grad in grads]  # once, because they are read twice
        numbers["limit"] = clip_factor(grads, moves["limit"])
    for weight, strided, mean, square in zip(weights, grads, first, second, strict=True):
        n = {name: _beside(number, weight) for name, number in numbers.items()}
        grad = strided.contiguous()  # because gradients from vmap have transposed strides
        if "limit" in n:
            grad = grad * n["limit"]
        if "l2" in n:
            grad = grad + n["l2"] * weight
        sign = torch.sign(n["blend"] * mean + (1 - n["blend"]) * grad) if "sign" in n else None
        _move_moments(mean, square, grad, n)
        denominator = torch.where(n["adamax"], square, square.sqrt().add_(n["epsilon"]))
        if "plain" in n:
            denominator = torch.where(n["plain"], 1.0, denominator)
        numerator = n["size"] * mean
        if "ahead" in n:
            numerator = numerator + n["ahead"] * grad
        distance = numerator / denominator
        if sign is not None:
            distance = torch.where(n["sign"], n["size"] * sign, distance)
        if "shrink" in n:
            weight.mul_(n["shrink"])
        weight.sub_(distance)
    if share is not None:
        for average, weight in zip(averages, weights, strict=bool(averages)):
            average.add_(_beside(share, weight) * (weight - average))


def _move_moments(mean: Tensor, square: Tensor, grad: Tensor, n: Mapping[str, Tensor]) -> None:
    """Move both moments of a parameter; in Adamax the second is the largest gradient, which
    fades.
    """
    if "keep1" in n:
        mean.mul_(n["keep1"]).add_(n["add1"] * grad)
        kept = square.mul(n["keep2"])
        of_adam = kept + n["add2"] * grad.square()
    else:
        mean.lerp_(grad, 1 - BETA1)
        kept = square.mul(BETA2)
        of_adam = square.mul(BETA2).addcmul_(grad, grad, value=1 - BETA2)
    of_adamax = torch.maximum(kept, grad.abs().add_(EPSILON))
    square.copy_(torch.where(n["adamax"], of_adamax, of_adam))


def _beside(number: Tensor, weight: Tensor) -> Tensor:
    """Return [] unchanged, and [R] with further axes so that it broadcasts to a weight [R, ...]."""
    return number.reshape(*number.shape, *[1] * (weight.dim() - 1)) if number.dim() else number


def clip_factor(grads: Sequence[Tensor], limit: Tensor) -> Tensor:
    """Return the factor, at most 1, with which the norm of all gradients together is at most
    `limit`, as `torch.nn.utils.clip_grad_norm_` has it; [] or [R] as `limit`, which is infinity for
    a lane that is not clipped."""
    # Wide sums, because in float32 their order, and so the number of rows, would decide the last
    # bit.
    wide = wide_dtype(limit.device)
    sums = [grad.reshape(*limit.shape, -1).to(wide).square().sum(-1) for grad in grads]
    norm = torch.stack(sums).sum(0).sqrt()
    return (limit / (norm + 1e-6)).clamp(max=1).to(limit.dtype)


def update_one(
    weights: Sequence[Tensor],
    grads: Sequence[Tensor],
    first: Sequence[Tensor],
    second: Sequence[Tensor],
    *,
    rule: Rule,
    step: int,
    learning_rate: float,
) -> None:
    """Take one step of one lane in place; tensors are dense with equal strides; `grads` serve as
    scratch space.
    """
    if rule.clip_norm < math.inf:
        limit = torch.tensor(rule.clip_norm, device=weights[0].device, dtype=weights[0].dtype)
        torch._foreach_mul_(list(grads), clip_factor(grads, limit))
    if rule.weight_decay and rule.decoupled:
        torch._foreach_mul_(list(weights), 1 - learning_rate * rule.weight_decay)
    elif rule.weight_decay:
        torch._foreach_add_(list(grads), list(weights), alpha=rule.weight_decay)
    if rule.optimizer in ("adam", "adamw"):
        # torch's fused kernel makes one pass over memory; separate operations make twelve. It
        # ignores strides.
        steps = [torch.tensor(step - 1.0, device=weight.device) for weight in weights]
        adam(
            list(weights), list(grads), list(first), list(second), [], steps,
            fused=True, amsgrad=False, maximize=False,
            beta1=rule.beta1, beta2=rule.beta2, lr=learning_rate, weight_decay=0.0, eps=EPSILON,
        )  # fmt: skip
        return
    moves = moves_of(rule, step, learning_rate)
    for parameter in zip(weights, grads, first, second, strict=True):
        _update_parameter(*parameter, rule, moves)


def _update_parameter(
    weight: Tensor, grad: Tensor, mean: Tensor, square: Tensor, rule: Rule, moves: Mapping[str, Any]
) -> None:
    size = moves["size"]
    if rule.optimizer == "sgd":
        weight.sub_(mean.mul_(rule.momentum).add_(grad), alpha=size)
        return
    if rule.optimizer == "lion":
        sign = mean.lerp(grad, 1 - rule.beta1).sign_()
        mean.lerp_(grad, 1 - rule.beta2)
        weight.sub_(sign, alpha=size)
        return
    mean.lerp_(grad, 1 - rule.beta1)
    if rule.optimizer == "adamax":
        torch.maximum(square.mul_(rule.beta2), grad.abs_().add_(EPSILON), out=square)
        weight.addcdiv_(mean, square, value=-size)
        return
    square.mul_(rule.beta2).addcmul_(grad, grad, value=1 - rule.beta2)
    if moves["plain"]:
        weight.sub_(mean, alpha=size)
        return
    denominator = square.sqrt().add_(moves["epsilon"])
    weight.addcdiv_(mean, denominator, value=-size)
    if moves["ahead"]:
        weight.addcdiv_(grad, denominator, value=-moves["ahead"])
