"""What the storage says of a trial: whether it has done its epoch of a round, and how it ends."""

import math
from dataclasses import replace
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.lanes import Failure, Outcome, Progress

__all__ = ["STATES", "STATE_NAMES", "checked", "decided_outcome", "has_done", "is_ours", "last_progress", "outcome_of"]

STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""`Outcome.state` → state of the Optuna trial."""
STATE_NAMES = {state: name for name, state in STATES.items()}


def is_ours(trial: FrozenTrial) -> bool:
    """Whether the trial is unfinished and was started by this driver (anybody can ask in an Optuna storage)."""
    return trial.state == TrialState.RUNNING and "seed" in trial.user_attrs


def has_done(trial: FrozenTrial, round_: int) -> bool:
    """Whether the trial has done its epoch of this round."""
    closing = trial.user_attrs.get("closing")
    failed = closing is not None and closing["failure"] is not None
    return failed or trial.user_attrs["round"] + len(trial.intermediate_values) > round_


def decided_outcome(trial: FrozenTrial, decided: dict[str, Any] | None) -> Outcome | None:
    """How the trial ends by what was decided; None when it goes on."""
    epochs, value = len(trial.intermediate_values), min(trial.intermediate_values.values(), default=None)
    if trial.state.is_finished():  # somebody else told it
        return Outcome(state=STATE_NAMES[trial.state], epoch=epochs, value=value)
    if decided is None:
        return None
    closing = trial.user_attrs.get("closing")
    if closing and closing["round"] <= decided["round"]:
        failure = Failure(**closing["failure"]) if closing["failure"] else None
        return Outcome(state="failed" if failure else "complete", epoch=closing["epoch"], value=value, failure=failure)
    if trial.number in decided["pruned"]:
        return Outcome(state="pruned", epoch=epochs, value=value)
    return None


def checked(progress: Progress) -> Progress:
    """A value that is not finite is a failure, whatever the lanes say; Optuna never sees it."""
    if progress.failure or math.isfinite(progress.value):
        return progress
    return replace(progress, failure=Failure(kind="diverged", message=f"the value became {progress.value}"))


def last_progress(stored: FrozenTrial) -> Progress | None:
    """The newest epoch that a trial has reported, without its pictures; None before the first."""
    epoch = len(stored.intermediate_values)
    if not epoch:
        return None
    metrics = stored.user_attrs.get(f"metrics/{epoch}") or {}
    return Progress(number=stored.number, epoch=epoch, value=stored.intermediate_values[epoch], metrics=metrics)


def outcome_of(ended: FrozenTrial) -> Outcome:
    """How a trial has ended."""
    ending = ended.user_attrs.get("ending") or {"epoch": len(ended.intermediate_values), "value": ended.value}
    return Outcome(state=STATE_NAMES[ended.state], epoch=ending["epoch"], value=ending["value"])
