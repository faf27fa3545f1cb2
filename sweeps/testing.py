"""Checks that every implementation of `sweeps.lanes.Lanes` must pass, for the tests of
workloads.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeps.lanes import Lanes, Outcome, TrialResult, TrialSpec, advance_all

__all__ = ["check_lanes"]

_Make = Callable[[], Lanes]
_Curves = list[list[float]]


def check_lanes(
    make_lanes: _Make, settings: Sequence[Mapping[str, Any]], *, epochs: int = 3
) -> None:
    """Check an implementation of `Lanes` against the protocol; raises AssertionError with what is
    wrong.

    Args:
        make_lanes: a new `Lanes` of at least 2 lanes; every call stands for a new process on the
            same checkpoints.
        settings: params of at least 3 trials, all able to train for `epochs + 1` epochs.
        epochs: epochs to train in each check; at least 2.
    """
    numbers = itertools.count()

    def trials() -> list[TrialSpec]:
        return [TrialSpec(number=next(numbers), params=dict(params), seed=7) for params in settings]

    expected = _check_alone(make_lanes, trials(), epochs + 1)
    for check in (
        _check_side_by_side,
        _check_waiting,
        _check_refill,
        _check_release,
        _check_continue,
    ):
        check(make_lanes, trials(), expected)


def _filled(make_lanes: _Make, trials: Sequence[TrialSpec]) -> Lanes:
    lanes = make_lanes()
    for trial in trials:
        lanes.add(trial)
    return lanes


def _same(value: float, expected: float, quantity: str) -> None:
    assert value == expected, f"{quantity}: {value!r} instead of {expected!r}"


def _complete(lanes: Lanes, number: int, epoch: int, value: float) -> TrialResult:
    [result] = lanes.finish({number: Outcome(state="complete", epoch=epoch, objective=value)})
    return result


def _check_alone(make_lanes: _Make, trials: Sequence[TrialSpec], epochs: int) -> _Curves:
    """Train one trial at a time; the other checks expect the values."""
    lanes = make_lanes()
    assert lanes.width >= 2, f"these checks need 2 lanes, width is {lanes.width}"
    curves = []
    for trial in trials:
        lanes.add(trial)
        curve = []
        for epoch in range(1, epochs + 1):
            (progress,) = advance_all(lanes, [trial.number])
            assert (progress.number, progress.epoch) == (trial.number, epoch), (
                f"epoch {epoch}: got {progress}"
            )
            assert progress.failure is None, f"trial {trial.number} failed: {progress.failure}"
            assert math.isfinite(progress.objective), (
                f"the objective is {progress.objective} without a failure"
            )
            curve.append(progress.objective)
        result = _complete(lanes, trial.number, epochs, min(curve))
        assert result.number == trial.number, (
            f"finished {trial.number}, got the result of {result.number}"
        )
        curves.append(curve)
    lanes.close()
    return curves


def _check_side_by_side(make_lanes: _Make, trials: Sequence[TrialSpec], expected: _Curves) -> None:
    lanes = _filled(make_lanes, trials[:2])
    for epoch in range(len(expected[0]) - 1):
        order = [trial.number for trial in trials[:2]][:: -1 if epoch % 2 else 1]
        progresses = advance_all(lanes, order)
        assert [p.number for p in progresses] == order, (
            "progress does not come in the order of `numbers`"
        )
        for progress in progresses:
            index = progress.number - trials[0].number
            _same(
                progress.objective, expected[index][epoch], f"beside a neighbour, epoch {epoch + 1}"
            )
    lanes.close()


def _check_waiting(make_lanes: _Make, trials: Sequence[TrialSpec], expected: _Curves) -> None:
    """Check that a lane that is not advanced keeps its state."""
    lanes = _filled(make_lanes, trials[:2])
    advance_all(lanes, [trials[0].number])
    for epoch in range(2):
        (progress,) = advance_all(lanes, [trials[1].number])
        _same(progress.objective, expected[1][epoch], "advanced beside a lane that waits")
    (progress,) = advance_all(lanes, [trials[0].number])
    assert progress.epoch == 2, f"a lane that waited is at epoch {progress.epoch}, not 2"
    _same(progress.objective, expected[0][1], "after waiting")
    lanes.close()


def _check_refill(make_lanes: _Make, trials: Sequence[TrialSpec], expected: _Curves) -> None:
    """Check that a freed lane takes the next trial, and that its neighbour does not notice."""
    lanes = _filled(make_lanes, trials[:2])
    advance_all(lanes, [trials[0].number, trials[1].number])
    lanes.finish({trials[0].number: Outcome(state="pruned", epoch=1, objective=expected[0][0])})
    lanes.add(trials[2])
    old, new = advance_all(lanes, [trials[1].number, trials[2].number])
    assert (old.epoch, new.epoch) == (2, 1), f"epochs after a refill: {old.epoch}, {new.epoch}"
    _same(old.objective, expected[1][1], "beside a refilled lane")
    _same(new.objective, expected[2][0], "in a refilled lane")
    lanes.close()


def _check_release(make_lanes: _Make, trials: Sequence[TrialSpec], expected: _Curves) -> None:
    """Check that a released trial goes on elsewhere, and that its neighbour does not notice."""
    first = _filled(make_lanes, trials[:2])
    second = make_lanes()
    advance_all(first, [trial.number for trial in trials[:2]])
    first.release([trials[0].number])
    second.add(replace(trials[0], epoch=1))
    second.replay()
    for index, lanes in ((1, first), (0, second)):
        (progress,) = advance_all(lanes, [trials[index].number])
        assert progress.epoch == 2, f"after a release, epoch {progress.epoch} instead of 2"
        _same(
            progress.objective,
            expected[index][1],
            "beside a lane that was released" if index else "released",
        )
    for lanes in (first, second):
        lanes.close()


def _check_continue(make_lanes: _Make, trials: Sequence[TrialSpec], expected: _Curves) -> None:
    """Check that a second process goes on from the checkpoints, or without them, as if there had
    been one process.
    """
    numbers = [trial.number for trial in trials[:2]]
    reported = len(expected[0]) - 1
    first = _filled(make_lanes, trials[:2])
    for _ in range(reported):
        advance_all(first, numbers)
    first.close()
    second = _filled(
        make_lanes, [replace(trials[0], epoch=reported), replace(trials[1], epoch=reported - 1)]
    )
    second.replay()
    (progress,) = advance_all(second, [trials[1].number])
    assert progress.epoch == reported, (
        f"continued after epoch {reported - 1}, got epoch {progress.epoch}"
    )
    _same(progress.objective, expected[1][reported - 1], "continued behind its checkpoint")
    first_one, second_one = advance_all(second, numbers)
    _same(first_one.objective, expected[0][reported], "continued")
    _same(second_one.objective, expected[1][reported], "continued one epoch later")
    for number in numbers:
        _complete(second, number, reported + 1, 0.0)
    second.close()
    _check_discarding(make_lanes, trials[0], expected[0])


def _check_discarding(make_lanes: _Make, trial: TrialSpec, expected: list[float]) -> None:
    """Check that a finished trial can be trained again until its checkpoints are discarded; then it
    starts anew.
    """
    lanes = _filled(make_lanes, [replace(trial, epoch=len(expected) - 1)])
    lanes.replay()
    (progress,) = advance_all(lanes, [trial.number])
    _same(progress.objective, expected[-1], "finished and added again")
    _complete(lanes, trial.number, len(expected), 0.0)
    lanes.discard_checkpoints([trial])
    lanes.add(trial)
    (progress,) = advance_all(lanes, [trial.number])
    assert progress.epoch == 1, f"a forgotten trial went on at epoch {progress.epoch}"
    _same(progress.objective, expected[0], "discarded and added afresh")
    lanes.close()
