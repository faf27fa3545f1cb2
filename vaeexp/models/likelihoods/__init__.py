"""Defines the likelihoods p(x|z): the distribution over images that a decoder describes.

Shapes: C channels, H × W pixels; `...` stands for any leading dimensions. All log-probabilities are in nats per image:
sums over sub-pixels, never means.

A row of `LIKELIHOODS` makes a head from settings: a module that holds options and the parameters learned besides the
decoder. Its `forward` takes the raw output of the decoder, [..., outputs·C, H, W], and returns a distribution, which holds
the mathematics. Options are buffers, so that lanes of different options train as one program.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeexp.models.likelihoods.distributions import (
    LEVELS,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogisticMixture,
    Gaussian,
    Laplace,
)

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

__all__ = ["LIKELIHOODS", "Head", "ImageDistribution", "LearnedGaussian", "Likelihood"]


class ImageDistribution(Protocol):
    """The methods of every likelihood, for images [..., C, H, W]."""

    support: ClassVar[str]
    """The values of a sub-pixel. binary: zeros and ones; levels_256: k/255; unit_interval: [0, 1]; real: real numbers."""

    @property
    def mean(self) -> Tensor:
        """E[x] [..., C, H, W], in [0, 1]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw images [..., C, H, W] on the generator's device."""


class Head(nn.Module):
    """Turns the decoder's output into a distribution, without learned parameters of its own."""

    def __init__(self, make: Callable[..., ImageDistribution], outputs: int, **options: float) -> None:
        """`outputs`: numbers of the decoder's output per sub-pixel. `options`: numbers that `make` takes by name."""
        super().__init__()
        self.make, self.outputs, self._options = make, outputs, tuple(options)
        for name, value in options.items():
            self.register_buffer(name, torch.tensor(float(value)))

    def forward(self, h: Tensor) -> ImageDistribution:
        """Return the distribution that h [..., outputs·C, H, W] describes."""
        return self.make(h, **{name: getattr(self, name) for name in self._options})


class LearnedGaussian(nn.Module):
    """A Gaussian with one learned σ for all sub-pixels of all images (σ-VAE, Rybkin et al. 2021).

    The best single σ is the root mean squared error, so the data balance distortion and rate. A σ per pixel from the
    decoder is ill-posed: the density has no bound where pixels never change, for example on a black border.
    """

    outputs: ClassVar[int] = 1  # numbers of the decoder's output per sub-pixel
    FLOOR: ClassVar[float] = -6.0
    """Lower bound of log σ, as in the paper: σ = 0.6 of a grey level. A softplus approaches it, so that the gradient never
    vanishes."""

    def __init__(self, sigma: float) -> None:
        """`sigma`: the initial σ, above exp(FLOOR)."""
        super().__init__()
        self.raw_log_sigma = nn.Parameter(torch.tensor(self.FLOOR + math.log(math.expm1(math.log(sigma) - self.FLOOR))))

    @property
    def sigma(self) -> Tensor:
        """The present σ []."""
        return (self.FLOOR + F.softplus(self.raw_log_sigma - self.FLOOR)).exp()

    def forward(self, h: Tensor) -> Gaussian:
        """Return N(sigmoid(h), σ²) for h [..., C, H, W]."""
        return Gaussian(h.sigmoid(), self.sigma)


class Likelihood(NamedTuple):
    """A row of `LIKELIHOODS`."""

    distribution: type[ImageDistribution]
    """Its `support` says what its values mean."""
    head: Callable[["ModelSettings"], Head | LearnedGaussian]
    """Settings → the module that makes the distribution from the decoder's output."""
    shapes: tuple[str, ...] = ()
    """Names of the settings that change the decoder's tensors; the other settings are numbers in buffers."""


def _logistic_mixture(settings: "ModelSettings") -> Head:
    components = settings.likelihood_components
    return Head(partial(DiscretisedLogisticMixture.mixture, components=components), 3 * components)


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(Bernoulli, lambda _: Head(Bernoulli, 1)),
    "continuous_bernoulli": Likelihood(ContinuousBernoulli, lambda _: Head(ContinuousBernoulli, 1)),
    "gaussian": Likelihood(
        Gaussian, lambda settings: Head(lambda h, sigma: Gaussian(h.sigmoid(), sigma), 1, sigma=settings.sigma)
    ),
    "gaussian_learned": Likelihood(Gaussian, lambda settings: LearnedGaussian(settings.sigma)),
    "laplace": Likelihood(
        Laplace, lambda settings: Head(lambda h, scale: Laplace(h.sigmoid(), scale), 1, scale=settings.laplace_scale)
    ),
    "categorical_256": Likelihood(
        Categorical, lambda _: Head(lambda h: Categorical(h.unflatten(-3, (LEVELS, -1))), LEVELS)
    ),
    "discretised_logistic": Likelihood(
        DiscretisedLogisticMixture, lambda _: Head(DiscretisedLogisticMixture.single, 2)
    ),
    "discretised_logistic_mixture": Likelihood(
        DiscretisedLogisticMixture, _logistic_mixture, shapes=("likelihood_components",)
    ),
}
"""Name in a study file → the distribution and the constructor of its head."""
