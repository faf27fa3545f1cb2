"""The default VAE of pythae (https://github.com/clementchadebec/benchmark_VAE, Apache 2.0), imported: `pip install pythae`."""

from pythae.models import VAEConfig
from pythae.models.nn.default_architectures import Decoder_AE_MLP, Encoder_VAE_MLP
from torch import nn


class Encoder(nn.Module):
    """pythae's encoder, which returns a dictionary."""

    def __init__(self, config):
        super().__init__()
        self.layers = Encoder_VAE_MLP(config)

    def forward(self, x):
        output = self.layers(x)
        return output.embedding, output.log_covariance


class Decoder(nn.Module):
    """pythae's decoder, which returns a dictionary."""

    def __init__(self, config):
        super().__init__()
        self.layers = Decoder_AE_MLP(config)

    def forward(self, z):
        return self.layers(z).reconstruction


class Pythae:
    """The network that a study names."""

    outputs = "probabilities"

    def encoder(self, settings, image_shape, outputs):
        return Encoder(VAEConfig(input_dim=image_shape, latent_dim=settings.latent_size))

    def decoder(self, settings, image_shape, latent_size, parameters):
        return Decoder(VAEConfig(input_dim=image_shape, latent_dim=latent_size))
