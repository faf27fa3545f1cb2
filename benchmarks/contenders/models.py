"""The two models that all contenders train, in plain PyTorch: what one writes by hand, equal in
shape to vaeexp's.

`mlp` is 784–512–512–2L and its mirror, with LeakyReLU between (vaeexp's network `mlp` as it comes);
`conv` is the network `conv_mnist` of the study `beta_strip_mnist`. Standard normal prior, Bernoulli
likelihood, closed-form KL.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["LATENT_SIZES", "PlainVAE"]

LATENT_SIZES = {"mlp": 20, "conv": 64}


class PlainVAE(nn.Module):
    """`forward(x)` is the negative ELBO in nats, mean over images; x is [B, 1, 28, 28] of zeros and
    ones.
    """

    def __init__(self, kind: str, latent_size: int | None = None) -> None:
        super().__init__()
        size = latent_size or LATENT_SIZES[kind]
        self.encoder, self.decoder = _mlp(size) if kind == "mlp" else _conv(size)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [B, L] of q(z|x)."""
        mean, log_var = self.encoder(x).float().chunk(2, dim=1)
        return mean, log_var

    def forward(self, x: Tensor) -> Tensor:
        mean, log_var = self.encode(x)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        distortion = F.binary_cross_entropy_with_logits(self.decoder(z).float(), x, reduction="sum")
        rate = -0.5 * (1 + log_var - mean.square() - log_var.exp()).sum()
        return (distortion + rate) / len(x)


def _mlp(latent_size: int) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        nn.Flatten(1),
        *(nn.Linear(784, 512), nn.LeakyReLU()),
        *(nn.Linear(512, 512), nn.LeakyReLU()),
        nn.Linear(512, 2 * latent_size),
    )
    decoder = nn.Sequential(
        *(nn.Linear(latent_size, 512), nn.LeakyReLU()),
        *(nn.Linear(512, 512), nn.LeakyReLU()),
        nn.Linear(512, 784),
        nn.Unflatten(1, (1, 28, 28)),
    )
    return encoder, decoder


def _conv(latent_size: int) -> tuple[nn.Module, nn.Module]:
    encoder = nn.Sequential(
        *(nn.Conv2d(1, 32, 4, 2, 1), nn.LeakyReLU()),
        *(nn.Conv2d(32, 64, 4, 2, 1), nn.BatchNorm2d(64), nn.LeakyReLU()),
        *(nn.Conv2d(64, 128, 3, 2), nn.BatchNorm2d(128), nn.LeakyReLU()),
        *(nn.Conv2d(128, 256, 3, 2), nn.BatchNorm2d(256), nn.LeakyReLU()),
        nn.Flatten(1),
        nn.Linear(256, 2 * latent_size),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_size, 256),
        nn.Unflatten(1, (256, 1, 1)),
        *(nn.ConvTranspose2d(256, 128, 3, 2), nn.BatchNorm2d(128), nn.LeakyReLU()),
        *(nn.ConvTranspose2d(128, 64, 3, 2), nn.BatchNorm2d(64), nn.LeakyReLU()),
        *(nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.BatchNorm2d(32), nn.LeakyReLU()),
        nn.ConvTranspose2d(32, 1, 4, 2, 1),
    )
    return encoder, decoder
