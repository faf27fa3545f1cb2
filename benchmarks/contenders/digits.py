"""The images: MNIST's first 50,000, from the official files in `VAEEXP_DATA`, each pixel 0 or 1
(grey level above ½).

Without the files: random zeros and ones of the same size, for how long a step takes does not depend
on the pixels.
"""

import os
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from contenders import EPOCH
from vaeexp.data import DATASETS
from vaeexp.data.formats.torchvision_files import IDX, read_idx

__all__ = ["describe", "resident", "training_images"]

_INK = 0.13
"""Share of ones in binarised MNIST."""


def describe() -> str:
    """What the images are, in words."""
    return (
        f"MNIST, {EPOCH:,} images"
        if _file()
        else f"{EPOCH:,} random images of MNIST's size (VAEEXP_DATA has no MNIST)"
    )


@cache
def training_images() -> np.ndarray:
    """uint8 [50000, 28, 28] of zeros and ones."""
    path = _file()
    if path is None:
        return (np.random.default_rng(0).random((EPOCH, 28, 28), dtype=np.float32) < _INK).astype(
            np.uint8
        )
    return (read_idx(path, 3)[:EPOCH] > 127).astype(np.uint8)


def resident(device: str) -> Tensor:
    """The same as uint8 [50000, 1, 28, 28] on the device."""
    return torch.from_numpy(training_images())[:, None].to(device)


def _file() -> Path | None:
    root = os.environ.get("VAEEXP_DATA")
    paths = IDX.find(DATASETS["mnist"], Path(root)) if root else ()
    return paths[0] if paths else None
