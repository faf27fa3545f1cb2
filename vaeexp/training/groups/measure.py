"""Time a few training steps, for `--lanes auto` and for the time estimate of a plan."""

import time
from collections.abc import Callable, Mapping
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
    source: Source,
    settings: "Settings",
    maxima: Mapping[str, int],
    lanes: int,
    *,
    precision: str,
    fuse: bool,
    compile: bool,
) -> float:
    """Return the training seconds per image and trial when `lanes` trials share the device.

    Raises:
        torch.OutOfMemoryError: they do not fit.
    """
    images = min(CHUNK * settings.train.batch_size, len(source.train))
    few = replace(source, train=source.train[:images], validation=source.validation[:1])
    averaged = settings.train.ema_decay > 0
    group = open_group(
        few, precision, partial(validation_noise, few), settings.model, maxima,
        fuse=fuse, compile=compile, batch_size=settings.train.batch_size, averaged=averaged,
    )  # fmt: skip
    for number in range(lanes):
        lane, vae = open_lane(Trial(number=number, params={}, seed=number), settings, few.image_shape, images)
        group.add(lane, vae, fresh_state(lane, vae, averaged=averaged))
    numbers, seconds = list(range(lanes)), []
    for _ in range(3):
        started = time.perf_counter()
        group.train_epoch(numbers)
        seconds.append(time.perf_counter() - started)
    # The first pass pays for warm-up; the better of the others is the machine, the rest is its neighbours.
    return min(seconds[1:]) / (images * lanes)


def fastest_lanes(seconds_of: Callable[[int], float], most: int) -> int:
    """Return the number of lanes (1, 2, 4 … `most`) of least time per trial that fits in memory.

    A larger number must save 5 %.

    Args:
        seconds_of: number of lanes → `seconds_per_image`.
        most: the largest number to try.
    """
    best, least, lanes = 1, float("inf"), 1
    while lanes <= most:
        try:
            seconds = seconds_of(lanes)
        except (torch.OutOfMemoryError, MemoryError):
            break
        if seconds > 0.95 * least:
            break
        best, least, lanes = lanes, seconds, lanes * 2
    return best
