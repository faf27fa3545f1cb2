"""Builds the loss and the training step as functions of tensors, of one lane or R stacked lanes,
for a compiler to take whole.

Shapes: B batch, C channels, H × W pixels, L latent dimensions; `...` is nothing or R rows.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from operator import add
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vaeexp.models.networks.stateless import stateless
from vaeexp.models.vae import VAE
from vaeexp.training.batches import Source, validation_noise
from vaeexp.training.device import training_precision, wide_dtype
from vaeexp.training.losses import Objective, make_step
from vaeexp.training.optimizers import move_all

__all__ = [
    "Numbers",
    "StepState",
    "TrainingLoss",
    "lane_loss",
    "lane_terms",
    "same_step",
    "step_of",
    "validation_totals",
]

VALIDATION_BATCH = 500
# Relative to norms; larger for bf16, because a compiler rounds less often.
_TOLERANCE = {"float32": 1e-3, "bf16": 5e-2}
Tensors = Mapping[str, Tensor]
"""Parameters or buffers by name."""


class Loss(NamedTuple):
    """The loss of one batch and its parts, means over images in nats, and sums over images of μ and
    μ² [L].
    """

    loss: Tensor
    distortion: Tensor
    rate: Tensor
    mean_sum: Tensor
    mean_square_sum: Tensor


class TrainingLoss(nn.Module):
    """An objective of a model, as a module: (x [B, C, H, W], noise e [B, L] or [B, S, L], β, free
    nats, progress) → `Loss`.
    """

    def __init__(self, model: VAE, objective: Objective) -> None:
        super().__init__()
        self.model = model
        self.objective = objective

    def forward(
        self, x: Tensor, e: Tensor, beta: Tensor, free_nats: Tensor, progress: Tensor
    ) -> Loss:
        step = make_step(self.model, self.objective, x, e, beta, free_nats, progress)
        distortion, rate, mean = (
            part.detach() for part in (step.distortion, step.rate, step.posterior.mean)
        )
        loss = self.objective.function(step)
        return Loss(loss, distortion.mean(), rate.mean(), mean.sum(0), mean.square().sum(0))


def lane_loss(model: VAE, objective: Objective) -> Callable[..., Loss]:
    """Return the training loss as a function of parameters and buffers by name, and of what
    `TrainingLoss` takes.
    """

    call = stateless(TrainingLoss(model, objective))

    def loss(parameters: Tensors, buffers: Tensors, *inputs: Tensor) -> Loss:
        tensors = {f"model.{name}": tensor for name, tensor in {**parameters, **buffers}.items()}
        return call(tensors, inputs)

    return loss


def lane_terms(module: nn.Module) -> Callable[..., tuple[Tensor, ...]]:
    """Return the function that sums distortion [], rate [], μ [L] and μ² [L] over a batch, in
    float64 if possible.
    """

    call = stateless(module)

    def terms(parameters: Tensors, buffers: Tensors, x: Tensor, e: Tensor) -> tuple[Tensor, ...]:
        distortion, rate, mean = call({**parameters, **buffers}, (x, e))
        wide = wide_dtype(x.device)
        mean = mean.to(wide)
        return distortion.to(wide).sum(), rate.to(wide).sum(), mean.sum(0), mean.square().sum(0)

    return terms


def validation_totals(
    terms_of: Callable[..., tuple[Tensor, ...]],
    parameters: Tensors,
    buffers: Tensors,
    source: Source,
    latent_size: int,
) -> list[Tensor]:
    """Return the sums of `lane_terms` (or vmap of it, with an axis of rows) over the validation
    images, on the CPU; their mean over the draws of noise, one after the other.
    """
    images = source.validation.split(VALIDATION_BATCH)
    terms = []
    for draw in range(source.validation_draws):
        noise = validation_noise(source, latent_size, draw).split(VALIDATION_BATCH)
        terms += [terms_of(parameters, buffers, x, e) for x, e in zip(images, noise, strict=True)]
    draws = source.validation_draws
    return [(reduce(add, parts) / draws).cpu() for parts in zip(*terms, strict=True)]


class Numbers(NamedTuple):
    """The numbers that differ between lanes and between steps: each [] for one lane or [R] for
    rows.
    """

    beta: Tensor
    free_nats: Tensor
    progress: Tensor
    """Share of the training steps that are done."""
    share: Tensor
    """Share of the new weights in their running average."""
    moves: Mapping[str, Tensor]
    """Numbers of the update, as `move_all` takes them."""


StepState = Mapping[str, list[Tensor]]
"""The tensors that a step trains in place: weights, first and second (moments) and, if kept,
average, all by parameter; buffers; totals, the sums of (loss, distortion, rate) [..., 3] and of μ
and μ² [..., 2, L]."""


def step_of(
    loss_of: Callable[..., Loss],
    names: Sequence[str],
    buffer_names: Sequence[str],
    device: torch.device,
    precision: str,
    *,
    update: Callable[..., None] = move_all,
) -> Callable[[StepState, Numbers, Tensor, Tensor], None]:
    """Return the step of (state, numbers, noise [..., B, L] or [..., B, S, L], targets [..., B, C,
    H, W]) that minimises `loss_of`.

    `loss_of` is `lane_loss` or vmap of it. `names` and `buffer_names` are in the order of the
    state's lists.
    """

    def step(state: StepState, numbers: Numbers, noise: Tensor, x: Tensor) -> None:
        leaves = [weight.detach().requires_grad_() for weight in state["weights"]]
        parameters = dict(zip(names, leaves, strict=True))
        buffers = dict(zip(buffer_names, state["buffers"], strict=True))
        with training_precision(device, precision):
            loss = loss_of(
                parameters, buffers, x, noise, numbers.beta, numbers.free_nats, numbers.progress
            )
        grads = torch.autograd.grad(loss.loss.sum(), leaves)
        with torch.no_grad():
            update(
                state["weights"], grads, state["first"], state["second"], numbers.moves,
                averages=state.get("average", ()), share=numbers.share,
            )  # fmt: skip
            sums, moments = state["totals"]
            sums.add_(torch.stack([loss.loss, loss.distortion, loss.rate], dim=-1))
            moments.add_(torch.stack([loss.mean_sum, loss.mean_square_sum], dim=-2))

    return step


def same_step(
    runs: Sequence[Callable[[], object]],
    state: StepState,
    moved: list[Tensor],
    before: list[Tensor],
    precision: str,
) -> bool:
    """Return whether two ways to take a step agree on the sums of losses and the first moments in
    `state`.

    Each way starts with the values `before` in the tensors `moved`. Weights are not compared,
    because rounding decides the direction of Adam where a gradient is almost 0.
    """
    results = []
    for run in runs:
        torch._foreach_copy_(moved, before)
        run()
        results.append(
            [[state["totals"][0].clone()], [moment.clone() for moment in state["first"]]]
        )
    return agree(results[1], results[0], precision)


def agree(
    results: Sequence[Sequence[Tensor]], references: Sequence[Sequence[Tensor]], precision: str
) -> bool:
    """Return whether two ways to compute a step agree up to rounding; numbers that are not finite
    must match in place.

    The tensors of one inner list are compared as one vector, because some gradients are rounding
    errors alone, such as the gradient of a bias before a normalisation.
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
