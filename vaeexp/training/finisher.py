"""What is made of lanes besides training them, as the lanes see it; `vaeexp.finish` does it."""

from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sweeps.lanes import Outcome
from vaeexp.training.group import Group
from vaeexp.training.lane import Lane, State

__all__ = ["Finisher", "copied"]


class Finisher(Protocol):
    """What is made of a lane's weights, outside training. Pictures and files are made beside it, from copies on the CPU."""

    def pictures(self, lane: Lane, weights: Tensor, buffers: Tensor, folder: Path) -> Future[dict[str, str]]:
        """Draw grids after this epoch: name → path."""

    def test(self, lane: Lane, state: State) -> dict[str, float]:
        """Figures of the lane's best weights on the test set."""

    def finish(self, lane: Lane, weights: Tensor, buffers: Tensor, outcome: Outcome, folder: Path) -> Future[None]:
        """Write what is kept of an ended trial, with its best weights, into its folder."""


def copied(group: Group, number: int, *names: str) -> list[Tensor]:
    """These tensors of a lane as they are now, on the CPU."""
    state = group.state(number, *names)
    return [_on_cpu(state[name].detach()) for name in names]


def _on_cpu(tensor: Tensor) -> Tensor:
    # All lanes wait for this copy, and a GPU writes into pinned memory several times as fast.
    return torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda").copy_(tensor)
