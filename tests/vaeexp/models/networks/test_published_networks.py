"""The networks of the published examples, written down as plain PyTorch, compute what the named
ones compute.
"""

import pytest
import torch
from torch import nn

from vaeexp.models.vae import build_vae
from vaeexp.settings import ModelSettings


def r1_encoder():
    """β-VAE on MNIST, 28 × 28: resolutions 14, 7, 3, 1."""
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU()),
        *(nn.Conv2d(32, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.LeakyReLU()),
        *(nn.Conv2d(64, 128, 3, 2), nn.BatchNorm2d(128), nn.LeakyReLU()),
        *(nn.Conv2d(128, 256, 3, 2), nn.BatchNorm2d(256), nn.LeakyReLU(), nn.Flatten()),
    )


def r1_decoder():
    return nn.Sequential(
        *(nn.Linear(64, 256), nn.Unflatten(1, (256, 1, 1))),
        *(nn.ConvTranspose2d(256, 128, 3, 2), nn.BatchNorm2d(128), nn.LeakyReLU()),
        *(nn.ConvTranspose2d(128, 64, 3, 2), nn.BatchNorm2d(64), nn.LeakyReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.LeakyReLU()),
        *(nn.ConvTranspose2d(32, 1, 4, 2, 1), nn.Sigmoid()),
    )


def mlp_encoder(inputs, *hidden, activation):
    layers = [nn.Flatten()]
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation()]
        inputs = width
    return nn.Sequential(*layers)


def mlp_decoder(latent_size, *hidden, outputs, shape, activation):
    layers, inputs = [], latent_size
    for width in hidden:
        layers += [nn.Linear(inputs, width), activation()]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs), nn.Unflatten(1, shape), nn.Sigmoid())


def r4_encoder():
    """Faces of 218 × 178: four halvings to 14 × 12."""
    layers, inputs = [], 3
    for channels in (32, 64, 128, 256):
        layers += [nn.Conv2d(inputs, channels, 3, 2, 1), nn.BatchNorm2d(channels), nn.ReLU()]
        inputs = channels
    return nn.Sequential(*layers, nn.Flatten())


def r4_decoder():
    """Paddings and output paddings are the only ones by which a kernel of 4 with stride 2 meets 218
    × 178 on the way.
    """
    return nn.Sequential(
        *(nn.Linear(100, 256 * 14 * 12), nn.Unflatten(1, (256, 14, 12))),
        # 28 × 23.
        *(nn.ConvTranspose2d(256, 128, 4, 2, (1, 2), (0, 1)), nn.BatchNorm2d(128), nn.LeakyReLU()),
        *(nn.ConvTranspose2d(128, 64, 4, 2, 2, 1), nn.BatchNorm2d(64), nn.LeakyReLU()),  # 55 × 45
        *(nn.ConvTranspose2d(64, 32, 4, 2, 2, 1), nn.BatchNorm2d(32), nn.LeakyReLU()),  # 109 × 89
        *(nn.ConvTranspose2d(32, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.LeakyReLU()),  # 218 × 178
        *(nn.Conv2d(32, 3, 3, 1, 1), nn.Sigmoid()),
    )


def r5_encoder():
    """CIFAR-10, 32 × 32: 128 channels at 4 × 4 are 2,048 features."""
    return nn.Sequential(
        *(nn.Conv2d(3, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU()),
        *(nn.Conv2d(32, 128, 4, 2, 1), nn.ReLU(), nn.Flatten()),
    )


def r5_decoder():
    return nn.Sequential(
        *(nn.Linear(128, 2048), nn.Unflatten(1, (128, 4, 4))),
        *(
            nn.ConvTranspose2d(128, 64, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(64, 32, 4, 2, 1),
            nn.ReLU(),
        ),
        *(nn.ConvTranspose2d(32, 3, 4, 2, 1), nn.Sigmoid()),
    )


GREY, COLOUR, FACES = (1, 28, 28), (3, 32, 32), (3, 218, 178)
REFERENCES = {
    "R1": (r1_encoder, r1_decoder, GREY, {"network": "conv_mnist", "latent_size": 64}),
    "R2": (
        lambda: mlp_encoder(784, 512, 512, activation=nn.LeakyReLU),
        lambda: mlp_decoder(20, 512, 512, outputs=784, shape=GREY, activation=nn.LeakyReLU),
        GREY,
        {"network": "mlp", "hidden": (512, 512), "activation": "leaky_relu", "latent_size": 20},
    ),
    "R3": (
        lambda: mlp_encoder(784, 256, activation=nn.ReLU),
        lambda: mlp_decoder(10, 256, outputs=784, shape=GREY, activation=nn.ReLU),
        GREY,
        {"network": "mlp", "hidden": (256,), "activation": "relu", "latent_size": 10},
    ),
    "R4": (r4_encoder, r4_decoder, FACES, {"network": "conv_celeba", "latent_size": 100}),
    "R5 conv": (r5_encoder, r5_decoder, COLOUR, {"network": "conv_cifar", "latent_size": 128}),
    "R5 fully connected": (
        lambda: mlp_encoder(3072, 400, activation=nn.ReLU),
        lambda: mlp_decoder(20, 400, outputs=3072, shape=COLOUR, activation=nn.ReLU),
        COLOUR,
        {"network": "mlp_cifar", "latent_size": 20},
    ),
}


class Reference(nn.Module):
    """As the examples are written: two linear heads on the encoder, one for the mean and one for
    the log-variance.
    """

    def __init__(self, encoder, decoder, latent_size, features):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.mean, self.log_var = nn.Linear(features, latent_size), nn.Linear(features, latent_size)

    def forward(self, x, z):
        h = self.encoder(x)
        return self.mean(h), self.log_var(h), self.decoder(z)


def take_over(vae, reference):
    """Give the reference the weights of the VAE, layer by layer in the order of the network."""
    *hidden, weight, bias = vae.encoder.parameters()
    with torch.no_grad():
        for mine, theirs in zip(hidden, reference.encoder.parameters(), strict=True):
            theirs.copy_(mine)
        for mine, theirs in zip(
            vae.decoder.parameters(), reference.decoder.parameters(), strict=True
        ):
            theirs.copy_(mine)
        for half, head in enumerate((reference.mean, reference.log_var)):
            head.weight.copy_(weight[half::2])
            head.bias.copy_(bias[half::2])


@pytest.mark.parametrize("name", REFERENCES)
def test_a_published_network_is_the_reference_layer_by_layer(name):
    encoder, decoder, shape, settings = REFERENCES[name]
    latent_size = settings["latent_size"]
    settings = ModelSettings(**settings, likelihood="gaussian")
    vae = build_vae(settings, shape, seed=1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        reference = Reference(encoder(), decoder(), latent_size, vae.encoder[-1].in_features)
        x, z = torch.rand(4, *shape), torch.randn(4, latent_size)
    assert sum(p.numel() for p in reference.parameters()) == vae.parameter_count()
    take_over(vae, reference)
    # In evaluation with the running statistics that training has left.
    for training in (True, False):
        vae.train(training)
        reference.train(training)
        with torch.no_grad():
            q, p = vae.encode(x), vae.decode(z)
            mean, log_var, decoded = reference(x, z)
        torch.testing.assert_close(q.mean, mean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(q.log_var, log_var, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(p.mean, decoded, rtol=1e-5, atol=1e-5)
    own = [*vae.encoder.named_buffers(), *vae.decoder.named_buffers()]
    theirs = [*reference.encoder.named_buffers(), *reference.decoder.named_buffers()]
    for (_, mine), (_, wanted) in zip(own, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)
