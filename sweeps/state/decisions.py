"""What a round of the driver decides, and what follows from it for each trial: functions of trials
alone.

With many lanes, decisions lag one round (*pipelined*): they are the same functions on the trials as
they stood a round before.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.lanes import Outcome, State
from sweeps.state.trial import Trial


@dataclass(frozen=True)
class RoundDecisions:
    """A round that is over: every trial that it ends has ended, or ends the same way after a
    restart.
    """

    round: int
    pruned: tuple[int, ...]
    pruner_state: Mapping[str, Mapping[str, Any]]
    """Notes of the pruner about trials: number (as text, for JSON) → attribute → value."""
    to_prune: tuple[int, ...] = ()
    """Trials that the pruner ends for their epoch of this round, and that end after the next
    round.
    """
    paused: tuple[int, ...] = ()
    """Trials that leave their lanes with this round, and may resume later."""

    def ending(self, to_prune: Collection[int], *, pipelined: bool) -> "RoundDecisions":
        """Return these decisions for a round that also ends the trials `to_prune` of the round
        before; `pipelined`: ends these alone.
        """
        if pipelined:
            return replace(self, pruned=tuple(sorted(to_prune)), to_prune=self.pruned)
        return replace(self, pruned=tuple(sorted({*self.pruned, *to_prune})))


def outcome_by(trial: Trial, decisions: RoundDecisions | None) -> Outcome | None:
    """Return how the trial ends by these decisions; None when it goes on."""
    if trial.finished:  # another program ended it
        return trial.outcome
    if decisions is None:
        return None
    closing = trial.closing
    best = min(trial.counted.values(), default=None)
    if closing and closing.round <= decisions.round:
        # A trial that ends within its warm-up has no value, as one that was stopped before it had
        # any.
        state: State = "pruned" if best is None else "complete"
        if closing.failure:
            state = "failed"
        return Outcome(state=state, epoch=closing.epoch, objective=best, failure=closing.failure)
    if trial.number in decisions.pruned:
        return Outcome(state="pruned", epoch=len(trial.objectives), objective=best)
    paused_already = bool(trial.pauses) and trial.pauses[-1].round >= decisions.round
    if trial.number in decisions.paused and not paused_already:
        return Outcome(state="paused", epoch=len(trial.objectives), objective=best)
    return None


def undecided(trials: Sequence[Trial], to_prune: Collection[int]) -> list[Trial]:
    """Return those of these trials that would go on, unless the pruner or a rung decides
    otherwise.
    """
    going_on = [trial for trial in trials if not trial.finished and not trial.closing]
    return [trial for trial in going_on if trial.number not in to_prune]


def known_before(trials: Sequence[Trial], round_: int) -> list[Trial]:
    """Return the trials as they stood before this round, and those that began since: what ended or
    paused since runs, epochs since are missing.

    A paused trial that has ended since stays ended: it resumes under a new number then.
    """
    return [
        trial if _left_before(trial, round_) else without_rounds_from(trial, round_)
        for trial in trials
    ]


def _left_before(trial: Trial, round_: int) -> bool:
    """Whether a trial ended before this round, or paused before and has not resumed."""
    if trial.finished and trial.left_round < round_:
        return True
    newest = trial.pauses[-1] if trial.pauses else None
    return newest is not None and newest.until is None and newest.round < round_


def without_rounds_from(trial: Trial, round_: int) -> Trial:
    """Return a trial without what it did in this round and later."""
    pauses = tuple(pause for pause in trial.pauses if pause.round < round_)
    kept = {
        epoch: value for epoch, value in trial.objectives.items() if trial.round_of(epoch) < round_
    }
    if trial.resumable or trial.state == "waiting":
        return replace(trial, objectives=kept, pauses=pauses)
    paused = trial.seed is not None and bool(pauses) and pauses[-1].until is None
    return replace(
        trial,
        state="paused" if paused else "running",
        value=None if trial.finished else trial.value,
        objectives=kept,
        pauses=pauses,
    )


def resumed_in(trial: Trial, round_: int) -> Trial:
    """Return a paused trial as it will be once it resumes in this round."""
    *before, newest = trial.pauses
    return replace(trial, state="running", pauses=(*before, replace(newest, until=round_)))


def placed_in(trial: Trial, round_: int) -> Trial:
    """Return a trial that waited for a lane as it will be once it has one, from this round on."""
    place = replace(trial.assignment, round=round_ - len(trial.objectives))
    return replace(trial, duplicate_of=None, assigned=lambda: place)


def running_before(trials: Sequence[Trial], round_: int) -> Sequence[Trial]:
    """Return the trials as they stood when the lanes of this round were filled: a process that died
    since may have reported epochs of it.
    """
    if all(trial.finished or trial.newest_round < round_ for trial in trials):
        return trials
    return [trial if trial.finished else without_rounds_from(trial, round_) for trial in trials]


def left_since(trials: Sequence[Trial], round_: int) -> bool:
    """Whether a trial has left its lane or ended in this round or later, so that pipelined
    decisions did not know of it yet.
    """
    return any(trial.left_round >= round_ for trial in trials)


def paused_ended_in(trials: Sequence[Trial], round_: int) -> bool:
    """Whether a process that died in this round has ended some of the paused trials."""
    return any(trial.resumable and trial.ended_round == round_ for trial in trials)


def all_resumed(in_lanes: Sequence[Trial], round_: int) -> bool:
    """Whether no trial is in a lane but those that resumed in this round."""
    return all(trial.resumed_round == round_ for trial in in_lanes)
