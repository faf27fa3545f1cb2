"""Read a finished run back from its folder: with its model, and with the images that it was made
for.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError

from sweeps import UserError, did_you_mean, file_digest, named_run, run_name, study_names
from vaeexp.data import Dataset, open_dataset
from vaeexp.data.dataset import Split, changes_words, targets
from vaeexp.data.showing import kind_of
from vaeexp.data.values import Values, values_of_run
from vaeexp.evaluation.classifier import open_classifier
from vaeexp.evaluation.nll import bits_per_dimension
from vaeexp.models.likelihoods import described
from vaeexp.models.vae import VAE
from vaeexp.own_code import check_code
from vaeexp.results import FORMS, RunName, best_of, parse_run, stored_study
from vaeexp.run_files import (
    CALIBRATION,
    LAST,
    REMEDY,
    RESULT,
    SETTINGS,
    WEIGHTS,
    load_json,
    unreadable_settings,
)
from vaeexp.runs import codes as measures
from vaeexp.runs.calibration import Calibration, facts_of, kept, row_sums
from vaeexp.runs.comparison import Part, compare_figures
from vaeexp.runs.inputs import as_frame
from vaeexp.runs.preparation import Preparation, other_columns, table_in
from vaeexp.runs.provenance import arithmetic, protocol
from vaeexp.runs.row_files import finite_codes, flat
from vaeexp.runs.scoring import SAMPLES, Score, opened, score_rows, split_batches
from vaeexp.runs.tally import Tally
from vaeexp.runs.worker import test_figures
from vaeexp.settings import SECTIONS, Settings
from vaeexp.training.batches import derive_seed
from vaeexp.training.checkpoint import load_model, save_arrays
from vaeexp.training.device import resolve_device
from vaeexp.words import noun_of, plural

_WEIGHTS = {"best": WEIGHTS, "last": LAST}
"""Epoch → the file of its weights."""
_FORMS = f"{FORMS} Or give a folder with its {SETTINGS}."


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run that left weights."""

    name: str
    """As people call it: `beta_mnist/r3`."""
    folder: Path
    settings: Settings
    values: Values
    """Those of its images."""
    study_seed: int
    """Seed of the noise and the targets that all runs of the study share."""
    fingerprint: str
    """`Dataset.fingerprint` of its images."""
    arithmetic: Mapping[str, Any]
    """`vaeexp.runs.provenance.arithmetic` where it was trained."""
    epoch: Literal["best", "last"] = "best"
    """The epoch whose weights the model has."""
    preparation: Mapping[str, Any] | None = None
    """`vaeexp.data.dataset.Dataset.preparation` of its images; None where it is not on record."""

    @property
    def described(self) -> Values:
        """The values as its likelihood describes them."""
        return described(self.settings.model.likelihood, self.values)

    @property
    def noun(self) -> str:
        """What one element of its data is called: image, signal or row."""
        return noun_of(kind_of(self.values))

    @cached_property
    def vae(self) -> VAE:
        """The model in evaluation mode on the CPU. Raises UserError where the files do not make
        one.
        """
        try:
            # Asked in `open_run`.
            return load_model(self.folder, _WEIGHTS[self.epoch], allow_code=True)
        except (
            ValueError,
            RuntimeError,
            KeyError,
            AttributeError,
            SafetensorError,
            OSError,
        ) as error:
            problem = f"holds no usable model: {' '.join(str(error).split())}"
            raise UserError(str(self.folder), problem) from error

    def encode(self, images: Any, *, device: str = "cpu") -> pd.DataFrame:
        """Encode new images, prepared as the run's own were: one row each, in their order.

        Columns: name; label where a file has one; mean_0 … and log_sigma_0 …, the posterior's mean
        and log σ; rate in nats; unseen, as for `score`; problem, why a row has no numbers, else
        empty. Binarised runs draw the pixels with the recorded seed. Numbers that are cut to the
        limits of the training are a warning.

        Args:
            images: a path of an image file, a folder, a .npy, .npz, .parquet, .csv, TIFF or HDF5
                file or a zarr folder; an array of the run's shape and unit, [N, H, W], [N, H, W, C]
                or [N, F]; a table of pandas, polars or pyarrow, whose columns are taken by name; an
                image of Pillow; or a list of them. The index of a data frame is that of the result;
                in a list, `name` begins with the place of the array or table: `1[0]`.
            device: the device that computes.

        Raises:
            UserError: a file or an array does not fit the model.
        """
        vae = self.vae.to(resolve_device(device))
        preparation = preparation_of(self)
        tally = Tally(preparation)
        with opened(images, preparation) as given:
            rows = measures.encode(vae, tally.read(given.batches), seed=code_seed(self))
            frame = _as_frame(map(flat, rows), images)
        return _warned(frame, tally)

    def score(
        self,
        images: Any,
        *,
        by: Literal["neg_elbo", "iw_nll"] | None = None,
        importance_samples: int = 20,
        p: bool = True,
        data: str | Path | None = None,
        device: str = "auto",
    ) -> pd.DataFrame:
        """Score new images, prepared as the run's own were: one row each, in their order.

        Columns: name, label, neg_elbo, distortion, rate, iw_nll and its standard error iw_nll_se in
        nats, in the unit of the report; p, (1 + #{validation scores ≥ s}) / (n + 1) among the run's
        n validation images; of counts residual, the score without its trend on the row sum, and
        p_residual; split, that of the run whose rows have the same numbers; of tables unseen, the
        columns that never changed in training and do so here; problem. Equal rows have equal
        scores. Rows of the training split, and p that follow from `unseen`, are warnings.

        Args:
            images: as for `encode`.
            by: the score that p compares; by default iw_nll, without samples neg_elbo.
            importance_samples: samples per image of iw_nll; 0 leaves it out.
            p: whether to compute p. The first time that needs the run's data set; the run's folder
                keeps what it takes from there.
            data: where the data set is, as `--data`.
            device: the device that computes.

        Raises:
            UserError: a file or an array does not fit the model, or the data set is not there.
        """
        how = score_of(self, by, importance_samples)
        vae = self.vae.to(resolve_device(device))
        preparation = preparation_of(self)
        place = Path(data) if data else None
        with opened(images, preparation) as given:
            known = calibration_of(self, how, place, device=device, say=_silent) if p else None
            tally = Tally(preparation, known)
            rows = score_rows(vae, given.batches, how, tally, seed=code_seed(self), known=known)
            frame = _as_frame((flat(measured) for _, measured in rows), images)
        return _warned(frame, tally)

    def decode(self, codes: Any, *, device: str = "cpu") -> np.ndarray:
        """Return the means of p(x|z) of codes in the unit of the run's files: uint8 from 0 to 255
        for bytes, else float64; [M, H, W], [M, H, W, C], or [M, F] with all columns of the files,
        those that never changed in training with their value there.

        `codes` are an array [M, L], or what `encode` returned. Raises UserError for others.
        """
        size = self.settings.model.latent_size
        codes = as_frame(codes)
        found = measures.codes_in(codes, size) if isinstance(codes, pd.DataFrame) else codes
        array = np.zeros(0) if found is None else np.asarray(found, np.float32)
        if array.ndim != 2 or array.shape[1] != size:
            raise UserError("codes", f"got {list(array.shape)}; must be [M, {size}].")
        vae = self.vae.to(resolve_device(device))
        finite = finite_codes(array, "codes")
        preparation = preparation_of(self)
        pieces = [*measures.decode(vae, finite, preparation)]
        images = np.concatenate(pieces) if pieces else np.zeros((0, *self.values.shape))
        return preparation.as_files(images)


def _as_frame(parts: Iterable[Mapping[str, np.ndarray]], given: Any) -> pd.DataFrame:
    """Return the columns of all rows, under the index of the data frame that was given."""
    frame = pd.concat([pd.DataFrame(dict(part)) for part in parts], ignore_index=True)
    return frame.set_axis(given.index) if isinstance(given, pd.DataFrame) else frame


def _warned(frame: pd.DataFrame, tally: Tally) -> pd.DataFrame:
    for line in tally.warnings():
        warnings.warn(line, stacklevel=3)
    return frame


def _silent(text: str) -> None:
    """Say nothing."""


def code_seed(run: Run) -> int:
    """Return the seed of the codes that are drawn for rows that are shown to a run."""
    return derive_seed(run.study_seed, "test")


def preparation_of(run: Run) -> Preparation:
    """Return how the run prepares new images. Raises UserError where it is not on record."""
    if run.preparation is None:
        problem = f"has no preparation in its {SETTINGS}, so new images cannot be prepared alike"
        raise UserError(run.name, f"{problem}. Try --split, or train it again.")
    return Preparation(
        run=run.name,
        values=run.described,
        data=run.settings.data,
        record=run.preparation,
        study_seed=run.study_seed,
        counts=run.vae.support == "counts",
    )


def score_of(run: Run, by: str | None, importance_samples: int) -> Score:
    """Return how rows are scored, by default by iw_nll. Raises UserError where the model has no
    such score.
    """
    stochastic = run.vae.posterior.stochastic
    if by == "iw_nll" and not stochastic:
        problem = f"got {by}, and {run.name} has no density; its score is the distortion"
        raise UserError("--by", f"{problem}.")
    if by == "iw_nll" and not importance_samples:
        raise UserError("--importance-samples", "got 0; must be at least 1 with --by iw_nll.")
    by = by or ("iw_nll" if importance_samples else "neg_elbo")
    return Score(by if stochastic else "distortion", importance_samples)


def calibration_of(
    run: Run, how: Score, data: Path | None, *, device: str, say: Callable[[str], None]
) -> Calibration:
    """Return what scores are compared with: what the run's folder keeps of its own rows, or else
    what is measured now and kept there where that can be written.

    Raises UserError as `open_images`, for other images, without data that only the user has, and
    where no score is left.
    """
    file = run.folder / CALIBRATION
    samples = how.importance_samples or SAMPLES
    key = f"{file_digest(run.folder / _WEIGHTS[run.epoch])} k={samples}"
    arrays = kept(file, key)
    if arrays is None:
        if data is None and run.settings.data.dataset in ("arrays", "folder"):
            raise UserError(
                "--data",
                f"is missing: p compares the rows with the run's own validation {run.noun}s, whose "
                "scores are kept once they are known. Give the file or folder of the study, or "
                "--no-p.",
            )
        measured = _measured(run, how._replace(importance_samples=samples), data, device, say)
        arrays = {"key": np.array(key), **measured}
        try:
            save_arrays(file, arrays)
        except OSError as error:
            say(f"{file} cannot be written ({error.strerror}), so p needs the data again")
    known = Calibration(arrays, how.by)
    count = len(known.scores) + known.lost
    if not len(known.scores):
        problem = f"gives none of its {count:,} validation {run.noun}s a number as {how.by}"
        raise UserError(run.name, f"{problem}, so there is no p. Try --no-p.")
    if known.lost:
        say(f"{known.lost:,} of {count:,} validation {run.noun}s have NaN as {how.by}; left out")
    return known


def _measured(
    run: Run, how: Score, data: Path | None, device: str, say: Callable[[str], None]
) -> dict[str, np.ndarray]:
    """Return the scores of the run's own validation and test rows, and other facts of its data."""
    vae = run.vae.to(resolve_device(device))
    arrays = dict[str, np.ndarray]()
    unseen = np.zeros(2, np.int64)
    for split in ("validation", "test"):
        images = open_images(run, data, split=split, same=True, say=say)
        none = [""] * len(images.x)
        batches = split_batches(
            images.x, images.keys, none, images.names, images.unseen, run.described
        )
        rows = score_rows(vae, batches, how, Tally(None), seed=code_seed(run), known=None)
        frame = _as_frame((measured for _, measured in rows), None)
        if run.described.constant:
            unseen += [(frame["unseen"] != "").sum(), len(frame)]
        for name, values in frame.items():
            if values.dtype.kind == "f":
                arrays[f"{split}_{name}"] = values.to_numpy()
        if vae.support == "counts":
            arrays[f"{split}_sums"] = row_sums(images.x.numpy())
    facts = facts_of(images.dataset)
    return arrays | facts | {"unseen": facts["unseen"] + unseen}


def open_run(name: str, runs: Path, storage: str | None = None, *, allow_code: bool = False) -> Run:
    """Open the run that `name` means: a folder; STUDY/7 or STUDY/r3 below `runs`; STUDY/best, or
    STUDY: its best run.

    A run needs its folder and nothing else; the best run is looked up in the study's storage.

    Args:
        allow_code: whether a run from elsewhere may run the modules that it names.

    Raises:
        UserError: there is no such run, it left no weights, or it names a module that is not
            allowed.
        Damaged: its settings are not what was written.
    """
    folder, name = _find(name, runs, storage)
    for file in (WEIGHTS, SETTINGS):
        if not (folder / file).is_file():
            problem = (
                f"has no {file}. A pruned trial leaves weights only with `keep: {{pruned: "
                f"weights}}` in its study file. Of a complete run, {REMEDY}"
            )
            raise UserError(name, problem)
    origin, settings = read_settings(folder)
    if named := named_run(name):
        name = run_name(origin["study"], named[1], repeat=named[0])
    check_code(name, settings.flat(), folder, allow=allow_code)
    known = ("values", "study_seed", "fingerprint", "arithmetic", "preparation")
    facts = {fact: origin[fact] for fact in known}
    return Run(name=name, folder=folder, settings=settings, **facts)


def at_last_epoch(run: Run) -> Run:
    """Return the run with the weights of its last epoch. Raises UserError where it kept none."""
    if not (run.folder / LAST).is_file():
        problem = (
            f"has no {LAST}: only repeats (runs of confirm, compare and baselines) keep the "
            "weights of their last epoch."
        )
        raise UserError(run.name, problem)
    return replace(run, epoch="last")


def _find(text: str, runs: Path, storage: str | None) -> tuple[Path, str]:
    """Return the folder that a text names, and what to call the run."""
    folder = Path(text).expanduser()
    # Not `Path.is_file`, which raises for a name that no file system takes.
    if os.path.isfile(folder / SETTINGS) or os.path.isfile(folder / WEIGHTS):
        return folder, folder.resolve().name
    name = parse_run(text)
    if name is None and "/" in text.rstrip("/") and not text.endswith((".yaml", ".yml")):
        raise UserError(text, f"is no finished run. {_FORMS}")
    if name is None or name.number is None:
        try:
            stored = stored_study(name.study if name else text, runs, storage)
            best = best_of(stored)
        except UserError as error:
            raise UserError(error.place, f"{error.problem} {_FORMS}") from error
        name = RunName(stored.study.name, number=best.number, repeat=best.repeat)
    folder = runs / "trials" / name.study / name.folder
    if folder.is_dir():
        return folder, str(name)
    if name.study not in (known := study_names(runs, storage)):
        problem = f"'{runs}' has no study '{name.study}'. {did_you_mean(name.study, known)}"
        raise UserError(str(name), problem)
    run = name.record(stored_study(name.study, runs, storage))
    ended = f"{run.state} ({run.failure.message.rstrip('.')})" if run.failure else run.state
    raise UserError(
        str(name),
        f"left no weights; its state is {ended}. `vaeexp trials {name.study}` lists the runs.",
    )


def read_settings(folder: Path) -> tuple[dict[str, Any], Settings]:
    """Read the file of a run's settings: where the run comes from, and the settings.

    Raises UserError where it is no such file, Damaged where it is not what was written.
    """
    path = folder / SETTINGS
    try:
        stored = load_json(path)
        values = values_of_run(stored)
        named = ("study", "seed", "study_seed", "fingerprint", "arithmetic")
        origin = {name: stored[name] for name in named}
        settings = Settings(**{section: stored[section] for section in SECTIONS})
        return origin | {"values": values, "preparation": stored.get("preparation")}, settings
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unreadable_settings(str(path), folder, error) from error


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images that a run can be shown: targets float32 [N, C, H, W], labels int64 [N] and their
    names; all 0 without classes.
    """

    dataset: Dataset
    split: str
    part: Split
    x: torch.Tensor
    labels: torch.Tensor
    classes: tuple[str, ...] | None
    places: np.ndarray
    """Place of each image in the split; int64 [N]."""

    @property
    def names(self) -> list[str]:
        """The name of each for people."""
        return self.part.names.of(self.places)

    @property
    def keys(self) -> np.ndarray:
        """The hash of each image before it was binarised, uint64 [N]."""
        return self.part.keys[self.places]

    @property
    def unseen(self) -> list[str]:
        """For each, the names of the columns, constant in training, that change in this row."""
        return self.part.marks(self.places)


def open_images(
    run: Run,
    data: Path | None,
    *,
    split: str = "test",
    count: int | None = None,
    seed: int = 0,
    same: bool = False,
    say: Callable[[str], None],
) -> Images:
    """Open images of the data set that the run was trained on, with the targets that its study saw.

    Args:
        data: as for a sweep: the folder or file with the images; else the user's cache or a
            download.
        split: `test` or `validation`.
        count: number of images, drawn with the seed, or all where there are fewer. None gives all
            images in their order.
        same: whether to refuse other images than the run's own; otherwise `say` gets a note.

    Raises:
        UserError: the images cannot be had, or do not fit the model.
    """
    dataset = open_dataset(run.settings.data, root=data, say=say)
    own = table_in(run.preparation) if run.preparation else ()
    columns = table_in(dataset.preparation)
    if own and own != columns:
        if {*own} != {*columns}:
            problem = f"was trained on other columns: {dataset.title} has"
            raise UserError(run.name, f"{problem} {other_columns(own, columns)}.")
        dataset = open_dataset(run.settings.data, root=data, columns=own, say=say)
    if dataset.image_shape != run.values.shape:
        here, there = (
            " × ".join(map(str, shape)) for shape in (run.values.shape, dataset.image_shape)
        )
        raise UserError(
            run.name,
            f"is a model of images of {here} (channels × height × width); {dataset.title} has "
            f"{there}.",
        )
    if run.fingerprint != dataset.fingerprint:
        error = other_images(run.name, run.fingerprint, dataset, run.preparation or {})
        if same:
            raise error
        say(f"NOTE: {run.name} {error.problem}")
    part = dataset.test if split == "test" else dataset.validation
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed)).numpy()
    indices = np.arange(len(part)) if count is None else order[:count]
    seed = derive_seed(run.study_seed, "test targets" if split == "test" else "targets")
    if dataset.target_kind == "dynamic":  # the draws of an image depend on its place in the split
        x = targets(part.images, "dynamic", seed)[torch.from_numpy(indices)]
    else:
        x = targets(part.images[indices], dataset.target_kind, seed)
    return Images(
        dataset=dataset,
        split=split,
        part=part,
        x=x,
        labels=torch.from_numpy(np.asarray(part.labels)[indices].astype(np.int64)),
        classes=part.classes,
        places=indices,
    )


def other_images(
    run: str, fingerprint: str, dataset: Dataset, record: Mapping[str, Any]
) -> UserError:
    """Return the error that says that a run was trained on other images than these; `record`: of
    its images, or of how they were prepared.
    """
    return UserError(
        run,
        f"was trained on other images, with the fingerprint {fingerprint[:12]}; {dataset.title} "
        f"({dataset.source}) has {dataset.fingerprint[:12]}. Numbers would not be comparable. "
        f"Give the run's own images (--data).{changes_words(dataset, record)}",
    )


def evaluate_run(
    run: Run,
    images: Images,
    *,
    importance_samples: int | None,
    device: str,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a model on `images`; return run, epoch (`best` or `last`), split, protocol (in
    words), figures, record, JSON-able.

    Figures are named as in a sweep, `test/neg_elbo` …, with the prefix of the split. With the run's
    own number of importance samples (None), on the device of the sweep, they equal the test figures
    that the sweep recorded. `record` says in words whether they do (`agrees`: true, false, or null
    where the two cannot be compared).
    """
    # Here `say` announces its training, which happens once.
    open_classifier(images.dataset, say=say)
    settings = run.settings.with_params(
        {"importance_samples": importance_samples} if importance_samples else {}
    )
    vae = run.vae.to(resolve_device(device))
    figures, _ = test_figures(
        vae,
        images.dataset,
        images.x,
        settings.evaluation,
        study_seed=run.study_seed,
        weighted=True,
        progress=progress,
    )
    record = _compare_with_record(run, images.split, figures, vae.latent_mask.device)
    if "test/bits_per_dimension" in figures:
        figures["test/bits_per_dimension_se"] = bits_per_dimension(
            figures["test/neg_elbo_se"], images.x[0].numel()
        )
    estimator = "distortion at the code; no bound on the likelihood"
    if vae.posterior.stochastic:
        k = settings.evaluation.importance_samples
        estimator = (
            f"−ELBO at β = 1, one sample per {run.noun}; importance-weighted NLL with k = {k:,}"
        )
    return {
        "run": run.name,
        "epoch": run.epoch,
        "split": images.split,
        "protocol": protocol(replace(images.dataset, values=run.values), settings)
        | {
            "images": plural(len(images.x), f"{images.split} {run.noun}"),
            "weights": f"of the {run.epoch} epoch",
            "estimator": estimator,
        },
        "figures": {
            name.replace("test/", f"{images.split}/", 1): value for name, value in figures.items()
        },
        "record": {"agrees": record.agrees, "words": record.words},
    }


def _compare_with_record(
    run: Run, split: str, figures: Mapping[str, float], device: torch.device
) -> Part:
    """Compare figures with those that the study recorded in the run's folder."""
    if split != "test":
        return Part("record", "not compared: the study has figures of test images on record", None)
    result = run.folder / RESULT
    recorded = load_json(result)["test"] if result.is_file() else {}
    here = arithmetic(str(device), precision="float32", fuse=False, compile=False, threads=None)
    same = all(run.arithmetic.get(name) == here[name] for name in ("device", "processor", "torch"))
    return compare_figures(figures, recorded, last=run.epoch == "last", same=same)
