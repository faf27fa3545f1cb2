"""A trial in storage: what it has reported, how it ends, and the handle through which the driver writes it."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweeps.workload.protocol import Failure, Outcome, Progress, Trial, TrialResult

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


@dataclass(frozen=True)
class Held:
    """A trial and its handle in the storage."""

    trial: Trial
    record: optuna.Trial

    def write(self, key: str, value: Any) -> None:
        # A trial that somebody else has finished meanwhile is theirs; `decided_outcome` finds out.
        with suppress(UpdateFinishedTrialError):
            self.record.set_user_attr(key, value)

    def report(self, progress: Progress, round_: int) -> bool:
        """Record what it did in a round; whether there is an epoch of it to tell of."""
        if progress.failure or progress.finished:
            failure = asdict(progress.failure) if progress.failure else None
            self.write("closing", {"round": round_, "epoch": progress.epoch, "failure": failure})
        if progress.failure:
            return False
        metrics = {name: value for name, value in progress.metrics.items() if math.isfinite(value)}
        self.write(f"metrics/{progress.epoch}", metrics)
        with suppress(UpdateFinishedTrialError):
            self.record.report(progress.value, progress.epoch)
            return True
        return False

    def end(self, outcome: Outcome, result: TrialResult, round_: int, at: float) -> None:
        """Record how it ended in a round, and what it left behind, at time `at`. Where there is a result, there is all."""
        self.write("ended_in", round_)
        self.write("ending", asdict(outcome))
        self.write("folder", result.folder)
        self.write("ended", at)
        self.write("result", dict(result.metrics))

    def tell(self, state: TrialState, value: float | None) -> None:
        """End the trial in the storage, unless somebody else has.

        Not by `Study.tell`: it copies all that the trial has recorded, and takes the value of a pruned one from its reports,
        of which a duplicate has none.
        """
        with suppress(UpdateFinishedTrialError):
            values = None if value is None else [value]
            self.record.storage.set_trial_state_values(self.record._trial_id, state, values)


def hold(study: optuna.Study, trial: FrozenTrial, params: Mapping[str, Any], *, repeat: bool) -> Held:
    """The trial as the workload sees it, with the epochs that it has reported."""
    seen = Trial(
        number=trial.number,
        params=params,
        seed=trial.user_attrs["seed"],
        epoch=len(trial.intermediate_values),
        repeat=repeat,
        test=trial.user_attrs.get("test", False),
        baseline=trial.user_attrs.get("baseline"),
    )
    return Held(seen, optuna.Trial(study, trial._trial_id))
