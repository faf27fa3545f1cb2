"""Opens groups of lanes of equal shapes, which train as one program or one after the other, and
times them.

Groups of both kinds hold the same state, write the same checkpoints and draw the same random
numbers.
"""

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, vmap

from sweeps import TrialSpec, warn_once
from vaeexp.compiler import has_convolutions
from vaeexp.data.values import Values
from vaeexp.import_paths import own_paths
from vaeexp.models.networks import changed_settings, find_network
from vaeexp.models.vae import VAE, build_vae
from vaeexp.training import fresh_state, leading_slice, open_lane
from vaeexp.training.batches import CHUNK, Source
from vaeexp.training.device import is_out_of_memory
from vaeexp.training.groups.sequential import SequentialGroup
from vaeexp.training.groups.vectorised import VectorisedGroup, padded_template
from vaeexp.training.losses import Objective, find_loss
from vaeexp.training.optimizers import parts_of
from vaeexp.training.steps import lane_loss, lane_terms
from vaeexp.training.steps.compiled import CompiledStep

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings, Settings

__all__ = [
    "Group",
    "fastest_lanes",
    "fusion_problem",
    "may_fuse",
    "open_group",
    "seconds_per_image",
]

_IMAGES = 8
_TOLERANCE = 1e-4  # relative; rounding over eight images stays well below
_LEAST_CHANNELS = 8
"""The fewest image channels of all rows together. With fewer, a CPU with AVX2 alone takes other
convolution kernels, which round differently."""


Group = SequentialGroup | VectorisedGroup


def open_group(
    source: Source,
    settings: "Settings",
    *,
    maxima: Mapping[str, int],
    precision: str,
    fuse: bool,
    compile: bool,
    averaged: bool,
    parts: Collection[str] = (),
) -> Group:
    """Open an empty group for lanes of these settings.

    Lanes that cannot be fused or compiled train one after the other, and the log says so. On a CPU
    a network with convolutions is not compiled, because its time is in the convolutions either way.

    Args:
        source: the images.
        settings: those of a lane; the lanes share the batch size and the model, but for latent size
            and component count.
        maxima: largest `latent_size` and `components` of the study; models are padded to these
            sizes.
        precision: `float32` or `bf16`.
        fuse: train all lanes as one program.
        compile: compile the training step: of fused lanes on CUDA, of single lanes on a CPU.
        averaged: whether lanes keep a running average of their weights.
        parts: what the updates of all lanes need beyond Adam and Adamax
            (`vaeexp.training.optimizers.parts_of`).
    """
    model = settings.model
    loss = settings.train.loss
    sequential = SequentialGroup(source, precision)
    if not fuse and not compile:
        return sequential
    lanes = f"Lanes of network '{model.network}' (prior '{model.prior}', loss '{loss}')"
    objective = find_loss(loss)
    try:
        template = padded_template(model, source.values, maxima)
    except Exception as error:  # of a user's network, for sizes that this trial does not have
        if is_out_of_memory(error):
            raise
        warn_once(
            f"{lanes} train one after the other: it raises for the largest sizes of the study "
            f"({_one_line(error)})"
        )
        return sequential
    if not fuse and has_convolutions(template):
        return sequential
    problem = fusion_problem(template, model, objective)
    if problem is not None:
        warn_once(f"{lanes} train one after the other: {problem}")
        return sequential
    if fuse:
        return VectorisedGroup(
            source,
            precision,
            template,
            least_rows=_least_rows(model.network, source),
            compiled=compile,
            parts=parts,
            objective=objective,
        )
    batch_shape = (settings.train.batch_size, *source.image_shape)
    try:
        sequential.compiled = CompiledStep(
            template, model, batch_shape, precision, averaged=averaged, parts=parts, loss=loss
        )
    except RuntimeError as error:
        if is_out_of_memory(error):
            raise
        warn_once(f"{lanes} train uncompiled, about half as fast: {_one_line(error)}")
    return sequential


def _least_rows(network: str, source: Source) -> int:
    """Return the fewest rows of a fused group whose numbers do not depend on the number of rows."""
    rows = find_network(network).least_rows
    if rows > 1 and source.device.type == "cpu":
        return max(rows, _LEAST_CHANNELS // source.image_shape[0])
    return rows


def may_fuse(values: Values, settings: "Settings", maxima: Mapping[str, int]) -> bool:
    """Tell whether a lane of just these sizes can be a row of a fused group; the log says why not.

    The code of a user may branch on a size, so that each size is compared before its lane joins.
    """
    model = settings.model
    own = own_paths({**model.model_dump(), "loss": settings.train.loss})
    try:
        template = padded_template(model, values, maxima) if own else None
    except Exception as error:  # then no lane of this network is fused, which `open_group` says
        if is_out_of_memory(error):
            raise
        return False
    if template is None:
        return True
    problem = fusion_problem(template, model, find_loss(settings.train.loss), own_sizes=True)
    if problem is not None:
        sizes = f"latent_size {model.latent_size}, components {model.components}"
        warn_once(f"Lanes of {', '.join(own)} with {sizes} train alone, not fused: {problem}")
    return problem is None


def fusion_problem(
    template: VAE, model: "ModelSettings", objective: Objective, *, own_sizes: bool = False
) -> str | None:
    """Say why lanes of `model` cannot be rows of `template`, or return None where they can.

    One batch is trained both ways: by a plain module of half the template's latent size and
    components, or of the model's own, and by two fused rows in which that module is embedded.
    Losses and running statistics must agree, in training and in evaluation. The check runs on the
    CPU in float32, whatever the lanes use, so that the answer depends on the settings alone.
    """
    sizes = {"latent_size": len(template.latent_mask)}
    if "prior.component_mask" in dict(template.named_buffers()):
        sizes["components"] = len(template.get_buffer("prior.component_mask"))
    for name, size in sizes.items():
        sizes[name] = getattr(model, name) if own_sizes else max(1, size // 2)
    try:
        plain = build_vae(changed_settings(model, sizes), template.values, seed=0)
        fused, alone = _one_batch(template, plain, objective)
    except Exception as error:  # of a user's network, whatever it raises
        if is_out_of_memory(error):
            raise
        return f"vmap refuses it ({_one_line(error)})"
    for row, reference in zip(fused, alone, strict=True):
        if not torch.allclose(row.float(), reference.float(), rtol=_TOLERANCE, atol=_TOLERANCE):
            return (
                "a model padded to the largest latent size or component count of the study gives "
                "other numbers"
            )
    return None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _one_batch(
    template: VAE, plain: VAE, objective: Objective
) -> tuple[list[Tensor], list[Tensor]]:
    """Return losses, sums in evaluation and buffers after a step's forward pass: of the first of
    two fused rows, of `plain`.
    """
    size = len(plain.latent_mask)
    padded = len(template.latent_mask)
    generator = torch.Generator().manual_seed(0)
    x = (torch.rand(_IMAGES, *template.values.shape, generator=generator) < 0.5).float()
    e = torch.randn(_IMAGES, padded, generator=generator)
    e[:, size:] = 0
    noise = (
        e
        if objective.samples == 1
        else torch.stack([e.roll(draw, 0) for draw in range(objective.samples)], 1)
    )
    beta = torch.ones(2)
    free = torch.zeros(2)
    plain_parameters = {name: p.detach() for name, p in plain.named_parameters()}
    plain_buffers = {name: buffer.clone() for name, buffer in plain.named_buffers()}
    parameters = _two_rows(dict(template.named_parameters()), plain_parameters)
    buffers = _two_rows(dict(template.named_buffers()), plain_buffers)
    leaves = [parameter.requires_grad_() for parameter in parameters.values()]
    two_x, two_e = (tensor.expand(2, *tensor.shape) for tensor in (x, noise))
    loss = vmap(lane_loss(template.train(), objective))(
        parameters, buffers, two_x, two_e, beta, free, free
    )
    gradients = torch.autograd.grad(loss.loss.sum(), leaves)
    inputs = x, noise[..., :size], beta[0], free[0], free[0]
    plain_loss = lane_loss(plain.train(), objective)(plain_parameters, plain_buffers, *inputs)
    with torch.no_grad():
        terms = vmap(lane_terms(template.eval()), in_dims=(0, 0, None, None))(
            parameters, buffers, x, e
        )
        plain_terms = lane_terms(plain.eval())(plain_parameters, plain_buffers, x, e[:, :size])
    finite = torch.stack([gradient.isfinite().all() for gradient in gradients]).all()
    unpadded = [
        leading_slice(buffers[name][0], tensor.shape) for name, tensor in plain_buffers.items()
    ]
    return (
        [loss.loss[0].detach(), loss.rate[0], terms[0][0], terms[1][0], finite, *unpadded],
        [
            plain_loss.loss,
            plain_loss.rate,
            *plain_terms[:2],
            torch.ones_like(finite),
            *plain_buffers.values(),
        ],
    )


def _two_rows(big: dict[str, Tensor], small: dict[str, Tensor]) -> dict[str, Tensor]:
    """Embed the tensors `small` in the shapes of `big`, twice: name → [2, *big shape]."""
    rows = {name: torch.zeros(2, *tensor.shape, dtype=tensor.dtype) for name, tensor in big.items()}
    for name, tensor in small.items():
        leading_slice(rows[name], tensor.shape).copy_(tensor)
    return rows


def seconds_per_image(
    source: Source,
    settings: "Settings",
    maxima: Mapping[str, int],
    lanes: int,
    **how: Any,
) -> float:
    """Time a few training steps: return the seconds per image and trial when `lanes` trials share
    the device. `how`: precision, fuse and compile of `open_group`.

    Raises:
        torch.OutOfMemoryError: they do not fit.
    """
    images = min(CHUNK * settings.train.batch_size, len(source.train))
    few = replace(source, train=source.train[:images], validation=source.validation[:1])
    averaged = settings.train.ema_decay > 0
    group = open_group(
        few,
        settings,
        maxima=maxima,
        averaged=averaged,
        parts=parts_of({name: [value] for name, value in settings.train}),
        **how,
    )
    for number in range(lanes):
        lane, vae = open_lane(
            TrialSpec(number=number, params={}, seed=number), settings, few.values, images
        )
        group.add(lane, vae, fresh_state(lane, vae, averaged=averaged))
    numbers = list(range(lanes))
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        group.train_epoch(numbers)
        seconds.append(time.perf_counter() - started)
    # The first pass pays for warm-up. The slower of the other two was disturbed by other work on
    # the machine.
    return min(seconds[1:]) / (images * lanes)


def fastest_lanes(seconds_of: Callable[[int], float], most: int) -> int:
    """Return the number of lanes (1, 2, 4 … `most`) of least time per trial that fits in memory;
    more must save 5 %.

    `seconds_of`: number of lanes → `seconds_per_image`.
    """
    best = 1
    least = math.inf
    for lanes in (2**power for power in range(most.bit_length())):
        try:
            seconds = seconds_of(lanes)
        except (torch.OutOfMemoryError, MemoryError):
            break
        if seconds > 0.95 * least:
            break
        best = lanes
        least = seconds
    return best
