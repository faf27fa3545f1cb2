"""The command evaluate: the figures of a finished run as a table and as JSON."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeexp import runs as finished
from vaeexp.commands.finished_run import count_option, note, run_argument, split_option, writing
from vaeexp.commands.options import data_option
from vaeexp.console import open_console, print_table, progress_bar, write_line
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


@click.command()
@run_argument
@data_option
@split_option
@count_option(
    "--importance-samples",
    default=None,
    show_default="the run's own",
    help="Samples per image (k) of the importance-weighted NLL.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda", "mps"]),
    default="auto",
    help="Device that computes. auto: cuda if there is one, else mps, else cpu.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.json",
    help="Write protocol and figures as JSON too.",
)
def evaluate(
    *,
    run: str,
    runs: Path,
    storage: str | None,
    data: Path | None,
    split: str,
    importance_samples: int | None,
    device: str,
    output: Path | None,
) -> None:
    """Measure a finished run on test images.

    RUN is STUDY/7 for a trial, STUDY/r3 for a repeat, STUDY/best for the best run, or a folder with the run's files. Prints −ELBO, importance-weighted NLL, active units, reconstruction errors and, where there are classes, inception score and Fréchet distance, with the protocol they hold under. With the run's own number of samples they are the figures that its study recorded. Images other than the run's own are refused.
    """
    opened = finished.run.open_run(run, runs, storage)
    if output is not None:
        with writing(output):  # before hours of work
            output.parent.mkdir(parents=True, exist_ok=True)
    images = finished.run.open_images(opened, data, split=split, same=True, say=note)
    with progress_bar(open_console(stderr=True), "importance-weighted NLL") as progress:
        evaluation = finished.evaluation.evaluate_run(
            opened, images, importance_samples=importance_samples, device=device, say=note, progress=progress
        )
    print_evaluation(evaluation, console=open_console())
    if output is not None:
        with writing(output):
            output.write_text(json.dumps(evaluation, indent=1, sort_keys=True) + "\n", encoding="utf-8")
