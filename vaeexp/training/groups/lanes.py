"""Trains the lanes of one process on one device: adds trials, trains them round by round, finishes
their artifacts.
"""

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from sweeps import (
    Failure,
    FailureKind,
    Outcome,
    Plan,
    Progress,
    TrialResult,
    TrialSpec,
    WorkerState,
    ends_soon,
)
from vaeexp.data.values import Values
from vaeexp.models.vae import VAE, shape_of
from vaeexp.training import EpochSums, Lane, Snapshot, State, fresh_state, open_lane
from vaeexp.training.batches import Source
from vaeexp.training.checkpoint_places import Checkpoints, FolderCheckpoints
from vaeexp.training.device import free_memory, is_out_of_memory
from vaeexp.training.groups import Group, may_fuse, open_group

if TYPE_CHECKING:
    from vaeexp.settings import Settings


class Artifacts(Protocol):
    """Makes pictures, test metrics and files from a lane's weights. Threads make pictures and files
    during training, from copies on the CPU."""

    def pictures(
        self, lane: Lane, weights: Tensor, buffers: Tensor, folder: Path
    ) -> Future[dict[str, str]]:
        """Draw grids of the lane's present epoch; the future gives name → path."""

    def test(
        self, lane: Lane, best: Snapshot, last: Snapshot
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Return the metrics of the lane's best and last weights on the test set, and arrays of the
        best ones.
        """

    def finish(
        self, lane: Lane, best: Snapshot, last: Snapshot | None, outcome: Outcome, folder: Path
    ) -> Future[dict[str, str]]:
        """Write the files of an ended trial into its folder, from its best and its last epoch; the
        future gives name → SHA-256 of its files of weights. `last` is None for a trial that failed,
        because its last weights may not be finite."""


class Pictures:
    """Draws the pictures of lanes beside the training, once per epoch and process.

    A new process draws the pictures of a replayed epoch too, because a killed process may not have
    drawn them.
    """

    def __init__(self, artifacts: Artifacts, weights: str, epochs: Literal["all", "last"]) -> None:
        """`weights`: the weights to draw, "weights" or "average". `epochs`: all that are to be
        shown, or a lane's last.
        """
        self._artifacts = artifacts
        self._weights = weights
        self._epochs = epochs
        self._drawing: dict[int, list[tuple[int, Future[dict[str, str]]]]] = defaultdict(list)
        """Trial number → (epoch, future pictures), not yet taken."""
        self._newest: dict[int, int] = defaultdict(int)
        """Trial number → its last epoch with pictures."""

    def draw(self, group: Group, lane: Lane, folder: Path) -> None:
        """Start to draw the lane's pictures if its present epoch is to be shown or is its last."""
        number = lane.trial.number
        shown = lane.finished or (self._epochs == "all" and lane.shown_after(lane.epoch))
        if lane.epoch > self._newest[number] and shown:
            weights, buffers = copied(group, number, self._weights, "buffers")
            self._drawing[number].append(
                (lane.epoch, self._artifacts.pictures(lane, weights, buffers, folder))
            )
            self._newest[number] = lane.epoch

    def take(self, number: int, *, last: bool = False) -> dict[int, dict[str, str]]:
        """Wait for pictures that were not taken yet; return epoch → name → path. `last`: another
        trial may get the number.
        """
        if last:
            self._newest.pop(number, None)
        return {epoch: drawing.result() for epoch, drawing in self._drawing.pop(number, ())}


def copied(group: Group, number: int, *names: str) -> list[Tensor]:
    """Copy these tensors of a lane to the CPU: from a GPU into pinned memory, because all lanes
    wait for this copy and a GPU writes into pinned memory several times as fast."""
    tensors = [group.state(number, name)[name].detach() for name in names]
    return [
        torch.empty_like(t, device="cpu", pin_memory=t.device.type == "cuda").copy_(t)
        for t in tensors
    ]


class LaneGroups:
    """The groups of all lanes of a process, by the settings that the lanes of a group share."""

    def __init__(
        self,
        opened: Callable[..., Group],
        source_of: Callable[[str], Source],
        *,
        may_fuse: Callable[[Values, "Settings"], bool] | None,
        by_shape: bool,
        limit: int,
    ) -> None:
        """
        Args:
            opened: images and settings of a lane, and fuse=False for one that may not be fused → an
                empty group for such lanes.
            source_of: key of the data (`DataSettings.key`) → the images.
            may_fuse: tells whether a lane may be fused; None where none is.
            by_shape: whether the lanes of a group have tensors of the same shapes.
            limit: the most lanes of a fused group.
        """
        self.limit = limit
        self._opened = opened
        self._source_of = source_of
        self._may_fuse = may_fuse
        self._fusible: dict[tuple[Any, ...], bool] = {}
        """Shape and sizes of a lane → what `_may_fuse` said."""
        self._by_shape = by_shape
        self._groups: dict[tuple, list[Group]] = {}

    def all(self) -> list[Group]:
        return list(chain.from_iterable(self._groups.values()))

    def holding(self, numbers: Collection[int]) -> Iterator[tuple[Group, int]]:
        """Yield each of these trials that has a lane, after its group."""
        for group in self.all():
            for number in group.lanes.keys() & set(numbers):
                yield group, number

    def for_lane(self, settings: "Settings") -> Group:
        """Return the group with room for a lane of these settings; open it if there is none."""
        shape: tuple[Any, ...] = (settings.data.key,)
        source = self._source_of(settings.data.key)
        options: dict[str, Any] = {}
        if self._by_shape:  # these settings change tensors or code
            shape += (*shape_of(settings.model), settings.train.batch_size, settings.train.loss)
        if self._may_fuse is not None:
            sizes = (shape, settings.model.latent_size, settings.model.components)
            if sizes not in self._fusible:
                self._fusible[sizes] = self._may_fuse(source.values, settings)
            options = {} if self._fusible[sizes] else {"fuse": False}
        groups = self._groups.setdefault((*shape, *options), [])
        for group in groups:
            if not group.fused or len(group.lanes) < self.limit:
                return group
        groups.append(self._opened(source, settings, **options))
        return groups[-1]

    def shrink(self) -> None:
        """Give back the memory of lanes that left. Done before a round, because most lanes are
        replaced at once.
        """
        for groups in self._groups.values():
            for group in groups:
                group.shrink()
            # An empty sequential group stays, because it takes little memory and its compiled step
            # will be used again.
            groups[:] = [group for group in groups if group.lanes or not group.fused]

    def close(self) -> None:
        self._groups.clear()


_CHECKPOINTS = 2
"""Checkpoints that a trial keeps: the newest, and the one before."""


class TrainingLanes:
    """`sweeps.lanes.Lanes` for VAEs on one device."""

    workers: tuple[WorkerState, ...] = ()

    def __init__(
        self,
        *,
        source_of: Callable[[str], Source],
        settings_of: Callable[[TrialSpec], "Settings"],
        maxima: Mapping[str, int],
        averaged: bool,
        parts: Collection[str],
        folder: Path,
        precision: str,
        fuse: bool,
        compile: bool,
        lanes: int,
        rows: int,
        checkpoint_seconds: float,
        artifacts: Artifacts,
        pictures: Literal["all", "last"] = "all",
        checkpoints: Checkpoints | None = None,
        kind: Mapping[str, Any] | None = None,
    ) -> None:
        """
        Args:
            source_of: key of the data (`DataSettings.key`) → the images, on the device.
            settings_of: trial → all its settings.
            folder: the parent of the trials' folders.
            lanes: number of trials at once.
            rows: the most lanes of one fused program; more train in turn.
            checkpoint_seconds: seconds of training between two checkpoints of a lane.
            artifacts: makes pictures, test metrics and files.
            pictures: epochs whose pictures are drawn: all that are to be shown, or the last one of
                a lane that trains to its end.
            checkpoints: where they lie; None: in the trials' folders.
            kind: what decides the numbers besides the trial, as `sweeps.lanes.Lanes` has it.
            others: as in `open_group`.
        """
        self.width = lanes
        self.kind = kind or {}
        self._source_of = source_of
        self._settings_of = settings_of
        self._folder = folder
        self._averaged = averaged
        self._checkpoint_seconds = checkpoint_seconds
        opened = partial(
            open_group,
            maxima=maxima,
            precision=precision,
            fuse=fuse,
            compile=compile,
            averaged=averaged,
            parts=parts,
        )
        self._evaluated = "average" if averaged else "weights"
        self._rounded = (
            " of training in bf16; try `--precision float32`" if precision == "bf16" else ""
        )
        self._checkpoints = checkpoints or FolderCheckpoints(folder)
        self._artifacts = artifacts
        self._pictures = Pictures(artifacts, self._evaluated, pictures)
        self.groups = LaneGroups(
            opened,
            source_of,
            may_fuse=partial(may_fuse, maxima=maxima) if fuse else None,
            by_shape=fuse or compile,
            limit=rows,
        )

    def add(self, trial: TrialSpec) -> None:
        lane, vae = self._open(trial)
        group = self._place(lane, vae, self._checkpoints.load(lane, averaged=self._averaged))
        self._pictures.draw(group, lane, self._folder / trial.folder_name)

    def replay(self) -> None:
        while not ends_soon():
            every = (group.lanes.values() for group in self.groups.all())
            lanes = list(chain.from_iterable(every))
            behind = [lane.trial.number for lane in lanes if lane.epoch < lane.trial.epoch]
            if not behind:
                return
            for _ in self._round(behind, replay=True):
                pass

    def prefetch(self, plan: Plan) -> None: ...

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        for group, number in self.groups.holding(numbers):
            lane = group.lanes[number]
            # At the start of a round the storage holds all epochs of the lane, so no checkpoint
            # runs ahead of it.
            if lane.checkpoint_due >= self._checkpoint_seconds and lane.epoch > 0:
                self._save(group, number)
        yield from self._round(list(numbers), replay=False)

    def release(self, numbers: Collection[int]) -> None:
        for group, number in self.groups.holding(numbers):
            if group.lanes[number].epoch:
                self._save(group, number)
            self._pictures.take(number, last=True)  # drawn again where the trial is added
            group.remove(number)

    def stop(self, seconds: float) -> Iterator[list[Progress] | list[TrialResult]]:
        return iter(())

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        paused = [number for number, outcome in ending.items() if outcome.state == "paused"]
        sizes = {n: self._save(group, n) for group, n in self.groups.holding(paused)}
        # Start the files of all lanes, then wait for them.
        released = [(number, *self._finish(number, outcome)) for number, outcome in ending.items()]
        results = []
        for number, folder, metrics, written in released:
            drawn = self._pictures.take(number, last=True)
            results.append(
                TrialResult(
                    number=number,
                    metrics=metrics,
                    folder=str(folder) if folder.exists() else None,
                    files=written.result() if written else {},
                    images={
                        epoch: own
                        for epoch, own in drawn.items()
                        if all(map(os.path.exists, own.values()))
                    },
                    checkpoint_bytes=_CHECKPOINTS * sizes.get(number, 0),
                )
            )
        return results

    def _save(self, group: Group, number: int) -> int:
        """Write a checkpoint of a lane; return its size in bytes."""
        return self._checkpoints.save(group.lanes[number], group.state(number))

    def _finish(
        self, number: int, outcome: Outcome
    ) -> tuple[Path, dict[str, float], Future[dict[str, str]] | None]:
        """Free a lane; return its folder, its metrics and the future of its files (None without
        files).
        """
        [(group, _)] = self.groups.holding([number])
        lane = group.lanes[number]
        folder = self._folder / lane.trial.folder_name
        metrics = {"parameters": float(lane.layout.count), "best_epoch": float(lane.best_epoch)}
        written = None
        if lane.best_epoch:
            folder.mkdir(parents=True, exist_ok=True)
            self._test(lane, group, outcome.state == "complete")
            metrics |= lane.test_metrics
            best, last = _snapshots(lane, self._evaluated, partial(copied, group, number))
            usable = None if outcome.state == "failed" else last
            written = self._artifacts.finish(lane, best, usable, outcome, folder)
        group.remove(number)
        return folder, metrics, written

    def discard_checkpoints(self, trials: Sequence[TrialSpec]) -> None:
        for trial in trials:
            self._checkpoints.discard(trial)

    def close(self) -> None:
        self.groups.close()

    def _round(self, numbers: list[int], *, replay: bool) -> Iterator[list[Progress]]:
        self.groups.shrink()
        for group in self.groups.all():
            present = [number for number in numbers if number in group.lanes]
            for turn in group.batches_of_lanes(present):
                if ends_soon():
                    return
                try:
                    done = self._train(group, turn, replay)
                except (MemoryError, RuntimeError) as error:
                    if not is_out_of_memory(error):
                        raise
                    yield from self._after_out_of_memory(group, turn, replay)
                else:
                    yield done

    def _train(self, group: Group, numbers: list[int], replay: bool) -> list[Progress]:
        started = time.perf_counter()
        trained = group.train_epoch(numbers)
        # Only in some epochs, because two validations in every epoch take a quarter of a bf16
        # epoch.
        shown = [
            n
            for n in numbers
            if self._averaged and group.lanes[n].shown_after(group.lanes[n].epoch + 1)
        ]
        raw = group.evaluate(shown, "weights") if shown else {}
        # Last, because lanes keep the statistics of these weights.
        scored = group.evaluate(numbers, self._evaluated)
        seconds = (time.perf_counter() - started) / len(numbers)
        # These are pictures of the round before. The pictures of this round are drawn while the
        # next round trains.
        images = {} if replay else {number: self._pictures.take(number) for number in numbers}
        progress = [
            self._settle(group, n, (trained[n], scored[n], raw.get(n)), seconds, replay)
            for n in numbers
        ]
        if len(numbers) == 1:  # its pictures are due now, because other lanes train next
            images = {
                number: drawn | self._pictures.take(number) for number, drawn in images.items()
            }
        return [replace(report, images=images.get(report.number, {})) for report in progress]

    def _settle(
        self,
        group: Group,
        number: int,
        sums: tuple[EpochSums, EpochSums, EpochSums | None],
        seconds: float,
        replay: bool,
    ) -> Progress:
        """Record one trained epoch of a lane: metrics, best weights, pictures or failure; return
        its progress.

        `sums`: of training, of validation and, in some epochs, of validation without the running
            average.
        """
        lane, (trained, scored, raw) = group.lanes[number], sums
        lane.epoch += 1
        lane.checkpoint_due += seconds
        objective = scored.neg_elbo
        for name, value in (("training loss", trained.loss), ("validation value", objective)):
            if not math.isfinite(value):
                return _failed(
                    lane,
                    "diverged",
                    f"The {name} became {value} in epoch {lane.epoch}{self._rounded}.",
                )
        metrics = lane.metrics(trained, scored, raw, seconds=seconds, device=group.source.device)
        lane.stale += lane.counts
        if lane.counts and objective < lane.best_objective:
            lane.best_objective = objective
            lane.best_epoch = lane.epoch
            lane.best_metrics = metrics
            lane.stale = 0
            group.snapshot_best(number, self._evaluated)
        if not replay:
            self._test(lane, group, lane.finished)
        self._pictures.draw(group, lane, self._folder / lane.trial.folder_name)
        return Progress(
            number=number,
            epoch=lane.epoch,
            objective=objective,
            metrics=metrics,
            finished=lane.finished,
        )

    def _test(self, lane: Lane, group: Group, complete: bool) -> None:
        """Compute the test metrics, once, if the trial is complete and may see the test set: in its
        last round, because all processes then work side by side; in `finish` only if the trial was
        resumed after that round."""
        if complete and lane.trial.test and lane.best_epoch and not lane.test_metrics:
            state = partial(group.state, lane.trial.number)
            best, last = _snapshots(
                lane, self._evaluated, lambda *names: list(state(*names).values())
            )
            lane.test_metrics, lane.test_arrays = self._artifacts.test(lane, best, last)

    def _after_out_of_memory(
        self, group: Group, numbers: list[int], replay: bool
    ) -> Iterator[list[Progress]]:
        """Halve the lanes per group; each lane restarts from its checkpoint, or fails if it trained
        alone.
        """
        count = len(group.lanes)
        alone = count == 1 or not group.fused
        lanes = [group.lanes[number] for number in numbers] if alone else list(group.lanes.values())
        for lane in lanes:
            group.remove(lane.trial.number)
        self.groups.shrink()
        free_memory(group.source.device)
        if alone:
            [lane] = lanes
            lane.epoch += 1
            # The lane's weights were freed with its memory. A fresh lane without best weights
            # stands in until `finish`.
            self._place(*self._open(lane.trial))
            message = (
                f"One trial needs more memory than the device has ({lane.layout.count:,} "
                "parameters)."
            )
            yield [_failed(lane, "out_of_memory", message)]
            return
        self.groups.limit = max(1, count // 2)
        for lane in lanes:
            self.add(replace(lane.trial, epoch=max(lane.trial.epoch, lane.epoch)))
        self.replay()
        yield from self._round(numbers, replay=replay)

    def _open(self, trial: TrialSpec) -> tuple[Lane, VAE]:
        settings = self._settings_of(trial)
        source = self._source_of(settings.data.key)
        return open_lane(trial, settings, source.values, len(source.train))

    def _place(self, lane: Lane, vae: VAE, state: State | None = None) -> Group:
        """Put a lane into its group, with this state or a fresh one; return the group."""
        group = self.groups.for_lane(lane.settings)
        for other in self.groups.all():
            # Another shape replaces the lanes that left, so their memory is given back.
            if other is not group:
                other.shrink()
        group.add(lane, vae, state or fresh_state(lane, vae, averaged=self._averaged))
        return group

    def prepare(self, configurations: Iterable["Settings"]) -> None:
        """Open the groups of these settings, so that their steps are compiled before the first
        trial.
        """
        for settings in configurations:
            self.groups.for_lane(settings)


def _snapshots(
    lane: Lane, evaluated: str, read: Callable[..., list[Tensor]]
) -> tuple[Snapshot, Snapshot]:
    """Return the lane's model after its best epoch and after its last.

    `evaluated`: the weights that validation uses, "weights" or "average". `read` gives tensors of
    the lane's state by name.
    """
    best = Snapshot(lane.best_epoch, *read("best", "best_buffers"))
    if lane.epoch == lane.best_epoch:
        return best, best
    return best, Snapshot(lane.epoch, *read(evaluated, "buffers"))


def _failed(lane: Lane, kind: FailureKind, message: str) -> Progress:
    failure = Failure(kind=kind, message=message)
    return Progress(
        number=lane.trial.number,
        epoch=lane.epoch,
        objective=math.nan,
        finished=True,
        failure=failure,
    )
