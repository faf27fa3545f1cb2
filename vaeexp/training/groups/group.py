"""Lanes of equal shapes that train together: vectorised where that gives what plain modules give, else one after the other."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor, vmap

from vaeexp.compiler import has_convolutions
from vaeexp.console import warn_once
from vaeexp.models.networks import ImageShape, find_network, settings_from
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
_TOLERANCE = 1e-4
"""Relative: well above what rounding makes of eight images."""
_LEAST_CHANNELS = 8
"""Of the images of all rows together. With fewer, a CPU with AVX2 alone takes other convolution kernels, which round
differently."""


class Group(Protocol):
    """Lanes of equal shapes that train together."""

    lanes: dict[int, Lane]
    """By trial number."""
    fused: bool
    """Whether the lanes share the memory of one program."""

    def add(self, lane: Lane, module: VAE, state: State) -> None: ...
    def remove(self, number: int) -> None: ...
    def shrink(self) -> None:
        """Give back the memory that the lanes do not need."""

    def state(self, number: int, *names: str) -> State:
        """Return the lane's tensors of these names, or all of them. They may share memory with the lane."""

    def snapshot_best(self, number: int, which: str) -> None:
        """Store the tensors `which` ("weights" or "average") as the lane's best."""

    def batches_of_lanes(self, numbers: Sequence[int]) -> list[list[int]]:
        """Split `numbers` into the batches that train at once, in the order in which they train."""

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]: ...
    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]: ...


def open_group(
    source: Source,
    precision: str,
    noise: Callable[[int], Tensor],
    model: "ModelSettings",
    maxima: Mapping[str, int],
    *,
    fuse: bool,
    compile: bool,
    batch_size: int,
    averaged: bool,
) -> Group:
    """Open an empty group for lanes of these model settings.

    The lanes train one after the other, with a line in the log, where they cannot be fused or compiled. On a CPU a network
    with convolutions is not compiled, because its time is in the convolutions either way.

    Args:
        source: the images.
        precision: `float32` or `bf16`.
        noise: latent size L → the validation noise [N, L].
        model: the settings, but for the sizes in which lanes differ.
        maxima: largest `latent_size` and `components` of the study.
        fuse: train all lanes as one program.
        compile: compile the training step; of fused lanes on CUDA, of single lanes on a CPU.
        batch_size: images of every batch.
        averaged: whether lanes keep a running average of their weights.
    """
    if not fuse and not compile:
        return SequentialGroup(source, precision, noise)
    template = padded_template(model, source.image_shape, maxima)
    if not fuse and has_convolutions(template):
        return SequentialGroup(source, precision, noise)
    lanes = f"Lanes of network '{model.network}' (prior '{model.prior}')"
    problem = fusion_problem(template, model, source.image_shape)
    if problem is not None:
        warn_once(f"{lanes} train one after the other: {problem}")
    elif fuse:
        rows = find_network(model.network).least_rows
        if rows > 1 and source.device.type == "cpu":
            rows = max(rows, _LEAST_CHANNELS // source.image_shape[0])
        return VectorisedGroup(source, precision, noise, template, least_rows=rows, compiled=compile)
    else:
        # Late, because the step imports PyTorch's tracer, which takes a second.
        from vaeexp.training.steps.compiled import CompiledStep

        try:
            step = CompiledStep(template, model, source.image_shape, batch_size, precision, averaged=averaged)
            return SequentialGroup(source, precision, noise, compiled=step)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            warn_once(f"{lanes} train uncompiled, about half as fast: {' '.join(str(error).split())[:200]}")
    return SequentialGroup(source, precision, noise)


def fusion_problem(template: VAE, model: "ModelSettings", image_shape: ImageShape) -> str | None:
    """Say why lanes of `model` cannot be rows of `template`, or return None where they can.

    One batch is trained both ways: by a plain module of half the template's latent size and components, and by two fused
    rows in which that module is embedded. Losses and running statistics must agree, in training and in evaluation. The check
    runs on the CPU in float32, whatever the lanes use, so that the answer depends on the settings alone.
    """
    sizes = {"latent_size": len(template.latent_mask)}
    if "prior.component_mask" in dict(template.named_buffers()):
        sizes["components"] = len(template.get_buffer("prior.component_mask"))
    half = {name: max(1, size // 2) for name, size in sizes.items()}
    plain = build_vae(settings_from({**vars(model), **half}), image_shape, seed=0)
    try:
        fused, alone = _one_batch(template, plain, image_shape)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        if is_out_of_memory(error):
            raise
        return f"vmap refuses it ({' '.join(str(error).split())[:200]})"
    for row, reference in zip(fused, alone, strict=True):
        if not torch.allclose(row.float(), reference.float(), rtol=_TOLERANCE, atol=_TOLERANCE):
            return "a model padded to the largest latent size or component count of the study gives other numbers"
    return None


def _one_batch(template: VAE, plain: VAE, image_shape: ImageShape) -> tuple[list[Tensor], list[Tensor]]:
    """Return losses, sums in evaluation and buffers after a step's forward pass: of the first of two fused rows, of `plain`."""
    size, padded = len(plain.latent_mask), len(template.latent_mask)
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(_IMAGES, *image_shape, generator=generator) < 0.5).float()
    e = torch.randn(_IMAGES, padded, generator=generator)
    e[:, size:] = 0
    beta, free = torch.ones(2), torch.zeros(2)
    plain_parameters = {name: p.detach() for name, p in plain.named_parameters()}
    plain_buffers = {name: buffer.clone() for name, buffer in plain.named_buffers()}
    parameters = _two_rows(dict(template.named_parameters()), plain_parameters)
    buffers = _two_rows(dict(template.named_buffers()), plain_buffers)
    leaves = [parameter.requires_grad_() for parameter in parameters.values()]
    loss = vmap(lane_loss(template.train()))(
        parameters, buffers, x.expand(2, *x.shape), e.expand(2, *e.shape), beta, free
    )
    gradients = torch.autograd.grad(loss.loss.sum(), leaves)
    plain_loss = lane_loss(plain.train())(plain_parameters, plain_buffers, x, e[:, :size], beta[0], free[0])
    with torch.no_grad():
        terms = vmap(lane_terms(template.eval()), in_dims=(0, 0, None, None))(parameters, buffers, x, e)
        plain_terms = lane_terms(plain.eval())(plain_parameters, plain_buffers, x, e[:, :size])
    finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
    unpadded = [leading_slice(buffers[name][0], tensor.shape) for name, tensor in plain_buffers.items()]
    return (
        [loss.loss[0].detach(), loss.rate[0], terms[0][0], terms[1][0], finite, *unpadded],
        [plain_loss.loss, plain_loss.rate, *plain_terms[:2], torch.ones_like(finite), *plain_buffers.values()],
    )


def _two_rows(big: dict[str, Tensor], small: dict[str, Tensor]) -> dict[str, Tensor]:
    """Embed the tensors `small` in the shapes of `big`, twice: name → [2, *big shape]."""
    layout = Layout.of(big)
    flat = torch.zeros(2, layout.size)
    for name, part in layout.padded_views(flat, Layout.of(small)).items():
        part.copy_(small[name])
    return layout.read(flat)
