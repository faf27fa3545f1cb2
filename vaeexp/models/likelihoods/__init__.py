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
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaeexp.data.values import Values
from vaeexp.import_paths import imported, one_line
from vaeexp.models.likelihoods.counts import NegativeBinomial, Poisson
from vaeexp.models.likelihoods.distributions import (
    LEVELS,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretisedLogisticMixture,
    Gaussian,
    Laplace,
    StudentT,
)
from vaeexp.models.parts import SUPPORTS, check_values

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

__all__ = [
    "LIKELIHOODS",
    "Head",
    "ImageDistribution",
    "LearnedScale",
    "Likelihood",
    "NegativeBinomialHead",
    "build_likelihood",
    "described",
    "find_likelihood",
]

LOGITS = "logits"
MEANS = "means"
LOG_MEANS = "log means"
"""What the decoder's output is to a head of one number per sub-pixel: passed through a sigmoid, the
mean itself, or its logarithm."""


class ImageDistribution(Protocol):
    """The methods of every likelihood, for images [..., C, H, W]."""

    support: ClassVar[str]
    """The values of a sub-pixel. binary: zeros and ones; levels: k / (levels − 1); unit_interval:
    [0, 1]; real: real numbers; counts: whole numbers from 0.
    """

    @property
    def mean(self) -> Tensor:
        """E[x] [..., C, H, W]."""

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x) [...], summed over sub-pixels, for x broadcastable to [..., C, H, W]."""

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw images [..., C, H, W] on the generator's device."""


class Head(nn.Module):
    """Turns the decoder's output into a distribution, without learned parameters of its own."""

    def __init__(
        self,
        make: Callable[..., ImageDistribution],
        outputs: int,
        takes: str = LOGITS,
        **options: float | Tensor,
    ) -> None:
        """`outputs`: numbers of the decoder's output per sub-pixel. `takes`: what they are, as
        `LOGITS`. `options`: numbers, or tensors of them, that `make` takes by name.
        """
        super().__init__()
        self.make = make
        self.outputs = outputs
        self.takes = takes
        self._options = tuple(options)
        for name, value in options.items():
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))

    def forward(self, h: Tensor) -> ImageDistribution:
        """Return the distribution that h [..., outputs·C, H, W] describes."""
        return self.make(h, **self.options)

    @property
    def options(self) -> dict[str, Tensor]:
        """The options by name."""
        return {name: getattr(self, name) for name in self._options}


class LocatedHead(Head):
    """A head whose output is the location of a density: its sigmoid where targets lie in [0, 1],
    else the output itself, and the known target where a sub-pixel is left out.
    """

    def __init__(
        self,
        distribution: Callable[..., ImageDistribution],
        values: Values,
        **options: float | Tensor,
    ) -> None:
        """`options`: as of `Head`, for the distribution."""
        takes = LOGITS if values.unit else MEANS
        super().__init__(distribution, 1, takes, **options, **_constants(values))

    def forward(self, h: Tensor) -> ImageDistribution:
        """Return the distribution for h [..., C, H, W]."""
        options = self.options
        still = options.pop("still", None)
        mean = h.sigmoid() if self.takes == LOGITS else h
        if still is not None:
            mean = torch.where(options["varies"] > 0, mean, still)
        return self.make(mean, **options)


class LearnedScale(LocatedHead):
    """A head with a learned scale σ: one for all sub-pixels of all images (σ-VAE, Rybkin et al.
    2021), or one of each channel or of each sub-pixel.

    The best σ of a Gaussian is the root mean squared error, so the data balance distortion and
    rate. A σ from the decoder, for each image, is ill-posed: the density has no bound where pixels
    never change, for example on a black border. For the same reason σ has a lower bound.
    """

    def __init__(
        self,
        distribution: Callable[..., ImageDistribution],
        settings: "ModelSettings",
        values: Values,
        **options: float,
    ) -> None:
        """`distribution`: takes its location, the scale `sigma`, and the options by name."""
        super().__init__(distribution, values, **options)
        # In float64, because it is rounded once.
        log_floor = least_sigma(values, settings.sigma_per).log()
        excess = (torch.tensor(settings.sigma, dtype=torch.float64).log() - log_floor).clamp(
            min=_LEAST_EXCESS
        )
        raw = (log_floor + excess.expm1().log()).expand(_scale_shape(values, settings.sigma_per))
        self.raw_log_sigma = nn.Parameter(raw.float().clone())
        self.register_buffer("log_floor", log_floor.float())
        self.log_floor: Tensor

    @property
    def sigma(self) -> Tensor:
        """The present σ: [], [C, 1, 1] or [C, H, W]. A softplus approaches the lower bound, so that
        the gradient never vanishes.
        """
        return (self.log_floor + F.softplus(self.raw_log_sigma - self.log_floor)).exp()

    @property
    def options(self) -> dict[str, Tensor]:
        """The options by name, and the present scale."""
        return {**super().options, "sigma": self.sigma}


_LEAST_EXCESS = 1e-3
"""The least log of an initial σ over its lower bound."""


def _scale_shape(values: Values, per: str) -> tuple[int, ...]:
    """Return the shape of a scale per `global`, `channel` or `feature`."""
    channels, height, width = values.shape
    shapes = {"global": (), "channel": (channels, 1, 1), "feature": (channels, height, width)}
    return shapes[per]


def least_sigma(values: Values, per: str) -> Tensor:
    """Return the lower bound of a σ, float64: [], [C, 1, 1] or [C, H, W].

    A number is the bound of every σ; by default exp(−6), as in the paper: 0.6 of a grey level.

    Where each sub-pixel has a bound b_i, below which an error of it means nothing, a σ that they
    share is bounded by the root mean square of the b_i: the best shared σ is the root mean squared
    error over the sub-pixels, and it is at least that if each error is at least b_i. The smallest
    b_i is no bound, because that of a nearly constant sub-pixel may be far below the precision of
    the others. Sub-pixels that are left out do not count.
    """
    # Not 0, so that float32 stays finite.
    least = torch.tensor(values.least_sigma, dtype=torch.float64).clamp(min=1e-9)
    if least.dim() == 0:
        return least
    each = least.view(values.shape)
    if per == "feature":
        return each
    over = {"channel": (-2, -1), "global": (-3, -2, -1)}[per]
    varies = _constants(values).get("varies", torch.ones(())).double().expand(values.shape)
    share = varies.mean(over, keepdim=True).clamp(min=1e-9)
    mean = ((each.square() * varies).mean(over, keepdim=True) / share).sqrt()
    return mean.view(_scale_shape(values, per)).clamp(min=1e-9)


class NegativeBinomialHead(Head):
    """A head with a learned dispersion of each sub-pixel, which all images share."""

    def __init__(self, settings: "ModelSettings", values: Values) -> None:
        super().__init__(NegativeBinomial, 1, LOG_MEANS, **_row_sum(settings, values))
        self.log_r = nn.Parameter(torch.zeros(values.shape))
        """log r, as of `NegativeBinomial`; [C, H, W]."""

    def forward(self, h: Tensor) -> NegativeBinomial:
        """Return the distribution for h [..., C, H, W]."""
        return NegativeBinomial(h, self.options.get("row_sum"), self.log_r)


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
    """Name of the setting that two figures must share; searched, its values are compared."""
    words: Callable[[Any], str] = str
    """The value of `scale` → in words; empty where there is nothing to say."""
    of_varying: bool = False
    """Whether sub-pixels that never change in training are left out: a density of what is known has
    no bound. Their mean and draws are the target that they have there.
    """

    @property
    def support(self) -> str:
        """What its values describe, from `SUPPORTS`; empty where only the head's output tells."""
        return self.distribution.support if self.distribution else ""

    def describe(self, name: str, settings: "ModelSettings", searched: Collection[str]) -> str:
        """Return its name with its scale, where the scale is fixed and not `searched`."""
        fixed = self.scale and self.scale not in searched
        words = self.words(getattr(settings, self.scale)) if fixed else ""
        return f"{name}, {words}" if words else name


def _constants(values: Values) -> dict[str, Tensor]:
    """Return `varies`, 0 for sub-pixels that never change in training and 1 for others, and
    `still`, the target of the former, both [C, H, W]; nothing where all change.
    """
    if not values.constant:
        return {}
    varies = torch.ones(math.prod(values.shape))
    still = torch.zeros(math.prod(values.shape))
    for places, target in values.runs():
        varies[places] = 0
        still[places] = target
    return {"varies": varies.view(values.shape), "still": still.view(values.shape)}


def _student_t(settings: "ModelSettings", values: Values) -> Head:
    return LearnedScale(
        StudentT,
        settings,
        values,
        degrees=settings.degrees,
        constant=StudentT.log_constant(settings.degrees),
    )


def _row_sum(settings: "ModelSettings", values: Values) -> dict[str, float]:
    return {"row_sum": values.row_sum} if settings.size_factor else {}


def _poisson(settings: "ModelSettings", values: Values) -> Head:
    return Head(
        lambda h, row_sum=None: Poisson(h, row_sum), 1, LOG_MEANS, **_row_sum(settings, values)
    )


def _logistic(settings: "ModelSettings", values: Values) -> Head:
    return Head(partial(DiscretisedLogisticMixture.single, levels=values.levels or LEVELS), 2)


def _logistic_mixture(settings: "ModelSettings", values: Values) -> Head:
    components = settings.likelihood_components
    make = partial(
        DiscretisedLogisticMixture.mixture, components=components, levels=values.levels or LEVELS
    )
    return Head(make, 3 * components)


def _sigma_in_words(sigma: float) -> str:
    return f"σ = {sigma:.4g}" + (" (squared error)" if abs(sigma**2 - 0.5) < 1e-9 else "")


_OF_COUNTS: dict[str, Any] = {
    "shapes": ("size_factor",),
    "scale": "size_factor",
    "words": lambda on: "given the sum of each image" if on else "",
}
LIKELIHOODS: dict[str, Likelihood] = {
    "bernoulli": Likelihood(Bernoulli, lambda *_: Head(Bernoulli, 1)),
    "continuous_bernoulli": Likelihood(
        ContinuousBernoulli, lambda *_: Head(ContinuousBernoulli, 1)
    ),
    "gaussian": Likelihood(
        Gaussian,
        lambda settings, values: LocatedHead(Gaussian, values, sigma=settings.sigma),
        scale="sigma",
        words=_sigma_in_words,
        of_varying=True,
    ),
    "gaussian_learned": Likelihood(
        Gaussian, partial(LearnedScale, Gaussian), shapes=("sigma_per",), of_varying=True
    ),
    "laplace": Likelihood(
        Laplace,
        lambda settings, values: LocatedHead(Laplace, values, scale=settings.laplace_scale),
        scale="laplace_scale",
        words=lambda scale: f"scale {scale:.4g}" + (" (absolute error)" if scale == 1 else ""),
        of_varying=True,
    ),
    "student_t": Likelihood(
        StudentT,
        _student_t,
        shapes=("sigma_per",),
        scale="degrees",
        words=lambda degrees: f"{degrees:.4g} degrees of freedom",
        of_varying=True,
    ),
    "categorical_256": Likelihood(
        Categorical, lambda *_: Head(lambda h: Categorical(h.unflatten(-3, (LEVELS, -1))), LEVELS)
    ),
    "discretised_logistic": Likelihood(DiscretisedLogisticMixture, _logistic),
    "discretised_logistic_mixture": Likelihood(
        DiscretisedLogisticMixture, _logistic_mixture, shapes=("likelihood_components",)
    ),
    "poisson": Likelihood(Poisson, _poisson, **_OF_COUNTS),
    "negative_binomial": Likelihood(NegativeBinomial, NegativeBinomialHead, **_OF_COUNTS),
}
"""Name in a study file → the distribution and the constructor of its head."""


def build_likelihood(settings: "ModelSettings", values: Values) -> tuple[nn.Module, str]:
    """Return the head of the settings' likelihood and the support of its distributions. Raises
    ValueError where it does not describe these values.
    """
    name = settings.likelihood
    row = find_likelihood(name)
    if row.distribution is not None:
        check_values(name, values, row.distribution.support)
        return row.head(settings, values), row.distribution.support
    head: Any = row.head(settings, values)
    channels, height, width = values.shape
    with torch.no_grad():
        support = head(torch.zeros(head.outputs * channels, height, width)).support
    check_values(name, values, support)
    return head, support


def described(name: str, values: Values) -> Values:
    """Return the values as the likelihood of this name describes them: those that describe all
    sub-pixels know of no constant ones.
    """
    return values if find_likelihood(name).of_varying else replace(values, constant=())


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
