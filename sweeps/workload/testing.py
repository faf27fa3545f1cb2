"""For tests of the driver and of workloads: a toy workload, a clock that is set by hand, and checks that every
implementation of `sweeps.workload.protocol.Lanes` must pass.
"""

import hashlib
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sweeps.workload.protocol import Failure, Lanes, Outcome, Progress, Trial, TrialResult, advance_all


class SimulatedClock:
    """A clock that moves only when told: call it for the time in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@dataclass
class _ToyLane:
    trial: Trial
    epoch: int
    state: float


Curve = Callable[[Mapping[str, Any], int, int, float], float]
"""(params, seed, epoch from 1, state after the epoch before, 0 at the start) → state after the epoch."""


def toy_curve(params: Mapping[str, Any], seed: int, epoch: int, state: float) -> float:
    """Falls towards a level that the parameters set, with noise of the seed; each epoch builds on the one before."""
    text = ",".join(f"{name}={value}" for name, value in sorted(params.items()))
    level = 1.0 + sum(abs(value - 0.3) for value in params.values() if isinstance(value, float))
    start = 5.0 + _uniform(text) if epoch == 1 else state
    return start + 0.4 * (level - start) + 0.05 * _uniform(f"{text}:{seed}:{epoch}")


def _uniform(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


@dataclass
class ToyLanes:
    """The smallest workload: deterministic, instantaneous, and interrupted at will.

    Its checkpoints are a dict. Give the same dict to a second `ToyLanes` and it goes on where the first one was.
    """

    width: int = 2
    epochs: int = 5
    """Epochs of every trial."""
    curve: Curve = toy_curve
    objective: Callable[[Trial, int, float], float] = lambda trial, epoch, state: state
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
    """Called before anything happens, with what it will be; an exception from it is a crash of the workload."""
    events: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lanes: dict[int, _ToyLane] = {}

    def _log(self, event: str) -> None:
        self.before(event)
        self.events.append(event)

    def add(self, trial: Trial) -> None:
        self._log(f"add {trial.number}@{trial.epoch}")
        if len(self._lanes) >= self.width:
            raise RuntimeError(f"no lane is free for {trial.name}")
        epoch, state = self.checkpoints.get(trial.name, (0, 0.0))
        if epoch > trial.epoch:  # ahead of what was reported: of no use
            epoch, state = 0, 0.0
        self._lanes[trial.number] = _ToyLane(trial, epoch, state)

    def replay(self) -> None:
        for number, lane in self._lanes.items():
            if lane.epoch < lane.trial.epoch:
                self._log(f"replay {number}@{lane.trial.epoch}")
            while lane.epoch < lane.trial.epoch:
                self._train(lane)

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
            return Progress(number=number, epoch=lane.epoch + 1, objective=math.nan, finished=True, failure=failing[1])
        self._train(lane)
        if lane.epoch % self.checkpoint_every == 0:
            self._save(lane)
        return Progress(
            number=number,
            epoch=lane.epoch,
            objective=self.objective(lane.trial, lane.epoch, lane.state),
            metrics={"val/neg_elbo": lane.state, "seconds": self.seconds},
            finished=lane.epoch == self.last_epochs.get(number, self.epochs),
        )

    def _train(self, lane: _ToyLane) -> None:
        lane.state = self.curve(lane.trial.params, lane.trial.seed, lane.epoch + 1, lane.state)
        lane.epoch += 1

    def _save(self, lane: _ToyLane) -> None:
        self.checkpoints[lane.trial.name] = (lane.epoch, lane.state)

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        return [self._finish(number, outcome) for number, outcome in ending.items()]

    def _finish(self, number: int, outcome: Outcome) -> TrialResult:
        self._log(f"finish {number} {outcome.state}")
        lane = self._lanes.pop(number)
        return TrialResult(number=number, metrics={"last": lane.state}, folder=f"mlruns/trials/{lane.trial.name}")

    def discard_checkpoints(self, trials: Sequence[Trial]) -> None:
        for trial in trials:
            self.checkpoints.pop(trial.name, None)

    def close(self) -> None:
        self._lanes.clear()


# ---- what every workload must do ----


def check_lanes(
    make_lanes: Callable[[], Lanes],
    settings: Sequence[Mapping[str, Any]],
    *,
    first_number: int = 0,
    epochs: int = 3,
    tolerance: float = 0.0,
) -> None:
    """Check an implementation of `Lanes` against the protocol; raises AssertionError with what is wrong.

    Args:
        make_lanes: a new `Lanes` of at least 2 lanes; every call stands for a new process on the same checkpoints.
        settings: params of at least 3 trials, all able to train for `epochs + 1` epochs.
        first_number: trials get numbers from here on, 6 for each setting.
        epochs: epochs to train in each check; at least 2.
        tolerance: relative difference between values that should be equal.
    """
    numbers = iter(range(first_number, first_number + 6 * len(settings)))

    def trials() -> list[Trial]:
        return [Trial(number=next(numbers), params=dict(params), seed=7) for params in settings]

    same = _Same(tolerance)
    expected = _check_alone(make_lanes, trials(), epochs + 1)
    _check_side_by_side(make_lanes, trials(), expected, same)
    _check_waiting(make_lanes, trials(), expected, same)
    _check_refill(make_lanes, trials(), expected, same)
    _check_continue(make_lanes, trials(), expected, same)


@dataclass(frozen=True)
class _Same:
    tolerance: float

    def __call__(self, value: float, expected: float, what: str) -> None:
        equal = value == expected or math.isclose(value, expected, rel_tol=self.tolerance)
        assert equal, f"{what}: {value!r} instead of {expected!r}"


def _complete(lanes: Lanes, number: int, epoch: int, value: float) -> TrialResult:
    [result] = lanes.finish({number: Outcome(state="complete", epoch=epoch, objective=value)})
    return result


def _check_alone(make_lanes: Callable[[], Lanes], trials: Sequence[Trial], epochs: int) -> list[list[float]]:
    """One trial at a time; the values are what the other checks expect."""
    lanes = make_lanes()
    assert lanes.width >= 2, f"these checks need 2 lanes, width is {lanes.width}"
    curves = []
    for trial in trials:
        lanes.add(trial)
        curve = []
        for epoch in range(1, epochs + 1):
            (progress,) = advance_all(lanes, [trial.number])
            assert (progress.number, progress.epoch) == (trial.number, epoch), f"epoch {epoch}: got {progress}"
            assert progress.failure is None, f"trial {trial.number} failed: {progress.failure}"
            assert math.isfinite(progress.objective), f"the objective is {progress.objective} without a failure"
            curve.append(progress.objective)
        result = _complete(lanes, trial.number, epochs, min(curve))
        assert result.number == trial.number, f"finished {trial.number}, got the result of {result.number}"
        curves.append(curve)
    lanes.close()
    return curves


def _check_side_by_side(make_lanes: Any, trials: Sequence[Trial], expected: list[list[float]], same: _Same) -> None:
    lanes = make_lanes()
    for trial in trials[:2]:
        lanes.add(trial)
    for epoch in range(len(expected[0]) - 1):
        order = [trial.number for trial in trials[:2]][:: -1 if epoch % 2 else 1]
        progresses = advance_all(lanes, order)
        assert [p.number for p in progresses] == order, "progress does not come in the order of `numbers`"
        for progress in progresses:
            index = progress.number - trials[0].number
            same(progress.objective, expected[index][epoch], f"beside a neighbour, epoch {epoch + 1}")
    lanes.close()


def _check_waiting(make_lanes: Any, trials: Sequence[Trial], expected: list[list[float]], same: _Same) -> None:
    """A lane that is not advanced keeps its state."""
    lanes = make_lanes()
    for trial in trials[:2]:
        lanes.add(trial)
    advance_all(lanes, [trials[0].number])
    for epoch in range(2):
        (progress,) = advance_all(lanes, [trials[1].number])
        same(progress.objective, expected[1][epoch], "advanced beside a lane that waits")
    (progress,) = advance_all(lanes, [trials[0].number])
    assert progress.epoch == 2, f"a lane that waited is at epoch {progress.epoch}, not 2"
    same(progress.objective, expected[0][1], "after waiting")
    lanes.close()


def _check_refill(make_lanes: Any, trials: Sequence[Trial], expected: list[list[float]], same: _Same) -> None:
    """A lane that is freed takes the next trial, and its neighbour does not notice."""
    lanes = make_lanes()
    for trial in trials[:2]:
        lanes.add(trial)
    advance_all(lanes, [trials[0].number, trials[1].number])
    lanes.finish({trials[0].number: Outcome(state="pruned", epoch=1, objective=expected[0][0])})
    lanes.add(trials[2])
    old, new = advance_all(lanes, [trials[1].number, trials[2].number])
    assert (old.epoch, new.epoch) == (2, 1), f"epochs after a refill: {old.epoch}, {new.epoch}"
    same(old.objective, expected[1][1], "beside a refilled lane")
    same(new.objective, expected[2][0], "in a refilled lane")
    lanes.close()


def _check_continue(make_lanes: Any, trials: Sequence[Trial], expected: list[list[float]], same: _Same) -> None:
    """A second process goes on from the checkpoints, or without them, as if there had been one process."""
    first = make_lanes()
    reported = len(expected[0]) - 1
    for trial in trials[:2]:
        first.add(trial)
    for _ in range(reported):
        advance_all(first, [trial.number for trial in trials[:2]])
    first.close()
    second = make_lanes()
    for trial, epoch in zip(trials[:2], (reported, reported - 1), strict=True):
        second.add(Trial(number=trial.number, params=trial.params, seed=trial.seed, epoch=epoch))
    second.replay()
    (progress,) = advance_all(second, [trials[1].number])
    assert progress.epoch == reported, f"continued after epoch {reported - 1}, got epoch {progress.epoch}"
    same(progress.objective, expected[1][reported - 1], "continued behind its checkpoint")
    first_one, second_one = advance_all(second, [trial.number for trial in trials[:2]])
    same(first_one.objective, expected[0][reported], "continued")
    same(second_one.objective, expected[1][reported], "continued one epoch later")
    for trial in trials[:2]:
        _complete(second, trial.number, reported + 1, 0.0)
    second.close()
    _check_discarding(make_lanes, trials[0], expected[0], same)


def _check_discarding(make_lanes: Any, trial: Trial, expected: list[float], same: _Same) -> None:
    """A finished trial can be trained again until its checkpoints are discarded; then it starts anew."""
    third = make_lanes()
    third.add(replace(trial, epoch=len(expected) - 1))
    third.replay()
    (progress,) = advance_all(third, [trial.number])
    same(progress.objective, expected[-1], "finished and added again")
    _complete(third, trial.number, len(expected), 0.0)
    third.discard_checkpoints([trial])
    third.add(trial)
    (progress,) = advance_all(third, [trial.number])
    assert progress.epoch == 1, f"a forgotten trial went on at epoch {progress.epoch}"
    same(progress.objective, expected[0], "discarded and added afresh")
    third.close()
