"""A few steps, timed: what `--width auto` chooses by and what a plan's time estimate rests on."""

import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import torch

from sweeps.workload.protocol import Trial
from vaeexp.training.batches import CHUNK, Source, validation_noise
from vaeexp.training.groups.group import open_group
from vaeexp.training.lane import fresh_state, open_lane

if TYPE_CHECKING:
    from vaeexp.settings import Settings


def seconds_per_image(
    source: Source, settings: "Settings", maxima: Mapping[str, int], *, precision: str, group: str, width: int
) -> float:
    """Training seconds per image and trial when `width` trials share the device.

    Raises:
        torch.OutOfMemoryError: they do not fit.
    """
    images = min(CHUNK * settings.train.batch_size, len(source.train))
    few = replace(source, train=source.train[:images], validation=source.validation[:1])
    averaged = settings.train.ema_decay > 0
    lanes = open_group(
        group, few, precision, partial(validation_noise, few), settings.model, maxima,
        batch_size=settings.train.batch_size, averaged=averaged,
    )  # fmt: skip
    for number in range(width):
        lane, vae = open_lane(Trial(number=number, params={}, seed=number), settings, few.image_shape, images)
        lanes.add(lane, vae, fresh_state(lane, vae, averaged=averaged))
    numbers, seconds = list(range(width)), []
    for _ in range(3):
        started = time.perf_counter()
        lanes.train_epoch(numbers)
        seconds.append(time.perf_counter() - started)
    # The first pass pays for warm-up; the better of the others is the machine, the rest is its neighbours.
    return min(seconds[1:]) / (images * width)


def best_width(
    source: Source, settings: "Settings", maxima: Mapping[str, int], *, precision: str, group: str, most: int
) -> int:
    """The width (1, 2, 4 … `most`) of least time per trial that fits in memory; a gain under 5 % is not worth a wider one."""
    best, least, width = 1, float("inf"), 1
    while width <= most:
        try:
            seconds = seconds_per_image(source, settings, maxima, precision=precision, group=group, width=width)
        except (torch.OutOfMemoryError, MemoryError):
            break
        if seconds > 0.95 * least:
            break
        best, least, width = width, seconds, width * 2
    return best
