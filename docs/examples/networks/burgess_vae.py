"""The VAE of Burgess et al. (https://arxiv.org/abs/1804.03599) as in YannDubs/disentangling-vae
(https://github.com/YannDubs/disentangling-vae, MIT), reimplemented: an encoder, a decoder, and images of 32 × 32 or 64 × 64."""

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import nn

Width = Annotated[int, Field(ge=4, le=1024)]


class Encoder(nn.Module):
    """Convolutions that halve to 4 × 4, and two fully connected layers."""

    def __init__(self, channels, blocks, maps, width, latent_size, padding):
        super().__init__()
        self.padding = padding
        layers = []
        for inputs in [channels, *[maps] * (blocks - 1)]:
            layers += [nn.Conv2d(inputs, maps, 4, 2, 1), nn.ReLU()]
        layers += [nn.Flatten(), nn.Linear(16 * maps, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.head = nn.Linear(width, 2 * latent_size)

    def forward(self, x):
        h = self.head(self.layers(F.pad(x, self.padding)))
        return h.view(len(h), -1, 2).unbind(-1)


class Decoder(nn.Module):
    """The way back; the sigmoid at the end of the source is left out, because the likelihood takes logits."""

    def __init__(self, channels, blocks, maps, width, latent_size, padding):
        super().__init__()
        self.crop = [-side for side in padding]
        layers = [nn.Linear(latent_size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()]
        layers += [nn.Linear(width, 16 * maps), nn.ReLU(), nn.Unflatten(1, (maps, 4, 4))]
        for _ in range(blocks - 1):
            layers += [nn.ConvTranspose2d(maps, maps, 4, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.ConvTranspose2d(maps, channels, 4, 2, 1))

    def forward(self, z):
        return F.pad(self.layers(z), self.crop)


class Burgess:
    """The network that a study names."""

    maps: Width = 32
    width: Width = 256

    def encoder(self, settings, image_shape, outputs):
        return Encoder(image_shape[0], *self.sizes(image_shape), settings.latent_size, self.padding(image_shape))

    def decoder(self, settings, image_shape, latent_size, parameters):
        channels = parameters * image_shape[0]
        return Decoder(channels, *self.sizes(image_shape), latent_size, self.padding(image_shape))

    def sizes(self, image_shape):
        return (3 if max(image_shape) <= 32 else 4), self.maps, self.width

    def padding(self, image_shape):
        side = 32 if max(image_shape) <= 32 else 64
        rows, columns = (side - size for size in image_shape[1:])
        return [columns // 2, columns - columns // 2, rows // 2, rows - rows // 2]
