"""Encoders and decoders: plain `nn.Module`s that know nothing of distributions.

Shapes: B images, C channels, H × W pixels, L latent dimensions.

What runs fused (vmap over trials) must keep to four rules: no branch on the value of a tensor, no random draw inside
`forward`, nothing written in place, and first and last layers whose weights at a smaller latent size are the leading slice
of those at a bigger one (`nn.Linear` is such a layer).
"""

from collections.abc import Callable
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from torch import nn

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

__all__ = ["ACTIVATIONS", "NETWORKS", "ImageShape", "Network", "mlp_decoder", "mlp_encoder"]

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


def mlp_encoder(settings: "ModelSettings", image_shape: ImageShape, outputs: int) -> nn.Module:
    """Fully connected: x [B, C, H, W] → [B, outputs] through layers of `settings.hidden`."""
    return nn.Sequential(nn.Flatten(1), *_layers([prod(image_shape), *settings.hidden, outputs], settings.activation))


def mlp_decoder(settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int) -> nn.Module:
    """Fully connected mirror of the encoder: z [B, L] → [B, parameters·C, H, W]."""
    channels, height, width = image_shape
    sizes = [latent_size, *reversed(settings.hidden), parameters * prod(image_shape)]
    return nn.Sequential(*_layers(sizes, settings.activation), nn.Unflatten(1, (parameters * channels, height, width)))


def _layers(sizes: list[int], activation: str) -> list[nn.Module]:
    """Linear layers in PyTorch's default initialisation, with the activation between them but not after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return layers[:-1]


class Network(NamedTuple):
    """The two halves of an architecture."""

    encoder: Callable[["ModelSettings", ImageShape, int], nn.Module]
    """(settings, image shape, outputs) → module from [B, C, H, W] to [B, outputs]."""
    decoder: Callable[["ModelSettings", ImageShape, int, int], nn.Module]
    """(settings, image shape, L, parameters per sub-pixel) → module from [B, L] to [B, parameters·C, H, W]."""


NETWORKS: dict[str, Network] = {"mlp": Network(mlp_encoder, mlp_decoder)}
"""Name in a study file → architecture."""
