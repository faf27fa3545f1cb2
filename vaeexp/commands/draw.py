"""Commands that draw a finished run: sample, reconstruct, interpolate, traverse, embed."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from vaeexp import runs as finished
from vaeexp.commands.finished_run import count_option, note, run_argument, split_option, writing
from vaeexp.commands.options import data_option

if TYPE_CHECKING:
    from vaeexp.runs.drawing import Drawing
    from vaeexp.runs.run import Run


def _output(default: str) -> Callable:
    return click.option(
        "--output",
        "-o",
        type=click.Path(path_type=Path),
        metavar="FILE",
        show_default=default,
        help="File to write.",
    )


_seed = click.option("--seed", type=click.IntRange(min=0), metavar="N", default=0, help="Of what is drawn at random.")


@click.command()
@run_argument
@count_option("-n", "count", default=64, help="Samples.")
@click.option(
    "--component",
    type=click.IntRange(min=1),
    metavar="K",
    help="Sample this component of a mixture prior instead of the whole: 1 is the heaviest, as in the report.",
)
@_seed
@_output("samples.png")
def sample(
    *, run: str, runs: Path, storage: str | None, count: int, component: int | None, seed: int, output: Path | None
) -> None:
    """Draw samples of a finished run's prior.

    RUN is as for `vaeexp evaluate`. It needs no images. What is shown is the mean of p(x|z) at each code z drawn.
    """
    opened = finished.run.open_run(run, runs, storage)
    _write(finished.drawing.draw_samples(opened, count, component=component, seed=seed), opened, output, "samples.png")


@click.command()
@run_argument
@data_option
@split_option
@count_option("-n", "count", default=16, help="Images.")
@_seed
@_output("reconstructions.png")
def reconstruct(
    *,
    run: str,
    runs: Path,
    storage: str | None,
    data: Path | None,
    split: str,
    count: int,
    seed: int,
    output: Path | None,
) -> None:
    """Draw images and a finished run's reconstructions.

    RUN is as for `vaeexp evaluate`.
    """
    opened = finished.run.open_run(run, runs, storage)
    images = finished.run.open_images(opened, data, split=split, count=count, seed=seed, say=note)
    _write(finished.drawing.draw_reconstructions(opened, images), opened, output, "reconstructions.png")


@click.command()
@run_argument
@data_option
@count_option("--pairs", default=3, help="Pairs of test images, of two classes where there are classes.")
@count_option("--steps", default=10, help="Pictures from one image to the other, both included.")
@click.option(
    "--kind",
    type=click.Choice(["linear", "spherical", "pixel", "all"]),
    default="all",
    help="Between codes on a line or on a sphere, or between the images themselves.",
)
@_seed
@_output("interpolations.png")
def interpolate(
    *,
    run: str,
    runs: Path,
    storage: str | None,
    data: Path | None,
    pairs: int,
    steps: int,
    kind: Literal["linear", "spherical", "pixel", "all"],
    seed: int,
    output: Path | None,
) -> None:
    """Draw the way from one image to another.

    RUN is as for `vaeexp evaluate`.
    """
    opened = finished.run.open_run(run, runs, storage)
    images = finished.run.open_images(opened, data, count=2 * pairs, seed=seed, say=note)
    kinds = tuple(finished.drawing.KINDS) if kind == "all" else (kind,)
    _write(
        finished.drawing.draw_interpolations(opened, images, steps=steps, kinds=kinds),
        opened,
        output,
        "interpolations.png",
    )


@click.command()
@run_argument
@data_option
@count_option("--dimensions", default=8, help="Latent dimensions, the most active ones.")
@count_option("--steps", default=9, help="Values of each.")
@_seed
@_output("traversals.png")
def traverse(
    *,
    run: str,
    runs: Path,
    storage: str | None,
    data: Path | None,
    dimensions: int,
    steps: int,
    seed: int,
    output: Path | None,
) -> None:
    """Draw what single latent dimensions do.

    RUN is as for `vaeexp evaluate`. Each dimension goes 2.5 standard deviations of the aggregate posterior to either side: that of test images when they are given or in the user's cache, else that of images the model draws itself. A model of two dimensions is drawn as a plane too, in manifold.png beside the other file.
    """
    opened = finished.run.open_run(run, runs, storage)
    root = finished.run.own_data(opened, data)
    if root is None:
        images, source = finished.drawing.generated_images(opened, seed), "images that the model draws itself"
    else:
        found = finished.run.open_images(opened, root, most=2000, seed=seed, say=note)
        images, source = found.x, f"{len(found.x):,} test images of {found.dataset.title}"
    drawing = finished.drawing.draw_traversals(opened, images, source, dimensions=dimensions, steps=steps)
    path = _write(drawing, opened, output, "traversals.png")
    if opened.settings.model.latent_size == 2:
        _write(finished.drawing.draw_manifold(opened, images), opened, path.with_name("manifold.png"), "", named=False)


@click.command()
@run_argument
@data_option
@count_option("-n", "count", default=None, show_default="2000, or all where there are fewer", help="Test images.")
@_seed
@_output("embedding.png")
def embed(
    *, run: str, runs: Path, storage: str | None, data: Path | None, count: int | None, seed: int, output: Path | None
) -> None:
    """Draw a map of a finished run's codes.

    RUN is as for `vaeexp evaluate`. It is the t-SNE map of the posterior means of test images, coloured by class. The file with the same name and the ending .csv has the place, class, point and code of each.
    """
    opened = finished.run.open_run(run, runs, storage)
    images = finished.run.open_images(opened, data, count=count, most=2000, seed=seed, say=note)
    drawing, points = finished.drawing.draw_map(opened, images, seed=seed)
    path = _write(drawing, opened, output, "embedding.png")
    table = path.with_suffix(".csv")
    with writing(table):
        finished.drawing.write_map(opened, images, points, table, named=output is not None)
    click.echo(f"{table}  place, class, point and code of each image")


def _write(drawing: "Drawing", run: "Run", output: Path | None, default: str, *, named: bool | None = None) -> Path:
    """Write a picture and say where it is."""
    path = output or Path(default)
    with writing(path):
        finished.drawing.write_drawing(drawing, run, path, named=output is not None if named is None else named)
    click.echo(f"{path}  {run.name}: {drawing.words}")
    return path
