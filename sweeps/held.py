"""A trial that the driver holds."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweeps.lanes import Outcome, Progress, Trial, TrialResult

__all__ = ["Held", "hold"]


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


def hold(study: optuna.Study, trial: FrozenTrial, params: Mapping[str, Any], *, replica: bool) -> Held:
    """The trial as the workload sees it, with the epochs that it has reported."""
    seen = Trial(
        number=trial.number,
        params=params,
        seed=trial.user_attrs["seed"],
        epoch=len(trial.intermediate_values),
        replica=replica,
        test=trial.user_attrs.get("test", False),
        reference=trial.user_attrs.get("reference"),
    )
    return Held(seen, optuna.Trial(study, trial._trial_id))
