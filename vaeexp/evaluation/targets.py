"""The images that a model is asked to explain, from the stored grey levels."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

__all__ = ["TARGETS", "targets"]


def _static(images: Tensor, seed: int) -> Tensor:
    return images.float()


def _dynamic(images: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    thresholds = torch.randint(0, 255, images.shape, generator=generator, dtype=torch.uint8)  # 0 … 254
    return (images > thresholds).float()


def _grey(images: Tensor, seed: int) -> Tensor:
    return images.float() / 255


TARGETS: dict[str, Callable[[Tensor, int], Tensor]] = {"static": _static, "dynamic": _dynamic, "none": _grey}
"""Kind of binarisation → targets from images uint8 [N, C, H, W] and a seed."""


def targets(images: np.ndarray | Tensor, binarisation: str, seed: int) -> Tensor:
    """Targets float32 [N, C, H, W] on the CPU, from images uint8 [N, C, H, W].

    static: the images are zeros and ones already and stay so. dynamic: every pixel is drawn once with the seed,
    P(1) = grey / 255 exactly (Salakhutdinov & Murray 2008). none: grey / 255.
    """
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.array(images))  # a copy, because memory maps are read-only
    return TARGETS[binarisation](images, seed)
