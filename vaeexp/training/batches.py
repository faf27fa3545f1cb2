"""What a lane sees in an epoch: the order of the images, their binarisation, the noise. All a function of (seed, epoch, purpose).

Images that do not fit on the device stream from the memory map, a chunk at a time, with the same numbers to the last
bit: order and noise are drawn on the device either way.

Shapes: N images, M images of a chunk (a whole number of batches), L latent dimensions.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from sweeps.seeds import seed_of
from vaeexp.data.targets import TARGETS, draw_thresholds


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and on nothing else (SHA-256 of their text)."""
    return seed_of("/".join(str(part) for part in parts))


def generator(device: torch.device, *parts: int | str) -> torch.Generator:
    """A fresh generator on `device`, seeded with `derive_seed(*parts)`."""
    return torch.Generator(device=device).manual_seed(derive_seed(*parts))


# Batches drawn at once: enough to make the draws cheap, few enough to keep the memory small.
CHUNK = 16
_CHUNK_VALUES = 2**25  # values in a chunk, 128 MiB as float32: large images are drawn fewer batches at a time


@dataclass(frozen=True, kw_only=True)
class Source:
    """The images that a study trains and validates on."""

    train: Tensor
    """uint8 [N, C, H, W]; 0/1 when binarised statically, else 0..255. On the device, or, when streamed, on the CPU."""
    validation: Tensor
    """float32 [N, C, H, W] on the device: the targets, drawn once where binarisation is dynamic."""
    binarisation: str
    noise_seed: int
    """Seed of the validation noise, common to all trials of a study."""
    streamed: bool = False
    """Whether each chunk of training images is gathered on the CPU and then moved to the device."""

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return tuple(self.train.shape[1:])  # type: ignore[return-value]

    @property
    def device(self) -> torch.device:
        """Where lanes train."""
        return self.validation.device

    def images(self, index: Tensor) -> Tensor:
        """The training images at `index` [M], int64: on the device, or on the CPU when they are streamed."""
        if not self.streamed:
            return self.train.index_select(0, index)
        # In the order of the file, so that a disk reads forward; a copy that is pinned moves while the device computes.
        rows, order = index.sort()
        gathered = self.train.index_select(0, rows).index_select(0, order.argsort())
        if self.device.type == "cuda":
            gathered = gathered.pin_memory()
        return gathered.to(self.device, non_blocking=True)


def chunk_batches(batch_size: int, image_shape: tuple[int, int, int]) -> int:
    """Batches in a chunk. It enters the draws, so it depends on these sizes alone, and never on the machine."""
    return max(1, min(CHUNK, _CHUNK_VALUES // (batch_size * math.prod(image_shape))))


def epoch_chunks(
    source: Source, *, seed: int, epoch: int, batch_size: int, latent_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """(targets [M, C, H, W] float32, noise [M, L]) of epoch `epoch`, chunk by chunk; the incomplete last batch is left out."""
    device, count = source.device, len(source.train) // batch_size
    order = torch.randperm(len(source.train), generator=generator(device, seed, epoch, "order"), device=device)
    order = order.cpu() if source.streamed else order
    step = chunk_batches(batch_size, source.image_shape)
    for chunk, start in enumerate(range(0, count, step)):
        index = order[start * batch_size : min(start + step, count) * batch_size]
        images = source.images(index)
        thresholds = None
        if source.binarisation == "dynamic":
            thresholds = draw_thresholds(images, generator(device, seed, epoch, "binarisation", chunk))
        noise = torch.randn(
            len(index), latent_size, generator=generator(device, seed, epoch, "noise", chunk), device=device
        )
        yield TARGETS[source.binarisation](images, thresholds), noise


def validation_noise(source: Source, latent_size: int) -> Tensor:
    """[N, L] standard normal draws, the same for every trial and epoch of a study (common random numbers).

    Each dimension has a generator of its own, so that the noise of a small latent space is a leading slice of that
    of a large one.
    """
    columns = [
        torch.randn(
            len(source.validation),
            generator=generator(source.device, source.noise_seed, "validation", d),
            device=source.device,
        )
        for d in range(latent_size)
    ]
    return torch.stack(columns, dim=1)
