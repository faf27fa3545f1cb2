"""What is made of lanes besides training them, as the lanes see it; `vaeexp.finish` does it."""

from collections import defaultdict
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from sweeps.lanes import Outcome
from vaeexp.training.group import Group
from vaeexp.training.lane import Lane, State

__all__ = ["Finisher", "Pictures", "copied"]


class Finisher(Protocol):
    """What is made of a lane's weights, outside training. Pictures and files are made beside it, from copies on the CPU."""

    def pictures(self, lane: Lane, weights: Tensor, buffers: Tensor, folder: Path) -> Future[dict[str, str]]:
        """Draw grids after this epoch: name → path."""

    def test(self, lane: Lane, state: State) -> dict[str, float]:
        """Figures of the lane's best weights on the test set."""

    def finish(self, lane: Lane, weights: Tensor, buffers: Tensor, outcome: Outcome, folder: Path) -> Future[None]:
        """Write what is kept of an ended trial, with its best weights, into its folder."""


class Pictures:
    """The pictures of lanes while they train: a process draws those of an epoch once, beside the training.

    Also where the epoch is reached again, after a kill, for the process that trained it may not have come to them.
    """

    def __init__(self, finisher: Finisher, weights: str) -> None:
        """`weights`: whose pictures, "weights" or "average"."""
        self._finisher, self._weights = finisher, weights
        self._drawing: dict[int, list[tuple[int, Future[dict[str, str]]]]] = defaultdict(list)
        """By trial, the epochs that nobody has taken yet."""
        self._newest: dict[int, int] = defaultdict(int)
        """By trial, the last epoch of which there are any."""

    def draw(self, group: Group, lane: Lane, folder: Path) -> None:
        """Those of the lane as it is, in an epoch that is looked at more closely, and at its end."""
        number = lane.trial.number
        if lane.epoch > self._newest[number] and (lane.shown_after(lane.epoch) or lane.finished):
            weights, buffers = copied(group, number, self._weights, "buffers")
            self._drawing[number].append((lane.epoch, self._finisher.pictures(lane, weights, buffers, folder)))
            self._newest[number] = lane.epoch

    def take(self, number: int, *, last: bool = False) -> dict[int, dict[str, str]]:
        """Epoch → name → path of what was not taken yet, once it is there. `last`: another trial may get this number."""
        if last:
            self._newest.pop(number, None)
        return {epoch: drawing.result() for epoch, drawing in self._drawing.pop(number, ())}


def copied(group: Group, number: int, *names: str) -> list[Tensor]:
    """These tensors of a lane as they are now, on the CPU."""
    state = group.state(number, *names)
    return [_on_cpu(state[name].detach()) for name in names]


def _on_cpu(tensor: Tensor) -> Tensor:
    # All lanes wait for this copy, and a GPU writes into pinned memory several times as fast.
    return torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda").copy_(tensor)
