"""A trial that the driver holds."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweeps.lanes import Trial

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
