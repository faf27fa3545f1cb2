"""The protocol between the driver and a workload: trials go into lanes, progress comes out, round
by round.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Literal, Protocol

FailureKind = Literal["diverged", "out_of_memory", "crashed", "error", "timed_out"]
State = Literal["complete", "pruned", "failed", "paused"]
Images = Mapping[int, Mapping[str, str]]
"""Epoch → name → path of a PNG file, which is there and shows the trial after that epoch."""


@dataclass(frozen=True, kw_only=True)
class TrialSpec:
    """One setting to train. The same trial gives the same numbers in any lane, beside any
    neighbour.
    """

    number: int
    """Its number in its Optuna study, counted from 0."""
    params: Mapping[str, Any]
    """Values of the searched parameters, and what a baseline sets besides; all else is fixed by the
    study.
    """
    seed: int
    """Seed of initialisation, order of the data and noise."""
    epoch: int = 0
    """Epochs already reported; a lane that gets the trial replays up to here from its
    checkpoint.
    """
    repeat: bool = False
    """True for a run of confirm, compare or a baseline: a known configuration trained with a fresh
    seed.
    """
    test: bool = False
    """True where the test set may be looked at once the trial is complete."""
    baseline: str | None = None
    """Name of the row of the study file that it is trained for, of several joined by +; None for
    all other trials.
    """
    resumes_from: int | None = None
    """Number of the trial, ended since, from whose checkpoints it goes on, and in whose place it
    keeps its own; None: it has its own place. Settings and seed are the same."""

    @property
    def folder_name(self) -> str:
        """Unique within a study: `trial-0007` or `repeat-0007`."""
        return run_folder(self.number, repeat=self.repeat)

    @property
    def checkpoint_name(self) -> str:
        """Name of the place of its checkpoints: its `folder_name`, or that of the trial from which
        it goes on.
        """
        return run_folder(
            self.number if self.resumes_from is None else self.resumes_from, repeat=self.repeat
        )


def run_folder(number: int, *, repeat: bool) -> str:
    """Return the name of a run's folder: `trial-0007`, of a repeat `repeat-0007`."""
    return f"{'repeat' if repeat else 'trial'}-{number:04d}"


def run_name(study: str, number: int, *, repeat: bool) -> str:
    """Return the name of a run as people read and give it: `beta_mnist/7`, of a repeat
    `beta_mnist/r7`.
    """
    return f"{study}/{'r' if repeat else ''}{number}"


def baseline_names(joined: object) -> list[str]:
    """Return the names of the baselines that share a run, of its `baseline`; empty for what is no
    text.
    """
    return joined.split("+") if isinstance(joined, str) else []


def joined_baselines(*joined: str | None) -> str | None:
    """Return the `baseline` of a run that these share, each name once; None without any."""
    names = chain.from_iterable(map(baseline_names, joined))
    return "+".join(dict.fromkeys(names)) or None


def named_run(text: str) -> tuple[bool, int] | None:
    """Return (whether it is a repeat, number) of `7` or `r3`, `trial-0007` or `repeat-0003`; None
    for any other text.
    """
    match = re.fullmatch(r"(|r|trial-|repeat-)(\d+)", text, re.ASCII)
    return (match[1].startswith("r"), int(match[2])) if match else None


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial failed, in a class and one sentence."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The report of one trial on one round."""

    number: int
    epoch: int
    """Epochs finished, counted from 1."""
    objective: float
    """To be minimised; not finite only together with `failure`."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Names as `loss`, `validation/loss`; recorded at step `epoch`."""
    images: Images = field(default_factory=dict)
    """Pictures that have come since the last progress of the trial."""
    finished: bool = False
    """True when the trial has no further epoch (budget reached or stopped early)."""
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The end of a trial, or of a stretch of epochs after which it is paused."""

    state: State
    """A trial that is `paused` may be added again, and goes on from where it is; else it counts as
    pruned.
    """
    epoch: int
    objective: float | None
    """The best (smallest) that it reported, None when it reported none."""
    failure: Failure | None = None


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """Metrics and files that a trial leaves behind."""

    number: int
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Final figures, as `seconds`, `test/loss`."""
    folder: str | None = None
    """Folder whose files (settings, weights, pictures) are kept as the trial's artifacts."""
    files: Mapping[str, str] = field(default_factory=dict)
    """SHA-256, in hexadecimal digits, of the files in `folder` whose content the record must vouch
    for, by name.
    """
    images: Images = field(default_factory=dict)
    """Pictures that have come since the last progress of the trial."""
    failure: Failure | None = None
    """Why the trial could not be finished: it has failed then, whatever it was to be."""
    checkpoint_bytes: int = 0
    """Size of the checkpoint that a paused trial has left."""


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    """A worker that is ready to train, as `status` shows it."""

    name: str
    node: str
    """Name of its machine."""
    device: str
    trials: tuple[int, ...]
    """Numbers of the trials that it holds."""
    epochs_per_second: float | None
    """Epochs that it has lately done in a second; None before it has done two."""
    since: float
    """When it became ready, in unix seconds of the driver's clock."""


Plan = Callable[[Collection[int]], tuple[Mapping[int, Outcome], Sequence[TrialSpec]]]
"""Numbers of trials that have done their epoch of a round → how those end that end with it, and
trials that begin or go on in their lanes.
"""


class Lanes(Protocol):
    """Places where trials train side by side. `docs/examples/any_workload.py` is a small example.

    A subclass need not define `workers`, `kind`, `prefetch`, `stop`, `discard_checkpoints` and
    `close`. `release` is called where lanes run in workers that may join late.
    """

    @property
    def width(self) -> int:
        """Number of trials that fit at once."""

    @property
    def workers(self) -> tuple[WorkerState, ...]:
        """Workers that hold the lanes; none where the lanes are in this process."""
        return ()

    @property
    def kind(self) -> Mapping[str, Any]:
        """What decides the numbers besides the trial, JSON-able: versions, processor, data. All
        workers of a study have the same.

        Whoever lists workers shows the entries `device` and `processor`.
        """
        return {}

    def add(self, trial: TrialSpec) -> None:
        """Place a trial in a free lane: fresh, or from its newest checkpoint at or before
        `trial.epoch`.

        Only loads, perhaps while the caller goes on: epochs between the checkpoint and
        `trial.epoch` are replayed by `replay`.
        """

    def replay(self) -> None:
        """Train every lane that is behind its trial's reported epoch up to it, without
        reporting.
        """

    def prefetch(self, plan: Plan) -> None:
        """Set, before `advance`, the callback that gives a worker its next commands before the
        round is over.

        `plan` may be called once for the trials of a worker, as soon as the caller has their
        progress. The caller will ask for what it returns: `finish` of those that end, `add` of the
        others, `replay` where one of these resumes, and `advance` of all that the worker then
        holds. Lanes may do that before.
        """

    def advance(self, numbers: Collection[int]) -> Iterator[list[Progress]]:
        """Train these trials one epoch; the other lanes keep their state. Those that are done at
        once, as soon as they are.

        An empty list may come first: they have begun, elsewhere, and the caller has time.
        """

    def release(self, numbers: Collection[int]) -> None:
        """Free the lanes of those of these trials that are here, all of whose epochs are reported,
        for others to add them again.

        Leaves a checkpoint of each as it is now.
        """

    def finish(self, ending: Mapping[int, Outcome]) -> list[TrialResult]:
        """Free the lanes of trials that ended (in any state) and hand back what they made, in this
        order.

        A trial that is paused leaves what a pruned one leaves, and a checkpoint of this moment.

        Each trial can be added and trained again until `discard_checkpoints`, because the caller
        may be killed before it has recorded the results.
        """

    def discard_checkpoints(self, trials: Sequence[TrialSpec]) -> None:
        """Delete what these trials would go on from, because their results are on record."""

    def stop(self, seconds: float) -> Iterator[list[Progress] | list[TrialResult]]:
        """After an interrupt in any other call: end the epochs and results at hand, then leave a
        checkpoint of each trial as it is.

        Yields what the interrupted call owes; the caller records each part before it asks for more.
        Takes `seconds` at the most. Then comes `close` alone.
        """
        return iter(())

    def close(self) -> None:
        """Give everything back. Trials still in lanes continue from their checkpoints when they are
        added again.
        """


def advance_all(lanes: Lanes, numbers: Collection[int]) -> list[Progress]:
    """Train these trials one epoch and wait for all, in the order of `numbers`."""
    parts = chain.from_iterable(lanes.advance(numbers))
    done = {progress.number: progress for progress in parts}
    return [done[number] for number in numbers]


__all__ = [
    "Failure",
    "Images",
    "Lanes",
    "Outcome",
    "Progress",
    "TrialResult",
    "TrialSpec",
    "advance_all",
    "run_name",
]
