"""Trains lanes one after the other, each a plain module at its own size, which is fastest on a CPU.

Shapes: B batch, C channels, H × W pixels, L latent dimensions.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sweeps import heartbeat
from vaeexp.compiler import has_foreign_layers
from vaeexp.models.vae import VAE
from vaeexp.training import EpochSums, Lane, State
from vaeexp.training.batches import Source, fixed_batches
from vaeexp.training.device import training_precision, wide_dtype
from vaeexp.training.optimizers import rule_of, update_one
from vaeexp.training.running_statistics import estimated_buffers, needs_estimates
from vaeexp.training.steps import TrainingLoss, lane_terms, validation_totals
from vaeexp.training.steps.compiled import CompiledStep

_MOVED = ("weights", "first", "second", "average")


class PlainStep:
    """Trains a lane's state in place, operation by operation: one call for each batch of an epoch,
    then `end`.
    """

    def __init__(self, lane: Lane, module: VAE, state: State, precision: str) -> None:
        """The parameters of `module` share memory with the weights of `state`."""
        self._lane = lane
        self._module = module.train()
        self._state = state
        self._precision = precision
        self._device = device = state["weights"].device
        self._parameters = list(module.parameters())
        self._buffers = dict(module.named_buffers())
        for name, view in lane.buffer_layout.views(state["buffers"]).items():
            self._buffers[name].copy_(view)
        self._views = {name: lane.layout.views(state[name]) for name in _MOVED if name in state}
        self._tensors = {
            name: list(in_fast_order(module, views).values()) for name, views in self._views.items()
        }
        for parameter, weight in zip(self._parameters, self._tensors["weights"], strict=True):
            parameter.data = weight
        self._rule = rule_of(lane.settings.train)
        self._loss = TrainingLoss(module, lane.objective)
        self._free_nats = torch.tensor(lane.settings.train.free_nats, device=device)
        self._sums = torch.zeros(3, device=device, dtype=wide_dtype(device))
        self._moments = torch.zeros(
            2, lane.settings.model.latent_size, device=device, dtype=wide_dtype(device)
        )
        self._step = lane.epoch * lane.steps_per_epoch

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """Take one step on targets x [B, C, H, W] and noise e [B, L] or [B, S, L]."""
        lane = self._lane
        tensors = self._tensors
        step = self._step
        beta, progress = torch.tensor(
            [lane.beta(step), step / lane.total_steps], device=self._device
        ).unbind()
        with training_precision(self._device, self._precision):
            loss = self._loss(x, e, beta, self._free_nats, progress)
        # Gradients may have transposed strides. They stay separate, because one vector of all costs
        # a tenth of the step.
        grads = [
            grad.contiguous(
                memory_format=torch.contiguous_format
                if weight.is_contiguous()
                else torch.channels_last
            )
            for weight, grad in zip(
                tensors["weights"], torch.autograd.grad(loss.loss, self._parameters), strict=True
            )
        ]
        update_one(
            tensors["weights"], grads, tensors["first"], tensors["second"],
            rule=self._rule, step=step + 1, learning_rate=lane.learning_rate(step),
        )  # fmt: skip
        if "average" in tensors:
            torch._foreach_lerp_(
                tensors["average"], tensors["weights"], 1 - lane.average_decay(step)
            )
        self._sums += torch.stack([loss.loss.detach(), loss.distortion, loss.rate])
        self._moments += torch.stack([loss.mean_sum, loss.mean_square_sum])
        self._step += 1

    def end(self) -> tuple[Tensor, Tensor]:
        """Copy weights and buffers back into the lane's state; return sums over steps of (loss,
        distortion, rate) [3] and over images of μ and μ² [2, L]."""
        for name, views in self._views.items():
            for view, tensor in zip(views.values(), self._tensors[name], strict=True):
                if tensor is not view:
                    view.copy_(tensor)
        for parameter, view in zip(self._parameters, self._views["weights"].values(), strict=True):
            parameter.data = view
        self._lane.buffer_layout.write(self._state["buffers"], self._buffers)
        return self._sums, self._moments


class SequentialGroup:
    """Lanes of equal shapes as plain modules. `VectorisedGroup` has the same methods."""

    fused = False
    """Whether the lanes share the memory of one program."""

    def __init__(self, source: Source, precision: str) -> None:
        self.source = source
        self.precision = precision
        self.compiled: CompiledStep | None = None
        """The step of all lanes; without it each lane takes its own `PlainStep`."""
        self.lanes: dict[int, Lane] = {}
        """By trial number."""
        self.states: dict[int, State] = {}
        self._modules: dict[int, VAE] = {}

    def add(self, lane: Lane, module: VAE, state: State) -> None:
        number = lane.trial.number
        self.lanes[number] = lane
        self.states[number] = {
            name: tensor.to(self.source.device, copy=True) for name, tensor in state.items()
        }
        self._modules[number] = module.to(self.source.device)
        # The module's parameters are views of the lane's weights, so that a step needs no copy
        # between them.
        views = lane.layout.views(self.states[number]["weights"])
        for name, parameter in module.named_parameters():
            parameter.data = views[name]

    def remove(self, number: int) -> None:
        del self.lanes[number], self.states[number], self._modules[number]

    def shrink(self) -> None:
        """Give back the memory that the lanes do not need."""

    def state(self, number: int, *names: str) -> State:
        """Return the lane's tensors of these names, or all of them. They share memory with the
        lane.
        """
        state = self.states[number]
        return {name: state[name] for name in names or state}

    def snapshot_best(self, number: int, which: str) -> None:
        """Store the tensors `which` ("weights" or "average") as the lane's best."""
        state = self.states[number]
        state["best"].copy_(state[which])
        state["best_buffers"].copy_(state["buffers"])

    def batches_of_lanes(self, numbers: Sequence[int]) -> list[list[int]]:
        """Split `numbers` into the batches that train at once, here of one lane, so that a lane's
        progress is reported before the next lane trains."""
        return [[number] for number in numbers]

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]:
        return {number: self._train(self.lanes[number]) for number in numbers}

    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]:
        """Return the sums over the validation images of the tensors `which`; the lanes keep the
        running statistics of these.
        """
        return {number: self._evaluate(self.lanes[number], which) for number in numbers}

    def _train(self, lane: Lane) -> EpochSums:
        step = self._step_of(lane)
        batch_size = lane.settings.train.batch_size
        for targets, noise in lane.chunks(self.source):
            for x, e in zip(targets.split(batch_size), noise.split(batch_size), strict=True):
                step(x, e)
                heartbeat()
        return lane.training_sums(*step.end())

    def _step_of(self, lane: Lane) -> PlainStep | CompiledStep:
        number = lane.trial.number
        if self.compiled is None:
            return PlainStep(lane, self._modules[number], self.states[number], self.precision)
        self.compiled.begin(lane, self.states[number])
        return self.compiled

    @torch.no_grad()
    def _evaluate(self, lane: Lane, which: str) -> EpochSums:
        number = lane.trial.number
        latent_size = lane.settings.model.latent_size
        state = self.states[number]
        module = self._modules[number]
        parameters = in_fast_order(module, lane.layout.views(state[which]))
        buffers = lane.buffer_layout.read(state["buffers"])
        if needs_estimates(module, lane):
            batches = fixed_batches(
                self.source, batch_size=lane.settings.train.batch_size, latent_size=latent_size
            )
            buffers = estimated_buffers(module, lane_terms(module), parameters, buffers, batches)
            lane.buffer_layout.write(state["buffers"], buffers)
        terms_of = lane_terms(module.eval())
        totals = validation_totals(terms_of, parameters, buffers, self.source, latent_size)
        return lane.validation_sums(totals, len(self.source.validation))


def in_fast_order(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the module's parameters by name; on a CPU convolutions get
    channels_last copies, a tenth faster.

    A module with layers of other packages keeps its order, because the code of a user may need it,
    as `view` does.
    """
    ordered = dict(tensors)
    if has_foreign_layers(module):
        return ordered
    for name, layer in module.named_modules():
        weight = ordered.get(f"{name}.weight")  # None if it is computed from other parameters
        if (
            isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
            and weight is not None
            and weight.device.type == "cpu"
        ):
            # Not `contiguous`, because with one channel it keeps the strides, by which the
            # convolution chooses its kernel.
            ordered[f"{name}.weight"] = weight.to(memory_format=torch.channels_last)
    return ordered
