"""Defines the distributions p(x|z) of grey levels and of real numbers; `ImageDistribution`
documents the methods of all.

Shapes: C channels, H × W pixels, n mixture components; `...` stands for any leading dimensions.

Densities of grey levels as real numbers may be above 1, so log p(x) may be positive. The Gaussian,
the Laplace and the Student-t distribution are densities on the real line; of targets in [0, 1]
they have some mass outside. The continuous Bernoulli has all its mass in [0, 1]. A density at
targets of limited precision, such as k/255, has no upper bound: if the model knows a pixel exactly,
the density grows as its scale falls. So its values compare with densities on the same targets,
never with masses on levels or with probabilities of zeros and ones.

Masses on n levels are probabilities, so bits per dimension are defined. Targets are k / (n − 1) for
a level k in 0..n − 1. They are rounded to their level, because 255 · (k/255) is not always k in
float32. The decoder's output is [..., numbers · C, H, W]: one block of C channels per number.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

_LINEAR_ABOVE = 80.0
_FACTORS = 64  # at most 2 each; the logarithm of their product is off by at most 1e-5
_VECTOR = 16  # numbers in a vector instruction
_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_NEAR = 0.25  # |η| below which a Taylor series is exact
_TINY = 1e-6  # |η| that draws take in place of 0
LEVELS = 256
_LOG_SCALE_RANGE = (-7.0, 7.0)
"""Of the logistic distribution for 256 levels; for more, the lower bound falls as the bins do."""


def _uniform(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(like.shape, generator=generator, device=generator.device).to(like)


def softplus(h: Tensor) -> Tensor:
    """Return log(1 + exp h), six times as fast on the CPU as torch's softplus, whose log1p is not
    vectorised.

    It is −log sigmoid(−h), plus the linear part where sigmoid would underflow; the error is at most
    6e-8, the rounding of a float32 number near 1. The gradient is computed as sigmoid(h).
    """
    return _Softplus.apply(h)


class _Softplus(torch.autograd.Function):
    """A function of its own, because autograd would keep a tensor and make a backward pass for each
    operation.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor) -> Tensor:
        excess = F.relu(h - _LINEAR_ABOVE)
        return excess.sub_((excess - h).sigmoid_().log_())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (h,) = ctx.saved_tensors
        return grad * torch.sigmoid(h)


class _LogProb(torch.autograd.Function):
    """Computes Σ x·h − log(1 + exp h) over sub-pixels; the gradient x − sigmoid h saves passes as
    in `_Softplus`.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, x: Tensor) -> Tensor:
        # log(1 + exp h) = max(h, 0) + log(1 + exp −|h|). The factors 1 + exp −|h| lie in [1, 2], so
        # many of them are multiplied before one logarithm is taken.
        linear = (x * h).sub_(F.relu(h)).sum((-3, -2, -1))
        factors = h.abs().neg_().exp_().add_(1).flatten(-3)
        factors_per_log = _factors_per_log(factors.shape[-1])
        return linear - factors.unflatten(-1, (factors_per_log, -1)).prod(-2).log_().sum(-1)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (h, x), gradient = ctx.saved_tensors, grad[..., None, None, None]
        of_h = gradient * (x - h.sigmoid()) if ctx.needs_input_grad[0] else None
        return of_h, (gradient * h).sum_to_size(x.shape) if ctx.needs_input_grad[1] else None


@dataclass(frozen=True)
class Bernoulli:
    """Independent coins: p(x) = Π_i p_i^x_i (1 − p_i)^(1 − x_i), with p = sigmoid(logits).

    A probability for x in {0, 1}. Grey levels in [0, 1] are accepted too, because many notebooks
    use this loss. There the formula is no normalised density, so its values must not be compared
    with values on binary images.
    """

    support: ClassVar[str] = "binary"

    logits: Tensor
    """[..., C, H, W]."""

    def log_prob(self, x: Tensor) -> Tensor:
        return _LogProb.apply(self.logits, x)

    @property
    def mean(self) -> Tensor:
        return self.logits.sigmoid()

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        return (_uniform(self.logits, generator) < self.mean).to(self.logits)


@cache
def _factors_per_log(sub_pixels: int) -> int:
    """Return how many sub-pixels share a logarithm: the largest divisor up to `_FACTORS`,
    preferably with whole vectors.
    """
    divisors = [n for n in range(1, _FACTORS + 1) if sub_pixels % n == 0]
    return max(divisors, key=lambda n: (sub_pixels // n % _VECTOR == 0, n))


def _log_normaliser(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return `middle` and `rest` with log ∫₀¹ exp(ηx) dx = log((exp η − 1) / η) = `middle` · η +
    `rest`.

    The formula is 0/0 at η = 0, so near 0 its Taylor series replaces it, with an error below 2e-12.
    Values and gradients of both branches are finite everywhere, because `torch.where` needs that.
    The split in two avoids the cancellation of ηx − relu(η): the caller computes η (x − middle).
    """
    near = logits.abs() < _NEAR
    squares = torch.where(near, logits, 0).square()
    series = squares * (1 / 24 - squares * (1 / 2880 - squares / 181440))
    size = torch.where(near, 1, logits.abs())
    # Not expm1: far from 0, 1 − exp is as exact and several times as fast on the CPU.
    rest = torch.where(near, series, ((1 - (-size).exp()) / size).log())
    return torch.where(near, 0.5, (logits > 0).to(logits.dtype)), rest


@dataclass(frozen=True)
class ContinuousBernoulli:
    """p(x) = Π_i exp(η_i x_i) / ∫₀¹ exp(η_i t) dt on [0, 1] (Loaiza-Ganem & Cunningham 2019), η =
    logits.

    The Bernoulli formula with the constant that makes it a density on [0, 1].
    """

    support: ClassVar[str] = "unit_interval"

    logits: Tensor
    """η = log λ / (1 − λ) [..., C, H, W]."""

    def log_prob(self, x: Tensor) -> Tensor:
        middle, rest = _log_normaliser(self.logits)
        return ((x - middle) * self.logits - rest).sum((-3, -2, -1))

    @property
    def mean(self) -> Tensor:
        """1 / (1 − exp(−η)) − 1/η, and ½ at η = 0; [..., C, H, W]. The mean is not sigmoid(η)."""
        near = self.logits.abs() < _NEAR
        small = torch.where(near, self.logits, 0)
        squares = small.square()
        series = 0.5 + small * (1 / 12 - squares * (1 / 720 - squares / 30240))
        size = torch.where(near, 1, self.logits.abs())
        upper = 1 / (1 - (-size).exp()) - 1 / size
        return torch.where(near, series, torch.where(self.logits > 0, upper, 1 - upper))

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw by the inverse distribution function."""
        size = self.logits.abs().clamp(min=_TINY)
        lower = -torch.log1p(_uniform(size, generator) * torch.expm1(-size)) / size
        return torch.where(self.logits > 0, 1 - lower, lower).clamp(0, 1)


def _described(numbers: Tensor, varies: Tensor | None) -> Tensor:
    """Return numbers [..., C, H, W], 0 for sub-pixels that are left out."""
    return numbers if varies is None else numbers * varies


def _count(shape: torch.Size, varies: Tensor | None) -> Tensor | int:
    """Return how many sub-pixels of an image of this shape (..., C, H, W) are described."""
    return math.prod(shape[-3:]) if varies is None else varies.sum()


def _sum_of_logs(
    scale: Tensor, constant: float, shape: torch.Size, varies: Tensor | None
) -> Tensor | float:
    """Return Σ_i (log scale_i + constant) over the described sub-pixels of an image of this shape
    (..., C, H, W), for one scale [] of all or scales that broadcast to [C, H, W].
    """
    logs = scale.log() + constant
    if varies is not None:
        return (logs * varies).sum()
    return math.prod(shape[-3:]) * logs if logs.dim() == 0 else logs.expand(shape[-3:]).sum()


@dataclass(frozen=True)
class Gaussian:
    """p(x) = Π_i N(x_i; mean_i, σ_i²).

    −log p(x) = Σ_i (x_i − mean_i)² / 2σ_i² + log(σ_i √2π). At σ² = ½ for all D sub-pixels it is the
    summed squared error (MSE · D) plus D/2 · log π.
    """

    support: ClassVar[str] = "real"

    mean: Tensor
    """[..., C, H, W]."""
    sigma: Tensor
    """σ: one [], one of each channel [C, 1, 1], or one of each sub-pixel [C, H, W]."""
    varies: Tensor | None = None
    """1 for sub-pixels that are described, 0 for those left out [C, H, W]; None: all are
    described.
    """

    def log_prob(self, x: Tensor) -> Tensor:
        errors = _described((x - self.mean) / self.sigma, self.varies)
        squares = errors.square().sum((-3, -2, -1))
        logs = _sum_of_logs(self.sigma, _HALF_LOG_2PI, self.mean.shape, self.varies)
        return -0.5 * squares - logs

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        noise = torch.randn(self.mean.shape, generator=generator, device=generator.device)
        return self.mean + _described(self.sigma * noise.to(self.mean), self.varies)


@dataclass(frozen=True)
class Laplace:
    """p(x) = Π_i exp(−|x_i − mean_i| / b) / 2b, one scale b for all sub-pixels.

    At b = 1, −log p(x) is the summed absolute error (L1) plus D log 2 with D sub-pixels.
    """

    support: ClassVar[str] = "real"

    mean: Tensor
    """Mean and median [..., C, H, W]."""
    scale: Tensor
    """b []."""
    varies: Tensor | None = None
    """As of `Gaussian`."""

    def log_prob(self, x: Tensor) -> Tensor:
        errors = _described(x - self.mean, self.varies).abs().sum((-3, -2, -1))
        return -errors / self.scale - _count(self.mean.shape, self.varies) * (2 * self.scale).log()

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        centred = 1 - 2 * _uniform(self.mean, generator)  # (−1, 1]
        # The clamp excludes ±1, where a draw would be infinite. 2⁻²⁴ is the step of torch's uniform
        # numbers.
        tail = torch.log1p(-centred.abs().clamp(max=1 - 2**-24))
        return self.mean - _described(self.scale * centred.sign() * tail, self.varies)


@dataclass(frozen=True)
class StudentT:
    """p(x) = Π_i t_ν((x_i − mean_i) / σ_i) / σ_i: an outlier costs log |x|, and x² in a Gaussian.

    −log p(x) = Σ_i (ν + 1)/2 · log(1 + (x_i − mean_i)² / νσ_i²) + log σ_i − c, with
    c = log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log νπ (Lange et al. 1989, equation 1). The standard
    deviation is σ √(ν / (ν − 2)); it is infinite for ν ≤ 2.
    """

    support: ClassVar[str] = "real"

    mean: Tensor
    """Mean (of ν > 1) and median [..., C, H, W]."""
    sigma: Tensor
    """Scale σ: [], [C, 1, 1] or [C, H, W]."""
    degrees: Tensor
    """Degrees of freedom ν []."""
    constant: Tensor
    """c [], as of `log_constant`."""
    varies: Tensor | None = None
    """As of `Gaussian`."""

    @staticmethod
    def log_constant(degrees: float) -> float:
        """Return log Γ((ν + 1)/2) − log Γ(ν/2) − ½ log νπ, which float32 would round to parts of a
        nat per image.
        """
        half = degrees / 2
        return math.lgamma(half + 0.5) - math.lgamma(half) - 0.5 * math.log(degrees * math.pi)

    def log_prob(self, x: Tensor) -> Tensor:
        squares = _described((x - self.mean) / self.sigma, self.varies).square()
        tails = torch.log1p(squares / self.degrees).sum((-3, -2, -1))
        scales = _sum_of_logs(self.sigma, 0.0, self.mean.shape, self.varies)
        normaliser = _count(self.mean.shape, self.varies) * self.constant
        return normaliser - scales - 0.5 * (self.degrees + 1) * tails

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw √(ν (u^(−2/ν) − 1)) · cos 2πv of two uniform numbers (Bailey 1994, equation 3)."""
        u = 1 - _uniform(self.mean, generator)  # (0, 1]
        radius = (self.degrees * torch.expm1(-2 / self.degrees * u.log())).sqrt()
        angle = 2 * math.pi * _uniform(self.mean, generator)
        return self.mean + _described(self.sigma * radius * angle.cos(), self.varies)


def _levels(x: Tensor, count: int) -> Tensor:
    """Return the levels k of targets k / (count − 1), as floats."""
    return (x * (count - 1)).round()


def _draw(weights: Tensor, generator: torch.Generator) -> Tensor:
    """Draw indices [..., 1, C, H, W] by weight along dimension −4 of [..., n, C, H, W], from one
    uniform number each.
    """
    cumulative = weights.cumsum(-4)
    total = cumulative.narrow(-4, -1, 1)
    return (
        (cumulative <= _uniform(total, generator) * total)
        .sum(-4, keepdim=True)
        .clamp(max=weights.shape[-4] - 1)
    )


@dataclass(frozen=True)
class Categorical:
    """A softmax over the 256 levels of each sub-pixel, without regard to their order (van den Oord
    et al. 2016).
    """

    support: ClassVar[str] = "levels"

    logits: Tensor
    """[..., 256, C, H, W]."""

    def log_prob(self, x: Tensor) -> Tensor:
        levels = _levels(x, LEVELS).long()
        log_masses = self.logits.log_softmax(-4)
        lead = torch.broadcast_shapes(log_masses.shape[:-4], levels.shape[:-3])
        # `gather` does not broadcast.
        index = levels.expand(*lead, *levels.shape[-3:]).unsqueeze(-4)  # [..., 1, C, H, W]
        return (
            log_masses.expand(*lead, *log_masses.shape[-4:]).gather(-4, index).sum((-4, -3, -2, -1))
        )

    @property
    def mean(self) -> Tensor:
        """Σ_k p_k · k/255 [..., C, H, W]."""
        values = torch.arange(LEVELS, device=self.logits.device).to(self.logits.dtype) / (
            LEVELS - 1
        )
        return (self.logits.softmax(-4) * values.view(-1, 1, 1, 1)).sum(-4)

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        drawn = _draw(self.logits.softmax(-4), generator).squeeze(-4)
        return drawn.to(self.logits.dtype) / (LEVELS - 1)


@dataclass(frozen=True)
class DiscretisedLogisticMixture:
    """Each sub-pixel is Σ_k w_k Logistic(μ_k, s_k) on [−1, 1], rounded to the nearest of n levels.

    Bins are 2 / (n − 1) wide; the bins of black and white are open-ended (Kingma et al. 2016;
    Salimans et al. 2017, section 2.1). Sub-pixels are independent given z, each with its own
    mixture; the paper shares the weights over colours. Small masses are exact too; no density
    approximates them.
    """

    support: ClassVar[str] = "levels"

    log_weights: Tensor
    """log w [..., n, C, H, W]."""
    means: Tensor
    """μ [..., n, C, H, W], on [−1, 1]."""
    log_scales: Tensor
    """log s [..., n, C, H, W], from −7 at 256 levels, as in the papers, to 7, where hardly any mass
    lies between black and white. At more levels the least s is as large a part of a bin.
    """
    levels: int = LEVELS
    """Number of levels."""

    @classmethod
    def single(cls, h: Tensor, levels: int = LEVELS) -> "DiscretisedLogisticMixture":
        """Build one component from the decoder's output h [..., 2·C, H, W]: means, log-scales."""
        means, log_scales = h.unflatten(-3, (2, 1, -1)).unbind(-5)
        log_scales = log_scales.clamp(*_log_scale_range(levels))
        return cls(torch.zeros_like(means), means, log_scales, levels)

    @classmethod
    def mixture(
        cls, h: Tensor, components: int, levels: int = LEVELS
    ) -> "DiscretisedLogisticMixture":
        """Build n components from the decoder's output h [..., 3·n·C, H, W]: logits of the weights,
        means, log-scales.

        At h = 0 the n means divide [−1, 1] evenly, because components with equal means would
        separate slowly.
        """
        logits, means, log_scales = h.unflatten(-3, (3, components, -1)).unbind(-5)
        middles = (2 * torch.arange(components, device=h.device).to(h.dtype) + 1) / components - 1
        return cls(
            logits.log_softmax(-4),
            means + middles.view(-1, 1, 1, 1),
            log_scales.clamp(*_log_scale_range(levels)),
            levels,
        )

    def log_prob(self, x: Tensor) -> Tensor:
        half_bin = 1 / (self.levels - 1)  # bins are 2 / (n − 1) wide
        levels = _levels(x, self.levels).to(self.means.dtype).unsqueeze(-4)  # [..., 1, C, H, W]
        black = levels == 0
        white = levels == self.levels - 1
        precisions = (-self.log_scales).exp()
        distances = self._distances(levels)
        below = (distances - half_bin) * precisions
        above = (distances + half_bin) * precisions
        # σ(a) − σ(b) = σ(a) σ(−b) (1 − exp(b − a)) avoids the difference of nearly equal numbers.
        log_above = torch.where(white, 0, softplus(-above))
        log_below = torch.where(black, 0, softplus(below))
        log_width = torch.where(black | white, 0, (-torch.expm1(-2 * half_bin * precisions)).log())
        log_masses = log_width - log_above - log_below  # [..., n, C, H, W]
        return (self.log_weights + log_masses).logsumexp(-4).sum((-3, -2, -1))

    def _distances(self, levels: Tensor) -> Tensor:
        """Return the middles of the bins of these levels [..., 1, C, H, W], less μ; [..., n, C, H,
        W].

        At many levels they are computed in units of (n − 1)⁻¹: the product and the first difference
        are exact where n is a power of 2 and μ is near. The other formula rounds to 6e-8, a
        hundredth of the least s at 65,536 levels, and 1e-4 of it at 256.
        """
        if self.levels <= LEVELS:
            return levels * (2 / (self.levels - 1)) - 1 - self.means
        last = self.levels - 1
        return ((2 * levels - last) - self.means * self.levels + self.means) / last

    @property
    def mean(self) -> Tensor:
        """The mean in [0, 1]; [..., C, H, W]. Up to 256 levels it is that of the masses, Σ_k
        P(level ≥ k) / (n − 1) over k = 1..n − 1; above, that of the distribution before it is
        rounded, which differs by half a bin at most.
        """
        weights = self.log_weights.exp()
        precisions = (-self.log_scales).exp()
        if self.levels > LEVELS:
            return (weights * (self._clipped_mean(precisions) + 1) / 2).sum(-4)
        total = torch.zeros_like(weights)
        # Level by level, because all at once takes 255 times the memory.
        for level in range(1, self.levels):
            edge = (2 * level - 1) / (self.levels - 1) - 1
            total = total + torch.sigmoid((self.means - edge) * precisions)
        return (weights * total).sum(-4) / (self.levels - 1)

    def _clipped_mean(self, precisions: Tensor) -> Tensor:
        """Return E[clip(y, −1, 1)] [..., n, C, H, W] of each component y.

        It is −1 + ∫ P(y > t) dt over [−1, 1] = −1 + s (softplus((μ + 1)/s) − softplus((μ − 1)/s)).
        The linear parts of the softplus cancel and make clip(μ, −1, 1). What is left is ± s times
        log(1 + e⁻ᶠ) − log(1 + e⁻ⁿ) for the farther and the nearer end, f and n deviations s away;
        of a wide component the two are nearly equal, so their difference is one logarithm.
        """
        clipped = self.means.clamp(-1, 1)
        nearer = (self.means.abs() - 1).abs() * precisions
        apart = 2 * clipped.abs() * precisions  # f − n
        difference = torch.log1p(torch.sigmoid(-nearer) * torch.expm1(-apart))
        return clipped + clipped.sign() * difference / precisions

    def sample(self, generator: torch.Generator = torch.default_generator) -> Tensor:
        """Draw a component and then a level."""
        chosen = _draw(self.log_weights.exp(), generator)
        means, log_scales = (
            t.gather(-4, chosen).squeeze(-4) for t in (self.means, self.log_scales)
        )
        last = self.levels - 1
        # ±∞ is black or white.
        values = means + log_scales.exp() * _uniform(means, generator).logit()
        return ((values + 1) / 2 * last).clamp(0, last).round() / last


def _log_scale_range(levels: int) -> tuple[float, float]:
    """Return the bounds of log s for so many levels."""
    least, most = _LOG_SCALE_RANGE
    return least - math.log((max(levels, LEVELS) - 1) / (LEVELS - 1)), most
