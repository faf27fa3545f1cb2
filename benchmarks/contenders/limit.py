"""What the machine allows: the matrix products of a training step alone, and the bytes of a step at
its copy bandwidth.

Variants:
- "products": each layer as `torch.mm` (`torch.bmm` over `width` trials): forward, gradient of the
  weights, gradient of the input (not of the first layer), into memory that is there already.
  Convolutions as the products of their unfolded shapes.
- "convolutions": the same with the library's own convolutions, forward and backward, one trial at a
  time.
- "bytes": copies of as many bytes as a step has to move at the least, within memory as large as the
  state of the trials.

No noise, loss, activation, normalisation, optimizer or data. All numbers are of one step of 128
images, times the steps.
"""

from collections.abc import Callable
from itertools import count as counter
from math import ceil, prod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from contenders import BATCH, Stretch, Task, Train, timed
from contenders.models import PlainVAE

__all__ = ["Layer", "layers_of", "open_train", "step_bytes"]


class Layer(NamedTuple):
    """A layer of products with the shapes of its input and output in a batch of 128."""

    module: nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def product(self) -> tuple[int, int, int]:
        """(rows, k, n) of the forward product [rows, k] × [k, n]."""
        if isinstance(self.module, nn.Linear):
            return self.inputs[0], self.inputs[1], self.outputs[1]
        taps = prod(self.module.kernel_size)
        if isinstance(self.module, nn.Conv2d):
            return BATCH * prod(self.outputs[2:]), self.inputs[1] * taps, self.outputs[1]
        return BATCH * prod(self.inputs[2:]), self.inputs[1], self.outputs[1] * taps


def layers_of(kind: str) -> list[Layer]:
    """The layers of the model, in the order of the forward pass."""
    model, found = PlainVAE(kind), []
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(
                lambda module, inputs, output: found.append(
                    Layer(module, tuple(inputs[0].shape), tuple(output.shape))
                )
            )
    model(torch.zeros(BATCH, 1, 28, 28))
    return found


def step_bytes(kind: str, precision: str) -> int:
    """Bytes that a step of one trial moves at the least.

    Per parameter: read by the two products and written as gradient (in the precision of the
    products), then the update of Adam reads weight, gradient and two moments and writes three of
    them (float32). Per output of a layer: written, read by the next layer and again in the backward
    pass, and the same for its gradient.
    """
    item = 2 if precision == "bf16" else 4
    parameters = sum(p.numel() for p in PlainVAE(kind).parameters())
    outputs = sum(prod(layer.outputs) for layer in layers_of(kind))
    return parameters * (3 * item + 7 * 4) + outputs * 6 * item


def open_train(task: Task) -> Train:
    step = {"products": _products, "convolutions": _convolutions, "bytes": _copies}[task.variant](
        task
    )

    def steps(count: int) -> None:
        for _ in range(count // BATCH):
            step()

    def train(images: int) -> Stretch:
        with torch.no_grad():
            return timed(task.device, lambda: steps(images))

    return train


def _products(task: Task) -> Callable[[], None]:
    calls: list[tuple[Tensor, Tensor, Tensor]] = []
    product = torch.mm if task.width == 1 else torch.bmm
    for number, layer in enumerate(layers_of(task.model)):
        rows, k, n = layer.product()
        x, weight, gradient = (_draw(task, *shape) for shape in ((rows, k), (n, k), (rows, n)))
        calls.append((x, weight.mT, torch.empty_like(gradient)))
        calls.append((gradient.mT, x, torch.empty_like(weight)))
        if number:
            calls.append((gradient, weight, torch.empty_like(x)))

    def step() -> None:
        for left, right, out in calls:
            product(left, right, out=out)

    return step


def _convolutions(task: Task) -> Callable[[], None]:
    calls: list[Callable[[], object]] = []
    dtype = torch.bfloat16 if task.precision == "bf16" else torch.float32
    for number, layer in enumerate(layers_of(task.model)):
        module = layer.module.to(task.device, dtype)
        x = torch.randn(layer.inputs, device=task.device, dtype=dtype)
        gradient = torch.randn(layer.outputs, device=task.device, dtype=dtype)
        if isinstance(module, nn.Linear):
            calls += [
                lambda x=x, w=module.weight: x @ w.t(),
                lambda x=x, g=gradient: g.t() @ x,
                lambda g=gradient, w=module.weight: g @ w,
            ]
            continue
        module, x, gradient = (
            part.to(memory_format=torch.channels_last) for part in (module, x, gradient)
        )
        transposed = isinstance(module, nn.ConvTranspose2d)
        shape = (
            module.stride,
            module.padding,
            module.dilation,
            transposed,
            module.output_padding,
            module.groups,
        )
        wanted = (number > 0, True, False)
        calls += [
            lambda x=x, w=module.weight, s=shape: torch.ops.aten.convolution(x, w, None, *s),
            lambda x=x, g=gradient, w=module.weight, s=shape, m=wanted: (
                torch.ops.aten.convolution_backward(g, x, w, None, *s, m)
            ),
        ]

    def step() -> None:
        for call in calls:
            call()

    return step


def _copies(task: Task) -> Callable[[], None]:
    # Weights, gradients and two moments: the half of them is copied over the other half.
    half = 2 * task.width * sum(p.numel() for p in PlainVAE(task.model).parameters())
    there, here = torch.randn(half, device=task.device), torch.zeros(half, device=task.device)
    moved_by_copy = 2 * half * there.element_size()
    wanted = task.width * step_bytes(task.model, task.precision)
    steps, done = counter(1), 0

    def step() -> None:
        """As many copies as bring the bytes moved to those of the steps so far."""
        nonlocal done
        due = ceil(next(steps) * wanted / moved_by_copy)
        for _ in range(due - done):
            here.copy_(there)
        done = due

    return step


def _draw(task: Task, rows: int, columns: int) -> Tensor:
    shape = (rows, columns) if task.width == 1 else (task.width, rows, columns)
    dtype = torch.bfloat16 if task.precision == "bf16" else torch.float32
    return torch.randn(shape, device=task.device, dtype=dtype)
