"""Lanes that look epochs up in place of training them, beside a clock that moves as if they had
trained.

What is graded on them is the shipped driver with its sampler and pruner (`methods.run_ours`), and
peers on workers of the same kind (`peers.run_peer`). Both write each trial-epoch into a `Trace`,
which alone is graded (`grading.py`).

**The clock.** Each lane trains by itself, as if it had a processor of its own, and an epoch takes
the seconds of its curve. Rounds in step (fewer than 16 lanes) begin when the slowest lane has done
the round before. Where the driver decides late, a lane begins its next epoch as soon as it has done
its own and all lanes have done the round before: it may be an epoch ahead of the slowest, never
two. The time that driver and sampler take is no part of this clock; `Trace.own_seconds` has it.
"""

import math
import time
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from surrogate import Curve

from sweeps.lanes import Failure, Lanes, Outcome, Plan, Progress, TrialResult, TrialSpec

__all__ = ["BudgetSpent", "Curves", "TableLanes", "Trace", "TrainedEpoch"]

Curves = Callable[[Mapping[str, Any]], Curve]
"""A configuration → what a search sees of it."""


class BudgetSpent(Exception):
    """Ends a search that has trained all the trial-epochs on which it is graded."""


@dataclass(frozen=True, kw_only=True)
class TrainedEpoch:
    """A trial-epoch that a search has paid for."""

    trial: Hashable
    epoch: int
    """From 1."""
    objective: float
    """Nats per image; infinite where the epoch diverged."""
    ended: float
    """Seconds of the virtual clock."""
    last: bool
    """Whether the trial has no further epoch."""


class Trace:
    """All trial-epochs of one search, whoever ran it.

    An epoch that diverges counts as one. A trial that goes on from a checkpoint pays for its new
    epochs only.

    Args:
        curves: what the search sees.
        budget: trial-epochs on which the search is graded.
        lanes: number of lanes. So many epochs more than the budget are trained, because those that
            begin last need not end last.
    """

    def __init__(self, curves: Curves, *, budget: int, lanes: int) -> None:
        self._curves, self.budget, self.lanes = curves, budget, lanes
        self.params: dict[Hashable, Mapping[str, Any]] = {}
        self.epochs: list[TrainedEpoch] = []
        self._begun, self._looked_up = time.process_time(), 0.0

    def train(
        self, trial: Hashable, params: Mapping[str, Any], epoch: int, begun: float
    ) -> TrainedEpoch:
        """Train this epoch of a trial, from `begun` on the virtual clock.

        Raises:
            BudgetSpent: all epochs are trained.
            ValueError: the trial has no such epoch.
        """
        if len(self.epochs) >= self.budget + self.lanes:
            raise BudgetSpent
        started = time.process_time()
        curve = self._curves(params)
        if epoch > len(curve.seconds):
            raise ValueError(
                f"trial {trial}: got epoch {epoch}; must be one of {len(curve.seconds)}"
            )
        objective = curve.neg_elbo[epoch - 1] if epoch <= len(curve.neg_elbo) else math.inf
        ended, last = begun + curve.seconds[epoch - 1], epoch == len(curve.seconds)
        self.params.setdefault(trial, params)
        self.epochs.append(
            TrainedEpoch(trial=trial, epoch=epoch, objective=objective, ended=ended, last=last)
        )
        self._looked_up += time.process_time() - started
        return self.epochs[-1]

    def in_order(self) -> list[TrainedEpoch]:
        """Return the epochs of the budget in the order in which they ended."""
        return sorted(self.epochs, key=lambda trained: trained.ended)[: self.budget]

    def own_seconds(self) -> float:
        """Return the processor seconds that this process has spent since the trace was made,
        looking up curves apart.
        """
        return time.process_time() - self._begun - self._looked_up


@dataclass
class _Lane:
    trial: TrialSpec
    slot: int
    epoch: int


class TableLanes(Lanes):
    """Lanes on the curves of a table. A curve needs no checkpoint: a trial goes on from whatever
    epoch it had reported.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._lanes: dict[int, _Lane] = {}
        self._free_at = [0.0] * trace.lanes
        """Slot → virtual time at which its last epoch ended."""
        self._ends = [0.0, 0.0]
        """Ends of the last two rounds."""
        self._late = False

    @property
    def width(self) -> int:
        return self._trace.lanes

    def clock(self) -> float:
        """Return the virtual time: the end of the last round."""
        return self._ends[-1]

    def add(self, trial: TrialSpec) -> None:
        used = {lane.slot for lane in self._lanes.values()}
        free = [slot for slot in range(self.width) if slot not in used]
        if not free:
            raise RuntimeError(f"no lane is free for {trial.folder_name}")
        self._lanes[trial.number] = _Lane(
            trial, min(free, key=lambda slot: self._free_at[slot]), trial.epoch
        )

    def replay(self) -> None: ...

    def prefetch(self, plan: Plan) -> None:
        self._late = True

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        begins = self._ends[-2] if self._late else self._ends[-1]
        done = []
        for number in numbers:
            lane = self._lanes[number]
            begun = max(self._free_at[lane.slot], begins)
            trained = self._trace.train(number, lane.trial.params, lane.epoch + 1, begun)
            lane.epoch, self._free_at[lane.slot] = trained.epoch, trained.ended
            done.append(_progress(number, trained))
        self._ends = [self._ends[-1], max([self._ends[-1], *self._free_at])]
        yield done

    def release(self, numbers: Collection[int]) -> None:
        for number in numbers:
            self._lanes.pop(number, None)

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        self.release(ending)
        return [TrialResult(number=number) for number in ending]

    def discard_checkpoints(self, trials: Sequence[TrialSpec]) -> None: ...

    def close(self) -> None:
        self._lanes.clear()


def _progress(number: int, trained: TrainedEpoch) -> Progress:
    if math.isfinite(trained.objective):
        return Progress(
            number=number, epoch=trained.epoch, objective=trained.objective, finished=trained.last
        )
    failure = Failure(kind="diverged", message="The curve of the table ends before this epoch.")
    return Progress(
        number=number, epoch=trained.epoch, objective=math.nan, finished=True, failure=failure
    )
