"""Takes a training step of one lane on its plain module, operation by operation.

On a CPU the weights of convolutions are channels_last in training, a tenth faster, and in usual order in the lane's state.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaeexp.compiler import has_foreign_layers
from vaeexp.models.vae import VAE
from vaeexp.training.device import training_precision, wide_dtype
from vaeexp.training.lane import Lane, State, average_decay_at, learning_rate_at, warmup_at
from vaeexp.training.loss import module_loss
from vaeexp.training.optimizers import update_one

_MOVED = ("weights", "first", "second", "average")


class PlainStep:
    """Trains a lane's state in place: one call for each batch of an epoch, then `end`.

    Shapes: B batch, C channels, H × W pixels, L latent dimensions.
    """

    def __init__(self, lane: Lane, module: VAE, state: State, precision: str) -> None:
        """The parameters of `module` share memory with the weights of `state`."""
        self._lane, self._module, self._state, self._precision = lane, module.train(), state, precision
        self._device = device = state["weights"].device
        self._parameters, self._buffers = list(module.parameters()), dict(module.named_buffers())
        lane.buffer_layout.load(state["buffers"], self._buffers)
        self._views = {name: lane.layout.views(state[name]) for name in _MOVED if name in state}
        self._tensors = {name: list(in_fast_order(module, views).values()) for name, views in self._views.items()}
        for parameter, weight in zip(self._parameters, self._tensors["weights"], strict=True):
            parameter.data = weight
        self._free_nats = torch.tensor(lane.settings.train.free_nats, device=device)
        self._sums = torch.zeros(3, device=device, dtype=wide_dtype(device))
        self._moments = torch.zeros(2, lane.settings.model.latent_size, device=device, dtype=wide_dtype(device))
        self._step = lane.epoch * lane.steps_per_epoch

    def __call__(self, x: Tensor, e: Tensor) -> None:
        """Take one step on targets x [B, C, H, W] and noise e [B, L]."""
        lane, train, tensors, step = self._lane, self._lane.settings.train, self._tensors, self._step
        beta = torch.tensor(train.beta * warmup_at(lane, step), device=self._device)
        with training_precision(self._device, self._precision):
            loss = module_loss(self._module, x, e, beta, self._free_nats)
        # Gradients may have transposed strides. They stay separate, because one vector of all costs a tenth of the step.
        grads = [
            grad.contiguous(memory_format=torch.contiguous_format if weight.is_contiguous() else torch.channels_last)
            for weight, grad in zip(tensors["weights"], torch.autograd.grad(loss.loss, self._parameters), strict=True)
        ]
        update_one(
            tensors["weights"], grads, tensors["first"], tensors["second"],
            step=step + 1, learning_rate=learning_rate_at(lane, step), optimizer=train.optimizer,
        )  # fmt: skip
        if "average" in tensors:
            torch._foreach_lerp_(tensors["average"], tensors["weights"], 1 - average_decay_at(lane, step))
        self._sums += torch.stack([loss.loss.detach(), loss.distortion, loss.rate])
        self._moments += torch.stack([loss.mean_sum, loss.mean_square_sum])
        self._step += 1

    def end(self) -> tuple[Tensor, Tensor]:
        """Copy weights and buffers back into the lane's state; return sums over steps of (loss, distortion, rate) [3] and
        over images of μ and μ² [2, L]."""
        for name, views in self._views.items():
            for view, tensor in zip(views.values(), self._tensors[name], strict=True):
                if tensor is not view:
                    view.copy_(tensor)
        for parameter, view in zip(self._parameters, self._views["weights"].values(), strict=True):
            parameter.data = view
        self._lane.buffer_layout.write(self._state["buffers"], self._buffers)
        return self._sums, self._moments


def in_fast_order(module: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the module's parameters by name; on a CPU convolutions get channels_last copies.

    A module with layers of other packages keeps its order, because the code of a user may need it, as `view` does.
    """
    ordered = dict(tensors)
    if has_foreign_layers(module):
        return ordered
    convolutions = (name for name, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))
    for weight in ordered.keys() & {
        f"{name}.weight" for name in convolutions
    }:  # an intersection, because a weight may be computed from other parameters
        if ordered[weight].device.type == "cpu":
            # Not `contiguous`, because with one channel it keeps the strides, by which the convolution chooses its kernel.
            ordered[weight] = ordered[weight].to(memory_format=torch.channels_last)
    return ordered
