"""When a search ends: the limits of a study's budget against what is in its storage.

A budget is of the study, not of the process: whatever the storage holds counts, whoever put it there.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from optuna.trial import FrozenTrial, TrialState

if TYPE_CHECKING:
    from sweeps.study.study_model import Budget


def used_up(budget: "Budget", trials: Sequence[FrozenTrial], elapsed: float) -> str | None:
    """Why no new trial may start, in a sentence; None while one may.

    `trials` are all trials of the study, `elapsed` the seconds spent searching.
    """
    if budget.trials is not None and len(trials) >= budget.trials:
        return f"The budget of {_counted(budget.trials, 'trial')} is used up."
    if budget.seconds is not None and elapsed >= budget.seconds:
        return f"The budget of {budget.seconds:g} seconds is used up."
    if budget.epochs is not None and reported_epochs(trials) >= budget.epochs:
        return f"The budget of {_counted(budget.epochs, 'epoch')} is used up."
    if budget.stale_trials is not None and _stale(trials) >= budget.stale_trials:
        return f"The last {_counted(budget.stale_trials, 'finished trial')} brought no better value."
    return None


def reported_epochs(trials: Sequence[FrozenTrial]) -> int:
    """Trial-epochs over all trials."""
    return sum(len(trial.intermediate_values) for trial in trials)


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The completed trial with the smallest value, the earliest of equals."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def _stale(trials: Sequence[FrozenTrial]) -> int:
    """Finished trials since the best value was found (or since the start), in the order in which they ended."""
    finished = sorted((t for t in trials if t.state.is_finished()), key=lambda t: (t.datetime_complete, t.number))
    best = best_trial(finished)
    return len(finished) if best is None else len(finished) - 1 - finished.index(best)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
