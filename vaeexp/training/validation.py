"""A pass over the validation images, and what a pass over any images says of a lane."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from vaeexp.evaluation.nll import active_units
from vaeexp.training.batches import Source
from vaeexp.training.lane import EpochSums, Lane

__all__ = ["epoch_sums", "validation_sums", "validation_totals"]

_BATCH = 500


def validation_totals(
    terms_of: Callable[..., tuple[Tensor, ...]],
    parameters: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    source: Source,
    noise: Tensor,
) -> tuple[Tensor, ...]:
    """What `lane_terms` gives (or vmap of it, with an axis of rows), summed over the validation images, on the CPU."""
    totals: tuple[Tensor, ...] | None = None
    for x, e in zip(source.validation.split(_BATCH), noise.split(_BATCH), strict=True):
        terms = terms_of(parameters, buffers, x, e)
        totals = terms if totals is None else tuple(a + b for a, b in zip(totals, terms, strict=True))
    return tuple(total.cpu() for total in totals or ())


def validation_sums(totals: Sequence[Tensor], images: int, lane: Lane) -> EpochSums:
    """From the `validation_totals` of one lane: distortion, rate, and the sums of μ and μ² [L]."""
    distortion, rate = float(totals[0]) / images, float(totals[1]) / images
    loss = distortion + lane.settings.train.beta * rate
    return epoch_sums([loss, distortion, rate], torch.stack(list(totals[2:])), images, lane)


def epoch_sums(means: Sequence[float], moments: Tensor, images: int, lane: Lane) -> EpochSums:
    """From (loss, distortion, rate) per image and the summed moments [2, L] of μ over `images`."""
    active = active_units(moments[0], moments[1], images, lane.settings.evaluation.active_threshold)
    return EpochSums(loss=means[0], distortion=means[1], rate=means[2], active_units=int(active))
