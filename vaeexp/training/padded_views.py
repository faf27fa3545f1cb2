"""Keeps all parameters of a model in one flat vector, so that a copy is one kernel, and views them as tensors."""

from collections.abc import Mapping

import torch
from torch import Tensor

# float32 numbers in 64 bytes. Each tensor starts at a multiple, because vector instructions are faster there.
_ALIGN = 16


class Layout:
    """Names, shapes and offsets of the tensors that share a flat float32 vector of length `size`."""

    def __init__(self, shapes: Mapping[str, torch.Size], dtypes: Mapping[str, torch.dtype] | None = None) -> None:
        """`dtypes`: the types of the model's tensors that are not float32. An integer keeps its value up to 2^24."""
        self.dtypes = {name: (dtypes or {}).get(name, torch.float32) for name in shapes}
        self.shapes = {name: torch.Size(shape) for name, shape in shapes.items()}
        self.offsets: dict[str, int] = {}
        end = 0
        for name, shape in self.shapes.items():
            self.offsets[name] = end
            end += -(-max(shape.numel(), 1) // _ALIGN) * _ALIGN
        self.size = end

    @property
    def count(self) -> int:
        """How many numbers the tensors hold, without the gaps."""
        return sum(shape.numel() for shape in self.shapes.values())

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Layout":
        return cls(
            {name: tensor.shape for name, tensor in tensors.items()},
            {name: tensor.dtype for name, tensor in tensors.items()},
        )

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return name → view [..., *shape] of `flat` [..., size], sharing memory."""
        return {
            name: flat[..., start : start + shape.numel()].view((*flat.shape[:-1], *shape))
            for (name, shape), start in zip(self.shapes.items(), self.offsets.values(), strict=True)
        }

    def read(self, flat: Tensor) -> dict[str, Tensor]:
        """Return name → contiguous copy [..., *shape] in the tensor's own type; change it in place and `write` it back.

        A copy, because in views with gaps between rows BatchNorm under vmap loses its running statistics, or autograd
        refuses the change in place.
        """
        return {
            name: view.to(self.dtypes[name], memory_format=torch.contiguous_format, copy=True)
            for name, view in self.views(flat).items()
        }

    def write(self, flat: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors [..., *shape], as `read` returns them, into `flat` [..., size]."""
        for name, view in self.views(flat).items():
            view.copy_(tensors[name])

    def load(self, flat: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """Copy `flat` [..., size] into existing tensors [..., *shape]."""
        for name, view in self.views(flat).items():
            tensors[name].copy_(view)

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the flat vector [size] of these tensors; the gaps are 0."""
        flat = torch.zeros(self.size)
        self.write(flat, tensors)
        return flat

    def padded_views(self, flat: Tensor, small: "Layout") -> dict[str, Tensor]:
        """Return name → view [..., *shape] of a smaller model's tensor in `flat` [..., size], sharing memory.

        A tensor of the small model is the leading slice of the tensor of the same name here.
        """
        views = self.views(flat)
        return {name: leading_slice(views[name], shape) for name, shape in small.shapes.items()}


def leading_slice(big: Tensor, shape: torch.Size) -> Tensor:
    """Return the leading slice [..., *shape] of `big` [..., *bigger shape]."""
    for axis, length in enumerate(reversed(shape), start=1):
        big = big.narrow(-axis, 0, length)
    return big
