"""Defines a lane, one trial in training: settings, shapes, progress, and the tensors that a checkpoint holds."""

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
"""Flat vectors of one lane at its own size: weights, first and second (moments), average (of the weights, if the study
uses an average), best (the weights of the best epoch), buffers, best_buffers."""


@dataclass(kw_only=True)
class Lane:
    """A trial in training."""

    trial: Trial
    settings: "Settings"
    layout: Layout
    """Layout of the parameters at the trial's own size."""
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
    """Metrics on the test set, empty until the trial is complete and only if it may see the test set."""

    @property
    def total_steps(self) -> int:
        return self.settings.train.epochs * self.steps_per_epoch

    @property
    def finished(self) -> bool:
        """True after the last epoch or after `patience` epochs without improvement."""
        patience = self.settings.train.patience
        return self.epoch >= self.settings.train.epochs or (patience > 0 and self.stale >= patience)

    def shown_after(self, epoch: int) -> bool:
        """Return whether this epoch gets pictures and an evaluation of the weights beside their average."""
        return epoch in (1, self.settings.train.epochs) or epoch % self.settings.evaluation.pictures_every == 0


@dataclass(kw_only=True)
class EpochSums:
    """The result of a pass over images for one lane: means over images in nats, and the count of active units."""

    loss: float
    distortion: float
    rate: float
    active_units: int
    """Latent dimensions whose posterior mean varies over images by more than the threshold (Burda et al. 2016)."""


def open_lane(trial: Trial, settings: "Settings", image_shape: tuple[int, int, int], images: int) -> tuple[Lane, VAE]:
    """Return the lane of a trial and its initial model on the CPU, from settings and seed; `images`: how many train."""
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
    """Return the state of a lane before its first step. Equal entries share a tensor, because groups copy the state."""
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
    """Return the learning rate of step `step`, from 0; cosine falls to 0 after the last step (Loshchilov & Hutter 2017)."""
    train = lane.settings.train
    if train.schedule == "constant":
        return train.learning_rate
    return train.learning_rate * 0.5 * (1 + math.cos(math.pi * step / lane.total_steps))


def warmup_at(lane: Lane, step: int) -> float:
    """Return the share of β at step `step`, from 0: it rises linearly to 1 over the warm-up (Sønderby et al. 2016)."""
    steps = lane.settings.train.warmup_epochs * lane.steps_per_epoch
    return min(1.0, (step + 1) / steps) if steps > 0 else 1.0


def average_decay_at(lane: Lane, step: int) -> float:
    """Return the decay of the running average at step `step`; it starts small, so that the average forgets the start."""
    decay = lane.settings.train.ema_decay
    return min(decay, (1 + step) / (10 + step)) if decay > 0 else 0.0
