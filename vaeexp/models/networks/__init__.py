"""Encoders and decoders: plain `nn.Module`s that know nothing of distributions.

What runs fused (vmap over trials) must keep to four rules: no branch on the value of a tensor, no random draw inside
`forward`, nothing written in place but registered buffers, and first and last layers whose weights at a smaller latent size
are the leading slice of those at a bigger one (`nn.Linear` is such a layer), while nothing else depends on the latent size.
What breaks the first, third or fourth rule still trains, one lane after the other; what draws is refused.
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
    """The architecture of this name: from the table, or the user's own by its import path `package.module:Class`.

    Raises ValueError, in plain words, where there is none or it does not fit.
    """
    if ":" in name:
        return load_network(name)
    if name not in NETWORKS:
        raise ValueError(
            f"network: there is no network '{name}'. {did_you_mean(name, NETWORKS)} "
            "A network of your own is named by its import path, `package.module:Class`."
        )
    return NETWORKS[name]
