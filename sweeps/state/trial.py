"""One trial of a search, or one repeat, as it stands: a frozen value that knows no storage."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from sweeps.lanes import Failure, Outcome, TrialSpec, run_name

TrialState = Literal["running", "waiting", "paused", "complete", "pruned", "failed"]
"""A trial is `waiting` where another program has asked for it and nothing trains it."""
ENDED = ("complete", "pruned", "failed")
"""States in which a trial has ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Epoch:
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Pause:
    """A stay of a trial outside the lanes: it waits to be promoted, or for the end of the
    search.
    """

    epoch: int
    """Epochs that it had done."""
    round: int
    """Round of the driver after which it left its lane."""
    until: int | None = None
    """Round in which it resumed; None while it is paused."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """One run of a known configuration with a fresh seed: for confirm, compare or a baseline, or
    for several of them.

    A run that trains a paused trial to its end (`late`) has the trial's own seed, because it is to
    end as the trial would have."""

    source_trial: int | None
    """Number of the search trial whose configuration it repeats or changes; None for a baseline at
    the fixed settings.
    """
    params: Mapping[str, Any]
    """Values of all searched parameters that are active, and what a baseline sets besides."""
    seed: int
    """63 bits; never one that the search has used, but for `late`."""
    seed_index: int
    """Place of the seed in the study's list of fresh seeds, from 0; −1 for the seed of the trial
    itself (`late`).
    """
    purposes: tuple[str, ...]
    """Of `confirm`, `compare` and `baseline`, in this order; or `late` alone."""
    pair_ids: tuple[str, ...] = ()
    """`<parameter>:<source trial>/<seed index>`, shared by runs that differ in this parameter
    alone; empty without `compare`.
    """
    test: bool = False
    """Whether the test set is evaluated: for `confirm` and baselines."""
    baseline: str | None = None
    """Name of the baseline whose run it is; of several joined by +."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Closing:
    """The last report of a trial that has no further epoch."""

    round: int
    epoch: int
    failure: Failure | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """What the driver gave a trial when it began, and its place since."""

    seed: int | None
    """None where another program made the trial."""
    round: int | None = None
    """Round of the driver, from 0, in which its first epoch was trained; None where it has not
    begun, or waits for a lane.
    """
    closing: Closing | None = None
    """Its last report, where that said that it has no further epoch."""
    resumes_from: int | None = None
    """Number of the trial in whose place its checkpoints are (`sweeps.lanes.TrialSpec`)."""
    checkpoint_bytes: int = 0
    """Size of the checkpoint with which it was paused last."""


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """What a trial has on record besides the numbers that decide: some ten kB, read when it is
    asked for.
    """

    epochs: tuple[Epoch, ...] = ()
    """In order."""
    pictures: tuple[Picture, ...] = ()
    """In the order of their epochs."""
    outcome: Outcome | None = None
    """None while it has not ended."""
    results: Mapping[str, float] = field(default_factory=dict)
    """Its final figures."""
    started: float | None = None
    ended: float | None = None
    """Unix seconds."""
    folder: str | None = None
    """Folder of its files, relative to the runs folder where it lies below."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Name → SHA-256 of files in its folder."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trial of the search, or one repeat, at one moment.

    A trial that ended while it was paused, or failed, and goes on since, is one trial: `before` is
    how it stood when it ended.
    """

    number: int
    """By which it is known now. A trial that goes on after its end has a new one."""
    repeat: bool
    state: TrialState
    params: Mapping[str, Any]
    """Values of the searched parameters and, of a baseline, what it sets besides."""
    objectives: Mapping[int, float]
    """Epoch, from 1 → the objective that it reported."""
    value: float | None = None
    """The objective with which it ended: the best of a complete trial, the last of a pruned one."""
    warmup: int = 0
    """Epochs at its beginning that do not count: they are recorded, and none of them is its
    best.
    """
    pauses: tuple[Pause, ...] = ()
    """In order."""
    ended_round: int | None = None
    """Round in which it ended. Rounds order the trials of a study, because clocks may jump and
    differ between hosts.
    """
    duplicate_of: int | None = None
    """Number of the trial whose result it took, without being trained."""
    source_trial: int | None = None
    """Of a repeat: number of the trial whose configuration it has; None for a baseline at the fixed
    settings.
    """
    purposes: tuple[str, ...] = ()
    """Of a repeat: `confirm`, `compare`, `baseline`, `late`."""
    seed_index: int | None = None
    pair_ids: tuple[str, ...] = ()
    baseline: str | None = None
    test: bool = False
    """Whether the test set may be looked at once it is complete."""
    proposed: bool = False
    """Whether it is not in the storage yet."""
    stage: int = 1
    """Stage of the study in which it began, from 1."""
    counts: bool = True
    """Whether the present stage could have proposed it (`sweeps.state.stages`). No other trial
    decides anything.
    """
    before: "Trial | None" = field(default=None, repr=False)
    assigned: Callable[[], Assignment] = field(
        default=partial(Assignment, seed=None), repr=False, compare=False
    )
    read: Callable[[], Recorded] = field(default=Recorded, repr=False, compare=False)
    """Both read what it has on record besides. Of a trial that has ended, that is packed."""
    origin: Any = field(default=None, repr=False, compare=False)
    """The storage's own object, for the storage and for what shows trials to Optuna; nothing else
    looks at it.
    """

    @cached_property
    def assignment(self) -> Assignment:
        """What the driver gave it when it began, and its place since."""
        return self.assigned()

    @cached_property
    def recorded(self) -> Recorded:
        """What it has on record besides the numbers that decide."""
        return self.read()

    # ---- what it has on record besides ----

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        return self.recorded.epochs

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return self.recorded.pictures

    @property
    def outcome(self) -> Outcome | None:
        return self.recorded.outcome

    @property
    def failure(self) -> Failure | None:
        """Why it failed; None where it did not, or has not ended."""
        return self.outcome.failure if self.outcome else None

    @property
    def results(self) -> Mapping[str, float]:
        return self.recorded.results

    @property
    def seed(self) -> int | None:
        return self.assignment.seed

    @property
    def round(self) -> int | None:
        return self.assignment.round

    @property
    def started(self) -> float | None:
        return self.recorded.started

    @property
    def ended(self) -> float | None:
        return self.recorded.ended

    @property
    def folder(self) -> str | None:
        return self.recorded.folder

    @property
    def files(self) -> Mapping[str, str]:
        return self.recorded.files

    @property
    def resumes_from(self) -> int | None:
        return self.assignment.resumes_from

    @property
    def closing(self) -> Closing | None:
        return self.assignment.closing

    # ---- what it is ----

    @property
    def chain(self) -> "tuple[Trial, ...]":
        """How it stood at each of its ends, and how it stands now."""
        return (*self.before.chain, self) if self.before else (self,)

    @property
    def first(self) -> int:
        """The number under which it began."""
        return self.chain[0].number

    @property
    def finished(self) -> bool:
        """Whether it has ended."""
        return self.state in ENDED

    @property
    def resumable(self) -> bool:
        """Whether it was pruned while it was paused, so that it may go on from where it stood under
        a larger budget.
        """
        return self.state == "pruned" and bool(self.pauses) and self.pauses[-1].until is None

    def name_in(self, study: str) -> str:
        """Return `beta_mnist/7` or `beta_mnist/r7`."""
        return run_name(study, self.number, repeat=self.repeat)

    @property
    def spec(self) -> TrialSpec:
        """The trial as a lane gets it, with the epochs that it has reported. Raises ValueError
        where another program made it.
        """
        if self.seed is None:
            raise ValueError(f"trial {self.number} was made by another program and has no seed")
        return TrialSpec(
            number=self.number,
            params=self.params,
            seed=self.seed,
            epoch=len(self.objectives),
            repeat=self.repeat,
            test=self.test,
            baseline=self.baseline,
            resumes_from=self.resumes_from,
        )

    # ---- its place ----

    @property
    def unfinished(self) -> bool:
        """Whether this driver began it and it has not ended; anybody can put a trial into an Optuna
        storage.
        """
        return self.state in ("running", "paused") and self.seed is not None

    @property
    def paused(self) -> bool:
        return self.state == "paused"

    @property
    def lane_round(self) -> int | None:
        """Round in which its first epoch was trained, or would have been without its pauses; None
        outside the lanes.
        """
        if not self.pauses:
            return self.round
        newest = self.pauses[-1]
        return None if newest.until is None else newest.until - newest.epoch

    @property
    def waits(self) -> bool:
        """Whether it has no lane and is not paused: it waits for one, or for the end of an equal
        trial.
        """
        return self.unfinished and self.lane_round is None and not self.paused

    @property
    def left_round(self) -> int:
        """Round after which it left its lane last, or ended; −1 where it did neither."""
        if self.pauses and not self.finished:
            return self.pauses[-1].round
        return -1 if self.ended_round is None else self.ended_round

    @property
    def resumed_round(self) -> int:
        """Round in which it resumed after its last pause, if it still runs; −1 for any other."""
        if not self.unfinished or not self.pauses or self.pauses[-1].until is None:
            return -1
        return self.pauses[-1].until

    @property
    def newest_round(self) -> int:
        """Round in which it trained its newest epoch; −1 before the first."""
        return self.round_of(len(self.objectives)) if self.objectives else -1

    def reported_in(self, round_: int) -> bool:
        """Whether it has done its epoch of this round."""
        if self.closing and self.closing.failure:
            return True
        return self.lane_round is not None and self.lane_round + len(self.objectives) > round_

    # ---- what it has reached ----

    @property
    def counted(self) -> Mapping[int, float]:
        """The objectives after its warm-up, by epoch."""
        if not self.warmup:
            return self.objectives
        return {epoch: value for epoch, value in self.objectives.items() if epoch > self.warmup}

    @property
    def best(self) -> Epoch | None:
        """The epoch after the warm-up with the smallest finite objective, the earliest of equals;
        None where there is none.
        """
        finite = [
            epoch
            for epoch in self.epochs
            if epoch.epoch > self.warmup and math.isfinite(epoch.objective)
        ]
        return min(finite, key=lambda epoch: (epoch.objective, epoch.epoch), default=None)

    @property
    def objective(self) -> float | None:
        """The best objective that it reported, else the one of its outcome (of a duplicate)."""
        finite = [value for value in self.counted.values() if math.isfinite(value)]
        if finite:
            return min(finite)
        return self.outcome.objective if self.outcome else None

    def round_of(self, epoch: int) -> int:
        """Return the round of the driver in which it trained this epoch, from 1."""
        before = [pause for pause in self.pauses if pause.until is not None and pause.epoch < epoch]
        if before:
            return (before[-1].until or 0) - before[-1].epoch + epoch - 1
        return (self.round or 0) + epoch - 1

    @property
    def newest_objective(self) -> float | None:
        """The objective of its last epoch; None before the first."""
        return self.objectives[max(self.objectives)] if self.objectives else None

    @property
    def diverged(self) -> bool:
        """Whether it has failed because its objective was not finite."""
        failure = self.failure if self.state == "failed" else None
        return failure is not None and failure.kind == "diverged"


def stored_path(path: str | Path, runs: Path) -> str:
    """Return a path as records hold it: relative to the runs folder where it lies below, so that
    the folder can move.
    """
    absolute, root = Path(path).absolute(), Path(runs).absolute()
    return str(absolute.relative_to(root)) if absolute.is_relative_to(root) else str(absolute)
