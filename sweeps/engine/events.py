"""What the trial loop reads and tells: where its trials come from, who watches it, and the study after a round."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from sweeps.engine.budget import best_trial, reported_epochs
from sweeps.storage.proposals import Draft
from sweeps.storage.running_trial import STATES, Held
from sweeps.workload.protocol import Outcome, Progress, Trial, TrialResult


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
    """`search` or `repeats`."""
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


class Source(Protocol):
    """Where the trials of a phase come from."""

    planned: int | None
    """How many there will be, if that is known."""

    def draft(self, trials: Sequence[FrozenTrial], drafts: Sequence[Draft], elapsed: float, round_: int) -> Draft | str:
        """The next trial, to begin in this round; or a sentence that says why there is none.

        Args:
            trials: all so far.
            drafts: those among them that are not written yet, the last ones.
            elapsed: seconds spent.
        """

    def prepare(self, trials: Sequence[FrozenTrial], round_: int, seconds: float) -> None:
        """While the lanes train in this round: work for about so long on what `draft` may be asked for in the next."""

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """The searched parameters as the workload gets them."""

    def twin(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """The earlier trial with these parameters, finished or running, that makes another one a duplicate."""


def next_drafts(
    source: Source, trials: Sequence[FrozenTrial], most: int, elapsed: float, round_: int
) -> tuple[list[Draft], FrozenTrial | None, str]:
    """Up to `most` trials to begin together: up to the first that is a duplicate, which needs no lane. With it the trial that
    it equals, which may be an earlier draft; and why there are no more, where the source has no more."""
    drafts, so_far = [], list(trials)
    while len(drafts) < most:
        draft = source.draft(so_far, drafts, elapsed, round_)
        if isinstance(draft, str):
            return drafts, None, draft
        drafts.append(draft)
        if twin := source.twin(draft.stored, so_far):
            return drafts, twin, ""
        so_far.append(draft.trial)
    return drafts, None, ""


def snapshot_of(
    phase: str, trials: Sequence[FrozenTrial], held: Mapping[int, Held], source: Source, elapsed: float
) -> Snapshot:
    """From the trials in the storage and, by number, those that are in lanes."""
    best = best_trial(trials)
    return Snapshot(
        phase=phase,
        running=tuple(_running(held[t.number].trial, t) for t in trials if t.number in held),
        **{name: sum(trial.state == state for trial in trials) for name, state in STATES.items()},
        planned=source.planned,
        best_value=best and best.value,
        best_number=best and best.number,
        best_params=best and source.params(best),
        epochs=reported_epochs(trials),
        elapsed=elapsed,
    )


def _running(trial: Trial, stored: FrozenTrial) -> Running:
    epoch = len(stored.intermediate_values)
    value = stored.intermediate_values[stored.last_step] if epoch else None
    return Running(trial=replace(trial, epoch=epoch), epoch=epoch, value=value)
