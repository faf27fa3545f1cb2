"""Draws a model's reconstructions and samples, measures them, joins pictures into grids, and writes
PNG files.

The features of the metrics come from `vaeexp.evaluation.classifier`, not from the Inception
network. So the metrics compare models of one data set under one binarisation; they do not compare
with the literature.

Shapes: N images, B images at a time, C channels, H × W pixels, D features, n classes. Pictures are
uint8 [N, H, W, C], C = 1 or 3, as `vaeexp.data.showing.to_pictures` makes them.
"""

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sweeps import write_whole
from vaeexp.data.showing import kind_of, to_pictures
from vaeexp.data.values import Values
from vaeexp.evaluation import FID_IMAGES
from vaeexp.evaluation.classifier import Classifier
from vaeexp.evaluation.nll import image_rows
from vaeexp.models.vae import VAE

ORIGINALS = 10
"""Images that are reconstructed: one for each digit."""
_SAMPLES = 16
_COMPONENTS = 16
_PER_COMPONENT = 8
# Of a sheet's pictures before compression: with its header, the file is below 100 kB in any case.
_SHEET_BYTES = 98_500
_LEAST_SHOWN = 8
# Grey level of the lines between pictures, different from black ink and white paper.
_SEPARATOR = 128
# Of the window of Wang et al. 2004: a Gaussian of σ = 1.5 on 11 × 11 pixels.
_SIGMA = 1.5
_RADIUS = 5
_MOST = 10_000  # generated images
# exp(−700) is still above 0 in float64; torchmetrics takes the logarithm of a share.
_LEAST_LOG_PROBABILITY = -700.0


@torch.no_grad()
def pictures(
    vae: VAE, images: Tensor, seed: int, *, components: bool = True
) -> dict[str, np.ndarray]:
    """Return uint8 pictures by name; model outputs are means of p(x|z).

    originals [10, H, W, C]: the first of `images` (targets [N, C, H, W]). reconstructions
    [10, H, W, C]: decoded at the posterior mean. samples [16, H, W, C]: decoded at draws from the
    prior. component_samples [K, 8, H, W, C], for a mixture of Gaussians if `components`: draws from
    each of the K ≤ 16 heaviest components, heaviest first.
    """
    generator = torch.Generator().manual_seed(seed)
    x = images[:ORIGINALS].to(vae.latent_mask)
    shown = {
        "originals": to_pictures(x, vae.values),
        "reconstructions": to_pictures(vae.reconstruct(x), vae.values),
        "samples": to_pictures(vae.sample(_SAMPLES, generator).mean, vae.values),
    }
    prior = vae.prior_distribution()
    weights = prior.component_weights() if components else None
    if weights is not None:
        heaviest = weights.argsort(descending=True, stable=True)[:_COMPONENTS].tolist()
        # [K, 8, L].
        z = torch.stack([prior.sample_component(k, _PER_COMPONENT, generator) for k in heaviest])
        shown["component_samples"] = to_pictures(vae.decode(z).mean, vae.values)
    return shown


def sheet(drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return reconstructions and samples of `pictures`, as many of them as take `_SHEET_BYTES`.

    Where fewer than `_LEAST_SHOWN` would, pictures have half the height and width, or less: each
    pixel is the mean of those in its place.
    """
    kinds = [drawn["reconstructions"], drawn["samples"]]
    while (room := _SHEET_BYTES // kinds[0][0].size) < _LEAST_SHOWN:
        kinds = [_halved(images) for images in kinds]
    reconstructions = kinds[0][: room // 2]
    return {"reconstructions": reconstructions, "samples": kinds[1][: room - len(reconstructions)]}


def _halved(images: np.ndarray) -> np.ndarray:
    """Return pictures uint8 [N, H, W, C] of half the size; an odd last row or column is left
    out.
    """
    count, height, width, channels = images.shape
    parts = images[:, : height // 2 * 2, : width // 2 * 2].reshape(
        count, height // 2, 2, width // 2, 2, channels
    )
    return parts.mean(axis=(2, 4)).round().astype(np.uint8)


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Join pictures uint8 [N, H, W, C] row by row into one picture [H', W', C], with lines of one
    pixel between them.
    """
    lined = np.pad(
        images, [(0, -len(images) % columns), (0, 1), (0, 1), (0, 0)], constant_values=_SEPARATOR
    )
    count, height, width, channels = lined.shape
    rows = lined.reshape(-1, columns, height, width, channels).swapaxes(1, 2)
    return rows.reshape(count // columns * height, columns * width, channels)[:-1, :-1]


def grids(drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join each array of pictures, uint8 [N, H, W, C] or [R, S, H, W, C], into one picture.

    An array [R, S, ...] keeps its rows; an array [N, ...] gets eight pictures a row. The originals
    stand above their reconstructions.
    """
    shown = dict(drawn)
    if {"originals", "reconstructions"} <= shown.keys():
        shown["reconstructions"] = np.stack([shown.pop("originals"), shown["reconstructions"]])
    return {
        kind: grid(
            array.reshape(-1, *array.shape[-3:]),
            array.shape[1] if array.ndim == 5 else min(8, len(array)),
        )
        for kind, array in shown.items()
    }


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture uint8 [H, W, C], C = 1 or 3, atomically: a reader sees the whole file or
    none.
    """
    from PIL import Image

    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    write_whole(path, lambda unfinished: picture.save(unfinished, format="PNG"))


@torch.no_grad()
def reconstruction_figures(vae: VAE, images: Tensor) -> dict[str, float]:
    """Compare targets [N, C, H, W] with their reconstructions; return means over images.

    A reconstruction is the mean of p(x|z) at the posterior mean. `test/reconstruction_mse`: squared
    error per sub-pixel in the unit of the report, for images of bytes 1 between black and white.
    Rows of a table, whose columns have units of their own, have `test/unexplained_variance`
    instead: the squared error of a column by its variance among the rows, mean over the columns
    that vary.
    `test/reconstruction_ssim`: structural similarity, 1 for equal images; of images in [0, 1] with
    one or three channels and at least 3 × 3 pixels.
    """
    squares = similarity = 0.0
    scale = _scale_of(vae)
    similar = _has_similarity(vae.values)
    by_column = torch.zeros(vae.values.shape, dtype=torch.float64)
    for x in images.split(image_rows(vae)):
        x = x.to(vae.latent_mask)
        reconstructions = vae.reconstruct(x)
        errors = (reconstructions - x) * scale
        if vae.values.table:
            by_column += errors.square().double().sum(0).cpu()
        squares += errors.square().flatten(1).mean(1).double().sum().item()
        if similar:
            similarity += structural_similarity(reconstructions, x).double().sum().item()
    figures = {"test/reconstruction_mse": squares / len(images)}
    if similar:
        figures["test/reconstruction_ssim"] = similarity / len(images)
    if vae.values.table:
        spread = images.double().var(0, correction=0).cpu() * torch.as_tensor(scale).cpu() ** 2
        varies = spread > 0
        unexplained = (by_column / len(images) / spread)[varies]
        return {"test/unexplained_variance": unexplained.mean().item()} if varies.any() else {}
    return figures


def _scale_of(vae: VAE) -> float | Tensor:
    """Return how much of the unit of the report a target of 1 is: a number, or [C, H, W]."""
    scale = vae.values.scale
    if not isinstance(scale, tuple):
        return scale
    return vae.latent_mask.new_tensor(scale).reshape(vae.values.shape)


def _has_similarity(values: Values) -> bool:
    return values.unit and kind_of(values) == "image" and min(values.shape[1:]) >= 3


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the SSIM [B] of two sets of images [B, C, H, W] in [0, 1], mean over pixels and
    channels.

    Wang et al. 2004, eq. 13. The window is a Gaussian of 11 × 11 pixels; images of fewer, at least
    3 × 3, take the largest odd window that fits.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    radius = min(_RADIUS, (min(first.shape[-2:]) - 1) // 2)
    # torchmetrics cuts its Gaussian at int(3.5 σ + 0.5) pixels.
    sigma = _SIGMA if radius == _RADIUS else radius / 3.5
    similarity = structural_similarity_index_measure(
        first, second, data_range=1.0, reduction="none", sigma=sigma
    )
    assert isinstance(similarity, Tensor)  # a pair only if the contrast is asked for, too
    return similarity


@torch.no_grad()
def generation_figures(
    vae: VAE, images: Tensor, classifier: Classifier, *, seed: int
) -> dict[str, float]:
    """Return `test/inception_score`, `test/fid`, `test/classifier_accuracy`, `test/generated` for
    targets [N, C, H, W].

    min(N, 10,000) images are generated with z from the prior. For binarised data they are draws
    from p(x|z), because the targets are zeros and ones; otherwise means of p(x|z), without the
    likelihood's noise, as the pictures show them. `test/fid` compares them with as many test
    images, the first, and is absent for fewer than `FID_IMAGES`. `test/inception_score` lies
    between 1 and the number of classes. Features are float32, statistics float64.
    """
    device = vae.latent_mask.device
    model = classifier.model.to(device)
    count = min(len(images), _MOST)
    rows = image_rows(vae)
    generator = torch.Generator().manual_seed(seed)
    generated = []
    real = []
    for x in images[:count].split(rows):
        decoded = vae.sample(len(x), generator)
        made = decoded.sample(generator) if classifier.binarised else decoded.mean
        generated.append(model.features(made.to(device)))
        real.append(model.features(x.to(device)))
    features = torch.cat(generated)
    figures = {
        "test/inception_score": inception_score(model.head(features)),
        "test/classifier_accuracy": classifier.accuracy,
        "test/generated": float(count),
    }
    if count >= FID_IMAGES:
        figures["test/fid"] = frechet_distance(torch.cat(real), features)
    return figures


class _Features(nn.Identity):
    """Passes features through torchmetrics, which expects a feature extractor."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def inception_score(logits: Tensor) -> float:
    """Return exp(E_x KL(p(y|x) ‖ p(y))) of logits [N, n] (Salimans et al. 2016), over all images,
    not in ten parts.
    """
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # torchmetrics warns that it keeps all logits (they are few) and that one part has no
        # spread. It shuffles with the global generator, so a fixed seed fixes the order of
        # summation and with it the last digit.
        warnings.simplefilter("ignore", UserWarning)
        torch.default_generator.manual_seed(0)
        metric = InceptionScore(feature=_Features(logits.shape[1]), splits=1)
        metric.update(logits.cpu().double().log_softmax(1).clamp(min=_LEAST_LOG_PROBABILITY))
        # Rounding can leave the score just outside its bounds.
        return min(max(1.0, metric.compute()[0].item()), float(logits.shape[1]))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance of Gaussians fitted to features [N, D] and [M, D], N, M ≥ 2
    (Heusel et al. 2017).

    ‖μ − μ′‖² + tr(Σ + Σ′ − 2 (ΣΣ′)^½), in float64.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Features(first.shape[1]))
    metric.update(first.cpu().double(), real=True)
    metric.update(second.cpu().double(), real=False)
    # Rounding can leave a distance of equal moments just below 0.
    return max(0.0, metric.compute().item())
