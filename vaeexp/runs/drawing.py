"""The pictures that commands draw of a finished run, each a figure with a sentence on what it shows."""

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from sweeps.errors import UserError
from sweeps.files import write_whole
from vaeexp.evaluation.gallery import (
    REACH,
    SIDE,
    codes_of,
    decoded,
    embedding,
    interpolations,
    manifold,
    pairs,
    traversals,
)
from vaeexp.evaluation.generation import to_uint8
from vaeexp.evaluation.nll import image_rows
from vaeexp.models.priors import GaussianMixture
from vaeexp.plots.latent import WAYS, interpolation_figure, map_figure, traversal_figure
from vaeexp.plots.pictures import labelled, tiles
from vaeexp.runs.run import Images, Run
from vaeexp.version import __version__

Kind = Literal["linear", "spherical", "pixel"]
KINDS: Mapping[Kind, str] = dict(zip(("linear", "spherical", "pixel"), WAYS.values(), strict=True))
CSV = ("image", "label", "class", "x", "y")
_ACROSS = 8
_GENERATED = 500


class Drawing(NamedTuple):
    """A figure and what it shows."""

    figure: Figure
    words: str


def draw_samples(run: Run, count: int, *, component: int | None, seed: int) -> Drawing:
    """Means of p(x|z) at `count` draws from the prior, or from one component of it: 1 is the heaviest, as in a report."""
    vae, generator = run.vae, torch.Generator().manual_seed(seed)
    with torch.no_grad():
        prior = vae.prior_distribution()
        if component is None:
            z, source = prior.sample(count, generator), "the prior"
        elif not isinstance(prior, GaussianMixture):
            raise UserError("--component", f"the prior '{run.settings.model.prior}' of {run.name} has no components.")
        elif component > len(prior.weights):
            last = len(prior.weights)
            raise UserError("--component", f"{component} is not there: {run.name} has components 1 to {last}.")
        else:
            place = int(prior.weights.argsort(descending=True, stable=True)[component - 1])
            z = prior.sample_component(place, count, generator)
            source = f"component {component} of the prior (weight {prior.weights[place]:.3g})"
    pictures = decoded(run.vae, z)
    return Drawing(_sheet(pictures, math.ceil(math.sqrt(count))), f"{count} samples of {source}, seed {seed}")


def draw_reconstructions(run: Run, images: Images) -> Drawing:
    """Rows of images, each above the row of their reconstructions at the posterior means."""
    across = min(_ACROSS, len(images.x))
    shown = decoded(run.vae, codes_of(run.vae, images.x)[0])
    originals, reconstructions = (_rows(each, across) for each in (to_uint8(images.x), shown))
    woven = np.stack([originals, reconstructions], axis=1).reshape(-1, *originals.shape[1:])
    figure = labelled(tiles(woven), originals.shape[2], ["images", "reconstructions"] * len(originals))
    return Drawing(figure, f"{len(images.x)} {images.split} images of {images.dataset.title} and their reconstructions")


def draw_interpolations(run: Run, images: Images, *, steps: int, kinds: Sequence[Kind]) -> Drawing:
    """Ways between the images of each pair, a row for each of `KINDS`; `images` are twice as many as pairs."""
    first, second = pairs(images.labels, len(images.x) // 2)
    ways = [interpolations(run.vae, images.x[first], images.x[second], steps, kind) for kind in kinds]
    figure = interpolation_figure(np.stack(ways, axis=1), [KINDS[kind] for kind in kinds])
    title = images.dataset.title
    return Drawing(figure, f"{', '.join(kinds)} interpolation between {len(first)} pairs of test images of {title}")


def draw_traversals(run: Run, images: Tensor, source: str, *, dimensions: int, steps: int) -> Drawing:
    """The most active dimensions, one row each, over the aggregate posterior of `images` [N, C, H, W]."""
    pictures, numbers = traversals(run.vae, images, dimensions=dimensions, steps=steps, reach=REACH)
    figure = traversal_figure(pictures, numbers, REACH)
    which = f"the {len(numbers)} most active dimensions" if len(numbers) > 1 else "the most active dimension"
    return Drawing(figure, f"{which} over the aggregate posterior of {source}")


def draw_map(run: Run, images: Images, *, seed: int) -> tuple[Drawing, np.ndarray]:
    """The t-SNE map of the codes of images, coloured by class; and its points float32 [N, 2]."""
    points, classes = embedding(run.vae, images.x, seed=seed), images.dataset.classes or ()
    coloured = "coloured by class" if classes else "without classes"
    words = f"t-SNE map of {len(points):,} {images.split} images of {images.dataset.title}, {coloured}, seed {seed}"
    return Drawing(map_figure(points, images.labels.numpy(), classes), words), points


def write_map(run: Run, images: Images, points: np.ndarray, path: Path, *, named: bool) -> None:
    """Write one line of CSV for each image: place in its split, label, class, point on the map, posterior mean."""
    classes, codes = images.dataset.classes, codes_of(run.vae, images.x)[0]
    header = [*CSV, *(f"z{dimension}" for dimension in range(1, codes.shape[1] + 1))]
    if not named and path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(",".join(CSV)):
        raise UserError(str(path), "is there already and is not from vaeexp; name a file with --output.")

    def write(unfinished: Path) -> None:
        with unfinished.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(header)
            for place, label, point, code in zip(images.places, images.labels.tolist(), points, codes, strict=True):
                known = [label, classes[label]] if classes else ["", ""]
                writer.writerow([place, *known, *(f"{value:.7g}" for value in (*point, *code))])

    write_whole(path, write)


def draw_manifold(run: Run, images: Tensor) -> Drawing:
    """The plane of a model of two latent dimensions."""
    return Drawing(
        labelled(tiles(manifold(run.vae, SIDE, images)), run.image_shape[1], []), "the latent plane, decoded"
    )


def generated_images(run: Run, seed: int) -> Tensor:
    """Images drawn from the model itself, in place of those that it was trained on; float32 [500, C, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        z = run.vae.prior_distribution().sample(_GENERATED, generator)
        return torch.cat([run.vae.decode(codes).sample(generator) for codes in z.split(image_rows(run.vae))]).clamp(
            0, 1
        )


def write_drawing(drawing: Drawing, run: Run, path: Path, *, named: bool) -> None:
    """Write a PNG that says in its metadata what it shows.

    A file that is there is replaced when the user `named` it, or when it is such a picture itself; else UserError.
    """
    if path.suffix.lower() != ".png":
        raise UserError("--output", f"'{path}' should end in .png.")
    if not named and path.exists() and not _own(path):
        raise UserError(str(path), "is there already and is not from vaeexp; name a file with --output.")
    metadata = {"Software": f"vaeexp {__version__}", "Description": f"{run.name}: {drawing.words}"}
    options: dict[str, Any] = {"format": "png", "metadata": metadata, "facecolor": "white"}
    write_whole(path, lambda unfinished: drawing.figure.savefig(unfinished, **options))


def _own(path: Path) -> bool:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return str(image.info.get("Software", "")).startswith("vaeexp")
    except (OSError, UnidentifiedImageError):
        return False


def _rows(pictures: np.ndarray, across: int) -> np.ndarray:
    """[N, H, W, C] → [rows, across, H, W, C], filled up with white."""
    missing = -len(pictures) % across
    white = np.full((missing, *pictures.shape[1:]), 255, np.uint8)
    return np.concatenate([pictures, white]).reshape(-1, across, *pictures.shape[1:])


def _sheet(pictures: np.ndarray, across: int) -> Figure:
    return labelled(tiles(_rows(pictures, across)), pictures.shape[1], [])
