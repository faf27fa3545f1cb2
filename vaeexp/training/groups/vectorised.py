"""Trains lanes as one program: parameters stacked along a leading axis of R rows, the loss under
`vmap`.

Shapes: N images, R rows, B batch, C channels, H × W pixels, L latent dimensions of the padded
model. Each number that differs between lanes is a vector [R], so a new lane only writes its row,
and nothing is compiled or captured again.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import torch
from torch import Tensor, vmap

from sweeps import heartbeat
from vaeexp.data.values import Values
from vaeexp.models.networks import changed_settings
from vaeexp.models.vae import VAE
from vaeexp.training import EpochSums, Lane, Layout, State, leading_slice
from vaeexp.training.batches import Source, fixed_batches
from vaeexp.training.losses import Objective
from vaeexp.training.running_statistics import estimated_buffers, needs_estimates
from vaeexp.training.steps import lane_terms, validation_totals
from vaeexp.training.steps.cuda_graph import FusedStep, Rows

if TYPE_CHECKING:
    from vaeexp.settings import ModelSettings

# Matrix products of other sizes than multiples of 8 take kernels whose rounding depends on the
# number of rows, so a lane's numbers would depend on its neighbours.
_MULTIPLE = 8


def padded_template(model: "ModelSettings", values: Values, maxima: Mapping[str, int]) -> VAE:
    """Return the model that embeds lanes of these settings: the study's largest latent size and
    component count, rounded up to multiples of 8."""
    largest = {
        name: max(getattr(model, name), maxima.get(name, 1))
        for name in ("latent_size", "components")
    }
    rounded = {name: -(-size // _MULTIPLE) * _MULTIPLE for name, size in largest.items()}
    return VAE(changed_settings(model, rounded), values)


class VectorisedGroup:
    """Fused lanes, which are rows of one program. The methods are those of `SequentialGroup`."""

    fused = True

    def __init__(
        self,
        source: Source,
        precision: str,
        template: VAE,
        *,
        least_rows: int,
        compiled: bool,
        parts: Collection[str],
        objective: Objective,
    ) -> None:
        """`template`: the model of `padded_template`. `objective`: what all lanes minimise.
        `compiled`: whether enough steps follow to pay for half a minute of compilation. `parts`:
        those of the updates of all lanes."""
        self.source = source
        self.precision = precision
        self.template = template.to(source.device)
        self._objective = objective
        self.latent_size = len(template.latent_mask)
        self.least_rows = least_rows
        self._compiled = compiled
        self._parts = parts
        self.lanes: dict[int, Lane] = {}
        self._numbers: list[int | None] = []
        """The trial in each row."""
        self._rows: Rows = {}
        self._step: FusedStep | None = None
        """The step on the present rows; made again after `_resize`."""

    def add(self, lane: Lane, module: VAE, state: State) -> None:
        if None not in self._numbers:
            self._resize(len(self._numbers) + 1)
        row = self._numbers.index(None)
        number = lane.trial.number
        self._numbers[row], self.lanes[number] = number, lane
        moved = {id(small): small.to(self.source.device) for small in state.values()}
        for name, small in state.items():
            if name not in self._rows:
                parts = (
                    self.template.named_buffers()
                    if "buffers" in name
                    else self.template.named_parameters()
                )
                self._rows[name] = {
                    part: big.new_zeros(len(self._numbers), *big.shape) for part, big in parts
                }
            torch._foreach_zero_([stacked[row] for stacked in self._rows[name].values()])
            torch._foreach_copy_(*self._views_of(name, lane, moved[id(small)]))

    def remove(self, number: int) -> None:
        self._numbers[self._numbers.index(number)] = None
        del self.lanes[number]

    def shrink(self) -> None:
        if self._rows_for(len(self.lanes)) < len(self._numbers):
            self._compiled = False  # too few steps are left to pay for compilation
            self._resize(len(self.lanes))

    def state(self, number: int, *names: str) -> State:
        """Return copies at the trial's own size."""
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
            copies, originals = (
                [stacked[row] for stacked in self._rows[part].values()] for part in (best, name)
            )
            torch._foreach_copy_(copies, originals)

    def batches_of_lanes(self, numbers: Sequence[int]) -> list[list[int]]:
        return [list(numbers)] if numbers else []

    def train_epoch(self, numbers: Sequence[int]) -> dict[int, EpochSums]:
        waiting = [
            row
            for row, number in enumerate(self._numbers)
            if number is not None and number not in numbers
        ]
        every = chain.from_iterable(rows.values() for rows in self._rows.values())
        stacked = list(every) if waiting else []
        unchanged = [tensor[waiting] for tensor in stacked]
        step = self._train_rows()
        for tensor, rows in zip(stacked, unchanged, strict=True):
            tensor[waiting] = rows
        sums = list(zip(step.sums.cpu(), step.moments.cpu(), strict=True))
        return {n: self.lanes[n].training_sums(*sums[self._numbers.index(n)]) for n in numbers}

    @torch.no_grad()
    def evaluate(self, numbers: Sequence[int], which: str) -> dict[int, EpochSums]:
        """Return the sums over the validation images of the tensors `which`; the lanes keep the
        running statistics of these.
        """
        if numbers and needs_estimates(self.template, lane := self.lanes[numbers[0]]):
            self._keep_statistics(numbers, which, lane.settings.train.batch_size)
        terms_of = vmap(lane_terms(self.template.eval()), in_dims=(0, 0, None, None))
        tensors = self._rows[which], self._rows["buffers"]
        totals = validation_totals(terms_of, *tensors, self.source, self.latent_size)
        rows = list(zip(*totals, strict=True))
        images = len(self.source.validation)
        return {
            n: self.lanes[n].validation_sums(rows[self._numbers.index(n)], images) for n in numbers
        }

    def _keep_statistics(self, numbers: Sequence[int], which: str, batch_size: int) -> None:
        """Put the running statistics of the tensors `which` into the buffers of these lanes."""
        buffers = self._rows["buffers"]
        count = len(self._numbers)
        rows = [self._numbers.index(number) for number in numbers]
        batches = (
            (x.expand(count, *x.shape), e.expand(count, *e.shape))
            for x, e in fixed_batches(
                self.source, batch_size=batch_size, latent_size=self.latent_size
            )
        )
        terms_of = vmap(lane_terms(self.template))
        estimated = estimated_buffers(self.template, terms_of, self._rows[which], buffers, batches)
        # In place, because a captured step reads these tensors.
        for name, buffer in buffers.items():
            buffer[rows] = estimated[name][rows]

    def _train_rows(self) -> FusedStep:
        """Train every row for one epoch; return the step, which holds the sums of the epoch."""
        if self._step is None:
            self._step = FusedStep(
                self.template,
                self._rows,
                self.precision,
                compiled=self._compiled,
                parts=self._parts,
                objective=self._objective,
            )
        self._step.begin(
            [None if number is None else self.lanes[number] for number in self._numbers]
        )
        for x, e in self._batches():
            self._step(x, e)
            heartbeat()
        return self._step

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (targets [R, B, C, H, W], noise [R, B, L] or [R, B, S, L]) step by step; an empty
        row gets the batches of the first lane.
        """
        present = [self.lanes[number] for number in self._numbers if number is not None]
        batch_size = present[0].settings.train.batch_size
        for chunk in zip(*(lane.chunks(self.source) for lane in present), strict=True):
            drawn = iter(chunk)
            rows = [chunk[0] if number is None else next(drawn) for number in self._numbers]
            targets = torch.stack([x for x, _ in rows])
            drawn_shape = rows[0][1].shape[:-1]
            noise = torch.zeros(len(rows), *drawn_shape, self.latent_size, device=targets.device)
            for row, (_, e) in zip(noise, rows, strict=True):
                row[..., : e.shape[-1]] = e
            yield from zip(
                targets.split(batch_size, dim=1), noise.split(batch_size, dim=1), strict=True
            )

    def _views_of(self, name: str, lane: Lane, vector: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Return views of the lane's tensors of this name: in its row, and in a vector of the
        lane's own size.
        """
        row = self._numbers.index(lane.trial.number)
        views = _layout(name, lane).views(vector)
        row_views = [
            leading_slice(self._rows[name][part][row], view.shape) for part, view in views.items()
        ]
        return row_views, list(views.values())

    def _rows_for(self, lanes: int) -> int:
        return max(self.least_rows, 1 << (max(lanes, 1) - 1).bit_length())

    def _resize(self, wanted: int) -> None:
        """Move the occupied rows to new tensors, with the next power of two of rows that holds
        `wanted` lanes.
        """
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
