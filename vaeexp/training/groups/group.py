"""Lanes of equal shapes that train together: fused where that gives what plain modules give, else one after the other."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, vmap

from vaeexp.compiler import has_convolutions
from vaeexp.console import warn_once
from vaeexp.models.networks import ImageShape, find_network
from vaeexp.models.vae import VAE, build_vae
from vaeexp.training.batches import Source
from vaeexp.training.device import is_out_of_memory
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup, padded_template
from vaeexp.training.lane import EpochSums, Lane, State
from vaeexp.training.loss import lane_loss, lane_terms
from vaeexp.training.padded_views import Layout, leading_slice

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

_IMAGES = 8
_TOLERANCE = 1e-4  # relative: well above what rounding makes of eight images
_LEAST_CHANNELS = 8
"""Of the images of all rows together: with fewer, convolutions on a CPU with AVX2 alone take other kernels, which round differently."""


class Group(Protocol):
    """Lanes of equal shapes that train together."""

    lanes: dict[int, Lane]
    fused: bool
    """Whether lanes share the memory of one program."""

    def add(self, lane: Lane, module: VAE, state: State) -> None: ...
    def remove(self, number: int) -> None: ...
    def shrink(self) -> None:
        """Give back memory that its lanes do not need."""

    def state(self, number: int, *names: str) -> State:
        """The lane's tensors of these names, or all of them; they may share memory with it."""

    def snapshot_best(self, number: int, which: str) -> None: ...
    def batches_of_lanes(self, numbers: Sequence[int]) -> list[list[int]]:
        """Which of them train at once, turn by turn."""

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]: ...
    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]: ...


def open_group(
    kind: str,
    source: Source,
    precision: str,
    noise: Callable[[int], Tensor],
    model: "ModelSettings",
    maxima: Mapping[str, int],
    *,
    batch_size: int,
    averaged: bool,
) -> Group:
    """An empty group for lanes of these model settings.

    `compiled` is `stacked` on CUDA, with the step compiled. Both are the loop where the lanes cannot be fused or compiled;
    that is logged once. So is `compiled` on a CPU for networks with convolutions, whose time is in the convolutions,
    compiled or not.
    """
    fused = kind == "stacked" or (kind == "compiled" and source.device.type != "cpu")
    if kind == "loop":
        return SequentialGroup(source, precision, noise)
    template = padded_template(model, source.image_shape, maxima)
    if not fused and has_convolutions(template):
        return SequentialGroup(source, precision, noise)
    lanes = f"Lanes of network '{model.network}' (prior '{model.prior}')"
    problem = fusion_problem(template, model, source.image_shape)
    if problem is not None:
        warn_once(f"{lanes} train one after the other: {problem}")
    elif fused:
        rows = find_network(model.network).least_rows
        if rows > 1 and source.device.type == "cpu":
            rows = max(rows, _LEAST_CHANNELS // source.image_shape[0])
        return VectorisedGroup(source, precision, noise, template, least_rows=rows, compiled=kind == "compiled")
    else:
        # Late, because it brings PyTorch's tracer.
        from vaeexp.training.steps.compiled import CompiledStep

        try:
            compiled = CompiledStep(template, model, source.image_shape, batch_size, precision, averaged=averaged)
            return SequentialGroup(source, precision, noise, compiled=compiled)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            warn_once(f"{lanes} train uncompiled, about half as fast: {' '.join(str(error).split())[:200]}")
    return SequentialGroup(source, precision, noise)


def fusion_problem(template: VAE, model: "ModelSettings", image_shape: ImageShape) -> str | None:
    """Why lanes of `model` cannot be rows of `template`, in words; None where they can.

    One batch is trained both ways: by a plain module of half the template's latent size and components, and by two fused
    rows in which that module is embedded. Losses and running statistics must agree, in training and in evaluation. All this on
    the CPU in float32, whatever the lanes will use: the answer depends on the settings alone.
    """
    sizes = {"latent_size": len(template.latent_mask)}
    if "prior.component_mask" in dict(template.named_buffers()):
        sizes["components"] = len(template.prior.component_mask)
    half = SimpleNamespace(**{**vars(model), **{name: max(1, size // 2) for name, size in sizes.items()}})
    plain = build_vae(half, image_shape, seed=0)
    try:
        fused, alone = _one_batch(template, plain, image_shape)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        if is_out_of_memory(error):
            raise
        return f"vmap refuses it ({' '.join(str(error).split())[:200]})"
    for mine, theirs in zip(fused, alone, strict=True):
        if not torch.allclose(mine.float(), theirs.float(), rtol=_TOLERANCE, atol=_TOLERANCE):
            return "a model padded to the largest latent size or component count of the study gives other numbers"
    return None


def _one_batch(template: VAE, plain: VAE, image_shape: ImageShape) -> tuple[list[Tensor], list[Tensor]]:
    """Losses, sums in evaluation and buffers after a step's forward pass, of the first of two fused rows and of `plain`."""
    size, padded = len(plain.latent_mask), len(template.latent_mask)
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(_IMAGES, *image_shape, generator=generator) < 0.5).float()
    e = torch.randn(_IMAGES, padded, generator=generator)
    e[:, size:] = 0
    beta, free = torch.ones(2), torch.zeros(2)

    def rows(big: dict[str, Tensor], small: dict[str, Tensor]) -> tuple[dict[str, Tensor], Callable]:
        layout, own = Layout.of(big), Layout.of(small)
        flat = torch.zeros(2, layout.size)
        for name, part in layout.padded_views(flat, own).items():
            part.copy_(small[name])

        def unpadded(stacked: dict[str, Tensor]) -> list[Tensor]:
            return [leading_slice(stacked[name][0], tensor.shape) for name, tensor in small.items()]

        return layout.read(flat), unpadded

    own_parameters = {name: p.detach() for name, p in plain.named_parameters()}
    own_buffers = {name: buffer.clone() for name, buffer in plain.named_buffers()}
    parameters, _ = rows(dict(template.named_parameters()), own_parameters)
    buffers, unpadded = rows(dict(template.named_buffers()), own_buffers)
    leaves = [parameter.requires_grad_() for parameter in parameters.values()]
    loss = vmap(lane_loss(template.train()))(
        parameters, buffers, x.expand(2, *x.shape), e.expand(2, *e.shape), beta, free
    )
    gradients = torch.autograd.grad(loss.loss.sum(), leaves)
    own_loss = lane_loss(plain.train())(own_parameters, own_buffers, x, e[:, :size], beta[0], free[0])
    with torch.no_grad():
        terms = vmap(lane_terms(template.eval()), in_dims=(0, 0, None, None))(parameters, buffers, x, e)
        own_terms = lane_terms(plain.eval())(own_parameters, own_buffers, x, e[:, :size])
    finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
    return (
        [loss.loss[0].detach(), loss.rate[0], terms[0][0], terms[1][0], finite, *unpadded(buffers)],
        [own_loss.loss, own_loss.rate, *own_terms[:2], torch.ones_like(finite), *own_buffers.values()],
    )
