"""All parameters of a model in one flat vector: a lane is a row, an update is a few kernels, a copy is one."""

from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["Layout"]

# Parameters start at multiples of 64 bytes, where vector instructions like them.
_ALIGN = 16


class Layout:
    """Names, shapes and offsets of the tensors that share a flat vector of length `size`."""

    def __init__(self, shapes: Mapping[str, torch.Size]) -> None:
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self.offsets: dict[str, int] = {}
        end = 0
        for name, shape in self.shapes.items():
            self.offsets[name] = end
            end += -(-max(shape.numel(), 1) // _ALIGN) * _ALIGN
        self.size = end

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Layout":
        return cls({name: tensor.shape for name, tensor in tensors.items()})

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Name → view of `flat` [..., size] as [..., *shape]; they share memory."""
        return {
            name: flat[..., start : start + shape.numel()].view((*flat.shape[:-1], *shape))
            for (name, shape), start in zip(self.shapes.items(), self.offsets.values(), strict=True)
        }

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The flat vector [size] of these tensors; gaps between them are 0."""
        flat = torch.zeros(self.size)
        for name, view in self.views(flat).items():
            view.copy_(tensors[name])
        return flat

    def positions(self, small: "Layout") -> tuple[Tensor, Tensor]:
        """Where a smaller model lives in this one: (indices here, indices there) of every entry they share.

        Each tensor of the small model is the leading slice of the tensor of the same name here.
        """
        here, there = self.views(torch.arange(self.size)), small.views(torch.arange(small.size))
        return (
            torch.cat([here[name][tuple(slice(n) for n in shape)].reshape(-1) for name, shape in small.shapes.items()]),
            torch.cat([there[name].reshape(-1) for name in small.shapes]),
        )
