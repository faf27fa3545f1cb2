"""`vaeexp sweep --dry-run`: what a sweep would do, how large its models are, and how long it may take."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vaeexp.data import Dataset
from vaeexp.execution import resolve_execution
from vaeexp.settings import Settings
from vaeexp.study import maxima_of, uses_average

if TYPE_CHECKING:
    from rich.console import Console

    from sweeps.studyfile import Study

__all__ = ["print_plan"]


def print_plan(
    study: "Study", settings: Settings, dataset: Dataset, asked: Mapping[str, Any], console: "Console"
) -> None:
    """Print the plan. The time estimate is of a few measured training steps at the largest model."""
    import torch

    from vaeexp.training.measure import seconds_per_image
    from vaeexp.vae import build_vae
    from vaeexp.worker import open_source

    maxima = maxima_of(study)
    trials = study.budget.trials or 100
    execution = resolve_execution(asked, {}, dataset, settings, maxima, trials)
    if execution.threads:
        torch.set_num_threads(execution.threads)
    largest = settings.with_params(maxima)
    parameters = build_vae(largest.model, dataset.image_shape, 0).parameter_count()
    source = open_source(dataset, torch.device(execution.device), study.seed)
    each = seconds_per_image(
        source, largest, maxima, precision=execution.precision, group=execution.group, width=execution.width
    )
    epoch = each * dataset.sizes[0] / execution.processes
    vectors = 5 if uses_average(study) else 4
    memory = execution.width * parameters * 4 * (vectors + 1) / 2**20

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    say(f"Study {study.name} ({study.path}): {study.question}")
    say(
        f"Data: {dataset.title}, {dataset.sizes[0]:,} / {dataset.sizes[1]:,} / {dataset.sizes[2]:,} images, from {dataset.source}"
    )
    say(f"Search: {', '.join(study.space.as_dict())}; {study.sampler.name} sampler, {study.pruner.name} pruner")
    say(
        f"Budget: {', '.join(f'{name} {value:g}' for name, value in study.budget.model_dump(exclude_none=True).items())}; up to {settings.train.epochs} epochs each"
    )
    runs = study.confirm.top * study.confirm.seeds if study.confirm else 0
    pairs = (
        study.compare.top * study.compare.seeds * len(study.space.as_dict()[study.compare.parameter]["values"])
        if study.compare
        else 0
    )
    say(f"Then: {runs} runs to confirm, {pairs} matched pairs to compare (runs that serve both are trained once)")
    say(
        f"Execution: {execution.device}, {execution.precision}, {execution.processes} processes × {execution.width} lanes ({execution.group})"
    )
    say(
        f"Largest model: {parameters:,} parameters; its lanes take about {memory:,.0f} MiB in each process, besides the images"
    )
    search = trials * settings.train.epochs * epoch
    say(
        f"Measured: {epoch:.2f} s per trial-epoch. Search: at most {_duration(search)} without pruning; "
        f"about half of that with it. Confirm and compare: about {_duration((runs + pairs) * settings.train.epochs * epoch)}, besides test figures."
    )
    say("Nothing was trained.")


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
