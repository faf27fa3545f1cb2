"""What is made of a trained model: pictures while it trains, figures on the test set, and the files that stay."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sweeps.files import write_whole
from sweeps.workload.protocol import Outcome
from vaeexp.data.targets import targets
from vaeexp.evaluation.classifier import open_classifier
from vaeexp.evaluation.gallery import gallery, latent_arrays, write_grids
from vaeexp.evaluation.generation import grids, pictures, write_png
from vaeexp.evaluation.latent import component_classes, component_weights, rate_per_dimension
from vaeexp.evaluation.nll import evaluate_test
from vaeexp.evaluation.quality import generation_figures, reconstruction_figures
from vaeexp.models.vae import VAE
from vaeexp.training.batches import derive_seed
from vaeexp.training.checkpoint import save_weights, write_json
from vaeexp.training.lane import Lane, State

if TYPE_CHECKING:
    from vaeexp.data import Dataset
    from vaeexp.settings import EvaluationSettings, ModelSettings

EVALUATION = "evaluation.npz"
_MODELS = 8
_THREADS = 4
_log = logging.getLogger(__name__)


def test_targets(dataset: "Dataset", study_seed: int) -> Tensor:
    """The test images as every trial of a study is asked to explain them; float32 [N, C, H, W]."""
    return targets(dataset.test.images, dataset.binarisation, derive_seed(study_seed, "test targets"))


def test_figures(
    vae: VAE, dataset: "Dataset", images: Tensor, evaluation: "EvaluationSettings", *, study_seed: int, **progress: Any
) -> dict[str, float]:
    """All metrics `test/…` of a model on the targets of `test_targets`."""
    seed = derive_seed(study_seed, "test")
    figures = evaluate_test(
        vae,
        images,
        importance_samples=evaluation.importance_samples,
        active_threshold=evaluation.active_threshold,
        seed=seed,
        **progress,
    )
    figures |= reconstruction_figures(vae, images)
    classifier = open_classifier(dataset, say=_log.info)
    return figures | (generation_figures(vae, images, classifier, seed=seed) if classifier else {})


def evaluation_arrays(
    vae: VAE, images: Tensor, labels: Tensor, classes: Sequence[str], *, seed: int
) -> dict[str, np.ndarray]:
    """What plots of the latent space are made of, from test targets [N, C, H, W] and their labels [N]: embedding, labels, classes, rate per
    dimension and, of a mixture, the classes that its components serve. Those that a model does not have are missing."""
    found: dict[str, np.ndarray | Tensor | None] = {
        **latent_arrays(vae, images, labels, classes, seed=seed),
        "rate_per_dimension": rate_per_dimension(vae, images, seed=seed),
        "component_classes": component_classes(vae, images, labels, len(classes), seed=seed) if classes else None,
        "component_weights": component_weights(vae),
    }
    return {name: np.asarray(array) for name, array in found.items() if array is not None}


class TrialArtifacts:
    """`vaeexp.training.groups.lanes.Artifacts` for the trials of a study."""

    def __init__(
        self,
        datasets: "Mapping[str, Dataset]",
        device: torch.device,
        study: str,
        study_seed: int,
        arithmetic: Mapping[str, Any],
    ) -> None:
        """
        Args:
            datasets: by binarisation.
            device: where models are evaluated.
            study: its name.
            study_seed: of the draws that all trials share.
            arithmetic: `vaeexp.runs.provenance.arithmetic` of this process.
        """
        self._datasets, self._device, self._study, self._seed = datasets, device, study, study_seed
        self._arithmetic = dict(arithmetic)
        # To build a model takes longer than to draw with it; one serves all trials of its settings, in turn.
        self._model, self._tested = lru_cache(_MODELS)(self._build), lru_cache(_MODELS)(self._build)
        # Drawn and written on the CPU beside the training. One draws at a time, for they share models; the others wait for
        # the disk.
        self._beside, self._drawing = ThreadPoolExecutor(_THREADS, thread_name_prefix="pictures"), Lock()

    def pictures(self, lane: Lane, weights: Tensor, buffers: Tensor, folder: Path) -> Future[dict[str, str]]:
        # The model is built here: what draws initial weights would disturb another thread that does.
        model = self._model(lane.settings.model, self._dataset(lane).image_shape, "cpu")
        return self._beside.submit(self._draw, model, lane, weights, buffers, f"{folder}/epoch-{lane.epoch:04d}")

    def _draw(self, model: VAE, lane: Lane, weights: Tensor, buffers: Tensor, prefix: str) -> dict[str, str]:
        with self._drawing:
            _load(model, lane, weights, buffers)
            drawn = grids(pictures(model, self._shown(lane), seed=self._seed, components=False))
        paths = {name: f"{prefix}-{name}.png" for name in drawn}
        for name, image in drawn.items():
            write_png(Path(paths[name]), image)
        return paths

    def test(self, lane: Lane, state: State) -> dict[str, float]:
        dataset = self._dataset(lane)
        model = self._tested(lane.settings.model, dataset.image_shape, str(self._device))
        _load(model, lane, state["best"], state["best_buffers"])
        images = test_targets(dataset, self._seed)
        return test_figures(model, dataset, images, lane.settings.evaluation, study_seed=self._seed)

    def finish(self, lane: Lane, weights: Tensor, buffers: Tensor, outcome: Outcome, folder: Path) -> Future[None]:
        model = self._model(lane.settings.model, self._dataset(lane).image_shape, "cpu")
        return self._beside.submit(self._write, model, lane, weights, buffers, outcome, folder)

    def _write(self, model: VAE, lane: Lane, weights: Tensor, buffers: Tensor, outcome: Outcome, folder: Path) -> None:
        dataset, shown = self._dataset(lane), self._shown(lane)
        origin = {"study": self._study, "study_seed": self._seed, "fingerprint": dataset.fingerprint}
        origin |= {"arithmetic": self._arithmetic}
        save_weights(folder, lane, weights, buffers, tuple(shown.shape[1:]), origin)
        with self._drawing:
            _load(model, lane, weights, buffers)
            drawn, arrays = pictures(model, shown, seed=self._seed), {}
            if lane.test_metrics:
                images = test_targets(dataset, self._seed)
                labels = torch.from_numpy(np.asarray(dataset.test.labels, dtype=np.int64))
                drawn |= gallery(model, images, labels, seed=self._seed)
                arrays = evaluation_arrays(model, images, labels, dataset.classes or (), seed=self._seed)
        if arrays:
            _save_arrays(folder / EVALUATION, arrays)
            write_grids(folder, drawn)
        _save_arrays(folder / "pictures.npz", drawn)
        write_json(
            folder / "result.json",
            {
                "state": outcome.state,
                "epoch": outcome.epoch,
                "objective": outcome.objective,
                "best_epoch": lane.best_epoch,
                "best": lane.best_metrics,
                "test": lane.test_metrics,
            },
        )

    def _dataset(self, lane: Lane) -> "Dataset":
        return self._datasets[lane.settings.data.binarisation]

    def _shown(self, lane: Lane) -> Tensor:
        dataset = self._dataset(lane)
        images = dataset.validation.images[:8]
        return targets(images, dataset.binarisation, derive_seed(self._seed, "targets"))

    def _build(self, settings: "ModelSettings", image_shape: tuple[int, int, int], device: str) -> VAE:
        with torch.random.fork_rng(devices=[]):
            return VAE(settings, image_shape).to(device).eval()


def _load(model: VAE, lane: Lane, weights: Tensor, buffers: Tensor) -> None:
    """Give it these weights, until it is wanted for another trial of its settings."""
    model.load_state_dict({**lane.layout.views(weights), **lane.buffer_layout.views(buffers)}, strict=False)


def _save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write all or nothing."""
    write_whole(path, lambda unfinished: np.savez_compressed(unfinished, allow_pickle=False, **arrays))
