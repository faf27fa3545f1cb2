"""Commands on finished runs, and how they are told which: evaluate, export."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from sweeps.errors import UserError
from vaeexp.commands.options import data_option, runs_option, storage_option

if TYPE_CHECKING:
    from rich.console import Console

    from vaeexp.runs.run import Run


def _complete_run(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    trials = Path(ctx.params.get("runs") or os.environ.get("VAEEXP_RUNS", "mlruns")) / "trials"
    names = [path.name for path in trials.glob("*") if path.is_dir()]
    names += [f"{path.parent.parent.name}/{path.parent.name}" for path in trials.glob("*/*/weights.safetensors")]
    return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def on_run(command: Callable) -> Callable:
    """RUN, and where it is looked for."""
    for option in (storage_option, runs_option):
        command = option(command)
    return click.argument("run", metavar="RUN", shell_complete=_complete_run)(command)


def count_option(*names: str, default: int | None, help: str, **attributes: Any) -> Callable:
    return click.option(*names, type=click.IntRange(min=1), metavar="N", default=default, help=help, **attributes)


split_option = click.option(
    "--split", type=click.Choice(["test", "validation"]), default="test", help="Which images of the data set."
)


@click.command()
@on_run
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

    RUN is STUDY/trial-0007, STUDY/repeat-0003, STUDY for its best run, or a folder with its files. Prints −ELBO, importance-weighted NLL, active units, reconstruction errors and, where there are classes, inception score and Fréchet distance, with the protocol they hold under. With the run's own number of samples they are the figures that its study recorded. Images other than the run's own are refused.
    """
    from vaeexp.console import open_console
    from vaeexp.runs.assessment import evaluate_run, print_evaluation, progress_bar
    from vaeexp.runs.run import open_images
    from vaeexp.training.checkpoint import write_json

    opened, notes = open_given(run, runs, storage)
    if output is not None:
        with writing(output):  # found out before hours of work
            output.parent.mkdir(parents=True, exist_ok=True)
    images = open_images(opened, data, split=split, same=True, say=saying(notes))
    with progress_bar(notes, "importance-weighted NLL") as progress:
        evaluation = evaluate_run(
            opened,
            images,
            importance_samples=importance_samples,
            device=device,
            say=saying(notes),
            progress=progress,
        )
    print_evaluation(evaluation, console=open_console())
    if output is not None:
        with writing(output):
            write_json(output, evaluation)


@click.command()
@on_run
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="DIR",
    required=True,
    help="Folder to write into; it is made.",
)
def export(*, run: str, runs: Path, storage: str | None, output: Path) -> None:
    """Write a model that loads without vaeexp.

    RUN is as for `vaeexp evaluate`. DIR gets encoder.pt2 and decoder.pt2, which PyTorch loads by itself, the weights as safetensors, the settings, and a README.txt that says how to use them.
    """
    from vaeexp.runs.export import export_run

    opened, _ = open_given(run, runs, storage)
    with writing(output):
        paths = export_run(opened, output)
    click.echo("\n".join(map(str, paths)))


def open_given(run: str, runs: Path, storage: str | None) -> "tuple[Run, Console]":
    """The run, and the console for notes, that of the standard error."""
    from rich.console import Console

    from vaeexp.console import tolerant
    from vaeexp.runs.run import open_run

    return open_run(run, runs, storage), tolerant(Console(stderr=True, highlight=False))


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the operating system says into the user's error."""
    try:
        yield
    except OSError as error:
        raise UserError(str(path), f"cannot be written: {error.strerror or error}.") from error


def saying(notes: "Console") -> Callable[[str], None]:
    from vaeexp.console import write_line

    return lambda text: write_line(notes, text, style="yellow")
