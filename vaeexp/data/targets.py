"""The images that a model is asked to explain, from the stored grey levels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def _static(images: Tensor, thresholds: Tensor | None) -> Tensor:
    return images.float()


def _dynamic(images: Tensor, thresholds: Tensor | None) -> Tensor:
    assert thresholds is not None
    return (images > thresholds).float()


def _grey(images: Tensor, thresholds: Tensor | None) -> Tensor:
    return images.float().div_(255)


TARGETS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {"static": _static, "dynamic": _dynamic, "none": _grey}
"""Kind of binarisation → targets float32 from images uint8 of any shape and, where it is dynamic, `draw_thresholds`."""


def draw_thresholds(images: Tensor, generator: torch.Generator) -> Tensor:
    """uint8, uniform on 0 … 254, of the shape of `images`, on the generator's device: P(image > threshold) = grey / 255."""
    return torch.randint(0, 255, images.shape, generator=generator, device=generator.device, dtype=torch.uint8)


def targets(images: np.ndarray | Tensor, binarisation: str, seed: int) -> Tensor:
    """Targets float32 [N, C, H, W] on the CPU, from images uint8 [N, C, H, W].

    static: the images are zeros and ones already and stay so. dynamic: every pixel is drawn once with the seed,
    P(1) = grey / 255 exactly (Salakhutdinov & Murray 2008). none: grey / 255.
    """
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.array(images))  # a copy, because memory maps are read-only
    dynamic = binarisation == "dynamic"
    thresholds = draw_thresholds(images, torch.Generator().manual_seed(seed)) if dynamic else None
    return TARGETS[binarisation](images, thresholds)
