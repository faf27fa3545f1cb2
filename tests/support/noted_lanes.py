"""Lanes of real training on a Ray cluster that note at which epoch each trial comes to a machine.

The notes lie in the file that the variable VAEEXP_NOTES names.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from sweeps.lanes import TrialSpec
from vaeexp.runs.worker import open_remote_lanes
from vaeexp.training.groups.lanes import TrainingLanes


class Return(NamedTuple):
    """A trial that the driver has seen train comes to a machine."""

    number: int
    epoch: int
    """That its checkpoint holds; 0 without one."""
    machine: str
    """Ray's name of it."""


def open_noted_lanes(**recipe: Any) -> TrainingLanes:
    """Open the lanes of a worker as `open_remote_lanes`, and note what comes to them."""
    import ray

    lanes, machine = open_remote_lanes(**recipe), ray.get_runtime_context().get_node_id()
    add = lanes.add

    def noted(trial: TrialSpec) -> None:
        add(trial)
        [epoch] = [
            group.lanes[trial.number].epoch
            for group in lanes.groups.all()
            if trial.number in group.lanes
        ]
        if trial.epoch:
            with Path(os.environ["VAEEXP_NOTES"]).open("a", encoding="utf-8") as file:
                file.write(f"{trial.number} {epoch} {machine}\n")

    lanes.add = noted  # type: ignore[method-assign]
    return lanes


def returns(notes: Path) -> list[Return]:
    """Return what was noted."""
    lines = [line.split() for line in notes.read_text(encoding="utf-8").splitlines()]
    return [Return(int(number), int(epoch), machine) for number, epoch, machine in lines]
