"""A finished run, opened from its folder alone: its settings, its model, and the images that it was made for."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sweeps.errors import UserError, did_you_mean
from sweeps.workload.protocol import named_run
from vaeexp.cache import cache_folder
from vaeexp.data import DATASETS, Dataset, open_dataset
from vaeexp.data.targets import targets
from vaeexp.models.vae import VAE
from vaeexp.results.open_study import stored_study
from vaeexp.runs.names import FORMS, RunName, best_of, parse_run
from vaeexp.settings import SECTIONS, Settings
from vaeexp.training.batches import derive_seed
from vaeexp.training.checkpoint import SETTINGS, WEIGHTS, load_model

_FORMS = f"{FORMS} Or give a folder with its {SETTINGS}."


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that left weights.

    name: what people call it, as `beta_mnist/r3`. study_seed: of the noise and the targets that all runs of the
    study share. fingerprint: of the data set (`Dataset.fingerprint`). Both are None in folders of vaeexp 0.1.
    """

    name: str
    folder: Path
    settings: Settings
    image_shape: tuple[int, int, int]
    study_seed: int | None
    fingerprint: str | None

    @cached_property
    def vae(self) -> VAE:
        """The model in evaluation mode on the CPU. Raises UserError when the files do not make one."""
        from safetensors import SafetensorError

        try:
            return load_model(self.folder)
        except (ValueError, RuntimeError, KeyError, AttributeError, SafetensorError, OSError) as error:
            raise UserError(str(self.folder), f"holds no usable model: {' '.join(str(error).split())}") from error


def open_run(name: str, runs: Path, storage: str | None = None) -> Run:
    """The run that `name` means: a folder; STUDY/7 or STUDY/r3 below `runs`; STUDY/best, or STUDY: its best run.

    Only the best run is looked up in the study's storage; the others need their folder and nothing else.
    Raises UserError when there is no such run, or it left no weights.
    """
    folder, name = _find(name, runs, storage)
    if not (folder / WEIGHTS).is_file() or not (folder / SETTINGS).is_file():
        missing = SETTINGS if (folder / WEIGHTS).is_file() else WEIGHTS
        raise UserError(name, f"has no {missing}: it did not complete, or not yet. {_FORMS}")
    path = folder / SETTINGS
    try:
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        settings = Settings(**{section: stored[section] for section in SECTIONS})
        channels, height, width = stored["image_shape"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = " ".join(str(error).split())
        raise UserError(
            str(path), f"does not hold the settings of a run of this version of vaeexp: {problem}"
        ) from error
    if (named := named_run(name)) and stored.get("study"):
        name = str(RunName(stored["study"], number=named[1], repeat=named[0]))
    return Run(
        name=name,
        folder=folder,
        settings=settings,
        image_shape=(channels, height, width),
        study_seed=stored.get("study_seed"),
        fingerprint=stored.get("fingerprint"),
    )


def _find(text: str, runs: Path, storage: str | None) -> tuple[Path, str]:
    """The folder that a text names, and what to call the run."""
    given = Path(text).expanduser()
    if (given / SETTINGS).is_file() or (given / WEIGHTS).is_file():
        return given, given.resolve().name
    name = parse_run(text)
    if name is None and "/" in text.rstrip("/") and not text.endswith((".yaml", ".yml")):
        raise UserError(text, f"is no finished run. {_FORMS}")
    if name is None or name.number is None:
        try:
            name = best_of(stored_study(name.study if name else text, runs, storage))
        except UserError as error:
            raise UserError(error.place, f"{error.problem} {_FORMS}") from error
    trials = runs / "trials" / name.study
    if not trials.is_dir():
        known = [path.name for path in trials.parent.glob("*") if path.is_dir()]
        raise UserError(str(name), f"'{trials.parent}' has no study '{name.study}'. {did_you_mean(name.study, known)}")
    if not (trials / name.folder).is_dir():
        known = [path.parent.name for path in trials.glob(f"*/{WEIGHTS}")]
        raise UserError(str(name), f"there is no such run with weights. {did_you_mean(name.folder, known)}")
    return trials / name.folder, str(name)


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images that a run can be shown: targets float32 [N, C, H, W] and labels int64 [N]; all labels 0 without classes."""

    dataset: Dataset
    split: str
    x: torch.Tensor
    labels: torch.Tensor
    places: np.ndarray
    """Place of each image in the split; int64 [N]."""


def open_images(
    run: Run,
    data: Path | None,
    *,
    split: str = "test",
    count: int | None = None,
    most: int | None = None,
    seed: int = 0,
    same: bool = False,
    say: Callable[[str], None],
) -> Images:
    """Images of the data set that the run was trained on, with the targets that its study saw.

    Args:
        data: as for a sweep: the folder or file with the images; the user's cache, a download, else.
        split: test or validation.
        count: so many, drawn with the seed.
        most: where there is no count, so many at most; all of them, in their order, when this is None too.
        same: whether other images than the run's own are refused; else `say` is told.

    Raises UserError when the images cannot be had, do not fit the model, or are fewer than `count`.
    """
    dataset = open_dataset(run.settings.data, root=data, say=say)
    _check_data(run, dataset, same=same, say=say)
    found = dataset.test if split == "test" else dataset.validation
    if count is not None and count > len(found):
        raise UserError(run.name, f"cannot be shown {count:,} images: {dataset.title} has {len(found):,} for {split}.")
    order = torch.randperm(len(found), generator=torch.Generator().manual_seed(seed)).numpy()
    places = np.arange(len(found)) if count is None and most is None else order[: count or most]
    name = "test targets" if split == "test" else "targets"
    return Images(
        dataset=dataset,
        split=split,
        x=targets(found.images[places], dataset.binarisation, derive_seed(run.study_seed or 0, name)),
        labels=torch.from_numpy(np.asarray(found.labels)[places].astype(np.int64)),
        places=places,
    )


def own_data(run: Run, data: Path | None) -> Path | None:
    """Where the run's data set can be had without a download: `data`, or the user's cache; None when nowhere."""
    definition = DATASETS[run.settings.data.dataset]
    cached = cache_folder() / "downloads" / definition.name
    if data is not None or not definition.mirrors:
        return data
    return cached if definition.layout.find(definition, cached) else None


def _check_data(run: Run, dataset: Dataset, *, same: bool, say: Callable[[str], None]) -> None:
    if dataset.image_shape != run.image_shape:
        shapes = [" × ".join(str(size) for size in shape) for shape in (run.image_shape, dataset.image_shape)]
        raise UserError(
            run.name,
            f"is a model of images of {shapes[0]} (channels × height × width); {dataset.title} has {shapes[1]}.",
        )
    if run.fingerprint is None:
        say(f"NOTE: {run.name} does not say which images it was trained on; take care that it was {dataset.title}.")
    elif run.fingerprint != dataset.fingerprint:
        problem = (
            f"was trained on other images than {dataset.title} ({dataset.source}): their fingerprint is "
            f"{dataset.fingerprint[:12]}, its own {run.fingerprint[:12]}."
        )
        if same:
            bundled = DATASETS[dataset.name].bundled and not dataset.subset
            hint = "; for the bundled digits leave out --data and VAEEXP_DATA" if bundled else ""
            raise UserError(run.name, f"{problem} Figures would not be comparable; give its own data (--data){hint}.")
        say(f"NOTE: {run.name} {problem}")
