"""Trains lanes as one program: parameters stacked along a leading axis of R rows, the loss under `vmap`.

Shapes: N images, R rows, B batch, C channels, H × W pixels, L latent dimensions of the padded model. Each number that
differs between lanes is a vector [R], so a new lane only writes its row, and nothing is compiled or captured again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, vmap

from vaeexp.models.networks import settings_from
from vaeexp.models.vae import VAE
from vaeexp.training.batches import Source, epoch_chunks
from vaeexp.training.lane import EpochSums, Lane, State
from vaeexp.training.loss import lane_terms
from vaeexp.training.padded_views import Layout, leading_slice
from vaeexp.training.steps.cuda_graph import FusedStep, Rows
from vaeexp.training.validation import epoch_sums, validation_sums, validation_totals

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

# Matrix products of other sizes than multiples of 8 take kernels whose rounding depends on the number of rows, so a lane's
# numbers would depend on its neighbours.
_MULTIPLE = 8


def padded_template(model: "ModelSettings", image_shape: tuple[int, int, int], maxima: Mapping[str, int]) -> VAE:
    """Return the model that embeds lanes of these settings: the study's largest latent size and component count, rounded up
    to multiples of 8."""
    largest = {name: max(getattr(model, name), maxima.get(name, 1)) for name in ("latent_size", "components")}
    rounded = {name: -(-size // _MULTIPLE) * _MULTIPLE for name, size in largest.items()}
    return VAE(settings_from({**vars(model), **rounded}), image_shape)


class VectorisedGroup:
    """The `Group` of fused lanes, which are rows of one program."""

    fused = True

    def __init__(
        self,
        source: Source,
        precision: str,
        noise: Callable[[int], Tensor],
        template: VAE,
        *,
        least_rows: int,
        compiled: bool,
    ) -> None:
        """`noise`: latent size L → the validation noise [N, L]. `template`: the model of `padded_template`. `compiled`:
        whether enough steps follow to pay for half a minute of compilation."""
        self.source, self.precision = source, precision
        self.template = template.to(source.device)
        self.latent_size = len(template.latent_mask)
        self.validation_noise = noise(self.latent_size)
        self.least_rows, self._compiled = least_rows, compiled
        self.lanes: dict[int, Lane] = {}
        self._numbers: list[int | None] = []
        """The trial in each row."""
        self._rows: Rows = {}
        self._step: FusedStep | None = None
        """The step on the present rows; made again if `_rows` gets new tensors."""

    def add(self, lane: Lane, module: VAE, state: State) -> None:
        if None not in self._numbers:
            self._resize(len(self._numbers) + 1)
        row = self._numbers.index(None)
        self._numbers[row] = lane.trial.number
        self.lanes[lane.trial.number] = lane
        moved = {id(small): small.to(self.source.device) for small in state.values()}
        for name, small in state.items():
            torch._foreach_zero_([stacked[row] for stacked in self._rows_of(name).values()])
            torch._foreach_copy_(*self._views_of(name, lane, moved[id(small)]))

    def remove(self, number: int) -> None:
        self._numbers[self._numbers.index(number)] = None
        del self.lanes[number]

    def shrink(self) -> None:
        if self._rows_for(len(self.lanes)) < len(self._numbers):
            self._compiled = False  # too few steps are left to pay for compilation
            self._resize(len(self.lanes))

    def state(self, number: int, *names: str) -> State:
        """Return a copy at the trial's own size."""
        lane = self.lanes[number]
        state: State = {}
        for name in names or self._rows:
            state[name] = torch.zeros(_layout(name, lane).size, device=self.source.device)
            row_views, views = self._views_of(name, lane, state[name])
            torch._foreach_copy_(views, row_views)
        return state

    def snapshot_best(self, number: int, which: str) -> None:
        row = self._numbers.index(number)
        for best, name in (("best", which), ("best_buffers", "buffers")):
            copies, originals = ([stacked[row] for stacked in self._rows[part].values()] for part in (best, name))
            torch._foreach_copy_(copies, originals)

    def batches_of_lanes(self, numbers: Sequence[int]) -> list[list[int]]:
        return [list(numbers)] if numbers else []

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]:
        waiting = [row for row, number in enumerate(self._numbers) if number is not None and number not in numbers]
        stacked = [tensor for rows in self._rows.values() for tensor in rows.values()] if waiting else []
        unchanged = [tensor[waiting] for tensor in stacked]
        sums, moments = self._train_rows()
        for tensor, rows in zip(stacked, unchanged, strict=True):
            tensor[waiting] = rows
        means, moments = sums.tolist(), moments.cpu()
        return {n: self._sums_of(n, means[self._numbers.index(n)], moments) for n in numbers}

    @torch.no_grad()
    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]:
        terms_of = vmap(lane_terms(self.template.eval()), in_dims=(0, 0, None, None))
        totals = validation_totals(
            terms_of, self._rows[which], self._rows["buffers"], self.source, self.validation_noise
        )
        rows, images = list(zip(*totals, strict=True)), len(self.source.validation)
        return {n: validation_sums(rows[self._numbers.index(n)], images, self.lanes[n]) for n in numbers}

    def _train_rows(self) -> tuple[Tensor, Tensor]:
        """Train every row for one epoch; return means of (loss, distortion, rate) [R, 3] and sums of μ and μ² [R, 2, L]."""
        if self._step is None:
            self._step = FusedStep(self.template, self._rows, self.precision, compiled=self._compiled)
        step, steps = self._step, 0
        step.begin([None if number is None else self.lanes[number] for number in self._numbers])
        for x, e in self._batches():
            step(x, e)
            steps += 1
        return step.sums / steps, step.moments

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (targets [R, B, C, H, W], noise [R, B, L]) step by step; an empty row gets the batches of the first lane."""
        present = [self.lanes[number] for number in self._numbers if number is not None]
        batch_size = present[0].settings.train.batch_size
        streams = [
            epoch_chunks(
                self.source,
                seed=lane.trial.seed,
                epoch=lane.epoch,
                batch_size=batch_size,
                latent_size=lane.settings.model.latent_size,
            )
            for lane in present
        ]
        index = iter(range(len(present)))
        source_of_row = [next(index) if number is not None else 0 for number in self._numbers]
        for chunk in zip(*streams, strict=True):
            targets = torch.stack([chunk[i][0] for i in source_of_row])
            noise = torch.zeros(len(self._numbers), targets.shape[1], self.latent_size, device=targets.device)
            for row, i in enumerate(source_of_row):
                noise[row, :, : chunk[i][1].shape[1]] = chunk[i][1]
            yield from zip(targets.split(batch_size, dim=1), noise.split(batch_size, dim=1), strict=True)

    def _sums_of(self, number: int, means: Sequence[float], moments: Tensor) -> EpochSums:
        lane = self.lanes[number]
        images = lane.steps_per_epoch * lane.settings.train.batch_size
        return epoch_sums(means, moments[self._numbers.index(number)], images, lane)

    def _views_of(self, name: str, lane: Lane, vector: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return views of the lane's tensors of this name: in its row, and in a vector of the lane's own size."""
        row, views = self._numbers.index(lane.trial.number), _layout(name, lane).views(vector)
        return [leading_slice(self._rows[name][part][row], view.shape) for part, view in views.items()], list(
            views.values()
        )

    def _rows_of(self, name: str) -> dict[str, Tensor]:
        """Return the rows of this name; make them for the first lane that has the name."""
        if name not in self._rows:
            parts = self.template.named_buffers() if "buffers" in name else self.template.named_parameters()
            self._rows[name] = {
                part: torch.zeros(len(self._numbers), *tensor.shape, dtype=tensor.dtype, device=self.source.device)
                for part, tensor in parts
            }
            self._step = None
        return self._rows[name]

    def _rows_for(self, lanes: int) -> int:
        return max(self.least_rows, 1 << (max(lanes, 1) - 1).bit_length())

    def _resize(self, wanted: int) -> None:
        """Move the occupied rows to new tensors, with the next power of two of rows that holds `wanted` lanes."""
        count = self._rows_for(wanted)
        occupied = [row for row, number in enumerate(self._numbers) if number is not None]
        numbers = [self._numbers[row] for row in occupied]
        self._numbers = numbers + [None] * (count - len(numbers))
        self._step = None
        for rows in self._rows.values():
            for part, old in rows.items():
                rows[part] = old.new_zeros(count, *old.shape[1:])
                rows[part][: len(occupied)] = old[occupied]


def _layout(name: str, lane: Lane) -> Layout:
    """Return the layout of the lane's own vector of this name."""
    return lane.buffer_layout if "buffers" in name else lane.layout
