"""What is made of lanes besides training them, as the lanes see it; `vaeexp.finish` does it."""

from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

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
    return [state[name].detach().to("cpu", copy=True) for name in names]
