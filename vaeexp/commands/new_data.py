"""Commands on new data: encode, score, decode."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vaeexp import runs as finished
from vaeexp.commands import options
from vaeexp.commands.finished_run import note, opened_run, write
from vaeexp.console import open_console, print_table, progress_bar, write_line
from vaeexp.run_files import writing

if TYPE_CHECKING:
    from vaeexp.runs.output_files import Outputs
    from vaeexp.runs.run import Run

_PATH = click.Path(path_type=Path)
_files = click.argument("files", metavar="[FILES]...", nargs=-1, type=_PATH)
_split = click.option(
    "--split",
    type=click.Choice(["test", "validation"]),
    help="Instead of FILES: these images of the run's own data set.",
)


def _to_option(endings: str) -> Callable:
    return click.option(
        "--to",
        required=True,
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help=f"File to write: {endings}.",
    )


@click.command()
@opened_run
@_files
@_to_option(".parquet, .csv or .npz")
@_split
@options.data_option
@options.device_option("cpu", "computes")
def encode(
    run: "Run",
    outputs: "Outputs",
    *,
    to: Path,
    device: str | None,
    **given: Any,
) -> None:
    """Write the codes of new data.

    RUN is as for `vaeexp evaluate`. FILES are what the run's data set reads: image files or folders
    of them; .npy, .npz, .parquet, .csv, TIFF, HDF5 or zarr. They are prepared as the run's own
    images were: size, crop, channels, columns by their names, limits, offset and scale. A row of
    the output has name, label, posterior mean and log σ of each dimension, and the rate in nats. An
    image or a row that does not fit is a row with the reason as its `problem`. Images of binarised
    runs are binarised with the recorded seed.
    """
    outputs.check(to, finished.row_files.ROW_FILES)
    asked = finished.new_data.Given(**given)
    with progress_bar(open_console(stderr=True), "encoding") as progress, writing(to):
        lines = finished.new_data.encode_to(
            run, asked, to, device=device or "cpu", say=note, progress=progress
        )
    click.echo("\n".join(lines))


@click.command()
@opened_run
@_files
@_to_option(".parquet, .csv or .npz")
@_split
@click.option(
    "--by",
    type=click.Choice(["neg_elbo", "iw_nll"]),
    default=None,
    show_default="iw_nll; neg_elbo without samples",
    help="The score: −ELBO, or the importance-weighted NLL.",
)
@click.option(
    "--importance-samples",
    type=click.IntRange(min=0),
    metavar="K",
    default=20,
    show_default=True,
    help="Samples per row of the importance-weighted NLL; 0 leaves it out.",
)
@click.option("--no-p", is_flag=True, help="Give no p, which at first needs the run's data set.")
@click.option(
    "--against",
    multiple=True,
    type=_PATH,
    metavar="PATH",
    help="Files, a folder or an array of anomalies: how well are they told from FILES? Repeat it "
    "for several.",
)
@click.option(
    "--against-class", metavar="NAME", help="The same, with the rows of this label as anomalies."
)
@click.option(
    "--sheet",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
    help="Draw the images with the highest and the lowest scores.",
)
@options.data_option
@options.device_option("auto", "computes")
def score(
    run: "Run",
    outputs: "Outputs",
    *,
    files: tuple[Path, ...],
    to: Path,
    split: str | None,
    no_p: bool,
    sheet: Path | None,
    data: Path | None,
    device: str | None,
    **asked: Any,
) -> None:
    """Score new data, and find what is strange.

    RUN is as for `vaeexp evaluate`, FILES as for `vaeexp encode`. A row of the output has −ELBO,
    importance-weighted NLL, distortion and rate in nats, in the unit of the report, and p: the
    share of the run's validation images that score as high, where the row counts as one of them.
    With --against or --against-class, AUROC, AUPRC and FPR at 95 % TPR say how well the score finds
    the anomalies, beside the AUROC of their size alone, because likelihood prefers simple images.
    """
    outputs.check(to, finished.row_files.ROW_FILES)
    if sheet is not None:
        outputs.check(sheet, (".png",), "--sheet")
    new_data = finished.new_data
    given, wanted = new_data.Given(files, split, data), new_data.Asked(p=not no_p, **asked)
    with progress_bar(open_console(stderr=True), "scoring") as progress, writing(to):
        scored = new_data.score_to(
            run, given, to, wanted, device=device or "auto", say=note, progress=progress
        )
    console = open_console()
    for line in scored.lines:
        write_line(console, line)
    if rows := scored.seen.by_class():
        titles = ("label", "rows", "mean score", "p ≤ 0.05", "AUROC")
        print_table(console, titles, rows)
    if sheet is not None:
        drawing = finished.drawing.draw_extremes(run, scored.seen, scored.by)
        if drawing is not None:
            write(drawing, sheet)


@click.command()
@opened_run
@click.argument("codes", metavar="CODES", type=_PATH)
@_to_option(".npy, or, of a table, .csv or .parquet")
@options.device_option("cpu", "computes")
def decode(run: "Run", outputs: "Outputs", *, codes: Path, to: Path, device: str | None) -> None:
    """Write what codes decode to.

    RUN is as for `vaeexp evaluate`. CODES is what `vaeexp encode` wrote, or a .npy [M, L]. Each row
    is the mean of p(x|z) at the code, in the unit of the run's files: bytes from 0 to 255 of
    images, the numbers of the files elsewhere; a table has its columns' names.
    """
    outputs.check(to, finished.new_data.array_files(run))
    with writing(to):
        click.echo(finished.new_data.decode_to(run, codes, to, device=device or "cpu"))
