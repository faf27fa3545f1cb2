"""Takes a training step of one lane as one compiled function: loss, gradients and update in a few
passes over memory.

A CPU spends as long on the small operations of a step (casts, activations, densities, Adam,
PyTorch's overhead) as on its matrix products. PyTorch's compiler (AOTInductor) turns the whole step
into C++. Compilation takes 20 to 45 seconds per shape of model, so the user's cache keeps the
program, and every process and every later study loads it.

Shapes: B batch, C channels, H × W pixels, L latent dimensions of the padded model, which embeds
lanes of all sizes of a study.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.fx import GraphModule
from torch.utils._pytree import tree_leaves, tree_map

from vaeexp.compiler import has_foreign_layers, open_program, with_biases_apart
from vaeexp.models.vae import VAE
from vaeexp.training import Lane, Layout, State, leading_slice
from vaeexp.training.device import wide_dtype
from vaeexp.training.losses import Objective, find_loss, noise_shape
from vaeexp.training.optimizers import Rule, check_parts, move_names, moves_of, rule_of
from vaeexp.training.steps import Numbers, StepState, lane_loss, same_step, step_of

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

_CPU = torch.device("cpu")
_OF_LANE = ("beta", "free_nats", "progress", "share")
"""Numbers of a step besides those of the update."""
_CHECKED = Rule(optimizer="nadam", weight_decay=1e-2, clip_norm=1.0)
"""The rule of the step with which an eager and a compiled step are compared; it uses most numbers
of an update.
"""
_PACKAGE = Path(__file__).parents[2]


class CompiledStep:
    """Trains one lane at a time, in tensors at fixed addresses: `begin`, one call for each batch,
    `end`.
    """

    def __init__(
        self,
        template: VAE,
        model: "ModelSettings",
        batch_shape: tuple[int, ...],
        precision: str,
        *,
        averaged: bool,
        parts: Collection[str],
        loss: str,
    ) -> None:
        """Compile the step, or load it from the cache.

        `template` is the padded model of `model`, on the CPU; `batch_shape` is (B, C, H, W);
        `parts` are those of the updates of all lanes (`parts_of`); `loss` is the setting of that
        name.

        Raises:
            RuntimeError: the step cannot be compiled on this machine, or the compiled step computes
                something else.
        """
        self._parts = parts
        self._names = (*_OF_LANE, *move_names(parts))
        self._open_tensors(template, averaged=averaged)
        objective = find_loss(loss)
        self._numbers = torch.zeros(len(self._names))
        self._noise = torch.zeros(
            batch_shape[0], *noise_shape(objective, len(template.latent_mask))
        )
        step = self._plain_step(template, objective, precision)
        x = (torch.rand(batch_shape, generator=torch.Generator().manual_seed(0)) < 0.5).float()
        arguments = (self._state, self._numbers, self._noise, x)
        self._run = open_program(
            partial(_traced, step, arguments),
            arguments,
            what="the training step",
            made_from=_made_from(template, model, precision, parts, loss),
        )
        self._check(step, x, precision)

    def _open_tensors(self, template: VAE, *, averaged: bool) -> None:
        """Allocate the tensors that the step changes in place, with the weights of the template."""
        parameters = dict(template.named_parameters())
        layout = Layout(parameters)
        wide = wide_dtype(_CPU)
        names = ("weights", "first", "second", *(["average"] if averaged else []))
        self._views = {name: layout.views(torch.zeros(layout.size)) for name in names}
        for name, parameter in parameters.items():
            self._views["weights"][name].copy_(parameter.detach())
        self._buffers = {name: buffer.clone() for name, buffer in template.named_buffers()}
        self._sums = torch.zeros(3, dtype=wide)
        self._moments = torch.zeros(2, len(template.latent_mask), dtype=wide)
        self._state = {name: list(views.values()) for name, views in self._views.items()}
        self._state["buffers"] = list(self._buffers.values())
        self._state["totals"] = [self._sums, self._moments]
        self._leaves = tree_leaves(self._state)

    def _plain_step(
        self, template: VAE, objective: Objective, precision: str
    ) -> Callable[[StepState, Tensor, Tensor, Tensor], None]:
        """Return the step of (state, packed numbers, noise, targets), operation by operation."""
        of_update = move_names(self._parts)
        names = list(self._views["weights"]), list(self._buffers)
        plain = step_of(lane_loss(template.train(), objective), *names, _CPU, precision)

        def step(state: StepState, numbers: Tensor, noise: Tensor, x: Tensor) -> None:
            beta, free_nats, progress, share, *moves = numbers.unbind()
            of_step = dict(zip(of_update, moves, strict=True))
            plain(state, Numbers(beta, free_nats, progress, share, of_step), noise, x)

        return step

    def begin(self, lane: Lane, state: State) -> None:
        """Copy the lane's state into the padded tensors, filled up with zeros."""
        check_parts(lane.settings.train, self._parts)
        for tensor in (*self._leaves, self._noise):
            tensor.zero_()
        for big, small in self._pairs(lane, state):
            big.copy_(small)
        self._lane = lane
        self._lane_state = state
        self._step = lane.epoch * lane.steps_per_epoch
        self._rule = rule_of(lane.settings.train)

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """Take one step on targets x [B, C, H, W] and noise e [B, the lane's latent size] or [B, S,
        the same].
        """
        self._noise[..., : e.shape[-1]] = e
        numbers = _numbers(self._lane, self._rule, self._step)
        self._numbers.copy_(torch.tensor([numbers[name] for name in self._names]))
        self._run([*self._leaves, self._numbers, self._noise, x])
        self._step += 1

    def end(self) -> tuple[Tensor, Tensor]:
        """Copy the tensors back into the lane's state; return sums over steps of (loss, distortion,
        rate) [3] and over images of μ and μ² [2, the lane's latent size]."""
        for big, small in self._pairs(self._lane, self._lane_state):
            small.copy_(big)
        return self._sums.clone(), self._moments[:, : self._lane.settings.model.latent_size].clone()

    def _pairs(self, lane: Lane, state: State) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield leading slices of the padded model's tensors, each with the lane's own tensor."""
        pairs = [(views, lane.layout.views(state[name])) for name, views in self._views.items()]
        for big, small in (*pairs, (self._buffers, lane.buffer_layout.views(state["buffers"]))):
            for name, tensor in small.items():
                yield leading_slice(big[name], tensor.shape), tensor

    def _check(self, step: Callable[..., None], x: Tensor, precision: str) -> None:
        """Raise RuntimeError if an eager and a compiled step from one state differ."""
        noise = torch.randn(self._noise.shape, generator=torch.Generator().manual_seed(1))
        some = {"beta": 1.0, "free_nats": 0.0, "progress": 0.5, "share": 0.5} | moves_of(
            _CHECKED, 1_000, 1e-3
        )
        numbers = torch.tensor([some[name] for name in self._names])
        runs = (
            lambda: step(self._state, numbers, noise, x),
            lambda: self._run([*self._leaves, numbers, noise, x]),
        )
        if not same_step(
            runs, self._state, self._leaves, tree_map(Tensor.clone, self._leaves), precision
        ):
            raise RuntimeError("the compiled step computes something else")


def _traced(step: Callable[..., None], arguments: tuple[Any, ...]) -> GraphModule:
    """Return the operations of a step."""
    # Late, because PyTorch's tracer imports slowly.
    from torch.fx.experimental.proxy_tensor import make_fx

    copies = tree_map(Tensor.clone, arguments)  # because tracing takes a step
    return with_biases_apart(make_fx(step)(*copies))


def _made_from(
    template: VAE, model: "ModelSettings", precision: str, parts: Collection[str], loss: str
) -> str | None:
    """Return the text that identifies a step besides its shapes, so that a cached program is found
    without tracing. None if the user's own code takes part, because only tracing shows a change of
    this code."""
    if template.own or ":" in loss or has_foreign_layers(template):
        return None
    settings = {
        name: value
        for name, value in vars(model).items()
        if name not in ("latent_size", "components")
    }
    # Other numbers of the values are buffers.
    values = template.values
    kinds = values.unit, values.levels, values.counts, bool(values.constant)
    return repr((settings, kinds, precision, move_names(parts), loss, _sources()))


@cache
def _sources() -> str:
    """Return a checksum of the source code that makes a step, so that a change of the code compiles
    anew.
    """
    digest = hashlib.sha256()
    for pattern in ("compiler.py", "models/**/*.py", "training/**/*.py"):
        for path in sorted(_PACKAGE.glob(pattern)):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _numbers(lane: Lane, rule: Rule, step: int) -> dict[str, Any]:
    """Return the numbers that differ between lanes and steps, by name."""
    of_lane = {
        "beta": lane.beta(step),
        "free_nats": lane.settings.train.free_nats,
        "progress": step / lane.total_steps,
        "share": 1 - lane.average_decay(step),
    }
    return of_lane | moves_of(rule, step + 1, lane.learning_rate(step))
