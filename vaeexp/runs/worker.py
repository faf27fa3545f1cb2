"""What a child process runs: the lanes of one device, with the data opened there."""

import math
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from vaeexp.data.targets import targets
from vaeexp.hardware import usable_cores
from vaeexp.runs.artifacts import TrialArtifacts
from vaeexp.runs.provenance import arithmetic
from vaeexp.training.batches import Source, derive_seed
from vaeexp.training.device import keep_freed_memory
from vaeexp.training.groups.lanes import TrainingLanes

if TYPE_CHECKING:
    from vaeexp.data import Dataset
    from vaeexp.settings import Settings


def open_lanes(
    *,
    settings: "Settings",
    datasets: "Mapping[str, Dataset]",
    maxima: Mapping[str, int],
    averaged: bool,
    study: str,
    study_seed: int,
    folder: str,
    device: str,
    precision: str,
    fuse: bool,
    compile: bool,
    lanes: int,
    threads: int | None,
    checkpoint_seconds: float,
    resident_mb: float | Literal["auto"] = "auto",
    prepare: "Sequence[Settings]" = (),
) -> TrainingLanes:
    """The factory that `sweeps.workload.worker_pool` calls in each child process. Arguments are picklable and small.

    Args:
        settings: the fixed settings of the study; a trial's parameters are put on top.
        datasets: by binarisation, opened by the parent; the child maps the same files.
        maxima: largest latent size and component count of the search space.
        averaged: whether any trial evaluates a running average of its weights.
        study: its name.
        study_seed: seed of the validation noise, common to all trials.
        folder: one folder per trial is made in it.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: CPU threads of this process; None for one per core.
        resident_mb: MiB of training images that may lie on the device, else they stream from the memory map.
        prepare: settings of the model shapes whose steps this worker compiles before its first trial.
    """
    torch.set_num_threads(threads or usable_cores())
    keep_freed_memory()

    @cache
    def source_of(binarisation: str) -> Source:
        return open_source(datasets[binarisation], torch.device(device), study_seed, resident_mb=resident_mb)

    training = TrainingLanes(
        source_of=source_of,
        settings_of=lambda trial: settings.with_params(dict(trial.params)),
        maxima=maxima,
        averaged=averaged,
        folder=Path(folder),
        precision=precision,
        fuse=fuse,
        compile=compile,
        lanes=lanes,
        checkpoint_seconds=checkpoint_seconds,
        artifacts=TrialArtifacts(
            datasets,
            torch.device(device),
            study,
            study_seed,
            arithmetic(device, precision=precision, fuse=fuse, compile=compile, threads=threads),
        ),
    )
    training.prepare(prepare)
    return training


def open_source(
    dataset: "Dataset", device: torch.device, study_seed: int, *, resident_mb: float | Literal["auto"] = "auto"
) -> Source:
    """Training and validation images of a study, for training on `device`.

    Training images of more than `resident_mb` MiB stay in the memory map and stream; "auto" is half of the memory that
    an accelerator has free, and no limit on the CPU, where they are mapped in any case. No number depends on it.
    """
    train = _tensor(dataset.train.images)
    streamed = train.numel() > (_half_of_free_memory(device) if resident_mb == "auto" else resident_mb * 2**20)
    return Source(
        train=train if streamed else train.to(device),
        validation=targets(dataset.validation.images, dataset.binarisation, derive_seed(study_seed, "targets")).to(
            device
        ),
        binarisation=dataset.binarisation,
        noise_seed=study_seed,
        streamed=streamed,
    )


def _half_of_free_memory(device: torch.device) -> float:
    """In bytes; infinite on the CPU."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 2
    if device.type == "mps":
        return (torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()) / 2
    return math.inf


def _tensor(images: np.ndarray) -> torch.Tensor:
    """A tensor over the memory map itself; nothing is copied."""
    with warnings.catch_warnings():
        # The map is read-only and nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(images))
