"""Quality of reconstructions (error per image) and of samples (inception score, Fréchet distance of classifier features).

The features are those of `vaeexp.evaluation.classifier`, not of the Inception network, so the figures compare models of one
data set under one binarisation, and nothing with the literature. Shapes: N images, D features, n classes.
"""

import warnings

import torch
from torch import Tensor, nn

from vaeexp.evaluation.classifier import Classifier
from vaeexp.evaluation.nll import image_rows
from vaeexp.models.vae import VAE

_SIGMA = 1.5
_RADIUS = 5
"""Pixels, of the window of Wang et al. 2004: 11 × 11, a Gaussian of σ = 1.5."""


@torch.no_grad()
def reconstruction_figures(vae: VAE, images: Tensor) -> dict[str, float]:
    """Means over targets [N, C, H, W] in [0, 1], grey, colour or binary, against the mean of p(x|z) at the posterior mean.

    `test/reconstruction_mse`: squared error per sub-pixel, black to white is 1. `test/reconstruction_ssim`: structural
    similarity, 1 for equal images.
    """
    squares = similarity = 0.0
    for x in images.split(image_rows(vae)):
        x = x.to(vae.latent_mask)
        reconstructions = vae.decode(vae.encode(x).mean).mean
        squares += (reconstructions - x).square().flatten(1).mean(1).double().sum().item()
        similarity += structural_similarity(reconstructions, x).double().sum().item()
    return {"test/reconstruction_mse": squares / len(images), "test/reconstruction_ssim": similarity / len(images)}


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of images in [0, 1], [B, C, H, W] each, mean over pixels and channels; [B] (Wang et al. 2004, eq. 13).

    The window is a Gaussian of 11 × 11 pixels, and the largest odd one that fits where the images are smaller.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    radius = min(_RADIUS, (min(first.shape[-2:]) - 1) // 2)
    # torchmetrics cuts its Gaussian at int(3.5 σ + 0.5) pixels.
    sigma = _SIGMA if radius == _RADIUS else radius / 3.5
    window = {"sigma": sigma} if radius else {"gaussian_kernel": False, "kernel_size": 1}
    similarity = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none", **window)
    assert isinstance(similarity, Tensor)  # it is a pair only where the contrast is asked for, too
    return similarity


_MOST = 10_000
_LEAST_LOG_PROBABILITY = -700.0
"""Its exp is still a float64 above 0, so that no class has a share of exactly 0, whose logarithm torchmetrics takes."""


@torch.no_grad()
def generation_figures(vae: VAE, images: Tensor, classifier: Classifier, *, seed: int) -> dict[str, float]:
    """`test/inception_score`, `test/fid`, `test/classifier_accuracy`, `test/generated` for targets [N, C, H, W].

    As many images are generated as there are test images, at most 10,000, with z from the prior: for binarised data draws
    from p(x|z), zeros and ones as the targets are; otherwise means of p(x|z), as they are shown, without the noise that the
    likelihood adds. `test/fid` compares them with as many of the first test images, and is left out for fewer than two.
    `test/inception_score` lies between 1 and the number of classes. Features are float32, statistics float64.
    """
    device = vae.latent_mask.device
    model = classifier.model.to(device)
    count, rows = min(len(images), _MOST), image_rows(vae)
    generator = torch.Generator().manual_seed(seed)
    generated, real = [], []
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
    if count > 1:
        figures["test/fid"] = frechet_distance(torch.cat(real), features)
    return figures


class _Given(nn.Identity):
    """The feature extractor for torchmetrics, where the features are there already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def inception_score(logits: Tensor) -> float:
    """exp(E_x KL(p(y|x) ‖ p(y))) of logits [N, n] (Salimans et al. 2016), from all images at once, not in ten parts."""
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # It keeps all logits, which are few; one part has no spread; and it shuffles with the global generator, which
        # decides the order of summation and with it the last digit.
        warnings.simplefilter("ignore", UserWarning)
        torch.default_generator.manual_seed(0)
        metric = InceptionScore(feature=_Given(logits.shape[1]), splits=1)
        metric.update(logits.cpu().double().log_softmax(1).clamp(min=_LEAST_LOG_PROBABILITY))
        # Rounding can leave it just outside its bounds.
        return min(max(1.0, metric.compute()[0].item()), float(logits.shape[1]))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Fréchet distance between Gaussians with the moments of features [N, D] and [M, D], N, M ≥ 2 (Heusel et al. 2017).

    ‖μ − μ′‖² + tr(Σ + Σ′ − 2 (ΣΣ′)^½), in float64.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(first.shape[1]))
    metric.update(first.cpu().double(), real=True)
    metric.update(second.cpu().double(), real=False)
    # Rounding can leave a distance of equal moments just below 0.
    return max(0.0, metric.compute().item())
