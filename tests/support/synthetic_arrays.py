"""Arrays as a tested run leaves them, for the tests of plots and report: real digits, made-up
codes, the same at each call.
"""

import functools

import numpy as np

from vaeexp.data.datasets import BUNDLED
from vaeexp.data.formats.torchvision_files import read_idx


def evaluation_arrays() -> dict[str, np.ndarray]:
    """Return a tested run's arrays of its latent space: ten classes around a circle, 20 images
    each.
    """
    labels = np.arange(200) % 10
    angles = 2 * np.pi * labels / 10
    noise = np.random.default_rng(3).normal(0, 2, (200, 2))
    return {
        "embedding": (20 * np.stack([np.cos(angles), np.sin(angles)], axis=1) + noise).astype(
            np.float32
        ),
        "embedding_labels": labels.astype(np.int64),
        "classes": np.array([str(digit) for digit in range(10)]),
        "traversal_dimensions": np.array([11, 3, 0, 7, 5, 2, 9, 14]),
        "traversal_reach": np.float64(2.5),
        "rate_per_dimension": np.array(
            [1.9, 0.002, 3.1, 2.2, 0.0, 2.7, 0.4, 2.5, 1.1, 0.02, 2.9, 0.004]
        ),
        "rate_threshold": np.array(0.1),
        "nll_k": np.array([1, 2, 5, 10, 20, 50, 100, 200, 500]),
        "nll_by_k": 92 + 5 * np.array([1, 2, 5, 10, 20, 50, 100, 200, 500]) ** -0.35,
        **_components(),
        **_neighbours(),
        **_codes(),
    }


def _neighbours() -> dict[str, np.ndarray]:
    """Eight samples, which are blurred digits, and as their neighbours the digits."""
    images = digits()[::600][:8]
    samples = blur(images, 0.3)
    distances = np.linalg.norm((samples - images).reshape(8, -1) / 255, axis=1)
    pictures = {
        "neighbour_samples": samples.astype(np.uint8),
        "neighbour_images": images.astype(np.uint8),
    }
    return pictures | {"neighbour_distances": distances, "neighbour_usual": np.array(6.4)}


def _codes() -> dict[str, np.ndarray]:
    """Codes of six dimensions that leave the prior ever more."""
    random = np.random.default_rng(6)
    prior = random.normal(size=(6, 1000)).astype(np.float32)
    codes = (
        random.normal(0, 1, (6, 1000)) * (1 - 0.1 * np.arange(6)[:, None])
        + 0.2 * np.arange(6)[:, None]
    )
    return {
        "aggregate_dimensions": np.array([2, 10, 5, 7, 3, 0]),
        "aggregate_codes": codes.astype(np.float32),
        "prior_codes": prior,
    }


def _components() -> dict[str, np.ndarray]:
    """A mixture of 12 components that serve mostly one class each; the last two serve next to
    none.
    """
    shares = np.random.default_rng(4).dirichlet(np.full(12, 0.05), 10).T + np.eye(12, 10)
    shares[10:] *= 0.01
    weights = shares.mean(1) + 0.002
    return {
        "component_classes": shares / shares.sum(0),
        "component_weights": weights / weights.sum(),
    }


@functools.cache
def digits() -> np.ndarray:
    return read_idx(BUNDLED / "digits.gz", 3)[..., None].astype(np.float32)


def blur(images: np.ndarray, amount: float) -> np.ndarray:
    """Mixed with its own shifted copies."""
    shifts = [np.roll(images, step, axis=axis) for axis in (1, 2) for step in (-2, -1, 1, 2)]
    return (1 - amount) * images + amount * np.mean(shifts, axis=0)
