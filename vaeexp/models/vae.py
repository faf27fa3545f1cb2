"""Builds the variational autoencoder from the tables of parts and computes its evidence lower bound
(ELBO).

Shapes: B images, C channels, H × W pixels, L latent dimensions. All terms are in nats per image.

A model can be embedded in a model of more latent dimensions and components: each parameter and
buffer becomes the leading slice of a bigger tensor that is otherwise 0, and zeros in the buffers
`latent_mask` and `component_mask` switch the padding off. Both models compute the same, and the
gradient of the padding is exactly 0.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from vaeexp.data.values import ImageShape, Values, as_values
from vaeexp.import_paths import check_arguments, imported, one_line, own_paths
from vaeexp.models.likelihoods import (
    LOGITS,
    MEANS,
    ImageDistribution,
    build_likelihood,
    described,
    find_likelihood,
)
from vaeexp.models.networks import find_network
from vaeexp.models.networks.halves import LogCounts, Logits
from vaeexp.models.parts import check_parts, is_density
from vaeexp.models.posteriors import POSTERIORS, Deterministic, DiagonalGaussian
from vaeexp.models.priors import PriorDistribution, build_prior, check_draws

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings


class Terms(NamedTuple):
    """The result of one pass, per image. The negative ELBO is distortion + rate."""

    distortion: Tensor
    """−log p(x|z) at one z drawn from q(z|x); [B]."""
    rate: Tensor
    """KL(q(z|x) ‖ p(z)) in closed form, else log q(z|x) − log p(z) at the same z; [B]."""
    mean: Tensor
    """Posterior mean [B, L], 0 where masked."""


class Pass(NamedTuple):
    """All of one pass. `(S)` is an axis of draws of z, absent for one draw."""

    posterior: DiagonalGaussian | Deterministic
    """q(z|x)."""
    prior: PriorDistribution
    """p(z)."""
    z: Tensor
    """Drawn from q(z|x); [(S), B, L]."""
    log_q: Tensor
    """log q(z|x) [(S), B]; 0 for a posterior without a density."""
    distortion: Tensor
    """−log p(x|z) [(S), B]."""
    rate: Tensor
    """As in `Terms`: [B] in closed form, else [(S), B]."""


class VAE(nn.Module):
    """Encoder, posterior, prior, decoder and likelihood (Kingma & Welling 2014).

    Matrix products may run in a lower precision (autocast); densities are always float32 or better.
    """

    latent_mask: Tensor
    """1 for a latent dimension that exists, else 0; [L]."""
    likelihood: Any
    """The head: decoder's output → p(x|z); with `outputs`, its numbers per sub-pixel."""
    own: bool
    """Whether code of the user's own takes part, which may branch on values and change."""
    support: str
    """The values that the likelihood describes, from `vaeexp.models.parts.SUPPORTS`."""
    log_scale: float
    """Σ log scale of the targets over the sub-pixels where the likelihood is a density, else 0.
    Added to −log p(x), it gives −log p in the unit of the report.
    """

    def __init__(self, settings: "ModelSettings", values: Values | ImageShape) -> None:
        """Build the model of these values; a bare shape (C, H, W) is that of levels in [0, 1].
        Raises ValueError if a part is unknown or does not fit the images or their values.
        """
        super().__init__()
        check_model(settings)
        self.values = described(settings.likelihood, as_values(values))
        image_shape = self.values.shape
        self.posterior = POSTERIORS[settings.posterior]
        self.likelihood, self.support = build_likelihood(settings, self.values)
        self.log_scale = self.values.log_scale if is_density(self.support) else 0.0
        network = find_network(settings.network)
        latent_size = settings.latent_size
        encoder = network.encoder(settings, image_shape, self.posterior.parameters * latent_size)
        # An encoder of counts sees log(1 + x), as in scvi-tools, because counts span decades.
        self.encoder = LogCounts(encoder) if self.support == "counts" else encoder
        self.decoder = network.decoder(settings, image_shape, latent_size, self.likelihood.outputs)
        _check_outputs(self.decoder, settings, getattr(self.likelihood, "takes", LOGITS))
        self.prior = build_prior(settings.prior, latent_size, settings.components, self.values)
        self.own = bool(own_paths(vars(settings)))
        self.register_buffer("latent_mask", torch.ones(latent_size))

    def encode(self, x: Tensor) -> DiagonalGaussian | Deterministic:
        """Return q(z|x) for targets x [B, C, H, W]."""
        return self.posterior.from_head(_full_precision(self.encoder(x)), self.latent_mask)

    def encode_density(self, x: Tensor) -> DiagonalGaussian:
        """Return q(z|x) for targets x [B, C, H, W]. Raises TypeError for a posterior without a
        density.
        """
        posterior = self.encode(x)
        if isinstance(posterior, Deterministic):
            raise TypeError("a deterministic posterior has no density")
        return posterior

    def decode(self, z: Tensor) -> ImageDistribution:
        """Return p(x|z) for z [..., L]."""
        h = _full_precision(self.decoder(z.reshape(-1, z.shape[-1])))
        return self.likelihood(h.reshape(*z.shape[:-1], *h.shape[1:]))

    def prior_distribution(self) -> PriorDistribution:
        """Return p(z) with the present weights."""
        return self.prior(self.encode, self.latent_mask)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Terms:
        """Return the ELBO's terms for targets x [B, C, H, W], with standard normal noise [B, L];
        by default it is drawn.
        """
        passed = self.run(x, noise)
        return Terms(passed.distortion, passed.rate, passed.posterior.mean)

    def run(self, x: Tensor, noise: Tensor | None = None) -> Pass:
        """Return all of a pass over targets x [B, C, H, W], with standard normal noise [(S), B,
        L]; by default [B, L] is drawn.
        """
        posterior = self.encode(x)
        if noise is None:
            noise = torch.randn_like(posterior.mean)
        prior = self.prior_distribution()
        if isinstance(posterior, Deterministic):
            distortion = -self.decode(posterior.mean).log_prob(x)
            zeros = torch.zeros_like(distortion)
            return Pass(posterior, prior, posterior.mean, zeros, distortion, zeros)
        z, log_q = posterior.rsample_and_log_prob(noise)
        kl = prior.kl(posterior)
        rate = log_q - prior.log_prob(z) if kl is None else kl
        return Pass(posterior, prior, z, log_q, -self.decode(z).log_prob(x), rate)

    @torch.no_grad()
    def sample(self, n: int = 1, generator: torch.Generator | None = None) -> ImageDistribution:
        """Draw n codes z from the prior and return p(x|z); its `mean` and `sample` give images [n,
        C, H, W].

        Without a generator, PyTorch's own draws. No gradient is kept.
        """
        return self.decode(
            self.prior_distribution().sample(n, generator or torch.default_generator)
        )

    @torch.no_grad()
    def reconstruct(self, x: Tensor) -> Tensor:
        """Return the reconstructions [B, C, H, W] of targets x [B, C, H, W]: the means of p(x|z) at
        the posterior means, given the row sums of x where the likelihood has a size factor. No
        gradient is kept.
        """
        decoded: Any = self.decode(self.encode(x).mean)
        return decoded.mean_given(x) if hasattr(decoded, "mean_given") else decoded.mean

    def parameter_count(self) -> int:
        """Return how many numbers are learned."""
        return sum(parameter.numel() for parameter in self.parameters())


def _check_outputs(decoder: nn.Module, settings: "ModelSettings", takes: str) -> None:
    """Raise ValueError where a decoder says that it gives probabilities and the likelihood takes
    other numbers.
    """
    if not isinstance(decoder, Logits) or takes == LOGITS:
        return
    reason = (
        "which can be any numbers, because the targets do not all lie in [0, 1]"
        if takes == MEANS
        else "of counts"
    )
    raise ValueError(
        f"network: '{settings.network}' gives probabilities, and `likelihood: "
        f"{settings.likelihood}` takes {takes}, {reason}. Take the last activation away and leave "
        "`outputs` out."
    )


def _full_precision(h: Tensor) -> Tensor:
    return h.to(torch.promote_types(h.dtype, torch.float32))


def check_model(
    settings: "ModelSettings", values: Values | ImageShape | None = None, batch_size: int = 2
) -> None:
    """Check that the parts exist and fit together and, with the values of the images, that the
    network can be built and trained.

    Raises ValueError if a part is unknown, a prior would not be learned, or the network does not
    fit the images, or batches of this size.
    """
    check_parts(settings)
    find_network(settings.network)
    for path, field in own_paths(vars(settings)).items():
        imported(path, field)
    if values is None:
        return
    vae = build_vae(settings, values, seed=0).train()
    _check_step(vae, settings, min(batch_size, 2))
    prior = vae.prior_distribution()
    parts = [prior, vae.eval().decode(torch.zeros(1, settings.latent_size))]
    for half in (vae.encoder, vae.decoder):  # without the adapters around them
        parts.append(next(m for m in half.modules() if type(m).__module__ != Logits.__module__))
    for path, field in own_paths(vars(settings)).items():
        check_arguments(field, imported(path, field), *parts)
    if ":" in settings.prior:
        check_draws(settings.prior, prior)


def _check_step(vae: VAE, settings: "ModelSettings", images: int) -> None:
    """Raise ValueError where a training step of so many images fails, or its gradient; BatchNorm,
    for one, needs two values of a feature.
    """
    x = torch.full((images, *vae.values.shape), 0.5)
    noise = torch.zeros(images, settings.latent_size)
    try:
        terms = vae(x, noise)
        (terms.distortion + terms.rate).sum().backward()
    except Exception as error:  # of the user's code, whatever it raises
        pseudo_inputs = getattr(vae.prior, "encodes", False) and settings.components == 1
        if images > 1 and not pseudo_inputs:
            own = [f"{field}: '{path}'" for path, field in own_paths(vars(settings)).items()]
            raise ValueError(
                f"{' or '.join(own)} fails in a training step on images of shape "
                f"{vae.values.shape}: {one_line(error)}."
            ) from error
        reason = " ".join(str(error).split())
        field, least = (
            ("components: 1", "2 components") if images > 1 else (f"batch_size: {images}", "2")
        )
        raise ValueError(
            f"{field.partition(':')[0]}: network '{settings.network}' cannot train with "
            f"`{field}`: {reason} Give at least {least}, or a network without BatchNorm."
        ) from error
    if not terms.rate.isfinite().all():
        raise ValueError(
            f"prior: `log_prob` of '{settings.prior}' is not finite at codes near 0; must be "
            "finite at all codes, because every posterior reaches them."
        )


def shape_of(settings: "ModelSettings") -> tuple[tuple[str, Any], ...]:
    """Return the settings that decide a model's tensors and code, without latent size and component
    count.

    Models with equal settings here can be padded to one size and train as rows of one program.
    """
    parts = ("network", "posterior", "prior", "likelihood")
    names = (
        *parts,
        *find_network(settings.network).shapes,
        *find_likelihood(settings.likelihood).shapes,
    )
    # None: the default of the user's network.
    return tuple((name, getattr(settings, name, None)) for name in names)


def count_parameters(settings: "ModelSettings", values: Values | ImageShape) -> int | None:
    """Count what a model learns without its memory; None for a network of the user's own that must
    be built to tell.
    """
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            return VAE(settings, values).parameter_count()
    except (RuntimeError, ValueError, TypeError):
        return None


def build_vae(settings: "ModelSettings", values: Values | ImageShape, seed: int) -> VAE:
    """Build a VAE on the CPU from settings and seed alone; global generators stay untouched. Raises
    ValueError as `VAE`.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # Not torch.manual_seed, because it also reseeds the accelerators.
        torch.default_generator.manual_seed(seed)
        return VAE(settings, values)
