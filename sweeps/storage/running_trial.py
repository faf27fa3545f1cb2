"""A trial while it is trained: what its storage says of it, and the handle through which the driver writes it."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from sweeps.storage.optuna_internals import attributes_of, handle_of, set_state
from sweeps.storage.proposals import PrunerState
from sweeps.storage.study_record import stored_path, write_study
from sweeps.storage.trial_record import ENDED, STATE_NAMES
from sweeps.workload.protocol import Failure, Images, Outcome, Progress, State, Trial, TrialResult


@dataclass(frozen=True)
class RoundDecisions:
    """The newest round that is over: every trial that it ends has ended, or ends the same way after a restart."""

    round: int
    pruned: tuple[int, ...]
    pruner_state: PrunerState


def round_decisions(study: optuna.Study) -> RoundDecisions | None:
    """The decisions of the newest round; None before the first."""
    stored = study.user_attrs.get("round_decisions")
    return RoundDecisions(stored["round"], tuple(stored["pruned"]), stored["pruner_state"]) if stored else None


def write_decisions(study: optuna.Study, decisions: RoundDecisions, elapsed: float) -> None:
    """Write the decisions of a round, and the seconds spent on the phase so far."""
    write_study(study, elapsed=elapsed)
    study.set_user_attr("round_decisions", asdict(decisions))


def owned_by_driver(trial: FrozenTrial) -> bool:
    """Whether the trial is unfinished and was started by this driver (anybody can ask in an Optuna storage)."""
    return trial.state == TrialState.RUNNING and "seed" in trial.user_attrs


def first_round(trial: FrozenTrial) -> int | None:
    """The round in which the trial's first epoch is trained; None while it waits outside the lanes."""
    return trial.user_attrs["round"]


def reported_in(trial: FrozenTrial, round_: int) -> bool:
    """Whether the trial has done its epoch of this round."""
    closing = trial.user_attrs.get("closing")
    failed = closing is not None and closing["failure"] is not None
    return failed or trial.user_attrs["round"] + len(trial.intermediate_values) > round_


def is_closing(trial: FrozenTrial) -> bool:
    """Whether the trial has said that it has no further epoch."""
    return "closing" in trial.user_attrs


def ended_round(trial: FrozenTrial) -> int:
    """The round in which the driver ended the trial; -1 where it has not."""
    return trial.user_attrs.get("ended_round", -1)


def duplicate_of(trial: FrozenTrial) -> int | None:
    """Number of the trial whose result this one takes; None where it is trained itself."""
    return trial.user_attrs.get("duplicate_of")


def results_of(trial: FrozenTrial) -> dict[str, float]:
    """The final figures of a trial; empty before it has any."""
    return trial.user_attrs.get("results") or {}


def decided_outcome(trial: FrozenTrial, decisions: RoundDecisions | None) -> Outcome | None:
    """How the trial ends by these decisions; None when it goes on."""
    epochs, best = len(trial.intermediate_values), min(trial.intermediate_values.values(), default=None)
    if trial.state.is_finished():  # another program ended it
        return Outcome(state=STATE_NAMES[trial.state], epoch=epochs, objective=best)
    if decisions is None:
        return None
    closing = trial.user_attrs.get("closing")
    if closing and closing["round"] <= decisions.round:
        failure = Failure(**closing["failure"]) if closing["failure"] else None
        state: State = "failed" if failure else "complete"
        return Outcome(state=state, epoch=closing["epoch"], objective=best, failure=failure)
    if trial.number in decisions.pruned:
        return Outcome(state="pruned", epoch=epochs, objective=best)
    return None


def checked(progress: Progress) -> Progress:
    """Make an objective that is not finite a failure, whatever the lanes say; Optuna never sees it."""
    if progress.failure or math.isfinite(progress.objective):
        return progress
    return replace(progress, failure=Failure(kind="diverged", message=f"the objective became {progress.objective}"))


def last_progress(stored: FrozenTrial) -> Progress | None:
    """The newest epoch that a trial has reported, without its pictures; None before the first."""
    epoch = len(stored.intermediate_values)
    if not epoch:
        return None
    metrics = (stored.user_attrs.get(f"epoch/{epoch}") or {}).get("metrics") or {}
    objective = stored.intermediate_values[epoch]
    return Progress(number=stored.number, epoch=epoch, objective=objective, metrics=metrics)


@dataclass(frozen=True)
class RunningTrial:
    """A trial and its handle in the storage. Paths below `runs` are written relative to it."""

    trial: Trial
    handle: optuna.Trial
    runs: Path

    def place(self, round_: int | None) -> None:
        """Record that its first epoch is, or would have been, trained in this round; None: it waits outside the lanes."""
        if round_ is not None:
            self._write("duplicate_of", None)
        self._write("round", round_)

    @property
    def left(self) -> TrialResult | None:
        """Its recorded result; None before it has one. A process that died may have recorded the result and not the end."""
        attributes = attributes_of(self.handle)
        if "results" not in attributes:
            return None
        folder = attributes["folder"]
        folder = None if folder is None else str(self.runs / folder)
        return TrialResult(number=self.trial.number, metrics=attributes["results"], folder=folder)

    def report(self, progress: Progress, round_: int, at: float) -> bool:
        """Record its epoch of a round, reported at time `at`; returns whether there is an epoch to tell observers of."""
        if progress.failure or progress.finished:
            failure = asdict(progress.failure) if progress.failure else None
            self._write("closing", {"round": round_, "epoch": progress.epoch, "failure": failure})
        self._write_pictures(progress.images)
        if progress.failure:
            return False
        metrics = {name: value for name, value in progress.metrics.items() if math.isfinite(value)}
        self._write(f"epoch/{progress.epoch}", {"at": at, "metrics": metrics})
        with suppress(UpdateFinishedTrialError):
            self.handle.report(progress.objective, progress.epoch)
            return True
        return False

    def end(
        self, outcome: Outcome, result: TrialResult, round_: int, at: float, *, duplicate_of: int | None = None
    ) -> None:
        """Record how it ended in a round, and what it left behind, at time `at`. Results are written last: they stand for all."""
        if duplicate_of is not None:
            self._write("duplicate_of", duplicate_of)
        self._write("ended_round", round_)
        self._write("outcome", asdict(outcome))
        self._write("folder", None if result.folder is None else stored_path(result.folder, self.runs))
        self._write("ended", at)
        self._write_pictures(result.images)
        self._write("results", dict(result.metrics))

    def tell(self, outcome: Outcome, objective: float | None) -> None:
        """End the trial in the storage, unless another program has."""
        with suppress(UpdateFinishedTrialError):
            set_state(self.handle, ENDED[outcome.state], objective)

    def _write(self, key: str, value: Any) -> None:
        # A trial that another program has finished meanwhile is theirs; `decided_outcome` finds out.
        with suppress(UpdateFinishedTrialError):
            self.handle.set_user_attr(key, value)

    def _write_pictures(self, images: Images) -> None:
        for epoch, named in images.items():
            known = attributes_of(self.handle).get(f"pictures/{epoch}") or {}
            paths = {name: stored_path(path, self.runs) for name, path in named.items()}
            if {**known, **paths} != known:
                self._write(f"pictures/{epoch}", {**known, **paths})


def resume_trial(
    study: optuna.Study, stored: FrozenTrial, params: Mapping[str, Any], *, repeat: bool, runs: Path
) -> RunningTrial:
    """The trial as the workload sees it, with the epochs that it has reported."""
    attributes = stored.user_attrs
    trial = Trial(
        number=stored.number,
        params=params,
        seed=attributes["seed"],
        epoch=len(stored.intermediate_values),
        repeat=repeat,
        test=attributes.get("test", False),
        baseline=attributes.get("baseline"),
    )
    return RunningTrial(trial, handle_of(study, stored), runs)
