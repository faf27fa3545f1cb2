"""`vaeexp sweep --dry-run`: what a sweep would do, how large its models are, and how long it may take."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch

from vaeexp.console import write_line
from vaeexp.data import Dataset, describe_plan
from vaeexp.models.vae import build_vae
from vaeexp.runs.worker import open_source
from vaeexp.settings import Settings
from vaeexp.study import maxima_of, uses_average
from vaeexp.sweep.execution import Execution, model_shapes, resolve_execution
from vaeexp.training.groups.measure import seconds_per_image
from vaeexp.words import format_duration, format_short

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.study.study_file import Study


def print_plan(
    study: "Study", settings: Settings, dataset: Dataset, asked: Mapping[str, Any], console: "Console"
) -> None:
    """Print the plan. The time estimate is of a few measured training steps of the largest model."""
    trials = study.budget.trials or 100
    execution = resolve_execution(
        asked, {}, dataset, settings, maxima_of(study), trials, len(model_shapes(study, settings))
    )
    for line in (*_intent(study, settings, dataset), *_cost(study, settings, dataset, execution, trials)):
        write_line(console, line)
    write_line(console, "Nothing was trained.")


def _intent(study: "Study", settings: Settings, dataset: Dataset) -> Iterator[str]:
    train, validation, test = dataset.sizes
    limits = study.budget.model_dump(exclude_none=True)
    yield f"Study {study.name} ({study.path}): {study.question}"
    yield f"Data: {dataset.title}, from {dataset.source}: {train:,} images to train on, {validation:,} to validate, {test:,} to test"
    yield from (f"  {line}" for line in describe_plan(dataset))
    yield f"Search: {', '.join(study.space.names)}; sampler {study.sampler.name}, pruner {study.pruner.name}"
    yield f"Budget: {', '.join(f'{name} {limit:g}' for name, limit in limits.items())}; up to {_epochs(study, settings)} epochs each"
    confirming, comparing = _repeats(study)
    if study.confirm and confirming:
        top = f"the best {study.confirm.top} settings" if study.confirm.top > 1 else "the best setting"
        yield f"Confirm: {confirming} runs on the test images, {top} with {study.confirm.seeds} fresh seeds each"
    if study.compare and comparing:
        yield f"Compare: {comparing} runs that differ in {study.compare.parameter} alone; runs that also confirm are trained once"
    for row in study.baselines:
        given = ", ".join(f"{name} = {format_short(value)}" for name, value in row.settings.items()) or "as it is"
        yield f"Baseline: {row.title} ({'the best setting' if row.at == 'best' else 'the fixed settings'}; {given})"


def _cost(study: "Study", settings: Settings, dataset: Dataset, execution: Execution, trials: int) -> Iterator[str]:
    measured = {name: _measure(study, settings, dataset, execution, name) for name in _networks(study, settings)}
    parameters, epoch = (max(numbers) for numbers in zip(*measured.values(), strict=True))
    slowest = (
        f" with {max(measured, key=lambda name: measured[name][1])}, the slowest network" if len(measured) > 1 else ""
    )
    # Weights, two moments, the best weights, gradients; and the running average where the study has one.
    lanes = -(-execution.lanes // execution.workers)
    vectors = 6 if uses_average(study) else 5
    memory = lanes * parameters * 4 * vectors / 2**20
    seconds = _epochs(study, settings) * epoch
    yield f"Execution: {execution.lanes} trials at once on {execution.describe()}"
    yield f"Largest model: {parameters:,} parameters; the lanes of a worker take about {memory:,.0f} MiB, besides the images"
    yield f"Measured: {epoch:.2f} s per trial-epoch{slowest}. The search takes at most {format_duration(trials * seconds)}; pruning shortens that"
    if repeats := sum(_repeats(study)):
        yield f"Confirm and compare take at most {format_duration(repeats * seconds)}, and the test figures come on top"
    if study.baselines:
        referred = sum(row.seeds * row.settings.get("epochs", _epochs(study, settings)) for row in study.baselines)
        yield f"Baselines: at most {referred:,} trial-epochs, {format_duration(referred * epoch)} at that speed"


def _epochs(study: "Study", settings: Settings) -> int:
    """Epochs of a trial of the search, at most."""
    return int(study.space.maximum("epochs") or settings.train.epochs)


def _repeats(study: "Study") -> tuple[int, int]:
    """Runs to confirm and runs to compare."""
    confirming = study.confirm.top * study.confirm.seeds if study.confirm else 0
    if not study.compare:
        return confirming, 0
    levels = len(study.space[study.compare.parameter].values)
    return confirming, study.compare.top * levels * study.compare.seeds * levels


def _networks(study: "Study", settings: Settings) -> list[str]:
    return list(study.space["network"].values) if "network" in study.space.names else [settings.model.network]


def _measure(
    study: "Study", settings: Settings, dataset: Dataset, execution: Execution, network: str
) -> tuple[int, float]:
    """Parameters of the largest model of this network, and seconds per trial-epoch of the whole machine when it trains
    such models."""

    if execution.threads:
        torch.set_num_threads(execution.threads)
    maxima = maxima_of(study)
    largest = settings.with_params({**maxima, "network": network})
    source = open_source(dataset, torch.device(execution.device), study.seed, resident_mb=execution.resident_mb)
    seconds = seconds_per_image(
        source,
        largest,
        maxima,
        -(-execution.lanes // execution.workers),
        precision=execution.precision,
        fuse=execution.fuse,
        compile=execution.compile,
    )
    parameters = build_vae(largest.model, dataset.image_shape, 0).parameter_count()
    return parameters, seconds * dataset.sizes[0] / execution.workers
