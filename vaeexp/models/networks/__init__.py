"""Encoders and decoders: plain `nn.Module`s that know nothing of distributions.

A network that trains fused (vmap over trials) follows four rules:
1. It does not branch on the value of a tensor.
2. It draws no random numbers inside `forward`.
3. It writes in place only to registered buffers.
4. Only the layers next to the latent space depend on the latent size, and their weights at a smaller latent size are the
   leading slice of the weights at a bigger size, as with `nn.Linear`.
A network that breaks rule 1, 3 or 4 still trains, one lane after the other. A network that breaks rule 2 is refused.
"""

from sweeps.errors import did_you_mean
from vaeexp.models.networks.conv import conv_decoder, conv_encoder
from vaeexp.models.networks.mlp import (
    ACTIVATIONS,
    CONVOLUTIONAL,
    ImageShape,
    Network,
    mlp_decoder,
    mlp_encoder,
    settings_from,
)
from vaeexp.models.networks.published import CONV_CELEBA, CONV_CIFAR, CONV_MNIST, MLP_CIFAR
from vaeexp.models.networks.user import load_network

__all__ = ["ACTIVATIONS", "NETWORKS", "ImageShape", "Network", "find_network", "settings_from"]

NETWORKS: dict[str, Network] = {
    "mlp": Network(mlp_encoder, mlp_decoder, least_rows=1, shapes=("hidden", "activation")),
    "conv": Network(conv_encoder, conv_decoder, shapes=(*CONVOLUTIONAL, "activation")),
    "conv_mnist": Network(CONV_MNIST.encoder, CONV_MNIST.decoder, shapes=()),
    "conv_celeba": Network(CONV_CELEBA.encoder, CONV_CELEBA.decoder, shapes=()),
    "conv_cifar": Network(CONV_CIFAR.encoder, CONV_CIFAR.decoder, shapes=()),
    "mlp_cifar": MLP_CIFAR,
}
"""Name in a study file → architecture."""


def find_network(name: str) -> Network:
    """Return the architecture of this name: from `NETWORKS`, or the user's own by import path `package.module:Class`.

    Raises:
        ValueError: the name is unknown, or the user's network cannot be imported or lacks a method.
    """
    if ":" in name:
        return load_network(name)
    if name not in NETWORKS:
        raise ValueError(
            f"network: there is no network '{name}'. {did_you_mean(name, NETWORKS)} "
            "For your own network give its import path, `package.module:Class`."
        )
    return NETWORKS[name]
