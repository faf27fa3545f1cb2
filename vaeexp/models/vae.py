"""The variational autoencoder: parts from the tables, put together by one evidence lower bound.

Shapes: B images, C channels, H × W pixels, L latent dimensions. All terms are in nats per image.

A model can be embedded in one of more latent dimensions and components: each parameter and buffer becomes the leading slice
of a bigger one filled with zeros, and the zeros in the buffers `latent_mask` and `component_mask` switch the rest off. Both
models then compute the same, and the gradient of the padding is exactly 0.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from sweeps.errors import did_you_mean
from vaeexp.models.likelihoods import LIKELIHOODS, Head, ImageDistribution, LearnedGaussian
from vaeexp.models.networks import ACTIVATIONS, ImageShape, find_network
from vaeexp.models.posteriors import POSTERIORS, Deterministic, DiagonalGaussian
from vaeexp.models.priors import PRIORS, PriorDistribution

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings


class Terms(NamedTuple):
    """What one pass gives, per image: the negative ELBO is distortion + rate."""

    distortion: Tensor
    """−log p(x|z) at one z drawn from q(z|x); [B]."""
    rate: Tensor
    """KL(q(z|x) ‖ p(z)) in closed form, else log q(z|x) − log p(z) at the same z; [B]."""
    mean: Tensor
    """Posterior mean [B, L], 0 where masked."""


class VAE(nn.Module):
    """Encoder, posterior, prior, decoder and likelihood (Kingma & Welling 2014).

    Matrix products may run in a lower precision (autocast); densities are always float32 or better.
    """

    latent_mask: Tensor
    """1 for a latent dimension that exists, else 0; [L]."""
    likelihood: Head | LearnedGaussian

    def __init__(self, settings: "ModelSettings", image_shape: ImageShape) -> None:
        """Raises ValueError where a part is unknown or does not fit the images."""
        super().__init__()
        check_model(settings)
        self.posterior = POSTERIORS[settings.posterior]
        self.likelihood = LIKELIHOODS[settings.likelihood].head(settings)
        network, latent_size = find_network(settings.network), settings.latent_size
        self.encoder = network.encoder(settings, image_shape, self.posterior.parameters * latent_size)
        self.decoder = network.decoder(settings, image_shape, latent_size, self.likelihood.outputs)
        self.prior = PRIORS[settings.prior](latent_size, settings.components, image_shape)
        self.register_buffer("latent_mask", torch.ones(latent_size))

    def encode(self, x: Tensor) -> DiagonalGaussian | Deterministic:
        """q(z|x) for x [B, C, H, W] in [0, 1]."""
        return self.posterior.from_head(_full_precision(self.encoder(x)), self.latent_mask)

    def encode_density(self, x: Tensor) -> DiagonalGaussian:
        """q(z|x) as `encode` gives it. Raises TypeError for a posterior without a density."""
        posterior = self.encode(x)
        if isinstance(posterior, Deterministic):
            raise TypeError("a deterministic posterior has no density")
        return posterior

    def decode(self, z: Tensor) -> ImageDistribution:
        """p(x|z) for z [..., L]."""
        h = _full_precision(self.decoder(z.reshape(-1, z.shape[-1])))
        return self.likelihood(h.reshape(*z.shape[:-1], *h.shape[1:]))

    def prior_distribution(self) -> PriorDistribution:
        """p(z)."""
        return self.prior(self.encode, self.latent_mask)

    def forward(self, x: Tensor, noise: Tensor) -> Terms:
        """The ELBO's terms for x [B, C, H, W], with standard normal noise [B, L]."""
        posterior = self.encode(x)
        if isinstance(posterior, Deterministic):
            distortion = -self.decode(posterior.mean).log_prob(x)
            return Terms(distortion, torch.zeros_like(distortion), posterior.mean)
        prior = self.prior_distribution()
        z, log_q = posterior.rsample_and_log_prob(noise)
        kl = prior.kl(posterior)
        rate = log_q - prior.log_prob(z) if kl is None else kl
        return Terms(-self.decode(z).log_prob(x), rate, posterior.mean)

    def sample(self, n: int, generator: torch.Generator) -> ImageDistribution:
        """p(x|z) at n codes drawn from the prior; take its `mean`, or draw from it."""
        return self.decode(self.prior_distribution().sample(n, generator))

    def parameter_count(self) -> int:
        """Numbers that are learned."""
        return sum(parameter.numel() for parameter in self.parameters())


def _full_precision(h: Tensor) -> Tensor:
    """As float32, unless it is float64 already."""
    return h.to(torch.promote_types(h.dtype, torch.float32))


_TABLES: dict[str, Mapping[str, Any]] = {
    "activation": ACTIVATIONS,
    "posterior": POSTERIORS,
    "prior": PRIORS,
    "likelihood": LIKELIHOODS,
}


def check_model(settings: "ModelSettings", image_shape: ImageShape | None = None) -> None:
    """Raise ValueError, in plain words, where `settings` names a part that there is not.

    With an image shape also where the network cannot be built for such images.
    """
    find_network(settings.network)
    for field, table in _TABLES.items():
        name = getattr(settings, field)
        if name not in table:
            raise ValueError(f"{field}: there is no {field} '{name}'. {did_you_mean(name, table)}")
    if not POSTERIORS[settings.posterior].stochastic and settings.prior != "normal":
        raise ValueError(
            f"prior: '{settings.prior}' would never be learned, for a {settings.posterior} posterior has no rate; "
            "leave `prior: normal`, from which samples are drawn."
        )
    if image_shape is not None:
        build_vae(settings, image_shape, seed=0)


def shape_of(settings: "ModelSettings") -> tuple[tuple[str, Any], ...]:
    """Return the settings that decide a model's tensors and code, latent size and component count apart.

    Models that agree in them can be padded to one size and train as rows of one program.
    """
    parts = ("network", "posterior", "prior", "likelihood")
    names = (*parts, *find_network(settings.network).shapes, *LIKELIHOODS[settings.likelihood].shapes)
    return tuple((name, getattr(settings, name)) for name in names)


def build_vae(settings: "ModelSettings", image_shape: ImageShape, seed: int) -> VAE:
    """A VAE on the CPU whose initial weights depend on the settings and the seed alone; global generators are untouched."""
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # torch.manual_seed would reseed the accelerators too.
        torch.default_generator.manual_seed(seed)
        return VAE(settings, image_shape)
