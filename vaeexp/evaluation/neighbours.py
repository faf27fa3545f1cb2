"""Finds the training images nearest to samples of a model. A model that copies has samples nearer
than test images are.

Shapes: N training images, Q queries, C channels, H × W pixels. Distances are Euclidean over
sub-pixels of targets; for images of bytes black to white is 1.
"""

import numpy as np
import torch
from torch import Tensor

from vaeexp.data.dataset import Dataset, targets
from vaeexp.data.showing import to_pictures
from vaeexp.evaluation.latent import chosen
from vaeexp.models.vae import VAE

_SAMPLES = 8
_TESTED = 500  # test images for the usual distance
_BLOCK = 2**24  # training sub-pixels at once: 64 MiB as float32


def neighbour_arrays(vae: VAE, dataset: Dataset, *, seed: int) -> dict[str, np.ndarray]:
    """Return samples and their nearest training images.

    neighbour_samples, neighbour_images uint8 [8, H, W, C]; neighbour_distances float64 [8]. For
    binarised data a sample is a draw from p(x|z), because test images are draws, too; otherwise it
    is the mean. Under dynamic binarisation training images are grey levels.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        decoded = vae.sample(_SAMPLES, generator)
        samples = decoded.mean if dataset.binarisation == "none" else decoded.sample(generator)
    indices, distances = nearest(samples.cpu(), dataset)
    images = _as_levels(dataset.train.images[indices.numpy()], dataset)
    return {
        "neighbour_samples": to_pictures(samples, dataset.values),
        "neighbour_images": to_pictures(images, dataset.values),
        "neighbour_distances": distances.numpy(),
    }


def usual_distance(images: Tensor, dataset: Dataset, *, seed: int) -> float:
    """Return the median distance of test targets [Q, C, H, W] to their nearest training
    image, over 500 of them.
    """
    _, distances = nearest(images[chosen(len(images), seed)][:_TESTED], dataset)
    return distances.median().item()


def nearest(queries: Tensor, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Return the index [Q] of the nearest training image of each query [Q, C, H, W], and
    its distance [Q].

    Every training image is looked at, which takes less time than an epoch of training. The first of
    equal distances counts.
    """
    wanted = queries.flatten(1).float()
    train = dataset.train.images
    best = torch.full((len(wanted),), torch.inf)
    neighbours = torch.zeros(len(wanted), dtype=torch.int64)
    step = max(1, _BLOCK // wanted.shape[1])
    for start in range(0, len(train), step):
        block = _as_levels(train[start : start + step], dataset).flatten(1)
        # ‖q − x‖² without ‖q‖², which is the same for all images.
        least, index = (block.square().sum(1) - 2 * wanted @ block.T).min(1)
        better = least < best
        best = torch.where(better, least, best)
        neighbours = torch.where(better, start + index, neighbours)
    # Computed again from the difference, because the products cancel where an image is copied.
    images = _as_levels(train[neighbours.numpy()], dataset).flatten(1)
    return neighbours, (wanted.double() - images.double()).norm(dim=1)


def _as_levels(images: np.ndarray, dataset: Dataset) -> Tensor:
    """Convert training images to targets float32; under dynamic binarisation to grey levels."""
    kind = dataset.target_kind
    return targets(images, "none" if kind == "dynamic" else kind, seed=0)
