"""Lanes trained one after the other, each a plain module at its own size: what a CPU likes best."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vaeexp.training.batches import Source, epoch_chunks
from vaeexp.training.lane import EpochSums, Lane, State, learning_rate_at, warmup_at
from vaeexp.training.objective import lane_terms, module_loss
from vaeexp.training.optim import update_one
from vaeexp.training.precision import training_precision, wide_dtype
from vaeexp.training.validation import epoch_sums, validation_sums, validation_totals
from vaeexp.vae import VAE

__all__ = ["LoopGroup"]


class LoopGroup:
    """The `Group` of plain modules. See `vaeexp.training.lanes` for the interface."""

    def __init__(self, source: Source, precision: str, noise: Callable[[int], Tensor]) -> None:
        """`noise`: latent size L → the validation noise [N, L]."""
        self.source, self.precision, self.noise = source, precision, noise
        self.lanes: dict[int, Lane] = {}
        self.states: dict[int, State] = {}
        self._modules: dict[int, VAE] = {}

    def add(self, lane: Lane, module: VAE, state: State) -> None:
        number = lane.trial.number
        self.lanes[number] = lane
        self.states[number] = {name: tensor.to(self.source.device) for name, tensor in state.items()}
        self._modules[number] = module.to(self.source.device)
        # The module's parameters are the lane's weights, so that a step needs no exchange of one for the other.
        views = lane.layout.views(self.states[number]["weights"])
        for name, parameter in module.named_parameters():
            parameter.data = views[name]

    def remove(self, number: int) -> None:
        del self.lanes[number], self.states[number], self._modules[number]

    def state(self, number: int) -> State:
        """The lane's tensors; they share memory with the lane."""
        return self.states[number]

    def keep_best(self, number: int, which: str) -> None:
        """Remember `which` ("weights" or "average") as the best of the lane so far."""
        state = self.states[number]
        state["best"].copy_(state[which])
        state["best_buffers"].copy_(state["buffers"])

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]:
        return {number: self._train(self.lanes[number]) for number in numbers}

    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]:
        return {number: self._evaluate(self.lanes[number], which) for number in numbers}

    def _train(self, lane: Lane) -> EpochSums:
        number, train = lane.trial.number, lane.settings.train
        state, device = self.states[number], self.source.device
        module = self._modules[number].train()
        parameters, buffers = list(module.parameters()), dict(module.named_buffers())
        lane.buffer_layout.load(state["buffers"], buffers)
        weights, first, second = (
            list(lane.layout.views(state[name]).values()) for name in ("weights", "first", "second")
        )
        free_nats = torch.tensor(train.free_nats, device=device)
        sums = torch.zeros(3, device=device, dtype=wide_dtype(device))
        moments = torch.zeros(2, lane.settings.model.latent_size, device=device, dtype=wide_dtype(device))
        step = lane.epoch * lane.steps_per_epoch
        for targets, noise in epoch_chunks(
            self.source,
            seed=lane.trial.seed,
            epoch=lane.epoch,
            batch_size=train.batch_size,
            latent_size=lane.settings.model.latent_size,
        ):
            for x, e in zip(targets.split(train.batch_size), noise.split(train.batch_size), strict=True):
                beta = torch.tensor(train.beta * warmup_at(lane, step), device=device)
                with training_precision(device, self.precision):
                    loss = module_loss(module, x, e, beta, free_nats)
                # Gradients may come with transposed strides. Copying all into one vector would cost a tenth of the step.
                grads = [grad.contiguous() for grad in torch.autograd.grad(loss.loss, parameters)]
                update_one(
                    weights, grads, first, second,
                    step=step + 1, learning_rate=learning_rate_at(lane, step), optimizer=train.optimizer,
                )  # fmt: skip
                if "average" in state:
                    state["average"].lerp_(state["weights"], 1 - average_decay(train.ema_decay, step))
                sums += torch.stack([loss.loss.detach(), loss.distortion, loss.rate])
                moments += torch.stack([loss.mean_sum, loss.mean_square_sum])
                step += 1
        lane.buffer_layout.write(state["buffers"], buffers)
        images = lane.steps_per_epoch * train.batch_size
        return epoch_sums((sums / lane.steps_per_epoch).tolist(), moments, images, lane)

    @torch.no_grad()
    def _evaluate(self, lane: Lane, which: str) -> EpochSums:
        number = lane.trial.number
        state = self.states[number]
        module = self._modules[number].eval()
        parameters, buffers = lane.layout.views(state[which]), lane.buffer_layout.read(state["buffers"])
        noise = self.noise(lane.settings.model.latent_size)
        totals = validation_totals(lane_terms(module), parameters, buffers, self.source, noise)
        return validation_sums(totals, len(self.source.validation), lane)


def average_decay(decay: float, step: int) -> float:
    """Decay of the running average at `step` (from 0): smaller at first, so that it forgets the initial weights."""
    return min(decay, (1 + step) / (10 + step)) if decay > 0 else 0.0
