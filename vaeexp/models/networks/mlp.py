"""Defines the type of every architecture, the activations, and fully connected encoders and
decoders.

Shapes: B images, C channels, H × W pixels, L latent dimensions.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import prod
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from torch import nn

from vaeexp.data.values import ImageShape

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
"""Name in a study file → module between two layers."""

CONVOLUTIONAL = ("channels", "kernel", "stride", "padding", "normalisation", "head")
"""Settings of the network `conv`, besides the activation."""


class Network(NamedTuple):
    """The two halves of an architecture. Both raise ValueError if the settings or the images do not
    fit.
    """

    encoder: Callable[["ModelSettings", ImageShape, int], nn.Module]
    """(settings, image shape, outputs) → module from [B, C, H, W] to [B, outputs]."""
    decoder: Callable[["ModelSettings", ImageShape, int, int], nn.Module]
    """(settings, image shape, L, parameters per sub-pixel) → module from [B, L] to [B,
    parameters·C, H, W].
    """
    least_rows: int = 4
    """Least number of rows of a fused group. With one row, and with two rows if images have three
    channels, PyTorch takes other convolution kernels, which round differently, so a lane's numbers
    would depend on its neighbours."""
    shapes: tuple[str, ...] = ("hidden", "activation", *CONVOLUTIONAL)
    """Names of the settings that change the network's tensors or code, besides `latent_size`.
    Trials with different values cannot train as rows of one program. The default is every setting
    that a network may read, for a user's network."""


def settings_from(fields: Mapping[str, Any]) -> "ModelSettings":
    """Return model settings with these fields, unchecked, because training imports without
    pydantic.
    """
    return cast("ModelSettings", SimpleNamespace(**fields))


def changed_settings(settings: "ModelSettings", changes: Mapping[str, Any]) -> "ModelSettings":
    """Return model settings with some fields changed, unchecked; those of an own network
    (`model_extra`) stay.
    """
    own = getattr(settings, "model_extra", None) or {}
    return settings_from({**vars(settings), **own, **changes})


def mlp_encoder(settings: "ModelSettings", image_shape: ImageShape, outputs: int) -> nn.Module:
    """Build a fully connected encoder with layers of `settings.hidden`: x [B, C, H, W] → [B,
    outputs].
    """
    sizes = [prod(image_shape), *settings.hidden, outputs]
    return nn.Sequential(nn.Flatten(1), *linear_layers(sizes, settings.activation))


def mlp_decoder(
    settings: "ModelSettings", image_shape: ImageShape, latent_size: int, parameters: int
) -> nn.Module:
    """Build the fully connected mirror of the encoder: z [B, L] → [B, parameters·C, H, W]."""
    channels, height, width = image_shape
    sizes = [latent_size, *reversed(settings.hidden), parameters * prod(image_shape)]
    layers = linear_layers(sizes, settings.activation)
    return nn.Sequential(*layers, nn.Unflatten(1, (parameters * channels, height, width)))


def linear_layers(sizes: Sequence[int], activation: str) -> list[nn.Module]:
    """Build linear layers in PyTorch's default initialisation, with the activation between them,
    not after the last.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return layers[:-1]
