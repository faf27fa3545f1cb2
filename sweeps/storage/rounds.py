"""Rounds as the storage holds them: what a round decided, and which trials were known before a round.

A study with many lanes is decided late, because its workers begin a round before the others have done the one before. What a
round decides for the next one then rests on the rounds before it, which all workers have done.
"""

import copy
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from optuna.trial import FrozenTrial, TrialState

from sweeps.lanes import Outcome, Progress, State
from sweeps.storage.running_trial import checked
from sweeps.storage.study_record import write_study
from sweeps.storage.trial_record import (
    counted_epochs,
    ended_round,
    epochs_before,
    failure_of,
    is_closing,
    left_round,
    may_revive,
    newest_round,
    outcome_of,
    pauses_of,
    went_on_in,
)

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class RoundDecisions:
    """A round that is over: every trial that it ends has ended, or ends the same way after a restart."""

    round: int
    pruned: tuple[int, ...]
    pruner_state: Mapping[str, Mapping[str, Any]]
    """Notes of the pruner about trials: number (as text, for JSON) → attribute → value."""
    condemned: tuple[int, ...] = ()
    """Trials that the pruner ends for their epoch of this round, and that end after the next round."""
    paused: tuple[int, ...] = ()
    """Trials that leave their lanes with this round, and may go on later."""

    def ending(self, condemned: Collection[int], *, late: bool) -> "RoundDecisions":
        """Return these decisions for a round that ends the trials `condemned` before it, too; `late`: ends these alone."""
        if late:
            return replace(self, pruned=tuple(sorted(condemned)), condemned=self.pruned)
        return replace(self, pruned=tuple(sorted({*self.pruned, *condemned})))


def round_decisions(study: "optuna.Study") -> RoundDecisions | None:
    """Return the decisions of the newest round; None before the first."""
    stored = study.user_attrs.get("round_decisions")
    if not stored:
        return None
    numbers = {name: tuple(stored.get(name, ())) for name in ("pruned", "condemned", "paused")}
    return RoundDecisions(stored["round"], pruner_state=stored["pruner_state"], **numbers)


def write_decisions(study: "optuna.Study", decisions: RoundDecisions, elapsed: float) -> None:
    """Write the decisions of a round, and the seconds spent on the phase so far."""
    write_study(study, elapsed=elapsed)
    study.set_user_attr("round_decisions", asdict(decisions))


def decided_outcome(trial: FrozenTrial, decisions: RoundDecisions | None) -> Outcome | None:
    """Return how the trial ends by these decisions; None when it goes on."""
    if trial.state.is_finished():  # another program ended it
        return outcome_of(trial)
    if decisions is None:
        return None
    closing, best = trial.user_attrs.get("closing"), min(counted_epochs(trial).values(), default=None)
    if closing and closing["round"] <= decisions.round:
        failure = failure_of(closing)
        # A trial that ends within its warm-up has no value, as one that was stopped before it had any.
        state: State = "failed" if failure else "pruned" if best is None else "complete"
        return Outcome(state=state, epoch=closing["epoch"], objective=best, failure=failure)
    if trial.number in decisions.pruned:
        return Outcome(state="pruned", epoch=len(trial.intermediate_values), objective=best)
    if trial.number in decisions.paused and not _has_paused(trial, decisions.round):
        return Outcome(state="paused", epoch=len(trial.intermediate_values), objective=best)
    return None


def _has_paused(trial: FrozenTrial, round_: int) -> bool:
    """Whether the trial has been paused after this round; it may have gone on since, and trained an epoch."""
    pauses = pauses_of(trial)
    return bool(pauses) and pauses[-1].round >= round_


def epochs_ahead(study: "optuna.Study") -> dict[int, Progress]:
    """Return the epochs of rounds to come that lanes had trained when the study was last stopped, by number of their trial."""
    ahead, trials = {}, study.get_trials(deepcopy=False)
    for stored in study.user_attrs.get("epochs_ahead") or ():
        number, images = stored["number"], {int(epoch): named for epoch, named in stored["images"].items()}
        if number < len(trials) and stored["epoch"] == len(trials[number].intermediate_values) + 1:
            ahead[number] = Progress(**stored | {"images": images})
    return ahead


def write_epochs_ahead(study: "optuna.Study", ahead: Sequence[Progress]) -> None:
    """Write epochs of rounds to come, but for those in which training failed, because an epoch is the same whenever it is trained."""
    study.set_user_attr("epochs_ahead", [asdict(progress) for progress in ahead if not checked(progress).failure])


def known_before(trials: Sequence[FrozenTrial], round_: int) -> list[FrozenTrial]:
    """Return the trials as they stood before this round, and those that began since: what ended or paused since runs, epochs since are missing.

    What the storage learns later does not change them, but that a paused trial has ended: it goes on as another one then.
    """
    return [trial if _stood_still(trial, round_) else _as_before(trial, round_) for trial in trials]


def running_before(trials: Sequence[FrozenTrial], round_: int) -> Sequence[FrozenTrial]:
    """Return the trials as they stood when the lanes of this round were filled: a process that died since may have reported epochs of it."""
    if all(trial.state.is_finished() or newest_round(trial) < round_ for trial in trials):
        return trials
    return [trial if trial.state.is_finished() else _as_before(trial, round_) for trial in trials]


def _stood_still(trial: FrozenTrial, round_: int) -> bool:
    """Whether a trial had ended or paused before this round, and nothing has happened to it since."""
    if trial.state.is_finished() and ended_round(trial) < round_:
        return True
    pauses = pauses_of(trial)
    return bool(pauses) and pauses[-1].until is None and pauses[-1].round < round_


def _as_before(trial: FrozenTrial, round_: int) -> FrozenTrial:
    before = copy.copy(trial)
    before.user_attrs = {**trial.user_attrs}
    if trial.state.is_finished() and not may_revive(trial):
        before.state, before.values = TrialState.RUNNING, None
    before.intermediate_values = epochs_before(trial, round_)
    if pauses := trial.user_attrs.get("pauses"):
        before.user_attrs["pauses"] = [pause for pause in pauses if pause["round"] < round_]
    return before


def as_going_on(trial: FrozenTrial, round_: int) -> FrozenTrial:
    """Return a paused trial as it will be once it goes on in this round."""
    *before, newest = trial.user_attrs["pauses"]
    return _changed(trial, pauses=[*before, newest | {"until": round_}])


def as_taken_in(trial: FrozenTrial, round_: int) -> FrozenTrial:
    """Return a trial that waited outside the lanes as it will be once it has a lane, from this round on."""
    return _changed(trial, duplicate_of=None, round=round_ - len(trial.intermediate_values))


def _changed(trial: FrozenTrial, **attributes: Any) -> FrozenTrial:
    changed = copy.copy(trial)
    changed.user_attrs = {**trial.user_attrs, **attributes}
    return changed


def undecided(trials: Sequence[FrozenTrial], condemned: Collection[int]) -> list[FrozenTrial]:
    """Return those of these trials that would go on, unless the pruner or a rung decides otherwise."""
    going_on = [trial for trial in trials if not trial.state.is_finished() and not is_closing(trial)]
    return [trial for trial in going_on if trial.number not in condemned]


def left_since(trials: Sequence[FrozenTrial], round_: int) -> bool:
    """Whether a trial has left its lane or ended in this round or later, so that a study that is decided late did not know of it yet."""
    return any(left_round(trial) >= round_ for trial in trials)


def paused_ended_in(trials: Sequence[FrozenTrial], round_: int) -> bool:
    """Whether a process that died in this round has ended some of the paused trials."""
    return any(may_revive(trial) and ended_round(trial) == round_ for trial in trials)


def all_went_on(in_lanes: Sequence[FrozenTrial], round_: int) -> bool:
    """Whether no trial is in a lane but those that went on in this round."""
    return all(went_on_in(trial) == round_ for trial in in_lanes)
