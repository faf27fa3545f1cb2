"""Draws the batches of an epoch: the order of the images, their binarisation, the noise, all from
(seed, epoch, purpose).

Images that do not fit on the device stream from the memory map chunk by chunk, with the same
numbers to the last bit, because order and noise are always drawn on the device.

Shapes: N images, M images of a chunk (a whole number of batches), L latent dimensions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from sweeps import seed_of
from vaeexp.data.dataset import TARGETS, draw_thresholds
from vaeexp.data.values import Values


def derive_seed(*parts: int | str) -> int:
    """Return a 63-bit seed that depends on the parts alone (SHA-256 of their text)."""
    return seed_of("/".join(str(part) for part in parts))


def generator(device: torch.device, *parts: int | str) -> torch.Generator:
    """Return a new generator on `device`, seeded with `derive_seed(*parts)`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))


# Batches drawn at once: enough for cheap draws, few enough for little memory.
CHUNK = 16
# Values in a chunk, 128 MiB as float32; chunks of large images hold fewer batches.
_CHUNK_VALUES = 2**25


@dataclass(frozen=True, kw_only=True)
class Source:
    """The images that a study trains and validates on."""

    train: Tensor
    """Prepared images [N, C, H, W], uint8 or targets float32. On the device, or on the CPU if
    streamed.
    """
    validation: Tensor
    """The targets, float32 [N, C, H, W], on the device. Dynamic binarisation draws them once."""
    targets: str
    """The row of `TARGETS` that makes targets of `train`."""
    values: Values
    """Those of the images."""
    noise_seed: int
    """Seed of the validation noise, the same for all trials of a study."""
    validation_draws: int = 1
    """Draws of the validation noise, over which −ELBO is averaged."""
    streamed: bool = False
    """Whether each chunk of training images is gathered on the CPU and then moved to the device."""
    noise_columns: dict[int, list[Tensor]] = field(
        init=False, default_factory=dict, compare=False, repr=False
    )
    """Draw → validation noise [N] of each latent dimension drawn so far."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.values.shape

    @property
    def device(self) -> torch.device:
        """The device on which lanes train."""
        return self.validation.device

    def images(self, index: Tensor) -> Tensor:
        """Return the training images [M, C, H, W] at `index` [M] (int64, on the device of `train`),
        on the device.
        """
        if not self.streamed:
            return self.train.index_select(0, index)
        # Read in the order of the file, because disks read forward fast. Pinned memory moves while
        # the device computes.
        rows, order = index.sort()
        gathered = self.train.index_select(0, rows).index_select(0, order.argsort())
        if self.device.type == "cuda":
            gathered = gathered.pin_memory()
        return gathered.to(self.device, non_blocking=True)


def chunk_batches(batch_size: int, image_shape: tuple[int, int, int]) -> int:
    """Return the number of batches in a chunk. The draws depend on it, so it must not depend on the
    machine.
    """
    return max(1, min(CHUNK, _CHUNK_VALUES // (batch_size * math.prod(image_shape))))


def epoch_chunks(
    source: Source, *, seed: int, epoch: int, batch_size: int, latent_size: int, samples: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (targets float32 [M, C, H, W], noise [M, L], or [M, S, L] for S > 1 samples) of an
    epoch, chunk by chunk, without the incomplete last batch.
    """
    device = source.device
    count = len(source.train) // batch_size
    drawn_by = partial(generator, device, seed, epoch)
    order = torch.randperm(len(source.train), generator=drawn_by("order"), device=device)
    order = order.cpu() if source.streamed else order
    step = chunk_batches(batch_size, source.image_shape)
    of_image = (latent_size,) if samples == 1 else (samples, latent_size)
    for chunk, start in enumerate(range(0, count, step)):
        index = order[start * batch_size : min(start + step, count) * batch_size]
        images = source.images(index)
        dynamic = source.targets == "dynamic"
        thresholds = draw_thresholds(images, drawn_by("binarisation", chunk)) if dynamic else None
        noise = torch.randn(
            len(index), *of_image, generator=drawn_by("noise", chunk), device=device
        )
        yield TARGETS[source.targets](images, thresholds), noise


def fixed_batches(
    source: Source, *, batch_size: int, latent_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (targets float32 [B, C, H, W], noise [B, L]) of a pass over the training images, the
    same for every trial and epoch of a study, without the incomplete last batch.

    Each latent dimension has its own generator, as in `validation_noise`.
    """
    seed = derive_seed(source.noise_seed, "running statistics")
    drawn_by = [
        generator(source.device, seed, "noise", dimension) for dimension in range(latent_size)
    ]
    for targets, _ in epoch_chunks(
        source, seed=seed, epoch=0, batch_size=batch_size, latent_size=0
    ):
        columns = [
            torch.randn(len(targets), generator=each, device=source.device) for each in drawn_by
        ]
        yield from zip(
            targets.split(batch_size), torch.stack(columns, dim=1).split(batch_size), strict=True
        )


def validation_noise(source: Source, latent_size: int, draw: int = 0) -> Tensor:
    """Return standard normal noise [N, L] of a draw, the same for every trial and epoch of a study
    (common random numbers).

    Each dimension has its own generator, so that the noise of a small latent space is a leading
    slice of the noise of a large latent space. The source keeps what is drawn.
    """
    columns = source.noise_columns.setdefault(draw, [])
    device = source.device
    later = (draw,) if draw else ()
    for dimension in range(len(columns), latent_size):
        drawn_by = generator(device, source.noise_seed, "validation", dimension, *later)
        columns.append(torch.randn(len(source.validation), generator=drawn_by, device=device))
    return torch.stack(columns[:latent_size], dim=1)
