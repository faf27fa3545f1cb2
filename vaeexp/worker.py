"""What a child process runs: the lanes of one device, with the data opened and the pictures and test figures made there."""

import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from sweeps.lanes import Outcome
from vaeexp.evaluation.generation import grid, pictures, write_png
from vaeexp.evaluation.nll import evaluate_test
from vaeexp.evaluation.targets import targets
from vaeexp.training.batches import Source
from vaeexp.training.checkpoint import save_weights, write_json
from vaeexp.training.lane import Lane, State
from vaeexp.training.lanes import TrainingLanes
from vaeexp.training.seeds import derive_seed
from vaeexp.vae import VAE

if TYPE_CHECKING:
    from vaeexp.data import Dataset
    from vaeexp.settings import Settings

__all__ = ["open_lanes", "open_source"]


def open_lanes(
    *,
    settings: "Settings",
    dataset: "Dataset",
    maxima: Mapping[str, int],
    averaged: bool,
    study_seed: int,
    folder: str,
    device: str,
    precision: str,
    group: str,
    width: int,
    threads: int | None,
    checkpoint_seconds: float,
    resident_mb: float | Literal["auto"] = "auto",
) -> TrainingLanes:
    """The factory that `sweeps.workers` calls in each child process. Arguments are picklable and small.

    Args:
        settings: the fixed settings of the study; a trial's parameters are put on top.
        dataset: opened by the parent; the child maps the same files.
        maxima: largest latent size and component count of the search space.
        averaged: whether any trial evaluates a running average of its weights.
        study_seed: seed of the validation noise, common to all trials.
        folder: one folder per trial is made in it.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        threads: CPU threads of this process; None leaves torch's choice.
        resident_mb: MiB of training images that may lie on the device, else they stream from the memory map.
    """
    if threads:
        torch.set_num_threads(threads)
    source = open_source(dataset, torch.device(device), study_seed, resident_mb=resident_mb)
    return TrainingLanes(
        source=source,
        settings_of=lambda trial: settings.with_params(dict(trial.params)),
        maxima=maxima,
        averaged=averaged,
        folder=Path(folder),
        precision=precision,
        group=group,
        width=width,
        checkpoint_seconds=checkpoint_seconds,
        finisher=Finish(dataset, source.device, study_seed),
    )


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


class Finish:
    """Makes a trial's pictures while it trains, and its lasting files and test figures when it ends."""

    def __init__(self, dataset: "Dataset", device: torch.device, study_seed: int) -> None:
        self._dataset, self._device, self._seed = dataset, device, study_seed
        self._shown = targets(dataset.validation.images[:8], dataset.binarisation, derive_seed(study_seed, "targets"))

    def pictures(self, lane: Lane, state: State, which: str, folder: Path) -> dict[str, str]:
        drawn = pictures(self._model(lane, state[which], state["buffers"]), self._shown, seed=self._seed)
        folder.mkdir(parents=True, exist_ok=True)
        pairs = np.concatenate([drawn["originals"], drawn["reconstructions"]])
        grids = {
            "reconstructions": grid(pairs, columns=len(drawn["originals"])),
            "samples": grid(drawn["samples"], columns=8),
        }
        paths = {}
        for name, image in grids.items():
            path = folder / f"epoch-{lane.epoch:04d}-{name}.png"
            write_png(path, image)
            paths[name] = str(path)
        return paths

    def test(self, lane: Lane, state: State) -> dict[str, float]:
        evaluation = lane.settings.evaluation
        return evaluate_test(
            self._model(lane, state["best"], state["best_buffers"]),
            targets(self._dataset.test.images, self._dataset.binarisation, derive_seed(self._seed, "test targets")),
            importance_samples=evaluation.importance_samples,
            active_threshold=evaluation.active_threshold,
            seed=derive_seed(self._seed, "test"),
        )

    def finish(self, lane: Lane, state: State, outcome: Outcome, folder: Path) -> None:
        model = self._model(lane, state["best"], state["best_buffers"])
        save_weights(folder, lane, state["best"], state["best_buffers"], tuple(self._shown.shape[1:]))
        drawn = pictures(model, self._shown, seed=self._seed)
        temporary = folder / "pictures.tmp"
        with temporary.open("wb") as file:
            np.savez_compressed(file, **drawn)
        os.replace(temporary, folder / "pictures.npz")
        write_json(
            folder / "result.json",
            {
                "state": outcome.state,
                "epoch": outcome.epoch,
                "value": outcome.value,
                "best_epoch": lane.best_epoch,
                "best": lane.best_metrics,
                "test": lane.test_metrics,
            },
        )

    def _model(self, lane: Lane, weights: torch.Tensor, buffers: torch.Tensor) -> VAE:
        with torch.random.fork_rng(devices=[]):
            model = VAE(lane.settings.model, tuple(self._shown.shape[1:]))
        tensors = {**lane.layout.views(weights.cpu()), **lane.buffer_layout.views(buffers.cpu())}
        model.load_state_dict(tensors, strict=False)
        return model.to(self._device).eval()


def _tensor(images: np.ndarray) -> torch.Tensor:
    """A tensor over the memory map itself; nothing is copied."""
    with warnings.catch_warnings():
        # The map is read-only and nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(np.asarray(images))
