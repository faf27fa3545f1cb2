"""Input and output of the trial loop: the source of its trials, its observers, and a snapshot after
each round.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sweeps.lanes import Outcome, Progress, TrialResult, TrialSpec
from sweeps.state.decisions import RoundDecisions
from sweeps.state.state import best_trial, reported_epochs
from sweeps.state.trial import ENDED, Trial


@dataclass(frozen=True, kw_only=True)
class Running:
    """A trial that is being trained."""

    trial: TrialSpec
    epoch: int
    objective: float | None
    """Its newest one; None before the first epoch."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """The study after a round."""

    phase: str
    """`search` or `repeats`."""
    running: tuple[Running, ...]
    paused: int
    complete: int
    pruned: int
    failed: int
    planned: int | None
    """Trials that the budget allows, None when it is not counted in trials."""
    best_objective: float | None
    best_number: int | None
    epochs: int
    """Trial-epochs reported in this phase."""
    elapsed: float
    """Seconds spent in this phase, earlier runs of the command included."""


class Observer(Protocol):
    """Every call comes from the driver's thread, in the order of events of a trial. None may block
    for long.
    """

    def trial_started(self, trial: TrialSpec, *, resumed: bool) -> None:
        """Hear that a trial has its place in the storage. `resumed`: it began in an earlier
        process.
        """

    def epoch_finished(self, trial: TrialSpec, progress: Progress) -> None:
        """Hear of an epoch that is durable in the storage, while the next round trains where that
        can be.

        Replayed epochs are not told again, except the newest of a trial that is resumed, because
        the process may have died before it told observers.
        """

    def trial_ended(
        self, trial: TrialSpec, outcome: Outcome, result: TrialResult, duplicate_of: int | None
    ) -> None:
        """Hear of a recorded end, before the trial ends in Optuna; what an observer records must be
        durable on return.
        """

    def round_finished(self, snapshot: Snapshot) -> None: ...


class Source(Protocol):
    """The source of the trials of a phase. A subclass need define `planned` and `propose` alone."""

    planned: int | None
    """Number of trials that there will be; None where it is not known."""
    ranks: bool = True
    """Whether the objective ranks the trials, so that one of them is the best; two objectives rank
    none.
    """

    def choose_pruned(
        self, candidates: Sequence[Trial], trials: Sequence[Trial], round_: int
    ) -> RoundDecisions:
        """Return which of these candidates, which have just done an epoch of this round, end
        early.
        """
        return RoundDecisions(round_, (), {})

    def choose_pausing(
        self, candidates: Sequence[Trial], trials: Sequence[Trial]
    ) -> Collection[int]:
        """Return the numbers of those candidates, which have just done an epoch, that leave their
        lanes and wait.

        Where decisions are pipelined, `trials` are as they stood before the round, so that each
        candidate can be asked about as soon as it is done.
        """
        return ()

    def choose_promoted(
        self, trials: Sequence[Trial], elapsed: float, round_: int, *, last: bool
    ) -> Trial | None:
        """Return a paused trial that resumes in this round in a free lane, or one that ended while
        it was paused, to be revived; None where none does.

        `last`: no new trial may begin, and none runs but those that resumed since.
        """
        return None

    def choose_evicted(self, trials: Sequence[Trial]) -> Sequence[Trial]:
        """Return the paused trials whose checkpoints are more than the study keeps. They would be
        trained again from their start.
        """
        return ()

    def propose(
        self, known: Sequence[Trial], proposals: Sequence[Trial], elapsed: float, round_: int
    ) -> Trial | str:
        """Return the next trial, to begin in this round after `proposals`; or a sentence that says
        why there is none.

        Args:
            known: all trials but the proposals. While trials for a round are proposed it is one
                object, which does not change.
            elapsed: the seconds spent.
        """

    def note_beginning(self, number: int, round_: int) -> None:
        """Hear that the trial of this number is the first new one of this round. Records that must
        precede the trial are durable on return.
        """
        return

    def find_equal(
        self, trial: Trial, known: Sequence[Trial], proposals: Sequence[Trial] = ()
    ) -> Trial | None:
        """Return the one of the known trials with an earlier number, finished or running, or of the
        proposals before it, whose result it takes.
        """
        return None


def snapshot_of(
    phase: str,
    trials: Sequence[Trial],
    running: Mapping[int, Any],
    planned: int | None,
    elapsed: float,
    *,
    ranks: bool = True,
) -> Snapshot:
    """Return the snapshot of a phase. `running`: number of a trial in the lanes → an object whose
    `trial` is that trial; `ranks`: see `Source`.
    """
    best = best_trial(trials) if ranks else None
    return Snapshot(
        phase=phase,
        running=tuple(
            Running(
                trial=running[t.number].trial, epoch=len(t.objectives), objective=t.newest_objective
            )
            for t in trials
            if t.number in running
        ),
        paused=sum(trial.paused for trial in trials),
        **{name: sum(trial.state == name for trial in trials) for name in ENDED},
        planned=planned,
        best_objective=best.value if best else None,
        best_number=best.number if best else None,
        epochs=reported_epochs(trials),
        elapsed=elapsed,
    )
