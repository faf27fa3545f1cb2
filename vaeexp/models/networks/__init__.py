"""Encoders and decoders: plain `nn.Module`s that know nothing of distributions.

A network that trains fused (vmap over trials) follows four rules:
1. It does not branch on the value of a tensor.
2. It draws no random numbers inside `forward`.
3. It writes in place only to registered buffers.
4. Only the layers next to the latent space depend on the latent size, and their weights at a
   smaller latent size are the leading slice of the weights at a bigger size, as with `nn.Linear`.
A network that breaks rule 1, 3 or 4 still trains, one lane after the other. A network that breaks
rule 2 is refused.
"""

from vaeexp.models.networks.conv import Block, ConvNetwork, conv_network
from vaeexp.models.networks.mlp import (
    ACTIVATIONS,
    CONVOLUTIONAL,
    ImageShape,
    Network,
    changed_settings,
    mlp_decoder,
    mlp_encoder,
    settings_from,
)
from vaeexp.models.networks.user import load_network, own_settings, qualified

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "ImageShape",
    "Network",
    "changed_settings",
    "find_network",
    "own_settings",
    "qualified",
    "settings_from",
]

# Fixed networks of published examples and course notebooks; only the latent size can be set. They
# accept images of any size that their blocks can halve. The docstrings give the original image
# sizes.

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
"""For 28 × 28 images: sizes 14, 7, 3, 1 and 256 features before the latent space; DCGAN-like
(Radford et al. 2016).
"""

CONV_CELEBA = ConvNetwork(
    down=tuple(
        Block(n, kernel=3, stride=2, padding=1, normalisation="batch") for n in (32, 64, 128, 256)
    ),
    up=tuple(Block(n, kernel=4, stride=2, normalisation="batch") for n in (128, 64, 32, 32)),
    last=Block(3, kernel=3, stride=1, padding=1),
    activation="relu",
    up_activation="leaky_relu",
)
"""For faces of 218 × 178: four halvings to 14 × 12, transposed convolutions back, a plain
convolution for the image.
"""

CONV_CIFAR = ConvNetwork(
    down=tuple(Block(n, kernel=4, stride=2, padding=1) for n in (16, 32, 128)),
    up=tuple(Block(n, kernel=4, stride=2) for n in (64, 32)),
    last=Block(3, kernel=4, stride=2),
    activation="relu",
    up_activation="relu",
)
"""For 32 × 32 images: 2,048 features at 4 × 4, without normalisation."""

MLP_CIFAR = settings_from({"hidden": (400,), "activation": "relu"})
"""One hidden layer of 400 with ReLU in encoder and decoder (Kingma & Welling 2014): 3072–400–L for
32 × 32 × 3 images.
"""

NETWORKS: dict[str, Network] = {
    "mlp": Network(mlp_encoder, mlp_decoder, least_rows=1, shapes=("hidden", "activation")),
    "conv": Network(
        lambda settings, *sizes: conv_network(settings).encoder(settings, *sizes),
        lambda settings, *sizes: conv_network(settings).decoder(settings, *sizes),
        shapes=(*CONVOLUTIONAL, "activation"),
    ),
    "conv_mnist": Network(CONV_MNIST.encoder, CONV_MNIST.decoder, shapes=()),
    "conv_celeba": Network(CONV_CELEBA.encoder, CONV_CELEBA.decoder, shapes=()),
    "conv_cifar": Network(CONV_CIFAR.encoder, CONV_CIFAR.decoder, shapes=()),
    "mlp_cifar": Network(
        lambda _, *sizes: mlp_encoder(MLP_CIFAR, *sizes),
        lambda _, *sizes: mlp_decoder(MLP_CIFAR, *sizes),
        least_rows=1,
        shapes=(),
    ),
}
"""Name in a study file → architecture."""


def find_network(name: str) -> Network:
    """Return the architecture of this name: from `NETWORKS`, or the user's own by import path
    `package.module:Class`.

    Raises ValueError if the user's network cannot be imported or lacks a method, and KeyError if
    the name is unknown.
    """
    return load_network(name) if ":" in name else NETWORKS[name]
