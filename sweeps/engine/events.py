"""What the trial loop reads and reports: the source of its trials, its observers, and a snapshot after each round."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from sweeps.engine.budget import best_trial, reported_epochs
from sweeps.storage.proposals import Proposal
from sweeps.storage.running_trial import RunningTrial
from sweeps.storage.trial_record import ENDED
from sweeps.workload.protocol import Outcome, Progress, Trial, TrialResult


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that is being trained."""

    trial: Trial
    epoch: int
    objective: float | None
    """Its newest one; None before the first epoch."""


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
    best_objective: float | None
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
        """After the epoch is durable in the storage, and while the next round trains where it can be.

        Replayed epochs are not told again, except the newest of a trial that is resumed, because the process may have
        died before it told observers.
        """

    def trial_ended(self, trial: Trial, outcome: Outcome, result: TrialResult, duplicate_of: int | None) -> None:
        """After its end is recorded, and before the trial ends in Optuna; what an observer records must be durable on return."""

    def round_finished(self, snapshot: Snapshot) -> None: ...


class EventQueue:
    """Events that observers have not been told of yet, in order; told when the lanes are busy."""

    def __init__(self) -> None:
        self.pending: list[tuple[Callable[[], None], int | None]] = []

    def add(self, event: Callable[[], None], number: int | None = None) -> None:
        """`number`: of the trial that the event is about, if there is one."""
        self.pending.append((event, number))

    def deliver(self, numbers: Collection[int] | None = None) -> None:
        """Tell the pending events: all, or those about these trials."""
        ready = [event for event, number in self.pending if numbers is None or number in numbers]
        self.pending = [] if numbers is None else [entry for entry in self.pending if entry[1] not in numbers]
        for event in ready:
            event()


class Source(Protocol):
    """Where the trials of a phase come from."""

    planned: int | None
    """How many there will be, if that is known."""

    def propose(
        self, trials: Sequence[FrozenTrial], proposals: Sequence[Proposal], elapsed: float, round_: int
    ) -> Proposal | str:
        """The next trial, to begin in this round; or a sentence that says why there is none.

        Args:
            trials: all so far.
            proposals: those among them that are not written yet, the last ones.
            elapsed: seconds spent.
        """

    def prepare(self, trials: Sequence[FrozenTrial], round_: int, seconds: float) -> None:
        """While the lanes train in this round: work for about `seconds` on what `propose` may be asked for in the next."""

    def params(self, trial: FrozenTrial) -> dict[str, Any]:
        """The searched parameters as the workload gets them."""

    def duplicate_of(self, stored: Mapping[str, Any], earlier: Sequence[FrozenTrial]) -> FrozenTrial | None:
        """The earlier trial with these parameters, finished or running, that makes another one a duplicate."""


def next_proposals(
    source: Source, trials: Sequence[FrozenTrial], most: int, elapsed: float, round_: int
) -> tuple[list[Proposal], FrozenTrial | None, str]:
    """Propose up to `most` trials that begin together, up to the first duplicate, which needs no lane.

    Returns the proposals; the trial that the last of them equals, which may itself be a proposal; and why there are no
    more, where the source has no more.
    """
    proposals: list[Proposal] = []
    so_far = list(trials)
    while len(proposals) < most:
        proposal = source.propose(so_far, proposals, elapsed, round_)
        if isinstance(proposal, str):
            return proposals, None, proposal
        proposals.append(proposal)
        if equal := source.duplicate_of(proposal.stored, so_far):
            return proposals, equal, ""
        so_far.append(proposal.trial)
    return proposals, None, ""


def snapshot_of(
    phase: str, trials: Sequence[FrozenTrial], running: Mapping[int, RunningTrial], source: Source, elapsed: float
) -> Snapshot:
    """The study after a round: `trials` of the storage, and by number those in lanes."""
    best = best_trial(trials)
    return Snapshot(
        phase=phase,
        running=tuple(_running(running[t.number].trial, t) for t in trials if t.number in running),
        **{name: sum(trial.state == state for trial in trials) for name, state in ENDED.items()},
        planned=source.planned,
        best_objective=best.value if best else None,
        best_number=best.number if best else None,
        best_params=source.params(best) if best else None,
        epochs=reported_epochs(trials),
        elapsed=elapsed,
    )


def _running(trial: Trial, stored: FrozenTrial) -> Running:
    epoch = len(stored.intermediate_values)
    objective = stored.intermediate_values[max(stored.intermediate_values)] if epoch else None
    return Running(trial=replace(trial, epoch=epoch), epoch=epoch, objective=objective)
