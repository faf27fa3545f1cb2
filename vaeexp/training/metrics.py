"""What is measured of a lane in each epoch."""

import torch

from vaeexp.training.lane import EpochSums, Lane, learning_rate_at, warmup_at
from vaeexp.training.memory import peak_memory_mb

__all__ = ["epoch_metrics"]


def epoch_metrics(
    lane: Lane, trained: EpochSums, scored: EpochSums, raw: EpochSums | None, *, seconds: float, device: torch.device
) -> dict[str, float]:
    """The metrics of the epoch that `lane` has just finished.

    Args:
        trained: on the training batches, while the weights moved.
        scored: on validation, of the weights that count: their running average where the study uses one.
        raw: on validation, of the weights themselves where `scored` is of an average and the epoch is one of those that are
            looked at more closely.
        seconds: this lane's share of the time.
    """
    step = lane.epoch * lane.steps_per_epoch - 1
    metrics: dict[str, float] = {}
    for split, sums in (("train", trained), ("val", scored)):
        metrics |= {
            f"{split}/loss": sums.loss,
            f"{split}/nll": sums.distortion + sums.rate,
            f"{split}/distortion": sums.distortion,
            f"{split}/rate": sums.rate,
            f"{split}/active_units": float(sums.active_units),
        }
    if raw is not None:
        metrics["val/nll_raw"] = raw.distortion + raw.rate
    images = lane.steps_per_epoch * lane.settings.train.batch_size
    return metrics | {
        "learning_rate": learning_rate_at(lane, step),
        "beta_now": lane.settings.train.beta * warmup_at(lane, step),
        "seconds": seconds,
        "images_per_second": images / seconds,
        "memory_mb": peak_memory_mb(device),
    }
