"""Ranges that grow while a study searches: where the best trials pile up at an end, the trials that follow may lie beyond.

The rule looks at the trials that had ended before a round, once for the trials that begin in it, and its steps are written
before these trials. So a study that is killed and continued takes the same steps at the same trials.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from optuna.trial import FrozenTrial, TrialState

from sweeps.storage.trial_record import duplicate_of
from sweeps.study.ranges import Growth, hits_of, steps_out
from sweeps.study.space import Space


class GrowingSpace:
    """The search space of a study, round by round. `base`: as its file has it; `taken`: the steps on record, in order."""

    def __init__(self, base: Space, taken: Sequence[Growth]) -> None:
        self._base, self._grows = base, any(parameter.grow for parameter in base.parameters)
        self.taken = tuple(taken)
        self._of_round: tuple[int, tuple[Growth, ...]] = (-1, ())

    def steps(self, round_: int, number: int, known: Callable[[], Sequence[FrozenTrial]]) -> tuple[Growth, ...]:
        """Return all steps up to this round, the new ones last. They are not yet `taken`.

        Args:
            number: of the first trial that begins in the round.
            known: gives the trials that had ended before.
        """
        before = tuple(growth for growth in self.taken if growth.round <= round_)
        if not self._grows or any(growth.round == round_ for growth in before):
            return before
        if self._of_round[0] != round_:
            self._of_round = round_, next_steps(self._base, known(), before, round_=round_, number=number)
        # Trials that are revived in the round may have come before it.
        return before + tuple(replace(growth, trial=number) for growth in self._of_round[1])


def next_steps(
    base: Space, trials: Sequence[FrozenTrial], taken: Sequence[Growth], *, round_: int, number: int
) -> tuple[Growth, ...]:
    """Return the steps that the ranges of a space take, from trial `number` on, in this round.

    A range that may grow takes a step where the best trials pile up at its present end (`bound_hit`), after `LEAST_COMPLETE`
    complete trials, unless it has taken `MOST_STEPS` on that side or its setting allows no value beyond.

    Args:
        base: as the study file has it: its ranges give the length of the steps.
        trials: all that had ended. Duplicates count once.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE and duplicate_of(trial) is None]
    ranked = [trial.params for trial in sorted(complete, key=lambda trial: (trial.value, trial.number))]
    count = Counter((growth.parameter, growth.bound) for growth in taken)
    steps = []
    for hit in hits_of(base.grown(taken).parameters, ranked):
        parameter, so_far = base[hit.parameter], count[hit.parameter, hit.bound]
        ends = steps_out(parameter, hit.bound, parameter.limits)[so_far:] if parameter.grow else []
        if ends:
            steps.append(Growth(parameter=hit.parameter, bound=hit.bound, end=ends[0], round=round_, trial=number))
    return tuple(steps)
