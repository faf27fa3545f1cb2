"""What is measured of a lane in each epoch, and of the memory that it takes."""

import resource
import sys

import torch

from vaeexp.training.lane import EpochSums, Lane, learning_rate_at, warmup_at

__all__ = ["epoch_metrics", "free_memory", "is_out_of_memory", "peak_memory_mb"]


def epoch_metrics(
    lane: Lane, trained: EpochSums, scored: EpochSums, raw: EpochSums | None, *, seconds: float, device: torch.device
) -> dict[str, float]:
    """The metrics of the epoch that `lane` has just finished.

    Args:
        trained: on the training batches, while the weights moved.
        scored: on validation, of the weights that count: their running average where the study uses one.
        raw: on validation, of the weights themselves where `scored` is of an average.
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


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory of the device on cuda, else of this process, in MiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        # Not ru_maxrss: on Linux a child process inherits the peak of its parent.
        with open("/proc/self/status", encoding="utf-8") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 2**10
    except (OSError, StopIteration):
        # ru_maxrss counts bytes on macOS and KiB elsewhere.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; on the CPU torch says so in words only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return "can't allocate memory" in text or "out of memory" in text


def free_memory(device: torch.device) -> None:
    """Hand cached blocks back to the device."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
