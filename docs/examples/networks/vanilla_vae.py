"""VanillaVAE of AntixK/PyTorch-VAE (https://github.com/AntixK/PyTorch-VAE, Apache 2.0), reimplemented for images of any size."""

from itertools import pairwise
from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import nn

Width = Annotated[int, Field(ge=4, le=1024)]


class VAE(nn.Module):
    """A halving convolution with BatchNorm and LeakyReLU for each width, and back; the image ends in a tanh."""

    def __init__(self, image_shape, widths, latent_size):
        super().__init__()
        channels, self.height, self.width = image_shape
        # The images are padded to a multiple of what the convolutions halve.
        rows, columns = (-(-side // 2 ** len(widths)) for side in image_shape[1:])
        self.right = columns * 2 ** len(widths) - self.width
        self.below = rows * 2 ** len(widths) - self.height
        features = widths[-1] * rows * columns
        down = [self.block(nn.Conv2d(m, n, 3, 2, 1), n) for m, n in pairwise([channels, *widths])]
        self.down = nn.Sequential(*down, nn.Flatten())
        self.mean = nn.Linear(features, latent_size)
        self.log_var = nn.Linear(features, latent_size)
        back = [*reversed(widths), widths[0]]
        up = [self.block(nn.ConvTranspose2d(m, n, 3, 2, 1, output_padding=1), n) for m, n in pairwise(back)]
        self.up = nn.Sequential(nn.Linear(latent_size, features), nn.Unflatten(1, (widths[-1], rows, columns)), *up)
        self.image = nn.Sequential(nn.Conv2d(widths[0], channels, 3, padding=1), nn.Tanh())

    @staticmethod
    def block(convolution, width):
        return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.LeakyReLU())

    def encode(self, x):
        h = self.down(F.pad(x, (0, self.right, 0, self.below)))
        return self.mean(h), self.log_var(h)

    def decode(self, z):
        return self.image(self.up(z))[..., : self.height, : self.width]


class Halved(VAE):
    """The tanh's [−1, 1] as probabilities."""

    def decode(self, z):
        return (super().decode(z) + 1) / 2


class VanillaVAE:
    """The network that a study names."""

    outputs = "probabilities"
    widths: tuple[Width, ...] = (32, 64, 128, 256, 512)

    def vae(self, settings, image_shape):
        return Halved(image_shape, self.widths, settings.latent_size)
