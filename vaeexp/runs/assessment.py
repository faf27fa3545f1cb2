"""What `vaeexp evaluate` does: the figures of a finished run on test or validation images, as a table and as JSON."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from vaeexp.console import print_table, write_line
from vaeexp.evaluation.classifier import open_classifier
from vaeexp.evaluation.nll import bits_per_dimension
from vaeexp.runs.artifacts import test_figures
from vaeexp.runs.provenance import protocol
from vaeexp.runs.run import Images, Run
from vaeexp.words import format_short

if TYPE_CHECKING:
    from rich.console import Console

FIGURES = {
    "neg_elbo": ("−ELBO", "nats per image"),
    "iw_nll": ("importance-weighted NLL", "nats per image"),
    "distortion": ("distortion", "nats per image"),
    "rate": ("rate", "nats per image"),
    "bits_per_dimension": ("bits per dimension", "bits per sub-pixel"),
    "active_units": ("active units", "latent dimensions"),
    "reconstruction_mse": ("reconstruction MSE", "black to white is 1"),
    "reconstruction_ssim": ("reconstruction SSIM", "1 is equal"),
    "inception_score": ("inception score", "1 to the number of classes"),
    "fid": ("Fréchet distance", "of features of the classifier"),
    "classifier_accuracy": ("accuracy of the classifier", "share of the test images"),
}
"""Metric without its prefix → words and unit."""


def evaluate_run(
    run: Run,
    images: Images,
    *,
    importance_samples: int | None,
    device: str,
    say: Callable[[str], None],
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """run, protocol (in words) and figures of a model on `images`, JSON-able.

    Names of figures are those of a sweep, `test/neg_elbo` …, with the prefix of the split. With the run's own number of importance
    samples (None), on the device of the sweep, they are the very figures that it recorded for test.
    """
    from vaeexp.training.device import resolve_device

    open_classifier(images.dataset, say=say)  # it is trained once, which is to be announced
    given = {"importance_samples": importance_samples} if importance_samples else {}
    settings = run.settings.with_params(given)
    found = test_figures(
        run.vae.to(resolve_device(device)),
        images.dataset,
        images.x,
        settings.evaluation,
        study_seed=run.study_seed or 0,
        progress=progress,
    )
    if "test/bits_per_dimension" in found:
        found["test/bits_per_dimension_se"] = bits_per_dimension(found["test/neg_elbo_se"], images.x[0].numel())
    k = settings.evaluation.importance_samples
    bounds = f"−ELBO at β = 1, one sample per image; importance-weighted NLL with k = {k:,}"
    words = protocol(images.dataset, settings) | {
        "images": f"{len(images.x):,} {images.split} images",
        "estimator": bounds if run.vae.posterior.stochastic else "distortion at the code; no bound on the likelihood",
    }
    return {
        "run": run.name,
        "split": images.split,
        "protocol": words,
        "figures": {name.replace("test/", f"{images.split}/", 1): value for name, value in found.items()},
    }


def print_evaluation(evaluation: Mapping[str, Any], *, console: "Console") -> None:
    """The protocol, then one line for each figure, with its standard error over images where it has one."""
    prefix = f"{evaluation['split']}/"
    figures = {name.removeprefix(prefix): value for name, value in evaluation["figures"].items()}
    write_line(console, f"{evaluation['run']} on {evaluation['protocol']['images']}", style="bold")
    print_table(console, ("", ""), list(evaluation["protocol"].items()), header=False)
    write_line(console, "")
    rows = []
    for name, (words, unit) in FIGURES.items():
        if name in figures:
            if name == "iw_nll":
                words += f", k = {figures['importance_samples']:,.0f}"
            value, error = _with_error(figures[name], figures.get(f"{name}_se", math.nan))
            rows.append((words, value, error, unit))
    print_table(console, ("figure", "value", "standard error", "unit"), rows)


def _with_error(value: float, error: float) -> tuple[str, str]:
    """A value to the second digit of its standard error, and that; as it comes where there is no error."""
    if not error > 0:
        return format_short(value), ""
    decimals = max(0, 1 - math.floor(math.log10(error)))
    return f"{value:,.{decimals}f}", f"± {error:,.{decimals}f}"


@contextmanager
def progress_bar(console: "Console", words: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, to be told (done, total); nothing where the console is no terminal."""
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(words, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
