"""Draws a model's reconstructions and samples, joins pictures into grids, and writes PNG files.

Shapes: N pictures of H × W pixels and C channels, as uint8 [N, H, W, C].
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sweeps.files import write_whole
from vaeexp.models.priors import GaussianMixture

if TYPE_CHECKING:
    from vaeexp.models.vae import VAE


_ORIGINALS = 8
_SAMPLES = 16
_COMPONENTS = 16
_PER_COMPONENT = 8
_SEPARATOR = 128
"""Grey level of the lines between pictures, different from black ink and white paper."""


def to_uint8(images: Tensor) -> np.ndarray:
    """Convert images [..., C, H, W] in [0, 1] to uint8 [..., H, W, C]."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).cpu().numpy()


@torch.no_grad()
def pictures(vae: "VAE", images: Tensor, seed: int, *, components: bool = True) -> dict[str, np.ndarray]:
    """Return uint8 pictures by name; model outputs are means of p(x|z).

    originals [8, H, W, C]: the first of `images` (targets [N, C, H, W] in [0, 1]). reconstructions [8, H, W, C]: decoded
    at the posterior mean. samples [16, H, W, C]: decoded at draws from the prior. component_samples [K, 8, H, W, C], for a
    mixture of Gaussians if `components`: draws from each of the K ≤ 16 heaviest components, heaviest first.
    """
    generator = torch.Generator().manual_seed(seed)
    x = images[:_ORIGINALS].to(vae.latent_mask)
    shown = {
        "originals": to_uint8(x),
        "reconstructions": to_uint8(vae.decode(vae.encode(x).mean).mean),
        "samples": to_uint8(vae.sample(_SAMPLES, generator).mean),
    }
    prior = vae.prior_distribution()
    if components and isinstance(prior, GaussianMixture):
        heaviest = prior.weights.argsort(descending=True, stable=True)[:_COMPONENTS].tolist()
        z = torch.stack([prior.sample_component(k, _PER_COMPONENT, generator) for k in heaviest])  # [K, 8, L]
        shown["component_samples"] = to_uint8(vae.decode(z).mean)
    return shown


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Join pictures uint8 [N, H, W, C] row by row into one picture [H', W', C], with lines of one pixel between them."""
    count, height, width, channels = images.shape
    rows = -(-count // columns)
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), _SEPARATOR, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        canvas[top : top + height, left : left + width] = image
    return canvas


def grids(drawn: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Join each array of pictures, uint8 [N, H, W, C] or [R, S, H, W, C], into one picture.

    An array [R, S, ...] keeps its rows; an array [N, ...] gets eight pictures a row. The originals stand above their
    reconstructions.
    """
    shown = dict(drawn)
    if {"originals", "reconstructions"} <= shown.keys():
        shown["reconstructions"] = np.stack([shown.pop("originals"), shown["reconstructions"]])
    return {
        kind: grid(array.reshape(-1, *array.shape[-3:]), array.shape[1] if array.ndim == 5 else min(8, len(array)))
        for kind, array in shown.items()
    }


def write_png(path: Path, image: np.ndarray) -> None:
    """Write a picture uint8 [H, W, C], C = 1 or 3, atomically: a reader sees the whole file or none."""
    from PIL import Image

    picture = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image)
    write_whole(path, lambda unfinished: picture.save(unfinished, format="PNG"))
