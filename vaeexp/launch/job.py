"""A sweep before it starts: its options, read and checked, and the plan that `--dry-run` prints.
Nothing is written yet.
"""

import math
import os
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from sweeps import (
    UserError,
    grid_size,
    tracking_uri,
)
from vaeexp.console import write_line
from vaeexp.data import Dataset, describe_plan, examples, open_dataset
from vaeexp.data.dataset import target_words, targets
from vaeexp.data.formats import some_of
from vaeexp.data.showing import kind_of, picture_words
from vaeexp.data.values import LEAST_SIGMA
from vaeexp.evaluation.nll import importance_weighted_nll
from vaeexp.launch.definition import study_opener
from vaeexp.launch.execution import Execution
from vaeexp.launch.memory import MemoryPlan, choose_execution
from vaeexp.launch.options import Places, SweepOptions
from vaeexp.machine import nearest_folder
from vaeexp.models.likelihoods import find_likelihood
from vaeexp.models.network_warnings import network_warnings
from vaeexp.models.parts import DETERMINISTIC
from vaeexp.models.vae import build_vae
from vaeexp.own_code import code_warnings
from vaeexp.plots.contact_sheet import ContactSheet
from vaeexp.runs.worker import open_source
from vaeexp.settings import Settings
from vaeexp.study import (
    check_warmups,
    data_of,
    distinct_values,
    largest,
    largest_own,
    maxima_of,
    searched_values,
    settings_of,
    smallest_batch,
)
from vaeexp.training.checkpoint_places import check_address
from vaeexp.training.device import resolve_device
from vaeexp.training.groups import may_fuse, seconds_per_image
from vaeexp.words import (
    format_duration,
    format_short,
    join_and,
    naming,
    noun_of,
    of_data,
    one_line,
    plural,
)

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps import Baseline, Engine, Study
    from vaeexp.launch.study_log import StudyLog


TIMED_IMAGES = 32
TIMED_SAMPLES = 20
"""Validation images, and codes of each, by which the plan estimates the test figures."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A sweep whose options, study and data have been checked."""

    options: SweepOptions
    study: "Study"
    settings: Settings
    datasets: Mapping[str, Dataset]
    """The images by `DataSettings.key`; those of the search come first."""
    log: "StudyLog"
    model_warnings: tuple[str, ...] = ()
    """What the user cannot have meant with networks of their own."""
    code: Mapping[str, Any] = field(default_factory=dict)
    """The user's own code of its networks, `own_code`, and its changes since the study began,
    `code_changes`, as the study records them.
    """

    @property
    def runs(self) -> Path:
        """The folder of runs."""
        return Path(self.options.runs)

    @property
    def reports(self) -> Path:
        """The folder that gets the report."""
        return Path(self.options.reports)

    @property
    def places(self) -> Places:
        """The stores of the study."""
        return Places(self.runs, self.options.storage, self.options.tracking)

    @property
    def dataset(self) -> Dataset:
        """The images of the search."""
        return next(iter(self.datasets.values()))

    @property
    def noun(self) -> str:
        """What one element of its data is called: image, signal or row."""
        return noun_of(kind_of(self.dataset.values))

    @property
    def title(self) -> str:
        """The title of its data, which says how many of them there are."""
        with naming(self.noun):
            return of_data(self.dataset.title)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the user cannot have meant, each with what to do. They stand in the plan, in
        `status` and in the report.
        """
        return (
            *self.dataset.warnings,
            *self.model_warnings,
            *check_warmups(self.study, self.dataset.sizes[0]),
            *code_warnings(self.study.name, self.code.get("code_changes", ())),
        )

    @property
    def left_out(self) -> int:
        """How many sub-pixels never change in training, where a likelihood of the study leaves them
        out; else 0.
        """
        return self.dataset.values.left_out if _leaves_out(self.study) else 0

    def command(self, *, budget: bool = True, program: str = "vaeexp") -> str:
        """Return the command that continues this study, as `SweepOptions.words` has it."""
        return f"{program} {shlex.join(['sweep', *self.options.words(budget=budget)])}"


def prepare_job(options: SweepOptions, log: "StudyLog", text: str | None = None) -> Job:
    """Check the options, the cheapest checks first. Raises UserError.

    text: content of the study file, where the study lies in no file; `options.study` is then its
    name.
    """
    open_study = study_opener(options, text)
    study = open_study()
    study = replace(study, name=options.name or study.name)
    for folder, flag in ((options.runs, "--runs"), (options.reports, "--reports")):
        _check_writable(Path(folder), flag)
    tracking_uri(options.tracking)
    if options.checkpoints is not None:
        check_address(options.checkpoints)
    resolve_device(options.execution.get("device", "auto"))
    datasets: dict[str, Dataset] = {}
    for key, wanted in data_of(study).items():
        datasets[key] = open_dataset(
            wanted,
            root=None if options.data is None else Path(options.data),
            full_data=options.full_data,
            # The lines about the files are the same for all of them.
            say=(lambda text: None) if datasets else partial(log.say, style="yellow"),
        )
    dataset = next(iter(datasets.values()))
    if dataset.subset:
        open_study = partial(open_study, subset=True)
        study = replace(open_study(), name=study.name)
        datasets = {key: datasets[key] for key in data_of(study)}
    settings = settings_of(study)
    _check_same_numbers(study, datasets)
    if (batch := largest(study, "batch_size")) > dataset.sizes[0]:
        problem = (
            f"{batch} is more than the {dataset.sizes[0]:,} training images; give at most that."
        )
        raise UserError(f"{study.path}: train.batch_size", problem)
    check_warmups(study, dataset.sizes[0])
    MemoryPlan(study, settings, dataset).check()
    # The shape of the images, which is known only now, decides whether the networks fit.
    found_values = {key: found.values for key, found in datasets.items()}
    open_study(values=found_values, least_batch=smallest_batch(study))
    found = model_warnings(study, settings, dataset)
    return Job(
        options=options,
        study=study,
        settings=settings,
        datasets=datasets,
        log=log,
        model_warnings=found,
    )


def _leaves_out(study: "Study") -> bool:
    """Return whether a likelihood of the study leaves out sub-pixels that never change."""
    names = distinct_values(study, "likelihood")
    return any(find_likelihood(name).of_varying for name in names)


def _check_same_numbers(study: "Study", datasets: Mapping[str, Dataset]) -> None:
    """Raise UserError where data sets of a study that differ in their scale alone do not hold the
    same numbers, so that its trials could not be compared.
    """
    first: dict[str, tuple[str, Dataset]] = {}
    for key, dataset in datasets.items():
        known, other = first.setdefault(dataset.binarisation, (key, dataset))
        counts = other.values.left_out, dataset.values.left_out
        if counts[0] != counts[1] and _leaves_out(study):
            problem = f"leave {counts[0]:,} and {counts[1]:,} sub-pixels that never change out of"
            raise UserError(
                f"{study.path}: scale",
                f"got scales that {problem} the density: bytes (unit) keep all. Trials of one "
                "study are compared, so search scales without unit: range, standard, none.",
            )
        if dataset.fingerprint == other.fingerprint:
            continue
        differ = [
            f"{name.partition(', ')[2] or 'unit'} ({'; '.join(each.reading) or 'as in the files'})"
            for name, each in ((known, other), (key, dataset))
        ]
        raise UserError(
            f"{study.path}: scale",
            f"got scales that change which numbers are modelled: {' and '.join(differ)}. Trials of "
            "one study are compared, so give each its own study, or search scales that keep all "
            "numbers: range, standard, none.",
        )


def model_warnings(study: "Study", settings: Settings, dataset: Dataset) -> tuple[str, ...]:
    """Return what the user cannot have meant with the networks of their own that the study
    names.
    """
    found: list[str] = []
    for network in distinct_values(study, "network"):
        if ":" in network:
            model = settings.with_params({"network": network}).model
            found += network_warnings(build_vae(model, dataset.values, 0), model)
    likelihoods = distinct_values(study, "likelihood")
    found += fixed_scales(study, likelihoods)
    learned = {"gaussian_learned", "student_t"} & {*likelihoods}
    return (*found, *(few_values(dataset) if learned else ()))


def fixed_scales(study: "Study", likelihoods: Sequence[str]) -> list[str]:
    """Doubt a fixed σ whose unit the search changes: under each scale it is another model."""
    scales = [str(scale) for scale in distinct_values(study, "scale")]
    names = {find_likelihood(name).scale for name in likelihoods} - {None, ""}
    return [
        f"{name} is given in scaled units, and the scales {join_and(scales)} are searched, so each "
        "has another width. Try likelihood: gaussian_learned, whose σ is learned"
        for name in sorted(names)
        if len(scales) > 1 and len(distinct_values(study, name)) == 1
    ]


def few_values(dataset: Dataset) -> list[str]:
    """Doubt columns of few values under a learned σ: a density there has no bound."""
    least = dataset.values.least_sigma
    if isinstance(least, float):
        return []
    few = [place for place, bound in enumerate(least) if bound > LEAST_SIGMA]
    if not few or dataset.image_shape[1] > 1:
        return []
    names = dataset.features or [f"column {place}" for place in range(len(least))]
    shown = some_of([names[place] for place in few])
    return [
        f"{plural(len(few), 'column')} of few values ({shown}): a density has no bound there, so "
        "the learned σ stays above half a step of theirs. Try leaving such columns out"
    ]


def _check_writable(folder: Path, flag: str) -> None:
    there = nearest_folder(folder)
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        problem = f"'{folder}' cannot be written: '{there}' is no folder that you may write to."
        raise UserError(flag, f"{problem} Choose another folder.")


def print_plan(job: Job, console: "Console", engine: "Engine") -> None:
    """Print the plan. A few training steps of the largest model give the estimate of time.
    `engine`: as for `choose_execution`.
    """
    study = job.study
    trials = study.budget.trials or 100
    say = partial(write_line, console)
    if (size := grid_size(study.sampler, study.space)) is not None:
        trials = min(size, trials if study.budget.trials else size)
        say(f"The grid has {plural(size, 'setting')}; the search ends after {trials}.")
    execution = choose_execution(
        study, job.settings, job.dataset, job.options.execution, {}, say, engine=engine
    )
    compare_sizes(job, execution)
    for line in (*_describe_intent(job), *_describe_cost(job, execution, trials)):
        say(line)
    for warning in job.warnings:
        say(f"warning: {warning}", style="yellow")
    say("Nothing was trained.")


def compare_sizes(job: Job, execution: Execution) -> None:
    """Say at which sizes of a list, or of the ends and the middle of a range, the user's code
    trains alone; each further size is compared before its lane joins.
    """
    space = job.study.space
    maxima = maxima_of(job.study)
    for name in maxima.keys() & set(space.names) if execution.fuse else ():
        low, *others = searched_values(job.study, name)
        middle = [(low + others[0]) // 2] if space[name].kind != "choice" else []
        for size in (low, *middle, *others):
            may_fuse(job.dataset.values, job.settings.with_params({name: size}), maxima)


EXAMPLES = 9
"""Images of a contact sheet."""


def contact_sheet(job: Job) -> ContactSheet:
    """Return a few training images as the models are given them. Raises Damaged."""
    images, classes = examples(job.dataset, EXAMPLES)
    words = picture_words(job.dataset.values)
    return ContactSheet(images, classes, job.title, words)


def describe_data(job: Job) -> list[str]:
    """Return the lines of `describe_plan`, and one on all targets that the study searches, where it
    searches several.
    """
    likelihoods = searched_values(job.study, "likelihood")
    lines = describe_plan(job.dataset, " or ".join(likelihoods))
    if left_out := job.left_out:
        where = f"{left_out:,} of {math.prod(job.dataset.image_shape):,} values"
        lines.append(f"Left out of the density: {where}, which never change in training")
    ways = [*dict.fromkeys(map(target_words, job.datasets.values()))]
    return [*lines, f"Searched targets: {'; '.join(ways)}"] if len(ways) > 1 else lines


def _describe_intent(job: Job) -> Iterator[str]:
    study = job.study
    dataset = job.dataset
    epochs = _find_most_epochs(job)
    train, validation, test = dataset.sizes
    limits = study.budget.model_dump(exclude_none=True)
    yield f"Study {study.name} ({study.path}): {one_line(study.question)}"
    yield (
        f"Data: {job.title}, from {dataset.source}: {train:,} {job.noun}s to train on, "
        f"{validation:,} to validate, {test:,} to test"
    )
    yield from (f"  {line}" for line in describe_data(job))
    if dataset.subset and study.subset:
        yield f"On this subset the study changes: {', '.join(study.subset)}"
    yield from _describe_validation(job)
    yield (
        f"Search: {', '.join(study.space.names)}; sampler {study.sampler.name}, pruner "
        f"{study.pruner.name}"
    )
    if warmup := study.longest_warmup:
        rungs = getattr(study.pruner, "rungs", None)
        compared = f"trials are compared from epoch {warmup + 1} on"
        if warmup >= epochs:
            compared = "no trial is compared before its end"
        elif rungs:
            compared += f", rungs at {join_and([str(rung) for rung in rungs])}"
        yield (
            f"Warm-up of β: up to {plural(warmup, 'epoch')}, which count for no best epoch, "
            f"patience or pruning; {compared}"
        )
    yield (
        f"Budget: {', '.join(f'{name} {limit:g}' for name, limit in limits.items())}; up to "
        f"{epochs} epochs each"
    )
    with naming(job.noun):
        yield from map(of_data, _describe_later_runs(study))


def _describe_validation(job: Job) -> Iterator[str]:
    """Say how far the draws of z can move a validation −ELBO.

    Under the exact posterior of a linear Gaussian model with posterior variances s_i, one draw
    moves −log p(x|z) of an image by a variance of ½ Σ (1 − s_i²) in the mean: at most ½ for each
    latent dimension. Nothing better is known before training.
    """
    if job.settings.model.posterior in DETERMINISTIC:
        return
    rows, draws = job.dataset.sizes[1], job.settings.evaluation.validation_draws
    size = maxima_of(job.study)["latent_size"]
    error = math.sqrt(size / (2 * rows * draws))
    yield (
        f"Validation: {plural(rows, job.noun)} with {plural(draws, 'draw')} of z each; the draws "
        f"give −ELBO a standard error of up to about {error:.2g} nats (of a linear model with "
        f"latent_size {size}), the same draws for every trial"
    )


def _describe_later_runs(study: "Study") -> Iterator[str]:
    later = later_runs(study)
    if study.confirm:
        race = " in a race" if study.confirm.race else ""
        top = (
            f"the best {study.confirm.top} settings"
            if study.confirm.top > 1
            else "the best setting"
        )
        yield (
            f"Confirm: up to {later[TO_CONFIRM]} runs on the test images, {top} with "
            f"{study.confirm.seeds} fresh seeds each{race}"
        )
    if study.compare:
        names = " or ".join(study.compare.parameters)
        yield (
            f"Compare: up to {later[TO_COMPARE]} runs that differ in {names} alone; runs that "
            "also confirm are trained once"
        )
    for row in study.baselines:
        changes = [f"{name} = {format_short(value)}" for name, value in row.settings.items()]
        at = "the best setting" if row.at == "best" else "the fixed settings"
        yield (
            f"Baseline: up to {plural(_count_baseline(study, row), 'run')} of {row.title} ({at}; "
            f"{', '.join(changes) or 'as it is'})"
        )


def _describe_cost(job: Job, execution: Execution, trials: int) -> Iterator[str]:
    study = job.study
    choices = ("network", "likelihood")
    models = product(*(searched_values(study, name) for name in choices))
    measured = [
        _measure(job, execution, dict(zip(choices, model, strict=True))) for model in models
    ]
    parameters, epoch = (max(numbers) for numbers in zip(*measured, strict=True))
    search = trials * _find_most_epochs(job) * epoch
    yield f"Execution: {execution.lanes} trials at once on {execution.describe()}"
    yield (
        f"Largest model: {parameters:,} parameters. "
        f"{MemoryPlan(study, job.settings, job.dataset).words(execution)}"
    )
    shorter = "" if study.pruner.name == "none" else "; pruning shortens that"
    yield (
        f"Measured: {epoch:.2f} s per trial-epoch. The search takes at most "
        f"{format_duration(search)}{shorter}"
    )
    later = later_runs(study)
    if later:
        runs = sum(later.values())
        training = later_epochs(job) * epoch
        figures = runs * _test_seconds(job, execution)
        purposes = ", ".join(f"{count} {purpose}" for purpose, count in later.items())
        yield (
            f"Then up to {plural(runs, 'further run')}, whatever the budget: "
            f"{purposes}. They take at most {format_duration(training)}, their test figures "
            f"{_about(figures)}"
        )
        yield f"Altogether at most {format_duration(search + training + figures)}"


def _find_most_epochs(job: Job) -> int:
    """Return the most epochs of a trial of the search."""
    return int(job.study.space.maximum("epochs") or job.settings.train.epochs)


def _about(seconds: float) -> str:
    text = format_duration(seconds)
    return text if text.startswith("under") else f"about {text}"


def _count_baseline(study: "Study", row: "Baseline") -> int:
    """Return the most runs of a baseline: on the best setting of the search, and on another one
    that wins the confirmation.
    """
    another = row.at == "best" and study.confirm is not None and study.confirm.top > 1
    return row.seeds * (2 if another else 1)


TO_CONFIRM = "to confirm"
TO_COMPARE = "to compare"
OF_BASELINES = "of baselines"
"""Purposes of runs that follow a search."""


def later_runs(study: "Study") -> dict[str, int]:
    """Return purpose → the largest number of runs that follow the search."""
    counts = dict.fromkeys((TO_CONFIRM, TO_COMPARE, OF_BASELINES), 0)
    if study.confirm:
        counts |= {
            TO_CONFIRM: study.confirm.top * study.confirm.seeds,
            "of paused trials": study.confirm.late,
        }
    if study.compare:
        pairs = sum(len(study.space[name].values) ** 2 for name in study.compare.parameters)
        counts[TO_COMPARE] = study.compare.top * study.compare.seeds * pairs
    counts[OF_BASELINES] = sum(_count_baseline(study, row) for row in study.baselines)
    return {purpose: count for purpose, count in counts.items() if count}


def later_epochs(job: Job) -> int:
    """Return the most trial-epochs of the runs that follow the search."""
    study = job.study
    longest = _find_most_epochs(job)
    epochs = sum(later_runs(study).values()) * longest
    for row in study.baselines:
        epochs += _count_baseline(study, row) * (int(row.settings.get("epochs", longest)) - longest)
    return epochs


def _test_seconds(job: Job, execution: Execution) -> float:
    """Estimate the machine's seconds for the test figures of a run: the importance-weighted NLL
    takes most of them.
    """
    dataset = job.dataset
    samples = job.settings.evaluation.importance_samples
    model = build_vae(job.settings.with_params(dict(maxima_of(job.study))).model, dataset.values, 0)
    if not model.posterior.stochastic:
        return 0.0
    x = targets(dataset.validation.images[:TIMED_IMAGES], dataset.target_kind, 0)
    tried = min(samples, TIMED_SAMPLES)
    model = model.to(execution.device).eval()
    measure = partial(importance_weighted_nll, model, x, importance_samples=tried, seed=0)
    with torch.no_grad():
        measure()  # the first call is slower
        began = time.perf_counter()
        measure()
    per_code = (time.perf_counter() - began) / (len(x) * tried)
    return per_code * samples * dataset.sizes[2] / execution.workers


def _measure(job: Job, execution: Execution, model: Mapping[str, str]) -> tuple[int, float]:
    """Return the parameters of the largest model of a network and a likelihood, and the machine's
    seconds per trial-epoch of such models.
    """
    if execution.threads:
        torch.set_num_threads(execution.threads)
    study, dataset, maxima = job.study, job.dataset, maxima_of(job.study)
    largest = job.settings.with_params({**largest_own(study), **maxima, **model})
    source = open_source(
        dataset, torch.device(execution.device), study.seed, resident_mb=execution.resident_mb
    )
    seconds = seconds_per_image(
        source,
        largest,
        maxima,
        execution.most_lanes,
        precision=execution.precision,
        fuse=execution.fuse,
        compile=execution.compile,
    )
    parameters = build_vae(largest.model, dataset.values, 0).parameter_count()
    return parameters, seconds * dataset.sizes[0] / execution.workers
