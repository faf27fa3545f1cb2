"""What the driver tells those who watch: the tracker and the live display."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.lanes import Outcome, Progress, Trial, TrialResult

__all__ = ["News", "Observer", "Running", "Snapshot"]


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
    """Every call comes from the driver's thread, in the order of events of a trial. None may block for long."""

    def trial_started(self, trial: Trial, *, resumed: bool) -> None:
        """It has its place in the storage. `resumed`: it began in an earlier process."""

    def epoch_finished(self, trial: Trial, progress: Progress) -> None:
        """After the value is durable in the storage, and while the next round trains where it can be.

        Replayed epochs are not told again, but for the newest of a trial that is resumed: the process may have died before it
        could tell it.
        """

    def trial_ended(self, trial: Trial, outcome: Outcome, result: TrialResult, duplicate_of: int | None) -> None:
        """Before the trial is told to Optuna; what is recorded here must be durable on return."""

    def round_finished(self, snapshot: Snapshot) -> None: ...


class News:
    """What observers are to hear once there is time for it, in order."""

    def __init__(self) -> None:
        self._untold: list[tuple[Callable[[], None], int | None]] = []

    def add(self, tell: Callable[[], None], number: int | None = None) -> None:
        """`number`: of the trial that it is about, if it is about one."""
        self._untold.append((tell, number))

    def tell(self, numbers: Collection[int] | None = None) -> None:
        """All that is untold, or what is about these trials."""
        ready = [tell for tell, number in self._untold if numbers is None or number in numbers]
        self._untold = [] if numbers is None else [each for each in self._untold if each[1] not in numbers]
        for tell in ready:
            tell()
