"""Gives a module tensors by name: for one call, or for good. Names are those of `named_parameters`
and `named_buffers`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call


def stateless(module: nn.Module) -> Callable[[Mapping[str, Tensor], tuple[Any, ...]], Any]:
    """Return the module as a function of tensors and inputs. What it has under two names gets the
    tensor of the first.

    Not `tie_weights` of `functional_call`: it leaves a layer that is registered twice with the
    tensors of the call.
    """
    seconds = _second_names(module)

    def call(tensors: Mapping[str, Tensor], inputs: tuple[Any, ...]) -> Any:
        given = {
            **tensors,
            **{name: tensors[first] for name, first in seconds.items() if first in tensors},
        }
        return functional_call(module, given, inputs, tie_weights=False)

    return call


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Return all parameters and buffers of a module, also buffers that no state dict holds."""
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


def set_tensors(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Copy these tensors into those of the module (`tensors_of`)."""
    with torch.no_grad():
        for name, tensor in tensors_of(module).items():
            tensor.copy_(tensors[name])


def _second_names(module: nn.Module) -> dict[str, str]:
    """Return other name → first name of each tensor that two layers share. A layer that is
    registered twice is one layer.
    """
    firsts: dict[Tensor, str] = {}
    seconds: dict[str, str] = {}
    for prefix, layer in module.named_modules():
        for leaf, tensor in (*layer._parameters.items(), *layer._buffers.items()):
            name = f"{prefix}.{leaf}".removeprefix(".")
            if tensor is not None and firsts.setdefault(tensor, name) != name:
                seconds[name] = firsts[tensor]
    return seconds
