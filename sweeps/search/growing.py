"""Ranges that grow while a study searches: where the best trials pile up at an end, the trials that
follow may lie beyond.

The rule looks at the trials that had ended or paused before a round, once for the trials that begin
in it, and its steps are written before these trials. So a study that is killed and continued takes
the same steps at the same trials.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sweeps.search.promotion import least_objective
from sweeps.state.trial import Trial
from sweeps.study.ranges import Growth, hits_of, steps_out
from sweeps.study.space import Space


class GrowingSpace:
    """The search space of a study, round by round. `base`: as its file has it; `taken`: the steps
    on record, in order.
    """

    def __init__(self, base: Space, taken: Sequence[Growth]) -> None:
        self._base = base
        self._grows = any(parameter.grow for parameter in base.parameters)
        self.taken = tuple(taken)
        self._of_round: tuple[int, tuple[Growth, ...]] = (-1, ())

    def steps(
        self, round_: int, number: int, end: int, trials: Callable[[], Sequence[Trial]]
    ) -> tuple[Growth, ...]:
        """Return all steps up to this round, the new ones last. They are not yet `taken`.

        Args:
            number: of the first trial that begins in the round.
            end: what happened in this round or later is not known yet.
            trials: gives all in the storage.
        """
        before = tuple(growth for growth in self.taken if growth.round <= round_)
        if not self._grows or any(growth.round == round_ for growth in before):
            return before
        if self._of_round[0] != round_:
            ranked = found_before(trials(), end)
            self._of_round = (
                round_,
                next_steps(self._base, ranked, before, round_=round_, number=number),
            )
        # Trials that are revived in the round may have come before it.
        return before + tuple(replace(growth, trial=number) for growth in self._of_round[1])


def found_before(trials: Sequence[Trial], round_: int) -> list[Mapping[str, Any]]:
    """Return the parameters of the trials that were complete or paused before this round, the best
    first, as `sweeps.results.candidates` ranks them.

    Duplicates are left out. What the storage learns later changes nothing.
    """
    places: list[tuple[float, float, int, Mapping[str, Any]]] = []
    for trial in trials:
        if trial.duplicate_of is not None or trial.state == "failed":
            continue
        pauses = [pause for pause in trial.pauses if pause.round < round_]
        if trial.state == "complete" and trial.left_round < round_:
            places.append((-math.inf, trial.value or 0.0, trial.number, trial.params))
        elif (
            pauses and pauses[-1].epoch and (pauses[-1].until is None or pauses[-1].until >= round_)
        ):
            epoch = pauses[-1].epoch
            places.append(
                (-epoch, least_objective(trial, epoch, trial.warmup), trial.number, trial.params)
            )
    return [params for *_, params in sorted(places, key=lambda place: place[:3])]


def next_steps(
    base: Space,
    ranked: Sequence[Mapping[str, Any]],
    taken: Sequence[Growth],
    *,
    round_: int,
    number: int,
) -> tuple[Growth, ...]:
    """Return the steps that the ranges of a space take, from trial `number` on, in this round.

    A range that may grow takes a step where the best trials pile up at its present end (`hits_of`),
    after `LEAST_RANKED` trials that can be ranked, unless it has taken `MOST_STEPS` on that side or
    its setting allows no value beyond.

    Args:
        base: as the study file has it: its ranges give the length of the steps.
        ranked: parameters of the trials so far, the best first (`found_before`).
    """
    count = Counter((growth.parameter, growth.bound) for growth in taken)
    steps = []
    for hit in hits_of(base.grown(taken).parameters, ranked):
        parameter, so_far = base[hit.parameter], count[hit.parameter, hit.bound]
        grows = parameter.grow and hit.told
        ends = steps_out(parameter, hit.bound, parameter.limits)[so_far:] if grows else []
        if ends:
            steps.append(
                Growth(
                    parameter=hit.parameter,
                    bound=hit.bound,
                    end=ends[0],
                    round=round_,
                    trial=number,
                )
            )
    return tuple(steps)
