"""Lanes trained as one program: parameters stacked along a leading axis of R rows, the loss under `vmap`.

Shapes: R rows, B batch, P parameters and L latent dimensions of the padded model. All that differs between lanes is a
vector of R numbers, so a lane is refilled by writing one row, and nothing is compiled or captured again.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, vmap

from vaeexp.training.batches import Source, epoch_chunks
from vaeexp.training.lane import EpochSums, Lane, State
from vaeexp.training.layout import Layout
from vaeexp.training.objective import lane_terms
from vaeexp.training.step import FusedStep
from vaeexp.training.validation import epoch_sums, validation_sums, validation_totals
from vaeexp.vae import VAE

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

__all__ = ["StackedGroup", "padded_template"]

# Products whose sizes are no multiples of this take kernels that round differently with the number of rows, and a
# lane's numbers would depend on its neighbours.
_MULTIPLE = 8

_WEIGHT_ROWS = ("weights", "first", "second", "average", "best")


def padded_template(model: "ModelSettings", image_shape: tuple[int, int, int], maxima: Mapping[str, int]) -> VAE:
    """The model that lanes of these settings are embedded in: at the study's largest latent size and component count,
    rounded up to multiples of 8."""
    largest = {name: max(getattr(model, name), maxima.get(name, 1)) for name in ("latent_size", "components")}
    rounded = {name: -(-size // _MULTIPLE) * _MULTIPLE for name, size in largest.items()}
    return VAE(SimpleNamespace(**{**vars(model), **rounded}), image_shape)


class StackedGroup:
    """The `Group` of fused lanes. `template` is a model at the largest latent size and component count of the study."""

    def __init__(
        self, source: Source, precision: str, noise: Callable[[int], Tensor], template: VAE, *, least_rows: int
    ) -> None:
        self.source, self.precision = source, precision
        self.template = template.to(source.device)
        self.layout = Layout.of(dict(template.named_parameters()))
        self.buffer_layout = Layout.of(dict(template.named_buffers()))
        self.latent_size = len(template.latent_mask)
        self.validation_noise = noise(self.latent_size)
        self.least_rows = least_rows
        self.lanes: dict[int, Lane] = {}
        self._rows: list[int | None] = []
        self._tensors: State = {}
        self._step: FusedStep | None = None
        """Made for the tensors as they are, and made again where they are replaced."""

    def add(self, lane: Lane, module: VAE, state: State) -> None:
        if None not in self._rows:
            self._resize(len(self._rows) + 1)
        row = self._rows.index(None)
        self._rows[row] = lane.trial.number
        self.lanes[lane.trial.number] = lane
        moved = {id(small): small.to(self.source.device) for small in state.values()}
        for name, small in state.items():
            big, own = self._layouts(name, lane)
            tensor = self._tensor(name)[row].zero_()
            views = own.views(moved[id(small)])
            for part, corner in big.corners(tensor, own).items():
                corner.copy_(views[part])

    def remove(self, number: int) -> None:
        self._rows[self._rows.index(number)] = None
        del self.lanes[number]

    def fit(self) -> None:
        if self._rows_for(len(self.lanes)) < len(self._rows):
            self._resize(len(self.lanes))

    def state(self, number: int, *names: str) -> State:
        """A copy, at the trial's own size."""
        lane, row = self.lanes[number], self._rows.index(number)
        state: State = {}
        for name in names or self._tensors:
            tensor = self._tensors[name]
            big, own = self._layouts(name, lane)
            state[name] = torch.zeros(own.size, device=tensor.device)
            views = own.views(state[name])
            for part, corner in big.corners(tensor[row], own).items():
                views[part].copy_(corner)
        return state

    def keep_best(self, number: int, which: str) -> None:
        row = self._rows.index(number)
        self._tensors["best"][row].copy_(self._tensors[which][row])
        self._tensors["best_buffers"][row].copy_(self._tensors["buffers"][row])

    def turns(self, numbers: Sequence[int]) -> list[list[int]]:
        return [list(numbers)] if numbers else []

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]:
        waiting = [row for row, number in enumerate(self._rows) if number is not None and number not in numbers]
        kept = {name: tensor[waiting].clone() for name, tensor in self._tensors.items()} if waiting else {}
        sums, moments = self._train_rows()
        for name, rows in kept.items():
            self._tensors[name][waiting] = rows
        means, moments = sums.tolist(), moments.cpu()
        return {n: self._sums_of(n, means[self._rows.index(n)], moments) for n in numbers}

    @torch.no_grad()
    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]:
        parameters, buffers = (
            self.layout.views(self._tensors[which]),
            self.buffer_layout.read(self._tensors["buffers"]),
        )
        terms_of = vmap(lane_terms(self.template.eval()), in_dims=(0, 0, None, None))
        totals = validation_totals(terms_of, parameters, buffers, self.source, self.validation_noise)
        rows, images = zip(*totals, strict=True), len(self.source.validation)
        of_row = dict(zip(self._rows, rows, strict=True))
        return {number: validation_sums(of_row[number], images, self.lanes[number]) for number in numbers}

    def _train_rows(self) -> tuple[Tensor, Tensor]:
        """One epoch of every row. Means of (loss, distortion, rate) [R, 3] and summed moments of μ [R, 2, L]."""
        if self._step is None:
            self._step = FusedStep(self.template, self.layout, self.buffer_layout, self._tensors, self.precision)
        step, steps = self._step, 0
        step.begin([self.lanes.get(number) for number in self._rows])
        for x, e in self._batches():
            step(x, e)
            steps += 1
        step.end()
        return step.sums / steps, step.moments

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(targets [R, B, C, H, W], noise [R, B, L]) step by step; an empty row sees what its first neighbour sees."""
        present = [self.lanes[number] for number in self._rows if number is not None]
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
        place = iter(range(len(present)))
        source_of_row = [next(place) if number is not None else 0 for number in self._rows]
        for chunk in zip(*streams, strict=True):
            targets = torch.stack([chunk[i][0] for i in source_of_row])
            noise = torch.zeros(len(self._rows), targets.shape[1], self.latent_size, device=targets.device)
            for row, i in enumerate(source_of_row):
                noise[row, :, : chunk[i][1].shape[1]] = chunk[i][1]
            yield from zip(targets.split(batch_size, dim=1), noise.split(batch_size, dim=1), strict=True)

    def _sums_of(self, number: int, means: Sequence[float], moments: Tensor) -> EpochSums:
        lane = self.lanes[number]
        images = lane.steps_per_epoch * lane.settings.train.batch_size
        return epoch_sums(means, moments[self._rows.index(number)], images, lane)

    def _layouts(self, name: str, lane: Lane) -> tuple[Layout, Layout]:
        """Of a row of this name, and of the lane's own vector."""
        return (self.layout, lane.layout) if name in _WEIGHT_ROWS else (self.buffer_layout, lane.buffer_layout)

    def _tensor(self, name: str) -> Tensor:
        """The rows [R, P] of this name, made when the first lane brings it."""
        if name not in self._tensors:
            size = self.layout.size if name in _WEIGHT_ROWS else self.buffer_layout.size
            self._tensors[name] = torch.zeros(len(self._rows), size, device=self.source.device)
            self._step = None
        return self._tensors[name]

    def _rows_for(self, lanes: int) -> int:
        return max(self.least_rows, 1 << (max(lanes, 1) - 1).bit_length())

    def _resize(self, wanted: int) -> None:
        """Keep the occupied rows in the next power of two that holds `wanted` of them."""
        rows = self._rows_for(wanted)
        occupied = [row for row, number in enumerate(self._rows) if number is not None]
        numbers = [self._rows[row] for row in occupied]
        self._rows = numbers + [None] * (rows - len(numbers))
        self._step = None
        for name, old in self._tensors.items():
            new = torch.zeros(rows, old.shape[1], device=old.device)
            new[: len(occupied)] = old[occupied]
            self._tensors[name] = new
