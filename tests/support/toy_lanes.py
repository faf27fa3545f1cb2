"""A toy workload, deterministic and instantaneous, and a clock that is set by hand."""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.lanes import (
    Failure,
    Outcome,
    Plan,
    Progress,
    TrialResult,
    TrialSpec,
    WorkerState,
)
from sweeps.seeds import seed_of


class SimulatedClock:
    """A clock that moves only when told: call it for the time in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class _ToyLane:
    trial: TrialSpec
    epoch: int
    state: float


Curve = Callable[[Mapping[str, Any], int, int, float], float]
"""(params, seed, epoch from 1, state after the epoch before, 0 at the start) → state after the
epoch.
"""


def toy_curve(params: Mapping[str, Any], seed: int, epoch: int, state: float) -> float:
    """Falls towards a level that the parameters set, with noise of the seed; each epoch builds on
    the one before.
    """
    text = ",".join(f"{name}={value}" for name, value in sorted(params.items()))
    level = 1.0 + sum(abs(value - 0.3) for value in params.values() if isinstance(value, float))
    start = 5.0 + _uniform(text) if epoch == 1 else state
    return start + 0.4 * (level - start) + 0.05 * _uniform(f"{text}:{seed}:{epoch}")


def _uniform(text: str) -> float:
    return seed_of(text) / 2**63


@dataclass
class ToyLanes:
    """The smallest workload: deterministic, instantaneous, and interrupted at will.

    Its checkpoints are a dict. Give the same dict to a second `ToyLanes` and it goes on where the
    first one was.
    """

    width: int = 2
    epochs: int = 5
    """Epochs of every trial."""
    curve: Curve = toy_curve
    objective: Callable[[TrialSpec, int, float], float] = lambda trial, epoch, state: state
    """(trial, epoch, state) → the objective reported; may be NaN."""
    failures: Mapping[int, tuple[int, Failure]] = field(default_factory=dict)
    """Number of a trial → the epoch in which it fails, and how."""
    last_epochs: Mapping[int, int] = field(default_factory=dict)
    """Number of a trial → its last epoch, where that is not `epochs` (it stops early)."""
    checkpoints: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Name of a trial → (epoch, state)."""
    checkpoint_every: int = 2
    clock: SimulatedClock | None = None
    """Moved by `seconds` for every round."""
    seconds: float = 1.0
    before: Callable[[str], None] = lambda event: None
    """Called before anything happens, with what it will be; an exception from it is a crash of the
    workload.
    """
    events: list[str] = field(default_factory=list)
    workers: tuple[WorkerState, ...] = ()
    kind: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._lanes: dict[int, _ToyLane] = {}

    def _log(self, event: str) -> None:
        self.before(event)
        self.events.append(event)

    def add(self, trial: TrialSpec) -> None:
        self._log(f"add {trial.number}@{trial.epoch}")
        if len(self._lanes) >= self.width:
            raise RuntimeError(f"no lane is free for {trial.folder_name}")
        epoch, state = self.checkpoints.get(trial.checkpoint_name, (0, 0.0))
        if epoch > trial.epoch:  # ahead of what was reported: of no use
            epoch, state = 0, 0.0
        self._lanes[trial.number] = _ToyLane(trial, epoch, state)

    def replay(self) -> None:
        for number, lane in self._lanes.items():
            if lane.epoch < lane.trial.epoch:
                self._log(f"replay {number}@{lane.trial.epoch}")
            while lane.epoch < lane.trial.epoch:
                self._train(lane)

    def prefetch(self, plan: Plan) -> None: ...

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        self._log(f"advance {' '.join(map(str, numbers))}")
        if self.clock is not None:
            self.clock.now += self.seconds
        for number in numbers:
            yield [self._advance(self._lanes[number])]

    def _advance(self, lane: _ToyLane) -> Progress:
        number = lane.trial.number
        failing = self.failures.get(number)
        if failing is not None and failing[0] == lane.epoch + 1:
            return Progress(
                number=number,
                epoch=lane.epoch + 1,
                objective=math.nan,
                finished=True,
                failure=failing[1],
            )
        self._train(lane)
        if lane.epoch % self.checkpoint_every == 0:
            self.checkpoints[lane.trial.checkpoint_name] = (lane.epoch, lane.state)
        return Progress(
            number=number,
            epoch=lane.epoch,
            objective=self.objective(lane.trial, lane.epoch, lane.state),
            metrics={"loss": lane.state, "seconds": self.seconds},
            finished=lane.epoch == self.last_epochs.get(number, self.epochs),
        )

    def _train(self, lane: _ToyLane) -> None:
        lane.state = self.curve(lane.trial.params, lane.trial.seed, lane.epoch + 1, lane.state)
        lane.epoch += 1

    def release(self, numbers: Collection[int]) -> None:
        for number in [number for number in numbers if number in self._lanes]:
            self._log(f"release {number}")
            lane = self._lanes.pop(number)
            self.checkpoints[lane.trial.checkpoint_name] = (lane.epoch, lane.state)

    def stop(self, seconds: float) -> Iterator[list[Progress] | list[TrialResult]]:
        return iter(())

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        results = []
        for number, outcome in ending.items():
            self._log(f"finish {number} {outcome.state}")
            lane = self._lanes.pop(number)
            if outcome.state == "paused":
                self.checkpoints[lane.trial.checkpoint_name] = (lane.epoch, lane.state)
            folder = f"mlruns/trials/{lane.trial.folder_name}"
            size = 1000 if outcome.state == "paused" else 0
            results.append(
                TrialResult(
                    number=number,
                    metrics={"last": lane.state},
                    folder=folder,
                    checkpoint_bytes=size,
                )
            )
        return results

    def discard_checkpoints(self, trials: Sequence[TrialSpec]) -> None:
        for trial in trials:
            self.checkpoints.pop(trial.checkpoint_name, None)

    def close(self) -> None:
        self._lanes.clear()


class EagerLanes(ToyLanes):
    """Lanes of two workers, each of which does what follows as soon as it may: it runs ahead of the
    rounds by an epoch.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.plan: Plan | None = None
        self.worker: dict[int, int] = {}
        """Number of a trial → worker that holds it."""
        self.begun: dict[int, TrialSpec] = {}
        self.held: dict[int, Progress] = {}
        self.results: dict[int, TrialResult] = {}

    def prefetch(self, plan: Plan) -> None:
        self.plan = plan

    def add(self, trial: TrialSpec) -> None:
        if trial.number in self.begun:
            assert self.begun.pop(trial.number) == trial
            return
        self._place(trial, trial.number % 2)

    def _place(self, trial: TrialSpec, worker: int) -> None:
        super().add(trial)
        self.worker[trial.number] = worker

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        assert not self.begun, "what began ahead has not begun"
        plan, self.plan = self.plan, None
        for worker in (0, 1):
            mine = [number for number in numbers if self.worker[number] == worker]
            self._train_these([number for number in mine if number not in self.held])
            if mine:
                yield [self.held.pop(number) for number in mine]
            if plan is not None:
                self._go_ahead(worker, plan)

    def _go_ahead(self, worker: int, plan: Plan) -> None:
        ending, fresh = plan([number for number in self._lanes if self.worker[number] == worker])
        self.results |= {result.number: result for result in super().finish(ending)}
        for trial in fresh:
            self._place(trial, worker)
            self.begun[trial.number] = trial
        if any(trial.epoch for trial in fresh):
            self.replay()
        self._train_these([number for number in self._lanes if self.worker[number] == worker])

    def _train_these(self, numbers: Collection[int]) -> None:
        self.held |= {
            progress.number: progress
            for [progress] in (super().advance(numbers) if numbers else ())
        }

    def stop(self, seconds: float) -> Iterator[list[Progress] | list[TrialResult]]:
        yield [*self.held.values()]
        self.release([*self._lanes])

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        left = {number: outcome for number, outcome in ending.items() if number not in self.results}
        self.results |= {result.number: result for result in super().finish(left)}
        for number in ending:
            self.held.pop(number, None)
        return [self.results.pop(number) for number in ending]


class FusedToyLanes(ToyLanes):
    """The same, but a round comes at once, as that of the lanes of one fused program does."""

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        yield [progress for part in super().advance(numbers) for progress in part]
