"""Estimates the running statistics of BatchNorm anew before an evaluation, where an epoch has few
steps.

A running mean with momentum 0.1 remembers about twenty batches. In an epoch of fewer steps the
weights move on before it follows, so that the same weights evaluate far worse than they train. Such
a lane is evaluated with the averages over a pass through all training batches instead. In training,
BatchNorm normalises by the batch alone, so training stays the same.

Shapes: R rows, B batch, C channels, H × W pixels, L latent dimensions.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from sweeps import heartbeat
from vaeexp.training import Lane

FEW_STEPS = 20
"""An epoch of fewer steps is too short for running statistics to follow."""
_STATISTICS = ("running_mean", "running_var")


def needs_estimates(module: nn.Module, lane: Lane) -> bool:
    """Return whether the running statistics of a lane's model are estimated anew before each
    evaluation.
    """
    return lane.steps_per_epoch < FEW_STEPS and bool(_layers(module))


def estimated_buffers(
    module: nn.Module,
    terms_of: Callable[..., object],
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    batches: Iterable[tuple[Tensor, Tensor]],
) -> dict[str, Tensor]:
    """Return copies of the buffers with statistics of these parameters: averages of those of the
    batches, each with the same weight.

    Args:
        module: the model that `terms_of` calls, left in training mode.
        terms_of: `lane_terms` of `module`, or vmap of it.
        parameters: those of one lane, or of R rows.
        buffers: the same; what is no running statistic stays as it is.
        batches: targets [B, C, H, W] and noise [B, L] of each, or with an axis of R rows.
    """
    layers = _layers(module)
    updated = {name: buffer.clone() for name, buffer in buffers.items()}
    momenta = {name: layer.momentum for name, layer in layers.items()}
    names = [f"{name}.{part}" for name, part in product(layers, _STATISTICS)]
    for name in names:  # a share of 0 of what is not finite is not finite
        updated[name].zero_()
    module.train()
    try:
        with torch.no_grad():
            for count, (x, e) in enumerate(batches, 1):
                for layer in layers.values():
                    layer.momentum = 1 / count
                terms_of(parameters, updated, x, e)
                heartbeat()
    finally:
        for name, layer in layers.items():
            layer.momentum = momenta[name]
    return {name: updated[name] if name in names else buffer for name, buffer in buffers.items()}


def _layers(module: nn.Module) -> dict[str, _NormBase]:
    """Return the layers that keep running statistics, by name."""
    return {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _NormBase) and layer.running_mean is not None
    }
