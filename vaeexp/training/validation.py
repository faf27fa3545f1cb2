"""Evaluates lanes on the validation images and collects the metrics of an epoch."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vaeexp.evaluation.nll import active_units
from vaeexp.training.batches import Source
from vaeexp.training.device import peak_memory_mb
from vaeexp.training.lane import EpochSums, Lane, learning_rate_at, warmup_at


def epoch_metrics(
    lane: Lane, trained: EpochSums, scored: EpochSums, raw: EpochSums | None, *, seconds: float, device: torch.device
) -> dict[str, float]:
    """Return the metrics, in nats per image, of the epoch that `lane` has just finished.

    Args:
        trained: sums over the training batches, while the weights changed.
        scored: sums over validation with the weights that count: their running average if the study uses one.
        raw: sums over validation with the weights themselves, if `scored` used the average and `Lane.shown_after` asks.
        seconds: this lane's share of the time.
        device: the device of the lane, for its peak memory.
    """
    step = lane.epoch * lane.steps_per_epoch - 1
    metrics: dict[str, float] = {}
    for split, sums in (("train", trained), ("val", scored)):
        metrics |= {
            f"{split}/loss": sums.loss,
            f"{split}/neg_elbo": sums.distortion + sums.rate,
            f"{split}/distortion": sums.distortion,
            f"{split}/rate": sums.rate,
            f"{split}/active_units": float(sums.active_units),
        }
    if raw is not None:
        metrics["val/neg_elbo_raw"] = raw.distortion + raw.rate
    images = lane.steps_per_epoch * lane.settings.train.batch_size
    return metrics | {
        "train/learning_rate": learning_rate_at(lane, step),
        "train/beta": lane.settings.train.beta * warmup_at(lane, step),
        "seconds": seconds,
        "images_per_second": images / seconds,
        "memory_mb": peak_memory_mb(device),
    }


_BATCH = 500


def validation_totals(
    terms_of: Callable[..., tuple[Tensor, ...]],
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    source: Source,
    noise: Tensor,
) -> tuple[Tensor, ...]:
    """Return the sums of `lane_terms` (or vmap of it, with an axis of rows) over the validation images, on the CPU."""
    totals: tuple[Tensor, ...] | None = None
    for x, e in zip(source.validation.split(_BATCH), noise.split(_BATCH), strict=True):
        terms = terms_of(parameters, buffers, x, e)
        totals = terms if totals is None else tuple(a + b for a, b in zip(totals, terms, strict=True))
    return tuple(total.cpu() for total in totals or ())


def validation_sums(totals: Sequence[Tensor], images: int, lane: Lane) -> EpochSums:
    """Convert the `validation_totals` of one lane: sums of distortion, rate, μ [L] and μ² [L] over `images` images."""
    distortion, rate = float(totals[0]) / images, float(totals[1]) / images
    loss = distortion + lane.settings.train.beta * rate
    return epoch_sums([loss, distortion, rate], torch.stack(list(totals[2:])), images, lane)


def epoch_sums(means: Sequence[float], moments: Tensor, images: int, lane: Lane) -> EpochSums:
    """Convert means (loss, distortion, rate) per image and the sums [2, L] of μ and μ² over `images` images."""
    active = active_units(moments[0], moments[1], images, lane.settings.evaluation.active_threshold)
    return EpochSums(loss=means[0], distortion=means[1], rate=means[2], active_units=int(active))
