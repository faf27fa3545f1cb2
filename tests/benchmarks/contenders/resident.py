"""The best plain loop that one writes by hand: images in memory as bytes, one gather per batch, fused Adam.

Variants: "" as it is; "compile": the model through torch.compile; "graph": a whole step as one CUDA graph. Convolutions
run channels_last; bf16 is autocast.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from contenders import BATCH, Stretch, Task, Train, timed
from contenders.digits import resident
from contenders.models import PlainVAE

__all__ = ["make_step", "open_train"]


def open_train(task: Task) -> Train:
    images = resident(task.device)
    model = PlainVAE(task.model).to(task.device)
    if task.model == "conv":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True, capturable=task.variant == "graph")
    loss_of = torch.compile(model) if task.variant == "compile" else model
    step = make_step(loss_of, optimizer, images, task.precision)
    if task.variant == "graph":
        step = _captured(step, task.device)

    def epoch(count: int) -> None:
        for index in torch.randperm(count, device=task.device).split(BATCH):
            step(index)

    def train(count: int) -> Stretch:
        return timed(task.device, lambda: epoch(count))

    return train


def make_step(
    loss_of: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, precision: str
) -> Callable[[Tensor], Tensor]:
    """A training step on the images at an index [B]; its loss. `images`: uint8 of zeros and ones, resident."""
    arithmetic = torch.autocast(images.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()

    def step(index: Tensor) -> Tensor:
        x = images[index].float()
        with arithmetic:
            loss = loss_of(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _captured(step: Callable[[Tensor], Tensor], device: str) -> Callable[[Tensor], None]:
    """The step as one CUDA graph, which reads its index from a tensor that stays."""
    index = torch.zeros(BATCH, dtype=torch.int64, device=device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # as the documentation of CUDA graphs wants: some steps beside the capture first
        for _ in range(3):
            step(index)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step(index)

    def replay(chosen: Tensor) -> None:
        index.copy_(chosen)
        graph.replay()

    return replay
