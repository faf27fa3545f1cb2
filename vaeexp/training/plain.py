"""One training step of one lane on its plain module, operation by operation."""

import torch
from torch import Tensor

from vaeexp.training.lane import Lane, State, average_decay_at, learning_rate_at, warmup_at
from vaeexp.training.objective import module_loss
from vaeexp.training.optim import update_one
from vaeexp.training.precision import training_precision, wide_dtype
from vaeexp.vae import VAE

__all__ = ["PlainStep"]


class PlainStep:
    """Moves a lane's state in place, once for each batch of an epoch.

    Shapes: B batch, C channels, H × W pixels, L latent dimensions.
    """

    def __init__(self, lane: Lane, module: VAE, state: State, precision: str) -> None:
        """`module`'s parameters share memory with the weights of `state`."""
        self._lane, self._module, self._state, self._precision = lane, module.train(), state, precision
        self._device = device = state["weights"].device
        self._parameters, self._buffers = list(module.parameters()), dict(module.named_buffers())
        lane.buffer_layout.load(state["buffers"], self._buffers)
        self._weights, self._first, self._second = (
            list(lane.layout.views(state[name]).values()) for name in ("weights", "first", "second")
        )
        self._free_nats = torch.tensor(lane.settings.train.free_nats, device=device)
        self._sums = torch.zeros(3, device=device, dtype=wide_dtype(device))
        self._moments = torch.zeros(2, lane.settings.model.latent_size, device=device, dtype=wide_dtype(device))
        self._step = lane.epoch * lane.steps_per_epoch

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """One step on targets x [B, C, H, W] and noise e [B, L]."""
        lane, train, state, step = self._lane, self._lane.settings.train, self._state, self._step
        beta = torch.tensor(train.beta * warmup_at(lane, step), device=self._device)
        with training_precision(self._device, self._precision):
            loss = module_loss(self._module, x, e, beta, self._free_nats)
        # Gradients may come with transposed strides. Copying all into one vector would cost a tenth of the step.
        grads = [grad.contiguous() for grad in torch.autograd.grad(loss.loss, self._parameters)]
        update_one(
            self._weights, grads, self._first, self._second,
            step=step + 1, learning_rate=learning_rate_at(lane, step), optimizer=train.optimizer,
        )  # fmt: skip
        if "average" in state:
            state["average"].lerp_(state["weights"], 1 - average_decay_at(lane, step))
        self._sums += torch.stack([loss.loss.detach(), loss.distortion, loss.rate])
        self._moments += torch.stack([loss.mean_sum, loss.mean_square_sum])
        self._step += 1

    def end(self) -> tuple[Tensor, Tensor]:
        """Put the running statistics back. Sums over steps of (loss, distortion, rate) [3], over images of μ and μ² [2, L]."""
        self._lane.buffer_layout.write(self._state["buffers"], self._buffers)
        return self._sums, self._moments
