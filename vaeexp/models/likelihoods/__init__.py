"""Likelihoods p(x|z): the distribution over images that a decoder describes.

Shapes: B images, C channels, H × W pixels; `...` stands for any leading dimensions. All log-probabilities are in nats per
image: sums over sub-pixels, never means.

A row of `LIKELIHOODS` makes a head from settings: a module that holds options and what is learned besides the decoder. Its
`forward` takes the raw output of the decoder, [..., outputs·C, H, W], and returns a distribution, which holds the
mathematics. Options are buffers, so that lanes of different options train as one program.

Masses on 256 levels, densities on [0, 1] or on the real line, and probabilities of zeros and ones are different measures:
their values are never comparable.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeexp.models.likelihoods.bernoulli import Bernoulli
from vaeexp.models.likelihoods.continuous import ContinuousBernoulli, Gaussian, Laplace
from vaeexp.models.likelihoods.levels import LEVELS, Categorical, DiscretisedLogisticMixture

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

__all__ = [
    "LIKELIHOODS",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretisedLogisticMixture",
    "Gaussian",
    "Head",
    "ImageDistribution",
    "Laplace",
    "LearnedGaussian",
    "Likelihood",
    "check_targets",
]


class ImageDistribution(Protocol):
    """What every likelihood offers, for images [..., C, H, W]."""

    support: ClassVar[str]
    """What it is a distribution over. binary: zeros and ones; levels_256: k/255; unit_interval: [0, 1]; real: numbers."""
    bits_per_dimension: ClassVar[bool]
    """Whether nats / (sub-pixels · ln 2) are bits that it takes to store an image: for masses on 256 levels alone."""

    @property
    def mean(self) -> Tensor:
        """E[x] [..., C, H, W], in [0, 1]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""

    def sample(self, generator: torch.Generator) -> Tensor:
        """Images [..., C, H, W], drawn on the generator's device."""


class Head(nn.Module):
    """From the decoder's output to a distribution that has nothing to learn; `options` are numbers that `make` takes."""

    def __init__(self, make: Callable[..., ImageDistribution], outputs: int, **options: float) -> None:
        """`outputs`: numbers of the decoder's output per sub-pixel."""
        super().__init__()
        self.make, self.outputs, self._options = make, outputs, tuple(options)
        for name, value in options.items():
            self.register_buffer(name, torch.tensor(float(value)))

    def forward(self, h: Tensor) -> ImageDistribution:
        """The distribution that h [..., outputs·C, H, W] describes."""
        return self.make(h, **{name: getattr(self, name) for name in self._options})


class LearnedGaussian(nn.Module):
    """A Gaussian whose σ is learned, one number for all sub-pixels of all images (σ-VAE, Rybkin et al. 2021).

    One number, because the best σ is then the root mean squared error, which weighs distortion against rate as the data
    ask. A σ per pixel that the decoder predicts is ill-posed: wherever pixels never change, as on a black border, the
    density has no bound.
    """

    outputs: ClassVar[int] = 1
    """Numbers of the decoder's output per sub-pixel."""
    FLOOR: ClassVar[float] = -6.0
    """Of log σ, as in the paper: 0.6 of a grey level. It is approached smoothly, so that its gradient never vanishes."""

    def __init__(self, sigma: float) -> None:
        """`sigma`: where σ starts; above exp(FLOOR)."""
        super().__init__()
        self.raw_log_sigma = nn.Parameter(torch.tensor(self.FLOOR + math.log(math.expm1(math.log(sigma) - self.FLOOR))))

    @property
    def sigma(self) -> Tensor:
        """σ []."""
        return (self.FLOOR + F.softplus(self.raw_log_sigma - self.FLOOR)).exp()

    def forward(self, h: Tensor) -> Gaussian:
        """N(sigmoid(h), σ²) for h [..., C, H, W]."""
        return Gaussian.from_output(h, self.sigma)


class Likelihood(NamedTuple):
    """A row of the table."""

    distribution: type[ImageDistribution]
    """Says with `support` and `bits_per_dimension` what its values are."""
    head: Callable[["ModelSettings"], Head | LearnedGaussian]
    """Settings → the module that makes the distribution of the decoder's output."""
    shapes: tuple[str, ...] = ()
    """Names of the settings that change the decoder's tensors; all others are numbers in buffers."""


def _gaussian(settings: "ModelSettings") -> Head:
    return Head(Gaussian.from_output, 1, sigma=settings.sigma)


def _laplace(settings: "ModelSettings") -> Head:
    return Head(Laplace.from_output, 1, scale=settings.laplace_scale)


def _logistic_mixture(settings: "ModelSettings") -> Head:
    components = settings.likelihood_components
    return Head(partial(DiscretisedLogisticMixture.mixture, components=components), 3 * components)


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(Bernoulli, lambda _: Head(Bernoulli, 1)),
    "continuous_bernoulli": Likelihood(ContinuousBernoulli, lambda _: Head(ContinuousBernoulli, 1)),
    "gaussian": Likelihood(Gaussian, _gaussian),
    "gaussian_learned": Likelihood(Gaussian, lambda settings: LearnedGaussian(settings.sigma)),
    "laplace": Likelihood(Laplace, _laplace),
    "categorical_256": Likelihood(Categorical, lambda _: Head(Categorical.from_output, LEVELS)),
    "discretised_logistic": Likelihood(
        DiscretisedLogisticMixture, lambda _: Head(DiscretisedLogisticMixture.single, 2)
    ),
    "discretised_logistic_mixture": Likelihood(
        DiscretisedLogisticMixture, _logistic_mixture, shapes=("likelihood_components",)
    ),
}
"""Name in a study file → distribution and how it is made."""


def check_targets(likelihood: str, binarisation: str) -> None:
    """Raise ValueError, in plain words, where the data cannot be what the likelihood describes.

    A likelihood of grey levels on zeros and ones would measure nothing: its density there is without bound. Bernoulli takes
    grey levels (`binarisation: none`) by custom, and reports say that it is no density then.
    """
    if LIKELIHOODS[likelihood].distribution.support != "binary" and binarisation != "none":
        raise ValueError(
            f"likelihood: '{likelihood}' describes grey levels, but `binarisation: {binarisation}` makes zeros and ones; "
            f"set `binarisation: none`, or `likelihood: bernoulli`."
        )
