"""Fully connected encoders and decoders.

Shapes: B images, C channels, H × W pixels, L latent dimensions.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

from torch import nn

from vaeexp.networks.network import ACTIVATIONS, ImageShape

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

__all__ = ["linear_layers", "mlp_decoder", "mlp_encoder"]


def mlp_encoder(settings: "ModelSettings", image_shape: ImageShape, outputs: int) -> nn.Module:
    """Fully connected: x [B, C, H, W] → [B, outputs] through layers of `settings.hidden`."""
    sizes = [prod(image_shape), *settings.hidden, outputs]
    return nn.Sequential(nn.Flatten(1), *linear_layers(sizes, settings.activation))


def mlp_decoder(settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int) -> nn.Module:
    """Fully connected mirror of the encoder: z [B, L] → [B, parameters·C, H, W]."""
    channels, height, width = image_shape
    sizes = [latent_size, *reversed(settings.hidden), parameters * prod(image_shape)]
    return nn.Sequential(
        *linear_layers(sizes, settings.activation), nn.Unflatten(1, (parameters * channels, height, width))
    )


def linear_layers(sizes: Sequence[int], activation: str) -> list[nn.Module]:
    """Linear layers in PyTorch's default initialisation, with the activation between them but not after the last."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return layers[:-1]
