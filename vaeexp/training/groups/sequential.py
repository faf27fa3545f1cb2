"""Trains lanes one after the other, each a plain module at its own size, which is fastest on a CPU."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vaeexp.models.vae import VAE
from vaeexp.training.batches import Source, epoch_chunks
from vaeexp.training.lane import EpochSums, Lane, State
from vaeexp.training.loss import lane_terms
from vaeexp.training.steps.eager import PlainStep, in_fast_order
from vaeexp.training.validation import epoch_sums, validation_sums, validation_totals

if TYPE_CHECKING:
    from vaeexp.training.steps.compiled import CompiledStep


class SequentialGroup:
    """The `Group` of plain modules. See `vaeexp.training.groups.lanes` for the interface."""

    fused = False

    def __init__(
        self,
        source: Source,
        precision: str,
        noise: Callable[[int], Tensor],
        *,
        compiled: "CompiledStep | None" = None,
    ) -> None:
        """`noise`: latent size L → the validation noise [N, L]. `compiled`: the compiled step of all lanes, if any."""
        self.source, self.precision, self.noise, self.compiled = source, precision, noise, compiled
        self.lanes: dict[int, Lane] = {}
        self.states: dict[int, State] = {}
        self._modules: dict[int, VAE] = {}

    def add(self, lane: Lane, module: VAE, state: State) -> None:
        number = lane.trial.number
        self.lanes[number] = lane
        self.states[number] = {name: tensor.to(self.source.device, copy=True) for name, tensor in state.items()}
        self._modules[number] = module.to(self.source.device)
        # The module's parameters are views of the lane's weights, so that a step needs no copy between them.
        views = lane.layout.views(self.states[number]["weights"])
        for name, parameter in module.named_parameters():
            parameter.data = views[name]

    def remove(self, number: int) -> None:
        del self.lanes[number], self.states[number], self._modules[number]

    def shrink(self) -> None: ...

    def state(self, number: int, *names: str) -> State:
        state = self.states[number]
        return {name: state[name] for name in names or state}

    def snapshot_best(self, number: int, which: str) -> None:
        """Store the tensors `which` ("weights" or "average") as the lane's best."""
        state = self.states[number]
        state["best"].copy_(state[which])
        state["best_buffers"].copy_(state["buffers"])

    def batches_of_lanes(self, numbers: Sequence[int]) -> list[list[int]]:
        """One lane per batch, so that a lane's progress is reported before the next lane trains."""
        return [[number] for number in numbers]

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]:
        return {number: self._train(self.lanes[number]) for number in numbers}

    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]:
        return {number: self._evaluate(self.lanes[number], which) for number in numbers}

    def _train(self, lane: Lane) -> EpochSums:
        train, step = lane.settings.train, self._step_of(lane)
        for targets, noise in epoch_chunks(
            self.source,
            seed=lane.trial.seed,
            epoch=lane.epoch,
            batch_size=train.batch_size,
            latent_size=lane.settings.model.latent_size,
        ):
            for x, e in zip(targets.split(train.batch_size), noise.split(train.batch_size), strict=True):
                step(x, e)
        sums, moments = step.end()
        images = lane.steps_per_epoch * train.batch_size
        return epoch_sums((sums / lane.steps_per_epoch).tolist(), moments, images, lane)

    def _step_of(self, lane: Lane) -> "PlainStep | CompiledStep":
        number = lane.trial.number
        if self.compiled is None:
            return PlainStep(lane, self._modules[number], self.states[number], self.precision)
        self.compiled.begin(lane, self.states[number])
        return self.compiled

    @torch.no_grad()
    def _evaluate(self, lane: Lane, which: str) -> EpochSums:
        number = lane.trial.number
        state = self.states[number]
        module = self._modules[number].eval()
        parameters = in_fast_order(module, lane.layout.views(state[which]))
        buffers = lane.buffer_layout.read(state["buffers"])
        noise = self.noise(lane.settings.model.latent_size)
        totals = validation_totals(lane_terms(module), parameters, buffers, self.source, noise)
        return validation_sums(totals, len(self.source.validation), lane)
