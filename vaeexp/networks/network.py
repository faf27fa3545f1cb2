"""What an architecture is, two constructors of plain modules, and the non-linearities that all of them share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

__all__ = ["ACTIVATIONS", "ImageShape", "Network"]

ImageShape = tuple[int, int, int]
"""(C, H, W)."""

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
"""Name in a study file → module between two layers."""


class Network(NamedTuple):
    """The two halves of an architecture. Both raise ValueError where the settings or the images do not fit."""

    encoder: Callable[["ModelSettings", ImageShape, int], nn.Module]
    """(settings, image shape, outputs) → module from [B, C, H, W] to [B, outputs]."""
    decoder: Callable[["ModelSettings", ImageShape, int, int], nn.Module]
    """(settings, image shape, L, parameters per sub-pixel) → module from [B, L] to [B, parameters·C, H, W]."""
    least_rows: int = 4
    """Rows that a fused group has at least. Convolutions of one row, and of two when the images have three channels, take
    other kernels, which round differently: a lane's numbers would depend on its neighbours."""
