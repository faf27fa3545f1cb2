"""Defines a lane, one trial in training: settings, progress, metrics, and the layout of its tensors
in flat vectors.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from sweeps import TrialSpec
from vaeexp.data.values import ImageShape, Values
from vaeexp.evaluation.nll import active_units
from vaeexp.models.vae import VAE, build_vae
from vaeexp.schedules import SCHEDULES, Course
from vaeexp.training.batches import Source, epoch_chunks
from vaeexp.training.device import peak_memory_mb
from vaeexp.training.losses import Objective, find_loss

if TYPE_CHECKING:
    import numpy as np

    from vaeexp.settings import Settings

# float32 numbers in 64 bytes. Each tensor starts at a multiple, because vector instructions are
# faster there.
_ALIGN = 16


class Layout:
    """Names, shapes and offsets of a model's tensors in one flat float32 vector of length `size`,
    so that a copy of all of them is one kernel."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """Lay out tensors like these. Integers among them keep their values up to 2^24."""
        self.shapes = {name: tensor.shape for name, tensor in tensors.items()}
        self.dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        self.offsets: dict[str, int] = {}
        self.size = 0
        for name, shape in self.shapes.items():
            self.offsets[name] = self.size
            self.size += -(-max(shape.numel(), 1) // _ALIGN) * _ALIGN

    @property
    def count(self) -> int:
        """Number of values in the tensors, without the gaps."""
        return sum(shape.numel() for shape in self.shapes.values())

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return name → view [..., *shape] of `flat` [..., size], sharing memory."""
        return {
            name: flat.narrow(-1, self.offsets[name], shape.numel()).view(
                (*flat.shape[:-1], *shape)
            )
            for name, shape in self.shapes.items()
        }

    def read(self, flat: Tensor) -> dict[str, Tensor]:
        """Return name → contiguous copy [..., *shape] in the tensor's own type; change it in place
        and `write` it back.

        A copy, because in views with gaps between rows BatchNorm under vmap loses its running
        statistics, or autograd refuses the change in place.
        """
        return {
            name: view.to(self.dtypes[name], memory_format=torch.contiguous_format, copy=True)
            for name, view in self.views(flat).items()
        }

    def write(self, flat: Tensor, tensors: Mapping[str, Tensor]) -> None:
        """Copy tensors [..., *shape], as `read` returns them, into `flat` [..., size]."""
        for name, view in self.views(flat).items():
            view.copy_(tensors[name])

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Return the flat vector [size] of these tensors; the gaps are 0."""
        flat = torch.zeros(self.size)
        self.write(flat, tensors)
        return flat


def leading_slice(big: Tensor, shape: torch.Size) -> Tensor:
    """Return the leading slice [..., *shape] of `big` [..., *bigger shape]."""
    for axis, length in enumerate(reversed(shape), start=1):
        big = big.narrow(-axis, 0, length)
    return big


State = dict[str, Tensor]
"""Flat vectors of one lane at its own size: weights, first and second (moments), average (of the
weights, if the study uses an average), best (the weights of the best epoch), buffers, best_buffers.
"""


class Snapshot(NamedTuple):
    """The model of a lane after one epoch."""

    epoch: int
    """From 1."""
    weights: Tensor
    """Flat vector of the weights that validation used: their running average if the study uses
    one.
    """
    buffers: Tensor
    """Flat vector of the buffers."""


@dataclass
class EpochSums:
    """The result of a pass over images for one lane; means over images in nats."""

    loss: float
    """Of targets, not in the unit of the report; NaN on validation images for an objective that
    does not follow from the means.
    """
    distortion: float
    rate: float
    active_units: float
    """Number of latent dimensions that have a posterior mean that varies over images by more than
    the threshold (Burda et al. 2016).
    """

    @property
    def neg_elbo(self) -> float:
        return self.distortion + self.rate


@dataclass(kw_only=True)
class Lane:
    """A trial in training."""

    trial: TrialSpec
    settings: "Settings"
    layout: Layout
    """Layout of the parameters at the trial's own size."""
    buffer_layout: Layout
    steps_per_epoch: int
    log_scale: float = 0.0
    """Nats per image from the distortion of targets to that in the unit of the report."""
    epoch: int = 0
    """Epochs trained."""
    best_objective: float = math.inf
    best_epoch: int = 0
    best_metrics: dict[str, float] = field(default_factory=dict)
    stale: int = 0
    """Epochs since the best one, or since the warm-up of β."""
    checkpoint_due: float = 0.0
    """Seconds trained since the last checkpoint."""
    test_metrics: dict[str, float] = field(default_factory=dict)
    """Metrics on the test set, empty until the trial is complete and only if it may see the test
    set.
    """
    test_arrays: dict[str, "np.ndarray"] = field(default_factory=dict)
    """Arrays that belong to `test_metrics`."""

    @property
    def objective(self) -> Objective:
        """What its steps minimise."""
        return find_loss(self.settings.train.loss)

    @property
    def total_steps(self) -> int:
        return self.settings.train.epochs * self.steps_per_epoch

    @property
    def images_per_epoch(self) -> int:
        return self.steps_per_epoch * self.settings.train.batch_size

    @property
    def counts(self) -> bool:
        """Whether its newest epoch was trained at full β from its first step: only such an epoch
        can be the best.
        """
        return self.epoch > self.settings.train.warmup

    @property
    def finished(self) -> bool:
        """True after the last epoch or after `patience` epochs without improvement, of those that
        count.
        """
        patience = self.settings.train.patience
        return self.epoch >= self.settings.train.epochs or (patience > 0 and self.stale >= patience)

    def shown_after(self, epoch: int) -> bool:
        """Return whether this epoch gets pictures and an evaluation of the weights beside their
        average.
        """
        return (
            epoch in (1, self.settings.train.epochs)
            or epoch % self.settings.evaluation.pictures_every == 0
        )

    def learning_rate(self, step: int) -> float:
        """Return the learning rate of step `step`, from 0: it rises linearly over the warm-up; then
        it follows its schedule.
        """
        train = self.settings.train
        if step < train.warmup_steps:
            return train.learning_rate * (step + 1) / train.warmup_steps
        passed = step - train.warmup_steps
        course = Course(
            passed, self.total_steps - train.warmup_steps, passed // self.steps_per_epoch
        )
        return train.learning_rate * SCHEDULES[train.schedule].factor(train, course)

    def beta(self, step: int) -> float:
        """Return β at step `step`, from 0: it rises linearly over the warm-up (Sønderby et al.
        2016).
        """
        steps = self.settings.train.warmup_epochs * self.steps_per_epoch
        return self.settings.train.beta * (min(1.0, (step + 1) / steps) if steps > 0 else 1.0)

    def average_decay(self, step: int) -> float:
        """Return the decay of the running average at step `step`; it starts small, so that the
        average forgets the start.
        """
        decay = self.settings.train.ema_decay
        return min(decay, (1 + step) / (10 + step)) if decay > 0 else 0.0

    def chunks(self, source: Source) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the `epoch_chunks` of the next epoch."""
        return epoch_chunks(
            source,
            seed=self.trial.seed,
            epoch=self.epoch,
            batch_size=self.settings.train.batch_size,
            latent_size=self.settings.model.latent_size,
            samples=self.objective.samples,
        )

    def training_sums(self, sums: Tensor, moments: Tensor) -> EpochSums:
        """Convert the sums of an epoch: over steps of (loss, distortion, rate) [3], over images of
        μ and μ² [2, L].
        """
        return self._sums((sums / self.steps_per_epoch).tolist(), moments, self.images_per_epoch)

    def validation_sums(self, totals: Sequence[Tensor], images: int) -> EpochSums:
        """Convert sums of distortion, rate, μ [L] and μ² [L] over `images` images."""
        distortion = float(totals[0]) / images
        rate = float(totals[1]) / images
        of_means = self.objective.of_means
        loss = (
            math.nan if of_means is None else of_means(distortion, rate, self.settings.train.beta)
        )
        return self._sums([loss, distortion, rate], torch.stack(list(totals[2:])), images)

    def _sums(self, means: Sequence[float], moments: Tensor, images: int) -> EpochSums:
        active = active_units(
            moments[0], moments[1], images, self.settings.evaluation.active_threshold
        )
        loss, distortion, rate = means
        return EpochSums(loss, distortion + self.log_scale, rate, float(active))

    def metrics(
        self,
        trained: EpochSums,
        scored: EpochSums,
        raw: EpochSums | None,
        *,
        seconds: float,
        device: torch.device,
    ) -> dict[str, float]:
        """Return the metrics, in nats per image, of the epoch that the lane has just finished.

        Args:
            trained: sums over the training batches, while the weights changed.
            scored: sums over validation with the weights that count: their running average if the
                study uses one.
            raw: sums over validation with the weights themselves, if `scored` used the average and
                `shown_after` asks.
            seconds: this lane's share of the time.
            device: the device of the lane, for its peak memory.
        """
        metrics: dict[str, float] = {}
        for split, sums in (("train", trained), ("val", scored)):
            if split == "train" or self.objective.of_means is not None:
                metrics[f"{split}/loss"] = sums.loss
            metrics |= {
                f"{split}/neg_elbo": sums.neg_elbo,
                f"{split}/distortion": sums.distortion,
                f"{split}/rate": sums.rate,
                f"{split}/active_units": sums.active_units,
            }
        if raw is not None:
            metrics["val/neg_elbo_raw"] = raw.neg_elbo
        step = self.epoch * self.steps_per_epoch - 1
        return metrics | {
            "train/learning_rate": self.learning_rate(step),
            "train/beta": self.beta(step),
            "seconds": seconds,
            "images_per_second": self.images_per_epoch / seconds,
            "memory_mb": peak_memory_mb(device),
        }


def open_lane(
    trial: TrialSpec, settings: "Settings", values: Values | ImageShape, images: int
) -> tuple[Lane, VAE]:
    """Return the lane of a trial and its initial model on the CPU, from settings and seed;
    `images`: how many train.
    """
    vae = build_vae(settings.model, values, trial.seed)
    lane = Lane(
        trial=trial,
        settings=settings,
        layout=Layout(dict(vae.named_parameters())),
        buffer_layout=Layout(dict(vae.named_buffers())),
        steps_per_epoch=images // settings.train.batch_size,
        log_scale=vae.log_scale,
    )
    return lane, vae


def fresh_state(lane: Lane, vae: VAE, *, averaged: bool) -> State:
    """Return the state of a lane before its first step. Equal entries share a tensor, because
    groups copy the state.
    """
    weights = lane.layout.flatten({name: p.detach() for name, p in vae.named_parameters()})
    buffers = lane.buffer_layout.flatten(dict(vae.named_buffers()))
    of_weights = ("weights", "best", "average") if averaged else ("weights", "best")
    return {
        **dict.fromkeys(of_weights, weights),
        **dict.fromkeys(("first", "second"), torch.zeros_like(weights)),
        **dict.fromkeys(("buffers", "best_buffers"), buffers),
    }


__all__ = [
    "EpochSums",
    "Lane",
    "Layout",
    "Snapshot",
    "State",
    "fresh_state",
    "leading_slice",
    "open_lane",
]
