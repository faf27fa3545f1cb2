"""One trial in training: its settings, its shapes, where it stands, and the tensors that a checkpoint holds."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sweeps.workload.protocol import Failure, Trial
from vaeexp.models.vae import VAE, build_vae
from vaeexp.training.padded_views import Layout

if TYPE_CHECKING:
    from vaeexp.settings import Settings


State = dict[str, Tensor]
"""Flat vectors of one lane at its own size: weights, first and second moment, average (of weights, when the study uses
one), best (the weights of the best epoch), buffers, best_buffers."""


@dataclass(kw_only=True)
class Lane:
    """A trial that is being trained."""

    trial: Trial
    settings: "Settings"
    layout: Layout
    """Of the parameters at the trial's own size."""
    buffer_layout: Layout
    steps_per_epoch: int
    epoch: int = 0
    """Epochs trained."""
    best_value: float = math.inf
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    """Epochs since the best one."""
    seconds: float = 0.0
    checkpoint_due: float = 0.0
    """Seconds trained since the last checkpoint."""
    failure: Failure | None = None
    test_metrics: dict[str, float] = field(default_factory=dict)
    """Figures on the test set, once the trial is complete and may see it."""

    @property
    def total_steps(self) -> int:
        return self.settings.train.epochs * self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """True when no further epoch is wanted: all done, or stopped early."""
        patience = self.settings.train.patience
        return self.epoch >= self.settings.train.epochs or (patience > 0 and self.stale >= patience)

    def shown_after(self, epoch: int) -> bool:
        """Whether this is one of the epochs that are looked at more closely: pictures, and weights beside their average."""
        return epoch in (1, self.settings.train.epochs) or epoch % self.settings.evaluation.pictures_every == 0


@dataclass(kw_only=True)
class EpochSums:
    """What a pass over images gives for one lane: means over images in nats, and per-dimension moments of μ(x)."""

    loss: float
    distortion: float
    rate: float
    active_units: int
    """Latent dimensions whose posterior mean varies over images by more than the threshold (Burda et al. 2016)."""


def open_lane(trial: Trial, settings: "Settings", image_shape: tuple[int, int, int], images: int) -> tuple[Lane, VAE]:
    """The lane of a trial and its freshly initialised model (on the CPU, a function of the trial's seed alone)."""
    vae = build_vae(settings.model, image_shape, trial.seed)
    lane = Lane(
        trial=trial,
        settings=settings,
        layout=Layout.of(dict(vae.named_parameters())),
        buffer_layout=Layout.of(dict(vae.named_buffers())),
        steps_per_epoch=images // settings.train.batch_size,
    )
    return lane, vae


def fresh_state(lane: Lane, vae: VAE, *, averaged: bool) -> State:
    """The state of a lane before its first step. Names whose values are the same share a tensor: groups copy it."""
    weights = lane.layout.flatten({name: p.detach() for name, p in vae.named_parameters()})
    buffers = lane.buffer_layout.flatten(dict(vae.named_buffers()))
    zeros = torch.zeros_like(weights)
    state = {
        "weights": weights,
        "first": zeros,
        "second": zeros,
        "best": weights,
        "buffers": buffers,
        "best_buffers": buffers,
    }
    if averaged:
        state["average"] = weights
    return state


def learning_rate_at(lane: Lane, step: int) -> float:
    """Learning rate of step `step`, counted from 0; cosine falls to 0 after the last step (Loshchilov & Hutter 2017)."""
    train = lane.settings.train
    if train.schedule == "constant":
        return train.learning_rate
    return train.learning_rate * 0.5 * (1 + math.cos(math.pi * step / lane.total_steps))


def warmup_at(lane: Lane, step: int) -> float:
    """Share of β that counts at step `step`: rises linearly to 1 over the warm-up (Sønderby et al. 2016)."""
    steps = lane.settings.train.warmup_epochs * lane.steps_per_epoch
    return min(1.0, (step + 1) / steps) if steps > 0 else 1.0


def average_decay_at(lane: Lane, step: int) -> float:
    """Decay of the running average at step `step`: smaller at first, so that it forgets the initial weights."""
    decay = lane.settings.train.ema_decay
    return min(decay, (1 + step) / (10 + step)) if decay > 0 else 0.0
