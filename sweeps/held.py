"""A trial that the driver holds."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from sweeps.lanes import Trial

__all__ = ["Held"]


@dataclass(frozen=True)
class Held:
    """A trial and its handle in the storage."""

    trial: Trial
    record: optuna.Trial

    def write(self, key: str, value: Any) -> None:
        # A trial that somebody else has finished meanwhile is theirs; `decided_outcome` finds out.
        with suppress(UpdateFinishedTrialError):
            self.record.set_user_attr(key, value)
