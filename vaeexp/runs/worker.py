"""Run the lanes of one device in a worker process, and write what a trained model leaves: pictures,
test figures, files.
"""

import logging
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache, lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from sweeps import Outcome, UserError, heartbeat, source_of
from vaeexp.compiler import why_not_compiled
from vaeexp.data import open_dataset
from vaeexp.data.dataset import Dataset, stratified, targets
from vaeexp.data.values import Values
from vaeexp.evaluation.classifier import open_classifier
from vaeexp.evaluation.gallery import gallery
from vaeexp.evaluation.generation import (
    ORIGINALS,
    generation_figures,
    grids,
    pictures,
    reconstruction_figures,
    sheet,
    write_png,
)
from vaeexp.evaluation.in_units import SHOWN, feature_arrays, shown_numbers
from vaeexp.evaluation.latent import aggregate_codes
from vaeexp.evaluation.metrics import measured_at
from vaeexp.evaluation.neighbours import neighbour_arrays, usual_distance
from vaeexp.evaluation.nll import evaluate_test
from vaeexp.evaluation.own_metrics import own_figures
from vaeexp.machine import usable_cores
from vaeexp.models.networks.stateless import set_tensors
from vaeexp.models.vae import VAE
from vaeexp.run_files import EVALUATION, LAST, PICTURES, RESULT, SHEET, WEIGHTS, save_json
from vaeexp.runs.provenance import arithmetic
from vaeexp.settings import EvaluationSettings, ModelSettings, Settings
from vaeexp.training import Lane, Snapshot
from vaeexp.training.batches import Source, derive_seed
from vaeexp.training.checkpoint import save_arrays, save_settings, save_weights
from vaeexp.training.checkpoint_places import RemoteCheckpoints
from vaeexp.training.device import keep_freed_memory
from vaeexp.training.groups.lanes import TrainingLanes

_MODELS = 8
_THREADS = 4
_SHOWN = 12  # digits of a fingerprint in a message
_log = logging.getLogger(__name__)
source_of("vaeexp")  # now, because forks of this process run the code that it has imported


def open_lanes(
    *,
    settings: Settings,
    datasets: Mapping[str, Dataset],
    maxima: Mapping[str, int],
    averaged: bool,
    parts: Sequence[str] = (),
    study: str,
    study_seed: int,
    folder: str,
    device: str,
    precision: str,
    fuse: bool,
    compile: bool,
    lanes: int,
    rows: int,
    threads: int | None,
    checkpoint_seconds: float,
    resident_mb: float | Literal["auto"] = "auto",
    prepare: Sequence[Settings] = (),
    keep_pruned: bool = True,
    keep_pictures: Literal["all", "last"] = "all",
    keep_sheets: bool = True,
    checkpoints: str | None = None,
) -> TrainingLanes:
    """Open the lanes of one worker. `sweeps.lanes.worker_pool` calls it in each child; arguments
    are picklable and small.

    Args:
        settings: the fixed settings of the study; a trial's parameters replace some of them.
        datasets: by `DataSettings.key`, opened by the parent; the child maps the same files.
        maxima: largest latent size and component count of the search space.
        averaged: whether any trial evaluates a running average of its weights.
        parts: what the updates of the study's trials need beyond Adam and Adamax
            (`vaeexp.training.optimizers.parts_of`).
        study: its name.
        study_seed: seed of the noise and the targets that all trials share.
        folder: gets one folder for each trial.
        device: `cpu`, `cuda`, `cuda:1`, `mps`.
        rows: the most lanes of one fused program.
        threads: CPU threads of this process; None for one per core.
        resident_mb: as for `open_source`.
        prepare: settings of the model shapes whose steps this worker compiles before its first
            trial.
        keep_pruned: whether pruned trials leave weights and pictures, as complete ones do.
        keep_pictures: of which epochs a trial leaves pictures: of all that are to be shown, or of
            the last.
        keep_sheets: whether each trial of the search leaves a sheet of pictures of its last epoch.
        checkpoints: address of the checkpoints; None: they lie in the trials' folders.
    """
    torch.set_num_threads(threads or usable_cores())
    keep_freed_memory()

    place = torch.device(device)
    draws = settings.evaluation.validation_draws
    opened = partial(open_source, resident_mb=resident_mb, validation_draws=draws)
    sources = cache(lambda name: opened(datasets[name], place, study_seed))
    here = arithmetic(device, precision=precision, fuse=fuse, compile=compile, threads=threads)
    fingerprints = {key: dataset.fingerprint for key, dataset in datasets.items()}
    origin = {"images": fingerprints, "arithmetic": here, "seed": study_seed}
    keep = {"keep_pruned": keep_pruned, "keep_sheets": keep_sheets}
    training = TrainingLanes(
        source_of=sources,
        settings_of=lambda trial: settings.with_params(dict(trial.params)),
        maxima=maxima,
        averaged=averaged,
        parts=parts,
        folder=Path(folder),
        precision=precision,
        fuse=fuse,
        compile=compile,
        lanes=lanes,
        rows=rows,
        checkpoint_seconds=checkpoint_seconds,
        artifacts=TrialArtifacts(datasets, place, study, study_seed, here, **keep),
        pictures=keep_pictures,
        checkpoints=None if checkpoints is None else RemoteCheckpoints(checkpoints, study, origin),
        kind=worker_kind(here, datasets, rows if fuse else None),
    )
    training.prepare(prepare)
    return training


def worker_kind(
    arithmetic: Mapping[str, Any], datasets: Mapping[str, Dataset], rows: int | None
) -> dict[str, Any]:
    """Return the conditions that decide a worker's numbers besides its trials, JSON-able:
    `arithmetic`, vector units, rows, images.

    `rows`: the most lanes of one fused program; None where lanes are not fused.
    """
    kind = dict(arithmetic) | {"rows": rows}
    if arithmetic["device"] == "cpu":
        kind["vector units"] = torch.backends.cpu.get_cpu_capability()
        if arithmetic["compile"] == "on" and (reason := why_not_compiled()):
            kind["compile"] = f"off, because {reason}"
    return kind | {f"images, {name}": dataset.fingerprint for name, dataset in datasets.items()}


def open_source(
    dataset: Dataset,
    device: torch.device,
    study_seed: int,
    *,
    resident_mb: float | Literal["auto"] = "auto",
    validation_draws: int = 1,
) -> Source:
    """Open the training and validation images of a study, for training on `device`.

    Training images of more than `resident_mb` MiB stay in the memory map and stream to the device.
    "auto" is half of an accelerator's free memory, and no limit on the CPU, which reads the memory
    map anyway. The results are the same.
    """
    with warnings.catch_warnings():
        # The tensor shares the read-only memory map, and nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        train = torch.from_numpy(np.asarray(dataset.train.images))
    limit = math.inf if resident_mb == "auto" else resident_mb * 2**20
    if resident_mb == "auto" and device.type == "cuda":
        limit = torch.cuda.mem_get_info(device)[0] / 2
    streamed = train.numel() * train.element_size() > limit
    validation = targets(
        dataset.validation.images, dataset.target_kind, derive_seed(study_seed, "targets")
    )
    return Source(
        train=train if streamed else train.to(device),
        validation=validation.to(device),
        targets=dataset.target_kind,
        values=dataset.values,
        noise_seed=study_seed,
        validation_draws=validation_draws,
        streamed=streamed,
    )


def test_targets(dataset: Dataset, study_seed: int) -> Tensor:
    """Return the targets of the test images, the same for all trials of a study; float32 [N, C, H,
    W].
    """
    return targets(
        dataset.test.images, dataset.target_kind, derive_seed(study_seed, "test targets")
    )


def test_figures(
    vae: VAE,
    dataset: Dataset,
    images: Tensor,
    evaluation: EvaluationSettings,
    *,
    study_seed: int,
    weighted: bool,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return all metrics `test/…` of a model on the targets of `test_targets`, and the arrays of
    `evaluate_test` and, for a table, of `feature_arrays`.

    weighted: whether to compute the importance-weighted NLL too, which takes most of the time.
    progress: as for `evaluate_test`.
    """
    seed = derive_seed(study_seed, "test")
    options = evaluation.model_dump(include={"active_threshold", "rate_threshold"})
    options["importance_samples"] = evaluation.importance_samples if weighted else None
    figures, arrays = evaluate_test(vae, images, seed=seed, progress=progress, **options)
    figures |= reconstruction_figures(vae, images)
    if dataset.features is not None:
        arrays |= feature_arrays(vae, images, dataset.features, dataset.scaling)
    if classifier := open_classifier(dataset, say=_log.info):
        figures |= generation_figures(vae, images, classifier, seed=seed)
    figures |= own_figures(vae, images, evaluation.metrics, seed=seed)
    return figures, arrays


class TrialArtifacts:
    """`vaeexp.training.groups.lanes.Artifacts` for the trials of a study."""

    def __init__(
        self,
        datasets: Mapping[str, Dataset],
        device: torch.device,
        study: str,
        study_seed: int,
        arithmetic: Mapping[str, Any],
        *,
        keep_pruned: bool,
        keep_sheets: bool,
    ) -> None:
        """`datasets` are those of `open_lanes`. `arithmetic` is that of `vaeexp.runs.provenance` in
        this process.
        """
        self._datasets = datasets
        self._device = device
        self._seed = study_seed
        self._keep_pruned = keep_pruned
        self._keep_sheets = keep_sheets
        self._origin = {"study": study, "study_seed": study_seed, "arithmetic": dict(arithmetic)}
        # A model takes longer to build than to draw with, so one model serves all trials of its
        # settings, in turn.
        self._model = lru_cache(_MODELS)(self._build)
        self._tested = lru_cache(_MODELS)(self._build)
        # The same for all trials, and it takes longer than the rest of a trial's arrays.
        self._usual = cache(self._usual_distance)
        # Threads draw and write on the CPU during training. One thread draws at a time, because the
        # trials share models; the other threads wait for the disk.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pictures")
        self._drawing = Lock()
        self._of_epochs: dict[Path, list[Future[dict[str, str]]]] = defaultdict(list)

    def pictures(
        self, lane: Lane, weights: Tensor, buffers: Tensor, folder: Path
    ) -> Future[dict[str, str]]:
        # This thread builds the model, because the draw of initial weights would disturb other
        # draws in another thread.
        model = self._model(lane.settings.model, self._dataset(lane).values, "cpu")
        drawn = self._threads.submit(
            self._draw, model, lane, weights, buffers, f"{folder}/epoch-{lane.epoch:04d}"
        )
        self._of_epochs[folder].append(drawn)
        return drawn

    def _draw(
        self, model: VAE, lane: Lane, weights: Tensor, buffers: Tensor, prefix: str
    ) -> dict[str, str]:
        with self._drawing:
            drawn = grids(self._pictures(model, lane, Snapshot(lane.epoch, weights, buffers)))
        paths = {name: f"{prefix}-{name}.png" for name in drawn}
        for name, image in drawn.items():
            write_png(Path(paths[name]), image)
        return paths

    def test(
        self, lane: Lane, best: Snapshot, last: Snapshot
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        dataset = self._dataset(lane)
        evaluation = lane.settings.evaluation
        model = self._tested(lane.settings.model, dataset.values, str(self._device))
        _load(model, lane, best)
        images = test_targets(dataset, self._seed)
        measure = partial(
            test_figures,
            model,
            dataset,
            images,
            evaluation,
            study_seed=self._seed,
            progress=lambda done, codes: heartbeat(),
        )
        figures, arrays = measure(weighted=True)
        at_last = figures
        if last.epoch != best.epoch:
            _load(model, lane, last)
            at_last, _ = measure(weighted=False)
        of_last = {
            f"test_last/{name}": at_last[f"test/{name}"]
            for name in measured_at("test_last", own=evaluation.metrics)
            if f"test/{name}" in at_last
        }
        return figures | of_last, arrays

    def finish(
        self, lane: Lane, best: Snapshot, last: Snapshot | None, outcome: Outcome, folder: Path
    ) -> Future[dict[str, str]]:
        model = self._model(lane.settings.model, self._dataset(lane).values, "cpu")
        return self._threads.submit(self._write, model, lane, best, last, outcome, folder)

    def _write(
        self,
        model: VAE,
        lane: Lane,
        best: Snapshot,
        last: Snapshot | None,
        outcome: Outcome,
        folder: Path,
    ) -> dict[str, str]:
        dataset = self._dataset(lane)
        own = {"fingerprint": dataset.fingerprint, "preparation": dataset.preparation}
        save_settings(folder, lane, dataset.values, self._origin | own)
        drawn = self._of_epochs.pop(folder, [])
        files: dict[str, str] = {}
        # What it is, if it is not promoted.
        state = "pruned" if outcome.state == "paused" else outcome.state
        shown: Mapping[str, np.ndarray] = {}
        if state != "pruned" or self._keep_pruned:
            files, shown = self._write_model(model, lane, best, last, folder)
        elif outcome.state == "pruned":
            # Other threads began with these pictures before this one did, so that waiting for them
            # ends.
            wait(drawn)
            for path in folder.glob("epoch-*.png"):
                path.unlink()
        if self._keep_sheets and not lane.trial.repeat:
            self._write_sheet(model, lane, last or best, shown, folder)
        result = {
            "state": state,
            "epoch": outcome.epoch,
            "objective": outcome.objective,
            "best_epoch": lane.best_epoch,
            "best": lane.best_metrics,
            "test": lane.test_metrics,
        }
        save_json(folder / RESULT, result)
        return files

    def _write_sheet(
        self,
        model: VAE,
        lane: Lane,
        snapshot: Snapshot,
        shown: Mapping[str, np.ndarray],
        folder: Path,
    ) -> None:
        """Write a few pictures by the model of this epoch; `shown` are its pictures where they have
        been drawn.
        """
        if not shown:
            with self._drawing:
                shown = self._pictures(model, lane, snapshot)
        save_arrays(folder / SHEET, sheet(shown) | {"epoch": np.array(snapshot.epoch)})

    def _write_model(
        self, model: VAE, lane: Lane, best: Snapshot, last: Snapshot | None, folder: Path
    ) -> tuple[dict[str, str], Mapping[str, np.ndarray]]:
        """Write the weights, and the pictures and arrays that are made from them.

        Returns name → SHA-256 of the weights' files, and the pictures of the last epoch, of a
        failed run those of the best.
        """
        files = {WEIGHTS: save_weights(folder / WEIGHTS, lane, best)}
        if last and lane.trial.repeat:
            files[LAST] = save_weights(folder / LAST, lane, last)
        with self._drawing:
            _load(model, lane, best)
            drawn = pictures(model, self._shown(lane), seed=self._seed)
            # A large data set takes long here, and a limit on time ends what stands still.
            heartbeat()
            if lane.test_metrics:
                of_latents, arrays = self._latents(model, lane)
                drawn |= of_latents
            heartbeat()
            at_last: Mapping[str, np.ndarray] = drawn if last else {}
            if last and last.epoch != best.epoch:
                at_last = self._pictures(model, lane, last)
            dataset = self._dataset(lane)
            few = self._shown(lane)[:SHOWN]
            how = dataset.scaling, dataset.features
            numbers = shown_numbers(model, few, *how) if last else {}
        if lane.test_metrics:
            save_arrays(folder / EVALUATION, arrays)
            for kind, picture in grids(drawn).items():
                write_png(folder / "pictures" / f"{kind}.png", picture)
        of_last = {
            f"last_{name}": at_last[name] for name in ("reconstructions", "samples") if at_last
        }
        save_arrays(folder / PICTURES, drawn | of_last | numbers)
        return files, at_last or drawn

    def _pictures(self, model: VAE, lane: Lane, snapshot: Snapshot) -> dict[str, np.ndarray]:
        """Return the pictures by the model of an epoch that every epoch has. The caller holds the
        lock.
        """
        _load(model, lane, snapshot)
        return pictures(model, self._shown(lane), seed=self._seed, components=False)

    def _latents(
        self, model: VAE, lane: Lane
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the pictures and the arrays that a tested run leaves besides those of every
        run.
        """
        dataset = self._dataset(lane)
        seed = self._seed
        images = test_targets(dataset, seed)
        labels = torch.from_numpy(np.asarray(dataset.test.labels, dtype=np.int64))
        shown, of_latents = gallery(model, images, labels, dataset.test.classes, seed=seed)
        arrays = lane.test_arrays | of_latents
        arrays |= aggregate_codes(model, images, arrays.get("rate_per_dimension"), seed=seed)
        heartbeat()
        arrays |= neighbour_arrays(model, dataset, seed=seed)
        arrays["neighbour_usual"] = np.array(self._usual(lane.settings.data.key))
        return shown, arrays

    def _usual_distance(self, key: str) -> float:
        dataset = self._datasets[key]
        return usual_distance(test_targets(dataset, self._seed), dataset, seed=self._seed)

    def _dataset(self, lane: Lane) -> Dataset:
        return self._datasets[lane.settings.data.key]

    def _shown(self, lane: Lane) -> Tensor:
        dataset = self._dataset(lane)
        images = dataset.validation.images[stratified(dataset.validation.labels, ORIGINALS)]
        return targets(images, dataset.target_kind, derive_seed(self._seed, "targets"))

    def _build(self, settings: ModelSettings, values: Values, device: str) -> VAE:
        with torch.random.fork_rng(devices=[]):
            return VAE(settings, values).to(device).eval()


def _load(model: VAE, lane: Lane, snapshot: Snapshot) -> None:
    """Give the model these weights, until another trial of the same settings needs the model."""
    tensors = {**lane.layout.views(snapshot.weights), **lane.buffer_layout.views(snapshot.buffers)}
    set_tensors(model, tensors)


def open_remote_lanes(
    *,
    settings: Settings,
    fingerprints: Sequence[tuple[Mapping[str, Any], str]],
    data: str | None,
    full_data: bool,
    **others: Any,
) -> TrainingLanes:
    """Open the lanes of a worker on a machine of a cluster.

    Args:
        settings: the fixed settings of the study.
        fingerprints: settings of the data, and the fingerprint of the images that the driver has.
        data: folder with the image files, or the file of arrays; None: as without `--data` on this
            machine.
        full_data: whether the bundled subset is refused.
        others: with `settings`, the arguments of `open_lanes`, but for `datasets`.

    Raises:
        UserError: the images are others than the driver's.
    """
    datasets = {}
    for changes, fingerprint in fingerprints:
        wanted = settings.with_params(dict(changes)).data
        dataset = open_dataset(
            wanted, root=Path(data) if data else None, full_data=full_data, say=_log.info
        )
        if dataset.fingerprint != fingerprint:
            problem = (
                f"has other images than the driver: {dataset.title} ({dataset.source}), "
                f"fingerprint {dataset.fingerprint[:_SHOWN]}, not {fingerprint[:_SHOWN]}. Put "
                "the same files at the same path, or name them there with VAEEXP_DATA."
            )
            raise UserError(os.uname().nodename, problem)
        datasets[wanted.key] = dataset
    return open_lanes(settings=settings, datasets=datasets, **others)
