"""The VAE of pytorch/examples (https://github.com/pytorch/examples/tree/main/vae, BSD 3-Clause), reimplemented."""

from math import prod
from typing import Annotated

import torch
from pydantic import Field
from torch import nn


class VAE(nn.Module):
    """Fully connected: one hidden layer on either side, a sigmoid at the end."""

    def __init__(self, pixels, width, latent_size):
        super().__init__()
        self.hidden = nn.Linear(pixels, width)
        self.mean = nn.Linear(width, latent_size)
        self.log_var = nn.Linear(width, latent_size)
        self.up = nn.Linear(latent_size, width)
        self.image = nn.Linear(width, pixels)

    def encode(self, x):
        h = self.hidden(x.flatten(1)).relu()
        return self.mean(h), self.log_var(h)

    def decode(self, z):
        return torch.sigmoid(self.image(self.up(z).relu()))


class PyTorchVAE:
    """The network that a study names."""

    outputs = "probabilities"
    width: Annotated[int, Field(ge=16, le=4096)] = 400

    def vae(self, settings, image_shape):
        return VAE(prod(image_shape), self.width, settings.latent_size)
