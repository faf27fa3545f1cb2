"""Measures reconstructions (error per image) and samples (inception score, Fréchet distance of classifier features).

The features come from `vaeexp.evaluation.classifier`, not from the Inception network. So the metrics compare models of one
data set under one binarisation; they do not compare with the literature.

Shapes: N images, B images at a time, C channels, H × W pixels, D features, n classes.
"""

import warnings

import torch
from torch import Tensor, nn

from vaeexp.evaluation.classifier import Classifier
from vaeexp.evaluation.nll import image_rows
from vaeexp.models.vae import VAE

_SIGMA = 1.5
_RADIUS = 5
"""Radius in pixels of the window of Wang et al. 2004: 11 × 11, a Gaussian of σ = 1.5."""


@torch.no_grad()
def reconstruction_figures(vae: VAE, images: Tensor) -> dict[str, float]:
    """Compare targets [N, C, H, W] in [0, 1] with their reconstructions; return means over images.

    A reconstruction is the mean of p(x|z) at the posterior mean. `test/reconstruction_mse`: squared error per sub-pixel,
    1 between black and white. `test/reconstruction_ssim`: structural similarity, 1 for equal images.
    """
    squares = similarity = 0.0
    for x in images.split(image_rows(vae)):
        x = x.to(vae.latent_mask)
        reconstructions = vae.decode(vae.encode(x).mean).mean
        squares += (reconstructions - x).square().flatten(1).mean(1).double().sum().item()
        similarity += structural_similarity(reconstructions, x).double().sum().item()
    return {"test/reconstruction_mse": squares / len(images), "test/reconstruction_ssim": similarity / len(images)}


def structural_similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the SSIM [B] of two sets of images [B, C, H, W] in [0, 1], mean over pixels and channels.

    Wang et al. 2004, eq. 13. The window is a Gaussian of 11 × 11 pixels; smaller images take the largest odd window that
    fits.
    """
    from torchmetrics.functional.image import structural_similarity_index_measure

    radius = min(_RADIUS, (min(first.shape[-2:]) - 1) // 2)
    # torchmetrics cuts its Gaussian at int(3.5 σ + 0.5) pixels.
    sigma = _SIGMA if radius == _RADIUS else radius / 3.5
    window = {"sigma": sigma} if radius else {"gaussian_kernel": False, "kernel_size": 1}
    similarity = structural_similarity_index_measure(first, second, data_range=1.0, reduction="none", **window)
    assert isinstance(similarity, Tensor)  # a pair only if the contrast is asked for, too
    return similarity


_MOST = 10_000
_LEAST_LOG_PROBABILITY = -700.0
"""exp(−700) is still a float64 above 0. A share of 0 would be −∞ in torchmetrics, which takes its logarithm."""


@torch.no_grad()
def generation_figures(vae: VAE, images: Tensor, classifier: Classifier, *, seed: int) -> dict[str, float]:
    """Return `test/inception_score`, `test/fid`, `test/classifier_accuracy`, `test/generated` for targets [N, C, H, W].

    min(N, 10,000) images are generated with z from the prior. For binarised data they are draws from p(x|z), because the
    targets are zeros and ones; otherwise means of p(x|z), without the likelihood's noise, as the pictures show them.
    `test/fid` compares them with as many test images, the first, and is absent for fewer than two. `test/inception_score`
    lies between 1 and the number of classes. Features are float32, statistics float64.
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
    """Passes features through torchmetrics, which expects a feature extractor."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


def inception_score(logits: Tensor) -> float:
    """Return exp(E_x KL(p(y|x) ‖ p(y))) of logits [N, n] (Salimans et al. 2016), over all images, not in ten parts."""
    from torchmetrics.image.inception import InceptionScore

    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        # torchmetrics warns that it keeps all logits (they are few) and that one part has no spread. It shuffles with the
        # global generator, so a fixed seed fixes the order of summation and with it the last digit.
        warnings.simplefilter("ignore", UserWarning)
        torch.default_generator.manual_seed(0)
        metric = InceptionScore(feature=_Given(logits.shape[1]), splits=1)
        metric.update(logits.cpu().double().log_softmax(1).clamp(min=_LEAST_LOG_PROBABILITY))
        # Rounding can leave the score just outside its bounds.
        return min(max(1.0, metric.compute()[0].item()), float(logits.shape[1]))


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return the Fréchet distance of Gaussians fitted to features [N, D] and [M, D], N, M ≥ 2 (Heusel et al. 2017).

    ‖μ − μ′‖² + tr(Σ + Σ′ − 2 (ΣΣ′)^½), in float64.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    metric = FrechetInceptionDistance(feature=_Given(first.shape[1]))
    metric.update(first.cpu().double(), real=True)
    metric.update(second.cpu().double(), real=False)
    # Rounding can leave a distance of equal moments just below 0.
    return max(0.0, metric.compute().item())
