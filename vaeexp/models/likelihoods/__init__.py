"""Defines the likelihoods p(x|z): the distribution over images that a decoder describes.

Shapes: C channels, H × W pixels; `...` stands for any leading dimensions. All log-probabilities are
in nats per image: sums over sub-pixels, never means.

A row of `LIKELIHOODS` makes a head from settings: a module that holds options and the parameters
learned besides the decoder. Its `forward` takes the raw output of the decoder, [..., outputs·C, H,
W], and returns a distribution, which holds the mathematics. Options are buffers, so that lanes of
different options train as one program. A study may name a class of such heads of the user's own by
its import path, `likelihood: package.module:Class`.
"""

import math
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeexp.data.values import Values
from vaeexp.import_paths import imported, one_line
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

__all__ = [
    "LIKELIHOODS",
    "Head",
    "ImageDistribution",
    "LearnedGaussian",
    "Likelihood",
    "find_likelihood",
]

SUPPORTS = ("binary", "levels_256", "unit_interval", "real")


class ImageDistribution(Protocol):
    """The methods of every likelihood, for images [..., C, H, W]."""

    support: ClassVar[str]
    """The values of a sub-pixel. binary: zeros and ones; levels_256: k/255; unit_interval: [0, 1];
    real: real numbers.
    """

    @property
    def mean(self) -> Tensor:
        """E[x] [..., C, H, W], in [0, 1]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw images [..., C, H, W] on the generator's device."""


class Head(nn.Module):
    """Turns the decoder's output into a distribution, without learned parameters of its own."""

    def __init__(
        self, make: Callable[..., ImageDistribution], outputs: int, **options: float
    ) -> None:
        """`outputs`: numbers of the decoder's output per sub-pixel. `options`: numbers that `make`
        takes by name.
        """
        super().__init__()
        self.make = make
        self.outputs = outputs
        self._options = tuple(options)
        for name, value in options.items():
            self.register_buffer(name, torch.tensor(float(value)))

    def forward(self, h: Tensor) -> ImageDistribution:
        """Return the distribution that h [..., outputs·C, H, W] describes."""
        return self.make(h, **{name: getattr(self, name) for name in self._options})


class LearnedGaussian(nn.Module):
    """A Gaussian with one learned σ for all sub-pixels of all images (σ-VAE, Rybkin et al. 2021).

    The best single σ is the root mean squared error, so the data balance distortion and rate. A σ
    per pixel from the decoder is ill-posed: the density has no bound where pixels never change, for
    example on a black border.
    """

    outputs: ClassVar[int] = 1  # numbers of the decoder's output per sub-pixel
    FLOOR: ClassVar[float] = -6.0
    """Lower bound of log σ, as in the paper: σ = 0.6 of a grey level. A softplus approaches it, so
    that the gradient never vanishes."""

    def __init__(self, sigma: float) -> None:
        """`sigma`: the initial σ, above exp(FLOOR)."""
        super().__init__()
        self.raw_log_sigma = nn.Parameter(
            torch.tensor(self.FLOOR + math.log(math.expm1(math.log(sigma) - self.FLOOR)))
        )

    @property
    def sigma(self) -> Tensor:
        """The present σ []."""
        return (self.FLOOR + F.softplus(self.raw_log_sigma - self.FLOOR)).exp()

    def forward(self, h: Tensor) -> Gaussian:
        """Return N(sigmoid(h), σ²) for h [..., C, H, W]."""
        return Gaussian(h.sigmoid(), self.sigma)


class Likelihood(NamedTuple):
    """A row of `LIKELIHOODS`."""

    distribution: type[ImageDistribution] | None
    """Its `support` says what its values mean. None where it is known from the head's output
    alone.
    """
    head: Callable[["ModelSettings", Values], nn.Module]
    """Settings and values → the module that makes the distribution from the decoder's output."""
    shapes: tuple[str, ...] = ()
    """Names of the settings that change the decoder's tensors; the other settings are numbers in
    buffers.
    """
    scale: str = ""
    """Name of the setting that is its fixed scale."""
    words: Callable[[float], str] = str
    """The scale → in words."""

    def describe(self, name: str, settings: "ModelSettings", searched: Collection[str]) -> str:
        """Return its name with its scale, where the scale is fixed and not `searched`."""
        fixed = self.scale and self.scale not in searched
        return f"{name}, {self.words(getattr(settings, self.scale))}" if fixed else name


def _logistic_mixture(settings: "ModelSettings", values: Values) -> Head:
    components = settings.likelihood_components
    return Head(partial(DiscretisedLogisticMixture.mixture, components=components), 3 * components)


LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(Bernoulli, lambda *_: Head(Bernoulli, 1)),
    "continuous_bernoulli": Likelihood(
        ContinuousBernoulli, lambda *_: Head(ContinuousBernoulli, 1)
    ),
    "gaussian": Likelihood(
        Gaussian,
        lambda settings, values: Head(
            lambda h, sigma: Gaussian(h.sigmoid(), sigma), 1, sigma=settings.sigma
        ),
        scale="sigma",
        words=lambda sigma: (
            f"σ = {sigma:.4g}" + (" (squared error)" if abs(sigma**2 - 0.5) < 1e-9 else "")
        ),
    ),
    "gaussian_learned": Likelihood(
        Gaussian, lambda settings, values: LearnedGaussian(settings.sigma)
    ),
    "laplace": Likelihood(
        Laplace,
        lambda settings, values: Head(
            lambda h, scale: Laplace(h.sigmoid(), scale), 1, scale=settings.laplace_scale
        ),
        scale="laplace_scale",
        words=lambda scale: f"scale {scale:.4g}" + (" (absolute error)" if scale == 1 else ""),
    ),
    "categorical_256": Likelihood(
        Categorical, lambda *_: Head(lambda h: Categorical(h.unflatten(-3, (LEVELS, -1))), LEVELS)
    ),
    "discretised_logistic": Likelihood(
        DiscretisedLogisticMixture, lambda *_: Head(DiscretisedLogisticMixture.single, 2)
    ),
    "discretised_logistic_mixture": Likelihood(
        DiscretisedLogisticMixture, _logistic_mixture, shapes=("likelihood_components",)
    ),
}
"""Name in a study file → the distribution and the constructor of its head."""


def find_likelihood(name: str) -> Likelihood:
    """Return the likelihood of this name: from `LIKELIHOODS`, or the user's own by import path
    `package.module:Class`.

    Raises ValueError if the user's own cannot be imported or is not callable with the settings.
    """
    if ":" not in name:
        return LIKELIHOODS[name]
    part: Any = imported(name, "likelihood")
    return (
        part
        if isinstance(part, Likelihood)
        else Likelihood(None, partial(_own_head, name, part), getattr(part, "shapes", ()))
    )


def _own_head(name: str, part: Any, settings: "ModelSettings", values: Values) -> nn.Module:
    """Make the head of a user's likelihood and try it on two outputs of a decoder. Raises
    ValueError where it is none.
    """
    try:
        head: Any = part(settings)
        outputs: Any = getattr(head, "outputs", None)
        if not isinstance(head, nn.Module) or not isinstance(outputs, int):
            raise TypeError("it is no torch.nn.Module with an attribute `outputs`, a whole number")
        with torch.no_grad():
            distribution = head(torch.zeros(2, outputs * 3, 4, 5))
            shapes = {
                "mean": distribution.mean.shape[-4:],
                "sample": distribution.sample(torch.Generator().manual_seed(0)).shape[-4:],
                "log_prob": (*distribution.log_prob(torch.zeros(2, 3, 4, 5)).shape, 3, 4, 5),
            }
        if distribution.support not in SUPPORTS:
            raise ValueError(f"support is {distribution.support!r}, none of {', '.join(SUPPORTS)}")
        if wrong := [method for method, shape in shapes.items() if tuple(shape) != (2, 3, 4, 5)]:
            raise ValueError(f"`{wrong[0]}` for two images of 3 × 4 × 5 has another shape")
    except Exception as error:  # of the user's code, whatever it raises
        raise ValueError(
            f"likelihood: '{name}' must be a torch.nn.Module made by (settings), with `outputs` "
            "numbers per sub-pixel, whose forward(h) returns a distribution with `support`, "
            f"`mean`, `log_prob` and `sample`: {one_line(error)}."
        ) from error
    return head
