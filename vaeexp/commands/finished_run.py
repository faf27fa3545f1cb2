"""Commands on a finished run: evaluate, export, reproduce; sample, reconstruct, interpolate,
traverse, embed.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from sweeps import named_run
from vaeexp import runs as finished
from vaeexp.commands import options
from vaeexp.commands.options import Places
from vaeexp.console import json_value, open_console, print_table, progress_bar, write_line
from vaeexp.evaluation import FID_IMAGES, large_map
from vaeexp.evaluation.metrics import METRICS, with_own
from vaeexp.run_files import writing
from vaeexp.words import format_short, naming, of_data

if TYPE_CHECKING:
    from vaeexp.runs.drawing import Drawing
    from vaeexp.runs.output_files import Outputs
    from vaeexp.runs.run import Run


def _complete_run(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete `beta_mnist/best`, `beta_mnist/7`, `beta_mnist/r3`: the runs that left weights."""
    names = set()
    for path in (options.runs_folder(ctx) / "trials").glob("*/*/weights.safetensors"):
        *_, study, folder, _ = path.parts
        names.add(f"{study}/best")
        if named := named_run(folder):
            repeat, number = named
            names.add(f"{study}/{'r' if repeat else ''}{number}")
    return options.completions(names, incomplete)


allow_code_option = click.option(
    "--allow-code", is_flag=True, help="Run the modules that a run from elsewhere names."
)


def run_argument(command: Callable) -> Callable:
    """Decorate a command with RUN, and with the options that say where runs are."""
    argument = click.argument("run", metavar="RUN", shell_complete=_complete_run)
    return argument(options.places_options(allow_code_option(command)))


overwrite_option = click.option(
    "--overwrite", is_flag=True, help="Replace files that vaeexp did not write; never its input."
)


def opened_run(command: Callable) -> Callable:
    """Decorate a command with `run_argument` and --overwrite; its first arguments are the opened
    run, and where it may write.
    """

    @functools.wraps(command)
    def with_run(
        *, run: str, places: Places, allow_code: bool, overwrite: bool, **options: Any
    ) -> None:
        opened = finished.run.open_run(run, places.runs, places.storage, allow_code=allow_code)
        codes = [options["codes"]] if "codes" in options else []
        files = [*options.get("files", ()), *options.get("against", ()), *codes]
        outputs = finished.output_files.Outputs(opened, files, options.get("data"), overwrite)
        command(opened, outputs, **options)

    return run_argument(overwrite_option(with_run))


def count_option(*names: str, default: int | None, help: str, **attributes: Any) -> Callable:
    return click.option(
        *names, type=click.IntRange(min=1), metavar="N", default=default, help=help, **attributes
    )


def output_option(metavar: str, help: str, *, folder: bool = False, **attributes: Any) -> Callable:
    path = click.Path(path_type=Path, dir_okay=folder)
    return click.option("--output", "-o", type=path, metavar=metavar, help=help, **attributes)


split_option = click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    default="test",
    help="Which images of the data set.",
)


def note(text: str) -> None:
    """Print a note on standard error."""
    write_line(open_console(stderr=True), text, style="yellow")


def print_evaluation(evaluation: Mapping[str, Any], own: Sequence[str]) -> None:
    """Print the protocol, then one line for each figure, with its standard error over images where
    it has one.

    `own`: import paths of metrics of the user's own.
    """
    console = open_console()
    prefix = f"{evaluation['split']}/"
    figures = {name.removeprefix(prefix): value for name, value in evaluation["figures"].items()}
    write_line(console, f"{evaluation['run']} on {evaluation['protocol']['images']}", style="bold")
    print_table(console, ("", ""), evaluation["protocol"].items())
    write_line(console, "")
    rows = []
    for name, metric in with_own(own).items():
        if name in figures and (metric.kind == "figure" or metric.by_classifier):
            conditions = [
                f"{METRICS[own].label} = {figures[own]:,.0f}"
                for own in metric.protocol
                if own in figures
            ]
            words = ", ".join([metric.words, *conditions])
            error = format_short(figures.get(f"{name}_se"))
            rows.append((words, format_short(figures[name]), error, of_data(metric.unit)))
    print_table(console, ("figure", "value", "standard error", "unit"), rows)
    if "fid" not in figures and figures.get("generated", FID_IMAGES) < FID_IMAGES:
        missing = (
            f"no Fréchet distance, because it needs {FID_IMAGES} images and there are "
            f"{figures['generated']:,.0f}"
        )
        write_line(console, missing)
    record = evaluation["record"]
    style = {True: "green", False: "bold red", None: ""}[record["agrees"]]
    write_line(console, "")
    write_line(console, f"{evaluation['run']}: {record['words']}", style=style)


@click.command()
@opened_run
@options.data_option
@split_option
@click.option(
    "--epoch",
    type=click.Choice(["best", "last"]),
    default="best",
    help="Weights of which epoch: the one with the best validation −ELBO at β = 1, or the last, "
    "which repeats keep.",
)
@count_option(
    "--importance-samples",
    default=None,
    show_default="the run's own",
    help="Samples per image (k) of the importance-weighted NLL.",
)
@options.device_option("auto", "computes")
@output_option("FILE.json", "Write protocol and figures as JSON too.")
def evaluate(
    run: "Run",
    outputs: "Outputs",
    *,
    data: Path | None,
    split: str,
    epoch: str,
    importance_samples: int | None,
    device: str | None,
    output: Path | None,
) -> None:
    """Measure a finished run on test images.

    RUN is STUDY/7 for a trial, STUDY/r3 for a repeat, STUDY/best for the best run, or a folder with
    the run's files. Prints −ELBO, importance-weighted NLL, active units, reconstruction errors and,
    where there are classes, inception score and Fréchet distance, with the protocol they hold
    under. They are compared with the figures that its study recorded. Images other than the run's
    own are refused, and damaged weights. Exit status 1: figures differ from the record.
    """
    if epoch == "last":
        run = finished.run.at_last_epoch(run)
    if output is not None:  # before hours of work
        outputs.check(output, (), "--output")
        with writing(output):
            output.parent.mkdir(parents=True, exist_ok=True)
    images = finished.run.open_images(run, data, split=split, same=True, say=note)
    with progress_bar(open_console(stderr=True), "importance-weighted NLL") as progress:
        evaluation = finished.run.evaluate_run(
            run,
            images,
            importance_samples=importance_samples,
            device=device or "auto",
            say=note,
            progress=progress,
        )
    with naming(run.noun):
        print_evaluation(evaluation, run.settings.evaluation.metrics)
    if output is not None:
        with writing(output):
            output.write_text(
                json.dumps(json_value(evaluation), indent=1, sort_keys=True) + "\n",
                encoding="utf-8",
            )
    if evaluation["record"]["agrees"] is False:
        raise click.exceptions.Exit(1)


@click.command()
@run_argument
@output_option("DIR", "Folder to write into; it is made.", folder=True, required=True)
@click.option(
    "--onnx",
    is_flag=True,
    help="Write encoder.onnx and decoder.onnx, too. Needs `pip install 'vaeexp[onnx]'`.",
)
@overwrite_option
def export(
    *, run: str, places: Places, allow_code: bool, output: Path, onnx: bool, overwrite: bool
) -> None:
    """Write a model that loads without vaeexp.

    RUN is as for `vaeexp evaluate`. DIR gets encoder.pt2 and decoder.pt2, which PyTorch loads by
    itself, the weights as safetensors, the settings, preparation.json, which says how numbers of
    files become their inputs, and README.md, a model card with an example. The programs are
    compared with the model before they are kept.
    """
    opened = finished.run.open_run(run, places.runs, places.storage, allow_code=allow_code)
    with writing(output):
        paths = finished.export.export_run(
            opened, output, onnx=onnx, storage=places.storage, overwrite=overwrite
        )
    click.echo("\n".join(map(str, paths)))


@click.command()
@run_argument
@options.data_option
@options.device_option("that of the record")
@options.precision_option
@click.option(
    "--restore",
    is_flag=True,
    help="Put the run's files back where they are missing or damaged and the hash is the "
    "recorded one.",
)
def reproduce(*, run: str, places: Places, **how: Any) -> None:
    """Train a trial again and compare.

    RUN is STUDY/7 for a trial, STUDY/r3 for a repeat, STUDY/best for the best run. It is trained
    from its record alone, in a temporary folder; the study is only read. It must match the record
    bit for bit where device, precision, threads, processor and PyTorch are the same: in every
    epoch, in its weights, in its test figures, in how it failed. Elsewhere its best −ELBO is
    compared with the spread of seeds. Other images than its own are refused. With --restore,
    weights whose hash is the recorded one go back into the run's folder, and others beside them.
    Exit status 0: it matches; 1: it differs.
    """
    if not finished.reproduce.reproduce_trial(
        run, places.runs, places.storage, console=open_console(), **how
    ):
        raise click.exceptions.Exit(1)


def _output(default: str) -> Callable:
    return output_option("FILE", "File to write.", show_default=default)


_to = click.option(
    "--to",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write arrays in the unit of the run's files: .npy, or, of a table, .csv or .parquet.",
)
_seed = click.option(
    "--seed", type=click.IntRange(min=0), metavar="N", default=0, help="Seed of the random draws."
)


@click.command()
@opened_run
@count_option("-n", "count", default=64, help="Samples.")
@click.option(
    "--component",
    type=click.IntRange(min=1),
    metavar="K",
    help="Sample this component of a mixture prior instead of the whole: 1 is the heaviest, as "
    "in the report.",
)
@_seed
@_to
@_output("samples.png")
def sample(
    run: "Run",
    outputs: "Outputs",
    *,
    to: Path | None,
    output: Path | None,
    **how: Any,
) -> None:
    """Draw samples of a finished run's prior.

    RUN is as for `vaeexp evaluate`. It needs no images. What is shown is the mean of p(x|z) at each
    code z drawn. With --to, the arrays are written in the unit of the run's files, and a picture
    only with --output.
    """
    picture = _check_both(run, outputs, to, output, "samples.png")
    if to is not None:
        with writing(to):
            click.echo(finished.new_data.sample_to(run, to=to, **how))
    if picture is not None:
        write(finished.drawing.draw_samples(run, **how), picture)


@click.command()
@opened_run
@options.data_option
@split_option
@count_option("-n", "count", default=16, help="Images.")
@_seed
@_to
@_output("reconstructions.png")
def reconstruct(
    run: "Run",
    outputs: "Outputs",
    *,
    to: Path | None,
    output: Path | None,
    **which: Any,
) -> None:
    """Draw images and a finished run's reconstructions.

    RUN is as for `vaeexp evaluate`. With --to, the reconstructions are written in the unit of the
    run's files, and a picture only with --output.
    """
    picture = _check_both(run, outputs, to, output, "reconstructions.png")
    images = finished.run.open_images(run, say=note, **which)
    if to is not None:
        with writing(to):
            click.echo(finished.new_data.reconstruct_to(run, images, to))
    if picture is not None:
        write(finished.drawing.draw_reconstructions(run, images), picture)


@click.command()
@opened_run
@options.data_option
@count_option(
    "--pairs", default=3, help="Pairs of test images, of two classes where there are classes."
)
@count_option("--steps", default=10, help="Pictures from one image to the other, both included.")
@_seed
@_output("interpolations.png")
def interpolate(
    run: "Run",
    outputs: "Outputs",
    *,
    pairs: int,
    steps: int,
    output: Path | None,
    **which: Any,
) -> None:
    """Draw the way from one image to another.

    It goes between codes on a line and on a sphere, and between the images themselves.
    RUN is as for `vaeexp evaluate`.
    """
    path = _check(outputs, output, "interpolations.png")
    images = finished.run.open_images(run, count=2 * pairs, say=note, **which)
    drawing = finished.drawing.draw_interpolations(run, images, steps=steps)
    write(drawing, path)


@click.command()
@opened_run
@options.data_option
@count_option("--dimensions", default=8, help="Latent dimensions, the most active ones.")
@count_option("--steps", default=9, help="Values of each.")
@_seed
@_output("traversals.png")
def traverse(
    run: "Run",
    outputs: "Outputs",
    *,
    dimensions: int,
    steps: int,
    output: Path | None,
    **which: Any,
) -> None:
    """Draw what single latent dimensions do.

    RUN is as for `vaeexp evaluate`. Each dimension goes 2.5 standard deviations of the aggregate
    posterior of test images to either side. A model of two dimensions is drawn as a plane too, in
    manifold.png beside the other file.
    """
    path = _check(outputs, output, "traversals.png")
    plane = path.with_name("manifold.png")
    if run.settings.model.latent_size == 2:
        _check(outputs, plane, "")
    images = finished.run.open_images(run, count=2000, say=note, **which)
    drawing = finished.drawing.draw_traversals(run, images, dimensions=dimensions, steps=steps)
    write(drawing, path)
    if run.settings.model.latent_size == 2:
        write(finished.drawing.draw_manifold(run, images.x), plane)


@click.command()
@opened_run
@click.argument("files", metavar="[FILES]...", nargs=-1, type=click.Path(path_type=Path))
@options.data_option
@count_option(
    "-n",
    "count",
    default=None,
    show_default="all with vaeexp[map], else 2000",
    help="Test images.",
)
@_seed
@_output("embedding.png")
def embed(
    run: "Run",
    outputs: "Outputs",
    *,
    files: tuple[Path, ...],
    data: Path | None,
    count: int | None,
    seed: int,
    output: Path | None,
) -> None:
    """Draw a map of a finished run's codes.

    RUN is as for `vaeexp evaluate`. It is the t-SNE map of the posterior means of test images,
    coloured by class. FILES, as for `vaeexp encode`, are placed into it; they, and more than 2,000
    images, need openTSNE: pip install 'vaeexp[map]'. The file with the same name and the ending
    .csv has the place, class, point and code of each.
    """
    drawing = finished.drawing
    path = _check(outputs, output, "embedding.png")
    table = path.with_suffix(".csv")
    outputs.check(table, (".csv",), "--output")
    if files:
        large_map.check_installed("FILES")
    if (count or 0) > drawing.MOST_MAPPED:
        large_map.check_installed("-n")
    if count is None and not large_map.is_installed():
        count = drawing.MOST_MAPPED
    new = drawing.new_rows(run, files) if files else drawing.NO_ROWS
    images = finished.run.open_images(run, data, count=count, seed=seed, say=note)
    drawn, points, placed = drawing.draw_map(run, images, seed=seed, new=new)
    write(drawn, path)
    with writing(table):
        drawing.write_map(run, images, points, table, new=new, placed=placed)
    click.echo(f"{table}  place, class, point and code of each {run.noun}")


def _check(outputs: "Outputs", output: Path | None, default: str) -> Path:
    """Return the path of the picture to be drawn. Raises UserError where it must not be written."""
    path = output or Path(default)
    outputs.check(path, (".png",), "--output")
    return path


def _check_both(
    run: "Run", outputs: "Outputs", to: Path | None, output: Path | None, default: str
) -> Path | None:
    """Return the path of the picture to be drawn; None where arrays alone are asked for. Raises
    UserError where either must not be written.
    """
    path = _check(outputs, output, default) if to is None or output is not None else None
    if to is not None:
        outputs.check(to, finished.new_data.array_files(run))
    return path


def write(drawing: "Drawing", path: Path) -> None:
    """Write a picture, and print its path."""
    finished.drawing.write_figure(*drawing, path)
    click.echo(f"{path}  {drawing.words}")
