"""What the driver tells those who watch: the tracker and the live display."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.lanes import Outcome, Progress, Trial, TrialResult

__all__ = ["Observer", "Running", "Snapshot"]


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that is being trained."""

    trial: Trial
    epoch: int
    value: float | None
    """Its newest value."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The study after a round."""

    phase: str
    """`search` or `replicas`."""
    running: tuple[Running, ...]
    complete: int
    pruned: int
    failed: int
    planned: int | None
    """Trials that the budget allows, None when it is not counted in trials."""
    best_value: float | None
    best_number: int | None
    best_params: Mapping[str, Any] | None
    epochs: int
    """Trial-epochs reported in this phase."""
    elapsed: float
    """Seconds spent in this phase, earlier runs of the command included."""


class Observer(Protocol):
    """Every call comes from the driver's thread, in the order of events. None may block for long."""

    def trial_started(self, trial: Trial, *, resumed: bool) -> None: ...

    def epoch_finished(self, trial: Trial, progress: Progress) -> None:
        """After the value is durable in the storage. Replayed epochs are not told again, but for the newest of a trial that
        is resumed: the process may have died before it could tell it."""

    def trial_ended(self, trial: Trial, outcome: Outcome, result: TrialResult, duplicate_of: int | None) -> None:
        """Before the trial is told to Optuna; what is recorded here must be durable on return."""

    def round_finished(self, snapshot: Snapshot) -> None: ...
