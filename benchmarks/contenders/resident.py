"""The best plain loop that one writes by hand: images in memory as bytes, one gather per batch,
fused Adam.

Variants: "" as it is; "compile": the model through torch.compile; "graph": a whole step as one CUDA
graph, in which several trials are parallel branches. Convolutions run channels_last; bf16 is
autocast.
"""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn

from contenders import BATCH, Stretch, Task, Train, timed
from contenders.digits import resident
from contenders.models import PlainVAE

__all__ = ["make_step", "open_train"]

_STREAMS = 16


def open_train(task: Task) -> Train:
    images = resident(task.device)
    steps = [_trial(task, images) for _ in range(task.width)]
    step = _captured(steps, task.device) if task.variant == "graph" else partial(_in_turn, steps)

    def epoch(count: int) -> None:
        orders = torch.stack([torch.randperm(count, device=task.device) for _ in steps])
        for chosen in orders.split(BATCH, dim=1):
            step(chosen)

    def train(count: int) -> Stretch:
        return timed(task.device, lambda: epoch(count))

    return train


def _trial(task: Task, images: Tensor) -> Callable[[Tensor], Tensor]:
    """A fresh trial's training step."""
    model = PlainVAE(task.model).to(task.device)
    if task.model == "conv":
        model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=1e-3, fused=True, capturable=task.variant == "graph"
    )
    loss_of = torch.compile(model) if task.variant == "compile" else model
    return make_step(loss_of, optimizer, images, task.precision)


def make_step(
    loss_of: nn.Module, optimizer: torch.optim.Optimizer, images: Tensor, precision: str
) -> Callable[[Tensor], Tensor]:
    """A training step on the images at an index [B]; its loss. `images`: uint8 of zeros and ones,
    resident.
    """
    arithmetic = (
        torch.autocast(images.device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
    )

    def step(index: Tensor) -> Tensor:
        x = images[index].float()
        with arithmetic:
            loss = loss_of(x)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def _in_turn(steps: Sequence[Callable[[Tensor], Tensor]], chosen: Tensor) -> None:
    """A step of each trial, on the images at its row of `chosen` [trials, B]."""
    for step, index in zip(steps, chosen, strict=True):
        step(index)


def _captured(steps: Sequence[Callable[[Tensor], Tensor]], device: str) -> Callable[[Tensor], None]:
    """The steps as one CUDA graph, each trial a branch on one of a few streams; it reads its
    indices from a tensor that stays.
    """
    chosen = torch.zeros(len(steps), BATCH, dtype=torch.int64, device=device)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    # As the documentation of CUDA graphs wants: some steps beside the capture first.
    with torch.cuda.stream(side):
        for _ in range(3):
            _in_turn(steps, chosen)
    torch.cuda.current_stream().wait_stream(side)
    branches = [torch.cuda.Stream() for _ in range(min(len(steps), _STREAMS))]
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        trunk = torch.cuda.current_stream()
        for branch in branches:
            branch.wait_stream(trunk)
        for number, (step, index) in enumerate(zip(steps, chosen, strict=True)):
            with torch.cuda.stream(branches[number % len(branches)]):
                step(index)
        for branch in branches:
            trunk.wait_stream(branch)

    def replay(new: Tensor) -> None:
        chosen.copy_(new)
        graph.replay()

    return replay
