"""Draw a finished run: figures for the commands, each with a sentence on what it shows."""

import csv
import math
import textwrap
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sweeps import VERSION, UserError, write_whole
from vaeexp.data.formats.array_labels import only_occurring
from vaeexp.data.showing import picture_words, to_pictures
from vaeexp.evaluation import gallery, latent
from vaeexp.evaluation.in_units import shown_numbers
from vaeexp.evaluation.large_map import map_codes
from vaeexp.plots import style
from vaeexp.plots.in_units import reconstructions_in_units
from vaeexp.plots.latent import WAYS, interpolation_figure, latent_map, traversals
from vaeexp.plots.pictures import GAP, GRID_WIDTH, picture_grid
from vaeexp.plots.style import write
from vaeexp.run_files import writing
from vaeexp.runs.marks import mark_csv
from vaeexp.runs.run import Images, Run
from vaeexp.runs.scoring import Seen
from vaeexp.words import plural

KINDS = ("linear", "spherical", "pixel")
"""Kinds of interpolation, in the order of `WAYS`."""
CSV = ("image", "name", "label", "class", "x", "y")
MOST_ROWS = 16
"""Rows of a table that are drawn with axes; more are small pictures."""
INCH = 7
"""Characters of a title for each inch of a figure."""
_ACROSS = 8
_NAME_FONT = 7
_NAME_HEIGHT = 0.16
_LETTER_WIDTH = 0.06
"""Points, and inches, of the name below a picture."""


class Drawing(NamedTuple):
    """A figure under its title, and the title in words: the run's name and what is shown."""

    figure: Figure
    words: str


def _titled(run: Run, figure: Figure, title: str, *, pictures: bool = True) -> Drawing:
    """Put the title above a figure, in lines that are not wider than the figure. The words of a
    figure of `pictures` say, too, how a picture shows an array that is no image.
    """
    words = f"{run.name}: {title}"
    room = int(INCH * figure.get_figwidth())
    framed = style.framed(figure, textwrap.fill(words, max(room, 12)))
    how = picture_words(run.values) if pictures else ""
    return Drawing(framed, f"{words}; each picture shows {how}" if how else words)


def draw_samples(run: Run, count: int, *, component: int | None, seed: int) -> Drawing:
    """Draw means of p(x|z) at `count` draws from the prior, or from one of its components: 1 is the
    heaviest, as in a report.
    """
    z, source = drawn_codes(run, count, component=component, seed=seed)
    rows = _rows(gallery.decoded(run.vae, z), math.ceil(math.sqrt(count)))
    return _titled(run, picture_grid(rows), f"{count} samples of {source}, seed {seed}")


def drawn_codes(run: Run, count: int, *, component: int | None, seed: int) -> tuple[Tensor, str]:
    """Return the codes [count, L] that `draw_samples` decodes, and what they are drawn from."""
    vae = run.vae
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        prior = vae.prior_distribution()
        if component is None:
            return prior.sample(count, generator), "the prior"
        weights = prior.component_weights()
        if weights is None:
            problem = f"the prior '{run.settings.model.prior}' of {run.name} has no components."
            raise UserError("--component", problem)
        if component > len(weights):
            problem = f"is not there: {run.name} has components 1 to {len(weights)}."
            raise UserError("--component", f"{component} {problem}")
        index = int(weights.argsort(descending=True, stable=True)[component - 1])
        source = f"component {component} of the prior (weight {weights[index]:.3g})"
        return prior.sample_component(index, count, generator), source


def draw_extremes(run: Run, seen: Seen, by: str) -> Drawing | None:
    """Draw the images with the highest scores above those with the lowest, each above its name;
    None without any.
    """
    if seen.worst is None or seen.best is None:
        return None
    across = min(_ACROSS, len(seen.worst.x))
    both = (seen.worst, seen.best)
    rows = [_rows(to_pictures(some.x, run.values), across) for some in both]
    sides = ["highest"] * len(rows[0]) + ["lowest"] * len(rows[1])
    named = [[*some.names, *[""] * (-len(some.names) % across)] for some in both]
    figure = _named_grid(np.concatenate(rows), sides, [*named[0], *named[1]])
    highest, lowest = seen.worst.scores[0], seen.best.scores[0]
    which = f"the {run.noun}s with the highest and the lowest {by}"
    ends = f"{lowest:.1f} to {highest:.1f}".replace("-", "−")
    return _titled(run, figure, f"{which}, {ends} nats")


def _named_grid(pictures: np.ndarray, sides: Sequence[str], names: Sequence[str]) -> Figure:
    """Draw pictures [R, K, H, W, C] as `picture_grid` does, with a name below each."""
    count, across, tall, wide, _ = pictures.shape
    size = GRID_WIDTH / max(across, count * tall / wide)  # inches of a picture
    below = math.ceil(_NAME_HEIGHT * wide / size)
    room = [(0, 0), (0, 0), (0, below), (0, 0), (0, 0)]
    figure = picture_grid(np.pad(pictures, room, constant_values=255), sides)
    most = max(4, int(size / _LETTER_WIDTH))
    for place, name in enumerate(names):
        row, column = divmod(place, across)
        x = column * (wide + GAP) + wide / 2
        y = row * (tall + below + GAP) + tall + below * 0.1
        shown = Path(name).name  # its end tells files and rows apart
        shown = shown if len(shown) <= most else f"…{shown[1 - most :]}"
        look: dict[str, Any] = {"va": "top", "fontsize": _NAME_FONT, "parse_math": False}
        write(figure.axes[0], shown, x, y, **look)
    return figure


def draw_reconstructions(run: Run, images: Images) -> Drawing:
    """Draw rows of images, each above the row of their reconstructions at the posterior means; of a
    table up to `MOST_ROWS` rows, with the names of the columns.
    """
    dataset = images.dataset
    if dataset.features is not None and len(images.x) <= MOST_ROWS:
        arrays = shown_numbers(run.vae, images.x, dataset.scaling, dataset.features)
        figure = reconstructions_in_units(arrays)
    else:
        figure = _reconstruction_grid(run, images)
    count = plural(len(images.x), f"{images.split} {run.noun}")
    return _titled(run, figure, f"{count} of {dataset.title} and their reconstructions")


def _reconstruction_grid(run: Run, images: Images) -> Figure:
    across = min(_ACROSS, len(images.x))
    shown = gallery.decoded(run.vae, latent.codes_of(run.vae, images.x)[0])
    originals, reconstructions = (
        _rows(pictures, across) for pictures in (to_pictures(images.x, run.values), shown)
    )
    woven = np.stack([originals, reconstructions], axis=1).reshape(-1, *originals.shape[1:])
    return picture_grid(woven, [f"{run.noun}s", "reconstructions"] * len(originals))


def draw_interpolations(run: Run, images: Images, *, steps: int) -> Drawing:
    """Draw the ways between the images of each pair, a row for each kind; `images` are twice as
    many as pairs.
    """
    first, second = gallery.pairs(images.labels, len(images.x) // 2)
    ways = [
        gallery.interpolations(run.vae, images.x[first], images.x[second], steps, kind)
        for kind in KINDS
    ]
    figure = interpolation_figure(np.stack(ways, axis=1), list(WAYS.values()))
    shown = (
        f"{plural(len(first), 'pair')} of test {run.noun}s"
        if len(images.x) > 1
        else f"the only test {run.noun} and itself"
    )
    return _titled(
        run, figure, f"{', '.join(KINDS)} interpolation between {shown} of {images.dataset.title}"
    )


def draw_traversals(run: Run, images: Images, *, dimensions: int, steps: int) -> Drawing:
    """Draw the most active dimensions, one row each, over the aggregate posterior of images."""
    pictures, numbers = gallery.traversals(
        run.vae, images.x, images.labels, dimensions=dimensions, steps=steps, reach=gallery.REACH
    )
    arrays = {
        "traversals": pictures,
        "traversal_dimensions": numbers,
        "traversal_reach": np.array(gallery.REACH),
    }
    several = len(numbers) > 1
    which = f"the {len(numbers)} most active dimensions" if several else "the most active dimension"
    shown = plural(len(images.x), f"test {run.noun}")
    title = f"{which} over the aggregate posterior of {shown} of"
    return _titled(run, traversals(arrays), f"{title} {images.dataset.title}")


class NewRows(NamedTuple):
    """Rows that are placed into a map: their names and labels, and their codes [M, L]."""

    names: Sequence[str]
    labels: Sequence[str]
    codes: np.ndarray


NO_ROWS = NewRows((), (), np.zeros((0, 1)))
MOST_MAPPED = 2000
"""Images of a map without openTSNE."""


def new_rows(run: Run, files: Sequence[Path]) -> NewRows:
    """Return the rows of files that fit the run. Raises UserError where none does."""
    frame = run.encode(list(files))
    fits = frame[frame["problem"] == ""]
    if not len(fits):
        raise UserError(str(files[0]), f"None of {len(frame):,} rows fits: {frame['problem'][0]}.")
    means = fits.filter(regex=r"^mean_\d+$").to_numpy(np.float64)
    return NewRows(fits["name"].tolist(), fits["label"].tolist(), means)


def draw_map(
    run: Run, images: Images, *, seed: int, new: NewRows = NO_ROWS
) -> tuple[Drawing, np.ndarray, np.ndarray]:
    """Draw the t-SNE map of the codes of images, coloured by class, and new rows in it; return the
    points float32 [N, 2] and [M, 2], too.

    More than `MOST_MAPPED` images and new rows need openTSNE.
    """
    placed = np.zeros((0, 2), np.float32)
    if len(new.names) or len(images.x) > MOST_MAPPED:
        codes = latent.codes_of(run.vae, images.x)[0].numpy()
        points, placed = map_codes(codes, new.codes, seed=seed)
    else:
        points = gallery.embedding(run.vae, images.x, seed=seed)
    labels, classes = images.labels.numpy(), images.classes or ()
    if classes:
        labels, classes = only_occurring(labels, classes)
    arrays = {
        "embedding": points,
        "embedding_labels": labels,
        "classes": np.array(classes),
        "placed": placed,
    }
    coloured = "coloured by class" if classes else "without classes"
    beside = f", and {len(placed):,} new rows" if len(placed) else ""
    mapped = plural(len(points), f"{images.split} {run.noun}")
    title = f"t-SNE map of {mapped} of {images.dataset.title}, {coloured}, seed {seed}{beside}"
    return _titled(run, latent_map(arrays), title, pictures=False), points, placed


def write_map(
    run: Run,
    images: Images,
    points: np.ndarray,
    path: Path,
    *,
    new: NewRows = NO_ROWS,
    placed: np.ndarray | None = None,
) -> None:
    """Write one line of CSV for each image: place in its split, name, number of its class, class,
    point on the map, posterior mean; then one for each new row, whose name stands for the place.
    """
    codes = latent.codes_of(run.vae, images.x)[0]
    classes = images.classes or ()
    # The number of each class that occurs: the one in the files, or its place among names.
    places = {name: place for place, name in enumerate(classes) if name}
    numbered = all(name.isdecimal() for name in places)
    numbers = {name: int(name) if numbered else place for name, place in places.items()}
    labels = [classes[label] if classes else "" for label in images.labels.tolist()]
    own = zip(images.places, images.names, labels, points, codes, strict=True)
    others = zip(
        new.names, new.names, new.labels, [] if placed is None else placed, new.codes, strict=True
    )
    header = [*CSV, *(f"z{dimension}" for dimension in range(1, codes.shape[1] + 1))]

    def write(unfinished: Path) -> None:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(header)
            for place, name, label, *vectors in chain(own, others):
                values = [f"{value:.7g}" for value in chain(*vectors)]
                writer.writerow([place, name, numbers.get(label, ""), label, *values])
        mark_csv(unfinished)

    write_whole(path, write)


def draw_manifold(run: Run, images: Tensor) -> Drawing:
    """Draw the plane of a model of two latent dimensions."""
    plane = picture_grid(gallery.manifold(run.vae, gallery.SIDE, images))
    return _titled(run, plane, "the latent plane, decoded")


def write_figure(figure: Figure, words: str, path: Path) -> None:
    """Write a PNG whose metadata say in words what it shows. Raises UserError where the file cannot
    be written.
    """
    metadata = {"Software": f"vaeexp {VERSION}", "Description": words}
    options: dict[str, Any] = {"format": "png", "metadata": metadata, "facecolor": "white"}
    with writing(path):
        write_whole(path, lambda unfinished: figure.savefig(unfinished, **options))


def _rows(pictures: np.ndarray, across: int) -> np.ndarray:
    """Reshape [N, H, W, C] to [rows, across, H, W, C], filled up with white."""
    missing = -len(pictures) % across
    white = np.full((missing, *pictures.shape[1:]), 255, np.uint8)
    return np.concatenate([pictures, white]).reshape(-1, across, *pictures.shape[1:])
