"""One trial as its storage holds it: how it is read. `running_trial` is how it is written."""

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from optuna.trial import FrozenTrial, TrialState

from sweeps.lanes import Failure, Outcome, Progress, Trial, run_name
from sweeps.storage.optuna_internals import brief_attributes
from sweeps.study.space import Space

ENDED = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
"""`Outcome.state` → state of the Optuna trial."""
STATE_NAMES: dict[TrialState, Any] = {
    **{state: name for name, state in ENDED.items()},
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class EpochRecord:
    """One epoch that a trial reported."""

    epoch: int
    """Counted from 1."""
    objective: float
    metrics: Mapping[str, float]
    at: float | None
    """Time of the report, in unix seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A PNG file that shows a trial after an epoch."""

    epoch: int
    name: str
    path: str
    """Relative to the runs folder where it lies below."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One run of a known configuration with a fresh seed: for confirm, compare or a baseline, or for several of them.

    A run that trains a paused trial to its end (`late`) has the trial's own seed, because it is to end as the trial would have."""

    source_trial: int | None
    """Number of the search trial whose configuration it repeats or changes; None for a baseline at the fixed settings."""
    params: Mapping[str, Any]
    """Values of all searched parameters that are active, and what a baseline sets besides."""
    seed: int
    """63 bits; never one that the search has used, but for `late`."""
    seed_index: int
    """Place of the seed in the study's list of fresh seeds, from 0; −1 for the seed of the trial itself (`late`)."""
    purposes: tuple[str, ...]
    """Of `confirm`, `compare` and `baseline`, in this order; or `late` alone."""
    pair_ids: tuple[str, ...] = ()
    """`<parameter>:<source trial>/<seed index>`, shared by runs that differ in this parameter alone; empty without `compare`."""
    test: bool = False
    """Whether the test set is evaluated: for `confirm` and baselines."""
    baseline: str | None = None
    """Name of the baseline whose run it is; of several joined by +."""


def stored_repeat(stored: FrozenTrial) -> Repeat:
    """Return the repeat that a stored trial was made for."""
    values = {field.name: stored.user_attrs[field.name] for field in fields(Repeat)}
    return Repeat(**values | {name: tuple(values[name]) for name in ("purposes", "pair_ids")})


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """All that the storage says of one trial of the search, or of one repeat."""

    number: int
    repeat: bool
    state: Literal["running", "waiting", "paused", "complete", "pruned", "failed"]
    params: Mapping[str, Any]
    """Values of the searched parameters and, of a baseline, what it sets besides."""
    seed: int | None
    """None where another program made the trial."""
    started: float | None
    ended: float | None
    """Unix seconds."""
    epochs: tuple[EpochRecord, ...]
    """In order."""
    pictures: tuple[Picture, ...]
    """In the order of their epochs."""
    outcome: Outcome | None
    """None while it has not ended."""
    results: Mapping[str, float]
    """Its final figures."""
    folder: str | None
    """Folder of its files, relative to the runs folder where it lies below."""
    round: int | None = None
    """Round of the driver, from 0, in which its first epoch was trained; None where it has not begun."""
    ended_round: int | None = None
    """Round in which it ended. Rounds order the trials of a study, because clocks may jump and differ between hosts."""
    duplicate_of: int | None = None
    """Number of the trial whose result it took, without being trained."""
    source_trial: int | None = None
    """Of a repeat: number of the trial whose configuration it has; None for a baseline at the fixed settings."""
    purposes: tuple[str, ...] = ()
    """Of a repeat: `confirm`, `compare`, `baseline`, `late`."""
    seed_index: int | None = None
    pair_ids: tuple[str, ...] = ()
    baseline: str | None = None
    test: bool = False
    """Whether the test set may be looked at once it is complete."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name → SHA-256 of files in its folder."""
    pauses: tuple["Pause", ...] = ()
    """In order."""
    revives: int | None = None
    """Number of the trial that ended while it was paused and that goes on as this one; its epochs are the first of this one."""
    resumes_from: int | None = None
    """Number of the trial in whose place its checkpoints are (`sweeps.lanes.Trial`)."""
    warmup: int = 0
    """Epochs at its beginning that do not count: they are recorded, and none of them is its best."""

    def round_of(self, epoch: int) -> int:
        """Return the round of the driver in which it trained this epoch, from 1."""
        return _round_of(epoch, self.round or 0, self.pauses)

    @property
    def may_revive(self) -> bool:
        """Whether it was pruned while it was paused, so that a new trial may go on from where it stood."""
        return self.state == "pruned" and bool(self.pauses) and self.pauses[-1].until is None

    def name_in(self, study: str) -> str:
        """Return `beta_mnist/7` or `beta_mnist/r7`."""
        return run_name(study, self.number, repeat=self.repeat)

    @property
    def best(self) -> EpochRecord | None:
        """The epoch after the warm-up with the smallest finite objective, the earliest of equals; None where there is none."""
        finite = [epoch for epoch in self.epochs if epoch.epoch > self.warmup and math.isfinite(epoch.objective)]
        return min(finite, key=lambda epoch: (epoch.objective, epoch.epoch), default=None)

    @property
    def objective(self) -> float | None:
        """The best objective that it reported, else the one of its outcome (of a duplicate)."""
        if best := self.best:
            return best.objective
        return self.outcome.objective if self.outcome else None

    @property
    def trial(self) -> Trial:
        """The trial as the workload got it when it began. Raises ValueError where another program made it."""
        if self.seed is None:
            raise ValueError(f"trial {self.number} was made by another program and has no seed")
        shared = ("number", "params", "seed", "repeat", "test", "baseline")
        return Trial(**{name: getattr(self, name) for name in shared})

    @classmethod
    def from_attributes(
        cls, stored: FrozenTrial, space: Space, *, repeat: bool, reassigned: Mapping[str, Any] | None = None
    ) -> "TrialRecord":
        """Read a stored trial; attributes that an interrupted process left out are None or empty.

        Args:
            space: the search space, which names the parameters' kinds.
            reassigned: source trial, purposes, pairs and baseline of a repeat in the newest plan, where it was made by an older one.
        """
        attributes = stored.user_attrs
        values: dict[str, Any] = {name: attributes.get(name) for name in _AS_STORED} | dict(reassigned or {})
        return cls(
            number=stored.number,
            repeat=repeat,
            state="paused" if is_paused(stored) else STATE_NAMES[stored.state],
            pauses=pauses_of(stored),
            params=attributes.get("params") or _decoded(stored.params, space),
            started=attributes.get("started", stored.datetime_start and stored.datetime_start.timestamp()),
            ended=attributes.get("ended", stored.datetime_complete and stored.datetime_complete.timestamp()),
            epochs=_epochs(stored),
            pictures=_pictures(attributes),
            outcome=outcome_of(stored) if stored.state.is_finished() else None,
            results=results_of(stored),
            **values
            | {name: tuple(values[name] or ()) for name in ("purposes", "pair_ids")}
            | {"test": bool(values["test"]), "files": values["files"] or {}, "warmup": warmup_of(stored)},
        )


_AS_STORED = (
    *("seed", "folder", "round", "ended_round", "duplicate_of", "source_trial", "seed_index"),
    *("purposes", "pair_ids", "baseline", "test", "files", "revives", "resumes_from"),
)
"""Attributes of a stored trial that a record holds under the same name."""


def _epochs(stored: FrozenTrial) -> tuple[EpochRecord, ...]:
    records = []
    for epoch, objective in sorted(stored.intermediate_values.items()):
        written = {"at": None, "metrics": {}} | stored.user_attrs.get(f"epoch/{epoch}", {})
        records.append(EpochRecord(epoch=epoch, objective=objective, **written))
    return tuple(records)


def _pictures(attributes: Mapping[str, Any]) -> tuple[Picture, ...]:
    pictures = [
        Picture(epoch=int(key.removeprefix("pictures/")), name=name, path=path)
        for key, paths in attributes.items()
        if key.startswith("pictures/")
        for name, path in paths.items()
    ]
    return tuple(sorted(pictures, key=lambda picture: picture.epoch))


def _decoded(stored: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return a trial's configuration; values that the space no longer knows stay as they are stored."""
    decoded = {
        parameter.name: parameter.decode(stored[parameter.name])
        for parameter in space.parameters
        if parameter.name in stored
        and (parameter.kind != "choice" or stored[parameter.name] in map(parameter.encode, parameter.values))
    }
    return {**stored, **decoded}


def stored_path(path: str | Path, runs: Path) -> str:
    """Return a path as records hold it: relative to the runs folder where it lies below, so that the folder can move."""
    absolute, root = Path(path).absolute(), Path(runs).absolute()
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else str(absolute)


# ---- facts about a stored trial ----


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A stay of a trial outside the lanes: it waits to be promoted, or for the end of the search."""

    epoch: int
    """Epochs that it had done."""
    round: int
    """Round of the driver after which it left its lane."""
    until: int | None = None
    """Round in which it went on; None while it is paused."""


def pauses_of(trial: FrozenTrial) -> tuple[Pause, ...]:
    """Return the pauses of a trial, in order."""
    return tuple(Pause(**stored) for stored in trial.user_attrs.get("pauses") or ())


def _round_of(epoch: int, first: int, pauses: Sequence[Pause]) -> int:
    before = [pause for pause in pauses if pause.until is not None and pause.epoch < epoch]
    return (before[-1].until or 0) - before[-1].epoch + epoch - 1 if before else first + epoch - 1


def epochs_before(trial: FrozenTrial, round_: int) -> dict[int, float]:
    """Return the objectives that a trial reported before this round, by epoch."""
    first, pauses = trial.user_attrs.get("round") or 0, pauses_of(trial)
    return {epoch: y for epoch, y in trial.intermediate_values.items() if _round_of(epoch, first, pauses) < round_}


def newest_round(trial: FrozenTrial) -> int:
    """Return the round in which a trial trained its newest epoch; -1 before the first."""
    epochs = len(trial.intermediate_values)
    return _round_of(epochs, trial.user_attrs.get("round") or 0, pauses_of(trial)) if epochs else -1


def is_paused(trial: FrozenTrial) -> bool:
    """Whether the trial waits to be promoted. In Optuna it runs."""
    pauses = pauses_of(trial) if owned_by_driver(trial) else ()
    return bool(pauses) and pauses[-1].until is None


def may_revive(trial: FrozenTrial) -> bool:
    """Whether the trial was pruned while it was paused, so that a new trial may go on from where it stood."""
    pauses: Sequence[Any] = brief_attributes(trial).get("pauses") or ()
    return trial.state == TrialState.PRUNED and bool(pauses) and pauses[-1]["until"] is None


def revives(trial: FrozenTrial) -> int | None:
    """Return the number of the ended trial that goes on as this one; None for a trial that began anew."""
    return brief_attributes(trial).get("revives")


def newest_of_each(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials without those that another one of them revives, whose epochs that one has."""
    revived = {revives(trial) for trial in trials}
    return [trial for trial in trials if trial.number not in revived]


def reported_epochs(trials: Sequence[FrozenTrial]) -> int:
    """Count the trial-epochs over all trials, those of a trial that was revived once."""
    return sum(len(trial.intermediate_values) for trial in newest_of_each(trials))


def best_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """Return the completed trial with the smallest value, the earliest of equals."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return min(complete, key=lambda trial: (trial.value, trial.number), default=None)


def owned_by_driver(trial: FrozenTrial) -> bool:
    """Whether the trial is unfinished and was started by this driver (anybody can ask in an Optuna storage)."""
    return trial.state == TrialState.RUNNING and "seed" in trial.user_attrs


def warmup_of(trial: FrozenTrial) -> int:
    """Return how many epochs at the beginning of a trial do not count."""
    return int(brief_attributes(trial).get("warmup") or 0)


def counted_epochs(trial: FrozenTrial) -> Mapping[int, float]:
    """Return the objectives that a trial has reported after its warm-up, by epoch."""
    warmup, reported = warmup_of(trial), trial.intermediate_values
    return {epoch: value for epoch, value in reported.items() if epoch > warmup} if warmup else reported


def first_round(trial: FrozenTrial) -> int | None:
    """Return the round in which the trial's first epoch was trained, or would have been without its pauses; None outside the lanes."""
    if pauses := pauses_of(trial):
        newest = pauses[-1]
        return None if newest.until is None else newest.until - newest.epoch
    return trial.user_attrs["round"]


def reported_in(trial: FrozenTrial, round_: int) -> bool:
    """Whether the trial has done its epoch of this round."""
    failed = is_closing(trial) and trial.user_attrs["closing"]["failure"]
    first = first_round(trial)
    return bool(failed) or (first is not None and first + len(trial.intermediate_values) > round_)


def is_closing(trial: FrozenTrial) -> bool:
    """Whether the trial has said that it has no further epoch."""
    return "closing" in trial.user_attrs


def ended_round(trial: FrozenTrial) -> int:
    """Return the round in which the driver ended the trial; -1 where it has not."""
    return brief_attributes(trial).get("ended_round", -1)


def left_round(trial: FrozenTrial) -> int:
    """Return the round after which a trial left its lane last, or ended; -1 where it did neither."""
    pauses = () if trial.state.is_finished() else pauses_of(trial)
    return pauses[-1].round if pauses else ended_round(trial)


def went_on_in(trial: FrozenTrial) -> int:
    """Return the round in which a running trial went on after its last pause; -1 for any other."""
    pauses = pauses_of(trial) if owned_by_driver(trial) else ()
    return pauses[-1].until if pauses and pauses[-1].until is not None else -1


def checkpoint_bytes(trial: FrozenTrial) -> int:
    """Return the size of the checkpoint with which a trial was last paused."""
    return (trial.user_attrs.get("paused_with") or {}).get("bytes", 0)


def duplicate_of(trial: FrozenTrial) -> int | None:
    """Return the number of the trial whose result this one takes; None where it is trained itself."""
    return brief_attributes(trial).get("duplicate_of")


def results_of(trial: FrozenTrial) -> dict[str, float]:
    """Return the final figures of a trial; empty before it has any."""
    return trial.user_attrs.get("results") or {}


def epoch_metrics(trial: FrozenTrial) -> dict[int, Mapping[str, float]]:
    """Return the metrics of each epoch that a trial has reported."""
    attributes = copy.copy(trial).user_attrs  # the storage keeps the packed trial
    return {epoch: attributes.get(f"epoch/{epoch}", {}).get("metrics", {}) for epoch in trial.intermediate_values}


def last_progress(trial: FrozenTrial) -> Progress | None:
    """Return the newest epoch that a trial has reported, without its pictures; None before the first."""
    if not (epochs := _epochs(trial)):
        return None
    newest = epochs[-1]
    return Progress(number=trial.number, epoch=newest.epoch, objective=newest.objective, metrics=newest.metrics)


def outcome_of(trial: FrozenTrial) -> Outcome:
    """Return how a trial ended, as the driver decided it; from its epochs alone where another program ended it."""
    state, ending = STATE_NAMES[trial.state], trial.user_attrs.get("outcome")
    if ending is not None:
        return Outcome(state=state, epoch=ending["epoch"], objective=ending["objective"], failure=failure_of(ending))
    reported = [value for value in counted_epochs(trial).values() if math.isfinite(value)]
    value = trial.values[0] if trial.values else None
    return Outcome(state=state, epoch=len(trial.intermediate_values), objective=min(reported, default=value))


def is_diverged(trial: FrozenTrial) -> bool:
    """Whether the trial has failed because its objective was not finite."""
    failure = outcome_of(trial).failure if trial.state == TrialState.FAIL else None
    return failure is not None and failure.kind == "diverged"


def failure_of(stored: Mapping[str, Any]) -> Failure | None:
    """Return the failure with which a trial closes or ended, from its record; None without a failure."""
    return Failure(**stored["failure"]) if stored["failure"] else None
