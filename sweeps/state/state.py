"""A study and all its trials at one moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from sweeps.errors import UserError
from sweeps.lanes import run_name
from sweeps.state.record import StudyRecord
from sweeps.state.trial import Trial


@dataclass(frozen=True, kw_only=True)
class State:
    """A study and all its trials, as its storage holds them at one moment."""

    study: StudyRecord
    trials: tuple[Trial, ...]
    """Of the search, by number. One that went on after it had ended is there once, under its newest
    number.
    """
    repeats: tuple[Trial, ...]
    """By number."""

    @property
    def records(self) -> tuple[Trial, ...]:
        """Its trials as they stood at each of their ends and as they stand now, by number, then its
        repeats: what has a record of its own.
        """
        stood = chain.from_iterable(trial.chain for trial in self.trials)
        return (*sorted(stood, key=lambda trial: trial.number), *self.repeats)

    @property
    def newest_at(self) -> float | None:
        """Time of its newest record, in unix seconds; None without any."""
        epochs = (record.epochs[-1].at for record in self.records if record.epochs)
        times = (*epochs, self.study.session_at)
        return max((at for at in times if at is not None), default=None)

    @property
    def runs(self) -> tuple[Trial, ...]:
        """Its trials, then its repeats."""
        return (*self.trials, *self.repeats)

    def run(self, number: int, *, repeat: bool) -> Trial:
        """Return a trial of the search, or a repeat, by any number that it has had. Raises
        UserError where there is none.
        """
        runs = self.repeats if repeat else self.trials
        name = self.study.name
        for run in reversed(runs):
            if any(stood.number == number for stood in run.chain):
                return run
        named = partial(run_name, name, repeat=repeat)
        numbers = f"It has no {'repeat' if repeat else 'trial'} yet."
        if runs:
            numbers = f"It has {named(0)} to {named(runs[-1].number)}."
        raise UserError("RUN", f"study '{name}' has no {named(number)}. {numbers}")


def reported_epochs(trials: Sequence[Trial]) -> int:
    """Count the trial-epochs over all trials."""
    return sum(len(trial.objectives) for trial in trials)


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the completed trial that counts with the smallest value, the earliest of equals."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.counts]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)
