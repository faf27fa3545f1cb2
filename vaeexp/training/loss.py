"""Computes the loss of one lane: the same function for one plain module and, under vmap, for all lanes of a group."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vaeexp.training.device import wide_dtype

if TYPE_CHECKING:
    from vaeexp.models.vae import Terms


class Loss(NamedTuple):
    """The loss of one batch and its parts, means over images in nats, and sums over images of μ and μ² [L]."""

    loss: Tensor
    distortion: Tensor
    rate: Tensor
    mean_sum: Tensor
    mean_square_sum: Tensor


def lane_loss(module: nn.Module) -> Callable[..., Loss]:
    """Return `module_loss` as a function of parameters, buffers, targets, noise, β and free nats."""

    def loss(
        parameters: Mapping[str, Tensor],
        buffers: Mapping[str, Tensor],
        targets: Tensor,
        noise: Tensor,
        beta: Tensor,
        free_nats: Tensor,
    ) -> Loss:
        terms = functional_call(module, (dict(parameters), dict(buffers)), (targets, noise))
        return _loss(terms, beta, free_nats)

    return loss


def module_loss(module: nn.Module, targets: Tensor, noise: Tensor, beta: Tensor, free_nats: Tensor) -> Loss:
    """Return the training loss, distortion + β·rate (Higgins et al. 2017), of targets [B, C, H, W] with noise [B, L]."""
    return _loss(module(targets, noise), beta, free_nats)


def _loss(terms: "Terms", beta: Tensor, free_nats: Tensor) -> Loss:
    distortion, rate = terms.distortion.mean(), terms.rate.mean()
    # Below free_nats the rate gets no gradient (Kingma et al. 2016, with all dimensions as one group).
    pushed = torch.where(free_nats > 0, torch.maximum(rate, free_nats), rate)
    mean = terms.mean.detach()
    return Loss(distortion + beta * pushed, distortion.detach(), rate.detach(), mean.sum(0), mean.square().sum(0))


def lane_terms(module: nn.Module) -> Callable[..., tuple[Tensor, ...]]:
    """Return the function that sums distortion [], rate [], μ [L] and μ² [L] over a batch, in float64 if possible."""

    def terms(
        parameters: Mapping[str, Tensor], buffers: Mapping[str, Tensor], targets: Tensor, noise: Tensor
    ) -> tuple[Tensor, ...]:
        distortion, rate, mean = functional_call(module, (dict(parameters), dict(buffers)), (targets, noise))
        wide = wide_dtype(targets.device)
        mean = mean.to(wide)
        return distortion.to(wide).sum(), rate.to(wide).sum(), mean.sum(0), mean.square().sum(0)

    return terms
