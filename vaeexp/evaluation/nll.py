"""Computes how well a model explains images: negative ELBO, importance-weighted NLL, latent
dimensions in use.

On a CPU the decoder's matrix products take only half of the time. Compilation turns the operations
between them into a few passes over memory. It takes up to half a minute, once per shape of model,
so it pays for many codes only.

Shapes: N images, B images at a time, S samples at a time, L latent dimensions, C channels, H × W
pixels. All metrics are in nats per image.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sweeps import seed_of, warn_once
from vaeexp.compiler import has_convolutions, open_program, why_not_compiled
from vaeexp.evaluation.latent import rate_per_dimension, used_dimensions
from vaeexp.models.networks.stateless import stateless
from vaeexp.models.posteriors import DiagonalGaussian
from vaeexp.models.priors import PriorDistribution
from vaeexp.models.vae import VAE, Terms

# Codes from which compilation saves more than the half minute that it costs.
_COMPILING_PAYS = 10_000_000
# Relative; a compiled decoder must agree with the plain decoder before its first use.
_TOLERANCE = 1e-4
_BATCH = 1000
_BUDGETS = {"cpu": 2**23}  # bytes: a share of the cache; larger pieces are slower
UNIT = 50  # samples of an image drawn at once; the draws depend on it
# Samples of an image whose weights are summed at once, because each sum makes an accelerator wait.
_SUMMED = 20 * UNIT
_BUDGET = 2**30  # bytes on other devices: enough to fill an accelerator

LogWeights = Callable[[DiagonalGaussian, Tensor, Tensor], Tensor]
"""q(z|x) of B images, standard normal noise [S, B, L], x [B, C, H, W] → log weights [S, B]."""


def log_weights(
    vae: VAE,
    prior: PriorDistribution,
    posterior: DiagonalGaussian,
    noise: Tensor,
    x: Tensor,
    *,
    codes: int,
) -> LogWeights:
    """Return the function that computes log weights with the model's present weights, compiled if
    `codes` codes pay for it.

    `posterior`, `noise` and `x` have the shapes of most pieces; other shapes are computed operation
    by operation.
    """
    plain = _Weights(vae, prior)
    if codes < _COMPILING_PAYS or not _can_be_compiled(vae, prior):
        return plain
    try:
        run = _compiled(plain, posterior, noise, x)
        inputs = posterior, noise, x
        if not torch.allclose(run(*inputs), plain(*inputs), rtol=_TOLERANCE):
            raise RuntimeError("compiled it computes something else.")
    except RuntimeError as error:
        warn_once(
            "The decoder is evaluated uncompiled, about half as fast: "
            f"{' '.join(str(error).split())[:200]}"
        )
        return plain
    shapes = noise.shape, x.shape
    return lambda posterior, noise, x: (run if (noise.shape, x.shape) == shapes else plain)(
        posterior, noise, x
    )


class _Weights(nn.Module):
    """Computes log p(x|z) + log p(z) − log q(z|x), operation by operation."""

    def __init__(self, vae: VAE, prior: PriorDistribution) -> None:
        super().__init__()
        self.vae = vae
        self.prior_distribution = prior

    def forward(self, posterior: DiagonalGaussian, noise: Tensor, x: Tensor) -> Tensor:
        z, log_q = posterior.rsample_and_log_prob(noise)
        return self.vae.decode(z).log_prob(x) + self.prior_distribution.log_prob(z) - log_q


def _can_be_compiled(vae: VAE, prior: Any) -> bool:
    """Return whether the decoder can be compiled: float32, on a CPU, without convolutions, only
    PyTorch's own layers, because a user's layer may branch on the values of the codes."""
    layers = [layer for layer in vae.decoder.modules() if not any(layer.children())]
    ours = all(type(layer).__module__.startswith("torch.nn.") for layer in layers)
    mask = vae.latent_mask
    on_cpu = mask.device.type == "cpu" and mask.dtype == torch.float32
    return (
        on_cpu
        and ours
        and not vae.own
        and is_dataclass(prior)
        and not why_not_compiled()
        and not has_convolutions(vae.decoder)
    )


def _compiled(
    weights: _Weights, posterior: DiagonalGaussian, noise: Tensor, x: Tensor
) -> LogWeights:
    """Compile the log weights. Raises RuntimeError with the reason if that fails."""
    # A late import, because it loads PyTorch's tracer.
    from torch.fx.experimental.proxy_tensor import make_fx

    prior: Any = weights.prior_distribution
    module = _Weights(weights.vae, prior)
    learned = {
        name: parameter.detach()
        for name, parameter in module.named_parameters()
        if not name.startswith(("vae.encoder.", "vae.prior."))
    }

    call = stateless(module)

    def program(
        tensors: list[Tensor],
        of_prior: list[Tensor],
        of_posterior: list[Tensor],
        noise: Tensor,
        x: Tensor,
    ) -> Tensor:
        module.prior_distribution = type(prior)(*of_prior)
        inputs = (DiagonalGaussian(*of_posterior), noise, x)
        return call(dict(zip(learned, tensors, strict=True)), inputs)

    tensors = list(learned.values())
    of_prior = _tensors(prior)
    arguments = (tensors, of_prior, _tensors(posterior), noise.clone(), x.clone())
    run = open_program(lambda: make_fx(program)(*arguments), arguments, what="the decoder")
    return lambda posterior, noise, x: run([*tensors, *of_prior, *_tensors(posterior), noise, x])[0]


def _tensors(distribution: Any) -> list[Tensor]:
    return [getattr(distribution, field.name) for field in fields(distribution)]


@torch.no_grad()
def evaluate_elbo(vae: VAE, images: Tensor, *, seed: int) -> Terms:
    """Return distortion and rate [N] in float64, in nats, and posterior means [N, L] of targets [N,
    C, H, W], on the CPU. The distortion is in the unit of the report.

    Distortion + rate is the negative ELBO at β = 1 (Kingma & Welling 2014), with one sample of z
    per image. The noise depends on the seed, N and L alone.
    """
    device = vae.latent_mask.device
    noise = torch.randn(
        len(images), len(vae.latent_mask), generator=torch.Generator().manual_seed(seed)
    )
    batches = [
        vae(x.to(device), e.to(device))
        for x, e in zip(images.split(_BATCH), noise.split(_BATCH), strict=True)
    ]
    distortion, rate, mean = (torch.cat(column).cpu() for column in zip(*batches, strict=True))
    return Terms(distortion.double() + vae.log_scale, rate.double(), mean)


@torch.no_grad()
def importance_weighted_nll(
    vae: VAE,
    images: Tensor,
    *,
    importance_samples: int,
    seed: int,
    budget: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Return −log 1/k Σ_i p(x, z_i) / q(z_i|x) of each image, in nats and in the unit of the
    report, with k codes z_i from q(z|x); float64 [K, N], on the CPU.

    Row j is for the first `sample_counts(importance_samples)[j]` of the codes, so that the last row
    is for all. In expectation it is an upper bound on −log p(x), which falls to −log p(x) as k
    grows (Burda et al. 2016, eq. 8).

    Images [N, C, H, W] and samples are taken in pieces whose activations fit in about `budget`
    bytes (default: what suits the device). The draws depend on the seed, the index of the image
    and L alone, and the draws for a smaller k come first; so pieces and
    device change only the rounding. After each piece `progress` gets the codes done and the codes
    in all. Raises TypeError for a posterior without a density.
    """
    device = vae.latent_mask.device
    rows = image_rows(vae, budget)
    unit = min(UNIT, importance_samples)
    block = max(1, min(len(images), rows // unit))
    samples = max(1, min(unit, rows))
    x = images[:block].to(device)
    noise = torch.zeros(samples, block, len(vae.latent_mask)).to(vae.latent_mask)
    codes = len(images) * importance_samples
    weigh = log_weights(vae, vae.prior_distribution(), vae.encode_density(x), noise, x, codes=codes)
    bounds = []
    counts = sample_counts(importance_samples)
    for start in range(0, len(images), block):
        x = images[start : start + block].to(device)
        indices = range(start, start + len(x))
        noises = draws(len(vae.latent_mask), indices, importance_samples, seed)
        # Drawing ahead helps an accelerator, which would wait; a CPU has no idle time for it.
        noises = noises if device.type == "cpu" else _ahead(noises)
        bound = _Bound(counts)
        posterior = vae.encode_density(x)
        done = start * importance_samples
        for noise in noises:
            for part in noise.to(posterior.mean).split(samples):
                bound.add(weigh(posterior, part, x))
                done += len(part) * len(x)
                if progress:
                    progress(done, codes)
        bounds.append(torch.stack(bound.values))
    return torch.cat(bounds, dim=1) + vae.log_scale


class _Bound:
    """Sums the weights of B images as their samples come."""

    def __init__(self, counts: list[int]) -> None:
        self.values: list[Tensor] = []
        """−log of the mean weight of the first k samples, for each k of `counts`; float64 [B]."""
        self._counts = counts
        self._done = 0
        self._total = torch.tensor(-math.inf, dtype=torch.float64)
        self._waiting: list[Tensor] = []

    def add(self, log_weights: Tensor) -> None:
        """Take the log weights [S, B] of the next samples."""
        self._waiting.append(log_weights)
        waiting = sum(map(len, self._waiting))
        if waiting < _SUMMED and self._done + waiting < self._counts[-1]:
            return
        weights = torch.cat(self._waiting).cpu().double()
        for count in self._counts:
            if self._done < count <= self._done + waiting:
                first = weights[: count - self._done].logsumexp(0)
                self.values.append(math.log(count) - torch.logaddexp(self._total, first))
        self._total = torch.logaddexp(self._total, weights.logsumexp(0))
        self._done += waiting
        self._waiting.clear()


def sample_counts(importance_samples: int) -> list[int]:
    """Return the counts of codes k = 1, 2, 5, 10, … below `importance_samples`, and this number
    itself.
    """
    decades = (10**power for power in range(len(str(importance_samples))))
    steps = [step * decade for decade, step in product(decades, (1, 2, 5))]
    return [*(count for count in steps if count < importance_samples), importance_samples]


def draws(
    latent_size: int, keys: Sequence[int], importance_samples: int, seed: int
) -> Iterator[Tensor]:
    """Yield standard normal draws for the images with these keys, such as their indices,
    [≤ `UNIT`, B, L] at a time; a generator per image.
    """
    generators = [
        torch.Generator().manual_seed(seed_of(f"{seed}/importance/{key}")) for key in keys
    ]
    for first in range(0, importance_samples, UNIT):
        drawn = torch.empty(len(keys), UNIT, latent_size)
        for row, generator in zip(drawn.unbind(), generators, strict=True):
            row.normal_(generator=generator)
        yield drawn.transpose(0, 1)[: importance_samples - first].contiguous()


def _ahead(draws: Iterator[Tensor]) -> Iterator[Tensor]:
    """Yield the same draws; a thread makes the next one while the caller uses the present one."""
    with ThreadPoolExecutor(1, thread_name_prefix="draws") as thread:
        coming = thread.submit(next, draws, None)
        while (drawn := coming.result()) is not None:
            coming = thread.submit(next, draws, None)
            yield drawn


def image_rows(vae: VAE, budget: int | None = None) -> int:
    """Return how many codes to decode at once to use about `budget` bytes; by default what suits
    the device.
    """
    return max(
        1, (budget or _BUDGETS.get(vae.latent_mask.device.type, _BUDGET)) // _bytes_per_code(vae)
    )


def _bytes_per_code(vae: VAE) -> int:
    """Return the peak memory to decode one code: a layer's input and output, or the likelihood's
    temporaries.
    """
    sizes: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda _layer, _inputs, output: sizes.append(output.numel()))
        for layer in vae.decoder.modules()
        if not any(layer.children())
    ]
    try:
        vae.decode(torch.zeros_like(vae.latent_mask).unsqueeze(0))
    finally:
        for hook in hooks:
            hook.remove()
    return vae.latent_mask.element_size() * max(2 * max(sizes), 4 * sizes[-1])


def active_units(total: Tensor, squares: Tensor, count: int, threshold: float) -> Tensor:
    """Count the latent dimensions whose posterior mean has a variance over images above
    `threshold`; [...].

    `total` and `squares` [..., L] are the sum and the sum of squares of `count` posterior means.
    Masked dimensions never count, because their mean is 0 (Burda et al. 2016, section 2).
    """
    return (squares / count - (total / count).square() > threshold).sum(-1)


def standard_error(values: Tensor) -> float:
    """Return the standard error of the mean of values [N]; NaN for fewer than two values."""
    return (values.double().std() / math.sqrt(len(values))).item() if len(values) > 1 else math.nan


def bits_per_dimension(nats: float, sub_pixels: int) -> float:
    """Convert nats per image to bits per sub-pixel. For masses on levels only; n equally likely
    levels take log₂ n, raw bytes 8.
    """
    return nats / (sub_pixels * math.log(2))


def evaluate_test(
    vae: VAE,
    images: Tensor,
    *,
    importance_samples: int | None,
    active_threshold: float,
    rate_threshold: float,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Return the metrics `test/…` on targets [N, C, H, W], and arrays that belong to them.

    Metrics are means over images in nats, standard errors, counts. `test/bits_per_dimension` is
    `test/neg_elbo` in bits per sub-pixel, only for a likelihood of levels. Arrays:
    rate_per_dimension float64 [L], as in `vaeexp.evaluation.latent`, and rate_threshold float64 [];
    neg_elbo_per_image and iw_nll_per_image float32 [N]; nll_k int64 [K] and nll_by_k float64 [K],
    the importance-weighted NLL of the first nll_k samples. A posterior without a density bounds no
    likelihood, so it gets distortion, active units and the count of images only. Without
    `importance_samples` there is no importance-weighted part, which takes most of the time;
    `progress` gets its (codes done, codes in all).
    """
    terms = evaluate_elbo(vae, images, seed=seed)
    means = terms.mean.double()
    metrics = {
        "test/distortion": terms.distortion.mean().item(),
        "test/active_units": float(
            active_units(means.sum(0), means.square().sum(0), len(images), active_threshold)
        ),
        "test/images": float(len(images)),
    }
    if not vae.posterior.stochastic:
        return metrics, {}
    neg_elbo = terms.distortion + terms.rate
    arrays = {"neg_elbo_per_image": neg_elbo.float().numpy()}
    metrics |= {
        "test/neg_elbo": neg_elbo.mean().item(),
        "test/neg_elbo_se": standard_error(neg_elbo),
        "test/rate": terms.rate.mean().item(),
    }
    rates = rate_per_dimension(vae, images, seed=seed)
    if rates is not None:
        arrays |= {"rate_per_dimension": rates.numpy(), "rate_threshold": np.array(rate_threshold)}
        metrics["test/used_dimensions"] = float(used_dimensions(rates, rate_threshold))
    if vae.support == "levels":
        metrics["test/bits_per_dimension"] = bits_per_dimension(
            metrics["test/neg_elbo"], images[0].numel()
        )
    if importance_samples:
        bounds = importance_weighted_nll(
            vae, images, importance_samples=importance_samples, seed=seed, progress=progress
        )
        iw_nll = bounds[-1]
        arrays["iw_nll_per_image"] = iw_nll.float().numpy()
        arrays["nll_k"] = np.array(sample_counts(importance_samples))
        arrays["nll_by_k"] = np.array([bound.mean().item() for bound in bounds])
        metrics |= {
            "test/iw_nll": iw_nll.mean().item(),
            "test/iw_nll_se": standard_error(iw_nll),
            "test/importance_samples": float(importance_samples),
        }
    return metrics, arrays
