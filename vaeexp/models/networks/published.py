"""Defines fixed networks of published examples and course notebooks; only the latent size can be set.

They accept images of any size that their blocks can halve. The docstrings give the original image sizes.
"""

from typing import TYPE_CHECKING

from torch import nn

from vaeexp.models.networks.conv import Block, ConvNetwork
from vaeexp.models.networks.mlp import ImageShape, Network, mlp_decoder, mlp_encoder, settings_from

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

CONV_MNIST = ConvNetwork(
    down=(
        Block(32, kernel=4, stride=2, padding=1),
        Block(64, kernel=4, stride=2, padding=1, normalisation="batch"),
        Block(128, kernel=3, stride=2, normalisation="batch"),
        Block(256, kernel=3, stride=2, normalisation="batch"),
    ),
    up=(
        Block(128, kernel=3, stride=2, normalisation="batch"),
        Block(64, kernel=3, stride=2, normalisation="batch"),
        Block(32, kernel=4, stride=2, normalisation="batch"),
    ),
    last=Block(1, kernel=4, stride=2),
    activation="leaky_relu",
    up_activation="leaky_relu",
)
"""For 28 × 28 images: sizes 14, 7, 3, 1 and 256 features before the latent space; DCGAN-like (Radford et al. 2016)."""

CONV_CELEBA = ConvNetwork(
    down=tuple(Block(n, kernel=3, stride=2, padding=1, normalisation="batch") for n in (32, 64, 128, 256)),
    up=tuple(Block(n, kernel=4, stride=2, normalisation="batch") for n in (128, 64, 32, 32)),
    last=Block(3, kernel=3, stride=1, padding=1),
    activation="relu",
    up_activation="leaky_relu",
)
"""For faces of 218 × 178: four halvings to 14 × 12, transposed convolutions back, a plain convolution for the image."""

CONV_CIFAR = ConvNetwork(
    down=tuple(Block(n, kernel=4, stride=2, padding=1) for n in (16, 32, 128)),
    up=tuple(Block(n, kernel=4, stride=2) for n in (64, 32)),
    last=Block(3, kernel=4, stride=2),
    activation="relu",
    up_activation="relu",
)
"""For 32 × 32 images: 2,048 features at 4 × 4, without normalisation."""

_ONE_LAYER = settings_from({"hidden": (400,), "activation": "relu"})


def _encoder(settings: "ModelSettings", image_shape: ImageShape, outputs: int) -> nn.Module:
    return mlp_encoder(_ONE_LAYER, image_shape, outputs)


def _decoder(settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int) -> nn.Module:
    return mlp_decoder(_ONE_LAYER, image_shape, latent_size, parameters)


MLP_CIFAR = Network(_encoder, _decoder, least_rows=1, shapes=())
"""One hidden layer of 400 with ReLU in encoder and decoder (Kingma & Welling 2014): 3072–400–L for 32 × 32 × 3 images."""
