"""Takes a training step of one lane as one compiled function: loss, gradients and update in a few passes over memory.

A CPU spends as long on the small operations of a step (casts, activations, densities, Adam, PyTorch's overhead) as on its
matrix products. PyTorch's compiler (AOTInductor) turns the whole step into C++. Compilation takes 20 seconds per shape of
model, so the user's cache keeps the program, and every process and every later study loads it.

Shapes: B batch, C channels, H × W pixels, L latent dimensions of the padded model, which embeds lanes of all sizes of a
study.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils._pytree import tree_leaves, tree_map

from vaeexp.compiler import has_foreign_layers, open_program
from vaeexp.models.vae import VAE
from vaeexp.training.device import wide_dtype
from vaeexp.training.lane import Lane, State, average_decay_at, learning_rate_at, warmup_at
from vaeexp.training.loss import lane_loss
from vaeexp.training.optimizers import BETA1, BETA2, EPSILON
from vaeexp.training.padded_views import Layout, leading_slice
from vaeexp.training.steps.functional import Numbers, agree, step_of
from vaeexp.training.steps.fx_passes import with_biases_apart

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

_CPU = torch.device("cpu")
_PACKAGE = Path(__file__).parents[2]


class CompiledStep:
    """Trains one lane at a time, in tensors at fixed addresses: `begin`, one call for each batch, `end`."""

    def __init__(
        self,
        template: VAE,
        model: "ModelSettings",
        image_shape: tuple[int, ...],
        batch_size: int,
        precision: str,
        *,
        averaged: bool,
    ) -> None:
        """Compile the step, or load it from the cache.

        Args:
            template: the padded model in which lanes are embedded, on the CPU.
            model: the settings of a lane; latent size and component count may differ between lanes.
            image_shape: (C, H, W).
            batch_size: images of every batch.
            precision: `float32` or `bf16`.
            averaged: whether lanes keep a running average of their weights.

        Raises:
            RuntimeError: the step cannot be compiled on this machine, or the compiled step computes something else.
        """
        parameters, buffers = dict(template.named_parameters()), dict(template.named_buffers())
        layout, latent_size = Layout.of(parameters), len(template.latent_mask)
        names = ("weights", "first", "second", "average") if averaged else ("weights", "first", "second")
        self._flat = {name: torch.zeros(layout.size) for name in names}
        self._views = {name: layout.views(flat) for name, flat in self._flat.items()}
        self._buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        wide = wide_dtype(_CPU)
        self._sums, self._moments = torch.zeros(3, dtype=wide), torch.zeros(2, latent_size, dtype=wide)
        self._numbers, self._noise = torch.zeros(6), torch.zeros(batch_size, latent_size)
        self._state = {name: list(views.values()) for name, views in self._views.items()}
        self._state |= {"buffers": list(self._buffers.values()), "totals": [self._sums, self._moments]}
        for name, parameter in parameters.items():
            self._views["weights"][name].copy_(parameter.detach())
        x = (torch.rand(batch_size, *image_shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()
        arguments = (self._state, self._numbers, self._noise, x)
        plain = step_of(lane_loss(template.train()), list(parameters), list(buffers), _CPU, precision)

        def step(state: Mapping[str, list[Tensor]], numbers: Tensor, noise: Tensor, x: Tensor) -> None:
            plain(state, Numbers(*numbers.unbind()), noise, x)

        self._run = open_program(
            lambda: with_biases_apart(make_fx(step)(*tree_map(Tensor.clone, arguments))),  # tracing takes a step
            arguments,
            what="the training step",
            made_from=_made_from(template, model, precision),
        )
        self._leaves = tree_leaves(self._state)
        self._check(step, x, precision)

    def begin(self, lane: Lane, state: State) -> None:
        """Copy the lane's state into the padded tensors, filled up with zeros."""
        for tensor in (*self._flat.values(), *self._buffers.values(), self._sums, self._moments, self._noise):
            tensor.zero_()
        for big, small in self._pairs(lane, state):
            for name, tensor in small.items():
                leading_slice(big[name], tensor.shape).copy_(tensor)
        self._lane, self._lane_state, self._step = lane, state, lane.epoch * lane.steps_per_epoch

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """Take one step on targets x [B, C, H, W] and noise e [B, the lane's latent size]."""
        self._noise[:, : e.shape[1]] = e
        self._numbers.copy_(torch.tensor(_numbers(self._lane, self._step)))
        self._run([*self._leaves, self._numbers, self._noise, x])
        self._step += 1

    def end(self) -> tuple[Tensor, Tensor]:
        """Copy the tensors back into the lane's state; return sums over steps of (loss, distortion, rate) [3] and over
        images of μ and μ² [2, the lane's latent size]."""
        for big, small in self._pairs(self._lane, self._lane_state):
            for name, tensor in small.items():
                tensor.copy_(leading_slice(big[name], tensor.shape))
        return self._sums.clone(), self._moments[:, : self._lane.settings.model.latent_size].clone()

    def _pairs(self, lane: Lane, state: State) -> Iterator[tuple[Mapping[str, Tensor], Mapping[str, Tensor]]]:
        """Yield the tensors of the padded model with the lane's tensors, which are their leading slices."""
        for name, views in self._views.items():
            yield views, lane.layout.views(state[name])
        yield self._buffers, lane.buffer_layout.views(state["buffers"])

    def _check(self, step: Callable[..., None], x: Tensor, precision: str) -> None:
        """Raise RuntimeError if an eager and a compiled step from one state differ in sums of losses or first moments.

        Weights are not compared, because rounding decides the direction of Adam where a gradient is almost 0.
        """
        noise = torch.randn(self._noise.shape, generator=torch.Generator().manual_seed(1))
        numbers = torch.tensor([1.0, 0.0, 1e-3, EPSILON, 0.0, 0.5])
        before, results = tree_map(Tensor.clone, self._state), []
        runs = (lambda: step(self._state, numbers, noise, x), lambda: self._run([*self._leaves, numbers, noise, x]))
        for run in runs:
            for tensor, value in zip(self._leaves, tree_leaves(before), strict=True):
                tensor.copy_(value)
            run()
            results.append([[self._sums.clone()], [self._flat["first"].clone()]])
        if not agree(results[1], results[0], precision):
            raise RuntimeError("the compiled step computes something else")


def _made_from(template: VAE, model: "ModelSettings", precision: str) -> str | None:
    """Return the text that identifies a step besides its shapes, so that a cached program is found without tracing. None if
    the user's own code takes part, because only tracing shows a change of this code."""
    if ":" in model.network or has_foreign_layers(template):
        return None
    settings = {name: value for name, value in vars(model).items() if name not in ("latent_size", "components")}
    return repr((settings, precision, _sources()))


@cache
def _sources() -> str:
    """Return a checksum of the source code of models and training, so that a change of the code compiles anew."""
    digest = hashlib.sha256()
    for folder in ("models", "training"):
        for path in sorted((_PACKAGE / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _numbers(lane: Lane, step: int) -> list[float]:
    """Return the numbers that differ between lanes and steps, in the order of `Numbers`."""
    train = lane.settings.train
    adamax = train.optimizer == "adamax"
    root = math.sqrt(1 - BETA2 ** (step + 1))
    size = learning_rate_at(lane, step) / (1 - BETA1 ** (step + 1)) * (1.0 if adamax else root)
    beta = train.beta * warmup_at(lane, step)
    return [beta, train.free_nats, size, EPSILON * root, float(adamax), 1 - average_decay_at(lane, step)]
