"""How much each of many codes weighs in a bound on the likelihood: log p(x|z) + log p(z) − log q(z|x).

Of the time for these a CPU spends but half on the decoder's matrix products. Compiled, what lies between them is a few passes
over memory. That takes half a minute at the most for each shape of model, once, and pays for many codes only.

Shapes: S samples, B images, L latent dimensions, C channels, H × W pixels.
"""

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vaeexp.library import has_convolutions, open_library, why_not_compiled
from vaeexp.posteriors import DiagonalGaussian
from vaeexp.priors import PriorDistribution
from vaeexp.terminal import warn_once
from vaeexp.vae import VAE

__all__ = ["log_weights"]

_COMPILING_PAYS = 10_000_000
"""Codes from which on half a minute of compiling is less than what it saves."""
_TOLERANCE = 1e-4  # relative, of a check before anything is computed with it

LogWeights = Callable[[DiagonalGaussian, Tensor, Tensor], Tensor]
"""q(z|x) of B images, standard normal noise [S, B, L], x [B, C, H, W] → log weights [S, B]."""


def log_weights(
    vae: VAE, prior: PriorDistribution, posterior: DiagonalGaussian, noise: Tensor, x: Tensor, *, codes: int
) -> LogWeights:
    """The log weights of codes of this model, as it is now, for `codes` codes in all.

    `posterior`, `noise` and `x` have the shapes of most of the pieces in which the codes come.
    """
    plain = _Weights(vae, prior)
    if codes < _COMPILING_PAYS or not _can_be_compiled(vae, prior):
        return plain
    try:
        run = _compiled(plain, posterior, noise, x)
    except RuntimeError as error:
        warn_once(f"The decoder is evaluated uncompiled, about half as fast: {' '.join(str(error).split())[:200]}")
        return plain
    if not torch.allclose(run(posterior, noise, x), plain(posterior, noise, x), rtol=_TOLERANCE):
        warn_once("The decoder is evaluated uncompiled, about half as fast: compiled it computes something else.")
        return plain
    shapes = noise.shape, x.shape
    return lambda posterior, noise, x: (run if (noise.shape, x.shape) == shapes else plain)(posterior, noise, x)


class _Weights(nn.Module):
    """The model's, operation by operation."""

    def __init__(self, vae: VAE, prior: PriorDistribution) -> None:
        super().__init__()
        self.vae, self.prior_distribution = vae, prior

    def forward(self, posterior: DiagonalGaussian, noise: Tensor, x: Tensor) -> Tensor:
        z, log_q = posterior.rsample_and_log_prob(noise)
        return self.vae.decode(z).log_prob(x) + self.prior_distribution.log_prob(z) - log_q


def _can_be_compiled(vae: VAE, prior: PriorDistribution) -> bool:
    """Layers of PyTorch's own, for what a user wrote may do one thing for these codes and another for others; in float32, on
    a CPU, without convolutions."""
    layers = [layer for layer in vae.decoder.modules() if not any(layer.children())]
    ours = all(type(layer).__module__.startswith("torch.nn.") for layer in layers)
    mask = vae.latent_mask
    on_cpu = mask.device.type == "cpu" and mask.dtype == torch.float32
    return on_cpu and ours and is_dataclass(prior) and not why_not_compiled() and not has_convolutions(vae.decoder)


def _compiled(weights: _Weights, posterior: DiagonalGaussian, noise: Tensor, x: Tensor) -> LogWeights:
    """Raises RuntimeError, with the reason."""
    # Late, because it brings PyTorch's tracer.
    from torch.fx.experimental.proxy_tensor import make_fx

    prior = weights.prior_distribution
    module = _Weights(weights.vae, prior)
    learned = {
        name: parameter.detach()
        for name, parameter in module.named_parameters()
        if not name.startswith(("vae.encoder.", "vae.prior."))
    }

    def program(
        tensors: list[Tensor], of_prior: list[Tensor], of_posterior: list[Tensor], noise: Tensor, x: Tensor
    ) -> Tensor:
        module.prior_distribution = _with_tensors(prior, of_prior)
        given = (_with_tensors(posterior, of_posterior), noise, x)
        return functional_call(module, dict(zip(learned, tensors, strict=True)), given)

    tensors, of_prior = list(learned.values()), _tensors(prior)
    given = (tensors, of_prior, _tensors(posterior), noise.clone(), x.clone())
    run = open_library(lambda: make_fx(program)(*given), given, what="the decoder")
    return lambda posterior, noise, x: run([*tensors, *of_prior, *_tensors(posterior), noise, x])[0]


def _tensors(distribution: PriorDistribution | DiagonalGaussian) -> list[Tensor]:
    return [getattr(distribution, field.name) for field in fields(distribution)]


def _with_tensors(distribution: Any, tensors: list[Tensor]) -> Any:
    names = [field.name for field in fields(distribution)]
    return replace(distribution, **dict(zip(names, tensors, strict=True)))
