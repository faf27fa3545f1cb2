"""All parameters of a model in one flat vector: a lane is a row, an update is a few kernels, a copy is one."""

from collections.abc import Mapping

import torch
from torch import Tensor

# Parameters start at multiples of 64 bytes, where vector instructions like them.
_ALIGN = 16


class Layout:
    """Names, shapes and offsets of the tensors that share a flat float32 vector of length `size`."""

    def __init__(self, shapes: Mapping[str, torch.Size], dtypes: Mapping[str, torch.dtype] | None = None) -> None:
        """`dtypes`: of the tensors in their model, where that is not float32; a count keeps its value up to 2^24."""
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
        """Numbers in the tensors, without the gaps."""
        return sum(shape.numel() for shape in self.shapes.values())

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor]) -> "Layout":
        return cls(
            {name: tensor.shape for name, tensor in tensors.items()},
            {name: tensor.dtype for name, tensor in tensors.items()},
        )

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Name → view of `flat` [..., size] as [..., *shape]; they share memory."""
        return {
            name: flat[..., start : start + shape.numel()].view((*flat.shape[:-1], *shape))
            for (name, shape), start in zip(self.shapes.items(), self.offsets.values(), strict=True)
        }

    def read(self, flat: Tensor) -> dict[str, Tensor]:
        """Name → contiguous copy [..., *shape] in the tensor's own type, to be changed in place and written back.

        In views whose rows lie apart BatchNorm under vmap loses its running statistics, or autograd refuses the change.
        """
        return {
            name: view.to(self.dtypes[name], memory_format=torch.contiguous_format, copy=True)
            for name, view in self.views(flat).items()
        }

    def write(self, flat: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `read` gave."""
        for name, view in self.views(flat).items():
            view.copy_(tensors[name])

    def load(self, flat: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """What `read` gives, into tensors that are there already."""
        for name, view in self.views(flat).items():
            tensors[name].copy_(view)

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """The flat vector [size] of these tensors; gaps between them are 0."""
        flat = torch.zeros(self.size)
        self.write(flat, tensors)
        return flat

    def padded_views(self, flat: Tensor, small: "Layout") -> dict[str, Tensor]:
        """Name → where a smaller model's tensor lives in `flat` [..., size]: [..., *shape], sharing memory.

        Each tensor of the small model is the leading slice of the tensor of the same name here.
        """
        views = self.views(flat)
        return {name: leading_slice(views[name], shape) for name, shape in small.shapes.items()}


def leading_slice(big: Tensor, shape: torch.Size) -> Tensor:
    """The leading slice [..., *shape] of `big` [..., *bigger shape]."""
    for axis, length in enumerate(reversed(shape), start=1):
        big = big.narrow(-axis, 0, length)
    return big
