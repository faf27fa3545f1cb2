"""A trial while it is trained: what the driver writes of it, each time so that a process that dies
can go on.
"""

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from sweeps.lanes import Failure, Images, Outcome, Progress, TrialResult, TrialSpec
from sweeps.state.trial import Pause, stored_path
from sweeps.storage.optuna_internals import attributes_of, set_state
from sweeps.storage.trial_record import ENDED, failure_of


def with_divergence(progress: Progress) -> Progress:
    """Make an objective that is not finite a failure, whatever the lanes say; Optuna never sees
    it.
    """
    if progress.failure or math.isfinite(progress.objective):
        return progress
    return replace(
        progress,
        failure=Failure(kind="diverged", message=f"the objective became {progress.objective}"),
    )


@dataclass(frozen=True)
class RunningTrial:
    """A trial and its handle in the storage. Paths below `runs` are written relative to it."""

    trial: TrialSpec
    handle: optuna.Trial
    runs: Path

    def assign_round(self, round_: int | None) -> None:
        """Record that its first epoch is, or would have been, trained in this round; None: it waits
        outside the lanes.
        """
        if round_ is not None:
            self._write("duplicate_of", None)
        self._write("round", round_)

    @property
    def left(self) -> TrialResult | None:
        """Its recorded result; None before it has one. A process that died may have recorded the
        result and not the end.
        """
        attributes = attributes_of(self.handle)
        if "results" not in attributes:
            return None
        folder = attributes["folder"] and str(self.runs / attributes["folder"])
        files = attributes.get("files") or {}
        return TrialResult(
            number=self.trial.number,
            metrics=attributes["results"],
            folder=folder,
            files=files,
            failure=failure_of(attributes["outcome"]),
        )

    def report(self, progress: Progress, round_: int, at: float) -> bool:
        """Record its epoch of a round, reported at time `at`; returns whether there is an epoch to
        tell observers of.
        """
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
        self,
        outcome: Outcome,
        result: TrialResult,
        round_: int,
        at: float,
        *,
        duplicate_of: int | None = None,
    ) -> None:
        """Record how it ended in a round, and what it left behind, at time `at`. Results are
        written last: they stand for all.
        """
        if duplicate_of is not None:
            self._write("duplicate_of", duplicate_of)
        self._write("ended_round", round_)
        self._write("outcome", asdict(outcome))
        self._write(
            "folder", None if result.folder is None else stored_path(result.folder, self.runs)
        )
        if result.files:
            self._write("files", dict(result.files))
        self._write("ended", at)
        self._write_pictures(result.images)
        self._write("results", dict(result.metrics))

    def pause(self, result: TrialResult, epoch: int, round_: int) -> None:
        """Record that it left its lane after this round, with so many epochs done, and what it
        leaves if it is not promoted.
        """
        self._write_pictures(result.images)
        folder = None if result.folder is None else stored_path(result.folder, self.runs)
        self._write(
            "paused_with",
            {"metrics": dict(result.metrics), "folder": folder, "files": dict(result.files)}
            | {"bytes": result.checkpoint_bytes},
        )
        # Last, because this record is the pause.
        pauses = attributes_of(self.handle).get("pauses") or []
        self._write("pauses", [*pauses, asdict(Pause(epoch=epoch, round=round_))])

    def leave_lane(self, round_: int) -> None:
        """Record that it lost its lane after this round, because there are fewer lanes."""
        if pauses := attributes_of(self.handle).get("pauses"):
            self._write("pauses", [*pauses, asdict(Pause(epoch=self.trial.epoch, round=round_))])
        else:
            self.assign_round(None)

    def go_on(self, round_: int) -> None:
        """Record that it is promoted: it has a lane again from this round on."""
        *before, newest = attributes_of(self.handle)["pauses"]
        self._write("pauses", [*before, newest | {"until": round_}])

    @property
    def paused_with(self) -> TrialResult:
        """What it left when it was last paused. Another process may have moved the runs folder
        since.
        """
        stored = attributes_of(self.handle)["paused_with"]
        folder = stored["folder"] and str(self.runs / stored["folder"])
        return TrialResult(
            number=self.trial.number,
            metrics=stored["metrics"],
            folder=folder,
            files=stored["files"],
        )

    def tell(self, outcome: Outcome, objective: float | None) -> None:
        """End the trial in the storage, unless another program has."""
        with suppress(UpdateFinishedTrialError):
            set_state(self.handle, ENDED[outcome.state], objective)

    def _write(self, key: str, value: Any) -> None:
        # A trial that another program has finished meanwhile is theirs; `decided_outcome` finds
        # out.
        with suppress(UpdateFinishedTrialError):
            self.handle.set_user_attr(key, value)

    def _write_pictures(self, images: Images) -> None:
        for epoch, named in images.items():
            recorded = attributes_of(self.handle).get(f"pictures/{epoch}") or {}
            paths = {name: stored_path(path, self.runs) for name, path in named.items()}
            if {**recorded, **paths} != recorded:
                self._write(f"pictures/{epoch}", {**recorded, **paths})
