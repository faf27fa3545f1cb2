"""Ways to train the same model on the same images, one module each: what `throughput.py` compares.

The interface: a module has `open_train(task) -> Train`. It builds `task.width` fresh trials of
`task.model` on `task.device`, with the images where this way of training wants them, and returns a
function: `train(images)` trains every one of these trials further, on the first `images` training
images (a multiple of 128) in steps of 128, and gives the clock times at which training began and
ended, the device idle at both, and the peak memory so far. What an epoch needs besides training
steps (validation, checkpoints) is left out everywhere.

A task with more than one process is opened by `processes`, whichever module trains in them.
"""

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch

from vaeexp.training.device import peak_memory_mb

__all__ = ["BATCH", "EPOCH", "Stretch", "Task", "Train", "open_contender", "timed"]

BATCH = 128
EPOCH = 50_000
"""Images of a trial-epoch."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a contender is asked to do."""

    module: str
    """Of this package."""
    model: str
    """`mlp` or `conv`; contenders/models.py."""
    device: str = "cpu"
    precision: str = "float32"
    """`float32`, `tf32` (products of float32 numbers on CUDA's tensor cores) or `bf16`
    (autocast).
    """
    width: int = 1
    """Trials in each process."""
    processes: int = 1
    threads: int = 1
    """CPU threads of each process."""
    variant: str = ""
    """What the module says it can be."""

    @property
    def trials(self) -> int:
        return self.width * self.processes


class Stretch(NamedTuple):
    """One call of `Train`."""

    began: float
    """`time.time()`, which processes of a machine share."""
    ended: float
    memory_mb: float
    """Peak so far: allocated on the device for CUDA, else resident; summed over the processes of
    the contender.
    """


Train = Callable[[int], Stretch]


def open_contender(task: Task) -> Train:
    """The contender, in this process and in as many more as the task wants."""
    if task.processes > 1:
        from contenders import processes

        return processes.open_train(task)
    torch.set_num_threads(task.threads)
    # Both are set, since convolutions take TF32 by default and products do not.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = (
        task.precision == "tf32"
    )
    return importlib.import_module(f"contenders.{task.module}").open_train(task)


def timed(device: str, work: Callable[[], object]) -> Stretch:
    """`work()`, and everything that it started on the device."""
    _wait(device)
    began = time.time()
    work()
    _wait(device)
    ended = time.time()
    memory = peak_memory_mb(torch.device(device))
    if device == "cuda":
        # The contenders wait side by side, and the widest needs the memory of the others.
        torch.cuda.empty_cache()
    return Stretch(began, ended, memory)


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
