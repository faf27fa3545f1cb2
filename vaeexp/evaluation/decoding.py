"""How likely an image is from each of many codes: where a bound on the likelihood of many samples spends its time.

Of that time a CPU spends but half on the decoder's matrix products. Compiled, what lies between them is a few passes over
memory. That takes half a minute at the most for each shape of model, once, and pays for many codes only.

Shapes: S samples, B images, L latent dimensions, C channels, H × W pixels.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.func import functional_call

from vaeexp.library import compiler_there, has_convolutions, open_library
from vaeexp.terminal import warn_once
from vaeexp.vae import VAE

__all__ = ["log_likelihood"]

_COMPILING_PAYS = 10_000_000
"""Codes from which on half a minute of compiling is less than what it saves."""
_TOLERANCE = 1e-4  # relative, of a check before anything is computed with it

LogLikelihood = Callable[[Tensor, Tensor], Tensor]
"""z [S, B, L], x [B, C, H, W] → log p(x|z) [S, B]."""


def log_likelihood(vae: VAE, z: Tensor, x: Tensor, *, codes: int) -> LogLikelihood:
    """log p(x|z) of this model, as it is now, for `codes` codes in all, most of them in pieces of the shapes of z and x."""

    def plain(z: Tensor, x: Tensor) -> Tensor:
        return vae.decode(z).log_prob(x)

    if codes < _COMPILING_PAYS or not _can_be_compiled(vae):
        return plain
    try:
        run = _compiled(vae, z, x)
    except RuntimeError as error:
        warn_once(f"The decoder is evaluated uncompiled, about half as fast: {' '.join(str(error).split())[:200]}")
        return plain
    if not torch.allclose(run(z, x), plain(z, x), rtol=_TOLERANCE):
        warn_once("The decoder is evaluated uncompiled, about half as fast: compiled it computes something else.")
        return plain
    shapes = z.shape, x.shape
    return lambda z, x: (run if (z.shape, x.shape) == shapes else plain)(z, x)


def _can_be_compiled(vae: VAE) -> bool:
    """Layers of PyTorch's own, for what a user wrote may do one thing for these codes and another for others; in float32, on
    a CPU, without convolutions."""
    layers = [layer for layer in vae.decoder.modules() if not any(layer.children())]
    ours = all(type(layer).__module__.startswith("torch.nn.") for layer in layers)
    mask = vae.latent_mask
    on_cpu = mask.device.type == "cpu" and mask.dtype == torch.float32
    return on_cpu and ours and compiler_there() and not has_convolutions(vae.decoder)


class _Likelihood(nn.Module):
    def __init__(self, vae: VAE) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        return self.vae.decode(z).log_prob(x)


def _compiled(vae: VAE, z: Tensor, x: Tensor) -> LogLikelihood:
    """Raises RuntimeError, with the reason."""
    # Late, because it brings PyTorch's tracer.
    from torch.fx.experimental.proxy_tensor import make_fx

    module = _Likelihood(vae)
    learned = {
        name: parameter.detach()
        for name, parameter in module.named_parameters()
        if not name.startswith(("vae.encoder.", "vae.prior."))
    }

    def program(tensors: list[Tensor], z: Tensor, x: Tensor) -> Tensor:
        return functional_call(module, dict(zip(learned, tensors, strict=True)), (z, x))

    tensors = list(learned.values())
    given = (tensors, z.clone(), x.clone())
    run = open_library(lambda: make_fx(program)(*given), given, what="the decoder")
    return lambda z, x: run([*tensors, z, x])[0]
